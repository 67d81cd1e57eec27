"""Trajectories of each method on games that turn, descend, or do both."""

import matplotlib.figure
import numpy as np
import pandas as pd

from zoo.apps.games.common import GameStudy
from zoo.apps.games.small import (
    FAR,
    METHODS,
    Method,
    chosen,
    declare,
    ended,
    paths,
    steps_within,
)
from zoo.games import QuadraticGame, bilinear_game
from zoo.optimizers import OptimisticAdam, OptimisticSGD
from zoo.study import Section, new_figure

# Both players' one weight each, so that paths can be drawn.
GAMES = {
    "bilinear": bilinear_game([[1.0]]),
    "potential": QuadraticGame([[0.5, 0.4], [0.4, 1.0]], [1, 1]),
    "mixed": QuadraticGame([[0.2, 1.0], [-1.0, 0.1]], [1, 1]),
    "unstable": QuadraticGame([[-0.1, 1.0], [-1.0, -0.1]], [1, 1]),
}
START, RATE, ADAM_RATE = np.array([1.0, 2.0]), 0.1, 0.01
# On x y: optimistic descent up to and past its limit, 1 / sqrt(3); Adam's optimism.
LIMITS = {
    "optimistic 0.5": (Method(OptimisticSGD), 0.5),
    "optimistic 0.57": (Method(OptimisticSGD), 0.57),
    "optimistic 0.6": (Method(OptimisticSGD), 0.6),
    "optimistic_adam optimism 1": (
        Method(lambda rate: OptimisticAdam(rate, beta_1=0.5)),
        ADAM_RATE,
    ),
    "optimistic_adam optimism 10": (
        Method(lambda rate: OptimisticAdam(rate, beta_1=0.5, optimism=10.0)),
        ADAM_RATE,
    ),
}


class Dynamics(GameStudy):
    """Plays two-dimensional games and draws where each method goes."""

    experiment = "dynamics"
    title = "Games: where each method goes"
    objective = ("distance", "min")
    presets = {
        "quick": {
            "method": [*METHODS],
            "game": [*GAMES, "limits"],
            "steps": 80,
        },
    }
    presets["cpu"] = {**presets["quick"], "steps": 4096}
    presets["paper"] = presets["cpu"]

    def prepare(self, config):
        self.check_choices(config, "method", METHODS)
        self.check_choices(config, "game", [*GAMES, "limits"])
        self.plays = {
            f"{game} {method}": (GAMES[game], METHODS[method], self.rate(method))
            for game in config.game
            if game in GAMES
            for method in config.method
        }
        if "limits" in config.game:
            self.plays |= {
                f"limits {name}": (GAMES["bilinear"], method, rate)
                for name, (method, rate) in LIMITS.items()
            }

    def rate(self, method):
        # Adam's steps are of the rate's own length.
        return ADAM_RATE if "adam" in method else RATE

    def grid(self, hp, config):
        hp.Choice("play", list(self.plays))

    def space(self, hp, config):
        super().space(hp, config)
        game = config.game[0]
        plays = [play for play in self.plays if play.split()[0] == game]
        hp.Choice("play", plays)
        # In parts of the method's own: Adam's steps are of the rate's own length.
        hp.Float("rate_factor", 0.1, 10.0, sampling="log")
        declare(hp, "play", plays)

    def seconds(self, values, config):
        return 0.6 + 1.5e-3 * config.steps

    def run(self, hp, config, logdir):
        game, method, rate = self.plays[hp.get("play")]
        rate *= hp.values.get("rate_factor", 1.0)
        path = paths(game, START, chosen(method, hp), rate, config.steps)
        distances = np.linalg.norm(path, axis=1)
        return {
            "distance": ended(distances),
            "steps_to_1e-6": steps_within(distances),
            "x_curve": path[:, 0],
            "y_curve": path[:, 1],
        }

    def sections(self, results, config):
        games = [game for game in config.game if game in GAMES]
        sections = [self._table(results, config, games)]
        sections += [self._paths(results, config, games)]
        sections += [self._distances(results, config, game) for game in games]
        if "limits" in config.game:
            sections += self._limits(results)
        return sections

    def _row(self, results, play):
        rows = results.select(play=play)
        return rows.iloc[0] if len(rows) else None

    def _table(self, results, config, games):
        table = []
        for method in config.method:
            cells = {"method": method}
            for game in games:
                row = self._row(results, f"{game} {method}")
                cells[game] = "-" if row is None else said(row)
            table.append(cells)
        text = (
            f"From (1, 2), learning rate {RATE} ({ADAM_RATE} for Adam): steps until "
            "the distance to the equilibrium stays within 1e-6, or the distance after "
            f"{config.steps} steps. `bilinear` is the Hamiltonian game x y; "
            "`potential` has a symmetric Hessian; `mixed` turns and descends; the "
            "equilibrium of `unstable` is no Nash equilibrium, and a method that finds "
            "it has been led astray."
        )
        hessians = "\n".join(
            f"* `{game}`: Hessian {GAMES[game].hessian.tolist()}, symmetric part "
            f"{GAMES[game].symmetric.tolist()}, antisymmetric part "
            f"{GAMES[game].antisymmetric.tolist()}"
            for game in games
        )
        return Section(
            "Methods and games", f"{text}\n\n{hessians}", pd.DataFrame(table)
        )

    def _paths(self, results, config, games):
        figure = matplotlib.figure.Figure(
            figsize=(3.4 * max(len(games), 1), 4.3), dpi=110, layout="constrained"
        )
        axes = figure.subplots(1, max(len(games), 1), squeeze=False)[0]
        for ax, game in zip(axes, games, strict=False):
            for method in config.method:
                row = self._row(results, f"{game} {method}")
                if row is not None:
                    curves = results.curves(row["run"])
                    style = METHODS[method].style
                    x, y = (curves[f"{axis}_curve"][:400] for axis in "xy")
                    ax.plot(x, y, style, linewidth=1, label=method)
            ax.plot(*START, "ko", markersize=4)
            ax.plot(0, 0, "k+")
            ax.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", title=game)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8)
        text = "The first 400 steps; the dot is the start, the cross the equilibrium."
        return Section("Trajectories", text, None, figure, "trajectories")

    def _distances(self, results, config, game):
        title = f"Distance to the equilibrium: {game}"
        figure, ax = new_figure(title, "steps", "distance", yscale="log")
        for method in config.method:
            row = self._row(results, f"{game} {method}")
            if row is not None:
                self._distance(ax, results, row, method, METHODS[method].style)
        ax.set_ylim(1e-9, 1e3)
        ax.legend(fontsize=7)
        return Section(title, "", None, figure, f"distance_{game}")

    def _distance(self, ax, results, row, label, style):
        curves = results.curves(row["run"])
        distances = np.hypot(curves["x_curve"], curves["y_curve"])
        ax.plot(np.maximum(distances, 1e-12), style, label=label, linewidth=1)

    def _limits(self, results):
        title = "Limits of optimism on x y"
        figure, ax = new_figure(title, "steps", "distance", yscale="log")
        table = []
        for name in LIMITS:
            row = self._row(results, f"limits {name}")
            if row is not None:
                self._distance(ax, results, row, name, "-")
                table.append({"method": name, "outcome": said(row)})
        ax.set_ylim(1e-9, 1e3)
        ax.legend(fontsize=7)
        text = (
            "Optimistic descent converges up to a rate of 1 / sqrt(3) = 0.577. "
            "Optimistic Adam with beta_1 = 0.5 and rate 0.01 turns around the "
            "equilibrium; looking further ahead makes it converge."
        )
        return [Section(title, text, pd.DataFrame(table), figure, "limits")]


def said(row):
    """A play's outcome in words."""
    if row["steps_to_1e-6"] >= 0:
        return f"{int(row['steps_to_1e-6'])} steps"
    if row["distance"] >= FAR:
        return "diverges"
    return f"at {row['distance']:.2g}"
