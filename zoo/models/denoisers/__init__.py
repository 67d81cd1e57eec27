"""Networks that take the noise off images, their training and trained ones."""

from zoo.models.denoisers.inference import denoise, evaluate
from zoo.models.denoisers.networks import dncnn, simple_cnn, unet
from zoo.models.denoisers.pretrained import pretrained
from zoo.models.denoisers.training import train

__all__ = [
    "denoise",
    "dncnn",
    "evaluate",
    "pretrained",
    "simple_cnn",
    "train",
    "unet",
]
