"""The trace of the Fisher information: how much a classifier's weights matter."""

import dataclasses
from collections.abc import Iterable
from typing import Literal

import keras
import numpy as np
from keras import ops

from zoo import _backend
from zoo._backend.gradients import vjp
from zoo._types import Array
from zoo.losses.checks import check_choice, check_integer


@dataclasses.dataclass(frozen=True)
class FisherTrace:
    """A trace of the Fisher information, and its share of each layer.

    Attributes:
        total: float, the trace, a mean over images.
        error: float, its standard error: the images' spread over the square root of
            their number.
        layers: dict of paths of layers to floats, the traces over their own weights.
            They sum to `total`.
        layer_errors: dict of the same paths to floats, their standard errors.

    Example:

    >>> trace = FisherTrace(3.0, 0.5, {"a": 1.0, "b": 2.0}, {"a": 0.1, "b": 0.4})
    >>> max(trace.layers, key=trace.layers.get)
    'b'
    """

    total: float
    error: float
    layers: dict[str, float]
    layer_errors: dict[str, float]


def fisher_trace(
    model: keras.Model,
    images: Array,
    *,
    labels: Literal["exact", "sampled"] = "exact",
    draws: int = 1,
    seed: int = 0,
    batch_size: int = 16,
) -> FisherTrace:
    """Measures the trace of the Fisher information of a classifier.

    `tr F = mean_x sum_c p_c ||grad_w log p_c||^2`,  `p = softmax(model_w(x))`

    over the trainable weights `w`. The labels `c` are the model's own; with those of
    the data it would be another matrix, the "empirical Fisher". The model runs in
    inference mode: nothing is dropped out, and batch normalisation uses its running
    statistics.

    `labels="exact"` takes the sum over all classes, a forward and `classes` backward
    passes an image, and has no noise but that of the choice of images. `"sampled"`
    draws labels from `p`: `draws` backward passes an image, and an estimate that is
    right on average. On two cores, 300 images of 28 x 28 and 10 classes take a small
    `zoo.models.all_cnn` 1.8 s and 0.7 s on TensorFlow, see `benchmarks/fisher.py`.

    A call compiles anew, which takes longer than many measurements do: use
    `FisherTraceCallback` along training.

    Args:
        model: built `keras.Model` of one input, whose output is logits,
            `[batch, classes]`.
        images: array of two or more inputs, `[samples, ...]`.
        labels: `"exact"` or `"sampled"`. Defaults to `"exact"`.
        draws: int, labels an image where they are sampled. Defaults to 1.
        seed: int, of the labels. Defaults to 0.
        batch_size: int, the gradients that are computed together, all of one image (one
            alone, where a recurrent layer loops on TensorFlow): some times as much
            memory as the weights' is taken for each. Defaults to 16.

    Returns:
        A `FisherTrace`.

    Raises:
        ValueError: an argument is not as above, `model` has no trainable weights, or
            its gradients are not finite.
        NotImplementedError: the backend has no gradients.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> layer = keras.layers.Dense(2, kernel_initializer="zeros", name="scores")
    >>> model = keras.Sequential([keras.Input((2,)), layer])
    >>> images = np.array([[1.0, 0.0], [0.0, 3.0]])
    >>> trace = fisher_trace(model, images)  # the mean of (||x||^2 + 1) / 2
    >>> round(trace.total, 4), round(trace.error, 4), list(trace.layers)
    (3.0, 2.0, ['scores'])

    Reference:

    - Achille, Rovere and Soatto, 2019, "Critical Learning Periods in Deep Networks",
      [arXiv:1711.08856](https://arxiv.org/abs/1711.08856)
    - Kunstner, Balles and Hennig, 2019, "Limitations of the Empirical Fisher
      Approximation for Natural Gradient Descent",
      [arXiv:1905.12558](https://arxiv.org/abs/1905.12558)
    """
    return _Fisher(labels, draws, seed, batch_size)(model, images)


class FisherTraceCallback(keras.callbacks.Callback):
    """Measures the trace of the Fisher information along training.

    It joins the epoch's logs as `fisher`, with `fisher/{layer}` for each layer.
    `curves` holds 1-D arrays: `epoch`, `fisher`, its standard error `fisher_error`, and
    `fisher/{layer}`. Training is left as it is, and all measurements of a model share
    one compiled graph.

    Achille et al. call the trace "information plasticity": they see it rise early in
    training, then fall, and stay high where a deficit keeps the network from learning.

    Args:
        images: as in `fisher_trace`, the same at each measurement.
        epochs: ints, the numbers of epochs to measure after, 0 for before training,
            which is in `curves` alone. Defaults to each epoch's end.
        labels, draws, seed, batch_size: as in `fisher_trace`.

    Raises:
        ValueError: as `fisher_trace`, for arguments at once.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> model.compile("sgd", loss)
    >>> x, y = np.ones((8, 2), "float32"), np.zeros(8, "int32")
    >>> callback = FisherTraceCallback(x, epochs=[0, 2])
    >>> logs = model.fit(x, y, epochs=3, verbose=0, callbacks=[callback])
    >>> callback.curves["epoch"].tolist()
    [0, 2]

    Reference:

    - Achille, Rovere and Soatto, 2019, "Critical Learning Periods in Deep Networks",
      [arXiv:1711.08856](https://arxiv.org/abs/1711.08856)
    """

    def __init__(
        self,
        images: Array,
        epochs: Iterable[int] | None = None,
        *,
        labels: Literal["exact", "sampled"] = "exact",
        draws: int = 1,
        seed: int = 0,
        batch_size: int = 16,
    ) -> None:
        super().__init__()
        self.images = _check_images(images)
        if epochs is not None:
            epochs = frozenset(check_integer("epochs", one, 0) for one in epochs)
        self.epochs = epochs
        self._fisher = _Fisher(labels, draws, seed, batch_size)

    def on_train_begin(self, logs=None):
        self._rows = []

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 0 and self.epochs is not None and 0 in self.epochs:
            self._measure(0)

    def on_epoch_end(self, epoch, logs=None):
        if self.epochs is None or epoch + 1 in self.epochs:
            logs.update(self._measure(epoch + 1))

    @property
    def curves(self) -> dict[str, np.ndarray]:
        """The curves measured so far, a dict of 1-D arrays."""
        names = self._rows[0] if self._rows else ()
        return {name: np.array([row[name] for row in self._rows]) for name in names}

    def _measure(self, epoch):
        found = self._fisher(self.model, self.images)
        traces = {"fisher": found.total}
        traces |= {f"fisher/{layer}": trace for layer, trace in found.layers.items()}
        self._rows.append({"epoch": epoch, "fisher_error": found.error, **traces})
        return traces


class _Fisher:
    """Measures the trace, in a graph that is compiled once for a model."""

    def __init__(self, labels, draws, seed, batch_size):
        self._exact = check_choice("labels", labels, ("exact", "sampled")) == "exact"
        self._draws = check_integer("draws", draws, 1)
        self._seed = check_integer("seed", seed, 0)
        self._batch_size = check_integer("batch_size", batch_size, 1)
        self._model, self._variables = None, ()

    def __call__(self, model, images):
        images = _check_images(images)
        arrays = [images]
        if not self._exact:
            generator = np.random.default_rng(self._seed)
            arrays.append(generator.random((len(images), self._draws), "float32"))
        self._compile(model, images)
        squares = ops.convert_to_numpy(self._compiled(*arrays)).astype("float64")
        if not np.isfinite(squares).all():
            raise ValueError(
                "The gradients of `model` must be finite at `images`. "
                f"Received: trace={squares.sum(axis=1).mean()}"
            )
        layers = {}
        for variable, column in zip(self._variables, squares.T, strict=True):
            layer = _layer_of(variable, model)
            layers[layer] = layers.get(layer, 0.0) + column
        total, error = _mean(squares.sum(axis=1))
        means = {layer: _mean(column) for layer, column in layers.items()}
        return FisherTrace(
            total,
            error,
            {layer: mean for layer, (mean, _) in means.items()},
            {layer: error for layer, (_, error) in means.items()},
        )

    def _compile(self, model, images):
        variables = model.trainable_variables
        if not model.built or not variables:
            raise ValueError(
                "`model` must be built and have trainable weights. "
                f"Received: model={model.name}"
            )
        shape = getattr(model, "input_shape", None)
        if isinstance(shape, tuple) and len(shape) == images.ndim:
            sides = zip(shape[1:], images.shape[1:], strict=True)
            if any(side not in (None, other) for side, other in sides):
                raise ValueError(
                    f"`images` must be of the shape that `model` takes, {shape}. "
                    f"Received: images.shape={images.shape}"
                )
        # Weights may have been frozen since.
        if model is self._model and _same(variables, self._variables):
            return
        self._model, self._variables = model, variables
        self._compiled = _backend.compiled(
            lambda *arrays: ops.map(lambda one: self._squares(*one), arrays), model
        )

    # What follows is traced, for one image: on CPUs, gradients of several images to a
    # convolution's filters are no faster together.

    def _squares(self, image, uniforms=None):
        """Sums of squares of the gradients for each variable."""
        variables = self._variables
        (scores,), _, pullback = vjp(lambda: ([self._scores(image)], None), variables)

        def squares(row):
            gradients = pullback({0: row}, variables)
            return ops.stack(
                [
                    ops.zeros((), row.dtype)
                    if gradient is None
                    else ops.sum(ops.square(ops.cast(gradient, row.dtype)))
                    for gradient in gradients
                ]
            )

        size = 1 if _loops(scores) else self._batch_size

        def add(total, part):
            if size == 1:
                return total + squares(part[0]), None
            return total + ops.sum(ops.vectorized_map(squares, part), axis=0), None

        dtype = keras.backend.result_type(scores.dtype, "float32")
        rows = _rows(ops.softmax(ops.cast(scores, dtype)), uniforms)
        parts = _cut(rows, size)
        return ops.scan(add, ops.zeros(len(variables), dtype), parts)[0]

    def _scores(self, image):
        scores = self._model(image[None], training=False)
        shape = keras.tree.map_structure(lambda t: tuple(t.shape), scores)
        if not isinstance(shape, tuple) or len(shape) != 2 or shape[1] < 2:
            raise ValueError(
                "`model` must give logits, [batch, classes], of two or more classes. "
                f"Received: model={self._model.name} with outputs of shape {shape}"
            )
        return scores[0]


def _rows(p, uniforms):
    """Rows whose gradients' squares sum to the trace: derivatives for the scores."""
    residuals = ops.eye(p.shape[0], dtype=p.dtype) - p
    if uniforms is None:
        return ops.sqrt(p)[:, None] * residuals
    below = ops.cumsum(p)[:-1] <= ops.cast(uniforms, p.dtype)[:, None]
    labels = ops.sum(ops.cast(below, "int32"), axis=1)
    return _backend.take(residuals, labels, axis=0) / uniforms.shape[0] ** 0.5


def _cut(rows, size):
    """Cuts rows into parts of at most `size`, alike with rows of zeros."""
    count, classes = rows.shape
    parts = -(-count // size)
    size = -(-count // parts)
    rows = ops.pad(rows, [(0, parts * size - count), (0, 0)])
    return ops.reshape(rows, (parts, size, classes))


def _loops(t):
    """Whether TensorFlow may have looped to a tensor, in this graph or one it calls."""
    # Stacked gradients of recurrent layers come out wrong, or end the process.
    graph = getattr(t, "graph", None)
    return graph is not None and any(
        operation.type.endswith(("While", "PartitionedCall"))
        for operation in graph.get_operations()
    )


def _same(variables, others):
    return [id(variable) for variable in variables] == [id(other) for other in others]


def _mean(values):
    """The mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


def _layer_of(variable, model):
    """The path of the layer that owns a variable, inside the model."""
    return variable.path.rpartition("/")[0].removeprefix(f"{model.name}/")


def _check_images(images):
    images = np.asarray(images)
    if images.ndim < 2 or len(images) < 2:
        raise ValueError(
            "`images` must hold two or more images. "
            f"Received: images.shape={images.shape}"
        )
    return images
