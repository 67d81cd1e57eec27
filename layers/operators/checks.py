"""Checks of what operators are made of, one line each."""

import numbers

import numpy as np
from keras import ops


def check_image_shape(shape):
    """Returns `shape`, ints `(H, W, C)` from 1 up, as a tuple."""
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    if len(sizes) != 3 or not all(_is_positive(size) for size in sizes):
        raise ValueError(
            "`image_shape` must be three ints (height, width, channels) from 1 up. "
            f"Received: image_shape={shape!r}"
        )
    return tuple(int(size) for size in sizes)


def check_count(name, value, high=None):
    """Returns `value` as an int from 1 to `high`, or from 1 up."""
    if not _is_positive(value) or (high is not None and value > high):
        end = "up" if high is None else f"to {high}"
        raise ValueError(
            f"`{name}` must be an int from 1 {end}. Received: {name}={value!r}"
        )
    return int(value)


def check_seed(value):
    """Returns `value` as an int from 0 up."""
    if not (_is_integer(value) and value >= 0):
        raise ValueError(f"`seed` must be an int from 0 up. Received: seed={value!r}")
    return int(value)


def check_array(name, value):
    """Returns `value` as a float64 array of finite real numbers."""
    array = np.asarray(ops.convert_to_numpy(value))
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"`{name}` must be an array of real numbers. "
            f"Received: {name} of dtype {array.dtype}"
        )
    array = array.astype("float64")
    if not np.isfinite(array).all():
        raise ValueError(
            f"`{name}` must be finite. Received: {name} with "
            f"{np.count_nonzero(~np.isfinite(array))} values that are NaN or infinite"
        )
    return array


def check_mask(mask, shapes):
    """Returns `mask`, of one of `shapes`, as a float64 array of zeros and some ones."""
    array = check_array("mask", mask)
    if array.shape not in shapes:
        allowed = " or ".join(str(shape) for shape in shapes)
        raise ValueError(
            f"`mask` must have the shape {allowed}. "
            f"Received: mask of shape {array.shape}"
        )
    if not np.isin(array, (0.0, 1.0)).all() or not array.any():
        raise ValueError(
            "`mask` must be zeros and ones, at least one of them 1. "
            f"Received: mask with values from {array.min():g} to {array.max():g}"
        )
    return array


def _is_positive(value):
    return _is_integer(value) and value >= 1


def _is_integer(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
