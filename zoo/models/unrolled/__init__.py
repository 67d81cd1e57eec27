"""Networks whose layers are the iterations of a method for sparse signals."""

from zoo.models.unrolled.builders import lamp, lista, lvamp
from zoo.models.unrolled.network import UnrolledNetwork
from zoo.models.unrolled.pretrained import pretrained
from zoo.models.unrolled.training import Stage, layerwise, train

__all__ = [
    "Stage",
    "UnrolledNetwork",
    "lamp",
    "layerwise",
    "lista",
    "lvamp",
    "pretrained",
    "train",
]
