"""Steps of factored methods: gradient descent, scaled or not, and conjugate gradients.

A method is a triple of functions, as `loop.iterate` takes it: `start(z)` makes the
state of the iteration, a dict with the factors `z` and the residual `e = A(X) - y`;
`step(state)` makes the next; the third, if any, computes `e` anew.
"""

from keras import ops

from zoo.solvers.matrix_sensing.forms import gram
from zoo.solvers.matrix_sensing.line_search import exact_step

# Products with the adjoint for its largest singular value.
POWER_STEPS = 8


def gradient_descent(
    form, y, weigh, probe, *, rate, step_constant, balance, momentum, restart
):
    """`U <- Z - eta G(Z)`, `Z <- U + mu (U - U_last)`; the iterate is `Z`.

    A `rate` of `None` is made of the start; `momentum` and `balance` may be `None`.
    """

    def start(z):
        lifted = form.lift(z)
        e = form.value(lifted) - y
        eta = rate
        if eta is None:
            eta = step_constant / bound_of_curvature(form, z, weigh(e), probe)
        return {"z": z, "e": e, "u": z, "rate": eta}

    def step(state):
        z, e = state["z"], state["e"]
        direction = form.pull(weigh(e), form.lift(z))
        if balance is not None:
            direction = direction + 4 * _wide(balance) * form.balance(z)
        u = z - _wide(state["rate"]) * direction
        ahead = u
        if momentum is not None:
            change = _wide(momentum) * (u - state["u"])
            if restart:
                uphill = _dot(z - u, change) > 0
                change = ops.where(_wide(uphill), 0.0, change)
            ahead = u + change
        e = form.value(form.lift(ahead)) - y
        return {"z": ahead, "e": e, "u": u, "rate": state["rate"]}

    return start, step, None


def scaled_gradient_descent(form, y, weigh, rate, damping):
    """`U <- U - eta G U (U^T U + damping |e|)^-1`."""

    def start(z):
        return {"z": z, "e": form.value(form.lift(z)) - y}

    def step(state):
        z, e = state["z"], weigh(state["e"])
        direction = form.pull(e, form.lift(z))
        direction = form.precondition(z, direction, damping * _norm(e))
        z = z - _wide(rate) * direction
        return {"z": z, "e": form.value(form.lift(z)) - y}

    return start, step, None


def conjugate_gradients(form, y, weigh, damping):
    """Preconditioned nonlinear conjugate gradients with the exact line search.

    Polak and Ribiere's rule. What the line search leaves has no part along the last
    direction, so that the next one points downhill.
    """

    def start(z):
        lifted = form.lift(z)
        zeros = ops.zeros_like(z)
        return {
            "z": z,
            "e": form.value(lifted) - y,
            "lifted": lifted,
            "direction": zeros,
            "gradient": zeros,
            "scaled": zeros,
        }

    def step(state):
        z, lifted, e = state["z"], state["lifted"], weigh(state["e"])
        gradient = form.pull(e, lifted)
        scaled = form.precondition(z, gradient, damping * _norm(e))
        last = _dot(state["scaled"], state["gradient"])
        new = _dot(scaled, gradient - state["gradient"])
        # At first the direction that is kept is zero.
        kept = ops.maximum(new, 0.0) / ops.maximum(last, 1e-30)
        direction = _wide(kept) * state["direction"] - scaled
        steps = form.lift(direction)
        first, second = form.pair(lifted, steps)
        t = exact_step(e, weigh(first), weigh(second))
        in_vector, in_matrix = t[..., None], _wide(t)
        return {
            "z": z + in_matrix * direction,
            "e": state["e"] + in_vector * (first + in_vector * second),
            "lifted": tuple(
                w + in_matrix * d for w, d in zip(lifted, steps, strict=True)
            ),
            "direction": direction,
            "gradient": gradient,
            "scaled": scaled,
        }

    def refresh(state):
        lifted = form.lift(state["z"])
        return {**state, "lifted": lifted, "e": form.value(lifted) - y}

    return start, step, refresh


def bound_of_curvature(form, z, e, probe):
    """Returns `|X|_2 + |A^T(e)|_2`, which a step must be small against.

    The first by the Grams of the factors, the second by power iterations.
    """

    def power_step(_, vector_and_size):
        vector, _ = vector_and_size
        product = form.adjoint(e, form.lift(vector))
        size = _norm(product, 2)
        return product / ops.where(size > 0, size, 1.0), size

    size = _norm(probe, 2)
    _, size = ops.fori_loop(0, POWER_STEPS, power_step, (probe / size, size))
    grams = [ops.linalg.eigh(gram(factor))[0] for factor in form.halves(z)]
    sizes = [ops.sqrt(ops.maximum(values[..., -1], 0.0)) for values in grams]
    return sizes[0] * sizes[-1] + size[..., 0, 0]


def _wide(x):
    return x[..., None, None]


def _dot(a, b):
    return ops.sum(a * b, axis=(-2, -1))


def _norm(x, axes=1):
    axis = tuple(range(-axes, 0))
    return ops.sqrt(ops.sum(x * x, axis=axis, keepdims=axes > 1))
