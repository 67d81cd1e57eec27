"""Gradient adjustments: what a game's players do beyond following their own losses.

An adjustment is no optimizer: it needs the losses, and the variables of all players. It
turns them into one list of gradients a player, for any optimizer.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
from keras import ops

from zoo._backend.gradients import replica_share, vjp
from zoo._types import Array
from zoo.optimizers.checks import check_bool, check_choice, check_not_negative


@keras.saving.register_keras_serializable(package="zoo")
class SimultaneousGradient:
    """Each player's gradient of its own loss, `xi_i = grad_i L_i`: no adjustment.

    All adjustments are called the same way, and are pure functions of the losses and
    variables but for `Extragradient`, which moves the players ahead and back.

    Args of the call:
        losses: callable without arguments that returns the list of the n players'
            losses, scalars.
        variables: list of n lists of trainable Keras variables, each player's own.
        penalties: list of n callables without arguments that return a scalar to add to
            a player's loss, or `None`. Their gradients are added; Hessians are those of
            `losses` alone. Defaults to no penalties.
        optimizers: list of n Keras optimizers, which `Extragradient` alone needs.
        only: int, the one player whose gradients are needed, or `None` for all.

    Returns of the call:
        The list of losses, and a list of n lists of gradients; with `only`, `None` in
        the place of the other players' lists.

    Raises:
        ValueError: no player, a player without variables, variables of two players, or
            not one scalar loss a player; on TensorFlow, also a loss that does not
            depend on its player.

    Example:

    >>> x, y = keras.Variable([1.0]), keras.Variable([2.0])
    >>> def losses():
    ...     return [ops.sum(x * y), -ops.sum(x * y)]
    >>> values, ((dx,), (dy,)) = SimultaneousGradient()(losses, [[x], [y]])
    >>> print(float(values[0]), float(dx[0]), float(dy[0]))
    2.0 2.0 -1.0
    """

    def __call__(
        self,
        losses: Callable[[], Sequence[Array]],
        variables: Sequence[Sequence[keras.Variable]],
        penalties: Sequence[Callable[[], Array] | None] | None = None,
        optimizers: Sequence[keras.optimizers.Optimizer] | None = None,
        only: int | None = None,
    ) -> tuple[list[Array], list[Any]]:
        penalties = check_game(variables, penalties)
        wanted = range(len(variables)) if only is None else [only]
        values, gradients = self.adjust(losses, variables, penalties, wanted)
        return values, [gradients.get(i) for i in range(len(variables))]

    def adjust(self, losses, variables, penalties, wanted):
        """Returns the losses, and a dict of wanted players to their gradients."""
        return simultaneous_gradient(losses, variables, penalties, wanted)

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable(package="zoo")
class SymplecticGradientAdjustment(SimultaneousGradient):
    """Symplectic gradient adjustment (SGA), which turns rotation into convergence.

    `xi + strength * sign * A^T xi`, where `A = (H - H^T) / 2` is the antisymmetric part
    of the game's Hessian `H = d xi / d w`. In a potential game `A = 0` and nothing is
    adjusted; in a Hamiltonian one, `A^T xi` is the gradient of `|xi|^2 / 2`.

    The part of player i is found by reverse mode alone, without its own Hessian:

    `(A^T xi)_i = 1/2 grad_i sum_{j != i} <grad_j (L_j - L_i), stop(xi_j)>`.

    With `align`, the sign is that of `<xi, H^T xi> <A^T xi, H^T xi> / d + epsilon`: the
    adjustment points to stable fixed points and away from unstable ones.

    Called as `SimultaneousGradient` is. ReLU networks have no curvature of their own;
    layers that couple samples, such as batch normalisation, are better left out.

    Args:
        strength: float >= 0, lambda. Defaults to 1.
        align: bool. `False` takes the sign +1, and saves a backward pass.
        epsilon: float >= 0, which prefers +1 near a fixed point. Defaults to 0.1.
        per: what `d` counts: `"parameter"`, as in the paper, or `"variable"`, as in the
            authors' code.

    Raises:
        ValueError: `strength` or `epsilon` is negative, or `per` is neither of these.

    Example:

    >>> x, y = keras.Variable([1.0]), keras.Variable([2.0])
    >>> def losses():
    ...     return [ops.sum(x * y), -ops.sum(x * y)]
    >>> adjust = SymplecticGradientAdjustment(strength=1.0)
    >>> values, ((dx,), (dy,)) = adjust(losses, [[x], [y]])
    >>> print(float(dx[0]), float(dy[0]))
    3.0 1.0

    Reference:

    - Balduzzi, Racaniere, Martens, Foerster, Tuyls and Graepel, 2018, "The mechanics of
      n-player differentiable games", [arXiv:1802.05642](https://arxiv.org/abs/1802.05642)
    """

    def __init__(
        self,
        strength: float = 1.0,
        align: bool = True,
        epsilon: float = 0.1,
        per: Literal["parameter", "variable"] = "parameter",
    ) -> None:
        self.strength = check_not_negative("strength", strength)
        self.epsilon = check_not_negative("epsilon", epsilon)
        check_choice("per", per, ("parameter", "variable"))
        self.align, self.per = check_bool("align", align), per

    def adjust(self, losses, variables, penalties, wanted):
        players = range(len(variables))
        # The sign is one for all players: it takes everyone's part.
        needed = players if self.align else wanted

        def products():
            values, pull = checked_vjp(losses, variables)
            xi = [pull({j: 1.0}, j) for j in players]
            stopped = [[ops.stop_gradient(g) for g in one] for one in xi]
            own = [dot(xi[j], stopped[j]) for j in players]
            outputs = []
            for i in needed:
                output = ops.zeros_like(own[i])
                for j in players:
                    if j != i:
                        output += own[j] - dot(pull({i: 1.0}, j), stopped[j])
                outputs.append(output)
            # The last one's gradient is H^T xi.
            return [*outputs, sum(own)], (values, stopped)

        _, (values, xi), pull = vjp(products, flatten(variables))
        adjustment = {
            i: [0.5 * g for g in filled(pull({place: 1.0}, variables[i]), variables[i])]
            for place, i in enumerate(needed)
        }
        sign = 1.0
        if self.align:
            everyone = flatten(variables)
            hamiltonian = filled(pull({len(needed): 1.0}, everyone), everyone)
            sign = self.sign(
                flatten(xi), hamiltonian, flatten(adjustment.values()), everyone
            )
        gradients = {
            i: [
                g + self.strength * (ops.cast(sign, g.dtype) * a)
                for g, a in zip(xi[i], adjustment[i], strict=True)
            ]
            for i in wanted
        }
        return values, add_penalties(gradients, variables, penalties)

    def sign(self, xi, hamiltonian, adjustment, variables):
        """The sign of the adjustment from `xi`, `H^T xi` and `A^T xi`: 1 or -1."""
        if self.per == "variable":
            count = len(variables)
        else:
            count = sum(math.prod(variable.shape) for variable in variables)
        agreement = dot(xi, hamiltonian) * dot(adjustment, hamiltonian) / count
        return ops.where(agreement + self.epsilon < 0, -1.0, 1.0)

    def get_config(self):
        return {
            "strength": self.strength,
            "align": self.align,
            "epsilon": self.epsilon,
            "per": self.per,
        }


@keras.saving.register_keras_serializable(package="zoo")
class ConsensusOptimization(SimultaneousGradient):
    """Consensus optimisation, which pulls all players to small gradients.

    `xi + strength * H^T xi`, where `H^T xi` is the gradient of `|xi|^2 / 2` and `H` the
    game's Hessian. Any fixed point attracts, unstable ones too; with batches the term
    is biased by their noise.

    Called as `SimultaneousGradient` is.

    Args:
        strength: float >= 0. Defaults to 1.

    Raises:
        ValueError: `strength` is negative.

    Example:

    >>> x, y = keras.Variable([1.0]), keras.Variable([2.0])
    >>> def losses():
    ...     return [ops.sum(x * y), -ops.sum(x * y)]
    >>> values, ((dx,), (dy,)) = ConsensusOptimization(0.5)(losses, [[x], [y]])
    >>> print(float(dx[0]), float(dy[0]))
    2.5 0.0

    Reference:

    - Mescheder, Nowozin and Geiger, 2017, "The numerics of GANs",
      [arXiv:1705.10461](https://arxiv.org/abs/1705.10461)
    """

    def __init__(self, strength: float = 1.0) -> None:
        self.strength = check_not_negative("strength", strength)

    def adjust(self, losses, variables, penalties, wanted):
        def energy():
            values, pull = checked_vjp(losses, variables)
            xi = [pull({j: 1.0}, j) for j in range(len(variables))]
            return [0.5 * sum(dot(one, one) for one in xi)], (values, xi)

        _, (values, xi), pull = vjp(energy, flatten(variables))
        gradients = {
            i: [
                ops.stop_gradient(g) + self.strength * h
                for g, h in zip(
                    xi[i],
                    filled(pull({0: 1.0}, variables[i]), variables[i]),
                    strict=True,
                )
            ]
            for i in wanted
        }
        return values, add_penalties(gradients, variables, penalties)

    def get_config(self):
        return {"strength": self.strength}


@keras.saving.register_keras_serializable(package="zoo")
class Extragradient(SimultaneousGradient):
    """Extragradient: the gradient at the point where a step would lead.

    `w' = w - step(xi(w))`; the gradients returned are `xi(w')`, and the players stand
    at `w` again. The step ahead is one of the players' own optimizers, so that with
    Adam it is ExtraAdam: the moments see both gradients, and `iterations`, which
    schedules count, advances by two an update. With `MirrorDescent` it is mirror-prox.
    Moving averages of weights leave the points ahead out.

    Called as `SimultaneousGradient` is, with `optimizers` and without `only`.

    Raises:
        ValueError: no optimizers, one that accumulates gradients or scales losses, or
            `only`: the players look ahead together.

    Example:

    >>> x, y = keras.Variable([1.0]), keras.Variable([2.0])
    >>> def losses():
    ...     return [ops.sum(x * y), -ops.sum(x * y)]
    >>> optimizers = [keras.optimizers.SGD(0.5) for _ in range(2)]
    >>> adjust = Extragradient()
    >>> values, ((dx,), (dy,)) = adjust(losses, [[x], [y]], optimizers=optimizers)
    >>> print(float(dx[0]), float(dy[0]), float(x[0]))
    2.5 -0.0 1.0

    Reference:

    - Korpelevich, 1976, "The extragradient method for finding saddle points and other
      problems"
    - Gidel, Berard, Vignoud, Vincent and Lacoste-Julien, 2019, "A variational
      inequality perspective on generative adversarial networks", algorithm 4,
      [arXiv:1802.10551](https://arxiv.org/abs/1802.10551)
    """

    def __call__(
        self,
        losses: Callable[[], Sequence[Array]],
        variables: Sequence[Sequence[keras.Variable]],
        penalties: Sequence[Callable[[], Array] | None] | None = None,
        optimizers: Sequence[keras.optimizers.Optimizer] | None = None,
        only: int | None = None,
    ) -> tuple[list[Array], list[Any]]:
        penalties = check_game(variables, penalties)
        if optimizers is None or only is not None:
            raise ValueError(
                "Extragradient needs the `optimizers` of all players, who look ahead "
                f"together. Received: optimizers={optimizers}, only={only}"
            )
        if any(optimizer.gradient_accumulation_steps for optimizer in optimizers):
            raise ValueError(
                "Extragradient needs optimizers that step at every gradient. "
                "Received: one with gradient_accumulation_steps"
            )
        scale = keras.optimizers.LossScaleOptimizer
        if any(isinstance(one, scale) or one.loss_scale_factor for one in optimizers):
            # They would divide gradients by a factor that no loss has.
            raise ValueError(
                "Extragradient needs optimizers that do not scale losses. "
                "Received: one that does"
            )
        players = range(len(variables))
        values, ahead = simultaneous_gradient(losses, variables, penalties, players)
        here = []
        for optimizer, one in zip(optimizers, variables, strict=True):
            optimizer.build(one)
            here += at_hand(optimizer, one)
        for i in players:
            optimizers[i].apply(replica_share(ahead[i]), variables[i])
        _, gradients = simultaneous_gradient(losses, variables, penalties, players)
        for variable, value in here:
            variable.assign(value)
        return values, [gradients[i] for i in players]


def at_hand(optimizer, variables):
    """Pairs of what a step ahead must leave as it is, and its value."""
    kept = [*variables, *getattr(optimizer, "duals", [])]
    pairs = [(variable, ops.copy(variable.value)) for variable in kept]
    if optimizer.use_ema:
        averages = optimizer._model_variables_moving_average
        for variable, average in zip(variables, averages, strict=True):
            # Keras starts an average at the first step: here, the one ahead.
            first = optimizer.iterations == 0
            pairs.append((average, ops.where(first, variable.value, average.value)))
    return pairs


def simultaneous_gradient(losses, variables, penalties, wanted):
    """Returns the losses, and each wanted player's gradients of loss and penalty."""
    values, pull = checked_vjp(
        losses, variables, {i: penalties[i] for i in wanted if penalties[i]}
    )
    return values, {i: pull({i: 1.0}, i) for i in wanted}


def checked_vjp(losses, variables, penalties=()):
    """The losses, and `pull(weights, i)` for the gradients of i, `None` filled."""

    def penalised():
        values = check_losses(losses(), variables)
        return [
            value + penalties[i]() if i in penalties else value
            for i, value in enumerate(values)
        ], values

    _, values, pull = vjp(penalised, flatten(variables))

    def pullback(weights, i):
        gradients = pull(weights, variables[i])
        if i in weights and all(gradient is None for gradient in gradients):
            raise ValueError(
                f"The loss of player {i} must depend on its variables. "
                f"Received: {[variable.path for variable in variables[i]]}"
            )
        return filled(gradients, variables[i])

    return values, pullback


def add_penalties(gradients, variables, penalties):
    """Adds to each player's gradients those of its penalty."""
    for i, one in gradients.items():
        if penalties[i]:
            _, _, pull = vjp(lambda p=penalties[i]: ([p()], None), variables[i])
            extra = filled(pull({0: 1.0}, variables[i]), variables[i])
            gradients[i] = [g + e for g, e in zip(one, extra, strict=True)]
    return gradients


def filled(gradients, variables):
    """Zeros in the place of gradients that are `None`."""
    return [
        ops.zeros_like(variable) if gradient is None else gradient
        for gradient, variable in zip(gradients, variables, strict=True)
    ]


def dot(one, other):
    """The inner product of two lists of tensors."""
    return sum(ops.sum(a * b) for a, b in zip(one, other, strict=True))


def flatten(lists):
    return [item for one in lists for item in one]


def check_game(variables, penalties):
    """Checks the players' variables; returns the penalties, one a player."""
    if not variables:
        raise ValueError(f"`variables` must hold a player's. Received: {variables}")
    for i, one in enumerate(variables):
        if not one:
            raise ValueError(
                f"Each player must have variables. Received: none for player {i}"
            )
    everyone = [id(variable) for variable in flatten(variables)]
    if len(set(everyone)) < len(everyone):
        raise ValueError("`variables` must be of one player each: two share some")
    if penalties is None:
        return [None] * len(variables)
    if len(penalties) != len(variables):
        raise ValueError(
            f"`penalties` must be one a player ({len(variables)}), or None. "
            f"Received: {len(penalties)}"
        )
    return penalties


def check_losses(values, variables):
    if len(values) != len(variables):
        raise ValueError(
            f"`losses` must return one loss a player ({len(variables)}). "
            f"Received: {len(values)}"
        )
    for i, value in enumerate(values):
        if len(value.shape):
            raise ValueError(
                "A player's loss must be a scalar. "
                f"Received: shape {tuple(value.shape)} for player {i}"
            )
    return list(values)
