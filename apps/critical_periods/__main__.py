"""Runs the study; `--help` shows what the package says of it."""

from zoo.apps import critical_periods
from zoo.study import main

__doc__ = critical_periods.__doc__

if __name__ == "__main__":
    main(*critical_periods.EXPERIMENTS)
