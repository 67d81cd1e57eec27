"""One layer of learned ISTA."""

from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.checks import check_bool, check_choice, check_count
from zoo.layers.linear_step import Factored, GradientStep, LinearStep, start
from zoo.layers.shrinkage import soft_threshold
from zoo.layers.shrinkage.base import FREE, POSITIVE, root
from zoo.layers.unrolled_block import UnrolledBlock, times

COUPLINGS = ("free", "coupled", "analytic")


@keras.saving.register_keras_serializable(package="zoo")
class FreeStep(LinearStep):
    """Products with a matrix `B` and with `S`, at first `I - B A`.

    Args:
        matrix: `A`, `[M, N]`.
        back: first `B`, as for `GradientStep`. Defaults to `"ista"`.
        rank: int from 1 to `N`, of `S = U1^T U2`, or `None`: `S` is one matrix.
        **kwargs: `step`, `name`, `dtype`, `trainable`.
    """

    def __init__(self, matrix, back="ista", rank=None, **kwargs):
        factored = Factored(matrix)
        super().__init__(factored, **kwargs)
        size = self.shape[1]
        if rank is not None and check_count("rank", rank) > size:
            raise ValueError(
                f"`rank` must be from 1 to {size}, or None. Received: rank={rank}"
            )
        self.rank = rank
        back = start(back, factored)
        square = np.eye(size) - back @ factored.matrix
        self.back_matrix = self.add_matrix("back", back)
        if rank is None:
            self.carry_matrices = [self.add_matrix("carry", square)]
            return
        left, values, right = np.linalg.svd(square)
        roots = np.sqrt(values[:rank])
        self.carry_matrices = [
            self.add_matrix("carry_right", roots[:, None] * right[:rank]),
            self.add_matrix("carry_left", left[:, :rank] * roots),
        ]

    def back(self, v):
        """Returns `B v`."""
        return self.apply(self.back_matrix, v)

    def carry(self, x):
        """Returns `S x`."""
        for matrix in self.carry_matrices:
            x = self.apply(matrix, x)
        return x

    def get_config(self):
        return {**super().get_config(), "rank": self.rank}


@keras.saving.register_keras_serializable(package="zoo")
class ListaBlock(UnrolledBlock):
    """One layer of learned ISTA: a linear step, then soft thresholding.

    `x+ = soft(r + momentum * (x - x_previous), threshold)`

    | `coupling` | `r` | trained |
    |---|---|---|
    | `"free"` | `B y + S x` | `B`, `S`, threshold |
    | `"coupled"` | `x + B (y - A x)` | `B`, threshold |
    | `"analytic"` | `x + step * B (y - A x)` | step, threshold |

    The first values make the layer one iteration of ISTA for the Lasso,
    `|y - A x|^2 / 2 + regularization |x|_1`: with `L` the largest eigenvalue of
    `A^H A`, `B = A^H / L`, `S = I - B A` and `threshold = regularization / L`. So a
    stack of new blocks is ISTA, and with `momentum = (t - 2) / (t + 1)` in the `t`-th
    block, from the third on, FISTA. The analytic `B` is another, and fixed: the rows
    of the pseudoinverse of `A`, scaled such that `B A` has a diagonal of ones; its step
    starts at 1.

    Without `x` the block starts from zero. It costs `N^2 + M N` multiplications a
    signal if free, `2 r N + M N` with `S` of rank `r`, and `2 M N` otherwise.

    Args:
        matrix: `A`, array `[M, N]` with `M < N` and of rank `M`, real or complex; or
            `None` with `tied_to`.
        regularization: float above 0, of the Lasso that the block starts as. Defaults
            to 0.1.
        coupling: one of the above. Defaults to `"free"`.
        rank: int from 1 to `N`, to keep `S` as `U1^T U2` with `U1` and `U2` of so many
            rows, at first the nearest ones; `None` for `S` as one matrix. Defaults to
            `None`.
        momentum: float, fixed, of the step from `x_previous` to `x`. Defaults to 0.
        trusted: float from 0, below 1, the share of the coordinates, those of the
            largest magnitudes, that pass as they are where they exceed the threshold.
            ALISTA has `min(0.012 t, 0.13)` in the `t`-th layer. Defaults to 0.
        per_signal: bool, whether the threshold is in units of the root mean square of
            `y`, so that the block scales with its inputs. Defaults to `False`.
        coordinatewise: bool, whether each coordinate has a threshold of its own.
            Defaults to `False`.
        start: array `[N, M]`, the first `B`, to be trained; or `"ista"`, as above. The
            default.
        tied_to: a `ListaBlock` of the same coupling to share the matrices, or `None`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        y: `[..., M]`, measurements.
        x: `[..., N]`, the last estimate. Defaults to zero.
        x_previous: `[..., N]`, the estimate before it, for the momentum. Defaults to
            `x`.

    Returns:
        The next estimate, `[..., N]`.

    Raises:
        ValueError: an argument is not as above, or `y` is of another size.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> matrix = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    >>> y = keras.Input((2,))
    >>> first = ListaBlock(matrix, regularization=0.3)
    >>> x = first(y)
    >>> for _ in range(99):
    ...     x = ListaBlock(None, regularization=0.3, tied_to=first)(y, x)
    >>> x = keras.Model(y, x).predict(np.array([[1.0, 1.0]]), verbose=0)
    >>> x.astype("float64").round(3).tolist()
    [[0.0, 0.0, 0.85]]

    Reference:

    - Gregor and LeCun, 2010, "Learning Fast Approximations of Sparse Coding", ICML
    - Chen, Liu, Wang and Yin, 2018, "Theoretical Linear Convergence of Unfolded ISTA
      and its Practical Weights and Thresholds",
      [arXiv:1808.10038](https://arxiv.org/abs/1808.10038)
    - Liu, Chen, Wang and Yin, 2019, "ALISTA: Analytic Weights Are As Good As Learned
      Weights in LISTA", ICLR
    """

    def __init__(
        self,
        matrix: Array | None,
        regularization: float = 0.1,
        coupling: Literal["free", "coupled", "analytic"] = "free",
        rank: int | None = None,
        *,
        momentum: float = 0.0,
        trusted: float = 0.0,
        per_signal: bool = False,
        coordinatewise: bool = False,
        start: Literal["ista"] | Array = "ista",
        tied_to: "ListaBlock | None" = None,
        **kwargs: Any,
    ) -> None:
        check_choice("coupling", coupling, COUPLINGS)
        if rank is not None and coupling != "free":
            raise ValueError(
                "`rank` must be None unless coupling='free'. "
                f"Received: rank={rank!r}, coupling={coupling!r}"
            )
        if isinstance(start, str) and start != "ista":
            raise ValueError(
                f"`start` must be 'ista' or an array. Received: start={start!r}"
            )
        if not isinstance(start, str) and coupling == "analytic":
            raise ValueError(
                "`start` must be 'ista' with coupling='analytic'. "
                f"Received: start of shape {np.shape(start)}"
            )
        kind: type[LinearStep]
        settings: dict[str, Any]
        if coupling == "free":
            kind, settings = FreeStep, {"back": start, "rank": rank}
        elif coupling == "coupled":
            kind, settings = GradientStep, {"back": start}
        else:
            kind, settings = GradientStep, {"back": "analytic", "learned": False}
        super().__init__(matrix, tied_to, kind, settings, **kwargs)
        if coupling != "free" and self.linear.learned != (coupling == "coupled"):
            raise ValueError(
                "`tied_to` must be of the same coupling. "
                f"Received: tied_to={tied_to!r}, coupling={coupling!r}"
            )
        if rank is not None and self.linear.rank != rank:
            raise ValueError(
                f"`rank` must be None, or {self.linear.rank} as that of `tied_to`. "
                f"Received: rank={rank}"
            )
        self.regularization = POSITIVE.check("regularization", regularization)
        self.coupling = coupling
        self.momentum = FREE.check("momentum", momentum)
        self.trusted = _check_trusted(trusted)
        self.per_signal = check_bool("per_signal", per_signal)
        self.coordinatewise = check_bool("coordinatewise", coordinatewise)

    def build(self, y_shape):
        threshold = self.regularization * self.linear.step
        size = self.linear.shape[1:] if self.coordinatewise else ()
        self._raw_threshold = self.add_positive("threshold", threshold, size)
        if self.coupling == "analytic":
            self._raw_step = self.add_positive("step", 1.0)

    def call(self, y, x=None, x_previous=None):
        y = self.to_signal(y)
        r = self._improve(y, x)
        if self.momentum and x is not None and x_previous is not None:
            x, x_previous = self.to_signal(x), self.to_signal(x_previous)
            r = r + self.momentum * (x - x_previous)
        threshold = self.positive(self._raw_threshold)
        if self.per_signal:
            threshold = threshold * root(self.energy(y) / y.shape[-1])
        estimate = soft_threshold(r, threshold)
        count = round(self.trusted * self.linear.shape[1])
        if count:
            magnitude = ops.abs(r)
            largest, _ = ops.top_k(magnitude, count)
            kept = (magnitude >= largest[..., -1:]) & (magnitude > threshold)
            estimate = estimate + times(kept, r - estimate)
        return self.to_output(estimate)

    def _improve(self, y, x):
        """Returns what is thresholded, without momentum."""
        linear = self.linear
        if x is not None:
            x = self.to_signal(x)
        if self.coupling == "free":
            r = linear.back(y)
            return r if x is None else r + linear.carry(x)
        r = linear.back(y if x is None else y - linear.forward(x))
        if self.coupling == "analytic":
            r = times(self.positive(self._raw_step), r)
        return r if x is None else x + r

    def compute_output_shape(self, y_shape):
        return (*y_shape[:-1], self.linear.shape[1])

    def compute_output_spec(self, y, x=None, x_previous=None):
        return self.output_spec(self.compute_output_shape(y.shape))

    def get_config(self):
        return {
            **super().get_config(),
            "regularization": self.regularization,
            "coupling": self.coupling,
            "momentum": self.momentum,
            "trusted": self.trusted,
            "per_signal": self.per_signal,
            "coordinatewise": self.coordinatewise,
        }


def _check_trusted(trusted):
    number = isinstance(trusted, (int, float)) and not isinstance(trusted, bool)
    if not number or not 0 <= trusted < 1:
        raise ValueError(
            f"`trusted` must be a number from 0, below 1. Received: trusted={trusted!r}"
        )
    return float(trusted)
