"""Runs the study."""

from zoo.apps.large_batch import LargeBatch
from zoo.study import main

if __name__ == "__main__":
    main(LargeBatch)
