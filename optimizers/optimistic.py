"""Gradient descent, RMSprop and Adam that look one step ahead."""

from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import ops

from zoo import _backend
from zoo._types import Array
from zoo.optimizers.checks import (
    check_bool,
    check_choice,
    check_decay,
    check_momentum,
    check_not_negative,
    check_rate,
)


def shares(optimism, iterations, dtype):
    """The factors of the direction and of the last one: `1 + optimism` and `optimism`.

    At iteration 0 there is no last direction: it counts as equal to the first.
    """
    optimism = optimism * ops.cast(iterations > 0, dtype)
    return 1 + optimism, optimism


def optimistic(gradient, previous, optimism, iterations):
    """`(1 + optimism) * gradient - optimism * previous`."""
    ahead, behind = shares(optimism, iterations, gradient.dtype)
    return ahead * gradient - behind * previous


def dense(gradient, variable):
    """The gradient of all rows: in a sparse one, those left out look back too."""
    # Reshaping makes slices a tensor, and costs a tensor nothing.
    return ops.reshape(ops.cast(gradient, variable.dtype), tuple(variable.shape))


class _Optimistic:
    """What the optimistic optimizers share; stands before a Keras optimizer."""

    version: str | None = None

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        if self.optimism:
            kept = self._kept_directions()
            self._previous = kept or self.add_optimizer_variables(variables, "previous")

    def update_step(self, gradient, variable, learning_rate):
        if not self.optimism:
            super().update_step(gradient, variable, learning_rate)
            return
        gradient = dense(gradient, variable)
        index = self._get_variable_index(variable)
        previous = self._previous[index]
        if self.version == "gradient":
            ahead = optimistic(gradient, previous, self.optimism, self.iterations)
            super().update_step(ahead, variable, learning_rate)
            self.assign(previous, gradient)
            return
        rate = ops.cast(learning_rate, variable.dtype)
        direction, now, last = self._direction(gradient, index, rate)
        ahead, behind = shares(self.optimism, self.iterations, variable.dtype)
        _backend.subtract_products(
            self, variable, (ahead * now, direction), (-behind * last, previous)
        )
        self.assign(previous, direction)

    def _kept_directions(self):
        """Slots of Keras's that hold the last direction, if there are any."""
        return []

    def _direction(self, gradient, index, rate):
        """Updates Keras's slots.

        Returns the direction, its rate, and the rate of the last direction. Slots of
        `_kept_directions` are left alone.
        """
        raise NotImplementedError

    def get_config(self):
        own = {"optimism": self.optimism}
        if self.version is not None:
            own["version"] = self.version
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="zoo")
class OptimisticSGD(_Optimistic, keras.optimizers.SGD):
    """Gradient descent that converges in games where plain descent circles.

    `w <- w - learning_rate * ((1 + optimism) * g_t - optimism * g_{t-1})`

    The first step is a plain one, `g_0 = g_1`. With momentum, the direction is that of
    `keras.optimizers.SGD`, Nesterov's or not, in the place of `learning_rate * g`:
    the last one is then of the last learning rate, which Keras's slot contains.

    On a bilinear game `x A y` it converges for `learning_rate * |A| < 1 / sqrt(3)` with
    `optimism=1`, fastest near 1/2; plain simultaneous descent diverges at any rate.

    It keeps the last gradient, one slot a variable; with momentum other than Nesterov's
    none beyond Keras's. Gradients are clipped first; weight decay is no part of the
    direction. A variable that gets a gradient in some steps only is compared with its
    last one, or with zero: leave it out of the optimizer while it is frozen. Sparse
    gradients (of embeddings) are made dense, since rows without one look back too.

    Args:
        learning_rate: float >= 0, a schedule or a callable. Defaults to 0.01.
        momentum: float from 0 to 1. Defaults to 0.0.
        nesterov: bool. Defaults to `False`.
        optimism: float >= 0, how far to look ahead, in steps; 0 is
            `keras.optimizers.SGD` bit for bit. Defaults to 1.0.
        **kwargs: every other argument of `keras.optimizers.SGD`.

    Raises:
        ValueError: a negative or infinite `learning_rate` or `optimism`.

    Example:

    The game `x * y`, where descent of both players at once runs away:

    >>> import keras
    >>> for optimism in (0.0, 1.0):
    ...     x, y = keras.Variable(1.0), keras.Variable(2.0)
    ...     optimizer = OptimisticSGD(0.5, optimism=optimism)
    ...     for _ in range(53):
    ...         optimizer.apply([y + 0.0, -x], [x, y])
    ...     print(f"{(x**2 + y**2) ** 0.5:.0e}")
    8e+02
    9e-07

    Reference:

    - Daskalakis, Ilyas, Syrgkanis and Zeng, 2018, "Training GANs with Optimism",
      [arXiv:1711.00141](https://arxiv.org/abs/1711.00141)
    """

    def __init__(
        self,
        learning_rate: float | Callable[..., Array] = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        *,
        optimism: float = 1.0,
        **kwargs: Any,
    ) -> None:
        check_rate(learning_rate)
        optimism = check_not_negative("optimism", optimism)
        momentum = check_momentum(momentum)
        check_bool("nesterov", nesterov)
        super().__init__(learning_rate, momentum, nesterov, **kwargs)
        self.optimism = optimism

    def _kept_directions(self):
        return [] if self.nesterov else self.momentums

    def _direction(self, gradient, index, rate):
        if self.momentum == 0:
            return gradient, rate, rate
        scaled = gradient * rate
        velocity = self.momentums[index] * self.momentum - scaled
        if not self.nesterov:
            return velocity, -1.0, -1.0
        self.assign(self.momentums[index], velocity)
        return velocity * self.momentum - scaled, -1.0, -1.0


@keras.saving.register_keras_serializable(package="zoo")
class OptimisticRMSprop(_Optimistic, keras.optimizers.RMSprop):
    """RMSprop that looks one step ahead.

    `w <- w - learning_rate * ((1 + optimism) * u_t - optimism * u_{t-1})`,
    `u_t = g_t / sqrt(v_t + epsilon)`

    with `v_t` the running mean of squared gradients (less the square of the mean, if
    `centered`). The first step is a plain one, `u_0 = u_1`. With momentum, the
    direction is Keras's `momentum * m + learning_rate * u_t`: the last one is then of
    the last learning rate, which Keras's slot contains.

    It keeps the last direction, one slot a variable; with momentum none beyond Keras's.
    For clipping, weight decay, missing and sparse gradients, see `OptimisticSGD`.

    Args:
        learning_rate: float >= 0, a schedule or a callable. Defaults to 0.001.
        rho: float, decay of the running mean. Defaults to 0.9.
        momentum: float. Defaults to 0.0.
        epsilon: float, inside the root, as in Keras. Defaults to 1e-7.
        centered: bool, whether to divide by the standard deviation. Defaults to
            `False`.
        optimism: float >= 0, how far to look ahead, in steps; 0 is
            `keras.optimizers.RMSprop` bit for bit. Defaults to 1.0.
        version: `"update"`, as above, or `"gradient"`: RMSprop of the gradients
            `(1 + optimism) * g_t - optimism * g_{t-1}`, whose squares are then larger.
            Defaults to `"update"`.
        **kwargs: every other argument of `keras.optimizers.RMSprop`.

    Raises:
        ValueError: a negative or infinite `learning_rate` or `optimism`, or an unknown
            `version`.

    Example:

    >>> import keras, numpy as np
    >>> w, optimizer = keras.Variable(0.0), OptimisticRMSprop(0.5, rho=0.0)
    >>> for gradient in (1.0, -1.0, -1.0):
    ...     optimizer.apply([np.float32(gradient)], [w])
    ...     print(f"{float(w):.2f}")
    -0.50
    1.00
    1.50

    Reference:

    - Daskalakis, Ilyas, Syrgkanis and Zeng, 2018, "Training GANs with Optimism",
      [arXiv:1711.00141](https://arxiv.org/abs/1711.00141)
    """

    def __init__(
        self,
        learning_rate: float | Callable[..., Array] = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        *,
        optimism: float = 1.0,
        version: Literal["update", "gradient"] = "update",
        **kwargs: Any,
    ) -> None:
        check_rate(learning_rate)
        optimism = check_not_negative("optimism", optimism)
        check_choice("version", version, ("update", "gradient"))
        rho = check_decay("rho", rho)
        momentum = check_momentum(momentum)
        epsilon = check_not_negative("epsilon", epsilon)
        check_bool("centered", centered)
        super().__init__(learning_rate, rho, momentum, epsilon, centered, **kwargs)
        self.optimism = optimism
        self.version = version

    def _kept_directions(self):
        return self._momentums if self.version == "update" else []

    def _direction(self, gradient, index, rate):
        variance = self._velocities[index]
        move = (ops.square(gradient) - variance) * (1 - self.rho)
        self.assign_add(variance, move)
        if self.centered:
            mean = self._average_gradients[index]
            self.assign_add(mean, (gradient - mean) * (1 - self.rho))
            variance = variance - ops.square(mean)
        direction = gradient / ops.sqrt(variance + self.epsilon)
        if self.momentum > 0:
            momentum = self._momentums[index] * self.momentum + direction * rate
            return momentum, 1.0, 1.0
        return direction, rate, rate


@keras.saving.register_keras_serializable(package="zoo")
class OptimisticAdam(_Optimistic, keras.optimizers.Adam):
    """Adam that looks one step ahead.

    `w <- w - learning_rate * ((1 + optimism) * u_t - optimism * u_{t-1})`

    with `u_t` the direction of `keras.optimizers.Adam`, corrected for the bias of its
    own step. The first step is a plain one, `u_0 = u_1`. `learning_rate` is today's for
    both, so that what is kept does not depend on a schedule.

    The noise of a step has `(1 + optimism)^2 + optimism^2` times the variance of
    Adam's: take a smaller rate than Adam's, or `optimism=0.5`, where gradients are
    noisy. With players that move at once `beta_1` should be 0 to 0.5; at small rates
    the defaults leave the game `x * y` as Adam does, and a larger `optimism` (10 at
    `learning_rate=1e-2, beta_1=0.5`) converges.

    It keeps the last direction, one slot a variable beyond Keras's. For clipping,
    weight decay, missing and sparse gradients, see `OptimisticSGD`.

    optax's `optimistic_adam(learning_rate, optimism)` counts optimism in rates: its
    `optimism` is `learning_rate * optimism` here. It also takes Nesterov's momentum.

    Args:
        learning_rate: float >= 0, a schedule or a callable. Defaults to 0.001.
        beta_1: float, decay of the running mean. Defaults to 0.9.
        beta_2: float, decay of the running mean of squares. Defaults to 0.999.
        epsilon: float, added to the root of the uncorrected mean of squares, as in
            Keras ("epsilon hat"). Optimistic Adam is also written with it inside the
            root, of the corrected mean. Defaults to 1e-7.
        amsgrad: bool, whether the mean of squares never falls. Defaults to `False`.
        optimism: float >= 0, how far to look ahead, in steps; 0 is
            `keras.optimizers.Adam` bit for bit. Defaults to 1.0.
        version: `"update"`, as above, or `"gradient"`: Adam of the gradients
            `(1 + optimism) * g_t - optimism * g_{t-1}`, whose squares are then larger.
            Defaults to `"update"`.
        **kwargs: every other argument of `keras.optimizers.Adam`.

    Raises:
        ValueError: a negative or infinite `learning_rate` or `optimism`, or an unknown
            `version`.

    Example:

    >>> import keras, numpy as np
    >>> w, optimizer = keras.Variable(0.0), OptimisticAdam(0.5, beta_1=0.0)
    >>> for gradient in (1.0, -1.0, -1.0):
    ...     optimizer.apply([np.float32(gradient)], [w])
    ...     print(f"{float(w):.2f}")
    -0.50
    1.00
    1.50

    Reference:

    - Daskalakis, Ilyas, Syrgkanis and Zeng, 2018, "Training GANs with Optimism",
      Algorithm 1, [arXiv:1711.00141](https://arxiv.org/abs/1711.00141)
    """

    def __init__(
        self,
        learning_rate: float | Callable[..., Array] = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        *,
        optimism: float = 1.0,
        version: Literal["update", "gradient"] = "update",
        **kwargs: Any,
    ) -> None:
        check_rate(learning_rate)
        optimism = check_not_negative("optimism", optimism)
        check_choice("version", version, ("update", "gradient"))
        beta_1 = check_decay("beta_1", beta_1)
        beta_2 = check_decay("beta_2", beta_2)
        epsilon = check_not_negative("epsilon", epsilon)
        check_bool("amsgrad", amsgrad)
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, **kwargs)
        self.optimism = optimism
        self.version = version

    def _direction(self, gradient, index, rate):
        mean, square = self._momentums[index], self._velocities[index]
        self.assign_add(mean, (gradient - mean) * (1 - self.beta_1))
        self.assign_add(square, (ops.square(gradient) - square) * (1 - self.beta_2))
        if self.amsgrad:
            largest = self._velocity_hats[index]
            self.assign(largest, ops.maximum(largest, square))
            square = largest
        now = self._bias_correction(self.iterations + 1, rate.dtype)
        last = self._bias_correction(ops.maximum(self.iterations, 1), rate.dtype)
        direction = mean / (ops.sqrt(square) + self.epsilon)
        return direction, rate * now, rate * last

    def _bias_correction(self, step, dtype):
        # Not ops.cast: it goes through float32.
        beta_1, beta_2 = (
            ops.convert_to_tensor(beta, dtype) for beta in (self.beta_1, self.beta_2)
        )
        step = ops.cast(step, dtype)
        return ops.sqrt(1 - ops.power(beta_2, step)) / (1 - ops.power(beta_1, step))
