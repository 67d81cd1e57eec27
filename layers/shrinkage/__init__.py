"""Shrinkage functions: scalar denoisers with their mean slope in closed form."""

from zoo.layers.shrinkage.base import Shrinkage
from zoo.layers.shrinkage.bernoulli_gaussian import BernoulliGaussianShrinkage
from zoo.layers.shrinkage.exponential import ExponentialShrinkage
from zoo.layers.shrinkage.grid import GridShrinkage
from zoo.layers.shrinkage.piecewise_linear import PiecewiseLinearShrinkage
from zoo.layers.shrinkage.soft import SoftShrinkage, soft_threshold
from zoo.layers.shrinkage.spline import SplineShrinkage

__all__ = [
    "BernoulliGaussianShrinkage",
    "ExponentialShrinkage",
    "GridShrinkage",
    "PiecewiseLinearShrinkage",
    "Shrinkage",
    "SoftShrinkage",
    "SplineShrinkage",
    "soft_threshold",
]
