"""Sensing operators: linear measurements of matrices that are given by factors."""

from zoo.layers.sensing.base import SensingOperator
from zoo.layers.sensing.dense import DenseSensing, GaussianSensing, SignSensing

__all__ = [
    "DenseSensing",
    "GaussianSensing",
    "SensingOperator",
    "SignSensing",
]
