"""One iteration of each method, for a batch of images, in `keras.ops`.

A method takes a data term, a denoiser, a function of images and its memory to a pair of
the same, and the steps, `[batch]`. It returns two functions: from a first image to the
first state, and from a state to the next. A state is a dict: `"x"` is the estimate, the
denoiser's last output; `"point"` is what the method is a fixed-point iteration of.
"""

from keras import ops

from zoo.solvers.plug_and_play.fidelities import per_image


def admm(term, denoise, step, dual_step):
    """`x <- D(v - u)`, `v <- prox(x + u)`, `u <- u + x - v`."""
    prox = term.prox(step)

    def start(first, memory):
        v = prox(first)
        state = {"x": first, "v": v, "u": first - v}
        return {**state, "point": first, "memory": memory}

    def iterate(state, look):
        v, u = state["v"], state["u"]
        x, memory = denoise(v - u, state["memory"], look)
        point = x + u
        v = prox(point)
        return {"x": x, "v": v, "u": point - v, "point": point, "memory": memory}

    return start, iterate


def drs(term, denoise, step, dual_step):
    """`v = prox(z)`, `x <- D(2 v - z)`, `z <- z + x - v`."""
    prox = term.prox(step)

    def start(first, memory):
        return {"x": first, "point": first, "memory": memory}

    def iterate(state, look):
        z = state["point"]
        v = prox(z)
        x, memory = denoise(2 * v - z, state["memory"], look)
        return {"x": x, "point": z + x - v, "memory": memory}

    return start, iterate


def fbs(term, denoise, step, dual_step):
    """`x <- D(x - step grad f(x))`."""
    step = per_image(step)

    def start(first, memory):
        return {"x": first, "point": first, "memory": memory}

    def iterate(state, look):
        x = state["point"]
        x, memory = denoise(x - step * term.gradient(x), state["memory"], look)
        return {"x": x, "point": x, "memory": memory}

    return start, iterate


def pdhg(term, denoise, step, dual_step):
    """`x <- D(x - step w)`, `w <- dual(w, 2 x - x_last)`, with `w = A^T p`."""
    step = per_image(step)

    def start(first, memory):
        point = ops.stack([first, ops.zeros_like(first)], axis=1)
        return {"x": first, "point": point, "memory": memory}

    def iterate(state, look):
        last, w = state["x"], state["point"][:, 1]
        x, memory = denoise(last - step * w, state["memory"], look)
        w = term.dual(w, 2 * x - last, dual_step)
        point = ops.stack([x, w], axis=1)
        return {"x": x, "point": point, "memory": memory}

    return start, iterate


METHODS = {"admm": admm, "drs": drs, "fbs": fbs, "pdhg": pdhg}
