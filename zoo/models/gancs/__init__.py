"""Recovery of images from few measurements by adversarial training: GANCS."""

from zoo.models.gancs.networks import discriminator, generator
from zoo.models.gancs.pretrained import pretrained
from zoo.models.gancs.training import evaluate, train

__all__ = ["discriminator", "evaluate", "generator", "pretrained", "train"]
