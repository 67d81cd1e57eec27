"""The pieces of an iteration, each a compiled graph of a problem and arrays."""

import typing

import numpy as np
from keras import ops

from zoo._backend.compiling import call_compiled
from zoo.layers.divergence import monte_carlo_divergence
from zoo.layers.operators.complex import join


class Step(typing.NamedTuple):
    """How the divergence is taken: what the graph depends on beside its arrays."""

    relative_epsilon: float
    divergence: bool


def residual(problem, y, x):
    """Returns `y - A x`."""
    return call_compiled(_residual, problem, None, _pair(y), x)[0]


def adjoint(problem, v):
    """Returns `A^T v`."""
    return call_compiled(_adjoint, problem, None, _pair(v))[0]


def proximal(problem, y, r, step):
    """Returns the proximal map of the squared distance to `y`, at `r`."""
    return call_compiled(_proximal, problem, None, _pair(y), r, step)[0]


def denoise(problem, r, memory, sigma, probes, step):
    """Returns the estimates, their mean slopes `[batch]` and the memory of a prior.

    Args:
        problem: a `zoo.solvers.plug_and_play.problem.Problem`.
        r: `[batch, height, width, channels]`.
        memory: tuple of arrays.
        sigma: `[batch]`, of a prior the factor of its weight.
        probes: of the divergence, see `zoo.layers.divergence`.
        step: a `Step`.
    """
    arrays = (r, memory, sigma, probes)
    if problem.compiles:
        x, slope, *memory = call_compiled(_denoise, problem, step, *arrays)
        return x, slope, tuple(memory)
    # Python functions run outside of graphs.
    x, slope = _denoise(problem, step, *map(problem.tensors, arrays))
    return ops.convert_to_numpy(x), ops.convert_to_numpy(slope), ()


def first_memory(problem, images):
    """Returns what the first call of `denoise` begins with."""
    return tuple(map(ops.convert_to_numpy, problem.memory(images)))


def energy(v):
    """Returns `|v|^2` of each image, `[batch]`."""
    v = np.asarray(v).reshape(len(v), -1)
    return np.sum(np.abs(v).astype("float64") ** 2, axis=1)


def per_image(numbers, array):
    """Gives numbers `[batch]` the axes, and the precision, of an array."""
    shaped = np.reshape(numbers, (-1, *(1 for _ in array.shape[1:])))
    return shaped.astype(array.real.dtype)


def _residual(problem, structure, y, x):
    return (_whole(y) - problem.operator(x),)


def _adjoint(problem, structure, v):
    return (problem.operator.adjoint(_whole(v)),)


def _proximal(problem, structure, y, r, step):
    return (problem.operator.prox_l2(r, _whole(y), step),)


def _denoise(problem, structure, r, memory, sigma, probes):
    def run(images):
        return problem.denoise(images, memory, sigma, sigma)

    x, new = run(r)
    if not structure.divergence:
        return x, ops.zeros_like(sigma), *new
    epsilon = structure.relative_epsilon
    divergence = monte_carlo_divergence(
        lambda images: run(images)[0], r, probes, x, epsilon
    )
    return x, divergence / problem.operator.num_pixels, *new


def _pair(array):
    return (array.real, array.imag) if np.iscomplexobj(array) else array


def _whole(array):
    return join(*array) if isinstance(array, tuple) else array
