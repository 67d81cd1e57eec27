"""How near recovered signals are to the true ones."""

from typing import Literal

import numpy as np

from zoo._types import Array
from zoo.losses.checks import check_choice

AVERAGES = ("block", "signal")


def nmse(
    estimate: Array,
    truth: Array,
    average: Literal["block", "signal"] = "block",
    mask: Array | None = None,
) -> float:
    """Returns the normalised mean squared error in dB.

    `10 log10(sum |estimate - truth|^2 / sum |truth|^2)`

    with sums over all signals, or each signal's own, and the mean of the quotients. The
    two differ where signals differ in energy: publications have either.

    Args:
        estimate: `[..., N]`, real or complex.
        truth: `[..., N]`.
        average: `"block"`, sums over all signals, or `"signal"`, the mean over signals.
            Defaults to `"block"`.
        mask: bool `[N]`, the coordinates that count, or `None` for all. Defaults to
            `None`.

    Returns:
        A float. It is `-inf` if nothing differs.

    Raises:
        ValueError: the shapes differ, `average` is none of these, or the truth, or one
            signal of it for `"signal"`, is 0.

    Example:

    >>> truth = np.array([[3.0, 0.0], [0.0, 1.0]])
    >>> estimate = np.array([[3.0, 0.0], [0.0, 0.0]])
    >>> round(nmse(estimate, truth), 4), round(nmse(estimate, truth, "signal"), 4)
    (-10.0, -3.0103)
    """
    estimate, truth = np.asarray(estimate), np.asarray(truth)
    if estimate.shape != truth.shape or not truth.ndim:
        raise ValueError(
            "`estimate` and `truth` must be of one shape [..., N]. "
            f"Received: estimate.shape={estimate.shape}, truth.shape={truth.shape}"
        )
    mask = np.ones(truth.shape[-1], bool) if mask is None else np.asarray(mask)
    if mask.shape != truth.shape[-1:] or mask.dtype != bool:
        raise ValueError(
            f"`mask` must be bool of shape {truth.shape[-1:]}. Received: mask of dtype "
            f"{mask.dtype} and shape {mask.shape}"
        )
    # Integers would wrap around.
    wide = np.result_type(estimate, truth, "float64")
    errors = energy(estimate[..., mask].astype(wide) - truth[..., mask])
    return float(decibels(errors.ravel(), energy(truth[..., mask]).ravel(), average))


def energy(x):
    """Returns `|x|^2` along the last axis, in float64."""
    wide = np.abs(np.asarray(x)).astype("float64")
    return np.sum(wide * wide, axis=-1)


def decibels(errors, energies, average):
    """Returns the NMSE in dB of squared errors and energies of signals, on axis 0."""
    check_choice("average", average, AVERAGES)
    energies = np.asarray(energies, "float64")
    lowest = energies.sum() if average == "block" else energies.min(initial=np.inf)
    if not lowest > 0:
        which = "" if average == "block" else " in any signal for average='signal'"
        raise ValueError(f"`truth` must not be 0{which}.")
    if average == "block":
        ratio = errors.sum(axis=0) / energies.sum(axis=0)
    else:
        ratio = np.mean(errors / energies, axis=0)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(ratio)
