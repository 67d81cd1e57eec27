"""Recovering matrices of low rank from linear measurements."""

from zoo.solvers.matrix_sensing.least_squares import least_squares
from zoo.solvers.matrix_sensing.result import SensingResult
from zoo.solvers.matrix_sensing.solve import solve
from zoo.solvers.matrix_sensing.tomography import tomography

__all__ = ["SensingResult", "least_squares", "solve", "tomography"]
