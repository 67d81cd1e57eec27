"""Running statistics of batch normalisation, measured anew."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo import _backend
from zoo.layers.ghost_batch_norm import BATCH_NORMS, channels_last, moments


def reestimate_batch_norm(model: keras.Model, data: Iterable[Any]) -> None:
    """Sets each batch normalisation's running statistics to those of `data`.

    Weights moved by hand (averaged, interpolated, loaded without statistics) leave
    running statistics that belong to other weights. This runs the model in training
    mode over `data`, each layer normalising whole batches (ghosts too), and sets the
    exact mean and variance over all that the layer was given, not a moving average:

    `mean = sum_b n_b mean_b / N`,
    `variance = sum_b n_b (variance_b + mean_b^2) / N - mean^2`

    over the calls `b` of the layer, with `n_b` positions that no mask hides: rows, or
    pixels of them. A batch without rows counts for nothing, and a layer that none
    reaches in training mode keeps what it has.

    All other state (weights, random seeds, metrics, optimizer) is as before, whatever
    interrupts the run. Frozen layers are measured too. Layers that act only in
    training, such as dropout, act, as they did when the running statistics were first
    taken.

    Args:
        model: `keras.Model`, built.
        data: an iterable of input batches, or of tuples whose first entry is the
            inputs, such as a finite `tf.data.Dataset`.

    Raises:
        ValueError: `model` is not built, has no batch normalisation, or one that is a
            subclass with a `call` of its own or runs in compiled code; or `data` holds
            nothing.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    >>> x = np.random.default_rng(0).normal(7.0, 2.0, (256, 4)).astype("float32")
    >>> reestimate_batch_norm(model, [x[:128], x[128:]])
    >>> bool(np.allclose(model.layers[-1].moving_mean, x.mean(axis=0), atol=1e-4))
    True

    Reference:

    - Izmailov et al., 2018, "Averaging Weights Leads to Wider Optima and Better
      Generalization", section 3.2, [arXiv:1803.05407](https://arxiv.org/abs/1803.05407)
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: model={model!r}")
    if not hasattr(data, "__iter__") or isinstance(data, (str, dict)):
        raise ValueError(f"`data` must be batches. Received: data={data!r}")
    layers = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    if not layers:
        raise ValueError(
            f"model must have a BatchNormalization layer. Received: model={model.name}"
        )
    for layer in layers:
        if not layer.built:
            raise ValueError(
                f"`model` must be built. Received: model={model.name}, with the layer "
                f"{layer.path} that is not"
            )
        if type(layer).call not in [kind.call for kind in BATCH_NORMS]:
            raise ValueError(
                "`model` must have no BatchNormalization layer with a `call` of its "
                f"own. Received: model={model.name}, with the layer {layer.path}"
            )
    state = [(variable, variable.numpy()) for variable in model.variables]
    # Calls leave the running statistics to us.
    during = {"momentum": 1.0, "virtual_batch_size": None, "trainable": True}
    settings = [
        (layer, name, getattr(layer, name))
        for layer in layers
        for name, value in during.items()
        if getattr(layer, name, value) != value
    ]
    sums = [np.zeros((3, *layer.moving_mean.shape)) for layer in layers]
    try:
        for layer, name, _ in settings:
            setattr(layer, name, during[name])
        for layer, total in zip(layers, sums, strict=True):
            layer.call = _measuring(layer, total)
        for batch in data:
            inputs = batch[0] if isinstance(batch, tuple) else batch
            if keras.tree.flatten(inputs)[0].shape[0]:
                model(inputs, training=True)
    finally:
        for layer in layers:
            vars(layer).pop("call", None)
        for layer, name, value in settings:
            setattr(layer, name, value)
        for variable, value in state:
            variable.assign(value)
    if not any(map(np.any, sums)):
        raise ValueError("`data` must hold at least one batch. Received: none")
    for layer, total in zip(layers, sums, strict=True):
        _assign(layer, total)


def _measuring(layer, total):
    """Returns a layer's `call` that adds what it is given to `total`."""
    call = layer.call

    # The names are those by which Keras hands arguments on.
    def measuring(inputs, training=None, mask=None):
        if training:
            if not _backend.is_concrete(inputs):
                raise ValueError(
                    "`model` must call its layers eagerly. "
                    f"Received: model with {layer.path} in compiled code"
                )
            whole = (
                None if part is None else _backend.cut_ghosts(part, None)[0]
                for part in channels_last(inputs, mask, layer.axis)
            )
            mean, variance, count = (
                ops.convert_to_numpy(statistic)[0].astype("float64")
                for statistic in moments(*whole)
            )
            total[0] += count
            total[1] += count * mean
            total[2] += count * (variance + mean**2)
            # For a batch that has no statistics of its own: one row of ghosts.
            _assign(layer, total)
        return call(inputs, training=training, mask=mask)

    return measuring


def _assign(layer, total):
    if not total[0].all():
        return
    mean, square = total[1:] / total[0]
    variance = np.maximum(square - mean**2, 0)
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(variance)
    if getattr(layer, "renorm", False):
        layer.moving_stddev.assign(np.sqrt(variance + layer.epsilon))
