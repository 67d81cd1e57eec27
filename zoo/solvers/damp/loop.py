"""The loop of both methods, which watches each image of a batch by itself."""

import numpy as np

from zoo.layers.divergence import gaussian_probes
from zoo.solvers.damp.pieces import denoise, energy, first_memory
from zoo.solvers.sparse.loop import CONVERGED, DIVERGED, RUNNING

# The noise of the pseudo-data, over its least before, that calls for damping; and over
# the first, where none helps.
GROWTH, LOST = 1.2, 3.0
# A quarter of a grey level: what grows below it is no more than rounding and probes.
FLOOR = 1e-3
LEAST_DAMPING = 1 / 64


def run(method, problem, step, settings, truth):
    """Iterates each image until its estimate stands still or its noise explodes.

    Args:
        method: a `Damp` or `Dvamp`.
        problem: its `Problem`.
        step: a `Step`.
        settings: dict of `iterations`, `probes`, `damping`, `tolerance`, `seed` and
            `keep`.
        truth: `[batch, height, width, channels]`, or `None`.

    Returns:
        Dict of the estimates `x`, and of arrays of each image: `reason`, `taken`,
        `damping`; histories `sigma`, `residual` and `error`; and `pseudo_data`.
    """
    state, batch = method.start(), len(method.y)
    shape, size = problem.operator.image_shape, np.sqrt(energy(method.y))
    x = np.zeros((batch, *shape), problem.variable_dtype)
    memory = first_memory(problem, x)
    reason, taken = np.full(batch, RUNNING), np.zeros(batch, "int32")
    damping = np.full(batch, settings["damping"])
    least, first = np.full(batch, np.inf), None
    best, best_x = np.full(batch, np.inf), x
    histories = {"sigma": [], "residual": [], "error": []}
    kept = []
    for iteration in range(settings["iterations"]):
        r, sigma = method.pseudo_data(state)
        first = sigma if first is None else first
        lost = ~(sigma <= LOST * first)
        reason = np.where((reason == RUNNING) & lost, DIVERGED, reason)
        running = reason == RUNNING
        if not running.any():
            break
        growing = running & (sigma > GROWTH * np.maximum(least, FLOOR))
        damping = np.where(growing, np.maximum(damping / 2, LEAST_DAMPING), damping)
        least = _choose(growing, sigma, np.minimum(least, sigma))
        probes = gaussian_probes(
            shape, settings["probes"], [settings["seed"], iteration]
        )
        # Images that have stopped, maybe with NaN, go along as black ones.
        given, level = _choose(running, r, 0), _choose(running, sigma, 1)
        estimate, slope, memory = denoise(problem, given, memory, level, probes, step)
        share = damping if iteration else np.ones(batch)
        new_state, new, left = method.advance(state, r, estimate, slope, share)
        pairs = zip(new_state, state, strict=True)
        state = tuple(_choose(running, one, old) for one, old in pairs)
        new = _choose(running, new, x)
        still = energy(new - x) <= settings["tolerance"] ** 2 * energy(new)
        ratio = np.sqrt(energy(left)) / np.where(size > 0, size, 1)
        better = running & (ratio < best)
        best = _choose(better, ratio, best)
        best_x = _choose(better, new, best_x)
        x, taken = new, taken + running
        reason = np.where(running & still, CONVERGED, reason)
        error = np.full(batch, np.nan)
        if truth is not None:
            error = energy(x - truth) / problem.operator.num_pixels
        for name, row in (("sigma", sigma), ("residual", ratio), ("error", error)):
            histories[name].append(_choose(running, row, np.nan))
        if settings["keep"]:
            kept.append(_choose(running, r, np.nan))
    return {
        "x": x,
        "best_x": best_x,
        "reason": reason,
        "taken": taken,
        "damping": damping,
        "pseudo_data": np.stack(kept, 1) if kept else None,
        **{name: np.stack(rows, 1) for name, rows in histories.items()},
    }


def _choose(condition, new, old):
    """Takes `new` for images where a condition holds, else `old`."""
    return np.where(condition.reshape(-1, *(1 for _ in new.shape[1:])), new, old)
