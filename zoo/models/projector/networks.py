"""A projector onto natural images, and the discriminators that it is trained with."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from zoo.layers.checks import LARGEST
from zoo.layers.cosine_dense import at_least_float32
from zoo.losses.checks import check_bool, check_integer
from zoo.models.normalization import DEEPEST, check_sizes

# Filters of a bottleneck's last convolution, for each of those inside.
EXPANSION = 4


def projector(
    image_size: int = 32,
    channels: int = 1,
    widths: Sequence[int] = (24, 48, 96),
    *,
    latent_size: int = 8,
    residual: bool = False,
) -> keras.Model:
    """Builds a network that maps an image to a natural one near it.

    An encoder of 4 x 4 convolutions, of which the last halve the image down to
    `latent_size`; a latent, for which a matrix of each channel mixes its pixels, and a
    2 x 2 convolution the channels; and the mirrored transposed convolutions. ELUs stand
    between, none after the last. Defaults have 621,649 numbers and suit grey images of
    32 x 32.

    The reference normalises by the statistics of fixed images, virtual batch
    normalisation, which is an affine map of each channel once the network is trained:
    here nothing is normalised, and an image's estimate depends on it alone.

    Args:
        image_size: int, the side of an image: `latent_size` times a power of two.
            Defaults to 32.
        channels: int >= 1, of an image. Defaults to 1.
        widths: ints >= 1, filters of each convolution of the encoder. Defaults to
            `(24, 48, 96)`.
        latent_size: int >= 1, the side of the latent. Defaults to 8.
        residual: bool, whether the network is taken from the image, `x - net(x)`: it
            begins as the identity. The reference's is not. Defaults to `False`.

    Returns:
        A `keras.Model` from images `[batch, image_size, image_size, channels]` in
        [0, 1] to estimates of the same shape. The layer `"latent"` gives the latent.

    Raises:
        ValueError: an argument is not as above.

    Example: that of the paper, for images of ImageNet.

    >>> widths = (64, 128, 256, 512, 1024)
    >>> model = projector(image_size=64, channels=3, widths=widths)
    >>> model.get_layer("latent").output.shape
    (None, 8, 8, 1024)

    Reference:

    - Chang et al., 2017, "One Network to Solve Them All", arXiv:1703.09912
    """
    widths = check_sizes("widths", widths)
    (channels,) = check_sizes("channels", [channels])
    check_integer("latent_size", latent_size, 1, LARGEST)
    check_bool("residual", residual)
    check_integer("image_size", image_size, latent_size)
    halvings = round(math.log2(image_size / latent_size))
    if image_size != latent_size << halvings or halvings > len(widths):
        raise ValueError(
            "`image_size` must be `latent_size` times a power of two, of at most one "
            f"doubling a width. Received: image_size={image_size}, "
            f"latent_size={latent_size}, widths={widths}"
        )
    strides = [1] * (len(widths) - halvings) + [2] * halvings
    image = keras.Input((image_size, image_size, channels), name="image")
    x = image
    for index, (width, stride) in enumerate(zip(widths, strides, strict=True), 1):
        x = _convolution(width, 4, f"encoder{index}", stride)(x)
        x = keras.layers.ELU(name=f"encoder{index}_elu")(x)
    x = keras.layers.ELU(name="mix_elu")(ChannelwiseDense(name="mix")(x))
    x = _convolution(widths[-1], 2, "latent")(x)
    outputs = [channels, *widths[:-1]]
    for index in range(len(widths), 0, -1):
        last = index == 1
        x = keras.layers.Conv2DTranspose(
            outputs[index - 1],
            4,
            strides[index - 1],
            padding="same",
            kernel_initializer="zeros" if last and residual else "he_normal",
            name=f"decoder{index}",
        )(x)
        if not last:
            x = keras.layers.ELU(name=f"decoder{index}_elu")(x)
    # Half precision would round the image itself.
    dtype = at_least_float32(keras.config.dtype_policy().compute_dtype)
    if residual:
        x = keras.layers.Subtract(dtype=dtype, name="estimate")([image, x])
    else:
        x = keras.layers.Activation("linear", dtype=dtype, name="estimate")(x)
    return keras.Model(image, x, name="projector")


def image_discriminator(
    image_size: int = 32,
    channels: int = 1,
    width: int = 16,
    blocks: Sequence[int] = (1, 1, 1),
) -> keras.Model:
    """Builds a network that tells natural images from projected ones.

    A 4 x 4 convolution that halves, stacks of bottlenecks, of which all but the first
    halve again and have twice the filters, the means over pixels, and a dense layer. A
    bottleneck adds to its input, or to a projection of it where sizes change, a 1 x 1,
    a 3 x 3 and a 1 x 1 convolution, which is 0 at first. ELUs make it differentiable,
    with bounded gradients where weights are bounded.

    Args:
        image_size: int >= 1, the side of an image. Defaults to 32.
        channels: int >= 1, of an image. Defaults to 1.
        width: int >= 1, filters of the first convolution. Defaults to 16; the paper's
            has 64.
        blocks: ints >= 1, bottlenecks of each stack. Defaults to `(1, 1, 1)`; the
            paper's has `(3, 4, 6, 3)`.

    Returns:
        A `keras.Model` from images `[batch, image_size, image_size, channels]` to
        logits `[batch, 1]`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> image_discriminator(64, 3, 64, (3, 4, 6, 3)).output.shape
    (None, 1)

    Reference:

    - Chang et al., 2017, "One Network to Solve Them All", arXiv:1703.09912
    """
    check_integer("image_size", image_size, 1, LARGEST)
    (channels,) = check_sizes("channels", [channels])
    (width,) = check_sizes("width", [width])
    blocks = check_sizes("blocks", blocks, high=DEEPEST)
    image = keras.Input((image_size, image_size, channels), name="image")
    x = _convolution(width, 4, "head", 2)(image)
    x = keras.layers.ELU(name="head_elu")(x)
    for stack, count in enumerate(blocks):
        for index in range(count):
            stride = 2 if stack and not index else 1
            name = f"stack{stack + 1}_block{index + 1}"
            x = _bottleneck(x, width << stack, name, stride)
    return keras.Model(image, _logit(x), name="image_discriminator")


def latent_discriminator(
    latent_shape: Sequence[int] = (8, 8, 96), blocks: int = 2
) -> keras.Model:
    """Builds a network that tells latents of natural images from those of others.

    Bottlenecks as those of `image_discriminator`, with a quarter of the latent's
    channels inside, the means over pixels, and a dense layer.

    Args:
        latent_shape: three ints >= 1, of a projector's latent. Defaults to
            `(8, 8, 96)`.
        blocks: int >= 1, bottlenecks. Defaults to 2; the paper's has 6.

    Returns:
        A `keras.Model` from latents `[batch, *latent_shape]` to logits `[batch, 1]`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> latent_discriminator((8, 8, 1024), blocks=6).output.shape
    (None, 1)

    Reference:

    - Chang et al., 2017, "One Network to Solve Them All", arXiv:1703.09912
    """
    latent_shape = check_sizes("latent_shape", latent_shape, 3)
    check_integer("blocks", blocks, 1, DEEPEST)
    latent = keras.Input(tuple(latent_shape), name="latent")
    x = latent
    width = -(-latent_shape[-1] // EXPANSION)
    for index in range(blocks):
        x = _bottleneck(x, width, f"block{index + 1}")
    return keras.Model(latent, _logit(x), name="latent_discriminator")


@keras.saving.register_keras_serializable(package="zoo")
class ChannelwiseDense(keras.layers.Layer):
    """Mixes all pixels of a channel, by a matrix of its own.

    `y_c = W_c x_c + b_c` of the pixels of channel `c`; it begins as the identity.

    Args:
        **kwargs: `name`, `dtype`.

    Example:

    >>> layer = ChannelwiseDense()
    >>> tuple(layer(ops.ones((2, 4, 4, 3))).shape), layer.count_params()
    ((2, 4, 4, 3), 816)
    """

    def build(self, input_shape):
        _, height, width, channels = input_shape
        pixels = height * width
        self.kernel = self.add_weight(
            name="kernel",
            shape=(channels, pixels, pixels),
            initializer=lambda shape, dtype: ops.broadcast_to(
                ops.eye(pixels, dtype=dtype), shape
            ),
        )
        self.bias = self.add_weight(
            name="bias", shape=(pixels, channels), initializer="zeros"
        )

    def call(self, images):
        shape = ops.shape(images)
        pixels = ops.reshape(images, (-1, self.bias.shape[0], shape[-1]))
        mixed = ops.einsum("bpc,cqp->bqc", pixels, self.kernel) + self.bias
        return ops.reshape(mixed, shape)

    def compute_output_shape(self, images_shape):
        return images_shape


def _convolution(filters, size, name, stride=1, initializer="he_normal"):
    return keras.layers.Conv2D(
        filters,
        size,
        stride,
        padding="same",
        kernel_initializer=initializer,
        name=name,
    )


def _bottleneck(x, width, name, stride=1):
    """Adds to features what three convolutions make of them."""
    filters = EXPANSION * width
    y = keras.layers.ELU(name=f"{name}_elu1")(_convolution(width, 1, f"{name}_in")(x))
    y = _convolution(width, 3, f"{name}_middle", stride)(y)
    y = keras.layers.ELU(name=f"{name}_elu2")(y)
    y = _convolution(filters, 1, f"{name}_out", initializer="zeros")(y)
    if stride > 1 or x.shape[-1] != filters:
        x = _convolution(filters, 1, f"{name}_shortcut", stride)(x)
    return keras.layers.ELU(name=f"{name}_elu3")(
        keras.layers.Add(name=f"{name}_add")([x, y])
    )


def _logit(x):
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    dtype = at_least_float32(keras.config.dtype_policy().compute_dtype)
    return keras.layers.Dense(1, dtype=dtype, name="logit")(x)
