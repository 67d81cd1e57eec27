"""Holds that the training of unrolled networks is stable, for every shrinkage.

Small networks are trained on problems of many seeds: the first layer, then the second
alone, then all at once. No result may have a NaN, and no stage may end worse than it
began. What a stage met on its way, and threw away, is counted beside. Ends with exit
code 1 if a bound is broken.

    python benchmarks/unrolled_stability.py [--only=SECTION,...] [--quick]
"""

import dataclasses
import functools
import math
import multiprocessing
import statistics
import sys

import keras
import numpy as np
import tensorflow as tf
from timing import print_table, run_sections, verdicts

from zoo.data import bernoulli_gaussian
from zoo.layers import shrinkage
from zoo.metrics import nmse
from zoo.models.unrolled import Stage, lamp, lvamp, train

SHRINKAGES = (
    "SoftShrinkage",
    "BernoulliGaussianShrinkage",
    "PiecewiseLinearShrinkage",
    "ExponentialShrinkage",
    "SplineShrinkage",
    "GridShrinkage",
)
SEEDS, PROCESSES = 20, 2


@dataclasses.dataclass(frozen=True)
class Setting:
    """Networks that are trained, and their problem.

    Attributes:
        build: `zoo.models.lvamp` or `lamp`.
        depth: int, layers.
        shape: pair, measurements and unknowns.
        sparsity: float.
        learning_rate: float.
    """

    build: object
    depth: int
    shape: tuple
    sparsity: float
    learning_rate: float

    def stages(self):
        rest = {"learning_rate": self.learning_rate, "batch_size": 100}
        return [
            Stage(20, depth=1, **rest),
            Stage(20, depth=2, part="new", supervise="last", **rest),
            Stage(40, **rest),
        ]


SETTINGS = {
    "lvamp": Setting(lvamp, 8, (60, 120), 0.1, learning_rate=0.1),
    "lamp": Setting(lamp, 10, (30, 50), 0.25, learning_rate=1e-2),
}


class NonFinite(keras.callbacks.Callback):
    """Counts the stages that met a number that is none."""

    def __init__(self):
        super().__init__()
        self.stages = 0

    def on_train_begin(self, logs=None):
        self.met = False

    def on_epoch_end(self, epoch, logs=None):
        self.met |= not all(map(math.isfinite, logs.values()))

    def on_train_end(self, logs=None):
        self.stages += self.met


def run(name, shrink, seed):
    """Trains one network; returns what the table needs."""
    # Else the graphs of all before stay.
    keras.backend.clear_session()
    setting = SETTINGS[name]
    problem = bernoulli_gaussian(setting.shape, setting.sparsity, seed=seed)
    network = setting.build(problem.matrix, setting.depth, getattr(shrinkage, shrink)())
    y, x = problem.sample(500, seed=seed + 1)
    watch = NonFinite()
    records = train(
        network,
        problem,
        setting.stages(),
        validation=(y, x),
        callbacks=[watch],
        evaluate_every=10,
        seed=seed,
    )
    estimates = network.predict_all(y)
    weights = network.get_weights()
    end = nmse(estimates[-1], x)
    return {
        "end": end,
        "finite": all(np.isfinite(array).all() for array in [estimates, *weights]),
        # By the records, and by what the network is worth in the end.
        "no worse": all(one["after"] <= one["before"] for one in records)
        and abs(end - records[-1]["after"]) < 1e-3,
        "rejected": sum(not one["accepted"] for one in records),
        "non-finite": watch.stages,
    }


def one_thread():
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def section(name, quick):
    """Trains a network of each shrinkage on problems of many seeds."""
    setting, seeds = SETTINGS[name], 2 if quick else SEEDS
    (m, n), stages = setting.shape, len(setting.stages())
    print(
        f"{setting.depth} layers, M = {m}, N = {n}, {setting.sparsity:.0%} nonzero, "
        f"{seeds} seeds of {stages} stages.\n"
    )
    tasks = [(name, shrink, seed) for shrink in SHRINKAGES for seed in range(seeds)]
    rows, good = [], True
    with multiprocessing.get_context("spawn").Pool(PROCESSES, one_thread) as pool:
        runs = pool.starmap(run, tasks, chunksize=1)
    for index, shrink in enumerate(SHRINKAGES):
        found = runs[index * seeds : (index + 1) * seeds]
        ends = [one["end"] for one in found]
        checks = {
            "no NaN": all(one["finite"] for one in found),
            "no stage worse": all(one["no worse"] for one in found),
        }
        worst_and_median = f"{max(ends):.2f}", f"{statistics.median(ends):.2f}"
        counts = [sum(one[key] for one in found) for key in ("rejected", "non-finite")]
        rows.append([shrink, *worst_and_median, *counts, verdicts(checks)])
        good &= all(checks.values())
    columns = ["shrinkage", "worst, dB", "median, dB", "stages rejected"]
    print_table([*columns, "NaN on the way", "bounds"], rows)
    return good


if __name__ == "__main__":
    sections = {name: functools.partial(section, name) for name in SETTINGS}
    sys.exit(run_sections(__doc__, sections))
