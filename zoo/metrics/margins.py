"""Distributions of margins at the input and at hidden layers."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal

import keras
import numpy as np
from keras import ops

from zoo import _backend
from zoo._types import Array
from zoo.losses.checks import check_labels
from zoo.losses.large_margin import LargeMargin
from zoo.models.large_margin import choose_layers

KINDS = {
    "quartiles": ("lower_fence", "q1", "q2", "q3", "upper_fence"),
    "moments": ("moment1", "moment2", "moment3", "moment4", "moment5"),
}


def score_margin(scores: Array, labels: Array) -> np.ndarray:
    """Returns how far the score of the label lies above all others.

    `M = f_y - max_{i != y} f_i`, positive where the sample is classified right.

    Args:
        scores: array, `[samples, classes]`.
        labels: integers, `[samples]`.

    Returns:
        float64 array, `[samples]`.

    Raises:
        ValueError: the labels are not classes, one for each sample.

    Example:

    >>> score_margin([[3.0, 1.0, 0.5], [0.0, 2.0, 5.0]], [0, 1]).tolist()
    [2.0, -3.0]
    """
    others = np.array(scores, "float64")
    labels = check_labels(labels, *others.shape)[:, None]
    own = np.take_along_axis(others, labels, axis=1)[:, 0]
    np.put_along_axis(others, labels, -np.inf, axis=1)
    return own - others.max(axis=1)


@dataclasses.dataclass(frozen=True)
class MarginDistribution:
    """Margins of samples at layers.

    Attributes:
        layers: tuple of names, `"input"` for the input.
        margins: float32 array, `[samples, layers]`, signed distances to the boundary
            with the best other class: positive where a sample is classified right.
        variation: float64 array, `[layers]`, total variation of the activations: the
            sum of the variances of their units.

    Example:

    >>> margins = np.array([[1.0, 4.0], [-0.5, -2.0]], "float32")
    >>> variation = np.array([1.0, 16.0])
    >>> found = MarginDistribution(("input", "hidden"), margins, variation)
    >>> found.normalized.tolist()
    [[1.0, 1.0], [-0.5, -0.5]]
    """

    layers: tuple[str, ...]
    margins: np.ndarray
    variation: np.ndarray

    @property
    def normalized(self) -> np.ndarray:
        """Margins in units of the spread of activations, `margins / sqrt(variation)`.

        Rescaling a layer's activations, which a next layer can undo, leaves them alone.
        """
        tiny = np.finfo("float64").tiny
        return self.margins / np.sqrt(np.maximum(self.variation, tiny))


def layer_margins(
    model: keras.Model,
    images: Array,
    labels: Array,
    layers: Sequence[str] | None = None,
    norm: Literal["l2", "l1", "linf"] = "l2",
    batch_size: int = 128,
    epsilon: float = 1e-12,
) -> MarginDistribution:
    """Measures distances to the decision boundary, at the input and hidden layers.

    To first order, for activations `h`, label `y` and the best other class `j`:

    `d = (f_y - f_j) / ||grad_h (f_y - f_j)||`

    in inference mode, where `f` are the model's scores and the norm is the dual of
    `norm`. All layers share one backward pass, and of the activations one batch at a
    time is kept.

    Args:
        model: functional or built sequential `keras.Model` of one input, whose output
            is logits, `[batch, classes]`.
        images: array, `[samples, ...]`.
        labels: integers, `[samples]`.
        layers: names of layers, each called once in `model`, and `"input"` for the
            input. Defaults to the input and every hidden layer with an activation
            function.
        norm: `"l2"`, `"l1"` or `"linf"`, what distances are measured in. Defaults to
            `"l2"`.
        batch_size: int, samples a step. Defaults to 128.
        epsilon: float > 0, added to the square of norms of gradients. Defaults to
            1e-12.

    Returns:
        A `MarginDistribution`.

    Raises:
        ValueError: `model` is not as above, has no layer of a name in `layers`, or
            the labels are not classes, one for each image.
        NotImplementedError: the backend has no gradients.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    >>> model.set_weights([np.array([[3.0, 0.0], [4.0, 0.0]]), np.zeros(2)])
    >>> images = np.array([[5.0, 0.0], [0.0, 5.0]], "float32")
    >>> layer_margins(model, images, [0, 1]).margins.round(4).tolist()
    [[3.0], [-4.0]]

    Reference:

    - Elsayed, Krishnan, Mobahi, Regan and Bengio, 2018, "Large margin deep networks for
      classification", [arXiv:1803.05598](https://arxiv.org/abs/1803.05598)
    - Jiang, Krishnan, Mobahi and Bengio, 2019, "Predicting the generalization gap in
      deep networks with margin distributions",
      [arXiv:1810.00113](https://arxiv.org/abs/1810.00113)
    """
    layers = choose_layers(model, layers)
    labels = check_labels(labels, len(images), model.output_shape[-1])
    loss = LargeMargin(norm=norm, epsilon=epsilon)

    def measure(images, labels):
        scores, activations, pullback = _backend.probe(model, images, layers)
        scores = ops.cast(scores, loss.dtype)
        distances = loss.at(pullback).distances(labels, scores)
        return distances[..., 0], [_spread(activation) for activation in activations]

    measure = _backend.compiled(measure, model)
    margins = np.empty((len(images), len(layers)), "float32")
    spreads = [_Spread() for _ in layers]
    for start in range(0, len(images), batch_size):
        batch = slice(start, start + batch_size)
        rows = labels[batch]
        distances, parts = measure(np.asarray(images[batch]), rows)
        margins[batch] = ops.convert_to_numpy(distances)
        for spread, part in zip(spreads, parts, strict=True):
            spread.add(len(rows), *map(ops.convert_to_numpy, part))
    variation = np.array([spread.squares / len(images) for spread in spreads])
    return MarginDistribution(tuple(layers), margins, variation)


def _spread(activation):
    """The mean of each unit over a batch, and the sum of squares around it."""
    flat = ops.reshape(ops.cast(activation, "float32"), (ops.shape(activation)[0], -1))
    mean = ops.mean(flat, axis=0)
    return mean, ops.sum(ops.square(flat - mean))


class _Spread:
    """Joins the spreads of batches, in float64."""

    def __init__(self):
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, count, mean, squares):
        shift = mean.astype("float64") - self.mean
        total = self.count + count
        self.mean = self.mean + shift * (count / total)
        between = np.sum(shift * shift) * (self.count * count / total)
        self.squares += float(squares) + between
        self.count = total


def signature(
    margins: Array, kind: Literal["quartiles", "moments"] = "quartiles"
) -> np.ndarray:
    """Returns five numbers for each layer that describe its margins.

    Samples that are classified wrong, whose margins are not positive, are left out.

    `"quartiles"` are `Q1 - 1.5 IQR`, `Q1`, `Q2`, `Q3` and `Q3 + 1.5 IQR`, where
    `IQR = Q3 - Q1`: a box plot. The first may be negative; `GapPredictor` floors it.
    `"moments"` are `mean(d^k)^(1/k)` for `k` from 1 to 5.

    Args:
        margins: array, `[samples, layers]`, such as `MarginDistribution.normalized`.
        kind: `"quartiles"` or `"moments"`. Defaults to `"quartiles"`.

    Returns:
        float64 array, `[5 * layers]`, the numbers of the first layer first.

    Raises:
        ValueError: unknown `kind`, or a layer has no positive margin.

    Example:

    >>> import numpy as np
    >>> signature(np.array([[1.0], [2.0], [3.0], [4.0], [5.0], [-9.0]])).tolist()
    [-1.0, 2.0, 3.0, 4.0, 7.0]

    Reference:

    - Jiang, Krishnan, Mobahi and Bengio, 2019, "Predicting the generalization gap in
      deep networks with margin distributions",
      [arXiv:1810.00113](https://arxiv.org/abs/1810.00113)
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {tuple(KINDS)}. Received: kind={kind!r}")
    margins = np.asarray(margins, "float64")
    columns = [column[column > 0] for column in margins.T]
    if not all(len(column) for column in columns):
        raise ValueError(
            "margins must hold a sample that is classified right, with a positive "
            f"margin, in each layer. Received: margins.shape={margins.shape}"
        )
    describe = _quartiles if kind == "quartiles" else _root_moments
    return np.concatenate([describe(column) for column in columns])


def signature_names(
    layers: Iterable[str], kind: Literal["quartiles", "moments"] = "quartiles"
) -> list[str]:
    """Returns the names of the numbers of `signature`.

    Example:

    >>> signature_names(["input"])
    ['input_lower_fence', 'input_q1', 'input_q2', 'input_q3', 'input_upper_fence']
    """
    return [f"{layer}_{name}" for layer in layers for name in KINDS[kind]]


def _quartiles(column):
    q1, q2, q3 = np.quantile(column, [0.25, 0.5, 0.75])
    reach = 1.5 * (q3 - q1)
    return np.array([q1 - reach, q1, q2, q3, q3 + reach])


def _root_moments(column):
    return np.array([np.mean(column**k) ** (1 / k) for k in range(1, 6)])
