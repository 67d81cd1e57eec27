"""Eigenvalues, trace and spectrum of a loss's Hessian, from products with vectors.

Each measure takes a `zoo.metrics.LossSurface`, and asks it for products alone.

The Hessian `H` itself depends on how a network is written: rescaling the units of a
ReLU network leaves its function alone and makes the largest eigenvalue anything. With
`normalization`, each measure is of `T H T`, `T = diag(t)`, instead, the Hessian in
coordinates in units of the size `t` of each weight, see `LossSurface.scales`. A
rescaling by `S = diag(s)`, `s > 0`, turns `H` into `S^-1 H S^-1` and `T` into `S T`,
and leaves that alone; with `"filter"`, one that has one factor a layer.
"""

import dataclasses
from typing import Literal

import keras
import numpy as np
from scipy.linalg import eigh_tridiagonal

from zoo.losses.checks import check_integer, check_number
from zoo.metrics.loss_surface import LossSurface, one_thread


@dataclasses.dataclass(frozen=True)
class HessianEigenvalues:
    """The largest eigenvalues that were found.

    Attributes:
        values: float64 array, `[k]`, the largest first.
        residuals: float64 array, `[k]`, `||H v - value v||` of their unit vectors: an
            eigenvalue lies within that of each value.
        vectors: float64 array, `[k, weights]`, or `None`.
        products: int, the Hessian products it took.

    Example:

    >>> values, residuals = np.array([9.0, 1.0]), np.array([1e-9, 1e-3])
    >>> found = HessianEigenvalues(values, residuals, None, products=12)
    >>> found.values[found.residuals < 1e-6]  # those that are known so well
    array([9.])
    """

    values: np.ndarray
    residuals: np.ndarray
    vectors: np.ndarray | None
    products: int


@dataclasses.dataclass(frozen=True)
class SpectralDensity:
    """How the eigenvalues are spread.

    Attributes:
        grid: float64 array, `[points]`, of eigenvalues.
        density: float64 array, `[points]`; its integral is 1.
        nodes: float64 array, the Ritz values of all probes.
        weights: float64 array, the share of the spectrum at each node; they sum to 1.

    Example:

    >>> grid, density = np.arange(3.0), np.array([0.5, 0.5, 0.0])
    >>> nodes, weights = np.array([0.0, 4.0]), np.array([0.75, 0.25])
    >>> spectrum = SpectralDensity(grid, density, nodes, weights)
    >>> float(spectrum.weights @ spectrum.nodes)  # the mean eigenvalue
    1.0
    """

    grid: np.ndarray
    density: np.ndarray
    nodes: np.ndarray
    weights: np.ndarray


def top_eigenvalues(
    surface: LossSurface,
    k: int = 10,
    *,
    normalization: Literal["element", "filter"] | None = None,
    iterations: int = 100,
    tolerance: float = 1e-3,
    vectors: bool = False,
    seed: int = 0,
    verbose: int = 0,
) -> HessianEigenvalues:
    """Finds the largest eigenvalues of the Hessian by Lanczos's method.

    Each new direction is made orthogonal to all before, twice. The search ends when all
    residuals are at most `tolerance` times the largest Ritz value, in absolute value;
    the error of a value that stands apart goes like the square of its residual.

    The search starts from one random vector, and so sees one eigenvalue of a number of
    equal ones, until it has seen all different ones.

    Args:
        surface: `LossSurface`.
        k: int, the number of eigenvalues. Defaults to 10.
        normalization: `None` for the Hessian itself, `"element"` or `"filter"` for one
            that rescaling leaves alone, see `LossSurface.scales`. Defaults to `None`.
        iterations: int >= `k`, the most products that are taken; where they do not
            suffice, `residuals` say so. As many vectors of the size of the weights are
            held, in float64. Defaults to 100.
        tolerance: float >= 0. Defaults to 1e-3.
        vectors: bool, whether eigenvectors are returned. Defaults to `False`.
        seed: int, of the first vector. Defaults to 0.
        verbose: 0 for silence, 1 for a progress bar. Defaults to 0.

    Returns:
        A `HessianEigenvalues`.

    Raises:
        ValueError: an argument is not as above, `k` exceeds the number of weights, or
            the Hessian is not finite.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.metrics.loss_surface import LossSurface
    >>> layer = keras.layers.Dense(1, use_bias=False)
    >>> model = keras.Sequential([keras.Input((2,)), layer])
    >>> x, y = np.array([[3.0, 0.0], [0.0, 1.0]]), np.zeros((2, 1))
    >>> surface = LossSurface(model, x, y, loss="mse")
    >>> top_eigenvalues(surface, k=2).values.round(4)
    array([9., 1.])

    Reference:

    - Lanczos, 1950, "An Iteration Method for the Solution of the Eigenvalue Problem of
      Linear Differential and Integral Operators", J. Res. Natl. Bur. Stand. 45
    """
    size = len(surface.weights)
    if check_integer("k", k, 1) > size:
        raise ValueError(
            f"`k` must be at most the number of weights, {size}. Received: k={k}"
        )
    check_integer("iterations", iterations, k)
    check_number("tolerance", tolerance, 0.0)
    product = _operator(surface, normalization)
    generator = np.random.default_rng(seed)
    bar = keras.utils.Progbar(min(iterations, size), verbose=verbose)
    steps = _lanczos(product, generator.standard_normal(size), iterations, generator)
    with one_thread():
        for count, step in enumerate(steps, start=1):
            diagonal, off_diagonal, basis = step
            bar.update(count, finalize=False)
            if count < k:
                continue
            values, coefficients = eigh_tridiagonal(diagonal, off_diagonal[:-1])
            residuals = abs(off_diagonal[-1] * coefficients[-1])
            if np.all(residuals[-k:] <= tolerance * abs(values).max()):
                break
    bar.update(count, finalize=True)
    top = slice(None, -k - 1, -1)
    return HessianEigenvalues(
        values[top],
        residuals[top],
        coefficients[:, top].T @ basis if vectors else None,
        count,
    )


def hessian_trace(
    surface: LossSurface,
    *,
    normalization: Literal["element", "filter"] | None = None,
    probes: int = 100,
    seed: int = 0,
    verbose: int = 0,
) -> tuple[float, float]:
    """Estimates the trace of the Hessian by Hutchinson's method.

    `tr H = E[v^T H v]` for entries of `v` that are 1 or -1, each with probability 1/2.

    Args:
        surface: `LossSurface`.
        normalization: as in `top_eigenvalues`. Defaults to `None`.
        probes: int >= 2, the number of vectors `v`. Defaults to 100.
        seed: int, of the vectors. Defaults to 0.
        verbose: 0 for silence, 1 for a progress bar. Defaults to 0.

    Returns:
        The estimate and its standard error, a pair of floats.

    Raises:
        ValueError: an argument is not as above, or the Hessian is not finite.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.metrics.loss_surface import LossSurface
    >>> layer = keras.layers.Dense(1, use_bias=False)
    >>> model = keras.Sequential([keras.Input((2,)), layer])
    >>> x, y = np.array([[3.0, 0.0], [0.0, 1.0]]), np.zeros((2, 1))
    >>> surface = LossSurface(model, x, y, loss="mse")
    >>> hessian_trace(surface, probes=4)  # of a diagonal, exact
    (10.0, 0.0)

    Reference:

    - Hutchinson, 1990, "A Stochastic Estimator of the Trace of the Influence Matrix for
      Laplacian Smoothing Splines", Communications in Statistics 19
    """
    check_integer("probes", probes, 2)
    product = _operator(surface, normalization)
    generator = np.random.default_rng(seed)
    bar = keras.utils.Progbar(probes, verbose=verbose)
    samples = []
    with one_thread():
        for _ in range(probes):
            v = generator.choice([-1.0, 1.0], len(surface.weights))
            samples.append(v @ product(v))
            bar.update(len(samples))
    return float(np.mean(samples)), float(np.std(samples, ddof=1) / probes**0.5)


def spectral_density(
    surface: LossSurface,
    *,
    normalization: Literal["element", "filter"] | None = None,
    probes: int = 5,
    iterations: int = 50,
    points: int = 1000,
    width: float | None = None,
    seed: int = 0,
    verbose: int = 0,
) -> SpectralDensity:
    """Estimates how the Hessian's eigenvalues are spread, by Lanczos quadrature.

    From each random unit vector, Lanczos's method gives Ritz values `theta_i` and first
    components `s_i` of their vectors, the nodes and weights `s_i^2` of a quadrature of
    the spectrum. The density is their mean over vectors, each node as wide as a normal
    distribution of standard deviation `width`.

    Args:
        surface: `LossSurface`.
        normalization: as in `top_eigenvalues`. Defaults to `None`.
        probes: int, the number of vectors. Defaults to 5.
        iterations: int, the products a vector. Defaults to 50.
        points: int >= 2, the points of the grid, which reaches five widths beyond the
            outmost nodes. Defaults to 1000.
        width: float > 0. Defaults to 1 % of the distance of the outmost nodes, or
            of their size, where all are equal.
        seed: int, of the vectors. Defaults to 0.
        verbose: 0 for silence, 1 for a progress bar. Defaults to 0.

    Returns:
        A `SpectralDensity`.

    Raises:
        ValueError: an argument is not as above, or the Hessian is not finite.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.metrics.loss_surface import LossSurface
    >>> layer = keras.layers.Dense(1, use_bias=False)
    >>> model = keras.Sequential([keras.Input((2,)), layer])
    >>> x, y = np.array([[3.0, 0.0], [0.0, 1.0]]), np.zeros((2, 1))
    >>> surface = LossSurface(model, x, y, loss="mse")
    >>> spectral_density(surface, probes=1).nodes.round(4)
    array([1., 9.])

    Reference:

    - Ubaru, Chen and Saad, 2017, "Fast Estimation of tr(f(A)) via Stochastic Lanczos
      Quadrature", SIAM J. Matrix Anal. Appl. 38
    - Ghorbani, Krishnan and Xiao, 2019, "An Investigation into Neural Net Optimization
      via Hessian Eigenvalue Density",
      [arXiv:1901.10159](https://arxiv.org/abs/1901.10159)
    """
    check_integer("probes", probes, 1)
    check_integer("iterations", iterations, 1)
    check_integer("points", points, 2)
    if width is not None:
        check_number("width", width, np.finfo("float64").tiny, allowed="a number > 0")
    product, size = _operator(surface, normalization), len(surface.weights)
    generator = np.random.default_rng(seed)
    bar = keras.utils.Progbar(probes * min(iterations, size), verbose=verbose)
    parts = []
    with one_thread():
        for _ in range(probes):
            steps = _lanczos(product, generator.standard_normal(size), iterations)
            for step in steps:
                diagonal, off_diagonal, _ = step
                bar.add(1)
            values, coefficients = eigh_tridiagonal(diagonal, off_diagonal[:-1])
            parts.append((values, coefficients[0] ** 2 / probes))
    nodes, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    low, high, largest = nodes.min(), nodes.max(), abs(nodes).max()
    # Of equal ones, rounding is all the distance there is.
    distance = high - low if high - low > 1e-9 * largest else largest or 1.0
    width = width or 0.01 * distance
    grid = np.linspace(low - 5 * width, high + 5 * width, points)
    bells = np.exp(-0.5 * ((grid[:, None] - nodes) / width) ** 2)
    density = bells @ weights / (width * np.sqrt(2 * np.pi))
    return SpectralDensity(grid, density, nodes, weights)


def _operator(surface, normalization):
    """Returns the function that multiplies the Hessian by a vector."""
    scales = 1.0 if normalization is None else surface.scales(normalization)

    def product(vector):
        result = scales * surface.hessian_product(scales * vector)
        if not np.isfinite(result).all():
            raise ValueError(
                "The loss and its Hessian must be finite at the weights. "
                f"Received: loss={surface.value()}"
            )
        return result

    return product


def _lanczos(product, start, iterations, generator=None):
    """Yields a growing tridiagonal matrix, as two lists, and the basis it is in.

    The last entry off the diagonal is what leads out of the basis. Where nothing does,
    a random direction continues, or, without `generator`, all ends.
    """
    iterations = min(iterations, len(start))
    basis = np.empty((iterations, len(start)))
    diagonal, off_diagonal, size = [], [], 0.0
    v = start
    for step in range(iterations):
        basis[step] = v / np.linalg.norm(v)
        v = product(basis[step])
        size = max(size, np.linalg.norm(v))
        diagonal.append(basis[step] @ v)
        v = _orthogonal(v, basis[: step + 1])
        rest = np.linalg.norm(v)
        # What is left of rounding leads nowhere.
        inside = rest <= 1e-14 * size or step + 1 == len(start)
        off_diagonal.append(0.0 if inside else rest)
        yield diagonal, off_diagonal, basis[: step + 1]
        if inside and generator is None:
            return
        if inside:
            v = generator.standard_normal(len(start))
            v = _orthogonal(v, basis[: step + 1])


def _orthogonal(v, basis):
    for _ in range(2):
        v = v - (basis @ v) @ basis
    return v
