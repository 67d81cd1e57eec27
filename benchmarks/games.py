"""Holds what the games promise: exactness, cost, and how soon equilibria are reached.

Each section prints a table and holds its bounds; ends with exit code 1 if one is
broken. Steps take turns in one process, and ratios are of median CPU times, which other
work on the machine disturbs less than wall times; on one thread, as waiting threads
count as work.

    python benchmarks/games.py [--only=SECTION,...] [--quick]
"""

import sys

import tensorflow as tf
from adjustments import adjustments
from gaussians import bilinear, gaussians
from matrix_games import matrix_games
from optimistic import optimistic
from timing import run_sections

if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    sys.exit(
        run_sections(
            __doc__,
            {
                "optimistic": optimistic,
                "adjustments": adjustments,
                "matrix_games": matrix_games,
                "bilinear": bilinear,
                "gaussians": gaussians,
            },
        )
    )
