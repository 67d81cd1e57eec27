"""Soft thresholding."""

from typing import Any

import keras
from keras import ops

from zoo._types import Array
from zoo.layers.shrinkage.base import (
    FREE,
    POSITIVE,
    Shrinkage,
    excess,
    is_complex,
    root,
)


@keras.saving.register_keras_serializable(package="zoo")
class SoftShrinkage(Shrinkage):
    """Soft thresholding in units of the noise, scaled.

    `f(r) = scale * sign(r) * max(|r| - threshold * sqrt(variance), 0)`

    It is the proximal operator of the l1 norm, and makes AMP and VAMP solve the Lasso.
    The default threshold suits signals with a tenth of their coordinates nonzero and
    half as many measurements.

    The slope is `scale` times the share of the coordinates above the threshold: its
    derivative by the threshold is zero.

    Args:
        threshold: float above 0, first value, in units of `sqrt(variance)`. Defaults
            to 1.1402.
        scale: float, first value. Defaults to 1.
        coordinatewise: bool, whether each coordinate has parameters of its own.
            Defaults to `False`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        r: `[..., N]`, real or complex.
        variance: `[..., 1]`, of the noise in `r`. Defaults to 1.

    Returns:
        The estimate `[..., N]`, and the mean slope `[..., 1]`.

    Raises:
        ValueError: `threshold` or `scale` is not allowed.

    Example:

    >>> import numpy as np
    >>> shrinkage = SoftShrinkage(threshold=1.0)
    >>> estimate, slope = shrinkage(np.array([[3.0, -1.0, 0.5, -2.5]]), np.ones((1, 1)))
    >>> np.asarray(estimate).tolist(), float(slope[0, 0])
    ([[2.0, -0.0, 0.0, -1.5]], 0.5)

    Reference:

    - Donoho, Maleki and Montanari, 2009, "Message passing algorithms for compressed
      sensing", [arXiv:0907.3574](https://arxiv.org/abs/0907.3574)
    """

    transforms = {"threshold": POSITIVE, "scale": FREE}

    def __init__(
        self,
        threshold: float = 1.1402,
        scale: float = 1.0,
        coordinatewise: bool = False,
        **kwargs: Any,
    ) -> None:
        parameters = {"threshold": threshold, "scale": scale}
        super().__init__(parameters, coordinatewise, **kwargs)

    def shrink(self, magnitude, variance, degrees, threshold, scale):
        kink = threshold * root(variance)
        above = ops.cast(magnitude > kink, magnitude.dtype)
        return scale * excess(magnitude, kink), scale * above


def soft_threshold(r: Array, threshold: float | Array) -> Array:
    """Moves numbers towards zero, `sign(r) * max(|r| - threshold, 0)`.

    Of complex numbers the magnitude is shrunk and the phase kept. The gradient is
    finite everywhere.

    Args:
        r: tensor of any shape, real or complex.
        threshold: from 0 up, of a shape that broadcasts to that of `r`.

    Returns:
        A tensor of the shape and dtype of `r`; of integers, in Keras's float type.

    Example:

    >>> import numpy as np
    >>> np.asarray(soft_threshold(np.array([3.0, -0.5, -2.0]), 1.0)).tolist()
    [2.0, -0.0, -1.0]
    >>> complex(soft_threshold(np.array([3.0 + 4.0j]), 2.5)[0])
    (1.5+2j)
    """
    r = ops.convert_to_tensor(r)
    if keras.backend.is_int_dtype(r.dtype):
        r = ops.cast(r, keras.config.floatx())
    magnitude = ops.abs(r)
    threshold = ops.convert_to_tensor(threshold, magnitude.dtype)
    if not is_complex(r):
        return ops.sign(r) * ops.relu(magnitude - threshold)
    gain = excess(magnitude, threshold)
    return r * ops.cast(gain, r.dtype)
