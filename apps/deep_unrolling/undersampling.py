"""Images from a part of k-space, by GANCS and its rivals."""

import dataclasses
import functools
import warnings
from collections.abc import Callable

import pandas as pd
from keras import ops

from zoo import _backend
from zoo.apps.deep_unrolling.common import UnrollingStudy, timed
from zoo.apps.imaging import similarities
from zoo.metrics import psnr, snr
from zoo.models.gancs import pretrained
from zoo.models.gancs.networks import operator_of
from zoo.models.gancs.pretrained import SIZE, accelerations
from zoo.solvers.plug_and_play import TotalVariation, Wavelet, pnp_admm
from zoo.study import Section, format_mean, new_figure
from zoo.study.tuning import tunable


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to recover images.

    Attributes:
        title: str.
        make: function of a generator, its operator, the most iterations, and factors of
            a prior's weight and step, to a function of measurements to images.
        style: dict, how its curves are drawn.
    """

    title: str
    make: Callable
    style: dict


def _zero_filling(generator, operator, iterations, *factors):
    return lambda y: ops.convert_to_numpy(operator.adjoint(y))


def _prior(prior, weight, step, **options):
    def make(generator, operator, iterations, weight_factor, step_factor):
        denoiser = prior(weight_factor * weight, **options)
        settings = {"step": step_factor * step, "iterations": iterations}
        return lambda y: pnp_admm(y, operator, denoiser, tolerance=1e-4, **settings).x

    return make


def _generator(generator, operator, iterations, *factors):
    run = _backend.compiled(lambda y: generator(y, training=False), generator)
    return lambda y: ops.convert_to_numpy(run(y))


# Weights and steps are the best of a few on the validation photographs, at R = 4 and 8.
METHODS = {
    "zero_filling": Method("zero-filling", _zero_filling, {"color": "tab:gray"}),
    "tv": Method("TV", _prior(TotalVariation, 0.001, 100.0), {"color": "tab:orange"}),
    "wavelet": Method(
        "CS-wavelet", _prior(Wavelet, 0.001, 10.0, levels=3), {"color": "tab:olive"}
    ),
    "gancs": Method("GANCS", _generator, {"color": "tab:green"}),
}
FACTORS = ("weight_factor", "step_factor")


class Undersampling(UnrollingStudy):
    """Tables and pictures of images from one frequency in a few."""

    experiment = "undersampling"
    compared = "acceleration"
    title = "Deep unrolling: images from a part of k-space"
    presets = {
        "quick": {
            "method": list(METHODS),
            "acceleration": ["2", "4", "6", "8"],
            "images": ["camera", "china"],
            "image_size": SIZE,
            "iterations": 100,
            "runs": 1,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "images": ["camera", "ascent", "china", "moon"],
        "iterations": 200,
    }
    presets["paper"] = presets["cpu"]

    def prepare(self, config):
        self.check_numbers(config, "acceleration", 1, 100)
        known = accelerations()
        for one in config.acceleration:
            if one not in known:
                raise ValueError(
                    f"--acceleration={one:g} must hold some of "
                    f"{', '.join(f'{other:g}' for other in known)}"
                )
        self.check_common(config, METHODS)
        if self.truth.shape[1] != SIZE:
            raise ValueError(f"--image_size={config.image_size} must be {SIZE}")
        self.networks = {}

    def grid(self, hp, config):
        hp.Choice("method", config.method)
        hp.Choice("acceleration", config.acceleration)
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        priors = tunable(config, "method", "weights and steps", ["tv", "wavelet"])
        hp.Choice("method", priors)
        for name in FACTORS:
            hp.Float(name, 0.1, 10.0, sampling="log")

    def run(self, hp, config, logdir):
        generator = self.network(hp.get("acceleration"))
        operator = operator_of(generator)
        y = ops.convert_to_numpy(operator(self.truth))
        # Which a search chooses.
        factors = (hp.values.get(name, 1.0) for name in FACTORS)
        make = METHODS[hp.get("method")].make
        method = make(generator, operator, config.iterations, *factors)
        recover = functools.partial(method, y)
        with warnings.catch_warnings():
            # Of those that did not stand still within their iterations.
            warnings.simplefilter("ignore", UserWarning)
            recover()
            x, seconds = timed(recover, len(y))
        scores = snr(x, self.truth)
        return {
            "psnr": float(psnr(x, self.truth).mean()),
            "snr": float(scores.mean()),
            "ssim": float(similarities(x, self.truth).mean()),
            "milliseconds_an_image": 1000 * seconds,
            "snrs": scores,
            "estimate": x[0],
        }

    def network(self, acceleration):
        """Returns a generator, made once."""
        if acceleration not in self.networks:
            self.networks[acceleration] = pretrained(acceleration)
        return self.networks[acceleration]

    def sections(self, results, config):
        rows = []
        figure, ax = new_figure(
            "Images from one frequency in R", "R, acceleration", "SNR, dB"
        )
        for method, runs in self.finished(results, config, METHODS):
            means = runs.groupby("acceleration")["snr"].mean()
            ax.plot(means.index, means, label=method.title, marker="o", **method.style)
            for acceleration, some in runs.groupby("acceleration"):
                rows.append(
                    {
                        "R": f"{acceleration:g}",
                        "method": method.title,
                        "SNR, dB": format_mean(some["snr"]),
                        "PSNR, dB": format_mean(some["psnr"]),
                        "SSIM": format_mean(some["ssim"], digits=3),
                        "ms an image": f"{some['milliseconds_an_image'].mean():.0f}",
                    }
                )
        ax.legend(fontsize="small")
        rows.sort(key=lambda row: float(row["R"]))
        text = (
            f"Means over the images {', '.join(self.names)}, {SIZE} x {SIZE}, without "
            "noise. SNR is against the image's own energy. Times are of a batch of "
            "them, once all is compiled."
        )
        table = Section(
            "SNR and time", text, pd.DataFrame(rows), figure, "snr_by_acceleration"
        )
        pictures = (
            self.pictures(
                results,
                config,
                METHODS,
                snr,
                f"Pictures at R = {one:g}",
                f"pictures_{one:g}",
                acceleration=one,
            )
            for one in config.acceleration
        )
        return [table, *pictures]
