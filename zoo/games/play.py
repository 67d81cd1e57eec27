"""Plays a game without data and keeps the way that it takes."""

import keras
import numpy as np

from zoo.games.trainer import GameTrainer


class _Path(keras.callbacks.Callback):
    """Keeps the players' weights after each update, until one is out of bounds."""

    def __init__(self, bound):
        super().__init__()
        self.bound = bound

    def on_train_begin(self, logs=None):
        self.rows = {player: [] for player in self.model.players}
        self.on_train_batch_end(None)

    def on_train_batch_end(self, batch, logs=None):
        for player, layer in self.model.players.items():
            weight = np.array(layer.trainable_variables[0])
            self.rows[player].append(weight)
            if not np.abs(weight).max() <= self.bound:
                self.model.stop_training = True


def play(trainer: GameTrainer, steps: int, bound: float = 1e6) -> dict[str, np.ndarray]:
    """Plays a game without data, and keeps each player's first weight as it goes.

    Args:
        trainer: a compiled `GameTrainer` whose `losses` ignore the batch.
        steps: int >= 1, updates.
        bound: float > 0; the game ends early once a weight's magnitude exceeds it.

    Returns:
        Dict of players' names to their path, `[steps + 1, *shape of the weight]`,
        shorter if the game has ended early.

    Raises:
        ValueError: `trainer` makes several updates an execution.

    Example: gradient descent runs away from the equilibrium of `x y`.

    >>> from zoo.games import GameTrainer, bilinear_game
    >>> game = bilinear_game([[1.0]])
    >>> players = game.players({"player_1": [1.0], "player_2": [0.0]})
    >>> trainer = GameTrainer(players, game)
    >>> trainer.compile(keras.optimizers.SGD(0.5))
    >>> path = play(trainer, steps=2)
    >>> np.hypot(path["player_1"], path["player_2"])[:, 0].round(3).tolist()
    [1.0, 1.118, 1.25]
    """
    if trainer.steps_per_execution > 1:
        raise ValueError(
            "`trainer` must be compiled with steps_per_execution=1. "
            f"Received: steps_per_execution={trainer.steps_per_execution}"
        )
    path = _Path(bound)
    nothing = np.zeros((steps, 1), "float32")
    trainer.fit(nothing, batch_size=1, shuffle=False, verbose=0, callbacks=[path])
    return {player: np.stack(rows) for player, rows in path.rows.items()}
