"""Small convolutional networks, for images of digits."""

import functools
from collections.abc import Sequence

import keras

from zoo.layers.checks import check_count
from zoo.models.normalization import (
    Normalization,
    block,
    check_dropout,
    check_sizes,
    classifier_input,
    logits,
)

LARGEST_KERNEL = 1023


def convnet(
    input_shape: Sequence[int],
    num_classes: int,
    *,
    filters: Sequence[int] = (32, 64),
    kernel_size: int = 5,
    units: Sequence[int] = (1024,),
    dropout: float = 0.0,
    normalization: Normalization = "none",
    virtual_batch_size: int = 64,
) -> keras.Model:
    """Builds convolutions with pooling, then dense layers.

    Each convolution is followed by normalisation, ReLU and 2 x 2 max-pooling, each
    hidden dense layer by normalisation, ReLU and dropout; a dense layer gives the
    logits. The default is the network of Amid et al. (2019) for MNIST.

    Args:
        input_shape: tuple of integers, `(height, width, channels)`.
        num_classes: integer, the number of logits.
        filters: tuple of integers, the filters of each convolution. Defaults to
            `(32, 64)`.
        kernel_size: integer, the side of each kernel. Defaults to `5`.
        units: tuple of integers, the width of each hidden dense layer. Defaults to
            `(1024,)`.
        dropout: float, the rate of dropout after each hidden dense layer. Defaults
            to `0.0`.
        normalization: `None`, `"none"`, `"batch"` or `"ghost"`, see
            `zoo.models.normalization_layer`. Defaults to `"none"`.
        virtual_batch_size: integer, the samples in one ghost batch. Defaults to
            `64`.

    Returns:
        A `keras.Model` from `(batch, height, width, channels)` to logits
        `(batch, num_classes)`.

    Raises:
        ValueError: if an argument is outside what is allowed above, or an image
            is too small for the pooling.

    Example:

    >>> model = convnet((8, 8, 1), 10, filters=(8, 16), kernel_size=3, units=(32,))
    >>> model.output_shape
    (None, 10)

    Reference:

    - LeCun et al., 1998, doi:10.1109/5.726791
    - Amid et al., 2019, arXiv:1906.03361
    """
    layer = functools.partial(
        block, normalization=normalization, virtual_batch_size=virtual_batch_size
    )
    inputs = x = classifier_input(input_shape, num_classes, rank=3)
    filters = check_sizes("filters", filters)
    check_count("kernel_size", kernel_size, LARGEST_KERNEL)
    check_dropout("dropout", dropout)
    if min(inputs.shape[1:3]) < 2 ** len(filters):
        raise ValueError(
            f"`input_shape` must be at least {2 ** len(filters)} on each side for "
            f"{len(filters)} poolings. Received: input_shape={input_shape!r}"
        )
    for index, size in enumerate(filters, start=1):
        x = layer(
            keras.layers.Conv2D,
            x,
            size,
            kernel_size=kernel_size,
            padding="same",
            name=f"conv{index}",
        )
        x = keras.layers.MaxPooling2D(name=f"conv{index}_pool")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for index, size in enumerate(check_sizes("units", units), start=1):
        x = layer(keras.layers.Dense, x, size, name=f"dense{index}")
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"dense{index}_dropout")(x)
    return keras.Model(inputs, logits(x, num_classes), name="convnet")
