"""Figure 2: which few users transmit, and what channels users have."""

import numpy as np
import pandas as pd

from zoo.apps.sparse_recovery.common import (
    PAPER_TRAINING,
    QUICK_TRAINING,
    RecoveryStudy,
    decibel_figure,
    draw,
    finish,
    say_decibels,
    whole_ticks,
)
from zoo.apps.sparse_recovery.methods import METHODS, learn, training_seconds
from zoo.data import massive_mimo, random_access
from zoo.solvers.sparse import support_oracle
from zoo.study import Section

PROBLEMS = ("random_access", "massive_mimo")
COMPARED = ("lista", "lamp_bg", "lamp_pwlin", "lvamp_bg", "lvamp_pwlin")


class Channels(RecoveryStudy):
    """Estimates channels of wireless users from their pilots."""

    experiment = "channels"
    title = "Sparse recovery: channels"
    objective = ("nmse", "min")
    presets = {
        "quick": {
            "problem": ["random_access"],
            "method": [*COMPARED],
            "users": 128,
            "pilots": 32,
            "activity": 0.02,
            "antennas": 16,
            "depth": 4,
            **QUICK_TRAINING,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "problem": [*PROBLEMS],
        "users": 512,
        "pilots": 64,
        "activity": 0.01,
        "antennas": 64,
        "depth": 6,
        "steps": 1.0,
    }
    presets["paper"] = {
        **presets["cpu"],
        "depth": 10,
        **PAPER_TRAINING,
    }

    def prepare(self, config):
        self.check_choices(config, "problem", PROBLEMS)
        self.check_choices(config, "method", COMPARED)
        self.check_training(config)
        self.check_number(config, "activity", 1e-6, 1 - 1e-6, "above 0 and below 1")
        self.check_number(config, "pilots", 1, 1e5, "from 1 to 100000")
        heard = {"random_access": ("users", 1), "massive_mimo": ("antennas", 7)}
        for problem in config.problem:
            flag, cells = heard[problem]
            if cells * getattr(config, flag) <= config.pilots:
                raise ValueError(
                    f"--pilots={config.pilots} must be less than the users, "
                    f"{cells} times --{flag}={getattr(config, flag)}"
                )
        self.tasks = {}

    def grid(self, hp, config):
        hp.Choice("problem", config.problem)
        hp.Choice("method", config.method)
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        hp.Fixed("problem", config.problem[0])
        hp.Choice("method", config.method)
        hp.Float("rate_factor", 0.1, 10.0, sampling="log")

    def seconds(self, values, config):
        unknowns = {"random_access": 2 * config.users}.get(
            values["problem"], 14 * config.antennas
        )
        method = METHODS[values["method"]]
        return training_seconds(method, config.depth, unknowns / 2, config)

    def run(self, hp, config, logdir):
        name = hp.get("problem")
        task = self._task(name, config)
        problem = task.problem
        # Near users have strong channels and others do not: each has its own numbers.
        first = {
            "shrinkage": {
                "sparsity": min(problem.sparsity, 0.5),
                "signal_variance": float(np.mean(problem.signal_variance)),
                "coordinatewise": name == "massive_mimo",
            },
            "noise": problem.noise_variance,
        }
        network = learn(
            METHODS[hp.get("method")],
            task,
            config.depth,
            config,
            hp.get("seed"),
            logdir,
            first=first,
            rate_factor=hp.values.get("rate_factor", 1.0),
        )
        curve = [task.nmse(one) for one in network.predict_all(task.y)]
        return {"nmse": curve[-1], "nmse_curve": curve}

    def _task(self, name, config):
        if name not in self.tasks:
            seed = config.seed
            if name == "random_access":
                problem = random_access(
                    config.users, config.pilots, config.activity, seed=seed
                )
            else:
                antennas = config.antennas
                problem = massive_mimo(antennas, antennas, config.pilots, seed=seed)
            self.tasks[name] = draw(problem)
        return self.tasks[name]

    def sections(self, results, config):
        return [self._problem(results, config, name) for name in config.problem]

    def _problem(self, results, config, name):
        task = self._task(name, config)
        problem = task.problem
        title = f"Figure 2: {name.replace('_', ' ')}"
        figure, ax = decibel_figure(title, "layer")
        layers, rows = np.arange(1, config.depth + 1), []
        for method in config.method:
            runs = results.select(problem=name, method=method)["run"]
            if len(runs):
                curves = np.stack([results.curves(run)["nmse_curve"] for run in runs])
                mean = curves.mean(axis=0)
                ax.plot(layers, mean, label=method, **METHODS[method].style)
                cells = {
                    f"{layer}": say_decibels(curves[:, layer - 1]) for layer in layers
                }
                rows.append({"method": method, **cells})
        best = support_oracle(
            problem.matrix,
            task.y,
            task.x,
            problem.noise_variance,
            problem.signal_variance,
        )
        oracle = task.nmse(best)
        ax.axhline(oracle, color="black", linestyle=":", label="support oracle")
        whole_ticks(ax)
        finish(figure, ax)
        m, n = problem.matrix.shape
        text = {
            "random_access": (
                f"{config.users} users with pilots of {config.pilots} symbols, of whom "
                f"{config.activity:.0%} are active, 10 dB: complex channels as real "
                f"ones, M = {m}, N = {n}."
            ),
            "massive_mimo": (
                f"{config.antennas} antennas, as many users in the base station's cell "
                f"and in each of six around it, pilots of {config.pilots} symbols, 20 "
                f"dB; M = {m}, N = {n}. The error is that of the own cell's users. "
                "Each coordinate has parameters of its own in bg and pwlin. All users "
                "are active, but few of their directions are strong: the support "
                "oracle is no limit here."
            ),
        }[name] + (
            f" The support oracle, the best linear estimate by who is active, is at "
            f"{oracle:.2f} dB. NMSE in dB after each layer, means over seeds. "
            "The paper draws curves and prints no number."
        )
        return Section(title, text, pd.DataFrame(rows), figure, f"figure2_{name}")
