"""GameTrainer: order, state, saving, mistakes, and other backends."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

import zoo
from zoo.games import R1, GameTrainer, GANLoss, Point, bilinear_game, gan, play
from zoo.optimizers import (
    ConsensusOptimization,
    Extragradient,
    SymplecticGradientAdjustment,
)

ROOT = pathlib.Path(zoo.__file__).parents[1]
START = {"player_1": [1.0], "player_2": [2.0]}


def trainer(optimizers=None, start=START, **kwargs):
    game = bilinear_game([[1.0]])
    made = GameTrainer(game.players(start), game)
    made.compile(optimizers or keras.optimizers.SGD(0.125), **kwargs)
    return made


def networks():
    keras.utils.set_random_seed(0)
    dense, start = keras.layers.Dense, keras.Input
    return [
        keras.Sequential([start((2,)), dense(8, "tanh"), dense(1)]),
        keras.Sequential([start((3,)), dense(8, "tanh"), dense(2)]),
    ]


def small_gan(adjustment=None, use_ema=False, **kwargs):
    made = gan(*networks())
    made.compile(
        {
            "discriminator": keras.optimizers.Adam(1e-2, beta_1=0.5),
            "generator": keras.optimizers.Adam(
                1e-2, beta_1=0.5, use_ema=use_ema, ema_momentum=0.9
            ),
        },
        adjustment=adjustment,
        **{"penalties": {"discriminator": R1(0.1)}, **kwargs},
    )
    return made


def points(rows=64):
    return np.random.default_rng(0).normal(size=(rows, 2)).astype("float32")


def test_simultaneous_players_answer_the_same_point():
    path = play(trainer(), steps=3)
    x, y = 1.0, 2.0
    for row in range(1, 4):
        x, y = x - 0.125 * y, y + 0.125 * x
        assert path["player_1"][row] == [x]
        assert path["player_2"][row] == [y]


def test_alternating_players_answer_the_last_move():
    path = play(trainer(order="alternating", steps={"player_2": 2}), steps=3)
    x, y = 1.0, 2.0
    for row in range(1, 4):
        x = x - 0.125 * y
        y = y + 2 * 0.125 * x
        assert path["player_1"][row] == [x]
        assert path["player_2"][row] == [y]


@pytest.mark.parametrize("run_eagerly", [True, False])
@pytest.mark.parametrize(
    ("adjustment", "matrix"),
    [
        (None, [[1, -0.125], [0.125, 1]]),
        (ConsensusOptimization(), [[0.875, -0.125], [0.125, 0.875]]),
        (
            SymplecticGradientAdjustment(align=False),
            [[0.875, -0.125], [0.125, 0.875]],
        ),
        (Extragradient(), [[1 - 0.125**2, -0.125], [0.125, 1 - 0.125**2]]),
    ],
)
def test_adjustments_move_as_their_matrices_say(adjustment, matrix, run_eagerly):
    made = trainer(adjustment=adjustment, run_eagerly=run_eagerly)
    path = play(made, steps=5)
    expected = np.linalg.matrix_power(np.array(matrix), 5) @ [1.0, 2.0]
    found = [path["player_1"][-1, 0], path["player_2"][-1, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_logs_are_each_players_loss_when_it_moves():
    history = trainer().fit(np.zeros((1, 1)), verbose=0).history
    assert history == {"player_1_loss": [2.0], "player_2_loss": [-2.0]}
    made = trainer(order="alternating")
    history = made.fit(np.zeros((1, 1)), verbose=0).history
    assert history == {"player_1_loss": [2.0], "player_2_loss": [-0.75 * 2]}


def test_clips_the_named_players_weights():
    made = trainer(clip={"player_2": 0.5})
    path = play(made, steps=1)
    assert path["player_1"][-1] == [0.75]
    assert path["player_2"][-1] == [0.5]


def test_every_player_gets_a_copy_of_one_optimizer():
    made = trainer(keras.optimizers.Adam(0.3))
    first, second = made.optimizer.optimizers
    assert first is not second
    assert float(second.learning_rate) == pytest.approx(0.3)
    named = trainer({"player_1": "adam", "player_2": keras.optimizers.SGD(0.5)})
    kinds = [type(one).__name__ for one in named.optimizer.optimizers]
    assert kinds == ["Adam", "SGD"]


def test_a_game_of_three_and_of_one():
    players = {f"p{i}": Point([float(i + 1)], name=f"p{i}") for i in range(3)}

    def ring(players, _):
        a, b, c = (player()[0] for player in players.values())
        return {"p0": a * b, "p1": b * c, "p2": c * a}

    made = GameTrainer(players, ring)
    made.compile(keras.optimizers.SGD(0.5), SymplecticGradientAdjustment(align=False))
    path = play(made, 1)
    # xi = (b, c, a); A^T xi of the first is (sum of H_ji xi_j - H_ij xi_j) / 2.
    H = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    w = np.array([1.0, 2.0, 3.0])
    expected = w - 0.5 * (H @ w + (H - H.T).T / 2 @ H @ w)
    np.testing.assert_allclose([p[-1, 0] for p in path.values()], expected)

    alone = GameTrainer(
        {"p0": Point([2.0])}, lambda players, _: {"p0": players["p0"]()[0] ** 2}
    )
    alone.compile(keras.optimizers.SGD(0.25), SymplecticGradientAdjustment())
    assert play(alone, 1)["p0"][-1] == [1.0]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"order": "alternating"},
        {"adjustment": SymplecticGradientAdjustment()},
        {"adjustment": Extragradient()},
    ],
)
def test_saved_mid_game_goes_on_as_if_never_stopped(tmp_path, kwargs):
    x = points()

    def train(made, first, last):
        made.fit(
            x,
            batch_size=16,
            initial_epoch=first,
            epochs=last,
            shuffle=False,
            verbose=0,
        )

    whole = small_gan(use_ema=True, **kwargs)
    train(whole, 0, 4)
    half = small_gan(use_ema=True, **kwargs)
    train(half, 0, 2)
    half.save(tmp_path / "half.keras")
    half.save_weights(tmp_path / "half.weights.h5")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    weights = small_gan(use_ema=True, **kwargs)
    weights.load_weights(tmp_path / "half.weights.h5")
    for resumed in (half, loaded, weights):
        train(resumed, 2, 4)
        for ours, theirs in zip(
            [*resumed.variables, *resumed.optimizer.variables],
            [*whole.variables, *whole.optimizer.variables],
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)


def test_averages_stand_in_and_make_way():
    made = small_gan(use_ema=True)
    generator = made.players["generator"]
    weight = generator.trainable_variables[0]
    average = np.array(weight)
    for _ in range(3):
        made.fit(points(16), batch_size=16, verbose=0)
        now = np.array(weight)
        average = 0.9 * average + 0.1 * now
        if _ == 0:
            average = now
    before = generator.get_weights()
    with made.averaged("generator") as player:
        assert player is generator
        np.testing.assert_allclose(weight, average, rtol=1e-5, atol=1e-7)
    for ours, theirs in zip(generator.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with (
        pytest.raises(ValueError, match="use_ema=True"),
        made.averaged("discriminator"),
    ):
        pass


def test_frozen_layers_and_moving_averages():
    discriminator, generator = networks()
    generator = keras.Sequential(
        [keras.Input((3,)), *generator.layers, keras.layers.BatchNormalization()]
    )
    generator.layers[0].trainable = False
    frozen = generator.layers[0].get_weights()
    made = gan(discriminator, generator)
    made.compile(keras.optimizers.SGD(0.1), order="alternating")
    made.fit(points(), batch_size=16, verbose=0)
    for ours, theirs in zip(generator.layers[0].get_weights(), frozen, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.any(np.asarray(generator.layers[-1].moving_mean))


def test_xla_and_several_steps_an_execution_change_nothing(monkeypatch):
    noise = np.random.default_rng(1).normal(size=(16, 3)).astype("float32")
    # XLA draws other numbers from the same seed.
    monkeypatch.setattr(GANLoss, "draw", lambda self, batch, _: (batch, noise, None))
    plain = small_gan(order="alternating")
    plain.fit(points(), batch_size=16, shuffle=False, verbose=0)
    for kwargs in ({"jit_compile": True}, {"steps_per_execution": 4}):
        other = small_gan(order="alternating", **kwargs)
        other.fit(points(), batch_size=16, shuffle=False, verbose=0)
        for ours, theirs in zip(other.variables, plain.variables, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_accumulated_gradients_decay_and_clipping_stay_each_optimizers_own():
    optimizer = keras.optimizers.SGD(0.5, clipvalue=1.0, weight_decay=0.5)
    plain = keras.optimizers.SGD(0.5, gradient_accumulation_steps=2)
    path = play(trainer({"player_1": optimizer, "player_2": plain}), steps=2)
    # Of player 1 the gradients are clipped to 1; player 2 moves at every second.
    assert path["player_1"].ravel().tolist() == [1.0, 0.25, -0.3125]
    assert path["player_2"].ravel().tolist() == [2.0, 2.0, 2 + 0.5 * (1 + 0.25) / 2]


def test_bfloat16_players_train_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        made = gan(*networks())
    finally:
        keras.config.set_dtype_policy("float32")
    made.compile(
        keras.optimizers.SGD(0.1),
        SymplecticGradientAdjustment(),
        penalties={"discriminator": R1(0.1)},
    )
    history = made.fit(points(), batch_size=16, verbose=0).history
    assert np.isfinite(list(history.values())).all()
    assert {variable.dtype for variable in made.trainable_variables} == {"float32"}


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_averages_of_extragradient_leave_the_points_ahead_out(momentum):
    optimizer = keras.optimizers.SGD(0.25, use_ema=True, ema_momentum=momentum)
    made = trainer(optimizer, adjustment=Extragradient())
    path = play(made, steps=5)["player_1"]
    # An average of one start and the iterates: Keras's own starts at the first.
    average = path[0]
    for row in path[1:]:
        average = momentum * average + (1 - momentum) * row
    with made.averaged("player_1") as player:
        np.testing.assert_allclose(player(), average, rtol=1e-6)


def test_averages_are_clipped_as_weights_are():
    optimizer = keras.optimizers.SGD(0.125, use_ema=True, ema_momentum=0.9)
    made = trainer(optimizer, clip={"player_2": 0.5})
    play(made, steps=3)
    with made.averaged("player_2") as player:
        assert np.abs(np.asarray(player())).max() <= 0.5


def test_regularizers_of_a_player_are_a_part_of_its_loss():
    discriminator, generator = networks()
    plain = keras.models.clone_model(discriminator)
    plain.set_weights(discriminator.get_weights())
    discriminator.layers[0].kernel.regularizer = keras.regularizers.L2(0.5)
    kernel = np.asarray(plain.layers[0].kernel)
    moves = []
    for one in (plain, discriminator):
        other = keras.models.clone_model(generator)
        other.set_weights(generator.get_weights())
        made = gan(one, other)
        made.compile(keras.optimizers.SGD(0.1))
        made.fit(points(16), batch_size=16, verbose=0)
        moves.append(np.asarray(one.layers[0].kernel) - kernel)
    np.testing.assert_allclose(moves[1] - moves[0], -0.1 * kernel, rtol=1e-4, atol=1e-6)


def test_labels_reach_the_losses():
    def losses(players, batch):
        x, y = batch
        weight = players["player"]()[0]
        return {"player": ops.mean(x) * weight + ops.sum(y)}

    made = GameTrainer({"player": Point([0.0])}, losses)
    made.compile(keras.optimizers.SGD(0.5))
    x, y = np.full((4, 1), 3.0, "float32"), np.ones(4, "float32")
    assert made.fit(x, y, verbose=0).history == {"player_loss": [4.0]}
    assert np.asarray(made.players["player"]()) == [-1.5]
    with pytest.raises(ValueError, match="`sample_weight` must be left out"):
        made.fit(x, y, sample_weight=y, verbose=0)
    for option in ({"validation_data": (x, y)}, {"validation_split": 0.5}):
        with pytest.raises(ValueError, match="must be left out: a game has no test"):
            made.fit(x, y, verbose=0, **option)


def test_each_loss_is_one_metric_however_often_compiled():
    made = small_gan()
    made.compile(keras.optimizers.SGD(0.1))
    # The first is Keras's own, which games leave alone.
    assert [metric.name for metric in made.metrics[1:]] == [
        "discriminator_loss",
        "generator_loss",
    ]


def test_nan_in_one_player_ends_training_with_its_name():
    def losses(players, _):
        x, y = (player()[0] for player in players.values())
        return {"player_1": x * y, "player_2": ops.log(x - 1.0) * y}

    game = bilinear_game([[1.0]])
    made = GameTrainer(game.players(START), losses)
    made.compile(keras.optimizers.SGD(0.125))
    with pytest.raises(FloatingPointError) as caught:
        play(made, steps=5)
    assert str(caught.value) == "the loss of player 'player_2' is -inf in batch 0"


def test_mistakes_end_in_one_line():
    game = bilinear_game([[1.0]])
    players = game.players(START)
    sgd = keras.optimizers.SGD

    def message(call):
        with pytest.raises(ValueError) as caught:
            call()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    for none in ({}, [Point([1.0])], None):
        assert "`players` must be a dict" in message(
            lambda n=none: GameTrainer(n, game)
        )
    unbuilt = {"player_1": keras.layers.Dense(1)}
    assert "Received: player_1=" in message(lambda: GameTrainer(unbuilt, game))
    made = GameTrainer(players, game)
    for kwargs, words in (
        ({"order": "random"}, "`order` must be one of ('simultaneous', 'alternating')"),
        ({"order": "alternating", "adjustment": Extragradient()}, "`order` must be"),
        ({"steps": {"player_1": 2}}, "`steps` must be left out"),
        ({"clip": {"player_1": 0}}, "`clip` must be > 0"),
        ({"steps": {"player_1": 1.5}, "order": "alternating"}, "`steps` must be int"),
        ({"penalties": {"player_1": None}}, "`penalties` must be callables"),
        ({"adjustment": "sga"}, "`adjustment` must be one of zoo.optimizers"),
        ({"clip": {"generator": 1}}, "`clip` must name players (player_1, player_2)"),
        ({"penalties": {"D": None}}, "`penalties` must name players"),
    ):
        assert words in message(lambda kwargs=kwargs: made.compile(sgd(), **kwargs))
    one = sgd()
    for optimizers, words in (
        ({"player_1": one}, "none for 'player_2'"),
        ({"player_1": one, "player_2": one}, "one for several"),
        ({"player_1": one, "someone": one}, "`optimizers` must name players"),
        (None, "`optimizers` must be given"),
        (sgd(loss_scale_factor=8.0), "`optimizers` must not scale losses"),
        (
            {"player_1": sgd(), "player_2": keras.optimizers.LossScaleOptimizer(one)},
            "`optimizers` must not scale losses",
        ),
    ):
        assert words in message(lambda o=optimizers: made.compile(o))
    assert "compile" in message(lambda: play(made, 1))

    def forgets(players, batch):
        return {"player_1": players["player_1"]()[0]}

    made = GameTrainer(players, forgets)
    made.compile(sgd())
    assert "a loss for every player" in message(lambda: play(made, 1))

    def ignores(players, batch):
        x = players["player_1"]()[0]
        return {"player_1": x, "player_2": x}

    made = GameTrainer(players, ignores)
    made.compile(sgd())
    assert "The loss of player 1 must depend" in message(lambda: play(made, 1))

    layers = [keras.layers.Dense(1, dtype="mixed_float16")]
    made = gan(keras.Sequential([keras.Input((2,)), *layers]), networks()[1])
    assert "mixed_bfloat16" in message(lambda: made.compile(sgd()))
    made = trainer(sgd(0.1, gradient_accumulation_steps=2), adjustment=Extragradient())
    assert "step at every gradient" in message(lambda: play(made, 1))


def test_a_game_is_no_function():
    with pytest.raises(NotImplementedError, match="player_1, player_2"):
        trainer()(np.zeros((1, 1)))


def test_two_replicas_take_the_mean_of_their_gradients():
    script = """
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
import keras, numpy as np
from zoo.games import GameTrainer, Point

def losses(players, batch):
    x, y = (player()[0] for player in players.values())
    mean = keras.ops.mean(batch)
    return {"x": x * y * mean, "y": -x * y * mean}

def run(strategy):
    with strategy.scope():
        players = {"x": Point([1.0], name="x"), "y": Point([2.0], name="y")}
        trainer = GameTrainer(players, losses)
        trainer.compile(keras.optimizers.SGD(0.1))
        data = np.arange(8, dtype="float32")
        data = tf.data.Dataset.from_tensor_slices(data).batch(4)
        trainer.fit(data, verbose=0)
        return [np.array(v).item() for v in trainer.trainable_variables]

one = run(tf.distribute.get_strategy())
two = run(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
np.testing.assert_allclose(one, two, rtol=1e-6)
print("fine")
"""
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.stdout.strip() == "fine", ran.stderr[-2000:]


WEIGHTS = """
import sys
import keras, numpy as np
from zoo.games import GANLoss, GameTrainer, GradientPenalty
from zoo.optimizers import Extragradient, SymplecticGradientAdjustment

dense, start = keras.layers.Dense, keras.Input
players = [
    keras.Sequential([start((2,)), dense(4, "tanh"), dense(1)]),
    keras.Sequential([start((3,)), dense(4, "tanh"), dense(2)]),
]
generator = np.random.default_rng(0)
for player in players:
    player.set_weights([generator.normal(size=w.shape) for w in player.get_weights()])

@keras.saving.register_keras_serializable(package="test")
class Fixed(GANLoss):
    def draw(self, batch, seed):
        noise = np.linspace(-1, 1, 48).reshape(16, 3).astype("float32")
        return batch, noise, np.linspace(0, 1, 16).astype("float32")

x = generator.normal(size=(64, 2)).astype("float32")
penalties = {"discriminator": GradientPenalty(0.5)}
for name, kwargs in {
    "alternating": {"order": "alternating", "penalties": penalties},
    "sga": {"adjustment": SymplecticGradientAdjustment()},
    "extra": {"adjustment": Extragradient()},
}.items():
    copies = map(keras.models.clone_model, players)
    names = dict(zip(("discriminator", "generator"), copies))
    for copy, player in zip(names.values(), players):
        copy.set_weights(player.get_weights())
    trainer = GameTrainer(names, Fixed(3))
    trainer.compile(keras.optimizers.Adam(1e-2, use_ema=True), **kwargs)
    trainer.fit(x, batch_size=16, epochs=4, shuffle=False, verbose=0)
    with trainer.averaged("generator") as averaged:
        averaged.predict_on_batch(np.ones((4, 3), "float32"))
    trainer.fit(x, batch_size=16, shuffle=False, verbose=0)
    flat = np.concatenate([np.ravel(w) for w in trainer.get_weights()[:8]])
    np.save(f"{sys.argv[1]}/{keras.backend.backend()}_{name}.npy", flat)
"""


def test_jax_trains_as_tensorflow_does(tmp_path):
    for backend in ("tensorflow", "jax"):
        ran = subprocess.run(
            [sys.executable, "-c", WEIGHTS, tmp_path],
            env=os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend},
            capture_output=True,
            text=True,
        )
        assert not ran.returncode, ran.stderr[-3000:]
    names = sorted(path.name for path in tmp_path.glob("jax_*.npy"))
    assert len(names) == 3
    for name in names:
        ours = np.load(tmp_path / name)
        theirs = np.load(tmp_path / name.replace("jax", "tensorflow"))
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4, err_msg=name)
