"""Spline shrinkage."""

from typing import Any

import keras
from keras import ops

from zoo.layers.shrinkage.base import FREE, POSITIVE, Shrinkage, ratio, root


@keras.saving.register_keras_serializable(package="zoo")
class SplineShrinkage(Shrinkage):
    """A gain that a cubic B-spline lowers around zero, and nowhere else.

    `f(r) = r * (gain + bump * b(z))`,  `z = |r| / (width * sqrt(variance))`

    `b` is the cubic B-spline: 2/3 at `z = 0`, 1/6 at 1, and zero from 2 on.

    Args:
        width: float above 0, first distance of the knots, in units of
            `sqrt(variance)`. Defaults to 3.7.
        gain: float, first gain far from zero. Defaults to 0.9.
        bump: float, 3/2 of the first change of the gain at zero. Defaults to -1.5.
        coordinatewise: bool, whether each coordinate has parameters of its own.
            Defaults to `False`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        r: `[..., N]`, real or complex.
        variance: `[..., 1]`, of the noise in `r`. Defaults to 1.

    Returns:
        The estimate `[..., N]`, and the mean slope `[..., 1]`.

    Raises:
        ValueError: a first value is not allowed.

    Example:

    >>> import numpy as np
    >>> shrinkage = SplineShrinkage(width=1.0, gain=1.0, bump=-1.5)
    >>> estimate, slope = shrinkage(np.array([[0.0, 1.0, 2.0]]), np.ones((1, 1)))
    >>> np.asarray(estimate).tolist()
    [[0.0, 0.75, 2.0]]

    Reference:

    - Borgerding, Schniter and Rangan, 2017, "AMP-Inspired Deep Networks for Sparse
      Linear Inverse Problems", [arXiv:1612.01183](https://arxiv.org/abs/1612.01183)
    """

    transforms = {"width": POSITIVE, "gain": FREE, "bump": FREE}

    def __init__(
        self,
        width: float = 3.7,
        gain: float = 0.9,
        bump: float = -1.5,
        coordinatewise: bool = False,
        **kwargs: Any,
    ) -> None:
        parameters = {"width": width, "gain": gain, "bump": bump}
        super().__init__(parameters, coordinatewise, **kwargs)

    def shrink(self, magnitude, variance, degrees, width, gain, bump):
        z = ratio(magnitude, width * root(variance))
        outer, inner = ops.relu(2 - z), ops.relu(1 - z)
        spline = (outer**3 - 4 * inner**3) / 6
        bend = (4 * inner**2 - outer**2) / 2
        return gain + bump * spline, gain + bump * (spline + z * bend)
