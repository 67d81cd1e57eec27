"""The loop of all methods, in one compiled graph, for a batch of images at once."""

import dataclasses
import math

import keras
from keras import ops

from zoo.solvers.plug_and_play.methods import METHODS
from zoo.solvers.sparse.loop import CONVERGED, DIVERGED, RUNNING, joined


@dataclasses.dataclass(frozen=True)
class Structure:
    """What the graph depends on beside its arrays.

    Attributes:
        method: str.
        fidelity: the data term.
        rows: int, of the history, from the number of iterations up.
    """

    method: str
    fidelity: object
    rows: int


def run(problem, structure, y, first, steps, sigma, most, tolerance, truth):
    """Iterates each image until its point stands still or is no longer finite.

    Args:
        problem: a `Problem`.
        structure: a `Structure`.
        y: `[batch, *measurement_shape]`; a complex array is a pair of its parts.
        first: `[batch, height, width, channels]`.
        steps: `[2, batch]`, of the data term and of the dual variable.
        sigma: noise levels, one row for all iterations or one an iteration, of one
            column for all images or one an image; or `None`.
        most: the iterations that are made at most.
        tolerance: the relative change that is none.
        truth: `[batch, height, width, channels]`, or `None`.

    Returns:
        The estimates; the point; each image's iterations and reason to stop; and the
        history `[rows, 3, batch]`: the squares of the change and of the size of the
        point, and the mean squared error.
    """
    y, (step, dual_step) = joined(y), ops.unstack(steps, num=2)
    term = structure.fidelity.bind(problem.operator, y)

    def denoise(images, memory, level):
        return problem.denoise(images, memory, level, step)

    start, iterate = METHODS[structure.method](term, denoise, step, dual_step)
    state = start(first, problem.memory(first))
    most = ops.cast(most, "int32")
    reason = ops.zeros_like(step, dtype="int32")
    history = ops.full((structure.rows, 3, step.shape[0]), math.nan, first.dtype)

    def going(count, state, reason, taken, history):
        return ops.any(reason == RUNNING) & (count < most)

    def body(count, state, reason, taken, history):
        level = None
        if sigma is not None:
            level = sigma[ops.minimum(count, sigma.shape[0] - 1)]
        new = iterate(state, level)
        change = _energy(new["point"] - state["point"])
        size = _energy(new["point"])
        error = change * math.nan
        if truth is not None:
            error = _energy(new["x"] - truth) / math.prod(truth.shape[1:])
        still = change <= ops.square(tolerance) * size
        verdict = ops.where(still, CONVERGED, RUNNING)
        verdict = ops.where(ops.isfinite(change + size), verdict, DIVERGED)
        running = reason == RUNNING
        good = running & (verdict != DIVERGED)
        row = ops.where(good, ops.stack([change, size, error]), math.nan)
        history = ops.slice_update(history, (count, 0, 0), row[None])
        reason = ops.where(running, verdict, reason)
        state = keep(good, new, state)
        return count + 1, state, reason, taken + ops.cast(good, "int32"), history

    # Python functions run outside of graphs.
    keep, loop = (
        (_keep_in_graph, ops.while_loop) if problem.compiles else (_keep, _python_loop)
    )
    state = (0, state, reason, ops.zeros_like(reason), history)
    _, state, reason, taken, history = loop(going, body, state)
    return state["x"], state["point"], taken, reason, history


def _python_loop(going, body, state):
    while bool(going(*state)):
        state = body(*state)
    return state


def _energy(x):
    """Returns `|x|^2` of each image, `[batch]`."""
    return ops.sum(ops.square(x), axis=tuple(range(1, len(x.shape))))


def _keep_in_graph(condition, new, old):
    # A pass over memory less for each array while all are running.
    return ops.cond(ops.all(condition), lambda: new, lambda: _keep(condition, new, old))


def _keep(condition, new, old):
    """Takes arrays of `new` for images where a condition holds, else of `old`."""

    def choose(a, b):
        shape = (-1,) + (1,) * (len(a.shape) - 1)
        return ops.where(ops.reshape(condition, shape), a, b)

    return keras.tree.map_structure(choose, new, old)
