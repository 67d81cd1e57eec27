"""The losses with one margin on the angle, by the names of their papers."""

from collections.abc import Sequence
from typing import Literal

import keras

from zoo.losses.angular import (
    AngularMargin,
    check_positive,
    cross_entropy,
    of_label,
)
from zoo.losses.checks import check_number


@keras.saving.register_keras_serializable(package="zoo")
class ArcFace(AngularMargin):
    """Cross-entropy with a margin added to the angle of the true class.

    `L = -log(exp(s * t) / (exp(s * t) + sum_{j != c} exp(s * cos(theta_j))))`

    `t = cos(theta_c + margin)`

    for the cosines of `zoo.layers.CosineDense`. Past `theta_c = pi - margin`, where
    this cosine would rise again, it goes on as `-2 - cos(theta_c + margin)`.

    Args:
        margin: float >= 0, in radians. Defaults to 0.5.
        scale: float > 0, or `"auto"`, as in `AngularMargin`: with few classes 64 is
            far too much. Defaults to 64.0.
        gradient: `"exact"` or `"straight_through"`, as in `AngularMargin`. Defaults to
            `"exact"`.
        class_margin: list of floats >= 0, one a class, in place of `margin`. Defaults
            to `None`.
        ignore_class: integer label of samples that do not count. Defaults to `None`.
        reduction: as in `keras.losses.Loss`.
        name: name of the loss. Defaults to `"arc_face"`.
        dtype: `"float32"` or `"float64"`, whatever the policy. Defaults to `"float32"`.

    Raises:
        ValueError: as `AngularMargin`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.layers import CosineDense
    >>> round(float(ArcFace(scale=8.0)([0], [[0.6, 0.0]])), 4)
    0.2765
    >>> model = keras.Sequential([keras.Input((8,)), CosineDense(3)])
    >>> model.compile("sgd", ArcFace(scale="auto"), metrics=["accuracy"])
    >>> history = model.fit(np.ones((6, 8)), np.arange(6) % 3, verbose=0)

    Reference:

    - Deng et al., 2019, "ArcFace: Additive Angular Margin Loss for Deep Face
      Recognition", [arXiv:1801.07698](https://arxiv.org/abs/1801.07698)
    """

    def __init__(
        self,
        margin: float = 0.5,
        scale: float | Literal["auto"] = 64.0,
        gradient: Literal["exact", "straight_through"] = "exact",
        class_margin: Sequence[float] | None = None,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "arc_face",
        dtype: str | None = None,
    ) -> None:
        super().__init__(
            m2=check_number("margin", margin, low=0),
            scale=scale,
            gradient=gradient,
            class_margin=class_margin,
            ignore_class=ignore_class,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )

    def get_config(self):
        return _with_one_margin(super().get_config(), "m2")


@keras.saving.register_keras_serializable(package="zoo")
class CosFace(AngularMargin):
    """Cross-entropy with a margin taken from the cosine of the true class.

    `L = -log(exp(s * t) / (exp(s * t) + sum_{j != c} exp(s * cos(theta_j))))`

    `t = cos(theta_c) - margin`

    for the cosines of `zoo.layers.CosineDense`.

    Args:
        margin: float >= 0. Defaults to 0.35.
        scale: float > 0, or `"auto"`, as in `AngularMargin`: with few classes 64 is
            far too much. Defaults to 64.0.
        ignore_class: integer label of samples that do not count. Defaults to `None`.
        reduction: as in `keras.losses.Loss`.
        name: name of the loss. Defaults to `"cos_face"`.
        dtype: `"float32"` or `"float64"`, whatever the policy. Defaults to `"float32"`.

    Raises:
        ValueError: `margin` is negative, or `scale` not as above.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.layers import CosineDense
    >>> round(float(CosFace(scale=8.0)([0], [[0.6, 0.0]])), 4)  # log(1 + exp(-2))
    0.1269
    >>> model = keras.Sequential([keras.Input((8,)), CosineDense(3)])
    >>> model.compile("sgd", CosFace(scale="auto"), metrics=["accuracy"])
    >>> history = model.fit(np.ones((6, 8)), np.arange(6) % 3, verbose=0)

    Reference:

    - Wang et al., 2018, "CosFace: Large Margin Cosine Loss for Deep Face
      Recognition", [arXiv:1801.09414](https://arxiv.org/abs/1801.09414)
    """

    def __init__(
        self,
        margin: float = 0.35,
        scale: float | Literal["auto"] = 64.0,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "cos_face",
        dtype: str | None = None,
    ) -> None:
        super().__init__(
            m2=0.0,
            m3=check_number("margin", margin, low=0),
            scale=scale,
            ignore_class=ignore_class,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )

    def get_config(self):
        return _with_one_margin(
            super().get_config(), "m3", without=("gradient", "class_margin")
        )


@keras.saving.register_keras_serializable(package="zoo")
class SphereFace(AngularMargin):
    """Cross-entropy with the angle of the true class multiplied.

    `L = -log(exp(s * t) / (exp(s * t) + sum_{j != c} exp(s * cos(theta_j))))`

    `t = (-1)^k * cos(margin * theta_c) - 2 * k`,  `k = floor(margin * theta_c / pi)`

    for the cosines of `zoo.layers.CosineDense`. In the paper `s` is each embedding's
    own norm; here, as in later work, one number, so that the loss cannot be lowered by
    longer embeddings. `LSoftmax` keeps the norms.

    The target falls to -3 at a right angle with margin 4, where training begins:
    ramp such margins with `MarginWarmup`.

    Args:
        margin: float > 0, factor of the angle; the paper's is 4. Defaults to 1.35.
        scale: float > 0, or `"auto"`, as in `AngularMargin`: with few classes 64 is
            far too much. Defaults to 64.0.
        gradient: `"exact"` or `"straight_through"`, as in `AngularMargin`. Defaults to
            `"exact"`.
        ignore_class: integer label of samples that do not count. Defaults to `None`.
        reduction: as in `keras.losses.Loss`.
        name: name of the loss. Defaults to `"sphere_face"`.
        dtype: `"float32"` or `"float64"`, whatever the policy. Defaults to `"float32"`.

    Raises:
        ValueError: `margin` is not above 0, or another argument not as above.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.layers import CosineDense
    >>> round(float(SphereFace(margin=2.0, scale=8.0)([0], [[0.6, 0.0]])), 4)
    2.3412
    >>> model = keras.Sequential([keras.Input((8,)), CosineDense(3)])
    >>> model.compile("sgd", SphereFace(scale="auto"), metrics=["accuracy"])
    >>> history = model.fit(np.ones((6, 8)), np.arange(6) % 3, verbose=0)

    Reference:

    - Liu et al., 2017, "SphereFace: Deep Hypersphere Embedding for Face Recognition",
      [arXiv:1704.08063](https://arxiv.org/abs/1704.08063)
    """

    def __init__(
        self,
        margin: float = 1.35,
        scale: float | Literal["auto"] = 64.0,
        gradient: Literal["exact", "straight_through"] = "exact",
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "sphere_face",
        dtype: str | None = None,
    ) -> None:
        super().__init__(
            m1=check_positive("margin", margin, "a number above 0"),
            m2=0.0,
            scale=scale,
            gradient=gradient,
            ignore_class=ignore_class,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )

    def get_config(self):
        return _with_one_margin(super().get_config(), "m1", without=("class_margin",))


@keras.saving.register_keras_serializable(package="zoo")
class LSoftmax(AngularMargin):
    """Softmax cross-entropy with the angle of the true class multiplied.

    `L = -log(exp(n_c * t) / (exp(n_c * t) + sum_{j != c} exp(n_j * cos(theta_j))))`

    `n_j = |w_j| |x|`,  `t = (-1)^k * cos(margin * theta_c) - 2 * k`,
    `k = floor(margin * theta_c / pi)`

    With margin 1 it is the cross-entropy of a dense layer without bias. The paper eases
    training by mixing `t` with the plain cosine; `MarginWarmup` does so by raising the
    margin from 1.

    Args:
        margin: float > 0, factor of the angle; the paper's are 2, 3 and 4. Defaults to
            4.0.
        ignore_class: integer label of samples that do not count. Defaults to `None`.
        reduction: as in `keras.losses.Loss`.
        name: name of the loss. Defaults to `"l_softmax"`.
        dtype: `"float32"` or `"float64"`, whatever the policy. Defaults to `"float32"`.

    Call arguments:
        y_true: labels, `[batch, ...]`.
        y_pred: `[batch, ..., 2, classes]`, the cosines and the `n_j`, as
            `zoo.layers.CosineDense(polar=True)` gives them.

    Raises:
        ValueError: `margin` is not above 0; when called, `y_pred` is not as above.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.layers import CosineDense
    >>> round(float(LSoftmax(margin=2.0)([0], [[[0.6, 0.0], [5.0, 5.0]]])), 4)
    1.6204
    >>> model = keras.Sequential([keras.Input((8,)), CosineDense(3, polar=True)])
    >>> model.compile("sgd", LSoftmax())
    >>> history = model.fit(np.ones((6, 8)), np.arange(6) % 3, verbose=0)
    >>> logits = keras.ops.prod(model.predict(np.ones((6, 8)), verbose=0), axis=-2)

    Reference:

    - Liu et al., 2016, "Large-Margin Softmax Loss for Convolutional Neural Networks",
      [arXiv:1612.02295](https://arxiv.org/abs/1612.02295)
    """

    def __init__(
        self,
        margin: float = 4.0,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "l_softmax",
        dtype: str | None = None,
    ) -> None:
        super().__init__(
            m1=check_positive("margin", margin, "a number above 0"),
            m2=0.0,
            ignore_class=ignore_class,
            reduction=reduction,
            name=name,
            dtype=dtype,
        )

    def per_sample(self, labels, scores):
        cosines, norms = scores[..., 0, :], scores[..., 1, :]
        target = of_label(norms, labels) * self.target_cosine(labels, cosines)
        return cross_entropy(norms * cosines, labels, target)

    def score_shape(self, scores):
        shape = tuple(scores.shape)
        # A batch of two rows of plain cosines is of two axes.
        if len(shape) < 3 or shape[-2] != 2:
            raise ValueError(
                "y_pred must be (..., 2, classes), as of CosineDense(polar=True). "
                f"Received: y_pred.shape={shape}"
            )
        return (*shape[:-2], shape[-1])

    def get_config(self):
        return _with_one_margin(
            super().get_config(), "m1", without=("scale", "gradient", "class_margin")
        )


def _with_one_margin(config, name, without=()):
    """Returns the config with the margin `name` as `margin`, less all others."""
    left = {"m1", "m2", "m3", *without}
    kept = {key: value for key, value in config.items() if key not in left}
    return {**kept, "margin": config[name]}
