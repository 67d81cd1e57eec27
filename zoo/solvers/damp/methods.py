"""D-AMP and D-VAMP: what is denoised, and what follows from the estimate."""

import numpy as np
from keras import ops

from zoo.layers.spectrum import column_norm, spectrum
from zoo.solvers.damp.pieces import adjoint, energy, per_image, proximal, residual

# The variance of the noise over that of the estimate, and over the squared norm of a
# column, from which on the linear step is that of no noise but for rounding.
LEAST_RATIOS = {"float32": 1e-4, "float64": 1e-10}
# Of estimates: 80 dB below the noise of a grey level.
LEAST_VARIANCE = 1e-12


class Damp:
    """D-AMP; a state is the estimate and the corrected residual.

    Args:
        problem: a `Problem`.
        y: `[batch, *measurement_shape]`.
    """

    name = "damp"

    def __init__(self, problem, y):
        self.problem, self.y = problem, y
        self.norm = column_norm(problem.operator)
        self.measurements = problem.operator.rank_bound()
        self.ratio = problem.operator.num_pixels / self.measurements

    def start(self):
        shape = (len(self.y), *self.problem.operator.image_shape)
        return np.zeros(shape, self.problem.variable_dtype), self.y

    def pseudo_data(self, state):
        """Returns `r` and `sigma`."""
        x, v = state
        r = x + adjoint(self.problem, v) / self.norm**2
        sigma = np.sqrt(energy(v) / self.measurements) / self.norm
        return r.astype(x.dtype), sigma

    def advance(self, state, r, estimate, slope, damping):
        """Returns the next state, the estimate in it, and `y - A x` of that."""
        x, v = state
        x = x + per_image(damping, x) * (estimate - x)
        left = residual(self.problem, self.y, x)
        onsager = per_image(self.ratio * slope, v) * v
        return (x, v + per_image(damping, v) * (left + onsager - v)), x, left


class Dvamp:
    """D-VAMP; a state is what the linear step is told.

    That is an estimate, its variance, and what it leaves of the measurements.

    Args:
        problem: a `Problem`, of an operator of known spectrum.
        y: `[batch, *measurement_shape]`.
        noise: float, the standard deviation of the noise of a measurement.
    """

    name = "dvamp"

    def __init__(self, problem, y, noise):
        self.problem, self.y, self.noise_variance = problem, y, noise**2
        operator = problem.operator
        self.values, self.counts = spectrum(operator)
        self.frobenius = float(self.values @ self.counts)
        self.pixels, self.rank = operator.num_pixels, int(self.counts.sum())
        self.noise_energy = noise**2 * _real_numbers(operator)
        self.least = LEAST_RATIOS[operator.float_dtype] * self.frobenius / self.pixels

    def start(self):
        shape = (len(self.y), *self.problem.operator.image_shape)
        r = np.zeros(shape, self.problem.variable_dtype)
        return r, self._variance(self.y), self.y

    def pseudo_data(self, state):
        """Returns the linear estimate without what it owes to `r`, and its level."""
        r, variance, left = state
        ratio = np.maximum(self.noise_variance / variance, self.least)
        total = self.values + ratio[:, None]
        share = (self.values / total) @ self.counts / self.pixels
        # `1 - share` without the difference of numbers that are near.
        lost = (ratio[:, None] / total) @ self.counts + self.pixels - self.rank
        # From `r` on: what is rounded is as small as the step.
        step = proximal(self.problem, left, np.zeros_like(r), 1 / ratio)
        p = r + per_image(1 / share, r) * step
        return p, np.sqrt(variance * lost / self.pixels / share)

    def advance(self, state, r, estimate, slope, damping):
        """Returns the next state, the estimate, and `y - A x` of that."""
        old = state[0]
        slope = np.clip(slope, 0.5 / self.pixels, 1 - 0.5 / self.pixels)
        new = (estimate - per_image(slope, r) * r) / per_image(1 - slope, r)
        new = old + per_image(damping, old) * (new - old)
        left = residual(self.problem, self.y, new)
        state = new, self._variance(left), left
        return state, estimate, residual(self.problem, self.y, estimate)

    def _variance(self, left):
        """The mean squared error that leaves so much of the measurements."""
        error = (energy(left) - self.noise_energy) / self.frobenius
        return np.maximum(error, LEAST_VARIANCE)


def _real_numbers(operator):
    """Returns how many real numbers are measured."""
    one = 1 + 1j if operator.is_complex else 1.0
    ones = np.full((1, *operator.measurement_shape), one)
    return energy(ops.convert_to_numpy(operator.measured(ones)))[0]
