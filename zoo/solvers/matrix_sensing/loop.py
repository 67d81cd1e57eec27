"""The loop of all methods, in one compiled graph, for a batch of problems at once."""

import math

from keras import ops

# Up to this many entries `X` is formed to measure its distance from the truth.
LARGEST_FORMED = 2**18
# A method that adds up its residual computes it anew after so many steps.
REFRESH = 32
RUNNING, CONVERGED, STALLED, DIVERGED = range(4)
REASONS = {
    RUNNING: "max_iterations",
    CONVERGED: "converged",
    STALLED: "stalled",
    DIVERGED: "diverged",
}


def iterate(method, factors, z, y, weights, truth, limits, most, rows):
    """Iterates each problem until it is solved, stands still, or is no longer finite.

    Args:
        method: triple of functions: from factors to a state, a dict with the factors
            `"z"` and the residual `"e"`; from a state to the next; and from a state to
            the same without what rounding has added up, or `None`.
        factors: function from `z` of a state to the left and the right factor.
        z: first factors.
        y: measured values.
        weights: 0 where a measurement is held out, else 1; or `None`.
        truth: pair of factors of the true matrix, or `None`.
        limits: the residual that solves a problem, and the change that is none.
        most: int32 scalar, the steps that are made at most.
        rows: int above it, of the history.

    Returns:
        The last `z`, or that of the least held-out error; the history, `[quantities,
        rows, ...]`; the number of steps; and the reason of the stop.
    """
    start, step, refresh = method
    batch = len(y.shape) > 1
    parts, sizes = [None], [_norm(y)]
    if weights is not None:
        held = 1.0 - weights
        # Few values, or sparse ones, may all be zero.
        parts = [weights, held]
        sizes = [_norm(y * weights), _norm(y) * ops.sqrt(ops.mean(held))]

    def look(state):
        """Residual, held-out error, distance from the truth."""
        e = state["e"]
        seen = [
            _norm(e if part is None else e * part) / size
            for part, size in zip(parts, sizes, strict=True)
        ]
        if truth is not None:
            seen.append(relative_error(factors(state["z"]), truth))
        return ops.stack(seen)

    state = start(z)
    seen = look(state)
    counts = ops.reshape(ops.arange(rows), (rows,) + (1,) * len(seen.shape[1:]))
    history = ops.where(counts == 0, seen[:, None], math.nan)
    reason = verdict(seen[0], ops.ones_like(seen[0]), limits)
    best = (state["z"], seen[1]) if weights is not None else ()
    steps = ops.zeros_like(reason)

    def going(count, state, history, reason, steps, best):
        return ops.any(reason == RUNNING) & (count < most)

    def body(count, state, history, reason, steps, best):
        new = step(state)
        change = _norm(new["e"] - state["e"])
        change = change / ops.maximum(_norm(new["e"] + y), 1e-30)
        seen = look(new)
        news = verdict(seen[0], change, limits)
        # What is no longer finite is not taken, and what has stopped stays.
        taken = news != DIVERGED
        if batch:
            taken = taken & (reason == RUNNING)
            news = ops.where(reason == RUNNING, news, reason)
            state = select(taken, new, state)
        else:
            state = {**new, "z": ops.where(taken, new["z"], state["z"])}
        count = count + 1
        history = ops.where(taken & (counts == count), seen[:, None], history)
        if best:
            better = taken & (seen[1] < best[1])
            best = select(better, (state["z"], seen[1]), best)
        steps = steps + ops.cast(taken, steps.dtype)
        return count, state, history, news, steps, best

    def block(count, state, *rest):
        """Steps, and then what they add up computed anew."""
        end = count + REFRESH
        count, state, *rest = ops.while_loop(
            lambda count, *rest: going(count, *rest) & (count < end),
            body,
            (count, state, *rest),
        )
        return count, refresh(state), *rest

    _, state, history, reason, steps, best = ops.while_loop(
        going,
        body if refresh is None else block,
        (0, state, history, reason, steps, best),
    )
    return best[0] if best else state["z"], history, steps, reason


def verdict(residual, change, limits):
    """Returns why a problem stops, or that it goes on."""
    reason = ops.where(change < limits[1], STALLED, RUNNING)
    reason = ops.where(residual <= limits[0], CONVERGED, reason)
    return ops.where(ops.isfinite(residual + change), reason, DIVERGED)


def relative_error(factors, truth):
    """Returns `|X - X*|_F / |X*|_F` of two pairs of factors."""
    (u, v), (u_true, v_true) = factors, truth
    if u.shape[-2] * v.shape[-2] <= LARGEST_FORMED:
        x = ops.matmul(u, ops.swapaxes(v, -1, -2))
        x_true = ops.matmul(u_true, ops.swapaxes(v_true, -1, -2))
        return _size(x - x_true) / _size(x_true)
    # The same within the span of the factors, which rounds no more than these.
    rank = u.shape[-1]
    left, right = (
        ops.linalg.qr(ops.concatenate(pair, axis=-1))[1]
        for pair in ((u, u_true), (v, v_true))
    )
    x, x_true = (
        ops.matmul(left[..., part], ops.swapaxes(right[..., part], -1, -2))
        for part in (slice(rank), slice(rank, None))
    )
    return _size(x - x_true) / _size(x_true)


def select(condition, new, old):
    """Takes the arrays of `new` in problems where `condition` holds, else of `old`."""
    if isinstance(new, dict):
        return {name: select(condition, new[name], old[name]) for name in new}
    if isinstance(new, tuple):
        return tuple(map(select, (condition,) * len(new), new, old))
    shape = (*condition.shape, *(1,) * (len(new.shape) - len(condition.shape)))
    return ops.where(ops.reshape(condition, shape), new, old)


def _norm(x):
    return ops.sqrt(ops.sum(x * x, axis=-1))


def _size(x):
    squares = ops.square(ops.abs(x))
    return ops.sqrt(ops.sum(squares, axis=(-2, -1)))
