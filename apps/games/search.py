"""The search that the report asks for: the same number of settings for every method."""

import dataclasses
import math

import keras_tuner
import matplotlib.figure
import numpy as np
import pandas as pd

from zoo.apps.games.common import GameStudy
from zoo.apps.games.gaussians import summary
from zoo.apps.games.settings import Setting
from zoo.apps.games.training import estimate, train
from zoo.data import gaussian_grid
from zoo.study import Section

# What is searched, and in which order it is drawn.
ENTRIES = ("rate", "r1", "memory", "decay", "optimism", "order")
# What a method is; all else is searched.
METHODS = {
    "gd": Setting("gd", 1.0),
    "rmsprop": Setting("rmsprop", 1.0),
    "adam": Setting("adam", 1.0),
    "optimistic_gd": Setting("gd", 1.0, optimism=1.0),
    "optimistic_rmsprop": Setting("rmsprop", 1.0, optimism=1.0),
    "optimistic_adam": Setting("adam", 1.0, optimism=1.0),
    "sga": Setting("adam", 1.0, adjustment="sga", order="simultaneous"),
    "extra_adam": Setting(
        "adam", 1.0, adjustment="extragradient", order="simultaneous"
    ),
    "consensus": Setting("adam", 1.0, adjustment="consensus", order="simultaneous"),
}
# As wide for all, around what moves these networks: plain steps are of a gradient.
RATES = {"gd": (0.03, 1.0), "rmsprop": (3e-4, 1e-2), "adam": (3e-4, 1e-2)}
COMMON = {"latent_dim": 4, "fading": True}


def declare(hp, method):
    """Declares what is searched for a method on `keras_tuner.HyperParameters`."""
    fixed = METHODS[method]
    low, high = RATES[fixed.optimizer]
    hp.Float("rate", low, high, sampling="log")
    hp.Float("r1", 0.005, 0.2, sampling="log")
    if fixed.optimizer != "rmsprop":
        hp.Choice("memory", [0.0, 0.5, 0.9])
    if fixed.optimizer != "gd":
        hp.Choice("decay", [0.9, 0.99, 0.999])
    if fixed.optimism:
        hp.Choice("optimism", [0.25, 0.5, 1.0])
    if fixed.adjustment == "none":
        hp.Choice("order", ["alternating", "simultaneous"])


def draw(method, sample, seed):
    """Draws a method's setting number `sample` with Keras Tuner's own samplers."""
    hp = keras_tuner.HyperParameters()
    declare(hp, method)
    # Entries that methods share, such as R1, get the same draw in each.
    seeds = np.random.SeedSequence([seed, sample]).generate_state(len(ENTRIES))
    return {
        entry.name: entry.random_sample(seed=int(seeds[ENTRIES.index(entry.name)]))
        for entry in hp.space
    }


class Search(GameStudy):
    """Searches each method's settings alike, and shows what they depend on.

    The grid is `--samples` random settings a method, each with `--runs` seeds.
    `--search=bayesian` or another of Keras Tuner's, with one `--method`, tunes that.
    """

    experiment = "search"
    title = "Games: a search for settings"
    objective = ("covered_quality", "max")
    presets = {
        "quick": {
            "method": list(METHODS)[:6],
            "samples": 2,
            "iterations": 40,
            "check_every": 20,
            "per_mode": 4,
            "runs": 1,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "method": list(METHODS),
        "samples": 8,
        "iterations": 2000,
        "check_every": 250,
        "per_mode": 16,
        "runs": 2,
    }
    presets["paper"] = {
        **presets["cpu"],
        "samples": 128,
        "iterations": 8000,
        "runs": 5,
    }

    def prepare(self, config):
        self.check_choices(config, "method", METHODS)
        if config.search != "grid" and len(config.method) != 1:
            raise ValueError(
                f"--search={config.search} tunes one --method, not "
                f"{','.join(config.method)}"
            )
        if config.iterations % config.check_every:
            raise ValueError(
                f"--iterations={config.iterations} must be a multiple of "
                f"--check_every={config.check_every}"
            )
        self.mixture = gaussian_grid(seed=config.seed)

    def grid(self, hp, config):
        hp.Choice("method", config.method)
        hp.Choice("sample", list(range(config.samples)))
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        hp.Fixed("method", config.method[0])
        declare(hp, config.method[0])

    def seconds(self, values, config):
        setting = METHODS[values["method"]]
        return estimate(setting, config.iterations, config.per_mode)

    def run(self, hp, config, logdir):
        method = hp.get("method")
        # The tuner's own values, or those of the grid's sample.
        chosen = {
            name: value
            for name, value in hp.values.items()
            if name not in ("method", "seed", "sample") and "/" not in name
        }
        if "sample" in hp.values:
            chosen = draw(method, hp.get("sample"), config.seed)
        setting = dataclasses.replace(METHODS[method], **COMMON, **chosen)
        outcome = train(
            setting,
            self.mixture,
            config,
            seed=hp.values.get("seed", config.seed),
            logdir=logdir,
            iterations=config.iterations,
        )
        return {**outcome, "rate": setting.rate, "r1": setting.r1}

    def sections(self, results, config):
        best = {method: self._best(results, method) for method in config.method}
        best = {method: sample for method, sample in best.items() if sample is not None}
        return [
            self._setting(config),
            self._table(results, config, best),
            self._sensitivity(results, best),
        ]

    def _setting(self, config):
        text = (
            f"{config.samples} settings a method, drawn at random by Keras Tuner's own "
            f"samplers, {config.runs} seeds each, {config.iterations} iterations, "
            "rates that fade over them, noise of 4 numbers. Methods share their draws "
            "of what they have in common. The best setting of a method has the "
            "largest mean share of high-quality samples at the end among those of the "
            "most covered modes; chosen among many on the seeds shown, it looks "
            "better than it is."
        )
        return Section("Setting", text)

    def _best(self, results, method):
        runs = results.select(method=method)
        if not len(runs):
            return None
        means = runs.groupby("sample")[["modes", "high_quality"]].mean()
        return int(means.sort_values(["modes", "high_quality"]).index[-1])

    def _table(self, results, config, best):
        rows = []
        for method, sample in best.items():
            chosen = draw(method, sample, config.seed)
            everyone = results.select(method=method)
            passed = everyone.groupby("sample")["good_at_end"].mean()
            rows.append(
                {
                    "method": method,
                    "best setting": ", ".join(
                        f"{name} {value:.3g}" if isinstance(value, float) else value
                        for name, value in chosen.items()
                    ),
                    **summary(results.select(method=method, sample=sample)),
                    "settings good on all seeds": f"{int((passed == 1).sum())} of "
                    f"{len(passed)}",
                }
            )
        return Section("The best setting of each method", "", pd.DataFrame(rows))

    def _sensitivity(self, results, best):
        columns = 3
        height = math.ceil(max(len(best), 1) / columns)
        figure = matplotlib.figure.Figure(
            figsize=(3.2 * columns, 2.6 * height), dpi=100, layout="constrained"
        )
        axes = figure.subplots(height, columns, squeeze=False).ravel()
        for ax in axes[len(best) :]:
            ax.axis("off")
        for ax, method in zip(axes, best, strict=False):
            means = results.select(method=method).groupby("sample").mean(True)
            dots = ax.scatter(
                means["rate"],
                means["high_quality"],
                c=np.log10(means["r1"]),
                vmin=math.log10(0.005),
                vmax=math.log10(0.2),
                s=18,
            )
            ax.set(xscale="log", ylim=(-0.03, 1), title=method)
            ax.set_xlim(*RATES[METHODS[method].optimizer])
            ax.set_xlabel("rate", fontsize=8)
            figure.colorbar(dots, ax=ax, label="log10 R1")
        text = (
            "Each point a setting: the share of high-quality samples at the end, mean "
            "over the seeds, against the rate; the colour is the weight of R1."
        )
        return Section("Sensitivity", text, None, figure, "sensitivity")
