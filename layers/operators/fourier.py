"""Operators that are diagonal in Fourier's basis, and the mask in it."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo import _backend
from zoo._types import Array
from zoo.layers.operators.base import LinearOperator
from zoo.layers.operators.checks import check_image_shape, check_mask
from zoo.layers.operators.complex import join, times


class FourierDiagonal(LinearOperator):
    """The base of operators whose `A^T A` is a filter of circular boundary.

    `A^T A = F^H diag(d) F` with `F` the two-dimensional transform of each channel, and
    so

    `prox_l2 = F^H diag(1 / (1 + step d)) F (z + step A^T y)`

    which costs two transforms where `A^T y` is known.

    Args:
        image_shape, measurement_shape, is_complex, **kwargs: as for `LinearOperator`.
        eigenvalues: array `[H, W]`, `d`, in the order of `fft2`, or `None` if `A^T A`
            is no such filter: all is then as for `LinearOperator`.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        measurement_shape: Sequence[int],
        eigenvalues: np.ndarray | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_shape, measurement_shape, **kwargs)
        self.eigenvalues = None
        if eigenvalues is not None:
            self.eigenvalues = self.add_data("eigenvalues", eigenvalues)

    def normal(self, x: Array) -> Array:
        if self.eigenvalues is None:
            return super().normal(x)
        return self.filter(ops.cast(self.eigenvalues, x.dtype))(x)

    def prox_map(self, y: Array, step: float | Array) -> Callable[[Array], Array]:
        if self.eigenvalues is None:
            return super().prox_map(y, step)
        step = self.to_step(step)
        pulled = step * self.adjoint(y)
        run = self.filter(1 / (1 + step * ops.cast(self.eigenvalues, step.dtype)))
        return lambda z: run(self.to_images(z) + pulled)

    def filter(self, gains: Array) -> Callable[[Array], Array]:
        """Returns a function of images: their spectra times `gains`, `[..., H, W]`."""
        run = _backend.real_filter(gains)
        return lambda x: self.channels_last(run(self.channels_first(x)))

    def to_spectra(self, x: Array) -> tuple[Array, Array]:
        """Returns `fft2` of each channel, a pair of tensors `[batch, C, H, W]`."""
        x = self.channels_first(x)
        return ops.fft2((x, ops.zeros_like(x)))

    def from_spectra(self, pair: tuple[Array, Array]) -> Array:
        """Returns the real part of the inverse of `to_spectra`, images."""
        return self.channels_last(ops.ifft2(pair)[0])

    def channels_first(self, x):
        if self.image_shape[2] == 1:
            return ops.reshape(x, (-1, 1, *x.shape[1:3]))
        return ops.transpose(x, (0, 3, 1, 2))

    def channels_last(self, x):
        if self.image_shape[2] == 1:
            return ops.reshape(x, (-1, *x.shape[2:], 1))
        return ops.transpose(x, (0, 2, 3, 1))

    def rank_bound(self) -> int:
        if self.eigenvalues is None:
            return super().rank_bound()
        rank = np.count_nonzero(ops.convert_to_numpy(self.eigenvalues))
        return int(rank) * self.image_shape[2]

    def compute_extreme(self, end: Literal["smallest", "largest"]) -> float:
        if self.eigenvalues is None:
            return super().compute_extreme(end)
        values = ops.convert_to_numpy(self.eigenvalues)
        return float(values.max() if end == "largest" else values.min())


@keras.saving.register_keras_serializable(package="zoo")
class FourierMask(FourierDiagonal):
    """Measurements `y = m F x` of some frequencies: magnetic resonance imaging.

    `F` is the orthonormal two-dimensional Fourier transform of each channel.
    Measurements are complex and have the shape of the image, 0 where no frequency is
    measured. What `y` is there counts for nothing.

    A real image has `F x` of conjugate values at `k` and `-k`. So over real images
    `A^T A` is the filter `d(k) = (m(k) + m(-k)) / 2`: a mask that is not symmetric sees
    more frequencies than it measures, those by half.

    Args:
        image_shape: three ints, `(H, W, C)` of an image.
        mask: `[H, W]`, 1 where a frequency is measured and 0 elsewhere, in the order of
            `fft2`: frequency 0 comes first.
        **kwargs: `name`, `dtype`.

    Call arguments:
        x: `[batch, H, W, C]`.

    Returns:
        `[batch, H, W, C]`, complex.

    Raises:
        ValueError: `mask` is of another shape, has other values than 0 and 1, or no 1.

    Example:

    >>> import numpy as np
    >>> operator = FourierMask((2, 2, 1), [[1, 0], [0, 0]])
    >>> y = operator(np.ones((1, 2, 2, 1)))  # the sum over sqrt(H W)
    >>> np.asarray(y)[0, :, :, 0]
    array([[2.+0.j, 0.+0.j],
           [0.+0.j, 0.+0.j]], dtype=complex64)
    """

    def __init__(self, image_shape: Sequence[int], mask: Array, **kwargs: Any) -> None:
        shape = check_image_shape(image_shape)
        mask = check_mask(mask, (shape[:2],))
        opposite = np.roll(np.flip(mask), (1, 1), (0, 1))
        eigenvalues = (mask + opposite) / 2
        super().__init__(shape, shape, eigenvalues, is_complex=True, **kwargs)
        self.mask = self.add_data("mask", mask)

    def measure(self, x: Array) -> Array:
        pair = times(self.to_spectra(x), self._scaled_mask(x.dtype))
        return self.channels_last(join(*pair))

    def transpose(self, y: Array) -> Array:
        y = self.channels_first(y)
        pair = ops.real(y), ops.imag(y)
        pixels = self.image_shape[0] * self.image_shape[1]
        return self.from_spectra(times(pair, pixels * self._scaled_mask(pair[0].dtype)))

    def zero_unmeasured(self, y: Array) -> Array:
        return y * ops.cast(self.mask, y.dtype)[..., None]

    def _scaled_mask(self, dtype):
        """The mask over `sqrt(H W)`, which makes `fft2` orthonormal."""
        pixels = self.image_shape[0] * self.image_shape[1]
        return ops.cast(self.mask, dtype) * pixels**-0.5

    @classmethod
    def from_config(cls, config):
        """Makes a layer of the saved shape; its mask comes with the weights."""
        return cls(mask=np.ones(config["image_shape"][:2]), **config)
