"""Denoisers that come with trained weights, and how these were trained."""

import dataclasses
import functools
import io
import pathlib
from collections.abc import Callable

import keras
import numpy as np

from zoo._files import write_atomically
from zoo.layers.fold_normalization import fold_normalization
from zoo.layers.real_spectral_norm import RealSpectralNormConv2D
from zoo.losses.checks import check_choice
from zoo.models.denoisers.networks import dncnn, simple_cnn, unet
from zoo.models.weight_files import read

FOLDER = pathlib.Path(__file__).with_name("weights")
WEIGHTS = ("natural_images",)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is built and trained.

    Attributes:
        build: function that returns an untrained network, and takes
            `noise_level_input`.
        settings: dict of arguments of `zoo.models.denoisers.train`.
        color: bool, whether images have three channels.
    """

    build: Callable
    settings: dict
    color: bool = False


_LONG = {"steps": 20_500, "batch_size": 64, "evaluate_every": 500}
# Ten minutes on a core.
_SHORT = {"batch_size": 32, "patch_size": 40, "evaluate_every": 400}
_SIMPLE = {**_SHORT, "steps": 2400}
_SMALL = {**_SHORT, "steps": 3200}
_dncnn_small = functools.partial(dncnn, 7, 32, normalization=None)
RECIPES = {
    "unet": Recipe(unet, _LONG),
    "unet_color": Recipe(functools.partial(unet, channels=3), _LONG, color=True),
    "dncnn": Recipe(dncnn, {**_LONG, "learning_rate": 1e-3}),
    "dncnn_small": Recipe(_dncnn_small, _SMALL),
    "dncnn_small_realsn": Recipe(
        functools.partial(_dncnn_small, spectral_norm=0.9), _SMALL
    ),
    "simple_cnn": Recipe(simple_cnn, _SIMPLE),
    "simple_cnn_realsn": Recipe(
        functools.partial(simple_cnn, spectral_norm=0.9), _SIMPLE
    ),
}


def build(name):
    """Returns an untrained network.

    Args:
        name: str, a recipe and the standard deviation of the noise in grey levels of
            255, as `"unet_25"`, or the least and the largest for a network that is
            given it, as `"unet_0-55"`.

    Returns:
        The network, its `Recipe`, and the pair of levels in units of [0, 1].

    Raises:
        ValueError: there is no such recipe, or no level.
    """
    recipe, _, level = name.rpartition("_")
    recipe = RECIPES[check_choice("name", recipe, tuple(RECIPES))]
    try:
        levels = [float(number) / 255 for number in level.split("-")]
    except ValueError:
        levels = []
    if not 1 <= len(levels) <= 2:
        raise ValueError(
            "`name` must end in a level of noise, such as _25 or _0-55. "
            f"Received: name={name!r}"
        )
    network = recipe.build(noise_level_input=len(levels) == 2)
    return network, recipe, (levels[0], levels[-1])


def pretrained(name: str, weights: str = "natural_images") -> keras.Model:
    """Returns a denoiser that was trained on photographs.

    Its weights come with the package. `zoo/models/denoisers/weights/README.md` says how
    good each is.

    Args:
        name: str, the network and the standard deviation of the noise in grey levels of
            255 that it was trained for, such as `"unet_25"`; `"unet_0-55"` is given the
            level with the image.
        weights: `"natural_images"`: trained on the photographs of
            `zoo.data.natural_images`.

    Returns:
        A `keras.Model`, see `zoo.models.denoisers.unet`.

    Raises:
        ValueError: there are no such weights, or no such network of them.

    Example: noise of 25 grey levels is at 20.2 dB.

    >>> from zoo.data import load_natural_images
    >>> from zoo.models.denoisers import evaluate
    >>> images = {"china": load_natural_images("test")["china"]}
    >>> evaluate(pretrained("unet_25"), images, 25 / 255)["china"] > 25
    True
    """
    check_choice("weights", weights, WEIGHTS)
    network = plain(build(check_choice("name", name, names(weights)))[0])
    network.set_weights(read(FOLDER / weights / f"{name}.npz"))
    return network


def names(weights="natural_images"):
    """Returns the names of the networks that there are weights of."""
    return tuple(sorted(path.stem for path in (FOLDER / weights).glob("*.npz")))


def plain(network):
    """Returns a network in the form that is kept: without spectral normalisation."""
    spectral = any(isinstance(one, RealSpectralNormConv2D) for one in network.layers)
    return fold_normalization(network) if spectral else network


def save(network, path, dtype="float16"):
    """Writes the weights of a network, rounded to `dtype`."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, *(one.astype(dtype) for one in network.get_weights()))
    write_atomically(path, buffer.getvalue())


def load(network, path):
    """Gives a network the weights that `save` wrote."""
    with np.load(path) as file:
        network.set_weights([file[key] for key in file.files])
