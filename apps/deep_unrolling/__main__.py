"""Runs the study; `--help` shows what the package says of it."""

from zoo.apps import deep_unrolling
from zoo.study import main

__doc__ = deep_unrolling.__doc__

if __name__ == "__main__":
    main(*deep_unrolling.EXPERIMENTS)
