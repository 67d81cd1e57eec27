"""Training with margins at the input and at hidden layers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from zoo import _backend
from zoo.losses.checks import check_number
from zoo.losses.large_margin import LargeMargin

ACTIVATIONS = (
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
)


@keras.saving.register_keras_serializable(package="zoo")
class LargeMarginModel(keras.Model):
    """A classifier that trains with a large-margin loss at its input and hidden layers.

    In training the loss is

    `compiled loss + margin_weight * margin_loss`

    where `margin_loss` sees, for each layer, the distance of a sample's activation to
    the boundary with its competitors; see `zoo.losses.LargeMargin`. The compiled loss
    is cross-entropy, say; `compile(loss=None)` leaves the margin alone. One backward
    pass for each competitor gives its distances at all layers.

    Called, the model is the classifier: `predict` gives its scores, and `evaluate` its
    compiled loss and metrics. Sample and class weights count in both losses.

    Where norms of gradients are small the loss is steep: an optimizer with
    `global_clipnorm=1.0` trains at rates at which one without stalls.

    In training through batch normalisation a sample's activation moves the other
    samples' scores too; the distance then counts that in, as in the paper's code.

    Args:
        model: functional or built sequential `keras.Model`, of one input, whose output
            is logits, `[batch, classes]`.
        layers: names of the layers where distances are measured, each called once in
            `model`, and `"input"` for the input. Defaults to the input, unless it is
            one of integers, and every hidden layer with an activation function.
        margin_loss: `zoo.losses.LargeMargin`. Defaults to that with its defaults.
        margin_weight: float >= 0, the weight of the margin loss. Defaults to 1.0.
        name: name of the model.

    Raises:
        ValueError: an argument is not as above, or `model` has no layer of a name in
            `layers`.
        NotImplementedError: on training, the backend has no gradients.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.losses.large_margin import LargeMargin
    >>> classifier = keras.Sequential([
    ...     keras.Input((8,)),
    ...     keras.layers.Dense(16, activation="relu", name="hidden"),
    ...     keras.layers.Dense(3),
    ... ])
    >>> model = LargeMarginModel(classifier, margin_loss=LargeMargin(norm="linf"))
    >>> model.margin_layers
    ['input', 'hidden']
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> model.compile("adam", loss, metrics=["accuracy"])
    >>> x = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
    >>> history = model.fit(x, np.arange(32) % 3, verbose=0)
    >>> model.predict(x, verbose=0).shape
    (32, 3)

    Reference:

    - Elsayed, Krishnan, Mobahi, Regan and Bengio, 2018, "Large margin deep networks for
      classification", [arXiv:1803.05598](https://arxiv.org/abs/1803.05598)
    """

    def __init__(
        self,
        model: keras.Model,
        layers: Sequence[str] | None = None,
        margin_loss: LargeMargin | None = None,
        margin_weight: float = 1.0,
        name: str | None = None,
    ) -> None:
        margin_layers = choose_layers(model, layers)
        margin_loss = LargeMargin() if margin_loss is None else margin_loss
        if not isinstance(margin_loss, LargeMargin):
            raise ValueError(
                "`margin_loss` must be a zoo.losses.LargeMargin. "
                f"Received: margin_loss={margin_loss!r}"
            )
        # Nothing but the classifier may cast the labels.
        super().__init__(name=name, dtype=model.dtype_policy, autocast=False)
        self.model = model
        self.margin_layers = margin_layers
        self.margin_loss = margin_loss
        self.margin_weight = check_number("margin_weight", margin_weight, low=0.0)
        self.built = True

    def call(self, inputs, training=None):
        if not isinstance(inputs, _Labelled):
            return self.model(inputs, training=training)
        scores, _, pullback = _backend.probe(
            self.model, inputs.x, self.margin_layers, training
        )
        margin_loss = self.margin_loss.at(pullback)
        margin = margin_loss(inputs.y, scores, inputs.sample_weight)
        return _Scored(scores, self.margin_weight * margin)

    def train_step(self, *arguments):
        # JAX gives its state first.
        *state, data = arguments
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        labelled = _Labelled(x, y, sample_weight)
        return super().train_step(*state, (labelled, y, sample_weight))

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        if not isinstance(y_pred, _Scored):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        if self.loss is None and not self.losses:
            return y_pred.margin
        others = super().compute_loss(x, y, y_pred.scores, sample_weight, training)
        return y_pred.margin + others

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        if isinstance(y_pred, _Scored):
            x, y_pred = x.x, y_pred.scores
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def compute_output_shape(self, input_shape):
        return self.model.compute_output_shape(input_shape)

    def get_config(self):
        return {
            "name": self.name,
            "model": keras.saving.serialize_keras_object(self.model),
            "layers": self.margin_layers,
            "margin_loss": keras.saving.serialize_keras_object(self.margin_loss),
            "margin_weight": self.margin_weight,
        }

    @classmethod
    def from_config(cls, config):
        objects = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("model", "margin_loss")
        }
        return cls(**{**config, **objects})


class _Labelled(NamedTuple):
    """A batch on its way through Keras's training step to `call`."""

    x: Any
    y: Any
    sample_weight: Any


class _Scored(NamedTuple):
    """What `call` gives for one: scores, and the weighted margin loss."""

    scores: Any
    margin: Any


def choose_layers(model, layers=None):
    """Returns the names of a classifier's layers where margins are measured.

    Args:
        model: functional or built sequential `keras.Model` of one input, whose output
            is logits, `[batch, classes]`.
        layers: names, or `None` for `"input"`, the input, unless it is one of integers,
            and every hidden layer with an activation function: an argument `activation`
            that is not linear, or a layer that is one, such as `ReLU`.

    Returns:
        A list of names.

    Raises:
        ValueError: `model` is not as above, or has no layer of a name in `layers`.

    Example:

    >>> from zoo.models import alexnet
    >>> choose_layers(alexnet((8, 8, 1), 10))
    ['input', 'conv1_relu', 'conv2_relu', 'dense1_relu', 'dense2_relu']
    """
    graph = _backend.graph_of(model)
    if graph is None or len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ValueError(
            "`model` must be a functional or built sequential keras.Model of one input "
            f"and one output. Received: model={model!r}"
        )
    shape = graph.outputs[0].shape
    if len(shape) != 2 or shape[1] < 2:
        raise ValueError(
            "`model` must give logits, (batch, classes), of two classes or more. "
            f"Received: model.output_shape={shape}"
        )
    (x,), (y,) = graph.inputs, graph.outputs
    hidden = [
        operation
        for operation in graph.operations
        if operation not in (x._keras_history.operation, y._keras_history.operation)
    ]
    # Nothing can be differentiated for integers.
    inputs = ["input"] if keras.backend.is_float_dtype(x.dtype) else []
    if layers is None:
        return inputs + [one.name for one in hidden if _is_activation(one)]
    names = inputs + [operation.name for operation in hidden]
    chosen = list(layers) if isinstance(layers, (list, tuple)) else [layers]
    if not chosen or not all(
        isinstance(name, str) and name in names for name in chosen
    ):
        raise ValueError(
            f"`layers` must hold some of {names}. Received: layers={layers!r}"
        )
    return chosen


def _is_activation(layer):
    function = getattr(layer, "activation", keras.activations.linear)
    return isinstance(layer, ACTIVATIONS) or function is not keras.activations.linear
