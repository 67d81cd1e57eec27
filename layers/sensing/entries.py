"""Measurements that are entries of a matrix: matrix completion."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo import _backend
from zoo._types import Array
from zoo.layers.sensing.base import check_shape
from zoo.layers.sensing.rank_one import RankOneOperator


@keras.saving.register_keras_serializable(package="zoo")
class EntrySensing(RankOneOperator):
    """Measurements `y_i = X[rows_i, columns_i]`: a matrix of which entries are known.

    Two ints a measurement are stored. The entries may stand in any order, which is that
    of the values. A low-rank `X` is found from few of its entries only if no entry is
    much larger than all others, and only where each row and column has a sample.

    `scale` is `sqrt(m / (n1 n2))`. With `symmetric=True` it is that of symmetric `X`,
    `sqrt((m + d) / (n (n + 1)))` with `d` of the entries on the diagonal.

    Args:
        rows: `[m]`, ints, from 0.
        columns: `[m]`, ints, from 0.
        shape: pair of ints, the sizes `(n1, n2)` of `X`.
        symmetric: bool, whether `X` is, so that `(i, j)` and `(j, i)` are one entry:
            `y_i = (X[rows_i, columns_i] + X[columns_i, rows_i]) / 2`. Needs `n1 == n2`.
            Defaults to `False`.
        **kwargs: `name`, `dtype`.

    Call arguments:
        u: `[..., n1, r]`.
        v: `[..., n2, r]`. Defaults to `u`.

    Returns:
        `[..., m]`.

    Raises:
        ValueError: `rows` and `columns` are not ints, not equally many, or not in
            `shape`; or an entry is given twice.

    Example:

    >>> import numpy as np
    >>> operator = EntrySensing(rows=[0, 1, 1], columns=[1, 0, 2], shape=(2, 3))
    >>> u, v = np.array([[1.0], [2.0]]), np.array([[3.0], [4.0], [5.0]])
    >>> np.asarray(operator(u, v))
    array([ 4.,  6., 10.], dtype=float32)

    Reference:

    - Candès and Recht, 2009, "Exact Matrix Completion via Convex Optimization",
      [arXiv:0805.4471](https://arxiv.org/abs/0805.4471)
    """

    def __init__(
        self,
        rows: Array,
        columns: Array,
        shape: Sequence[int],
        *,
        symmetric: bool = False,
        **kwargs: Any,
    ) -> None:
        shape = check_shape(shape)
        rows = _check_places("rows", rows, shape[0])
        columns = _check_places("columns", columns, shape[1])
        if len(rows) != len(columns):
            raise ValueError(
                "`rows` and `columns` must be equally many. "
                f"Received: {len(rows)} rows and {len(columns)} columns"
            )
        super().__init__(
            shape, len(rows), symmetric=symmetric, paired=symmetric, **kwargs
        )
        _check_different(rows, columns, shape, symmetric)
        warn_unseen(rows, columns, shape, symmetric)
        self.rows = self.add_data("rows", rows.astype("int32"))
        self.columns = self.add_data("columns", columns.astype("int32"))

    def _rows(self, columns, side):
        return _backend.take(columns, self._places(side), axis=0)

    def _rows_transposed(self, columns, side):
        size = self.shape[side == "right"]
        return ops.segment_sum(columns, self._places(side), num_segments=size)

    def _places(self, side):
        return self.rows if side == "left" else self.columns

    def compute_scale(self) -> float:
        n1, n2 = self.shape
        if not self.symmetric:
            return (self.num_measurements / (n1 * n2)) ** 0.5
        rows, columns = map(ops.convert_to_numpy, (self.rows, self.columns))
        diagonal = np.count_nonzero(rows == columns)
        return ((self.num_measurements + diagonal) / (n1 * (n1 + 1))) ** 0.5

    def _flops(self, rank):
        return (1 + self.symmetric) * 4 * self.num_measurements * rank

    def get_config(self):
        return {
            **super().get_config(),
            "shape": self.shape,
            "num_measurements": self.num_measurements,
            "symmetric": self.symmetric,
        }

    @classmethod
    def from_config(cls, config):
        """Makes a layer of the saved sizes; its entries come with the weights."""
        config = dict(config)
        (n1, n2), m = config["shape"], config.pop("num_measurements")
        # Stand-ins, all of them different, one diagonal after the other.
        rows = np.arange(m) % n1
        columns = (rows + np.arange(m) // n1) % n2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return cls(rows, columns, **config)


def _check_places(name, value, size):
    """Returns `value` as a NumPy array of ints from 0 below `size`."""
    places = np.asarray(ops.convert_to_numpy(value))
    if places.ndim != 1 or not places.size or places.dtype.kind not in "iu":
        raise ValueError(
            f"`{name}` must be one axis of ints, not empty. "
            f"Received: {name} of shape {places.shape} and dtype {places.dtype}"
        )
    outside = np.flatnonzero((places < 0) | (places >= size))
    if len(outside):
        raise ValueError(
            f"`{name}` must be from 0 to {size - 1}. Received: {len(outside)} that are "
            f"not, the first {places[outside[0]]} at position {outside[0]}"
        )
    return places


def _check_different(rows, columns, shape, symmetric):
    if symmetric:
        rows, columns = np.minimum(rows, columns), np.maximum(rows, columns)
    flat = rows.astype("int64") * shape[1] + columns
    _, first = np.unique(flat, return_index=True)
    if len(first) < len(flat):
        repeated = np.delete(np.arange(len(flat)), first)
        place = repeated[0]
        raise ValueError(
            f"entries must be different. Received: {len(repeated)} repeated, the first "
            f"({rows[place]}, {columns[place]}) at position {place}"
        )


def warn_unseen(rows, columns, shape, symmetric):
    """Warns of rows and columns of `X` of which the entries say nothing."""
    if symmetric:
        rows = columns = np.concatenate([rows, columns])
    unseen = [
        size - len(np.unique(places))
        for size, places in zip(shape, (rows, columns), strict=True)
    ]
    if any(unseen):
        warnings.warn(
            f"{unseen[0]} rows and {unseen[1]} columns of X are in no measurement: "
            "nothing can be found of them",
            stacklevel=3,
        )
