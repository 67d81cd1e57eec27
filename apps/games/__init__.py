"""Games: optimistic, mirror and symplectic methods, and networks that play.

Report: "An Overview of Optimization Methods in Game Theory".

Claim: on a mixture of 16 Gaussians, at the rates that the report names, of gradient
descent, RMSprop, Adam and their optimistic versions Adam alone starts to converge; a
thorough search of hyper-parameters is left open, and so are games of n players.

Five experiments, all of them or those of `--experiment`:

    gaussians  Figures 1 and 2, settings that reach all modes, one change at a time
    search     as many settings for every method, and what they depend on
    matrix     mixed strategies: gaps of the last and of the average iterate
    dynamics   trajectories on bilinear, potential, mixed and unstable games
    players    steps to the equilibrium in games of 2 to 10 players

    python -m zoo.apps.games                           # quick: all figures in small
    python -m zoo.apps.games --experiment=matrix,dynamics
    python -m zoo.apps.games --preset=cpu              # 3 to 34 minutes each
    python -m zoo.apps.games --preset=paper            # batches of 8,000: a GPU
"""

from zoo.apps.games.dynamics import Dynamics
from zoo.apps.games.gaussians import Gaussians
from zoo.apps.games.matrix import Matrix
from zoo.apps.games.players import Players
from zoo.apps.games.search import Search

EXPERIMENTS = (Gaussians, Search, Matrix, Dynamics, Players)

__all__ = ["EXPERIMENTS", "Dynamics", "Gaussians", "Matrix", "Players", "Search"]
