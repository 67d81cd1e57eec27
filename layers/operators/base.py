"""What every forward operator is: linear measurements of images."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo import _backend
from zoo._backend.compiling import widest_float
from zoo._types import Array
from zoo.layers.checks import check_bool
from zoo.layers.operators.checks import check_image_shape, check_measurement_shape
from zoo.layers.operators.solve import extreme_eigenvalue, inner, shifted_solution

# Of images up to this number of pixels, spectra are those of the dense matrix.
LARGEST_EXACT = 1024
LARGEST_DENSE = 4096


class LinearOperator(keras.layers.Layer):
    """Linear measurements `y = A x` of real images `x`.

    The base of the operators. A kind brings `A x` (`measure`) and `A^T y` (`transpose`)
    and, where it has them, closed forms of what else there is. Where measurements are
    complex, `A^T y` is the real part of `A^H y`: the adjoint for the inner product
    `Re y1^H y2` of measurements as real vectors.

    All is computed in float32, or in float64 in a layer of that dtype; half precision
    rounds neither images nor measurements.

    Weights belong together, as a mask and the eigenvalues of `A^T A` do: `set_weights`
    takes all of them. One that is assigned alone leaves the others as they are.

    Args:
        image_shape: three ints, `(H, W, C)` of an image.
        measurement_shape: tuple of ints, the shape of one image's measurements.
        is_complex: bool, whether measurements are complex. Defaults to `False`.
        **kwargs: `name`, `dtype`.

    Call arguments:
        x: `[batch, H, W, C]`.

    Returns:
        `[batch, *measurement_shape]`.

    Example: a kind needs no more than two functions of tensors.

    >>> class Mirror(LinearOperator):
    ...     def measure(self, x):
    ...         return ops.flip(x, axis=2)
    ...     def transpose(self, y):
    ...         return ops.flip(y, axis=2)
    >>> operator = Mirror((1, 3, 1), (1, 3, 1))
    >>> x = np.arange(3.0).reshape(1, 1, 3, 1)
    >>> np.asarray(operator(x)).ravel().tolist(), round(operator.operator_norm(), 6)
    ([2.0, 1.0, 0.0], 1.0)
    """

    # `c` of operators with `A A^T A = c A`, for which the proximal map is closed.
    tightness: float | None = None

    def __init__(
        self,
        image_shape: Sequence[int],
        measurement_shape: Sequence[int],
        *,
        is_complex: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("trainable", False)
        super().__init__(autocast=False, **kwargs)
        self.image_shape = check_image_shape(image_shape)
        self.measurement_shape = check_measurement_shape(measurement_shape)
        self.is_complex = check_bool("is_complex", is_complex)
        self._extremes: dict[str, tuple[Any, float]] = {}
        # The weights are there from the constructor on.
        self.built = True

    @property
    def float_dtype(self) -> str:
        """The dtype of images: float32, or float64 if the layer is of it."""
        # Keras's rules for dtypes know no float64 on JAX.
        return widest_float() if self.variable_dtype == "float64" else "float32"

    @property
    def measurement_dtype(self) -> str:
        """The dtype of measurements: that of images, or complex."""
        if not self.is_complex:
            return self.float_dtype
        return "complex128" if self.float_dtype == "float64" else "complex64"

    @property
    def num_pixels(self) -> int:
        """The numbers in an image, `H W C`."""
        return math.prod(self.image_shape)

    def call(self, x):
        return self.measure(self.to_images(x))

    def measure(self, x: Array) -> Array:
        """Returns `A x` of a tensor of images."""
        raise NotImplementedError

    def transpose(self, y: Array) -> Array:
        """Returns `A^T y` of a tensor of measurements."""
        raise NotImplementedError

    def normal(self, x: Array) -> Array:
        """Returns `A^T A x` of a tensor of images."""
        return self.transpose(self.measure(x))

    def zero_unmeasured(self, y: Array) -> Array:
        """Returns `measured` of a tensor of measurements."""
        return y

    def measured(self, y: Array) -> Array:
        """Returns measurements with 0 in place of what the operator does not measure.

        `A^T y` is the same without them, a distance `|A x - y|` is not.

        Args:
            y: `[batch, *measurement_shape]`.

        Returns:
            `[batch, *measurement_shape]`, a tensor in `measurement_dtype`.

        Raises:
            ValueError: `y` is not as above.

        Example: the second pixel is not seen.

        >>> from zoo.layers.operators import PixelMask
        >>> y = np.array([[[[4.0], [9.0]]]])
        >>> np.asarray(PixelMask((1, 2, 1), [[1, 0]]).measured(y)).ravel()
        array([4., 0.], dtype=float32)
        """
        return self.zero_unmeasured(self.to_measurements(y))

    def adjoint(self, y: Array) -> Array:
        """Returns `A^T y`, the real part of `A^H y`, `[batch, H, W, C]`.

        Args:
            y: `[batch, *measurement_shape]`.
        """
        return self.transpose(self.to_measurements(y))

    def gram(self, x: Array) -> Array:
        """Returns `A^T A x`, `[batch, H, W, C]`.

        Args:
            x: `[batch, H, W, C]`.
        """
        return self.normal(self.to_images(x))

    def prox_constants(self, y: Array) -> Any:
        """Returns what `prox` needs of `y`.

        Args:
            y: `[batch, *measurement_shape]`.

        Returns:
            A tensor or a tuple of tensors.
        """
        return self.adjoint(y)

    def prox_l2(
        self,
        z: Array,
        y: Array,
        step: float | Array,
        *,
        return_residual: bool = False,
    ) -> Any:
        """Computes the proximal map of the squared distance to measurements.

        `argmin_x |A x - y|^2 / 2 + |x - z|^2 / (2 step)`

        It is in closed form where the kind has one, and else by conjugate gradients
        from `z`, which JAX differentiates once, backwards, for `z`, `y` and `step`. A
        loop of one `y` and `step` is faster with `prox_map`.

        Args:
            z: `[batch, H, W, C]`.
            y: `[batch, *measurement_shape]`.
            step: float above 0, or a tensor: a scalar or `[batch]`.
            return_residual: bool, whether to measure how well the equation of the
                minimum holds, which takes a product with `A^T A`. Defaults to `False`.

        Returns:
            `x`, `[batch, H, W, C]`; with `return_residual`, also `[batch]`, the norm of
            `A^T (A x - y) + (x - z) / step` over that of `A^T y + z / step`.

        Raises:
            ValueError: `step` is not as above.
        """
        z = self.to_images(z)
        x = self.prox_map(y, step)(z)
        if not return_residual:
            return x
        step = self.to_step(step)
        goal = self.adjoint(y) + z / step
        left = goal - self.normal(x) - x / step
        smallest = np.finfo(self.float_dtype).tiny
        ratio = inner(left, left) / ops.maximum(inner(goal, goal), smallest)
        return x, ops.reshape(ops.sqrt(ratio), (-1,))

    def prox_map(self, y: Array, step: float | Array) -> Callable[[Array], Array]:
        """Returns `prox_l2` of one `y` and `step`, a function of `z`.

        It makes once what depends on `y` and `step` alone.

        Args:
            y: `[batch, *measurement_shape]`.
            step: float above 0, or a tensor: a scalar or `[batch]`.

        Returns:
            A function of `[batch, H, W, C]`.

        Raises:
            ValueError: `step` is not as above.
        """
        step, constants = self.to_step(step), self.prox_constants(y)
        return lambda z: self.prox(self.to_images(z), constants, step)

    def prox(self, z: Array, constants: Any, step: Array) -> Array:
        """Returns `prox_l2` of tensors, with a step that broadcasts over images."""
        if self.tightness is not None:
            weight = step / (1 + self.tightness * step)
            return z + weight * (constants - self.normal(z))
        return shifted_solution(self.normal, 1 / step, constants + z / step, z)

    def operator_norm(self) -> float:
        """Returns the largest singular value of `A`, a float.

        It is in closed form where the kind has one, and else that of the dense matrix
        for images of up to 1,024 numbers. Above, it is by Lanczos's method of up to 300
        products with `A^T A`, from below: to 1e-8 of it for blurs with smooth kernels,
        and to about 4e-7 where many singular values crowd below the largest. On JAX
        without float64, what is not closed is rounded as float32.

        It is kept, and computed anew once weights have changed. In a trace, where they
        cannot be looked at, it is what was computed last.
        """
        return math.sqrt(max(self._extreme("largest"), 0.0))

    def strong_convexity(self) -> float:
        """Returns the smallest eigenvalue of `A^T A`, a float.

        It is 0 where there are fewer measurements than pixels. As for `operator_norm`,
        it is closed, or of the dense matrix, or else by Lanczos's method, less what its
        residual leaves open. What rounding hides is given as 0.
        """
        return max(self._extreme("smallest"), 0.0)

    def rank_bound(self) -> int:
        """Returns an int that the rank of `A`, as a real matrix, is at most."""
        return (1 + self.is_complex) * math.prod(self.measurement_shape)

    def compute_extreme(self, end: Literal["smallest", "largest"]) -> float:
        """Returns an eigenvalue of `A^T A`, `"smallest"` or `"largest"`."""
        n, largest = self.num_pixels, end == "largest"
        if not largest and self.rank_bound() < n:
            return 0.0
        if n <= LARGEST_EXACT:
            matrix = self._dense_normal()
            values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
            rounding = n * np.finfo(matrix.dtype).eps * values[-1]
            value = float(values[-1] if largest else values[0])
            return value if value > rounding else 0.0
        value, residual = extreme_eigenvalue(self._normal_product(), n, largest)
        return value if largest else value - residual

    def dense(self) -> np.ndarray:
        """Returns `A`, a NumPy array `[measurements, pixels]`, complex if they are.

        Raises:
            ValueError: an image has more than 4,096 numbers.
        """
        images = self._unit_images()
        y = ops.convert_to_numpy(self.measure(images))
        return np.ascontiguousarray(y.reshape(self.num_pixels, -1).T)

    def dot_test(self, seed: int = 0) -> float:
        """Measures how well forward and adjoint agree on a random image.

        Returns:
            Float, `|Re <A x, y> - <x, A^T y>|` over `|A x| |y|`: about the rounding
            error of the dtype, or one of the two is wrong.
        """
        generator = np.random.default_rng(seed)
        x = generator.normal(size=(1, *self.image_shape))
        y = generator.normal(size=(1, *self.measurement_shape))
        if self.is_complex:
            y = y + 1j * generator.normal(size=y.shape)
        x, y = self.to_images(x), self.to_measurements(y)
        arrays = (self.measure(x), y, x, self.transpose(y))
        image, y, x, pulled = (
            ops.convert_to_numpy(array).astype("complex128").ravel() for array in arrays
        )
        error = abs(np.vdot(image, y).real - np.vdot(x, pulled).real)
        return float(error / (np.linalg.norm(image) * np.linalg.norm(y)))

    def to_images(self, x: Array) -> Array:
        """Returns `x` as a tensor of images in `float_dtype`."""
        x = ops.convert_to_tensor(x)
        _check_shape("x", x, self.image_shape)
        if _is_complex(x):
            raise ValueError("`x` must be real. Received: x complex")
        return ops.cast(x, self.float_dtype)

    def to_measurements(self, y: Array) -> Array:
        """Returns `y` as a tensor of measurements in `measurement_dtype`."""
        y = ops.convert_to_tensor(y)
        _check_shape("y", y, self.measurement_shape)
        if _is_complex(y) and not self.is_complex:
            raise ValueError(
                "`y` must be real, as the operator's measurements are. "
                "Received: y complex"
            )
        return ops.cast(y, self.measurement_dtype)

    def to_step(self, step: float | Array) -> Array:
        """Returns `step` as a tensor that broadcasts over images."""
        if not (ops.is_tensor(step) or isinstance(step, keras.Variable)):
            # Keras would round a number to float32.
            step = ops.convert_to_numpy(step)
        step = ops.cast(step, self.float_dtype)
        # This reads a variable, which has no value to look at in a graph.
        column = ops.reshape(step, (-1, 1, 1, 1))
        if _backend.is_concrete(column):
            values = ops.convert_to_numpy(column).ravel()
            if len(step.shape) > 1 or not (np.isfinite(values) & (values > 0)).all():
                raise ValueError(
                    "`step` must be a finite number above 0, or one an image. "
                    f"Received: step={values}"
                )
        return column

    def add_data(self, name: str, array: np.ndarray) -> keras.Variable:
        """Returns a weight of `float_dtype` that holds `array` and is not trained."""
        return self.add_weight(
            name=name,
            shape=array.shape,
            dtype=self.float_dtype,
            initializer=lambda shape, dtype: ops.convert_to_tensor(array, dtype),
            trainable=False,
            autocast=False,
        )

    def _extreme(self, end):
        """Returns what was computed for the weights as they are, or last in a trace."""
        state = _hashes(self.weights)
        before, value = self._extremes.get(end, (None, None))
        if value is None or state not in (None, before):
            value = self.compute_extreme(end)
            self._extremes[end] = state, value
        return value

    def _unit_images(self):
        n = self.num_pixels
        if n > LARGEST_DENSE:
            raise ValueError(
                f"`dense` needs images of {LARGEST_DENSE} numbers at most. "
                f"Received: image_shape={self.image_shape}"
            )
        images = np.eye(n).reshape(n, *self.image_shape)
        return ops.convert_to_tensor(images, widest_float())

    def _dense_normal(self):
        images = ops.convert_to_numpy(self.normal(self._unit_images()))
        return images.reshape(self.num_pixels, -1)

    def _normal_product(self):
        """Returns a compiled function of NumPy vectors that multiplies by `A^T A`."""
        run = _backend.compiled(self.normal, self)

        def product(vector):
            images = vector.reshape(1, *self.image_shape).astype(widest_float())
            return ops.convert_to_numpy(run(images)).astype("float64").ravel()

        return product

    def compute_output_shape(self, x_shape):
        return (x_shape[0], *self.measurement_shape)

    def compute_output_spec(self, x):
        _check_shape("x", x, self.image_shape)
        shape = self.compute_output_shape(x.shape)
        return keras.KerasTensor(shape, self.measurement_dtype)

    def get_config(self):
        config = super().get_config()
        del config["trainable"]
        return {**config, "image_shape": self.image_shape}


def _hashes(weights):
    """Returns what tells the values of weights apart, or `None` in a trace."""
    # Keras has TensorFlow's variables for tensors: this reads them.
    values = [ops.reshape(weight, (-1,)) for weight in weights]
    if not all(map(_backend.is_concrete, values)):
        return None
    return [hash(ops.convert_to_numpy(value).tobytes()) for value in values]


def _is_complex(x):
    return "complex" in keras.backend.standardize_dtype(x.dtype)


def _check_shape(name, x, shape):
    """Checks all that is known of the shape `[batch, *shape]`."""
    sizes = tuple(x.shape)
    if len(sizes) != len(shape) + 1 or any(
        size not in (None, wanted)
        for size, wanted in zip(sizes[1:], shape, strict=True)
    ):
        raise ValueError(
            f"`{name}` must have the shape (batch, {', '.join(map(str, shape))}). "
            f"Received: {name} of shape {sizes}"
        )
