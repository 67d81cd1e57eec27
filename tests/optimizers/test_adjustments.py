"""Adjustments against matrices, finite differences and other derivatives."""

import os
import pathlib
import subprocess
import sys

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from keras import ops

import zoo
from zoo.optimizers import (
    ConsensusOptimization,
    Extragradient,
    SimultaneousGradient,
    SymplecticGradientAdjustment,
)

ROOT = pathlib.Path(zoo.__file__).parents[1]


class Quadratic:
    """Players' losses `w^T M_i w / 2`, each of a full symmetric matrix."""

    def __init__(self, sizes, generator):
        d = sum(sizes)
        matrices = generator.normal(size=(len(sizes), d, d))
        self.matrices = matrices + np.swapaxes(matrices, 1, 2)
        self.owner = np.repeat(np.arange(len(sizes)), sizes)
        self.w = generator.normal(size=d)
        parts = np.split(self.w, np.cumsum(sizes)[:-1])
        self.variables = [[keras.Variable(part, dtype="float64")] for part in parts]

    def __call__(self):
        w = ops.concatenate([one.value for (one,) in self.variables])
        return [0.5 * ops.sum(w * ops.matmul(m, w)) for m in self.matrices]

    @property
    def hessian(self):
        return np.array([self.matrices[i][k] for k, i in enumerate(self.owner)])

    @property
    def xi(self):
        return self.hessian @ self.w


def joined(gradients):
    return np.concatenate([np.ravel(g) for one in gradients for g in one])


def sizes_and_seed():
    return st.tuples(
        st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 2**31)
    )


@hypothesis.given(sizes_and_seed(), st.sampled_from(["parameter", "variable"]))
@hypothesis.settings(max_examples=25)
def test_matrix_formulas(case, per):
    sizes, seed = case
    game = Quadratic(sizes, np.random.default_rng(seed))
    H, xi = game.hessian, game.xi
    rotation, pull = (H - H.T).T / 2 @ xi, H.T @ xi
    count = len(xi) if per == "parameter" else len(sizes)
    agreement = (xi @ pull) * (rotation @ pull) / count
    hypothesis.assume(abs(agreement + 0.1) > 1e-9)
    sign = 1 if agreement + 0.1 >= 0 else -1
    expected = [
        (SimultaneousGradient(), xi),
        (SymplecticGradientAdjustment(0.7, per=per), xi + 0.7 * sign * rotation),
        (SymplecticGradientAdjustment(0.7, align=False), xi + 0.7 * rotation),
        (ConsensusOptimization(0.7), xi + 0.7 * pull),
    ]
    for adjustment, truth in expected:
        values, gradients = adjustment(game, game.variables)
        scale = np.abs(truth).max()
        np.testing.assert_allclose(joined(gradients), truth, atol=1e-12 * scale)
        np.testing.assert_allclose(values, [float(value) for value in game()])


def test_alignment_reaches_both_signs():
    signs = set()
    for seed in range(20):
        game = Quadratic([2, 2], np.random.default_rng(seed))
        _, aligned = SymplecticGradientAdjustment()(game, game.variables)
        _, plain = SymplecticGradientAdjustment(align=False)(game, game.variables)
        signs.add(np.allclose(joined(aligned), joined(plain)))
    assert signs == {True, False}


def curved():
    """A game of three players that is neither quadratic nor of even sizes."""
    generator = np.random.default_rng(0)
    players = [
        [keras.Variable(generator.normal(size=(2, 2)), dtype="float64")],
        [
            keras.Variable(generator.normal(size=3), dtype="float64"),
            keras.Variable(generator.normal(size=()), dtype="float64"),
        ],
        [keras.Variable(generator.normal(size=1), dtype="float64")],
    ]

    def losses():
        (a,), (b, c), (d,) = players
        a, b, c, d = (ops.convert_to_tensor(one) for one in (a, b, c, d))
        x = ops.sum(ops.sin(a)) * ops.sum(ops.tanh(b)) + c * ops.sum(d * d)
        y = ops.exp(0.1 * ops.sum(a * a)) * c * ops.sum(b)
        z = ops.sum(d) * ops.sum(ops.cos(a)) - ops.sum(b * b) * ops.sum(d)
        return [x, y, z]

    return losses, players


def field(losses, players):
    """The players' gradients of their losses, from TensorFlow's own tape."""
    with tf.GradientTape(persistent=True) as tape:
        values = losses()
    return np.concatenate(
        [
            np.ravel(tape.gradient(value, variable.value))
            for value, one in zip(values, players, strict=True)
            for variable in one
        ]
    )


def test_curved_games_by_finite_differences():
    losses, players = curved()
    everyone = [variable for one in players for variable in one]
    columns, step = [], 1e-6
    for variable in everyone:
        start = np.array(variable)
        for place in np.ndindex(start.shape):
            around = []
            for shift in (step, -step):
                moved = start.copy()
                moved[place] += shift
                variable.assign(moved)
                around.append(field(losses, players))
            variable.assign(start)
            columns.append((around[0] - around[1]) / (2 * step))
    H, xi = np.stack(columns, 1), field(losses, players)
    _, found = SymplecticGradientAdjustment(align=False)(losses, players)
    np.testing.assert_allclose(joined(found), xi + (H - H.T).T / 2 @ xi, rtol=1e-7)
    _, found = ConsensusOptimization()(losses, players)
    np.testing.assert_allclose(joined(found), xi + H.T @ xi, rtol=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_sga_leaves_potential_games_and_descends_hamiltonian_ones(seed):
    generator = np.random.default_rng(seed)
    game = Quadratic([2, 3], generator)
    game.matrices[1] = game.matrices[0]
    _, plain = SimultaneousGradient()(game, game.variables)
    _, adjusted = SymplecticGradientAdjustment()(game, game.variables)
    np.testing.assert_allclose(joined(adjusted), joined(plain), rtol=1e-12)

    # Zero-sum without curvature of one's own: A^T xi is the gradient of |xi|^2 / 2.
    same = game.owner[:, None] == game.owner
    game.matrices[0][same] = 0
    game.matrices[1] = -game.matrices[0]
    _, adjusted = SymplecticGradientAdjustment(align=False)(game, game.variables)
    energy = game.hessian.T @ game.xi
    np.testing.assert_allclose(joined(adjusted) - game.xi, energy, rtol=1e-9)
    np.testing.assert_allclose(game.xi @ (joined(adjusted) - game.xi), 0, atol=1e-9)


def test_extragradient_is_the_field_ahead_and_comes_back():
    game = Quadratic([2, 1], np.random.default_rng(0))
    optimizers = [keras.optimizers.SGD(0.25) for _ in range(2)]
    _, found = Extragradient()(game, game.variables, optimizers=optimizers)
    ahead = game.hessian @ (game.w - 0.25 * game.xi)
    np.testing.assert_allclose(joined(found), ahead, rtol=1e-12)
    np.testing.assert_array_equal(joined(game.variables), game.w)


def test_extra_adam_counts_both_gradients():
    game = Quadratic([2, 1], np.random.default_rng(0))
    optimizers = [keras.optimizers.Adam(0.1) for _ in range(2)]
    _, found = Extragradient()(game, game.variables, optimizers=optimizers)
    for optimizer, gradients, variables in zip(
        optimizers, found, game.variables, strict=True
    ):
        optimizer.apply(gradients, variables)
    assert [int(optimizer.iterations) for optimizer in optimizers] == [2, 2]
    # By hand: Adam's moments after both gradients move the weights from the start.
    first, second = game.xi, joined(found)
    m = 0.9 * 0.1 * first + 0.1 * second
    v = 0.999 * 0.001 * first**2 + 0.001 * second**2
    rate = 0.1 * np.sqrt(1 - 0.999**2) / (1 - 0.9**2)
    move = rate * m / (np.sqrt(v) + 1e-7)
    # Keras takes powers of beta in float32.
    np.testing.assert_allclose(game.w - joined(game.variables), move, rtol=5e-5)


@pytest.mark.parametrize(
    "adjustment",
    [
        SimultaneousGradient(),
        SymplecticGradientAdjustment(),
        SymplecticGradientAdjustment(align=False),
        ConsensusOptimization(),
    ],
)
def test_penalties_add_their_gradient_and_no_curvature(adjustment):
    game = Quadratic([2, 1], np.random.default_rng(0))

    def penalty():
        (one,) = game.variables[0]
        return ops.sum(one * one * one)

    _, without = adjustment(game, game.variables)
    _, with_it = adjustment(game, game.variables, penalties=[penalty, None])
    expected = joined(without) + np.append(3 * game.w[:2] ** 2, 0)
    np.testing.assert_allclose(joined(with_it), expected, rtol=1e-12)


@pytest.mark.parametrize(
    "adjustment",
    [
        SimultaneousGradient(),
        SymplecticGradientAdjustment(),
        SymplecticGradientAdjustment(align=False),
        ConsensusOptimization(),
    ],
)
def test_one_player_alone_gets_what_it_gets_among_all(adjustment):
    losses, players = curved()
    _, everyone = adjustment(losses, players)
    for i in range(3):
        _, alone = adjustment(losses, players, only=i)
        assert [one is None for one in alone] == [j != i for j in range(3)]
        np.testing.assert_allclose(joined([alone[i]]), joined([everyone[i]]))


def test_embeddings_and_partly_connected_players():
    table = keras.layers.Embedding(4, 2)
    table.build((None,))
    other = [keras.Variable([1.0, 2.0]), keras.Variable([3.0])]
    players = [table.trainable_variables, other]

    def losses():
        vector = ops.sum(table(np.array([0, 2])), 0)
        meet = ops.sum(vector * other[0])
        return [meet + ops.sum(vector * vector), -meet]

    _, plain = SimultaneousGradient()(losses, players)
    assert plain[0][0].shape == (4, 2)
    np.testing.assert_array_equal(plain[1][1], [0.0])
    _, adjusted = SymplecticGradientAdjustment(align=False)(losses, players)
    np.testing.assert_allclose(adjusted[0][0][1], [0.0, 0.0])
    # A^T xi of the vector is M times the other's gradient, and the table's is shared.
    vector = np.asarray(table.embeddings).take([0, 2], 0).sum(0)
    row = np.array([1.0, 2.0]) + 2 * vector + vector
    np.testing.assert_allclose(adjusted[0][0][0], row, rtol=1e-5)


def test_config_round_trips():
    for adjustment in (
        SimultaneousGradient(),
        SymplecticGradientAdjustment(0.5, align=False, epsilon=0.2, per="variable"),
        ConsensusOptimization(0.3),
        Extragradient(),
    ):
        config = keras.saving.serialize_keras_object(adjustment)
        revived = keras.saving.deserialize_keras_object(config)
        assert type(revived) is type(adjustment)
        assert vars(revived) == vars(adjustment)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: SymplecticGradientAdjustment(-1),
            "`strength` must be a finite number from 0 up",
        ),
        (lambda: SymplecticGradientAdjustment(float("nan")), "`strength` must be"),
        (
            lambda: SymplecticGradientAdjustment(epsilon=-1),
            "`epsilon` must be a finite",
        ),
        (lambda: SymplecticGradientAdjustment(per="tensor"), "`per` must be one of"),
        (
            lambda: ConsensusOptimization(-0.1),
            "`strength` must be a finite number from 0 up",
        ),
        (lambda: SimultaneousGradient()(list, []), "`variables` must hold"),
        (lambda: SimultaneousGradient()(list, [[]]), "none for player 0"),
    ],
)
def test_bad_arguments_say_so_in_one_line(call, words):
    with pytest.raises(ValueError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "adjustment",
    [
        SimultaneousGradient(),
        SymplecticGradientAdjustment(),
        ConsensusOptimization(),
    ],
)
def test_bad_games_say_so_in_one_line(adjustment):
    x, y = keras.Variable([1.0]), keras.Variable([2.0])

    def call(losses, variables, **kwargs):
        with pytest.raises(ValueError) as caught:
            adjustment(lambda: losses, variables, **kwargs)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    meet = tf.constant(1.0)
    assert "two share some" in call([meet, meet], [[x], [x]])
    assert "one loss a player (2)" in call([meet], [[x], [y]])
    assert "must be a scalar" in call([tf.ones(2), meet], [[x], [y]])
    assert "The loss of player 0 must depend" in call([meet, meet], [[x], [y]])
    assert "one a player (2)" in call([meet] * 2, [[x], [y]], penalties=[None])


def test_extragradient_needs_optimizers_and_all_players():
    game = Quadratic([1, 1], np.random.default_rng(0))
    optimizers = [keras.optimizers.SGD(), keras.optimizers.SGD()]
    with pytest.raises(ValueError, match="needs the `optimizers`"):
        Extragradient()(game, game.variables)
    with pytest.raises(ValueError, match="only=1"):
        Extragradient()(game, game.variables, optimizers=optimizers, only=1)


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (
            keras.optimizers.SGD(gradient_accumulation_steps=2),
            "step at every gradient",
        ),
        (keras.optimizers.SGD(loss_scale_factor=8.0), "do not scale losses"),
        (
            keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()),
            "do not scale losses",
        ),
    ],
)
def test_extragradient_refuses_optimizers_that_step_elsewhere(optimizer, words):
    game = Quadratic([1, 1], np.random.default_rng(0))
    optimizers = [keras.optimizers.SGD(), optimizer]
    with pytest.raises(ValueError, match=words) as caught:
        Extragradient()(game, game.variables, optimizers=optimizers)
    assert "\n" not in str(caught.value)


ON_JAX = """
import jax, keras, numpy as np
from keras import ops
from zoo.optimizers import *

generator = np.random.default_rng(0)
M = generator.normal(size=(2, 5, 5))
M = M + np.swapaxes(M, 1, 2)
H = np.concatenate([M[0][:2], M[1][2:]])
w = generator.normal(size=5)
xi = H @ w
x, y = keras.Variable(w[:2], dtype="float64"), keras.Variable(w[2:], dtype="float64")
count = keras.Variable(0.0, trainable=False)

def losses():
    count.assign(count + 1)
    point = ops.concatenate([x.value, y.value])
    return [0.5 * ops.sum(point * ops.matmul(m, point)) for m in M]

def run(adjustment, values):
    scope = keras.StatelessScope(list(zip((x, y, count), values)))
    with scope:
        _, gradients = adjustment(losses, [[x], [y]])
    return gradients, scope.get_current_value(count)

sign = 1 if (xi @ (H.T @ xi)) * (xi @ (H - H.T) / 2 @ (H.T @ xi)) / 5 + 0.1 >= 0 else -1
for adjustment, truth in (
    (SimultaneousGradient(), xi),
    (SymplecticGradientAdjustment(align=False), xi + (H - H.T).T / 2 @ xi),
    (SymplecticGradientAdjustment(), xi + sign * (H - H.T).T / 2 @ xi),
    (ConsensusOptimization(), xi + H.T @ xi),
):
    values = [x.value, y.value, count.value]
    for call in (run, jax.jit(run, static_argnums=0)):
        gradients, calls = call(adjustment, values)
        found = np.concatenate([np.asarray(g) for (g,) in gradients])
        np.testing.assert_allclose(found, truth, rtol=1e-9)
        assert float(calls) == 1, calls
    # Outside of any scope.
    _, gradients = adjustment(losses, [[x], [y]])
    found = np.concatenate([np.asarray(g) for (g,) in gradients])
    np.testing.assert_allclose(found, truth, rtol=1e-9)
print("fine")
"""


def test_jax_gives_the_same_and_keeps_what_a_loss_assigns():
    ran = subprocess.run(
        [sys.executable, "-c", ON_JAX],
        env=os.environ
        | {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.stdout.strip() == "fine", ran.stderr[-2000:]
