"""Exponential shrinkage."""

from typing import Any

import keras
from keras import ops

from zoo.layers.shrinkage.base import FREE, POSITIVE, Shrinkage, ratio, root


@keras.saving.register_keras_serializable(package="zoo")
class ExponentialShrinkage(Shrinkage):
    """A gain that a Gaussian bump lowers around zero.

    `f(r) = r * (gain + bump * exp(-z^2 / 2))`,  `z = |r| / (width * sqrt(variance))`

    Args:
        width: float above 0, first width of the bump, in units of `sqrt(variance)`.
            Defaults to 2.5.
        gain: float, first gain far from zero. Defaults to 0.9.
        bump: float, first change of the gain at zero. Defaults to -1.
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
    >>> shrinkage = ExponentialShrinkage(width=1.0, gain=1.0, bump=-1.0)
    >>> estimate, slope = shrinkage(np.array([[0.1, 10.0]]), np.ones((1, 1)))
    >>> np.asarray(estimate).astype("float64").round(4).tolist()
    [[0.0005, 10.0]]

    Reference:

    - Guo and Davies, 2015, "Near optimal compressed sensing without priors: parametric
      SURE approximate message passing",
      [arXiv:1409.0440](https://arxiv.org/abs/1409.0440)
    - Borgerding, Schniter and Rangan, 2017, "AMP-Inspired Deep Networks for Sparse
      Linear Inverse Problems", [arXiv:1612.01183](https://arxiv.org/abs/1612.01183)
    """

    transforms = {"width": POSITIVE, "gain": FREE, "bump": FREE}

    def __init__(
        self,
        width: float = 2.5,
        gain: float = 0.9,
        bump: float = -1.0,
        coordinatewise: bool = False,
        **kwargs: Any,
    ) -> None:
        parameters = {"width": width, "gain": gain, "bump": bump}
        super().__init__(parameters, coordinatewise, **kwargs)

    def shrink(self, magnitude, variance, degrees, width, gain, bump):
        square = ops.square(ratio(magnitude, width * root(variance)))
        bell = bump * ops.exp(-square / 2)
        return gain + bell, gain + bell * (1 - square)
