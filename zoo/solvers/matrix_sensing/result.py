"""What a solver of matrix sensing returns."""

import dataclasses

import numpy as np

from zoo.solvers.matrix_sensing.loop import REASONS

# Numbers of a matrix that is still formed: 0.5 GB in float64.
LARGEST_DENSE = 2**26


@dataclasses.dataclass(frozen=True)
class SensingResult:
    """A matrix that was recovered, by its factors, and how.

    For a batch of problems every array has the batch's dimensions first, and `steps`,
    `stop_reason`, `residual` and `holdout_error` are arrays of the batch's shape.

    Attributes:
        left: array `[n1, r]`, the left factor of `X = left right^T`; complex if the
            kind is `"hermitian"`.
        right: array `[n2, r]`. For `"psd"` it is `left`, for `"hermitian"` its
            conjugate, for `"indefinite"` `left` with some signs changed.
        kind: str, of what form `X` is.
        method: str.
        steps: int, the iterations.
        stop_reason: `"converged"`: the residual is within `tolerance`; `"stalled"`: a
            step changed the measurements by less than `min_change`; `"diverged"`: the
            next step was not finite, and was not taken; `"max_iterations"`.
        residual: float, `|A(X) - y| / |y|` over the measurements that were fitted.
        holdout_error: float, `|A(X) - y|` over those held out, relative to `|y|` times
            the root of their share, of the factors that are returned; `None` without.
        history: dict of arrays `[steps + 1]`, from the start on: `"residual"`, and
            where asked for `"holdout"` and `"error"`, the relative distance from
            `truth`. In a batch, problems that stopped early end in NaN.

    Example:

    >>> from zoo.layers.sensing import GaussianSensing
    >>> from zoo.solvers.matrix_sensing import solve
    >>> u = np.arange(8.0)[:, None]
    >>> operator = GaussianSensing((8, 8), 60)
    >>> result = solve(operator, operator(u), rank=1)
    >>> result.stop_reason, bool(np.abs(result.to_dense() - u @ u.T).max() < 1e-3)
    ('converged', True)
    """

    left: np.ndarray
    right: np.ndarray
    kind: str
    method: str
    steps: int | np.ndarray
    stop_reason: str | np.ndarray
    residual: float | np.ndarray
    holdout_error: float | np.ndarray | None
    history: dict[str, np.ndarray]

    def to_dense(self) -> np.ndarray:
        """Returns `X`, an array `[n1, n2]`.

        Raises:
            ValueError: it has more than `2^26` entries.
        """
        rows, columns = self.left.shape[-2], self.right.shape[-2]
        if rows * columns > LARGEST_DENSE:
            raise ValueError(
                f"`to_dense` forms {LARGEST_DENSE} entries at most. "
                f"Received: X of shape {(rows, columns)}"
            )
        return self.left @ np.swapaxes(self.right, -1, -2)


def make_result(left, right, kind, method, history, names, steps, reasons):
    """Makes a result of a graph's outputs, NumPy arrays."""
    longest = int(steps.max()) + 1
    curves = {
        name: np.moveaxis(curve[:longest], 0, -1)
        for name, curve in zip(names, history, strict=True)
    }
    words = np.vectorize(REASONS.get, otypes=[object])(reasons)
    at, held_out = steps[..., None], None
    if "holdout" in curves:
        # The iterate of the least held-out error is the one that is returned.
        at = np.nanargmin(curves["holdout"], -1)[..., None]
        held_out = np.take_along_axis(curves["holdout"], at, -1)[..., 0]
    last = np.take_along_axis(curves["residual"], at, -1)[..., 0]
    if not steps.ndim:
        steps, words, last = int(steps), words.item(), float(last)
        held_out = None if held_out is None else float(held_out)
    return SensingResult(
        left, right, kind, method, steps, words, last, held_out, curves
    )
