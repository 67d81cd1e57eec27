"""The loop of all methods, in one compiled graph, for a batch of signals at once."""

import dataclasses

from keras import ops

from zoo.layers.sensing import to_complex
from zoo.layers.shrinkage.base import is_complex
from zoo.solvers.sparse.methods import METHODS, size

RUNNING, CONVERGED, DIVERGED = range(3)
REASONS = {
    RUNNING: "max_iterations",
    CONVERGED: "converged",
    DIVERGED: "diverged",
}


@dataclasses.dataclass(frozen=True)
class Structure:
    """What the graph depends on beside its arrays.

    Attributes:
        method: str.
        constants: names of the constants, in their order.
        numbers: names of the numbers, in their order.
        rows: int, of the history, above the number of iterations.
    """

    method: str
    constants: tuple
    numbers: tuple
    rows: int


def run(shrinkage, structure, y, numbers, most, tolerance, truth, *constants):
    """Iterates each signal until it stands still or its estimate explodes.

    Args:
        shrinkage: built layer, for the methods that have one.
        structure: a `Structure`.
        y: `[batch, M]`; complex arrays are pairs of their parts, here and below.
        numbers: `[numbers, batch, 1]`.
        most: the iterations that are made at most.
        tolerance: the relative change that is none.
        truth: `[batch, N]`, or `None`.
        *constants: arrays.

    Returns:
        The estimates; each signal's iterations, reason to stop, variance and slope; and
        the squared errors `[rows, batch]`, of none `[0, batch]`.
    """
    y, truth = joined(y), None if truth is None else joined(truth)
    constants = dict(zip(structure.constants, map(joined, constants), strict=True))
    numbers = {name: numbers[i] for i, name in enumerate(structure.numbers)}
    start, iterate = METHODS[structure.method](shrinkage, y, constants, numbers)
    state = start()
    nothing = 0.0 * size(y)
    most = ops.cast(most, "int32")
    reason = ops.zeros_like(nothing[:, 0], dtype="int32")
    errors = ops.zeros((0, y.shape[0]), nothing.dtype)
    if truth is not None:
        error = size(truth)[None, :, 0]
        errors = ops.tile(error, (structure.rows, 1))

    def going(count, state, reason, steps, errors):
        return ops.any(reason == RUNNING) & (count < most)

    def body(count, state, reason, steps, errors):
        new = iterate(state, count)
        change = size(new["x"] - state["x"])
        variance, limit = (new.get(name, nothing) for name in ("variance", "limit"))
        still = change <= ops.square(tolerance) * size(new["x"])
        # The first estimate may be 0 before a variance has settled.
        still = still & (count > 0)
        lost = ~ops.isfinite(change + variance) | (variance > limit)
        verdict = ops.where(lost, DIVERGED, ops.where(still, CONVERGED, RUNNING))
        running = reason == RUNNING
        taken = running & (verdict[:, 0] != DIVERGED)
        state = {name: select(taken[:, None], new[name], state[name]) for name in new}
        reason = ops.where(running, verdict[:, 0], reason)
        count = count + 1
        if truth is not None:
            error = size(state["x"] - truth)[None, :, 0]
            errors = ops.slice_update(errors, (count, 0), error)
        return count, state, reason, steps + ops.cast(taken, "int32"), errors

    start = (0, state, reason, ops.zeros_like(reason), errors)
    _, state, reason, steps, errors = ops.while_loop(going, body, start)
    variance, slope = (state.get(name, nothing) for name in ("variance", "slope"))
    return state["x"], steps, reason, variance[:, 0], slope[:, 0], errors


def select(condition, new, old):
    """`ops.where`, which makes complex64 of complex128."""
    if not is_complex(new):
        return ops.where(condition, new, old)
    parts = (ops.real, ops.imag)
    return joined(tuple(ops.where(condition, part(new), part(old)) for part in parts))


def joined(array):
    """Makes a complex array of a pair of its parts."""
    if not isinstance(array, tuple):
        return array
    return to_complex(ops.concatenate(array, axis=-2))
