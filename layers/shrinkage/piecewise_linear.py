"""Piecewise linear shrinkage with two kinks."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo.layers.shrinkage.base import (
    FREE,
    POSITIVE,
    Shrinkage,
    Transform,
    excess,
    root,
)

KINKS = Transform(
    lambda raw: ops.cumsum(ops.softplus(raw), axis=0),
    lambda value: POSITIVE.inverse(np.diff(value, prepend=0.0)),
    "two numbers above 0, the second the larger",
    lambda value: value.shape == (2,) and 0 < value[0] < value[1],
)
SLOPES = Transform(
    FREE.forward,
    FREE.inverse,
    "three finite numbers",
    lambda value: value.shape == (3,),
)


@keras.saving.register_keras_serializable(package="zoo")
class PiecewiseLinearShrinkage(Shrinkage):
    """An odd function of three slopes, which change at two kinks.

    The kinks lie at magnitudes `kinks * sqrt(variance)`. The slopes are those below the
    first, between the two, and above the second.

    The derivative of the mean slope by the kinks is zero.

    Args:
        kinks: pair of floats, `0 < kinks[0] < kinks[1]`, first values, in units of
            `sqrt(variance)`. Defaults to (2, 4).
        slopes: three floats, first values. Defaults to (0.1, 1.5, 0.95).
        coordinatewise: bool, whether each coordinate has parameters of its own.
            Defaults to `False`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        r: `[..., N]`, real or complex.
        variance: `[..., 1]`, of the noise in `r`. Defaults to 1.

    Returns:
        The estimate `[..., N]`, and the mean slope `[..., 1]`.

    Raises:
        ValueError: `kinks` or `slopes` are not allowed.

    Example:

    >>> import numpy as np
    >>> shrinkage = PiecewiseLinearShrinkage((1.0, 2.0), (0.0, 1.5, 1.0))
    >>> estimate, slope = shrinkage(np.array([[0.5, 2.0, -4.0]]), np.ones((1, 1)))
    >>> np.asarray(estimate).tolist()
    [[0.0, 1.5, -3.5]]

    Reference:

    - Guo and Davies, 2015, "Near optimal compressed sensing without priors: parametric
      SURE approximate message passing",
      [arXiv:1409.0440](https://arxiv.org/abs/1409.0440)
    - Borgerding, Schniter and Rangan, 2017, "AMP-Inspired Deep Networks for Sparse
      Linear Inverse Problems", [arXiv:1612.01183](https://arxiv.org/abs/1612.01183)
    """

    transforms = {"kinks": KINKS, "slopes": SLOPES}

    def __init__(
        self,
        kinks: Sequence[float] = (2.0, 4.0),
        slopes: Sequence[float] = (0.1, 1.5, 0.95),
        coordinatewise: bool = False,
        **kwargs: Any,
    ) -> None:
        parameters = {"kinks": kinks, "slopes": slopes}
        super().__init__(parameters, coordinatewise, **kwargs)

    def shrink(self, magnitude, variance, degrees, kinks, slopes):
        gain = slope = slopes[0]
        for i in range(2):
            kink = kinks[i] * root(variance)
            change = slopes[i + 1] - slopes[i]
            gain = gain + change * excess(magnitude, kink)
            slope = slope + change * ops.cast(magnitude > kink, magnitude.dtype)
        return gain, slope
