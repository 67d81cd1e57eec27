"""Sensing operators: linear measurements of matrices that are given by factors."""

from zoo.layers.sensing.base import SensingOperator
from zoo.layers.sensing.dense import DenseSensing, GaussianSensing, SignSensing
from zoo.layers.sensing.entries import EntrySensing
from zoo.layers.sensing.pauli import PauliSensing, to_complex, to_stacked
from zoo.layers.sensing.rank_one import RankOneSensing
from zoo.layers.sensing.sparse import SparseSensing
from zoo.layers.sensing.structured import HadamardSensing

__all__ = [
    "DenseSensing",
    "EntrySensing",
    "GaussianSensing",
    "HadamardSensing",
    "PauliSensing",
    "RankOneSensing",
    "SensingOperator",
    "SignSensing",
    "SparseSensing",
    "to_complex",
    "to_stacked",
]
