"""Convolutional networks that take the noise off images."""

from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np
from keras import ops

from zoo.layers.cosine_dense import at_least_float32
from zoo.layers.real_spectral_norm import RealSpectralNormConv2D
from zoo.losses.checks import check_bool, check_choice, check_integer, check_number
from zoo.models.normalization import DEEPEST, check_sizes, normalization_layer


def dncnn(
    depth: int = 17,
    width: int = 64,
    channels: int = 1,
    *,
    normalization: Literal["batch"] | None = "batch",
    residual: bool = True,
    noise_level_input: bool = False,
    spectral_norm: float | None = None,
) -> keras.Model:
    """Builds DnCNN: a chain of 3 x 3 convolutions whose output is the noise.

    `estimate = image - net(image)`

    Convolutions have no bias, a ReLU follows each but the last, and those in between
    are normalised.

    Args:
        depth: int >= 2, convolutions. Defaults to 17.
        width: int >= 1, filters. Defaults to 64.
        channels: int >= 1, of an image. Defaults to 1.
        normalization: `"batch"` or `None`. Defaults to `"batch"`.
        residual: bool, whether the network estimates the noise rather than the image.
            Defaults to `True`.
        noise_level_input: bool, whether the network is given the standard deviation of
            the noise too: it then takes a pair of images and levels `[batch]`. Defaults
            to `False`.
        spectral_norm: float above 0, a Lipschitz constant that `net` shall have, or
            `None`. Each convolution is a `zoo.layers.RealSpectralNormConv2D` of norm
            `spectral_norm ** (1 / depth)`, on images of 40 x 40 pixels; on larger ones
            it can be a few thousandths more. Batch normalisation would break the bound.
            Defaults to `None`.

    Returns:
        A `keras.Model` from images `[batch, height, width, channels]` in [0, 1], of any
        size, to estimates of the same shape.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> dncnn().count_params(), dncnn(normalization=None).count_params()
    (557952, 554112)

    Reference:

    - Zhang et al., 2017, "Beyond a Gaussian Denoiser", arXiv:1608.03981
    - Ryu et al., 2019, arXiv:1905.05406 (the spectral norm)
    """
    check_integer("depth", depth, 2, DEEPEST)
    check_bool("residual", residual)
    check_bool("noise_level_input", noise_level_input)
    (width,) = check_sizes("width", [width])
    check_choice("normalization", normalization, ("batch", None))
    settings = {"use_bias": False}
    if spectral_norm is not None:
        settings["norm"] = _layer_norm(spectral_norm, depth, normalization)
    inputs, image, x = _inputs(channels, noise_level_input)
    for index in range(1, depth):
        kind = None if index == 1 else normalization
        norm = normalization_layer(kind, name=f"conv{index}_norm")
        x = _convolution(width, f"conv{index}", **settings)(x)
        if norm is not None:
            x = norm(x)
        x = keras.layers.ReLU(name=f"conv{index}_relu")(x)
    x = _convolution(channels, f"conv{depth}", **settings)(x)
    return _model(inputs, image, x, residual, name="dncnn")


def simple_cnn(
    channels: int = 1,
    *,
    residual: bool = True,
    noise_level_input: bool = False,
    spectral_norm: float | None = None,
) -> keras.Model:
    """Builds the SimpleCNN of Ryu et al.: `dncnn` of depth 4 without normalisation.

    Args:
        channels, residual, noise_level_input, spectral_norm: see
            `zoo.models.denoisers.dncnn`.

    Returns:
        A `keras.Model`, as there.

    Example:

    >>> simple_cnn().count_params()
    74880

    Reference:

    - Ryu et al., 2019, "Plug-and-Play Methods Provably Converge with Properly Trained
      Denoisers", arXiv:1905.05406
    """
    return dncnn(
        4,
        channels=channels,
        normalization=None,
        residual=residual,
        noise_level_input=noise_level_input,
        spectral_norm=spectral_norm,
    )


def unet(
    widths: Sequence[int] = (24, 48, 96),
    blocks: Sequence[int] = (1, 2, 2),
    channels: int = 1,
    *,
    residual: bool = True,
    noise_level_input: bool = False,
) -> keras.Model:
    """Builds a small U-Net of residual blocks whose output is the noise.

    `estimate = image - net(image)`

    Each scale halves the image by a 2 x 2 convolution of stride 2; on the way back a
    transposed one doubles it, and what the scale had on the way down is added. A block
    adds to its input two 3 x 3 convolutions with a ReLU between them. Nothing is
    normalised. Blocks begin as the identity, and so does the network. Images whose
    sides are no multiple of the stride are mirrored at the end, and the estimates cut.

    Args:
        widths: ints >= 1, filters of each scale. Defaults to `(24, 48, 96)`.
        blocks: ints >= 1, residual blocks of each scale on the way down, and again on
            the way back, but for the last scale, which is passed once. Defaults to
            `(1, 2, 2)`.
        channels: int >= 1, of an image. Defaults to 1.
        residual, noise_level_input: see `zoo.models.denoisers.dncnn`.

    Returns:
        A `keras.Model`, as there. Sides are from half the coarsest pixel up: 2 for
        three scales.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> model = unet()
    >>> model.count_params()
    566017
    >>> model.predict_on_batch(ops.ones((1, 30, 41, 1))).shape
    (1, 30, 41, 1)

    Reference:

    - Ronneberger, Fischer, Brox, 2015, "U-Net", arXiv:1505.04597
    - Zhang et al., 2021, "Plug-and-Play Image Restoration with Deep Denoiser Prior",
      arXiv:2008.13751 (a U-Net of residual blocks, without bias)
    """
    widths = check_sizes("widths", widths)
    blocks = check_sizes("blocks", blocks, len(widths), DEEPEST)
    check_bool("residual", residual)
    check_bool("noise_level_input", noise_level_input)
    inputs, image, x = _inputs(channels, noise_level_input)
    *scales, bottom = enumerate(zip(widths, blocks, strict=True), 1)
    x = MirrorPad(2 ** len(scales), name="pad")(x)
    x = _convolution(widths[0], "head")(x)
    skips = []
    for scale, (_, count) in scales:
        x = _blocks(x, count, f"down{scale}")
        skips.append(x)
        x = keras.layers.Conv2D(widths[scale], 2, 2, name=f"down{scale}_halve")(x)
    x = _blocks(x, bottom[1][1], "bottom")
    for scale, (width, count) in reversed(scales):
        double = keras.layers.Conv2DTranspose(width, 2, 2, name=f"up{scale}_double")
        x = keras.layers.Add(name=f"up{scale}_skip")([double(x), skips.pop()])
        x = _blocks(x, count, f"up{scale}")
    x = _convolution(channels, "tail", initializer="zeros")(x)
    x = CutLike(name="cut")(x, image)
    return _model(inputs, image, x, residual, name="unet")


@keras.saving.register_keras_serializable(package="zoo")
class MirrorPad(keras.layers.Layer):
    """Mirrors images at their lower and right ends up to a multiple of pixels.

    Args:
        multiple: int >= 1, what the sides become multiples of; they must be half of it
            at least.
        **kwargs: `name`, `dtype`.

    Example:

    >>> image = ops.reshape([1.0, 2.0, 3.0], (1, 1, 3, 1))
    >>> ops.convert_to_numpy(MirrorPad(2)(image)).tolist()
    [[[[1.0], [2.0], [3.0], [3.0]], [[1.0], [2.0], [3.0], [3.0]]]]
    """

    def __init__(self, multiple, **kwargs):
        super().__init__(**kwargs)
        self.multiple = check_integer("multiple", multiple, 1)

    def call(self, images):
        for axis in (1, 2):
            size = ops.shape(images)[axis]
            # ONNX takes the remainder of a negative number otherwise.
            missing = (self.multiple - size % self.multiple) % self.multiple
            # Nothing to copy, where sizes are known.
            if isinstance(missing, int) and not missing:
                continue
            ends = (slice(None),) * axis + (slice(size - missing, None),)
            images = ops.concatenate([images, ops.flip(images[ends], axis)], axis)
        return images

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        sides = [side and side + -side % self.multiple for side in sides]
        return (batch, *sides, channels)

    def get_config(self):
        return {**super().get_config(), "multiple": self.multiple}


@keras.saving.register_keras_serializable(package="zoo")
class CutLike(keras.layers.Layer):
    """Cuts images at their lower and right ends to the size of others."""

    def call(self, images, others):
        _, height, width, _ = ops.shape(others)
        return images[:, :height, :width]

    def compute_output_shape(self, images_shape, others_shape):
        return (*others_shape[:-1], images_shape[-1])


@keras.saving.register_keras_serializable(package="zoo")
class NoiseLevelMap(keras.layers.Layer):
    """Adds to images a channel that holds the level of their noise everywhere."""

    def call(self, images, levels):
        ones = ops.ones_like(images[..., :1])
        levels = ops.cast(ops.reshape(levels, (-1, 1, 1, 1)), images.dtype)
        return ops.concatenate([images, levels * ones], axis=-1)

    def compute_output_shape(self, images_shape, levels_shape):
        return (*images_shape[:-1], images_shape[-1] + 1)


def _inputs(channels, noise_level_input):
    """Returns the inputs, the image among them, and what the first layer takes."""
    (channels,) = check_sizes("channels", [channels])
    dtype = _estimate_dtype()
    image = keras.Input((None, None, channels), dtype=dtype, name="image")
    if not noise_level_input:
        return image, image, image
    level = keras.Input((), dtype=dtype, name="noise_level")
    return (image, level), image, NoiseLevelMap(name="noise_level_map")(image, level)


def _model(inputs, image, x, residual, name):
    # Half precision would round the image itself.
    dtype = _estimate_dtype()
    if residual:
        x = keras.layers.Subtract(dtype=dtype, name="estimate")([image, x])
    else:
        x = keras.layers.Activation("linear", dtype=dtype, name="estimate")(x)
    return keras.Model(inputs, x, name=name)


def _estimate_dtype():
    return at_least_float32(keras.config.dtype_policy().compute_dtype)


def _blocks(x, count, name):
    """Applies residual blocks of two convolutions."""
    for index in range(1, count + 1):
        block, width = f"{name}_block{index}", x.shape[-1]
        y = _convolution(width, f"{block}_conv1")(x)
        y = keras.layers.ReLU(name=f"{block}_relu")(y)
        y = _convolution(width, f"{block}_conv2", initializer="zeros")(y)
        x = keras.layers.Add(name=f"{block}_add")([x, y])
    return x


def _layer_norm(bound, depth, normalization):
    """Returns the norm of each convolution that bounds the product of all."""
    tiny = np.finfo("float32").tiny
    bound = check_number("spectral_norm", bound, tiny, allowed="a number above 0")
    if normalization is not None:
        raise ValueError(
            "`spectral_norm` must be None where `normalization` is not: batch "
            f"normalisation has no bound. Received: spectral_norm={bound}"
        )
    return bound ** (1 / depth)


def _convolution(filters, name, use_bias=True, initializer="he_normal", norm=None):
    """Returns the 3 x 3 convolution that all networks are made of."""
    settings = {
        "padding": "same",
        "use_bias": use_bias,
        "kernel_initializer": initializer,
        "name": name,
    }
    if norm is None:
        return keras.layers.Conv2D(filters, 3, **settings)
    return RealSpectralNormConv2D(filters, 3, norm, **settings)
