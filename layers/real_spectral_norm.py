"""Convolutions that are normalised by their norm as maps of images."""

import math
import numbers
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.checks import check_choice, check_count
from zoo.layers.convolution_norm import convolution_norm, singular_vector
from zoo.layers.cosine_dense import at_least_float32

WARM_STEPS = 50
TINY = float(np.finfo("float32").tiny)


@keras.saving.register_keras_serializable(package="zoo")
class RealSpectralNormConv2D(keras.layers.Conv2D):
    """A convolution that is divided by its own norm.

    `kernel / max(1, sigma / norm)` (`mode="clip"`), `kernel * norm / sigma` (`"equal"`)

    is what convolves. `sigma` is the largest singular value of the convolution as a
    map of images of `image_size` with zeros around them; a convolution that is clipped
    is Lipschitz with the constant `norm`. `keras.layers.SpectralNormalization` takes
    that of the kernel as a matrix, which bounds no convolution: it can be `sqrt(height
    * width)` of the kernel too small.

    The power method estimates it: the layer keeps a vector `u`, an image with a channel
    a filter, and each call in training moves it by one step,

    `v = W^T u / |W^T u|`,  `sigma = <v, W^T u>`,  `u <- W v / |W v|`

    Gradients flow through `sigma`, with `u` and `v` constant. Inference computes
    `sigma` from `u` and the kernel as it then is, and leaves `u`. A new layer takes 50
    steps at once. A step follows a kernel that moves fast with a lag: while a network
    learns at a large rate, norms can be above `norm` by a tenth or more. Call `settle`
    when training is over. A frozen layer keeps `u`.

    Convolutions of larger images have norms a little larger, of smaller ones smaller.
    Under half precision the norm is that of the float32 kernel. Inference too takes a
    convolution of an image of `image_size` for `sigma`: `zoo.layers.fold_normalization`
    returns a model of plain convolutions.

    Args:
        filters: int >= 1, channels of the output.
        kernel_size: int or pair of ints, height and width of the kernel.
        norm: float above 0, what `sigma` is brought to. Defaults to 1.
        image_size: pair of ints >= 1, height and width in pixels of the images that
            `sigma` is taken for; inputs may have any. Defaults to `(40, 40)`.
        mode: `"clip"` leaves kernels of smaller norms as they are, `"equal"` brings all
            to `norm`. Defaults to `"clip"`.
        padding: `"same"`; no other has this norm.
        **kwargs: every other argument of `keras.layers.Conv2D`, where `strides` and
            `groups` must be 1. It takes no LoRA.

    Call arguments:
        inputs: `[batch, height, width, channels]`.
        training: bool, whether to take a step.

    Returns:
        `[batch, height, width, filters]`. A bias is added after the convolution.

    Raises:
        ValueError: an argument is not as above.

    Example: a mean over 3 x 3 pixels, times 2, has a norm just below 2.

    >>> import keras
    >>> mean = keras.initializers.Constant(2 / 9)
    >>> layer = RealSpectralNormConv2D(1, 3, kernel_initializer=mean)
    >>> layer.build((None, None, None, 1))
    >>> layer.settle()
    >>> round(layer.measured_norm(), 3)
    1.0

    Reference:

    - Ryu et al., 2019, "Plug-and-Play Methods Provably Converge with Properly Trained
      Denoisers", [arXiv:1905.05406](https://arxiv.org/abs/1905.05406), section 4
      (`"equal"`)
    - Miyato et al., 2018, "Spectral Normalization for Generative Adversarial
      Networks", [arXiv:1802.05957](https://arxiv.org/abs/1802.05957)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        norm: float = 1.0,
        image_size: Sequence[int] = (40, 40),
        mode: Literal["clip", "equal"] = "clip",
        *,
        padding: Literal["same"] = "same",
        **kwargs: Any,
    ) -> None:
        check_count("filters", filters)
        sizes: Sequence[Any] = [kernel_size]
        if isinstance(kernel_size, (list, tuple)) and len(kernel_size) == 2:
            sizes = kernel_size
        for size in sizes:
            check_count("kernel_size", size)
        check_choice("padding", padding, ("same",))
        super().__init__(filters, kernel_size, padding=padding, **kwargs)
        allowed = {"strides": (1, 1), "groups": 1, "lora_rank": None}
        for name, value in allowed.items():
            given = getattr(self, name)
            if given != value:
                raise ValueError(
                    f"`{name}` must be {value!r}. Received: {name}={given!r}"
                )
        self.norm = check_norm(norm)
        self.image_size = check_size(image_size)
        self.mode = check_choice("mode", mode, ("clip", "equal"))

    def build(self, input_shape):
        super().build(input_shape)
        self.u = self.add_weight(
            name="u",
            shape=(1, *self.image_size, self.filters),
            initializer=self._warm_start,
            dtype=at_least_float32(self.variable_dtype),
            trainable=False,
            autocast=False,
            # Replicas have the same kernel, and so the same norm.
            aggregation="only_first_replica",
        )

    def add_weight(self, *args, **kwargs):
        # Half precision takes the norm of the kernel before it is rounded.
        if kwargs.get("name") == "kernel":
            kwargs["autocast"] = False
        return super().add_weight(*args, **kwargs)

    def enable_lora(self, rank, *args, **kwargs):
        raise ValueError(
            "`enable_lora` must not be called on a RealSpectralNormConv2D. "
            f"Received: rank={rank!r}"
        )

    def call(self, inputs, training=None):
        kernel = ops.cast(self.kernel, self.u.dtype)
        v, sigma = self._singular(kernel)
        if training and self.trainable:
            u = ops.convert_to_tensor(self.u)
            self.u.assign(self._next(u, v, kernel))
        kernel = ops.cast(self._rescale(kernel, sigma), self.compute_dtype)
        outputs = self.convolution_op(inputs, kernel)
        if self.use_bias:
            last = self.data_format == "channels_last"
            shape = (1, 1, 1, -1) if last else (1, -1, 1, 1)
            outputs = outputs + ops.reshape(self.bias, shape)
        return outputs if self.activation is None else self.activation(outputs)

    def normalized_kernel(self) -> Array:
        """Returns the kernel that convolves in inference."""
        kernel = ops.cast(self.kernel, self.u.dtype)
        return self._rescale(kernel, self._singular(kernel)[1])

    def measured_norm(
        self, steps: int = 200, image_size: Sequence[int] | None = None
    ) -> float:
        """Returns the norm of the convolution in inference, measured in float64.

        Args:
            steps: int >= 1, the most steps of Lanczos's method. Defaults to 200.
            image_size: pair of ints. Defaults to that of the layer.
        """
        kernel = ops.cast(self.normalized_kernel(), self.compute_dtype)
        kernel = ops.convert_to_numpy(ops.cast(kernel, self.u.dtype))
        size = self.image_size if image_size is None else check_size(image_size)
        steps = check_count("steps", steps)
        return convolution_norm(kernel, size, self.dilation_rate, steps)

    def settle(self) -> None:
        """Ends the power method for the kernel as it is, by Lanczos's, in float64."""
        kernel = ops.convert_to_numpy(ops.cast(self.kernel, self.u.dtype))
        u = singular_vector(kernel, self.image_size, self.dilation_rate)
        if u.any():
            self.u.assign(u[None])

    def _warm_start(self, shape, dtype):
        kernel = ops.cast(self.kernel, dtype)
        u = np.random.default_rng(0).standard_normal(shape)
        u = ops.convert_to_tensor(u / np.linalg.norm(u), dtype)
        for _ in range(WARM_STEPS):
            u = self._next(u, _unit(self._transposed(u, kernel)), kernel)
        return u

    def _next(self, u, v, kernel):
        """Returns `u` after a power step; a kernel of zeros leaves it."""
        image = self._convolve(v, kernel)
        return ops.where(_norm(image) > 0, _unit(image), u)

    def _singular(self, kernel):
        image = self._transposed(self.u, kernel)
        v = ops.stop_gradient(_unit(image))
        return v, ops.sum(v * image)

    def _convolve(self, image, kernel):
        return ops.conv(
            image,
            kernel,
            padding="same",
            data_format="channels_last",
            dilation_rate=self.dilation_rate,
        )

    def _transposed(self, image, kernel):
        # The transpose of a convolution is one with the kernel upside down.
        kernel = ops.swapaxes(kernel[::-1, ::-1], 2, 3)
        # A kernel of even size reaches further down; the transpose, further up.
        margins = [
            rate * (size - 1) % 2
            for rate, size in zip(self.dilation_rate, self.kernel_size, strict=True)
        ]
        if not any(margins):
            return self._convolve(image, kernel)
        padding = [(0, 0), *((margin, 0) for margin in margins), (0, 0)]
        height, width = self.image_size
        return self._convolve(ops.pad(image, padding), kernel)[:, :height, :width]

    def _rescale(self, kernel, sigma):
        scale = sigma / self.norm
        if self.mode == "clip":
            return kernel / ops.maximum(scale, 1)
        return kernel / ops.where(scale > 0, scale, 1)

    def save_own_variables(self, store):
        # Those of Conv2D are the kernel and the bias alone.
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        keras.layers.Layer.load_own_variables(self, store)

    def get_config(self):
        config = super().get_config()
        config.update(norm=self.norm, image_size=self.image_size, mode=self.mode)
        return config


def _norm(x):
    return ops.sqrt(ops.sum(ops.square(x)))


def _unit(x):
    return x / ops.maximum(_norm(x), TINY)


def check_norm(norm):
    """Returns a number above 0 as a float."""
    number = isinstance(norm, numbers.Real) and not isinstance(norm, bool)
    if number and TINY <= norm < math.inf:
        return float(norm)
    raise ValueError(f"`norm` must be a number above 0. Received: norm={norm!r}")


def check_size(size):
    """Returns the height and the width of images as a tuple."""
    if isinstance(size, (tuple, list)) and len(size) == 2:
        return tuple(check_count("image_size", side) for side in size)
    raise ValueError(
        f"`image_size` must be a pair of integers. Received: image_size={size!r}"
    )
