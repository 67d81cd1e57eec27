"""A head of cosines for very many classes, trained on a sample of them."""

import numbers
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from zoo import _backend
from zoo._types import Array
from zoo.layers.checks import check_count, check_seed
from zoo.layers.cosine_dense import (
    at_least_float32,
    inverse_norm,
    serialized_kernel_settings,
    squared_norms,
)

# A label of no class, for classes that found no place in a sample.
LOST = -(2**31)


@keras.saving.register_keras_serializable(package="zoo")
class PartialCosineDense(keras.layers.Layer):
    """Cosines to very many classes, trained against a random sample of them.

    Called with labels in training, it takes the classes of the batch and others at
    random, each once, `sample = max(round(sample_rate * units), 1)` in all; adds to the
    model the loss

    `loss(places of the labels in the sample, cosines to the sample)`

    and returns these cosines. So a step reads and changes a part of the kernel only.
    In inference, or without labels, it returns the cosines to all classes, as
    `CosineDense` does, and with labels adds the loss among all classes, which
    `evaluate` and `validation_data` report: more than the loss among a sample. With
    `sample_rate=1` it trains as `CosineDense` with the loss.

    Its model needs no other loss, `compile("sgd")`, and metrics would compare labels
    with places in the sample: measure with a second model from the same layers that
    gives the head no labels, as in the example. `fit` weighs no loss that a layer adds:
    its `sample_weight` and `class_weight` have no effect.

    The sample must have room for the classes of each batch. More labels than it has
    places are refused where their number is known; where it is not, as in `fit`, the
    loss of a sample whose class found no place is NaN. Labels of no class, such as one
    that the loss ignores, reach the loss as they are.

    Cosines are computed and returned in float32, as in `CosineDense`. Optimizers that
    move each weight at each step (by momentum or weight decay) also move classes out
    of the sample.

    Args:
        units: int >= 1, the number of classes.
        loss: `keras.losses.Loss` of integer labels and cosines, such as
            `zoo.losses.ArcFace`. Its classes are the places in the sample: so is the
            number of them behind `scale="auto"`, a `class_margin` needs
            `sample_rate=1`, and `ignore_class` must be out of `[0, units)`.
        sample_rate: float, 0 < sample_rate <= 1, part of the classes in a sample.
            Defaults to 0.1.
        seed: int, of the samples. Defaults to `None`.
        kernel_initializer: initializer of the kernel, `[units, features]`: the
            transpose of the kernel of `CosineDense`, so that rows are gathered.
            Defaults to `"glorot_uniform"`.
        kernel_regularizer: regularizer of the whole kernel. Defaults to `None`.
        kernel_constraint: constraint of the kernel. Defaults to `None`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: `[..., features]`, one leading dimension or more.
        labels: integers, `[...]` or `[..., 1]`, or `None`.
        training: bool, whether to take a sample.

    Returns:
        Cosines, `[..., units]`, or `[..., sample]` in training with labels.

    Raises:
        ValueError: an argument is not as above, or a batch is larger than the sample.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.losses import ArcFace
    >>> head = PartialCosineDense(1000, ArcFace(), sample_rate=0.1, seed=0)
    >>> x, y = keras.Input((8,)), keras.Input((), dtype="int32")
    >>> embeddings = keras.layers.Dense(4)(x)
    >>> training_model = keras.Model([x, y], head(embeddings, y))
    >>> training_model.compile("sgd")
    >>> data = [np.ones((32, 8)), np.arange(32)]
    >>> history = training_model.fit(data, batch_size=16, verbose=0)
    >>> model = keras.Model(x, head(embeddings))
    >>> model.predict(data[0], verbose=0).shape
    (32, 1000)

    Reference:

    - An et al., 2021, "Partial FC: Training 10 Million Identities on a Single
      Machine", [arXiv:2010.05222](https://arxiv.org/abs/2010.05222)
    """

    def __init__(
        self,
        units: int,
        loss: keras.losses.Loss,
        sample_rate: float = 0.1,
        seed: int | None = None,
        kernel_initializer: str | Callable[..., Array] = "glorot_uniform",
        kernel_regularizer: str | Callable[..., Array] | None = None,
        kernel_constraint: str | Callable[..., Array] | None = None,
        **kwargs: Any,
    ) -> None:
        # The policy must not round the inputs: cosines are computed in float32.
        super().__init__(autocast=False, **kwargs)
        self.units = check_count("units", units)
        self.loss = _check_loss(loss, units)
        self.sample_rate = _check_rate(sample_rate)
        self.sample = max(round(self.sample_rate * self.units), 1)
        self.seed = None if seed is None else check_seed(seed)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)

    def build(self, input_shape):
        features = input_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.units, features),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            autocast=False,
        )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: features})

    def call(self, inputs, labels=None, training=None):
        inputs = ops.cast(inputs, at_least_float32(self.compute_dtype))
        if labels is None:
            return _cosines(inputs, self.kernel)
        labels = ops.cast(labels, "int32")
        if len(labels.shape) == len(inputs.shape):
            labels = ops.squeeze(labels, axis=-1)
        kernel = self.kernel
        if training:
            classes = self.draw(labels)
            labels, kernel = self._places(labels, classes), ops.take(kernel, classes, 0)
        cosines = _cosines(inputs, kernel)
        loss = self.loss(labels, cosines)
        # Keras divides by the replicas both the loss and what a layer adds.
        self.add_loss(_backend.unscale_loss_for_distribution(loss))
        return cosines

    def draw(self, labels: Array) -> Array:
        """Returns the classes of a sample in ascending order, int32, `[sample]`."""
        labels = ops.reshape(labels, (-1,))
        rows = labels.shape[0]
        if rows is not None and min(rows, self.units) > self.sample:
            raise ValueError(
                f"`sample_rate` must give a sample of at least {rows} classes, one a "
                f"label. Received: sample_rate={self.sample_rate}, a sample of "
                f"{self.sample}"
            )
        inside = self._inside(labels)
        wanted = ops.scatter(
            ops.expand_dims(ops.where(inside, labels, 0), -1),
            ops.cast(inside, "float32"),
            (self.units,),
        )
        # Those of the batch have 1 or more, which no random number reaches.
        ranks = wanted + keras.random.uniform(
            (self.units,), dtype="float32", seed=self.seed_generator
        )
        _, classes = ops.top_k(ranks, self.sample)
        return ops.sort(ops.cast(classes, "int32"))

    def _places(self, labels, classes):
        """Returns the place of each label in the sample."""
        places = ops.searchsorted(classes, ops.reshape(labels, (-1,)))
        places = ops.minimum(ops.cast(places, "int32"), self.sample - 1)
        places = ops.reshape(places, ops.shape(labels))
        found = ops.equal(ops.take(classes, places), labels)
        missing = ops.where(self._inside(labels), LOST, labels)
        return ops.where(found, places, missing)

    def _inside(self, labels):
        return ops.logical_and(labels >= 0, labels < self.units)

    def compute_output_shape(self, inputs_shape, labels_shape=None):
        return (*inputs_shape[:-1], self.units)

    def compute_output_spec(self, inputs, labels=None, training=None):
        sampled = training and labels is not None
        return keras.KerasTensor(
            (*inputs.shape[:-1], self.sample if sampled else self.units),
            dtype=at_least_float32(self.compute_dtype),
        )

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "loss": keras.saving.serialize_keras_object(self.loss),
            "sample_rate": self.sample_rate,
            "seed": self.seed,
            **serialized_kernel_settings(self),
        }

    @classmethod
    def from_config(cls, config):
        loss = keras.saving.deserialize_keras_object(config["loss"])
        return super().from_config({**config, "loss": loss})


def _cosines(inputs, kernel):
    """Cosines between inputs, `[..., features]`, and rows of the kernel."""
    kernel = ops.cast(kernel, inputs.dtype)
    directions = inputs * inverse_norm(squared_norms(inputs, axis=-1))
    scales = ops.squeeze(inverse_norm(squared_norms(kernel, axis=-1)), axis=-1)
    return ops.matmul(directions, ops.transpose(kernel)) * scales


def _check_loss(loss, units):
    if not isinstance(loss, keras.losses.Loss):
        raise ValueError(f"`loss` must be a keras.losses.Loss. Received: loss={loss!r}")
    ignored = getattr(loss, "ignore_class", None)
    if ignored is not None and 0 <= ignored < units:
        raise ValueError(
            f"`loss.ignore_class` must be out of [0, {units}), where each number is a "
            f"class. Received: ignore_class={ignored}"
        )
    return loss


def _check_rate(rate):
    number = isinstance(rate, numbers.Real) and not isinstance(rate, bool)
    if number and 0 < rate <= 1:
        return float(rate)
    raise ValueError(
        f"`sample_rate` must be a number above 0, to 1. Received: sample_rate={rate!r}"
    )
