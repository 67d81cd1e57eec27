"""Orthonormal transforms of flat images, which are tuples of real tensors `[batch, n]`.

The tuple is of one tensor, or of a real and an imaginary part. Each transform comes
with its transpose.
"""

import numpy as np
from keras import ops

from zoo import _backend
from zoo.layers.operators.complex import times


def cosine(parts, shape):
    """Returns the cosine transform (DCT-II) of the flat image.

    It is the real part of the Fourier transform of the even entries and, backwards, the
    odd ones, turned by a quarter of a step.
    """
    order, turn = _cosine_parts(parts[0])
    x = _backend.take(parts[0], order, axis=1)
    real, imaginary = ops.fft((x, ops.zeros_like(x)))
    return (turn[0] * real - turn[1] * imaginary,)


def cosine_transposed(parts, shape):
    """Returns the inverse cosine transform."""
    order, turn = _cosine_parts(parts[0])
    real, _ = ops.fft((turn[0] * parts[0], turn[1] * parts[0]))
    return (_backend.take(real, np.argsort(order), axis=1),)


def _cosine_parts(x):
    n = x.shape[1]
    order = np.concatenate([np.arange(0, n, 2), np.arange(1, n, 2)[::-1]])
    turn = np.exp(-0.5j * np.pi * np.arange(n) / n) * np.sqrt(2 / n)
    turn[0] /= np.sqrt(2)
    return order, ops.convert_to_tensor(np.stack([turn.real, turn.imag]), x.dtype)


def hadamard(parts, shape):
    """Returns Walsh and Hadamard's transform, which is its transpose."""
    bits = parts[0].shape[1].bit_length() - 1
    # As a matrix p x q, it is a transform of the rows and one of the columns.
    p, q = 2 ** (bits // 2), 2 ** (bits - bits // 2)
    x = ops.reshape(parts[0], (-1, p, q)) @ _hadamard_matrix(q, parts[0])
    x = _hadamard_matrix(p, x) @ x
    return (ops.reshape(x, (-1, p * q)),)


def _hadamard_matrix(size, x):
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]]) * 2**-0.5
    return ops.convert_to_tensor(matrix, x.dtype)


def fourier(parts, shape):
    """Returns the Fourier transform of each channel's image, channels first."""
    height, width, channels = shape
    images = (ops.reshape(part, (-1, height, width, channels)) for part in parts)
    pair = ops.fft2(tuple(ops.transpose(image, (0, 3, 1, 2)) for image in images))
    pair = times(pair, (height * width) ** -0.5)
    return tuple(ops.reshape(part, (-1, height * width * channels)) for part in pair)


def fourier_transposed(parts, shape):
    """Returns the inverse of `fourier`."""
    height, width, channels = shape
    spectra = (ops.reshape(part, (-1, channels, height, width)) for part in parts)
    pair = times(ops.ifft2(tuple(spectra)), (height * width) ** 0.5)
    images = (ops.transpose(part, (0, 2, 3, 1)) for part in pair)
    return tuple(ops.reshape(part, (-1, height * width * channels)) for part in images)
