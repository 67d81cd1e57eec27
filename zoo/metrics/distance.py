"""How far training has moved the weights."""

from collections.abc import Iterable

import numpy as np

from zoo.metrics.updates import AtUpdates


class DistanceFromInitialization(AtUpdates):
    """Adds `distance`, the weights' distance from where training began, to the logs.

    `||w_t - w_0||_2` over all trainable weights, at the end of each epoch, and in
    `curve`, an array, after each of `updates`. On a random landscape it grows like the
    logarithm of the number of updates.

    Args:
        updates: ints, numbers of updates to measure after. Defaults to none.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.ones((8, 2), "float32"), np.ones((8, 1), "float32")
    >>> callback = DistanceFromInitialization()
    >>> logs = model.fit(x, y, epochs=2, verbose=0, callbacks=[callback]).history
    >>> logs["distance"][1] > logs["distance"][0] > 0
    True

    Reference:

    - Hoffer, Hubara and Soudry, 2017, "Train longer, generalize better", section 3,
      [arXiv:1705.08741](https://arxiv.org/abs/1705.08741)
    """

    def __init__(self, updates: Iterable[int] = ()) -> None:
        super().__init__(updates)

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._initial = self._weights()
        self._measured = []

    def measure(self, update):
        self._measured.append(self._distance())

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        logs["distance"] = self._distance()

    @property
    def curve(self) -> np.ndarray:
        """The distances measured so far after `updates`, a 1-D array."""
        return np.array(self._measured)

    def _distance(self):
        squares = (
            np.sum(np.square(now - start), dtype="float64")
            for now, start in zip(self._weights(), self._initial, strict=True)
        )
        return float(np.sqrt(sum(squares)))

    def _weights(self):
        return [variable.numpy() for variable in self.model.trainable_variables]
