"""Labels that are wrong on purpose."""

import numbers

import numpy as np

from zoo._types import Array
from zoo.losses.checks import check_labels


def corrupt_labels(
    labels: Array, fraction: float, num_classes: int, *, seed: int = 0
) -> np.ndarray:
    """Replaces a fraction of the labels by another class, drawn uniformly.

    `round(fraction * n)` samples are chosen without replacement, and none of them
    keeps its label. A larger fraction with the same seed corrupts the same samples,
    and further ones.

    Args:
        labels: array of integers, `(n,)`, from 0 to `num_classes - 1`.
        fraction: float from 0 to 1.
        num_classes: integer, the number of classes, at least 2.
        seed: integer.

    Returns:
        A new array of the shape and dtype of `labels`.

    Raises:
        ValueError: if an argument is outside what is allowed above.

    Example:

    >>> labels = np.arange(10)
    >>> int(np.sum(corrupt_labels(labels, 0.4, 10) != labels))
    4

    Reference:

    - Zhang et al., 2017, arXiv:1611.03530
    """
    if not isinstance(fraction, numbers.Real) or not 0 <= fraction <= 1:
        raise ValueError(
            f"`fraction` must be a number from 0 to 1. Received: fraction={fraction!r}"
        )
    if not isinstance(num_classes, numbers.Integral) or num_classes < 2:
        raise ValueError(
            "`num_classes` must be an integer from 2 up. "
            f"Received: num_classes={num_classes!r}"
        )
    labels = np.array(labels)
    check_labels(labels, len(labels), num_classes)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    steps = generator.integers(1, num_classes, len(labels))
    chosen = order[: round(fraction * len(labels))]
    labels[chosen] = (labels[chosen] + steps[chosen]) % num_classes
    return labels
