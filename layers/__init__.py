"""Keras layers."""

from zoo.layers.batch_norm_statistics import reestimate_batch_norm
from zoo.layers.cosine_dense import CosineDense
from zoo.layers.ghost_batch_norm import GhostBatchNorm, to_ghost_batch_norm
from zoo.layers.low_rank import LowRankMatrix
from zoo.layers.partial_cosine_dense import PartialCosineDense

__all__ = [
    "CosineDense",
    "GhostBatchNorm",
    "LowRankMatrix",
    "PartialCosineDense",
    "reestimate_batch_norm",
    "to_ghost_batch_norm",
]
