"""Runs the study; `--help` shows what the package says of it."""

from zoo.apps import matrix_sensing
from zoo.study import main

__doc__ = matrix_sensing.__doc__

if __name__ == "__main__":
    main(*matrix_sensing.EXPERIMENTS)
