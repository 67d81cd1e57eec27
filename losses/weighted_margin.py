"""The loss of a weighted margin distribution."""

import math

import keras
from keras import ops

from zoo.losses.base import ClassificationLoss
from zoo.losses.checks import check_number
from zoo.losses.hinge import score_margin

STEEPEST = 20.0


@keras.saving.register_keras_serializable(package="zoo")
class WeightedMargin(ClassificationLoss):
    """Every sample counts by its margin: a Gaussian if right, an exponential if wrong.

    `L = exp(-alpha * v^2)` for `v > 0`,  `exp(-beta * v)` for `v <= 0`

    with the margin `v = z_c - max_{j != c} z_j` of the scores `z` of a sample of class
    `c`. A right sample costs less than 1 and a wrong one more. With one class the loss
    is 0.

    At `v = 0` both parts are 1, but the slope jumps from `-beta` to 0: a kink, where
    the gradient is that of the left, so that a model whose scores are all equal can
    leave it. A right sample near the boundary is hardly pulled; the pull is strongest,
    `sqrt(2 * alpha / e)`, at `v = 1 / sqrt(2 * alpha)`, and then fades.

    The defaults put that point at `v = 1`, the margin of the hinge loss, and let the
    wrong side start with the hinge loss's slope, -1. Scale them to your scores, or
    normalise the scores: the loss has no other scale.

    Where `-beta * v` exceeds 20 the exponential goes on as its tangent, so that it
    stays finite.

    Args:
        alpha: float > 0, of the right side, in inverse squared scores. Defaults to 0.5.
        beta: float > 0, of the wrong side, in inverse scores. Defaults to 1.0.
        ignore_class: integer label of samples that do not count. Defaults to `None`.
        reduction: as in `keras.losses.Loss`.
        name: name of the loss. Defaults to `"weighted_margin"`.
        dtype: `"float32"` or `"float64"`, whatever the policy. Defaults to `"float32"`.

    Raises:
        ValueError: `alpha` or `beta` is not above 0.

    Example:

    >>> loss = WeightedMargin(reduction=None)
    >>> [round(float(x), 4) for x in loss([0, 0], [[1.0, 0.0], [0.0, 1.0]])]
    [0.6065, 2.7183]

    Reference:

    - Garg and Roth, 2003, "Margin distribution and learning algorithms", ICML
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 1.0,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "weighted_margin",
        dtype: str | None = None,
    ) -> None:
        super().__init__(ignore_class, reduction, name, dtype)
        positive = {"low": math.ulp(0.0), "allowed": "a number above 0"}
        self.alpha = check_number("alpha", alpha, **positive)
        self.beta = check_number("beta", beta, **positive)

    def per_sample(self, targets, scores):
        v = score_margin(targets, scores)
        # The bound keeps the gradient at infinity from being 0 * inf.
        lead = ops.clip(math.sqrt(self.alpha) * v, 0.0, 40.0)
        return ops.where(v > 0, ops.exp(-ops.square(lead)), tame_exp(-self.beta * v))

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta}


def tame_exp(x):
    """Returns `exp(x)` for `x <= 20`, and the tangent `exp(20) * (x - 19)` beyond.

    Args:
        x: a tensor, floating point.

    Returns:
        A tensor of the same shape and dtype.
    """
    beyond = x > STEEPEST
    tangent = math.exp(STEEPEST) * (x - STEEPEST + 1)
    return ops.where(beyond, tangent, ops.exp(ops.where(beyond, STEEPEST, x)))
