"""Sparse signals and their linear measurements `y = A x + w`."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np

from zoo._types import Array
from zoo.layers.checks import check_count
from zoo.layers.sensing.base import check_shape
from zoo.losses.checks import check_choice, check_integer, check_number

# Sizes of the public fixture: `M`, `N`, and signals.
_FIXTURE = (250, 500, 1000)


@dataclasses.dataclass(frozen=True, eq=False)
class SparseProblem:
    """Bernoulli-Gaussian signals and how they are measured: `y = A x + w`.

    Each entry of `x` is, independently, other than 0 with probability `sparsity`, and
    then Gaussian. The noise is white. A complex `A` has complex signals and noise, both
    circular.

    Attributes:
        matrix: `A`, float64 or complex128 `[M, N]`.
        sparsity: float in (0, 1], the probability of an entry other than 0.
        noise_variance: float >= 0, `E |w_i|^2`.
        signal_variance: float > 0, or an array `[N]` of such, the variance of entries
            other than 0. Defaults to 1.0.

    Raises:
        ValueError: an attribute is not as above.

    Example:

    >>> problem = SparseProblem(np.eye(2, 3), sparsity=0.5, noise_variance=0.0)
    >>> y, x = problem.sample(4, seed=1)
    >>> y.shape, x.shape, bool(np.array_equal(y, x[:, :2]))
    ((4, 2), (4, 3), True)
    """

    matrix: np.ndarray
    sparsity: float
    noise_variance: float
    signal_variance: float | Array = 1.0

    def __post_init__(self):
        matrix = np.asarray(self.matrix)
        if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
            raise ValueError(
                "`matrix` must be finite and of shape [M, N]. "
                f"Received: matrix of shape {matrix.shape}"
            )
        wide = "complex128" if np.iscomplexobj(matrix) else "float64"
        variance = np.asarray(self.signal_variance, "float64")
        sizes = ((), matrix.shape[1:])
        if variance.shape not in sizes or not np.all(
            (variance > 0) & (variance < math.inf)
        ):
            raise ValueError(
                f"`signal_variance` must be > 0, one number or {matrix.shape[1]}. "
                f"Received: signal_variance={self.signal_variance!r}"
            )
        object.__setattr__(self, "matrix", matrix.astype(wide))
        object.__setattr__(self, "sparsity", check_sparsity(self.sparsity))
        check_number("noise_variance", self.noise_variance, 0)

    @property
    def mask(self) -> np.ndarray:
        """Bool `[N]`: the entries that an error is to be measured on. Here all."""
        return np.ones(self.matrix.shape[1], bool)

    def sample(
        self,
        batch_size: int,
        seed: int = 0,
        index: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws one batch of an endless sequence.

        What is drawn is a function of the arguments alone, whatever was drawn before.

        Args:
            batch_size: int >= 1, signals.
            seed: int >= 0, of the sequence. Defaults to 0.
            index: int >= 0, the batch's place in it. Defaults to 0.
            dtype: `"float32"` or `"float64"`, of numbers and of their real and
                imaginary parts. Defaults to `"float32"`.

        Returns:
            Measurements `y`, `[batch_size, M]`, and signals `x`, `[batch_size, N]`.

        Raises:
            ValueError: an argument is not as above.
        """
        _check_batch(batch_size, seed, dtype, index=index)
        generator = np.random.default_rng((seed, index))
        kind = np.result_type(dtype, "complex64" if self._is_complex else "float32")
        x = self._signals(generator, batch_size).astype(kind)
        y = x @ self.matrix.T.astype(kind)
        if self.noise_variance:
            noise = _normal(generator, y.shape, self._is_complex)
            y += (math.sqrt(self.noise_variance) * noise).astype(kind)
        return y, x

    def batches(
        self,
        batch_size: int,
        seed: int = 0,
        first: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
        **kwargs: Any,
    ) -> "SparseBatches":
        """Returns the endless sequence, for a loop or for Keras.

        ```python
        model.fit(problem.batches(1000), steps_per_epoch=100, epochs=5, shuffle=False)
        ```

        goes on in one epoch where the last has ended.

        Args:
            batch_size, seed, dtype: as for `sample`.
            first: int >= 0, the index of the first batch: a training that goes on
                after `k` steps passes `k`. Defaults to 0.
            **kwargs: of `keras.utils.PyDataset`, such as `workers`.

        Returns:
            A `SparseBatches`.

        Raises:
            ValueError: an argument is not as for `sample`.

        Example:

        >>> problem = bernoulli_gaussian((5, 10), sparsity=0.2)
        >>> for (y, x), step in zip(problem.batches(100), range(3)):
        ...     print(step, y.shape, x.shape)
        0 (100, 5) (100, 10)
        1 (100, 5) (100, 10)
        2 (100, 5) (100, 10)
        """
        return SparseBatches(self, batch_size, seed, first, dtype, **kwargs)

    @property
    def _is_complex(self):
        return np.iscomplexobj(self.matrix)

    def _signals(self, generator, count):
        nonzero = generator.random((count, self.matrix.shape[1])) < self.sparsity
        x = np.zeros(nonzero.shape, self.matrix.dtype)
        # Most are zero: no others are drawn.
        x[nonzero] = _normal(generator, np.count_nonzero(nonzero), self._is_complex)
        return x * np.sqrt(self.signal_variance)


class SparseBatches(keras.utils.PyDataset):
    """The endless batches of a problem; entry `i` is `sample(index=first + i)`.

    `SparseProblem.batches` makes them, and says what the arguments are.

    Example:

    >>> problem = bernoulli_gaussian((5, 10), sparsity=0.2)
    >>> batches = problem.batches(100, first=7)
    >>> bool(np.array_equal(batches[1][0], problem.sample(100, index=8)[0]))
    True
    """

    def __init__(
        self,
        problem: SparseProblem,
        batch_size: int,
        seed: int,
        first: int,
        dtype: Literal["float32", "float64"],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_batch(batch_size, seed, dtype, first=first)
        self.problem = problem
        self.batch_size = batch_size
        self.seed = seed
        self.first = first
        self.dtype = dtype

    @property
    def num_batches(self) -> None:
        """`None`: there is no last one."""
        return None

    def __getitem__(self, index):
        place = self.first + index
        return self.problem.sample(self.batch_size, self.seed, place, self.dtype)


def bernoulli_gaussian(
    shape: Sequence[int] = (250, 500),
    sparsity: float = 0.1,
    snr: float | None = 40.0,
    condition: float | None = None,
    seed: int = 0,
) -> SparseProblem:
    """Draws the problem that compares the solvers of sparse recovery.

    The entries of `A` are Gaussian of variance `1 / M`, or, with `condition`, its
    singular values are then replaced by ones that fall geometrically, the first being
    `condition` times the last, with `|A|_F^2 = N`. Entries of `x` that are not 0 have
    variance 1, and `noise_variance = sparsity (N / M) 10^(-snr / 10)`.

    Args:
        shape: pair of ints, `(M, N)` with `M < N`. Defaults to `(250, 500)`.
        sparsity: float in (0, 1], the probability of an entry other than 0. Defaults
            to 0.1.
        snr: float, `E |A x|^2 / E |w|^2` in dB, or `None` for no noise. Defaults to
            40.0.
        condition: float >= 1, `kappa`, or `None` for independent entries. Defaults to
            `None`.
        seed: int >= 0, of `A`. Defaults to 0.

    Returns:
        A `SparseProblem`.

    Raises:
        ValueError: an argument is outside what is allowed above.

    Example:

    >>> problem = bernoulli_gaussian(condition=15.0)
    >>> values = np.linalg.svd(problem.matrix, compute_uv=False)
    >>> print((values[0] / values[-1]).round(9), problem.noise_variance)
    15.0 2e-05
    >>> y, x = problem.sample(1000)
    >>> y.shape, x.shape, round(float(np.mean(x != 0)), 2)
    ((1000, 250), (1000, 500), 0.1)

    Reference:

    - Borgerding, Schniter and Rangan, 2017, "AMP-Inspired Deep Networks for Sparse
      Linear Inverse Problems", [arXiv:1612.01183](https://arxiv.org/abs/1612.01183)
    """
    rows, columns = check_shape(shape)
    if rows >= columns:
        raise ValueError(
            "`shape` must be (M, N) with M < N, fewer measurements than unknowns. "
            f"Received: shape={shape}"
        )
    sparsity = check_sparsity(sparsity)
    seed = check_integer("seed", seed, 0)
    # Apart from the batches' generators, which have two numbers.
    generator = np.random.default_rng((seed, 0, 1))
    matrix = generator.normal(size=(rows, columns)) / math.sqrt(rows)
    if condition is not None:
        matrix = _conditioned(matrix, check_number("condition", condition, 1))
    noise_variance = sparsity * columns / rows * noise_share(snr)
    return SparseProblem(matrix, sparsity, noise_variance)


def bernoulli_gaussian_fixture(
    condition: float | None = None,
) -> tuple[SparseProblem, np.ndarray, np.ndarray]:
    """Returns the 1000 signals on which published code measures, drawn by its seed 1.

    `M = 250`, `N = 500`, 10 % other than 0, 40 dB. The matrix and the signals are
    rounded to float32, as there; what is made of them here is not. `|x|_F = 224.55166`
    and `|y|_F = 224.04772`, with `condition=15` 224.48553 and with 100 224.52189.

    Args:
        condition: float >= 1, or `None`, as for `bernoulli_gaussian`. Defaults to
            `None`.

    Returns:
        A `SparseProblem`, its `y`, float64 `[1000, 250]`, and its `x`, float64 `[1000,
        500]`.

    Raises:
        ValueError: `condition` is no number from 1 up.

    Example:

    >>> problem, y, x = bernoulli_gaussian_fixture()
    >>> print(np.linalg.norm(x).round(5), np.linalg.norm(y).round(5))
    224.55166 224.04772

    Reference:

    - Borgerding, Schniter and Rangan, 2017, "AMP-Inspired Deep Networks for Sparse
      Linear Inverse Problems", [arXiv:1612.01183](https://arxiv.org/abs/1612.01183)
    """
    rows, columns, signals = _FIXTURE
    state = np.random.RandomState(1)
    matrix = state.normal(size=(rows, columns), scale=1 / math.sqrt(rows))
    matrix = matrix.astype("float32")
    if condition is not None:
        matrix = _conditioned(matrix, check_number("condition", condition, 1))
    # Their arrays hold a signal in a column.
    nonzero = state.uniform(size=(columns, signals)) < 0.1
    x = (nonzero * state.normal(size=nonzero.shape)).astype("float32").T
    problem = SparseProblem(
        matrix.astype("float32"), 0.1, 0.1 * columns / rows * noise_share(40.0)
    )
    noise = state.normal(size=(rows, signals)).T * math.sqrt(problem.noise_variance)
    x = np.ascontiguousarray(x, "float64")
    return problem, x @ problem.matrix.T + noise, x


def _conditioned(matrix, condition):
    """The matrix with singular values that fall geometrically."""
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    values = np.geomspace(1, 1 / condition, len(left))
    values *= math.sqrt(matrix.shape[1]) / np.linalg.norm(values)
    return (left * values) @ right


def _check_batch(batch_size, seed, dtype, **places):
    check_count("batch_size", batch_size)
    for name, value in {"seed": seed, **places}.items():
        check_integer(name, value, 0)
    check_choice("dtype", dtype, ("float32", "float64"))


def check_sparsity(value, name="sparsity"):
    """Returns a probability that is not 0."""
    allowed = "a number above 0, up to 1"
    value = check_number(name, value, 0, 1, allowed)
    if not value:
        raise ValueError(f"`{name}` must be {allowed}. Received: {name}={value!r}")
    return value


def noise_share(snr):
    """Returns the power of the noise over that of what it is added to."""
    if snr is None or snr == math.inf:
        return 0.0
    return 10 ** (-check_number("snr", snr) / 10)


def _normal(generator, shape, is_complex):
    """Gaussian numbers of variance 1, circular if complex."""
    if not is_complex:
        return generator.normal(size=shape)
    real, imag = generator.normal(scale=math.sqrt(0.5), size=(2, *np.atleast_1d(shape)))
    return real + 1j * imag
