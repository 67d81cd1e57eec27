"""Trainings that go on where they were killed, from all that it takes on disk."""

import hashlib
import io
import json
import math
import pathlib

import keras
import numpy as np
from keras import ops

from zoo._files import write_atomically

STATE = "state.npz"


def digest(settings, networks, arrays):
    """Returns the name of a training, by which its state is known.

    Args:
        settings: list of numbers, lists and dicts.
        networks: `keras.Model`s that are trained. Their configs count, not their
            weights: the state on disk has its own.
        arrays: images, and what else is not trained.
    """
    arrays = [np.ascontiguousarray(array) for array in arrays]
    known = [
        settings,
        [architecture(network) for network in networks],
        [array.shape for array in arrays],
    ]
    found = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode())
    for array in arrays:
        found.update(array.tobytes())
    return found.hexdigest()[:12]


def architecture(network):
    """Returns a network's config without what differs each time that it is made.

    Layers are named by their place, in the lists of what feeds what, too.
    """
    layers = enumerate(network._flatten_layers())
    return _nameless(
        keras.saving.serialize_keras_object(network),
        {layer.name: f"layer {place}" for place, layer in layers},
    )


def _nameless(config, names):
    if isinstance(config, str):
        return names.get(config, config)
    if isinstance(config, list | tuple):
        return [_nameless(part, names) for part in config]
    if not isinstance(config, dict):
        return config
    return {
        key: _nameless(value, names)
        for key, value in config.items()
        if key not in ("shared_object_id", "compile_config")
    }


def fit(model, draw, progress, callbacks):
    """Trains a model from the state on disk on, and returns a record a validation.

    Args:
        model: a compiled `keras.Model`, whose optimizer has its slots.
        draw: function of the number of an update that returns its batch, a tuple.
        progress: a `Progress`.
        callbacks: list of Keras callbacks. An epoch ends with a validation.

    Raises:
        ValueError: the state on disk is that of another training.
    """
    steps, every = progress.schedule.steps, progress.schedule.evaluate_every
    progress.set_model(model)
    progress.restore()
    if progress.step < steps and not progress.lost:
        model.fit(
            Batches(draw, progress.step),
            steps_per_epoch=every,
            initial_epoch=progress.step // every,
            epochs=steps // every,
            callbacks=[progress, *callbacks],
            shuffle=False,
            verbose=0,
        )
    if progress.best_of is not None:
        progress.best_of.set_weights(progress.best)
    return progress.records


class Progress(keras.callbacks.Callback):
    """Scores what a model trains after each epoch, and keeps the state on disk.

    It ends a training whose score is no number. It follows no single update: JAX would
    wait for each.

    Args:
        metric: str, the name of the score.
        score: function without arguments that returns it, a float in dB.
        schedule: a `Schedule`.
        name: str, the `digest` of the training.
        folder: where the state is kept, or `None`.
        verbose: 0 for silence, 1 for a line an epoch.
        best_of: network whose weights of the largest score are kept, or `None` to keep
            the last. Defaults to `None`.
    """

    def __init__(self, metric, score, schedule, name, folder, verbose, best_of=None):
        super().__init__()
        self.metric, self.score, self.schedule = metric, score, schedule
        self.name, self.verbose = name, verbose
        self.path = None if folder is None else pathlib.Path(folder) / STATE
        self.best_of = best_of
        self.best = [] if best_of is None else best_of.get_weights()
        self.records = []

    @property
    def step(self):
        """The updates that are made."""
        return self.records[-1]["step"] if self.records else 0

    @property
    def lost(self):
        """Whether the last score is NaN, or of an infinite error."""
        return bool(self.records) and not self.records[-1][self.metric] > -math.inf

    def restore(self):
        """Takes the state on disk, if there is one.

        Raises:
            ValueError: it is that of another training.
        """
        if self.path is None or not self.path.exists():
            return
        with np.load(self.path) as file:
            arrays = dict(file)
        if str(arrays["training"]) != self.name:
            raise ValueError(
                "`folder` must be new, or hold this very training. "
                f"Received: folder={str(self.path.parent)!r}, which holds another"
            )
        self.records = json.loads(str(arrays["records"]))
        self.best = [arrays[f"best_{index}"] for index in range(len(self.best))]
        for index, variable in enumerate(self._variables()):
            variable.assign(arrays[f"now_{index}"])

    def on_epoch_end(self, epoch, logs=None):
        losses = {key: float(value) for key, value in logs.items()}
        step = (epoch + 1) * self.schedule.evaluate_every
        score = logs[f"val_{self.metric}"] = self.score()
        before = max((one[self.metric] for one in self.records), default=-math.inf)
        if self.best_of is not None and score > before:
            self.best = self.best_of.get_weights()
        self.records.append({"step": step, **losses, self.metric: score})
        if self.lost:
            self.model.stop_training = True
        if self.verbose:
            told = ", ".join(f"{key} {value:.3e}" for key, value in losses.items())
            print(
                f"step {step} of {self.schedule.steps}: {told}, "
                f"validation {score:.2f} dB",
                flush=True,
            )
        if self.path is not None:
            self._save()

    def _save(self):
        arrays = {f"best_{index}": one for index, one in enumerate(self.best)}
        for index, variable in enumerate(self._variables()):
            arrays[f"now_{index}"] = ops.convert_to_numpy(variable)
        buffer = io.BytesIO()
        np.savez(buffer, training=self.name, records=json.dumps(self.records), **arrays)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, buffer.getvalue())

    def _variables(self):
        """All that an update reads: weights, and the state of noise and optimizers."""
        return [*self.model.variables, *self.model.optimizer.variables]


class Batches(keras.utils.PyDataset):
    """Endless batches, each a function of the number of its update.

    Args:
        draw: function of that number that returns a batch, a tuple.
        first: int, that of the first batch.
    """

    def __init__(self, draw, first):
        super().__init__()
        self.draw, self.first = draw, first

    @property
    def num_batches(self):
        """`None`: there is no last one."""
        return None

    def __getitem__(self, index):
        return self.draw(self.first + index)
