"""The denoisers that are compared, by name."""

import dataclasses
import functools
from collections.abc import Callable

from zoo.apps.imaging import bm3d, non_local_means
from zoo.models.denoisers import pretrained
from zoo.solvers.plug_and_play import TotalVariation, Wavelet

# The noise, in grey levels of 255, that networks of one level were trained for.
LEVEL = 15
PRIORS = {"tv": TotalVariation, "wavelet": functools.partial(Wavelet, levels=3)}


@dataclasses.dataclass(frozen=True)
class Denoiser:
    """What takes the place of a prior.

    Attributes:
        make: function of a `Task` to what solvers take.
        levels: whether it is given the level of the noise.
        bounded: whether its residual has a Lipschitz bound by its making.
        style: dict, how its curves are drawn.
    """

    make: Callable
    levels: bool = False
    bounded: bool = False
    style: dict = dataclasses.field(default_factory=dict)


def _prior(name):
    return lambda task: PRIORS[name](task.weight[name])


def _network(name):
    return lambda task: pretrained(name)


DENOISERS = {
    "tv": Denoiser(_prior("tv"), style={"color": "tab:gray"}),
    "wavelet": Denoiser(_prior("wavelet"), style={"color": "tab:olive"}),
    "nlm": Denoiser(
        lambda task: non_local_means, levels=True, style={"color": "tab:brown"}
    ),
    "bm3d": Denoiser(lambda task: bm3d, levels=True, style={"color": "tab:purple"}),
    "unet": Denoiser(_network("unet_0-55"), levels=True, style={"color": "tab:green"}),
    "simple_cnn": Denoiser(
        _network(f"simple_cnn_{LEVEL}"), style={"color": "tab:red", "linestyle": "--"}
    ),
    "simple_cnn_realsn": Denoiser(
        _network(f"simple_cnn_realsn_{LEVEL}"), bounded=True, style={"color": "tab:red"}
    ),
}
