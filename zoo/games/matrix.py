"""Games in normal form, whose equilibria are known or can be computed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from scipy.optimize import linprog

from zoo._types import Array
from zoo.metrics import equilibrium


@keras.saving.register_keras_serializable(package="zoo")
class Strategy(keras.layers.Layer):
    """A mixed strategy: one trainable weight, `probabilities`.

    Nothing keeps the weight on the simplex but how it is trained.

    Args:
        start: probability vector, `(actions,)`, the weight's first value.
        **kwargs: arguments of `keras.layers.Layer`: `name`, `dtype`, ...

    Call arguments:
        inputs: ignored.

    Returns:
        The weight.

    Raises:
        ValueError: `start` is no probability vector.

    Example:

    >>> ops.convert_to_numpy(Strategy([0.25, 0.75])()).tolist()
    [0.25, 0.75]
    """

    def __init__(self, start: Array, **kwargs: Any) -> None:
        (start,) = equilibrium.check_strategies([start], [len(start)])
        super().__init__(**kwargs)
        self.start = start.tolist()
        self.probabilities = self.add_weight(
            name="probabilities",
            shape=start.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(start, dtype),
        )
        self.built = True

    def call(self, inputs=None):
        return ops.copy(self.probabilities)

    def get_config(self):
        return {**super().get_config(), "start": self.start}


@keras.saving.register_keras_serializable(package="zoo")
class MatrixGame:
    """A game of two or more players who choose actions at once.

    Player `i` is paid `payoffs[i][a_1, ..., a_n]` when the players choose actions
    `a_1, ..., a_n`, and wants much of it.

    Strategies, in all methods, are probability vectors in the order of the players, or
    a dictionary of them by the players' names, as `players` returns.

    The game itself is what a `GameTrainer` takes for `losses`.

    Args:
        *payoffs: arrays, one a player, each of shape `(a_1, ..., a_n)`, in any unit.
            One matrix alone makes a zero-sum game: it is what the column player pays
            the row player.

    Attributes:
        payoffs: tuple of float64 arrays, one a player.
        num_players: int.
        num_actions: tuple of ints, one a player.
        names: tuple of strings, `("row", "column")` or `("player_1", "player_2", ...)`.
        is_zero_sum: bool, whether the payoffs of all players add up to 0 everywhere.

    Raises:
        ValueError: the payoffs are of fewer than two players, of different shapes,
            without actions or not finite.

    Example:

    >>> game = MatrixGame([[3, 0], [5, 1]], [[3, 5], [0, 1]])
    >>> game.num_players, game.num_actions, game.is_zero_sum
    (2, (2, 2), False)
    >>> game.value([[1, 0], [1, 0]]).tolist(), game.nash_conv([[1, 0], [1, 0]])
    ([3.0, 3.0], 4.0)
    """

    def __init__(self, *payoffs: Array) -> None:
        if len(payoffs) == 1 and np.ndim(payoffs[0]) == 2:
            # The negative would have zeros of the other sign.
            payoffs = payoffs[0], 0 - np.asarray(payoffs[0], "float64")
        self.payoffs = equilibrium.check_payoffs(payoffs)
        self.num_players = len(self.payoffs)
        self.num_actions = self.payoffs[0].shape
        self.names: tuple[str, ...] = ("row", "column")
        if self.num_players > 2:
            self.names = tuple(f"player_{i + 1}" for i in range(self.num_players))
        largest = max(np.abs(payoff).max() for payoff in self.payoffs)
        self.is_zero_sum = bool(np.abs(sum(self.payoffs)).max() <= 1e-12 * largest)

    def uniform(self) -> tuple[np.ndarray, ...]:
        """Returns strategies that choose all actions alike."""
        return tuple(np.full(actions, 1 / actions) for actions in self.num_actions)

    def value(self, strategies: Sequence[Array] | dict[str, Array]) -> np.ndarray:
        """Returns what the players expect to be paid, a float64 array, `(players,)`."""
        vectors = self._in_order(strategies)
        expected = equilibrium.utilities(self.payoffs, vectors)
        return np.array([u @ x for u, x in zip(expected, vectors, strict=True)])

    def nash_conv(self, strategies: Sequence[Array] | dict[str, Array]) -> float:
        """Returns what all players together would gain by best responses."""
        return equilibrium.nash_conv(self.payoffs, self._in_order(strategies))

    def duality_gap(self, strategies: Sequence[Array] | dict[str, Array]) -> float:
        """Returns the duality gap of a two-player zero-sum game."""
        self._must_be_zero_sum("duality_gap")
        return equilibrium.duality_gap(self.payoffs[0], *self._in_order(strategies))

    def nash(self) -> tuple[tuple[np.ndarray, ...], float]:
        """Solves a two-player zero-sum game by a linear programme.

        `max v` such that `A' x >= v` for each column; its dual variables are `y`.

        Returns:
            Strategies `(x, y)` and the value to the row player, a float.

        Raises:
            ValueError: the game is no two-player zero-sum game.

        Example:

        >>> (x, y), value = rock_paper_scissors().nash()
        >>> x.round(6).tolist(), abs(value) < 1e-9
        ([0.333333, 0.333333, 0.333333], True)
        """
        self._must_be_zero_sum("nash")
        payoff, (rows, columns) = self.payoffs[0], self.num_actions
        # The solver's tolerances are absolute.
        payoff = (payoff - payoff.min()) / (np.ptp(payoff) or 1.0)
        result = linprog(
            c=[*np.zeros(rows), -1.0],
            A_ub=np.column_stack([-payoff.T, np.ones(columns)]),
            b_ub=np.zeros(columns),
            A_eq=[[*np.ones(rows), 0.0]],
            b_eq=[1.0],
            bounds=[(0, None)] * rows + [(None, None)],
            method="highs",
        )
        strategies = []
        for weights in (result.x[:-1], -result.ineqlin.marginals):
            weights = np.maximum(weights, 0.0)
            strategies.append(weights / weights.sum())
        return tuple(strategies), float(self.value(strategies)[0])

    def players(
        self,
        start: Sequence[Array] | dict[str, Array] | None = None,
        dtype: str = "float64",
    ) -> dict[str, Strategy]:
        """Returns trainable players, a dictionary of `Strategy` layers by name.

        Args:
            start: strategies to start from. Defaults to uniform ones.
            dtype: str, of the weights. Defaults to `"float64"`, which JAX must be told
                to allow.
        """
        start = self.uniform() if start is None else self._in_order(start)
        return {
            name: Strategy(strategy, name=name, dtype=dtype)
            for name, strategy in zip(self.names, start, strict=True)
        }

    def __call__(
        self, players: Mapping[str, Callable[..., Array]], batch: Any = None
    ) -> dict[str, Array]:
        """Returns the players' `losses`."""
        return self.losses(players, batch)

    def losses(
        self, players: Mapping[str, Callable[..., Array]], batch: Any = None
    ) -> dict[str, Array]:
        """Returns the players' losses, minus what they expect to be paid.

        Args:
            players: dictionary of layers by name, as `players` returns.
            batch: ignored.

        Returns:
            Dictionary of scalar tensors by name.

        Example:

        >>> game = matching_pennies()
        >>> losses = game.losses(game.players(start=[[1, 0], [1, 0]]))
        >>> {name: float(loss) for name, loss in losses.items()}
        {'row': -1.0, 'column': 1.0}
        """
        strategies = [players[name]() for name in self.names]
        results = {}
        for name, payoff in zip(self.names, self.payoffs, strict=True):
            expected = ops.convert_to_tensor(payoff, strategies[0].dtype)
            for strategy in reversed(strategies):
                expected = ops.sum(expected * strategy, axis=-1)
            results[name] = -expected
        return results

    def get_config(self):
        return {"payoffs": [payoff.tolist() for payoff in self.payoffs]}

    @classmethod
    def from_config(cls, config):
        return cls(*config["payoffs"])

    def _in_order(self, strategies):
        if isinstance(strategies, dict):
            if set(strategies) != set(self.names):
                raise ValueError(
                    f"`strategies` must be those of {self.names}. "
                    f"Received: {tuple(strategies)}"
                )
            strategies = [strategies[name] for name in self.names]
        strategies = [
            ops.convert_to_numpy(strategy.probabilities)
            if isinstance(strategy, Strategy)
            else strategy
            for strategy in strategies
        ]
        return equilibrium.check_strategies(strategies, self.num_actions)

    def _must_be_zero_sum(self, method):
        if self.num_players != 2 or not self.is_zero_sum:
            raise ValueError(
                f"`{method}` needs a two-player zero-sum game. Received: "
                f"num_players={self.num_players}, is_zero_sum={self.is_zero_sum}"
            )


def matching_pennies() -> MatrixGame:
    """Returns matching pennies: the row player wins 1 if both show the same side.

    Both sides alike is the equilibrium, and 0 the value.

    Example:

    >>> matching_pennies().payoffs[0].tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    return MatrixGame([[1, -1], [-1, 1]])


def odds_and_evens() -> MatrixGame:
    """Returns one round of odds and evens, for stakes as high as the sum.

    Each player shows one finger or two. The row player, "odds", is paid the sum of
    fingers if it is odd, and pays it if it is even. Both show one finger with
    probability 7/12, and the value to the row player is 1/12.

    For stakes of 1 it would be matching pennies with the players' roles exchanged.

    Example:

    >>> (x, y), value = odds_and_evens().nash()
    >>> (12 * x).round(6).tolist(), (12 * y).round(6).tolist(), round(12 * value, 6)
    ([7.0, 5.0], [7.0, 5.0], 1.0)

    Reference:

    - Ferguson, 2014, "Game theory", part II, section 1.2
    """
    return MatrixGame([[-2, 3], [3, -4]])


def rock_paper_scissors() -> MatrixGame:
    """Returns rock, paper, scissors, for stakes of 1.

    All three alike is the equilibrium, and 0 the value.

    Example:

    >>> rock_paper_scissors().payoffs[0].tolist()
    [[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]
    """
    return MatrixGame([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])


def random_matrix_game(
    rows: int,
    columns: int,
    seed: int = 0,
    distribution: Literal["uniform", "normal"] = "uniform",
) -> MatrixGame:
    """Returns a two-player zero-sum game with independent random payoffs.

    Args:
        rows: int >= 1, actions of the row player.
        columns: int >= 1, actions of the column player.
        seed: int, of NumPy's default generator. Defaults to 0.
        distribution: `"uniform"`, over [-1, 1), or `"normal"`, of mean 0 and variance
            1. Defaults to `"uniform"`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> random_matrix_game(50, 20).num_actions
    (50, 20)
    """
    return MatrixGame(_draw([rows, columns], seed, distribution))


def random_game(
    actions: Sequence[int],
    seed: int = 0,
    distribution: Literal["uniform", "normal"] = "uniform",
) -> MatrixGame:
    """Returns a game of two or more players with independent random payoffs.

    Args:
        actions: sequence of ints >= 1, the numbers of actions of the players.
        seed: int, of NumPy's default generator. Defaults to 0.
        distribution: as for `random_matrix_game`. Defaults to `"uniform"`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> random_game([2, 3, 4]).names
    ('player_1', 'player_2', 'player_3')
    """
    return MatrixGame(*_draw([len(actions), *actions], seed, distribution))


def _draw(shape, seed, distribution):
    generator = np.random.default_rng(seed)
    if distribution == "uniform":
        return generator.uniform(-1, 1, shape)
    if distribution == "normal":
        return generator.normal(size=shape)
    raise ValueError(
        "`distribution` must be 'uniform' or 'normal'. "
        f"Received: distribution={distribution!r}"
    )
