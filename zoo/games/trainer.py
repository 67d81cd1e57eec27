"""Trains several players, each with a loss and an optimizer of its own."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo._backend.gradients import replica_share
from zoo._types import Array
from zoo.games.players import (
    Optimizers,
    check_settings,
    make_optimizers,
    regularization,
)
from zoo.optimizers import SimultaneousGradient


@keras.saving.register_keras_serializable(package="zoo")
class GameTrainer(keras.Model):
    """Trains the players of a game with `compile` and `fit`.

    Each player is a layer or a model. One function gives all losses, so that two
    players or ten, zero-sum or not, are trained by the same code. In the simultaneous
    order all gradients are taken at the same point; in the alternating one each player
    in turn answers what those before it have just done.

    Training logs `{player}_loss`, means over the epoch, and ends with an error at the
    first batch after which one is not finite.

    Args:
        players: dict of names to built `keras.Layer`s with trainable weights.
        losses: callable of `players` and a batch that returns a dict of every player's
            name to its scalar loss; the batch is `x`, or `(x, y)`, as `fit` has them.
            To save the trainer, register it with Keras. If it has a method `draw` of a
            batch and a `keras.random.SeedGenerator`, what that returns, such as the
            batch and noise, stands in the batch's place: it is called once a batch,
            outside of all gradients. Regularizers of a player's weights are added to
            its loss; what its layers `add_loss` is not.
        seed: int, of what is drawn.
        name: str.

    Raises:
        ValueError: no players, or a player without trainable weights.

    Example:

    >>> import keras
    >>> from zoo.games import bilinear_game, play
    >>> game = bilinear_game([[1.0]])
    >>> players = game.players({"player_1": [1.0], "player_2": [2.0]})
    >>> trainer = GameTrainer(players, game)
    >>> trainer.compile(keras.optimizers.SGD(0.1))
    >>> path = play(trainer, steps=2)
    >>> print(path["player_1"].round(2).tolist())
    [[1.0], [0.8], [0.59]]
    """

    def __init__(
        self,
        players: dict[str, keras.Layer],
        losses: Callable[..., Mapping[str, Array]],
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if not isinstance(players, dict) or not players:
            raise ValueError(
                "`players` must be a dict of names to layers, one at least. "
                f"Received: players={players!r}"
            )
        for player, layer in players.items():
            if not getattr(layer, "trainable_variables", None):
                raise ValueError(
                    "Each player must be a built layer with trainable weights. "
                    f"Received: {player}={layer}"
                )
        self.players = dict(players)
        self.losses_function = losses
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.trackers = {
            player: keras.metrics.Mean(name=f"{player}_loss") for player in players
        }
        self.built = True

    def compile(
        self,
        optimizers: keras.optimizers.Optimizer | dict[str, keras.optimizers.Optimizer],
        adjustment: SimultaneousGradient | None = None,
        order: Literal["simultaneous", "alternating"] = "simultaneous",
        penalties: Mapping[str, Callable[..., Array]] | None = None,
        steps: Mapping[str, int] | None = None,
        clip: Mapping[str, float] | None = None,
        jit_compile: bool | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
    ) -> None:
        """Sets how the players are trained.

        Args:
            optimizers: dict of every player's name to its Keras optimizer; or one
                optimizer, of which each player gets a copy.
            adjustment: an adjustment of `zoo.optimizers`, such as
                `SymplecticGradientAdjustment()`. Defaults to none.
            order: `"simultaneous"`, or `"alternating"` in the order of `players`.
            penalties: dict of players' names to a callable of `players` and the drawn
                batch that returns a scalar to add to the loss, such as `zoo.games.R1`.
                Hessians of an adjustment leave it out.
            steps: dict of players' names to updates with each batch, in the alternating
                order. Defaults to 1 each.
            clip: dict of players' names to a number that its weights are clipped to in
                magnitude after each update, as in the Wasserstein GAN.
            jit_compile: bool. Defaults to `True` on JAX, and to `False` on TensorFlow,
                where XLA compiles second derivatives slowly on a CPU.
            run_eagerly, steps_per_execution: as in `keras.Model.compile`.

        Raises:
            ValueError: a name that is no player's, an optimizer missing, an unknown
                order, `steps` or extragradient in an order that they do not fit; a
                player in `mixed_float16` or an optimizer that scales losses, as scaled
                losses cannot be combined.
        """
        optimizers = make_optimizers(self.players, optimizers)
        adjustment = SimultaneousGradient() if adjustment is None else adjustment
        check_settings(self.players, adjustment, order, penalties, steps, clip)
        if jit_compile is None:
            jit_compile = keras.backend.backend() == "jax"
        super().compile(
            optimizer=None,
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
        )
        self.optimizer = Optimizers(optimizers)
        self.optimizer.build(self.variables_of)
        # Keras saves what it finds in a container of the model, 3.12 in no deeper one.
        self._optimizers = optimizers
        self.adjustment, self.order = adjustment, order
        self.penalties, self.steps = dict(penalties or {}), dict(steps or {})
        self.clip = dict(clip or {})
        self._settings = {
            "optimizers": optimizers,
            "adjustment": adjustment,
            "order": order,
            "penalties": penalties,
            "steps": steps,
            "clip": clip,
            "jit_compile": jit_compile,
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
        }

    @property
    def variables_of(self) -> list[list[keras.Variable]]:
        """Each player's trainable variables, a list of lists."""
        return [layer.trainable_variables for layer in self.players.values()]

    def call(self, inputs, training=None):
        raise NotImplementedError(
            f"A game maps no inputs to outputs: call one of {', '.join(self.players)}"
        )

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """`keras.Model.fit`, without validation or sample weights.

        Raises:
            FloatingPointError: a loss is not finite, with the player's name and the
                batch; but for a `keras.callbacks.CallbackList`, which is left as it is.
            ValueError: validation data or sample weights.
        """
        for name in ("validation_data", "validation_split"):
            if kwargs.get(name):
                raise ValueError(f"`{name}` must be left out: a game has no test loss")
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = [_EndAtNaN(), *keras.tree.flatten(callbacks or [])]
        return super().fit(
            x, y, batch_size, epochs, verbose, callbacks=callbacks, **kwargs
        )

    def train_step(self, *arguments):
        *state, batch = arguments
        if not state:
            return self._update(batch)
        # JAX gives the values of all variables, and takes the new ones.
        ((trainable, others, slots, counters),) = state
        groups = [
            (self.trainable_variables, trainable),
            (self.non_trainable_variables, others),
            (self.optimizer.variables, slots),
            (self.metrics_variables, counters),
        ]
        mapping = [pair for group in groups for pair in zip(*group, strict=True)]
        with keras.StatelessScope(mapping) as scope:
            logs = self._update(batch)
        return logs, tuple(
            [scope.get_current_value(variable) for variable in variables]
            for variables, _ in groups
        )

    def _update(self, batch):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        if sample_weight is not None:
            raise ValueError("`sample_weight` must be left out: games weigh no samples")
        batch = x if y is None else (x, y)
        if hasattr(self.losses_function, "draw"):
            batch = self.losses_function.draw(batch, self.seed_generator)
        names = list(self.players)
        if self.order == "simultaneous":
            values, gradients = self._adjusted(batch)
            for i in range(len(names)):
                self._apply(i, gradients[i])
        else:
            values = {}
            for i, name in enumerate(names):
                for _ in range(self.steps.get(name, 1)):
                    losses, gradients = self._adjusted(batch, only=i)
                    values[i] = losses[i]
                    self._apply(i, gradients[i])
        for i, name in enumerate(names):
            self.trackers[name].update_state(values[i])
        return {tracker.name: tracker.result() for tracker in self.trackers.values()}

    def _adjusted(self, batch, only=None):
        def losses():
            values = self.losses_function(self.players, batch)
            if set(values) != set(self.players):
                raise ValueError(
                    "`losses` must return a loss for every player "
                    f"({', '.join(self.players)}). Received: {', '.join(values)}"
                )
            return [
                values[name] + regularization(layer)
                for name, layer in self.players.items()
            ]

        def penalty(name):
            return lambda: self.penalties[name](self.players, batch)

        return self.adjustment(
            losses,
            self.variables_of,
            penalties=[
                penalty(name) if name in self.penalties else None
                for name in self.players
            ],
            optimizers=self.optimizer.optimizers,
            only=only,
        )

    def _apply(self, i, gradients):
        name, variables = list(self.players)[i], self.variables_of[i]
        self.optimizer.of_players[name].apply(replica_share(gradients), variables)
        if name in self.clip:
            for variable in variables:
                variable.assign(self._clipped(name, variable))

    def _clipped(self, name, variable):
        limit = self.clip.get(name, math.inf)
        return ops.clip(variable, -limit, limit)

    @contextlib.contextmanager
    def averaged(self, player: str) -> Iterator[keras.Layer]:
        """Puts the moving averages of a player's weights in their place for a while.

        The averages are those of its optimizer with `use_ema=True`.

        Raises:
            ValueError: the optimizer keeps no averages.
        """
        optimizer = self.optimizer.of_players[player]
        if not optimizer.use_ema:
            raise ValueError(
                "The player's optimizer must have use_ema=True. "
                f"Received: {player!r} with use_ema=False"
            )
        variables = self.players[player].trainable_variables
        saved = [ops.copy(variable.value) for variable in variables]
        optimizer.finalize_variable_values(variables)
        for variable in variables:
            # A copy: on JAX predicting gives a weight's buffer away.
            variable.assign(ops.copy(self._clipped(player, variable)))
        try:
            yield self.players[player]
        finally:
            for variable, value in zip(variables, saved, strict=True):
                variable.assign(value)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        # Keras leaves it out, and a game that goes on would draw the first noise again.
        store["seed"] = np.array(self.seed_generator.state)

    def load_own_variables(self, store):
        self.seed_generator.state.assign(store["seed"])

    def get_config(self):
        return {
            "name": self.name,
            "players": {
                player: keras.saving.serialize_keras_object(layer)
                for player, layer in self.players.items()
            },
            "losses": keras.saving.serialize_keras_object(self.losses_function),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        players = {
            player: keras.saving.deserialize_keras_object(layer)
            for player, layer in config["players"].items()
        }
        losses = keras.saving.deserialize_keras_object(config["losses"])
        return cls(**{**config, "players": players, "losses": losses})

    def get_compile_config(self):
        if not self.compiled:
            return {}
        return keras.saving.serialize_keras_object(self._settings)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))


class _EndAtNaN(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        for name, value in (logs or {}).items():
            if not math.isfinite(value):
                player = name.removesuffix("_loss")
                raise FloatingPointError(
                    f"the loss of player {player!r} is {value} in batch {batch}"
                )
