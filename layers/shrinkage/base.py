"""What every shrinkage function is: a gain for each coordinate, and its slope."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.checks import check_bool
from zoo.layers.cosine_dense import at_least_float32

# The square of a denominator, which JAX divides gradients by, must not vanish.
SMALLEST = 1e-18
# A ratio this large is infinite to every shrinkage function.
LARGEST_RATIO = 1e9


class Transform:
    """How a weight that may be any number becomes a valid parameter, and back.

    Args:
        forward: function from a weight to a parameter, in `keras.ops`.
        inverse: function from a parameter to a weight, in NumPy.
        allowed: str, which parameters are valid.
        is_valid: function that tells whether an array of finite numbers is.
    """

    def __init__(self, forward, inverse, allowed, is_valid):
        self.forward = forward
        self.inverse = inverse
        self.allowed = allowed
        self.is_valid = is_valid

    def check(self, name, value):
        """Returns a first value as a float, or a tuple of floats.

        Raises:
            ValueError: it is not allowed.
        """
        vector = isinstance(value, (list, tuple, np.ndarray))
        finite = all(map(_is_finite, value if vector else [value]))
        if finite and self.is_valid(np.array(value, "float64")):
            return tuple(map(float, value)) if vector else float(value)
        raise ValueError(f"`{name}` must be {self.allowed}. Received: {name}={value!r}")


class Shrinkage(keras.layers.Layer):
    """A scalar denoiser `f(r)` of each coordinate of `r = x + noise`, and its slope.

    The base of the shrinkage functions. All are odd, `f(r) = gain(|r|) r`, and so a
    subclass says three things: its parameters, how a weight becomes a valid one, and
    `shrink`, which returns the gain and the derivative `f'` at magnitudes.

    A complex `r` has its magnitude shrunk and keeps its phase. The slope is then the
    mean of the derivatives along the real and the imaginary part,
    `(f'(|r|) + f(|r|) / |r|) / 2`.

    All is computed in float32 at least, and finite with finite gradients at every
    `r` and every variance from 0 up.

    Args:
        parameters: dict of names to first values: numbers, or vectors where a parameter
            has several.
        coordinatewise: bool, whether each of the `N` coordinates has parameters of its
            own. Defaults to `False`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        r: `[..., N]`, real or complex.
        variance: `[..., 1]`, from 0 up, of the noise in `r`, one a signal. Defaults to
            1.

    Returns:
        The estimate `[..., N]` in the layer's compute dtype, complex as `r`, and the
        mean of the slope over the coordinates, `[..., 1]`, in float32 at least: AMP
        and VAMP need it to more digits than half precision has.

    Example: a function without parameters, of gain and slope 1/2.

    >>> class Half(Shrinkage):
    ...     def shrink(self, magnitude, variance, degrees):
    ...         return ops.full_like(magnitude, 0.5), ops.full_like(magnitude, 0.5)
    >>> estimate, slope = Half({})(np.array([[2.0, -4.0]], "float32"))
    >>> np.asarray(estimate).tolist(), np.asarray(slope).tolist()
    ([[1.0, -2.0]], [[0.5]])
    """

    # Names of the parameters to pairs: from weights to valid values, and back in NumPy.
    transforms: Mapping[str, Transform] = {}

    def __init__(
        self,
        parameters: Mapping[str, float | Array],
        coordinatewise: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.coordinatewise = check_bool("coordinatewise", coordinatewise)
        self._initial = {
            name: self.transforms[name].check(name, value)
            for name, value in parameters.items()
        }

    def build(self, r_shape):
        self._raw = {}
        if self.coordinatewise:
            self.input_spec = keras.layers.InputSpec(axes={-1: r_shape[-1]})
        for name, value in self._initial.items():
            raw = self.transforms[name].inverse(np.array(value, "float64"))
            shape = raw.shape
            if self.coordinatewise:
                shape = (*shape, r_shape[-1])
                raw = raw[..., None]
            self._raw[name] = self.add_weight(
                name=name,
                shape=shape,
                initializer=lambda shape, dtype, raw=raw: ops.convert_to_tensor(
                    np.broadcast_to(raw, shape), dtype
                ),
                autocast=False,
            )

    def call(self, r, variance=None):
        r = ops.convert_to_tensor(r)
        real_dtype, complex_dtype = self._dtypes()
        r = ops.cast(r, complex_dtype if is_complex(r) else real_dtype)
        magnitude = ops.abs(r)
        if variance is None:
            variance = ops.ones_like(magnitude[..., :1])
        variance = ops.relu(ops.convert_to_tensor(variance, real_dtype))
        degrees = 1 + is_complex(r)
        gain, slope = self.shrink(magnitude, variance, degrees, **self.parameters())
        estimate = r * ops.cast(gain, r.dtype)
        if is_complex(r):
            slope = (slope + gain) / 2
        else:
            estimate = ops.cast(estimate, self.compute_dtype)
        return estimate, ops.mean(slope, axis=-1, keepdims=True)

    def shrink(self, magnitude, variance, degrees, **parameters):
        """Returns the gain `f(m) / m` and the derivative `f'(m)` at magnitudes.

        Args:
            magnitude: `[..., N]`, in float32 or float64.
            variance: `[..., 1]`, from 0 up.
            degrees: 1 if `r` is real, 2 if it is complex.
            **parameters: the values, each `[]` or `[N]`, vectors with an axis before.
        """
        raise NotImplementedError

    def parameters(self) -> dict[str, Array]:
        """Returns a dict of the values of the parameters, in float32 at least."""
        dtype, _ = self._dtypes()
        return {
            name: self.transforms[name].forward(ops.cast(raw, dtype))
            for name, raw in self._raw.items()
        }

    def _dtypes(self):
        real = at_least_float32(self.compute_dtype)
        return real, "complex128" if real == "float64" else "complex64"

    def compute_output_shape(self, r_shape, variance_shape=None):
        return tuple(r_shape), (*r_shape[:-1], 1)

    def compute_output_spec(self, r, variance=None):
        estimate, slope = self.compute_output_shape(r.shape)
        real_dtype, complex_dtype = self._dtypes()
        dtype = complex_dtype if is_complex(r) else self.compute_dtype
        return (
            keras.KerasTensor(estimate, dtype=dtype),
            keras.KerasTensor(slope, dtype=real_dtype),
        )

    def get_config(self):
        return {
            **super().get_config(),
            **self._initial,
            "coordinatewise": self.coordinatewise,
        }


def is_complex(x):
    """Whether a tensor holds complex numbers."""
    return "complex" in keras.backend.standardize_dtype(x.dtype)


def root(variance):
    """The square root, with a gradient of 0 at 0."""
    some = variance > 0
    return ops.where(some, ops.sqrt(ops.where(some, variance, 1.0)), 0.0)


def ratio(magnitude, width):
    """`magnitude / width`, at most `LARGEST_RATIO`, finite where the width is 0."""
    least = ops.maximum(magnitude / LARGEST_RATIO, SMALLEST)
    return magnitude / ops.maximum(width, least)


def excess(magnitude, kink):
    """`max(magnitude - kink, 0) / magnitude`, and 0 where the magnitude is 0."""
    return ops.relu(magnitude - kink) / ops.maximum(magnitude, SMALLEST)


def _is_finite(value):
    number = isinstance(value, (int, float, np.integer, np.floating))
    return number and not isinstance(value, bool) and math.isfinite(value)


def _inverse_softplus(value):
    return value + np.log(-np.expm1(-value))


FREE = Transform(
    lambda raw: raw,
    lambda value: value,
    "a finite number",
    lambda value: value.ndim == 0,
)
POSITIVE = Transform(
    ops.softplus,
    _inverse_softplus,
    "a number above 0",
    lambda value: value.ndim == 0 and value > 0,
)
# The ends keep logarithms of the share, and of what it leaves, finite in float32.
SHARE = Transform(
    lambda raw: ops.sigmoid(ops.clip(raw, -15.0, 15.0)),
    lambda value: np.log(value) - np.log1p(-value),
    "a number from 1e-6 to 1 - 1e-6",
    lambda value: value.ndim == 0 and 1e-6 <= value <= 1 - 1e-6,
)
