"""What the losses of classification share: labels, precision, ignored classes."""

import math

import keras
from keras import ops

from zoo import _backend
from zoo.losses.checks import check_dtype, check_integer, same_sizes


class ClassificationLoss(keras.losses.Loss):
    """Base of the losses of one label and a score per class.

    A subclass writes `per_sample`. It gives one value per sample, so that sample
    weights, class weights, masks and replicas work. All is computed in float32, or in
    float64 where `dtype` says so, whatever the dtype of the scores.

    Labels are integers, `[...]` or `[..., 1]`, or rows of `classes` numbers,
    `[..., classes]`, for scores `[..., classes]`. A label that is no integer from 0 to
    `classes - 1` raises an error in eager mode; in a compiled step, which cannot raise,
    the loss of that sample is NaN.

    Args:
        ignore_class: integer label of samples that do not count, or `None`. The mean is
            over the others. Not for labels in rows.
        reduction: as in `keras.losses.Loss`.
        name: name of the loss.
        dtype: dtype of the computation, `"float32"` or `"float64"`. Defaults to
            `"float32"` under every dtype policy.
    """

    # Whether `per_sample` takes rows of class probabilities in place of labels.
    soft_targets = False

    def __init__(
        self,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        # Any lower precision would corrupt labels above 256.
        super().__init__(name=name, reduction=reduction, dtype=check_dtype(dtype))
        self.ignore_class = (
            None
            if ignore_class is None
            else check_integer("ignore_class", ignore_class)
        )

    def call(self, y_true, y_pred):
        labels = ops.convert_to_tensor(y_true)
        scores = ops.convert_to_tensor(y_pred, dtype=self.dtype)
        *leading, classes = self.score_shape(scores)
        rows = _is_rows(labels, leading, classes)
        if 0 in leading:
            # Backends refuse the largest of nothing.
            return ops.reshape(scores, leading)
        if rows:
            if not self.soft_targets:
                labels = ops.argmax(labels, axis=-1)
            dtype = self.dtype if self.soft_targets else "int32"
            return self.per_sample(ops.cast(labels, dtype), scores)
        if len(labels.shape) > len(leading):
            labels = ops.squeeze(labels, axis=-1)
        counts = None
        if self.ignore_class is not None:
            counts = ops.not_equal(labels, self.ignore_class)
            labels = ops.where(counts, labels, 0)
        valid = _are_classes(labels, classes)
        if valid is not None:
            labels = ops.where(valid, labels, 0)
        losses = self.per_label(ops.cast(labels, "int32"), scores)
        if valid is not None:
            losses = ops.where(valid, losses, math.nan)
        if counts is not None:
            losses = ops.where(counts, losses, 0.0)
            _backend.set_mask(losses, counts)
        return losses

    def per_label(self, labels, scores):
        """Returns the loss of each sample where labels came as integers."""
        if self.soft_targets:
            labels = ops.one_hot(labels, scores.shape[-1], dtype=self.dtype)
        return self.per_sample(labels, scores)

    def per_sample(self, targets, scores):
        """Returns the loss of each sample.

        Args:
            targets: int32 labels, `[...]`, all in range; or, where `soft_targets`, rows
                of probabilities, `[..., classes]`, in the dtype of the loss.
            scores: `[..., classes]`, in the dtype of the loss.

        Returns:
            `[...]`, in the dtype of the loss.
        """
        raise NotImplementedError

    def score_shape(self, scores):
        """Returns the shape `[..., classes]`, where `scores` holds more than that."""
        return scores.shape

    def get_config(self):
        return {
            **super().get_config(),
            "ignore_class": self.ignore_class,
            "dtype": self.dtype,
        }


def _is_rows(y_true, leading, classes):
    """Whether labels are in rows.

    Raises:
        ValueError: they fit the scores neither as labels nor as rows.
    """
    shape, rank = tuple(y_true.shape), len(leading)
    if same_sizes(shape[:rank], leading):
        if shape[rank:] in ((), (1,)):
            return False
        if shape[rank:] == (classes,):
            return True
    raise ValueError(
        f"y_true must be labels, {(*leading,)}, or rows, {(*leading, classes)}. "
        f"Received: y_true.shape={shape}"
    )


def _are_classes(labels, classes):
    """Whether each label is a class, or `None` where that was checked: then all are.

    Raises:
        ValueError: a label that can be looked at is none.
    """
    whole = ops.equal(ops.floor(labels), labels)
    valid = ops.logical_and(whole, ops.logical_and(labels >= 0, labels < classes))
    if not _backend.is_concrete(valid):
        return valid
    wrong = ops.convert_to_numpy(labels)[~ops.convert_to_numpy(valid)]
    if wrong.size:
        raise ValueError(
            f"y_true must hold labels from 0 to {classes - 1}. "
            f"Received: {wrong[0]:.10g}"
        )
    return None
