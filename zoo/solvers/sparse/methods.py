"""One iteration of each method, for a batch of signals, in `keras.ops`.

A method is a pair of functions: one returns the first state, a dict with the estimate
`"x"`, `[batch, N]`; the other takes a state and the number of the iterations before to
the next one. Numbers of one a signal are `[batch, 1]`. The `"limit"` of a state is a
variance that no signal which is being recovered comes near.
"""

import functools

import keras
from keras import ops

from zoo.layers.lvamp import FLOORS, SMALLEST_VARIANCE, keep_inside
from zoo.layers.shrinkage import soft_threshold
from zoo.layers.unrolled_block import times

# Times the variance of the start at which no method comes back.
DIVERGED_AT = 10.0


def ista(_, y, constants, numbers):
    """`x <- soft(x + A^H (y - A x) / L, lambda / L)`."""
    forward, adjoint = _products(constants["matrix"])
    step, threshold = numbers["step"], numbers["step"] * numbers["regularization"]

    def start():
        return {"x": ops.zeros_like(adjoint(y))}

    def iterate(state, _):
        x = state["x"]
        r = x + times(step, adjoint(y - forward(x)))
        return {"x": soft_threshold(r, threshold)}

    return start, iterate


def fista(_, y, constants, numbers, extrapolated=False):
    """ISTA from where the momentum leads, with the gradient at `x` or there."""
    forward, adjoint = _products(constants["matrix"])
    step, threshold = numbers["step"], numbers["step"] * numbers["regularization"]

    def start():
        x = ops.zeros_like(adjoint(y))
        return {"x": x, "last": x}

    def iterate(state, count):
        x = state["x"]
        t = ops.cast(count + 1, step.dtype)
        # Nothing has moved before the second iteration.
        momentum = ops.maximum((t - 2) / (t + 1), 0.0)
        ahead = x + times(momentum, x - state["last"])
        at = ahead if extrapolated else x
        r = ahead + times(step, adjoint(y - forward(at)))
        return {"x": soft_threshold(r, threshold), "last": x}

    return start, iterate


def amp(shrinkage, y, constants, numbers):
    """`v <- y - A x + (N / M) slope v`, `x, slope <- f(x + A^H v, |v|^2 / M)`."""
    forward, adjoint = _products(constants["matrix"])
    m, n = constants["matrix"].shape

    def start():
        zero = ops.zeros_like(numbers["damping"] * size(y))
        state = {"x": ops.zeros_like(adjoint(y)), "v": ops.zeros_like(y)}
        limit = DIVERGED_AT * size(y) / m
        return {**state, "variance": zero, "slope": zero, "limit": limit}

    def iterate(state, count):
        x, v = state["x"], state["v"]
        damping = ops.where(count == 0, 1.0, numbers["damping"])
        residual = y - forward(x) + times(n / m * state["slope"], v)
        v = v + times(damping, residual - v)
        variance = size(v) / m
        new, slope = shrinkage(x + adjoint(v), variance)
        new = x + times(damping, new - x)
        new_state = {"x": new, "v": v, "variance": variance, "slope": slope}
        return {**state, **new_state}

    return start, iterate


def vamp(shrinkage, y, constants, numbers):
    """Linear estimation of Gaussian signals in turns with the shrinkage, in `A`'s SVD.

    With `A = U diag(s) V^H` and `y~ = diag(1 / s) U^H y`, from `r = 0` and `g = |y|^2 /
    |A|_F^2`: `d = s^2 / (s^2 + noise / g)`, `z = N / sum d`, `p = r + z V (d (y~ - V^H
    r))`, `q = g (z - 1)`; `x, a <- f(p, q)`; `r <- (x - a p) / (1 - a)`, `g <- q a / (1
    - a)`.
    """
    forward, adjoint = _products(constants["right"])
    squares, noise = ops.square(constants["values"]), numbers["noise_variance"]
    modes, n = constants["right"].shape
    scaled = y @ ops.conj(constants["left"]) / ops.cast(constants["values"], y.dtype)
    first = size(y) / ops.sum(squares)
    # Measurements that are all zero tell of no variance, and any will do.
    first = ops.where(first > SMALLEST_VARIANCE, first, 1.0)
    floor = FLOORS[keras.backend.standardize_dtype(first.dtype)]

    def inside(variance):
        return ops.clip(variance, floor * first, first / floor)

    def linear(g):
        """Returns `d`, `z` and `q` at a variance `g`."""
        ratio = noise / g
        kept = squares / (squares + ratio)
        total = ops.sum(kept, axis=-1, keepdims=True)
        lost = ops.sum(ratio / (squares + ratio), axis=-1, keepdims=True)
        # `g (z - 1)` without the difference of numbers that are near.
        return kept, n / total, g * (n - modes + lost) / total

    def start():
        x = ops.zeros_like(adjoint(scaled))
        zero = ops.zeros_like(numbers["damping"] * first)
        # As if all of `y` were of signals, whatever the scale of `A`.
        at_most = ops.maximum(first, first * n / ops.sum(squares))
        limit = DIVERGED_AT * linear(at_most)[2]
        state = {"x": x, "r": x, "g": first + zero, "limit": limit + zero}
        return {**state, "variance": zero, "slope": zero}

    def iterate(state, count):
        r, g = state["r"], state["g"]
        kept, gain, variance = linear(g)
        p = r + times(gain, adjoint(times(kept, scaled - forward(r))))
        variance = inside(variance)
        x, slope = shrinkage(p, variance)
        a = keep_inside(slope, n)
        damping = ops.where(count == 0, 1.0, numbers["damping"])
        r = r + times(damping, times(1 / (1 - a), x - times(a, p)) - r)
        g = inside(g + damping * (variance * a / (1 - a) - g))
        new_state = {"x": x, "r": r, "g": g, "variance": variance, "slope": slope}
        return {**state, **new_state}

    return start, iterate


METHODS = {
    "ista": ista,
    "fista": fista,
    "extrapolated fista": functools.partial(fista, extrapolated=True),
    "amp": amp,
    "vamp": vamp,
}


def size(x):
    """Returns `|x|^2` along the last axis, `[batch, 1]`."""
    squares = ops.square(ops.real(x)) + ops.square(ops.imag(x))
    return ops.sum(squares, axis=-1, keepdims=True)


def _products(matrix):
    """Functions from rows `x` to rows `A x`, and from rows `v` to rows `A^H v`."""
    # `ops.matmul` makes complex64 of complex128.
    transposed, conjugate = ops.transpose(matrix), ops.conj(matrix)
    return lambda x: x @ transposed, lambda v: v @ conjugate
