"""Recovering images by message passing, with any denoiser.

Images are `[batch, height, width, channels]` with intensities of about [0, 1], and so
are noise levels.
"""

from zoo.solvers.damp.evolution import StateEvolution, state_evolution
from zoo.solvers.damp.result import MessagePassingResult
from zoo.solvers.damp.solvers import damp, dvamp

__all__ = [
    "MessagePassingResult",
    "StateEvolution",
    "damp",
    "dvamp",
    "state_evolution",
]
