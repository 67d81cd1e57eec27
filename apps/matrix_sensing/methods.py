"""Figure 2: all methods on one problem, and what a factor pair `U V^T` needs."""

import dataclasses

import numpy as np
import pandas as pd

from zoo.apps.matrix_sensing.common import (
    RANK,
    SIZE,
    SensingStudy,
    apart,
    finite,
    recover,
    say_small,
    say_steps,
    steps_to,
    timed,
)
from zoo.data import low_rank_matrix
from zoo.layers.sensing import GaussianSensing
from zoo.study import Section, format_mean, new_figure
from zoo.study.tuning import tunable


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to solve the problem.

    Attributes:
        method: of `solve`.
        options: of `solve`.
        general: whether the factors are `U V^T`, with the symmetry not told.
        start: of `solve`, or `"far"` for the spectral start as `(8 U, V / 8)`.
        report: whether it is the report's, at the report's settings.
    """

    method: str
    options: dict = dataclasses.field(default_factory=dict)
    general: bool = False
    start: str = "spectral"
    report: bool = False

    @property
    def style(self):
        if self.start == "far":
            return ":"
        return "--" if self.general else "-"


RATE = {"learning_rate": 0.1}
MOMENTUM = {**RATE, "momentum": 0.5, "restart": False}
# From the far start steps must be 64 times as short.
FAR = {"learning_rate": 0.01}
METHODS = {
    "fgd": Method("fgd", RATE, start="orthogonal", report=True),
    "fgd_momentum": Method("fgd_momentum", MOMENTUM, start="orthogonal", report=True),
    "uv": Method("fgd", RATE, general=True, report=True),
    "uv_momentum": Method("fgd_momentum", MOMENTUM, general=True, report=True),
    "iht": Method("iht", report=True),
    "nuclear": Method("nuclear", report=True),
    "cg": Method("cg"),
    "scaled_gd": Method("scaled_gd"),
    "uv_0.5": Method("fgd", {"learning_rate": 0.5}, general=True),
    "uv_0.5_balance": Method(
        "fgd", {"learning_rate": 0.5, "balance": 0.25}, general=True
    ),
    "uv_cg": Method("cg", general=True),
    "uv_scaled_gd": Method("scaled_gd", general=True),
    "uv_far": Method("fgd", FAR, general=True, start="far"),
    "uv_far_balance": Method(
        "fgd", {**FAR, "balance": 0.25}, general=True, start="far"
    ),
    "uv_far_cg": Method("cg", general=True, start="far"),
    "uv_far_scaled_gd": Method("scaled_gd", general=True, start="far"),
}
LIMITS = (1e-3, 1e-6)
# From where to where a search looks for what a method has, and how.
OPTIONS = {
    "learning_rate": (0.01, 2.0, None, "log"),
    "momentum": (0.0, 0.95),
    "balance": (0.01, 1.0, None, "log"),
}


class Methods(SensingStudy):
    """Recovers a 64 x 64 matrix of rank 2 by every method."""

    experiment = "methods"
    title = "Matrix sensing: methods"
    objective = ("error", "min")
    presets = {
        "quick": {
            "method": [*METHODS],
            "condition": ["1.3"],
            "measurements": 640,
            "iterations": 1500,
            "runs": 1,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "condition": ["1.3", "10"],
        "iterations": 6000,
        "runs": 3,
    }
    presets["paper"] = {**presets["cpu"], "runs": 10}

    def prepare(self, config):
        self.check_choices(config, "method", METHODS)
        self.check_numbers(config, "condition", 1, 1e6)
        self.check_measurements(config)

    def grid(self, hp, config):
        hp.Choice("condition", config.condition)
        hp.Choice("method", config.method)
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        hp.Fixed("condition", config.condition[0])
        having = {
            option: [name for name in METHODS if option in METHODS[name].options]
            for option in OPTIONS
        }
        methods = tunable(config, "method", "steps", having["learning_rate"])
        hp.Choice("method", methods)
        for option, names in having.items():
            with hp.conditional_scope("method", names):
                hp.Float(option, *OPTIONS[option])

    def seconds(self, values, config):
        return 0.7 + 5e-4 * config.iterations

    def run(self, hp, config, logdir):
        method, seeds = METHODS[hp.get("method")], apart(hp.get("seed"), 3)
        u = low_rank_matrix((SIZE, SIZE), RANK, hp.get("condition"), seed=seeds[0])
        operator = GaussianSensing(
            (SIZE, SIZE),
            config.measurements,
            symmetric=not method.general,
            seed=seeds[1],
            dtype="float64",
        )
        y = np.asarray(operator(u))
        chosen = {name: hp.values[name] for name in OPTIONS if name in hp.values}
        options = {**method.options, **chosen}
        if method.method == "nuclear":
            options["radius"] = float(np.sum(u * u))
        start = far_start(operator, y) if method.start == "far" else method.start
        result, seconds = timed(
            lambda min_change=0.0: recover(
                operator,
                y,
                RANK,
                method.method,
                start=start,
                truth=(u, u) if method.general else u,
                max_iterations=config.iterations,
                tolerance=1e-9,
                min_change=min_change,
                seed=seeds[2],
                **options,
            )
        )
        errors = result.history["error"]
        return {
            "error": finite(errors)[-1],
            **{f"steps_to_{limit:g}": steps_to(errors, limit) for limit in LIMITS},
            "cpu_seconds": seconds,
            "error_curve": errors,
        }

    def sections(self, results, config):
        sections = []
        for condition in config.condition:
            sections += [
                self._table(results, config, condition),
                self._figure(
                    results,
                    config,
                    condition,
                    "Figure 2: the report's methods",
                    "figure2",
                    lambda name: METHODS[name].report,
                ),
                self._figure(
                    results,
                    config,
                    condition,
                    "The report's methods and ours",
                    "ours",
                    lambda name: not METHODS[name].general,
                ),
                self._figure(
                    results,
                    config,
                    condition,
                    "U V^T: steps, balance and starts",
                    "uv",
                    lambda name: METHODS[name].general,
                ),
            ]
        return sections

    def _table(self, results, config, condition):
        rows = []
        for name in config.method:
            runs = results.select(condition=condition, method=name)
            if len(runs):
                rows.append(
                    {
                        "method": name,
                        "the report's": "yes" if METHODS[name].report else "",
                        **{
                            f"steps to {limit:g}": say_steps(
                                runs[f"steps_to_{limit:g}"]
                            )
                            for limit in LIMITS
                        },
                        "last error": say_small(runs["error"]),
                        "CPU seconds": format_mean(runs["cpu_seconds"]),
                    }
                )
        text = (
            f"A positive semidefinite {SIZE} x {SIZE} matrix of rank {RANK} and "
            f"condition number {condition:g}, {config.measurements} Gaussian "
            "measurements, float64: relative error in Frobenius norm, steps within "
            f"{config.iterations}, the median over {config.runs} seeds; the seconds "
            "are of the steps to a residual of 1e-9 or to the last, on all cores, "
            "without making the graph. The report's settings are steps of 0.1, "
            "momentum 0.5, an orthogonal start of length 0.01 a column for U U^T and "
            "the spectral one for U V^T. Of ours, `uv_...` are factors U V^T, "
            "`..._0.5` has steps of 0.5, `..._balance` the term that keeps U^T U and "
            "V^T V alike, and `..._far` starts at (8 U, V / 8) of the spectral start, "
            f"where plain steps are {FAR['learning_rate']:g} at most. The ball of "
            "the nuclear norm has the radius of the true matrix.\n\n"
            "Published: U V^T could not be tuned to work as well as U U^T, likely for "
            "want of the balancing term. Here "
            + self._finding(results, config, condition)
        )
        title = f"Methods at condition number {condition:g}"
        return Section(title, text, pd.DataFrame(rows))

    def _finding(self, results, config, condition):
        def said(name):
            runs = results.select(condition=condition, method=name)
            if not len(runs):
                return f"`{name}` was not run"
            steps = say_steps(runs["steps_to_1e-06"])
            if steps == "never":
                return f"`{name}` is at {say_small(runs['error'])} after the last step"
            return f"`{name}` reaches 1e-6 in {steps}"

        names = [name for name in config.method if METHODS[name].general]
        return "; ".join(map(said, names)) + "." if names else "U V^T was not run."

    def _figure(self, results, config, condition, title, name, takes):
        title = f"{title}, condition number {condition:g}"
        figure, ax = new_figure(
            title, "steps", "relative error", xscale="log", yscale="log"
        )
        methods = [method for method in config.method if takes(method)]
        for method in methods:
            runs = results.select(condition=condition, method=method)
            if len(runs):
                errors = results.curves(runs.iloc[0]["run"])["error_curve"]
                ax.plot(
                    np.arange(1, len(errors) + 1),
                    np.maximum(errors, 1e-10),
                    METHODS[method].style,
                    label=method,
                    linewidth=1.3,
                )
        ax.axhline(LIMITS[-1], color="black", linewidth=0.8, linestyle=":")
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=8)
        text = "The first seed's; the start counts as step 1."
        return Section(title, text, None, figure, f"{name}_{condition:g}")


def far_start(operator, y):
    """The spectral start, by an SVD of `A^T(y)`, with one factor 64 times the other."""
    g = np.asarray(operator.adjoint_matmul(y, np.eye(SIZE)))
    u, values, v = np.linalg.svd(g / operator.scale**2)
    roots = np.sqrt(values[:RANK])
    return 8 * u[:, :RANK] * roots, v[:RANK].T * roots / 8
