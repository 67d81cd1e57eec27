"""An operator and a denoiser as one layer, which a compiled graph takes."""

import itertools
import weakref
from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.solvers.plug_and_play.priors import Prior

# A layer or model, or a function of images and their noise levels.
Denoiser: TypeAlias = (
    keras.layers.Layer | Callable[[np.ndarray, np.ndarray | None], Array]
)
# Numbers of operators and denoisers: a graph is made once for each pair.
_NUMBERS: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_COUNTER = itertools.count()


class Problem(keras.layers.Layer):
    """An operator and a denoiser.

    Args:
        operator: a `zoo.layers.operators.LinearOperator`, in whose dtype is computed.
        denoiser: a `Prior`, a Keras layer or model, or a Python function of images and
            a noise level.
        value_range: pair of floats, what intensities of 0 and 1 are for the denoiser.
    """

    def __init__(self, operator, denoiser, value_range):
        super().__init__(name="problem", dtype=operator.float_dtype)
        self.operator = operator
        self.denoiser = denoiser
        self.low, high = value_range
        self.scale = high - self.low
        self.compiles = isinstance(denoiser, keras.layers.Layer)

    def denoise(self, images, memory, sigma, step):
        """Returns the denoised images, and the memory of a prior.

        Args:
            images: `[batch, height, width, channels]`.
            memory: as `memory` returns it.
            sigma: noise levels `[batch]`, or `None`.
            step: `[batch]`, what a prior is multiplied by.
        """
        if isinstance(self.denoiser, Prior):
            strength = ops.reshape(self.denoiser.weight * step, (-1, 1, 1, 1))
            return self.denoiser.prox(images, strength, memory)
        scaled = images
        if (self.low, self.scale) != (0, 1):
            scaled = self.low + self.scale * images
            sigma = None if sigma is None else self.scale * sigma
        run = self._network if self.compiles else self._function
        estimate = ops.cast(run(scaled, sigma), images.dtype)
        estimate = ops.reshape(estimate, images.shape)
        if scaled is not images:
            estimate = (estimate - self.low) / self.scale
        return estimate, memory

    def memory(self, images):
        """Returns what the first call of `denoise` begins with."""
        prior = isinstance(self.denoiser, Prior)
        return self.denoiser.memory(images) if prior else ()

    def tensors(self, array):
        """Returns an array, or each of a pair, as a tensor of the layer's dtype."""
        if array is None:
            return None
        if isinstance(array, tuple):
            return tuple(map(self.tensors, array))
        return ops.convert_to_tensor(np.asarray(array, self.variable_dtype))

    def _network(self, images, sigma):
        dtype = self.denoiser.compute_dtype
        if getattr(self.denoiser, "inputs", None):
            dtype = self.denoiser.inputs[0].dtype
        images = ops.cast(images, dtype)
        if not takes_level(self.denoiser):
            return self.denoiser(images, training=False)
        levels = ops.broadcast_to(ops.cast(sigma, dtype), images.shape[:1])
        return self.denoiser((images, levels), training=False)

    def _function(self, images, sigma):
        images = ops.convert_to_numpy(images)
        if sigma is not None:
            sigma = np.broadcast_to(ops.convert_to_numpy(sigma), len(images))
        return ops.convert_to_tensor(np.asarray(self.denoiser(images, sigma)))

    def get_config(self):
        # What tells graphs apart; Python functions are in none.
        prior = isinstance(self.denoiser, Prior)
        return {
            "operator": _number(self.operator),
            "denoiser": _number(self.denoiser) if self.compiles else None,
            "prior": self.denoiser.get_config() if prior else None,
            "value_range": [self.low, self.scale],
        }


def takes_level(denoiser):
    """Whether a denoiser is a network that is given the noise level."""
    return len(getattr(denoiser, "inputs", None) or ()) == 2


def _number(part):
    return _NUMBERS.setdefault(part, next(_COUNTER))
