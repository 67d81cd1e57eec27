"""Images of fewer pixels."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from zoo._types import Array
from zoo.layers.checks import check_choice, check_count
from zoo.layers.operators.base import LinearOperator
from zoo.layers.operators.checks import check_image_shape

KINDS = ("box", "decimate")


@keras.saving.register_keras_serializable(package="zoo")
class Downsample(LinearOperator):
    """Measurements of one pixel for each block of `f x f`: super-resolution.

    `"box"` takes the mean of a block, `A A^T = I / f^2`, and `"decimate"` its first
    pixel, `A A^T = I`.

    Args:
        image_shape: three ints, `(H, W, C)` of an image.
        factor: int from 1 up that divides `H` and `W`, `f`.
        kind: `"box"` or `"decimate"`. Defaults to `"box"`.
        **kwargs: `name`, `dtype`.

    Call arguments:
        x: `[batch, H, W, C]`.

    Returns:
        `[batch, H / f, W / f, C]`.

    Raises:
        ValueError: `factor` is no such int, or `kind` none of the two.

    Example:

    >>> import numpy as np
    >>> x = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]])
    >>> for kind in ("box", "decimate"):
    ...     print(np.asarray(Downsample((2, 2, 1), 2, kind)(x)).ravel())
    [2.5]
    [1.]
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        factor: int,
        kind: Literal["box", "decimate"] = "box",
        **kwargs: Any,
    ) -> None:
        height, width, channels = check_image_shape(image_shape)
        factor = check_count("factor", factor, min(height, width))
        if height % factor or width % factor:
            raise ValueError(
                "`factor` must divide the image's height and width. "
                f"Received: factor={factor}, image_shape={tuple(image_shape)}"
            )
        check_choice("kind", kind, KINDS)
        shape = (height // factor, width // factor, channels)
        super().__init__(image_shape, shape, **kwargs)
        self.factor = factor
        self.kind = kind
        self.tightness: float = 1.0 if kind == "decimate" else factor**-2

    def measure(self, x: Array) -> Array:
        height, width, channels = self.measurement_shape
        x = ops.reshape(x, (-1, height, self.factor, width, self.factor, channels))
        if self.kind == "decimate":
            return x[:, :, 0, :, 0]
        # The mean, which Keras takes in float32 on JAX.
        return ops.sum(x, axis=(2, 4)) * self.factor**-2

    def transpose(self, y: Array) -> Array:
        y = y[:, :, None, :, None]
        rest = self.factor - 1
        if self.kind == "box":
            y = ops.tile(y, (1, 1, self.factor, 1, self.factor, 1)) * self.factor**-2
        else:
            y = ops.pad(y, [(0, 0), (0, 0), (0, rest), (0, 0), (0, rest), (0, 0)])
        return ops.reshape(y, (-1, *self.image_shape))

    def compute_extreme(self, end: Literal["smallest", "largest"]) -> float:
        full = end == "largest" or self.factor == 1
        return self.tightness if full else 0.0

    def get_config(self):
        return {**super().get_config(), "factor": self.factor, "kind": self.kind}
