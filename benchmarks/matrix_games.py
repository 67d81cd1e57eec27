"""The section on matrix games of `benchmarks/games.py`."""

import functools
import statistics
import time

import numpy as np
from timing import print_table, verdicts

from zoo.games.matrix import random_matrix_game
from zoo.solvers import (
    mirror_descent,
    predictive_regret_matching_plus,
    regret_matching_plus,
    restarted_halpern,
    restarted_optimistic_gradient,
)

SIZE, TOLERANCE, ITERATIONS = 50, 1e-6, 20_000
BEST = "restarted Halpern"
SOLVERS = {
    "mirror descent, eta 0.1": mirror_descent,
    "optimistic mirror descent, eta 0.5": functools.partial(
        mirror_descent, learning_rate=0.5, optimism=1.0
    ),
    "regret matching+": regret_matching_plus,
    "predictive regret matching+": predictive_regret_matching_plus,
    "restarted optimistic gradient": restarted_optimistic_gradient,
    BEST: restarted_halpern,
}


def timed(function, *arguments):
    start = time.process_time()
    result = function(*arguments)
    return result, time.process_time() - start


def races(quick):
    """Iterations and CPU time to a small gap, over seeds and kinds of payoffs."""
    rows, good = [], True
    seeds = range(3 if quick else 10)
    for distribution in ("uniform", "normal"):
        games = [random_matrix_game(SIZE, SIZE, s, distribution) for s in seeds]
        for name, solver in SOLVERS.items():
            runs = [
                timed(solver, game.payoffs[0], ITERATIONS, TOLERANCE) for game in games
            ]
            seconds = [cpu for _, cpu in runs]
            reached = sum(run.converged for run, _ in runs)
            # A run that ends without is longer than all that get there.
            needed = [run.iterations if run.converged else np.inf for run, _ in runs]
            median, most = statistics.median(needed), max(needed)
            checks = {}
            if name == BEST:
                checks = {
                    "all reached": reached == len(games),
                    "median <= 1000": median <= 1000,
                    "max <= 4000": most <= 4000,
                    "CPU <= 0.2 s": max(seconds) <= 0.2,
                }
            cells = f"{statistics.median(seconds):.3f}", f"{max(seconds):.3f}"
            counts = f"{reached} of {len(games)}", f"{median:.0f}", f"{most:.0f}"
            rows.append([distribution, name, *counts, *cells, verdicts(checks)])
            good &= all(checks.values())
        seconds = [timed(game.nash)[1] for game in games]
        cells = f"{statistics.median(seconds):.3f}", f"{max(seconds):.3f}"
        rows.append([distribution, "linear programme", "", "", "", *cells, ""])
    print(
        f"Random {SIZE} x {SIZE} games, seeds {seeds[0]} to {seeds[-1]}, to a duality "
        f"gap of {TOLERANCE:g} within {ITERATIONS} iterations (`inf`: not).\n"
    )
    columns = ["payoffs", "method", "reached", "median iterations", "max iterations"]
    print_table([*columns, "median CPU s", "max CPU s", "bounds"], rows)
    return good


def curves():
    """Gaps of the last strategies and of the average along the way, seed 0."""
    rows, marks = [], (100, 1000, 10_000)
    for distribution in ("uniform", "normal"):
        game = random_matrix_game(SIZE, SIZE, 0, distribution)
        for name, solver in SOLVERS.items():
            run = solver(game.payoffs[0], marks[-1], tolerance=-1.0)
            at = np.searchsorted(run.checks, marks)
            pairs = zip(run.gaps[at], run.average_gaps[at], strict=True)
            cells = (f"{last:.1e} / {average:.1e}" for last, average in pairs)
            rows.append([distribution, name, *cells])
    print("\nGap of the last strategies / of the average after so many, seed 0.\n")
    print_table(["payoffs", "method", *map(str, marks)], rows)


def laws(quick):
    """Mirror descent: `gap ~ c / (eta T)` for the average, none for the last."""
    rows, good = [], True
    iterations = 10_000 if quick else 30_000
    payoff = random_matrix_game(SIZE, SIZE, 0).payoffs[0]
    for name, options in {
        "simultaneous": {"learning_rate": 0.1},
        "alternating": {"learning_rate": 0.1, "alternating": True},
        "optimistic": {"learning_rate": 0.5, "optimism": 1.0},
    }.items():
        run = mirror_descent(payoff, iterations, tolerance=0.0, **options)
        late = run.checks >= 300
        logs = np.log(run.checks[late]), np.log(run.average_gaps[late])
        # Evenly over orders of magnitude, as checks are not.
        slope, _ = np.polyfit(*logs, 1, w=run.checks[late] ** -0.5)
        constant = run.average_gaps[-1] * options["learning_rate"] * iterations
        early = np.median(run.gaps[(run.checks >= 300) & (run.checks <= 1000)])
        end = np.median(run.gaps[run.checks > 0.9 * iterations])
        checks = {}
        if name == "simultaneous":
            checks["last does not shrink"] = end >= early
        else:
            checks["slope -1 +- 0.1"] = abs(slope + 1) <= 0.1
        numbers = f"{slope:.2f}", f"{constant:.2f}", f"{early:.2g}", f"{end:.2g}"
        rows.append([name, options["learning_rate"], *numbers, verdicts(checks)])
        good &= all(checks.values())
    print(
        f"\nMirror descent for {iterations} iterations, uniform payoffs, seed 0: slope "
        "of log gap over log T for the average from 300 on, c = gap eta T at the end, "
        "and the last strategies' median gap, early (300 to 1000) and in the last "
        "tenth.\n"
    )
    columns = ["order", "eta", "slope", "c", "early gap", "late gap", "bounds"]
    print_table(columns, rows)
    return good


def matrix_games(quick):
    """Zero-sum matrix games: the race to a small gap, and mirror descent's laws."""
    good = races(quick)
    curves()
    return bool(good & laws(quick))
