"""Measurements by structured vectors: rows of two rounds of signs and Hadamard."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo.layers.checks import check_count, check_seed
from zoo.layers.sensing.rank_one import RankOneOperator


@keras.saving.register_keras_serializable(package="zoo")
class HadamardSensing(RankOneOperator):
    """Measurements `y_i = a_i^T X a_i` by vectors that need no storage.

    The vectors stand in the place of Gaussian ones of unit variance. They are the first
    `n` entries of the rows of matrices of `N` rows, of which the first `m` are taken,

    `N^(-1/2) H D1 H D2`,

    with `N` the power of two from `n` up, `H` Hadamard's matrix and `D1` and `D2`
    random signs on a diagonal. Two bits a row are stored instead of `n` numbers, and a
    product with all `N` rows takes two fast Hadamard transforms instead of `N n`
    multiplications. Rows of one matrix are orthogonal. See `RankOneSensing` for why to
    centre.

    `scale` is the average over signs, for random symmetric `X`:
    `s^2 = 2m (n + c - 2 n / N) / (n + 1)`, with `c = 1` if centred and 2 if not.

    Args:
        size: int >= 1, `n`, the side of `X`.
        num_measurements: int >= 1, `m`.
        centered: bool, whether to measure by `A_i` less the mean of all `A_j`, so that
            measured values are to be centred by `center`. Defaults to `True`.
        seed: int, of the signs. Defaults to 0.
        **kwargs: `name`, `dtype`.

    Call arguments:
        u: `[..., n, r]`.
        v: `[..., n, r]`. Defaults to `u`.

    Returns:
        `[..., m]`.

    Raises:
        ValueError: `size` or `num_measurements` is no int from 1 up.

    Example:

    >>> operator = HadamardSensing(4096, 50 * 4096)
    >>> operator.cost_estimate()["bytes"] == 2 * 50 * 4096 // 8
    True

    Reference:

    - Ailon and Chazelle, 2009, "The Fast Johnson-Lindenstrauss Transform and
      Approximate Nearest Neighbors"
    - Choromanski, Rowland and Weller, 2017, "The Unreasonable Effectiveness of
      Structured Random Orthogonal Embeddings",
      [arXiv:1703.00864](https://arxiv.org/abs/1703.00864)
    """

    def __init__(
        self,
        size: int,
        num_measurements: int,
        *,
        centered: bool = True,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        size = check_count("size", size)
        super().__init__(
            (size, size), num_measurements, symmetric=True, centered=centered, **kwargs
        )
        self.seed = check_seed(seed)
        bits = math.ceil(math.log2(size))
        # A transform of N = P Q values, as a P x Q matrix, is one of P and one of Q.
        self._factors = 2 ** (bits // 2), 2 ** (bits - bits // 2)
        self._order = 2**bits
        self._blocks = math.ceil(num_measurements / self._order)
        count = 2 * self._blocks * self._order
        generator = np.random.default_rng(seed)
        self.signs = self.add_data(
            "signs", generator.integers(0, 256, math.ceil(count / 8), "uint8")
        )

    def _rows(self, columns, side):
        (p, q), c = self._factors, ops.shape(columns)[1]
        first, second = self._diagonals(columns.dtype)
        x = ops.transpose(self._padded(columns, self._order))
        # Each product puts the columns' axis where the next one needs it: no other
        # transpose is paid for. The letters are axes: k blocks, p, q, and c columns.
        x = ops.reshape(second[:, None] * x, (-1, c * p, q))
        x = ops.matmul(_hadamard(q, x), ops.swapaxes(x, 1, 2))  # k q cp
        x = ops.matmul(ops.reshape(x, (-1, p)), _hadamard(p, x))  # kqc p
        x = ops.reshape(x, (-1, q, c, p)) * ops.reshape(first, (-1, q, 1, p))
        x = ops.matmul(_hadamard(q, x), ops.reshape(x, (-1, q, c * p)))  # k q cp
        x = ops.swapaxes(ops.reshape(x, (-1, q * c, p)), 1, 2)
        x = ops.matmul(_hadamard(p, x), x)  # k p qc
        return ops.reshape(x, (-1, c))[: self.num_measurements]

    def _rows_transposed(self, columns, side):
        (p, q), c = self._factors, ops.shape(columns)[1]
        first, second = self._diagonals(columns.dtype)
        x = self._padded(columns, self._blocks * self._order)
        # The steps of `_rows` from the last to the first.
        x = ops.swapaxes(ops.reshape(x, (-1, p, q * c)), 1, 2)
        x = ops.matmul(x, _hadamard(p, x))  # k qc p
        x = ops.matmul(_hadamard(q, x), ops.reshape(x, (-1, q, c * p)))  # k q cp
        x = ops.reshape(x, (-1, q, c, p)) * ops.reshape(first, (-1, q, 1, p))
        x = ops.matmul(ops.reshape(x, (-1, p)), _hadamard(p, x))  # kqc p
        x = ops.swapaxes(ops.reshape(x, (-1, q, c * p)), 1, 2)
        x = ops.matmul(x, _hadamard(q, x))  # k cp q
        x = ops.sum(second[:, None] * ops.reshape(x, (-1, c, p * q)), axis=0)
        return ops.transpose(x)[: self.shape[0]]

    def _diagonals(self, dtype):
        """`D1 / sqrt(N)`, with the two axes of a transform exchanged, and `D2`."""
        places = np.arange(8, dtype="uint8")[:, None]
        bits = ops.bitwise_and(ops.right_shift(self.signs, places), np.uint8(1))
        bits = ops.reshape(bits, (-1,))[: 2 * self._blocks * self._order]
        signs = ops.reshape(1 - 2 * ops.cast(bits, dtype), (2, -1, self._order))
        return signs[0] * self._order**-0.5, signs[1]

    def _padded(self, x, rows):
        missing = rows - ops.shape(x)[0]
        return ops.pad(x, [[0, missing], [0, 0]]) if missing else x

    def compute_scale(self) -> float:
        n = self.shape[0]
        diagonal = (1 if self.centered else 2) - 2 * n / self._order
        return math.sqrt(2 * self.num_measurements * (n + diagonal) / (n + 1))

    def _flops(self, rank):
        rounds = 2 * 2 * 2 * self._blocks * self._order * rank
        return rounds * sum(self._factors)

    def get_config(self):
        return {
            **super().get_config(),
            "size": self.shape[0],
            "num_measurements": self.num_measurements,
            "centered": self.centered,
            "seed": self.seed,
        }


def _hadamard(size, x):
    """Hadamard's matrix of a power of two, in the dtype of `x`."""
    matrix = np.ones((1, 1), "int8")
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return ops.convert_to_tensor(matrix, x.dtype)
