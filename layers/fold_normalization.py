"""Models whose convolutions hold their normalisation, for inference."""

import keras
import numpy as np
from keras import ops

from zoo.layers.ghost_batch_norm import BATCH_NORMS
from zoo.layers.real_spectral_norm import RealSpectralNormConv2D

CONVOLUTIONS = (keras.layers.Conv2D, RealSpectralNormConv2D)


def fold_normalization(model: keras.Model) -> keras.Model:
    """Copies a model with spectral and batch normalisation folded into convolutions.

    Each `zoo.layers.RealSpectralNormConv2D` becomes a `keras.layers.Conv2D` of the
    kernel that it uses. A batch normalisation that is all that follows a convolution
    without activation leaves the model, and the convolution gets

    `scale = gamma / sqrt(moving_variance + epsilon)`,
    `kernel * scale`, `beta + scale * (bias - moving_mean)`

    LoRA is merged into the kernels of convolutions, and all else is copied. The copy
    predicts as `model` does, up to rounding, at less cost, and can be saved and
    exported without this package. It is not compiled, and training it trains another
    model. Convolutions inside wrappers, and layers of subclasses, stay as they are.

    Args:
        model: functional or built sequential `keras.Model`; nested ones are folded too.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: `model` is no functional or built sequential model.

    Example:

    >>> import keras
    >>> layers = [keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()]
    >>> model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    >>> [type(layer).__name__ for layer in fold_normalization(model).layers]
    ['InputLayer', 'Conv2D']
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            "`model` must be a functional or built sequential keras.Model. "
            f"Received: model={model!r}"
        )
    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    norms = _followers(model)
    folded = {norm.name for norm in norms.values()}

    def copied(layer):
        if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
            return fold_normalization(layer)
        config = layer.get_config()
        if type(layer) not in CONVOLUTIONS:
            return type(layer).from_config(config)
        # What the kernel that is copied holds already.
        for name in ("norm", "image_size", "mode", "lora_rank", "lora_alpha"):
            config.pop(name, None)
        config["use_bias"] = layer.use_bias or layer.name in norms
        return keras.layers.Conv2D.from_config(config)

    def called(layer, *args, **kwargs):
        return args[0] if layer.name in folded else layer(*args, **kwargs)

    copy = keras.models.clone_model(model, clone_function=copied, call_function=called)
    for layer in model.layers:
        nested = isinstance(layer, keras.Model) and getattr(layer, "inputs", None)
        if nested or layer.name in folded or not layer.weights:
            continue
        weights = layer.get_weights()
        if type(layer) in CONVOLUTIONS:
            weights = _folded(layer, norms.get(layer.name))
        copy.get_layer(layer.name).set_weights(weights)
    return copy


def _followers(model):
    """Returns the batch normalisations that can be folded, by their convolutions."""
    norms = {}
    for norm in model.layers:
        if type(norm) not in BATCH_NORMS or len(norm._inbound_nodes) != 1:
            continue
        layer = norm.input._keras_history.operation
        if (
            type(layer) in CONVOLUTIONS
            and layer.activation is keras.activations.linear
            and len(layer._inbound_nodes) == len(layer._outbound_nodes) == 1
            and all(layer.output is not output for output in model.outputs)
            and norm.axis % 4 == (3 if layer.data_format == "channels_last" else 1)
        ):
            norms[layer.name] = norm
    return norms


def _folded(layer, norm):
    """Returns the kernel that a convolution uses, and its bias, under `norm`."""
    spectral = type(layer) is RealSpectralNormConv2D
    kernel = layer.normalized_kernel() if spectral else layer.kernel
    kernel = ops.convert_to_numpy(kernel).astype("float64")
    bias = ops.convert_to_numpy(layer.bias) if layer.use_bias else 0.0
    if norm is None:
        return [kernel, bias] if layer.use_bias else [kernel]
    mean, variance = map(ops.convert_to_numpy, (norm.moving_mean, norm.moving_variance))
    scale = 1 / np.sqrt(variance.astype("float64") + norm.epsilon)
    if norm.scale:
        scale = scale * ops.convert_to_numpy(norm.gamma)
    shift = ops.convert_to_numpy(norm.beta) if norm.center else 0.0
    return [kernel * scale, shift + scale * (bias - mean)]
