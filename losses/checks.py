"""Checks of arguments and shapes, one line each."""

import math
import numbers

import keras
import numpy as np


def check_number(name, value, low=-math.inf, high=math.inf, allowed=None):
    """Returns `value` as a float.

    Args:
        name: str, the argument's.
        value: what was given.
        low, high: smallest and largest that is allowed.
        allowed: the same in words, where the two do not say it.

    Raises:
        ValueError: `value` is no finite number, or is not allowed.
    """
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if number and math.isfinite(value) and low <= value <= high:
        return float(value)
    if allowed is None:
        allowed = f"a number from {low:g} up"
        if high < math.inf:
            allowed = f"a number from {low:g} to {high:g}"
        elif low == -math.inf:
            allowed = "a finite number"
    raise ValueError(f"`{name}` must be {allowed}. Received: {name}={value!r}")


def check_integer(name, value, low=None, high=math.inf):
    """Returns `value` as an int.

    Raises:
        ValueError: `value` is no integer, or lies below `low` or above `high`.
    """
    integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if integer and (low is None or low <= value <= high):
        return int(value)
    allowed = "an integer" if low is None else f"an integer from {low} up"
    if high < math.inf:
        allowed = f"an integer from {low} to {high}"
    raise ValueError(f"`{name}` must be {allowed}. Received: {name}={value!r}")


def check_labels(labels, samples, classes):
    """Returns labels `[samples]` as int32.

    Raises:
        ValueError: they are of another shape, or no integers from 0 to `classes - 1`.
    """
    labels = np.asarray(labels)
    if labels.shape != (samples,) or not np.isin(labels, np.arange(classes)).all():
        raise ValueError(
            f"`labels` must be integers from 0 to {classes - 1}, of shape "
            f"({samples},). Received: labels of shape {labels.shape}: {labels}"
        )
    return labels.astype("int32")


def check_choice(name, value, choices):
    """Returns `value`.

    Raises:
        ValueError: it is none of `choices`.
    """
    # Arrays have no hash, and no one answer to whether they are equal.
    known = type(value).__hash__ is not None and value in choices
    # True is equal to 1.
    if known and (not isinstance(value, bool) or any(one is value for one in choices)):
        return value
    raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")


def check_bool(name, value):
    """Returns `value`.

    Raises:
        ValueError: it is no bool.
    """
    if isinstance(value, bool):
        return value
    raise ValueError(f"`{name}` must be a bool. Received: {name}={value!r}")


def check_dtype(dtype):
    """Returns the dtype that a loss computes in: float32 unless float64 is wanted."""
    dtype = keras.backend.standardize_dtype(dtype or "float32")
    if dtype not in ("float32", "float64"):
        raise ValueError(
            f"`dtype` must be 'float32' or 'float64'. Received: dtype={dtype!r}"
        )
    return dtype


def same_sizes(shape, other):
    """Whether two shapes are the same, as far as their sizes are known."""
    return len(shape) == len(other) and all(
        one == two or None in (one, two) for one, two in zip(shape, other, strict=True)
    )
