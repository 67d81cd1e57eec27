"""One layer of learned approximate message passing."""

from typing import Any, Literal

import keras

from zoo._types import Array
from zoo.layers.linear_step import GradientStep
from zoo.layers.shrinkage.base import Shrinkage
from zoo.layers.unrolled_block import (
    UnrolledBlock,
    check_damping,
    check_shrinkage,
    serialize,
    times,
)

STARTS = ("amp", "ridge")


@keras.saving.register_keras_serializable(package="zoo")
class LampBlock(UnrolledBlock):
    """One layer of learned approximate message passing (AMP).

    `v+ = y - A x + (N / M) slope v`, `x+, slope+ = f(x + B v+, |v+|^2 / M)`

    `f` is a shrinkage function, `slope` its mean slope in the layer before, and the
    variance that `f` is told is each signal's own. The term with the slope, Onsager's,
    keeps the errors of `x + B v+` Gaussian for a large `A` of independent entries of
    variance `1 / M`. `B` is trained, `A` is not. A first `B` of `A^H` makes a stack of
    new blocks AMP; with other matrices AMP may diverge.

    It costs `2 M N` multiplications a signal.

    Args:
        matrix: `A`, array `[M, N]` with `M < N` and of rank `M`, real or complex; or
            `None` with `tied_to`.
        shrinkage: a `zoo.layers.shrinkage.Shrinkage`, `f`; blocks that are given the
            same one share its parameters. Defaults to a new `SoftShrinkage()`.
        start: the first `B`: `"amp"`, `A^H`; `"ridge"`, `c A^H (A A^H + p I)^-1` with
            `p` 0.03 times the mean squared singular value of `A` and `c` such that `B
            A` has the trace `N`; or an array `[N, M]`. The ridge is far ahead before
            training: after 6 layers at `N = 500`, `M = 250` and 40 dB by 6.6 dB, and
            where the largest singular value is 15 times the smallest AMP diverges and
            it does not. Defaults to `"amp"`.
        damping: float above 0, up to 1, the share of a step of `v` and `x` that is
            made, in all layers but the first. Defaults to 1.
        tied_to: a `LampBlock` to share `A` and `B`, or `None`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        y: `[..., M]`, measurements.
        state: what the layer before returned, or `None` in the first.

    Returns:
        Triple of the estimate `x`, `[..., N]`, and in float32 at least, the corrected
        residual `v`, `[..., M]`, and the mean slope, `[..., 1]`.

    Raises:
        ValueError: an argument is not as above, or `y` is of another size.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.layers import BernoulliGaussianShrinkage
    >>> matrix = np.random.default_rng(0).normal(0.0, 250**-0.5, (250, 500))
    >>> y, state, first = keras.Input((250,)), None, None
    >>> for _ in range(10):
    ...     block = LampBlock(matrix, BernoulliGaussianShrinkage(0.1), tied_to=first)
    ...     first = first or block
    ...     state = block(y, state)
    >>> model = keras.Model(y, state[0])
    >>> truth = np.zeros((1, 500))
    >>> truth[:, ::20] = 1.0
    >>> error = model.predict(truth @ matrix.T, verbose=0) - truth
    >>> bool(np.abs(error).max() < 0.02)
    True

    Reference:

    - Donoho, Maleki and Montanari, 2009, "Message passing algorithms for compressed
      sensing", [arXiv:0907.3574](https://arxiv.org/abs/0907.3574)
    - Borgerding, Schniter and Rangan, 2017, "AMP-Inspired Deep Networks for Sparse
      Linear Inverse Problems", [arXiv:1612.01183](https://arxiv.org/abs/1612.01183)
    """

    def __init__(
        self,
        matrix: Array | None,
        shrinkage: Shrinkage | None = None,
        start: Literal["amp", "ridge"] | Array = "amp",
        *,
        damping: float = 1.0,
        tied_to: "LampBlock | None" = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(start, str) and start not in STARTS:
            raise ValueError(
                f"`start` must be one of {STARTS} or an array. "
                f"Received: start={start!r}"
            )
        super().__init__(matrix, tied_to, GradientStep, {"back": start}, **kwargs)
        self.shrinkage = check_shrinkage(shrinkage, self)
        self.damping = check_damping(damping)

    def build(self, y_shape):
        self.build_shrinkage()

    def call(self, y, state=None):
        y = self.to_signal(y)
        m, n = self.linear.shape
        if state is None:
            v, r = y, self.linear.back(y)
        else:
            x, last = map(self.to_signal, state[:2])
            onsager = times(n / m * self.to_statistic(state[2]), last)
            v = y - self.linear.forward(x) + onsager
            v = last + self.damping * (v - last)
            r = x + self.linear.back(v)
        estimate, slope = self.shrinkage(r, self.energy(v) / m)
        estimate = self.to_signal(estimate)
        if state is not None:
            estimate = x + self.damping * (estimate - x)
        return self.to_output(estimate), v, self.to_statistic(slope)

    def compute_output_shape(self, y_shape):
        x = (*y_shape[:-1], self.linear.shape[1])
        return x, tuple(y_shape), (*y_shape[:-1], 1)

    def compute_output_spec(self, y, state=None):
        x, v, slope = self.compute_output_shape(y.shape)
        return self.output_spec(x), self.signal_spec(v), self.statistic_spec(slope)

    def get_config(self):
        return {
            **super().get_config(),
            "shrinkage": serialize(self.shrinkage),
            "damping": self.damping,
        }
