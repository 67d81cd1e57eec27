"""The spectrum of the Hessian at the minima of small and large batches."""

import numpy as np
import pandas as pd

from zoo.apps.large_batch.minima import (
    BATCHES,
    CPU,
    PAPER,
    QUICK,
    MinimaStudy,
    compare,
    finished,
    of_both,
)
from zoo.metrics import hessian_trace, spectral_density, top_eigenvalues
from zoo.study import Section, evaluate, format_mean, new_figure, plot_band
from zoo.study.tuning import tuned

SETTINGS = {"eigenvalues": 10}


class Hessian(MinimaStudy):
    """Trains with both batches and finds the Hessian's eigenvalues at equal loss."""

    experiment = "hessian"
    title = "Large batches: the Hessian at minima"
    presets = {
        "quick": {**QUICK, **SETTINGS},
        "cpu": {**CPU, **SETTINGS},
        "paper": {**PAPER, **SETTINGS},
    }

    def grid(self, hp, config):
        hp.Choice("network", config.network)
        hp.Choice("batch", list(BATCHES))
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        hp.Choice("batch", list(BATCHES))

    def run(self, hp, config, logdir):
        config = tuned(config, hp)
        network, seed = hp.get("network"), hp.get("seed")
        minimum = self.train_to_level(network, hp.get("batch"), config, seed, logdir)
        surface = self.surface(minimum.model, network, config)
        count = min(config.eigenvalues, len(surface.weights))
        search = {"iterations": max(100, 3 * count), "seed": seed}
        density = spectral_density(surface, probes=2, iterations=40, seed=seed)
        trace, error = hessian_trace(surface, probes=20, seed=seed)
        return {
            **evaluate(minimum.model, self.data[network], config),
            "epochs": float(minimum.epochs),
            "loss": surface.value(),
            "trace": trace,
            "trace_error": error,
            "lowest": density.nodes.min(),
            "eigenvalues": top_eigenvalues(surface, count, **search).values,
            "filter_eigenvalues": top_eigenvalues(
                surface, count, normalization="filter", **search
            ).values,
            "grid": density.grid,
            "density": density.density,
        }

    def sections(self, results, config):
        sections = [Section("Setting", self.settings(config))]
        for network in finished(results, config.network):
            curves = {
                batch: [
                    results.curves(run)
                    for run in results.select(network=network, batch=batch)["run"]
                ]
                for batch in BATCHES
            }
            if all(curves.values()):
                sections += [
                    self._table(results, network, curves, config),
                    _eigenvalues(network, curves),
                    _densities(network, curves),
                ]
        return sections

    def _table(self, results, network, curves, config):
        rows, words = [], []
        found = {
            "training loss": "loss",
            "test accuracy, %": "test_accuracy",
            "trace": "trace",
            "lowest Ritz value": "lowest",
        }
        for label, name in found.items():
            scale = 100 if "%" in label else 1
            small, large = (scale * one for one in of_both(results, name, network))
            rows.append(_row(label, small, large))
            if name == "trace":
                words.append(f"its trace is {_words(compare(small, large))}")
        for label, name in (
            ("largest eigenvalue", "eigenvalues"),
            ("largest eigenvalue, in units of filters", "filter_eigenvalues"),
        ):
            small, large = (
                np.array([one[name][0] for one in curves[batch]]) for batch in BATCHES
            )
            rows.append(_row(label, small, large))
            words.append(f"the {label} is {_words(compare(small, large))}")
        text = (
            "Where the training loss first is at most "
            f"{config.target_loss:g}: at the minima of large batches "
            f"{'; '.join(words)}. A difference counts where it is larger than both "
            "deviations together."
        )
        title = f"The Hessian at equal training loss: {network}"
        return Section(title, text, pd.DataFrame(rows))


def _row(label, small, large):
    digits = 4 if label == "training loss" else 2
    return {
        "": label,
        "SB": format_mean(small, digits=digits),
        "LB": format_mean(large, digits=digits),
    }


def _words(verdict):
    return {"larger": "larger", "smaller": "smaller"}.get(verdict, "no different")


def _eigenvalues(network, curves):
    title = f"Largest eigenvalues: {network}"
    figure, ax = new_figure(title, "rank", "eigenvalue of the Hessian", yscale="log")
    for name, line in (("eigenvalues", "-"), ("filter_eigenvalues", "--")):
        for number, batch in enumerate(BATCHES):
            stack = np.stack([one[name] for one in curves[batch]])
            units = ", units of filters" if name != "eigenvalues" else ""
            ranks = np.arange(1, stack.shape[1] + 1)
            spread = stack.std(axis=0)
            label = f"{batch}{units}"
            color = f"C{number}"
            plot_band(
                ax, ranks, stack.mean(0), spread, label, color=color, linestyle=line
            )
    ax.legend()
    return Section(title, figure=figure, name=f"eigenvalues_{network}")


def _densities(network, curves):
    title = f"Spectral density: {network}"
    figure, ax = new_figure(
        title, "eigenvalue of the Hessian", "density", yscale="log", ylim=(1e-9, None)
    )
    for number, batch in enumerate(BATCHES):
        for index, one in enumerate(curves[batch]):
            ax.plot(
                one["grid"],
                one["density"],
                color=f"C{number}",
                alpha=0.7,
                linewidth=1,
                label=None if index else batch,
            )
    ax.legend()
    return Section(title, figure=figure, name=f"density_{network}")
