"""Runs the study; `--help` shows what the package says of it."""

from zoo.apps import plug_and_play
from zoo.study import main

__doc__ = plug_and_play.__doc__

if __name__ == "__main__":
    main(*plug_and_play.EXPERIMENTS)
