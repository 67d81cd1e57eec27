"""The mixture of Gaussians: the report's settings, those that work, and why."""

import dataclasses

import matplotlib.figure
import numpy as np
import pandas as pd

from zoo.apps.games.common import GameStudy
from zoo.apps.games.settings import (
    AWAY,
    CHANGED,
    LONG,
    REPORT,
    SLOW,
    TOWARDS,
    TUNED,
    cases,
)
from zoo.apps.games.training import GOOD, estimate, train
from zoo.data import gaussian_grid
from zoo.study import Section, format_mean, new_figure, plot_band

SETTINGS = ("report", "tuned", "changes")
# From top to bottom, as the captions of the report's figures say.
FIGURE_1 = ("gd_0.001", "rmsprop", "adam", "optimistic_rmsprop", "optimistic_adam")
FIGURE_2 = ("gd_0.001", "optimistic_gd_0.001", "optimistic_adam", "optimistic_rmsprop")
# Below this, a generator error counts as the 0 that the report saw.
COLLAPSED = 1e-3


class Gaussians(GameStudy):
    """Trains two networks on 16 Gaussians by each method."""

    experiment = "gaussians"
    title = "Games: two networks and 16 Gaussians"
    objective = ("covered_quality", "max")
    presets = {
        "quick": {
            "method": list(dict.fromkeys([*REPORT, *TUNED])),
            "setting": list(SETTINGS),
            "iterations": 40,
            "long_iterations": 80,
            "tuned_iterations": 40,
            "check_every": 20,
            "per_mode": 8,
            "runs": 1,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "iterations": 8000,
        "long_iterations": 20_000,
        "tuned_iterations": 4000,
        "check_every": 250,
        "per_mode": 16,
        "runs": 3,
    }
    presets["paper"] = {**presets["cpu"], "per_mode": 500, "runs": 5}

    def prepare(self, config):
        known = dict.fromkeys([*REPORT, *TUNED])
        self.check_choices(config, "method", known)
        self.check_choices(config, "setting", SETTINGS)
        for flag in ("iterations", "long_iterations", "tuned_iterations"):
            if getattr(config, flag) % (2 * config.check_every):
                raise ValueError(
                    f"--{flag}={getattr(config, flag)} must be a multiple of twice "
                    f"--check_every={config.check_every}"
                )
        self.mixture = gaussian_grid(seed=config.seed)
        self.cases = dict(
            case for kind in config.setting for case in cases(kind, config.method)
        )
        if not self.cases:
            raise ValueError(
                f"--method={','.join(config.method)} has no --setting="
                f"{','.join(config.setting)}"
            )

    def grid(self, hp, config):
        hp.Choice("case", list(self.cases))
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        hp.Choice("case", list(self.cases))
        # In parts of the setting's own: steps of plain descent are of a gradient.
        hp.Float("rate_factor", 0.1, 10.0, sampling="log")
        for name, low, high in (("optimism", 0.1, 2.0), ("r1", 0.005, 0.2)):
            having = [case for case, one in self.cases.items() if getattr(one, name)]
            if having:
                with hp.conditional_scope("case", having):
                    hp.Float(name, low, high, sampling="log")

    def iterations(self, case, config):
        kind, _, name = case.partition(" ")
        if kind.startswith("tuned"):
            return config.tuned_iterations * (2 if name in SLOW else 1)
        return config.long_iterations if name in LONG else config.iterations

    def seconds(self, values, config):
        setting = self.cases[values["case"]]
        iterations = self.iterations(values["case"], config)
        return estimate(setting, iterations, config.per_mode)

    def run(self, hp, config, logdir):
        case, setting = hp.get("case"), self.setting(hp)
        iterations = self.iterations(case, config)
        drawn = [*half_and(config.iterations), *half_and(config.long_iterations)]
        return train(
            setting,
            self.mixture,
            config,
            seed=hp.get("seed"),
            logdir=logdir,
            iterations=iterations,
            snapshots=[*drawn, iterations],
        )

    def setting(self, hp):
        """Returns the `Setting` of a point of the grid or of a search."""
        setting, values = self.cases[hp.get("case")], hp.values
        changes = {name: values[name] for name in ("optimism", "r1") if name in values}
        rate = setting.rate * values.get("rate_factor", 1.0)
        return dataclasses.replace(setting, rate=rate, **changes)

    def sections(self, results, config):
        sections = [self._setting(config)]
        if "report" in config.setting:
            sections += [
                self._table(results, config, "report"),
                self._figure(results, "figure1", FIGURE_1, half_and(config.iterations)),
                self._figure(
                    results, "figure2", FIGURE_2, half_and(config.long_iterations)
                ),
                *self._losses(results),
                self._claims(results, config),
            ]
        if "tuned" in config.setting:
            sections += [
                self._table(results, config, "tuned"),
                self._progress(results),
                self._tuned(results, config),
            ]
        if "changes" in config.setting:
            sections.append(self._changes(results, config))
        return sections

    def _setting(self, config):
        text = (
            "80,000 points of 16 Gaussians, of standard deviation 0.02, on a grid of "
            f"spacing 1; {config.per_mode} points of each in a batch; 3 layers of 128 "
            f"ReLU units in both networks. A sample is of high quality within 3 "
            "standard deviations of a centre, which 98.9 % of the mixture's points "
            "are; a mode is covered by a tenth of its even share of the samples, all "
            "of high quality. Samples are 16,000, from a moving average of the "
            "generator's weights. A *hit* is the first check, of those every "
            f"{config.check_every} iterations, at which all 16 modes are covered and "
            f"{GOOD:.0%} of the samples are of high quality, with the average or the "
            "weights themselves."
        )
        return Section("Setting", text)

    def _table(self, results, config, kind):
        rows = []
        for case, setting in cases(kind, config.method):
            runs = results.select(case=case)
            if not len(runs):
                continue
            rows.append(
                {
                    "method": case.partition(" ")[2],
                    "rate": f"{setting.rate:g}",
                    "iterations": self.iterations(case, config),
                    **summary(runs),
                    "D loss": format_mean(runs["discriminator_loss"], digits=3),
                    "G loss": format_mean(runs["generator_loss"], digits=3),
                    "CPU s": format_mean(runs["cpu_seconds"], digits=0),
                }
            )
        text = {
            "report": "The rates and moments that the report names; noise of 64 "
            "numbers, networks that take turns and the non-saturating loss, of which "
            "it says nothing.",
            "tuned": "Settings found by search on other seeds: a penalty R1, noise of "
            "4 numbers, higher rates that fade over the training.",
        }[kind]
        titles = {"report": "The report's settings", "tuned": "Settings that work"}
        return Section(titles[kind], text, pd.DataFrame(rows))

    def _figure(self, results, name, methods, columns):
        clouds = []
        for method in methods:
            runs = results.select(case=f"report {method}")
            if len(runs):
                curves = results.curves(runs.iloc[0]["run"])
                clouds += [
                    (f"{method}, {column:,}", curves.get(f"cloud_{column}"))
                    for column in columns
                ]
        text = f"The first seed's, after {' and '.join(f'{c:,}' for c in columns)}."
        title = {
            "figure1": "Figure 1: samples of each method",
            "figure2": "Figure 2: samples after longer training",
        }[name]
        return Section(title, text, None, draw(clouds, len(columns)), name)

    def _tuned(self, results, config):
        clouds = [("the mixture", self.mixture.points[:125])]
        for method in TUNED:
            case = f"tuned {method}"
            runs = results.select(case=case)
            if len(runs):
                last = self.iterations(case, config)
                curves = results.curves(runs.iloc[0]["run"])
                clouds.append((f"{method}, {last:,}", curves.get(f"cloud_{last}")))
        figure = draw(clouds, 3)
        title = "Samples of the settings that work"
        return Section(title, "The first seed's.", None, figure, "tuned")

    def _losses(self, results):
        for player in ("discriminator", "generator"):
            title = f"The {player}'s loss at the report's settings"
            figure, ax = new_figure(title, "iterations", "loss (nats)")
            for method in REPORT:
                rows = results.select(case=f"report {method}")
                if len(rows):
                    curves = results.curves(rows.iloc[0]["run"])
                    dashed = "--" if method.startswith("optimistic") else "-"
                    ax.plot(
                        curves["iteration_curve"],
                        curves[f"{player}_loss_curve"],
                        dashed,
                        label=method,
                    )
            even = 2 * np.log(2) if player == "discriminator" else np.log(2)
            ax.axhline(even, color="black", linewidth=0.8, linestyle=":")
            ax.legend(fontsize=7)
            text = "Dotted: the loss at the equilibrium."
            yield Section(title, text, None, figure, f"{player}_loss")

    def _claims(self, results, config):
        def runs(method):
            return results.select(case=f"report {method}")

        rows = []

        def until(method, name):
            """A curve of each run, as far as the report trained all methods."""
            curves = [results.curves(run) for run in runs(method)["run"]]
            return [
                one[f"{name}_curve"][one["iteration_curve"] <= config.iterations]
                for one in curves
            ]

        for method in ("optimistic_adam", "optimistic_rmsprop"):
            losses = until(method, "generator_loss")
            if losses:
                least = min(np.abs(curve).min() for curve in losses)
                rows.append(
                    {
                        "the report": f"{method}: the generator's error becomes 0 "
                        f"before {config.iterations:,} iterations",
                        "here": f"smallest mean over a check {least:.3f}",
                        "holds": "yes" if least < COLLAPSED else "no",
                    }
                )
        quality = {
            method: np.mean([curve[-1] for curve in curves])
            for method in REPORT
            if (curves := until(method, "average_high_quality"))
        }
        if len(quality) > 1 and "adam" in quality:
            best = max(quality, key=quality.get)
            rows.append(
                {
                    "the report": "Adam alone starts to converge within "
                    f"{config.iterations:,} iterations",
                    "here": f"best: {best}, {quality[best]:.1%} of high quality; adam "
                    f"{quality['adam']:.1%}",
                    "holds": "yes" if best == "adam" else "no",
                }
            )
        for method in FIGURE_2[:3]:
            if len(runs(method)):
                hits = int((runs(method)["hit"] > 0).sum())
                rows.append(
                    {
                        "the report": f"{method} does not converge",
                        "here": f"{hits} of {len(runs(method))} seeds converge in "
                        f"{self.iterations(f'report {method}', config):,} iterations",
                        "holds": "no" if hits else "yes",
                    }
                )
        return Section("What the report saw", "", pd.DataFrame(rows))

    def _progress(self, results):
        title = "Samples of high quality"
        figure, ax = new_figure(title, "iterations", "share of samples", ylim=(0, 1))
        for method in TUNED:
            x, mean, spread = results.mean_curve(
                "iteration_curve",
                "average_high_quality_curve",
                case=f"tuned {method}",
            )
            if len(x):
                plot_band(ax, x, mean, spread, method)
        ax.axhline(GOOD, color="black", linewidth=0.8, linestyle=":")
        ax.legend(fontsize=7)
        text = "Mean and standard deviation over the seeds."
        return Section(title, text, None, figure, "progress")

    def _changes(self, results, config):
        rows = []
        for case in (f"tuned {CHANGED}", *AWAY, f"report {CHANGED}", *TOWARDS):
            runs = results.select(case=case)
            if len(runs):
                rows.append({"setting": case, **summary(runs)})
        text = (
            f"`{CHANGED}`: each row below one of its two settings changes one thing, "
            "to what the other setting has; the loss becomes the saturating one, and "
            "the order the simultaneous one, as the report says nothing of either."
        )
        return Section("One change at a time", text, pd.DataFrame(rows))


def half_and(iterations):
    """The two iterations at which the report draws samples."""
    return [iterations // 2, iterations]


def draw(clouds, columns):
    """Draws clouds of points, pairs of a title and an array, in a grid."""
    rows = -(-max(len(clouds), 1) // columns)
    figure = matplotlib.figure.Figure(
        figsize=(2.4 * columns, 2.5 * rows), dpi=100, layout="constrained"
    )
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.axis("off")
    for ax, (title, points) in zip(axes, clouds, strict=False):
        if points is None:
            continue
        ax.axis("on")
        ax.scatter(*points.reshape(-1, 2).T, s=1.0, alpha=0.4, linewidths=0)
        ax.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), xticks=[], yticks=[], aspect="equal")
        ax.set_title(title, fontsize=8)
    return figure


def summary(runs):
    """What a table says of runs of one setting."""
    hits = runs["hit"][runs["hit"] > 0]
    return {
        "hits": f"{len(hits)} of {len(runs)}",
        "median hit": f"{np.median(hits):.0f}" if len(hits) else "-",
        "good at the end": f"{int(runs['good_at_end'].sum())} of {len(runs)}",
        "modes": format_mean(runs["modes"], digits=1),
        "high quality %": format_mean(runs["high_quality"], scale=100, digits=1),
        "KL, nats": format_mean(runs["kl"], digits=3),
    }
