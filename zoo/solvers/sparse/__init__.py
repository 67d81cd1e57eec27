"""Recovering sparse signals from linear measurements, with nothing learned.

Signals are rows: `y` is `[..., M]`, `x` is `[..., N]`, and a matrix `A` is `[M, N]`.
On the TensorFlow backend all is computed in float32 or float64, as one chooses; on
others Keras makes float32 of what it promotes.
"""

from zoo.solvers.sparse.limits import state_evolution, support_oracle
from zoo.solvers.sparse.message_passing import amp, vamp
from zoo.solvers.sparse.result import SparseResult
from zoo.solvers.sparse.thresholding import fista, ista

__all__ = [
    "SparseResult",
    "amp",
    "fista",
    "ista",
    "state_evolution",
    "support_oracle",
    "vamp",
]
