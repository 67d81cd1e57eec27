"""Runs the study; `--help` shows what the package says of it."""

from zoo.apps import margins
from zoo.study import main

__doc__ = margins.__doc__

if __name__ == "__main__":
    main(*margins.EXPERIMENTS)
