"""What a solver of sparse recovery returns."""

import dataclasses
from typing import Literal

import numpy as np

from zoo._types import Array
from zoo.metrics.recovery import decibels


@dataclasses.dataclass(frozen=True)
class SparseResult:
    """Signals that were recovered, and how; arrays of one number a signal are `[...]`.

    Attributes:
        x: `[..., N]`, the estimates.
        method: str.
        iterations: int array, how many each signal took.
        stop_reason: array of str. `"converged"`: the last iteration changed the
            estimate by no more than `tolerance`, relatively; `"diverged"`: the next one
            was not finite, or so far off that it was not taken; `"max_iterations"`.
        variance: of AMP and VAMP, the variance of the error that the last shrinkage was
            told of; else `None`.
        slope: the last shrinkage's mean slope; or `None`.
        regularization: the `lambda` of the Lasso, `|y - A x|^2 / 2 + lambda |x|_1`,
            that ISTA and FISTA minimise, and that a fixed point of AMP or VAMP with
            soft thresholding of scale 1 minimises; `None` of any other shrinkage.
        squared_errors: `[..., T + 1]` for `T` iterations of the slowest signal, `|x_t -
            x|^2` from the start on; what has stopped keeps its last. `None` without a
            `truth`.
        truth_energy: `|x|^2` of the truth; or `None`.

    Example:

    >>> from zoo.solvers.sparse import ista
    >>> y = np.array([[1.0, 0.0]])
    >>> result = ista(np.eye(2), y, 0.1, truth=y)
    >>> result.stop_reason.tolist(), result.nmse()[[0, -1]].round(1).tolist()
    (['converged'], [0.0, -20.0])
    """

    x: np.ndarray
    method: str
    iterations: np.ndarray
    stop_reason: np.ndarray
    variance: Array | None = None
    slope: Array | None = None
    regularization: Array | None = None
    squared_errors: Array | None = None
    truth_energy: Array | None = None

    def nmse(self, average: Literal["block", "signal"] = "block") -> np.ndarray:
        """Returns the curve of the NMSE in dB, float64 `[T + 1]`, from the start on.

        Args:
            average: `"block"` or `"signal"`, as for `zoo.metrics.nmse`. Defaults to
                `"block"`.

        Raises:
            ValueError: no `truth` was passed, or `average` is none of these.
        """
        if self.squared_errors is None or self.truth_energy is None:
            raise ValueError("`nmse` needs that `truth` is passed to the solver.")
        steps = self.squared_errors.shape[-1]
        errors = np.reshape(self.squared_errors, (-1, steps)).astype("float64")
        return decibels(errors, np.reshape(self.truth_energy, (-1, 1)), average)
