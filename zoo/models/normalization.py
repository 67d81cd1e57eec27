"""What the network builders share: normalisation, the block around it and checks."""

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import keras

from zoo.layers import GhostBatchNorm
from zoo.layers.checks import LARGEST, is_integer
from zoo.layers.ghost_batch_norm import check_virtual_batch_size
from zoo.losses.checks import check_choice, check_integer, check_number

NORMALIZATIONS = ("none", "batch", "ghost")
# What `normalization_layer` takes.
Normalization: TypeAlias = Literal["none", "batch", "ghost"] | None
MOMENTUM = 0.9
EPSILON = 1e-5
# The most parts of a kind that follow each other.
DEEPEST = 1000


def normalization_layer(
    normalization: Normalization = "batch",
    virtual_batch_size: int = 64,
    name: str | None = None,
) -> keras.layers.Layer | None:
    """Creates the normalisation layer that a name stands for.

    Every builder of `zoo.models` normalises with this layer, at momentum 0.9 and
    epsilon 1e-5. These are torch's defaults, and so those behind most published
    results; Keras's momentum, 0.99, averages over more updates than a short run has.

    Args:
        normalization: `"batch"` for batch normalisation over the whole batch,
            `"ghost"` for `zoo.layers.GhostBatchNorm`, `None` or `"none"` for no
            normalisation. Defaults to `"batch"`.
        virtual_batch_size: integer, the samples in one ghost batch; read by
            `"ghost"` only. Defaults to `64`.
        name: name of the layer. Defaults to Keras's choice.

    Returns:
        A new layer, or `None` for no normalisation.

    Raises:
        ValueError: if `normalization` is not one of the above.

    Example:

    >>> normalization_layer("batch").momentum
    0.9
    >>> normalization_layer("none") is None
    True

    Reference:

    - Ioffe and Szegedy, 2015, arXiv:1502.03167 (batch normalisation)
    - Hoffer et al., 2017, arXiv:1705.08741 (ghost batch normalisation)
    """
    check_choice("normalization", normalization, (None, *NORMALIZATIONS))
    check_virtual_batch_size(virtual_batch_size)
    if normalization in (None, "none"):
        return None
    settings: dict[str, Any] = {"momentum": MOMENTUM, "epsilon": EPSILON, "name": name}
    if normalization == "batch":
        return keras.layers.BatchNormalization(**settings)
    return GhostBatchNorm(virtual_batch_size, **settings)


def block(
    layer_class,
    x,
    size,
    *,
    normalization,
    virtual_batch_size,
    name,
    relu=True,
    **kwargs,
):
    """Applies a dense or convolutional layer, its normalisation and a ReLU.

    The layer is initialised for ReLU (He et al., 2015, arXiv:1502.01852). It has a
    bias only where no normalisation follows, which would subtract it again.

    Args:
        layer_class: `keras.layers.Dense` or `keras.layers.Conv2D`.
        x: tensor, the input.
        size: integer, the units or filters of the layer.
        normalization: see `normalization_layer`.
        virtual_batch_size: see `normalization_layer`.
        name: name of the layer; the other two add `_norm` and `_relu` to it.
        relu: whether the ReLU is applied. Defaults to `True`.
        **kwargs: further arguments of `layer_class`.

    Returns:
        The output tensor.
    """
    norm = normalization_layer(normalization, virtual_batch_size, name=f"{name}_norm")
    x = layer_class(
        size,
        use_bias=norm is None,
        kernel_initializer="he_normal",
        name=name,
        **kwargs,
    )(x)
    if norm is not None:
        x = norm(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x


def check_sizes(name, sizes, length=None, high=LARGEST):
    """Returns `sizes`, `length` (any, if `None`) integers from 1 to `high`, a tuple."""
    values = tuple(sizes) if isinstance(sizes, Iterable) else ()
    fits = len(values) == length if length else len(values) > 0
    if not fits or not all(is_integer(value) and 0 < value <= high for value in values):
        raise ValueError(
            f"`{name}` must hold {length or 'one or more'} positive integers, "
            f"up to {high}. "
            f"Received: {name}={sizes!r}"
        )
    return tuple(int(value) for value in values)


def check_dropout(name, rate):
    """Returns a rate of dropout, a float from 0 up to 1."""
    return check_number(name, rate, 0.0, 1.0)


def classifier_input(input_shape, num_classes, rank=None):
    """Returns a classifier's input tensor, once both arguments are checked."""
    check_integer("num_classes", num_classes, 2, LARGEST)
    return keras.Input(check_sizes("input_shape", input_shape, rank), name="inputs")


def logits(x, num_classes):
    """Applies the last dense layer, in float32 under every dtype policy."""
    return keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
