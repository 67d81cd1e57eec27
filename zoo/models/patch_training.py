"""What trainings on patches of images are given: a schedule, images, measurements."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from zoo._types import Array
from zoo.data.natural_images import check_images, load_natural_images
from zoo.losses.checks import check_integer, check_number


class Schedule(NamedTuple):
    """How long a training lasts, and how it goes.

    Attributes:
        steps: int, updates.
        batch_size: int, patches an update.
        learning_rate: float, at first.
        evaluate_every: int, updates between validations.
    """

    steps: int
    batch_size: int
    learning_rate: float
    evaluate_every: int


def check_schedule(steps, batch_size, learning_rate, evaluate_every):
    """Returns the `Schedule` of a training.

    Raises:
        ValueError: a number is out of range, or validations do not fit into `steps`.
    """
    steps = check_integer("steps", steps, 1)
    batch_size = check_integer("batch_size", batch_size, 1)
    every = min(check_integer("evaluate_every", evaluate_every, 1), steps)
    if steps % every:
        raise ValueError(
            f"`steps` must be a multiple of evaluate_every={every}. "
            f"Received: steps={steps}"
        )
    return Schedule(
        steps, batch_size, check_positive("learning_rate", learning_rate), every
    )


def check_positive(name, value):
    """Returns a number above 0 as a float.

    Raises:
        ValueError: it is none.
    """
    return check_number(name, value, np.finfo("float32").tiny, allowed="above 0")


def check_parts(
    images: dict[str, Array] | Sequence[Array],
    validation: dict[str, Array] | Sequence[Array] | None,
    channels: int,
    kind: str,
) -> tuple[dict[Any, np.ndarray], dict[Any, np.ndarray]]:
    """Returns the images of training and validation, two dicts.

    Args:
        images: dict or list of `[height, width, channels]` in [0, 1].
        validation: the same, or `None` for those of `zoo.data.natural_images`.
        channels: int.
        kind: str, what else has so many channels.

    Raises:
        ValueError: an image is not as above.
    """
    if validation is None:
        validation = load_natural_images("validation", color=channels == 3)
    return (
        check_channels("images", images, channels, kind),
        check_channels("validation", validation, channels, kind),
    )


def check_channels(
    name: str, images: dict[str, Array] | Sequence[Array], channels: int, kind: str
) -> dict[Any, np.ndarray]:
    """Returns images as a dict, once they have as many channels as what `kind` says.

    Raises:
        ValueError: they have not, or are no images in [0, 1].
    """
    images = check_images(name, images)
    found = next(iter(images.values())).shape[-1]
    if found != channels:
        raise ValueError(
            f"`{name}` must have {channels} channels, as the {kind}. Received: {found}"
        )
    return images


def measure(operator, images, noise, rng):
    """Returns measurements of images as an array, each real number under white noise.

    Args:
        operator: a `zoo.layers.operators.LinearOperator`.
        images: `[batch, height, width, channels]`.
        noise: float, its standard deviation.
        rng: `numpy.random.Generator`.
    """
    y = ops.convert_to_numpy(operator(images))
    white = rng.standard_normal(y.shape)
    if operator.is_complex:
        white = white + 1j * rng.standard_normal(y.shape)
    return (y + noise * white).astype(y.dtype)
