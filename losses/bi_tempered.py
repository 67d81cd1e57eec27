"""The bi-tempered logistic loss, and tempered logarithm, exponential and softmax."""

import math

import keras
from keras import ops

from zoo import _backend
from zoo._types import Array
from zoo.losses.base import ClassificationLoss
from zoo.losses.checks import check_number

# Newton's steps end once the probabilities add up to 1 to this, and one step later.
TOLERANCE = {"float32": 1e-4, "float64": 1e-8}
MOST_STEPS = 12
# Nearer to 1, a temperature that is a tensor is taken as this far from it.
NEAREST = 1e-7
# Reciprocals up to this power are products; further ones need the logarithm.
MOST_PRODUCTS = 10
# The largest `classes^(t - 1)`: sums of its inverse must not vanish in float32.
LARGEST = 1e30
# Powers of probabilities end at the exponential of this, whose sums are finite.
HIGHEST = {"float32": 85.0, "float64": 700.0}


def log_t(x: Array, t: float) -> Array:
    """Returns the tempered logarithm.

    `log_t(x) = (x^(1 - t) - 1) / (1 - t)`, the natural logarithm at `t = 1`; bounded
    from below by `-1 / (1 - t)` for `t < 1`.

    Args:
        x: tensor, non-negative.
        t: float, the temperature.

    Returns:
        A tensor of the shape of `x`.

    Raises:
        ValueError: `t` is no finite number.

    Example:

    >>> import numpy as np
    >>> [round(float(log_t(np.array(4.0), t)), 4) for t in (0.5, 1.0, 2.0)]
    [2.0, 1.3863, 0.75]

    Reference:

    - Amid, Warmuth, Anil and Koren, 2019, "Robust bi-tempered logistic loss based on
      Bregman divergences", [arXiv:1906.03361](https://arxiv.org/abs/1906.03361)
    """
    return _tempered(ops.log(_floating(x)), 1 - check_number("t", t))


def exp_t(x: Array, t: float) -> Array:
    """Returns the tempered exponential, the inverse of `log_t`.

    `exp_t(x) = max(0, 1 + (1 - t) x)^(1 / (1 - t))`, the exponential at `t = 1`; for
    `t > 1` its tail is heavy, and it is infinite from `x = 1 / (t - 1)` up.

    Args:
        x: tensor.
        t: float, the temperature.

    Returns:
        A tensor of the shape of `x`.

    Raises:
        ValueError: `t` is no finite number.

    Example:

    >>> import numpy as np
    >>> [round(float(exp_t(np.array(-2.0), t)), 4) for t in (0.5, 1.0, 2.0)]
    [0.0, 0.1353, 0.3333]

    Reference:

    - Amid, Warmuth, Anil and Koren, 2019, "Robust bi-tempered logistic loss based on
      Bregman divergences", [arXiv:1906.03361](https://arxiv.org/abs/1906.03361)
    """
    x, power = _floating(x), 1 - check_number("t", t)
    if power == 0:
        return ops.exp(x)
    live = power * x > -1
    inside = ops.exp(ops.log1p(ops.where(live, power * x, 0.0)) / power)
    return ops.where(live, inside, 0.0 if power > 0 else math.inf)


def tempered_softmax(activations: Array, t: float | Array) -> Array:
    """Returns tempered probabilities over the last axis.

    `p_i = exp_t(a_i - lambda)`, with `lambda` such that they add up to 1; the softmax
    at `t = 1`. Predict with this, at the loss's `t2`. The most probable class is that
    of the largest activation at any `t`.

    Args:
        activations: tensor, `[..., classes]`; computed in float32, or in float64 where
            it is that.
        t: float >= 0, the temperature: for `t > 1` the tails are heavy, for `t < 1`
            probabilities can be 0. Or a variable that is not trainable, or a scalar
            tensor; no gradient flows to it.

    Returns:
        A tensor of the shape of `activations`, float32 or float64.

    Raises:
        ValueError: `t` is negative, a trainable variable, or so large that
            `classes^(t - 1)` is above 1e30.

    Example:

    >>> import numpy as np
    >>> p = tempered_softmax(np.array([[1.0, 0.0, -1.0]]), 2.0)
    >>> np.round(p, 4).tolist()
    [[0.4516, 0.3111, 0.2373]]

    Reference:

    - Amid, Warmuth, Anil and Koren, 2019, "Robust bi-tempered logistic loss based on
      Bregman divergences", [arXiv:1906.03361](https://arxiv.org/abs/1906.03361)
    """
    activations = _floating(activations)
    t = _temperature("t", t, math.inf, "a number >= 0")
    t = _scalar(t, activations.dtype)

    @ops.custom_gradient
    def softmax(activations):
        powers = _Powers(activations, t)

        def gradient(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            pulled = powers.escort * upstream
            share = powers.escort / ops.sum(powers.escort, axis=-1, keepdims=True)
            return pulled - share * ops.sum(pulled, axis=-1, keepdims=True)

        return powers.p, gradient

    return softmax(activations)


@keras.saving.register_keras_serializable(package="zoo")
class BiTemperedLogistic(ClassificationLoss):
    """Logistic loss with a bounded logarithm and a heavy-tailed softmax.

    With `p = tempered_softmax(scores, t2)`,

    `L = sum_i y_i (log_t1 y_i - log_t1 p_i) - (y_i^(2 - t1) - p_i^(2 - t1)) / (2 - t1)`

    For `t1 < 1` it is at most `1 / (1 - t1)`, so that samples far on the wrong side do
    not rule the training; for `t2 > 1` samples near the boundary, which a wrong label
    makes of most, pull less. `t1 = t2 = 1` is the cross-entropy. Predict with
    `tempered_softmax` at `t2`.

    A class with `p_i = 0`, which `t2 < 1` can give, has no gradient: a true class there
    does not recover, and where `t1 >= 1` its loss is infinite.

    Rows of probabilities do as labels. Of such a row the divergence is 0 where `p = y`:
    at `t1 = t2 = 1` it is the cross-entropy less the entropy of the row.

    The probabilities are found by Newton's method, which converges quadratically for
    any `t2`. The gradient of the scores is in closed form; second derivatives go
    through the steps: they are right on TensorFlow, and on JAX forward over reverse
    (`jax.hessian`); reverse over reverse raises there, and under TensorFlow's XLA.
    Temperatures have no gradient: on TensorFlow it is `None`, JAX raises. Beside
    scores, nor have labels.

    A variable lets a callback change a temperature during training. A step that JAX
    has compiled holds it as a constant: there, call
    `model.make_train_function(force=True)` after a change.

    Args:
        t1: float, `0 <= t1 < 2`, the temperature of the logarithm; or a
            `keras.Variable` that is not trainable, or a scalar tensor, within the same
            bounds. Defaults to 0.8.
        t2: float >= 0, that of the softmax, with `classes^(t2 - 1)` at most 1e30; or
            such a variable or tensor. Defaults to 1.2.
        label_smoothing: float from 0 to 1: labels `y` become `(1 - s) y + s / classes`,
            as in Keras's losses. Defaults to 0.0.
        ignore_class: integer label of samples that do not count. Defaults to `None`.
        reduction: as in `keras.losses.Loss`.
        name: name of the loss. Defaults to `"bi_tempered_logistic"`.
        dtype: `"float32"` or `"float64"`, whatever the policy. Defaults to `"float32"`.

    Raises:
        ValueError: an argument is not as above, or labels of one class are smoothed.

    Example:

    >>> loss = BiTemperedLogistic(t1=0.5, t2=2.0)
    >>> round(float(loss([1], [[10.0, 0.0]])), 4)
    1.3297
    >>> round(float(loss([1], [[1e6, 0.0]])), 4)  # at most 1 / (1 - t1) = 2
    1.998

    Reference:

    - Amid, Warmuth, Anil and Koren, 2019, "Robust bi-tempered logistic loss based on
      Bregman divergences", [arXiv:1906.03361](https://arxiv.org/abs/1906.03361)
    """

    soft_targets = True

    def __init__(
        self,
        t1: float | Array = 0.8,
        t2: float | Array = 1.2,
        label_smoothing: float = 0.0,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "bi_tempered_logistic",
        dtype: str | None = None,
    ) -> None:
        super().__init__(ignore_class, reduction, name, dtype)
        below_two = math.nextafter(2, 0)
        self.t1 = _temperature("t1", t1, below_two, "a number >= 0 and < 2")
        self.t2 = _temperature("t2", t2, math.inf, "a number >= 0")
        self.label_smoothing = check_number("label_smoothing", label_smoothing, 0, 1)

    def per_label(self, labels, scores):
        if self.label_smoothing:
            return super().per_label(labels, scores)
        return self._loss(scores, labels=labels)

    def per_sample(self, targets, scores):
        if self.label_smoothing:
            classes = scores.shape[-1]
            if classes == 1:
                raise ValueError(
                    "`label_smoothing` must be 0 for one class. "
                    f"Received: label_smoothing={self.label_smoothing}"
                )
            share = self.label_smoothing / classes
            targets = targets * (1 - self.label_smoothing) + share
        return self._loss(scores, targets=targets)

    def _loss(self, scores, labels=None, targets=None):
        t1, t2 = (_scalar(t, self.dtype) for t in (self.t1, self.t2))

        @ops.custom_gradient
        def loss(scores):
            powers = _Powers(scores, t2, t1)
            total = ops.sum(powers.p_to_2_minus_t1, axis=-1)
            if targets is None:
                column = ops.expand_dims(labels, -1)
                own = powers.log_t1(lambda part: ops.take_along_axis(part, column, -1))
                losses = -own[..., 0] - (1 - total) / (2 - t1)
            else:
                log_y = _log(targets)
                terms = _tempered(log_y, 1 - t1) - powers.log_t1()
                terms = ops.where(targets > 0, targets * terms, 0.0)
                y_to_2_minus_t1 = ops.sum(ops.exp((2 - t1) * log_y), axis=-1)
                losses = ops.sum(terms, axis=-1) - (y_to_2_minus_t1 - total) / (2 - t1)

            def gradient(*args, upstream=None):
                if upstream is None:
                    (upstream,) = args
                y = targets
                if y is None:
                    y = ops.one_hot(labels, scores.shape[-1], dtype=scores.dtype)
                pull = (powers.p - y) * powers.p_to_t2_minus_t1
                ratio = ops.sum(pull, axis=-1, keepdims=True) / ops.sum(
                    powers.escort, axis=-1, keepdims=True
                )
                return ops.expand_dims(upstream, -1) * (pull - powers.escort * ratio)

            return losses, gradient

        return loss(scores)

    def get_config(self):
        return {
            **super().get_config(),
            "t1": float(ops.convert_to_numpy(self.t1)),
            "t2": float(ops.convert_to_numpy(self.t2)),
            "label_smoothing": self.label_smoothing,
        }


class _Powers:
    """The tempered softmax `p` of activations, and powers of it.

    With `s = t - 1` and `u_i = 1 + s (lambda - a_i)` it is `p_i = u_i^(-1 / s)`. The
    sum of all, to the power `-s`, is concave in `lambda` for `t > 1` and convex for
    `t < 1`, so that Newton's steps never overshoot. They begin at the larger of 0 and
    what equal activations of the same mean would need: `lambda` is above both, by
    Jensen's inequality.

    `u <- u + S expm1(s ln S) / sum_i (p_i / u_i)`,  `S = sum_i p_i`

    Near `t = 1`, `u - 1` is what is kept, since rounding of `u` would be multiplied by
    `1 / s`; elsewhere it is `u`, since `u - 1` would lose what is left above -1.
    """

    def __init__(self, activations, t2, t1=None):
        top = ops.max(activations, axis=-1, keepdims=True)
        # Infinities that are the maximum differ by nothing.
        a = ops.where(activations == top, 0.0, activations - top)
        self.t1, self.s = t1, t2 - 1
        self.products = None
        if isinstance(t2, float):
            if t2 == 1:
                self.log_p = a - ops.logsumexp(a, axis=-1, keepdims=True)
                self.reciprocal = ops.ones_like(a)
                self._finish()
                return
            classes = a.shape[-1]
            if self.s * math.log(classes) > math.log(LARGEST):
                raise ValueError(
                    f"The temperature must have {classes}^(t - 1) <= {LARGEST:g} for "
                    f"{classes} classes. Received: t={t2}"
                )
            self.near = abs(self.s) < 0.1 - 1e-9
            inverse = 1 / self.s
            if not self.near and 1 <= inverse <= MOST_PRODUCTS:
                self.products = _integer(inverse)
        else:
            tiny = ops.where(self.s < 0, -NEAREST, NEAREST)
            self.s = ops.where(ops.abs(self.s) < NEAREST, tiny, self.s)
            self.near = ops.abs(self.s) < 0.1
        b = self.s * a
        center, classes = ops.mean(b, axis=-1, keepdims=True), a.shape[-1]
        lowest = self._choose(0.0, 1.0)
        start = classes**self.s + (lowest - 1) + center
        start = ops.where(
            self.s > 0, ops.maximum(start, lowest), ops.minimum(start, lowest)
        )
        tolerance = TOLERANCE[keras.backend.standardize_dtype(a.dtype)]

        def step(z, _):
            p, reciprocal, _ = self._probabilities(z - b)
            # Sums of differences from the probability at the mean round less.
            middle, *_ = self._probabilities(z - center)
            excess = ops.sum(p - middle, axis=-1, keepdims=True)
            excess = excess + (classes * middle - 1)
            slope = ops.sum(p * reciprocal, axis=-1, keepdims=True)
            change = (1 + excess) * ops.expm1(self.s * ops.log1p(excess)) / slope
            return z + change, ops.abs(excess)

        z, _ = ops.while_loop(
            # NaN is not above: a spoilt sample does not keep the others waiting.
            lambda _, error: ops.any(error > tolerance),
            step,
            (start, ops.ones_like(top)),
            maximum_iterations=MOST_STEPS,
        )
        self.p, self.reciprocal, self.log_p = self._probabilities(z - b)
        self._finish()

    def _finish(self):
        if self.log_p is not None:
            self.p = ops.exp(self.log_p)
        self.escort = self.p * self.reciprocal
        if self.t1 is None:
            return
        m = None
        if self.products and isinstance(self.t1, float):
            m = _integer((self.s + 1 - self.t1) / self.s)
        if m is None:
            if self.log_p is None:
                self.log_p = ops.log(self.reciprocal) / self.s
            # Not p > 0: a probability that underflows has a gradient all the same.
            live = self.log_p > -math.inf
            log_power = (self.s + 1 - self.t1) * self.log_p
            highest = HIGHEST[keras.backend.standardize_dtype(self.log_p.dtype)]
            log_power = ops.where(live, ops.minimum(log_power, highest), 0.0)
            self.p_to_t2_minus_t1 = ops.where(live, ops.exp(log_power), 0.0)
            self.p_to_2_minus_t1 = ops.exp((2 - self.t1) * self.log_p)
        else:
            self.p_to_t2_minus_t1 = _product(self.reciprocal, m)
            n = m + self.products - 1
            self.p_to_2_minus_t1 = _product(self.reciprocal, n)

    def log_t1(self, pick=lambda part: part):
        """`log_t1(p)` of what `pick` picks."""
        if self.log_p is None:
            return _tempered(ops.log(pick(self.reciprocal)) / self.s, 1 - self.t1)
        return _tempered(pick(self.log_p), 1 - self.t1)

    def _probabilities(self, x):
        """`p`, `1 / u` and `log p`, or `None` where products give `p`."""
        if self.products:
            reciprocal = 1 / x
            return _product(reciprocal, self.products), reciprocal, None
        x = ops.maximum(x, self._choose(-1.0, 0.0))
        u = self._choose(1 + x, x)
        log_u = self._choose(ops.log1p(x), ops.log(u))
        reciprocal = ops.where(u > 0, 1 / u, 0.0)
        log_p = -log_u / self.s
        return ops.exp(log_p), reciprocal, log_p

    def _choose(self, near, far):
        if isinstance(self.near, bool):
            return near if self.near else far
        return ops.where(self.near, near, far)


def _tempered(log_x, power):
    """`(x^power - 1) / power` from `log x`: `log x` at power 0."""
    if isinstance(power, (int, float)):
        return ops.expm1(power * log_x) / power if power else log_x
    safe = ops.where(ops.abs(power) < NEAREST, 1.0, power)
    return ops.where(ops.abs(power) < NEAREST, log_x, ops.expm1(safe * log_x) / safe)


def _floating(x):
    x = ops.convert_to_tensor(x)
    # Keras's rules for dtypes know no float64 on JAX.
    if x.dtype == "float64":
        return x
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


def _scalar(t, dtype):
    if isinstance(t, float):
        return t
    t = ops.cast(t, dtype)
    # JAX refuses to differentiate by it; TensorFlow would, wrongly where t is near 1.
    return t if keras.backend.backend() == "jax" else ops.stop_gradient(t)


def _log(x):
    return ops.where(x > 0, ops.log(ops.where(x > 0, x, 1.0)), -math.inf)


def _product(x, n):
    """`x` to the power of an integer, by few products: backends take a logarithm."""
    if n == 1:
        return x
    half = _product(x, n // 2)
    return half * half * x if n % 2 else half * half


def _integer(x):
    """`x` as an integer that it is but for rounding, else `None`."""
    return round(x) if x > 0.5 and abs(x - round(x)) < 1e-9 else None


def _temperature(name, value, high, allowed):
    """`value` as a float, or itself where it is a variable or a scalar tensor."""
    variable = isinstance(value, keras.Variable)
    if variable and value.trainable:
        raise ValueError(
            f"`{name}` must be a number or a variable that is not trainable, for "
            f"it has no gradient. Received: {name}={value}"
        )
    if not variable and not (ops.is_tensor(value) and len(value.shape) == 0):
        return check_number(name, value, 0, high, allowed)
    tensor = ops.convert_to_tensor(value)
    if _backend.is_concrete(tensor):
        check_number(name, float(ops.convert_to_numpy(tensor)), 0, high, allowed)
    return value
