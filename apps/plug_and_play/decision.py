"""What a discriminator says of images, and how fast its gradient may turn."""

import numpy as np
from keras import ops

from zoo import _backend
from zoo._backend.gradients import input_gradient


class Decision:
    """The decision function `phi(x) = log sigmoid(D(x))` of a discriminator.

    ADMM with a `phi` that is not convex is known to converge to a stationary point
    where the gradient of `phi` has a Lipschitz constant, and the penalty is a multiple
    of it.

    Args:
        discriminator: network from images to a logit.
        iterations: int, of the power method. Defaults to 20.
        radius: float, how far from an image gradients are taken. Defaults to 0.01.
    """

    def __init__(self, discriminator, iterations=20, radius=0.01):
        self.iterations, self.radius = iterations, radius

        def phi(images):
            return -ops.softplus(-discriminator(images, training=False))

        def gradient(images):
            return input_gradient(phi, images)

        self._phi = _backend.compiled(phi, discriminator)
        self._gradient = _backend.compiled(gradient, discriminator)

    def __call__(self, images):
        """Returns `phi` of each image, `[batch]`."""
        return ops.convert_to_numpy(self._phi(_single(images))).ravel()

    def lipschitz(self, images):
        """Returns the Lipschitz constant of the gradient at each image, `[batch]`.

        It is the largest magnitude of an eigenvalue of the Hessian, by the power method
        on central differences of gradients: from below.
        """
        direction = np.random.default_rng(0).standard_normal(images.shape)
        for _ in range(self.iterations):
            step = self.radius * direction / _norm(direction)
            ahead, behind = (
                ops.convert_to_numpy(self._gradient(_single(images + sign * step)))
                for sign in (1, -1)
            )
            direction = (ahead.astype("float64") - behind) / (2 * self.radius)
        return _norm(direction).ravel()


def _single(images):
    return np.asarray(images, "float32")


def _norm(images):
    norm = np.sqrt(np.sum(np.square(images), axis=(1, 2, 3), keepdims=True))
    # What does not turn has no direction.
    return np.maximum(norm, 1e-30)
