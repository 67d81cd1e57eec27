"""The state of a training: scores on the way, and all that it takes to go on."""

import io
import json
import pathlib

import keras
import numpy as np
from keras import ops

from zoo._files import write_atomically

STATE = "state.npz"


class Progress(keras.callbacks.Callback):
    """Scores what a model trains after each epoch, and keeps the state on disk.

    Args:
        metric: str, the name of the score.
        score: function without arguments that returns it, a float in dB.
        folder: where the state is kept, or `None`.
        name: str, what tells this training from others.
        every: int, updates of an epoch.
        steps: int, updates of all.
        verbose: 0 for silence, 1 for a line an epoch.
    """

    def __init__(self, metric, score, folder, name, every, steps, verbose):
        super().__init__()
        self.path = None if folder is None else pathlib.Path(folder) / STATE
        self.metric, self.score = metric, score
        self.name, self.every, self.steps = name, every, steps
        self.verbose = verbose
        self.records = []

    def restore(self):
        """Takes the state on disk, if there is one, and returns the updates made.

        Raises:
            ValueError: it is that of another training.
        """
        if self.path is None or not self.path.exists():
            return 0
        with np.load(self.path) as file:
            arrays = dict(file)
        if str(arrays.pop("training")) != self.name:
            raise ValueError(
                "`folder` must be new, or hold this very training. "
                f"Received: folder={str(self.path.parent)!r}, which holds another"
            )
        self.records = json.loads(str(arrays.pop("records")))
        for index, variable in enumerate(self._variables()):
            variable.assign(arrays[f"variable_{index}"])
        return self.records[-1]["step"]

    def on_epoch_end(self, epoch, logs=None):
        score = self.score()
        losses = {key: float(value) for key, value in logs.items()}
        step = (epoch + 1) * self.every
        self.records.append({"step": step, **losses, self.metric: score})
        logs[f"val_{self.metric}"] = score
        if self.verbose:
            told = ", ".join(f"{key} {value:.3e}" for key, value in losses.items())
            print(
                f"step {step} of {self.steps}: {told}, validation {score:.2f} dB",
                flush=True,
            )
        self._save()

    def _save(self):
        if self.path is None:
            return
        arrays = {
            f"variable_{index}": ops.convert_to_numpy(variable)
            for index, variable in enumerate(self._variables())
        }
        buffer = io.BytesIO()
        np.savez(buffer, training=self.name, records=json.dumps(self.records), **arrays)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, buffer.getvalue())

    def _variables(self):
        """All that an update reads: weights, state of the noise and of optimizers."""
        return [*self.model.variables, *self.model.optimizer.variables]
