"""Keras layers."""

from zoo.layers.batch_norm_statistics import reestimate_batch_norm
from zoo.layers.ghost_batch_norm import GhostBatchNorm, to_ghost_batch_norm

__all__ = ["GhostBatchNorm", "reestimate_batch_norm", "to_ghost_batch_norm"]
