"""Forward operators of imaging: linear measurements of images."""

from zoo.layers.operators.base import LinearOperator
from zoo.layers.operators.blur import Blur
from zoo.layers.operators.combine import Compose, Stack
from zoo.layers.operators.downsample import Downsample
from zoo.layers.operators.fourier import FourierMask
from zoo.layers.operators.gaussian import GaussianMatrix
from zoo.layers.operators.pixels import Identity, PixelMask
from zoo.layers.operators.structured import StructuredRandom

__all__ = [
    "Blur",
    "Compose",
    "Downsample",
    "FourierMask",
    "GaussianMatrix",
    "Identity",
    "LinearOperator",
    "PixelMask",
    "Stack",
    "StructuredRandom",
]
