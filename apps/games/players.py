"""Games of more than two players: how many steps each method needs."""

import numpy as np
import pandas as pd

from zoo.apps.games.common import GameStudy
from zoo.apps.games.small import (
    METHODS,
    chosen,
    declare,
    ended,
    paths_of_rates,
    steps_within,
)
from zoo.games import random_quadratic_game
from zoo.study import Section, format_mean, new_figure

ROTATIONS = {"potential": 0.0, "mixed": 0.5, "mostly_turning": 0.9, "hamiltonian": 1.0}
RATES = (0.1, 0.3, 0.5, 0.9)


class Players(GameStudy):
    """Plays random quadratic games of n players, each method at its best rate."""

    experiment = "players"
    title = "Games of n players"
    objective = ("distance", "min")
    presets = {
        "quick": {
            "method": ["descent", "optimistic", "sga"],
            "game": ["potential", "hamiltonian"],
            "players": ["3"],
            "steps": 80,
            "runs": 1,
        },
    }
    presets["cpu"] = {
        "method": ["descent", "optimistic", "extragradient", "consensus", "sga"],
        "game": list(ROTATIONS),
        "players": ["2", "4", "10"],
        "steps": 600,
        "runs": 2,
    }
    presets["paper"] = {
        **presets["cpu"],
        "players": ["2", "3", "4", "6", "10"],
        "steps": 5000,
        "runs": 5,
    }

    def prepare(self, config):
        self.check_choices(config, "method", METHODS)
        self.check_choices(config, "game", ROTATIONS)
        self.check_numbers(config, "players", 2, 1000, int)

    def grid(self, hp, config):
        hp.Choice("game", config.game)
        hp.Choice("players", config.players)
        hp.Choice("method", config.method)
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        hp.Fixed("game", config.game[0])
        hp.Fixed("players", config.players[0])
        hp.Choice("method", config.method)
        hp.Float("rate", 0.01, 1.0, sampling="log")
        declare(hp, "method", config.method)

    def seconds(self, values, config):
        return 0.5 + len(RATES) * (1e-3 + 1e-4 * values["players"]) * config.steps

    def run(self, hp, config, logdir):
        count, seed = hp.get("players"), hp.values.get("seed", config.seed)
        game = random_quadratic_game([2] * count, ROTATIONS[hp.get("game")], seed)
        start = np.random.default_rng(seed).normal(size=2 * count)
        start /= np.linalg.norm(start)
        best = None
        method = chosen(METHODS[hp.get("method")], hp)
        rates = (hp.get("rate"),) if "rate" in hp.values else RATES
        played = paths_of_rates(game, start, method, rates, config.steps)
        for rate, path in zip(rates, played, strict=True):
            distances = np.linalg.norm(path, axis=1)
            steps = steps_within(distances)
            # Fewest steps first; else whoever has come nearest.
            rank = (steps < 0, steps, ended(distances))
            if best is None or rank < best[0]:
                best = rank, rate, distances
        _, rate, distances = best
        return {
            "distance": ended(distances),
            "steps_to_1e-6": steps_within(distances),
            "rate": rate,
            "distance_curve": distances,
        }

    def sections(self, results, config):
        return [
            self._table(results, config),
            *(self._figure(results, config, game) for game in config.game),
        ]

    def _table(self, results, config):
        rows = []
        for game in config.game:
            for method in config.method:
                cells = {"game": game, "method": method}
                for count in config.players:
                    runs = results.select(game=game, players=count, method=method)
                    steps = runs["steps_to_1e-6"][runs["steps_to_1e-6"] >= 0]
                    reached = "" if len(steps) == len(runs) else f" ({len(steps)})"
                    cells[f"{count} players"] = (
                        format_mean(steps, digits=0) + reached if len(runs) else "-"
                    )
                rows.append(cells)
        text = (
            "Steps until the distance to the equilibrium stays within 1e-6, mean ± "
            f"standard deviation over {config.runs} random games of 2 weights a "
            f"player, at the best of the rates {', '.join(map(str, RATES))}; in "
            "brackets, of how many games, where not of all, within "
            f"{config.steps} steps. S and A "
            "have largest singular values of 1 - rotation and rotation; the rotations "
            "are "
            + ", ".join(f"{name} {value}" for name, value in ROTATIONS.items())
            + "."
        )
        return Section("Steps to the equilibrium", text, pd.DataFrame(rows))

    def _figure(self, results, config, game):
        count = max(config.players)
        title = f"{count} players: {game}"
        figure, ax = new_figure(title, "steps", "distance", yscale="log")
        for method in config.method:
            runs = results.select(game=game, players=count, method=method)
            if len(runs):
                curve = results.curves(runs.iloc[0]["run"])["distance_curve"]
                style = METHODS[method].style
                ax.plot(np.maximum(curve, 1e-12), style, label=method)
        ax.set_ylim(1e-9, 1e2)
        ax.legend()
        return Section(title, "The first seed's game.", None, figure, f"players_{game}")
