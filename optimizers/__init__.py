"""Optimizers and learning-rate schedules for Keras."""

from zoo.optimizers.linear_warmup import LinearWarmup

__all__ = ["LinearWarmup"]
