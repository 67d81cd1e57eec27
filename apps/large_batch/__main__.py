"""Runs the study; `--help` shows what the package says of it."""

from zoo.apps import large_batch
from zoo.study import main

__doc__ = large_batch.__doc__

if __name__ == "__main__":
    main(*large_batch.EXPERIMENTS)
