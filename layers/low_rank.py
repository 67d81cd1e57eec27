"""A matrix of low rank, kept as its factors."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.checks import check_choice, check_count
from zoo.layers.sensing.base import check_shape

KINDS = ("psd", "hermitian", "general", "indefinite")
# The entries of `to_dense` at most: 64 MB in float32.
LARGEST_DENSE = 4096**2


@keras.saving.register_keras_serializable(package="zoo")
class LowRankMatrix(keras.layers.Layer):
    """A trainable matrix `X` of low rank, and the linear layer `x -> X x`.

    The layer owns one weight, `factor`:

    | `kind` | `X` | `factor` |
    |---|---|---|
    | `"psd"` | `U U^T` | `U`, `[n, rank]` |
    | `"hermitian"` | `U U^H`, complex | `[Re U; Im U]`, `[2 n, rank]` |
    | `"general"` | `U V^T` | `[U; V]`, `[n1 + n2, rank]` |
    | `"indefinite"` | `U diag(signs) U^T` | `U`, `[n, rank]` |

    What is complex is kept as real numbers throughout, the real parts above, or before,
    the imaginary ones: optimizers square complex gradients wrongly. The two factors of
    a general matrix are one weight because an optimizer sees one weight at a time, and
    `zoo.optimizers.FactoredGradientDescent` balances one by the other.

    `operator(layer.left, layer.right)` measures `X` by an operator of
    `zoo.layers.sensing`.

    Args:
        shape: pair of ints, the sizes `(n1, n2)` of `X`, equal unless `"general"`.
        rank: int from 1 to the smaller size.
        kind: one of the above. Defaults to `"psd"`.
        signs: `rank` values of 1 or -1, of an indefinite matrix, which training does
            not change. Defaults to +1 for the first half, the longer if `rank` is odd,
            and -1 for the others.
        initializer: initializer of the factor. Defaults to
            `keras.initializers.Orthogonal(gain=1e-2)`: a start near zero prefers
            solutions of low rank where `rank` is too large. A multiple of the identity
            is `keras.initializers.Identity(gain)`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: `[..., n2]`, `[..., 2 n]` if Hermitian.

    Returns:
        `inputs X^T`, `[..., n1]`, `[..., 2 n]` if Hermitian.

    Raises:
        ValueError: an argument is outside what is allowed above.

    Example:

    >>> import numpy as np
    >>> matrix = LowRankMatrix((2, 3), rank=1, kind="general")
    >>> matrix.assign([[1.0], [2.0], [1.0], [0.0], [-1.0]])
    >>> matrix.to_dense()
    array([[ 1.,  0., -1.],
           [ 2.,  0., -2.]], dtype=float32)
    >>> np.asarray(matrix(np.array([[1.0, 1.0, 0.0]])))
    array([[1., 2.]], dtype=float32)

    Reference:

    - Burer and Monteiro, 2003, "A nonlinear programming algorithm for solving
      semidefinite programs via low-rank factorization", Mathematical Programming 95
    """

    def __init__(
        self,
        shape: Sequence[int],
        rank: int,
        kind: Literal["psd", "hermitian", "general", "indefinite"] = "psd",
        *,
        signs: Array | None = None,
        initializer: str | Callable[..., Array] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.shape = check_shape(shape)
        self.rank = check_count("rank", rank)
        n1, n2 = self.shape
        check_choice("kind", kind, KINDS)
        if kind != "general" and n1 != n2:
            raise ValueError(
                f"`shape` must be square for kind={kind!r}. Received: shape={shape}"
            )
        if rank > min(n1, n2):
            raise ValueError(
                f"`rank` must be from 1 to {min(n1, n2)}, the smaller size. "
                f"Received: rank={rank}"
            )
        self.kind = kind
        self.signs = _check_signs(signs, rank, kind)
        if initializer is None:
            initializer = keras.initializers.Orthogonal(gain=1e-2)
        self.initializer = keras.initializers.get(initializer)
        rows = {"hermitian": 2 * n1, "general": n1 + n2}.get(kind, n1)
        self.factor = self.add_weight(
            name="factor", shape=(rows, rank), initializer=self.initializer
        )
        self.input_spec = keras.layers.InputSpec(
            min_ndim=1, axes={-1: (1 + self.hermitian) * n2}
        )
        self.supports_masking = True

    @property
    def hermitian(self) -> bool:
        """Bool, whether the matrix is complex."""
        return self.kind == "hermitian"

    @property
    def left(self) -> Array:
        """The left factor `[n1, rank]`, `[Re U; Im U]` if Hermitian."""
        factor = ops.convert_to_tensor(self.factor)
        return factor[: self.shape[0]] if self.kind == "general" else factor

    @property
    def right(self) -> Array:
        """The right factor `[n2, rank]`: `V`, `U diag(signs)`, or the left one."""
        factor = ops.convert_to_tensor(self.factor)
        if self.kind == "general":
            return factor[self.shape[0] :]
        if self.kind == "indefinite":
            return factor * ops.convert_to_tensor(self.signs, factor.dtype)
        return factor

    def call(self, inputs):
        left, right = self.left, self.right
        if self.hermitian:
            left = right = _as_complex_columns(left)
        return ops.matmul(ops.matmul(inputs, right), ops.transpose(left))

    def entries(self, rows: Array, columns: Array) -> Array:
        """Returns entries of `X`, without making the others.

        Args:
            rows: ints `[...]`.
            columns: ints `[...]`.

        Returns:
            `[...]`, or `[..., 2]` of real and imaginary parts if Hermitian.
        """
        left, right = self.left, self.right
        if not self.hermitian:
            return _row_products(left, rows, right, columns)
        n = self.shape[0]
        left = _as_complex_columns(left)
        right = left[:n]
        parts = [
            _row_products(half, rows, right, columns) for half in (right, left[n:])
        ]
        return ops.stack(parts, axis=-1)

    def assign(self, factor: Array) -> None:
        """Sets the weight.

        Args:
            factor: of the shape of `layer.factor`.

        Raises:
            ValueError: it is of another shape.
        """
        shape = tuple(np.shape(factor))
        if shape != tuple(self.factor.shape):
            raise ValueError(
                f"`factor` must be of shape {tuple(self.factor.shape)}. "
                f"Received: factor of shape {shape}"
            )
        self.factor.assign(factor)

    def rebalance(self) -> None:
        """Sets the factors such that `U^T U = V^T V`; `X` stays the same.

        Only those of a general matrix can be otherwise.
        """
        if self.kind == "general":
            self.assign(ops.concatenate(rebalance(self.left, self.right), axis=0))

    def truncate(self, rank: int) -> "LowRankMatrix":
        """Returns a new layer, the nearest matrix of a lower rank.

        Args:
            rank: int from 1 to that of the layer.

        Raises:
            ValueError: `rank` is another.
        """
        check_rank(rank, self.rank)
        signs = None
        if self.kind == "general":
            factor = ops.concatenate(truncate(self.left, self.right, rank), axis=0)
        else:
            u, signs = _truncate_symmetric(self._numpy_factor(), self.signs, rank)
            factor = np.concatenate([u.real, u.imag]) if self.hermitian else u
        config = {**self.get_config(), "rank": rank, "signs": None}
        if self.kind == "indefinite":
            config["signs"] = signs
        layer = type(self).from_config(config)
        layer.assign(factor)
        return layer

    def to_dense(self) -> np.ndarray:
        """Returns `X`, a NumPy array `[n1, n2]`, complex if Hermitian.

        Raises:
            ValueError: it has more than 4096 x 4096 entries.
        """
        if math.prod(self.shape) > LARGEST_DENSE:
            raise ValueError(
                "`to_dense` makes 4096 x 4096 entries at most; "
                f"`entries` makes any. Received: shape={self.shape}"
            )
        if self.hermitian:
            u = self._numpy_factor()
            return u @ u.conj().T
        left, right = map(ops.convert_to_numpy, (self.left, self.right))
        return left @ right.T

    def _numpy_factor(self):
        """The factor of a matrix that is no general one, complex if Hermitian."""
        factor = ops.convert_to_numpy(self.factor)
        if self.hermitian:
            return factor[: self.shape[0]] + 1j * factor[self.shape[0] :]
        return factor

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], (1 + self.hermitian) * self.shape[0])

    def get_config(self):
        return {
            **super().get_config(),
            "shape": self.shape,
            "rank": self.rank,
            "kind": self.kind,
            "signs": self.signs,
            "initializer": keras.initializers.serialize(self.initializer),
        }


def rebalance(u, v):
    """Returns factors of `U V^T` with `U'^T U' = V'^T V'`, a diagonal matrix.

    They are the singular vectors times the roots of the singular values, the largest
    first, at the cost of two QR factorizations and an SVD of `r x r`.

    Args:
        u: `[..., n1, r]`, `r` not above `n1`.
        v: `[..., n2, r]`, `r` not above `n2`.

    Returns:
        A pair of tensors of the same shapes.
    """
    (q, r), (p, s) = ops.qr(u), ops.qr(v)
    left, values, right = ops.svd(
        ops.matmul(r, ops.swapaxes(s, -1, -2)), full_matrices=False
    )
    roots = ops.sqrt(values)[..., None, :]
    right = ops.swapaxes(right, -1, -2)
    return ops.matmul(q, left * roots), ops.matmul(p, right * roots)


def truncate(u, v, rank):
    """Returns balanced factors of the best approximation of `U V^T` of a lower rank.

    Args:
        u: `[..., n1, r]`, `r` not above `n1`.
        v: `[..., n2, r]`, `r` not above `n2`.
        rank: int from 1 to `r`.

    Returns:
        A pair of tensors, `[..., n1, rank]` and `[..., n2, rank]`.

    Raises:
        ValueError: `rank` is not from 1 to `r`.
    """
    check_rank(rank, u.shape[-1])
    u, v = rebalance(u, v)
    return u[..., :rank], v[..., :rank]


def check_rank(rank, largest):
    """Raises ValueError unless `rank` is an int from 1 to `largest`."""
    if check_count("rank", rank) > largest:
        raise ValueError(f"`rank` must be from 1 to {largest}. Received: rank={rank}")


def _as_complex_columns(factor):
    """The real matrix `[[Re, -Im], [Im, Re]]` of a complex one, `[Re; Im]`."""
    n = factor.shape[0] // 2
    turned = ops.concatenate([-factor[n:], factor[:n]], axis=0)
    return ops.concatenate([factor, turned], axis=-1)


def _row_products(left, rows, right, columns):
    """Products of rows of `left` and rows of `right`, one by one."""
    return ops.sum(
        ops.take(left, rows, axis=0) * ops.take(right, columns, axis=0), axis=-1
    )


def _truncate_symmetric(u, signs, rank):
    """Truncates `U diag(signs) U^H` of NumPy arrays: a factor and its signs."""
    q, r = np.linalg.qr(u)
    values, vectors = np.linalg.eigh(
        (r if signs is None else r * np.array(signs)) @ r.conj().T
    )
    kept = np.argsort(-np.abs(values), kind="stable")[:rank]
    values, vectors = values[kept], vectors[:, kept]
    return q @ (vectors * np.sqrt(np.abs(values))), np.where(values < 0, -1, 1)


def _check_signs(signs, rank, kind):
    """Returns the signs of an indefinite matrix, a tuple of ints."""
    if kind != "indefinite":
        if signs is not None:
            raise ValueError(
                "`signs` must be None unless kind='indefinite'. "
                f"Received: signs={signs}, kind={kind!r}"
            )
        return None
    if signs is None:
        half = (rank + 1) // 2
        return (1,) * half + (-1,) * (rank - half)
    values = np.ravel(signs).tolist()
    if len(values) != rank or not set(values) <= {1, -1}:
        raise ValueError(
            f"`signs` must be {rank} values of 1 or -1. Received: signs={signs}"
        )
    return tuple(map(int, values))
