"""Sensing operators: linear measurements of matrices that are given by factors."""

from zoo.layers.sensing.base import SensingOperator
from zoo.layers.sensing.dense import DenseSensing, GaussianSensing, SignSensing
from zoo.layers.sensing.rank_one import RankOneSensing
from zoo.layers.sensing.structured import HadamardSensing

__all__ = [
    "DenseSensing",
    "GaussianSensing",
    "HadamardSensing",
    "RankOneSensing",
    "SensingOperator",
    "SignSensing",
]
