"""Running statistics of batch normalisation, measured anew."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np


def reestimate_batch_norm(model: keras.Model, data: Iterable[Any]) -> None:
    """Sets each batch normalisation's running statistics to those of `data`.

    Weights moved by hand (averaged, interpolated, loaded without statistics) leave
    running statistics that belong to other weights. This runs the model in training
    mode over `data`, each layer normalising whole batches (ghosts too), and sets the
    exact mean and variance over all batches, not a moving average:

    `mean = sum_b n_b mean_b / N`,
    `variance = sum_b n_b (variance_b + mean_b^2) / N - mean^2`

    All other state (weights, random seeds, metrics, optimizer) is as before, whatever
    interrupts the run. Frozen layers are measured too. Layers that act
    only in training, such as dropout, act, as they did when the running statistics
    were first taken.

    Args:
        model: `keras.Model`, built.
        data: an iterable of input batches, or of tuples whose first entry is the
            inputs, such as a finite `tf.data.Dataset`.

    Raises:
        ValueError: `model` has no batch normalisation, or `data` no batch.

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
    state = [(variable, variable.numpy()) for variable in model.variables]
    # The running statistics become those of the last batch.
    during = {"momentum": 0.0, "virtual_batch_size": None, "trainable": True}
    settings = [
        (layer, name, getattr(layer, name))
        for layer in layers
        for name, value in during.items()
        if getattr(layer, name, value) != value
    ]
    sums = [np.zeros((2, *layer.moving_mean.shape)) for layer in layers]
    rows = 0
    try:
        for layer, name, _ in settings:
            setattr(layer, name, during[name])
        for batch in data:
            inputs = batch[0] if isinstance(batch, tuple) else batch
            model(inputs, training=True)
            count = keras.tree.flatten(inputs)[0].shape[0]
            rows += count
            for layer, total in zip(layers, sums, strict=True):
                mean = layer.moving_mean.numpy().astype("float64")
                variance = layer.moving_variance.numpy().astype("float64")
                total += count * np.stack([mean, variance + mean**2])
                # A layer that cannot use the next batch (one row) leaves these alone.
                _assign(layer, *(total / rows))
    finally:
        for layer, name, value in settings:
            setattr(layer, name, value)
        for variable, value in state:
            variable.assign(value)
    if not rows:
        raise ValueError("`data` must hold at least one batch. Received: none")
    for layer, total in zip(layers, sums, strict=True):
        _assign(layer, *(total / rows))


def _assign(layer, mean, square):
    variance = np.maximum(square - mean**2, 0)
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(variance)
    if getattr(layer, "renorm", False):
        layer.moving_stddev.assign(np.sqrt(variance + layer.epsilon))
