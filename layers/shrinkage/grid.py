"""Shrinkage by a gain that is interpolated on a grid."""

from typing import Any

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.shrinkage.base import FREE, POSITIVE, Shrinkage, Transform, ratio, root

GAINS = Transform(
    FREE.forward,
    FREE.inverse,
    "two finite numbers or more",
    lambda value: value.ndim == 1 and len(value) > 1,
)


@keras.saving.register_keras_serializable(package="zoo")
class GridShrinkage(Shrinkage):
    """A gain that is linear between the nodes of a grid, and constant after the last.

    `f(r) = r * gain(z)`,  `z = |r| / (spacing * sqrt(variance))`

    with `gains[k]` at `z = k`.

    Args:
        gains: floats, two at least, first gains at the nodes. Defaults to 15 from 0.1
            to 1.
        spacing: float above 0, distance of the nodes in units of `sqrt(variance)`,
            which is not trained. Defaults to 4/3.
        coordinatewise: bool, whether each coordinate has gains of its own. Defaults to
            `False`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        r: `[..., N]`, real or complex.
        variance: `[..., 1]`, of the noise in `r`. Defaults to 1.

    Returns:
        The estimate `[..., N]`, and the mean slope `[..., 1]`.

    Raises:
        ValueError: `gains` or `spacing` is not allowed.

    Example:

    >>> import numpy as np
    >>> shrinkage = GridShrinkage(gains=(0.0, 1.0), spacing=2.0)
    >>> estimate, slope = shrinkage(np.array([[1.0, -2.0, 5.0]]), np.ones((1, 1)))
    >>> np.asarray(estimate).tolist()
    [[0.5, -2.0, 5.0]]

    Reference:

    - Borgerding, Schniter and Rangan, 2017, "AMP-Inspired Deep Networks for Sparse
      Linear Inverse Problems", [arXiv:1612.01183](https://arxiv.org/abs/1612.01183)
    """

    transforms = {"gains": GAINS}

    def __init__(
        self,
        gains: Array | None = None,
        spacing: float = 4 / 3,
        coordinatewise: bool = False,
        **kwargs: Any,
    ) -> None:
        if gains is None:
            gains = np.linspace(0.1, 1.0, 15)
        super().__init__({"gains": gains}, coordinatewise, **kwargs)
        self.spacing = POSITIVE.check("spacing", spacing)

    def shrink(self, magnitude, variance, degrees, gains):
        z = ratio(magnitude, self.spacing * root(variance))
        gain, steepness = gains[0], 0.0
        for k in range(gains.shape[0] - 1):
            change = gains[k + 1] - gains[k]
            gain = gain + change * ops.clip(z - k, 0.0, 1.0)
            inside = (z > k) & (z <= k + 1)
            steepness = steepness + change * ops.cast(inside, z.dtype)
        return gain, gain + z * steepness

    def get_config(self):
        return {**super().get_config(), "spacing": self.spacing}
