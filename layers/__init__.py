"""Keras layers."""

from zoo.layers.batch_norm_statistics import reestimate_batch_norm
from zoo.layers.cosine_dense import CosineDense
from zoo.layers.data_consistency import DataConsistency
from zoo.layers.fold_normalization import fold_normalization
from zoo.layers.ghost_batch_norm import GhostBatchNorm, to_ghost_batch_norm
from zoo.layers.lamp import LampBlock
from zoo.layers.ldamp import LdampBlock
from zoo.layers.lipschitz_report import LipschitzReport, lipschitz_report
from zoo.layers.lista import ListaBlock
from zoo.layers.low_rank import LowRankMatrix
from zoo.layers.lvamp import LvampBlock
from zoo.layers.partial_cosine_dense import PartialCosineDense
from zoo.layers.real_spectral_norm import RealSpectralNormConv2D
from zoo.layers.shrinkage import (
    BernoulliGaussianShrinkage,
    ExponentialShrinkage,
    GridShrinkage,
    PiecewiseLinearShrinkage,
    SoftShrinkage,
    SplineShrinkage,
    soft_threshold,
)

__all__ = [
    "BernoulliGaussianShrinkage",
    "CosineDense",
    "DataConsistency",
    "ExponentialShrinkage",
    "GhostBatchNorm",
    "GridShrinkage",
    "LampBlock",
    "LdampBlock",
    "LipschitzReport",
    "ListaBlock",
    "LowRankMatrix",
    "LvampBlock",
    "PartialCosineDense",
    "PiecewiseLinearShrinkage",
    "RealSpectralNormConv2D",
    "SoftShrinkage",
    "SplineShrinkage",
    "fold_normalization",
    "lipschitz_report",
    "reestimate_batch_norm",
    "soft_threshold",
    "to_ghost_batch_norm",
]
