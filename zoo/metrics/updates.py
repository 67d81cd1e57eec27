"""Callbacks that measure after chosen numbers of updates."""

import keras


class AtUpdates(keras.callbacks.Callback):
    """Calls `measure` after chosen numbers of updates since training began.

    Args:
        updates: ints.
    """

    def __init__(self, updates):
        super().__init__()
        self.updates = frozenset(updates)

    def measure(self, update):
        """Measures the model after that number of updates."""
        raise NotImplementedError

    def on_train_begin(self, logs=None):
        self._before = self._update = 0

    def on_train_batch_end(self, batch, logs=None):
        # With `steps_per_execution`, that of the last of several updates, and beyond
        # the last batch where they do not fill an execution.
        done = min(batch + 1, self.params.get("steps") or batch + 1)
        last, self._update = self._update, self._before + done
        missed = self.updates & set(range(last + 1, self._update))
        if missed:
            raise ValueError(
                "`updates` must end an execution of `steps_per_execution` updates. "
                f"Received: update {min(missed)}, of an execution from {last + 1} to "
                f"{self._update}"
            )
        if self._update in self.updates:
            self.measure(self._update)

    def on_epoch_end(self, epoch, logs=None):
        self._before = self._update
