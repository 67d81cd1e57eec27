"""GANCS: its networks, costs and training, and what they refuse."""

import contextlib
import importlib
import math
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from zoo.data.masks import random_mask
from zoo.data.natural_images import load_natural_images
from zoo.layers.operators import FourierMask, GaussianMatrix, PixelMask
from zoo.metrics.image_quality import snr
from zoo.models.gancs import __main__ as command
from zoo.models.gancs import (
    discriminator,
    evaluate,
    generator,
    pretrained,
    train,
)
from zoo.models.gancs.costs import Costs
from zoo.models.gancs.networks import operator_of
from zoo.models.gancs.pretrained import FOLDER, file_name
from zoo.models.gancs.training import views

RNG = np.random.default_rng(0)
SHAPE = (16, 16, 1)
MASK = random_mask(SHAPE[:2], 0.3, power=2.0)
OPPOSITE = np.roll(np.flip(MASK), (1, 1), (0, 1))
# Squares of two grey levels: enough to learn from.
SQUARES = 0.2 + 0.6 * np.kron(RNG.integers(0, 2, (10, 8, 1)), np.ones((4, 4, 1)))
IMAGES = {"squares": SQUARES, "turned": SQUARES.swapaxes(0, 1)}
# What each gains over zero-filling at least, in dB.
GAINS = {2: 5.5, 4: 6.5, 6: 5.5, 8: 5.5}
SETTINGS = {"steps": 8, "batch_size": 2, "evaluate_every": 2}


def operator(mask=MASK, **settings):
    return FourierMask(SHAPE, mask, **settings)


def tiny(**settings):
    keras.utils.set_random_seed(0)
    return generator(operator(), **{"blocks": 1, "width": 4, "copies": 2, **settings})


def rival():
    return discriminator(widths=(3, 4))


def fit(network=None, **settings):
    network = network or tiny()
    settings = {"validation": IMAGES, **SETTINGS, **settings}
    return network, train(network, IMAGES, **settings)


def randomize(model, scale=2.0):
    """Gives a network weights of its own, since a new one is 0."""
    for variable in model.trainable_variables:
        width = math.sqrt(math.prod(variable.shape[:-1]))
        variable.assign(RNG.normal(0, scale / width, variable.shape))
    return model


@contextlib.contextmanager
def policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def photographs(count=3):
    return RNG.uniform(size=(count, *SHAPE)).astype("float32")


def spectrum(images):
    return np.fft.fft2(np.asarray(images, "float64")[..., 0], norm="ortho")


def own_count(network):
    return network.count_params() - operator_of(network).count_params()


def test_a_new_generator_is_zero_filling():
    x = photographs()
    model = generator(operator(np.maximum(MASK, OPPOSITE)))
    y = operator_of(model)(x)
    filled = np.fft.ifft2(spectrum(x) * np.maximum(MASK, OPPOSITE), norm="ortho").real
    np.testing.assert_allclose(model(y)[..., 0], filled, atol=1e-6)
    np.testing.assert_allclose(model(y), operator_of(model).adjoint(y), atol=1e-6)


def test_a_new_generator_of_any_mask_uses_both_halves_of_the_spectrum():
    x = photographs()
    model = generator(operator())
    seen = np.maximum(MASK, OPPOSITE)
    filled = np.fft.ifft2(spectrum(x) * seen, norm="ortho").real
    np.testing.assert_allclose(model(operator()(x))[..., 0], filled, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_what_was_measured_stays(tied):
    one = operator(dtype="float64")
    with policy("float64"):
        model = randomize(generator(one, 1, 4, 2, tied=tied))
        new = generator(one, 1, 4, 2)
    y = one(photographs())
    estimate = model(y)
    np.testing.assert_allclose(one(estimate), y, atol=1e-12)
    assert np.abs(ops.convert_to_numpy(estimate - new(y))).max() > 0.1


@pytest.mark.parametrize("consistency", ["hard", "soft"])
def test_copies_follow_each_other(consistency):
    model = randomize(tiny(copies=3, consistency=consistency))
    layer, network = model.get_layer("consistency"), model.get_layer("network")
    y = operator()(photographs())
    x = layer(y)
    for _ in range(3):
        x = layer(y, x + network(x))
    np.testing.assert_allclose(model(y), x, atol=1e-5)


def test_copies_share_their_weights():
    def convolution(side, before, after):
        return after * (side**2 * before + 1)

    def count(stages, blocks, width):
        inner = (2 * blocks * stages + stages - 1) * convolution(3, width, width)
        ends = convolution(1, width, width) + convolution(1, width, 1)
        return convolution(3, 1, width) + inner + ends

    assert own_count(generator(operator())) == count(1, 2, 32) == 38_401
    assert own_count(generator(operator(), copies=1)) == 38_401
    assert own_count(generator(operator(), tied=False)) == 2 * 38_401
    assert own_count(generator(operator(), consistency="soft")) == 38_402
    small = {"stages": 3, "blocks": 2, "width": 5}
    assert own_count(generator(operator(), **small)) == count(3, 2, 5)
    normed = generator(operator(), normalization="batch", **small)
    # One normalisation before each ReLU.
    relus = 3 * 2 * 2 + 2 + 2
    assert own_count(normed) == count(3, 2, 5) + relus * 4 * 5
    layers = [type(one).__name__ for one in normed.get_layer("network").layers]
    assert layers.count("ReLU") == layers.count("BatchNormalization") == relus


@pytest.mark.parametrize(
    "other",
    [
        lambda: GaussianMatrix((6, 5, 2), 20),
        lambda: PixelMask((6, 5, 2), np.eye(6, 5)),
    ],
)
def test_generators_take_other_operators(other):
    one = other()
    model = randomize(generator(one, width=3, consistency="soft"))
    y = ops.convert_to_numpy(one(RNG.uniform(size=(2, 6, 5, 2))))
    assert model(y).shape == (2, 6, 5, 2)


def test_the_discriminator_is_that_of_the_paper():
    model = discriminator()
    convolutions = [one for one in model.layers if isinstance(one, keras.layers.Conv2D)]
    assert [one.filters for one in convolutions] == [8, 16, 32, 64, 64, 64, 1]
    assert [one.strides[0] for one in convolutions] == [2, 2, 2, 2, 1, 1, 1]
    assert [one.kernel_size[0] for one in convolutions] == [3, 3, 3, 3, 3, 1, 1]
    names = [type(one).__name__ for one in model.layers]
    assert names.count("BatchNormalization") == names.count("ReLU") == 6
    for size, places in (((16, 16), (1, 1)), ((20, 33), (2, 3)), ((128, 128), (8, 8))):
        x = RNG.uniform(size=(2, *size, 1)).astype("float32")
        inner = keras.Model(model.input, model.get_layer("scores").output)
        scores = ops.convert_to_numpy(inner(x))
        assert scores.shape == (2, *places, 1)
        np.testing.assert_allclose(model(x), scores.mean((1, 2)), atol=1e-6)
    scaled = keras.Model(model.input, model.get_layer("scale").output)
    np.testing.assert_array_equal(scaled(x), 2 * x - 1)


def test_costs_are_those_of_numpy():
    one = operator(dtype="float64")
    x, z = RNG.uniform(size=(2, 3, *SHAPE))
    y = ops.convert_to_numpy(one(RNG.uniform(size=x.shape)))
    real, fake = RNG.normal(size=(2, 3, 1))
    players = {
        "discriminator": lambda images, training: real if images is x else fake,
        "generator": lambda measurements, training: z,
    }
    absolute, square = np.abs(x - z).mean(), ((x - z) ** 2).mean()
    misfit = np.abs(MASK * spectrum(z) - y[..., 0]) ** 2
    lsgan = np.mean((1 - fake) ** 2)
    settings = {"adversarial": 0.1, "l1": 0.7, "fidelity": 0.5}
    costs = Costs(one, **settings)(players, (x, y))
    pixels = 0.7 * absolute + 0.3 * square
    expected = 0.5 * misfit.mean() + 0.9 * pixels + 0.1 * lsgan
    assert float(costs["generator"]) == pytest.approx(expected, rel=1e-9)
    expected = np.mean((1 - real) ** 2) + np.mean(fake**2)
    assert float(costs["discriminator"]) == pytest.approx(expected, rel=1e-9)
    del players["discriminator"]
    alone = Costs(one)(players, (x, y))
    assert list(alone) == ["generator"]
    assert float(alone["generator"]) == pytest.approx(absolute, rel=1e-9)


@pytest.mark.parametrize("complex_", [True, False])
def test_noise_has_its_level_in_each_real_number(complex_):
    one = operator() if complex_ else PixelMask(SHAPE, MASK)
    x = photographs(64)
    seed = keras.random.SeedGenerator(0)
    images, clean = Costs(one).draw(x, seed)
    np.testing.assert_array_equal(images, x)
    np.testing.assert_array_equal(clean, one(x))
    noises = [
        ops.convert_to_numpy(Costs(one, noise=0.2).draw(x, seed)[1] - clean)
        for _ in range(2)
    ]
    assert not np.array_equal(*noises)
    parts = [noises[0].real, noises[0].imag] if complex_ else [noises[0]]
    for part in parts:
        # Of 16,384 numbers the deviation is known to 0.6 %.
        assert part.std() == pytest.approx(0.2, rel=0.03)
    if complex_:
        assert abs(np.corrcoef(*(part.ravel() for part in parts))[0, 1]) < 0.04


def test_training_lowers_the_error():
    network = tiny()
    before = np.mean(list(evaluate(network, IMAGES).values()))
    settings = {"steps": 60, "evaluate_every": 20, "learning_rate": 1e-2}
    _, records = fit(network, batch_size=4, **settings)
    losses = [record["generator_loss"] for record in records]
    assert losses == sorted(losses, reverse=True)
    assert records[-1]["snr"] > before + 0.5
    assert list(records[0]) == ["step", "generator_loss", "snr"]
    # The last weights are kept.
    after = np.mean(list(evaluate(network, IMAGES).values()))
    assert after == pytest.approx(records[-1]["snr"], abs=1e-4)


def test_both_players_are_trained():
    network, other = tiny(), rival()
    before = [one.get_weights() for one in (network, other)]
    settings = {"steps": 2, "adversarial": 0.5}
    _, records = fit(network, discriminator=other, **settings)
    for one, old in zip((network, other), before, strict=True):
        new = one.get_weights()
        assert any((a != b).any() for a, b in zip(new, old, strict=True))
    assert set(records[0]) == {"step", "generator_loss", "discriminator_loss", "snr"}
    assert all(math.isfinite(value) for value in records[0].values())


class Copy(keras.callbacks.Callback):
    """Copies the state after the second of four validations."""

    def __init__(self, whole, half):
        super().__init__()
        self.whole, self.half = whole, half

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            shutil.copytree(self.whole, self.half)


def test_a_resumed_training_is_the_uninterrupted_one(tmp_path):
    def run(folder, callbacks=()):
        players = [tiny(copies=1, normalization="batch"), rival()]
        settings = {"noise": 0.05, "folder": folder, "callbacks": callbacks}
        _, records = fit(players[0], discriminator=players[1], **settings)
        return records, [one for player in players for one in player.get_weights()]

    whole, half = tmp_path / "whole", tmp_path / "half"
    records, weights = run(whole, [Copy(whole, half)])
    again, others = run(half)
    assert again == records and len(records) == 4
    for one, two in zip(weights, others, strict=True):
        np.testing.assert_array_equal(one, two)
    # One that has ended does nothing more.
    assert run(half)[0] == records
    with pytest.raises(ValueError, match="`folder` must be new, or hold this very"):
        fit(folder=half, noise=0.06)


def test_a_saved_generator_is_the_same(tmp_path):
    model = randomize(tiny(consistency="soft", normalization="batch"))
    y = operator()(photographs())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(y), model(y))
    np.testing.assert_array_equal(operator_of(loaded).mask, MASK)


def test_half_precision_rounds_no_measurement():
    one = operator(np.maximum(MASK, OPPOSITE))
    with policy("mixed_bfloat16"):
        network, other = randomize(generator(one, 1, 4, 2), 0.5), rival()
    assert network.get_layer("network").layers[1].compute_dtype == "bfloat16"
    y = one(photographs())
    estimate = network(y)
    np.testing.assert_allclose(one(estimate), y, atol=1e-5)
    for tensor in (estimate, other(estimate)):
        assert keras.backend.standardize_dtype(tensor.dtype) == "float32"
    _, records = fit(network, steps=2)
    assert math.isfinite(records[-1]["generator_loss"])


def test_evaluation_is_the_snr_of_views():
    model = generator(operator(np.maximum(MASK, OPPOSITE)), width=2)
    cut = views(IMAGES, SHAPE)
    x = np.stack(list(cut.values()))
    filled = np.fft.ifft2(spectrum(x) * np.maximum(MASK, OPPOSITE), norm="ortho").real
    scores = evaluate(model, IMAGES)
    assert list(scores) == ["squares", "turned"]
    np.testing.assert_allclose(
        list(scores.values()), snr(filled[..., None], x), rtol=1e-4
    )
    noisy = [evaluate(model, IMAGES, 0.1, seed) for seed in (0, 0, 1)]
    assert noisy[0] == noisy[1] != noisy[2]
    assert all(noisy[0][name] < scores[name] for name in scores)
    whole = generator(PixelMask(SHAPE, np.ones(SHAPE[:2])), width=2)
    for image, score in zip(x, evaluate(whole, list(x), 0.1).values(), strict=True):
        expected = 10 * np.log10(np.mean(image**2) / 0.1**2)
        # The mean of 256 squares is known to 9 %.
        assert score == pytest.approx(expected, abs=1.0)


def test_views_are_means_of_squares_in_the_middle():
    image = RNG.uniform(size=(39, 50, 1))
    (view,) = views([image], (16, 12, 1)).values()
    cut = image[3:35, 13:37].astype("float32")
    expected = [
        [cut[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(12)]
        for i in range(16)
    ]
    np.testing.assert_allclose(view[..., 0], expected, rtol=1e-6)


@pytest.mark.parametrize("acceleration", [2, 4, 6, 8])
def test_trained_generators_beat_zero_filling(acceleration):
    network = pretrained(acceleration)
    one = operator_of(network)
    assert float(ops.mean(one.mask)) == pytest.approx(1 / acceleration, abs=1e-4)
    images = views(load_natural_images("test"), one.image_shape)
    x = np.stack(list(images.values()))
    filled = snr(ops.convert_to_numpy(one.adjoint(one(x))), x).mean()
    mean = np.mean(list(evaluate(network, images).values()))
    assert mean > filled + GAINS[acceleration]
    for weight in network.trainable_weights:
        weight.assign(ops.zeros_like(weight))
    # That of the least norm knows that images are real.
    assert mean > np.mean(list(evaluate(network, images).values())) + 3


def test_the_command_trains_and_writes(tmp_path, monkeypatch, capsys):
    recipes = importlib.import_module("zoo.models.gancs.pretrained")
    monkeypatch.setattr(recipes, "SIZE", 16)
    arguments = "--acceleration=3 --steps=2 --evaluate_every=1 --adversarial=0.1"
    monkeypatch.setattr(
        sys, "argv", ["gancs", *arguments.split(), f"--folder={tmp_path}"]
    )
    command.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("step 1 of 2: discriminator_loss")
    assert lines[-1].startswith(f"{tmp_path}/gancs_3.npz chelsea ")
    with np.load(tmp_path / "gancs_3.npz") as file:
        assert {file[key].dtype for key in file.files} == {np.dtype("float16")}
        count = sum(file[key].size for key in file.files)
    assert count == 38_401 + 2 * 16 * 16
    monkeypatch.setattr(sys, "argv", ["gancs", "--acceleration=0.5"])
    with pytest.raises(SystemExit):
        command.main()
    assert "`acceleration` must be a number from 1 up" in capsys.readouterr().err


def test_weights_are_small():
    for path in FOLDER.glob("*/*.npz"):
        assert path.stat().st_size < 120_000
    assert file_name(4.0) == "gancs_4.npz"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": -1}, "`noise` must be a number from 0 up"),
        ({"adversarial": 1.5}, "`adversarial` must be a number from 0 to 1"),
        ({"l1": math.nan}, "`l1` must be a number from 0 to 1"),
        ({"fidelity": -0.1}, "`fidelity` must be a number from 0 up"),
        ({"validation": [255 * SQUARES]}, r"`validation` must lie in \[0, 1\]"),
        ({"validation": [SQUARES[:9]]}, "`validation` must be of 16 x 16 pixels"),
        ({"validation": [np.zeros((16, 16, 3))]}, "`validation` must have 1 channels"),
        ({"steps": 7}, "`steps` must be a multiple of evaluate_every=2"),
        ({"steps": 0}, "`steps` must be an integer from 1"),
        ({"batch_size": 0}, "`batch_size` must be an integer from 1"),
        ({"learning_rate": 0}, "`learning_rate` must be above 0"),
        ({"seed": -1}, "`seed` must be an integer from 0"),
    ],
)
def test_bad_trainings(settings, message):
    with pytest.raises(ValueError, match=message):
        fit(**settings)


def test_bad_generators_to_train():
    with pytest.raises(ValueError, match="`generator` must be a network of"):
        fit(keras.Sequential([keras.layers.Dense(1)]))
    oblong = FourierMask((8, 6, 1), np.ones((8, 6)))
    with pytest.raises(ValueError, match="`generator` must be of square images"):
        fit(generator(oblong, width=2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": 0}, "`blocks` must be an integer from 1"),
        ({"width": 1.5}, "`width` must hold one or more positive integers"),
        ({"copies": 0}, "`copies` must be an integer from 1"),
        ({"stages": 0}, "`stages` must be an integer from 1"),
        ({"consistency": "firm"}, "`consistency` must be one of"),
        ({"normalization": "ghost"}, "`normalization` must be one of"),
    ],
)
def test_bad_builders(settings, message):
    with pytest.raises(ValueError, match=message):
        generator(operator(), **settings)


def test_bad_names():
    with pytest.raises(ValueError, match="`widths` must hold"):
        discriminator(widths=())
    with pytest.raises(ValueError, match="`acceleration` must be one of"):
        pretrained(5)
    with pytest.raises(ValueError, match="`weights` must be one of"):
        pretrained(4, weights="brains")
    with pytest.raises(ValueError, match="`operator` must be"):
        generator(lambda x: x)


SCRIPT = """
import keras, numpy as np
from zoo.layers.operators import FourierMask
from zoo.models.gancs import discriminator, generator, train

keras.utils.set_random_seed(0)
operator = FourierMask((16, 16, 1), np.eye(16))
images = [0.5 + 0.4 * np.sin(np.arange(32))[:, None, None] * np.ones((32, 32, 1))]
settings = {"steps": 20, "evaluate_every": 10, "validation": images, "noise": 0.01}
network = generator(operator, 1, 4, 1, consistency="soft")
rival = discriminator(widths=(3, 4))
settings["learning_rate"] = 1e-2
first, last = train(network, images, discriminator=rival, **settings)
assert last["generator_loss"] < first["generator_loss"], (first, last)
"""


def test_jax():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
