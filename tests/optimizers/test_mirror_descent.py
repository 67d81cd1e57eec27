"""Mirror descent: its closed form, the simplex, and the last iterate in games."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from zoo.optimizers import (
    Extragradient,
    MirrorDescent,
    OptimisticMirrorDescent,
    OptimisticSGD,
)

both = pytest.mark.parametrize("cls", [MirrorDescent, OptimisticMirrorDescent])
PENNIES = [[1.0, -1.0], [-1.0, 1.0]]
ODDS_AND_EVENS = [[2.0, -3.0], [-3.0, 4.0]]
ROCK_PAPER_SCISSORS = [[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]
SLANTED = ([0.35, 0.65], [0.7, 0.3])
GAMES = {
    "matching pennies": (PENNIES, 0.5, SLANTED, 51),
    "odds and evens": (ODDS_AND_EVENS, 0.1, SLANTED, 294),
    "rock, paper, scissors": (ROCK_PAPER_SCISSORS, 0.7, ([0.5, 0.25, 0.25],) * 2, 115),
}
every_game = pytest.mark.parametrize("game", GAMES)


def simplex(*shape, dtype="float64"):
    value = np.random.default_rng(0).dirichlet(np.ones(shape[-1]), shape[:-1])
    return keras.Variable(value, dtype=dtype)


def gaps(optimizer, payoff, starts, steps):
    """The duality gap of `x A y` after every step, both players at once."""
    x, y = (keras.Variable(start, dtype="float64") for start in starts)
    optimizer.build([x, y])

    step = tf.function(lambda *slopes: optimizer.apply(list(slopes), [x, y]))
    payoff, rows = np.array(payoff), []
    of_x, of_y = payoff @ y.numpy(), -x.numpy() @ payoff
    for _ in range(steps):
        step(tf.constant(of_x), tf.constant(of_y))
        of_x, of_y = payoff @ y.numpy(), -x.numpy() @ payoff
        rows.append(-of_y.min() - of_x.min())
    return np.array(rows)


@every_game
def test_the_last_optimistic_iterate_reaches_the_equilibrium(game):
    payoff, rate, starts, steps = GAMES[game]
    seen = gaps(OptimisticMirrorDescent(rate), payoff, starts, 2 * steps)
    assert np.flatnonzero(seen < 1e-6)[0] + 1 <= steps
    assert seen[-1] < 1e-10


@every_game
def test_the_last_plain_iterate_never_does(game):
    payoff, rate, starts, _ = GAMES[game]
    seen = gaps(MirrorDescent(rate), payoff, starts, 2000)
    assert seen.min() > 0.01
    assert seen[-500:].max() > 1.8


@both
def test_a_constant_gradient_gives_the_closed_form(cls):
    x, g = simplex(3, 4), np.random.default_rng(1).normal(size=(3, 4))
    start, optimizer = x.numpy(), cls(0.125)
    for step in range(1, 51):
        optimizer.apply([tf.constant(g)], [x])
        truth = start * np.exp(-0.125 * step * g)
        truth /= truth.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(x, truth, rtol=1e-12)


def test_the_optimistic_rule_in_float64():
    x, g = simplex(3, 4), np.random.default_rng(1).normal(size=(200, 3, 4))
    logits, optimizer = np.log(x.numpy()), OptimisticMirrorDescent(0.25, optimism=0.7)
    for now, last in zip(g, [g[0], *g], strict=False):
        optimizer.apply([tf.constant(now)], [x])
        logits = logits - 0.25 * (1.7 * now - 0.7 * last)
        truth = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(x, truth, rtol=1e-10)


def test_no_optimism_is_mirror_descent_bit_for_bit():
    ends = []
    for optimizer in (MirrorDescent(0.1), OptimisticMirrorDescent(0.1, optimism=0)):
        x = simplex(3, 4, dtype="float32")
        for g in np.random.default_rng(1).normal(size=(100, 3, 4)):
            optimizer.apply([tf.constant(g, "float32")], [x])
        ends.append(x.numpy())
    np.testing.assert_array_equal(*ends)


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (MirrorDescent(0.1, "euclidean"), keras.optimizers.SGD(0.1)),
        (
            OptimisticMirrorDescent(0.1, "euclidean", optimism=0.7),
            OptimisticSGD(0.1, optimism=0.7),
        ),
    ],
    ids=["plain", "optimistic"],
)
def test_euclidean_is_gradient_descent_bit_for_bit(ours, theirs):
    ends = []
    for optimizer in (ours, theirs):
        x = keras.Variable(np.linspace(-1, 2, 12).reshape(3, 4))
        for g in np.random.default_rng(1).normal(size=(100, 3, 4)):
            optimizer.apply([tf.constant(g, "float32")], [x])
        ends.append(x.numpy())
    np.testing.assert_array_equal(*ends)


@both
@settings(max_examples=20)
@given(
    scale=st.floats(-8, 30),
    rows=st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=3),
)
def test_any_gradient_keeps_weights_on_the_simplex(cls, scale, rows):
    x, optimizer = simplex(3, dtype="float32"), cls(1.0)
    for row in rows:
        optimizer.apply([tf.constant(10.0**scale * np.array(row), "float32")], [x])
        assert np.all(x.numpy() >= 0)
        assert x.numpy().sum() == pytest.approx(1, abs=3e-7)


@both
def test_what_underflows_can_rise_again(cls):
    x, optimizer = keras.Variable([0.5, 0.5]), cls(1.0)
    for push in (150.0, 150.0, -150.0, -150.0, -150.0, -150.0):
        optimizer.apply([tf.constant([push, 0.0])], [x])
        if push > 0:
            lowest = float(x[0])
    assert lowest == 0.0
    np.testing.assert_array_equal(x, [1.0, 0.0])


@both
def test_zeros_stay_zero(cls):
    x, optimizer = keras.Variable([0.0, 0.25, 0.75]), cls(0.5)
    for _ in range(20):
        optimizer.apply([tf.constant([-5.0, 1.0, 1.0])], [x])
    np.testing.assert_allclose(x, [0.0, 0.25, 0.75], rtol=1e-6)


def test_the_moving_average_is_an_average_iterate_on_the_simplex():
    x = simplex(4, dtype="float32")
    optimizer = MirrorDescent(0.5, use_ema=True, ema_momentum=0.9)
    average = None
    for g in np.random.default_rng(1).normal(size=(50, 4)):
        optimizer.apply([tf.constant(g, "float32")], [x])
        now = x.numpy()
        average = now if average is None else 0.9 * average + 0.1 * now
    optimizer.finalize_variable_values([x])
    np.testing.assert_allclose(x, average, rtol=1e-5)
    assert x.numpy().sum() == pytest.approx(1, abs=1e-6)


@both
@pytest.mark.parametrize(
    "value", [[0.5, 0.6], [1.5, -0.5], [[0.5, 0.5], [0.0, 0.0]], 1.0, [np.nan, 1.0]]
)
def test_a_variable_off_the_simplex_is_named(cls, value):
    x = keras.Variable(value, name="strategy")
    with pytest.raises(ValueError, match="variable strategy must hold probabilities"):
        cls().build([simplex(3), x])
    cls(geometry="euclidean").build([x])


@both
def test_it_can_be_built_inside_a_graph(cls):
    inside, outside = simplex(3), simplex(3)
    g = tf.constant([1.0, -1.0, 0.5], "float64")
    optimizer = cls(0.5)
    step = tf.function(lambda: optimizer.apply([g], [inside]))
    other = cls(0.5)
    for _ in range(3):
        step()
        other.apply([g], [outside])
    np.testing.assert_allclose(inside, outside, rtol=1e-15)


@both
def test_bad_arguments_are_refused(cls):
    for rate in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"`learning_rate`.*learning_rate={rate}"):
            cls(rate)
    with pytest.raises(ValueError, match=r"`geometry` must be one of.*'spherical'"):
        cls(geometry="spherical")
    with pytest.raises(ValueError, match=r"`weight_decay` must be None.*=0.1"):
        cls(weight_decay=0.1)
    cls(geometry="euclidean", weight_decay=0.1)
    with pytest.raises(ValueError, match="not recognized"):
        cls(momentum=0.9)


def test_bad_optimism_is_refused():
    for optimism in (-1, float("nan"), "1"):
        with pytest.raises(ValueError, match="`optimism` must be"):
            OptimisticMirrorDescent(optimism=optimism)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_a_step_starts_from_assigned_values(dtype):
    x = keras.Variable([0.5, 0.25, 0.25], dtype=dtype)
    optimizer = MirrorDescent(1.0)
    pull = tf.constant([0.0, 1.0, 2.0], dtype)
    optimizer.apply([pull], [x])
    x.assign([0.6, 0.3, 0.1])
    optimizer.apply([pull], [x])
    expected = np.array([0.6, 0.3, 0.1]) * np.exp([0.0, -1.0, -2.0])
    # Logarithms down to -4.3 are kept to 3 digits in bfloat16.
    tolerance = {"bfloat16": 5e-2, "float16": 5e-3}.get(dtype, 1e-5)
    found = np.asarray(ops.cast(x, "float64"))
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=tolerance)


@pytest.mark.parametrize(("dtype", "n"), [("bfloat16", 16), ("float32", 1_000_000)])
def test_a_step_starts_from_values_assigned_to_a_wide_simplex(dtype, n):
    x = keras.Variable(np.full(n, 1 / n), dtype=dtype)
    optimizer = MirrorDescent(0.0)
    optimizer.apply([tf.zeros(n, dtype)], [x])
    values = np.full(n, 1.0)
    values[:2] = 1.3, 0.7
    x.assign(values / n)
    optimizer.apply([tf.zeros(n, dtype)], [x])
    found = np.asarray(ops.cast(x, "float64")) * n
    np.testing.assert_allclose(found, values, rtol=1e-2 if n == 16 else 1e-4)


@pytest.mark.parametrize("jit", [False, True])
def test_a_wide_simplex_keeps_its_sunk_values(jit):
    n = 100_000
    x = keras.Variable(np.full(n, 1 / n), dtype="float32")
    optimizer = MirrorDescent(1.0)
    optimizer.build([x])
    step = tf.function(lambda pull: optimizer.apply([pull], [x]), jit_compile=jit)
    noise = np.random.default_rng(0).normal(size=n).astype("float32")
    sink = np.where(np.arange(n) == 0, np.float32(500.0), noise)
    step(tf.constant(sink))
    assert float(x[0]) == 0.0
    optimizer.apply([tf.constant(-sink)], [x])
    np.testing.assert_allclose(x * n, np.ones(n), rtol=2e-4)


def test_values_assigned_after_nan_heal():
    x = keras.Variable([0.5, 0.5])
    optimizer = MirrorDescent(1.0)
    optimizer.apply([tf.constant([np.nan, 0.0])], [x])
    x.assign([0.25, 0.75])
    optimizer.apply([tf.zeros(2)], [x])
    np.testing.assert_allclose(x, [0.25, 0.75], rtol=1e-6)


def test_one_row_assigned_leaves_the_others_sunk_values():
    x = keras.Variable([[0.5, 0.5], [0.5, 0.5]], dtype="float64")
    optimizer = MirrorDescent(1000.0)
    optimizer.apply([tf.constant([[1.0, 0.0]] * 2, "float64")], [x])
    assert np.asarray(x)[:, 0].tolist() == [0.0, 0.0]
    x.assign([[0.0, 1.0], [0.5, 0.5]])
    optimizer.apply([tf.constant([[-1.0, 0.0]] * 2, "float64")], [x])
    # The first comes back to where it was; the second rises from what was assigned.
    np.testing.assert_allclose(x, [[0.5, 0.5], [1.0, 0.0]])


def test_averages_can_overwrite_the_variable():
    x = keras.Variable([0.9, 0.1], dtype="float64")
    optimizer = MirrorDescent(
        0.5, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=1
    )
    pull, expected, average = np.array([1.0, 0.0]), np.array([0.9, 0.1]), None
    for _ in range(3):
        optimizer.apply([tf.constant(pull)], [x])
        expected = expected * np.exp(-0.5 * pull)
        expected /= expected.sum()
        average = expected if average is None else (average + expected) / 2
        expected = average
        np.testing.assert_allclose(x, expected, rtol=1e-12)


def mirror_prox(dtype, steps):
    """Yields both players' strategies at matching pennies, step after step."""
    payoff = np.array(PENNIES, dtype)
    starts = [0.9, 0.1], [0.3, 0.7]
    players = [[keras.Variable(start, dtype=dtype)] for start in starts]

    def losses():
        (row,), (column,) = players
        value = ops.sum(row * ops.matmul(payoff, column))
        return [-value, value]

    optimizers = [MirrorDescent(0.5), MirrorDescent(0.5)]
    for _ in range(steps):
        _, gradients = Extragradient()(losses, players, optimizers=optimizers)
        for optimizer, gradient, variables in zip(
            optimizers, gradients, players, strict=True
        ):
            optimizer.apply(gradient, variables)
        yield [np.array(variable) for (variable,) in players]


def test_extragradient_with_mirror_descent_is_mirror_prox():
    payoff = np.array(PENNIES)
    x, y = np.array([0.9, 0.1]), np.array([0.3, 0.7])

    def step(x, y, seen_x, seen_y):
        x = x * np.exp(0.5 * payoff @ seen_y)
        y = y * np.exp(-0.5 * payoff.T @ seen_x)
        return x / x.sum(), y / y.sum()

    for strategies in mirror_prox("float64", 30):
        x, y = step(x, y, *step(x, y, x, y))
        for found, expected in zip(strategies, (x, y), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_mirror_prox_reaches_an_equilibrium_in_float32():
    *_, strategies = mirror_prox("float32", 300)
    for strategy in strategies:
        np.testing.assert_allclose(strategy, 0.5, atol=1e-6)


@both
def test_several_players_move_independently(cls):
    starts, g = (3, 4, 2), np.random.default_rng(2)
    pulls = [[g.normal(size=size) for size in starts] for _ in range(10)]
    together = [simplex(size) for size in starts]
    optimizer = cls(0.3)
    for pull in pulls:
        optimizer.apply([tf.constant(one) for one in pull], together)
    for index, size in itertools.islice(enumerate(starts), 3):
        alone, optimizer = simplex(size), cls(0.3)
        for pull in pulls:
            optimizer.apply([tf.constant(pull[index])], [alone])
        np.testing.assert_array_equal(alone, together[index])
