"""The projector that comes with trained weights, and how it was trained."""

import functools
import pathlib
from collections.abc import Callable

import keras

from zoo.losses.checks import check_choice
from zoo.models.projector.networks import (
    image_discriminator,
    latent_discriminator,
    projector,
)
from zoo.models.weight_files import read

FOLDER = pathlib.Path(__file__).with_name("weights")
WEIGHTS = ("natural_images",)
BUILDERS: dict[str, Callable[..., keras.Model]] = {
    # The plain one learns much more slowly.
    "projector_32": functools.partial(projector, residual=True),
    "image_discriminator_32": image_discriminator,
    "latent_discriminator_32": latent_discriminator,
}
# Three minutes on an idle core.
SETTINGS = {"steps": 2400, "batch_size": 8, "evaluate_every": 200}


def pretrained(
    name: str = "projector_32", weights: str = "natural_images"
) -> keras.Model:
    """Builds a trained network.

    Args:
        name: `"projector_32"`, a `projector` of grey images of 32 x 32, or
            `"image_discriminator_32"`, the `image_discriminator` of its training.
            Defaults to `"projector_32"`.
        weights: `"natural_images"`, what it was trained on: see `weights/README.md`.
            Defaults to it.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: there are no such weights.

    Example: half of the pixels of a patch, seen in no noise, in dB.

    >>> import numpy as np
    >>> from zoo.data import load_natural_images
    >>> from zoo.layers.operators import PixelMask
    >>> from zoo.solvers.plug_and_play import pnp_admm
    >>> truth = load_natural_images("test")["camera"][None, 100:132, 100:132]
    >>> mask = np.indices((32, 32)).sum(0) % 2
    >>> operator = PixelMask((32, 32, 1), mask)
    >>> y = np.asarray(operator(truth))
    >>> result = pnp_admm(y, operator, pretrained(), step=1.0, truth=truth)
    >>> print(result.psnr[0, -1] > 20)
    True
    """
    folder = FOLDER / check_choice("weights", weights, WEIGHTS)
    names = tuple(sorted(path.stem for path in folder.glob("*.npz")))
    network = BUILDERS[check_choice("name", name, names)]()
    network.set_weights(read(folder / f"{name}.npz"))
    return network
