"""What no solver passes on average: who knows the support, and state evolution."""

import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.shrinkage import Shrinkage
from zoo.losses.checks import check_integer, check_number
from zoo.solvers.sparse import checks

# Standard deviations and points of the quadrature.
_WIDTH, _POINTS = 12.0, 4001


def support_oracle(
    matrix: Array,
    y: Array,
    truth: Array,
    noise_variance: float | None = None,
    signal_variance: float | Array = 1.0,
) -> np.ndarray:
    """Estimates signals by their true supports, which no solver knows.

    With the columns `A_S` of entries other than 0: least squares, `argmin |y - A_S
    x_S|`, or, with a noise variance, the best linear estimate of independent entries,

    `x_S = (A_S^H A_S + noise_variance / signal_variance I)^-1 A_S^H y`

    Args:
        matrix: `A`, `[M, N]`, real or complex.
        y: `[..., M]`, measurements.
        truth: `[..., N]`, the true signals.
        noise_variance: float > 0, or `None` for least squares. Defaults to `None`.
        signal_variance: float > 0, or `[N]`. Defaults to 1.0.

    Returns:
        Float64 or complex128 `[..., N]`.

    Raises:
        ValueError: an argument is not as above, or not finite.

    Example:

    >>> from zoo.data import bernoulli_gaussian
    >>> from zoo.metrics import nmse
    >>> problem = bernoulli_gaussian()
    >>> y, x = problem.sample(100)
    >>> best = support_oracle(problem.matrix, y, x, problem.noise_variance)
    >>> round(nmse(best, x), 1)
    -45.9
    """
    matrix, y, truth = checks.check_signals(matrix, y, truth)
    variance = checks.check_numbers(
        "signal_variance", signal_variance, truth.shape[-1:]
    )
    estimate = np.zeros(truth.shape, matrix.dtype)
    gram, matched = matrix.conj().T @ matrix, y @ matrix.conj()
    if noise_variance is not None:
        noise_variance = checks.check_numbers("noise_variance", noise_variance)
        gram += np.diag(noise_variance / variance * np.ones(len(gram)))
    for place in np.ndindex(truth.shape[:-1]):
        support = np.flatnonzero(truth[place])
        if noise_variance is None:
            # Where many fit, the smallest.
            best = np.linalg.lstsq(matrix[:, support], y[place])[0]
        else:
            system = gram[np.ix_(support, support)]
            best = np.linalg.solve(system, matched[place][support])
        estimate[place][support] = best
    return estimate


def state_evolution(
    shrinkage: Shrinkage,
    ratio: float,
    sparsity: float,
    noise_variance: float,
    iterations: int = 30,
    signal_variance: float = 1.0,
) -> np.ndarray:
    """Predicts the error of AMP on Bernoulli-Gaussian signals as `N` grows.

    `variance_t = noise_variance + mse_t / ratio`,
    `mse_(t+1) = E |f(x + sqrt(variance_t) z, variance_t) - x|^2`

    with `z` standard normal and `mse_0 = E |x|^2`, for `A` of independent entries of
    variance `1 / M` and `ratio = M / N`. The expectation is an integral over `r = x +
    sqrt(variance) z` alone, taken by the trapezoidal rule: given `r`, `x` is Gaussian
    or 0. With the shrinkage that matches the signals the limit is the least error that
    any method has on average.

    Args:
        shrinkage: `f`, a `zoo.layers.shrinkage.Shrinkage` alike for all coordinates.
        ratio: float > 0, `M / N`.
        sparsity: float in (0, 1], the probability of an entry other than 0.
        noise_variance: float >= 0, of one measurement.
        iterations: int >= 1. Defaults to 30.
        signal_variance: float > 0, of entries other than 0. Defaults to 1.0.

    Returns:
        Float64 `[iterations + 1]`, the NMSE in dB before each iteration and at the end.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> from zoo.layers.shrinkage import BernoulliGaussianShrinkage
    >>> curve = state_evolution(BernoulliGaussianShrinkage(0.1), 0.5, 0.1, 2e-5)
    >>> print(curve[[0, 1, 2, 4, 8, 30]].round(2))
    [  0.    -4.19  -8.01 -16.54 -38.59 -45.6 ]

    Reference:

    - Bayati and Montanari, 2011, "The Dynamics of Message Passing on Dense Graphs, with
      Applications to Compressed Sensing",
      [arXiv:1001.3448](https://arxiv.org/abs/1001.3448)
    """
    checks.check_shrinkage(shrinkage, _POINTS)
    if shrinkage.coordinatewise:
        raise ValueError(
            "`shrinkage` must be alike for all coordinates. "
            "Received: shrinkage with coordinatewise=True"
        )
    positive = {
        "ratio": ratio,
        "sparsity": sparsity,
        "signal_variance": signal_variance,
    }
    for name, value in positive.items():
        checks.check_numbers(name, value)
    sparsity = check_number("sparsity", sparsity, 0, 1)
    noise_variance = check_number("noise_variance", noise_variance, 0)

    def mean(function, spread, variance):
        """The expectation of a function of Gaussian `r`, and of what is made of it."""
        scale = np.sqrt(variance)
        # As fine as the shrinkage bends, whatever the spread.
        end = np.arcsinh(_WIDTH * spread / scale)
        u = np.linspace(-end, end, _POINTS)
        r = scale * np.sinh(u)
        weights = np.exp(-((r / spread) ** 2) / 2) * np.cosh(u)
        estimate = shrinkage(r[None], np.array([[variance]]))[0]
        estimate = np.asarray(ops.convert_to_numpy(estimate), "float64")[0]
        return weights @ function(r, estimate) / weights.sum()

    def error(variance):
        """The mean squared error at a variance of the noise."""
        total = signal_variance + variance
        share = signal_variance / total
        zero = mean(lambda r, x: x**2, np.sqrt(variance), variance)
        some = mean(lambda r, x: (x - share * r) ** 2, np.sqrt(total), variance)
        return (1 - sparsity) * zero + sparsity * (some + share * variance)

    power = sparsity * signal_variance
    errors = [power]
    for _ in range(check_integer("iterations", iterations, 1)):
        errors.append(error(noise_variance + errors[-1] / ratio))
    return 10 * np.log10(np.array(errors) / power)
