"""Two softmax losses with more margin than cross-entropy: flatter, or two-sided."""

import math

import keras
from keras import ops

from zoo.losses.base import ClassificationLoss
from zoo.losses.checks import check_number


@keras.saving.register_keras_serializable(package="zoo")
class TemperatureSoftmax(ClassificationLoss):
    """Cross-entropy of scores that are first multiplied by `gamma`.

    `L = log(sum_k exp(gamma * z_k)) - gamma * z_c`

    for the scores `z` of a sample of class `c`. For two classes that is
    `log(1 + exp(-gamma * v))`, `v = z_c - z_j`, whose loss margin
    `-L'(0) / L''(0)` is `2 / gamma`: below 1, `gamma` keeps pulling at samples that
    cross-entropy takes for settled. At 1 it is cross-entropy. Probabilities are
    `softmax(gamma * z)`; predictions do not change.

    The gradient is `gamma * (softmax(gamma * z) - y)`. For one whose size does not
    depend on `gamma`, `compile(loss_weights=1 / gamma)`; so weighted, the loss tends to
    `max_k z_k - z_c` as `gamma` grows.

    Labels may be rows of class probabilities.

    Args:
        gamma: float > 0, the inverse of the temperature; 0 to 1 makes the margin
            larger. Defaults to 0.5.
        ignore_class: integer label of samples that do not count. Defaults to `None`.
        reduction: as in `keras.losses.Loss`.
        name: name of the loss. Defaults to `"temperature_softmax"`.
        dtype: `"float32"` or `"float64"`, whatever the policy. Defaults to `"float32"`.

    Raises:
        ValueError: `gamma` is not above 0.

    Example:

    >>> loss = TemperatureSoftmax(gamma=0.5)
    >>> round(float(loss([0], [[2.0, 0.0]])), 4)  # log(1 + exp(-1))
    0.3133

    Reference:

    - Hinton, Vinyals and Dean, 2015, "Distilling the knowledge in a neural network",
      [arXiv:1503.02531](https://arxiv.org/abs/1503.02531)
    """

    soft_targets = True

    def __init__(
        self,
        gamma: float = 0.5,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "temperature_softmax",
        dtype: str | None = None,
    ) -> None:
        super().__init__(ignore_class, reduction, name, dtype)
        self.gamma = check_number(
            "gamma", gamma, low=math.ulp(0.0), allowed="a number above 0"
        )

    def per_sample(self, targets, scores):
        scores = self.gamma * scores
        top = ops.stop_gradient(ops.max(scores, axis=-1, keepdims=True))
        return -_expected(targets, ops.log_softmax(_below(top, scores)))

    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma}


@keras.saving.register_keras_serializable(package="zoo")
class ComplementaryCrossEntropy(ClassificationLoss):
    """Cross-entropy that also penalises the probability of each wrong class.

    `L = -sum_k [y_k * log(p_k) + (1 - y_k) * log(1 - p_k)]`,  `p = softmax(z)`

    for the one-hot label `y`. For two classes that is twice the cross-entropy; for one
    class it is 0. The more classes share the error, the less the second part adds:
    it is largest where one wrong class has all of it.

    No `1 - p_k` is formed: where a probability rounds to 1, loss and gradient stay
    exact.

    Labels may be rows of class probabilities.

    Args:
        ignore_class: integer label of samples that do not count. Defaults to `None`.
        reduction: as in `keras.losses.Loss`.
        name: name of the loss. Defaults to `"complementary_cross_entropy"`.
        dtype: `"float32"` or `"float64"`, whatever the policy. Defaults to `"float32"`.

    Example:

    >>> loss = ComplementaryCrossEntropy()
    >>> round(float(loss([0], [[0.0, 0.0, 0.0]])), 4)  # log(3) + 2 log(3 / 2)
    1.9095
    >>> float(loss([0], [[-1e4, 0.0]]))
    20000.0
    """

    soft_targets = True

    def __init__(
        self,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "complementary_cross_entropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(ignore_class, reduction, name, dtype)

    def per_sample(self, targets, scores):
        log_p, log_rest = _log_probabilities(scores)
        return -_expected(targets, log_p) - _expected(1 - targets, log_rest)


def _log_probabilities(scores):
    """Returns `log(p)` and `log(1 - p)` of the softmax, both `[..., classes]`."""
    classes = ops.arange(scores.shape[-1], dtype="int32")
    best = ops.equal(ops.expand_dims(ops.argmax(scores, axis=-1), -1), classes)
    top = ops.sum(ops.where(best, scores, 0.0), axis=-1, keepdims=True)
    scores = _below(top, scores)
    # The best score is now 0, so that p = sigmoid(-odds) there.
    odds = _log_sum_exp(ops.where(best, -math.inf, scores))
    log_p = scores - ops.softplus(odds)
    # Each other class has at most half of the probability.
    others = ops.log1p(-ops.exp(ops.where(best, -math.inf, log_p)))
    return log_p, ops.where(best, -ops.softplus(-odds), others)


def _log_sum_exp(x):
    top = ops.stop_gradient(ops.max(x, axis=-1, keepdims=True))
    total = ops.sum(ops.exp(_below(top, x)), axis=-1, keepdims=True)
    return top + ops.log(total)


def _below(top, x):
    """Returns `x - top`, and 0 where both are the same infinity."""
    return ops.where(ops.logical_and(ops.isinf(top), x == top), 0.0, x - top)


def _expected(weights, values):
    """Returns the weighted sum over classes; weight 0 hides an infinite value."""
    return ops.sum(ops.where(weights == 0, 0.0, weights * values), axis=-1)
