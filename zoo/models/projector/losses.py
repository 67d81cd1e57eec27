"""The losses of a projector and of the discriminators that it is trained with."""

from collections.abc import Mapping

import keras
from keras import ops

from zoo._types import Array
from zoo.losses.checks import check_number

# What a square in [0, 1] is in the reference's [-1, 1].
SCALE = 4.0


@keras.saving.register_keras_serializable(package="zoo")
class ProjectorLoss:
    """The losses of a projector P and two discriminators, D and that of the latent, L.

    Of natural images `x` and perturbed ones `z`, with the latents `E(x)` and `E(z)`:

    `reconstruction |P(z) - x|^2`
    `+ fidelity (share |P(x) - x|^2 + (1 - share) |P(z) - z|^2)`
    `+ image (share c(D(P(x)), 1) + (1 - share) c(D(P(z)), 1)) + latent c(L(E(z)), 1)`

    is the projector's, where `c` is the cross entropy of a logit and a label. Those of
    the discriminators are

    `c(D(x), label) + share c(D(P(x)), 0) + (1 - share) c(D(P(z)), 0)`
    `c(L(E(x)), label) + c(L(E(z)), 0)`

    All are means over the batch. Squares are means over pixels, of images in [-1, 1]: 4
    times those of images in [0, 1].

    Args:
        reconstruction, fidelity, image, latent: floats >= 0, weights of the terms.
            Default to the paper's 1.0, 5e-3, 1e-3 and 1e-4.
        share: float from 0 to 1, what natural images count for. Defaults to 0.01.
        label: float from 0 to 1, of natural images. Below 1 it keeps a discriminator
            from being sure. Defaults to 0.85.

    Call arguments:
        players: dict of `"projector"`, which gives estimates and latents, and
            `"image_discriminator"` and `"latent_discriminator"`, which may be left
            out: their terms are then, too.
        batch: pair of `x` and `z`, `[batch, height, width, channels]` in [0, 1].

    Returns:
        Dict of every player's name to its loss, for `zoo.games.GameTrainer`.

    Raises:
        ValueError: an argument is not as above.

    Example: a projector that changes nothing.

    >>> import numpy as np
    >>> players = {"projector": lambda images, training: (images, images)}
    >>> batch = np.ones((2, 4, 4, 1)), np.zeros((2, 4, 4, 1))
    >>> float(ProjectorLoss()(players, batch)["projector"])
    4.0

    Reference:

    - Chang et al., 2017, "One Network to Solve Them All", arXiv:1703.09912
    - Salimans et al., 2016, "Improved Techniques for Training GANs", arXiv:1606.03498
      (the label)
    """

    def __init__(
        self,
        reconstruction: float = 1.0,
        fidelity: float = 5e-3,
        image: float = 1e-3,
        latent: float = 1e-4,
        share: float = 0.01,
        label: float = 0.85,
    ) -> None:
        self.reconstruction = check_number("reconstruction", reconstruction, 0)
        self.fidelity = check_number("fidelity", fidelity, 0)
        self.image = check_number("image", image, 0)
        self.latent = check_number("latent", latent, 0)
        self.share = check_number("share", share, 0, 1)
        self.label = check_number("label", label, 0, 1)

    def __call__(
        self, players: Mapping[str, keras.Model], batch: tuple[Array, Array]
    ) -> dict[str, Array]:
        clean, perturbed = batch
        images = ops.concatenate([clean, perturbed])
        estimates, latents = players["projector"](images, training=True)
        of_clean, of_perturbed = ops.split(estimates, 2)
        losses = {
            "projector": self.reconstruction * _square(of_perturbed - clean)
            + self.fidelity
            * self._mean(_square(of_clean - clean), _square(of_perturbed - perturbed))
        }
        if "image_discriminator" in players:
            images = ops.concatenate([clean, estimates])
            logits = players["image_discriminator"](images, training=True)
            real, *fake = ops.split(logits, 3)
            losses["projector"] += self.image * self._mean(
                *(cross_entropy(logit, 1.0) for logit in fake)
            )
            losses["image_discriminator"] = cross_entropy(
                real, self.label
            ) + self._mean(*(cross_entropy(logit, 0.0) for logit in fake))
        if "latent_discriminator" in players:
            logits = players["latent_discriminator"](latents, training=True)
            real, fake = ops.split(logits, 2)
            losses["projector"] += self.latent * cross_entropy(fake, 1.0)
            losses["latent_discriminator"] = cross_entropy(
                real, self.label
            ) + cross_entropy(fake, 0.0)
        return losses

    def _mean(self, of_clean, of_perturbed):
        return self.share * of_clean + (1 - self.share) * of_perturbed

    def get_config(self):
        return dict(vars(self))

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def cross_entropy(logits, label):
    """Returns the mean cross entropy of logits and a label from 0 to 1."""
    return ops.mean(ops.softplus(logits) - label * logits)


def _square(difference):
    return SCALE * ops.mean(ops.square(difference))
