"""Figures 1 and 4: noise, factors of too high a rank, and both together."""

import numpy as np
import pandas as pd

from zoo.apps.matrix_sensing.common import (
    RANK,
    SIZE,
    SensingStudy,
    apart,
    finite,
    recover,
)
from zoo.data import low_rank_matrix, measurement_noise
from zoo.layers.sensing import GaussianSensing
from zoo.study import Section, new_figure

CONDITION, HOLDOUT = 1.3, 0.1
# Learning rate, momentum and length of a column of the orthogonal start.
SETTINGS = {
    "small": (0.3, 0.5, 0.01),
    "long_steps": (1.0, 0.5, 0.01),
    "longer_steps": (1.5, 0.5, 0.01),
    "large_start": (0.3, 0.5, 1.0),
}
TUNED = ("learning_rate", "momentum", "gain")


class Noise(SensingStudy):
    """Recovers one matrix at all levels of noise and ranks, in one batch."""

    experiment = "noise"
    title = "Matrix sensing: noise and over-parameterisation"
    objective = ("error", "min")
    presets = {
        "quick": {
            "setting": [*SETTINGS],
            "noise": ["0", "0.01", "0.05", "0.1", "0.2", "0.5"],
            "rank": ["2", "3", "4", "8", "16", "32", "64"],
            "measurements": 640,
            "iterations": 300,
            "runs": 1,
        },
    }
    presets["cpu"] = {**presets["quick"], "iterations": 1000, "runs": 5}
    presets["paper"] = {**presets["cpu"], "runs": 10}

    def prepare(self, config):
        self.check_choices(config, "setting", SETTINGS)
        self.check_numbers(config, "noise", 0, 10)
        self.check_numbers(config, "rank", 1, SIZE, int)
        self.check_measurements(config)

    def grid(self, hp, config):
        hp.Choice("setting", config.setting)
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        hp.Float("learning_rate", 0.05, 2.0, sampling="log")
        hp.Float("momentum", 0.0, 0.95)
        hp.Float("gain", 1e-3, 1.0, sampling="log")

    def seconds(self, values, config):
        solves = 2 if values["setting"] == "small" else 1
        cells = len(config.noise) * len(config.rank)
        return 1 + solves * 1.5e-4 * cells * config.iterations

    def run(self, hp, config, logdir):
        seeds = apart(hp.get("seed"), 4)
        setting = hp.values.get("setting")
        rate, momentum, gain = SETTINGS.get(setting) or map(hp.get, TUNED)
        u = low_rank_matrix((SIZE, SIZE), RANK, CONDITION, seed=seeds[0])
        operator = GaussianSensing(
            (SIZE, SIZE), config.measurements, symmetric=True, seed=seeds[1]
        )
        clean = np.asarray(operator(u))
        # The same noise at all ranks, and more of it at higher levels.
        noisy = np.stack(
            [measurement_noise(clean, level, seeds[2]) for level in config.noise]
        )
        cells = [(rank, noise) for rank in config.rank for noise in config.noise]

        def solved(holdout):
            return recover(
                operator,
                np.tile(noisy, (len(config.rank), 1)),
                np.array([rank for rank, _ in cells]),
                "fgd_momentum",
                start="orthogonal",
                gain=gain,
                learning_rate=rate,
                momentum=momentum,
                restart=False,
                truth=np.broadcast_to(u, (len(cells), *u.shape)),
                max_iterations=config.iterations,
                tolerance=0.0,
                min_change=0.0,
                holdout=holdout,
                overparameterized=True,
                seed=seeds[3],
            )

        result = solved(0.0)
        curves = [finite(curve) for curve in result.history["error"]]
        outcome = {
            "error": float(np.median([curve[-1] for curve in curves])),
            "diverged": int(np.sum(result.stop_reason == "diverged")),
            "last": np.array([curve[-1] for curve in curves]),
            "best": np.array([curve.min() for curve in curves]),
            "best_step": np.array([curve.argmin() for curve in curves]),
            "diverged_cells": (result.stop_reason == "diverged").astype(int),
        }
        if setting == "small":
            history = solved(HOLDOUT).history
            at = np.nanargmin(history["holdout"], axis=-1)[:, None]
            outcome["held_out"] = np.take_along_axis(history["error"], at, -1)[:, 0]
        for (rank, noise), curve in zip(cells, curves, strict=True):
            outcome[f"error_{rank}_{noise:g}"] = curve
        return outcome

    def sections(self, results, config):
        sections = []
        if len(results.select(setting="small")):
            sections += [
                self._table(results, config),
                self._curves(
                    results,
                    "Figure 1: too high a rank, no noise",
                    "figure1_rank",
                    {f"R = {rank}": (rank, 0.0) for rank in config.rank},
                ),
                self._curves(
                    results,
                    "Figure 1: noise, the true rank",
                    "figure1_noise",
                    {f"noise {noise:g}": (RANK, noise) for noise in config.noise},
                ),
                self._final(results, config),
                self._curves(
                    results,
                    "Figure 4: both, noise 0.2",
                    "figure4_curves",
                    {f"R = {rank}": (rank, 0.2) for rank in (2, 8, 64)},
                ),
            ]
        return [*sections, self._settings(results, config)]

    def _cells(self, results, config, setting, name):
        """The mean over seeds, `[ranks, noises]`."""
        runs = results.select(setting=setting)["run"]
        stack = np.stack([results.curves(run)[name] for run in runs])
        return stack.mean(axis=0).reshape(len(config.rank), len(config.noise))

    def _table(self, results, config):
        last, best, held_out = (
            self._cells(results, config, "small", name)
            for name in ("last", "best", "held_out")
        )
        rows = [
            {
                "R": rank,
                **{
                    f"noise {noise:g}": " / ".join(
                        f"{one[i, j]:.2g}" for one in (last, best, held_out)
                    )
                    for j, noise in enumerate(config.noise)
                },
            }
            for i, rank in enumerate(config.rank)
        ]
        rate, momentum, gain = SETTINGS["small"]
        text = (
            f"Relative error after {config.iterations} steps / the best on the way / "
            f"where the error on {HOLDOUT:.0%} of the measurements, held out, was "
            f"least; means over {config.runs} seeds. The true rank is {RANK}; steps of "
            f"{rate}, momentum {momentum}, an orthogonal start of {gain} a column; the "
            "noise is relative to the measured values. All cells of a seed are one "
            "batch." + self._worst(config, last)
        )
        return Section("Error by rank and noise", text, pd.DataFrame(rows))

    def _worst(self, config, last):
        noisy = [j for j, noise in enumerate(config.noise) if noise >= 0.05]
        if not noisy:
            return ""
        worst = ", ".join(
            f"{config.rank[int(last[:, j].argmax())]} at {config.noise[j]:g}"
            for j in noisy
        )
        return f" The worst R after the last step is {worst}."

    def _curves(self, results, title, name, cells):
        figure, ax = new_figure(title, "steps", "relative error", yscale="log")
        for label, (rank, noise) in cells.items():
            runs = results.select(setting="small")["run"]
            curves = results.curves(runs.iloc[0])
            if f"error_{rank}_{noise:g}" in curves:
                ax.plot(curves[f"error_{rank}_{noise:g}"], label=label, linewidth=1.2)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=8)
        return Section(title, "The first seed's.", None, figure, name)

    def _final(self, results, config):
        title = "Figure 4: error against noise, a line a rank"
        figure, ax = new_figure(
            title, "noise", "relative error", xscale="log", yscale="log"
        )
        noisy = np.array(config.noise) > 0
        levels = np.array(config.noise)[noisy]
        last, held_out = (
            self._cells(results, config, "small", name) for name in ("last", "held_out")
        )
        for i, rank in enumerate(config.rank):
            color = f"C{i}"
            ax.plot(levels, last[i, noisy], "-", color=color, label=f"R = {rank}")
            ax.plot(levels, held_out[i, noisy], ":", color=color)
        ax.legend(fontsize=8)
        text = "Lines: after the last step; dots: stopped by the held-out measurements."
        return Section(title, text, None, figure, "figure4_final")

    def _settings(self, results, config):
        rows = []
        for setting in config.setting:
            if not len(results.select(setting=setting)):
                continue
            rate, momentum, gain = SETTINGS[setting]
            last = self._cells(results, config, setting, "last")
            diverged = self._cells(results, config, setting, "diverged_cells")
            for i, rank in enumerate(config.rank):
                rows.append(
                    {
                        "setting": setting,
                        "steps": rate,
                        "momentum": momentum,
                        "start": gain,
                        "R": rank,
                        "diverged": f"{diverged[i].mean():.0%}",
                        "error, least noise": f"{last[i, 0]:.2g}",
                        "error, most noise": f"{last[i, -1]:.2g}",
                    }
                )
        text = (
            "Published: factors of R = 64 diverge at levels of noise at which those of "
            "lower rank converge."
            + self._finding(results, config)
            + " Below is the share of the levels of noise at which "
            "the iteration went to infinity, and the last finite error. A step that "
            "neither settles nor leaves keeps a large error without noise too."
        )
        return Section("What diverges", text, pd.DataFrame(rows))

    def _finding(self, results, config):
        parts = []
        for setting in config.setting:
            if len(results.select(setting=setting)):
                cells = self._cells(results, config, setting, "diverged_cells")
                ranks = [
                    str(rank)
                    for rank, diverged in zip(config.rank, cells, strict=True)
                    if diverged.any()
                ]
                parts.append(f"`{setting}` {', '.join(ranks) or 'none'}")
        if not parts:
            return ""
        return f" Ranks that diverged at any level here: {'; '.join(parts)}."
