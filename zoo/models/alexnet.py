"""The small AlexNet for 32 x 32 images."""

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


def alexnet(
    input_shape: Sequence[int],
    num_classes: int,
    *,
    filters: Sequence[int] = (64, 64),
    units: Sequence[int] = (384, 192),
    pool_size: int = 3,
    dropout: float = 0.0,
    normalization: Normalization = "batch",
    virtual_batch_size: int = 64,
) -> keras.Model:
    """Builds the small AlexNet of Zhang et al.

    Each 5 x 5 convolution, with normalisation and ReLU, is followed by max-pooling
    of stride 2; then each dense layer, with normalisation and ReLU, by dropout; a
    last dense layer gives the logits. `normalization` replaces the original's
    local response normalisation, which has no parameters.

    Args:
        input_shape: tuple of integers, `(height, width, channels)`.
        num_classes: integer, the number of logits.
        filters: tuple of integers, the filters of each convolution. Defaults to
            `(64, 64)`.
        units: tuple of integers, the width of each hidden dense layer. Defaults to
            `(384, 192)`.
        pool_size: integer, the side of the pooling window. Defaults to `3`.
        dropout: float, the rate of dropout after each hidden dense layer. Defaults
            to `0.0`.
        normalization: `None`, `"none"`, `"batch"` or `"ghost"`, see
            `zoo.models.normalization_layer`. Defaults to `"batch"`.
        virtual_batch_size: integer, the samples in one ghost batch. Defaults to
            `64`.

    Returns:
        A `keras.Model` from `(batch, height, width, channels)` to logits
        `(batch, num_classes)`.

    Raises:
        ValueError: if an argument is outside what is allowed above.

    Example:

    >>> model = alexnet((8, 8, 1), 10, filters=(16, 32), units=(64, 32))
    >>> model.output_shape
    (None, 10)

    Reference:

    - Zhang et al., 2017, arXiv:1611.03530
    """
    relu_block = functools.partial(
        block, normalization=normalization, virtual_batch_size=virtual_batch_size
    )
    inputs = classifier_input(input_shape, num_classes, rank=3)
    check_count("pool_size", pool_size)
    check_dropout("dropout", dropout)
    x = inputs
    for index, size in enumerate(check_sizes("filters", filters), start=1):
        x = relu_block(
            keras.layers.Conv2D,
            x,
            size,
            kernel_size=5,
            padding="same",
            name=f"conv{index}",
        )
        x = keras.layers.MaxPooling2D(
            pool_size, strides=2, padding="same", name=f"conv{index}_pool"
        )(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for index, size in enumerate(check_sizes("units", units), start=1):
        x = relu_block(keras.layers.Dense, x, size, name=f"dense{index}")
        x = keras.layers.Dropout(dropout, name=f"dense{index}_dropout")(x)
    return keras.Model(inputs, logits(x, num_classes), name="alexnet")
