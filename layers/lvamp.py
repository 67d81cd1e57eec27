"""One layer of learned vector approximate message passing."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.checks import check_choice
from zoo.layers.linear_step import Factored, LinearStep
from zoo.layers.shrinkage.base import POSITIVE, Shrinkage
from zoo.layers.unrolled_block import (
    UnrolledBlock,
    check_damping,
    check_shrinkage,
    serialize,
    times,
)

PARTS = ("noise", "spectrum", "project", "right")
# Shares of the first variance that no other is let below, or above the inverse of.
FLOORS = {"float32": 1e-10, "float64": 1e-20}
# Measurements of less energy tell of no variance, and any will do.
SMALLEST_VARIANCE = 1e-24


@keras.saving.register_keras_serializable(package="zoo")
class SvdStep(LinearStep):
    """The best linear estimate, in the singular vectors of the matrix.

    Args:
        matrix: `A`, `[M, N]`.
        noise_variance: float above 0, of one measurement.
        learn: names of the weights that are trained, as for `LvampBlock`.
        **kwargs: `step`, `name`, `dtype`, `trainable`.
    """

    def __init__(self, matrix, noise_variance=1.0, learn=("noise",), **kwargs):
        factored = Factored(matrix)
        super().__init__(factored, **kwargs)
        self.learn = tuple(learn)
        noise = math.log(POSITIVE.check("noise_variance", noise_variance))
        self.log_noise = self.add_array("log_noise", noise, "noise" in learn)
        spectrum = 2 * np.log(factored.values)
        self.log_spectrum = self.add_array("spectrum", spectrum, "spectrum" in learn)
        project = factored.left.conj().T / factored.values[:, None]
        self.project = self.add_matrix("project", project, "project" in learn)
        right = factored.right.conj().T
        self.right = self.add_matrix("right", right, "right" in learn)
        self.matrix_energy = self.add_energy(factored)

    @property
    def noise_variance(self):
        """The variance of the noise, a scalar tensor in float32 or float64."""
        return self._exp(self.log_noise)

    def estimate(self, y, r, variance):
        """Returns the estimate without what it owes to `r`, and its variance."""
        modes, n = self.shape
        modes_y = self.apply(self.project, y)
        right = self.value(self.right)
        if r is not None:
            modes_y = modes_y - self.product(r, ops.conj(right))
        ratio = self.noise_variance / variance
        total = self._exp(self.log_spectrum) + ratio
        kept = self._exp(self.log_spectrum) / total
        share = ops.mean(kept, axis=-1, keepdims=True) * (modes / n)
        # `variance * (1 / share - 1)` without the difference of numbers that are near.
        lost = ops.mean(ratio / total, axis=-1, keepdims=True) * (modes / n)
        lost = lost + (n - modes) / n
        p = self.product(times(kept / share, modes_y), ops.transpose(right))
        return p if r is None else r + p, variance * lost / share

    def _exp(self, weight):
        return ops.exp(ops.clip(ops.cast(weight, self.statistics_dtype), -60.0, 60.0))

    def get_config(self):
        return {**super().get_config(), "learn": self.learn}


@keras.saving.register_keras_serializable(package="zoo")
class DenseStep(LinearStep):
    """A linear estimate by two matrices, at first the best one at one variance.

    Args:
        matrix: `A`, `[M, N]`.
        noise_variance: float above 0, of one measurement.
        prior_variance: float above 0, of the error of `r`.
        **kwargs: `step`, `name`, `dtype`, `trainable`.
    """

    def __init__(self, matrix, noise_variance=1.0, prior_variance=0.1, **kwargs):
        factored = Factored(matrix)
        super().__init__(factored, **kwargs)
        noise = POSITIVE.check("noise_variance", noise_variance)
        noise /= POSITIVE.check("prior_variance", prior_variance)
        back = factored.inverse(factored.values / (factored.values**2 + noise))
        carry = np.eye(self.shape[1]) - back @ factored.matrix
        self.back_matrix = self.add_matrix("back", back)
        self.carry_matrix = self.add_matrix("carry", carry)
        self.matrix_energy = self.add_energy(factored)

    def estimate(self, y, r, variance):
        """Returns the estimate without what it owes to `r`, and its variance."""
        estimate = self.apply(self.back_matrix, y)
        carry = self.value(self.carry_matrix)
        own = ops.cast(ops.trace(ops.real(carry)), self.statistics_dtype)
        own = keep_inside(own / self.shape[1], self.shape[1])
        if r is not None:
            estimate = estimate + self.product(r, ops.transpose(carry)) - times(own, r)
        return times(1 / (1 - own), estimate), variance * own / (1 - own)


@keras.saving.register_keras_serializable(package="zoo")
class LvampBlock(UnrolledBlock):
    """One layer of learned vector approximate message passing (VAMP).

    A linear estimate of signals that are around `r` with variance `g`, then a
    shrinkage `f`, each told no more than it does not know:

    `p, q = estimate(y, r, g)`, `x, a = f(p, q)`,
    `r+ = (x - a p) / (1 - a)`, `g+ = q a / (1 - a)`

    from `r = 0` and `g = |y|^2 / |A|_F^2`. The best linear estimate, in the singular
    vectors of `A = U diag(s) V^H`, is

    `d = s^2 / (s^2 + noise_variance / g)`, `z = N / sum d`,
    `p = r + z V (d (diag(1 / s) U^H y - V^H r))`, `q = g (z - 1)`

    In this form, `"svd"`, the variance of the noise is trained, and a stack of new
    blocks is VAMP. Unlike AMP it takes matrices of any singular values, if their
    singular vectors are as good as random. In the form `"dense"`, `H` and `G` are
    trained,

    `p = (H y + G r - h r) / (1 - h)`, `q = g h / (1 - h)`,  `h = trace(G) / N`

    and are at first those of the best estimate at `g = prior_variance`.

    `a` and `h` are kept within `[1 / (2 N), 1 - 1 / (2 N)]`, and `g` within 1e-10 and
    1e10 (in float64, 1e-20 and 1e20) times the first. It costs `2 M N + M^2`
    multiplications a signal, `N^2 + M N` if dense.

    Args:
        matrix: `A`, array `[M, N]` with `M < N` and of rank `M`, real or complex; or
            `None` with `tied_to`.
        shrinkage: a `zoo.layers.shrinkage.Shrinkage`, `f`; blocks that are given the
            same one share its parameters. Defaults to a new `SoftShrinkage()`.
        noise_variance: float above 0, first value, of one measurement. Defaults to
            1e-3.
        form: `"svd"` or `"dense"`. Defaults to `"svd"`.
        learn: what is trained in the form `"svd"`, of `"noise"`; `"spectrum"`, the
            `s^2` in `d`; `"project"`, `diag(1 / s) U^H`; and `"right"`, `V`. Defaults
            to `("noise",)`.
        prior_variance: float above 0, the `g` of the dense form's first values.
            Defaults to 0.1.
        damping: float above 0, up to 1, the share of a step of `r` and `g` that is
            made, in all layers but the first. Defaults to 1.
        tied_to: a `LvampBlock` of the same form to share all but the shrinkage, or
            `None`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        y: `[..., M]`, measurements.
        state: the second part of what the layer before returned, or `None` in the
            first.

    Returns:
        The estimate `x`, `[..., N]`, and in float32 at least, the pair of `r`,
        `[..., N]`, and `g`, `[..., 1]`.

    Raises:
        ValueError: an argument is not as above, or `y` is of another size.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.layers import BernoulliGaussianShrinkage
    >>> matrix = np.random.default_rng(0).normal(0.0, 1.0, (250, 500))
    >>> y, state, first = keras.Input((250,)), None, None
    >>> for _ in range(8):
    ...     block = LvampBlock(matrix, BernoulliGaussianShrinkage(), tied_to=first)
    ...     first = first or block
    ...     x, state = block(y, state)
    >>> model = keras.Model(y, x)
    >>> truth = np.zeros((1, 500))
    >>> truth[:, ::20] = 1.0
    >>> error = model.predict(truth @ matrix.T, verbose=0) - truth
    >>> bool(np.abs(error).max() < 0.02)
    True

    Reference:

    - Rangan, Schniter and Fletcher, 2019, "Vector Approximate Message Passing",
      [arXiv:1610.03082](https://arxiv.org/abs/1610.03082)
    - Borgerding, Schniter and Rangan, 2017, "AMP-Inspired Deep Networks for Sparse
      Linear Inverse Problems", [arXiv:1612.01183](https://arxiv.org/abs/1612.01183)
    """

    def __init__(
        self,
        matrix: Array | None,
        shrinkage: Shrinkage | None = None,
        noise_variance: float = 1e-3,
        form: Literal["svd", "dense"] = "svd",
        *,
        learn: Sequence[str] = ("noise",),
        prior_variance: float = 0.1,
        damping: float = 1.0,
        tied_to: "LvampBlock | None" = None,
        **kwargs: Any,
    ) -> None:
        check_choice("form", form, ("svd", "dense"))
        if not isinstance(learn, (list, tuple)) or not set(learn) <= set(PARTS):
            raise ValueError(
                f"`learn` must be a tuple of some of {PARTS}. Received: learn={learn!r}"
            )
        POSITIVE.check("prior_variance", prior_variance)
        kind: type[LinearStep]
        settings: dict[str, Any] = {"noise_variance": noise_variance}
        if form == "svd":
            kind, settings["learn"] = SvdStep, learn
        else:
            kind, settings["prior_variance"] = DenseStep, prior_variance
        super().__init__(matrix, tied_to, kind, settings, **kwargs)
        self.shrinkage = check_shrinkage(shrinkage, self)
        self.form = form
        self.damping = check_damping(damping)

    def build(self, y_shape):
        self.build_shrinkage()

    def call(self, y, state=None):
        y = self.to_signal(y)
        n = self.linear.shape[1]
        first = self.energy(y) / self.to_statistic(self.linear.matrix_energy)
        first = ops.where(first > SMALLEST_VARIANCE, first, 1.0)
        r, g = None, first
        if state is not None:
            r, g = self.to_signal(state[0]), self.to_statistic(state[1])
        p, q = self.linear.estimate(y, r, g)
        x, a = self.shrinkage(p, _clip(q, first))
        x, a = self.to_signal(x), keep_inside(self.to_statistic(a), n)
        new_r = times(1 / (1 - a), x - times(a, p))
        new_g = _clip(q, first) * a / (1 - a)
        if state is not None:
            new_r = r + self.damping * (new_r - r)
            new_g = g + self.damping * (new_g - g)
        return self.to_output(x), (new_r, _clip(new_g, first))

    def compute_output_shape(self, y_shape):
        x = (*y_shape[:-1], self.linear.shape[1])
        return x, (x, (*y_shape[:-1], 1))

    def compute_output_spec(self, y, state=None):
        x, (r, g) = self.compute_output_shape(y.shape)
        return self.output_spec(x), (self.signal_spec(r), self.statistic_spec(g))

    def get_config(self):
        return {
            **super().get_config(),
            "shrinkage": serialize(self.shrinkage),
            "form": self.form,
            "damping": self.damping,
        }


def keep_inside(slope, n):
    """Keeps the mean of `n` slopes where what is divided by it and the rest is not."""
    return ops.clip(slope, 0.5 / n, 1 - 0.5 / n)


def _clip(variance, first):
    floor = FLOORS[keras.backend.standardize_dtype(first.dtype)]
    return ops.clip(variance, floor * first, first / floor)
