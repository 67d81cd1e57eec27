import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from zoo.games.matrix import (
    MatrixGame,
    Strategy,
    matching_pennies,
    odds_and_evens,
    random_game,
    random_matrix_game,
    rock_paper_scissors,
)

CLOSED_FORMS = [
    (matching_pennies(), [1 / 2, 1 / 2], [1 / 2, 1 / 2], 0),
    (rock_paper_scissors(), [1 / 3] * 3, [1 / 3] * 3, 0),
    (odds_and_evens(), [7 / 12, 5 / 12], [7 / 12, 5 / 12], 1 / 12),
    (MatrixGame([[3, 1, 2]]), [1], [0, 1, 0], 1),
    (MatrixGame([[3], [1], [4]]), [0, 0, 1], [1], 4),
    (MatrixGame(np.diag([1.0, 2.0, 4.0])), [4 / 7, 2 / 7, 1 / 7], None, 4 / 7),
]


def random_strategies(game, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.dirichlet(np.ones(actions)) for actions in game.num_actions]


@pytest.mark.parametrize(("game", "x", "y", "value"), CLOSED_FORMS)
def test_the_linear_programme_finds_closed_forms(game, x, y, value):
    (row, column), found = game.nash()
    np.testing.assert_allclose(row, x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(column, x if y is None else y, rtol=0, atol=1e-12)
    assert found == pytest.approx(value, abs=1e-12)


KINDS = ["normal", "ties", "rank one", "constant", "duplicates", "large", "small"]
SIZES, SEEDS = st.integers(1, 8), st.integers(0, 10**6)


def matrix(rows, columns, seed, kind):
    generator = np.random.default_rng(seed)
    normal = generator.normal(size=(rows, columns))
    return {
        "normal": normal,
        "ties": generator.integers(-1, 2, (rows, columns)),
        "rank one": np.outer(normal[:, 0], normal[0]),
        "constant": np.full((rows, columns), normal[0, 0]),
        "duplicates": np.repeat(normal, 3, axis=0),
        "large": 1e8 * normal + 1e8,
        "small": 1e-12 * normal,
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
@given(rows=SIZES, columns=SIZES, seed=SEEDS)
@settings(max_examples=20)
def test_the_linear_programme_leaves_no_gap(kind, rows, columns, seed):
    payoff = matrix(rows, columns, seed, kind)
    game = MatrixGame(payoff)
    (x, y), value = game.nash()
    scale = np.abs(payoff).max()
    assert game.duality_gap([x, y]) <= 1e-9 * scale
    assert (payoff.T @ x).min() - 1e-9 * scale <= value
    assert value <= (payoff @ y).max() + 1e-9 * scale


def test_the_value_follows_shift_and_scale():
    payoff = random_matrix_game(6, 7).payoffs[0]
    _, value = MatrixGame(payoff).nash()
    _, moved = MatrixGame(5 * payoff - 3).nash()
    _, swapped = MatrixGame(-payoff.T).nash()
    assert moved == pytest.approx(5 * value - 3, abs=1e-10)
    assert swapped == pytest.approx(-value, abs=1e-10)


def test_attributes():
    game = random_game([2, 3, 4])
    assert (game.num_players, game.num_actions) == (3, (2, 3, 4))
    assert game.names == ("player_1", "player_2", "player_3")
    assert not game.is_zero_sum
    assert matching_pennies().is_zero_sum
    assert matching_pennies().names == ("row", "column")
    a, b = np.random.default_rng(0).normal(size=(2, 2, 2, 2))
    assert MatrixGame(a, b, -a - b).is_zero_sum
    assert [len(strategy) for strategy in game.uniform()] == [2, 3, 4]


def test_random_games_follow_seed_and_distribution():
    uniform = random_matrix_game(100, 200, seed=3).payoffs[0]
    normal = random_matrix_game(100, 200, seed=3, distribution="normal").payoffs[0]
    assert np.abs(uniform).max() < 1
    assert uniform.std() == pytest.approx(1 / np.sqrt(3), rel=0.02)
    assert normal.std() == pytest.approx(1, rel=0.02)
    np.testing.assert_array_equal(
        uniform, np.random.default_rng(3).uniform(-1, 1, (100, 200))
    )
    assert (uniform != random_matrix_game(100, 200, seed=4).payoffs[0]).all()
    first, second = random_game([3, 4], seed=1).payoffs
    assert (first != second).all()


@pytest.mark.parametrize("actions", [(3, 4), (2, 3, 2), (2, 2, 2, 2)])
def test_losses_and_their_gradients_are_minus_the_utilities(actions):
    game = random_game(actions, seed=1)
    strategies = random_strategies(game)
    losses = game.losses(game.players(strategies))
    truth = -game.value(strategies)
    found = [float(losses[name]) for name in game.names]
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-14)

    # Central differences of a multilinear function are exact, off the simplex too.
    players = game.players(strategies)
    weights = [players[name].probabilities.value for name in game.names]
    with tf.GradientTape(persistent=True) as tape:
        losses = game(players)
    for name in game.names:
        gradients = tape.gradient(losses[name], weights)
        for player, gradient in zip(game.names, gradients, strict=True):
            variable = players[player].probabilities
            start = ops.convert_to_numpy(variable)
            for action, step in enumerate(np.eye(len(start))):
                ends = []
                for sign in (1, -1):
                    variable.assign(start + sign * step)
                    ends.append(float(game.losses(players)[name]))
                variable.assign(start)
                slope = (ends[0] - ends[1]) / 2
                assert float(gradient[action]) == pytest.approx(slope, abs=1e-13)


def test_gradient_play_reaches_a_strict_equilibrium():
    # Defection dominates, so plain projected gradient steps must end there.
    game = MatrixGame([[3, 0], [5, 1]], [[3, 5], [0, 1]])
    players = game.players()
    for _ in range(50):
        with tf.GradientTape(persistent=True) as tape:
            losses = game(players, batch=None)
        for name, player in players.items():
            weight = player.probabilities
            step = weight - 0.1 * tape.gradient(losses[name], weight.value)
            clipped = np.clip(ops.convert_to_numpy(step - (sum(step) - 1) / 2), 0, 1)
            weight.assign(clipped)
    assert game.nash_conv(players) == 0
    np.testing.assert_array_equal(
        ops.convert_to_numpy(players["row"].probabilities), [0, 1]
    )


def test_strategies_come_in_order_or_by_name():
    game = random_matrix_game(3, 4)
    strategies = random_strategies(game)
    by_name = {"column": strategies[1], "row": strategies[0]}
    players = game.players(by_name)
    gap = game.duality_gap(strategies)
    assert game.duality_gap(by_name) == gap
    assert game.duality_gap(players) == pytest.approx(gap, abs=1e-15)
    assert game.nash_conv(players) == pytest.approx(gap, abs=1e-14)
    assert game.value(strategies).sum() == pytest.approx(0, abs=1e-15)
    with pytest.raises(ValueError, match=r"`strategies` must be those of \('row', 'c"):
        game.value({"row": strategies[0]})


def test_players_start_where_they_are_told_in_their_dtype():
    game = rock_paper_scissors()
    for name, player in game.players().items():
        assert player.name == name
        assert player.probabilities.dtype == "float64"
        assert len(player.trainable_variables) == 1
        np.testing.assert_array_equal(ops.convert_to_numpy(player()), [1 / 3] * 3)
    player = game.players([[1, 0, 0], [0, 1, 0]], dtype="float32")["column"]
    assert player.probabilities.dtype == "float32"
    np.testing.assert_array_equal(ops.convert_to_numpy(player(None)), [0, 1, 0])
    assert float(game.losses(game.players(dtype="float32"))["row"]) == 0


def test_strategy_and_game_round_trip():
    strategy = Strategy([0.25, 0.75], name="row", dtype="float64")
    strategy.probabilities.assign([0.5, 0.5])
    config = keras.saving.serialize_keras_object(strategy)
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == strategy.get_config()
    np.testing.assert_array_equal(ops.convert_to_numpy(copy()), [0.25, 0.75])
    copy.set_weights(strategy.get_weights())
    np.testing.assert_array_equal(ops.convert_to_numpy(copy()), [0.5, 0.5])

    game = random_game([2, 3, 2])
    config = keras.saving.serialize_keras_object(game)
    for copied, payoff in zip(
        keras.saving.deserialize_keras_object(config).payoffs,
        game.payoffs,
        strict=True,
    ):
        np.testing.assert_array_equal(copied, payoff)


@pytest.mark.parametrize(
    ("payoffs", "message"),
    [
        ([], "two players"),
        ([np.zeros((2, 2, 2))], "two players"),
        ([np.zeros((2, 3)), np.zeros((3, 2))], "one shape"),
        ([np.zeros((0, 2))], "an action"),
        ([[[np.nan, 1.0]]], "finite"),
    ],
)
def test_bad_payoffs_raise(payoffs, message):
    with pytest.raises(ValueError, match=f"`payoffs` must.*{message}.*Received"):
        MatrixGame(*payoffs)


def test_bad_arguments_raise():
    game = rock_paper_scissors()
    for strategies in ([[1, 0, 0]], [[1, 0, 0], [1, 0]], [[1, 0, 0], [1, 1, 0]]):
        for method in (game.players, game.value, game.nash_conv, game.duality_gap):
            with pytest.raises(ValueError, match=r"`strategies` must.*Received"):
                method(strategies)
    with pytest.raises(ValueError, match=r"`strategies` must.*Received"):
        Strategy([0.5, 0.6])
    general = random_game([2, 2])
    for call in (general.nash, lambda: general.duality_gap(general.uniform())):
        with pytest.raises(ValueError, match="needs a two-player zero-sum game"):
            call()
    a = np.ones((2, 2, 2))
    with pytest.raises(ValueError, match="num_players=3, is_zero_sum=True"):
        MatrixGame(a, a, -2 * a).nash()
    with pytest.raises(ValueError, match=r"`distribution` must be.*'beta'"):
        random_matrix_game(2, 2, distribution="beta")


SCRIPT = """
import jax
import keras
import numpy as np
from zoo.games.matrix import random_game

jax.config.update("jax_enable_x64", True)
game = random_game([2, 3, 2], seed=1)
generator = np.random.default_rng(0)
start = [generator.dirichlet(np.ones(actions)) for actions in game.num_actions]
players = game.players(start)
losses = [float(game(players)[name]) for name in game.names]
np.testing.assert_allclose(losses, -game.value(start), rtol=0, atol=1e-14)

def first(probabilities):
    variable = players["player_1"].probabilities
    with keras.StatelessScope([(variable, probabilities)]):
        return game(players)["player_1"]

gradient = jax.grad(first)(players["player_1"].probabilities.value)
utility = game.payoffs[0] @ start[2] @ start[1]
np.testing.assert_allclose(gradient, -utility, rtol=0, atol=1e-14)
print("fine")
"""


@pytest.mark.skipif(
    not importlib.util.find_spec("jax"), reason="needs jax: pip install jax"
)
def test_runs_on_jax():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "fine", done.stderr
