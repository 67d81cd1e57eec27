"""What the studies measure."""

from zoo.metrics.distance import DistanceFromInitialization

__all__ = ["DistanceFromInitialization"]
