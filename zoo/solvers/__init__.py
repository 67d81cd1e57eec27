"""Classical iterations with nothing learned: the baselines of the studies."""

from zoo.solvers.matrix_games import (
    mirror_descent,
    predictive_regret_matching_plus,
    project_to_simplex,
    regret_matching_plus,
    restarted_halpern,
    restarted_optimistic_gradient,
)
from zoo.solvers.play import Solution

__all__ = [
    "Solution",
    "mirror_descent",
    "predictive_regret_matching_plus",
    "project_to_simplex",
    "regret_matching_plus",
    "restarted_halpern",
    "restarted_optimistic_gradient",
]
