"""A callback that raises the margin of a loss while training begins."""

import keras
from keras import ops

from zoo.losses.angular import AngularMargin
from zoo.losses.checks import check_integer


class MarginWarmup(keras.callbacks.Callback):
    """Raises the margins of a loss from none to full over the first updates.

    At update `i` the loss has the margins `1 + r * (m1 - 1)`, `r * m2` and `r * m3`,

    `r = min(floor(levels * i / steps), levels) / levels`

    so that training begins as plain softmax over cosines: a full margin at once can
    keep a network from learning. The updates are the optimizer's: training that goes
    on goes on at its margin.

    Where a compiled step holds the margins as constants, on JAX, each rise compiles it
    once more.

    Args:
        loss: `AngularMargin`, or one of its kind (`ArcFace`, `CosFace`, `SphereFace`,
            `LSoftmax`): the object that `compile` got.
        steps: int >= 1, updates until the margins are full.
        levels: int >= 1, equal rises. Defaults to 10.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.layers import CosineDense
    >>> from zoo.losses import ArcFace
    >>> loss = ArcFace(scale="auto")
    >>> model = keras.Sequential([keras.Input((8,)), CosineDense(3)])
    >>> model.compile("sgd", loss)
    >>> warmup = MarginWarmup(loss, steps=4, levels=2)
    >>> x, y = np.ones((6, 8)), np.arange(6) % 3
    >>> history = model.fit(x, y, batch_size=2, callbacks=[warmup], verbose=0)
    >>> float(loss.strength)  # at the third update, i = 2
    0.5
    """

    def __init__(self, loss: AngularMargin, steps: int, levels: int = 10) -> None:
        super().__init__()
        if not isinstance(loss, AngularMargin):
            raise ValueError(
                f"`loss` must be an AngularMargin. Received: loss={loss!r}"
            )
        self.steps = check_integer("steps", steps, low=1)
        self.levels = check_integer("levels", levels, low=1)
        self.strength = keras.Variable(0.0, dtype="float32", trainable=False)
        self._strength = 0.0
        loss.strength = self.strength

    def on_train_begin(self, logs=None):
        # Steps compiled before know the margins at their full.
        self._compile_steps()

    def on_epoch_begin(self, epoch, logs=None):
        optimizer = self.model.optimizer
        # Mixed precision wraps the one that counts.
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        # Within an epoch JAX keeps the optimizer's count of batches to itself.
        self._batches_before = int(ops.convert_to_numpy(optimizer._iterations))
        self._batches_per_update = optimizer.gradient_accumulation_steps or 1

    def on_train_batch_begin(self, batch, logs=None):
        updates = (self._batches_before + batch) // self._batches_per_update
        strength = min(self.levels * updates // self.steps, self.levels) / self.levels
        if strength != self._strength:
            self._strength = strength
            self.strength.assign(strength)
            if keras.backend.backend() == "jax":
                self._compile_steps()

    def _compile_steps(self):
        self.model.make_train_function(force=True)
        self.model.make_test_function(force=True)
