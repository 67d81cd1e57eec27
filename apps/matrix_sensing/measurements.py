"""Figure 3: kinds of measurements, and their sparse versions."""

import numpy as np
import pandas as pd

from zoo.apps.matrix_sensing.common import (
    RANK,
    SIZE,
    SensingStudy,
    apart,
    recover,
    say_small,
    say_steps,
    steps_to,
)
from zoo.data import low_rank_matrix
from zoo.layers.sensing import (
    GaussianSensing,
    RankOneSensing,
    SignSensing,
    SparseSensing,
)
from zoo.study import Section, new_figure
from zoo.study.tuning import tunable

CONDITION = 1.3
METHODS = ("fgd_0.8", "fgd_0.4", "fgd_0.8_unscaled", "cg")
KINDS = ("gaussian", "sign", "rank_one", "rank_one_centered", "rank_one_pair")
# Those of which there is a sparse version.
SPARSE = {"gaussian": "gaussian", "sign": "sign", "rank_one_pair": "rank_one"}
LIMITS = (1e-3, 1e-5)


class Measurements(SensingStudy):
    """Recovers a 64 x 64 matrix of rank 2 from measurements of every kind."""

    experiment = "measurements"
    title = "Matrix sensing: measurements"
    objective = ("error", "min")
    presets = {
        "quick": {
            "kind": [*KINDS],
            "density": ["0.1"],
            "method": [*METHODS],
            "measurements": 640,
            "iterations": 1000,
            "runs": 1,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "density": ["0.1", "0.02", "0.005"],
        "runs": 3,
    }
    presets["paper"] = {**presets["cpu"], "runs": 10}

    def prepare(self, config):
        self.check_choices(config, "kind", KINDS)
        self.check_choices(config, "method", METHODS)
        self.check_numbers(config, "density", 1 / SIZE**2, 1)
        self.check_measurements(config)
        # Without a density: the dense ones.
        self.labels = {kind: (kind, None) for kind in config.kind}
        self.labels |= {
            f"{kind} {density:g}": (kind, density)
            for density in config.density
            for kind in config.kind
            if kind in SPARSE
        }
        self.cases = {
            f"{label} {method}": (*self.labels[label], method)
            for label in self.labels
            for method in config.method
            # Without zeros it is the same.
            if self.labels[label][1] or method != "fgd_0.8_unscaled"
        }
        if not self.cases:
            raise ValueError(
                "--method=fgd_0.8_unscaled needs one of "
                f"--kind={','.join(SPARSE)}, which have sparse versions"
            )

    def grid(self, hp, config):
        hp.Choice("case", list(self.cases))
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        method = tunable(config, "method", "steps", METHODS[:2])[0]
        hp.Choice("case", [f"{label} {method}" for label in self.labels])
        hp.Float("learning_rate", 0.05, 2.0, sampling="log")

    def seconds(self, values, config):
        kind, density, method = self.cases[values["case"]]
        slow = method != "cg" and (density or "rank_one" in kind)
        return 1.5 if slow else 0.7

    def run(self, hp, config, logdir):
        kind, density, method = self.cases[hp.get("case")]
        seeds = apart(hp.get("seed"), 3)
        u = low_rank_matrix((SIZE, SIZE), RANK, CONDITION, seed=seeds[0])
        operator = make_operator(kind, density, config.measurements, seeds[1])
        options = {}
        if method != "cg":
            rate = hp.values.get("learning_rate", float(method.split("_")[1]))
            if "unscaled" in method:
                rate *= density
            options = {"learning_rate": rate, "start": "orthogonal"}
        result = recover(
            operator,
            np.asarray(operator(u)),
            RANK,
            "cg" if method == "cg" else "fgd",
            truth=u,
            max_iterations=config.iterations,
            min_change=0.0,
            seed=seeds[2],
            **options,
        )
        errors = result.history["error"]
        cost = operator.cost_estimate(RANK)
        return {
            "error": errors[np.isfinite(errors)][-1],
            **{f"steps_to_{limit:g}": steps_to(errors, limit) for limit in LIMITS},
            "bytes": cost["bytes"],
            "flops": cost["flops"],
            "error_curve": errors,
        }

    def sections(self, results, config):
        return [
            self._table(results, config),
            *(self._figure(results, config, method) for method in config.method),
        ]

    def _table(self, results, config):
        rows = []
        for label in self.labels:
            found = {
                method: runs
                for method in config.method
                if len(runs := results.select(case=f"{label} {method}"))
            }
            if not found:
                continue
            first = next(iter(found.values())).iloc[0]
            cells = {
                "measured by": label,
                "KB": f"{first['bytes'] / 1e3:,.0f}",
                "Mflops a step": f"{first['flops'] / 1e6:.2f}",
            }
            for method in config.method:
                cells[method] = "-"
                if method in found:
                    steps = say_steps(found[method]["steps_to_1e-05"])
                    if steps == "never":
                        steps += f", at {say_small(found[method]['error'])}"
                    cells[method] = steps
            rows.append(cells)
        text = (
            f"Steps to a relative error of 1e-5, {config.iterations} at most, the "
            f"median over {config.runs} seeds: a {SIZE} x {SIZE} matrix of rank "
            f"{RANK}, {config.measurements} measurements. `rank_one` is a a^T of "
            "Gaussian a, `rank_one_pair` (a b^T + b a^T) / 2; a number is the share of "
            "entries of a matrix that are not zero, and of a vector its root. Scaled "
            "so that measurements keep lengths on average; `fgd_0.8_unscaled` has "
            "sparse ones without that, as zeros put into dense ones: its steps are "
            "shorter by the density.\n\n"
            "Published, for descent with steps of 0.8: rank-one measurements are just "
            "as effective as Gaussian and sign ones; sparse ones are slower in "
            "proportion to the sparsity. Steps here: "
            + self._finding(results, config)
            + "."
        )
        return Section("Steps by kind of measurement", text, pd.DataFrame(rows))

    def _finding(self, results, config):
        parts = []
        for method in config.method:
            steps = {}
            for label, (kind, density) in self.labels.items():
                runs = results.select(case=f"{label} {method}")
                if len(runs):
                    words = ["sparse"] if density else []
                    words += ["rank-one" if "rank_one" in kind else "dense"]
                    group = " ".join(words).replace("sparse dense", "sparse")
                    steps.setdefault(group, []).extend(runs["steps_to_1e-05"])
            words = [f"{group} {said(counts)}" for group, counts in steps.items()]
            if words:
                parts.append(f"by `{method}` {', '.join(words)}")
        return "; ".join(parts)

    def _figure(self, results, config, method):
        title = f"Figure 3: measurements, {method}"
        figure, ax = new_figure(
            title, "steps", "relative error", xscale="log", yscale="log"
        )
        for label, (kind, density) in self.labels.items():
            runs = results.select(case=f"{label} {method}")
            if len(runs):
                errors = results.curves(runs.iloc[0]["run"])["error_curve"]
                style = "-"
                if density is not None:
                    style = ("--", ":", "-.")[config.density.index(density) % 3]
                ax.plot(
                    np.arange(1, len(errors) + 1),
                    errors,
                    style,
                    color=f"C{KINDS.index(kind)}",
                    label=label,
                    linewidth=1.2,
                )
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=7)
        text = "The first seed's; the start counts as step 1."
        return Section(title, text, None, figure, f"figure3_{method}")


def make_operator(kind, density, m, seed):
    """Makes symmetric measurements of a kind, sparse ones where there is a density."""
    shape = (SIZE, SIZE)
    if density is not None:
        # Of a rank-one matrix the share of entries is that of both vectors.
        share = density**0.5 if kind == "rank_one_pair" else density
        return SparseSensing(shape, m, SPARSE[kind], share, symmetric=True, seed=seed)
    if kind in ("gaussian", "sign"):
        dense = {"gaussian": GaussianSensing, "sign": SignSensing}[kind]
        return dense(shape, m, symmetric=True, seed=seed)
    a, b = np.random.default_rng(seed).normal(size=(2, m, SIZE))
    if kind == "rank_one_pair":
        return RankOneSensing(a, b, symmetric=True)
    return RankOneSensing(a, centered=kind == "rank_one_centered")


def said(counts):
    """How many of counts are there, and from which to which."""
    there = [int(count) for count in counts if count >= 0]
    if not there:
        return "never"
    share = "" if len(there) == len(counts) else f"{len(there)} of {len(counts)} in "
    low, high = min(there), max(there)
    return share + (str(low) if low == high else f"{low} to {high}")
