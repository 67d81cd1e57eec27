"""Proper margin losses for two classes, with a margin that can be tuned."""

import math
from typing import Literal

import keras
from keras import ops

from zoo import _backend
from zoo.losses.checks import check_choice, check_dtype, check_number, same_sizes
from zoo.losses.weighted_margin import tame_exp

# A link as the log-odds of eta, which neither rounds nor overflows, and its slope at 0.
LINKS = {
    "logistic": (lambda v: v, 1),
    "boosting": (lambda v: 2 * v, 2),
    "canonical_boosting": (lambda v: 2 * ops.arcsinh(v / 2), 1),
}
# phi of the log-odds.
BINDINGS = {
    "logistic": lambda odds: ops.softplus(-odds),
    "exponential": lambda odds: tame_exp(-odds / 2),
    "least_squares": lambda odds: ops.square(ops.sigmoid(-odds)),
}


@keras.saving.register_keras_serializable(package="zoo")
class ProperMargin(keras.losses.Loss):
    """Loss of a score's margin, made of a link and a binding function.

    `phi(v) = C(eta) + (1 - eta) * C'(eta)`

    with the margin `v`, the score for label 1 and minus the score for label 0. The link
    turns it into the probability `eta` of being right:

    - `"logistic"`: `eta = sigmoid(v / sigma)`
    - `"boosting"`: `eta = sigmoid(2 * v / sigma)`
    - `"canonical_boosting"`: `eta = (1 + u / sqrt(4 + u^2)) / 2`, `u = v / sigma`

    The binding is the minimum risk `C(eta)`, which gives `phi`:

    - `"logistic"`: the entropy in nats; `-log(eta)`
    - `"exponential"`: `2 * sqrt(eta * (1 - eta))`; `sqrt((1 - eta) / eta)`
    - `"least_squares"`: `eta * (1 - eta)`; `(1 - eta)^2`

    The link sets how strongly the loss regularises, by its slope at 0; the binding sets
    what outliers cost. Named combinations, link first, for `sigma=1`: logistic and
    logistic, `log(1 + exp(-v))`, is the logistic loss; boosting and exponential,
    `exp(-v)`, AdaBoost's; boosting and least squares, `1 / (1 + exp(2 * v))^2`, the
    Savage loss, bounded for outliers; canonical boosting and exponential,
    `(sqrt(4 + v^2) - v) / 2`, is convex and a smooth hinge.

    Beyond `exp(20)` the exponential binding goes on linearly in the log-odds of `eta`,
    with the slope that it has there, so that it stays finite.

    Labels are 0 and 1, as in `keras.losses.BinaryCrossentropy`, not -1 and 1. Any other
    raises an error in eager mode; in a compiled step, which cannot raise, the loss of
    that sample is NaN. Scores are neither probabilities nor squashed; `eta` of the
    score itself is the probability of label 1.

    Args:
        link: `"logistic"`, `"boosting"` or `"canonical_boosting"`. Defaults to
            `"logistic"`.
        binding: `"logistic"`, `"exponential"` or `"least_squares"`. Defaults to
            `"logistic"`.
        sigma: float > 0, the score's scale: the loss is `phi(v / sigma)`. Defaults to
            1.0.
        reduction: as in `keras.losses.Loss`.
        name: name of the loss. Defaults to `"proper_margin"`.
        dtype: `"float32"` or `"float64"`, whatever the policy. Defaults to `"float32"`.

    Call arguments:
        y_true: `[batch]` or `[batch, 1]`, 0 or 1.
        y_pred: `[batch]` or `[batch, 1]`, one score per sample.

    Raises:
        ValueError: unknown `link` or `binding`, `sigma` not above 0, or more than one
            score per sample.

    Example:

    >>> loss = ProperMargin(link="boosting", binding="exponential")
    >>> round(float(loss([0, 1], [1.0, 1.0])), 4)  # (exp(1) + exp(-1)) / 2
    1.5431
    >>> loss.loss_margin
    1.0

    Reference:

    - Masnadi-Shirazi and Vasconcelos, 2015, "A view of margin losses as regularizers
      of probability estimates", JMLR 16(85):2751-2795
    """

    def __init__(
        self,
        link: Literal["logistic", "boosting", "canonical_boosting"] = "logistic",
        binding: Literal["logistic", "exponential", "least_squares"] = "logistic",
        sigma: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "proper_margin",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=check_dtype(dtype))
        self.link = check_choice("link", link, tuple(LINKS))
        self.binding = check_choice("binding", binding, tuple(BINDINGS))
        self.sigma = check_number(
            "sigma", sigma, low=math.ulp(0.0), allowed="a number above 0"
        )

    def call(self, y_true, y_pred):
        scores = one_per_sample("y_pred", ops.convert_to_tensor(y_pred, self.dtype))
        labels = ops.convert_to_tensor(y_true, self.dtype)
        labels = one_per_sample("y_true", labels, scores.shape[0])
        valid = ops.logical_or(labels == 0, labels == 1)
        if _backend.is_concrete(valid) and not ops.all(valid):
            wrong = ops.convert_to_numpy(labels)[~ops.convert_to_numpy(valid)]
            raise ValueError(f"y_true must hold 0 and 1. Received: {wrong[0]:g}")
        log_odds, _ = LINKS[self.link]
        v = ops.where(labels == 1, scores, -scores)
        losses = BINDINGS[self.binding](log_odds(v / self.sigma))
        return ops.where(valid, losses, math.nan)

    @property
    def loss_margin(self) -> float:
        """The loss margin, `-phi'(0) / phi''(0) = 1 / (2 * eta'(0))`.

        From `phi' = (1 - eta) C'' eta'`, where `C` and the link are symmetric, so that
        at 0 `eta = 1/2`, `C''' = 0` and `eta'' = 0`. The larger, the more the loss
        regularises.
        """
        # eta'(0) is a quarter of the slope of the log-odds.
        _, slope = LINKS[self.link]
        return 2 * self.sigma / slope

    def get_config(self):
        return {
            **super().get_config(),
            "link": self.link,
            "binding": self.binding,
            "sigma": self.sigma,
            "dtype": self.dtype,
        }


def one_per_sample(name, x, samples=None):
    """Returns `x`, `[samples]` or `[samples, 1]`, as `[samples]`."""
    shape = tuple(x.shape)
    if same_sizes(shape[:1], (samples,)) and shape[1:] in ((), (1,)):
        return ops.reshape(x, (-1,))
    batch = "batch" if samples is None else samples
    raise ValueError(
        f"{name} must be one number per sample, ({batch},) or ({batch}, 1). "
        f"Received: {name}.shape={shape}"
    )
