"""Cross-entropy of cosines with a margin on the angle of the true class."""

import math
from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.losses.base import ClassificationLoss
from zoo.losses.checks import check_choice, check_number

GRADIENTS = ("exact", "straight_through")
# Probability of the true class that `scale="auto"` makes possible.
PROBABILITY = 0.999
# A logit that hides a class, finite so that the gradient is when all are hidden.
HIDDEN = -1e30


@keras.saving.register_keras_serializable(package="zoo")
class AngularMargin(ClassificationLoss):
    """Cross-entropy of scaled cosines, the true class's after three margins.

    `L = -log(exp(s * t) / (exp(s * t) + sum_{j != c} exp(s * cos(theta_j))))`

    `t = cos(m1 * theta_c + m2) - m3`

    for the angles `theta_j` between the embedding of a sample of class `c` and the
    vectors of the classes, as `zoo.layers.CosineDense` gives them. `m1` multiplies the
    angle (SphereFace), `m2` adds to it (ArcFace), `m3` takes from the cosine (CosFace).
    Where `m1 * theta_c + m2` passes pi, `angular_margin` continues the cosine: the
    loss goes on rising with the angle.

    At -1 and 1 the slope of `t` is 0: an embedding at angle 0 or pi has no direction to
    turn to. Cosines of the true class that rounding put beyond count as these.

    Args:
        m1: float > 0, factor of the angle. Defaults to 1.0.
        m2: float >= 0, added to the angle, in radians. Defaults to 0.5.
        m3: float >= 0, taken from the cosine. Defaults to 0.0.
        scale: float > 0, or `"auto"` for the smallest scale at which a sample at its
            class's vector, with the vectors of `C` classes as far apart as they can
            be, has probability 0.999: `(C - 1) / C * log(999 * (C - 1))`, 8.2 for 10
            classes, 16.1 for 10,000. Defaults to `"auto"`.
        gradient: `"exact"`, or `"straight_through"`: the true class's logit has the
            slope `s` at every angle, as without margins. Defaults to `"exact"`.
        class_margin: list of floats >= 0, one a class, in place of `m2`. Defaults to
            `None`.
        ignore_class: integer label of samples that do not count. Defaults to `None`.
        reduction: as in `keras.losses.Loss`.
        name: name of the loss. Defaults to `"angular_margin"`.
        dtype: `"float32"` or `"float64"`, whatever the policy. Defaults to `"float32"`.

    Raises:
        ValueError: a margin, the scale or `gradient` is not as above; when called,
            `class_margin` is not as long as there are classes.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.layers import CosineDense
    >>> round(float(AngularMargin(m2=0.5, scale=2.0)([0], [[0.6, 0.0]])), 4)
    0.5603
    >>> model = keras.Sequential([keras.Input((8,)), CosineDense(3)])
    >>> model.compile("sgd", AngularMargin(m1=0.9, m2=0.4, m3=0.15))
    >>> history = model.fit(np.ones((6, 8)), np.arange(6) % 3, verbose=0)

    Reference:

    - Deng et al., 2019, "ArcFace: Additive Angular Margin Loss for Deep Face
      Recognition", equation 4, [arXiv:1801.07698](https://arxiv.org/abs/1801.07698)
    """

    def __init__(
        self,
        m1: float = 1.0,
        m2: float = 0.5,
        m3: float = 0.0,
        scale: float | Literal["auto"] = "auto",
        gradient: Literal["exact", "straight_through"] = "exact",
        class_margin: Sequence[float] | None = None,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "angular_margin",
        dtype: str | None = None,
    ) -> None:
        super().__init__(ignore_class, reduction, name, dtype)
        self.m1 = check_positive("m1", m1, "a number above 0")
        self.m2 = check_number("m2", m2, low=0)
        self.m3 = check_number("m3", m3, low=0)
        self.scale = (
            scale
            if isinstance(scale, str) and scale == "auto"
            else check_positive("scale", scale, "'auto' or a number above 0")
        )
        self.gradient = check_choice("gradient", gradient, GRADIENTS)
        self.class_margin = (
            None if class_margin is None else _check_margins(class_margin)
        )
        # Part of the margins that is in force, 0 to 1; a variable of `MarginWarmup`'s.
        self.strength = 1.0

    def per_sample(self, labels, cosines):
        scale = self.scale
        if scale == "auto":
            scale = auto_scale(cosines.shape[-1])
        target = scale * self.target_cosine(labels, cosines)
        return cross_entropy(scale * cosines, labels, target)

    def target_cosine(self, labels: Array, cosines: Array) -> Array:
        """Returns the cosine of each sample's class after the margins, `[...]`."""
        cosine = of_label(cosines, labels)
        strength = ops.cast(self.strength, cosine.dtype)
        m1 = 1 + strength * (self.m1 - 1)
        m2 = strength * self._m2(labels, cosines.shape[-1], cosine.dtype)
        result = angular_margin(cosine, m1, m2) - strength * self.m3
        if self.gradient == "straight_through":
            change = cosine - ops.stop_gradient(cosine)
            result = ops.stop_gradient(result) + change
        return result

    def _m2(self, labels, classes, dtype):
        if self.class_margin is None:
            return self.m2
        if len(self.class_margin) != classes:
            raise ValueError(
                f"`class_margin` must hold {classes} numbers, one a class. "
                f"Received: {len(self.class_margin)}"
            )
        return ops.take(ops.convert_to_tensor(self.class_margin, dtype), labels)

    def get_config(self):
        return {
            **super().get_config(),
            "m1": self.m1,
            "m2": self.m2,
            "m3": self.m3,
            "scale": self.scale,
            "gradient": self.gradient,
            "class_margin": self.class_margin,
        }


def check_positive(name, value, allowed):
    return check_number(name, value, low=math.ulp(0.0), allowed=allowed)


def angular_margin(cosines: Array, m1: float = 1.0, m2: float | Array = 0.0) -> Array:
    """Cosine of `m1 * theta + m2`, continued so that it falls with every angle.

    `psi = (-1)^k * cos(phi) - 2 * k`,  `phi = m1 * theta + m2`,
    `k = floor(phi / pi)`

    It is the cosine up to `phi = pi`, has a continuous slope there, and falls by 2
    from each multiple of pi to the next.

    Args:
        cosines: `cos(theta)`, floating point; clipped to [-1, 1].
        m1: float > 0, factor of the angle. Defaults to 1.0.
        m2: float >= 0, or a tensor that broadcasts to `cosines`, added to the angle,
            in radians. Defaults to 0.0.

    Returns:
        A tensor like `cosines`. Its derivative at -1, at 1 and outside is 0.

    Example:

    >>> [round(float(angular_margin(cosine, m1=2.0)), 4) for cosine in (1.0, 0.0, -1.0)]
    [1.0, -1.0, -3.0]

    Reference:

    - Liu et al., 2016, "Large-Margin Softmax Loss for Convolutional Neural Networks",
      equation 6, [arXiv:1612.02295](https://arxiv.org/abs/1612.02295)
    """
    cosines = ops.clip(ops.convert_to_tensor(cosines), -1.0, 1.0)
    # Not 1 - cosines^2, which rounds near 1.
    squares = (1 - cosines) * (1 + cosines)
    # The slope of the root at 0 is infinite, that of the other branch is 0.
    sines = ops.where(squares > 0, ops.sqrt(ops.maximum(squares, 1e-30)), 0.0)
    angles = m1 * ops.arctan2(sines, cosines) + m2
    turns = ops.stop_gradient(ops.floor(angles / math.pi))
    return ops.cos(angles - math.pi * turns) - 2 * turns


def auto_scale(classes):
    """Returns the scale that stands for `"auto"`."""
    others = max(classes - 1, 1)
    return others / (others + 1) * math.log(others * PROBABILITY / (1 - PROBABILITY))


def of_label(scores, labels):
    """Returns each sample's score of its own class, `[...]`."""
    picked = ops.take_along_axis(scores, ops.expand_dims(labels, -1), axis=-1)
    return ops.squeeze(picked, axis=-1)


def cross_entropy(logits, labels, target):
    """Returns cross-entropy with `target` in place of the logit of the label.

    It compares the target with the other classes alone: no sum over all classes loses
    them to rounding where the target is far ahead.
    """
    rows = ops.reshape(logits, (-1, logits.shape[-1]))
    columns = ops.reshape(labels, (-1,))
    numbers = ops.arange(ops.shape(columns)[0], dtype="int32")
    hidden = ops.full_like(columns, HIDDEN, dtype=logits.dtype)
    # Faster on TensorFlow than a mask of the whole matrix, and the same under XLA.
    rows = ops.scatter_update(rows, ops.stack([numbers, columns], axis=-1), hidden)
    others = ops.reshape(ops.logsumexp(rows, axis=-1), ops.shape(target))
    return ops.softplus(others - target)


def _check_margins(margins):
    if not isinstance(margins, (list, tuple, np.ndarray)) or np.ndim(margins) != 1:
        raise ValueError(
            "`class_margin` must be None or a list of numbers, one a class. "
            f"Received: class_margin={margins!r}"
        )
    return [check_number("class_margin", margin, low=0) for margin in margins]
