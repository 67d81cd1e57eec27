"""The posterior mean of sparse Gaussian signals."""

from typing import Any

import keras
from keras import ops

from zoo.layers.shrinkage.base import POSITIVE, SHARE, SMALLEST, Shrinkage, ratio, root

# A share of the variance that keeps its logarithm, and its gradient, finite.
SMALLEST_SHARE = 1e-30


@keras.saving.register_keras_serializable(package="zoo")
class BernoulliGaussianShrinkage(Shrinkage):
    """The posterior mean of coordinates that are zero, or else Gaussian.

    For `x` nonzero with probability `sparsity`, then normal with mean zero and variance
    `signal_variance`, and `r = x + noise` with normal noise,

    `f(r) = E[x | r] = b * r * p`,  `b = signal_variance / (signal_variance + variance)`

    with `p` the probability that `x` is nonzero,

    `logit p = logit sparsity + log(1 - b) / 2 + b r^2 / (2 variance)`

    No other function has a smaller mean squared error on such signals. Complex ones are
    circular, with the variances of the complex numbers: their last two terms are twice
    as large.

    Args:
        sparsity: float from 1e-6 to 1 - 1e-6, first value. Defaults to 0.1.
        signal_variance: float above 0, first value. Defaults to 1.
        coordinatewise: bool, whether each coordinate has parameters of its own.
            Defaults to `False`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        r: `[..., N]`, real or complex.
        variance: `[..., 1]`, of the noise in `r`. Defaults to 1.

    Returns:
        The estimate `[..., N]`, and the mean slope `[..., 1]`; `variance * slope` is
        the mean of the posterior variances.

    Raises:
        ValueError: `sparsity` or `signal_variance` is not allowed.

    Example:

    >>> import numpy as np
    >>> shrinkage = BernoulliGaussianShrinkage(sparsity=0.1, signal_variance=1.0)
    >>> r = np.array([[0.1, 0.3, 1.0]])
    >>> estimate, slope = shrinkage(r, np.full((1, 1), 0.01))
    >>> np.asarray(estimate).astype("float64").round(3).tolist()
    [[0.002, 0.145, 0.99]]

    Reference:

    - Borgerding, Schniter and Rangan, 2017, "AMP-Inspired Deep Networks for Sparse
      Linear Inverse Problems", [arXiv:1612.01183](https://arxiv.org/abs/1612.01183)
    """

    transforms = {"sparsity": SHARE, "signal_variance": POSITIVE}

    def __init__(
        self,
        sparsity: float = 0.1,
        signal_variance: float = 1.0,
        coordinatewise: bool = False,
        **kwargs: Any,
    ) -> None:
        parameters = {"sparsity": sparsity, "signal_variance": signal_variance}
        super().__init__(parameters, coordinatewise, **kwargs)

    def shrink(self, magnitude, variance, degrees, sparsity, signal_variance):
        total = ops.maximum(signal_variance + variance, SMALLEST)
        b, noise_share = signal_variance / total, variance / total
        power = degrees * b * ops.square(ratio(magnitude, root(variance)))
        logit = ops.log(sparsity) - ops.log1p(-sparsity) + power / 2
        logit += degrees / 2 * ops.log(ops.maximum(noise_share, SMALLEST_SHARE))
        nonzero, zero = ops.sigmoid(logit), ops.sigmoid(-logit)
        return b * nonzero, b * nonzero * (1 + zero * power)
