"""One network that projects onto natural images, for all inverse problems."""

from zoo.models.projector.losses import ProjectorLoss
from zoo.models.projector.networks import (
    image_discriminator,
    latent_discriminator,
    projector,
)
from zoo.models.projector.perturbation import perturb
from zoo.models.projector.pretrained import pretrained
from zoo.models.projector.training import train

__all__ = [
    "ProjectorLoss",
    "image_discriminator",
    "latent_discriminator",
    "perturb",
    "pretrained",
    "projector",
    "train",
]
