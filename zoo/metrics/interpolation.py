"""Loss and accuracy on lines through the space of weights."""

import contextlib
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers import reestimate_batch_norm
from zoo.losses.checks import check_integer
from zoo.metrics.loss_surface import per_sample_loss


def interpolate(
    model: keras.Model,
    weights_a: Sequence[Array],
    weights_b: Sequence[Array],
    parts: Mapping[str, tuple[Array, Array]],
    alphas: Array | None = None,
    *,
    statistics: Array | None = None,
    loss: keras.losses.Loss | Callable[..., Array] | str | None = None,
    batch_size: int = 1000,
    verbose: int = 0,
) -> dict[str, np.ndarray]:
    """Evaluates a classifier on the line through two sets of its weights.

    The weights are, in float64 before they are rounded to their own dtype,

    `(1 - alpha) weights_a + alpha weights_b`

    Between two minima, of training with small and with large batches say, the curve
    shows how wide each is in this one direction, and at what height they are joined.

    Running statistics of batch normalisation, which belong to other weights (and whose
    variances come out negative outside of `[0, 1]`), are measured anew at each point,
    see `zoo.layers.reestimate_batch_norm`. Weights of integers stay as they are. The
    model is in inference mode, and has its own weights back afterwards, whatever
    happens.

    Args:
        model: `keras.Model`, built, of one input, whose output is scores,
            `[batch, classes]`.
        weights_a: list of arrays, as from `model.get_weights()`; the point at 0.
        weights_b: list of arrays, likewise; the point at 1.
        parts: dict of names to pairs of inputs `[samples, ...]` and integer labels
            `[samples]`, such as `{"training": (x, y), "test": (x_test, y_test)}`.
        alphas: 1-D array of floats. Defaults to 25 points from -1 to 2, as in the
            paper's plots.
        statistics: array of inputs `[samples, ...]`, such as 2,000 of the training
            set, that running statistics are measured on. Needed where `model` has
            batch normalisation, and read there only.
        loss: `keras.losses.Loss`, whose reduction is passed over, function of labels
            and scores that gives a value for each sample, or name of one. Defaults to
            the loss that `model` was compiled with.
        batch_size: int, samples a step. Defaults to 1000.
        verbose: 0 for silence, 1 for a progress bar. Defaults to 0.

    Returns:
        A dict of float64 arrays `[points]`: `alpha`, and for each part `{part}_loss`,
        the mean over samples, and `{part}_accuracy`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    >>> model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> x, y = np.array([[1.0, 0.0], [0.0, 1.0]], "float32"), np.array([0, 1])
    >>> zero, one = [np.zeros((2, 2)), np.zeros(2)], [np.eye(2), np.zeros(2)]
    >>> curves = interpolate(model, zero, one, {"test": (x, y)}, [-1.0, 0.0, 1.0])
    >>> curves["test_loss"].round(4).tolist()
    [1.3133, 0.6931, 0.3133]
    >>> curves["test_accuracy"].tolist()
    [0.0, 0.5, 1.0]

    Reference:

    - Goodfellow, Vinyals and Saxe, 2015, "Qualitatively characterizing neural network
      optimization problems", [arXiv:1412.6544](https://arxiv.org/abs/1412.6544)
    - Keskar, Mudigere, Nocedal, Smelyanskiy and Tang, 2017, "On Large-Batch Training
      for Deep Learning: Generalization Gap and Sharp Minima", section 2.2.1,
      [arXiv:1609.04836](https://arxiv.org/abs/1609.04836)
    """
    alphas = check_line("alphas", np.linspace(-1, 2, 25) if alphas is None else alphas)
    a = check_weights("weights_a", weights_a, model.weights)
    b = check_weights("weights_b", weights_b, model.weights)
    moved = [
        index
        for index, variable in enumerate(model.weights)
        if keras.backend.is_float_dtype(variable.dtype)
    ]
    points = (
        [(1 - alpha) * a[index] + alpha * b[index] for index in moved]
        for alpha in alphas
    )
    variables = [model.weights[index] for index in moved]
    curves = evaluate_at(
        model,
        variables,
        points,
        len(alphas),
        parts,
        statistics=statistics,
        loss=loss,
        batch_size=batch_size,
        verbose=verbose,
    )
    return {"alpha": alphas, **curves}


def evaluate_at(
    model, variables, points, count, parts, *, statistics, loss, batch_size, verbose
):
    """Evaluates `model` at each of `count` points, lists of values of `variables`."""
    loss = per_sample_loss(model, loss)
    batch_size = check_integer("batch_size", batch_size, 1)
    normalized = any(
        isinstance(layer, keras.layers.BatchNormalization)
        for layer in model._flatten_layers()
    )
    if normalized and (statistics is None or not len(statistics)):
        raise ValueError(
            "`statistics` must hold inputs, to measure the running statistics of batch "
            f"normalisation on. Received: statistics={statistics!r}"
        )
    for part, (inputs, labels) in parts.items():
        if not len(inputs) or np.shape(labels) != (len(inputs),):
            raise ValueError(
                "`parts` must hold inputs and an integer label for each. Received: "
                f"{part!r} of {len(inputs)} inputs, labels of shape {np.shape(labels)}"
            )
    names = [f"{part}_{name}" for part in parts for name in ("loss", "accuracy")]
    values = np.empty((count, len(names)))
    bar = keras.utils.Progbar(
        count, verbose=verbose, unit_name="point", stateful_metrics=names
    )
    with _kept(model.variables):
        for index, point in enumerate(points):
            for variable, value in zip(variables, point, strict=True):
                variable.assign(value)
            if normalized:
                reestimate_batch_norm(model, _batches(statistics, batch_size))
            values[index] = [
                number
                for x, y in parts.values()
                for number in _loss_and_accuracy(model, x, y, loss, batch_size)
            ]
            bar.update(index + 1, list(zip(names, values[index], strict=True)))
    return dict(zip(names, values.T, strict=True))


def _loss_and_accuracy(model, inputs, labels, loss, batch_size):
    total = right = 0.0
    for x, y in zip(
        _batches(inputs, batch_size), _batches(labels, batch_size), strict=True
    ):
        # Compiled for the model once. Each replica of a strategy predicts all of it.
        scores = model.predict_on_batch(x)[: len(x)]
        if scores.ndim != 2 or scores.shape[1] < 2:
            raise ValueError(
                "`model` must give scores, (batch, classes), of two classes or more. "
                f"Received: scores of shape {scores.shape}"
            )
        losses = ops.convert_to_numpy(loss(y, ops.convert_to_tensor(scores)))
        total += losses.astype("float64").mean() * len(x)
        right += np.sum(scores.argmax(axis=1) == y)
    return total / len(inputs), right / len(inputs)


def _batches(array, size):
    return [array[start : start + size] for start in range(0, len(array), size)]


@contextlib.contextmanager
def _kept(variables):
    """Gives variables the values back that they had before."""
    values = [ops.convert_to_numpy(variable.value) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def to_numpy(variables):
    return [ops.convert_to_numpy(one.value).astype("float64") for one in variables]


def check_line(name, values):
    line = np.asarray(values, "float64")
    if line.ndim != 1 or not line.size or not np.isfinite(line).all():
        raise ValueError(
            f"`{name}` must be one or more finite numbers. Received: {name}={values!r}"
        )
    return line


def check_weights(name, weights, variables):
    arrays = [np.asarray(array, "float64") for array in weights]
    shapes, wanted = [a.shape for a in arrays], [tuple(v.shape) for v in variables]
    if shapes != wanted:
        raise ValueError(
            f"`{name}` must hold arrays of the shapes {wanted}. "
            f"Received: shapes {shapes}"
        )
    return arrays
