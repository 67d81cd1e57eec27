"""How small games are played: one optimizer and one adjustment a method."""

import dataclasses
import functools
import typing

import keras
import numpy as np

from zoo.games import GameTrainer, play
from zoo.optimizers import (
    ConsensusOptimization,
    Extragradient,
    OptimisticAdam,
    OptimisticSGD,
    SymplecticGradientAdjustment,
)


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to play a smooth game.

    Attributes:
        optimizer: callable of a learning rate that returns a Keras optimizer.
        adjustment: callable that returns an adjustment, or `None`.
        order: of `GameTrainer`.
        style: of its line in a figure.
    """

    optimizer: typing.Callable = keras.optimizers.SGD
    adjustment: typing.Callable = lambda: None
    order: str = "simultaneous"
    style: str = "-"


# A distance that means divergence.
FAR = 1e6
METHODS = {
    "descent": Method(),
    "alternating": Method(order="alternating"),
    "momentum": Method(lambda rate: keras.optimizers.SGD(rate, 0.5)),
    "optimistic": Method(OptimisticSGD, style="--"),
    "extragradient": Method(adjustment=Extragradient, style="--"),
    "consensus": Method(adjustment=ConsensusOptimization, style=":"),
    "sga": Method(adjustment=SymplecticGradientAdjustment, style=":"),
    "adam": Method(keras.optimizers.Adam, style="-."),
    "optimistic_adam": Method(OptimisticAdam, style="-."),
}
# What else than its rate is tuned of a method.
OPTIONS = {
    "optimism": ("optimistic", "optimistic_adam"),
    "strength": ("consensus", "sga"),
}


def declare(hp, entry, values):
    """Declares what else than the rate is tuned, where `entry` ends in its methods."""
    for name, methods in OPTIONS.items():
        having = [value for value in values if value.split()[-1] in methods]
        if having:
            with hp.conditional_scope(entry, having):
                hp.Float(name, 0.1, 10.0, sampling="log")


def chosen(method, hp):
    """Returns a method with what `declare` has tuned of it."""
    tuned = {name: hp.values[name] for name in OPTIONS if name in hp.values}
    if "optimism" in tuned:
        optimizer = functools.partial(method.optimizer, **tuned)
        return dataclasses.replace(method, optimizer=optimizer)
    adjustment = functools.partial(method.adjustment, **tuned)
    return dataclasses.replace(method, adjustment=adjustment)


def paths(game, start, method, rate, steps):
    """Plays a quadratic game; returns its positions, `[steps + 1, weights]`.

    One that runs away ends early, at a distance beyond `FAR`.
    """
    return paths_of_rates(game, start, method, [rate], steps)[0]


def paths_of_rates(game, start, method, rates, steps):
    """Plays a quadratic game at each of several rates, in one graph."""
    trainer = GameTrainer(game.players(start), game)
    trainer.compile(method.optimizer(rates[0]), method.adjustment(), method.order)
    state = [*trainer.variables, *trainer.optimizer.variables]
    fresh = [np.array(variable) for variable in state]
    found = []
    for rate in rates:
        for variable, value in zip(state, fresh, strict=True):
            variable.assign(value)
        for optimizer in trainer.optimizer.optimizers:
            optimizer.learning_rate = rate
        found.append(np.concatenate(list(play(trainer, steps, FAR).values()), axis=1))
    return found


def steps_within(distances, tolerance=1e-6):
    """The first step from which on all distances are within, -1 if there is none."""
    outside = np.flatnonzero(~(distances < tolerance))
    first = outside[-1] + 1 if len(outside) else 0
    return int(first) if first < len(distances) else -1


def ended(distances):
    """The last distance, `FAR` where the game ran away."""
    return float(min(distances[-1], FAR))
