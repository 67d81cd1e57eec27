"""Residual networks for small images and for ImageNet."""

import functools
from collections.abc import Sequence
from typing import Literal

import keras

from zoo.losses.checks import check_choice
from zoo.models.normalization import Normalization, block, classifier_input, logits

STEMS = ("auto", "cifar", "imagenet")


def resnet(
    depth: int,
    input_shape: Sequence[int],
    num_classes: int,
    *,
    stem: Literal["auto", "cifar", "imagenet"] = "auto",
    normalization: Normalization = "batch",
    virtual_batch_size: int = 64,
) -> keras.Model:
    """Builds a residual network of He et al.

    A stem, stages of residual blocks, global average pooling and a dense layer that
    gives the logits. Each stage but the first halves the image and doubles the
    filters in its first block.

    | depth          | blocks of each stage | residual block | filters | shortcut  |
    |----------------|----------------------|----------------|---------|-----------|
    | 20, 32, 44, 56 | 3 times 3, 5, 7, 9   | basic          | from 16 | padded    |
    | 18             | 2, 2, 2, 2           | basic          | from 64 | projected |
    | 34             | 3, 4, 6, 3           | basic          | from 64 | projected |
    | 50             | 3, 4, 6, 3           | bottleneck     | from 64 | projected |
    | 101            | 3, 4, 23, 3          | bottleneck     | from 64 | projected |

    A basic block has two 3 x 3 convolutions; a bottleneck has 1 x 1, 3 x 3 and
    1 x 1 with four times the filters, and its stride in the 3 x 3 as torchvision's
    v1.5 has it (in the paper: in the first 1 x 1). Where the shape changes, the
    padded shortcut (option A of the paper) keeps every second pixel and adds
    channels of zeros, without parameters; the projected one (option B) is a 1 x 1
    convolution with normalisation.

    Args:
        depth: integer, one of 18, 20, 32, 34, 44, 50, 56 and 101.
        input_shape: tuple of integers, `(height, width, channels)`.
        num_classes: integer, the number of logits.
        stem: `"imagenet"` for a 7 x 7 convolution of stride 2 and 3 x 3
            max-pooling of stride 2, `"cifar"` for a 3 x 3 convolution, or `"auto"`
            for `"cifar"` where the smaller side is below 64. Defaults to `"auto"`.
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

    >>> model = resnet(20, (8, 8, 1), 10, normalization="ghost")
    >>> model.get_layer("stage3_block3_relu").output.shape
    (None, 2, 2, 64)

    Reference:

    - He et al., 2015, arXiv:1512.03385
    """
    check_choice("depth", depth, tuple(_NETS))
    check_choice("stem", stem, STEMS)
    inputs = classifier_input(input_shape, num_classes, rank=3)
    if stem == "auto":
        stem = "cifar" if min(inputs.shape[1:3]) < 64 else "imagenet"
    conv = functools.partial(
        _conv, normalization=normalization, virtual_batch_size=virtual_batch_size
    )
    branch, shortcut, filters, stages = _NETS[depth]

    if stem == "imagenet":
        x = conv(inputs, filters, 7, strides=2, name="stem")
        x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
        x = keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)
    else:
        x = conv(inputs, filters, 3, name="stem")
    for stage, blocks in enumerate(stages):
        for index in range(blocks):
            strides = 2 if stage > 0 and index == 0 else 1
            name = f"stage{stage + 1}_block{index + 1}"
            y = branch(conv, x, filters * 2**stage, strides, name)
            if x.shape != y.shape:
                x = shortcut(conv, x, y.shape[-1], strides, f"{name}_shortcut")
            x = keras.layers.Add(name=f"{name}_add")([x, y])
            x = keras.layers.ReLU(name=f"{name}_relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, logits(x, num_classes), name=f"resnet{depth}")


def _conv(x, filters, kernel_size, strides=1, *, name, **kwargs):
    """Convolves, centred on the pixels that a shortcut of the same stride keeps."""
    padding = "same"  # centred at stride 1 only
    if strides > 1 and kernel_size > 1:
        x = keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    return block(
        keras.layers.Conv2D,
        x,
        filters,
        kernel_size=kernel_size,
        strides=strides,
        padding=padding,
        name=name,
        **kwargs,
    )


def _basic(conv, x, filters, strides, name):
    x = conv(x, filters, 3, strides, name=f"{name}_conv1")
    return conv(x, filters, 3, name=f"{name}_conv2", relu=False)


def _bottleneck(conv, x, filters, strides, name):
    x = conv(x, filters, 1, name=f"{name}_conv1")
    x = conv(x, filters, 3, strides, name=f"{name}_conv2")
    return conv(x, 4 * filters, 1, name=f"{name}_conv3", relu=False)


def _projected(conv, x, filters, strides, name):
    return conv(x, filters, 1, strides, name=name, relu=False)


def _padded(_, x, filters, strides, name):
    x = keras.layers.AveragePooling2D(1, strides, name=name)(x)
    zeros = ((0, 0), (0, filters - x.shape[-1]))
    # Read as channels first, the channels are the last of the two padded axes.
    return keras.layers.ZeroPadding2D(
        zeros, data_format="channels_first", name=f"{name}_pad"
    )(x)


_NETS = {
    # depth: (residual block, shortcut, filters of stage 1, blocks of each stage)
    18: (_basic, _projected, 64, (2, 2, 2, 2)),
    20: (_basic, _padded, 16, (3, 3, 3)),
    32: (_basic, _padded, 16, (5, 5, 5)),
    34: (_basic, _projected, 64, (3, 4, 6, 3)),
    44: (_basic, _padded, 16, (7, 7, 7)),
    50: (_bottleneck, _projected, 64, (3, 4, 6, 3)),
    56: (_basic, _padded, 16, (9, 9, 9)),
    101: (_bottleneck, _projected, 64, (3, 4, 23, 3)),
}
