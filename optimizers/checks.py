"""Checks of constructor arguments, one line each."""

import math
import numbers


def check_rate(learning_rate):
    """Raises ValueError for a float that is no learning rate.

    Zero is one: a schedule may end there, and the model must load again.
    """
    if isinstance(learning_rate, float) and not 0 <= learning_rate < math.inf:
        raise ValueError(
            "`learning_rate` must be a finite float from 0 up. "
            f"Received: learning_rate={learning_rate}"
        )


def check_not_negative(name, value):
    """Returns `value` as a float; raises ValueError unless it is one from 0 up."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (number and 0 <= value < math.inf):
        raise ValueError(
            f"`{name}` must be a finite number from 0 up. Received: {name}={value!r}"
        )
    return float(value)


def check_integer(name, value, low, allowed="an int"):
    """Returns `value` as an int; raises ValueError unless it is one from `low` up."""
    integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not (integer and value >= low):
        raise ValueError(
            f"`{name}` must be {allowed} from {low} up. Received: {name}={value!r}"
        )
    return int(value)


def check_bool(name, value):
    """Returns `value`; raises ValueError unless it is a bool."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be a bool. Received: {name}={value!r}")
    return value


def check_choice(name, value, choices):
    """Raises ValueError unless `value` is one of `choices`."""
    # Arrays have no hash, and no one answer to whether they are equal.
    if type(value).__hash__ is None or value not in choices:
        raise ValueError(
            f"`{name}` must be one of {choices}. Received: {name}={value!r}"
        )


def check_decay(name, value):
    """Returns `value` as a float; raises ValueError unless it is in [0, 1)."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (number and 0 <= value < 1):
        raise ValueError(
            f"`{name}` must be a number from 0 up, below 1. Received: {name}={value!r}"
        )
    return float(value)


def check_momentum(value):
    """Returns `value` as a float; raises ValueError unless it is in [0, 1]."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (number and 0 <= value <= 1):
        # Keras's words.
        raise ValueError(
            f"`momentum` must be a float between [0, 1]. Received: momentum={value!r}"
        )
    return float(value)


def check_positive(name, value):
    """Returns `value` as a float; raises ValueError unless it is one above 0."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (number and 0 < value < math.inf):
        raise ValueError(
            f"`{name}` must be a finite number above 0. Received: {name}={value!r}"
        )
    return float(value)
