"""Figure 5: a sketch of the covariance of real data, beside least squares."""

import matplotlib.figure
import numpy as np
import pandas as pd

from zoo.apps.matrix_sensing.common import SensingStudy, apart, recover
from zoo.data import covariance
from zoo.data.low_rank import COVARIANCES
from zoo.layers.sensing import GaussianSensing
from zoo.solvers.matrix_sensing import least_squares
from zoo.study import Section, format_mean, new_figure
from zoo.study.tuning import tunable

METHODS = {
    "fgd_momentum": {"learning_rate": 0.3, "momentum": 0.5, "restart": False},
    "cg": {},
    "least_squares": None,
    "truncation": None,
}
# Of these the ones that fit factors of a rank to measurements.
FITS = ("fgd_momentum", "cg")
STEPS = ("learning_rate", "momentum")


class Covariance(SensingStudy):
    """Recovers covariance matrices of real data from a sketch."""

    experiment = "covariance"
    title = "Matrix sensing: covariance of real data"
    objective = ("error", "min")
    presets = {
        "quick": {
            "dataset": ["breast_cancer"],
            "standardize": True,
            "method": [*METHODS],
            "rank": ["5"],
            # 1,620 measurements are 1.091 of the 1,485 unknowns of 54 features.
            "share": ["1.091", "0.667"],
            "iterations": 200,
            "runs": 1,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "dataset": ["digits"],
        "standardize": False,
        "rank": ["15", "8"],
        "iterations": 2000,
        "runs": 3,
    }
    presets["paper"] = {**presets["cpu"], "dataset": ["covtype"], "rank": ["15"]}

    def prepare(self, config):
        self.check_choices(config, "dataset", COVARIANCES)
        self.check_choices(config, "method", METHODS)
        self.check_numbers(config, "share", 1e-3, 10)
        self.data = {
            name: covariance(name, config.data_dir, standardize=config.standardize)
            for name in config.dataset
        }
        least = min(len(matrix) for matrix, _ in self.data.values())
        self.check_numbers(config, "rank", 1, least, int)

    def grid(self, hp, config):
        hp.Choice("dataset", config.dataset)
        hp.Choice("share", config.share)
        hp.Choice("rank", config.rank)
        hp.Choice("method", config.method)
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        hp.Fixed("dataset", config.dataset[0])
        hp.Fixed("share", config.share[0])
        hp.Choice("method", tunable(config, "method", "ranks of fits", FITS))
        most = min(2 * max(config.rank), len(self.data[config.dataset[0]][0]))
        hp.Int("rank", 1, most)
        with hp.conditional_scope("method", ["fgd_momentum"]):
            hp.Float("learning_rate", 0.05, 2.0, sampling="log")
            hp.Float("momentum", 0.0, 0.95)

    def seconds(self, values, config):
        size = (len(self.data[values["dataset"]][0]) / 64) ** 4
        if values["method"] == "least_squares":
            return 0.1 + 20 * size
        steps = {"truncation": 0, "cg": min(config.iterations, 200)}
        return 0.5 + 5e-3 * size * steps.get(values["method"], config.iterations)

    def run(self, hp, config, logdir):
        truth, _ = self.data[hp.get("dataset")]
        rank, method, seeds = hp.get("rank"), hp.get("method"), apart(hp.get("seed"), 2)
        n = len(truth)
        m = round(hp.get("share") * unknowns(n))
        values, vectors = np.linalg.eigh(truth)
        factor = vectors * np.sqrt(np.maximum(values, 0.0))
        steps, errors = 0, []
        if method == "truncation":
            x = factor[:, -rank:] @ factor[:, -rank:].T
        else:
            operator = GaussianSensing(
                (n, n), m, symmetric=True, seed=seeds[0], dtype="float64"
            )
            y = np.asarray(operator(factor))
            if method == "least_squares":
                x = least_squares(operator, y)
            else:
                chosen = {name: hp.values[name] for name in STEPS if name in hp.values}
                result = recover(
                    operator,
                    y,
                    rank,
                    method,
                    truth=factor,
                    max_iterations=config.iterations,
                    overparameterized=m < freedom(n, rank),
                    seed=seeds[1],
                    **{**METHODS[method], **chosen},
                )
                x, steps, errors = (
                    result.to_dense(),
                    result.steps,
                    result.history["error"],
                )
        return {
            "error": np.linalg.norm(x - truth) / np.linalg.norm(truth),
            "measurements": m,
            "steps": steps,
            "matrix": x.ravel(),
            "error_curve": errors,
        }

    def sections(self, results, config):
        sections = []
        for name in config.dataset:
            sections += [
                self._table(results, config, name),
                *(
                    self._matrices(results, config, name, share)
                    for share in config.share
                ),
                self._convergence(results, config, name),
            ]
        return sections

    def _table(self, results, config, name):
        truth, source = self.data[name]
        n = len(truth)
        rows = []
        for share in config.share:
            for rank in config.rank:
                cells = {
                    "measurements": round(share * unknowns(n)),
                    "of the unknowns": f"{share:.0%}",
                    "rank": rank,
                    "of its freedom": (f"{share * unknowns(n) / freedom(n, rank):.2f}"),
                }
                for method in config.method:
                    runs = results.select(
                        dataset=name, share=share, rank=rank, method=method
                    )
                    cells[method] = format_error(runs["error"])
                rows.append(cells)
        text = (
            f"{source}: {n} features, {unknowns(n)} unknowns of a symmetric matrix. "
            f"Relative error, within {config.iterations} steps. `truncation` is the "
            "best matrix of that rank, which takes the matrix itself, and no fit of "
            "that rank is nearer; least squares takes no rank, and its solution of "
            "least norm where there are fewer measurements than unknowns.\n\n"
            "Published: rank 15 of 54 features of covtype from 1,620 Gaussian "
            "measurements keeps most relationships, with undesired patterns. These are "
            "more measurements than the 1,485 unknowns. What the rank cuts off is as "
            "noise in the measurements, which a fit of that rank brings back as "
            "patterns; from so many, least squares has the whole matrix."
        )
        return Section(f"Errors: {name}", text, pd.DataFrame(rows))

    def _matrices(self, results, config, name, share):
        truth, rank = self.data[name][0], config.rank[0]
        found = {}
        for method in config.method:
            runs = results.select(dataset=name, share=share, rank=rank, method=method)
            if len(runs):
                matrix = results.curves(runs.iloc[0]["run"])["matrix"]
                found[method] = matrix.reshape(truth.shape)
        title = f"Figure 5: {name}, {share:.0%} of the unknowns"
        figure = matplotlib.figure.Figure(
            figsize=(2.6 * (len(found) + 1), 5.2), dpi=110, layout="constrained"
        )
        figure.suptitle(title)
        axes = figure.subplots(2, len(found) + 1, squeeze=False)
        limit = np.percentile(np.abs(truth), 99.5)
        shown = {"true": truth, **found}
        for column, (label, matrix) in enumerate(shown.items()):
            for row, values in enumerate((matrix, matrix - truth)):
                ax = axes[row, column]
                drawn = ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
                ax.set(xticks=[], yticks=[], title=label + ("", " - true")[row])
        axes[1, 0].set_visible(False)
        figure.colorbar(drawn, ax=axes, shrink=0.7)
        text = f"Rank {rank}, the first seed's; one scale of colour."
        return Section(title, text, None, figure, f"figure5_{name}_{share:g}")

    def _convergence(self, results, config, name):
        title = f"Figure 5: convergence, {name}"
        figure, ax = new_figure(
            title, "steps", "relative error", xscale="log", yscale="log"
        )
        floors = results.select(dataset=name, method="truncation", rank=config.rank[0])
        for i, share in enumerate(config.share):
            for method, style in (("fgd_momentum", "--"), ("cg", "-")):
                runs = results.select(
                    dataset=name, share=share, rank=config.rank[0], method=method
                )
                if len(runs):
                    errors = results.curves(runs.iloc[0]["run"])["error_curve"]
                    label = f"{method}, {share:.0%} of the unknowns"
                    x = np.arange(1, len(errors) + 1)
                    ax.plot(x, errors, style, color=f"C{i}", label=label)
        if len(floors):
            ax.axhline(
                floors["error"].iloc[0],
                color="black",
                linestyle=":",
                label="truncation",
            )
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=8)
        text = f"Rank {config.rank[0]}, the first seed's; the start counts as step 1."
        return Section(title, text, None, figure, f"figure5_convergence_{name}")


def unknowns(n):
    """The entries of a symmetric matrix that may differ."""
    return n * (n + 1) // 2


def freedom(n, rank):
    """The degrees of freedom of a symmetric matrix of a rank."""
    return rank * (2 * n - rank + 1) // 2


def format_error(values):
    if not len(values):
        return "-"
    return (
        f"{values.iloc[0]:.1e}" if max(values) < 1e-3 else format_mean(values, digits=3)
    )
