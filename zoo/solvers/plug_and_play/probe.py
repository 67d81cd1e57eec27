"""How far a denoiser moves images, and its Jacobian: what certificates measure."""

import math

import numpy as np
from keras import ops

from zoo._backend.compiling import call_compiled
from zoo._backend.gradients import input_gradient

# Pairs that are measured at once; as many are refined.
CHUNK = 2
# Smallest and largest root mean square of random differences, in intensities.
SCALES = 1e-3, 1e-1
# That of differences along singular vectors: a network in float32 rounds smaller ones.
REFINED = 1e-2


def draw_pairs(images, pairs, rng):
    """Returns first images of pairs, and the differences to the second ones."""
    x = images[np.arange(pairs) % len(images)]
    lowest, highest = np.log(SCALES)
    scale = np.exp(rng.uniform(lowest, highest, (pairs, 1, 1, 1)))
    d = scale * rng.standard_normal(x.shape)
    other = images[rng.integers(len(images), size=pairs)][:, :, ::-1]
    apart = np.abs(other - x).max((1, 2, 3), keepdims=True) > SCALES[0]
    odd = np.arange(pairs).reshape(-1, 1, 1, 1) % 2 == 1
    return x, np.where(odd & apart, other - x, d).astype(x.dtype)


class Probe:
    """A denoiser's differences and derivatives at pairs of images."""

    def __init__(self, problem, level, step):
        self.problem, self.level, self.step = problem, level, step

    def ratios(self, x, d):
        """Measures pairs.

        Returns:
            With `R = D - I`: `|R(x + d) - R(x)| / |d|`, `|D(x + d) - D(x)| / |d|` and
            `|R(x)|^2 / n`.
        """
        _, *found = self._map(differences, x, d)
        return found

    def refine(self, x, d, steps):
        """Returns the largest `|R(x + d) - R(x)| / |d|` that power iterations pass."""
        w, found, *_ = self._map(differences, x, d)
        best = found.max()
        for _ in range(steps):
            pulled, _ = self._map(pull, x, w)
            size = np.sqrt(np.mean(pulled**2, (1, 2, 3), keepdims=True))
            if not np.all(size > 0):
                break
            d = REFINED * pulled / size
            w, found, *_ = self._map(differences, x, d)
            best = max(best, found.max())
        return best

    def asymmetry(self, x, rng):
        """Returns `|J - J^T|_F / |J|_F` of `D`, of two random images an image."""
        v, w = rng.standard_normal((2, *x.shape))
        (_, back_v), (_, back_w) = (self._map(pull, x, one) for one in (v, w))
        apart = np.sum(back_w * v - back_v * w, (1, 2, 3))
        size = (np.sum(back_v**2) + np.sum(back_w**2)) / 2
        return float(np.sqrt(np.sum(apart**2) / size)) if size else 0.0

    def _map(self, function, *arrays):
        """Calls a function for chunks of images and joins what it returns."""
        found = []
        for start in range(0, len(arrays[0]), CHUNK):
            parts = [array[start : start + CHUNK] for array in arrays]
            count = len(parts[0])
            levels = None if self.level is None else np.full(count, self.level)
            parts = [*parts, levels, np.full(count, self.step)]
            if self.problem.compiles:
                found.append(call_compiled(function, self.problem, (), *parts))
            else:
                tensors = map(self.problem.tensors, parts)
                outputs = function(self.problem, (), *tensors)
                found.append(tuple(map(ops.convert_to_numpy, outputs)))
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def differences(problem, _, x, d, levels, steps):
    """Returns `R(x + d) - R(x)` with `R = D - I`, and the ratios of `Probe.ratios`."""
    memory = problem.memory(x)
    first, _ = problem.denoise(x, memory, levels, steps)
    second, _ = problem.denoise(x + d, memory, levels, steps)
    # What is added to `x` is not quite `d`.
    d = (x + d) - x
    moved, size = second - first, _norm(d)
    return (
        moved - d,
        _norm(moved - d) / size,
        _norm(moved) / size,
        ops.square(_norm(first - x)) / math.prod(x.shape[1:]),
    )


def pull(problem, _, x, w, levels, steps):
    """Returns `J^T w` of `R`, and of `D`."""

    def product(x):
        return ops.sum(problem.denoise(x, problem.memory(x), levels, steps)[0] * w)

    back = input_gradient(product, x)
    return back - w, back


def _norm(x):
    return ops.sqrt(ops.sum(ops.square(x), axis=(1, 2, 3)))
