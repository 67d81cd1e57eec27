"""The linear part of one step of an unrolled iteration: what depends on a matrix."""

import keras
import numpy as np
from keras import ops

from zoo.layers.cosine_dense import at_least_float32
from zoo.layers.sensing import to_complex

# Singular values below this share of the largest are none.
SMALLEST_VALUE = 1e-10
# The ridge start's penalty, over the mean squared singular value.
RIDGE = 0.03


class Factored:
    """A matrix `A = U diag(s) V^H` in float64 or complex128.

    `matrix` is `A`, `[M, N]`; `left` is `U`, `[M, M]`; `values` are `s`, `[M]`, the
    largest first; and `right` is `V^H`, `[M, N]`.

    Args:
        matrix: `A`.

    Raises:
        ValueError: it is no finite `[M, N]` with `M < N` and of rank `M`.
    """

    def __init__(self, matrix):
        self.matrix = _check_matrix(matrix)
        self.left, self.values, self.right = np.linalg.svd(
            self.matrix, full_matrices=False
        )
        rank = np.count_nonzero(self.values > SMALLEST_VALUE * self.values[0])
        if rank < len(self.values):
            raise ValueError(
                "`matrix` must have full rank: leave out rows that are combinations of "
                f"others. Received: matrix of shape {self.matrix.shape} and rank {rank}"
            )

    def inverse(self, gains):
        """Returns `V diag(gains) U^H`, `[N, M]`."""
        return (self.right.conj().T * gains) @ self.left.conj().T


def _check_matrix(matrix):
    """Returns `A` in float64 or complex128."""
    array = np.asarray(matrix)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "biufc":
        raise ValueError(
            "`matrix` must be an array of numbers [M, N]. "
            f"Received: matrix of shape {array.shape} and dtype {array.dtype}"
        )
    array = array.astype("complex128" if np.iscomplexobj(array) else "float64")
    if array.shape[0] >= array.shape[1]:
        raise ValueError(
            "`matrix` must have fewer rows than columns. "
            f"Received: matrix of shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(
            "`matrix` must be finite. Received: matrix with "
            f"{np.count_nonzero(~np.isfinite(array))} values that are NaN or infinite"
        )
    return array


class LinearStep(keras.layers.Layer):
    """The weights that a step of an iteration makes of a matrix `A`.

    The base of the linear steps. Blocks that are tied share one. A complex weight is
    kept as a real one, its real above its imaginary part: optimizers square complex
    gradients wrongly. What is fixed comes back with the weights: the config has the
    shape of the matrix alone.

    Args:
        factored: a `Factored` matrix.
        step: float, the step of a gradient method, `1 / |A|^2`, or `None` to compute it
            of the matrix.
        **kwargs: `name`, `dtype`, `trainable`.
    """

    def __init__(self, factored, step=None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.shape = factored.matrix.shape
        self.is_complex = np.iscomplexobj(factored.matrix)
        self.step = float(factored.values[0] ** -2) if step is None else step
        # The weights are there from the constructor on.
        self.built = True

    @property
    def statistics_dtype(self):
        """The dtype of variances and slopes: float32 or float64."""
        return at_least_float32(self.compute_dtype)

    @property
    def product_dtype(self):
        """The dtype in which matrices are multiplied."""
        return self.signal_dtype if self.is_complex else self.compute_dtype

    @property
    def signal_dtype(self):
        """The dtype of signals between products: float32 or more, maybe complex."""
        if not self.is_complex:
            return self.statistics_dtype
        return "complex128" if self.statistics_dtype == "float64" else "complex64"

    def add_matrix(self, name, array, trainable=True):
        """Returns a weight that starts as an array, real or complex as the matrix."""
        if self.is_complex:
            array = np.concatenate([array.real, array.imag])
        return self.add_array(name, array, trainable)

    def add_array(self, name, array, trainable=True):
        """Returns a weight that starts as a real array."""
        return self.add_weight(
            name=name,
            shape=np.shape(array),
            initializer=lambda shape, dtype: ops.convert_to_tensor(array, dtype),
            trainable=trainable,
            autocast=False,
        )

    def add_energy(self, factored):
        """Returns a fixed weight, `|A|_F^2`."""
        return self.add_array("energy", np.sum(factored.values**2), trainable=False)

    def value(self, weight):
        """Returns a matrix of `add_matrix` as a tensor to multiply with."""
        weight = ops.convert_to_tensor(weight)
        if self.is_complex:
            weight = to_complex(weight)
        return ops.cast(weight, self.product_dtype)

    def product(self, x, matrix):
        """Returns `x W`, rows times a tensor of `value`."""
        x = ops.cast(x, self.product_dtype)
        # Keras multiplies complex128 in complex64.
        product = x @ matrix if self.is_complex else ops.matmul(x, matrix)
        return ops.cast(product, self.signal_dtype)

    def apply(self, weight, x):
        """Returns `W x` of each row `x`, with a weight of `add_matrix`."""
        return self.product(x, ops.transpose(self.value(weight)))

    def get_config(self):
        return {
            **super().get_config(),
            "shape": self.shape,
            "is_complex": self.is_complex,
            "step": self.step,
        }

    @classmethod
    def from_config(cls, config):
        """Makes a layer of the saved shape; its matrices come with the weights."""
        config = dict(config)
        shape, is_complex = config.pop("shape"), config.pop("is_complex")
        matrix = np.eye(*shape, dtype="complex128" if is_complex else "float64")
        return super().from_config({**config, "matrix": matrix})


@keras.saving.register_keras_serializable(package="zoo")
class GradientStep(LinearStep):
    """Products with `A` and with a matrix `B` that leads back.

    Args:
        matrix: `A`, `[M, N]`.
        back: first `B`: an array `[N, M]`, or `"ista"`, `A^H / |A|^2`; `"amp"`, `A^H`;
            `"ridge"`, `c A^H (A A^H + p I)^-1` with `p` 0.03 times the mean squared
            singular value and `c` such that `B A` has the trace `N`; `"analytic"`, the
            rows of the pseudoinverse scaled such that `B A` has a diagonal of ones.
        learned: bool, whether `B` is trained. Defaults to `True`.
        **kwargs: `step`, `name`, `dtype`, `trainable`.
    """

    def __init__(self, matrix, back="amp", learned=True, **kwargs):
        factored = Factored(matrix)
        super().__init__(factored, **kwargs)
        self.learned = learned
        self.matrix = self.add_matrix("matrix", factored.matrix, trainable=False)
        self.back_matrix = self.add_matrix("back", start(back, factored), learned)

    def forward(self, x):
        """Returns `A x`."""
        return self.apply(self.matrix, x)

    def back(self, v):
        """Returns `B v`."""
        return self.apply(self.back_matrix, v)

    def get_config(self):
        return {**super().get_config(), "learned": self.learned}


def start(back, factored):
    """Returns the first `B` that `GradientStep` names, `[N, M]`.

    Raises:
        ValueError: an array is of another shape or not finite.
    """
    values = factored.values
    if isinstance(back, str):
        if back == "ridge":
            gains = values / (values**2 + RIDGE * np.mean(values**2))
            gains *= factored.right.shape[1] / np.sum(gains * values)
            return factored.inverse(gains)
        if back == "analytic":
            inverse = factored.inverse(1 / values)
            own = np.sum(inverse.T * factored.matrix, axis=0)
            return inverse / own[:, None]
        adjoint = factored.matrix.conj().T
        return adjoint / values[0] ** 2 if back == "ista" else adjoint
    array = np.asarray(back)
    size = factored.matrix.shape[::-1]
    if array.shape != size or not np.isfinite(array).all():
        raise ValueError(
            f"`start` must be a name or a finite array of shape {size}. "
            f"Received: start of shape {array.shape}"
        )
    if np.iscomplexobj(array) and not np.iscomplexobj(factored.matrix):
        raise ValueError(
            "`start` must be real, as `matrix` is. "
            f"Received: start of dtype {array.dtype}"
        )
    return array.astype(factored.matrix.dtype)
