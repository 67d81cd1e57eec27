"""Contrastive and triplet losses over the pairs of a batch of embeddings."""

import math
from typing import Literal

import keras
from keras import ops

from zoo import _backend
from zoo.losses.checks import check_choice, check_dtype, check_number
from zoo.losses.proper_margin import one_per_sample

MININGS = ("semi_hard", "hard")


class _PairLoss(keras.losses.Loss):
    """Base of the losses of an anchor's pairs with the rest of its batch.

    A subclass writes `per_anchor`.
    """

    def __init__(self, reduction, name, dtype):
        super().__init__(name=name, reduction=reduction, dtype=check_dtype(dtype))

    def call(self, y_true, y_pred):
        embeddings = ops.convert_to_tensor(y_pred, dtype=self.dtype)
        if len(embeddings.shape) != 2:
            raise ValueError(
                "y_pred must be embeddings, (batch, features). "
                f"Received: y_pred.shape={tuple(embeddings.shape)}"
            )
        labels = ops.convert_to_tensor(y_true)
        labels = one_per_sample("y_true", labels, embeddings.shape[0])
        if embeddings.shape[0] == 0:
            # Backends refuse the largest of nothing.
            return ops.sum(embeddings, axis=-1)
        # Their squared distances, at most 16 times that, must be finite too.
        sizes = ops.sum(ops.square(4 * embeddings), axis=-1)
        sound = ops.isfinite(sizes)
        distances = squared_distances(ops.where(sound[:, None], embeddings, 0.0))
        paired = ops.logical_and(sound[:, None], sound[None])
        same = ops.logical_and(paired, labels[:, None] == labels[None])
        other = ops.logical_and(paired, labels[:, None] != labels[None])
        itself = ops.eye(ops.shape(labels)[0], dtype="bool")
        same = ops.logical_and(same, ops.logical_not(itself))
        losses, counts = self.per_anchor(distances, same, other)
        losses = ops.where(sound, losses, math.nan)
        _backend.set_mask(losses, ops.logical_or(counts, ops.logical_not(sound)))
        return losses

    def per_anchor(self, distances, same, other):
        """Returns the loss of each anchor, and whether it has one.

        Args:
            distances: `[batch, batch]`, squared, in the dtype of the loss; row by row
                those of an anchor.
            same: bool, `[batch, batch]`, which are its positives, itself excluded.
            other: bool, `[batch, batch]`, which are its negatives.

        Returns:
            `[batch]`, in the dtype of the loss, and `[batch]`, bool.
        """
        raise NotImplementedError

    def get_config(self):
        return {**super().get_config(), "dtype": self.dtype}


@keras.saving.register_keras_serializable(package="zoo")
class Contrastive(_PairLoss):
    """Draws samples of one class together, and pushes others `margin` apart.

    Each sample is an anchor; its loss is the mean over all others of the batch of

    `d^2` if they share its class, `max(0, margin - d)^2` if not

    with the Euclidean distance `d` of the embeddings. The paper halves both. So the
    mean over a batch is the mean over its pairs. A sample alone in its batch has loss 0
    and does not count.

    At distance 0 the gradient is 0, also for two classes. An embedding that is not
    finite spoils its own loss, NaN, and is no pair of the others. Under `tf.distribute`
    the pairs are those of a replica's part of the batch. Memory is O(batch^2).

    In float32 `d^2` is right to about 1e-6 of the squared length of embeddings, less
    their mean: where that is not enough, `dtype="float64"` is.

    Args:
        margin: float > 0, the distance that classes are to keep. Defaults to 1.0.
        reduction: as in `keras.losses.Loss`.
        name: name of the loss. Defaults to `"contrastive"`.
        dtype: `"float32"` or `"float64"`, whatever the policy. Defaults to `"float32"`.

    Call arguments:
        y_true: `[batch]` or `[batch, 1]`, classes: any numbers, integers up to 2^24
            (2^53 for `dtype="float64"`).
        y_pred: `[batch, features]`, embeddings.

    Raises:
        ValueError: `margin` is not above 0.

    Example:

    >>> loss = Contrastive(margin=1.0)
    >>> embeddings = [[0.0, 0.0], [0.0, 0.5], [0.0, 0.75]]
    >>> round(float(loss([0, 0, 1], embeddings)), 4)  # (0.5^2 + 0.25^2 + 0.75^2) / 3
    0.2917

    Reference:

    - Hadsell, Chopra and LeCun, 2006, "Dimensionality reduction by learning an
      invariant mapping", CVPR,
      [doi:10.1109/CVPR.2006.100](https://doi.org/10.1109/CVPR.2006.100)
    """

    def __init__(
        self,
        margin: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "contrastive",
        dtype: str | None = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.margin = check_number(
            "margin", margin, low=math.ulp(0.0), allowed="a number above 0"
        )

    def per_anchor(self, distances, same, other):
        near = ops.square(ops.relu(self.margin - _root(distances)))
        losses = ops.where(same, distances, ops.where(other, near, 0.0))
        return _mean(losses, ops.logical_or(same, other))

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}


@keras.saving.register_keras_serializable(package="zoo")
class Triplet(_PairLoss):
    """Wants an anchor nearer to its own class than to others, by a margin.

    `L = max(0, d_ap - d_an + margin)`, or `log(1 + exp(d_ap - d_an))` without margin

    for an anchor, a positive of its class and a negative of another, all from one
    batch, where each sample is an anchor in turn:

    - `"semi_hard"`: each positive of the anchor meets the nearest negative that is
      further away than itself, or the furthest negative where none is; the loss of the
      anchor is the mean over its positives.
    - `"hard"`: the furthest positive meets the nearest negative.

    The defaults are those of FaceNet, for embeddings of length 1: a margin of 0.2
    between squared distances. Hermans et al. take
    `Triplet(margin=None, mining="hard", squared=False)`.

    An anchor without positive or without negative has loss 0 and does not count: the
    mean is over the others, and without any both loss and gradient are 0. An embedding
    that is not finite spoils its own loss, NaN, and is in no triplet of the others. At
    distance 0 the gradient is 0. Under `tf.distribute` the triplets are those of a
    replica's part of the batch. Memory is O(batch^2) in either mining. For embeddings
    much longer than their distances take `dtype="float64"`; see `Contrastive`.

    Args:
        margin: float >= 0, or `None` for the soft margin. Defaults to 0.2.
        mining: `"semi_hard"` or `"hard"`. Defaults to `"semi_hard"`.
        squared: whether `d` is the squared Euclidean distance, or the distance itself.
            Defaults to `True`.
        reduction: as in `keras.losses.Loss`.
        name: name of the loss. Defaults to `"triplet"`.
        dtype: `"float32"` or `"float64"`, whatever the policy. Defaults to `"float32"`.

    Call arguments:
        y_true: `[batch]` or `[batch, 1]`, classes: any numbers, integers up to 2^24
            (2^53 for `dtype="float64"`).
        y_pred: `[batch, features]`, embeddings.

    Raises:
        ValueError: negative `margin`, or unknown `mining`.

    Example:

    >>> embeddings = [[0.0, 0.0], [0.0, 0.5], [0.0, 0.75]]
    >>> loss = Triplet(mining="hard", squared=False, reduction=None)
    >>> [round(float(x), 4) for x in loss([0, 0, 1], embeddings)]
    [0.0, 0.45, 0.0]

    Reference:

    - Schroff, Kalenichenko and Philbin, 2015, "FaceNet: a unified embedding for face
      recognition and clustering", [arXiv:1503.03832](https://arxiv.org/abs/1503.03832)
    - Hermans, Beyer and Leibe, 2017, "In defense of the triplet loss for person
      re-identification", [arXiv:1703.07737](https://arxiv.org/abs/1703.07737)
    """

    def __init__(
        self,
        margin: float | None = 0.2,
        mining: Literal["semi_hard", "hard"] = "semi_hard",
        squared: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "triplet",
        dtype: str | None = None,
    ) -> None:
        super().__init__(reduction, name, dtype)
        self.margin = None if margin is None else check_number("margin", margin, low=0)
        self.mining = check_choice("mining", mining, MININGS)
        self.squared = check_choice("squared", squared, (True, False))

    def per_anchor(self, distances, same, other):
        if self.mining == "hard":
            positive = ops.max(ops.where(same, distances, -math.inf), axis=1)
            negative = ops.min(ops.where(other, distances, math.inf), axis=1)
            exists = ops.logical_and(ops.any(same, axis=1), ops.any(other, axis=1))
            return self._penalty(positive, negative, exists), exists
        exists = ops.logical_and(same, ops.any(other, axis=1, keepdims=True))
        negative = _semi_hard(distances, other)
        return _mean(self._penalty(distances, negative, exists), exists)

    def _penalty(self, positive, negative, exists):
        if not self.squared:
            positive, negative = _root(positive), _root(negative)
        excess = positive - negative
        if self.margin is None:
            penalty = ops.softplus(excess)
        else:
            penalty = ops.relu(excess + self.margin)
        return ops.where(exists, penalty, 0.0)

    def get_config(self):
        return {
            **super().get_config(),
            "margin": self.margin,
            "mining": self.mining,
            "squared": self.squared,
        }


def squared_distances(embeddings):
    """Returns the squared Euclidean distances of all pairs of rows.

    By `|a|^2 + |b|^2 - 2 a.b` of the centred rows, as a batch far from the origin would
    leave few digits; rounding leaves none below 0, and an error of up to about 1e-6 of
    the largest size in float32.

    Args:
        embeddings: `[batch, features]`, finite.

    Returns:
        `[batch, batch]`.
    """
    embeddings = embeddings - ops.stop_gradient(ops.mean(embeddings, axis=0))
    sizes = ops.sum(ops.square(embeddings), axis=-1)
    products = ops.matmul(embeddings, ops.transpose(embeddings))
    return ops.relu(sizes[:, None] + sizes[None] - 2 * products)


def _semi_hard(distances, other):
    """Returns the distance of the negative that each positive meets.

    Args:
        distances: `[batch, batch]`, those of an anchor in each row.
        other: bool, `[batch, batch]`, which columns are its negatives.

    Returns:
        `[batch, batch]`: for each column the distance of the nearest negative that is
        further away, else of the furthest one. Rows without negatives mean nothing.
    """
    constants = ops.stop_gradient(distances)
    negatives = ops.where(other, constants, math.inf)
    order = ops.argsort(negatives, axis=1)
    negatives = ops.take_along_axis(negatives, order, axis=1)

    # A binary search in each row for all of its columns.
    def step(low, high):
        middle = (low + high) // 2
        further = ops.take_along_axis(negatives, middle, axis=1) > constants
        low = ops.where(further, low, ops.minimum(middle + 1, high))
        return low, ops.where(further, middle, high)

    last = ops.sum(ops.cast(other, "int32"), axis=1, keepdims=True) - 1
    low = ops.zeros_like(order)
    high = low + ops.maximum(last, 0)
    found, _ = ops.while_loop(lambda low, high: ops.any(low < high), step, (low, high))
    return ops.take_along_axis(
        distances, ops.take_along_axis(order, found, axis=1), axis=1
    )


def _root(x):
    """Square root with gradient 0 at 0."""
    positive = x > 0
    return ops.where(positive, ops.sqrt(ops.where(positive, x, 1.0)), 0.0)


def _mean(values, counts):
    """Returns means of rows over what counts, the rest being 0, and where any does."""
    number = ops.sum(ops.cast(counts, values.dtype), axis=1)
    return ops.sum(values, axis=1) / ops.maximum(number, 1.0), number > 0
