"""AMP and VAMP, which know how much noise is left in what they shrink."""

import dataclasses
import functools
import warnings

import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.shrinkage import Shrinkage, SoftShrinkage
from zoo.layers.unrolled_block import check_damping
from zoo.solvers.sparse import checks
from zoo.solvers.sparse.result import SparseResult
from zoo.solvers.sparse.solve import solve


def amp(
    matrix: Array,
    y: Array,
    shrinkage: Shrinkage,
    *,
    iterations: int = 100,
    tolerance: float = 1e-6,
    damping: float = 1.0,
    truth: Array | None = None,
) -> SparseResult:
    """Recovers signals by approximate message passing.

    `v <- y - A x + (N / M) slope v`, `x, slope <- f(x + A^H v, |v|^2 / M)`

    from `x = v = 0`: the term with the mean slope of the last shrinkage, Onsager's,
    makes `x + A^H v` the true signal in white Gaussian noise, of that variance, for a
    large `A` of independent entries of variance `1 / M`. With other matrices it may
    diverge: then a signal keeps its last estimate, and a warning is given.

    With soft thresholding it ends where the Lasso does, at the `regularization` that
    the result names, `threshold sqrt(variance) (1 - slope N / M)`. With the shrinkage
    that matches the signals no method does better on average, as `N` grows.

    Args:
        matrix: `A`, `[M, N]`, real or complex.
        y: `[..., M]`, the measurements of one signal or of a batch.
        shrinkage: `f`, a `zoo.layers.shrinkage.Shrinkage` of float32 or float64: in its
            precision all is computed.
        iterations: int >= 1, the most that are made. Defaults to 100.
        tolerance: float >= 0, the change of a signal, relative to its norm, at which it
            stops. Defaults to 1e-6.
        damping: float in (0, 1], the share of a step of `v` and `x` that is made, from
            the second iteration on. Defaults to 1.0.
        truth: `[..., N]`, true signals, to follow the error to; or `None`. Defaults to
            `None`.

    Returns:
        A `SparseResult`.

    Raises:
        ValueError: an argument is not as above, or not finite.

    Warns:
        UserWarning: it diverged on some signals, or `|A|_F^2` is far from `N`.

    Example:

    >>> from zoo.data import bernoulli_gaussian
    >>> from zoo.layers.shrinkage import BernoulliGaussianShrinkage
    >>> problem = bernoulli_gaussian((250, 500))
    >>> y, x = problem.sample(100)
    >>> result = amp(problem.matrix, y, BernoulliGaussianShrinkage(0.1), truth=x)
    >>> print(result.nmse()[[0, 5, 10, -1]].round(1))
    [  0.  -19.  -41.4 -45.4]

    Reference:

    - Donoho, Maleki and Montanari, 2009, "Message Passing Algorithms for Compressed
      Sensing", [arXiv:0907.3574](https://arxiv.org/abs/0907.3574)
    """
    matrix, y, truth = checks.check_signals(matrix, y, truth)
    damping = check_damping(damping)
    checks.check_shrinkage(shrinkage, matrix.shape[1])
    _warn_of_scale(matrix)
    constants, numbers = {"matrix": matrix}, {"damping": damping}
    result = solve(
        "amp", shrinkage, y, constants, numbers, iterations, tolerance, truth
    )
    left = 1 - matrix.shape[1] / matrix.shape[0] * result.slope
    return _with_regularization(result, shrinkage, np.sqrt(result.variance) * left)


def vamp(
    matrix: Array,
    y: Array,
    shrinkage: Shrinkage,
    noise_variance: float | Array,
    *,
    iterations: int = 50,
    tolerance: float = 1e-6,
    damping: float = 1.0,
    truth: Array | None = None,
) -> SparseResult:
    """Recovers signals by vector approximate message passing.

    In turns, signals are estimated as if they were Gaussian around `r` with variance
    `g`, and by the shrinkage `f` from `p` with variance `q`, and each is told no more
    than it does not know. With the singular values `A = U diag(s) V^H` and `y~ =
    diag(1 / s) U^H y`, from `r = 0` and `g = |y|^2 / |A|_F^2`:

    `d = s^2 / (s^2 + noise_variance / g)`, `z = N / sum d`,
    `p = r + z V (d (y~ - V^H r))`, `q = g (z - 1)`,
    `x, a <- f(p, q)`, `r <- (x - a p) / (1 - a)`, `g <- q a / (1 - a)`

    An iteration costs what one of ISTA does. Unlike AMP it takes matrices of any
    singular values, if their singular vectors are as good as random. `a` is kept
    within `[1 / (2 N), 1 - 1 / (2 N)]`.

    With soft thresholding it ends where the Lasso does, at the `regularization` that
    the result names, `noise_variance threshold / sqrt(q)`.

    Args:
        matrix: `A`, `[M, N]`, real or complex, of full rank.
        y, shrinkage, iterations, tolerance, truth: as for `amp`, but that 50 iterations
            are made at most.
        noise_variance: float >= 0, or one a signal, `[...]`, of one measurement. To be
            off by a factor of ten costs decibels.
        damping: float in (0, 1], the share of a step of `r` and `g` that is made, from
            the second iteration on. Defaults to 1.0.

    Returns:
        A `SparseResult`.

    Raises:
        ValueError: an argument is not as above, or not finite, or `A` has dependent
            rows (columns, if it has more rows).

    Warns:
        UserWarning: it diverged on some signals.

    Example:

    >>> from zoo.data import bernoulli_gaussian
    >>> from zoo.layers.shrinkage import BernoulliGaussianShrinkage
    >>> problem = bernoulli_gaussian((250, 500), condition=15.0)
    >>> y, x = problem.sample(100)
    >>> shrinkage = BernoulliGaussianShrinkage(0.1)
    >>> result = vamp(problem.matrix, y, shrinkage, problem.noise_variance, truth=x)
    >>> print(result.nmse()[[0, 5, 10, -1]].round(1))
    [  0.  -30.9 -43.7 -44. ]

    Reference:

    - Rangan, Schniter and Fletcher, 2019, "Vector Approximate Message Passing",
      [arXiv:1610.03082](https://arxiv.org/abs/1610.03082)
    """
    matrix, y, truth = checks.check_signals(matrix, y, truth)
    damping = check_damping(damping)
    checks.check_shrinkage(shrinkage, matrix.shape[1])
    noise_variance = checks.check_numbers(
        "noise_variance", noise_variance, y.shape[:-1], 0
    )
    left, values, right = _svd(matrix.tobytes(), matrix.shape, matrix.dtype)
    checks.check_rank(values, matrix.shape)
    constants = {"left": left, "values": values, "right": right}
    numbers = {"damping": damping, "noise_variance": noise_variance}
    result = solve(
        "vamp", shrinkage, y, constants, numbers, iterations, tolerance, truth
    )
    deviation = np.sqrt(result.variance)
    return _with_regularization(result, shrinkage, noise_variance / deviation)


def _warn_of_scale(matrix):
    """Warns where `|A|_F^2` is more than twice or less than half of `N`."""
    share = np.linalg.norm(matrix) ** 2 / matrix.shape[1]
    if not 0.5 <= share <= 2.0:
        warnings.warn(
            f"`amp` takes |A|_F^2 to be near N, and it is {share:.3g} N: multiply "
            f"`matrix` and `y` by {share**-0.5:.3g}.",
            stacklevel=3,
        )


@functools.lru_cache(maxsize=1)
def _svd(data, shape, dtype):
    """The decomposition, which costs as much as many iterations, of the last matrix."""
    matrix = np.frombuffer(data, dtype).reshape(shape)
    return np.linalg.svd(matrix, full_matrices=False)


def _with_regularization(result, shrinkage, unit):
    """The result with the Lasso's `lambda`, given that of a threshold of 1."""
    if not isinstance(shrinkage, SoftShrinkage) or shrinkage.coordinatewise:
        return result
    threshold, scale = (
        float(ops.convert_to_numpy(shrinkage.parameters()[name]))
        for name in ("threshold", "scale")
    )
    if abs(scale - 1) > 1e-6:
        return result
    return dataclasses.replace(result, regularization=threshold * unit)
