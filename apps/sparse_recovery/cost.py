"""What a layer costs, and what one error costs; Figure 1, both block diagrams."""

import time

import numpy as np
import pandas as pd
from sklearn.linear_model import Lasso

from zoo.apps.sparse_recovery.common import (
    CPU_PROBLEM,
    PAPER_TRAINING,
    QUICK_PROBLEM,
    QUICK_TRAINING,
    RecoveryStudy,
    Task,
    bernoulli_gaussian_task,
    decibel_figure,
    finish,
    say_steps,
    steps_to,
    whole_ticks,
)
from zoo.apps.sparse_recovery.diagram import block_diagrams
from zoo.apps.sparse_recovery.methods import (
    METHODS,
    lasso_weights,
    learn,
    low_rank,
    multiplications,
    solve,
    training_seconds,
)
from zoo.metrics import nmse
from zoo.study import Section, format_mean, new_figure
from zoo.study.tuning import refuse_search

LASSO = "lasso"
COMPARED = (
    *("fista", "amp_l1", "amp_bg", "vamp_bg", "lista", "lista_low_rank", "alista"),
    *("lamp_l1", "lamp_bg", "lvamp_bg", LASSO),
)
NOT_QUICK = ("amp_l1", "alista", "lamp_l1")
# Of the weight that ends best, for FISTA beside the layers of LISTA.
MULTIPLES = (1, 3, 10, 30, 100)
# What that weight is looked for among, in multiples of the mean of AMP-l1's.
SEARCHED, SEARCHED_SIGNALS = (0.5, 0.7, 1.0, 1.4, 2.0), 200
# scikit-learn takes one signal at a time.
LASSO_SIGNALS = 100
# Seconds that a time is measured for, and calls at most.
MEASURED, CALLS = 0.5, 10


class Cost(RecoveryStudy):
    """Measures the work of a layer, and the work to one error."""

    experiment = "cost"
    title = "Sparse recovery: cost"
    objective = ("nmse", "min")
    presets = {
        "quick": {
            **QUICK_PROBLEM,
            "method": [one for one in COMPARED if one not in NOT_QUICK],
            "depth": 4,
            "lista_depth": 4,
            "iterations": 250,
            "target_nmse": -10.0,
            **QUICK_TRAINING,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "method": [*COMPARED],
        **CPU_PROBLEM,
        "depth": 8,
        "lista_depth": 15,
        "iterations": 1000,
        "target_nmse": -34.0,
        "steps": 1.0,
    }
    presets["paper"] = {
        **presets["cpu"],
        "depth": 15,
        **PAPER_TRAINING,
    }

    def prepare(self, config):
        self.check_problem(config)
        self.check_training(config)
        self.check_choices(config, "method", COMPARED)
        self.task = bernoulli_gaussian_task(config)

    def grid(self, hp, config):
        hp.Choice("method", config.method)
        self.seeds_of(hp, config, list(filter(_learned, config.method)))

    def space(self, hp, config):
        refuse_search(config, "it measures what methods cost as they are")

    def seconds(self, values, config):
        name = values["method"]
        if not _learned(name):
            work = {"fista": 0.15 * config.iterations}.get(name, 4)
            return 2 + work * (config.unknowns / 500) ** 2
        return training_seconds(
            METHODS[name], self._depth(name, config), config.unknowns, config
        )

    def run(self, hp, config, logdir):
        name = hp.get("method")
        if name == LASSO:
            return self._lasso()
        if not _learned(name):
            return self._solve(name, config)
        depth = self._depth(name, config)
        network = learn(METHODS[name], self.task, depth, config, hp.get("seed"), logdir)
        y = self.task.y.astype("float32")
        curve = [self.task.nmse(one) for one in network.predict_all(y)]

        def call(layers):
            short = network.truncate(layers)
            return lambda: short.predict_on_batch(y)

        return self._outcome(curve, config, call)

    def _depth(self, name, config):
        return config.lista_depth if name.startswith("lista") else config.depth

    def _solve(self, name, config):
        method, task = METHODS[name], self.task
        weight, iterations, others = None, 50, {}
        if method.family == "fista":
            weight, iterations = self._best_weight(config), config.iterations
            others["regularization"] = weight
            for multiple in MULTIPLES[1:]:
                result = solve(
                    method, task, iterations, multiple * weight, truth=task.x
                )
                others[f"multiple_{multiple}"] = result.nmse()[1:]
        curve = solve(method, task, iterations, weight, truth=task.x).nmse()[1:]

        def call(layers):
            return lambda: solve(method, task, layers, weight, "float32")

        return {**self._outcome(curve, config, call), **others}

    def _outcome(self, curve, config, call):
        layers = steps_to(curve, config.target_nmse)
        timed = layers if layers > 0 else len(curve)
        seconds = cpu_seconds(call(timed)) / len(self.task.y)
        return {
            "nmse": curve[-1],
            "layers": layers,
            "ms_per_layer": 1e3 * seconds / timed,
            "nmse_curve": curve,
        }

    def _best_weight(self, config):
        """The Lasso's weight, one for all signals, whose minimiser has least error."""
        few = slice(SEARCHED_SIGNALS)
        task = Task(self.task.problem, self.task.y[few], self.task.x[few])
        mean = np.mean(lasso_weights(task))

        def end(multiple):
            result = solve(METHODS["fista"], task, config.iterations, multiple * mean)
            return task.nmse(result.x)

        return mean * min(SEARCHED, key=end)

    def _lasso(self):
        """scikit-learn's coordinate descent with AMP-l1's weights, at its defaults."""
        task, weights = self.task, lasso_weights(self.task)
        matrix, y = task.problem.matrix, task.y[:LASSO_SIGNALS]
        found = np.empty((len(y), matrix.shape[1]))
        start = time.process_time()
        for index, weight in enumerate(weights[: len(y)]):
            # Its objective is over `M`.
            model = Lasso(weight / len(matrix), fit_intercept=False)
            found[index] = model.fit(matrix, y[index]).coef_
        seconds = time.process_time() - start
        return {
            "nmse": nmse(found, task.x[: len(y)]),
            "ms": 1e3 * seconds / len(y),
        }

    def sections(self, results, config):
        return [
            self._work(results, config),
            self._work_figure(results, config),
            *self._fista(results, config),
            Section(
                "Figure 1: ISTA, and LISTA of three layers",
                "`B` leads from measurements to signals, `S` from one estimate to the "
                "next; the red curve is soft thresholding. At first `B = A^T / L` and "
                "`S = I - B A`, with `L` the largest eigenvalue of `A^T A`, and LISTA "
                "is ISTA.",
                None,
                block_diagrams(),
                "figure1",
            ),
        ]

    def _work(self, results, config):
        shape = self.task.problem.matrix.shape
        rows = []
        for name in config.method:
            runs = results.select(method=name)
            if not len(runs):
                continue
            if name == LASSO:
                rows.append(
                    {
                        "method": "scikit-learn's Lasso",
                        **dict.fromkeys(
                            ("multiplications a layer", "CPU ms a layer", "layers"), ""
                        ),
                        "multiplications": "",
                        "CPU ms": format_mean(runs["ms"], digits=3),
                        "NMSE at the end, dB": format_mean(runs["nmse"]),
                    }
                )
                continue
            each = multiplications(METHODS[name], shape)
            reached = runs[runs["layers"] > 0]
            rows.append(
                {
                    "method": name,
                    "multiplications a layer": f"{each:,}",
                    "CPU ms a layer": format_mean(runs["ms_per_layer"], digits=4),
                    "layers": say_steps(runs["layers"]),
                    "multiplications": (
                        f"{each * reached['layers'].median():,.0f}"
                        if len(reached)
                        else "-"
                    ),
                    "CPU ms": format_mean(
                        reached["layers"] * reached["ms_per_layer"], digits=3
                    ),
                    "NMSE at the end, dB": format_mean(runs["nmse"]),
                }
            )
        m, n = shape
        text = (
            f"A signal's share of a batch of {len(self.task.y)}, M = {m}, N = {n}, iid "
            f"entries, float32, on all cores. `layers` and what follows is what it "
            f"takes to {config.target_nmse:g} dB. Multiplications are those of "
            "matrices: 2 M N of FISTA, AMP, VAMP, LAMP and ALISTA, N^2 + M N of LISTA, "
            f"2 r N + M N with S of rank r = {low_rank(n)}, 2 M N + M^2 of LVAMP. "
            f"scikit-learn's Lasso takes one signal at a time, {LASSO_SIGNALS} here, "
            "with the weights at which AMP-l1 ends, to its own tolerance."
        )
        return Section("Work", text, pd.DataFrame(rows))

    def _work_figure(self, results, config):
        title = "NMSE against multiplications"
        figure, ax = decibel_figure(title, "multiplications a signal")
        ax.set_xscale("log")
        shape = self.task.problem.matrix.shape
        for name in config.method:
            runs = results.select(method=name)["run"]
            if len(runs) and name != LASSO:
                curves = [results.curves(run)["nmse_curve"] for run in runs]
                mean = np.mean(curves, axis=0)
                work = multiplications(METHODS[name], shape)
                layers = np.arange(1, len(mean) + 1)
                ax.plot(work * layers, mean, label=name, **METHODS[name].style)
        ax.axhline(config.target_nmse, color="black", linewidth=0.8, linestyle=":")
        finish(figure, ax)
        text = f"Means over seeds; the dotted line is {config.target_nmse:g} dB."
        return Section(title, text, None, figure, "multiplications")

    def _fista(self, results, config):
        title = "Iterations of FISTA a layer of LISTA"
        solved, learned = (results.select(method=one) for one in ("fista", "lista"))
        if not len(solved) or not len(learned):
            return [Section(title, "`fista` and `lista` were not both run.")]
        curves = results.curves(solved.iloc[0]["run"])
        lista = np.mean(
            [results.curves(run)["nmse_curve"] for run in learned["run"]], axis=0
        )
        weight = solved.iloc[0]["regularization"]
        figure, ax = new_figure(title, "layers of LISTA", "iterations of FISTA")
        whole_ticks(ax)
        layers = np.arange(1, len(lista) + 1)
        rows = [
            {"layer": layer, "NMSE, dB": f"{value:.2f}"}
            for layer, value in zip(layers, lista, strict=True)
        ]
        ratios = {}
        for multiple in MULTIPLES:
            curve = curves["nmse_curve" if multiple == 1 else f"multiple_{multiple}"]
            counts = [steps_to(curve, value) for value in lista]
            label = f"{multiple} x {weight:.2g}"
            for row, count in zip(rows, counts, strict=True):
                row[label] = say_steps([count])
            shown = np.array([count if count > 0 else np.nan for count in counts])
            if np.isfinite(shown).any():
                ax.plot(layers, shown, "o-", markersize=3, label=label)
            if counts[0] > 0:
                ratios[multiple] = counts[0]
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=8, title="weight of the Lasso")
        said = ", ".join(f"{count} at {one} x" for one, count in ratios.items())
        text = (
            "Claimed: FISTA needs about 18 iterations to match one layer of LISTA. "
            "That is of 2010, on patches of images. How many it needs depends on the "
            "weight of the Lasso: a large one is fast and ends badly. "
            f"{weight:.3g} ends best, at {curves['nmse_curve'][-1]:.2f} dB. Iterations "
            f"to the error of the first layer here: {said or 'never'}."
        )
        table = Section(title, text, pd.DataFrame(rows))
        words = "Where a line ends or is not there, FISTA does not come so far."
        return [
            table,
            Section(f"{title}: figure", words, None, figure, "fista_per_layer"),
        ]


def cpu_seconds(function):
    """Times a call in CPU seconds of all cores, after one that compiles it."""
    function()
    calls, start = 0, time.process_time()
    while calls < CALLS and time.process_time() - start < MEASURED:
        function()
        calls += 1
    return (time.process_time() - start) / calls


def _learned(name):
    return name != LASSO and METHODS[name].learned
