"""Bounds of how far a network can drive two inputs apart."""

import dataclasses
import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from zoo.layers.checks import check_count
from zoo.layers.convolution_norm import convolution_bound, convolution_norm
from zoo.layers.cosine_dense import at_least_float32
from zoo.layers.ghost_batch_norm import BATCH_NORMS
from zoo.layers.real_spectral_norm import RealSpectralNormConv2D, check_size

NAMES = ("linear", "relu", "relu6", "sigmoid", "softplus", "softsign", "tanh")
CONTRACTIONS = tuple(map(keras.activations.get, NAMES))
IDENTITIES = (keras.layers.Dropout, keras.layers.Flatten, keras.layers.Reshape)


@dataclasses.dataclass(frozen=True)
class LipschitzReport:
    """What is known of the Lipschitz constant of a network.

    Attributes:
        layers: list of `(name, norm, why)` in order, `norm` being a bound of the
            layer's Lipschitz constant, or `None`, and `why` how it is known, or why
            not.
        product: float, the product of the norms, or `None`.
        why: str, what the product bounds, or why there is none.

    Example:

    >>> layers = [("conv", 0.5, "bounded"), ("relu", 1.0, "contraction")]
    >>> print(LipschitzReport(layers, 0.5, "bounds the model"))
    conv          0.5  bounded
    relu            1  contraction
    product       0.5  bounds the model
    """

    layers: list[tuple[str, float | None, str]]
    product: float | None
    why: str

    def __str__(self) -> str:
        rows = [*self.layers, ("product", self.product, self.why)]
        width = max(len(name) for name, _, _ in rows)
        lines = []
        for name, norm, why in rows:
            number = "no bound" if norm is None else f"{norm:.4g}"
            lines.append(f"{name:<{width}}  {number:>8}  {why}")
        return "\n".join(lines)


def lipschitz_report(
    model: keras.Model, image_size: Sequence[int] | None = None, steps: int = 200
) -> LipschitzReport:
    """Bounds the Lipschitz constant of a model by the norms of its layers.

    `|N(x) - N(y)| <= product |x - y|`,  `product = product of the layers' norms`

    in inference, for a chain `N` of layers. Where the output of a chain is added to, or
    subtracted from, the model's own input (a denoiser whose network is the noise), the
    product bounds the chain, which is `model(x) - x` up to its sign; where the input is
    subtracted from it, the chain is `model(x) + x`.

    | layer | norm |
    | --- | --- |
    | convolutions (stride 1, padding `"same"`) | bounded for images of all sizes |
    | dense | largest singular value of the kernel |
    | batch normalisation | `max abs(gamma) / sqrt(moving_variance + epsilon)` |
    | ReLU and other contractions | 1 |
    | all others | none |

    The bound of a convolution is that of its symbol, half a percent above the norm on
    large images at most for kernels of 3 x 3. With an `image_size` the norm is measured
    on images of that size instead, from below, with relative errors under 1e-9 where
    the measurement ends before `steps`. Norms grow a little with the size.

    Args:
        model: functional or built sequential `keras.Model`.
        image_size: pair of ints, height and width in pixels to measure norms on, or
            `None` to bound them. Defaults to `None`.
        steps: int >= 1, the most steps of a measurement. Defaults to 200.

    Returns:
        A `LipschitzReport`. Printing it prints a table.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> import keras
    >>> kernel = keras.initializers.Identity(2.0)
    >>> layers = [
    ...     keras.layers.Dense(3, kernel_initializer=kernel, name="dense"),
    ...     keras.layers.ReLU(name="relu"),
    ... ]
    >>> print(lipschitz_report(keras.Sequential([keras.Input((3,)), *layers])))
    dense           2  largest singular value
    relu            1  contraction
    product         2  bounds the model
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            "`model` must be a functional or built sequential keras.Model. "
            f"Received: model={model!r}"
        )
    size = None if image_size is None else check_size(image_size)
    steps = check_count("steps", steps)
    chain, why = _chain(model)
    found = model.layers if chain is None else chain
    layers = [
        (layer.name, *_norm(layer, size, steps))
        for layer in found
        if not isinstance(layer, keras.layers.InputLayer)
    ]
    unknown = [name for name, norm, _ in layers if norm is None]
    if chain is None:
        return LipschitzReport(layers, None, why)
    if unknown:
        return LipschitzReport(layers, None, f"no bound of {', '.join(unknown)}")
    product = math.prod(norm for _, norm, _ in layers)
    return LipschitzReport(layers, product, why)


def _chain(model):
    """Returns the layers of a chain in order and what it is, or `None` and why."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        return None, "the model has several inputs or outputs"
    image, tensor, what = model.inputs[0], model.outputs[0], "bounds the model"
    layer, parents = _origin(tensor)
    if type(layer) in (keras.layers.Add, keras.layers.Subtract):
        others = [parent for parent in parents if parent is not image]
        if len(others) == len(parents) - 1 == 1:
            negated = type(layer) is keras.layers.Subtract and parents[1] is image
            (tensor,), what = others, f"bounds model(x) {'+' if negated else '-'} x"
    chain = []
    while tensor is not image:
        layer, parents = _origin(tensor)
        if len(parents) != 1:
            return None, f"no chain: {layer.name} has {len(parents)} inputs"
        chain.append(layer)
        tensor = parents[0]
    return chain[::-1], what


def _origin(tensor):
    """Returns the layer that made a tensor, and what from."""
    history = tensor._keras_history
    node = history.operation._inbound_nodes[history.node_index]
    return history.operation, node.input_tensors


def _norm(layer, size, steps):
    """Returns a bound of a layer's Lipschitz constant, or `None`, and why."""
    activation = getattr(layer, "activation", keras.activations.linear)
    if activation not in CONTRACTIONS:
        return None, f"activation {getattr(activation, '__name__', activation)}"
    if type(layer) in (keras.layers.Conv2D, RealSpectralNormConv2D):
        if layer.strides != (1, 1) or layer.padding != "same" or layer.groups != 1:
            return None, "strides, groups or padding"
        spectral = type(layer) is RealSpectralNormConv2D
        kernel = layer.normalized_kernel() if spectral else layer.kernel
        kernel = ops.convert_to_numpy(ops.cast(kernel, at_least_float32(kernel.dtype)))
        if size is None:
            return convolution_bound(kernel), "bound for images of all sizes"
        norm = convolution_norm(kernel, size, layer.dilation_rate, steps)
        return norm, f"measured on {size[0]} x {size[1]} pixels"
    if type(layer) is keras.layers.Dense:
        dtype = at_least_float32(layer.kernel.dtype)
        kernel = ops.convert_to_numpy(ops.cast(layer.kernel, dtype))
        norm = np.linalg.norm(kernel.astype("float64"), 2)
        return float(norm), "largest singular value"
    if type(layer) in BATCH_NORMS:
        variance = ops.convert_to_numpy(layer.moving_variance).astype("float64")
        gamma = ops.convert_to_numpy(layer.gamma) if layer.scale else 1.0
        norm = np.max(np.abs(gamma) / np.sqrt(variance + layer.epsilon))
        return float(norm), "max |gamma| / sqrt(variance + epsilon)"
    if type(layer) is keras.layers.ReLU:
        if layer.threshold:
            return None, "a jump at the threshold"
        return max(1.0, abs(float(layer.negative_slope))), "contraction"
    if type(layer) is keras.layers.Activation:
        return 1.0, "contraction"
    if type(layer) in IDENTITIES:
        return 1.0, "moves numbers only"
    return None, f"unknown kind of layer: {type(layer).__name__}"
