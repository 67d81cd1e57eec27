"""What the experiments on matrix sensing share: flags, the solver, counts of steps."""

import time
import warnings

import numpy as np
from absl import flags

from zoo.solvers.matrix_sensing import solve
from zoo.study.tuning import Comparison, hold, refuse_hyperband

# The report's problem: a 64 x 64 matrix of rank 2.
SIZE, RANK = 64, 2


class SensingStudy(Comparison):
    """An experiment of the report on matrix sensing."""

    name = "matrix_sensing"

    @classmethod
    def define_flags(cls):
        flags.DEFINE_list("method", None, "Methods to compare.")
        flags.DEFINE_list("condition", None, "Condition numbers of the matrix.")
        flags.DEFINE_list("setting", None, "Steps and starts of the descent.")
        flags.DEFINE_list("noise", None, "Noise, as a share of the measured values.")
        flags.DEFINE_list("rank", None, "Ranks of the factors.")
        flags.DEFINE_list("kind", None, "Kinds of measurements.")
        flags.DEFINE_list("density", None, "Shares of entries of sparse measurements.")
        flags.DEFINE_list("state", None, "Quantum states.")
        flags.DEFINE_list("qubits", None, "Numbers of qubits.")
        flags.DEFINE_list("shots", None, "Shots a Pauli string; 0 is exact.")
        flags.DEFINE_list(
            "share", None, "Measurements, as shares of the unknowns of the matrix."
        )
        flags.DEFINE_list("size", None, "Sides of the matrices.")
        flags.DEFINE_integer(
            "measurements",
            None,
            "Measurements of the 64 x 64 matrix.",
            lower_bound=1,
            upper_bound=10**6,
        )
        flags.DEFINE_integer("iterations", None, "Steps of a method.", lower_bound=1)
        flags.DEFINE_bool(
            "standardize", None, "Take correlations instead of covariances."
        )

    def space(self, hp, config):
        refuse_hyperband(config)
        hold(hp, config)

    def check_measurements(self, config, size=SIZE, rank=RANK):
        """Refuses fewer measurements than `size` by `size` of `rank` have freedom."""
        freedom = rank * (2 * size - rank)
        if config.measurements < freedom:
            raise ValueError(
                f"--measurements={config.measurements} must be {freedom} at least, the "
                f"degrees of freedom of a {size} x {size} matrix of rank {rank}"
            )


def apart(seed, count):
    """Returns ints, different seeds of `count` things that are not to be alike."""
    return [int(one) for one in np.random.SeedSequence(seed).generate_state(count)]


def recover(*args, solver=solve, **kwargs):
    """Calls a solver without its warnings, of few or of many measurements.

    What they say the reports say in words.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return solver(*args, **kwargs)


def timed(function):
    """Times a function that passes `min_change` to a solver, without making its graph.

    Returns:
        What it returns by default, and the CPU seconds of all cores that it took.
    """
    # The graph is made and runs a step or two, which compiles what a step compiles.
    function(min_change=1.0)
    start = time.process_time()
    return function(), time.process_time() - start


def steps_to(errors, limit):
    """The first step with an error within `limit`, -1 if there is none."""
    within = np.flatnonzero(np.asarray(errors) <= limit)
    return int(within[0]) if len(within) else -1


def say_steps(counts):
    """The median of counts, where all are there; else how many are."""
    counts = np.asarray(counts)
    if not len(counts):
        return "-"
    if (counts < 0).any():
        reached = int((counts >= 0).sum())
        return "never" if not reached else f"{reached} of {len(counts)} runs"
    return f"{np.median(counts):.0f}"


def say_small(values):
    """The median, in two digits."""
    return f"{np.median(values):.1e}" if len(values) else "-"


def finite(curve):
    """The part of a curve before it ends in NaN or infinity."""
    curve = np.asarray(curve)
    broken = np.flatnonzero(~np.isfinite(curve))
    return curve[: broken[0]] if len(broken) else curve
