"""Holds what matrix sensing promises: few steps, little time, no matrix of X's size.

Each section prints a table and holds its bounds; ends with exit code 1 if one is
broken. Times are medians of CPU seconds on one thread, after a first call that traces
the graph. The peer of `report` is CVXPY with SCS: `pip install .[benchmark]`.

    python benchmarks/matrix_sensing.py [--only=SECTION,...] [--quick]
"""

import sys

import tensorflow as tf
from sensing_operators import operators
from sensing_recovery import batch, conditioning, factors, overhead, report
from sensing_scale import huge, tomography
from timing import run_sections

if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    sys.exit(
        run_sections(
            __doc__,
            {
                "operators": operators,
                "report": report,
                "conditioning": conditioning,
                "factors": factors,
                "huge": huge,
                "tomography": tomography,
                "overhead": overhead,
                "batch": batch,
            },
        )
    )
