"""Training unrolled networks in stages, none of which makes them worse."""

import dataclasses
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo._files import write_atomically
from zoo._types import Array
from zoo.data.sparse import SparseProblem
from zoo.layers.cosine_dense import at_least_float32
from zoo.losses.checks import check_choice, check_integer, check_number
from zoo.metrics.recovery import nmse
from zoo.models.normalization import DEEPEST
from zoo.models.progress import architecture
from zoo.models.unrolled.network import UnrolledNetwork

LOG = "stages.jsonl"
# Matrices have many entries, each of which may move less.
MATRIX_RATE = 0.2


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a training.

    Attributes:
        steps: int, updates.
        depth: int, the layers that the network has in this stage, or `None` for all.
        part: `"all"`, or `"new"` to train the last of these layers alone, but not
            matrices that it shares.
        supervise: `"all"` to lower the error after each layer, in dB, or `"last"`.
        learning_rate: float above 0, at first, of all that is no matrix; it falls to
            0.3 % of it by a cosine. Matrices have a fifth of it.
        batch_size: int, fresh signals a step.

    Example:

    >>> stage = Stage(200, depth=2, part="new")
    >>> stage.supervise, stage.learning_rate, stage.batch_size
    ('all', 0.01, 500)
    """

    steps: int
    depth: int | None = None
    part: Literal["all", "new"] = "all"
    supervise: Literal["all", "last"] = "all"
    learning_rate: float = 1e-2
    batch_size: int = 500

    def __post_init__(self):
        for name in ("steps", "batch_size", "depth"):
            value = getattr(self, name)
            if value is not None or name != "depth":
                object.__setattr__(self, name, int(check_integer(name, value, 1)))
        check_choice("part", self.part, ("all", "new"))
        check_choice("supervise", self.supervise, ("all", "last"))
        tiny = np.finfo("float32").tiny
        rate = check_number(
            "learning_rate", self.learning_rate, tiny, allowed="above 0"
        )
        object.__setattr__(self, "learning_rate", float(rate))


def layerwise(
    depth: int, extend: int = 20, refine: int = 100, **settings: Any
) -> list[Stage]:
    """Returns stages that add layers one by one: train the new one, then all.

    Args:
        depth: int, layers in the end.
        extend: int, updates of a new layer alone. Defaults to 20.
        refine: int, updates of all layers then. Defaults to 100.
        **settings: `learning_rate` and `batch_size` of all stages.

    Example:

    >>> [(stage.depth, stage.part, stage.steps) for stage in layerwise(2)]
    [(1, 'new', 20), (1, 'all', 100), (2, 'new', 20), (2, 'all', 100)]
    """
    check_integer("extend", extend, 1)
    check_integer("refine", refine, 1)
    return [
        stage
        for place in range(1, check_integer("depth", depth, 1, DEEPEST) + 1)
        for stage in (
            Stage(extend, place, "new", "last", **settings),
            Stage(refine, place, "all", "last", **settings),
        )
    ]


def train(
    network: UnrolledNetwork,
    problem: SparseProblem,
    stages: Sequence[Stage],
    *,
    validation: tuple[Array, Array] | None = None,
    folder: str | os.PathLike[str] | None = None,
    optimizer: Callable[
        [keras.optimizers.schedules.LearningRateSchedule], keras.optimizers.Optimizer
    ]
    | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    evaluate_every: int = 20,
    seed: int = 0,
    verbose: int = 0,
) -> list[dict[str, Any]]:
    """Trains an unrolled network on fresh signals, stage by stage.

    What is minimised is the logarithm of the NMSE of a batch, in dB, after the last
    layer or averaged over layers: one learning rate then serves errors of all sizes. In
    a stage the best weights on the validation signals are kept, and if they are no
    better than those it began with, these come back. Where a stage trains a new layer,
    that first takes the parameters of the layer before, but no matrices, if it is
    better so.

    Args:
        network: a `zoo.models.UnrolledNetwork`, trained in place.
        problem: a `zoo.data.SparseProblem`.
        stages: list of `Stage`.
        validation: pair of measurements `[samples, M]` and signals `[samples, N]`.
            Defaults to 1000 that `problem` draws.
        folder: where a stage that has ended is kept, to go on from when the same
            training is begun again, with the same optimizer; or `None`. Defaults to
            `None`.
        optimizer: function from a learning rate schedule to a `keras.optimizers`
            object. Defaults to Adam with `beta_2=0.99`, gradients clipped to norm 1,
            and a fifth of the rate for matrices.
        callbacks: list of Keras callbacks, of all stages.
        evaluate_every: int, updates between validations. Defaults to 20.
        seed: int >= 0, of the signals. Defaults to 0.
        verbose: 0 for silence, 1 for a line a stage. Defaults to 0.

    Returns:
        List of dicts, one a stage: its settings, `before` and `after`, the validation
        NMSE in dB of its network, `best`, of the weights it found, or `None` if none
        was finite, and `accepted`.

    Raises:
        ValueError: an argument is not as above, or `folder` holds another training.

    Example:

    >>> from zoo.data import bernoulli_gaussian
    >>> from zoo.layers import BernoulliGaussianShrinkage
    >>> from zoo.models import lvamp
    >>> problem = bernoulli_gaussian((50, 100))
    >>> network = lvamp(problem.matrix, 4, BernoulliGaussianShrinkage(), 1e-2)
    >>> (stage,) = train(network, problem, [Stage(100, learning_rate=0.1)])
    >>> stage["after"] < stage["before"] - 1
    True
    """
    stages = list(stages)
    for stage in stages:
        if stage.depth is not None and stage.depth > network.depth:
            raise ValueError(
                f"`stages` must have depths of at most {network.depth}. "
                f"Received: depth={stage.depth}"
            )
    check_integer("evaluate_every", evaluate_every, 1)
    seed = check_integer("seed", seed, 0)
    # Another sequence than that of training.
    validation = validation or problem.sample(1000, seed=seed + 1)
    y, x = (np.asarray(part) for part in validation)
    log = _Log(folder, network, problem, stages, (y, x), (seed, evaluate_every))
    records, first = log.read(), 0
    for index, stage in enumerate(stages):
        if index >= len(records):
            records.append(
                _run(
                    stage,
                    network,
                    problem,
                    (y, x),
                    (seed, first),
                    optimizer or _adam,
                    callbacks,
                    evaluate_every,
                )
            )
            log.write(index, records)
        first += stage.steps
        if verbose:
            record = records[index]
            print(
                f"stage {index + 1} of {len(stages)}, {record['depth']} layers: "
                f"{record['before']:.2f} -> {record['after']:.2f} dB",
                flush=True,
            )
    return records


def _run(
    stage, network, problem, validation, place, optimizer, callbacks, evaluate_every
):
    depth = stage.depth or network.depth
    part = network.truncate(depth)
    mask = np.asarray(problem.mask)
    entry, weights = _error(part, validation, mask), part.get_weights()
    if stage.part == "new" and depth > 1:
        _take_over(part)
        if not _error(part, validation, mask) < entry:
            part.set_weights(weights)
    frozen = _frozen(part, stage)
    for variable in frozen:
        variable.trainable = False
    try:
        best = _fit(
            stage,
            part,
            problem,
            validation,
            place,
            optimizer,
            callbacks,
            evaluate_every,
        )
    finally:
        for variable in frozen:
            variable.trainable = True
    accepted = math.isfinite(best) and not best >= entry
    if not accepted:
        part.set_weights(weights)
    return {
        **dataclasses.asdict(stage),
        "depth": depth,
        "before": entry,
        "best": best if math.isfinite(best) else None,
        "after": best if accepted else entry,
        "accepted": accepted,
    }


def _fit(stage, part, problem, validation, place, optimizer, callbacks, evaluate_every):
    """Trains, leaves the best weights and returns their validation NMSE."""
    seed, first = place
    every = min(evaluate_every, stage.steps)
    epochs = math.ceil(stage.steps / every)
    schedule = keras.optimizers.schedules.CosineDecay(
        stage.learning_rate, stage.steps, alpha=0.003
    )
    model = _Supervised(part, stage.supervise, np.asarray(problem.mask))
    model.compile(optimizer(schedule), jit_compile=False)
    # Else `fit` makes slots as it traces a step, and must trace it twice.
    model.optimizer.build(part.trainable_variables)
    best = _Best(part, stage.steps, validation, np.asarray(problem.mask))
    model.fit(
        problem.batches(stage.batch_size, seed, first, dtype=part.variable_dtype),
        steps_per_epoch=every,
        epochs=epochs,
        callbacks=[best, *callbacks],
        shuffle=False,
        verbose=0,
    )
    part.set_weights(best.weights)
    return best.error


class _Supervised(keras.Model):
    """A network with the loss after its layers, which batches share."""

    def __init__(self, network, supervise, mask):
        # The network casts.
        super().__init__(name="supervised", autocast=False)
        self.network = network
        self.supervise = supervise
        self.mask = mask.astype("float32")

    def call(self, y):
        estimates = self.network.estimates(y)
        return ops.stack(estimates if self.supervise == "all" else estimates[-1:])

    def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
        # Sums over a batch exceed half precision.
        if keras.backend.is_float_dtype(y_pred.dtype):
            y_pred = ops.cast(y_pred, at_least_float32(y_pred.dtype))
        errors = ops.square(ops.abs(y_pred - ops.cast(y, y_pred.dtype)))
        energies = ops.square(ops.abs(y))
        mask = ops.cast(self.mask, errors.dtype)
        energy = ops.sum(ops.cast(energies, errors.dtype) * mask)
        # Without a floor, signals that are met exactly would have no gradient.
        shares = ops.sum(errors * mask, axis=(1, 2)) / energy + 1e-12
        return 10 / math.log(10) * ops.mean(ops.log(shares))


class _Best(keras.callbacks.Callback):
    """Keeps the weights with the least error, and ends what is lost."""

    def __init__(self, network, steps, validation, mask):
        super().__init__()
        self.network, self.validation, self.mask = network, validation, mask
        self.left = steps

    def on_train_begin(self, logs=None):
        self.error, self.weights = math.inf, self.network.get_weights()

    def on_train_batch_end(self, batch, logs=None):
        # The last epoch may be a shorter one.
        self.left -= 1
        if not self.left:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        error = _error(self.network, self.validation, self.mask)
        if logs is not None:
            logs["val_nmse"] = error
        if error < self.error:
            self.error, self.weights = error, self.network.get_weights()
        if not math.isfinite(error):
            self.model.stop_training = True


class _Adam(keras.optimizers.Adam):
    """Adam with a smaller learning rate for matrices."""

    def update_step(self, gradient, variable, learning_rate):
        rate = MATRIX_RATE if len(variable.shape) > 1 else 1.0
        super().update_step(gradient, variable, rate * learning_rate)


def _adam(schedule):
    return _Adam(schedule, beta_2=0.99, global_clipnorm=1.0, name="adam")


def _error(network, validation, mask):
    y, x = validation
    return nmse(network.predict_all(y)[-1], x, mask=mask)


def _own(block):
    """The trainable weights of a block that are not its linear step's."""
    shared = {id(weight) for weight in block.linear.weights}
    return [weight for weight in block.trainable_weights if id(weight) not in shared]


def _take_over(network):
    """Gives the last layer the parameters of the one before."""
    before, last = map(_own, network.blocks[-2:])
    kinds = [[(one.name, one.shape) for one in weights] for weights in (before, last)]
    if kinds[0] == kinds[1]:
        for source, target in zip(before, last, strict=True):
            target.assign(source)


def _frozen(network, stage):
    """The trainable weights that a stage does not train."""
    if stage.part == "all":
        return []
    *others, last = network.blocks
    shared = any(block.linear is last.linear for block in others)
    trained = _own(last) if shared else last.trainable_weights
    ids = {id(weight) for weight in trained}
    return [one for one in network.trainable_weights if id(one) not in ids]


class _Log:
    """The stages that have ended, on disk: a line each, and the weights after it."""

    def __init__(self, folder, network, problem, stages, validation, numbers):
        self.folder = None if folder is None else pathlib.Path(folder)
        self.network = network
        training = {
            "stages": [dataclasses.asdict(stage) for stage in stages],
            "network": architecture(network),
            "numbers": numbers,
        }
        training = json.dumps(training, sort_keys=True, default=str)
        digest = hashlib.sha256(training.encode())
        arrays = [*network.get_weights(), *problem.sample(1), *validation]
        for array in [*arrays, problem.matrix, problem.mask]:
            digest.update(np.ascontiguousarray(array).tobytes())
        self.name = digest.hexdigest()[:12]

    def read(self):
        """Returns the records on disk, and gives the network the weights after them."""
        if self.folder is None or not (self.folder / LOG).exists():
            return []
        lines = (self.folder / LOG).read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        if any(record.pop("training") != self.name for record in records):
            raise ValueError(
                "`folder` must be new, or hold this very training. "
                f"Received: folder={self.folder}, which holds another"
            )
        with np.load(self.folder / f"stage_{len(records)}.npz") as file:
            self.network.set_weights([file[name] for name in file.files])
        return records

    def write(self, index, records):
        """Writes the weights, then the line that makes them count."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"stage_{index + 1}.npz"
        np.savez(path, *self.network.get_weights())
        lines = [json.dumps({**one, "training": self.name}) + "\n" for one in records]
        write_atomically(self.folder / LOG, "".join(lines))
