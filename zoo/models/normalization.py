"""What the network builders share: normalisation, the block around it and checks."""

import collections.abc
import numbers

import keras

from zoo.layers import GhostBatchNorm

NORMALIZATIONS = ("none", "batch", "ghost")
MOMENTUM = 0.9
EPSILON = 1e-5


def normalization_layer(normalization="batch", virtual_batch_size=64, name=None):
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
    if normalization in (None, "none"):
        return None
    settings = {"momentum": MOMENTUM, "epsilon": EPSILON, "name": name}
    if normalization == "batch":
        return keras.layers.BatchNormalization(**settings)
    if normalization == "ghost":
        return GhostBatchNorm(virtual_batch_size, **settings)
    raise ValueError(
        f"`normalization` must be None or one of {NORMALIZATIONS}. "
        f"Received: normalization={normalization!r}"
    )


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


def check_sizes(name, sizes, length=None):
    """Returns `sizes` as a tuple of `length` (any, if `None`) positive integers."""
    values = tuple(sizes) if isinstance(sizes, collections.abc.Iterable) else ()
    fits = len(values) == length if length else len(values) > 0
    if not fits or not all(
        isinstance(value, numbers.Integral) and value > 0 for value in values
    ):
        raise ValueError(
            f"`{name}` must hold {length or 'one or more'} positive integers. "
            f"Received: {name}={sizes!r}"
        )
    return tuple(int(value) for value in values)


def classifier_input(input_shape, num_classes, rank=None):
    """Returns a classifier's input tensor, once both arguments are checked."""
    if not isinstance(num_classes, numbers.Integral) or num_classes < 2:
        raise ValueError(
            "`num_classes` must be an integer from 2 up. "
            f"Received: num_classes={num_classes!r}"
        )
    return keras.Input(check_sizes("input_shape", input_shape, rank), name="inputs")


def logits(x, num_classes):
    """Applies the last dense layer, in float32 under every dtype policy."""
    return keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
