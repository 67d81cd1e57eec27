"""Runs the study; `--help` shows what the package says of it."""

from zoo.apps import sparse_recovery
from zoo.study import main

__doc__ = sparse_recovery.__doc__

if __name__ == "__main__":
    main(*sparse_recovery.EXPERIMENTS)
