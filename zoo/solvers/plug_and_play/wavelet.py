"""The prior of images with few wavelets."""

import functools
from typing import Any

import keras
import numpy as np
import pywt
from keras import ops

from zoo._types import Array
from zoo.layers.shrinkage import soft_threshold
from zoo.losses.checks import check_integer
from zoo.solvers.plug_and_play.priors import Prior

# Of products of filters in tables of limited precision.
SLACK = 1e-6


@keras.saving.register_keras_serializable(package="zoo")
class Wavelet(Prior):
    """Few wavelets: `phi(x) = |details of W x|_1`, `W` orthonormal and periodic.

    `prox = W^T soft(W x, step weight)` leaves the coarsest means alone. With `spins >
    1` it is the mean over images that are shifted by `0, ..., spins - 1` pixels along
    either axis, which has fewer artefacts: the prox of some other convex function.

    Args:
        weight: as for all priors.
        wavelet: str, an orthogonal wavelet that PyWavelets names. Defaults to `"db4"`.
        levels: int >= 1; sides must be multiples of `2^levels`. Defaults to 3.
        spins: int >= 1. The cost grows with its square. Defaults to 1.
        **kwargs: as for all priors.

    Example:

    >>> image = np.array([0.5, 0.7, 0.1, 0.1]).reshape(1, 2, 2, 1)
    >>> prior = Wavelet(0.4, "haar", levels=1)
    >>> np.asarray(prior(image)).ravel().round(2).tolist()
    [0.4, 0.4, 0.3, 0.3]

    Reference:

    - Coifman and Donoho, 1995, "Translation-Invariant De-Noising", Wavelets and
      Statistics, Springer
    """

    def __init__(
        self,
        weight: float,
        wavelet: str = "db4",
        levels: int = 3,
        spins: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(weight, **kwargs)
        self.wavelet = wavelet
        self.levels = check_integer("levels", levels, 1)
        self.spins = check_integer("spins", spins, 1)
        if wavelet not in pywt.wavelist(kind="discrete") or not _orthonormal(wavelet):
            raise ValueError(
                "`wavelet` must be an orthogonal wavelet of PyWavelets. "
                f"Received: wavelet={wavelet!r}"
            )

    def prox(
        self, images: Array, strength: Array, memory: tuple[Array, ...]
    ) -> tuple[Array, tuple[Array, ...]]:
        sides = images.shape[1:3]
        if any(side % 2**self.levels for side in sides):
            raise ValueError(
                f"`images` must have sides that are multiples of {2**self.levels} for "
                f"levels={self.levels}. Received: sides {tuple(sides)}"
            )
        shifts = [(i, j) for i in range(self.spins) for j in range(self.spins)]
        shrunk = [
            ops.roll(
                self._shrink(ops.roll(images, shift, (1, 2)), strength, self.levels),
                (-shift[0], -shift[1]),
                (1, 2),
            )
            for shift in shifts
        ]
        return sum(shrunk) / len(shrunk), memory

    def _shrink(self, images, strength, levels):
        """Transforms by a level, shrinks the details, and goes back."""
        if not levels:
            return images
        height, width = images.shape[1:3]
        rows, columns = (
            ops.convert_to_tensor(transform(self.wavelet, side), images.dtype)
            for side in (height, width)
        )
        waves = ops.einsum("ih,bhwc,jw->bijc", rows, images, columns)
        top, left = height // 2, width // 2
        means = self._shrink(waves[:, :top, :left], strength, levels - 1)
        details = soft_threshold(waves, strength)
        upper = ops.concatenate([means, details[:, :top, left:]], axis=2)
        waves = ops.concatenate([upper, details[:, top:]], axis=1)
        return ops.einsum("ih,bijc,jw->bhwc", rows, waves, columns)

    def get_config(self):
        config = {"wavelet": self.wavelet, "levels": self.levels, "spins": self.spins}
        return {**super().get_config(), **config}


@functools.cache
def transform(wavelet, size):
    """Returns the orthonormal `[size, size]` of one level: means, then details."""
    return np.concatenate(pywt.dwt(np.eye(size), wavelet, "periodization", axis=0))


def _orthonormal(wavelet):
    """Whether shifts of the filter by two are: of "dmey", which is cut off, not."""
    wavelet = pywt.Wavelet(wavelet)
    taps = np.array(wavelet.dec_lo)
    products = np.correlate(taps, taps, "full")[len(taps) - 1 :: 2]
    identity = np.arange(len(products)) == 0
    return wavelet.orthogonal and np.allclose(products, identity, atol=SLACK)
