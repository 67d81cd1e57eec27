"""The six networks of Keskar et al., on small and large batches."""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import keras

from zoo.losses.checks import check_choice
from zoo.models.alexnet import alexnet
from zoo.models.mlp import mlp
from zoo.models.normalization import (
    Normalization,
    block,
    check_dropout,
    classifier_input,
    logits,
)

# The samples and classes of MNIST, TIMIT, CIFAR-10 and CIFAR-100.
DATA = {
    "F1": ((28, 28, 1), 10),
    "F2": ((360,), 1973),
    "C1": ((32, 32, 3), 10),
    "C2": ((32, 32, 3), 10),
    "C3": ((32, 32, 3), 100),
    "C4": ((32, 32, 3), 100),
}
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def keskar(
    network: Literal["F1", "F2", "C1", "C2", "C3", "C4"],
    input_shape: Sequence[int] | None = None,
    num_classes: int | None = None,
    *,
    dropout: float = 0.5,
    normalization: Normalization = "batch",
    virtual_batch_size: int = 64,
) -> keras.Model:
    """Builds one of the networks F1, F2 and C1 to C4 of Keskar et al.

    | network | data      | hidden layers                                        |
    |---------|-----------|------------------------------------------------------|
    | F1      | MNIST     | 5 dense of 512                                       |
    | F2      | TIMIT     | 7 dense of 512                                       |
    | C1, C3  | CIFAR-10, | 2 convolutions 5 x 5 of 64, each with 3 x 3 pooling  |
    |         | CIFAR-100 | of stride 2; dense of 384 and 192, with dropout      |
    | C2, C4  | CIFAR-10, | convolutions 3 x 3: 2 of 64, 2 of 128, 3 of 256, 3   |
    |         | CIFAR-100 | of 512, 3 of 512, each group with 2 x 2 pooling;     |
    |         |           | dense of 512, with dropout                           |

    Each hidden layer has normalisation and ReLU. F1 and F2 flatten their input. C1 and
    C3 are `zoo.models.alexnet`; the convolutions of C2 and C4 are those of VGG-16.

    For the convolutions of C1 and C3 the paper writes a stride of 2; here, as in the
    authors' code, only the pooling has it. Their code for C2 and C4 also has dropout
    between the convolutions, where the paper names the dense layers.

    Args:
        network: `"F1"`, `"F2"`, `"C1"`, `"C2"`, `"C3"` or `"C4"`.
        input_shape: tuple of integers, the shape of one sample: for C1 to C4 `(height,
            width, channels)`. Defaults to that of the network's data, `(28, 28, 1)`,
            `(360,)` or `(32, 32, 3)`.
        num_classes: integer, the number of logits. Defaults to that of the network's
            data, 10 for F1, C1 and C2, 100 for C3 and C4, 1973 for F2.
        dropout: float, the rate of dropout after each hidden dense layer of C1 to C4.
            Defaults to `0.5`.
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

    >>> keskar("F1").output_shape
    (None, 10)
    >>> keskar("C3", (8, 8, 1), normalization="ghost").output_shape
    (None, 100)

    Reference:

    - Keskar, Mudigere, Nocedal, Smelyanskiy and Tang, 2017, arXiv:1609.04836, Table 1
      and appendix B; code at github.com/keskarnitish/large-batch-training
    """
    own_shape, own_classes = DATA[check_choice("network", network, tuple(DATA))]
    input_shape = own_shape if input_shape is None else input_shape
    num_classes = own_classes if num_classes is None else num_classes
    check_dropout("dropout", dropout)
    norm: dict[str, Any] = {
        "normalization": normalization,
        "virtual_batch_size": virtual_batch_size,
    }
    if network in ("F1", "F2"):
        units = (512,) * (5 if network == "F1" else 7)
        return mlp(input_shape, num_classes, units=units, **norm)
    build = alexnet if network in ("C1", "C3") else _vgg
    return build(input_shape, num_classes, dropout=dropout, **norm)


def _vgg(input_shape, num_classes, *, dropout, normalization, virtual_batch_size):
    layer = functools.partial(
        block, normalization=normalization, virtual_batch_size=virtual_batch_size
    )
    inputs = x = classifier_input(input_shape, num_classes, rank=3)
    for stage, (filters, depth) in enumerate(STAGES, start=1):
        for index in range(1, depth + 1):
            x = layer(
                keras.layers.Conv2D,
                x,
                filters,
                kernel_size=3,
                padding="same",
                name=f"conv{stage}_{index}",
            )
        # Padded, so that images below 32 x 32 pass.
        x = keras.layers.MaxPooling2D(padding="same", name=f"conv{stage}_pool")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = layer(keras.layers.Dense, x, 512, name="dense1")
    x = keras.layers.Dropout(dropout, name="dense1_dropout")(x)
    return keras.Model(inputs, logits(x, num_classes), name="vgg")
