"""How near estimated images are to the true ones, in dB."""

import numpy as np

from zoo._types import Array
from zoo.losses.checks import check_number
from zoo.metrics.recovery import energy


def psnr(estimate: Array, truth: Array, data_range: float = 1.0) -> Array:
    """Returns the peak signal-to-noise ratio of each image in dB.

    `10 log10(data_range^2 / mean |estimate - truth|^2)`

    It is not the `snr`, which has the mean square of the image in place of the peak's:
    publications give either under one name.

    Args:
        estimate: `[..., height, width, channels]`, real or complex.
        truth: of the same shape, with no value above `data_range`.
        data_range: float above 0, the largest value an image may have. Defaults to 1.

    Returns:
        Float64 `[...]`, one value an image. It is `inf` if nothing differs.

    Raises:
        ValueError: the shapes differ or are of no images, `data_range` is not above 0,
            or the truth exceeds it.

    Example:

    >>> truth = np.zeros((2, 4, 4, 1))
    >>> estimate = truth + np.array([0.1, 0.01])[:, None, None, None]
    >>> psnr(estimate, truth)
    array([20., 40.])
    """
    tiny = np.finfo("float32").tiny
    data_range = check_number("data_range", data_range, tiny, allowed="above 0")
    estimate, truth = _flat(estimate, truth)
    peak = np.max(np.abs(truth), initial=0.0)
    # Rounding of float32 is no other range.
    if peak > (1 + 1e-6) * data_range:
        raise ValueError(
            f"`truth` must not exceed data_range={data_range:g}. "
            f"Received: values of up to {peak:g}"
        )
    return _decibels(data_range**2, energy(estimate - truth) / truth.shape[-1])


def snr(estimate: Array, truth: Array) -> Array:
    """Returns the signal-to-noise ratio of each image in dB.

    `10 log10(sum |truth|^2 / sum |estimate - truth|^2)`

    Args:
        estimate: `[..., height, width, channels]`, real or complex.
        truth: of the same shape.

    Returns:
        Float64 `[...]`, one value an image. It is `inf` if nothing differs.

    Raises:
        ValueError: the shapes differ or are of no images, or an image is 0.

    Example:

    >>> truth = np.full((4, 4, 1), 0.5)
    >>> print(snr(1.1 * truth, truth).round(6))
    20.0
    """
    estimate, truth = _flat(estimate, truth)
    signal = energy(truth)
    if not np.all(signal != 0):
        raise ValueError("`truth` must hold no image that is 0.")
    return _decibels(signal, energy(estimate - truth))


def _flat(estimate, truth):
    """Returns both with the pixels of an image on the last axis."""
    estimate, truth = np.asarray(estimate), np.asarray(truth)
    if estimate.shape != truth.shape or truth.ndim < 3 or not truth.size:
        raise ValueError(
            "`estimate` and `truth` must be of one shape [..., height, width, "
            f"channels]. Received: estimate.shape={estimate.shape}, "
            f"truth.shape={truth.shape}"
        )
    wide = np.result_type(estimate, truth, "float64")
    shape = (*truth.shape[:-3], -1)
    return estimate.reshape(shape).astype(wide), truth.reshape(shape).astype(wide)


def _decibels(signal, noise):
    with np.errstate(divide="ignore"):
        return 10 * np.log10(signal / noise)
