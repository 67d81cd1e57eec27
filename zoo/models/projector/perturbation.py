"""Images that are no longer natural, for a projector to learn from."""

import math

import numpy as np

from zoo.losses.checks import check_integer, check_number


def perturb(
    images: np.ndarray,
    rng: np.random.Generator,
    sigma: tuple[float, float] = (0.025, 0.25),
    resized: float = 0.3,
    scales: tuple[float, float] = (0.2, 0.95),
    map_size: int = 4,
) -> np.ndarray:
    """Perturbs images by noise of a strength that varies, and some by fewer pixels.

    `z = r(x) + s m n`, where `n` is standard normal, `m` a map of each channel, and `s`
    the image's level. The map is interpolated, by cubics, from `map_size x map_size`
    uniform numbers in `[-sqrt(3), sqrt(3)]`, of variance 1: there are places with no
    noise, and others with much. `r` resizes to some of the pixels and back, by the
    nearest ones, or leaves the image as it is.

    Args:
        images: `[batch, height, width, channels]` in [0, 1].
        rng: `numpy.random.Generator`.
        sigma: pair of floats >= 0, between which levels are uniform. Defaults to
            `(0.025, 0.25)`: half of the paper's, whose images have the range [-1, 1].
        resized: float from 0 to 1, the probability of a resized image. Defaults to 0.3.
        scales: pair of floats in (0, 1], between which the scale is uniform. Defaults
            to `(0.2, 0.95)`.
        map_size: int >= 1. Defaults to 4; the paper does not give it.

    Returns:
        An array of the same shape and dtype.

    Example:

    >>> rng = np.random.default_rng(0)
    >>> noise = perturb(np.zeros((500, 32, 32, 1)), rng, sigma=(0.1, 0.1))
    >>> print(noise.std().round(3))
    0.086

    Reference:

    - Chang et al., 2017, "One Network to Solve Them All", arXiv:1703.09912
    """
    if not isinstance(images, np.ndarray) or images.ndim != 4:
        raise ValueError(
            "`images` must be an array [batch, height, width, channels]. "
            f"Received: images={images!r}"
        )
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"`rng` must be a numpy.random.Generator. Received: rng={rng}")
    _check_range("sigma", sigma)
    check_number("resized", resized, 0, 1)
    _check_range("scales", scales, 1)
    check_integer("map_size", map_size, 1, 1024)
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(
            f"`images` must be of floats. Received: images.dtype={images.dtype}"
        )
    batch, height, width, channels = images.shape
    chosen = np.flatnonzero(rng.random(batch) < resized)
    base = images.copy()
    for index, scale in zip(chosen, rng.uniform(*scales, len(chosen)), strict=True):
        rows, columns = (nearest(side, scale) for side in (height, width))
        base[index] = images[index][rows][:, columns]
    coarse = rng.uniform(-1, 1, (batch, map_size, map_size, channels))
    rows, columns = (cubic(side, map_size) for side in (height, width))
    maps = np.einsum(
        "hi,bijc,wj->bhwc", rows, math.sqrt(3) * coarse, columns, optimize=True
    )
    levels = rng.uniform(*sigma, (batch, 1, 1, 1))
    noise = levels * maps * rng.standard_normal(images.shape)
    return base + noise.astype(images.dtype)


def _check_range(name, ends, high=math.inf):
    if not isinstance(ends, (list, tuple)) or len(ends) != 2:
        raise ValueError(
            f"`{name}` must be a pair of numbers. Received: {name}={ends!r}"
        )
    low = check_number(name, ends[0], 0, high)
    check_number(name, ends[1], low, high)


def nearest(size, scale):
    """Returns the pixel that each one shows after resizing to a scale and back."""
    fewer = max(1, math.floor(scale * size))
    small = (2 * np.arange(size) + 1) * fewer // (2 * size)
    return (2 * small + 1) * size // (2 * fewer)


def cubic(size, coarse):
    """Returns the matrix `[size, coarse]` that interpolates by Keys's cubics.

    Beyond its ends a line goes on as its last number.
    """
    places = (np.arange(size) + 0.5) * coarse / size - 0.5
    matrix = np.zeros((size, coarse))
    for offset in range(-1, 3):
        knots = np.floor(places).astype(int) + offset
        t = np.abs(places - knots)
        near = 1.5 * t**3 - 2.5 * t**2 + 1
        far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
        rows = np.arange(size), np.clip(knots, 0, coarse - 1)
        np.add.at(matrix, rows, np.where(t <= 1, near, far))
    return matrix
