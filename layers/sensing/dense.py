"""Measurements by matrices that are stored: any, Gaussian, and random signs."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo import _backend
from zoo._types import Array
from zoo.layers.checks import check_seed
from zoo.layers.sensing.base import SensingOperator, check_finite_array, check_shape


@keras.saving.register_keras_serializable(package="zoo")
class DenseSensing(SensingOperator):
    """Measurements `y_i = <A_i, X>` by matrices that are given.

    The `m n1 n2` numbers of the matrices are stored, half of them where the matrices
    are symmetric, and read once for the measurements and once for the adjoint.

    Args:
        matrices: `[m, n1, n2]`.
        symmetric: bool, whether to measure by `(A_i + A_i^T) / 2`. A symmetric `X` has
            the same measurements by these, and is found sooner; of any other its
            symmetric part alone is seen. Defaults to `False`.
        **kwargs: `name`, `dtype`.

    Call arguments:
        u: `[..., n1, r]`.
        v: `[..., n2, r]`. Defaults to `u`.

    Returns:
        `[..., m]`.

    Raises:
        ValueError: `matrices` are not three axes of finite real numbers, or not square
            with `symmetric=True`.

    Example:

    >>> import numpy as np
    >>> matrices = np.array([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]])
    >>> operator = DenseSensing(matrices)
    >>> u = np.array([[1.0], [2.0]])  # X = [[1, 2], [2, 4]]
    >>> np.asarray(operator(u))
    array([1., 2.], dtype=float32)
    >>> weights = np.array([1.0, 10.0])
    >>> np.asarray(operator.adjoint_matmul(weights, u))  # [[1, 10], [0, 0]] u
    array([[21.],
           [ 0.]], dtype=float32)

    Reference:

    - Recht et al., 2010, "Guaranteed Minimum-Rank Solutions of Linear Matrix Equations
      via Nuclear Norm Minimization",
      [arXiv:0706.4138](https://arxiv.org/abs/0706.4138)
    """

    def __init__(
        self, matrices: Array, *, symmetric: bool = False, **kwargs: Any
    ) -> None:
        matrices = check_finite_array("matrices", matrices, 3)
        self._set_up(matrices.shape[1:], len(matrices), symmetric, **kwargs)
        self._store(matrices)

    # The value of a stored 1.
    _unit = 1.0

    def _set_up(self, shape, num_measurements, symmetric, **kwargs):
        super().__init__(shape, num_measurements, symmetric=symmetric, **kwargs)
        if symmetric:
            rows, columns = np.triu_indices(shape[0])
            n = shape[0]
            # Positions in a flat matrix of the packed entries and of their mirrors,
            # and positions among the packed of all entries of a flat matrix.
            self._upper, self._lower = rows * n + columns, columns * n + rows
            self._unpack = np.empty(n * n, "int32")
            self._unpack[self._upper] = self._unpack[self._lower] = range(len(rows))
            self._off_diagonal = (rows != columns).astype("float32")

    def _store(self, matrices):
        flat = matrices.reshape(len(matrices), -1)
        if self.symmetric:
            packed = (flat[:, self._upper] + flat[:, self._lower]) / 2
            flat = packed.astype(matrices.dtype)
        # By entries and measurements: a product with few rows reads them sooner so.
        self.matrices = self.add_data("matrices", np.ascontiguousarray(flat.T))

    def lift(self, factor: Array, side: Literal["left", "right"] = "left") -> Array:
        return self.to_factor(factor, side)

    def combine(self, left: Array, right: Array) -> Array:
        return self._measure(ops.matmul(left, ops.swapaxes(right, -1, -2)))

    def combine_pair(
        self,
        left: Array,
        step_left: Array,
        right: Array | None = None,
        step_right: Array | None = None,
    ) -> tuple[Array, Array]:
        # The two share a pass over the matrices.
        if right is None and self.symmetric:
            pairs = (2 * left, step_left), (step_left, step_left)
        else:
            joined = (left, step_left), (step_right, right)
            first = tuple(ops.concatenate(pair, axis=-1) for pair in joined)
            pairs = first, (step_left, step_right)
        products = [ops.matmul(one, ops.swapaxes(two, -1, -2)) for one, two in pairs]
        return tuple(ops.unstack(self._measure(ops.stack(products)), num=2))

    def pull(self, e: Array, right: Array) -> Array:
        return ops.matmul(self._weighted(e), right)

    def pull_left(self, e: Array, left: Array) -> Array:
        return ops.matmul(ops.swapaxes(self._weighted(e), -1, -2), left)

    def _measure(self, x):
        """Measurements `[..., m]` of matrices `[..., n1, n2]`."""
        batch = ops.shape(x)[:-2]
        x = ops.reshape(x, (-1, self.shape[0] * self.shape[1]))
        if self.symmetric:
            # Off the diagonal, a packed entry stands for two.
            twice = ops.cast(self._off_diagonal, x.dtype)
            mirrored = twice * _backend.take(x, self._lower, axis=-1)
            x = _backend.take(x, self._upper, axis=-1) + mirrored
        y = self._unit * ops.matmul(x, ops.cast(self.matrices, x.dtype))
        return ops.reshape(y, (*batch, -1))

    def _weighted(self, e):
        """`G`, `[..., n1, n2]`, from weights `[..., m]`."""
        e = self.to_float(e)
        batch = ops.shape(e)[:-1]
        e = self._unit * ops.reshape(e, (-1, self.num_measurements))
        # Transposed are the small ones: the matrices are read as they lie.
        x = ops.matmul(ops.cast(self.matrices, e.dtype), ops.transpose(e))
        x = ops.transpose(x)
        if self.symmetric:
            x = _backend.take(x, self._unpack, axis=-1)
        return ops.reshape(x, (*batch, *self.shape))

    def compute_scale(self) -> float:
        n1, n2 = self.shape
        values = self._unit * ops.convert_to_numpy(self.matrices)
        squares = np.einsum("km,km->k", values, values, dtype="float64")
        if not self.symmetric:
            return float(np.sqrt(squares.sum() / (n1 * n2)))
        total = squares.sum() + squares @ self._off_diagonal
        return float(np.sqrt(total / (n1 * (n1 + 1) / 2)))

    def _flops(self, rank):
        return 4 * int(np.prod(self.matrices.shape)) + 4 * rank * int(
            np.prod(self.shape)
        )

    def get_config(self):
        return {
            **super().get_config(),
            "shape": self.shape,
            "num_measurements": self.num_measurements,
            "symmetric": self.symmetric,
        }

    @classmethod
    def from_config(cls, config):
        """Makes a layer of the saved sizes; its matrices come with the weights."""
        config = dict(config)
        shape, m = config.pop("shape"), config.pop("num_measurements")
        return cls(np.zeros((m, *shape), "float32"), **config)


class _RandomSensing(DenseSensing):
    """Matrices of random entries, mean 0 and variance `1/m`."""

    def __init__(
        self,
        shape: Sequence[int],
        num_measurements: int,
        *,
        symmetric: bool = False,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self._set_up(check_shape(shape), num_measurements, symmetric, **kwargs)
        self.seed = check_seed(seed)
        generator = np.random.default_rng(seed)
        self._store(self._draw(generator, (num_measurements, *self.shape)))

    def compute_scale(self) -> float:
        return 1.0

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable(package="zoo")
class GaussianSensing(_RandomSensing):
    """Measurements by matrices of independent Gaussian entries of variance `1/m`.

    On average `|A(X)|^2 = |X|_F^2`, and for matrices of rank `r` nearly so once `m` is
    a few times `r (n1 + n2)`: the restricted isometry property.

    Args:
        shape: pair of ints, the sizes `(n1, n2)` of `X`.
        num_measurements: int >= 1, `m`.
        symmetric: bool, whether to measure by `(A_i + A_i^T) / 2`: the same values for
            a symmetric `X`, with half the storage. Defaults to `False`.
        seed: int, of the matrices. Defaults to 0.
        **kwargs: `name`, `dtype`.

    Call arguments:
        u: `[..., n1, r]`.
        v: `[..., n2, r]`. Defaults to `u`.

    Returns:
        `[..., m]`.

    Raises:
        ValueError: `shape` is no pair of ints from 1 up, `num_measurements` no int from
            1 up, or `symmetric=True` with a `shape` that is not square.

    Example:

    >>> import numpy as np
    >>> operator = GaussianSensing((64, 64), 640)
    >>> u = np.random.default_rng(0).normal(size=(64, 2)) / 8
    >>> size = np.linalg.norm(operator(u)) / np.linalg.norm(u @ u.T)
    >>> bool(abs(size - 1) < 0.1)
    True

    Reference:

    - Recht et al., 2010, "Guaranteed Minimum-Rank Solutions of Linear Matrix Equations
      via Nuclear Norm Minimization",
      [arXiv:0706.4138](https://arxiv.org/abs/0706.4138)
    """

    def _draw(self, generator, size):
        # Draws do not depend on the precision: all dtypes measure alike.
        matrices = generator.standard_normal(size, "float32")
        matrices *= np.float32(1 / np.sqrt(size[0]))
        return matrices


@keras.saving.register_keras_serializable(package="zoo")
class SignSensing(_RandomSensing):
    """Measurements by matrices of independent entries `+-1/sqrt(m)`.

    They are as good as Gaussian ones and are stored in a byte an entry.

    Args:
        shape: pair of ints, the sizes `(n1, n2)` of `X`.
        num_measurements: int >= 1, `m`.
        symmetric: bool, whether to measure by `(A_i + A_i^T) / 2`: the same values for
            a symmetric `X`, with half the storage. Defaults to `False`.
        seed: int, of the matrices. Defaults to 0.
        **kwargs: `name`, `dtype`.

    Call arguments:
        u: `[..., n1, r]`.
        v: `[..., n2, r]`. Defaults to `u`.

    Returns:
        `[..., m]`.

    Raises:
        ValueError: `shape` is no pair of ints from 1 up, `num_measurements` no int from
            1 up, or `symmetric=True` with a `shape` that is not square.

    Example:

    >>> import numpy as np
    >>> operator = SignSensing((64, 64), 640)
    >>> operator.cost_estimate()["bytes"] == 64 * 64 * 640
    True

    Reference:

    - Recht et al., 2010, "Guaranteed Minimum-Rank Solutions of Linear Matrix Equations
      via Nuclear Norm Minimization",
      [arXiv:0706.4138](https://arxiv.org/abs/0706.4138)
    """

    @property
    def _unit(self):
        return self.num_measurements**-0.5

    def _draw(self, generator, size):
        return generator.integers(0, 2, size, "int8") * np.int8(2) - np.int8(1)
