"""Measurements by random matrices of which most entries are zero."""

import math
import numbers
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo import _backend
from zoo._types import Array
from zoo.layers.checks import check_choice, check_count, check_seed
from zoo.layers.sensing.base import check_shape
from zoo.layers.sensing.entries import warn_unseen
from zoo.layers.sensing.rank_one import RankOneOperator

KINDS = "gaussian", "sign", "rank_one"


@keras.saving.register_keras_serializable(package="zoo")
class SparseSensing(RankOneOperator):
    """Measurements by random matrices of few entries that are not zero.

    | `kind` | `A_i` | Places that are not zero |
    |---|---|---|
    | `"gaussian"` | entries `N(0, s^2)` | `k = density n1 n2` of all |
    | `"sign"` | entries `+-s` | `k = density n1 n2` of all |
    | `"rank_one"` | `a_i b_i^T`, of entries `N(0, s)` | `density n1` and `density n2` |

    The places are drawn for each matrix anew, at least one of them, and all different.
    `s^2` is `1/m` over the share of entries that are not zero, so that on average
    `|A(X)|^2 = |X|_F^2` for all kinds, as of the dense ones: `scale` is 1. A number and
    one or two ints a place are stored.

    A place, which is looked up, takes the time of some 25 entries of a dense matrix,
    which are read in order: below a density of about 0.03, time is saved as well.

    An entry of `X` is seen by `m k / (n1 n2)` measurements on average. Where these are
    few, an `X` of which a few entries hold most is not found, as with single entries.

    Args:
        shape: pair of ints, the sizes `(n1, n2)` of `X`.
        num_measurements: int >= 1, `m`.
        kind: `"gaussian"`, `"sign"` or `"rank_one"`. Defaults to `"gaussian"`.
        density: float above 0, up to 1, the share of places, of a matrix or of a
            vector, that are not zero. Defaults to 0.1.
        symmetric: bool, whether to measure by `(A_i + A_i^T) / 2`. Defaults to `False`.
        seed: int, of the matrices. Defaults to 0.
        **kwargs: `name`, `dtype`.

    Call arguments:
        u: `[..., n1, r]`.
        v: `[..., n2, r]`. Defaults to `u`.

    Returns:
        `[..., m]`.

    Raises:
        ValueError: `shape` is no pair of ints from 1 up, `num_measurements` no int from
            1 up, `kind` unknown, `density` not above 0 and up to 1, or `symmetric=True`
            with a `shape` that is not square.

    Example:

    >>> operator = SparseSensing((64, 64), 640, kind="sign", density=0.1)
    >>> operator.cost_estimate()["bytes"] == 640 * 410 * (4 + 1)
    True

    Reference:

    - Achlioptas, 2003, "Database-friendly random projections: Johnson-Lindenstrauss
      with binary coins"
    - Zhong, Jain and Dhillon, 2015, "Efficient Matrix Sensing Using Rank-1 Gaussian
      Measurements"
    """

    def __init__(
        self,
        shape: Sequence[int],
        num_measurements: int,
        kind: Literal["gaussian", "sign", "rank_one"] = "gaussian",
        density: float = 0.1,
        *,
        symmetric: bool = False,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        n1, n2 = check_shape(shape)
        m = check_count("num_measurements", num_measurements)
        check_choice("kind", kind, KINDS)
        number = isinstance(density, numbers.Real) and not isinstance(density, bool)
        if not number or not 0 < density <= 1:
            raise ValueError(
                f"`density` must be above 0, up to 1. Received: density={density!r}"
            )
        super().__init__((n1, n2), m, symmetric=symmetric, paired=symmetric, **kwargs)
        self.kind, self.density, self.seed = kind, density, check_seed(seed)
        generator = np.random.default_rng(seed)
        if kind == "rank_one":
            self._draw_vectors(generator)
        else:
            self._draw_matrices(generator)

    def _draw_vectors(self, generator):
        m, places, self._places, self._values = self.num_measurements, [], {}, {}
        for side, size in zip(("left", "right"), self.shape, strict=True):
            count = max(1, round(self.density * size))
            places.append(_distinct(generator, m, count, size))
            values = generator.standard_normal((count, m), "float32")
            values *= np.float32((size / count) ** 0.5 * m**-0.25)
            self._places[side] = self.add_data(f"{side}_places", places[-1].reshape(-1))
            self._values[side] = self.add_data(f"{side}_values", values)
        self._formed = False
        warn_unseen(*map(np.ravel, places), self.shape, self.symmetric)

    def _draw_matrices(self, generator):
        (n1, n2), m = self.shape, self.num_measurements
        count = max(1, round(self.density * n1 * n2))
        places = _distinct(generator, m, count, n1 * n2).reshape(-1)
        # Where X is about as small as what else there is, it is formed, and is faster.
        self._formed = n1 * n2 <= 16 * len(places)
        rows, columns = (one.astype("int32") for one in np.divmod(places, n2))
        if self._formed:
            self._places = self.add_data("places", places)
        else:
            self._places = {
                "left": self.add_data("left_places", rows),
                "right": self.add_data("right_places", columns),
            }
        if self.kind == "sign":
            values = generator.integers(0, 2, (count, m), "int8") * np.int8(2)
            values -= np.int8(1)
        else:
            values = generator.standard_normal((count, m), "float32")
        self._unit = (n1 * n2 / count / m) ** 0.5
        self._values = self.add_data("values", values)
        warn_unseen(rows, columns, self.shape, self.symmetric)

    def lift(self, factor: Array, side: Literal["left", "right"] = "left") -> Array:
        if self._formed:
            return self.to_factor(factor, side)
        return super().lift(factor, side)

    def combine(self, left: Array, right: Array) -> Array:
        if self._formed:
            return self._measured(ops.matmul(left, _transposed(right)))
        entries = super().combine(left, right)
        if self.kind == "rank_one":
            return entries
        values = ops.cast(self._values, entries.dtype)
        entries = ops.reshape(entries, (*ops.shape(entries)[:-1], *values.shape))
        return self._unit * ops.sum(values * entries, axis=-2)

    def combine_pair(
        self,
        left: Array,
        step_left: Array,
        right: Array | None = None,
        step_right: Array | None = None,
    ) -> tuple[Array, Array]:
        if not self._formed:
            return super().combine_pair(left, step_left, right, step_right)
        if right is None:
            right, step_right = left, step_left
        first = ops.matmul(left, _transposed(step_right))
        first = first + ops.matmul(step_left, _transposed(right))
        second = ops.matmul(step_left, _transposed(step_right))
        # Both are read at the same places at once.
        return tuple(ops.unstack(self._measured(ops.stack([first, second])), num=2))

    def _pull(self, e, lifted, side):
        if self.kind == "rank_one":
            return super()._pull(e, lifted, side)
        e = self._unit * self.to_float(e)
        if self._formed:
            g = self._weighted(e)
            return ops.matmul(g if side == "left" else _transposed(g), lifted)
        weights = e[..., None, :] * ops.cast(self._values, e.dtype)
        weights = ops.reshape(weights, (*ops.shape(e)[:-1], -1))
        return super()._pull(weights, lifted, side)

    def _measured(self, x):
        """Measurements `[..., m]` of matrices `[..., n1, n2]`."""
        if self.symmetric:
            x = (x + _transposed(x)) / 2
        batch, values = ops.shape(x)[:-2], ops.cast(self._values, x.dtype)
        x = ops.transpose(ops.reshape(x, (-1, self.shape[0] * self.shape[1])))
        entries = ops.reshape(
            _backend.take(x, self._places, axis=0), (*values.shape, -1)
        )
        y = self._unit * ops.sum(values[..., None] * entries, axis=0)
        return ops.reshape(ops.transpose(y), (*batch, -1))

    def _weighted(self, e):
        """Matrices `[..., n1, n2]` from weights `[..., m]`, not counting the unit."""
        (n1, n2), batch = self.shape, ops.shape(e)[:-1]
        e = ops.transpose(ops.reshape(e, (-1, self.num_measurements)))
        weights = ops.cast(self._values, e.dtype)[..., None] * e
        weights = ops.reshape(weights, (-1, ops.shape(e)[1]))
        x = ops.segment_sum(weights, self._places, num_segments=n1 * n2)
        x = ops.reshape(ops.transpose(x), (*batch, n1, n2))
        return (x + _transposed(x)) / 2 if self.symmetric else x

    def _rows(self, columns, side):
        taken = _backend.take(columns, self._places[side], axis=0)
        if self.kind != "rank_one":
            return taken
        values = ops.cast(self._values[side], columns.dtype)
        taken = ops.reshape(taken, (*values.shape, -1))
        return ops.sum(values[..., None] * taken, axis=0)

    def _rows_transposed(self, columns, side):
        if self.kind == "rank_one":
            values = ops.cast(self._values[side], columns.dtype)
            columns = ops.reshape(
                values[..., None] * columns, (-1, ops.shape(columns)[1])
            )
        size = self.shape[side == "right"]
        return ops.segment_sum(columns, self._places[side], num_segments=size)

    def compute_scale(self) -> float:
        return 1.0

    def _flops(self, rank):
        vectors = self.kind == "rank_one"
        values = self._values.values() if vectors else [self._values]
        count = sum(math.prod(one.shape) for one in values)
        if self._formed:
            return 4 * count + 4 * rank * math.prod(self.shape)
        return (1 + self.symmetric) * 4 * count * rank

    def get_config(self):
        return {
            **super().get_config(),
            "shape": self.shape,
            "num_measurements": self.num_measurements,
            "kind": self.kind,
            "density": self.density,
            "symmetric": self.symmetric,
            "seed": self.seed,
        }


def _transposed(x):
    return ops.swapaxes(x, -1, -2)


def _distinct(generator, rows, count, size):
    """`[count, rows]` ints from 0 below `size`, of which those of a column differ."""
    if 2 * count > size:
        others = np.ones((size, rows), "bool")
        np.put_along_axis(
            others, _distinct(generator, rows, size - count, size), False, axis=0
        )
        return np.nonzero(others.T)[1].reshape(rows, count).T.astype("int32")
    dtype = "int32" if size <= 2**31 else "int64"
    drawn = generator.integers(0, size, (rows, count), dtype)
    while True:
        # Drawing again what came twice leaves all sets of places equally likely.
        drawn.sort(axis=1)
        repeated = np.nonzero(drawn[:, 1:] == drawn[:, :-1])
        if not len(repeated[0]):
            return drawn.T
        drawn[repeated] = generator.integers(0, size, len(repeated[0]), dtype)
