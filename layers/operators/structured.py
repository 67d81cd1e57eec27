"""Random measurements that cost a fast transform and need no matrix."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo import _backend
from zoo._types import Array
from zoo.layers.checks import check_choice, check_count, check_seed
from zoo.layers.operators import transforms
from zoo.layers.operators.base import LinearOperator
from zoo.layers.operators.checks import check_image_shape
from zoo.layers.operators.complex import join

KINDS = {
    "dct": (transforms.cosine, transforms.cosine_transposed),
    "hadamard": (transforms.hadamard, transforms.hadamard),
    "coded_diffraction": (transforms.fourier, transforms.fourier_transposed),
}


@keras.saving.register_keras_serializable(package="zoo")
class StructuredRandom(LinearOperator):
    """Measurements `y = sqrt(n / m) R T D x` in place of those by a random matrix.

    `D` multiplies the `n = H W C` pixels by random signs, `T` is an orthonormal
    transform and `R` takes `m` of its values at random. So columns have norm 1 on
    average, and `A A^T = (n / m) I`. The transforms are

    - `"dct"`: the cosine transform (DCT-II) of the flat image;
    - `"hadamard"`: Walsh and Hadamard's of the flat image, whose `n` must be a power of
      two;
    - `"coded_diffraction"`: the two-dimensional Fourier transform of each channel, with
      random phases on the unit circle in place of signs. Measurements are complex. Over
      real images `A A^T` is no multiple of `I` then: the proximal map is computed by
      conjugate gradients.

    Args:
        image_shape: three ints, `(H, W, C)` of an image.
        num_measurements: int from 1 to `n`, `m`.
        kind: `"dct"`, `"hadamard"` or `"coded_diffraction"`. Defaults to `"dct"`.
        seed: int from 0 up, of signs or phases and of the values that are taken.
            Defaults to 0.
        **kwargs: `name`, `dtype`.

    Call arguments:
        x: `[batch, H, W, C]`.

    Returns:
        `[batch, m]`, complex if `kind="coded_diffraction"`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> operator = StructuredRandom((64, 64, 1), 1024)
    >>> operator.operator_norm()  # sqrt(n / m)
    2.0
    >>> operator.dot_test() < 1e-6
    True

    Reference:

    - Do et al., 2012, "Fast and Efficient Compressive Sensing using Structurally Random
      Matrices", [arXiv:1106.5037](https://arxiv.org/abs/1106.5037)
    - Candes, Li and Soltanolkotabi, 2015, "Phase Retrieval from Coded Diffraction
      Patterns", [arXiv:1310.3240](https://arxiv.org/abs/1310.3240)
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_measurements: int,
        kind: Literal["dct", "hadamard", "coded_diffraction"] = "dct",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        n = int(np.prod(check_image_shape(image_shape)))
        check_choice("kind", kind, KINDS)
        if kind == "hadamard" and n & (n - 1):
            raise ValueError(
                '`kind="hadamard"` needs a power of two of pixels and channels. '
                f"Received: image_shape={tuple(image_shape)}, {n} in all"
            )
        m = check_count("num_measurements", num_measurements, n)
        is_complex = kind == "coded_diffraction"
        super().__init__(image_shape, (m,), is_complex=is_complex, **kwargs)
        self.kind = kind
        self.seed = check_seed(seed)
        self._transform, self._transposed = KINDS[kind]
        generator = np.random.default_rng(self.seed)
        if is_complex:
            angles = generator.uniform(0, 2 * np.pi, n)
            code = np.stack([np.cos(angles), np.sin(angles)])
        else:
            code = generator.choice([-1.0, 1.0], (1, n))
        self.code = self.add_data("code", code)
        self.rows = np.sort(generator.permutation(n)[:m])
        # Where in the measurements, with a zero behind them, each value of `T` lies.
        self._places = np.full(n, m)
        self._places[self.rows] = np.arange(m)
        self.tightness = None if is_complex and m < n else n / m

    def measure(self, x: Array) -> Array:
        x = ops.reshape(x, (-1, self.num_pixels)) * self._scale
        code = ops.cast(self.code, x.dtype)
        coded = tuple(x * code[index] for index in range(1 + self.is_complex))
        parts = self._transform(coded, self.image_shape)
        parts = [_backend.take(part, self.rows, axis=1) for part in parts]
        return join(*parts) if self.is_complex else parts[0]

    def transpose(self, y: Array) -> Array:
        taken = (ops.real(y), ops.imag(y)) if self.is_complex else (y,)
        padded = (ops.pad(part, [(0, 0), (0, 1)]) for part in taken)
        values = tuple(_backend.take(part, self._places, axis=1) for part in padded)
        parts = self._transposed(values, self.image_shape)
        code = ops.cast(self.code, parts[0].dtype)
        x = sum(part * code[index] for index, part in enumerate(parts)) * self._scale
        return ops.reshape(x, (-1, *self.image_shape))

    @property
    def _scale(self):
        return (self.num_pixels / self.measurement_shape[0]) ** 0.5

    def compute_extreme(self, end: Literal["smallest", "largest"]) -> float:
        if self.tightness is None or (
            end == "smallest" and self.rank_bound() < self.num_pixels
        ):
            return super().compute_extreme(end)
        return self.tightness

    def get_config(self):
        return {
            **super().get_config(),
            "num_measurements": self.measurement_shape[0],
            "kind": self.kind,
            "seed": self.seed,
        }
