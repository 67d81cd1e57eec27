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
from zoo.solvers.sparse import (
    SparseResult,
    amp,
    fista,
    ista,
    state_evolution,
    support_oracle,
    vamp,
)

__all__ = [
    "Solution",
    "SparseResult",
    "amp",
    "fista",
    "ista",
    "mirror_descent",
    "predictive_regret_matching_plus",
    "project_to_simplex",
    "regret_matching_plus",
    "restarted_halpern",
    "restarted_optimistic_gradient",
    "state_evolution",
    "support_oracle",
    "vamp",
]
