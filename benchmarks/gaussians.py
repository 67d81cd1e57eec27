"""The sections on 16 Gaussians and on x y of `benchmarks/games.py`."""

import statistics
import tempfile
import types

import keras
import numpy as np
from timing import print_table, verdicts

from zoo.apps.games.dynamics import GAMES, LIMITS, START
from zoo.apps.games.settings import TUNED
from zoo.apps.games.small import paths, steps_within
from zoo.apps.games.training import train
from zoo.data import gaussian_grid

# Seeds that no search has seen.
SEEDS = range(1000, 1005)
# Iterations, the most that the median hit may take, and CPU seconds a run.
BOUNDS = {
    "adam": (2500, 2500, 12),
    "optimistic_adam": (2500, 2500, 12),
    "rmsprop": (2500, 2500, 12),
    "optimistic_rmsprop": (2500, 2500, 12),
    "sga": (4000, 4000, None),
    "extra_adam": (4000, 4000, None),
    "optimistic_gd": (8000, 8000, None),
    "gd": (8000, 8000, None),
}


def gaussians(quick):
    """All modes and 80 % of high quality: when first, and still at the end."""
    mixture = gaussian_grid()
    config = types.SimpleNamespace(
        per_mode=16, check_every=250, jit="off", strategy="none"
    )
    seeds = SEEDS[:1] if quick else SEEDS
    least = len(seeds) if quick else len(seeds) - 1
    rows, good = [], True
    for method, (iterations, latest, cpu) in BOUNDS.items():
        runs = []
        for seed in seeds:
            with tempfile.TemporaryDirectory() as logdir:
                runs.append(
                    train(
                        TUNED[method],
                        mixture,
                        config,
                        seed=seed,
                        logdir=logdir,
                        iterations=iterations,
                    )
                )
        hits = [run["hit"] if run["hit"] > 0 else np.inf for run in runs]
        median = statistics.median(hits)
        seconds = statistics.median(run["cpu_seconds"] for run in runs)
        kept = sum(run["good_at_end"] for run in runs)
        checks = {
            f"median hit <= {latest}": median <= latest,
            f"hits >= {least}": sum(np.isfinite(hits)) >= least,
            f"good at the end >= {least}": kept >= least,
        }
        if cpu:
            checks[f"CPU <= {cpu} s"] = seconds <= cpu
        rows.append(
            [
                method,
                iterations,
                " ".join(f"{hit:.0f}" for hit in hits),
                f"{min(run['modes'] for run in runs)}",
                " ".join(f"{100 * run['high_quality']:.0f}" for run in runs),
                f"{statistics.median(run['kl'] for run in runs):.4f}",
                f"{seconds:.1f}",
                verdicts(checks),
            ]
        )
        print(f"{method}: {rows[-1][2]}", flush=True)
        good &= all(checks.values())
    print()
    columns = ["method", "iterations", "hits", "modes, least", "high quality, %"]
    print_table([*columns, "KL, median", "CPU s", "bounds"], rows)
    return bool(good)


def bilinear(quick):
    """x y from (1, 2): where optimistic descent and optimistic Adam converge."""
    steps = 4096
    outcomes, rows, good = {}, [], True
    for name, (method, rate) in LIMITS.items():
        path = paths(GAMES["bilinear"], START, method, rate, steps)
        distances = np.linalg.norm(path, axis=1)
        outcomes[name] = steps_within(distances), distances[-1]
    bounds = {
        "optimistic 0.5": {"<= 53 steps": lambda n, _: 0 <= n <= 53},
        "optimistic 0.57": {"converges": lambda n, _: n >= 0},
        "optimistic 0.6": {"diverges": lambda _, d: d >= 1e6},
        "optimistic_adam optimism 1": {"does not converge": lambda _, d: d > 1},
        "optimistic_adam optimism 10": {"< 1e-12": lambda _, d: d < 1e-12},
    }
    for name, checks in bounds.items():
        count, distance = outcomes[name]
        held = {text: bool(check(*outcomes[name])) for text, check in checks.items()}
        rows.append([name, count, f"{distance:.1e}", verdicts(held)])
        good &= all(held.values())
    print_table(["method", "steps to 1e-6", f"distance at {steps}", "bound"], rows)
    keras.backend.clear_session()
    return good
