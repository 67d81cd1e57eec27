"""Holds what Plug-and-Play methods promise: quality, steadiness, and proofs.

Ends with exit code 1 if a bound is broken.

    python benchmarks/plug_and_play.py [--only=SECTION,...] [--quick]
"""

import functools
import sys

import keras
import numpy as np
from timing import print_table, run_sections, times, verdicts

from zoo.apps.plug_and_play.common import (
    geometric_mean,
    moving_factors,
    progress,
    suited,
)
from zoo.apps.plug_and_play.denoisers import DENOISERS
from zoo.apps.plug_and_play.tasks import TASKS
from zoo.data import average_pool, load_natural_images
from zoo.layers import lipschitz_report
from zoo.layers.operators import Blur
from zoo.metrics import psnr
from zoo.models.denoisers import evaluate, pretrained
from zoo.solvers.plug_and_play import contraction_factor, pnp_admm, pnp_drs, pnp_fbs

LEVEL = 25
FREE, BOUNDED = "simple_cnn", "simple_cnn_realsn"
WITHIN, MRI_GAIN, FASTER = 0.02, 1.0, 10
PAIRS = 1000


def denoisers(quick):
    """PSNR and time of each network at the level that it was trained for, and BM3D."""
    images = load_natural_images("test")
    names = ["unet_25", "unet_0-55", f"{FREE}_15", f"{BOUNDED}_15"]
    rows, good, rivals = [], True, {}
    for name in names:
        level = 15 if name.endswith("_15") else LEVEL
        network = pretrained(name)
        score = np.mean(list(evaluate(network, images, level / 255).values()))
        image = np.asarray(images["camera"])[None]
        given = (image, np.full(1, level / 255, "float32"))
        inputs = given if len(network.inputs) == 2 else image
        alone = functools.partial(network.predict_on_batch, inputs)
        spent = times({name: alone}, (), 3 if quick else 9)[name][0]
        checks = {}
        if level not in rivals:
            rivals[level] = bm3d(images, level, quick)
        rival = rivals[level]
        if rival and name == "unet_25":
            checks = {
                f">= {rival[0]:.2f} dB": score >= rival[0],
                f"1/{FASTER} of its time": spent <= rival[1] / FASTER,
            }
        rows.append([name, level, f"{score:.2f}", f"{spent:.0f}", verdicts(checks)])
        good &= all(checks.values())
    for level, rival in rivals.items():
        if rival:
            rows.append(["BM3D", level, f"{rival[0]:.2f}", f"{rival[1]:.0f}", ""])
    columns = ["denoiser", "noise", "PSNR, dB", "CPU ms", "bounds, of BM3D"]
    print_table(columns, rows)
    return good


def bm3d(images, level, quick):
    """Returns PSNR in dB and CPU milliseconds an image of BM3D, where installed."""
    try:
        import bm3d as package
    except ImportError:
        return None
    rng = np.random.default_rng(0)
    sigma, scores = level / 255, []
    for image in images.values():
        noisy = image + (sigma * rng.standard_normal(image.shape)).astype("float32")
        run = functools.partial(package.bm3d, noisy[..., 0], sigma)
        scores.append(float(psnr(run()[..., None], image)))
    spent = times({"bm3d": run}, (), 1 if quick else 3)["bm3d"][0]
    return np.mean(scores), spent


def steadiness(quick):
    """How far the last of many iterations is below the best, of each task."""
    truth = photographs(64 if quick else 128)
    settings = {"iterations": 100 if quick else 500, "tolerance": 0.0}
    rows, good = [], True
    for name in TASKS:
        cells = []
        for denoiser in (FREE, BOUNDED):
            result = recover(name, denoiser, truth, **settings)
            found = progress(result)
            curve = found["psnr_curve"]
            loss, worst = curve.max() - curve[-1], found["loss_of_best"]
            factor = geometric_mean(moving_factors(result))
            cells += [f"{loss:.3f}", f"{worst:.2f}", f"{factor:.3f}"]
        check = {f"<= {WITHIN}": loss <= WITHIN}
        rows.append([name, *cells, verdicts(check)])
        good &= all(check.values())
    print(
        "The last iterate below the best, dB: the mean PSNR, and the worst image's.\n"
    )
    columns = ["mean", "worst", "factor", "mean, with the norm", "worst", "factor"]
    print_table(["task", *columns, "bound"], rows)
    return good


def mri(quick):
    """ADMM with a learned denoiser beside ADMM with total variation."""
    truth = photographs(64 if quick else 256)
    rows, good = [], True
    for name in ("mri_random", "mri_radial", "mri_cartesian"):
        scores = {
            denoiser: progress(recover(name, denoiser, truth, iterations=count))["psnr"]
            for denoiser, count in (("tv", 100), ("unet", 50), (BOUNDED, 50))
        }
        gain = scores["unet"] - scores["tv"]
        check = {f"U-Net >= TV + {MRI_GAIN:g}": gain >= MRI_GAIN}
        rows.append([name, *(f"{one:.2f}" for one in scores.values()), verdicts(check)])
        good &= all(check.values())
    print_table(["mask", "TV", "U-Net", BOUNDED, "bound"], rows)
    return good


def recover(name, denoiser, truth, **settings):
    """Recovers images from a task's measurements by ADMM, as the study does."""
    task, entry = TASKS[name], DENOISERS[denoiser]
    operator = task.operator(truth.shape[1:], 0)
    y = task.measure(operator, truth, 0)
    step, sigma = suited(task, entry, operator, y, "admm", 1.0)
    settings = {"fidelity": task.fidelity, "truth": truth, **settings}
    return pnp_admm(y, operator, entry.make(task), step=step, sigma=sigma, **settings)


def proofs(quick):
    """The contraction of random pairs beside the factor that is proved."""
    side, pairs = 24, 100 if quick else PAIRS
    shape, rng = (side, side, 1), np.random.default_rng(0)
    line = np.array([1.0, 18.0, 1.0]) / 20
    operator = Blur(shape, np.outer(line, line), boundary="circular")
    mu, smoothness = operator.strong_convexity(), operator.operator_norm() ** 2
    rows, good = [], True
    net = DENOISERS[BOUNDED].make(None)
    eps = lipschitz_report(net).product
    for solver, method, step in (
        (pnp_drs, "drs", 20.0),
        (pnp_drs, "drs", 100.0),
        (pnp_fbs, "fbs", 2 / (mu + smoothness)),
    ):
        factor = contraction_factor(method, eps, mu, smoothness, step)
        z = rng.uniform(0, 1, (2, pairs, *shape)).astype("float32")
        # Far pairs and near ones.
        scale = 10 ** rng.uniform(-2, 0, (pairs, 1, 1, 1)).astype("float32")
        z[1] = z[0] + scale * (z[1] - z[0])
        y = np.zeros((pairs, *shape), "float32")
        after = [
            solver(
                y, operator, net, step=step, iterations=1, tolerance=0.0, start=one
            ).point
            for one in z
        ]
        moved = np.linalg.norm((after[1] - after[0]).reshape(pairs, -1), axis=1)
        apart = np.linalg.norm((z[1] - z[0]).reshape(pairs, -1), axis=1)
        worst = (moved / apart).max()
        check = {"<= factor": worst <= factor}
        status = "proved" if factor < 1 else "no contraction is proved"
        cells = [f"{value:.4f}" for value in (eps, factor, worst)]
        rows.append([method, f"{step:.3g}", *cells, status, verdicts(check)])
        good &= all(check.values())
    columns = ["method", "step", "eps", "factor", "largest seen"]
    print_table([*columns, "", "bound"], rows)
    return good


def photographs(side):
    images = np.stack(list(load_natural_images("test").values()))
    return average_pool(images, side).astype("float32")


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    parts = (denoisers, steadiness, mri, proofs)
    sys.exit(run_sections(__doc__, {part.__name__: part for part in parts}))
