"""The players of GANCS: a generator of images and a discriminator."""

from collections.abc import Sequence
from typing import Literal

import keras

from zoo.layers.checks import is_integer
from zoo.layers.data_consistency import MODES, DataConsistency
from zoo.layers.operators import LinearOperator
from zoo.losses.checks import check_bool, check_choice, check_integer
from zoo.models.normalization import DEEPEST, block, check_sizes, normalization_layer

CONSISTENCY = "consistency"


def generator(
    operator: LinearOperator,
    blocks: int = 2,
    width: int = 32,
    copies: int = 2,
    *,
    stages: int = 1,
    tied: bool = True,
    consistency: Literal["hard", "soft"] = "hard",
    normalization: Literal["batch"] | None = None,
) -> keras.Model:
    """Builds the network that recovers images from their measurements.

    `x_0 = C(A^T y)`,  `x_{t+1} = C(x_t + net(x_t))`

    `C` is `zoo.layers.DataConsistency`: what was measured takes the place of what the
    network says of it. A new network is 0, and `x_T = x_0`, which is zero-filling,
    `A^T y`, where `A A^T = I`.

    `net` begins with a 3 x 3 convolution. A stage is of residual blocks, each of two
    ReLUs and 3 x 3 convolutions; a ReLU and one convolution more lead to the next. At
    last come two convolutions of 1 x 1 pixels, with a ReLU before each. Of the size of
    GANCS is `stages=4, width=128, normalization="batch"`; it has one 3 x 3 convolution
    more before the last two, and does not add `x_t`.

    Images are real, as photographs are: for a `FourierMask` this is magnetic resonance
    imaging of an object without phase, and of one channel, where GANCS has the real and
    the imaginary part.

    Args:
        operator: a `zoo.layers.operators.LinearOperator`, `A`.
        blocks: int >= 1, residual blocks of a stage. Defaults to 2.
        width: int >= 1, filters. Defaults to 32.
        copies: int >= 1, how often the network and `C` follow each other. Defaults to
            2.
        stages: int >= 1. Defaults to 1.
        tied: bool, whether copies share their weights. Defaults to `True`.
        consistency: `"hard"`, or `"soft"` with a weight of the measurements that is
            trained, one for all copies. Defaults to `"hard"`.
        normalization: `"batch"`, which precedes each ReLU, or `None`. Copies that are
            tied have one set of running statistics. Defaults to `None`.

    Returns:
        A `keras.Model` from measurements `[batch, *operator.measurement_shape]` to
        images `[batch, H, W, C]`, not clipped to [0, 1].

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> import numpy as np
    >>> from zoo.data import random_mask
    >>> from zoo.layers.operators import FourierMask
    >>> from zoo.models.gancs import generator
    >>> operator = FourierMask((16, 16, 1), random_mask((16, 16), 0.25, power=3.0))
    >>> model = generator(operator)
    >>> model.count_params() - operator.count_params()
    38401
    >>> model.predict_on_batch(operator(np.ones((1, 16, 16, 1)))).shape
    (1, 16, 16, 1)

    Reference:

    - Mardani et al., 2019, "Deep Generative Adversarial Neural Networks for Compressive
      Sensing MRI", [arXiv:1706.00051](https://arxiv.org/abs/1706.00051)
    - Mardani et al., 2018, "Neural Proximal Gradient Descent for Compressive Imaging",
      [arXiv:1806.03963](https://arxiv.org/abs/1806.03963) (copies)
    """
    for name, value in {"blocks": blocks, "copies": copies, "stages": stages}.items():
        check_integer(name, value, 1, DEEPEST)
    (width,) = check_sizes("width", [width])
    check_bool("tied", tied)
    check_choice("consistency", consistency, MODES)
    check_choice("normalization", normalization, ("batch", None))
    consistent = DataConsistency(operator, consistency, name=CONSISTENCY)
    y = keras.Input(
        operator.measurement_shape,
        dtype=operator.measurement_dtype,
        name="measurements",
    )
    # Half precision would round the image itself.
    dtype = operator.float_dtype
    x = consistent(y)
    for copy in range(1, copies + 1):
        if copy == 1 or not tied:
            name = "network" if tied else f"network{copy}"
            network = _network(
                operator.image_shape, stages, blocks, width, normalization, name
            )
        x = keras.layers.Add(dtype=dtype, name=f"add{copy}")([x, network(x)])
        x = consistent(y, x)
    return keras.Model(y, x, name="generator")


def discriminator(
    image_shape: Sequence[int | None] = (None, None, 1),
    widths: Sequence[int] = (8, 16, 32, 64),
) -> keras.Model:
    """Builds the network that scores how true an image looks.

    Images in [0, 1] are scaled to [-1, 1]. 3 x 3 convolutions of stride 2, of `widths`
    filters, are followed by one of 3 x 3 and one of 1 x 1, of the last width, each with
    batch normalisation and a ReLU, and by one of 1 x 1 to a single channel, whose mean
    over all places is the score.

    Args:
        image_shape: `(H, W, C)`, where `H` and `W` may be `None`. Defaults to grey
            images of any size.
        widths: ints >= 1. Defaults to `(8, 16, 32, 64)`.

    Returns:
        A `keras.Model` from images `[batch, H, W, C]` to scores `[batch, 1]`, for the
        least-squares cost: 1 for a true image, 0 for a recovered one.

    Raises:
        ValueError: `widths` is not as above.

    Example:

    >>> from zoo.models.gancs import discriminator
    >>> discriminator().output_shape, discriminator().count_params()
    ((None, 1), 66281)

    Reference:

    - Mardani et al., 2019, "Deep Generative Adversarial Neural Networks for Compressive
      Sensing MRI", [arXiv:1706.00051](https://arxiv.org/abs/1706.00051)
    - Mao et al., 2017, "Least squares generative adversarial networks",
      [arXiv:1611.04076](https://arxiv.org/abs/1611.04076)
    """
    _check_image_shape(image_shape)
    widths = check_sizes("widths", widths)
    image = keras.Input(image_shape, name="image")
    x = keras.layers.Rescaling(2.0, -1.0, name="scale")(image)
    layers = [(width, 3, 2) for width in widths]
    layers += [(widths[-1], 3, 1), (widths[-1], 1, 1)]
    for index, (width, side, stride) in enumerate(layers, 1):
        x = block(
            keras.layers.Conv2D,
            x,
            width,
            normalization="batch",
            virtual_batch_size=None,
            name=f"conv{index}",
            kernel_size=side,
            strides=stride,
            padding="same",
        )
    x = keras.layers.Conv2D(1, 1, name="scores")(x)
    # Half precision would round the mean.
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name="score")(x)
    return keras.Model(image, x, name="discriminator")


def operator_of(network):
    """Returns the operator whose measurements a generator takes.

    Raises:
        ValueError: it is no generator.
    """
    for layer in getattr(network, "layers", ()):
        if isinstance(layer, DataConsistency):
            return layer.operator
    raise ValueError(
        "`generator` must be a network of zoo.models.gancs.generator. "
        f"Received: generator={network!r}"
    )


def _network(image_shape, stages, blocks, width, normalization, name):
    """Returns a network of images that is 0 at first."""
    image = keras.Input(image_shape, name="image")
    x = _convolution(width, 3, "head")(image)

    def activated(x, filters, side, name, initializer="he_normal"):
        norm = normalization_layer(normalization, name=f"{name}_norm")
        x = x if norm is None else norm(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        return _convolution(filters, side, name, initializer)(x)

    for stage in range(1, stages + 1):
        for index in range(1, blocks + 1):
            prefix = f"stage{stage}_block{index}"
            y = activated(x, width, 3, f"{prefix}_conv1")
            y = activated(y, width, 3, f"{prefix}_conv2", "zeros")
            x = keras.layers.Add(name=f"{prefix}_add")([y, x])
        if stage < stages:
            x = activated(x, width, 3, f"stage{stage}_conv")
    x = activated(x, width, 1, "tail")
    x = activated(x, image_shape[-1], 1, "residual", "zeros")
    return keras.Model(image, x, name=name)


def _convolution(filters, side, name, initializer="he_normal"):
    return keras.layers.Conv2D(
        filters, side, padding="same", kernel_initializer=initializer, name=name
    )


def _check_image_shape(shape):
    sizes = shape if isinstance(shape, (list, tuple)) and len(shape) == 3 else (0,)
    # Of any height and width, but not of any number of channels.
    known = [size for size in sizes[:2] if size is not None] + list(sizes[2:])
    if not all(is_integer(size) and size > 0 for size in known):
        raise ValueError(
            "`image_shape` must be three ints (height, width, channels) from 1 up, or "
            f"None for one of the first two. Received: image_shape={shape!r}"
        )
