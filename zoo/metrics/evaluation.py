"""Loss and accuracy along training, in updates rather than epochs."""

from collections.abc import Iterable, Mapping

import keras
import numpy as np

from zoo._types import Array
from zoo.losses.checks import check_labels
from zoo.metrics.updates import AtUpdates


def predict_logits(
    model: keras.Model, images: Array, batch_size: int = 1000
) -> np.ndarray:
    """Returns a classifier's outputs in inference mode.

    Unlike `predict` it sets up no input pipeline, and so is cheap in a callback.

    Args:
        model: a `keras.Model`.
        images: array, `(n, ...)`.
        batch_size: int, images a step. Defaults to 1000.

    Returns:
        Float64 array, `(n, classes)`.

    Example:

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    >>> predict_logits(model, np.ones((8, 2), "float32")).shape
    (8, 3)
    """
    cuts = range(batch_size, len(images), batch_size)
    return np.concatenate(
        [
            # Each replica of a strategy predicts the whole batch.
            model.predict_on_batch(part)[: len(part)]
            for part in np.split(images, cuts)
        ]
    ).astype("float64")


def loss_and_accuracy(
    model: keras.Model, images: Array, labels: Array, batch_size: int = 1000
) -> tuple[float, float]:
    """Returns a classifier's mean cross-entropy and accuracy in inference mode.

    Unlike `evaluate` it leaves the metrics of an epoch under way as they are.

    Args:
        model: a `keras.Model` whose outputs are logits.
        images: array, `(n, ...)`.
        labels: int array, `(n,)`, from 0 to the number of classes less 1.
        batch_size: int, images a step. Defaults to 1000.

    Returns:
        Two floats: the loss in nats and the accuracy in [0, 1].

    Raises:
        ValueError: `labels` are not as above.

    Example: logits that are all the same leave `log 3`.

    >>> model = keras.Sequential(
    ...     [keras.Input((2,)), keras.layers.Dense(3, kernel_initializer="zeros")]
    ... )
    >>> loss, accuracy = loss_and_accuracy(model, np.ones((8, 2)), np.zeros(8, "int32"))
    >>> print(round(loss, 4), accuracy)
    1.0986 1.0
    """
    logits = predict_logits(model, images, batch_size)
    labels = check_labels(labels, *logits.shape)
    logits -= logits.max(axis=1, keepdims=True)
    picked = logits[np.arange(len(labels)), labels]
    loss = np.log(np.exp(logits).sum(axis=1)) - picked
    return float(loss.mean()), float(np.mean(logits.argmax(axis=1) == labels))


class EvaluateAtUpdates(AtUpdates):
    """Evaluates a classifier in inference mode after chosen numbers of updates.

    Training logs average over an epoch in which the weights move, with the batch's own
    statistics; this measures one set of weights, and as finely within the first epoch
    as is asked for. Curves of different batch sizes can be compared at equal loss.

    After training, `curves` holds 1-D arrays: `update`, and for each part
    `{part}_loss` (mean cross-entropy in nats) and `{part}_accuracy`. The last values of
    the part `validation` join the epoch's logs as `val_loss` and `val_accuracy`.

    Args:
        parts: dict of names to pairs of images and integer labels.
        updates: ints, the numbers of updates to evaluate after.
        batch_size: int, images a step of inference. Defaults to 1000.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> model.compile("sgd", loss)
    >>> x, y = np.ones((8, 2), "float32"), np.zeros(8, "int32")
    >>> callback = EvaluateAtUpdates({"training": (x, y)}, updates=[1, 4])
    >>> logs = model.fit(x, y, batch_size=2, verbose=0, callbacks=[callback])
    >>> callback.curves["update"].tolist()
    [1, 4]
    """

    def __init__(
        self,
        parts: Mapping[str, tuple[Array, Array]],
        updates: Iterable[int],
        batch_size: int = 1000,
    ) -> None:
        super().__init__(updates)
        self.parts = parts
        self.batch_size = batch_size

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._rows = []
        self._fresh = {}

    def measure(self, update):
        row = {"update": update}
        for part, (images, labels) in self.parts.items():
            row[f"{part}_loss"], row[f"{part}_accuracy"] = loss_and_accuracy(
                self.model, images, labels, self.batch_size
            )
        self._rows.append(row)
        self._fresh = row

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        for name in ("loss", "accuracy"):
            if f"validation_{name}" in self._fresh:
                logs[f"val_{name}"] = self._fresh[f"validation_{name}"]
        self._fresh = {}

    @property
    def curves(self) -> dict[str, np.ndarray]:
        """The curves measured so far, a dict of 1-D arrays."""
        names = self._rows[0] if self._rows else ()
        return {name: np.array([row[name] for row in self._rows]) for name in names}
