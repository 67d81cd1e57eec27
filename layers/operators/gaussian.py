"""Measurements by a matrix of independent Gaussian numbers."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.checks import check_count, check_seed
from zoo.layers.operators.base import LARGEST_EXACT, LinearOperator
from zoo.layers.operators.checks import check_image_shape


@keras.saving.register_keras_serializable(package="zoo")
class GaussianMatrix(LinearOperator):
    """Measurements `y = G x` of all pixels by numbers of variance `1 / m`.

    Columns of `G` have norm 1 on average. Its `m n` numbers, `n = H W C`, are stored.

    If `m` or `n` is 1,024 at most, so are the right singular vectors `V` and squared
    singular values `d`, which do not follow a `matrix` that is assigned alone: with
    them norms are closed, and

    `prox_l2 = z + V diag(step / (1 + step d)) (V^T A^T y - diag(d) V^T z)`

    which takes two products with `V` where `V^T A^T y` is known.

    Args:
        image_shape: three ints, `(H, W, C)` of an image.
        num_measurements: int >= 1, `m`.
        seed: int from 0 up. Defaults to 0.
        **kwargs: `name`, `dtype`.

    Call arguments:
        x: `[batch, H, W, C]`.

    Returns:
        `[batch, m]`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> operator = GaussianMatrix((16, 16, 1), 64)
    >>> operator.dot_test() < 1e-6
    True
    >>> round(operator.operator_norm(), 1)  # about 1 + sqrt(n / m)
    2.9
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_measurements: int,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        n = int(np.prod(check_image_shape(image_shape)))
        m = check_count("num_measurements", num_measurements)
        super().__init__(image_shape, (m,), **kwargs)
        self.seed = check_seed(seed)
        # Draws do not depend on the precision: all dtypes measure alike.
        matrix = np.random.default_rng(self.seed).standard_normal((m, n), "float32")
        matrix *= np.float32(m**-0.5)
        self.matrix = self.add_data("matrix", matrix)
        self.right = self.values = None
        if min(m, n) <= LARGEST_EXACT:
            _, values, right = np.linalg.svd(matrix.astype("float64"), False)
            self.right = self.add_data("right", right)
            self.values = self.add_data("values", values**2)

    def measure(self, x: Array) -> Array:
        x = ops.reshape(x, (-1, self.num_pixels))
        return x @ ops.transpose(ops.cast(self.matrix, x.dtype))

    def transpose(self, y: Array) -> Array:
        x = y @ ops.cast(self.matrix, y.dtype)
        return ops.reshape(x, (-1, *self.image_shape))

    def prox_constants(self, y: Array) -> Any:
        pulled = self.adjoint(y)
        return pulled if self.right is None else self._to_modes(pulled)

    def prox(self, z: Array, constants: Any, step: Array) -> Array:
        if self.right is None:
            return super().prox(z, constants, step)
        values, step = ops.cast(self.values, z.dtype), step[:, :, 0, 0]
        change = step / (1 + step * values) * (constants - values * self._to_modes(z))
        change = change @ ops.cast(self.right, z.dtype)
        return z + ops.reshape(change, (-1, *self.image_shape))

    def _to_modes(self, x):
        """Returns `V^T x`, `[batch, min(m, n)]`."""
        x = ops.reshape(x, (-1, self.num_pixels))
        return x @ ops.transpose(ops.cast(self.right, x.dtype))

    def compute_extreme(self, end: Literal["smallest", "largest"]) -> float:
        few = end == "smallest" and self.rank_bound() < self.num_pixels
        if self.values is None or few:
            return super().compute_extreme(end)
        return float(ops.convert_to_numpy(self.values)[0 if end == "largest" else -1])

    def get_config(self):
        return {
            **super().get_config(),
            "num_measurements": self.measurement_shape[0],
            "seed": self.seed,
        }
