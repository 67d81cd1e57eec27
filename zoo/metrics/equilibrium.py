"""How far strategies are from an equilibrium of a game in normal form."""

from collections.abc import Sequence

import numpy as np

from zoo._types import Array

SLACK = 1e-5


def check_payoffs(payoffs):
    """Returns payoffs as a tuple of float64 arrays.

    Args:
        payoffs: arrays, one a player, each of shape `(a_1, ..., a_n)`.

    Raises:
        ValueError: there are fewer than two players, a shape is not that, an action is
            missing or a payoff is not finite.
    """
    payoffs = tuple(np.asarray(table, "float64") for table in payoffs)
    shapes = [table.shape for table in payoffs]
    if len(payoffs) < 2:
        raise ValueError(
            f"`payoffs` must be of two players or more. Received: {len(payoffs)}"
        )
    if len(set(shapes)) > 1 or len(shapes[0]) != len(payoffs):
        raise ValueError(
            f"`payoffs` must be {len(payoffs)} arrays of one shape, with an axis for "
            f"each of the {len(payoffs)} players. Received: shapes={shapes}"
        )
    if 0 in shapes[0]:
        raise ValueError(
            f"`payoffs` must have an action for each player. Received: shapes={shapes}"
        )
    if not all(np.isfinite(table).all() for table in payoffs):
        raise ValueError(f"`payoffs` must be finite. Received: payoffs={payoffs}")
    return payoffs


def check_strategies(strategies, actions):
    """Returns strategies as a tuple of float64 vectors.

    Args:
        strategies: probability vectors, one a player.
        actions: tuple of ints, the numbers of actions of the players.

    Raises:
        ValueError: there are not as many vectors as players, or one is not of its
            player's length, is negative or does not add up to one, to 1e-5.
    """
    strategies = tuple(np.asarray(strategy, "float64") for strategy in strategies)
    shapes = [strategy.shape for strategy in strategies]
    if shapes != [(count,) for count in actions]:
        raise ValueError(
            f"`strategies` must be vectors of lengths {tuple(actions)}, one a player. "
            f"Received: shapes={shapes}"
        )
    for strategy in strategies:
        if not (strategy.min() >= -SLACK and abs(strategy.sum() - 1) <= SLACK):
            raise ValueError(
                "`strategies` must be probabilities that add up to 1. "
                f"Received: {strategy}"
            )
    return strategies


def utilities(
    payoffs: Sequence[Array], strategies: Sequence[Array]
) -> list[np.ndarray]:
    """Returns what each player expects of each own action.

    `u_i[a] = sum over the others' actions of payoff_i * product of their probabilities`

    Args:
        payoffs: arrays, one a player, each of shape `(a_1, ..., a_n)`: player `i` is
            paid `payoffs[i][actions of all]`.
        strategies: probability vectors, one a player.

    Returns:
        A list of float64 vectors, one a player, as long as its strategy.

    Raises:
        ValueError: the payoffs are no game, or the strategies not its.

    Example:

    >>> pennies = [[1, -1], [-1, 1]]
    >>> first, second = utilities([pennies, np.negative(pennies)], [[1, 0], [0.5, 0.5]])
    >>> first.tolist(), second.tolist()
    ([0.0, 0.0], [-1.0, 1.0])
    """
    tables = check_payoffs(payoffs)
    vectors = check_strategies(strategies, tables[0].shape)
    results = []
    for i, table in enumerate(tables):
        table = np.moveaxis(table, i, 0)
        for strategy in reversed(vectors[:i] + vectors[i + 1 :]):
            table = table @ strategy
        results.append(table)
    return results


def nash_conv(payoffs: Sequence[Array], strategies: Sequence[Array]) -> float:
    """Returns what all players together would gain by best responses.

    `NashConv = sum_i (max_a u_i[a] - x_i . u_i)`, with `u_i` of `utilities`: at least
    0, and 0 at Nash equilibria alone. In a two-player zero-sum game it is the duality
    gap, and twice what some call exploitability.

    Args:
        payoffs: arrays, one a player, each of shape `(a_1, ..., a_n)`.
        strategies: probability vectors, one a player.

    Returns:
        A float, in units of the payoffs.

    Raises:
        ValueError: the payoffs are no game, or the strategies not its.

    Example: both would rather defect in a prisoner's dilemma.

    >>> row = np.array([[3, 0], [5, 1]])
    >>> nash_conv([row, row.T], [[1, 0], [1, 0]]), nash_conv([row, row.T], [[0, 1]] * 2)
    (4.0, 0.0)

    Reference:

    - Lanctot et al., 2017, "A unified game-theoretic approach to multiagent
      reinforcement learning", [arXiv:1711.00832](https://arxiv.org/abs/1711.00832)
    """
    gains = (
        utility.max() - utility @ np.asarray(strategy, "float64")
        for utility, strategy in zip(
            utilities(payoffs, strategies), strategies, strict=True
        )
    )
    return float(sum(gains))


def duality_gap(payoff: Array, x: Array, y: Array) -> float:
    """Returns the duality gap of a two-player zero-sum game.

    `max_i (A y)_i - min_j (A' x)_j`, at least 0, and 0 at equilibria alone. `x` is no
    further than the gap from what it can guarantee, and neither is `y`.

    Args:
        payoff: array `A`, `(rows, columns)`: the row player is paid `x' A y` by the
            column player.
        x: probabilities, `(rows,)`.
        y: probabilities, `(columns,)`.

    Returns:
        A float, in units of the payoffs.

    Raises:
        ValueError: the payoffs are no game, or the strategies not its.

    Example:

    >>> duality_gap([[1, -1], [-1, 1]], [0.75, 0.25], [0.5, 0.5])
    0.5
    """
    payoff = np.asarray(payoff, "float64")
    # What the column player expects is what the row player loses.
    row, column = utilities([payoff, -payoff], [x, y])
    return float(row.max() + column.max())
