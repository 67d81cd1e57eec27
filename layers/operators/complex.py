"""Complex numbers where `keras.ops` has them as pairs of a real and an imaginary part.

Keras multiplies complex128 by float64, and joins two of float64, in complex64.
"""

import keras
from keras import ops


def join(real, imaginary):
    """Returns the complex tensor of a pair of real ones."""
    double = keras.backend.standardize_dtype(real.dtype) == "float64"
    dtype = "complex128" if double else "complex64"
    return ops.cast(real, dtype) + 1j * ops.cast(imaginary, dtype)


def times(pair, factor):
    """Returns the product of a pair and a real tensor."""
    return pair[0] * factor, pair[1] * factor
