"""The divergence of functions of images, from a few random directions."""

import numpy as np
from keras import ops

# Steps are no shorter: differences of what is rounded tell nothing.
SHORTEST_STEP = 1e-5


def monte_carlo_divergence(function, x, probes, value=None, relative_epsilon=1e-3):
    """Estimates the divergence of a function of images, the trace of its Jacobian.

    `div D(x) = mean_k probe_k^T (D(x + e probe_k) - D(x)) / e`

    with `e = max(relative_epsilon max|x|, 1e-5)` of each image. Of a linear `D` with a
    symmetric matrix the standard deviation of a probe is `sqrt(2) |D|_F`: of an average
    over many pixels, one probe is near. Gradients pass.

    Args:
        function: `D`, from images to images of the same shape, each for itself.
        x: `[batch, height, width, channels]`, in float32 or float64.
        probes: standard normal numbers `[probes, batch, height, width, channels]`; with
            1 for the batch, as of `gaussian_probes`, images share them.
        value: `D(x)`, or `None` to compute it. Defaults to `None`.
        relative_epsilon: float above 0. What jumps, such as hard thresholds, needs
            more than the default of 1e-3.

    Returns:
        `[batch]`.

    Example:

    >>> x = np.ones((1, 8, 8, 1), "float32")
    >>> probes = gaussian_probes((8, 8, 1), 4)
    >>> divergence = monte_carlo_divergence(lambda image: 0.5 * image, x, probes)
    >>> bool(abs(divergence[0] - 32) < 5)
    True

    Reference:

    - Ramani, Blu and Unser, 2008, "Monte-Carlo SURE: A Black-Box Optimization of
      Regularization Parameters for General Denoising Algorithms", IEEE Transactions on
      Image Processing 17(9)
    """
    x = ops.convert_to_tensor(x)
    probes = ops.cast(probes, x.dtype)
    value = function(x) if value is None else value
    axes = (1, 2, 3)
    largest = ops.max(ops.abs(x), axis=axes, keepdims=True)
    step = ops.maximum(relative_epsilon * largest, SHORTEST_STEP)
    found = [
        ops.sum(probes[index] * (function(x + step * probes[index]) - value), axis=axes)
        for index in range(probes.shape[0])
    ]
    return sum(found) / (len(found) * ops.reshape(step, (-1,)))


def gaussian_probes(image_shape, count=1, seed=0):
    """Draws the probes of `monte_carlo_divergence` that all images of a batch share.

    So the divergence of an image does not depend on its batch, nor on the backend.

    Args:
        image_shape: `(height, width, channels)`.
        count: int >= 1, of probes. Defaults to 1.
        seed: int, or ints, from 0 up. Defaults to 0.

    Returns:
        Float64 array `[count, 1, height, width, channels]`.
    """
    return np.random.default_rng(seed).standard_normal((count, 1, *image_shape))
