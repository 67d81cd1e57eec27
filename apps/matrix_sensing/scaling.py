"""Cost against size: factors and implicit projections beside a full decomposition."""

import time

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from zoo.apps.matrix_sensing.common import (
    SensingStudy,
    apart,
    recover,
    say_small,
    timed,
)
from zoo.data import low_rank_matrix
from zoo.layers.sensing import HadamardSensing
from zoo.study import Section, format_mean, new_figure
from zoo.study.tuning import refuse_search

RANK, CONDITION, PER_ROW, TOLERANCE = 5, 1.3, 50, 1e-4
# Sides up to which a whole matrix is decomposed.
LARGEST_SVD = 1024
METHODS = {
    "cg": {},
    "fgd_momentum": {"learning_rate": 0.5},
    "iht": {},
    "full_svd": None,
}


class Scaling(SensingStudy):
    """Recovers larger and larger matrices of rank 5."""

    experiment = "scaling"
    title = "Matrix sensing: cost against size"
    objective = ("cpu_seconds", "min")
    presets = {
        "quick": {
            "method": ["cg", "iht", "full_svd"],
            "size": ["128", "512", "1024"],
            "iterations": 300,
            "runs": 1,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "method": [*METHODS],
        "size": ["128", "256", "512", "1024", "2048", "4096"],
        "runs": 3,
    }
    presets["paper"] = presets["cpu"]

    def prepare(self, config):
        self.check_choices(config, "method", METHODS)
        self.check_numbers(config, "size", 16, 65536, int)
        self.cases = {
            f"{method} {size}": (method, size)
            for size in config.size
            for method in config.method
            if method != "full_svd" or size <= LARGEST_SVD
        }
        if not self.cases:
            raise ValueError(
                f"--method=full_svd has no --size above {LARGEST_SVD}, which it "
                "decomposes whole"
            )

    def grid(self, hp, config):
        hp.Choice("case", list(self.cases))
        self.seeds(hp, config)

    def space(self, hp, config):
        refuse_search(config, "it measures what methods cost as they are")

    def seconds(self, values, config):
        method, size = self.cases[values["case"]]
        seconds = {"cg": 0.2, "fgd_momentum": 0.4, "iht": 0.7, "full_svd": 0.6}[method]
        return 1.5 + seconds * (size / 1024) ** (3 if method == "full_svd" else 1.2)

    def run(self, hp, config, logdir):
        method, size = self.cases[hp.get("case")]
        seeds = apart(hp.get("seed"), 3)
        if method == "full_svd":
            matrix = np.random.default_rng(seeds[0]).normal(size=(size, size))
            # On more threads it would count their waiting for each other.
            with threadpool_limits(1):
                start = time.process_time()
                np.linalg.svd(matrix)
                seconds = time.process_time() - start
            return {"cpu_seconds": seconds, "bytes": matrix.nbytes}
        u = low_rank_matrix((size, size), RANK, CONDITION, seed=seeds[0])
        operator = HadamardSensing(size, PER_ROW * size, seed=seeds[1])
        y = np.asarray(operator(u))
        result, seconds = timed(
            lambda min_change=1e-7: recover(
                operator,
                y,
                RANK,
                method,
                truth=u,
                tolerance=TOLERANCE,
                min_change=min_change,
                max_iterations=config.iterations,
                seed=seeds[2],
                **METHODS[method],
            )
        )
        return {
            "cpu_seconds": seconds,
            "steps": result.steps,
            "error": result.history["error"][-1],
            "bytes": operator.cost_estimate(RANK)["bytes"],
        }

    def sections(self, results, config):
        return [self._table(results, config), self._figure(results, config)]

    def _table(self, results, config):
        rows = []
        for case, (method, size) in self.cases.items():
            runs = results.select(case=case)
            if not len(runs):
                continue
            solved = method != "full_svd"
            rows.append(
                {
                    "n": size,
                    "method": method,
                    "CPU seconds": format_mean(runs["cpu_seconds"], digits=3),
                    "steps": format_mean(runs["steps"], digits=0) if solved else "one",
                    "relative error": say_small(runs["error"]) if solved else "-",
                    "MB of the operator": (
                        f"{runs['bytes'].iloc[0] / 1e6:.3f}" if solved else "-"
                    ),
                }
            )
        text = (
            f"Rank {RANK}, {PER_ROW} n measurements by structured rank-one matrices, "
            f"to a residual of {TOLERANCE:g}; CPU seconds of all cores, without making "
            "the graph. `full_svd` is one decomposition of a whole n x n matrix in "
            "double precision, on one core, such as hard thresholding makes in each "
            "step if it forms the matrix.\n\n"
            "Published: methods that decompose the matrix in each step are infeasible "
            "for n well above 500. `iht` projects on the subspace of the last step, "
            "made better by one product, and forms no matrix."
            + self._finding(results, config)
        )
        return Section("Seconds by size", text, pd.DataFrame(rows))

    def _finding(self, results, config):
        largest = {
            method: max(
                (size for one, size in self.cases.values() if one == method), default=0
            )
            for method in ("iht", "full_svd")
        }
        parts = {
            method: results.select(case=f"{method} {size}")
            for method, size in largest.items()
        }
        if not all(map(len, parts.values())):
            return ""
        seconds = {one: runs["cpu_seconds"].median() for one, runs in parts.items()}
        return (
            f" Here it takes {seconds['iht']:.2f} CPU seconds for all its "
            f"{parts['iht']['steps'].median():.0f} steps at n = {largest['iht']}; one "
            f"full decomposition takes {seconds['full_svd']:.2f} at n = "
            f"{largest['full_svd']}."
        )

    def _figure(self, results, config):
        title = "CPU seconds against size"
        figure, ax = new_figure(title, "n", "CPU seconds", xscale="log", yscale="log")
        for method in config.method:
            points = [
                (size, results.select(case=case)["cpu_seconds"].median())
                for case, (one, size) in self.cases.items()
                if one == method and len(results.select(case=case))
            ]
            if points:
                style = "k:s" if method == "full_svd" else "-o"
                label = "one full SVD" if method == "full_svd" else method
                ax.plot(*np.transpose(points), style, label=label)
        ax.legend(fontsize=8)
        ax.set_xticks(config.size, labels=map(str, config.size))
        ax.minorticks_off()
        text = "Medians over seeds."
        return Section(title, text, None, figure, "seconds")
