"""What the studies measure."""

from zoo.metrics.distance import DistanceFromInitialization
from zoo.metrics.evaluation import EvaluateAtUpdates

__all__ = ["DistanceFromInitialization", "EvaluateAtUpdates"]
