"""How strongly an operator measures: its singular values, and its mean column."""

import math

import numpy as np
from keras import ops

from zoo.layers.operators import GaussianMatrix

# Of the estimate of a norm that is not closed.
PROBES = 16


def spectrum(operator):
    """Returns the eigenvalues of `A^T A` that are not 0, if they are known.

    Args:
        operator: a `zoo.layers.operators.LinearOperator`, `A`.

    Returns:
        Pair of arrays: the values, and how often each is there; or `None` of operators
        whose spectrum has no closed form.

    Example: a quarter of the values of an orthonormal transform, four times as large.

    >>> from zoo.layers.operators import StructuredRandom
    >>> spectrum(StructuredRandom((8, 8, 1), 16))
    (array([4.]), array([16]))
    """
    if operator.tightness is not None:
        rank = min(operator.rank_bound(), operator.num_pixels)
        return np.array([float(operator.tightness)]), np.array([rank])
    # Filters have one value a frequency, matrices the squares of singular values.
    values, repeats = getattr(operator, "eigenvalues", None), operator.image_shape[2]
    if values is None:
        values, repeats = getattr(operator, "values", None), 1
    if values is None:
        return None
    values = ops.convert_to_numpy(values).astype("float64").ravel()
    values = values[values > 0]
    return values, np.full(len(values), repeats)


def column_norm(operator):
    """Returns the root mean square of the norms of columns, `|A|_F / sqrt(n)`.

    It is closed where `spectrum` is and for matrices, and else estimated from 16 images
    of random signs of a fixed seed.

    Args:
        operator: a `zoo.layers.operators.LinearOperator`, `A`.

    Example: an orthonormal transform, of which one value in 4 is taken.

    >>> from zoo.layers.operators import FourierMask
    >>> column_norm(FourierMask((2, 2, 1), [[1, 0], [0, 0]]))
    0.5
    """
    known = spectrum(operator)
    if isinstance(operator, GaussianMatrix):
        # As it is now: a new matrix may have been assigned.
        energy = float(ops.sum(ops.square(operator.matrix)))
    elif known is not None:
        energy = float(known[0] @ known[1])
    else:
        shape = (PROBES, *operator.image_shape)
        signs = np.random.default_rng(0).choice([-1.0, 1.0], shape)
        y = ops.convert_to_numpy(operator(signs))
        energy = float(np.sum(np.abs(y.astype("complex128")) ** 2)) / PROBES
    return math.sqrt(energy / operator.num_pixels)
