"""Mirror descent on the probability simplex."""

from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo import _backend
from zoo._types import Array
from zoo.optimizers.checks import check_choice, check_not_negative, check_rate
from zoo.optimizers.optimistic import dense, shares

TOLERANCE = 1e-3
# The spacing of floats at 1, and the least of them that is normal.
FLOATS = {
    "bfloat16": (2.0**-7, 2.0**-126),
    "float16": (2.0**-10, 2.0**-14),
    "float32": (2.0**-23, 2.0**-126),
    "float64": (2.0**-52, 2.0**-1022),
}


@keras.saving.register_keras_serializable(package="zoo")
class MirrorDescent(keras.optimizers.Optimizer):
    """Mirror descent; with the entropic map, multiplicative weights.

    `x_{t+1} = x_t * exp(-learning_rate * g_t) / Z`, `Z` such that the last axis adds
    up to 1

    Every variable must hold probabilities along its last axis, and does so ever after,
    to rounding. Give it an initializer that does: a saved model is built from that
    before its values are loaded.

    The logarithm of `x` is kept beside it, so that a probability which has sunk below
    the smallest float can rise again; one that starts at zero stays there. Where values
    have been assigned to the variable from outside, the next step starts from them.

    In zero-sum games the average of the iterates approaches an equilibrium, and the
    last iterate does not; see `OptimisticMirrorDescent`. An average over about
    `1 / (1 - ema_momentum)` last steps is kept by `use_ema=True`.

    Args:
        learning_rate: float >= 0, a schedule or a callable. Defaults to 0.01.
        geometry: `"entropic"`, as above, or `"euclidean"`: plain gradient descent,
            `x - learning_rate * g`, of variables of any kind. Defaults to
            `"entropic"`.
        **kwargs: arguments of `keras.optimizers.Optimizer`: `clipnorm`, `use_ema`, ...

    Raises:
        ValueError: a negative or infinite `learning_rate`, an unknown `geometry`;
            `weight_decay`, which leaves the simplex, with the entropic one; on
            building, outside of a graph, a variable that is not on the simplex.

    Example:

    >>> import keras, numpy as np
    >>> x = keras.Variable([0.5, 0.25, 0.25])
    >>> optimizer = MirrorDescent(1.0)
    >>> optimizer.apply([np.log([2.0, 1.0, 1.0])], [x])
    >>> print(x.numpy().round(3))
    [0.333 0.333 0.333]

    Reference:

    - Beck and Teboulle, 2003, "Mirror descent and nonlinear projected subgradient
      methods for convex optimization", Operations Research Letters 31(3)
    """

    def __init__(
        self,
        learning_rate: float | Callable[..., Array] = 0.01,
        geometry: Literal["entropic", "euclidean"] = "entropic",
        **kwargs: Any,
    ) -> None:
        check_rate(learning_rate)
        check_choice("geometry", geometry, ("entropic", "euclidean"))
        if geometry == "entropic" and kwargs.get("weight_decay"):
            raise ValueError(
                "`weight_decay` must be None with the entropic geometry. "
                f"Received: weight_decay={kwargs['weight_decay']}"
            )
        super().__init__(learning_rate, **kwargs)
        self.geometry = geometry
        self.optimism = 0.0

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        if self.optimism:
            self._previous = self.add_optimizer_variables(variables, "previous")
        if self.geometry == "entropic":
            self.duals = [self._add_dual(variable) for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        gradient = dense(gradient, variable)
        rate = ops.cast(learning_rate, variable.dtype)
        index = self._get_variable_index(variable)
        terms = [(rate, gradient)]
        if self.optimism:
            ahead, behind = shares(self.optimism, self.iterations, rate.dtype)
            terms = [(ahead * rate, gradient), (-behind * rate, self._previous[index])]
        if self.geometry == "euclidean":
            _backend.subtract_products(self, variable, *terms)
        else:
            dual = followed(self.duals[index], variable)
            dual -= sum(scale * x for scale, x in terms)
            dual = below_largest(dual)
            self.assign(self.duals[index], dual)
            self.assign(variable, probabilities(dual))
        if self.optimism:
            self.assign(self._previous[index], gradient)

    def _add_dual(self, variable):
        def logarithm(shape, dtype):
            dual = ops.log(variable)
            if _backend.is_concrete(dual):
                _check_simplex(ops.convert_to_numpy(variable), variable.path)
            return below_largest(dual)

        return self.add_variable_from_reference(variable, "dual", logarithm)

    def get_config(self):
        return {**super().get_config(), "geometry": self.geometry}


@keras.saving.register_keras_serializable(package="zoo")
class OptimisticMirrorDescent(MirrorDescent):
    """Mirror descent that looks one step ahead, whose last iterate converges in games.

    `x_{t+1} = x_t * exp(-learning_rate * ((1 + optimism) * g_t - optimism * g_{t-1}))
    / Z`

    The first step is a plain one, `g_0 = g_1`. For the rest, see `MirrorDescent`.

    Args:
        learning_rate: float >= 0, a schedule or a callable. Defaults to 0.01.
        geometry: `"entropic"`, or `"euclidean"`: `OptimisticSGD`. Defaults to
            `"entropic"`.
        optimism: float >= 0, how far to look ahead, in steps; 0 is `MirrorDescent`.
            Defaults to 1.0.
        **kwargs: arguments of `keras.optimizers.Optimizer`: `clipnorm`, `use_ema`, ...

    Raises:
        ValueError: a negative or infinite `optimism`, or as for `MirrorDescent`.

    Example:

    Matching pennies, both players moving at once:

    >>> import keras, numpy as np
    >>> from keras import ops
    >>> payoff = np.array([[1.0, -1.0], [-1.0, 1.0]], "float32")
    >>> for optimizer in (MirrorDescent(0.5), OptimisticMirrorDescent(0.5)):
    ...     x, y = keras.Variable([0.8, 0.2]), keras.Variable([0.4, 0.6])
    ...     for _ in range(60):
    ...         gradients = [ops.matmul(payoff, y), -ops.matmul(x, payoff)]
    ...         optimizer.apply(gradients, [x, y])
    ...     print(x.numpy().round(2))
    [0.94 0.06]
    [0.5 0.5]

    Reference:

    - Rakhlin and Sridharan, 2013, "Optimization, learning, and games with predictable
      sequences", [arXiv:1311.1869](https://arxiv.org/abs/1311.1869)
    """

    def __init__(
        self,
        learning_rate: float | Callable[..., Array] = 0.01,
        geometry: Literal["entropic", "euclidean"] = "entropic",
        *,
        optimism: float = 1.0,
        **kwargs: Any,
    ) -> None:
        optimism = check_not_negative("optimism", optimism)
        super().__init__(learning_rate, geometry, **kwargs)
        self.optimism = optimism

    def get_config(self):
        return {**super().get_config(), "optimism": self.optimism}


def below_largest(dual):
    """Logarithms up to a constant, of which the largest becomes 0."""
    return dual - ops.max(dual, axis=-1, keepdims=True)


def probabilities(dual):
    """What logarithms are those of, up to a constant and the largest near 0."""
    weights = ops.exp(dual)
    return weights / ops.sum(weights, axis=-1, keepdims=True)


def followed(dual, x):
    """The logarithms that were kept, or those of `x` where it has been assigned."""
    dual, x = ops.convert_to_tensor(dual), ops.convert_to_tensor(x)
    spacing, least = FLOATS[keras.backend.standardize_dtype(x.dtype)]
    # Beside the largest, as the sum of many rounds differently in different steps.
    weights = ops.exp(dual) * ops.max(x, axis=-1, keepdims=True)
    close = ops.abs(weights - x) <= 4 * spacing * x + least
    # What has sunk too low to be told from zero can rise again, a true zero cannot.
    lowest = ops.cast(ops.isfinite(dual), x.dtype) * least
    logarithm = ops.log(ops.maximum(x, lowest))
    return ops.where(ops.all(close, axis=-1, keepdims=True), dual, logarithm)


def _check_simplex(value, name):
    """Raises ValueError unless `value` holds probabilities along its last axis."""
    value = np.asarray(value, "float64")
    if value.ndim and np.all(value >= 0):
        sums = np.sum(value, axis=-1)
        if np.all(np.abs(sums - 1) <= TOLERANCE):
            return
    raise ValueError(
        f"variable {name} must hold probabilities, >= 0 and adding up to 1, along its "
        f"last axis. Received: minimum={np.min(value):g}, "
        f"sums={np.unique(np.sum(np.atleast_1d(value), axis=-1))[:3].tolist()}"
    )
