"""Fully connected networks."""

import functools
from collections.abc import Sequence

import keras

from zoo.models.normalization import (
    Normalization,
    block,
    check_sizes,
    classifier_input,
    logits,
)


def mlp(
    input_shape: Sequence[int],
    num_classes: int,
    *,
    units: Sequence[int] = (512, 512, 512, 512, 512),
    normalization: Normalization = "batch",
    virtual_batch_size: int = 64,
) -> keras.Model:
    """Builds a fully connected classifier.

    The input is flattened, then each hidden layer is dense, normalisation, ReLU; a
    dense layer gives the logits. The default is network F1 of Keskar et al. (2017)
    on 28 x 28 x 1 images; one or three layers of 512 units without normalisation
    are the perceptrons of Zhang et al. (2017).

    Args:
        input_shape: tuple of integers, the shape of one sample, of any rank.
        num_classes: integer, the number of logits.
        units: tuple of integers, the width of each hidden layer. Defaults to
            `(512, 512, 512, 512, 512)`.
        normalization: `None`, `"none"`, `"batch"` or `"ghost"`, see
            `zoo.models.normalization_layer`. Defaults to `"batch"`.
        virtual_batch_size: integer, the samples in one ghost batch. Defaults to
            `64`.

    Returns:
        A `keras.Model` from `(batch, *input_shape)` to logits
        `(batch, num_classes)`.

    Raises:
        ValueError: if an argument is outside what is allowed above.

    Example:

    >>> model = mlp((8, 8, 1), 10, units=(32, 16), normalization="ghost")
    >>> model.output_shape
    (None, 10)

    Reference:

    - Keskar et al., 2017, arXiv:1609.04836 (F1)
    - Zhang et al., 2017, arXiv:1611.03530 (MLP 1 x 512 and 3 x 512)
    """
    dense = functools.partial(
        block,
        keras.layers.Dense,
        normalization=normalization,
        virtual_batch_size=virtual_batch_size,
    )
    inputs = classifier_input(input_shape, num_classes)
    x = keras.layers.Flatten(name="flatten")(inputs)
    for index, size in enumerate(check_sizes("units", units), start=1):
        x = dense(x, size, name=f"dense{index}")
    return keras.Model(inputs, logits(x, num_classes), name="mlp")
