"""Holds what D-AMP, LDAMP, GANCS and the projector promise: quality, time, theory.

Ends with exit code 1 if a bound is broken.

    python benchmarks/deep_unrolling.py [--only=SECTION,...] [--quick]
"""

import functools
import sys
import warnings

import keras
import numpy as np
from timing import print_table, run_sections, verdicts

from zoo.apps.deep_unrolling.common import timed
from zoo.apps.deep_unrolling.compressive import METHODS, recover
from zoo.apps.plug_and_play.projector import (
    bounded_projector,
    consistent,
    patches,
    solve,
)
from zoo.apps.plug_and_play.restorations import RESTORATIONS
from zoo.data import average_pool, load_natural_images
from zoo.layers.operators import GaussianMatrix
from zoo.metrics import psnr, snr
from zoo.models import gancs
from zoo.models.gancs.networks import operator_of

SIDE, QUICK_SIDE, RATES, RATE = 128, 64, (0.05, 0.1, 0.15, 0.2, 0.25), 0.25
ITERATIONS = DEPTH = 10
NLM_GAIN, FASTER, ONSAGER_GAIN, GAP = 1.5, 10, 2.0, 0.5
GANCS_GAIN, MILLISECONDS, KINDS = 4.0, 20.0, 4


@functools.cache
def found(name, rate, side):
    """Returns what a method makes of the test photographs, computed once."""
    truth = photographs(side)
    operator = GaussianMatrix(truth.shape[1:], round(rate * side**2))
    y = np.asarray(operator(truth))
    return recover(METHODS[name], operator, y, truth, ITERATIONS, DEPTH)


@functools.cache
def photographs(side):
    images = np.stack(list(load_natural_images("test").values()))
    return average_pool(images, side).astype("float32")


def damp(quick):
    """D-AMP with each denoiser, at a quarter of the measurements."""
    side = QUICK_SIDE if quick else SIDE
    runs = {name: found(name, RATE, side) for name in ("tv", "wavelet", "nlm", "bm3d")}
    gain = {
        "nlm": (f">= TV + {NLM_GAIN:g}", runs["tv"]["psnr"] + NLM_GAIN),
        "bm3d": (">= NLM", runs["nlm"]["psnr"]),
    }
    rows, good = [], True
    for name, run in runs.items():
        check = {}
        if name in gain:
            words, least = gain[name]
            check = {words: run["psnr"] >= least}
        rows.append([*cells(name, run), verdicts(check)])
        good &= all(check.values())
    print_table([*COLUMNS, "bound"], rows)
    return good


def ldamp(quick):
    """LDAMP beside D-AMP at each rate: quality beside TV, time beside BM3D."""
    side = QUICK_SIDE if quick else SIDE
    rows, good = [], True
    for rate in RATES[-1:] if quick else RATES:
        learned, tv, rival = (
            found(name, rate, side) for name in ("ldamp", "tv", "bm3d")
        )
        ratio = rival["seconds_an_image"] / learned["seconds_an_image"]
        check = {
            ">= TV": learned["psnr"] >= tv["psnr"],
            f"1/{FASTER} of BM3D's time": ratio >= FASTER,
        }
        scores = [f"{run['psnr']:.2f}" for run in (tv, rival, learned)]
        rows.append([f"{100 * rate:g} %", *scores, f"{ratio:.0f}", verdicts(check)])
        good &= all(check.values())
    columns = ["rate", "TV, dB", "BM3D, dB", "LDAMP, dB", "times as fast as BM3D"]
    print_table([*columns, "bounds"], rows)
    return good


def onsager(quick):
    """What Onsager's term is worth in a network."""
    side = QUICK_SIDE if quick else SIDE
    runs = {name: found(name, RATE, side) for name in ("ldit", "ldamp")}
    gain = runs["ldamp"]["psnr"] - runs["ldit"]["psnr"]
    check = {f">= {ONSAGER_GAIN:g} dB": gain >= ONSAGER_GAIN}
    print_table(COLUMNS, [cells(name, run) for name, run in runs.items()])
    print(f"\nOnsager's term: {gain:.2f} dB, {verdicts(check)}")
    return all(check.values())


def evolution(quick):
    """State evolution beside what happens, at a quarter of the measurements."""
    side = QUICK_SIDE if quick else SIDE
    rows, good = [], True
    for name in ("tv", "wavelet", "nlm", "bm3d", "ldamp"):
        run = found(name, RATE, side)
        check = {f"<= {GAP:g} dB": run["evolution_gap"] <= GAP}
        rows.append([name, f"{run['evolution_gap']:.2f}", verdicts(check)])
        good &= all(check.values())
    print_table(["denoiser", "largest gap, dB", "bound"], rows)
    return good


def projector(quick):
    """One projector beside wavelets, on each task."""
    truth = patches(load_natural_images("test"), 16 if quick else 128, 0)
    iterations, network = 100 if quick else 300, bounded_projector()
    rows, above = [], {}
    for task in RESTORATIONS.values():
        operator = task.operator(truth.shape[1:], 0)
        y, scores = task.measure(operator, truth, 0), []
        for one in (None, network):
            with warnings.catch_warnings():
                # Of those that did not stand still within their iterations.
                warnings.simplefilter("ignore", UserWarning)
                found = solve(task, one, operator, y, truth, iterations).x
            scores.append(psnr(consistent(task, operator, found, y), truth).mean())
        above[task.kind] = above.get(task.kind, True) and scores[1] > scores[0]
        rows.append([task.title, *(f"{score:.2f}" for score in scores)])
    print_table(["task", "wavelets, dB", "projector, dB"], rows)
    won = sum(above.values())
    check = {f">= {KINDS} of {len(above)} kinds": won >= KINDS}
    print(f"\nThe projector is above the wavelets on {won}: {verdicts(check)}")
    return all(check.values())


def undersampling(quick):
    """GANCS beside zero-filling, and its time."""
    truth, rows, good = photographs(SIDE), [], True
    for acceleration in (4,) if quick else (2, 4, 6, 8):
        network = gancs.pretrained(acceleration)
        operator = operator_of(network)
        y = np.asarray(operator(truth))
        filled = snr(np.asarray(operator.adjoint(y)), truth).mean()
        run = functools.partial(network.predict_on_batch, y[:1])
        run()
        spent = 1000 * np.median([timed(run, 1)[1] for _ in range(5 if quick else 20)])
        score = snr(network.predict_on_batch(y), truth).mean()
        check = {f"<= {MILLISECONDS:g} ms": spent <= MILLISECONDS}
        if acceleration == 4:
            check[f">= zero-filling + {GANCS_GAIN:g}"] = score >= filled + GANCS_GAIN
        scores = [f"{filled:.2f}", f"{score:.2f}", f"{spent:.1f}"]
        rows.append([acceleration, *scores, verdicts(check)])
        good &= all(check.values())
    columns = ["R", "zero-filling, dB", "GANCS, dB", "ms an image", "bounds"]
    print_table(columns, rows)
    return good


COLUMNS = ["method", "PSNR, dB", "off state evolution, dB", "seconds an image"]


def cells(name, run):
    """Returns a row of `COLUMNS`."""
    numbers = (run["psnr"], run["evolution_gap"], run["seconds_an_image"])
    return [name, *(f"{number:.2f}" for number in numbers)]


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    parts = (damp, ldamp, onsager, evolution, undersampling, projector)
    sys.exit(run_sections(__doc__, {part.__name__: part for part in parts}))
