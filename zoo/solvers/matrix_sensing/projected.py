"""Steps of projected methods: hard thresholding, and a ball of the nuclear norm."""

import numpy as np
from keras import ops

from zoo.solvers.matrix_sensing.starts import (
    eigen_parts,
    orthonormal,
    singular_parts,
    spectral_basis,
)

# Products with the normal operator for its largest eigenvalue.
POWER_STEPS = 30


def hard_thresholding(form, kind, y, weigh, probes, rank, rate, columns=None):
    """`X <- P_r(X - eta A^T(A(X) - y))`, by the subspace of the last projection.

    The projection is that on the `rank + 3` directions that a step of subspace
    iteration makes of the last ones: no matrix of the size of `X` is formed. `columns`
    is 0 for those beyond the rank of a problem.
    """
    operator, hermitian = form.operator, kind == "hermitian"

    def start(z):
        # From X = 0: the given factors name the subspace alone.
        basis, _ = spectral_basis(form, kind, weigh(y), probes)
        return state_of(basis, ops.zeros_like(z[..., 0, :]))

    def step(state):
        gradient = (form.weight * rate)[..., None] * weigh(state["e"])
        if kind == "general":
            return rectangular_step(state, gradient)
        return symmetric_step(state, gradient)

    def symmetric_step(state, gradient):
        basis, kept = state["basis"], state["kept"]
        pulled = operator.pull(gradient, state["lifted"])
        new = orthonormal(widen(basis, kept) - pulled, hermitian)
        product = form.product(basis[..., :rank], kept, new)
        product = product - operator.pull(gradient, operator.lift(new))
        return state_of(*eigen_parts(new, product, kind))

    def rectangular_step(state, gradient):
        (left, right), kept = state["basis"], state["kept"]
        new = widen(left, kept) - operator.pull(gradient, state["lifted"])
        new = orthonormal(new)
        overlap = ops.matmul(ops.swapaxes(left[..., :rank], -1, -2), new)
        product = ops.matmul(right[..., :rank] * kept[..., None, :], overlap)
        product = product - operator.pull_left(gradient, operator.lift(new))
        return state_of(*singular_parts(new, product))

    def widen(basis, kept):
        """`X B` for the right basis `B`, of more columns than are kept."""
        product = basis[..., :rank] * kept[..., None, :]
        return ops.concatenate([product, 0.0 * basis[..., rank:]], axis=-1)

    def state_of(basis, values):
        kept = ops.maximum(values[..., :rank], 0.0)
        if columns is not None:
            kept = kept * columns[..., 0, :]
        roots = ops.sqrt(kept)[..., None, :]
        if kind == "general":
            z = ops.concatenate(basis, axis=-2)[..., :rank] * roots
            lifted = operator.lift(basis[1], "right")
            value = form.value(form.lift(z))
        else:
            z = basis[..., :rank] * roots
            lifted = operator.lift(basis)
            w = lifted[..., :rank]
            value = operator.combine(w * kept[..., None, :], w)
        return {
            "z": z,
            "e": value - y,
            "basis": basis,
            "kept": kept,
            "lifted": lifted,
        }

    return start, step, None


def nuclear_norm_descent(form, kind, y, weigh, radius):
    """Accelerated projected gradient descent in the ball `|X|_* <= radius`.

    With steps of one over the largest eigenvalue of the normal operator, and a restart
    of the momentum where the step and the momentum point apart. `X` is formed.
    """
    operator = form.operator
    identity = operator.lift(ops.eye(operator.shape[1], dtype=y.dtype), "right")

    def measure(x):
        return operator.combine(operator.lift(x), identity)

    def adjoint(e):
        return operator.pull(form.weight * weigh(e), identity)

    def start(z):
        def power_step(_, x):
            return adjoint(measure(x / size(x)))

        # The power method comes from below.
        curvature = 1.02 * size(ops.fori_loop(0, POWER_STEPS, power_step, adjoint(y)))
        left, right = form.factors(z)
        x = project(ops.matmul(left, ops.swapaxes(right, -1, -2)))
        return state_of(x, x, ops.ones_like(y[..., :1]), curvature)

    def step(state):
        x, ahead, t = state["x"], state["ahead"], state["t"]
        new = project(ahead - adjoint(measure(ahead) - y) / state["curvature"])
        apart = ops.sum((ahead - new) * (new - x), axis=(-2, -1))[..., None] > 0
        t = ops.where(apart, 1.0, t)
        grown = (1 + ops.sqrt(1 + 4 * t * t)) / 2
        push = ops.where(apart, 0.0, (t - 1) / grown)[..., None]
        return state_of(new, new + push * (new - x), grown, state["curvature"])

    def size(x):
        return ops.sqrt(ops.sum(x * x, axis=(-2, -1), keepdims=True))

    def project(x):
        if kind == "general":
            u, values, v = ops.linalg.svd(x, full_matrices=False)
        else:
            values, u = ops.linalg.eigh((x + ops.swapaxes(x, -1, -2)) / 2)
            v = ops.swapaxes(u, -1, -2)
        values = project_to_capped_simplex(values, radius[..., None])
        return ops.matmul(u * values[..., None, :], v)

    def state_of(x, ahead, t, curvature):
        return {
            "z": x,
            "e": measure(x) - y,
            "x": x,
            "ahead": ahead,
            "t": t,
            "curvature": curvature,
        }

    return start, step, None


def project_to_capped_simplex(values, radius):
    """Returns the nearest `x >= 0` with `sum(x) <= radius`, along the last axis."""
    size = values.shape[-1]
    falling = -ops.sort(-values, axis=-1)
    counts = ops.cast(np.arange(1, size + 1), values.dtype)
    levels = (ops.cumsum(falling, axis=-1) - radius) / counts
    inside = ops.cast(falling > levels, values.dtype)
    # The level of the last entry that stays above it.
    number = ops.cast(ops.sum(inside, axis=-1, keepdims=True), "int32") - 1
    level = ops.take_along_axis(levels, number, axis=-1)
    return ops.maximum(values - ops.maximum(level, 0.0), 0.0)
