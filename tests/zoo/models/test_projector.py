"""Projector and discriminators: form, losses, bounds, training, weights."""

import math
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from zoo.models.progress import STATE
from zoo.models.projector import (
    ProjectorLoss,
    image_discriminator,
    latent_discriminator,
    perturb,
    projector,
    train,
)
from zoo.models.projector import __main__ as command
from zoo.models.projector.losses import cross_entropy
from zoo.models.projector.networks import ChannelwiseDense
from zoo.models.projector.perturbation import cubic, nearest
from zoo.models.projector.pretrained import FOLDER, pretrained

RNG = np.random.default_rng(0)
WAVES = 0.5 + 0.4 * np.sin(np.arange(24) / 3)[:, None, None] * np.ones((24, 20, 1))
IMAGES = {"waves": WAVES, "turned": WAVES.swapaxes(0, 1)}
SETTINGS = {"steps": 8, "batch_size": 4, "evaluate_every": 4, "validation": IMAGES}


def tiny(**settings):
    return projector(8, widths=(4, 6), latent_size=4, **settings)


def tiny_players():
    keras.utils.set_random_seed(0)
    return {
        "projector": tiny(),
        "image_discriminator": image_discriminator(8, width=2, blocks=(1, 1)),
        "latent_discriminator": latent_discriminator((4, 4, 6), blocks=1),
    }


def fit(players=None, **settings):
    network, *others = (players or tiny_players()).values()
    image, latent = others or (None, None)
    discriminators = {"image_discriminator": image, "latent_discriminator": latent}
    return train(network, IMAGES, **discriminators, **{**SETTINGS, **settings})


def randomize(model, scale=1.0):
    for variable in model.trainable_variables:
        size = scale / math.sqrt(math.prod(variable.shape[:-1]) or 1)
        variable.assign(RNG.normal(0, size, variable.shape))
    return model


def uniform(*shape):
    return RNG.uniform(size=shape).astype("float32")


def test_parameters_are_those_of_the_formula():
    def convolution(side, before, after):
        return after * (side**2 * before + 1)

    def count(channels, widths, pixels):
        pairs = list(zip((channels, *widths), widths, strict=False))
        encoder = sum(convolution(4, *pair) for pair in pairs)
        decoder = sum(convolution(4, after, before) for before, after in pairs)
        mix = widths[-1] * (pixels**2 + pixels)
        return encoder + decoder + mix + convolution(2, widths[-1], widths[-1])

    assert projector().count_params() == count(1, (24, 48, 96), 64)
    assert tiny().count_params() == count(1, (4, 6), 16)
    wide = projector(64, 3, (8, 8, 16, 16, 16))
    assert wide.count_params() == count(3, (8, 8, 16, 16, 16), 64)


@pytest.mark.parametrize(
    ("size", "channels", "widths", "latent"),
    [(32, 1, (4, 6, 8), 8), (64, 3, (4, 4, 4, 4, 6), 8), (8, 2, (3,), 8)],
)
def test_shapes_are_those_of_the_image_and_the_latent(size, channels, widths, latent):
    model = projector(size, channels, widths)
    x = uniform(2, size, size, channels)
    assert model(x).shape == x.shape
    shape = model.get_layer("latent").output.shape
    assert shape == (None, latent, latent, widths[-1])
    assert image_discriminator(size, channels, 2)(x).shape == (2, 1)
    assert latent_discriminator(shape[1:])(uniform(2, *shape[1:])).shape == (2, 1)


def test_strides_are_one_first_and_then_halve():
    model = projector(64, 3, (4, 5, 6, 7, 8))
    layers = {layer.name: layer for layer in model.layers}
    encoder = [layers[f"encoder{index}"].strides[0] for index in range(1, 6)]
    decoder = [layers[f"decoder{index}"].strides[0] for index in range(1, 6)]
    assert encoder == decoder == [1, 1, 2, 2, 2]


def test_the_residual_form_begins_as_the_identity_and_the_plain_one_does_not():
    x = uniform(2, 8, 8, 1)
    np.testing.assert_array_equal(tiny(residual=True)(x), x)
    assert np.abs(tiny()(x) - x).max() > 0.1


def test_the_residual_form_is_the_image_less_the_plain_form():
    plain, residual = tiny(), tiny(residual=True)
    randomize(plain)
    residual.set_weights(plain.get_weights())
    x = uniform(2, 8, 8, 1)
    np.testing.assert_allclose(residual(x), x - plain(x), atol=1e-5)


def test_an_estimate_depends_on_its_image_alone():
    model, x = randomize(tiny()), uniform(3, 8, 8, 1)
    alone = model.predict_on_batch(x[:1])
    np.testing.assert_allclose(model.predict_on_batch(x)[:1], alone, atol=1e-5)


def test_channels_are_mixed_by_their_own_matrix():
    layer = ChannelwiseDense()
    x = uniform(2, 3, 4, 5)
    np.testing.assert_array_equal(layer(x), x)
    kernel, bias = RNG.normal(size=(5, 12, 12)), RNG.normal(size=(12, 5))
    layer.set_weights([kernel, bias])
    expected = np.stack(
        [
            (x[..., c].reshape(2, 12) @ kernel[c].T + bias[:, c]).reshape(2, 3, 4)
            for c in range(5)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_half_precision_does_not_round_the_image():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = tiny(residual=True)
    finally:
        keras.config.set_dtype_policy(before)
    x = uniform(1, 8, 8, 1)
    np.testing.assert_array_equal(model(x), x)


def gradient_norms(model, x):
    import tensorflow as tf

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x)
    gradient = tape.gradient(y, x).numpy()
    return np.linalg.norm(gradient.reshape(len(x), -1), axis=1)


def test_gradients_of_a_discriminator_are_bounded():
    # `|ELU'| <= 1`: a convolution multiplies them by no more than its taps' norms.
    model = randomize(image_discriminator(8, width=2, blocks=(1,)))

    def bound(name):
        kernel = ops.convert_to_numpy(model.get_layer(name).kernel)
        return sum(
            np.linalg.norm(tap, 2) for tap in kernel.reshape(-1, *kernel.shape[-2:])
        )

    branch = bound("stack1_block1_in") * bound("stack1_block1_middle")
    branch *= bound("stack1_block1_out")
    total = bound("head") * (bound("stack1_block1_shortcut") + branch)
    total *= np.linalg.norm(model.get_layer("logit").kernel)
    for scale in (1e-3, 1.0, 1e3):
        x = (scale * RNG.normal(size=(8, 8, 8, 1))).astype("float32")
        norms = gradient_norms(model, x)
        # The mean over 16 pixels divides by 4 at least.
        assert np.all(norms <= total / 4)
        assert np.all(norms > 1e-3 * total / 16)


def test_gradients_of_a_discriminator_do_not_jump():
    import tensorflow as tf

    model = randomize(image_discriminator(8, width=2, blocks=(1,)))
    x, step = RNG.normal(size=(2, 1, 8, 8, 1))
    line = np.linspace(-1, 1, 2001)[:, None, None, None]
    points = tf.constant((x + line * step).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(points)
        y = model(points)
    slopes = np.sum(tape.gradient(y, points).numpy() * step, axis=(1, 2, 3))
    fine, coarse = (np.abs(np.diff(slopes[::every])).max() for every in (1, 8))
    # A ReLU's jumps would not shrink with the distance.
    assert fine < coarse / 4


def test_losses_are_those_of_numpy():
    class Scorer:
        def __init__(self, weight):
            self.weight = weight

        def __call__(self, x, training):
            axes = tuple(range(1, len(x.shape)))
            return ops.sum(x * self.weight, axes)[:, None]

    def project(x, training):
        return 0.5 * x + 0.1, 3 * x[:, ::2, ::2]

    clean, seen = RNG.uniform(size=(2, 5, 4, 4, 2))
    players = {
        "projector": project,
        "image_discriminator": Scorer(0.3),
        "latent_discriminator": Scorer(-0.2),
    }
    losses = ProjectorLoss(1.5, 0.2, 0.3, 0.4, share=0.1, label=0.8)(
        players, (clean, seen)
    )

    def c(logits, label):
        p = 1 / (1 + np.exp(-logits))
        return np.mean(-label * np.log(p) - (1 - label) * np.log(1 - p))

    def image(x):
        return 0.3 * x.sum((1, 2, 3))

    def latent(x):
        return -0.2 * (3 * x[:, ::2, ::2]).sum((1, 2, 3))

    def square(a, b):
        # Of images in [-1, 1].
        return np.mean((2 * a - 2 * b) ** 2)

    p_clean, p_seen = 0.5 * clean + 0.1, 0.5 * seen + 0.1
    expected = {
        "projector": 1.5 * square(p_seen, clean)
        + 0.2 * (0.1 * square(p_clean, clean) + 0.9 * square(p_seen, seen))
        + 0.3 * (0.1 * c(image(p_clean), 1) + 0.9 * c(image(p_seen), 1))
        + 0.4 * c(latent(seen), 1),
        "image_discriminator": c(image(clean), 0.8)
        + 0.1 * c(image(p_clean), 0)
        + 0.9 * c(image(p_seen), 0),
        "latent_discriminator": c(latent(clean), 0.8) + c(latent(seen), 0),
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(losses[name], value, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("logit", [-1e4, 0.0, 1e4])
def test_cross_entropies_are_finite_and_right_at_extremes(logit):
    expected = max(logit, 0) - 0.85 * logit + math.log1p(math.exp(-abs(logit)))
    value = float(cross_entropy(np.array([[logit]]), 0.85))
    assert value == pytest.approx(expected, rel=1e-6)


def test_terms_of_discriminators_that_are_left_out_are_left_out():
    players = {"projector": lambda x, training: (x, x)}
    batch = RNG.uniform(size=(2, 3, 4, 4, 1))
    losses = ProjectorLoss(fidelity=0.0)(players, batch)
    assert list(losses) == ["projector"]
    np.testing.assert_allclose(
        losses["projector"], 4 * np.mean((batch[0] - batch[1]) ** 2), rtol=1e-6
    )


def test_a_loss_is_made_again_from_its_config():
    loss = ProjectorLoss(image=0.5, label=0.9)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(loss)
    )
    assert vars(again) == vars(loss)


def test_cubics_keep_lines_and_constants():
    matrix = cubic(32, 4)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-12)
    places = (np.arange(32) + 0.5) * 4 / 32 - 0.5
    inner = (places >= 1) & (places <= 2)
    np.testing.assert_allclose((matrix @ np.arange(4.0))[inner], places[inner])
    np.testing.assert_allclose(cubic(5, 5), np.eye(5), atol=1e-12)


def test_nearest_pixels_are_those_of_keras():
    ramp = np.arange(32, dtype="float32").reshape(1, 1, 32, 1)
    for scale in (0.25, 0.4, 0.8, 0.95, 1.0):
        fewer = math.floor(32 * scale)
        small = ops.image.resize(ramp, (1, fewer), "nearest")
        back = ops.convert_to_numpy(ops.image.resize(small, (1, 32), "nearest"))
        np.testing.assert_array_equal(nearest(32, scale), back.ravel())
    np.testing.assert_array_equal(nearest(32, 0.01), 16)


def test_perturbations_are_as_strong_as_they_say():
    rng = np.random.default_rng(0)
    flat = np.full((400, 16, 16, 2), 0.5)
    noise = perturb(flat, rng, sigma=(0.1, 0.1)) - flat
    rows = cubic(16, 4)
    # Of the map, whose four numbers are independent and of variance 1.
    expected = 0.1 * math.sqrt(np.mean(np.outer(*[(rows**2).sum(1)] * 2)))
    assert noise.std() == pytest.approx(expected, rel=0.03)
    assert abs(noise.mean()) < 1e-3
    levels = (perturb(flat, rng) - flat).std((1, 2, 3))
    assert levels.max() / levels.min() > 3


def test_some_images_are_resized_and_no_others():
    images = uniform(300, 16, 16, 1)
    again = perturb(images, np.random.default_rng(1), sigma=(0.0, 0.0))
    same = np.array_equiv
    changed = [not same(*pair) for pair in zip(images, again, strict=True)]
    assert 0.2 < np.mean(changed) < 0.4
    for resized in (0.0, 1.0):
        rng = np.random.default_rng(1)
        other = perturb(images, rng, sigma=(0.0, 0.0), resized=resized)
        assert np.any(other != images) == bool(resized)


def test_equal_seeds_perturb_alike():
    images = uniform(4, 8, 8, 1)
    first, again, other = (
        perturb(images, np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other) and first.dtype == images.dtype


def test_twenty_updates_lower_the_loss():
    records = fit(steps=20, evaluate_every=5, learning_rate=3e-3)
    assert [record["step"] for record in records] == [5, 10, 15, 20]
    losses = [record["projector_loss"] for record in records]
    assert losses[-1] < 0.7 * losses[0]
    assert records[-1]["psnr"] > records[0]["psnr"]
    for record in records:
        assert all(math.isfinite(value) for value in record.values())


def test_every_player_is_trained():
    players = tiny_players()
    before = {name: one.get_weights() for name, one in players.items()}
    fit(players, steps=4)
    for name, network in players.items():
        pairs = zip(before[name], network.get_weights(), strict=True)
        assert any(np.any(old != new) for old, new in pairs), name


def test_weights_are_clamped():
    players = tiny_players()
    # Weights of the start lie beyond it.
    assert max(np.abs(w).max() for w in players["projector"].get_weights()) == 1.0
    fit(players, steps=4, clip=0.05)
    for network in players.values():
        assert max(np.abs(w).max() for w in network.get_weights()) <= 0.05 + 1e-7


def test_the_projector_is_trained_alone():
    records = fit({"projector": tiny()}, steps=4)
    assert records[-1].keys() == {"step", "projector_loss", "psnr"}


def test_a_training_goes_on_where_it_ended(tmp_path):
    whole, parts = tiny_players(), tiny_players()
    records = fit(whole)

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    assert len(fit(parts, folder=tmp_path, callbacks=[Stop()])) == 1
    # New networks take the state of the folder.
    parts = tiny_players()
    resumed = fit(parts, folder=tmp_path)
    for one, other in zip(resumed, records, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    for name in whole:
        pairs = zip(whole[name].get_weights(), parts[name].get_weights(), strict=True)
        for one, other in pairs:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert fit(tiny_players(), folder=tmp_path) == resumed
    with pytest.raises(ValueError, match="which holds another"):
        fit(folder=tmp_path, seed=1)
    assert (tmp_path / STATE).exists()


def test_the_command_trains_and_says_what_is_lost(tmp_path, monkeypatch, capsys):
    builders = {name: lambda one=one: one for name, one in tiny_players().items()}
    monkeypatch.setattr(command, "BUILDERS", builders)
    monkeypatch.setattr(command, "SETTINGS", {"batch_size": 2, "evaluate_every": 1})
    arguments = ["projector", "--steps=2"]
    monkeypatch.setattr(sys, "argv", [*arguments, f"--folder={tmp_path}"])
    command.main()
    assert {path.stem for path in tmp_path.iterdir()} == {"state", *builders}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("step 1 of 2: image_discriminator_loss ")
    assert lines[-1].startswith(f"{tmp_path}: validation ")
    players = tiny_players()
    players["projector"].set_weights(
        [math.nan * weight for weight in players["projector"].get_weights()]
    )
    builders = {name: lambda one=one: one for name, one in players.items()}
    monkeypatch.setattr(command, "BUILDERS", builders)
    monkeypatch.setattr(sys, "argv", [*arguments, f"--folder={tmp_path / 'lost'}"])
    with pytest.raises(SystemExit):
        command.main()
    assert (
        "error: the loss of player 'image_discriminator' is nan"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("residual", [False, True])
def test_a_saved_network_is_the_same(residual, tmp_path):
    model = randomize(tiny(residual=residual))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = uniform(2, 8, 8, 1)
    np.testing.assert_array_equal(model(x), loaded(x))


def test_weights_are_shipped_and_project():
    names = {path.stem for path in (FOLDER / "natural_images").glob("*.npz")}
    assert names == {"projector_32", "image_discriminator_32"}
    from zoo.data import PatchSampler, load_natural_images
    from zoo.metrics import psnr

    clean = PatchSampler(load_natural_images("test"), 32, seed=1).batch(0, 64)
    seen = perturb(clean, np.random.default_rng(1))
    estimate = pretrained().predict_on_batch(seen)
    assert psnr(estimate, clean).mean() > psnr(seen, clean).mean() + 5
    assert pretrained("image_discriminator_32")(clean).shape == (64, 1)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: projector(48), "`image_size` must be `latent_size` times a power"),
        (lambda: projector(32, widths=(8,)), "`image_size` must be `latent_size` t"),
        (lambda: projector(4), "`image_size` must be an integer from 8 up"),
        (lambda: projector(channels=0), "`channels`"),
        (lambda: projector(widths=()), "`widths`"),
        (lambda: image_discriminator(blocks=()), "`blocks`"),
        (lambda: latent_discriminator((8, 8)), "`latent_shape`"),
        (lambda: latent_discriminator(blocks=0), "`blocks` must be an integer from 1"),
        (lambda: ProjectorLoss(label=1.5), "`label` must be a number from 0 to 1"),
        (lambda: ProjectorLoss(image=-1), "`image` must be a number from 0 up"),
        (lambda: fit(steps=5), "`steps` must be a multiple of evaluate_every=4"),
        (lambda: fit(batch_size=0), "`batch_size` must be an integer from 1 up"),
        (lambda: fit(learning_rate=0.0), "`learning_rate` must be above 0"),
        (lambda: fit(clip=0.0), "`clip` must be above 0"),
        (lambda: fit(validation={"a": np.ones((9, 9, 3))}), "must have 1 channels"),
        (lambda: pretrained("other"), "`name` must be one of"),
        (lambda: pretrained(weights="other"), "`weights` must be one of"),
    ],
)
def test_a_mistake_is_one_line(call, line):
    with pytest.raises(ValueError, match="Received") as error:
        call()
    assert line in str(error.value)


JAX = """
import keras
import numpy as np
from zoo.models.projector import image_discriminator, projector, train
keras.utils.set_random_seed(0)
image = np.random.default_rng(0).uniform(size=(16, 16, 1))
model = projector(8, widths=(4,), latent_size=4)
records = train(
    model, [image], validation=[image], steps=40, evaluate_every=20, batch_size=2,
    image_discriminator=image_discriminator(8, width=2, blocks=(1,)),
)
assert len(records) == 2 and np.isfinite(records[-1]["psnr"])
assert records[1]["projector_loss"] < records[0]["projector_loss"]
assert records[1]["psnr"] > records[0]["psnr"]
"""


def test_training_runs_on_jax():
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", JAX], check=True, env=environment)


def test_integers_are_no_images_to_perturb():
    with pytest.raises(ValueError, match="`images` must be of floats"):
        perturb(np.zeros((1, 8, 8, 1), int), np.random.default_rng(0))
