"""The norm of a convolution as a linear map of images, in float64."""

import itertools
import math

import numpy as np

# Of the residual to the norm: the error of the norm is about its square.
TOLERANCE = 1e-6
EVERY = 10
# Frequencies an axis at which a bound looks.
GRID = 64


def convolution_norm(kernel, image_size, dilation_rate=(1, 1), steps=200):
    """Measures the largest singular value of a convolution with zero padding.

    `max |W x| / |x|` over images `x` of `image_size`, `W` being the convolution of
    stride 1 and padding `"same"`. Lanczos's bidiagonalisation takes a product with `W`
    and one with its transpose a step, as the power method does, and is never behind
    it from the same start. It ends where the residual is below 1e-6 of the norm. What
    it returns is no larger than the norm, up to rounding.

    Args:
        kernel: array `[height, width, channels, filters]`.
        image_size: pair of ints, height and width of the images.
        dilation_rate: pair of ints. Defaults to `(1, 1)`.
        steps: int >= 1, the most steps. Defaults to 200.

    Returns:
        Float.

    Example: a mean over 3 x 3 pixels is nearly one where there are many.

    >>> kernel = np.full((3, 3, 1, 1), 1 / 9)
    >>> [round(convolution_norm(kernel, (n, n)), 3) for n in (1, 4, 16, 64)]
    [0.111, 0.762, 0.977, 0.998]

    Reference:

    - Golub, Kahan, 1965, "Calculating the Singular Values and Pseudo-Inverse of a
      Matrix", doi:10.1137/0702016
    """
    return float(_leading(kernel, image_size, dilation_rate, steps)[0])


def convolution_bound(kernel):
    """Bounds the largest singular value of a convolution on images of all sizes.

    A convolution of a finite image with zeros around it, of any dilation, is a part of
    that of all of the plane, whose norm is the largest of its symbols' `S(f) = sum_p
    kernel[p] exp(i p f)`. Between the frequencies of a grid, `|S(f) x|^2` is a
    trigonometric polynomial of degree `length - 1` an axis, which exceeds its values on
    `n` points by `1 / cos(pi (length - 1) / n)` at most. The same holds for circular
    boundaries.

    Args:
        kernel: array `[height, width, channels, filters]`.

    Returns:
        Float, no smaller than `convolution_norm` for any size.

    Example: a mean over 3 x 3 pixels never stretches.

    >>> kernel = np.full((3, 3, 1, 1), 1 / 9)
    >>> 1 <= convolution_bound(kernel) < 1.005
    True

    Reference:

    - Sedghi, Gupta and Long, 2019, "The Singular Values of Convolutional Layers",
      arXiv:1805.10408 (circular boundaries)
    - Ehlich and Zeller, 1964, "Schwankung von Polynomen zwischen Gitterpunkten", Math.
      Zeitschrift 86
    """
    kernel = np.asarray(kernel, "float64")
    sizes = [max(GRID, 8 * length) for length in kernel.shape[:2]]
    # Those of the other half are conjugate.
    symbols = np.fft.fft2(kernel, sizes, axes=(0, 1))[:, : sizes[1] // 2 + 1]
    if kernel.shape[2] > kernel.shape[3]:
        symbols = symbols.swapaxes(2, 3)
    grams = symbols.conj().swapaxes(2, 3) @ symbols
    degrees = zip(kernel.shape[:2], sizes, strict=True)
    slack = math.prod(math.cos(math.pi * (n - 1) / size) for n, size in degrees)
    return math.sqrt(np.linalg.eigvalsh(grams).max() / slack)


def singular_vector(kernel, image_size, dilation_rate=(1, 1), steps=200):
    """Returns the image that the convolution makes of the one it stretches most.

    Arguments are those of `convolution_norm`. Its norm is 1, or 0 if that of the
    convolution is. Vectors are made anew, not kept: there can be gigabytes of them.
    """
    _, weights = _leading(kernel, image_size, dilation_rate, steps)
    rows = _bidiagonalize(kernel, image_size, dilation_rate)
    u = sum(weight * u for weight, (_, _, u) in zip(weights, rows, strict=False))
    return u / (np.linalg.norm(u) or 1.0)


def _leading(kernel, image_size, dilation_rate, steps):
    """Returns the largest singular value, and its vector's part of each step's."""
    diagonal, above = [], []
    rows = _bidiagonalize(kernel, image_size, dilation_rate)
    for step, row in enumerate(itertools.islice(rows, steps), 1):
        diagonal.append(row[0])
        above.append(row[1])
        # On small images a look at the residual takes longer than a step.
        if step % EVERY == 0 or step == steps or not row[1]:
            matrix = np.diag(diagonal) + np.diag(above[:-1], 1)
            left, values, _ = np.linalg.svd(matrix)
            if row[1] * abs(left[-1, 0]) <= TOLERANCE * values[0]:
                break
    return values[0], left[:, 0]


def _bidiagonalize(kernel, image_size, dilation_rate):
    """Yields the two entries of each row of the bidiagonal form, and a left vector."""
    kernel = np.asarray(kernel, "float64")
    v = np.random.default_rng(0).standard_normal((*image_size, kernel.shape[2]))
    u, above = 0.0, np.linalg.norm(v)
    while True:
        v = v / (above or 1.0)
        u = _convolve(v, kernel, dilation_rate) - above * u
        diagonal = np.linalg.norm(u)
        u = u / (diagonal or 1.0)
        v = _transposed(u, kernel, dilation_rate) - diagonal * v
        above = np.linalg.norm(v)
        yield diagonal, above, u


def _convolve(image, kernel, dilation_rate):
    """Returns the convolution of `[height, width, channels]`, zero outside."""
    size = image.shape[:2]
    result = np.zeros((*size, kernel.shape[3]))
    for place in np.ndindex(kernel.shape[:2]):
        target, source = [], []
        for axis, sample in enumerate(place):
            rate, length = dilation_rate[axis], size[axis]
            shift = rate * sample - rate * (kernel.shape[axis] - 1) // 2
            target.append(slice(max(0, -shift), max(0, length - max(0, shift))))
            source.append(slice(max(0, shift), max(0, length + min(0, shift))))
        result[tuple(target)] += image[tuple(source)] @ kernel[place]
    return result


def _transposed(image, kernel, dilation_rate):
    """Returns the transpose of the convolution: one of the image upside down."""
    flipped = _convolve(image[::-1, ::-1], kernel.swapaxes(2, 3), dilation_rate)
    return flipped[::-1, ::-1]
