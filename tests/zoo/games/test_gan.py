"""GAN losses and penalties against formulas and closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.games import R1, R2, GANLoss, GradientPenalty, gan


def softplus(x):
    return np.log1p(np.exp(x))


FORMULAS = {
    "non_saturating": lambda r, f: (softplus(-r) + softplus(f), softplus(-f)),
    "saturating": lambda r, f: (softplus(-r) + softplus(f), -softplus(f)),
    "wasserstein": lambda r, f: (f - r, -f),
    "least_squares": lambda r, f: ((r - 1) ** 2 + f**2, (f - 1) ** 2),
    "relativistic": lambda r, f: (softplus(f - r), softplus(r - f)),
}


def networks():
    keras.utils.set_random_seed(0)
    dense, start = keras.layers.Dense, keras.Input
    return {
        "discriminator": keras.Sequential([start((2,)), dense(8, "tanh"), dense(1)]),
        "generator": keras.Sequential([start((3,)), dense(8, "tanh"), dense(2)]),
    }


def batch(rows=16):
    generator = np.random.default_rng(0)
    sizes = (rows, 2), (rows, 3), (rows,)
    real, noise = (tf.constant(generator.normal(size=s), "float32") for s in sizes[:2])
    return real, noise, tf.constant(generator.random(sizes[2]), "float32")


@pytest.mark.parametrize("kind", FORMULAS)
def test_losses_are_their_formulas(kind):
    players, drawn = networks(), batch()
    r = np.asarray(players["discriminator"](drawn[0]), "float64")
    f = np.asarray(players["discriminator"](players["generator"](drawn[1])), "float64")
    found = GANLoss(3, kind)(players, drawn)
    for name, expected in zip(found, FORMULAS[kind](r, f), strict=True):
        assert float(found[name]) == pytest.approx(expected.mean(), rel=1e-5)
    assert list(found) == ["discriminator", "generator"]


@pytest.mark.parametrize("kind", FORMULAS)
def test_losses_stay_finite_for_scores_that_are_far_out(kind):
    def far(x, training):
        return 1e4 * x

    players = {"discriminator": far, "generator": lambda z, training: -z}
    losses = GANLoss(1, kind)(players, (np.ones((2, 1)), np.ones((2, 1)), None))
    assert np.isfinite([float(loss) for loss in losses.values()]).all()


def test_the_saturating_game_is_zero_sum_for_the_generator():
    players, drawn = networks(), batch()
    weights = players["generator"].trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        losses = GANLoss(3, "saturating")(players, drawn)
    for ours, theirs in zip(
        tape.gradient(losses["generator"], [w.value for w in weights]),
        tape.gradient(losses["discriminator"], [w.value for w in weights]),
        strict=True,
    ):
        np.testing.assert_allclose(ours, -theirs, rtol=1e-5, atol=1e-7)


def linear(slope):
    """A discriminator of known slope everywhere."""
    layer = keras.layers.Dense(1, use_bias=False)
    model = keras.Sequential([keras.Input((2,)), layer])
    layer.set_weights([np.array(slope, "float32")[:, None]])
    return model


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [(R1(0.2), 0.1 * 25), (R2(0.2), 0.1 * 25), (GradientPenalty(0.5), 0.5 * 16)],
)
def test_penalties_of_a_linear_discriminator(penalty, expected):
    players = {**networks(), "discriminator": linear([3.0, 4.0])}
    assert float(penalty(players, batch())) == pytest.approx(expected, rel=1e-5)


def test_penalties_look_where_they_should():
    class Square(keras.layers.Layer):
        """Its slope at x is 2 x: where a penalty looks is what it costs."""

        def call(self, x):
            return keras.ops.sum(x * x, -1, keepdims=True)

    players = {**networks(), "discriminator": keras.Sequential([Square()])}
    real, noise, share = batch()
    fake = np.asarray(players["generator"](noise))
    between = np.asarray(real) + np.asarray(share)[:, None] * (fake - np.asarray(real))
    for penalty, x in ((R1(1.0), np.asarray(real)), (R2(1.0), fake)):
        expected = 0.5 * (4 * x**2).sum(1).mean()
        assert float(penalty(players, (real, noise, share))) == pytest.approx(
            expected, rel=1e-5
        )
    expected = ((2 * np.linalg.norm(between, axis=1) - 1) ** 2).mean()
    found = float(GradientPenalty(1.0)(players, (real, noise, share)))
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_penaltys_gradient_by_finite_differences():
    players, drawn = networks(), batch()
    kernel = players["discriminator"].trainable_variables[0]
    with tf.GradientTape() as tape:
        penalty = R1(1.0)(players, drawn)
    gradient = np.asarray(tape.gradient(penalty, kernel.value))
    start, step, found = np.array(kernel), 1e-2, []
    for place in np.ndindex(start.shape):
        around = []
        for shift in (step, -step):
            moved = start.copy()
            moved[place] += shift
            kernel.assign(moved)
            around.append(float(R1(1.0)(players, drawn)))
        found.append((around[0] - around[1]) / (2 * step))
    kernel.assign(start)
    np.testing.assert_allclose(gradient.ravel(), found, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("penalty", [R1(1.0), R2(1.0), GradientPenalty(1.0)])
def test_penalties_of_integers_are_those_of_their_floats(penalty):
    players = networks()
    pixels = np.random.default_rng(0).integers(0, 9, (16, 2))
    found = []
    for dtype in ("uint8", "float32", "float64"):
        seed = keras.random.SeedGenerator(0)
        drawn = GANLoss(3).draw(tf.constant(pixels.astype(dtype)), seed)
        found.append(float(penalty(players, drawn)))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("penalty", [R1(1.0), R2(1.0), GradientPenalty(1.0)])
def test_penalties_in_bfloat16_are_near(penalty):
    exact, drawn = networks(), batch()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        players = networks()
    finally:
        keras.config.set_dtype_policy("float32")
    for name, player in players.items():
        player.set_weights(exact[name].get_weights())
    found = penalty(players, drawn)
    assert found.dtype == tf.float32
    assert float(found) == pytest.approx(float(penalty(exact, drawn)), rel=0.1)


def test_labels_beside_the_data_are_left_out():
    seeds = [keras.random.SeedGenerator(0) for _ in range(2)]
    data = np.ones((4, 2), "float32")
    plain = GANLoss(3).draw(data, seeds[0])
    labelled = GANLoss(3).draw((data, np.zeros(4)), seeds[1])
    for ours, theirs in zip(labelled, plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_noise_is_normal_seeded_and_fresh():
    loss = GANLoss(3)
    seeds = [keras.random.SeedGenerator(seed) for seed in (0, 0, 1)]
    first, again, other = (loss.draw(np.ones((2000, 2)), seed) for seed in seeds)
    real, noise, share = (np.asarray(part) for part in first)
    assert noise.shape == (2000, 3) and share.shape == (2000,)
    np.testing.assert_array_equal(real, np.ones((2000, 2)))
    np.testing.assert_array_equal(noise, again[1])
    assert not np.array_equal(noise, other[1])
    assert not np.array_equal(noise, loss.draw(np.ones((2000, 2)), seeds[0])[1])
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.05
    assert 0 <= share.min() < 0.01 and 0.99 < share.max() < 1


def test_wasserstein_with_clipped_weights_learns_a_mean():
    keras.utils.set_random_seed(0)
    shift = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    made = gan(linear([0.0, 0.0]), shift, "wasserstein")
    made.compile(
        keras.optimizers.SGD(0.05), order="alternating", clip={"discriminator": 1.0}
    )
    data = np.random.default_rng(0).normal([3.0, 4.0], 1.0, (2048, 2))
    made.fit(data.astype("float32"), batch_size=256, epochs=40, verbose=0)
    noise = np.random.default_rng(1).normal(size=(4096, 2))
    mean = shift.predict(noise, verbose=0).mean(0)
    assert np.linalg.norm(mean - [3.0, 4.0]) < 1.0
    weights = made.players["discriminator"].get_weights()[0]
    assert np.abs(weights).max() <= 1.0


def test_config_round_trips():
    for thing in (GANLoss(3, "wasserstein"), R1(0.1), R2(0.2), GradientPenalty(5.0)):
        config = keras.saving.serialize_keras_object(thing)
        revived = keras.saving.deserialize_keras_object(config)
        assert type(revived) is type(thing)
        assert vars(revived) == vars(thing)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: GANLoss(0), "`latent_dim` must be >= 1"),
        (lambda: GANLoss(2, "hinge"), "`kind` must be one of ('non_saturating'"),
        (lambda: R1(0.0), "`weight` must be > 0"),
        (lambda: GradientPenalty(-1.0), "`weight` must be > 0"),
    ],
)
def test_mistakes_end_in_one_line(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
