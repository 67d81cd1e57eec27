"""The minima that small and large batches end in: their training, data and words."""

import dataclasses

import keras
import numpy as np

from zoo.apps.large_batch.common import NETWORKS, LargeBatchStudy
from zoo.data import steps_per_epoch
from zoo.metrics import EvaluateAtUpdates, LossSurface
from zoo.study import deviation, distribute, evaluate, fit, jit_compile, load_data
from zoo.study.report import counted
from zoo.study.tuning import around, hold, refuse_hyperband

BATCHES = ("SB", "LB")
# The data of each network in Table 1; TIMIT is for nobody to fetch.
DATA = {
    "F1": "mnist",
    "F2": "timit",
    "C1": "cifar10",
    "C2": "cifar10",
    "C3": "cifar100",
    "C4": "cifar100",
}
# Times `--epochs` that the training loss may take to come down to `--target_loss`.
PATIENCE = 10

QUICK = {
    "dataset": ["digits"],
    "limit": 1280,
    "image_size": 0,
    "network": ["small_mlp"],
    "batch_size": 16,
    "large_batch_size": 256,
    "epochs": 12,
    "target_loss": 0.01,
    "learning_rate": 1e-3,
    "measured": 512,
    "runs": 2,
}
CPU = {
    **QUICK,
    "dataset": ["fashion_mnist"],
    "limit": 4096,
    "image_size": 14,
    "network": ["F1"],
    "batch_size": 32,
    "large_batch_size": 0,
    "epochs": 40,
    "target_loss": 0.02,
    "measured": 1024,
    "runs": 3,
}
# The report names the networks, Adam, both batches, 100 epochs and five runs.
PAPER = {
    **CPU,
    "dataset": ["mnist", "cifar10", "cifar100"],
    "limit": 0,
    "image_size": 0,
    "network": ["F1", "C1", "C2", "C3", "C4"],
    "batch_size": 256,
    "epochs": 100,
    "measured": 0,
    "runs": 5,
}


@dataclasses.dataclass(frozen=True)
class Minimum:
    """A trained network, and its weights at two moments.

    Attributes:
        model: compiled `keras.Model`; it has the weights `end`, if there are any.
        end: list of arrays, after `--epochs`; or `None`, where this was not waited for.
        level: list of arrays, where the training loss first was at most
            `--target_loss`; or `None`, where it never was.
        epochs: int, the epochs to `level`, or all.
        loss_curve: array, the training loss after each epoch, in inference mode.
    """

    model: keras.Model
    end: list | None
    level: list | None
    epochs: int
    loss_curve: np.ndarray


class MinimaStudy(LargeBatchStudy):
    """An experiment on the minima of small and of large batches."""

    objective = ("validation_accuracy", "max")
    normalization = "batch"
    batches: tuple[str, ...] = BATCHES

    def prepare(self, config):
        self.check_choices(config, "network", NETWORKS)
        wanted = {name: self._dataset(name, config.dataset) for name in config.network}
        loaded = {
            name: load_data(name, config) for name in dict.fromkeys(wanted.values())
        }
        self.data = {name: loaded[dataset] for name, dataset in wanted.items()}
        self.sizes = {name: {"SB": config.batch_size} for name in self.data}
        if "LB" not in self.batches:
            return
        for name, data in self.data.items():
            count = len(data.train[0])
            large = config.large_batch_size or round(count / 10)
            if not config.batch_size < large <= count:
                raise ValueError(
                    f"--large_batch_size={large} must be above "
                    f"--batch_size={config.batch_size} and at most the {count} "
                    f"training images of {data.name}"
                )
            self.sizes[name]["LB"] = large

    def space(self, hp, config):
        if "target_loss" in vars(config):
            refuse_hyperband(
                config, "changes the epochs, but trainings end at --target_loss"
            )
        hold(hp, config, "network")
        around(hp, config, "learning_rate")

    def build(self, network):
        """Builds an untrained network for its data."""
        data = self.data[network]
        return NETWORKS[network](
            data.input_shape, data.num_classes, normalization=self.normalization
        )

    def train(self, network, batch, config, seed, logdir, moments=("end", "level")):
        """Trains with Adam until the given moments of a `Minimum` have been."""
        data = self.data[network]
        images, labels = data.train
        batch_size = self.sizes[network][batch]
        keras.utils.set_random_seed(seed)
        with distribute.scope(config):
            model = self.build(network)
            model.compile(
                keras.optimizers.Adam(config.learning_rate),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
                jit_compile=jit_compile(config),
            )
        watch = _Moments(
            images,
            labels,
            steps_per_epoch(len(images), batch_size),
            config.epochs,
            getattr(config, "target_loss", 0.0),
            moments,
        )
        fit(
            model,
            images,
            labels,
            config,
            seed=seed,
            logdir=logdir,
            batch_size=batch_size,
            epochs=PATIENCE * config.epochs,
            callbacks=[watch],
        )
        found = watch.found
        if "end" in found:
            model.set_weights(found["end"])
        return Minimum(
            model,
            found.get("end"),
            found.get("level"),
            watch.epochs,
            watch.curves["training_loss"],
        )

    def ends(self, minimum, network, config):
        """Evaluates the network at both moments; it has the weights `end` after."""
        level = {"epochs_to_level": float(minimum.epochs)}
        if minimum.level is not None:
            minimum.model.set_weights(minimum.level)
            at_level = evaluate(minimum.model, self.data[network], config)
            level |= {f"level_{name}": value for name, value in at_level.items()}
            minimum.model.set_weights(minimum.end)
        return {**evaluate(minimum.model, self.data[network], config), **level}

    def train_to_level(self, network, batch, config, seed, logdir):
        """As `train`, but only until the target loss, whose weights the model has.

        Raises:
            RuntimeError: the training loss does not come down to it.
        """
        minimum = self.train(network, batch, config, seed, logdir, ("level",))
        if minimum.level is None:
            raise RuntimeError(
                f"the training loss did not come down to {config.target_loss:g} in "
                f"{minimum.epochs} epochs, see --target_loss"
            )
        minimum.model.set_weights(minimum.level)
        return minimum

    def measured(self, network, config):
        """Returns the training images and labels that minima are measured on."""
        images, labels = self.data[network].train
        count = config.measured or len(images)
        return images[:count], labels[:count]

    def surface(self, model, network, config):
        return LossSurface(model, *self.measured(network, config))

    def settings(self, config):
        """Says in sentences what was trained on what."""
        sentences = []
        for network, data in self.data.items():
            sizes = self.sizes[network]
            count = len(data.train[0])
            sentences.append(
                f"{network}: {data.name}, {data.source}; {count} images of "
                f"{'x'.join(map(str, data.input_shape))} to train on, batches of "
                f"{' and '.join(f'{size} ({batch})' for batch, size in sizes.items())}"
                f", measured on {len(self.measured(network, config)[0])} of them."
            )
        return (
            f"{' '.join(sentences)} Adam, learning rate {config.learning_rate}, "
            f"{counted(config.epochs, 'epoch')}, {counted(config.runs, 'seed')}."
        )

    def _dataset(self, network, datasets):
        if len(datasets) == 1:
            return datasets[0]
        if DATA.get(network) not in datasets:
            raise ValueError(
                f"--dataset={','.join(datasets)} must name one data set for all "
                f"networks, or {DATA.get(network, 'no other')} for --network={network}"
            )
        return DATA[network]


class _Moments(EvaluateAtUpdates):
    """Keeps the weights after some epochs, and where the training loss is low enough.

    Ends the training once all `moments` have been, of `"end"` and `"level"`.
    """

    def __init__(self, images, labels, steps, epochs, target, moments):
        updates = range(steps, steps * PATIENCE * epochs + 1, steps)
        super().__init__({"training": (images, labels)}, updates)
        self._last, self._target, self._moments = epochs, target, set(moments)
        self.found, self.epochs = {}, PATIENCE * epochs

    def on_epoch_end(self, epoch, logs=None):
        # Empty where the epoch ended early, at a loss that is not finite.
        row = self._fresh
        super().on_epoch_end(epoch, logs)
        if not row:
            return
        if "level" not in self.found and row["training_loss"] <= self._target:
            self.found["level"], self.epochs = self.model.get_weights(), epoch + 1
        if epoch + 1 == self._last:
            self.found["end"] = self.model.get_weights()
        if self._moments <= set(self.found):
            self.model.stop_training = True


def compare(small, large):
    """Says whether the numbers of LB are above those of SB, for their spread.

    Returns:
        `"larger"`, `"smaller"`, `"as large"`, or `"-"` where a batch has less than two,
        which have no spread.
    """
    if min(len(small), len(large)) < 2:
        return "-"
    difference = np.mean(large) - np.mean(small)
    if abs(difference) <= deviation(small) + deviation(large):
        return "as large"
    return "larger" if difference > 0 else "smaller"


def numbers(results, name, **point):
    """Returns a scalar of the finished runs at a point, without those that lack it."""
    rows = results.select(**point)
    values = rows[name].to_numpy("float64") if name in rows else np.zeros(0)
    return values[~np.isnan(values)]


def of_both(results, name, network):
    """Returns a scalar of the runs of SB, and of those of LB."""
    return [numbers(results, name, network=network, batch=batch) for batch in BATCHES]


def finished(results, networks):
    """Returns those of the networks that have a finished run."""
    return [name for name in networks if len(results.select(network=name))]
