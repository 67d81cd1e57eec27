"""Convolution of images with a kernel."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.checks import check_choice
from zoo.layers.operators.checks import check_array, check_image_shape
from zoo.layers.operators.fourier import FourierDiagonal

BOUNDARIES = ("circular", "zero", "reflect")


# Another than the deficit of that name, `zoo.data.Blur`.
@keras.saving.register_keras_serializable(package="zoo", name="BlurOperator")
class Blur(FourierDiagonal):
    """Measurements `y = k * x`, the convolution of each channel: deblurring.

    `y[i, j] = sum_{a, b} k[a, b] x[i - a + r, j - b + s]`,  `r, s` the centre of `k`

    It is computed by Fourier transforms of images with a margin, so that its cost does
    not depend on the kernel's size. With the circular boundary, which needs no margin,
    norms and the proximal map are closed.

    Args:
        image_shape: three ints, `(H, W, C)` of an image.
        kernel: `[h, w]` with `h` and `w` odd, up to `H` and `W`, for all channels.
        boundary: what lies outside of an image: `"circular"`, its other side; `"zero"`,
            zeros; or `"reflect"`, its mirror image about the centres of the pixels at
            the edge, as in `numpy.pad`. Defaults to `"circular"`.
        **kwargs: `name`, `dtype`.

    Call arguments:
        x: `[batch, H, W, C]`.

    Returns:
        `[batch, H, W, C]`.

    Raises:
        ValueError: `kernel` is of another shape or not finite, or `boundary` none of
            the three.

    Example:

    >>> import numpy as np
    >>> x = np.array([[[[1.0], [0.0], [0.0], [4.0]]]])
    >>> for boundary in ("circular", "zero", "reflect"):
    ...     operator = Blur((1, 4, 1), [[0.25, 0.5, 0.25]], boundary)
    ...     print(np.round(np.asarray(operator(x)).ravel(), 6))
    [1.5  0.25 1.   2.25]
    [0.5  0.25 1.   2.  ]
    [0.5  0.25 1.   2.  ]
    >>> operator = Blur((1, 4, 1), [[0.25, 0.5, 0.25]])
    >>> operator.operator_norm(), operator.strong_convexity()
    (1.0, 0.0)
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        kernel: Array,
        boundary: Literal["circular", "zero", "reflect"] = "circular",
        **kwargs: Any,
    ) -> None:
        shape = check_image_shape(image_shape)
        kernel = _check_kernel(kernel, shape)
        check_choice("boundary", boundary, BOUNDARIES)
        margins = [size // 2 for size in kernel.shape]
        self._margins = [0, 0] if boundary == "circular" else margins
        sizes = np.add(shape[:2], np.multiply(2, self._margins))
        symbol = _symbol(kernel, sizes)
        eigenvalues = _squares(symbol) if boundary == "circular" else None
        super().__init__(shape, shape, eigenvalues, **kwargs)
        self.boundary = boundary
        self._kernel_shape = kernel.shape
        self.symbol = self.add_data("symbol", np.stack([symbol.real, symbol.imag]))

    def measure(self, x: Array) -> Array:
        for axis, margin in zip((1, 2), self._margins, strict=True):
            x = _pad(x, margin, axis, self.boundary)
        symbol = ops.cast(self.symbol, x.dtype)
        return self._crop(self._filter(x, symbol[0], symbol[1]))

    def transpose(self, y: Array) -> Array:
        for axis, margin in zip((1, 2), self._margins, strict=True):
            y = _pad(y, margin, axis, "zero")
        symbol = ops.cast(self.symbol, y.dtype)
        x = self._filter(y, symbol[0], -symbol[1])
        for axis, margin in zip((1, 2), self._margins, strict=True):
            x = _fold(x, margin, axis, self.boundary)
        return x

    def _filter(self, x, a, b):
        """Multiplies Fourier transforms by `a + i b`."""
        real, imaginary = self.to_spectra(x)
        return self.from_spectra((a * real - b * imaginary, a * imaginary + b * real))

    def _crop(self, x):
        (top, left), (height, width, _) = self._margins, self.image_shape
        return x[:, top : top + height, left : left + width]

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_shape": self._kernel_shape,
            "boundary": self.boundary,
        }

    @classmethod
    def from_config(cls, config):
        """Makes a layer of the saved shape; its kernel comes with the weights."""
        config = dict(config)
        return cls(kernel=np.ones(config.pop("kernel_shape")), **config)


def _check_kernel(kernel, image_shape):
    array = check_array("kernel", kernel)
    if array.ndim != 2 or any(
        size % 2 == 0 or size > side
        for size, side in zip(array.shape, image_shape[:2], strict=True)
    ):
        raise ValueError(
            "`kernel` must have two odd sizes, no larger than the image's "
            f"{image_shape[:2]}. Received: kernel of shape {array.shape}"
        )
    return array


def _symbol(kernel, sizes):
    """The Fourier transform of the kernel with its centre at the first pixel."""
    image = np.zeros(sizes)
    image[: kernel.shape[0], : kernel.shape[1]] = kernel
    return np.fft.fft2(np.roll(image, [-(size // 2) for size in kernel.shape], (0, 1)))


def _squares(symbol):
    """`|symbol|^2`, with zeros in place of what is but rounding."""
    squares = np.abs(symbol) ** 2
    return np.where(squares > 1e-28 * squares.max(), squares, 0.0)


def _pad(x, margin, axis, boundary):
    """Continues images by `margin` pixels on either side of an axis."""
    if margin == 0:
        return x
    margins = [(margin, margin) if index == axis else (0, 0) for index in range(4)]
    return ops.pad(x, margins, mode="constant" if boundary == "zero" else "reflect")


def _fold(y, margin, axis, boundary):
    """The adjoint of `_pad`: adds what lies outside to where it came from."""
    if margin == 0:
        return y
    size = y.shape[axis] - 2 * margin
    before, y, after = ops.split(y, (margin, margin + size), axis=axis)
    if boundary == "zero":
        return y
    for strip, start in ((before, 1), (after, size - 1 - margin)):
        margins = [(0, 0)] * 4
        margins[axis] = (start, size - margin - start)
        y = y + ops.pad(ops.flip(strip, axis), margins)
    return y
