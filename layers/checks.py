"""Checks of constructor arguments that layers share, one line each."""

import math
import numbers

import numpy as np

# Backends count in int32.
LARGEST = 2**31 - 1


def check_bool(name, value):
    """Returns `value`, a bool."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise ValueError(f"`{name}` must be a bool. Received: {name}={value!r}")


def check_choice(name, value, choices):
    """Returns `value`, a str that is one of `choices`."""
    if isinstance(value, str) and value in choices:
        return value
    raise ValueError(
        f"`{name}` must be one of {tuple(choices)}. Received: {name}={value!r}"
    )


def check_count(name, value, high=LARGEST):
    """Returns `value` as an int from 1 to `high`."""
    integer = is_integer(value)
    if integer and 1 <= value <= high:
        return int(value)
    # What is never reached but by mistake is not worth a word.
    open_end = high == LARGEST and not (integer and value > high)
    end = "up" if open_end else f"to {high}"
    raise ValueError(
        f"`{name}` must be an int from 1 {end}. Received: {name}={value!r}"
    )


def check_seed(value):
    """Returns `value` as an int from 0 up."""
    if is_integer(value) and value >= 0:
        return int(value)
    raise ValueError(f"`seed` must be an int from 0 up. Received: seed={value!r}")


def check_positive(name, value):
    """Returns `value`, a finite number above 0, as a float."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if number and 0 < value < math.inf:
        return float(value)
    raise ValueError(
        f"`{name}` must be a finite number above 0. Received: {name}={value!r}"
    )


def is_integer(value):
    """Whether `value` is an int, and no bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
