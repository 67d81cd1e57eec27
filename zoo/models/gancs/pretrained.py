"""Generators that come with trained weights, and how these were trained."""

import pathlib

import keras

from zoo.data.masks import random_mask
from zoo.layers.operators.fourier import FourierMask
from zoo.losses.checks import check_choice, check_number
from zoo.models.gancs.networks import generator
from zoo.models.weight_files import read

FOLDER = pathlib.Path(__file__).with_name("weights")
WEIGHTS = ("natural_images",)
SIZE = 128
# How much more often low frequencies are measured.
POWER = 3.0
SETTINGS = {
    "steps": 1600,
    "batch_size": 2,
    "learning_rate": 2e-3,
    "evaluate_every": 100,
}


def build(acceleration):
    """Returns an untrained generator of images of 128 x 128 pixels.

    Args:
        acceleration: float from 1 up, `R`: one frequency in `R` is measured, by
            `zoo.data.random_mask` with `power=3`.

    Raises:
        ValueError: `acceleration` is not as above.
    """
    fraction = 1 / check_number("acceleration", acceleration, 1.0)
    mask = random_mask((SIZE, SIZE), fraction, power=POWER)
    return generator(FourierMask((SIZE, SIZE, 1), mask))


def pretrained(acceleration: float = 4, weights: str = "natural_images") -> keras.Model:
    """Returns a generator that was trained on photographs.

    Its weights, and the mask of its operator, come with the package.
    `zoo/models/gancs/weights/README.md` says how good each is.

    Args:
        acceleration: int, `R`: one frequency in `R` is measured. Defaults to 4.
        weights: `"natural_images"`: trained on the photographs of
            `zoo.data.natural_images`.

    Returns:
        A `keras.Model`, see `zoo.models.gancs.generator`.

    Raises:
        ValueError: there are no such weights, or none of this acceleration.

    Example: zero-filling has 18.9 dB.

    >>> from zoo.data import load_natural_images
    >>> from zoo.models.gancs import evaluate
    >>> images = {"camera": load_natural_images("test")["camera"]}
    >>> evaluate(pretrained(4), images)["camera"] > 22.9
    True
    """
    network = build(check_choice("acceleration", acceleration, accelerations(weights)))
    network.set_weights(read(FOLDER / weights / file_name(acceleration)))
    return network


def accelerations(weights="natural_images"):
    """Returns the accelerations of which there are weights, a tuple of ints."""
    folder = FOLDER / check_choice("weights", weights, WEIGHTS)
    there = (path.stem.rpartition("_")[2] for path in folder.glob("*.npz"))
    return tuple(sorted(map(int, there)))


def file_name(acceleration):
    """Returns the name of the file of weights."""
    return f"gancs_{acceleration:g}.npz"
