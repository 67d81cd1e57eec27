"""Optimizers and learning-rate schedules for Keras."""

from zoo.optimizers.adjustments import (
    ConsensusOptimization,
    Extragradient,
    SimultaneousGradient,
    SymplecticGradientAdjustment,
)
from zoo.optimizers.factored_gradient_descent import FactoredGradientDescent
from zoo.optimizers.linear_warmup import LinearWarmup
from zoo.optimizers.mirror_descent import MirrorDescent, OptimisticMirrorDescent
from zoo.optimizers.optimistic import OptimisticAdam, OptimisticRMSprop, OptimisticSGD

__all__ = [
    "ConsensusOptimization",
    "Extragradient",
    "FactoredGradientDescent",
    "LinearWarmup",
    "MirrorDescent",
    "OptimisticAdam",
    "OptimisticMirrorDescent",
    "OptimisticRMSprop",
    "OptimisticSGD",
    "SimultaneousGradient",
    "SymplecticGradientAdjustment",
]
