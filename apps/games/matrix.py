"""Matrix games: the gap of the last and of the average strategies, by method."""

import numpy as np
import pandas as pd

from zoo.apps.games.common import GameStudy
from zoo.games import (
    GameTrainer,
    matching_pennies,
    odds_and_evens,
    play,
    random_matrix_game,
    rock_paper_scissors,
)
from zoo.optimizers import Extragradient, MirrorDescent, OptimisticMirrorDescent
from zoo.solvers import (
    predictive_regret_matching_plus,
    regret_matching_plus,
    restarted_halpern,
    restarted_optimistic_gradient,
)
from zoo.study import Section, new_figure
from zoo.study.tuning import tunable

# The rates that suit optimistic mirror descent; one for all of a game's players.
GAMES = {
    "matching_pennies": (lambda actions, seed: matching_pennies(), 0.5),
    "rock_paper_scissors": (lambda actions, seed: rock_paper_scissors(), 0.7),
    "odds_and_evens": (lambda actions, seed: odds_and_evens(), 0.1),
    "random": (lambda n, seed: random_matrix_game(n, n, seed=seed), 0.5),
}
# Keras optimizers, adjustments and orders, played by `GameTrainer`.
TRAINED = {
    "mirror_descent": (MirrorDescent, lambda: None, "simultaneous"),
    "alternating_mirror_descent": (MirrorDescent, lambda: None, "alternating"),
    "mirror_prox": (MirrorDescent, Extragradient, "simultaneous"),
    "optimistic_mirror_descent": (
        OptimisticMirrorDescent,
        lambda: None,
        "simultaneous",
    ),
}
SOLVERS = {
    "regret_matching_plus": regret_matching_plus,
    "predictive_regret_matching_plus": predictive_regret_matching_plus,
    "restarted_optimistic_gradient": restarted_optimistic_gradient,
    "restarted_halpern": restarted_halpern,
}
TOLERANCE = 1e-6


class Matrix(GameStudy):
    """Plays matrix games by mirror descent and by what solves them fastest."""

    experiment = "matrix"
    title = "Games: mixed strategies"
    objective = ("gap", "min")
    presets = {
        "quick": {
            "method": [*TRAINED, *SOLVERS],
            "game": [*GAMES],
            "actions": 10,
            "steps": 100,
            "runs": 1,
        },
    }
    presets["cpu"] = {**presets["quick"], "actions": 50, "steps": 5000, "runs": 3}
    presets["paper"] = {**presets["cpu"], "steps": 20_000, "runs": 10}

    def prepare(self, config):
        self.check_choices(config, "method", [*TRAINED, *SOLVERS])
        self.check_choices(config, "game", GAMES)

    def grid(self, hp, config):
        hp.Choice("game", config.game)
        hp.Choice("method", config.method)
        # The named games have no seed.
        with hp.conditional_scope("game", ["random"]):
            if "random" in config.game:
                self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        hp.Fixed("game", config.game[0])
        hp.Choice("method", tunable(config, "method", "rates", TRAINED))
        hp.Float("rate", 0.01, 10.0, sampling="log")

    def seconds(self, values, config):
        return 0.5 + (1.2e-3 if values["method"] in TRAINED else 3e-5) * config.steps

    def run(self, hp, config, logdir):
        make, rate = GAMES[hp.get("game")]
        rate = hp.values.get("rate", rate)
        seed = hp.values.get("seed", config.seed)
        game, method = make(config.actions, seed), hp.get("method")
        start = [np.arange(n, 0, -1.0) for n in game.num_actions]
        start = [one / one.sum() for one in start]
        if method in TRAINED:
            checks, last, average = trained(
                game, start, TRAINED[method], rate, config.steps
            )
        else:
            solution = SOLVERS[method](
                game.payoffs[0], config.steps, TOLERANCE, every=1, start=start
            )
            checks = solution.checks
            last, average = solution.gaps, solution.average_gaps
        return {
            "gap": float(last[-1]),
            "average_gap": float(average[-1]),
            "steps_to_gap": first(checks, last),
            "average_steps_to_gap": first(checks, average),
            "step_curve": checks,
            "gap_curve": last,
            "average_gap_curve": average,
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
                runs = results.select(game=game, method=method)
                if not len(runs):
                    continue
                rows.append(
                    {
                        "game": game,
                        "method": method,
                        "gap": format_small(runs["gap"]),
                        "steps to 1e-6": steps(runs["steps_to_gap"]),
                        "average's gap": format_small(runs["average_gap"]),
                        "average's steps": steps(runs["average_steps_to_gap"]),
                    }
                )
        text = (
            "The duality gap of the last strategies and of their average, after "
            f"{config.steps} steps or at a gap of {TOLERANCE:g}, where the solvers "
            "stop; the median over seeds. All start from strategies that fall evenly "
            f"from the first action to the last. `random` has {config.actions} actions "
            "a player and payoffs spread evenly over [-1, 1]. A step of mirror-prox "
            "takes two gradients. `restarted_...` average since the last restart; "
            "`restarted_halpern` since the start."
        )
        return Section("Gaps", text, pd.DataFrame(rows))

    def _figure(self, results, config, game):
        title = f"Duality gap: {game}"
        figure, ax = new_figure(title, "steps", "gap", xscale="log", yscale="log")
        for number, method in enumerate(config.method):
            runs = results.select(game=game, method=method)
            if len(runs):
                curves = results.curves(runs.iloc[0]["run"])
                x = np.maximum(curves["step_curve"], 1)
                for name, style in (("gap", "-"), ("average_gap", ":")):
                    y = np.maximum(curves[f"{name}_curve"], 1e-9)
                    label = method if name == "gap" else None
                    ax.plot(x, y, style, color=f"C{number}", label=label, linewidth=1.2)
        ax.axhline(TOLERANCE, color="black", linewidth=0.8, linestyle=":")
        ax.legend(fontsize=7)
        text = "Lines: the last strategies; dots: their average. The first seed's."
        return Section(title, text, None, figure, f"gap_{game}")


def trained(game, start, method, rate, steps):
    """Plays with Keras; returns the steps, and gaps of last and average strategies."""
    optimizer, adjustment, order = method
    trainer = GameTrainer(game.players(start), game)
    trainer.compile(optimizer(rate), adjustment(), order)
    x, y = play(trainer, steps).values()
    counts = np.arange(1, len(x) + 1)[:, None]
    average = [np.cumsum(strategies, axis=0) / counts for strategies in (x, y)]
    return np.arange(len(x)), gaps(game, x, y), gaps(game, *average)


def gaps(game, x, y):
    """Duality gaps of rows of strategies."""
    payoff = game.payoffs[0]
    return (y @ payoff.T).max(axis=1) - (x @ payoff).min(axis=1)


def first(checks, values):
    """The first check within the tolerance, -1 if there is none."""
    within = np.flatnonzero(np.asarray(values) <= TOLERANCE)
    return int(checks[within[0]]) if len(within) else -1


def steps(counts):
    """The median of counts, where all are there."""
    if (counts < 0).any():
        return f"{int((counts >= 0).sum())} of {len(counts)} seeds"
    return f"{np.median(counts):.0f}"


def format_small(values):
    return f"{np.median(values):.1e}"
