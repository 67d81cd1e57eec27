"""A dense layer of cosines: the head of the losses with an angular margin."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from zoo._backend.compiling import widest_float
from zoo._types import Array
from zoo.layers.checks import check_bool, check_count

# Vectors below this norm have no direction.
SMALLEST_NORM = 1e-6


@keras.saving.register_keras_serializable(package="zoo")
class CosineDense(keras.layers.Layer):
    """Cosines of the angles between each input and one weight vector per class.

    `y_j = w_j . x / (|w_j| |x|)`

    They lie in [-1, 1], up to rounding. With `sub_centers=K` a class has `K` vectors
    and the cosine of the nearest, so that the wrong labels of a class can gather at a
    vector of their own. The largest cosine is the prediction: the layer needs no
    labels, trains with a loss such as `zoo.losses.ArcFace`, and is saved, evaluated
    and exported like `keras.layers.Dense`.

    Under every dtype policy the cosines are computed, and returned, in float32
    (float64 under `"float64"`): near 1, where a good model's are, bfloat16 knows only
    steps of 1/256. Where the norm of an input or of a weight vector is below 1e-6, the
    cosine is 0, and so is its gradient.

    Args:
        units: int >= 1, the number of classes.
        sub_centers: int >= 1, vectors a class. Column `j * sub_centers + k` of the
            kernel is vector `k` of class `j`. Defaults to 1.
        polar: bool, whether to return the cosines in row 0 and `|w_j| |x|` in row 1,
            as `zoo.losses.LSoftmax` takes them. The product of the rows is the output
            of a dense layer without bias. Needs `sub_centers=1`. Defaults to `False`.
        kernel_initializer: initializer of the kernel, `[features, units *
            sub_centers]`. Defaults to `"glorot_uniform"`.
        kernel_regularizer: regularizer of the kernel. Defaults to `None`.
        kernel_constraint: constraint of the kernel. Defaults to `None`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: `[..., features]`, one leading dimension or more.

    Returns:
        `[..., units]`; with `polar=True`, `[..., 2, units]`. Masks pass.

    Raises:
        ValueError: `units` or `sub_centers` is no int from 1 up, or `polar=True` with
            sub-centers.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> layer = CosineDense(2, kernel_initializer=keras.initializers.Identity())
    >>> np.asarray(layer(np.array([[3.0, 4.0], [0.0, 0.0]])))
    array([[0.6, 0.8],
           [0. , 0. ]], dtype=float32)

    Reference:

    - Wang et al., 2018, "CosFace: Large Margin Cosine Loss for Deep Face
      Recognition", [arXiv:1801.09414](https://arxiv.org/abs/1801.09414)
    - Deng et al., 2020, "Sub-center ArcFace: Boosting Face Recognition by Large-scale
      Noisy Web Faces", ECCV
    """

    def __init__(
        self,
        units: int,
        sub_centers: int = 1,
        polar: bool = False,
        kernel_initializer: str | Callable[..., Array] = "glorot_uniform",
        kernel_regularizer: str | Callable[..., Array] | None = None,
        kernel_constraint: str | Callable[..., Array] | None = None,
        **kwargs: Any,
    ) -> None:
        # The policy must not round the inputs: cosines are computed in float32.
        super().__init__(autocast=False, **kwargs)
        self.units = check_count("units", units)
        self.sub_centers = check_count("sub_centers", sub_centers)
        self.polar = check_bool("polar", polar)
        if polar and sub_centers > 1:
            raise ValueError(
                "`polar=True` needs `sub_centers=1`. "
                f"Received: sub_centers={sub_centers}"
            )
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.supports_masking = True

    def build(self, input_shape):
        features = input_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(features, self.units * self.sub_centers),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            autocast=False,
        )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: features})

    def call(self, inputs):
        inputs = ops.cast(inputs, at_least_float32(self.compute_dtype))
        kernel = ops.cast(self.kernel, inputs.dtype)
        input_squares = squared_norms(inputs, axis=-1)
        kernel_squares = squared_norms(kernel, axis=0)
        # Cheaper than a normalised kernel, which is larger than the output.
        cosines = ops.matmul(
            inputs * inverse_norm(input_squares), kernel
        ) * inverse_norm(kernel_squares)
        if self.sub_centers > 1:
            shape = (*ops.shape(cosines)[:-1], self.units, self.sub_centers)
            cosines = ops.max(ops.reshape(cosines, shape), axis=-1)
        if not self.polar:
            return cosines
        norms = _norm(input_squares) * _norm(kernel_squares)
        return ops.stack([cosines, norms], axis=-2)

    def compute_output_shape(self, input_shape):
        rows = (2,) if self.polar else ()
        return (*input_shape[:-1], *rows, self.units)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(
            self.compute_output_shape(inputs.shape),
            dtype=at_least_float32(self.compute_dtype),
        )

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "sub_centers": self.sub_centers,
            "polar": self.polar,
            **serialized_kernel_settings(self),
        }


def serialized_kernel_settings(layer):
    """Returns the config of a kernel's initializer, regularizer and constraint."""
    return {
        "kernel_initializer": keras.initializers.serialize(layer.kernel_initializer),
        "kernel_regularizer": keras.regularizers.serialize(layer.kernel_regularizer),
        "kernel_constraint": keras.constraints.serialize(layer.kernel_constraint),
    }


def at_least_float32(dtype):
    """Returns the dtype that cosines are computed in."""
    # Keras's rules for dtypes know no float64 on JAX.
    if dtype == "float64":
        return widest_float()
    return keras.backend.result_type(dtype, "float32")


def squared_norms(x, axis):
    """Returns sums of squares along `axis`, which stays, of length 1."""

    def sums(x):
        return ops.sum(ops.square(x), axis=axis, keepdims=True)

    def sums_and_gradient(x):
        return sums(x), lambda upstream: 2 * upstream * x

    if keras.backend.backend() != "tensorflow":
        return sums(x)
    # TensorFlow's own gradient makes three passes over a kernel, this one makes one.
    return ops.custom_gradient(sums_and_gradient)(x)


def inverse_norm(squares):
    """Returns `1 / norm` of vectors, given sums of squares; 0 for the smallest."""
    smallest = SMALLEST_NORM**2
    inverse = ops.rsqrt(ops.maximum(squares, smallest))
    return ops.where(squares > smallest, inverse, 0.0)


def _norm(squares):
    return squares * inverse_norm(squares)
