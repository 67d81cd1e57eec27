"""Convex priors `weight phi`, whose prox solvers take in a denoiser's place."""

from typing import Any

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.shrinkage import soft_threshold
from zoo.losses.checks import check_integer, check_number
from zoo.solvers.plug_and_play.fidelities import per_image


class Prior(keras.layers.Layer):
    """The base of priors: `argmin_x step weight phi(x) + |x - z|^2 / 2`.

    A solver with a prior minimises `f + weight phi`, whatever its step.

    Args:
        weight: float above 0.
        **kwargs: `name`, `dtype`.

    Call arguments:
        images: `z`, `[batch, height, width, channels]`.
        step: float or `[batch]`. Defaults to 1.0.

    Returns:
        Images of the same shape.

    Raises:
        ValueError: an argument is not as above.

    Example: `phi(x) = |x|^2 / 2`.

    >>> class Energy(Prior):
    ...     def prox(self, images, strength, memory):
    ...         return images / (1 + strength), memory
    >>> np.asarray(Energy(3.0)(np.ones((1, 1, 2, 1)))).ravel().tolist()
    [0.25, 0.25]
    """

    def __init__(self, weight: float, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        tiny = np.finfo("float32").tiny
        self.weight = check_number("weight", weight, tiny, allowed="above 0")

    def call(self, images, step=1.0):
        strength = ops.convert_to_tensor(self.weight * step, images.dtype)
        return self.prox(images, per_image(strength), self.memory(images))[0]

    def memory(self, images: Array) -> tuple[Array, ...]:
        """Returns what the prox of an image is begun with, a tuple of tensors."""
        return ()

    def prox(
        self, images: Array, strength: Array, memory: tuple[Array, ...]
    ) -> tuple[Array, tuple[Array, ...]]:
        """Returns the prox, and what the next one of nearly the same image begins with.

        Args:
            images: `[batch, height, width, channels]`.
            strength: `step weight`, `[batch, 1, 1, 1]`.
            memory: as `memory` returns it.
        """
        raise NotImplementedError

    def compute_output_shape(self, images_shape):
        return images_shape

    def get_config(self):
        return {**super().get_config(), "weight": self.weight}


@keras.saving.register_keras_serializable(package="zoo")
class L1(Prior):
    """Few pixels that are not 0: `phi(x) = |x|_1`, by soft thresholding.

    Args:
        weight, **kwargs: as for all priors.

    Example:

    >>> image = np.array([0.3, -0.05]).reshape(1, 1, 2, 1)
    >>> np.asarray(L1(0.1)(image)).ravel().round(2).tolist()
    [0.2, -0.0]
    """

    def prox(
        self, images: Array, strength: Array, memory: tuple[Array, ...]
    ) -> tuple[Array, tuple[Array, ...]]:
        return soft_threshold(images, strength), memory


@keras.saving.register_keras_serializable(package="zoo")
class TotalVariation(Prior):
    """Few edges: `phi(x) = sum |grad x|`, isotropic, of each channel by itself.

    `prox = z - D^T p`, where `p` minimises `|z - D^T p|^2` with vectors of a length of
    `step weight` at most, by the fast projected gradient method; `D` takes differences
    with the next pixels. Inside a solver each prox begins with the `p` of the one
    before, and so a few iterations do; a single call may want a hundred.

    Args:
        weight: as for all priors.
        iterations: int >= 1, of a prox. Defaults to 20.
        **kwargs: as for all priors.

    Example: either side of an edge, 4 pixels wide, is moved by `weight / 4`.

    >>> image = np.repeat([0.0, 1.0], 4).reshape(1, 1, 8, 1)
    >>> edge = TotalVariation(0.2, iterations=200)(image)
    >>> np.asarray(edge).ravel()[[0, -1]].round(4).tolist()
    [0.05, 0.95]

    Reference:

    - Beck and Teboulle, 2009, "Fast Gradient-Based Algorithms for Constrained Total
      Variation Image Denoising and Deblurring Problems", IEEE Transactions on Image
      Processing 18(11)
    """

    def __init__(self, weight: float, iterations: int = 20, **kwargs: Any) -> None:
        super().__init__(weight, **kwargs)
        self.iterations = check_integer("iterations", iterations, 1)

    def memory(self, images: Array) -> tuple[Array, ...]:
        return ops.zeros_like(images), ops.zeros_like(images)

    def prox(
        self, images: Array, strength: Array, memory: tuple[Array, ...]
    ) -> tuple[Array, tuple[Array, ...]]:
        def body(count, dual, ahead):
            old, t = dual, ops.cast(count, images.dtype)
            rise = differences(images - divergence(ahead))
            # The largest eigenvalue of `D^T D` is below 8.
            dual = [p + g / 8 for p, g in zip(ahead, rise, strict=True)]
            length = ops.square(dual[0]) + ops.square(dual[1])
            # The root of what is not 0 has a gradient.
            length = ops.sqrt(ops.maximum(length, ops.square(strength)))
            shrink = strength / length
            dual = tuple(p * shrink for p in dual)
            momentum = t / (t + 3)
            ahead = tuple(
                p + momentum * (p - q) for p, q in zip(dual, old, strict=True)
            )
            return count + 1, dual, ahead

        _, dual, _ = ops.while_loop(
            lambda count, dual, ahead: count < self.iterations,
            body,
            (0, memory, memory),
        )
        return images - divergence(dual), dual

    def get_config(self):
        return {**super().get_config(), "iterations": self.iterations}


def differences(x):
    """Returns `D x`: the rises to the next pixel below and on the right, 0 at ends."""
    down = ops.pad(x[:, 1:] - x[:, :-1], ((0, 0), (0, 1), (0, 0), (0, 0)))
    right = ops.pad(x[:, :, 1:] - x[:, :, :-1], ((0, 0), (0, 0), (0, 1), (0, 0)))
    return down, right


def divergence(p):
    """Returns `D^T p` of two fields that are 0 at the ends."""
    down, right = p
    above = ops.pad(down[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))
    before = ops.pad(right[:, :, :-1], ((0, 0), (0, 0), (1, 0), (0, 0)))
    return above - down + before - right
