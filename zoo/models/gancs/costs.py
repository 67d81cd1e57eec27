"""What the players of GANCS minimise."""

import keras
from keras import ops

from zoo.games.gan import LOSSES
from zoo.layers.operators.complex import join
from zoo.losses.checks import check_number


class Costs:
    """The costs of a discriminator D and a generator G, means over a batch.

    With `y = A x + noise` and `z = G(y)`, the least-squares cost of the discriminator

    `(1 - D(x))^2 + D(z)^2`

    and the generator's, of data fidelity, pixels and the discriminator,

    `fidelity |y - A z|^2 + (1 - adversarial) (l1 |x - z| + (1 - l1) |x - z|^2)
    + adversarial (1 - D(z))^2`

    where absolute values and squares are means over the numbers of an image. For
    `zoo.games.GameTrainer`, which draws the noise; without a player `"discriminator"`
    the generator has no adversarial cost, and pixels have the weight 1.

    Args:
        operator: a `zoo.layers.operators.LinearOperator`, `A`.
        noise: float from 0 up, standard deviation of each real number that is measured.
            Defaults to 0.
        adversarial: float from 0 to 1. Defaults to 0.025.
        l1: float from 0 to 1, the share of absolute errors in those of pixels. Defaults
            to 1.
        fidelity: float from 0 up; under hard data consistency there is nothing to
            lower. The noise where a `FourierMask` measures nothing adds a constant.
            Defaults to 0.

    Raises:
        ValueError: an argument is not as above.

    Example: a generator of zeros is a grey image of 0.5 off.

    >>> import numpy as np
    >>> from zoo.layers.operators import Identity
    >>> players = {"generator": lambda y, training: 0 * y}
    >>> x = np.full((2, 4, 4, 1), 0.5)
    >>> float(Costs(Identity((4, 4, 1)))(players, (x, x))["generator"])
    0.5

    Reference:

    - Mardani et al., 2019, "Deep Generative Adversarial Neural Networks for Compressive
      Sensing MRI", [arXiv:1706.00051](https://arxiv.org/abs/1706.00051)
    """

    def __init__(self, operator, noise=0.0, adversarial=0.025, l1=1.0, fidelity=0.0):
        self.operator = operator
        self.noise = check_number("noise", noise, 0.0)
        self.adversarial = check_number("adversarial", adversarial, 0.0, 1.0)
        self.l1 = check_number("l1", l1, 0.0, 1.0)
        self.fidelity = check_number("fidelity", fidelity, 0.0)

    def draw(self, images, seed):
        """Returns images and their measurements under fresh noise."""
        y = self.operator(images)
        if not self.noise:
            return images, y
        settings = {"stddev": self.noise, "dtype": self.operator.float_dtype}
        parts = [
            keras.random.normal(ops.shape(y), seed=seed, **settings)
            for _ in range(1 + self.operator.is_complex)
        ]
        return images, y + (join(*parts) if self.operator.is_complex else parts[0])

    def __call__(self, players, batch):
        x, y = batch
        z = players["generator"](y, training=True)
        error = z - ops.cast(x, z.dtype)
        pixels = self.l1 * ops.mean(ops.abs(error))
        pixels = pixels + (1 - self.l1) * ops.mean(ops.square(error))
        cost = pixels
        losses = {}
        if "discriminator" in players:
            scores = [players["discriminator"](one, training=True) for one in (x, z)]
            scores = [ops.cast(score, z.dtype) for score in scores]
            pair = LOSSES["least_squares"](*scores)
            losses["discriminator"], deceived = map(ops.mean, pair)
            cost = (1 - self.adversarial) * pixels + self.adversarial * deceived
        if self.fidelity:
            misfit = ops.abs(self.operator(z) - y)
            cost = cost + self.fidelity * ops.mean(ops.square(misfit))
        return {**losses, "generator": cost}
