"""Classifiers whose parts a Keras Tuner tuner chooses."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras

from zoo.losses import BiTemperedLogistic, LargeMargin, TemperatureSoftmax
from zoo.models.convnet import convnet
from zoo.models.large_margin import LargeMarginModel
from zoo.models.mlp import mlp
from zoo.models.normalization import NORMALIZATIONS, check_sizes
from zoo.models.resnet import resnet

if TYPE_CHECKING:
    import keras_tuner


def tunable_network(
    hp: "keras_tuner.HyperParameters",
    input_shape: Sequence[int],
    num_classes: int,
    *,
    networks: Sequence[str] | None = None,
    normalizations: Sequence[str] = NORMALIZATIONS,
) -> keras.Model:
    """Builds a classifier of which a tuner chooses the network and its normalisation.

    | choice                    | what else is chosen of it                            |
    |---------------------------|------------------------------------------------------|
    | `network="mlp"`           | `depth` 1 to 3, `units` 32 to 512                    |
    | `network="convnet"`       | `filters` 8 to 64, then twice that; `dropout` to 0.5 |
    | `network="resnet20"`      | nothing                                              |
    | `normalization="ghost"`   | `virtual_batch_size` 4 to 64                         |

    Args:
        hp: `keras_tuner.HyperParameters`, on which all that is declared.
        input_shape: tuple of integers, the shape of one sample.
        num_classes: integer, the number of logits.
        networks: names of the networks to choose from, of those above. Defaults to all
            for images `(height, width, channels)`, and to `("mlp",)` for others.
        normalizations: names to choose from, see `zoo.models.normalization_layer`.
            Defaults to `("none", "batch", "ghost")`.

    Returns:
        A `keras.Model` from `(batch, *input_shape)` to logits, not compiled.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> import keras_tuner
    >>> hp = keras_tuner.HyperParameters()
    >>> model = tunable_network(hp, (8, 8, 1), 10, normalizations=("ghost",))
    >>> model.name, model.output_shape
    ('mlp', (None, 10))
    >>> [name for name in hp.values if name != "network"]
    ['depth', 'units', 'normalization', 'virtual_batch_size']
    """
    if not hasattr(hp, "conditional_scope"):
        raise ValueError(
            f"`hp` must be a keras_tuner.HyperParameters. Received: hp={hp!r}"
        )
    check_sizes("input_shape", input_shape)
    if networks is None:
        networks = tuple(NETWORKS) if len(input_shape) == 3 else ("mlp",)
    build = _choose(hp, "network", networks, NETWORKS)
    normalize = _choose(hp, "normalization", normalizations, _NORMALIZATIONS)
    return build(input_shape, num_classes, **normalize())


def tunable_classifier(
    hp: "keras_tuner.HyperParameters",
    input_shape: Sequence[int],
    num_classes: int,
    *,
    networks: Sequence[str] | None = None,
    normalizations: Sequence[str] = NORMALIZATIONS,
    losses: Sequence[str] | None = None,
    optimizers: Sequence[str] | None = None,
) -> keras.Model:
    """Builds and compiles a classifier of which a tuner chooses all parts.

    Called by a function of `hp` alone, it is what tuners of Keras Tuner take. Beside
    what `tunable_network` has:

    | choice                | what else is chosen of it                                |
    |-----------------------|----------------------------------------------------------|
    | `loss="cross_entropy"`| nothing                                                  |
    | `loss="bi_tempered"`  | `t1` 0 to 1, `t2` 1 to 4, `label_smoothing` to 0.2       |
    | `loss="temperature"`  | `gamma` 0.1 to 1                                         |
    | `loss="large_margin"` | `margin` 0.1 to 3, `margin_weight` 0.1 to 10             |
    | `optimizer="sgd"`     | `sgd_learning_rate` 1e-3 to 1, `momentum` 0.5 to 0.99    |
    | `optimizer="adam"`    | `adam_learning_rate` 1e-4 to 0.03                        |
    | both                  | `weight_decay` 1e-6 to 0.01, decoupled                   |

    `"large_margin"` makes a `zoo.models.LargeMarginModel`, whose gradients are clipped
    to a norm of 1. Losses differ in scale: compare by `"val_accuracy"`, not by the
    loss.

    Args:
        hp, input_shape, num_classes, networks, normalizations: as of
            `tunable_network`.
        losses: names of the losses to choose from, of those above. Defaults to all.
        optimizers: names to choose from. Defaults to `("sgd", "adam")`.

    Returns:
        A compiled `keras.Model` from samples to logits, of integer labels, with the
        metric `accuracy`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> import keras_tuner
    >>> def build(hp):
    ...     return tunable_classifier(hp, (8, 8, 1), 10, losses=("bi_tempered",))
    >>> model = build(keras_tuner.HyperParameters())
    >>> model.loss.name, type(model.optimizer).__name__
    ('bi_tempered_logistic', 'SGD')

    Reference:

    - O'Malley et al., 2019, Keras Tuner, <https://github.com/keras-team/keras-tuner>
    """
    model = tunable_network(
        hp,
        input_shape,
        num_classes,
        networks=networks,
        normalizations=normalizations,
    )
    add_loss = _choose(hp, "loss", LOSSES if losses is None else losses, LOSSES)
    optimizers = tuple(OPTIMIZERS) if optimizers is None else optimizers
    make_optimizer = _choose(hp, "optimizer", optimizers, OPTIMIZERS)
    weight_decay = hp.Float("weight_decay", 1e-6, 1e-2, sampling="log")
    model, loss = add_loss(model)
    clip = 1.0 if isinstance(model, LargeMarginModel) else None
    model.compile(
        make_optimizer(weight_decay=weight_decay, global_clipnorm=clip),
        loss,
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
    )
    # Else Keras Tuner's checkpoint of it does not fit the model that it builds anew.
    model.optimizer.build(model.trainable_variables)
    return model


def _choose(hp, name, values, known):
    """Declares a choice, and what each of its values has; returns the chosen's.

    Functions of `known` declare that, and return a function that makes something of
    it: of what is not chosen Keras Tuner gives `None`. Names must differ between the
    values, or Keras Tuner loses one.
    """
    values = list(values) if isinstance(values, (list, tuple, dict)) else [values]
    if not values or not all(isinstance(one, str) and one in known for one in values):
        argument = "losses" if name == "loss" else f"{name}s"
        raise ValueError(
            f"`{argument}` must hold some of {tuple(known)}. "
            f"Received: {argument}={values!r}"
        )
    chosen, made = hp.Choice(name, values), {}
    for value in values:
        with hp.conditional_scope(name, [value]):
            made[value] = known[value](hp)
    return made[chosen]


def _mlp(hp):
    depth = hp.Int("depth", 1, 3)
    units = hp.Int("units", 32, 512, sampling="log")
    return lambda *shape, **options: mlp(*shape, units=(units,) * depth, **options)


def _convnet(hp):
    filters = hp.Int("filters", 8, 64, sampling="log")
    dropout = hp.Float("dropout", 0.0, 0.5)
    return lambda *shape, **options: convnet(
        *shape,
        filters=(filters, 2 * filters),
        kernel_size=3,
        units=(8 * filters,),
        dropout=dropout,
        **options,
    )


def _resnet20(hp):
    return lambda *shape, **options: resnet(20, *shape, **options)


def _ghost(hp):
    size = hp.Int("virtual_batch_size", 4, 64, sampling="log")
    return lambda: {"normalization": "ghost", "virtual_batch_size": size}


def _cross_entropy(hp):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return lambda model: (model, loss)


def _bi_tempered(hp):
    t1, t2 = hp.Float("t1", 0.0, 1.0), hp.Float("t2", 1.0, 4.0)
    smoothing = hp.Float("label_smoothing", 0.0, 0.2)
    return lambda model: (model, BiTemperedLogistic(t1, t2, smoothing))


def _temperature(hp):
    gamma = hp.Float("gamma", 0.1, 1.0, sampling="log")
    return lambda model: (model, TemperatureSoftmax(gamma))


def _large_margin(hp):
    margin = hp.Float("margin", 0.1, 3.0, sampling="log")
    weight = hp.Float("margin_weight", 0.1, 10.0, sampling="log")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return lambda model: (
        LargeMarginModel(model, None, LargeMargin(margin), weight),
        loss,
    )


def _sgd(hp):
    rate = hp.Float("sgd_learning_rate", 1e-3, 1.0, sampling="log")
    momentum = hp.Float("momentum", 0.5, 0.99, sampling="reverse_log")
    return lambda **options: keras.optimizers.SGD(rate, momentum, **options)


def _adam(hp):
    rate = hp.Float("adam_learning_rate", 1e-4, 3e-2, sampling="log")
    return lambda **options: keras.optimizers.Adam(rate, **options)


NETWORKS = {"mlp": _mlp, "convnet": _convnet, "resnet20": _resnet20}
LOSSES = {
    "cross_entropy": _cross_entropy,
    "bi_tempered": _bi_tempered,
    "temperature": _temperature,
    "large_margin": _large_margin,
}
OPTIMIZERS = {"sgd": _sgd, "adam": _adam}
_NORMALIZATIONS = {
    "none": lambda hp: lambda: {"normalization": "none"},
    "batch": lambda hp: lambda: {"normalization": "batch"},
    "ghost": _ghost,
}
