"""What a `GameTrainer` needs of its players: checks, and an optimizer for each."""

import keras

from zoo.optimizers import SimultaneousGradient
from zoo.optimizers.adjustments import Extragradient
from zoo.optimizers.checks import check_choice


def check_settings(players, adjustment, order, penalties, steps, clip):
    """Raises ValueError, with one line, for what `GameTrainer.compile` cannot do."""
    if not isinstance(adjustment, SimultaneousGradient):
        raise ValueError(
            "`adjustment` must be one of zoo.optimizers, or None. "
            f"Received: adjustment={adjustment!r}"
        )
    check_choice("order", order, ("simultaneous", "alternating"))
    if order == "alternating" and isinstance(adjustment, Extragradient):
        raise ValueError(
            "`order` must be 'simultaneous' with Extragradient: the players look "
            "ahead together. Received: order='alternating'"
        )
    if order == "simultaneous" and steps:
        raise ValueError(
            "`steps` must be left out in the simultaneous order. "
            f"Received: steps={steps}"
        )
    for option, values, allowed, words in (
        ("penalties", penalties, callable, "callables"),
        ("steps", steps, lambda n: isinstance(n, int) and n > 0, "integers > 0"),
        ("clip", clip, lambda limit: limit > 0, "> 0"),
    ):
        check_names(players, option, values or {})
        for player, value in (values or {}).items():
            if not allowed(value):
                raise ValueError(
                    f"`{option}` must be {words}. Received: "
                    f"{option}={{{player!r}: {value}}}"
                )
    for player, layer in players.items():
        policies = {part.dtype_policy.name for part in layer._flatten_layers()}
        if "mixed_float16" in policies:
            raise ValueError(
                "Players must not be in mixed_float16, whose losses are scaled: "
                f"use mixed_bfloat16. Received: {player} in mixed_float16"
            )


def check_names(players, option, values):
    for player in values:
        if player not in players:
            raise ValueError(
                f"`{option}` must name players ({', '.join(players)}). "
                f"Received: {player!r}"
            )


def make_optimizers(players, optimizers):
    """Returns a dict of players' names to their own optimizers, or raises ValueError.

    Args:
        players: dict of names to layers.
        optimizers: dict of names to what `keras.optimizers.get` takes, or one such
            thing, of which each player gets a copy.
    """
    if isinstance(optimizers, dict):
        check_names(players, "optimizers", optimizers)
        for player in players:
            if player not in optimizers:
                raise ValueError(
                    "`optimizers` must hold one for every player. "
                    f"Received: none for {player!r}"
                )
        made = {player: keras.optimizers.get(optimizers[player]) for player in players}
        if len(set(map(id, made.values()))) < len(made):
            raise ValueError(
                "`optimizers` must be of one player each. Received: one for several"
            )
    else:
        one = keras.optimizers.get(optimizers)
        if one is None:
            raise ValueError("`optimizers` must be given. Received: None")
        made = {
            player: type(one).from_config({**one.get_config(), "name": player})
            for player in players
        }
    for player, optimizer in made.items():
        scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if scales or optimizer.loss_scale_factor:
            raise ValueError(
                "`optimizers` must not scale losses, which are combined here. "
                f"Received: {player}={optimizer.name}"
            )
    return made


def regularization(layer):
    """What the regularizers of a layer's trainable weights add up to."""
    return sum(
        variable.regularizer(variable)
        for variable in layer.trainable_variables
        if variable.regularizer is not None
    )


class Optimizers:
    """The players' optimizers, as much as `keras.Model` asks of its only one.

    Averages of weights stay beside them: training twice is training on.
    """

    def __init__(self, of_players):
        self.of_players = of_players

    @property
    def optimizers(self):
        # By this name Keras's TensorBoard callback finds their learning rates.
        return list(self.of_players.values())

    @property
    def built(self):
        return all(optimizer.built for optimizer in self.optimizers)

    def build(self, variables):
        for optimizer, own in zip(self.optimizers, variables, strict=True):
            optimizer.build(own)

    @property
    def variables(self):
        return [
            variable
            for optimizer in self.optimizers
            for variable in optimizer.variables
        ]
