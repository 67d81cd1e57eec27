"""Quadratic games against matrices; Hessians against closed forms."""

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from keras import ops

from zoo.games import (
    GameTrainer,
    Point,
    QuadraticGame,
    bilinear_game,
    game_hessian,
    play,
    random_quadratic_game,
)
from zoo.optimizers import (
    ConsensusOptimization,
    Extragradient,
    SymplecticGradientAdjustment,
)


def steps_to(game, start, rate, most, adjustment=None, within=1e-6):
    """Steps until all weights are within a distance of the equilibrium, or `None`."""
    trainer = GameTrainer(game.players(start), game)
    trainer.compile(keras.optimizers.SGD(rate), adjustment)
    path = np.concatenate(list(play(trainer, most).values()), axis=1)
    near = np.linalg.norm(path - game.equilibrium, axis=1) < within
    return int(near.argmax()) if near.any() else None


@hypothesis.given(
    st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(0, 2**31)
)
@hypothesis.settings(max_examples=20)
def test_gradient_and_hessian_are_the_matrix(sizes, seed):
    generator = np.random.default_rng(seed)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    H = generator.normal(size=(len(owner), len(owner)))
    H = np.where(owner[:, None] == owner, (H + H.T) / 2, H)
    offset, w = generator.normal(size=(2, len(owner)))
    game = QuadraticGame(H, sizes, offset)
    players = game.players(w)
    variables = [layer.trainable_variables for layer in players.values()]
    found, S, A = game_hessian(lambda: list(game(players).values()), variables)
    np.testing.assert_allclose(found, H, atol=1e-12)
    np.testing.assert_allclose(S, game.symmetric, atol=1e-12)
    np.testing.assert_allclose(A, game.antisymmetric, atol=1e-12)
    trainer = GameTrainer(players, game)
    trainer.compile(keras.optimizers.SGD(0.5))
    path = np.concatenate(list(play(trainer, 1).values()), axis=1)
    np.testing.assert_allclose(path[1], w - 0.5 * (H @ w + offset), atol=1e-10)


def test_equilibrium_is_a_fixed_point():
    generator = np.random.default_rng(0)
    game = random_quadratic_game([2, 3], rotation=0.5)
    game = QuadraticGame(game.hessian, game.sizes, generator.normal(size=5))
    xi = game.hessian @ game.equilibrium + game.offset
    np.testing.assert_allclose(xi, 0, atol=1e-12)
    assert steps_to(game, np.ones(5), 0.5, 2000) is not None


@pytest.mark.parametrize("sizes", [[1, 1], [2, 3, 1], [2, 2, 2, 2]])
@pytest.mark.parametrize("rotation", [0.0, 0.3, 1.0])
def test_random_games_are_what_they_are_called(sizes, rotation):
    game = random_quadratic_game(sizes, rotation, seed=3)
    assert game.is_potential == (rotation == 0)
    assert game.is_hamiltonian == (rotation == 1)
    if rotation < 1:
        assert np.linalg.eigvalsh(game.symmetric).min() > 0
    if rotation:
        norm = np.linalg.norm(game.antisymmetric, 2)
        assert norm == pytest.approx(rotation)
    np.testing.assert_array_equal(
        game.hessian, random_quadratic_game(sizes, rotation, seed=3).hessian
    )
    other = random_quadratic_game(sizes, rotation, seed=4)
    # Of two numbers, the only game without curvature is x y.
    if (sizes, rotation) != ([1, 1], 1.0):
        assert not np.array_equal(game.hessian, other.hessian)


def test_plain_descent_keeps_no_energy_and_circles_outwards():
    game = bilinear_game([[1.0]])
    trainer = GameTrainer(game.players([1.0, 2.0]), game)
    trainer.compile(keras.optimizers.SGD(0.1))
    path = np.concatenate(list(play(trainer, 50).values()), axis=1)
    energy = (path**2).sum(1)
    np.testing.assert_allclose(energy[1:] / energy[:-1], 1.01, rtol=1e-6)


def test_alternating_descent_keeps_its_own_energy():
    game = bilinear_game([[1.0]])
    trainer = GameTrainer(game.players([1.0, 2.0]), game)
    trainer.compile(keras.optimizers.SGD(0.25), order="alternating")
    x, y = np.concatenate(list(play(trainer, 200).values()), axis=1).T
    energy = x**2 + y**2 - 0.25 * x * y
    np.testing.assert_allclose(energy, energy[0], rtol=1e-9)


@pytest.mark.parametrize(
    ("adjustment", "rate", "most"),
    [
        (SymplecticGradientAdjustment(), 0.1, 148),
        (SymplecticGradientAdjustment(), 0.5, 43),
        (ConsensusOptimization(), 0.5, 43),
        (Extragradient(), 0.5, 141),
    ],
)
def test_bilinear_game_converges_within_known_steps(adjustment, rate, most):
    game = bilinear_game([[1.0]])
    assert steps_to(game, [1.0, 2.0], rate, most + 50, adjustment) <= most
    assert steps_to(game, [1.0, 2.0], rate, most + 50) is None


def test_sga_does_in_potential_games_what_descent_does():
    game = random_quadratic_game([2, 2, 2, 2], rotation=0.0)
    start = np.random.default_rng(1).normal(size=8)
    plain = steps_to(game, start, 0.9, 600)
    assert plain is not None
    assert steps_to(game, start, 0.9, 600, SymplecticGradientAdjustment()) == plain


def test_four_players_circle_until_adjusted():
    game = random_quadratic_game([2, 2, 2, 2], rotation=0.9)
    start = np.random.default_rng(1).normal(size=8)
    adjusted = steps_to(game, start, 0.9, 250, SymplecticGradientAdjustment())
    assert adjusted is not None
    assert steps_to(game, start, 0.1, 4 * adjusted) is None


def test_hessian_of_a_curved_game():
    x = keras.Variable([[1.0, 2.0]], dtype="float64")
    y = keras.Variable(3.0, dtype="float64")

    def losses():
        a, b = ops.convert_to_tensor(x)[0], ops.convert_to_tensor(y)
        return [a[0] ** 2 * b + a[1] * b**2, a[0] * a[1] * b]

    H, S, A = game_hessian(losses, [[x], [y]])
    np.testing.assert_allclose(H, [[6, 0, 2], [0, 0, 6], [2, 1, 0]])
    np.testing.assert_allclose(S + A, H)
    np.testing.assert_allclose(A, -A.T)


def test_config_round_trips_game_and_players():
    game = random_quadratic_game([2, 1], rotation=0.5)
    config = keras.saving.serialize_keras_object(game)
    revived = keras.saving.deserialize_keras_object(config)
    np.testing.assert_array_equal(revived.hessian, game.hessian)
    point = Point([1.0, 2.0], dtype="float64")
    revived = Point.from_config(point.get_config())
    np.testing.assert_array_equal(revived(), point())
    assert revived.position.dtype == "float64"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: QuadraticGame(np.eye(2), [1]), "`hessian` must be of shape (1, 1)"),
        (lambda: QuadraticGame(np.eye(2), []), "`sizes` must be >= 1 each"),
        (lambda: QuadraticGame(np.eye(2), [2, 0]), "`sizes` must be >= 1 each"),
        (lambda: QuadraticGame([[0, 1], [2, 0]], [2]), "symmetric blocks"),
        (lambda: QuadraticGame(np.full((1, 1), np.nan), [1]), "must be finite"),
        (lambda: QuadraticGame(np.eye(2), [1, 1], [1.0]), "`offset` must be of shape"),
        (lambda: bilinear_game([[1.0]]).players([1.0]), "`start` must be of shape"),
        (lambda: random_quadratic_game([1, 1], 1.5), "`rotation` must be from 0 to 1"),
    ],
)
def test_mistakes_end_in_one_line(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_game_without_equilibrium_says_so():
    game = QuadraticGame([[0.0, 0.0], [0.0, 0.0]], [1, 1], [1.0, 0.0])
    with pytest.raises(ValueError, match="`equilibrium` must exist"):
        game.equilibrium  # noqa: B018


def test_a_path_has_each_update():
    game = bilinear_game([[1.0]])
    trainer = GameTrainer(game.players({"player_1": [1.0], "player_2": [0.0]}), game)
    trainer.compile(keras.optimizers.SGD(0.5), steps_per_execution=4)
    with pytest.raises(ValueError, match="compiled with steps_per_execution=1"):
        play(trainer, 8)
