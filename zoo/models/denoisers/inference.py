"""Taking the noise off images, and how well it is done."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.data.natural_images import check_images
from zoo.losses.checks import check_choice, check_integer, check_number
from zoo.metrics.image_quality import psnr


def denoise(
    network: keras.Model,
    images: Sequence[Array] | np.ndarray,
    sigma: float | Array | None = None,
    symmetries: int = 1,
) -> list[np.ndarray]:
    """Returns the estimates of a network, image by image, of any sizes.

    An image may be shown mirrored and turned as well, and the mean of the estimates,
    mirrored and turned back, taken: a little better, for as many times the work.

    Args:
        network: a denoiser of this package.
        images: list of `[height, width, channels]`, or an array of them, with
            intensities of about [0, 1].
        sigma: the standard deviation of the noise, a float or one an image, for
            networks that are given it. Defaults to `None`.
        symmetries: int from 1 to 8, of those of the square, in how many ways an image
            is shown: 2 is as it is, and mirrored. Defaults to 1.

    Returns:
        List of arrays of the same shapes and dtypes.

    Raises:
        ValueError: an image is not as above, or `sigma` is missing or too much, or
            `symmetries` is not from 1 to 8.

    Example:

    >>> from zoo.models.denoisers import unet
    >>> (estimate,) = denoise(unet(), [np.full((30, 41, 1), 0.5)])
    >>> estimate.shape, estimate.dtype
    ((30, 41, 1), dtype('float64'))

    Reference:

    - Lim, Son, Kim, Nah, Lee, 2017, "Enhanced Deep Residual Networks for Single Image
      Super-Resolution", arXiv:1707.02921 (the mean over symmetries)
    """
    _check_network(network)
    if not isinstance(images, (list, tuple, np.ndarray)):
        raise ValueError(f"`images` must be a list of images. Received: {type(images)}")
    images = [np.asarray(image) for image in images]
    check_choice("symmetries", symmetries, tuple(range(1, 9)))
    conditioned = len(network.inputs) == 2
    if conditioned != (sigma is not None):
        raise ValueError(
            f"`sigma` must be {'a level' if conditioned else 'None'} for this network. "
            f"Received: sigma={sigma}"
        )
    channels = network.inputs[0].shape[-1]
    for image in images:
        _check_noisy(image, channels)
    try:
        levels = np.asarray(0.0 if sigma is None else sigma, "float64")
        levels = np.broadcast_to(levels, len(images))
    except (TypeError, ValueError):
        raise ValueError(
            "`sigma` must be a number, or one an image. "
            f"Received: sigma={sigma!r} for {len(images)} images"
        ) from None
    if not np.all((levels >= 0) & (levels < math.inf)):
        raise ValueError(f"`sigma` must be finite, from 0 up. Received: sigma={sigma}")
    estimates = []
    for image, level in zip(images, levels, strict=True):
        total: Array = 0
        for symmetry in range(symmetries):
            batch = _turn(image, symmetry)[None].astype(network.inputs[0].dtype)
            inputs = (batch, level[None].astype(batch.dtype)) if conditioned else batch
            # `predict` would compile anew for each size.
            estimate = ops.convert_to_numpy(network(inputs, training=False))[0]
            total = total + _turn_back(estimate, symmetry)
        estimates.append((total / symmetries).astype(image.dtype))
    return estimates


def evaluate(
    network: keras.Model,
    images: dict[str, Array] | Sequence[Array],
    sigma: float,
    seed: int = 0,
    symmetries: int = 1,
) -> dict[str | int, float]:
    """Returns the PSNR in dB of each image that a network takes the noise off.

    Args:
        network: a denoiser of this package.
        images: dict or list of `[height, width, channels]` in [0, 1].
        sigma: float from 0 to 4, standard deviation of the Gaussian noise that is
            added.
        seed: int >= 0, of the noise, which is drawn image after image. Defaults to 0.
        symmetries: int from 1 to 8, see `denoise`. Defaults to 1.

    Returns:
        Dict from the name of an image, or its place in the list, to a float.

    Raises:
        ValueError: an argument is not as above.

    Example: noise of 25 grey levels leaves `20 log10(255 / 25)` dB.

    >>> import keras
    >>> image = keras.Input((None, None, 1))
    >>> identity = keras.Model(image, keras.layers.Identity()(image))
    >>> images = {"grey": np.full((256, 256, 1), 0.5)}
    >>> round(evaluate(identity, images, 25 / 255)["grey"], 1)
    20.2
    """
    _check_network(network)
    images = check_images("images", images)
    # More leaves nothing of an image, and would be refused as none.
    sigma = check_number("sigma", sigma, 0, 4)
    rng = np.random.default_rng(check_integer("seed", seed, 0))
    noisy = [
        image + (sigma * rng.standard_normal(image.shape)).astype("float32")
        for image in images.values()
    ]
    given = sigma if len(network.inputs) == 2 else None
    estimates = denoise(network, noisy, given, symmetries)
    return {
        name: float(psnr(estimate, image))
        for (name, image), estimate in zip(images.items(), estimates, strict=True)
    }


def _turn(image, symmetry):
    """Applies one of the eight symmetries of the square: the odd ones mirror first."""
    turns, mirrored = divmod(symmetry, 2)
    return np.rot90(image[:, ::-1] if mirrored else image, turns)


def _turn_back(image, symmetry):
    turns, mirrored = divmod(symmetry, 2)
    image = np.rot90(image, -turns)
    return image[:, ::-1] if mirrored else image


def _check_network(network):
    if not isinstance(network, keras.Model) or not network.inputs:
        raise ValueError(
            f"`network` must be a functional keras.Model. Received: network={network!r}"
        )


def _check_noisy(image, channels):
    if image.ndim != 3 or image.shape[-1] != channels:
        raise ValueError(
            f"`images` must be [height, width, {channels}] for this network. "
            f"Received: shape {image.shape}"
        )
    if not np.issubdtype(image.dtype, np.floating):
        raise ValueError(
            "`images` must be floats with intensities of about [0, 1]. "
            f"Received: an image of dtype {image.dtype}"
        )
    # NaN fails too. Noise of a level of 1 has a mean of 0.8.
    if not np.mean(np.abs(image)) < 4:
        raise ValueError(
            "`images` must be finite, with intensities of about [0, 1]. "
            f"Received: a mean of {np.mean(image):g}"
        )
