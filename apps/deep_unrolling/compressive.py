"""Compressive sensing of images by D-AMP, LDAMP and LDIT."""

import dataclasses
import functools
import warnings
from collections.abc import Callable

import keras
import numpy as np
import pandas as pd
from scipy import stats

from zoo.apps.deep_unrolling.common import UnrollingStudy, timed
from zoo.apps.imaging import (
    bm3d,
    check_bm3d,
    non_local_means,
    similarities,
)
from zoo.layers.operators import GaussianMatrix, StructuredRandom
from zoo.metrics import psnr
from zoo.models.denoisers import pretrained
from zoo.models.ldamp import ldamp
from zoo.models.ldamp.pretrained import DENOISER
from zoo.solvers.damp import damp, state_evolution
from zoo.solvers.plug_and_play import TotalVariation, Wavelet
from zoo.study import Section, format_mean, new_figure

OPERATORS = {
    "gaussian": GaussianMatrix,
    **{
        kind: functools.partial(StructuredRandom, kind=kind)
        for kind in ("dct", "hadamard", "coded_diffraction")
    },
}
# Of the iteration whose error is drawn, and of the quantiles of it.
DRAWN, QUANTILES = 5, np.linspace(0.001, 0.999, 199)
# A matrix of more numbers than this fills 8 GB.
LARGEST_MATRIX = 2e9


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to recover images.

    Attributes:
        title: str.
        denoiser: function of a strength to a denoiser, one that takes noise for so many
            times what it is told, or so many times the weight of a prior.
        learned: whether it is a network of `--depth` layers, or D-AMP.
        onsager: whether with Onsager's term.
        style: dict, how its curves are drawn.
    """

    title: str
    denoiser: Callable
    learned: bool = False
    onsager: bool = True
    style: dict = dataclasses.field(default_factory=dict)


def _network(strength):
    network = pretrained(DENOISER)
    if strength == 1:
        return network
    image, level = network.inputs
    return keras.Model([image, level], network([image, strength * level]))


def _function(denoise):
    return lambda strength: lambda images, sigma: denoise(images, strength * sigma)


METHODS = {
    "tv": Method("D-AMP, TV", TotalVariation, style={"color": "tab:gray"}),
    "wavelet": Method(
        "D-AMP, wavelets",
        lambda strength: Wavelet(1.4 * strength, levels=3),
        style={"color": "tab:olive"},
    ),
    "nlm": Method(
        "D-AMP, NLM", _function(non_local_means), style={"color": "tab:brown"}
    ),
    "bm3d": Method("D-AMP, BM3D", _function(bm3d), style={"color": "tab:purple"}),
    "ldit": Method(
        "LDIT",
        _network,
        learned=True,
        onsager=False,
        style={"color": "tab:red", "linestyle": "--"},
    ),
    "ldamp": Method("LDAMP", _network, learned=True, style={"color": "tab:green"}),
}


def recover(method, operator, y, truth, iterations, depth, strength=1.0):
    """Recovers images by a `Method`, and measures all that is told of it.

    Args:
        method: a `Method`.
        operator: a `zoo.layers.operators.LinearOperator`.
        y: its measurements of `truth`.
        truth: images `[batch, height, width, 1]`.
        iterations: int, of D-AMP at most.
        depth: int, layers of a network.
        strength: float above 0, of the denoiser. Defaults to 1.

    Returns:
        Dict of scalars and arrays.
    """
    denoiser = method.denoiser(strength)
    if method.learned:
        network = ldamp(operator, denoiser, depth, onsager=method.onsager)
        found = by_network(network, y, truth)
    else:
        found = by_solver(operator, denoiser, y, truth, iterations)
    curve = found["psnr_curve"]
    foretold = state_evolution(operator, denoiser, truth, len(curve)).psnr.mean(axis=0)
    x, error = found.pop("x"), np.ravel(found.pop("error"))
    scores = psnr(x, truth)
    return {
        **found,
        "psnr": float(scores.mean()),
        "ssim": float(similarities(x, truth).mean()),
        "error_over_sigma": float(np.sqrt(np.mean(error**2))),
        "evolution_gap": float(np.abs(curve - foretold).max()),
        "psnrs": scores,
        "foretold_curve": foretold,
        "error_quantiles": np.quantile(error, QUANTILES),
        "estimate": x[0],
    }


def by_solver(operator, denoiser, y, truth, iterations):
    """Runs D-AMP: images, and what it did, of the first image in iteration `DRAWN`."""
    solve = functools.partial(
        damp, y, operator, denoiser, truth=truth, keep_pseudo_data=True
    )
    with warnings.catch_warnings():
        # The table says what diverged.
        warnings.simplefilter("ignore", UserWarning)
        # Compiles what there is to compile.
        solve(iterations=1)
        result, seconds = timed(lambda: solve(iterations=iterations), len(y))
    drawn = min(DRAWN, result.iterations[0]) - 1
    error = result.pseudo_data[0, drawn] - truth[0]
    return {
        "x": result.x,
        "seconds_an_image": seconds,
        "diverged": float(np.mean(result.stop_reason == "diverged")),
        # What has stopped keeps its last.
        "psnr_curve": pd.DataFrame(result.psnr.T).ffill().mean(axis=1).to_numpy(),
        "error": error / result.sigma[0, drawn],
    }


def by_network(network, y, truth):
    """Runs LDAMP or LDIT, and returns what `by_solver` does."""
    network.predict_all(y)
    estimates, seconds = timed(lambda: network.predict_all(y), len(y))
    state = None
    for block in network.blocks[:DRAWN]:
        _, noisy, sigma = block.pseudo_data(y[:1], state)
        state = block(y[:1], state)
    return {
        "x": estimates[-1],
        "seconds_an_image": seconds,
        "diverged": float(np.mean(~np.isfinite(estimates[-1]).all(axis=(1, 2, 3)))),
        "psnr_curve": np.array([psnr(one, truth).mean() for one in estimates]),
        "error": (np.asarray(noisy) - truth[:1]) / float(sigma[0]),
    }


class Compressive(UnrollingStudy):
    """Tables of PSNR and time by rate, the error's distribution, state evolution."""

    experiment = "compressive"
    compared = "rate"
    title = "Deep unrolling: compressive sensing of images"
    presets = {
        "quick": {
            "method": ["tv", "nlm", "ldit", "ldamp"],
            "rate": ["0.1", "0.25"],
            "operator": "gaussian",
            "images": ["camera", "china"],
            "image_size": 64,
            "iterations": 10,
            "depth": 10,
            "runs": 1,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "method": list(METHODS),
        "rate": ["0.05", "0.1", "0.15", "0.2", "0.25"],
        "images": ["camera", "ascent", "china", "moon"],
        "image_size": 128,
    }
    presets["paper"] = {
        **presets["cpu"],
        "operator": "coded_diffraction",
        "image_size": 0,
        "iterations": 30,
        "runs": 3,
    }

    def prepare(self, config):
        self.check_numbers(config, "rate", 0.01, 1.0)
        if config.operator not in OPERATORS:
            known = ", ".join(OPERATORS)
            raise ValueError(f"--operator={config.operator} must be one of {known}")
        self.check_common(config, METHODS)
        check_bm3d(config.method)
        pixels = self.truth[0].size
        if config.operator == "hadamard" and pixels & (pixels - 1):
            raise ValueError(
                "--operator=hadamard needs a power of two of pixels. "
                f"--image_size={config.image_size} has {pixels}"
            )
        entries = max(config.rate) * pixels**2
        if config.operator == "gaussian" and entries > LARGEST_MATRIX:
            raise ValueError(
                f"--operator=gaussian needs a matrix of {entries:.2g} numbers: take "
                "another, or a smaller --image_size"
            )
        self.problems = {}

    def grid(self, hp, config):
        hp.Choice("method", config.method)
        hp.Choice("rate", config.rate)
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        hp.Choice("method", config.method)
        hp.Float("strength", 0.5, 2.0, sampling="log")

    def run(self, hp, config, logdir):
        operator, y = self.problem(hp.get("rate"), hp.get("seed"), config)
        method, most = METHODS[hp.get("method")], (config.iterations, config.depth)
        # Which a search chooses.
        strength = hp.values.get("strength", 1.0)
        return recover(method, operator, y, self.truth, *most, strength)

    def problem(self, rate, seed, config):
        """Returns the operator and the measurements of a rate, made once."""
        if (rate, seed) not in self.problems:
            shape = self.truth.shape[1:]
            count = max(1, round(rate * self.truth[0].size))
            operator = OPERATORS[config.operator](shape, count, seed=seed)
            # A large matrix at a time.
            self.problems = {(rate, seed): (operator, np.asarray(operator(self.truth)))}
        return self.problems[rate, seed]

    def sections(self, results, config):
        highest = max(config.rate)
        return [
            self._table(results, config),
            self._evolution(results, config, highest),
            self._quantiles(results, config, highest),
            *(
                self.pictures(
                    results,
                    config,
                    METHODS,
                    psnr,
                    f"Pictures at {100 * rate:g} %",
                    f"pictures_{100 * rate:g}",
                    rate=rate,
                )
                for rate in config.rate
            ),
        ]

    def _table(self, results, config):
        rows = []
        figure, ax = new_figure(
            "Recovered images", "measurements, parts of the pixels", "PSNR, dB"
        )
        for method, runs in self.finished(results, config, METHODS):
            means = runs.groupby("rate")["psnr"].mean()
            ax.plot(means.index, means, label=method.title, marker="o", **method.style)
            for rate, some in runs.groupby("rate"):
                gap = format_mean(some["evolution_gap"]) if method.onsager else "-"
                rows.append(
                    {
                        "rate": f"{100 * rate:g} %",
                        "method": method.title,
                        "PSNR, dB": format_mean(some["psnr"]),
                        "SSIM": format_mean(some["ssim"], digits=3),
                        "seconds an image": f"{some['seconds_an_image'].mean():.2f}",
                        "error over sigma": format_mean(some["error_over_sigma"]),
                        "off state evolution, dB": gap,
                        "diverged": f"{100 * some['diverged'].mean():.0f} %",
                    }
                )
        ax.legend(fontsize="small")
        rows.sort(key=lambda row: float(row["rate"].split()[0]))
        text = (
            f"Means over the images {', '.join(self.names)}, "
            f"{self.truth.shape[1]} x {self.truth.shape[2]}, ± the deviation over "
            "seeds. Error over sigma: of what is denoised, over the noise that the "
            "denoiser is told of; 1 where Onsager's term does what it is for. Off "
            "state evolution: the largest gap between foretold and measured PSNR."
        )
        table = pd.DataFrame(rows)
        return Section("PSNR and time", text, table, figure, "psnr_by_rate")

    def _evolution(self, results, config, rate):
        figure, ax = new_figure(
            f"State evolution at {100 * rate:g} %", "iteration", "PSNR, dB"
        )
        for method, runs in self.finished(results, config, METHODS, rate=rate):
            curves = results.curves(runs["run"].iloc[0])
            steps = np.arange(1, len(curves["psnr_curve"]) + 1)
            ax.plot(steps, curves["psnr_curve"], label=method.title, **method.style)
            if method.onsager:
                dots = {**method.style, "linestyle": "none", "marker": "x"}
                ax.plot(steps, curves["foretold_curve"], **dots)
        ax.legend(fontsize="small")
        text = (
            "Lines are measured, crosses foretold from the denoiser alone: "
            "`sigma^2 = (n / m) mse`. Without Onsager's term nothing is foretold."
        )
        return Section("State evolution", text, None, figure, "state_evolution")

    def _quantiles(self, results, config, rate):
        figure, ax = new_figure(
            f"Error of what is denoised, {100 * rate:g} %",
            "quantile of the normal distribution",
            "quantile of the error, in sigma",
        )
        normal = stats.norm.ppf(QUANTILES)
        ax.plot(normal, normal, color="black", linewidth=0.8, label="white Gaussian")
        for method, runs in self.finished(results, config, METHODS, rate=rate):
            curves = results.curves(runs["run"].iloc[0])
            style = {
                **method.style,
                "linestyle": "none",
                "marker": ".",
                "markersize": 3,
            }
            ax.plot(normal, curves["error_quantiles"], label=method.title, **style)
        ax.legend(fontsize="small")
        text = (
            f"Of {self.names[0]}, in iteration {DRAWN} or the last. On the line the "
            "error is what (10) and (11) say: Gaussian, with the deviation that the "
            "method knows."
        )
        return Section("Is the error Gaussian?", text, None, figure, "quantiles")
