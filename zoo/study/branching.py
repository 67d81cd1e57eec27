"""Trainings that begin alike share their beginning, and go on where they were killed.

The path of a training is what each of its epochs trains on. Where two paths part, the
state of the first is kept, and the second begins there.
"""

import hashlib
import io
import itertools
import json
import pathlib
import sys
import time

import keras
import numpy as np

from zoo._files import write_atomically
from zoo.study import tensorboard
from zoo.study.results import CutShort, read_arrays
from zoo.study.training import fit

# Seconds between states of a training under way.
SAVE_EVERY = 20.0
RECORDS = "records"


def get_state(model):
    """Returns what training changes, a list of arrays."""
    return [keras.ops.convert_to_numpy(one) for one in _variables(model)]


def set_state(model, state):
    """Gives a model what `get_state` returned of one of its kind.

    It keeps its compiled step, which takes longer to make than a short training.
    """
    for variable, value in zip(_variables(model), state, strict=True):
        variable.assign(value)


def common_length(path, other):
    """Counts the epochs that two paths begin with alike.

    >>> common_length(("blur", "none", "none"), ("blur", "blur", "none"))
    1
    """
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(path, other))  # noqa: B905
    return sum(1 for _ in pairs)


class BranchingTraining:
    """Trains a model along a path, from the longest beginning that is on disk.

    Args:
        folder: str or path, where states are kept.
        settings: JSON-like, all that the numbers depend on apart from the path: states
            of other settings are not taken.
        share: bool, whether states are kept for other paths. Defaults to `True`.

    A state is the model's variables, its optimizer's, and what was recorded of each
    epoch. One that a kill left half written counts for nothing.
    """

    def __init__(self, folder, settings, share=True):
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        self.folder = pathlib.Path(folder)
        self.name = digest.hexdigest()[:12]
        self.share = share

    def run(self, model, path, others, phases, config, *, seed, logdir, record):
        """Trains to the end of a path.

        Args:
            model: compiled `keras.Model`, untrained, whose optimizer is built; it is
                trained in place.
            path: tuple of str, a phase's name for each epoch.
            others: list of paths that other trainings of these settings take.
            phases: dict of a phase's name to keyword arguments of `zoo.study.fit`:
                `images` and `labels`, and whatever `map_fn` and `callbacks`.
            config: the settings that `fit` reads.
            seed: int, of the order of the batches.
            logdir: str, the folder of TensorBoard's logs.
            record: function of the number of epochs trained and of Keras's logs to a
                dict of numbers to keep of an epoch.

        Returns:
            List of dicts, one an epoch.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        # Where others part from this path, or go on from its end.
        shared = {common_length(path, other) for other in others if self.share} - {0}
        records = self._load(model, path)
        if records:
            tensorboard.write_epochs(logdir, records)
        ends = {*shared, *_changes(path), len(path)}
        for end in sorted(end for end in ends if end > len(records)):
            phase = dict(phases[path[len(records)]])
            callbacks = phase.pop("callbacks", [])
            try:
                fit(
                    model,
                    **phase,
                    config=config,
                    seed=seed,
                    logdir=logdir,
                    first_epoch=len(records),
                    epochs=end,
                    callbacks=[*callbacks, _Keep(self, path, records, record)],
                )
            except FloatingPointError:
                self.forget(path)
                raise
            if end in shared:
                self.write(model, path[:end], records)
        self.forget(path)
        return records

    def forget(self, path, but=None):
        """Removes what was kept of a training under way, but for that of one epoch."""
        for file in self.folder.glob(f"{self._stem(path)}.*.partway.npz"):
            if but is None or file != self._file(path[:but], path):
                file.unlink(missing_ok=True)

    def write(self, model, path, records, partway_of=None):
        """Keeps the state after `path`, for all or for the training `partway_of`."""
        buffer = io.BytesIO()
        text = np.frombuffer(json.dumps(records).encode(), "uint8")
        np.savez(buffer, *get_state(model), **{RECORDS: text})
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file(path, partway_of), buffer.getvalue())

    def _load(self, model, path):
        """Gives the model the longest state of a path's beginning; its records."""
        for length in range(len(path), 0, -1):
            for partway_of in (None, path):
                file = self._file(path[:length], partway_of)
                if file.exists():
                    try:
                        state = read_arrays(file)
                    except CutShort as error:
                        print(f"{error}: trained again", file=sys.stderr)
                        file.unlink()
                        continue
                    records = state.pop(RECORDS)
                    set_state(model, list(state.values()))
                    return json.loads(records.tobytes())
        return []

    def _stem(self, path):
        runs = [f"{len(list(run))}{name}" for name, run in itertools.groupby(path)]
        return f"{self.name}-{'-'.join(runs)}"

    def _file(self, path, partway_of):
        if partway_of is None:
            return self.folder / f"{self._stem(path)}.npz"
        return self.folder / f"{self._stem(partway_of)}.{len(path)}.partway.npz"


class _Keep(keras.callbacks.Callback):
    """Records each epoch, and keeps the state of a training under way."""

    def __init__(self, training, path, records, record):
        super().__init__()
        self.training, self.path = training, path
        self.records, self.record = records, record
        self.saved = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        if not np.isfinite(logs["loss"]):
            return
        row = self.record(epoch + 1, logs)
        logs.update(row)
        self.records.append(row)
        now = time.monotonic()
        if now - self.saved >= SAVE_EVERY:
            self.saved = now
            done = len(self.records)
            self.training.write(
                self.model, self.path[:done], self.records, partway_of=self.path
            )
            self.training.forget(self.path, but=done)


def _variables(model):
    """The variables that training changes: no metrics, but seeds of dropout."""
    metrics = {id(one) for one in model.metrics_variables}
    own = [one for one in model.variables if id(one) not in metrics]
    return [*own, *model.optimizer.variables]


def _changes(path):
    """The numbers of epochs after which a path changes its phase."""
    return {
        place
        for place, (before, after) in enumerate(itertools.pairwise(path), start=1)
        if before != after
    }
