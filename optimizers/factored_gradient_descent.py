"""Gradient descent on the factors of a matrix of low rank."""

import math
from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import ops

from zoo._backend.compiling import widest_float
from zoo._types import Array
from zoo.optimizers.checks import (
    check_bool,
    check_choice,
    check_integer,
    check_momentum,
    check_not_negative,
    check_positive,
    check_rate,
)
from zoo.optimizers.optimistic import dense

# Below this, a squared norm is taken for zero: float32 can still divide by it.
SMALLEST = 1e-30


@keras.saving.register_keras_serializable(package="zoo")
class FactoredGradientDescent(keras.optimizers.Optimizer):
    """Gradient descent on the factors of a matrix, with a step that they decide.

    `U <- U - learning_rate * df/dU`

    Every variable is a factor: `U`, `[n, r]`, of `X = U U^T`, or, with `left_rows`, the
    stack `[U; V]` of `X = U V^T`, as `zoo.layers.LowRankMatrix` keeps them. Its other
    kinds, `U` of `U diag(signs) U^T` and `[Re U; Im U]` of `U U^H`, count as the first.

    **The learning rate** multiplies the gradient that Keras hands over, as in
    `keras.optimizers.SGD`: `2 G U` for `U U^T`, `[G V; G^T U]` for `U V^T`, where `G`
    is the (symmetric part of the) gradient of `f` with respect to `X`. Papers on
    `U U^T` step along `G U`: their `eta` is twice the learning rate, while for `U V^T`
    the two are equal. With `"auto"`,

    `eta = step_constant / (smoothness * |X|_2 + |G|_2)`

    with spectral norms. Papers take them at the start, and prove `step_constant=1/16`.
    An optimizer sees `G` only times the factors, and takes the lower bound
    `|G U|_2 / |U|_2`. It is far too low at a random start, and so the least `eta` of
    all steps so far counts: no step without momentum is longer than
    `step_constant * |U|_2`. For a stack, `|[U; V]|_2^2 / 2` stands for `|X|_2`: the
    same where `U^T U = V^T V`, and never less. What has been measured is in
    `optimizer.measured_rates`; `optimizer.learning_rate` is a factor beside it, 1 at
    first, for callbacks to change.

    **Momentum** is Nesterov's: with `restart=False`, and none of what follows,
    each step is that of `keras.optimizers.SGD(nesterov=True)`. In papers,

    `U_{t+1} = Z_t - eta G Z_t`, `Z_{t+1} = U_{t+1} + momentum * (U_{t+1} - U_t)`

    where the variable is `Z`, and Keras's velocity `U_{t+1} - U_t`. `restart=True` sets
    a variable's velocity to zero wherever it points uphill, `<df/dZ, velocity> > 0`.
    On 64 x 64 matrices of rank 2, with `eta` 0.3 and momentum 0.9, it takes 58 steps
    in place of 142; it does not mend an `eta` that is too large.

    **The preconditioner** `"scaled"` multiplies the gradient of `U` by `(V^T V)^-1` and
    that of `V` by `(U^T U)^-1`, or that of `U U^T` by `(U^T U)^-1`: the number of steps
    then depends neither on the condition number of `X` nor on how the factors share its
    size. `"damped"` adds `damping * |G|_2 / smoothness` to the diagonal, with the bound
    above for `|G|_2`; it vanishes as the residual does. Take it where `r` is larger
    than the rank, which `"scaled"` does not survive, but not where `U` and `V` differ
    much in size. With either, `"auto"` is `eta = 2 * step_constant / smoothness`: 1/2,
    where theory allows up to 2/3.

    Sparse gradients (of embeddings) are made dense.

    Args:
        learning_rate: `"auto"`, as above, or a float >= 0, a schedule or a callable.
            Defaults to `"auto"`.
        momentum: float from 0 to 1. Defaults to 0.0.
        restart: bool, whether momentum that goes uphill is dropped. Defaults to `True`.
        left_rows: int, the rows of `U` in a stack `[U; V]`, the same for all variables;
            or `None`, where `X = U U^T`. Defaults to `None`.
        preconditioner: `None`, `"scaled"` or `"damped"`. Defaults to `None`.
        damping: float >= 0, for `"damped"`, without units. Defaults to 1.0.
        balance: float >= 0, weight of `|U^T U - V^T V|_F^2` in the loss, for stacks
            only. A start with factors of unequal size needs it, unless steps are
            preconditioned. Defaults to 0.0.
        projection: `None`, or `"trace_ball"`: after each step, a variable is scaled
            down such that `trace(X) <= radius`; a stack, such that
            `(|U|_F^2 + |V|_F^2) / 2 <= radius`, which bounds the nuclear norm. Defaults
            to `None`.
        radius: float > 0. Defaults to 1.0, the trace of a quantum state.
        smoothness: float > 0, `M`, how many times the loss is steeper than
            `|X - X'|_F^2 / 2`. It is about `s^2` for `|A(X) - y|^2 / 2` with `s` the
            `scale` of an operator of `zoo.layers.sensing`, 1 for Gaussian ones, and
            `2 s^2 / m` if the loss is the mean of `m` squares. Defaults to 1.0.
        step_constant: float > 0, of `"auto"`. Defaults to 1/4.
        **kwargs: arguments of `keras.optimizers.Optimizer`: `clipnorm`, `use_ema`, ...

    Raises:
        ValueError: an argument is outside what is allowed above; `weight_decay` with
            `learning_rate="auto"`; on building, a variable that is no matrix, or that
            `left_rows` does not cut.

    Example:

    The best approximation of a matrix by one of rank 1:

    >>> import keras
    >>> from keras import ops
    >>> matrix = ops.array([[2.0, 1.0], [1.0, 2.0]])
    >>> u = keras.Variable([[0.1], [0.0]])
    >>> optimizer = FactoredGradientDescent(momentum=0.5)
    >>> for _ in range(60):
    ...     residual = ops.matmul(u, ops.transpose(u)) - matrix
    ...     optimizer.apply([2 * ops.matmul(residual, u)], [u])
    >>> print(ops.matmul(u, ops.transpose(u)).numpy().round(3))
    [[1.5 1.5]
     [1.5 1.5]]

    Reference:

    - Bhojanapalli, Kyrillidis and Sanghavi, 2016, "Dropping convexity for faster
      semi-definite optimization", [arXiv:1509.03917](https://arxiv.org/abs/1509.03917)
    - Kim, Kollias, Kalev, Wei and Kyrillidis, 2021, "Fast quantum state reconstruction
      via accelerated non-convex programming",
      [arXiv:2104.07006](https://arxiv.org/abs/2104.07006): momentum
    - Tong, Ma and Chi, 2021, "Accelerating ill-conditioned low-rank matrix estimation
      via scaled gradient descent",
      [arXiv:2005.08898](https://arxiv.org/abs/2005.08898): the preconditioner
    - Zhang, Fattahi and Zhang, 2021, "Preconditioned gradient descent for
      over-parameterized nonconvex matrix factorization", NeurIPS: its damping
    - O'Donoghue and Candes, 2015, "Adaptive restart for accelerated gradient schemes",
      [arXiv:1204.3982](https://arxiv.org/abs/1204.3982)
    """

    def __init__(
        self,
        learning_rate: Literal["auto"] | float | Callable[..., Array] = "auto",
        momentum: float = 0.0,
        restart: bool = True,
        *,
        left_rows: int | None = None,
        preconditioner: Literal["scaled", "damped"] | None = None,
        damping: float = 1.0,
        balance: float = 0.0,
        projection: Literal["trace_ball"] | None = None,
        radius: float = 1.0,
        smoothness: float = 1.0,
        step_constant: float = 0.25,
        **kwargs: Any,
    ) -> None:
        auto = isinstance(learning_rate, str) and learning_rate == "auto"
        if auto and kwargs.get("weight_decay"):
            raise ValueError(
                "`weight_decay` needs a `learning_rate` other than 'auto'. "
                f"Received: weight_decay={kwargs['weight_decay']}"
            )
        check_rate(learning_rate)
        momentum = check_momentum(momentum)
        check_choice("preconditioner", preconditioner, (None, "scaled", "damped"))
        check_choice("projection", projection, (None, "trace_ball"))
        balance = check_not_negative("balance", balance)
        if left_rows is None and balance:
            raise ValueError(
                f"`balance` needs `left_rows`. Received: balance={balance}"
            )
        if left_rows is not None:
            left_rows = check_integer("left_rows", left_rows, 1, "None or an int")
        super().__init__(1.0 if auto else learning_rate, **kwargs)
        self.auto = auto
        self.momentum = momentum
        self.restart = check_bool("restart", restart)
        self.left_rows = left_rows
        self.preconditioner = preconditioner
        self.damping = check_not_negative("damping", damping)
        self.balance = balance
        self.projection = projection
        self.radius = check_positive("radius", radius)
        self.smoothness = check_positive("smoothness", smoothness)
        self.step_constant = check_positive("step_constant", step_constant)

    def build(self, variables):
        if self.built:
            return
        for variable in variables:
            self._check_factor(variable)
        super().build(variables)
        if self.momentum:
            self.velocities = self.add_optimizer_variables(variables, "velocity")
        if self.auto and self.preconditioner is None:
            self.measured_rates = [
                self.add_variable(
                    (),
                    keras.initializers.Constant(math.inf),
                    at_least_float32(variable.dtype),
                    name="rate",
                )
                for variable in variables
            ]

    def update_step(self, gradient, variable, learning_rate):
        dtype = at_least_float32(variable.dtype)
        gradient = ops.cast(dense(gradient, variable), dtype)
        factor = ops.cast(variable, dtype)
        index = self._get_variable_index(variable)
        if self.balance:
            gradient += self.balance * balance_gradient(*self._parts(factor))
        rate = ops.cast(learning_rate, dtype)
        if self.auto:
            rate *= self._auto_rate(gradient, factor, index)
        direction = gradient
        if self.preconditioner is not None:
            direction = self._precondition(gradient, factor)
        step = direction * rate
        if self.momentum:
            slot = self.velocities[index]
            velocity = ops.cast(slot, dtype) * self.momentum - step
            if self.restart:
                uphill = ops.sum(gradient * velocity) > 0
                velocity = ops.where(uphill, ops.zeros_like(velocity), velocity)
            self.assign(slot, velocity)
            factor = factor + (velocity * self.momentum - step)
        else:
            factor = factor - step
        if self.projection is not None:
            limit = self.radius if self.left_rows is None else 2 * self.radius
            factor = shortened(factor, limit)
        self.assign(variable, factor)

    @property
    def _share(self):
        """What multiplies `eta` to give a learning rate."""
        return 0.5 if self.left_rows is None else 1.0

    def _parts(self, factor):
        """`U` and `V` of a stack, or `U` alone: each one's partner is that reversed."""
        if self.left_rows is None:
            return (factor,)
        return factor[: self.left_rows], factor[self.left_rows :]

    def _auto_rate(self, gradient, factor, index):
        """`eta`, as a learning rate."""
        if self.preconditioner is not None:
            return self._share * 2 * self.step_constant / self.smoothness
        size = squared_norm(factor) * (1.0 if self.left_rows is None else 0.5)
        steepness = self.smoothness * size + self._slope(gradient, factor)
        rate = self._share * self.step_constant / (steepness + SMALLEST)
        kept = self.measured_rates[index]
        rate = ops.minimum(kept, rate)
        self.assign(kept, rate)
        return rate

    def _slope(self, gradient, factor):
        """A lower bound of `|G|_2`."""
        size = ops.maximum(squared_norm(factor), SMALLEST)
        return self._share * ops.sqrt(squared_norm(gradient) / size)

    def _precondition(self, gradient, factor):
        shift = 0.0
        if self.preconditioner == "damped":
            shift = self.damping * self._slope(gradient, factor) / self.smoothness
        pairs = zip(self._parts(gradient), reversed(self._parts(factor)), strict=True)
        return ops.concatenate(
            [over_gram(slopes, partner, shift) for slopes, partner in pairs], axis=0
        )

    def _check_factor(self, variable):
        shape = tuple(variable.shape)
        if len(shape) != 2:
            raise ValueError(
                "Every variable must be a matrix of factors, of two axes. "
                f"Received: {variable.path} of shape {shape}"
            )
        if self.left_rows is not None and self.left_rows >= shape[0]:
            raise ValueError(
                "`left_rows` must be less than the rows of every variable. "
                f"Received: left_rows={self.left_rows}, "
                f"{variable.path} of shape {shape}"
            )

    def get_config(self):
        config = {
            **super().get_config(),
            "momentum": self.momentum,
            "restart": self.restart,
            "left_rows": self.left_rows,
            "preconditioner": self.preconditioner,
            "damping": self.damping,
            "balance": self.balance,
            "projection": self.projection,
            "radius": self.radius,
            "smoothness": self.smoothness,
            "step_constant": self.step_constant,
        }
        if self.auto:
            config["learning_rate"] = "auto"
        return config


def at_least_float32(dtype):
    """Returns the dtype that steps are computed in."""
    # Keras's rules for dtypes know no float64 on JAX.
    if dtype == "float64":
        return widest_float()
    return keras.backend.result_type(dtype, "float32")


def gram(factor):
    """`U^T U`."""
    return ops.matmul(ops.transpose(factor), factor)


def squared_norm(factor):
    """`|U|_2^2`, the largest eigenvalue of `U^T U`."""
    return ops.maximum(ops.linalg.eigh(finite(gram(factor)))[0][-1], 0.0)


def finite(squares):
    """`squares`, or the identity if it is not finite, which what factors it refuses.

    The gradient, which is then not finite either, takes that to the weights.
    """
    identity = ops.eye(squares.shape[0], dtype=squares.dtype)
    return ops.where(ops.all(ops.isfinite(squares)), squares, identity)


def over_gram(slopes, factor, shift):
    """`G (U^T U + shift)^-1`, with a shift of rounding size at least."""
    squares, rank = gram(factor), factor.shape[1]
    double = keras.backend.standardize_dtype(squares.dtype) == "float64"
    # Columns that are equal, or zero, must not end in NaN.
    least = rank * (2.0**-52 if double else 2.0**-23) * ops.trace(squares) + SMALLEST
    shift = ops.maximum(shift, least)
    squares = finite(squares + shift * ops.eye(rank, dtype=squares.dtype))
    root = ops.cholesky(squares)
    half = ops.solve_triangular(root, ops.transpose(slopes), lower=True)
    return ops.transpose(ops.solve_triangular(ops.transpose(root), half, lower=False))


def balance_gradient(u, v):
    """The gradient of `|U^T U - V^T V|_F^2`, stacked."""
    difference = gram(u) - gram(v)
    return 4 * ops.concatenate(
        [ops.matmul(u, difference), -ops.matmul(v, difference)], axis=0
    )


def shortened(factor, limit):
    """`factor`, scaled down if need be such that its squares add up to `limit`."""
    squares = ops.maximum(ops.sum(ops.square(factor)), SMALLEST)
    return factor * ops.minimum(ops.sqrt(limit / squares), 1.0)
