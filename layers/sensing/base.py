"""What every sensing operator is: linear measurements of a matrix given by factors."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.checks import check_bool, check_count, is_integer

# `dense` returns `m n1 n2` numbers: 2.7 GB in float32 for m = 10 n at this size.
LARGEST_DENSE = 512


class SensingOperator(keras.layers.Layer):
    """Linear measurements `y_i = <A_i, X>`, `i = 1..m`, of a matrix `X = U V^T`.

    The base of the operators. A measurement is bilinear in the factors, and so an
    operator is three functions: `lift` does what can be done to one factor alone, as
    `A U` for the rows of `A` in `y_i = a_i^T X a_i`; `combine` makes the measurements
    of two lifted factors; `pull` brings weights `e` of the measurements back to a
    factor, `G V` with `G = sum_i e_i A_i`. No matrix of `X`'s size is formed where the
    kind can do without. All else is made of these.

    Where the matrices `A_i` are symmetric, both factors are lifted alike, and `G^T` is
    `G`. Where they are Hermitian, a complex factor of `n` rows is given as a real one
    of `2n`: its real above its imaginary part. Its measurements are those of the real
    matrices `[[Re A, -Im A], [Im A, Re A]]`, which are symmetric, and `G V` comes back
    in the same form. Nothing else of an operator knows of complex numbers.

    Leading dimensions are a batch, in factors and in weights alike.

    Args:
        shape: pair of ints, the sizes `(n1, n2)` of `X`.
        num_measurements: int >= 1, `m`.
        symmetric: bool, whether all `A_i` are symmetric, or Hermitian. Needs
            `n1 == n2`. Defaults to `False`.
        hermitian: bool, whether all `A_i` are complex and Hermitian. Defaults to
            `False`.
        **kwargs: `name`, `dtype`.

    Call arguments:
        u: `[..., n1, r]`, the left factor.
        v: `[..., n2, r]`, the right one. Defaults to `u`.

    Returns:
        `[..., m]`.

    Example: entries of the diagonal, `y_i = X[i, i]`.

    >>> class Diagonal(SensingOperator):
    ...     def lift(self, factor, side="left"):
    ...         return self.to_factor(factor, side)
    ...     def combine(self, left, right):
    ...         return ops.sum(left * right, axis=-1)
    ...     def pull(self, e, right):
    ...         return e[..., None] * right
    >>> operator = Diagonal((3, 3), 3, symmetric=True)
    >>> np.asarray(operator(np.array([[1.0], [2.0], [3.0]]))).tolist()
    [1.0, 4.0, 9.0]
    """

    def __init__(
        self,
        shape: Sequence[int],
        num_measurements: int,
        *,
        symmetric: bool = False,
        hermitian: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("trainable", False)
        super().__init__(**kwargs)
        self.shape = check_shape(shape)
        self.num_measurements = check_count("num_measurements", num_measurements)
        self.hermitian = check_bool("hermitian", hermitian)
        self.symmetric = check_bool("symmetric", symmetric) or hermitian
        if self.symmetric and self.shape[0] != self.shape[1]:
            raise ValueError(
                f"`symmetric=True` needs a square `shape`. Received: shape={shape}"
            )

    @property
    def factor_rows(self) -> tuple[int, ...]:
        """Pair of ints, the rows of the left and of the right factor."""
        return tuple((1 + self.hermitian) * size for size in self.shape)

    @property
    def scale(self) -> float:
        """Float `s` with `|A(X)|^2 = s^2 |X|_F^2` on average over random `X`.

        It is computed each time, of the weights as they are.
        """
        return self.compute_scale()

    def compute_scale(self) -> float:
        """Returns `scale` for the weights as they are."""
        raise NotImplementedError

    def build(self, u_shape, v_shape=None):
        """Names the shapes: the weights are there from the constructor on."""

    def call(self, u, v=None):
        left = self.lift(u)
        if v is None and self.symmetric:
            return self.combine(left, left)
        return self.combine(left, self.lift(u if v is None else v, "right"))

    def lift(self, factor: Array, side: Literal["left", "right"] = "left") -> Array:
        """Does to a factor what needs no other: linear, column by column.

        Args:
            factor: `[..., n, r]`, to be checked by `to_factor`.
            side: `"left"` or `"right"`, whose factor it is.

        Returns:
            A tensor `[..., k, r]`; what it holds is the operator's own affair.
        """
        raise NotImplementedError

    def combine(self, left: Array, right: Array) -> Array:
        """Returns the measurements `[..., m]` of two lifted factors."""
        raise NotImplementedError

    def combine_pair(
        self,
        left: Array,
        step_left: Array,
        right: Array | None = None,
        step_right: Array | None = None,
    ) -> tuple[Array, Array]:
        """Measures the change of `X` along a step, from lifted factors.

        Returns:
            `A(U E^T + D V^T)` and `A(D E^T)`, with `D` and `E` the steps of `U` and
            `V`. Without `right` and `step_right`, `V = U` and `E = D`.
        """
        if right is None and self.symmetric:
            first = 2 * self.combine(left, step_left)
            return first, self.combine(step_left, step_left)
        first = self.combine(left, step_right) + self.combine(step_left, right)
        return first, self.combine(step_left, step_right)

    def pull(self, e: Array, right: Array) -> Array:
        """Returns `G V`, `[..., n1, r]`, from weights and the lifted right factor."""
        raise NotImplementedError

    def pull_left(self, e: Array, left: Array) -> Array:
        """Returns `G^T U`, `[..., n2, r]`, from weights and the lifted left factor."""
        if self.symmetric:
            return self.pull(e, left)
        raise NotImplementedError

    def center(self, y: Array) -> Array:
        """Returns measured values `y` in the form that the operator returns."""
        return y

    def pair(
        self, u: Array, d: Array, v: Array | None = None, e: Array | None = None
    ) -> tuple[Array, Array]:
        """Measures the change of `X` along a step, as an exact line search needs it.

        `A((U + tD)(V + tE)^T) = A(U V^T) + t A(U E^T + D V^T) + t^2 A(D E^T)`

        Args:
            u: `[..., n1, r]`, the left factor.
            d: `[..., n1, r]`, its step.
            v: `[..., n2, r]`, the right factor. Defaults to `u`.
            e: `[..., n2, r]`, its step. Defaults to `d`.

        Returns:
            `A(U E^T + D V^T)` and `A(D E^T)`, both `[..., m]`.
        """
        left, step_left = self.lift(u), self.lift(d)
        if v is None and self.symmetric:
            return self.combine_pair(left, step_left)
        right = self.lift(u if v is None else v, "right")
        step_right = self.lift(d if v is None else e, "right")
        return self.combine_pair(left, step_left, right, step_right)

    def adjoint_matmul(self, e: Array, v: Array) -> Array:
        """Returns `G V`, `[..., n1, r]`, with `G = sum_i e_i A_i` not formed.

        Args:
            e: `[..., m]`, weights of the measurements.
            v: `[..., n2, r]`.
        """
        return self.pull(e, self.lift(v, "right"))

    def adjoint_matmul_left(self, e: Array, u: Array) -> Array:
        """Returns `G^T U`, `[..., n2, r]`, with `G = sum_i e_i A_i` not formed.

        Args:
            e: `[..., m]`, weights of the measurements.
            u: `[..., n1, r]`.
        """
        return self.pull_left(e, self.lift(u))

    def normal_matmul(self, u: Array, omega: Array, v: Array | None = None) -> Array:
        """Returns `A^T(A(U V^T)) Omega`: the normal operator of `X`, times a matrix.

        Args:
            u: `[..., n1, r]`.
            omega: `[..., n2, k]`.
            v: `[..., n2, r]`. Defaults to `u`.
        """
        return self.adjoint_matmul(self(u, v), omega)

    def dense(self) -> np.ndarray:
        """Returns the `A_i`, a NumPy array `[m, n1, n2]`, complex if Hermitian.

        Raises:
            ValueError: a side is longer than 512.
        """
        if max(self.shape) > LARGEST_DENSE:
            raise ValueError(
                f"`dense` needs sides of {LARGEST_DENSE} at most. "
                f"Received: shape={self.shape}"
            )
        weights = np.eye(self.num_measurements, dtype=self.variable_dtype)
        identity = np.eye(self.factor_rows[1], self.shape[1], dtype=weights.dtype)
        # In parts, which bounds what lies beside the result.
        parts = [
            ops.convert_to_numpy(self.adjoint_matmul(part, identity))
            for part in np.array_split(weights, math.ceil(len(weights) / 64))
        ]
        matrices = np.concatenate(parts)
        if self.hermitian:
            return matrices[:, : self.shape[0]] + 1j * matrices[:, self.shape[0] :]
        return matrices

    def dot_test(self, rank: int = 2, seed: int = 0) -> float:
        """Measures how well forward and adjoint agree on random factors.

        Returns:
            Float, the largest of `|<A(U V^T), e> - <U, G V>|` and
            `|<A(U V^T), e> - <V, G^T U>|` over `|A(U V^T)| |e|`: about the rounding
            error of the dtype, or one of the two is wrong.
        """
        generator = np.random.default_rng(seed)
        u, v, e = (
            generator.normal(size=size).astype(self.variable_dtype)
            for size in (
                (self.factor_rows[0], rank),
                (self.factor_rows[1], rank),
                (self.num_measurements,),
            )
        )
        forward, *adjoints = (
            ops.convert_to_numpy(t).astype("float64")
            for t in (
                self.combine(self.lift(u), self.lift(v, "right")),
                self.adjoint_matmul(e, v),
                self.adjoint_matmul_left(e, u),
            )
        )
        truth = forward @ e
        errors = [
            abs(truth - np.sum(factor * adjoint))
            for factor, adjoint in zip((u, v), adjoints, strict=True)
        ]
        return float(max(errors) / (np.linalg.norm(forward) * np.linalg.norm(e)))

    def cost_estimate(self, rank: int = 1) -> dict[str, int]:
        """Returns what one value and one gradient of a factor of `rank` cost.

        Returns:
            Dict of `"bytes"` that the operator keeps and of `"flops"`, both ints.
        """
        size = sum(
            math.prod(weight.shape) * np.dtype(weight.dtype).itemsize
            for weight in self.weights
        )
        return {"bytes": size, "flops": self._flops(rank)}

    def _flops(self, rank):
        raise NotImplementedError

    def to_factor(self, factor: Array, side: Literal["left", "right"]) -> Array:
        """Returns the factor of a side as a tensor; `lift` takes it by this."""
        factor = self.to_float(factor)
        rows = self.factor_rows[side == "right"]
        if len(factor.shape) < 2 or factor.shape[-2] not in (None, rows):
            name = "u" if side == "left" else "v"
            form = ", the real above the imaginary part" if self.hermitian else ""
            raise ValueError(
                f"`{name}` must have the shape (..., {rows}, r){form}. "
                f"Received: {name} of shape {tuple(factor.shape)}"
            )
        return factor

    def to_float(self, x: Array) -> Array:
        """Returns `x` as a tensor: a tensor as it is, all else in the layer's dtype."""
        return x if ops.is_tensor(x) else ops.convert_to_tensor(x, self.variable_dtype)

    def add_data(self, name: str, array: np.ndarray) -> keras.Variable:
        """Returns a weight that holds `array`, which nothing trains.

        Floats take the layer's dtype; what else there is keeps its own.
        """
        floats = np.issubdtype(array.dtype, np.floating)
        dtype = self.variable_dtype if floats else array.dtype.name
        return self.add_weight(
            name=name,
            shape=array.shape,
            dtype=dtype,
            initializer=lambda shape, dtype: ops.convert_to_tensor(array, dtype),
            trainable=False,
            autocast=floats,
        )

    def compute_output_shape(self, u_shape, v_shape=None):
        return (*u_shape[:-2], self.num_measurements)

    def get_config(self):
        config = super().get_config()
        del config["trainable"]
        return config


def check_shape(shape):
    """Returns `shape`, two ints from 1 up, as a tuple."""
    try:
        n1, n2 = shape
    except (TypeError, ValueError):
        n1 = n2 = None
    for size in (n1, n2):
        if not is_integer(size) or size < 1:
            raise ValueError(
                f"`shape` must be two ints from 1 up. Received: shape={shape!r}"
            )
    return int(n1), int(n2)


def check_finite_array(name, value, ndim):
    """Returns `value` as a NumPy array of floats with `ndim` axes, none empty."""
    array = np.asarray(ops.convert_to_numpy(value))
    if np.iscomplexobj(array) or array.ndim != ndim or 0 in array.shape:
        raise ValueError(
            f"`{name}` must be real and have {ndim} axes, none empty. "
            f"Received: {name} of shape {array.shape} and dtype {array.dtype}"
        )
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype("float64")
    if not np.isfinite(array).all():
        raise ValueError(
            f"`{name}` must be finite. Received: {name} with "
            f"{np.count_nonzero(~np.isfinite(array))} values that are NaN or infinite"
        )
    return array
