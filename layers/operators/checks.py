"""Checks of what operators are made of, one line each."""

import numpy as np
from keras import ops

from zoo.layers.checks import is_integer


def check_image_shape(shape):
    """Returns `shape`, ints `(H, W, C)` from 1 up, as a tuple."""
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    if len(sizes) != 3 or not all(is_integer(size) and size > 0 for size in sizes):
        raise ValueError(
            "`image_shape` must be three ints (height, width, channels) from 1 up. "
            f"Received: image_shape={shape!r}"
        )
    return tuple(int(size) for size in sizes)


def check_measurement_shape(shape):
    """Returns `shape`, one or more ints from 1 up, as a tuple."""
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    if not sizes or not all(is_integer(size) and size > 0 for size in sizes):
        raise ValueError(
            "`measurement_shape` must be one or more ints from 1 up. "
            f"Received: measurement_shape={shape!r}"
        )
    return tuple(int(size) for size in sizes)


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
