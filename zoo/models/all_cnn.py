"""The all convolutional network."""

import functools
from collections.abc import Sequence

import keras

from zoo.layers.checks import is_integer
from zoo.models.normalization import (
    Normalization,
    block,
    check_dropout,
    check_sizes,
    classifier_input,
    logits,
)


def all_cnn(
    input_shape: Sequence[int],
    num_classes: int,
    *,
    filters: Sequence[int] = (96, 96, 96, 192, 192, 192, 192, 192),
    input_dropout: float = 0.0,
    dropout: float = 0.0,
    pool_size: int | None = None,
    normalization: Normalization = "batch",
    virtual_batch_size: int = 64,
) -> keras.Model:
    """Builds the all convolutional network All-CNN-C.

    Eight convolutions, each with normalisation and ReLU: seven of 3 x 3, of which
    the third and the sixth have stride 2, and one of 1 x 1. A linear 1 x 1
    convolution with a filter per class and global average pooling give the logits.

    `filters=(96, 96, 192, 192, 192, 192, 192, 192)` is the network of Achille et
    al. (2019); `input_dropout=0.2, dropout=0.5` are the original's rates.

    Args:
        input_shape: tuple of integers, `(height, width, channels)`.
        num_classes: integer, the number of logits.
        filters: tuple of eight integers, the filters of each convolution. Defaults
            to `(96, 96, 96, 192, 192, 192, 192, 192)`.
        input_dropout: float, the rate of dropout on the input. Defaults to `0.0`.
        dropout: float, the rate of dropout after each convolution of stride 2.
            Defaults to `0.0`.
        pool_size: integer, the side of average pooling before a dense layer that gives
            the logits, in place of the last convolution and global pooling, which
            `None` keeps. Defaults to `None`.
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

    >>> model = all_cnn((8, 8, 1), 10, filters=(16,) * 3 + (32,) * 5)
    >>> model.output_shape
    (None, 10)

    Reference:

    - Springenberg et al., 2014, arXiv:1412.6806
    - Achille et al., 2019, arXiv:1711.08856
    """
    conv = functools.partial(
        block,
        keras.layers.Conv2D,
        padding="same",
        normalization=normalization,
        virtual_batch_size=virtual_batch_size,
    )
    inputs = classifier_input(input_shape, num_classes, rank=3)
    check_dropout("input_dropout", input_dropout)
    check_dropout("dropout", dropout)
    x = keras.layers.Dropout(input_dropout, name="input_dropout")(inputs)
    for index, size in enumerate(check_sizes("filters", filters, length=8), start=1):
        kernel_size = 1 if index == 8 else 3
        strides = 2 if index in (3, 6) else 1
        x = conv(x, size, kernel_size=kernel_size, strides=strides, name=f"conv{index}")
        if strides == 2:
            x = keras.layers.Dropout(dropout, name=f"conv{index}_dropout")(x)
    if pool_size is None:
        x = keras.layers.Conv2D(num_classes, 1, dtype="float32", name="conv9")(x)
        x = keras.layers.GlobalAveragePooling2D(dtype="float32", name="logits")(x)
    else:
        side = min(x.shape[1:3])
        if not is_integer(pool_size) or not 1 <= pool_size <= side:
            raise ValueError(
                f"`pool_size` must be None or an integer from 1 to {side}. "
                f"Received: pool_size={pool_size!r}"
            )
        x = keras.layers.AveragePooling2D(pool_size, name="pool")(x)
        x = logits(keras.layers.Flatten(name="flatten")(x), num_classes)
    return keras.Model(inputs, x, name="all_cnn")
