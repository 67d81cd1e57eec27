import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.games.matrix import (
    matching_pennies,
    odds_and_evens,
    random_matrix_game,
    rock_paper_scissors,
)
from zoo.metrics import duality_gap
from zoo.solvers import (
    mirror_descent,
    predictive_regret_matching_plus,
    project_to_simplex,
    regret_matching_plus,
    restarted_halpern,
    restarted_optimistic_gradient,
)

optimistic = functools.partial(mirror_descent, optimism=1.0)
FAST = [
    predictive_regret_matching_plus,
    restarted_halpern,
    restarted_optimistic_gradient,
]
ALL = [*FAST, mirror_descent, optimistic, regret_matching_plus]
PENNIES = matching_pennies().payoffs[0]
OFF = [0.9, 0.1], [0.4, 0.6]


def name(solver):
    return "optimistic_mirror_descent" if solver is optimistic else solver.__name__


each = pytest.mark.parametrize("solver", ALL, ids=name)
each_fast = pytest.mark.parametrize("solver", FAST, ids=name)


def normal(rows, columns, seed):
    return random_matrix_game(rows, columns, seed, "normal").payoffs[0]


@each
def test_tells_the_gaps_of_what_it_returns(solver):
    payoff = normal(7, 4, 0)
    result = solver(payoff, 95, tolerance=-1, every=20)
    assert result.checks.tolist() == [20, 40, 60, 80, 95]
    assert result.iterations == 95
    assert not result.converged
    for strategies, gaps in (
        (result.strategies, result.gaps),
        (result.average, result.average_gaps),
    ):
        assert len(gaps) == 5
        assert duality_gap(payoff, *strategies) == pytest.approx(gaps[-1], abs=1e-12)
        for strategy, actions in zip(strategies, payoff.shape, strict=True):
            assert strategy.shape == (actions,)
            assert strategy.min() >= 0
            assert strategy.sum() == pytest.approx(1, abs=1e-12)
    assert result.gap == min(result.gaps[-1], result.average_gaps[-1])
    assert duality_gap(payoff, *result.best) == pytest.approx(result.gap, abs=1e-12)


@each
def test_stops_at_the_first_gap_within_the_tolerance(solver):
    payoff = normal(7, 4, 0)
    long = solver(payoff, 2000, tolerance=-1)
    curve = np.minimum(long.gaps, long.average_gaps)
    tolerance = 1.5 * curve.min()
    short = solver(payoff, 2000, tolerance=tolerance)
    assert short.converged
    assert short.iterations == long.checks[np.argmax(curve <= tolerance)]
    assert short.gap <= tolerance


@each_fast
@pytest.mark.parametrize(
    "game", [matching_pennies(), rock_paper_scissors(), odds_and_evens()]
)
def test_finds_closed_forms(solver, game):
    start = [np.eye(actions)[0] for actions in game.num_actions]
    result = solver(game.payoffs[0], tolerance=1e-9, start=start)
    assert result.converged
    for found, truth in zip(result.best, game.nash()[0], strict=True):
        np.testing.assert_allclose(found, truth, rtol=0, atol=1e-8)


@each_fast
@pytest.mark.parametrize("shape", [(12, 9), (5, 30), (1, 6), (6, 1)])
def test_finds_the_value_of_the_linear_programme(solver, shape):
    game = random_matrix_game(*shape, seed=1)
    result = solver(game.payoffs[0])
    assert result.converged
    assert game.value(result.best)[0] == pytest.approx(game.nash()[1], abs=1e-6)


KINDS = ["normal", "ties", "rank one", "additive", "constant", "duplicates", "shifted"]


@pytest.mark.parametrize("kind", KINDS)
@given(rows=st.integers(1, 7), columns=st.integers(1, 7), seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_the_best_solver_solves_every_game(kind, rows, columns, seed):
    generator = np.random.default_rng(seed)
    a = generator.normal(size=(rows, columns))
    payoff = {
        "normal": a,
        "ties": generator.integers(-1, 2, (rows, columns)),
        "rank one": np.outer(a[:, 0], a[0]),
        "additive": a[:, :1] + a[:1],
        "constant": np.full_like(a, a[0, 0]),
        "duplicates": np.repeat(np.repeat(a, 3, axis=0), 2, axis=1),
        "shifted": a + 1e4,
    }[kind]
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        result = restarted_halpern(payoff)
    assert result.converged
    assert duality_gap(payoff, *result.best) <= 1e-6 + 1e-10


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_best_solver_needs_as_many_steps_at_any_scale(scale):
    for payoff in ([[0.2, 10.0, 0.25]], [[0.2], [10.0], [9.95]]):
        result = restarted_halpern(scale * np.array(payoff), tolerance=1e-6 * scale)
        assert result.converged
        assert result.iterations <= 500


def test_the_best_solver_keeps_its_bounds_on_ten_games():
    for distribution in ("uniform", "normal"):
        iterations = []
        for seed in range(10):
            game = random_matrix_game(50, 50, seed, distribution)
            result = restarted_halpern(game.payoffs[0])
            assert result.converged
            assert game.duality_gap(result.best) <= 1e-6 + 1e-12
            iterations.append(result.iterations)
        assert np.median(iterations) <= 1000
        assert max(iterations) <= 4000


def test_the_best_solver_reaches_rounding_error():
    assert restarted_halpern(normal(20, 20, 0), tolerance=1e-13).converged


@each
def test_scale_of_payoffs_changes_no_play(solver):
    payoff = normal(8, 6, 2)
    rate = {"learning_rate": 0.1}
    scaled = {"learning_rate": 0.1 / 1024}
    rated = solver in (mirror_descent, optimistic)
    one = solver(payoff, 200, tolerance=-1, **rate if rated else {})
    two = solver(1024 * payoff, 200, tolerance=-1, **scaled if rated else {})
    for first, second in zip(one.strategies, two.strategies, strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(1024 * one.gaps, two.gaps, rtol=1e-9, atol=1e-12)


@each
def test_shift_of_payoffs_changes_no_play(solver):
    payoff = normal(8, 6, 2)
    one = solver(payoff, 100, tolerance=-1)
    two = solver(payoff + 3, 100, tolerance=-1)
    for first, second in zip(one.strategies, two.strategies, strict=True):
        np.testing.assert_allclose(first, second, rtol=0, atol=1e-9)


@pytest.mark.parametrize("solver", ALL[2:], ids=name)
def test_players_who_exchange_roles_exchange_strategies(solver):
    payoff = normal(8, 6, 2)
    options = {} if solver is restarted_optimistic_gradient else {"alternating": False}
    one = solver(payoff, 100, tolerance=-1, **options)
    two = solver(-payoff.T, 100, tolerance=-1, **options)
    for first, second in zip(one.strategies, reversed(two.strategies), strict=True):
        np.testing.assert_allclose(first, second, rtol=0, atol=1e-9)


def softmax(logits):
    weights = np.exp(logits)
    return weights / weights.sum()


@pytest.mark.parametrize("alternating", [False, True])
@pytest.mark.parametrize("optimism", [0.0, 1.0, 0.5])
def test_mirror_descent_follows_its_formula(optimism, alternating):
    payoff, eta = normal(5, 4, 3), 0.3
    start = softmax(np.arange(5) / 5), softmax(np.arange(4) / 4)
    x, y = start
    u_last, v_last = None, None
    mean_x, mean_y = 0 * x, 0 * y
    for _ in range(30):
        u, v = payoff @ y, -payoff.T @ x
        u_last = u if u_last is None else u_last
        x_new = x * np.exp(eta * (u + optimism * (u - u_last)))
        x_new /= x_new.sum()
        v = -payoff.T @ x_new if alternating else v
        v_last = v if v_last is None else v_last
        y = y * np.exp(eta * (v + optimism * (v - v_last)))
        y /= y.sum()
        x, u_last, v_last = x_new, u, v
        mean_x, mean_y = mean_x + x / 30, mean_y + y / 30
    result = mirror_descent(
        payoff,
        30,
        -1,
        learning_rate=eta,
        optimism=optimism,
        alternating=alternating,
        start=start,
    )
    for found, truth in zip(
        result.strategies + result.average, (x, y, mean_x, mean_y), strict=True
    ):
        np.testing.assert_allclose(found, truth, rtol=0, atol=1e-13)


@pytest.mark.parametrize("alternating", [False, True])
@pytest.mark.parametrize(
    ("solver", "predictive", "power"),
    [(regret_matching_plus, False, 1), (predictive_regret_matching_plus, True, 2)],
)
def test_regret_matching_follows_its_formula(solver, predictive, power, alternating):
    payoff = normal(5, 4, 3)
    x, y = np.full(5, 1 / 5), np.full(4, 1 / 4)
    row_regrets, column_regrets = np.zeros(5), np.zeros(4)
    mean, weight = np.zeros(5), 0

    def better(regrets, regret):
        positive = np.maximum(regrets + regret if predictive else regrets, 0)
        return positive / positive.sum()

    for t in range(1, 31):
        u, before = payoff @ y, x
        regret = u - x @ u
        row_regrets = np.maximum(row_regrets + regret, 0)
        x = better(row_regrets, regret)
        v = -payoff.T @ (x if alternating else before)
        regret = v - y @ v
        column_regrets = np.maximum(column_regrets + regret, 0)
        y = better(column_regrets, regret)
        mean, weight = mean + t**power * x, weight + t**power
    result = solver(payoff, 30, -1, alternating=alternating)
    np.testing.assert_allclose(result.strategies[0], x, rtol=0, atol=1e-13)
    np.testing.assert_allclose(result.strategies[1], y, rtol=0, atol=1e-13)
    np.testing.assert_allclose(result.average[0], mean / weight, rtol=0, atol=1e-13)


def project(vector):
    """By bisection of the level that is taken off."""
    low, high = vector.min() - 1, vector.max()
    for _ in range(100):
        middle = (low + high) / 2
        if np.maximum(vector - middle, 0).sum() > 1:
            low = middle
        else:
            high = middle
    return np.maximum(vector - low, 0)


def inner_norm(payoff):
    rows, columns = payoff.shape
    left = np.eye(rows) - 1 / rows
    return np.linalg.svd(left @ payoff @ (np.eye(columns) - 1 / columns))[1][0]


def test_restarted_optimistic_gradient_follows_its_formula():
    payoff = normal(6, 5, 3)
    eta = 0.5 / inner_norm(payoff)
    x, y = np.full(6, 1 / 6), np.full(5, 1 / 5)
    plays, reached, last, restarts = [], duality_gap(payoff, x, y), None, 0
    for t in range(1, 121):
        u, v = payoff @ y, payoff.T @ x
        u_last, v_last = last or (u, v)
        x = project(x + eta * (2 * u - u_last))
        y = project(y - eta * (2 * v - v_last))
        plays.append((x, y))
        last = u, v
        if t % 10 == 0 and t < 120:
            means = [np.mean(part, axis=0) for part in zip(*plays, strict=True)]
            if duality_gap(payoff, *means) <= reached / 2:
                (x, y), plays, last = means, [], None
                reached, restarts = duality_gap(payoff, x, y), restarts + 1
    assert restarts >= 3
    result = restarted_optimistic_gradient(payoff, 120, -1)
    means = [np.mean(part, axis=0) for part in zip(*plays, strict=True)]
    for found, truth in zip(
        result.strategies + result.average, (x, y, *means), strict=True
    ):
        np.testing.assert_allclose(found, truth, rtol=0, atol=1e-11)


@pytest.mark.parametrize("every", [3, 10])
@pytest.mark.parametrize("seed", range(8))
def test_restarted_halpern_follows_its_formula(seed, every):
    payoff = normal(12, 10, seed)
    eta, weight = 0.99 / inner_norm(payoff), 1.0
    point = anchor = np.full(12, 1 / 12), np.full(10, 1 / 10)
    age, lengths, plays, reasons = 0, [], [], []
    for t in range(1, 201):
        x, y = point
        x_new = project(x + eta / weight * payoff @ y)
        y_new = project(y - eta * weight * payoff.T @ (2 * x_new - x))
        plays.append((x_new, y_new))
        reason = None
        if age % every == 0:
            dx, dy = x_new - x, y_new - y
            square = weight * dx @ dx + dy @ dy / weight + 2 * eta * dx @ payoff @ dy
            lengths.append(np.sqrt(square))
        if age and age % every == 0:
            first, before, now = lengths[0], lengths[-2], lengths[-1]
            if now <= 0.2 * first:
                reason = "fell far"
            elif before < now <= 0.8 * first:
                reason = "grew again"
            elif age > 0.36 * t:
                reason = "went on for long"
        if reason:
            dx, dy = (a - b for a, b in zip(plays[-1], anchor, strict=True))
            weight *= np.sqrt(np.linalg.norm(dy) / np.linalg.norm(dx) / weight)
            point = anchor = plays[-1]
            age, lengths = 0, []
            reasons.append(reason)
        else:
            point = tuple(
                ((age + 1) * (2 * new - old) + begin) / (age + 2)
                for new, old, begin in zip(plays[-1], point, anchor, strict=True)
            )
            age += 1
    assert len(reasons) >= 3
    assert (seed, every) != (2, 10) or len(set(reasons)) == 3
    for t in (1, 9, 50, 100, 200):
        found = restarted_halpern(payoff, t, -1, every=every).strategies
        for ours, truth in zip(found, plays[t - 1], strict=True):
            np.testing.assert_allclose(ours, truth, rtol=0, atol=1e-11)


def test_regret_matching_averages_as_told():
    payoff = normal(5, 4, 3)
    plain, squares = (
        predictive_regret_matching_plus(payoff, 20, -1, averaging=p) for p in (0, 2)
    )
    np.testing.assert_array_equal(plain.gaps, squares.gaps)
    assert (plain.average_gaps != squares.average_gaps).all()


def test_mirror_descent_circles_and_its_average_converges():
    result = mirror_descent(
        normal(20, 20, 0), 20_000, learning_rate=0.1, alternating=True
    )
    ends = result.average_gaps[[np.searchsorted(result.checks, 200), -1]]
    # The law is 1 / T: a hundredth of the gap after a hundred times as long.
    assert ends[1] <= ends[0] / 50
    assert result.gaps[-200:].min() > 30 * ends[1]


def test_mirror_descent_ends_at_the_boundary_and_optimism_at_the_centre():
    plain = mirror_descent(PENNIES, 5000, learning_rate=0.5, start=OFF)
    assert plain.gaps[100:].min() > 1
    for game, rate in (
        (matching_pennies(), 0.5),
        (rock_paper_scissors(), 0.7),
        (odds_and_evens(), 0.1),
    ):
        start = [np.arange(n, 0, -1) / sum(range(n + 1)) for n in game.num_actions]
        result = optimistic(
            game.payoffs[0], 1000, learning_rate=rate, start=start, every=1
        )
        assert result.converged
        assert result.gaps[-1] <= 1e-6 < result.average_gaps[-1]


def test_mirror_descent_never_plays_what_it_never_played():
    result = mirror_descent(PENNIES, 100, start=[[1, 0], [0.5, 0.5]])
    assert result.strategies[0].tolist() == [1, 0]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
@settings(max_examples=100)
def test_projection_is_nearest(vector):
    vector = np.array(vector)
    found = project_to_simplex(vector)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1, abs=1e-12)
    # Optimality: moving towards any corner leads no nearer.
    away = vector - vector.max() - found
    assert (away - away @ found).max() <= 1e-9 * max(1, np.ptp(vector))


def test_projection_keeps_digits_of_large_entries():
    assert project_to_simplex(np.array([1e17, 1e17, 0.0])).tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"payoff": [1.0, 2.0]}, "`payoffs` must"),
        ({"payoff": [[np.nan]]}, "`payoffs` must be finite"),
        ({"payoff": np.zeros((0, 2))}, "`payoffs` must"),
        ({"iterations": 0}, "`iterations` and `every` must be >= 1"),
        ({"every": 0}, "`iterations` and `every` must be >= 1"),
        ({"start": [[1.0], [0.5, 0.5]]}, "`strategies` must"),
        ({"start": [[1.0, 1.0], [0.5, 0.5]]}, "`strategies` must"),
    ],
)
@each
def test_bad_arguments_raise(solver, arguments, message):
    with pytest.raises(ValueError, match=f"{message}.*Received"):
        solver(**{"payoff": PENNIES, **arguments})


def test_bad_rates_raise():
    for solver in (
        mirror_descent,
        restarted_halpern,
        restarted_optimistic_gradient,
    ):
        with pytest.raises(ValueError, match=r"`learning_rate` must be > 0.*Received"):
            solver(PENNIES, learning_rate=0.0)
    with pytest.raises(ValueError, match=r"`optimism` >= 0.*Received.*optimism=-1"):
        mirror_descent(PENNIES, optimism=-1)
    with pytest.raises(ValueError, match=r"`averaging` >= 0.*Received.*averaging=-1"):
        regret_matching_plus(PENNIES, averaging=-1)


def test_a_start_that_is_rounded_is_no_nan():
    start = [1 + 1e-6, -1e-6], [0.5, 0.5]
    solution = mirror_descent(PENNIES, iterations=20, start=start)
    assert np.isfinite(solution.gap)
