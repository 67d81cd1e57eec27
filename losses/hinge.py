"""The hinge loss for many classes, and the margin of scores that it is made of."""

import math
from typing import Literal

import keras
from keras import ops

from zoo.losses.base import ClassificationLoss
from zoo.losses.checks import check_choice, check_number

KINDS = ("crammer_singer", "weston_watkins")


@keras.saving.register_keras_serializable(package="zoo")
class MulticlassHinge(ClassificationLoss):
    """Hinge loss of the true class's score against the others.

    `"crammer_singer"`, against the highest of the others:

    `L = max(0, margin + max_{j != c} z_j - z_c)`

    `"weston_watkins"`, against each of the others:

    `L = sum_{j != c} max(0, margin + z_j - z_c)`

    for the scores `z` of a sample of class `c`. With one class both are 0.

    `keras.losses.CategoricalHinge` is a different loss: its highest other score is at
    least 0, as it counts the true class among the others with a score of 0. For
    `z = (-5, -7, -7)` and class 0 it is 6; here the loss is 0.

    Args:
        kind: `"crammer_singer"` or `"weston_watkins"`. Defaults to `"crammer_singer"`.
        margin: float >= 0, the lead in score that is wanted. Defaults to 1.0.
        ignore_class: integer label of samples that do not count. Defaults to `None`.
        reduction: as in `keras.losses.Loss`.
        name: name of the loss. Defaults to `"multiclass_hinge"`.
        dtype: `"float32"` or `"float64"`, whatever the policy. Defaults to `"float32"`.

    Raises:
        ValueError: unknown `kind`, or a negative `margin`.

    Example:

    >>> scores = [[1.5, 1.0, 1.2]]
    >>> round(float(MulticlassHinge()([0], scores)), 4)
    0.7
    >>> round(float(MulticlassHinge("weston_watkins")([0], scores)), 4)
    1.2

    Reference:

    - Crammer and Singer, 2001, "On the algorithmic implementation of multiclass
      kernel-based vector machines", JMLR 2:265-292
    - Weston and Watkins, 1999, "Support vector machines for multi-class pattern
      recognition", ESANN
    """

    def __init__(
        self,
        kind: Literal["crammer_singer", "weston_watkins"] = "crammer_singer",
        margin: float = 1.0,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "multiclass_hinge",
        dtype: str | None = None,
    ) -> None:
        super().__init__(ignore_class, reduction, name, dtype)
        self.kind = check_choice("kind", kind, KINDS)
        self.margin = check_number("margin", margin, low=0)

    def per_sample(self, targets, scores):
        if self.kind == "crammer_singer":
            return ops.relu(self.margin - score_margin(targets, scores))
        gaps = _gaps(targets, scores)
        return ops.sum(ops.relu(self.margin + gaps), axis=-1)

    def get_config(self):
        return {**super().get_config(), "kind": self.kind, "margin": self.margin}


def score_margin(labels, scores):
    """Returns the lead of the true class, `z_c - max_{j != c} z_j`.

    Args:
        labels: int32, `[...]`, in range.
        scores: `[..., classes]`, floating point.

    Returns:
        `[...]`, the dtype of `scores`: negative for a wrong prediction, infinite with
        one class.

    Example:

    >>> from keras import ops
    >>> scores = ops.array([[3.0, 1.0], [3.0, 1.0]])
    >>> [float(margin) for margin in score_margin(ops.array([0, 1]), scores)]
    [2.0, -2.0]
    """
    gaps = _gaps(labels, scores)
    # XLA's maximum skips NaN on a CPU.
    spoilt = ops.any(ops.isnan(gaps), axis=-1)
    return ops.where(spoilt, math.nan, -ops.max(gaps, axis=-1))


def _gaps(labels, scores):
    """Returns `z_j - z_c` for each class `j`, and minus infinity for `c` itself."""
    classes = ops.arange(scores.shape[-1], dtype="int32")
    own = ops.equal(ops.expand_dims(labels, -1), classes)
    target = ops.sum(ops.where(own, scores, 0.0), axis=-1, keepdims=True)
    tied = ops.logical_and(ops.isinf(target), scores == target)
    gaps = ops.where(tied, 0.0, scores - target)
    # Added, so that NaN stays with one class too.
    return ops.where(own, gaps - math.inf, gaps)
