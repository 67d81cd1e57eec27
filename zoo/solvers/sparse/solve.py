"""What all methods share: arrays into the graph, and what it returns to a result."""

import math
import warnings

import numpy as np

from zoo._backend.compiling import call_compiled
from zoo.metrics.recovery import energy
from zoo.solvers.sparse import checks
from zoo.solvers.sparse.loop import DIVERGED, REASONS, Structure, run
from zoo.solvers.sparse.result import SparseResult

REMEDIES = {
    "amp": "AMP needs a matrix of independent entries of variance 1 / M; take `vamp`, "
    "or `damping=0.5`",
    "vamp": "check `noise_variance`, or take `damping=0.5`",
}


def solve(method, layer, y, constants, numbers, iterations, tolerance, truth):
    """Runs a method on a batch of any shape.

    Args:
        method: str, a key of `METHODS`.
        layer: the shrinkage, or a layer that has but a dtype.
        y: float64 or complex128 `[..., M]`.
        constants: dict of arrays.
        numbers: dict of numbers, or arrays of one a signal.
        iterations, tolerance, truth: as for the public functions.

    Returns:
        A `SparseResult`.
    """
    iterations, tolerance = checks.check_limits(iterations, tolerance)
    batch = y.shape[:-1]
    flat = y.reshape(-1, y.shape[-1])
    columns = [np.broadcast_to(number, batch).ravel() for number in numbers.values()]
    structure = Structure(
        method=method,
        constants=tuple(constants),
        numbers=tuple(numbers),
        # One graph for many limits.
        rows=2 ** math.ceil(math.log2(iterations + 1)),
    )
    arrays = (
        _parts(flat),
        np.stack(columns)[..., None],
        iterations,
        tolerance,
        None if truth is None else _parts(truth.reshape(len(flat), -1)),
        *map(_parts, constants.values()),
    )
    x, steps, reasons, variance, slope, errors = call_compiled(
        run, layer, structure, *arrays
    )
    lost = np.count_nonzero(reasons == DIVERGED)
    if lost:
        warnings.warn(
            f"`{method}` diverged on {lost} of {len(flat)} signals: "
            f"{REMEDIES.get(method, 'look for huge numbers in `y`')}.",
            stacklevel=3,
        )
    iterative = method in ("amp", "vamp")
    curves = None
    if truth is not None:
        curves = errors[: int(steps.max(initial=0)) + 1].T
        curves = curves.reshape(*batch, -1)
    return SparseResult(
        x=x.reshape(*batch, -1),
        method=method,
        iterations=steps.reshape(batch),
        stop_reason=np.vectorize(REASONS.get, otypes=["U16"])(reasons).reshape(batch),
        variance=variance.reshape(batch) if iterative else None,
        slope=slope.reshape(batch) if iterative else None,
        regularization=numbers.get("regularization"),
        squared_errors=curves,
        truth_energy=None if truth is None else energy(truth),
    )


def _parts(array):
    """A complex array as the pair of its parts, which graphs take."""
    return (array.real, array.imag) if np.iscomplexobj(array) else array
