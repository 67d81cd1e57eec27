"""Network builders: functions that return a `keras.Model` with logits out."""

from zoo.models.alexnet import alexnet
from zoo.models.all_cnn import all_cnn
from zoo.models.convnet import convnet
from zoo.models.denoisers import dncnn, simple_cnn, unet
from zoo.models.keskar import keskar
from zoo.models.large_margin import LargeMarginModel
from zoo.models.matrix_sensing import MatrixSensing
from zoo.models.mlp import mlp
from zoo.models.normalization import NORMALIZATIONS, normalization_layer
from zoo.models.rescaling import rescale
from zoo.models.resnet import resnet
from zoo.models.tunable import tunable_classifier, tunable_network
from zoo.models.unrolled import UnrolledNetwork, lamp, lista, lvamp, pretrained

__all__ = [
    "NORMALIZATIONS",
    "LargeMarginModel",
    "MatrixSensing",
    "UnrolledNetwork",
    "alexnet",
    "all_cnn",
    "convnet",
    "dncnn",
    "keskar",
    "lamp",
    "lista",
    "lvamp",
    "mlp",
    "normalization_layer",
    "pretrained",
    "rescale",
    "resnet",
    "simple_cnn",
    "tunable_classifier",
    "tunable_network",
    "unet",
]
