"""Iterations that solve two-player zero-sum matrix games, in float64.

All take the payoff matrix `A`, `(rows, columns)`: the row player plays `x` to make
`x' A y` large, the column player plays `y` to make it small. An iteration evaluates
`A y` and `A' x` once each.
"""

from collections.abc import Sequence

import numpy as np

from zoo._types import Array
from zoo.solvers.play import Play, Solution


def project_to_simplex(vector: Array) -> np.ndarray:
    """Returns the nearest probability vector, in the Euclidean norm.

    `max(v - t, 0)` with the `t` that makes it add up to one, found by sorting.

    Args:
        vector: float array, `(actions,)`.

    Returns:
        An array of that shape.

    Example:

    >>> project_to_simplex(np.array([0.5, 1.0, -3.0])).tolist()
    [0.25, 0.75, 0.0]
    """
    # Relative to the top, so that large entries cost no digits.
    vector = vector - vector.max()
    ordered = np.sort(vector)[::-1]
    levels = (ordered.cumsum() - 1) / np.arange(1, len(ordered) + 1)
    return np.maximum(vector - levels[np.count_nonzero(ordered > levels) - 1], 0)


def mirror_descent(
    payoff: Array,
    iterations: int = 20_000,
    tolerance: float = 1e-6,
    *,
    learning_rate: float = 0.1,
    optimism: float = 0.0,
    alternating: bool = False,
    every: int = 10,
    start: Sequence[Array] | None = None,
) -> Solution:
    """Plays entropic mirror descent, also known as multiplicative weights or Hedge.

    `x <- x * exp(eta * (u + o * (u - u_last)))` with `u = A y`, made to add up to one,
    and the same for `y` with `u = -A' x`.

    Without optimism `o` the average of play approaches an equilibrium while the last
    strategies circle around it; with `o = 1` these approach it too.

    Args:
        payoff: array `A`, `(rows, columns)`.
        iterations: int >= 1, the most that are made. Defaults to 20000.
        tolerance: float, the duality gap to stop at, in units of the payoffs. Defaults
            to 1e-6.
        learning_rate: float > 0, `eta`, in units of one over the payoffs. Defaults to
            0.1.
        optimism: float >= 0, `o`. Defaults to 0.0.
        alternating: bool, whether the column player sees the row player's new strategy.
            Defaults to `False`.
        every: int >= 1, iterations from one check of the gap to the next. Defaults to
            10.
        start: pair of probability vectors. Defaults to uniform ones.

    Returns:
        A `Solution`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> pennies = [[1.0, -1.0], [-1.0, 1.0]]
    >>> start = [0.9, 0.1], [0.5, 0.5]
    >>> mirror_descent(pennies, learning_rate=0.5, start=start).converged
    False
    >>> mirror_descent(pennies, learning_rate=0.5, start=start, optimism=1).converged
    True

    Reference:

    - Freund and Schapire, 1999, "Adaptive game playing using multiplicative weights"
    - Rakhlin and Sridharan, 2013, "Optimization, learning, and games with predictable
      sequences", [arXiv:1311.1869](https://arxiv.org/abs/1311.1869)
    """
    if not (learning_rate > 0 and optimism >= 0):
        raise ValueError(
            "`learning_rate` must be > 0 and `optimism` >= 0. "
            f"Received: learning_rate={learning_rate!r}, optimism={optimism!r}"
        )
    play = Play(payoff, start)

    def mover(strategy, rate, utility):
        with np.errstate(divide="ignore"):
            logits = np.log(strategy)
        utility = _Optimistic(utility, optimism)

        def move():
            nonlocal logits
            logits += rate * utility()
            logits -= logits.max()
            weights = np.exp(logits)
            return weights / weights.sum()

        return move

    step = play.turns(
        mover(play.x, learning_rate, play.row),
        mover(play.y, -learning_rate, play.column),
        alternating,
    )
    return play.run(step, iterations, tolerance, every)


def regret_matching_plus(
    payoff: Array,
    iterations: int = 20_000,
    tolerance: float = 1e-6,
    *,
    alternating: bool = True,
    averaging: float = 1,
    every: int = 10,
    start: Sequence[Array] | None = None,
) -> Solution:
    """Plays regret matching+: each action in proportion to its positive regret.

    `R <- max(R + u - x . u, 0)`, `x <- R / sum(R)` with `u = A y`, and the same for `y`
    with `u = -A' x`. It has no learning rate, and play does not change when payoffs are
    scaled or shifted.

    Args:
        payoff: array `A`, `(rows, columns)`.
        iterations, tolerance, every, start: as for `mirror_descent`.
        alternating: bool, whether the column player sees the row player's new strategy.
            Defaults to `True`.
        averaging: float >= 0, the power of the iteration that weighs its strategies in
            the average: 0 uniform, 1 linear, 2 quadratic. Defaults to 1.

    Returns:
        A `Solution`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> solution = regret_matching_plus([[2.0, -1.0], [-1.0, 1.0]], tolerance=1e-4)
    >>> [strategy.round(3).tolist() for strategy in solution.best]
    [[0.4, 0.6], [0.4, 0.6]]

    Reference:

    - Tammelin, 2014, "Solving large imperfect information games using CFR+",
      [arXiv:1407.5042](https://arxiv.org/abs/1407.5042)
    """
    play = Play(payoff, start)
    step = _regret_matching(play, alternating, predictive=False)
    return play.run(step, iterations, tolerance, every, averaging)


def predictive_regret_matching_plus(
    payoff: Array,
    iterations: int = 20_000,
    tolerance: float = 1e-6,
    *,
    alternating: bool = True,
    averaging: float = 2,
    every: int = 10,
    start: Sequence[Array] | None = None,
) -> Solution:
    """Plays predictive regret matching+: regret matching+ that expects the last again.

    `R <- max(R + r, 0)`, `x <- max(R + r, 0)`, made to add up to one, with the regret
    `r = u - x . u`, which enters once as seen and once as the prediction.

    Args:
        payoff: array `A`, `(rows, columns)`.
        iterations, tolerance, every, start: as for `mirror_descent`.
        alternating, averaging: as for `regret_matching_plus`. Default to `True` and 2.

    Returns:
        A `Solution`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> solution = predictive_regret_matching_plus([[2.0, -1.0], [-1.0, 1.0]])
    >>> [strategy.round(5).tolist() for strategy in solution.best]
    [[0.4, 0.6], [0.4, 0.6]]

    Reference:

    - Farina, Kroer and Sandholm, 2021, "Faster game solving via predictive Blackwell
      approachability", [arXiv:2007.14358](https://arxiv.org/abs/2007.14358)
    """
    play = Play(payoff, start)
    step = _regret_matching(play, alternating, predictive=True)
    return play.run(step, iterations, tolerance, every, averaging)


def restarted_optimistic_gradient(
    payoff: Array,
    iterations: int = 20_000,
    tolerance: float = 1e-6,
    *,
    learning_rate: float = 0.5,
    every: int = 10,
    start: Sequence[Array] | None = None,
) -> Solution:
    """Plays projected optimistic gradient steps, and restarts them from their average.

    `x <- P(x + eta * (2 u - u_last))` with `u = A y`, and the same for `y` with
    `u = -A' x`, where `P` projects to the simplex. Once the gap of the average since
    the last restart has halved, play goes on from this average.

    Args:
        payoff: array `A`, `(rows, columns)`.
        iterations, tolerance, every, start: as for `mirror_descent`.
        learning_rate: float > 0, `eta` in units of `1 / ||A||`, the spectral norm after
            the means of rows and columns are taken off: below `1 / sqrt(3)`. Defaults
            to 0.5.

    Returns:
        A `Solution`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> solution = restarted_optimistic_gradient([[2.0, -1.0], [-1.0, 1.0]])
    >>> [strategy.round(5).tolist() for strategy in solution.best]
    [[0.4, 0.6], [0.4, 0.6]]

    Reference:

    - Wei, Lee, Zhang and Luo, 2021, "Linear last-iterate convergence in constrained
      saddle-point optimization", [arXiv:2006.09517](https://arxiv.org/abs/2006.09517)
    - Applegate, Hinder, Lu and Lubin, 2023, "Faster first-order primal-dual methods for
      linear programming using restarts and sharpness",
      [arXiv:2105.12715](https://arxiv.org/abs/2105.12715)
    """
    play = Play(payoff, start)
    eta = _check_rate(learning_rate) / play.norm()
    row, column = _Optimistic(play.row), _Optimistic(play.column)
    step = play.turns(
        lambda: project_to_simplex(play.x + eta * row()),
        lambda: project_to_simplex(play.y - eta * column()),
        alternating=False,
    )

    def restart():
        row.forget()
        column.forget()

    return play.run(step, iterations, tolerance, every, restart=restart)


def restarted_halpern(
    payoff: Array,
    iterations: int = 20_000,
    tolerance: float = 1e-6,
    *,
    learning_rate: float = 0.99,
    every: int = 10,
    start: Sequence[Array] | None = None,
) -> Solution:
    """Plays the reflected, restarted Halpern iteration of primal-dual steps.

    A primal-dual step `T` takes `z = (x, y)` to `x_T = P(x + eta / w * A y)` and
    `y_T = P(y - eta * w * A' (2 x_T - x))`, where `P` projects to the simplex. From an
    anchor `z_0`,

    `z_(k+1) = (k + 1) / (k + 2) * (2 T(z_k) - z_k) + 1 / (k + 2) * z_0`

    and what is played is `T(z_k)`. At a check it becomes the next anchor if the length
    of the step, `||T(z) - z||`, has fallen to a fifth since the last one, or to four
    fifths and grows again, or if more than 0.36 of all iterations have been made since.
    The weight `w` then follows the ratio of how far the two players have gone, or lets
    the one that still goes take steps ten times as long.

    Args:
        payoff: array `A`, `(rows, columns)`.
        iterations, tolerance, every, start: as for `mirror_descent`.
        learning_rate: float > 0, `eta` in units of `1 / ||A||`, the spectral norm after
            the means of rows and columns are taken off: below 1. Defaults to 0.99.

    Returns:
        A `Solution`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> solution = restarted_halpern([[2.0, -1.0], [-1.0, 1.0]])
    >>> [strategy.round(5).tolist() for strategy in solution.best]
    [[0.4, 0.6], [0.4, 0.6]]

    Reference:

    - Lu and Yang, 2024, "Restarted Halpern PDHG for linear programming",
      [arXiv:2407.16144](https://arxiv.org/abs/2407.16144)
    - Applegate et al., 2021, "Practical large-scale linear programming using
      primal-dual hybrid gradient", whose rules of restarts and weights these are, with
      the length of the step for the gap,
      [arXiv:2106.04970](https://arxiv.org/abs/2106.04970)
    """
    play = Play(payoff, start)
    eta = _check_rate(learning_rate) / play.norm()
    point, anchor = play.now.copy(), play.now.copy()
    x, y, row, column = play.parts(point)
    weight, age, total = 1.0, 0, 0
    first = last = np.inf

    def must_restart():
        nonlocal first, last
        if age % every:
            return False
        dx, dy, _, drop = play.parts(play.now - point)
        square = weight * dx @ dx + dy @ dy / weight + 2 * eta * drop @ dy
        length = np.sqrt(max(square, 0.0))
        if age == 0:
            first, last = length, np.inf
            return False
        before, last = last, length
        return (
            length <= 0.2 * first
            or before < length <= 0.8 * first
            or age > 0.36 * total
        )

    def step():
        nonlocal weight, age, total, anchor
        play.play_row(project_to_simplex(x + eta / weight * row))
        ahead = 2 * play.column - column
        play.play_column(project_to_simplex(y - eta * weight * ahead))
        total += 1
        if must_restart():
            dx, dy, _, _ = play.parts(play.now - anchor)
            moved = np.linalg.norm(dx), np.linalg.norm(dy)
            if min(moved) > 1e-10:
                weight = np.sqrt(weight * moved[1] / moved[0])
            elif max(moved) > 1e-10:
                # One has settled, and the other may hurry.
                weight *= 10.0 if moved[1] > moved[0] else 0.1
            point[:] = anchor = play.now.copy()
            age = 0
        else:
            pull = 1 / (age + 2)
            point[:] = (1 - pull) * (2 * play.now - point) + pull * anchor
            age += 1

    return play.run(step, iterations, tolerance, every)


def _check_rate(learning_rate):
    if learning_rate > 0:
        return learning_rate
    raise ValueError(
        f"`learning_rate` must be > 0. Received: learning_rate={learning_rate!r}"
    )


def _regret_matching(play, alternating, predictive):
    """Returns the step of (predictive) regret matching+."""

    def matcher(strategy, sign, payoff):
        regrets = np.zeros_like(strategy)

        def match():
            regret = sign * (payoff - payoff @ strategy)
            np.maximum(regrets + regret, 0, out=regrets)
            weights = np.maximum(regrets + regret, 0) if predictive else regrets
            total = weights.sum()
            # Without regret nothing is better than to stay.
            return weights / total if total > 0 else strategy.copy()

        return match

    return play.turns(
        matcher(play.x, 1, play.row), matcher(play.y, -1, play.column), alternating
    )


class _Optimistic:
    """Adds to what an array holds its change since the last call, `optimism` times."""

    def __init__(self, array, optimism=1.0):
        self.array, self.optimism = array, optimism
        self.forget()

    def forget(self):
        self.last = None

    def __call__(self):
        now = self.array.copy()
        last = now if self.last is None else self.last
        self.last = now
        return now + self.optimism * (now - last)
