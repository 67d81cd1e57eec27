"""Runs the study; `--help` shows what the package says of it."""

from zoo.apps import games
from zoo.study import main

__doc__ = games.__doc__

if __name__ == "__main__":
    main(*games.EXPERIMENTS)
