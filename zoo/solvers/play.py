"""What solvers of matrix games share: strategies as they change, and the outcome."""

import dataclasses

import numpy as np

from zoo.metrics.equilibrium import check_payoffs, check_strategies


@dataclasses.dataclass(frozen=True)
class Solution:
    """What an iteration found.

    Attributes:
        strategies: pair of float64 vectors, the last `x` and `y`.
        average: pair of float64 vectors, their mean since the start or, where the
            iteration restarts to it, since the last restart.
        gaps: float64 array, duality gaps of the last strategies, one a check.
        average_gaps: float64 array, those of the average.
        checks: int array, the iterations at which gaps were taken.
        iterations: int, how many were made.
        converged: bool, whether a gap is within the tolerance.

    Example: matching pennies.

    >>> from zoo.solvers import regret_matching_plus
    >>> found = regret_matching_plus([[1, -1], [-1, 1]], tolerance=1e-3)
    >>> found.converged, found.gap <= 1e-3, found.best[0].round(2).tolist()
    (True, True, [0.5, 0.5])
    """

    strategies: tuple[np.ndarray, np.ndarray]
    average: tuple[np.ndarray, np.ndarray]
    gaps: np.ndarray
    average_gaps: np.ndarray
    checks: np.ndarray
    iterations: int
    converged: bool

    @property
    def gap(self) -> float:
        """The smaller gap, of the last strategies and of the average."""
        return float(min(self.gaps[-1], self.average_gaps[-1]))

    @property
    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """The pair that has this gap."""
        last = self.gaps[-1] <= self.average_gaps[-1]
        return self.strategies if last else self.average


class Play:
    """Strategies beside what their opponents get of them: `now = [x, y, A y, A' x]`.

    All is linear in the strategies, so an average of `now` holds the products of the
    average strategies, and its gap costs no others.
    """

    def __init__(self, payoff, start):
        payoff = np.asarray(payoff, "float64")
        check_payoffs([payoff, payoff])
        self.payoff, self.transpose = payoff, np.ascontiguousarray(payoff.T)
        if start is None:
            start = [np.full(actions, 1 / actions) for actions in payoff.shape]
        # Exactly, where the check allows for rounding.
        start = [np.maximum(one, 0) for one in check_strategies(start, payoff.shape)]
        x, y = (strategy / strategy.sum() for strategy in start)
        self.now = np.concatenate([x, y, payoff @ y, self.transpose @ x])
        # Views, which change with `now`.
        self.x, self.y, self.row, self.column = self.parts(self.now)

    def parts(self, vector):
        rows, columns = self.payoff.shape
        both = rows + columns
        cuts = slice(rows), slice(rows, both), slice(both, both + rows)
        return *(vector[cut] for cut in cuts), vector[both + rows :]

    def norm(self):
        """The spectral norm of what of `A` acts on differences of strategies."""
        inner = self.payoff - self.payoff.mean(axis=0)
        inner -= inner.mean(axis=1, keepdims=True)
        # Zero where the best action never depends on the other's: any rate will do.
        return np.linalg.norm(inner, 2) or np.ptp(self.payoff) or 1.0

    def play_row(self, x):
        self.x[:] = x
        np.dot(self.transpose, x, out=self.column)

    def play_column(self, y):
        self.y[:] = y
        np.dot(self.payoff, y, out=self.row)

    def turns(self, next_row, next_column, alternating):
        """Returns a step that plays what two functions return."""

        def alternate():
            self.play_row(next_row())
            self.play_column(next_column())

        def together():
            x, y = next_row(), next_column()
            self.play_row(x)
            self.play_column(y)

        return alternate if alternating else together

    def gap(self, vector):
        _, _, row, column = self.parts(vector)
        return row.max() - column.min()

    def run(self, step, iterations, tolerance, every, averaging=0, restart=None):
        """Takes steps until a gap is within the tolerance.

        A function `restart` is called whenever the average's gap has halved, after the
        average has been made the current strategies.
        """
        if not (iterations >= 1 and every >= 1 and averaging >= 0):
            raise ValueError(
                "`iterations` and `every` must be >= 1, `averaging` >= 0. Received: "
                f"iterations={iterations}, every={every}, averaging={averaging}"
            )
        checks, gaps, average_gaps = [], [], []
        total, weight, reached = 0.0, 0.0, self.gap(self.now)
        for iteration in range(1, iterations + 1):
            step()
            share = iteration**averaging
            weight += share
            total = total + (share * self.now if averaging else self.now)
            if iteration % every and iteration < iterations:
                continue
            average = total / weight
            checks.append(iteration)
            gaps.append(self.gap(self.now))
            average_gaps.append(self.gap(average))
            if min(gaps[-1], average_gaps[-1]) <= tolerance:
                break
            halved = average_gaps[-1] <= reached / 2
            if restart and halved and iteration < iterations:
                total, weight, reached = 0.0, 0.0, average_gaps[-1]
                self.now[:] = average
                restart()
        return Solution(
            strategies=(self.x.copy(), self.y.copy()),
            average=tuple(part.copy() for part in self.parts(average)[:2]),
            gaps=np.array(gaps),
            average_gaps=np.array(average_gaps),
            checks=np.array(checks),
            iterations=iteration,
            converged=bool(min(gaps[-1], average_gaps[-1]) <= tolerance),
        )
