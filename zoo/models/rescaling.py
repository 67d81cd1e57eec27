"""The same function with other weights: layers of ReLU networks, rescaled."""

import collections
import math
from collections.abc import Sequence

import keras
from keras import ops

from zoo import _backend
from zoo.losses.checks import check_number

_LINEAR = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)
# Outside training, with f(a x) = a f(x) for a > 0 whatever their arguments.
_HOMOGENEOUS = (
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.AveragePooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
    keras.layers.ZeroPadding3D,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.Cropping3D,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.Identity,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)
_NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.UnitNormalization,
)
_ACTIVATIONS = (
    keras.activations.linear,
    keras.activations.relu,
    keras.activations.leaky_relu,
)


def rescale(
    model: keras.Model, alpha: float, pairs: Sequence[tuple[str, str]] | None = None
) -> keras.Model:
    """Returns a copy of a ReLU network with rescaled weights and the same outputs.

    For a pair of layers one after the other,

    `(W_1, b_1, W_2) -> (alpha W_1, alpha b_1, W_2 / alpha)`

    changes no output, for `relu(alpha x) = alpha relu(x)`, but moves the minimum to
    where the loss is as sharp or flat as one likes: a measure that tells something of
    the function must not see it.

    With all pairs, the default, each hidden activation is `alpha` times what it was:
    the first kernel is multiplied, the last divided, and those between, which are both,
    stay; all biases but the last are multiplied.

    Between a pair may be what is positively homogeneous outside training, as ReLU,
    leaky and parametric ReLU, max- and average-pooling, padding, cropping, flattening
    and dropout are. Other activations and branches, such as residual ones, are refused.
    So is normalisation: it takes the scale out again, so that dividing `W_2` would
    change the outputs. Build the network with `normalization="none"`.

    Args:
        model: functional or built sequential `keras.Model`. It is left as it is.
        alpha: float > 0, the factor.
        pairs: list of pairs of names of dense or convolutional layers, the second the
            next such layer after the first. A layer may be in two pairs. Defaults to
            all pairs.

    Returns:
        A new model of the same layers, not compiled. Outputs differ by rounding, where
        `alpha` is a power of two by underflow and overflow alone. Penalties on weights,
        such as a kernel regulariser's, are other ones.

    Raises:
        ValueError: an argument is not as above; or a layer between a pair, which the
            message names, does not carry the scale.

    Example:

    >>> import numpy as np
    >>> from zoo.models import mlp
    >>> model = mlp((4,), 3, units=(8, 8), normalization="none")
    >>> scaled = rescale(model, 5.0, [("dense1", "dense2")])
    >>> before, after = (m.get_layer("dense1").kernel.numpy() for m in (model, scaled))
    >>> bool(np.allclose(after, 5 * before))
    True
    >>> x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    >>> bool(np.allclose(scaled(x), model(x), atol=1e-5))
    True

    Reference:

    - Dinh, Pascanu, Bengio and Bengio, 2017, "Sharp Minima Can Generalize For Deep
      Nets", section 3, [arXiv:1703.04933](https://arxiv.org/abs/1703.04933)
    """
    alpha = check_number("alpha", alpha, low=math.ulp(0.0), allowed="a number above 0")
    graph = _backend.graph_of(model)
    if graph is None:
        raise ValueError(
            "`model` must be a functional or built sequential keras.Model. "
            f"Received: model={model!r}"
        )
    pairs = _all_pairs(graph) if pairs is None else _named_pairs(graph, pairs)
    scaled = keras.models.clone_model(model)
    scaled.set_weights(model.get_weights())
    # Summed up first: kernels that are both multiplied and divided stay exact.
    powers: collections.Counter[tuple[str, str]] = collections.Counter()
    for first, second in pairs:
        powers.update(
            {(first, "kernel"): 1, (first, "bias"): 1, (second, "kernel"): -1}
        )
    for (name, kind), power in powers.items():
        weight = getattr(scaled.get_layer(name), kind)
        if weight is not None:
            value = ops.convert_to_numpy(weight.value).astype("float64")
            weight.assign(value * alpha**power)
    return scaled


def _all_pairs(graph):
    layers = [layer.name for layer in graph.operations if type(layer) in _LINEAR]
    pairs = [(name, _next(graph, name)) for name in layers]
    pairs = [pair for pair in pairs if pair[1] is not None]
    if not pairs:
        raise ValueError(
            "`model` must have two dense or convolutional layers, one after the other. "
            f"Received: layers={layers}"
        )
    return pairs


def _named_pairs(graph, pairs):
    layers = {layer.name for layer in graph.operations if type(layer) in _LINEAR}
    wrong = not isinstance(pairs, (list, tuple))
    for pair in [None] if wrong else pairs:
        if (
            not isinstance(pair, (list, tuple))
            or len(pair) != 2
            or any(name not in list(layers) for name in pair)
        ):
            raise ValueError(
                "`pairs` must hold pairs of names of dense or convolutional layers. "
                f"Received: pairs={pairs!r}"
            )
        first, second = pair
        following = _next(graph, first)
        if following != second:
            raise ValueError(
                f"`pairs` must name next to {first!r} the layer after it, "
                f"{following!r}. Received: pairs={pairs!r}"
            )
    return pairs


def _next(graph, name):
    """The linear layer that a scale is carried to, `None` where none follows."""
    nodes = [node for group in graph._nodes_by_depth.values() for node in group]
    outputs = set(map(id, graph.outputs))
    node = next(node for node in nodes if node.operation.name == name)
    obstacles = [_obstacle(node.operation, nodes)]
    while True:
        made = set(map(id, node.output_tensors))
        following = [
            other for other in nodes if made & set(map(id, other.input_tensors))
        ]
        if not following:
            return None
        if len(following) > 1 or made & outputs:
            obstacles.append(f"{_say(node.operation)}, whose output goes several ways")
            break
        (node,) = following
        if type(node.operation) in _LINEAR:
            obstacles.append(_shared(node.operation, nodes))
            break
        obstacles.append(_obstacle(node.operation, nodes))
    for obstacle in filter(None, obstacles):
        raise ValueError(
            f"`model` cannot carry a scale from layer {name!r} on through {obstacle}."
        )
    return node.operation.name


def _obstacle(layer, nodes):
    """Why a scale of the layer's weights or input is none of its output, or `None`."""
    if type(layer) in _LINEAR:
        if layer.activation in _ACTIVATIONS:
            return _shared(layer, nodes)
        return f"{_say(layer)}, whose activation is not positively homogeneous"
    if isinstance(layer, _NORMALIZATIONS):
        return f"{_say(layer)}, which takes the scale out again"
    return None if _is_homogeneous(layer) else _say(layer)


def _shared(layer, nodes):
    if sum(node.operation is layer for node in nodes) > 1:
        return f"{_say(layer)}, which is called more than once"
    return None


def _is_homogeneous(layer):
    if type(layer) is keras.layers.ReLU:
        return layer.max_value is None and not layer.threshold
    if type(layer) is keras.layers.Activation:
        return layer.activation in _ACTIVATIONS
    return type(layer) in _HOMOGENEOUS


def _say(layer):
    return f"{layer.name!r} ({type(layer).__name__})"
