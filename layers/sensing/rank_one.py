"""Measurements by matrices of rank one: `y_i = a_i^T X b_i`."""

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.checks import check_bool
from zoo.layers.sensing.base import SensingOperator, check_finite_array


class RankOneOperator(SensingOperator):
    """What operators `y_i = a_i^T X b_i` share: they differ in how they multiply.

    A subclass writes two products with the vectors of a side, for all columns of a
    whole batch at once: `_rows(columns, side)`, `[n, c]` to `[m, c]`, and its transpose
    `_rows_transposed(columns, side)`.

    Args:
        shape: pair of ints, the sizes `(n1, n2)` of `X`.
        num_measurements: int >= 1, `m`.
        symmetric: bool, whether all matrices are symmetric.
        paired: bool, whether they are so as `(a_i b_i^T + b_i a_i^T) / 2`; else
            `b_i = a_i` where they are. Defaults to `False`.
        centered: bool, whether to measure by `A_i` less the mean of all `A_j`. Needs
            symmetric matrices. Defaults to `False`.
        **kwargs: `name`, `dtype`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        num_measurements: int,
        *,
        symmetric: bool,
        paired: bool = False,
        centered: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(shape, num_measurements, symmetric=symmetric, **kwargs)
        self.centered = check_bool("centered", centered)
        self._paired = paired

    def lift(self, factor: Array, side: Literal["left", "right"] = "left") -> Array:
        def products(columns):
            return _stacked([self._rows(columns, one) for one in self._lifted(side)])

        return _by_columns(products, self.to_factor(factor, side))

    def combine(self, left: Array, right: Array) -> Array:
        y = ops.sum(left * (_swapped(right) if self._paired else right), axis=-1)
        if self._paired:
            one, other = ops.split(y, 2, axis=-1)
            y = (one + other) / 2
        return self.center(y)

    def pull(self, e: Array, right: Array) -> Array:
        return self._pull(e, right, "left")

    def pull_left(self, e: Array, left: Array) -> Array:
        return self._pull(e, left, "right")

    def center(self, y: Array) -> Array:
        if not self.centered:
            return y
        # The mean, which Keras takes in float32 on JAX.
        return y - ops.sum(y / self.num_measurements, axis=-1, keepdims=True)

    def _pull(self, e, lifted, side):
        e = self.center(self.to_float(e))
        if self._paired:
            e, lifted = ops.concatenate([e, e], axis=-1) / 2, _swapped(lifted)
        sides = self._lifted(side)

        def products(columns):
            parts = ops.split(columns, len(sides))
            return sum(map(self._rows_transposed, parts, sides))

        return _by_columns(products, e[..., None] * lifted)

    def _lifted(self, side):
        """The sides whose vectors' products stand, one above the other, in a lift."""
        return ("left", "right") if self._paired else (side,)


def _stacked(parts):
    return parts[0] if len(parts) == 1 else ops.concatenate(parts)


def _swapped(lifted):
    """Exchanges the products of the two sides."""
    return ops.roll(lifted, ops.shape(lifted)[-2] // 2, axis=-2)


def _by_columns(function, x):
    """Applies `[n, c] -> [k, c]` to the last two axes of a batch, in one go."""
    x = ops.moveaxis(x, -2, 0)
    y = function(ops.reshape(x, (ops.shape(x)[0], -1)))
    return ops.moveaxis(ops.reshape(y, (-1, *ops.shape(x)[1:])), 0, -2)


@keras.saving.register_keras_serializable(package="zoo")
class RankOneSensing(RankOneOperator):
    """Measurements `y_i = a_i^T X a_i`, or `a_i^T X b_i`, by vectors that are given.

    The vectors are stored, and no matrix of the size of `X`. The first kind is that of
    phase retrieval and of covariance sketches, where `y_i` is the mean square of
    samples projected on `a_i`. For Gaussian vectors of unit variance, on average,

    `sum_i y_i a_i a_i^T / m = 2 X + tr(X) I`,

    which stretches the problem along the trace. `centered=True` takes the trace out:
    it measures by `A_i - mean_j A_j`, and measured values are to be centred likewise,
    by `center`. A descent with momentum then takes a half to two thirds of the steps.

    Where all entries of an `a_i` have one magnitude, as random signs have, the diagonal
    of `X` shows in nothing but its trace: a warning says so.

    `scale` is exact if not centred. If centred, it is that of vectors of which
    `sum_i a_i a_i^T` is a multiple of `I`,
    `s^2 = 2 (sum_i |a_i|^4 - (sum_i |a_i|^2)^2 / (m n)) / (n (n + 1))`: about `2m` for
    Gaussian ones.

    Args:
        a: `[m, n1]`, the vectors `a_i`.
        b: `[m, n2]`, the vectors `b_i`, or `None` for `b_i = a_i`. Defaults to `None`.
        symmetric: bool, whether to measure by `(a_i b_i^T + b_i a_i^T) / 2`. Without
            `b` the matrices are symmetric in any case. Defaults to `False`.
        centered: bool, whether to measure by `A_i` less the mean of all `A_j`. Needs
            `b=None`. Defaults to `False`.
        **kwargs: `name`, `dtype`.

    Call arguments:
        u: `[..., n1, r]`.
        v: `[..., n2, r]`. Defaults to `u`.

    Returns:
        `[..., m]`.

    Raises:
        ValueError: `a` or `b` are not two axes of finite real numbers, differ in the
            first, or in the second with `symmetric=True`; or `centered=True` with `b`.

    Example:

    >>> import numpy as np
    >>> operator = RankOneSensing(np.array([[1.0, 0.0], [1.0, 2.0]]))
    >>> u = np.array([[1.0], [2.0]])  # X = [[1, 2], [2, 4]]
    >>> np.asarray(operator(u))
    array([ 1., 25.], dtype=float32)

    Reference:

    - Zhong, Jain and Dhillon, 2015, "Efficient Matrix Sensing Using Rank-1 Gaussian
      Measurements"
    - Chen, Chi and Goldsmith, 2015, "Exact and Stable Covariance Estimation from
      Quadratic Sampling via Convex Programming",
      [arXiv:1310.0807](https://arxiv.org/abs/1310.0807)
    """

    def __init__(
        self,
        a: Array,
        b: Array | None = None,
        *,
        symmetric: bool = False,
        centered: bool = False,
        **kwargs: Any,
    ) -> None:
        a = check_finite_array("a", a, 2)
        check_bool("symmetric", symmetric)
        check_bool("centered", centered)
        if b is None:
            right = a
            if a.shape[1] > 1 and a.any() and all(np.ptp(abs(row)) == 0 for row in a):
                warnings.warn(
                    "the diagonal of X shows in nothing but its trace: the entries of "
                    "each row of `a` have one magnitude",
                    stacklevel=2,
                )
        else:
            right = check_finite_array("b", b, 2)
            if len(a) != len(right):
                raise ValueError(
                    "`a` and `b` must have one row a measurement. "
                    f"Received: a of shape {a.shape} and b of shape {right.shape}"
                )
            if centered:
                raise ValueError(
                    "`centered=True` needs `b=None`. "
                    f"Received: centered={centered} and b of shape {right.shape}"
                )
        super().__init__(
            (a.shape[1], right.shape[1]),
            len(a),
            symmetric=symmetric or b is None,
            paired=symmetric and b is not None,
            centered=centered,
            **kwargs,
        )
        self.a = self.add_data("a", a)
        self.b = None if b is None else self.add_data("b", right)

    def _rows(self, columns, side):
        return ops.matmul(self._vectors(side, columns.dtype), columns)

    def _rows_transposed(self, columns, side):
        # Transposed are the small ones: the vectors are read as they lie.
        vectors = self._vectors(side, columns.dtype)
        return ops.transpose(ops.matmul(ops.transpose(columns), vectors))

    def _vectors(self, side, dtype):
        right = side == "right" and self.b is not None
        return ops.cast(self.b if right else self.a, dtype)

    def compute_scale(self) -> float:
        n1, n2 = self.shape
        left = _inner(self.a, self.a)
        if self.b is None:
            total = left @ left
            if self.centered:
                total -= left.sum() ** 2 / (len(left) * n1)
            return float(np.sqrt(2 * total / (n1 * (n1 + 1))))
        total = left @ _inner(self.b, self.b)
        if not self.symmetric:
            return float(np.sqrt(total / (n1 * n2)))
        inner = _inner(self.a, self.b)
        return float(np.sqrt((total + inner @ inner) / (n1 * (n1 + 1))))

    def _flops(self, rank):
        products = 2 * self.num_measurements * rank
        if self.b is None:
            return 2 * products * self.shape[0]
        # Two to lift both factors, and one back; two back where symmetric.
        return products * (sum(self.shape) + (1 + self.symmetric) * self.shape[0])

    def get_config(self):
        return {
            **super().get_config(),
            "shape": self.shape,
            "num_measurements": self.num_measurements,
            "symmetric": self.symmetric,
            "centered": self.centered,
            "b": self.b is not None,
        }

    @classmethod
    def from_config(cls, config):
        """Makes a layer of the saved sizes; its vectors come with the weights."""
        config = dict(config)
        (n1, n2), m = config.pop("shape"), config.pop("num_measurements")
        b = np.zeros((m, n2), "float32") if config.pop("b") else None
        return cls(np.zeros((m, n1), "float32"), b, **config)


def _inner(a, b):
    """The products `a_i . b_i`, `[m]`, of which sums are exact enough in NumPy."""
    return ops.convert_to_numpy(ops.sum(a * b, axis=1)).astype("float64")
