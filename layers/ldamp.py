"""One layer of learned denoising-based approximate message passing."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.checks import check_bool, check_count, check_positive, check_seed
from zoo.layers.divergence import gaussian_probes, monte_carlo_divergence
from zoo.layers.operators import LinearOperator
from zoo.layers.shrinkage.base import is_complex, root
from zoo.layers.spectrum import column_norm as norm_of_columns
from zoo.layers.unrolled_block import serialize, times

# Root mean squares of images of [0, 1] are 1 at most; this leaves room for operators
# that see bright images better than others.
LARGEST_SIZE = 16.0


@keras.saving.register_keras_serializable(package="zoo")
class LdampBlock(keras.layers.Layer):
    """One layer of learned denoising-based AMP (LDAMP): one iteration of D-AMP.

    `v+ = y - A x + (n / M) slope v`,  `r = x + A^T v+ / c^2`,
    `x+ = D(r, level)`,  `level = |v+| / (c sqrt(M))`,  `slope+ = div D(r) / n`

    `D` is a denoiser of images of `n` numbers, and `c` the norm of the columns of `A`,
    on average. For a large `A` of independent entries the term with the slope,
    Onsager's, makes `r` the true image under white Gaussian noise of the standard
    deviation `level`: what denoisers are trained for. For other operators it does not:
    with blurs or masks a stack of blocks may diverge.

    The divergence is estimated with probes that the seed fixes and all images share,
    of the denoiser as it is in inference, in training too: dropout would draw another
    mask for each probe. No gradient passes through the slope: trained through it,
    networks diverge.

    All is in float32, or in float64 if the operator is, but what a denoiser of half
    precision does in it.

    Args:
        operator: a `zoo.layers.operators.LinearOperator`, `A`, which blocks may share.
        denoiser: `D`, a Keras layer or model, such as one of `zoo.models.denoisers`,
            from images to estimates, or a model from a pair of images and noise levels
            `[batch]`. Blocks that are given the same one share its weights.
        probes: int >= 1, over which the divergence is averaged. Defaults to 1.
        relative_epsilon: float above 0, the step of the divergence over the largest
            magnitude of an image, see `zoo.layers.divergence`. Defaults to 1e-3.
        onsager: bool; without Onsager's term it is learned iterative thresholding,
            LDIT. Defaults to `True`.
        seed: int >= 0, of the probes. Defaults to 0.
        column_norm: float above 0, `c`, or `None` to compute it. Defaults to `None`.
        measurements: int >= 1, `M`, the real numbers among the measurements that do not
            depend on others, or `None` for the operator's `rank_bound`. Defaults to
            `None`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        y: `[batch, *operator.measurement_shape]`.
        state: what the layer before returned, or `None` in the first.

    Returns:
        Triple of the estimate `x`, `[batch, height, width, channels]`, the corrected
        residual `v`, as `y`, and the slope, `[batch, 1]`.

    Raises:
        ValueError: an argument is not as above, or `y` is of another shape.

    Example: a denoiser that moves images towards grey, and ten layers of it.

    >>> from zoo.layers.operators import GaussianMatrix
    >>> operator = GaussianMatrix((16, 16, 1), 128)
    >>> denoiser = keras.layers.Rescaling(0.4, 0.3)
    >>> truth = np.full((1, 16, 16, 1), 0.5)
    >>> y, state = operator(truth), None
    >>> for _ in range(10):
    ...     state = LdampBlock(operator, denoiser)(y, state)
    >>> bool(np.abs(state[0] - truth).max() < 0.02)
    True

    Reference:

    - Metzler, Mousavi and Baraniuk, 2017, "Learned D-AMP: Principled Neural Network
      based Compressive Image Recovery",
      [arXiv:1704.06625](https://arxiv.org/abs/1704.06625)
    """

    def __init__(
        self,
        operator: LinearOperator,
        denoiser: keras.layers.Layer,
        *,
        probes: int = 1,
        relative_epsilon: float = 1e-3,
        onsager: bool = True,
        seed: int = 0,
        column_norm: float | None = None,
        measurements: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        check_parts(operator, denoiser)
        self.operator = operator
        self.denoiser = denoiser
        self.probes = check_count("probes", probes)
        self.relative_epsilon = check_positive("relative_epsilon", relative_epsilon)
        self.onsager = check_bool("onsager", onsager)
        self.seed = check_seed(seed)
        if column_norm is None:
            column_norm = norm_of_columns(operator)
        self.column_norm = check_positive("column_norm", column_norm)
        if measurements is None:
            measurements = operator.rank_bound()
        self.measurements = check_count("measurements", measurements)

    def __call__(self, y, *args, **kwargs):
        # Keras would bury what `call` raises in lines of its own.
        y = check_measurements(self.operator, y)
        return super().__call__(y, *args, **kwargs)

    def build(self, y_shape):
        if not self.denoiser.built:
            self.denoiser.build((None, *self.operator.image_shape))

    def call(self, y, state=None, training=None):
        v, r, level = self.pseudo_data(y, state)
        x = self.denoise(r, level, training)
        # Where training changes the denoiser, what it gave is no use for the slope.
        same = not training or not _training_matters(self.denoiser)
        return x, v, self._slope(r, level, x if same else None)

    def pseudo_data(
        self, y: Array, state: tuple[Array, Array, Array] | None = None
    ) -> tuple[Array, Array, Array]:
        """Returns `v+`, `r` and the noise levels `[batch]`."""
        v = self.operator.measured(y)
        x = 0.0
        if state is not None:
            x, last, slope = state
            v = v - self.operator(x)
            if self.onsager:
                share = self.operator.num_pixels / self.measurements
                axes = (-1, *(1 for _ in self.operator.measurement_shape))
                v = v + times(ops.reshape(share * slope, axes), last)
        r = x + self.operator.adjoint(v) / self.column_norm**2
        level = root(_energy(v) / self.measurements) / self.column_norm
        return v, r, level

    def denoise(
        self, images: Array, level: Array, training: bool | None = None
    ) -> Array:
        """Returns the estimates of the denoiser, in the dtype of the images."""
        inputs = getattr(self.denoiser, "inputs", None) or ()
        dtype = inputs[0].dtype if inputs else self.denoiser.compute_dtype
        given = ops.cast(images, dtype)
        if len(inputs) == 2:
            given = given, ops.cast(level, dtype)
        return ops.cast(self.denoiser(given, training=training), images.dtype)

    def _slope(self, r, level, x):
        if not self.onsager:
            return ops.zeros_like(level)[:, None]
        shape = self.operator.image_shape
        divergence = monte_carlo_divergence(
            lambda images: self.denoise(images, level, training=False),
            r,
            gaussian_probes(shape, self.probes, self.seed),
            x,
            self.relative_epsilon,
        )
        return ops.stop_gradient(divergence[:, None] / self.operator.num_pixels)

    def compute_output_shape(self, y_shape):
        return (y_shape[0], *self.operator.image_shape), tuple(y_shape), (y_shape[0], 1)

    def compute_output_spec(self, y, state=None, training=None):
        x, v, slope = self.compute_output_shape(y.shape)
        real, any_kind = self.operator.float_dtype, self.operator.measurement_dtype
        return (
            keras.KerasTensor(x, real),
            keras.KerasTensor(v, any_kind),
            keras.KerasTensor(slope, real),
        )

    def settings(self) -> dict[str, Any]:
        """Returns all arguments but the operator and the denoiser."""
        return {
            "probes": self.probes,
            "relative_epsilon": self.relative_epsilon,
            "onsager": self.onsager,
            "seed": self.seed,
            "column_norm": self.column_norm,
            "measurements": self.measurements,
        }

    def get_config(self):
        return {
            **super().get_config(),
            "operator": serialize(self.operator),
            "denoiser": serialize(self.denoiser),
            **self.settings(),
        }

    @classmethod
    def from_config(cls, config):
        parts = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("operator", "denoiser")
        }
        return cls(**{**config, **parts})


def check_parts(operator, denoiser):
    """Raises a `ValueError` unless the two take the same images."""
    if not isinstance(operator, LinearOperator):
        raise ValueError(
            "`operator` must be a `zoo.layers.operators.LinearOperator`. "
            f"Received: operator of type {type(operator).__name__}"
        )
    if not isinstance(denoiser, keras.Layer):
        raise ValueError(
            "`denoiser` must be a Keras layer or model. "
            f"Received: denoiser of type {type(denoiser).__name__}"
        )
    inputs = getattr(denoiser, "inputs", None) or ()
    channels = operator.image_shape[-1]
    if inputs and inputs[0].shape[-1] != channels:
        raise ValueError(
            f"`denoiser` must take images of {channels} channels, as the operator. "
            f"Received: a denoiser of {inputs[0].shape[-1]} channels"
        )


def check_measurements(operator, y):
    """Returns measurements, maybe symbolic, once their shape is known to be right."""
    y = y if hasattr(y, "shape") else np.asarray(y)
    shape = tuple(operator.measurement_shape)
    if tuple(y.shape[1:]) != shape:
        raise ValueError(
            f"`y` must be measurements [batch, {', '.join(map(str, shape))}]. "
            f"Received: y of shape {tuple(y.shape)}"
        )
    if is_complex(y) and not operator.is_complex:
        raise ValueError(
            "`y` must be real, as the operator's measurements are. Received: y complex"
        )
    return y


def check_values(operator, y):
    """Returns measurements as an array, once their values are known to be right.

    Raises:
        ValueError: there are none, they are not finite, or are of images of other
            intensities than about [0, 1].
    """
    y = np.asarray(ops.convert_to_numpy(y))
    if not y.size or not np.isfinite(y).all():
        raise ValueError(
            "`y` must be finite, and some. Received: y with "
            f"{np.count_nonzero(~np.isfinite(y))} of {y.size} values NaN or infinite"
        )
    # Columns add up so, if they are as good as random.
    energy = np.mean(np.abs(y) ** 2, axis=tuple(range(1, y.ndim)), dtype="float64")
    share = math.prod(operator.measurement_shape) / operator.num_pixels
    size = math.sqrt(share * energy.max()) / norm_of_columns(operator)
    if size > LARGEST_SIZE:
        raise ValueError(
            "`y` must be of images with intensities of about [0, 1]. "
            f"Received: y of images with a root mean square of {size:g}"
        )
    return y


def _training_matters(denoiser):
    """Whether a layer of it, other than models, takes `training`."""
    return any(
        layer._call_has_training_arg
        for layer in denoiser._flatten_layers()
        if not getattr(layer, "inputs", None)
    )


def _energy(v):
    """Returns `|v|^2` of each image's measurements, `[batch]`."""
    parts = (ops.real(v), ops.imag(v)) if is_complex(v) else (v,)
    axes = tuple(range(1, len(v.shape)))
    return sum(ops.sum(ops.square(part), axis=axes) for part in parts)
