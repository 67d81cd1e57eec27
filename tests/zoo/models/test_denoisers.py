"""Denoisers: their form, their training, and what they refuse."""

import functools
import hashlib
import importlib
import json
import math
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from zoo.layers.lipschitz_report import lipschitz_report
from zoo.layers.real_spectral_norm import RealSpectralNormConv2D
from zoo.models import progress
from zoo.models.denoisers import __main__ as command
from zoo.models.denoisers import (
    denoise,
    dncnn,
    evaluate,
    pretrained,
    simple_cnn,
    train,
    training,
    unet,
)
from zoo.models.denoisers.networks import CutLike, MirrorPad, NoiseLevelMap
from zoo.models.denoisers.pretrained import RECIPES, build, load, plain, save

RNG = np.random.default_rng(0)
# Stripes and noise of two sizes: enough to learn from.
WAVES = 0.5 + 0.4 * np.sin(np.arange(48) / 3)[:, None, None] * np.ones((48, 40, 1))
IMAGES = {"waves": WAVES, "turned": WAVES.swapaxes(0, 1)}
SETTINGS = {"steps": 8, "batch_size": 4, "patch_size": 12, "evaluate_every": 2}


def tiny(**settings):
    keras.utils.set_random_seed(0)
    return unet((3, 4), (1, 1), **settings)


def fit(network=None, sigma=0.1, **settings):
    network = network or tiny()
    settings = {"validation": IMAGES, **SETTINGS, **settings}
    return network, train(network, IMAGES, sigma, **settings)


def randomize(model):
    """Gives a network weights of its own, since a new U-Net is the identity."""
    for variable in model.trainable_variables:
        scale = 1 / math.sqrt(math.prod(variable.shape[:-1]))
        variable.assign(RNG.normal(0, scale, variable.shape))
    return model


def image(height, width, channels=1):
    return RNG.uniform(size=(height, width, channels)).astype("float32")


def test_parameters_are_those_of_the_formula():
    def convolution(side, before, after, bias=1):
        return after * (side**2 * before + bias)

    blocks = sum(
        2 * count * convolution(3, width, width)
        for width, count in ((24, 2), (48, 4), (96, 2))
    )
    steps = [(24, 48), (48, 96), (96, 48), (48, 24)]
    ends = convolution(3, 1, 24) + convolution(3, 24, 1)
    total = blocks + ends + sum(convolution(2, *pair) for pair in steps)
    assert unet().count_params() == total == 566_017
    plain = 2 * 9 * 64 + 15 * convolution(3, 64, 64, 0)
    assert dncnn(normalization=None).count_params() == plain
    assert dncnn().count_params() == plain + 15 * 4 * 64
    assert simple_cnn().count_params() == 2 * 9 * 64 + 2 * convolution(3, 64, 64, 0)


def test_simple_cnn_is_the_short_chain():
    layers = [type(layer).__name__ for layer in simple_cnn().layers]
    chain = ["Conv2D", "ReLU"] * 3
    assert layers == ["InputLayer", *chain, "Conv2D", "Subtract"]


@pytest.mark.parametrize("builder", [unet, dncnn, simple_cnn])
@pytest.mark.parametrize("conditioned", [False, True])
def test_a_last_layer_of_zeros_is_the_identity(builder, conditioned):
    model = randomize(builder(noise_level_input=conditioned))
    x, sigma = image(9, 11)[None], np.array([0.1], "float32")
    inputs = (x, sigma) if conditioned else x
    assert not np.array_equal(model(inputs), x)
    last = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    for variable in last[-1].variables:
        variable.assign(ops.zeros_like(variable))
    np.testing.assert_array_equal(model(inputs), x)


@pytest.mark.parametrize("builder", [unet, dncnn])
def test_the_direct_form_is_the_image_less_the_residual_form(builder):
    direct, residual = (randomize(builder(residual=flag)) for flag in (False, True))
    residual.set_weights(direct.get_weights())
    x = image(12, 8)[None]
    np.testing.assert_allclose(residual(x), x - direct(x), atol=1e-5)


@pytest.mark.parametrize("size", [(2, 3), (5, 8), (30, 41), (64, 64)])
def test_images_of_any_size_keep_it(size):
    model = randomize(unet(channels=3))
    assert model.output.shape == (None, None, None, 3)
    x = image(*size, 3)
    (estimate,) = denoise(model, [x])
    assert estimate.shape == x.shape and np.isfinite(estimate).all()
    # Sizes are unknown in this graph.
    compiled = model.predict_on_batch(x[None])
    np.testing.assert_allclose(compiled[0], estimate, rtol=1e-4, atol=1e-4)


def test_mirrored_ends_are_those_of_numpy():
    x = image(5, 6, 2)[None]
    expected = np.pad(x, ((0, 0), (0, 3), (0, 2), (0, 0)), "symmetric")
    padded = MirrorPad(4)(x)
    np.testing.assert_array_equal(padded, expected)
    np.testing.assert_array_equal(CutLike()(padded, x), x)
    assert MirrorPad(4).compute_output_shape((None, 5, None, 2)) == (None, 8, None, 2)


@pytest.mark.parametrize(("builder", "step", "margin"), [(unet, 4, 44), (dncnn, 1, 17)])
def test_a_shifted_image_has_a_shifted_estimate(builder, step, margin):
    model = randomize(builder())
    x = image(112, 112)[None]
    whole = ops.convert_to_numpy(model(x))[:, step:, step:]
    part = ops.convert_to_numpy(model(x[:, step:, step:]))
    inner = (slice(None), slice(margin, -margin), slice(margin, -margin))
    np.testing.assert_allclose(part[inner], whole[inner], atol=1e-4)
    if builder is unet:
        other = ops.convert_to_numpy(model(x[:, 1:, 1:]))
        whole = ops.convert_to_numpy(model(x))[:, 1:, 1:]
        assert np.abs(other - whole)[inner].max() > 1e-2


def test_each_image_has_its_own_noise_level():
    images, levels = image(8, 6, 2)[None], np.array([0.25], "float32")
    mapped = ops.convert_to_numpy(NoiseLevelMap()(images, levels))
    np.testing.assert_array_equal(mapped[..., :2], images)
    assert np.all(mapped[..., 2] == 0.25)
    model = randomize(unet(noise_level_input=True))
    pair = [image(8, 8), image(8, 8)]
    both = denoise(model, pair, [0.1, 0.3])
    for one, level, together in zip(pair, (0.1, 0.3), both, strict=True):
        np.testing.assert_allclose(denoise(model, [one], level)[0], together, atol=1e-6)
    batch = model((np.stack(pair), np.array([0.1, 0.3], "float32")))
    np.testing.assert_allclose(batch, both, atol=1e-4)
    assert np.abs(denoise(model, pair, 0.1)[1] - both[1]).max() > 1e-3


@pytest.mark.parametrize("conditioned", [False, True])
def test_a_saved_network_is_the_same(conditioned, tmp_path):
    model = randomize(tiny(noise_level_input=conditioned))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    sigma = 0.1 if conditioned else None
    x = [image(9, 7)]
    np.testing.assert_array_equal(denoise(model, x, sigma), denoise(loaded, x, sigma))


@pytest.mark.parametrize(
    ("policy", "dtype"), [("mixed_bfloat16", "float32"), ("float64", "float64")]
)
def test_the_image_itself_is_not_rounded(policy, dtype):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = unet((3, 4), (1, 1))
    finally:
        keras.config.set_dtype_policy(before)
    x = RNG.uniform(size=(1, 8, 8, 1)).astype(dtype)
    # A new U-Net is the identity.
    estimate = ops.convert_to_numpy(model(x))
    assert estimate.dtype == dtype
    np.testing.assert_array_equal(estimate, x)


def test_the_mean_over_all_symmetries_turns_with_the_image():
    model, x = randomize(dncnn(3, 4, normalization=None)), image(12, 9)
    (whole,) = denoise(model, [x], symmetries=8)
    for turned in (lambda y: np.rot90(y), lambda y: y[:, ::-1]):
        (other,) = denoise(model, [turned(x)], symmetries=8)
        np.testing.assert_allclose(other, turned(whole), atol=1e-6)
    # A network alone does not.
    (alone,) = denoise(model, [x])
    assert np.abs(denoise(model, [x[:, ::-1]])[0] - alone[:, ::-1]).max() > 1e-3
    (pair,) = denoise(model, [x], symmetries=2)
    mirrored = denoise(model, [x[:, ::-1]])[0][:, ::-1]
    np.testing.assert_allclose(pair, (alone + mirrored) / 2, atol=1e-6)


def test_levels_from_above_zero_are_even_on_a_log_scale():
    levels = training._draw_levels((0.01, 1.0), 4096, 0)
    assert 0.01 <= levels.min() < levels.max() <= 1.0
    np.testing.assert_allclose(np.mean(levels < 0.1), 0.5, atol=0.03)


def test_estimates_have_the_dtype_of_the_images():
    for dtype in ("float16", "float32", "float64"):
        assert denoise(tiny(), [image(8, 8).astype(dtype)])[0].dtype == dtype


def convolutions(model):
    return [one for one in model.layers if isinstance(one, keras.layers.Conv2D)]


@pytest.mark.parametrize("bound", [0.5, 2.0])
def test_each_convolution_has_its_share_of_the_bound(bound):
    models = [
        simple_cnn(spectral_norm=bound),
        dncnn(3, 4, normalization=None, spectral_norm=bound),
    ]
    for model, depth in zip(models, (4, 3), strict=True):
        layers = convolutions(model)
        assert {type(layer) for layer in layers} == {RealSpectralNormConv2D}
        norms = [layer.norm for layer in layers]
        assert norms == pytest.approx([bound ** (1 / depth)] * depth)
    assert {type(layer) for layer in convolutions(simple_cnn())} == {
        keras.layers.Conv2D
    }


def test_a_trained_network_keeps_its_bound():
    keras.utils.set_random_seed(0)
    network = dncnn(4, 6, normalization=None, spectral_norm=0.8)
    before = [ops.convert_to_numpy(layer.u) for layer in convolutions(network)]
    fit(network, learning_rate=1e-2)
    for layer, u in zip(convolutions(network), before, strict=True):
        # Training takes power steps.
        assert not np.array_equal(layer.u, u)
        layer.settle()
    report = lipschitz_report(network, (24, 20))
    assert 0.3 < report.product <= 0.8 and report.why == "bounds model(x) - x"
    x = np.stack([image(24, 20) for _ in range(20)])
    y = x + np.logspace(-3, 0, 20)[:, None, None, None] * RNG.normal(size=x.shape)
    y = y.astype("float32")
    change = (ops.convert_to_numpy(network(y)) - y) - (
        ops.convert_to_numpy(network(x)) - x
    )
    norms = (np.linalg.norm(one.reshape(20, -1), axis=1) for one in (change, y - x))
    assert np.all(next(norms) <= report.product * next(norms) * (1 + 1e-4))


def test_what_is_validated_is_what_is_kept():
    keras.utils.set_random_seed(0)
    network = dncnn(4, 6, normalization=None, spectral_norm=0.8)
    _, records = fit(network, learning_rate=1e-1)
    best = max(record["psnr"] for record in records)
    scores = evaluate(plain(network), IMAGES, 0.1)
    np.testing.assert_allclose(np.mean(list(scores.values())), best, atol=1e-3)


def test_batch_normalisation_learns_statistics():
    keras.utils.set_random_seed(0)
    network, _ = fit(dncnn(3, 4))
    (norm,) = (one for one in network.layers if "norm" in one.name)
    assert np.all(ops.convert_to_numpy(norm.moving_variance) != 1)


def test_training_lowers_the_error():
    network, records = fit(steps=60, evaluate_every=20)
    assert [record["step"] for record in records] == [20, 40, 60]
    start = np.mean(list(evaluate(tiny(), IMAGES, 0.1).values()))
    assert abs(start - 20) < 0.3
    assert records[-1]["psnr"] > start + 3
    assert records[-1]["loss"] < records[0]["loss"]
    best = np.mean(list(evaluate(network, IMAGES, 0.1).values()))
    assert best == max(record["psnr"] for record in records)


def test_the_best_weights_are_kept():
    # The rate is far too large.
    network, records = fit(learning_rate=0.5)
    scores = [record["psnr"] for record in records]
    assert np.argmax(scores) < len(scores) - 1
    assert np.mean(list(evaluate(network, IMAGES, 0.1).values())) == max(scores)


def test_a_training_that_is_lost_ends_with_finite_weights():
    with np.errstate(all="ignore"):
        network, records = fit(learning_rate=1e30)
    assert not math.isfinite(records[-1]["psnr"]) and len(records) < 4
    assert all(np.isfinite(weight).all() for weight in network.get_weights())


class Kill(keras.callbacks.Callback):
    """Ends the process, as it were, at an update."""

    def __init__(self, update):
        super().__init__()
        self.left = update

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("sigma", "update"), [(0.1, 1), ((0.05, 0.2), 5)])
def test_a_killed_training_goes_on_to_the_same_numbers(tmp_path, sigma, update):
    def network():
        if isinstance(sigma, tuple):
            return tiny(noise_level_input=True)
        keras.utils.set_random_seed(0)
        return dncnn(3, 4)

    whole, expected = fit(network(), sigma)
    with pytest.raises(KeyboardInterrupt):
        fit(network(), sigma, folder=tmp_path, callbacks=[Kill(update)])
    resumed, records = fit(network(), sigma, folder=tmp_path)
    assert records == expected
    for one, two in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    # Nothing is left to do: only the weights come back.
    again, records = fit(network(), sigma, folder=tmp_path)
    assert records == expected
    np.testing.assert_array_equal(again.get_weights()[0], whole.get_weights()[0])


def test_a_kill_while_writing_leaves_the_state_before(tmp_path, monkeypatch):
    _, expected = fit()
    count = iter(range(10))

    def dies(path, content):
        if next(count) == 2:
            path.with_name("partial").write_bytes(content[:100])
            raise KeyboardInterrupt
        write(path, content)

    write = progress.write_atomically
    monkeypatch.setattr(progress, "write_atomically", dies)
    with pytest.raises(KeyboardInterrupt):
        fit(folder=tmp_path)
    monkeypatch.undo()
    assert fit(folder=tmp_path)[1] == expected


def test_a_folder_holds_one_training(tmp_path):
    fit(folder=tmp_path)
    others = [{"seed": 1}, {"batch_size": 3}, {"sigma": 0.2}, {"learning_rate": 1e-3}]
    for other in [*others, {"validation": {"waves": WAVES}}]:
        with pytest.raises(ValueError, match="which holds another"):
            fit(folder=tmp_path, **other)


def test_networks_of_equal_shapes_are_no_one_training(tmp_path):
    make = functools.partial(dncnn, 3, 8, normalization=None)
    fit(make(residual=True), folder=tmp_path)
    fit(make(residual=True), folder=tmp_path)
    with pytest.raises(ValueError, match="which holds another"):
        fit(make(residual=False), folder=tmp_path)


def test_fresh_noise_has_the_level_that_is_asked_for():
    inputs = keras.Input((None, None, 1))
    model = training._Noisy(keras.Model(inputs, inputs), seed=3)
    clean, levels = np.zeros((3, 90, 90, 1), "float32"), np.float32([0.0, 0.1, 0.4])
    first, second = (ops.convert_to_numpy(model((clean, levels))) for _ in range(2))
    np.testing.assert_allclose(first.std((1, 2, 3)), levels, rtol=0.03)
    assert abs(np.corrcoef(first[1].ravel(), first[2].ravel())[0, 1]) < 0.04
    assert abs(np.corrcoef(first[2].ravel(), second[2].ravel())[0, 1]) < 0.04


def ship(path, monkeypatch):
    """Makes a file of weights one of those that come with the package."""
    folder = path.parent / "weights" / "natural_images"
    folder.mkdir(parents=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.rename(folder / path.name)
    (folder / "SHA256SUMS").write_text(f"{digest}  {path.name}\n")
    module = importlib.import_module("zoo.models.denoisers.pretrained")
    monkeypatch.setattr(module, "FOLDER", folder.parent)


def test_the_command_trains_and_its_weights_load(tmp_path, monkeypatch, capsys):
    arguments = ["--sigma=20-30", f"--folder={tmp_path}", "--steps=2", "--batch_size=2"]
    monkeypatch.setattr(sys, "argv", ["x", "simple_cnn", *arguments, "--patch_size=16"])
    command.main()
    path = tmp_path / "simple_cnn_20-30.npz"
    assert str(path) in capsys.readouterr().out
    network, _, levels = build("simple_cnn_20-30")
    assert levels == (20 / 255, 30 / 255) and len(network.inputs) == 2
    load(network, path)
    ship(path, monkeypatch)
    for one, two in zip(
        pretrained("simple_cnn_20-30").get_weights(),
        network.get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match="`name` must be one of"):
        pretrained("unet_7")
    with pytest.raises(ValueError, match="`weights` must be one of"):
        pretrained("unet_25", "imagenet")


def test_spectral_norms_are_written_as_plain_convolutions(
    tmp_path, monkeypatch, capsys
):
    settings = ["--steps=2", "--batch_size=2", "--patch_size=16"]
    arguments = ["x", "simple_cnn_realsn", f"--folder={tmp_path}", "--sigma=15"]
    monkeypatch.setattr(sys, "argv", [*arguments, *settings])
    command.main()
    path = tmp_path / "simple_cnn_realsn_15.npz"
    assert str(path) in capsys.readouterr().out
    ship(path, monkeypatch)
    network = pretrained("simple_cnn_realsn_15")
    assert {type(layer) for layer in convolutions(network)} == {keras.layers.Conv2D}
    # Half precision rounds it.
    product = lipschitz_report(network, (40, 40)).product
    assert product == pytest.approx(0.9, rel=1e-3)
    assert simple_cnn().count_params() == network.count_params()


def test_recipes_come_with_and_without_the_bound():
    for name in ("simple_cnn", "dncnn_small"):
        one, other = build(f"{name}_15"), build(f"{name}_realsn_15")
        assert one[1].settings == other[1].settings
        shapes = [
            [weight.shape for weight in plain(net[0]).weights] for net in (one, other)
        ]
        assert shapes[0] == shapes[1]
        bound = convolutions(other[0])[0].norm ** len(convolutions(other[0]))
        assert bound == pytest.approx(0.9)
    assert len(convolutions(build("dncnn_small_15")[0])) == 7
    assert {"dncnn", "unet", "unet_color"} <= set(RECIPES)


def test_weights_are_rounded_to_the_dtype_that_is_asked_for(tmp_path):
    model = randomize(tiny())
    other = tiny()
    for dtype in ("float16", "float32"):
        save(model, tmp_path / "weights.npz", dtype)
        load(other, tmp_path / "weights.npz")
        for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(one.astype(dtype), two)


@pytest.mark.parametrize("name", ["unet", "unet_", "unet_x", "unet_1-2-3", "net_25"])
def test_names_have_a_recipe_and_a_level(name):
    with pytest.raises(ValueError, match="`name` must"):
        build(name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": 25}, r"`sigma` must be a part of the range \[0, 1\]"),
        ({"sigma": 0}, "`sigma` must be a number above 0"),
        ({"sigma": math.nan}, "`sigma` must be a number above 0"),
        ({"sigma": (0.2, 0.1)}, "`sigma` must be a number above 0"),
        ({"sigma": (0.1, 0.2, 0.3)}, "`sigma` must be a number above 0"),
        ({"validation": [255 * WAVES]}, r"`validation` must lie in \[0, 1\]"),
        ({"validation": [np.zeros((8, 8, 3))]}, "`validation` must have 1 channels"),
        ({"steps": 7}, "`steps` must be a multiple of evaluate_every=2"),
        ({"steps": 0}, "`steps` must be an integer from 1"),
        ({"batch_size": 0}, "`batch_size` must be an integer from 1"),
        ({"patch_size": 64}, "at least 64 x 64"),
        ({"learning_rate": 0}, "`learning_rate` must be above 0"),
    ],
)
def test_bad_trainings(settings, message):
    with pytest.raises(ValueError, match=message):
        fit(**settings)


def test_there_are_eight_symmetries():
    with pytest.raises(ValueError, match="`symmetries` must be one of"):
        denoise(tiny(), [WAVES], symmetries=9)


@pytest.mark.parametrize(
    ("images", "sigma", "message"),
    [
        ([255 * WAVES], None, "a mean of 140"),
        ([np.full((8, 8, 1), np.nan)], None, "must be finite"),
        ([np.zeros((8, 8, 3))], None, r"\[height, width, 1\]"),
        ([np.zeros((8, 8))], None, r"\[height, width, 1\]"),
        ([WAVES], 0.1, "`sigma` must be None"),
    ],
)
def test_bad_images(images, sigma, message):
    with pytest.raises(ValueError, match=message):
        denoise(tiny(), images, sigma)


@pytest.mark.parametrize("sigma", [None, -0.1, math.nan, [0.1, math.inf]])
def test_bad_levels(sigma):
    with pytest.raises(ValueError, match="`sigma` must be"):
        denoise(tiny(noise_level_input=True), [WAVES, WAVES], sigma)


@pytest.mark.parametrize(
    ("builder", "settings"),
    [
        (dncnn, {"depth": 1}),
        (dncnn, {"width": 0}),
        (dncnn, {"channels": 0}),
        (dncnn, {"normalization": "ghost"}),
        (dncnn, {"spectral_norm": 1.0}),
        (simple_cnn, {"spectral_norm": 0.0}),
        (simple_cnn, {"spectral_norm": math.nan}),
        (unet, {"widths": ()}),
        (unet, {"blocks": (1, 2)}),
    ],
)
def test_bad_builders(builder, settings):
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}` must"):
        builder(**settings)


SCRIPT = """
import importlib.abc, json, shutil, sys

class NoTensorFlow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name.partition(".")[0].startswith("tensorflow"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoTensorFlow())
import keras, numpy as np
from zoo.data.natural_images import load_natural_images
from zoo.models.denoisers import train, unet

def run(folder, callbacks=()):
    keras.utils.set_random_seed(0)
    network = unet((3, 4), (1, 1), noise_level_input=True)
    images = {"chelsea": load_natural_images("validation")["chelsea"][:48, :48]}
    records = train(network, images, (0.1, 0.2), validation=images, steps=20,
        batch_size=4, patch_size=16, evaluate_every=10, folder=folder,
        learning_rate=1e-2, callbacks=callbacks)
    return records, network.get_weights()

class Copy(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            shutil.copytree(whole, half)

whole, half = sys.argv[1] + "/whole", sys.argv[1] + "/half"
expected, weights = run(whole, [Copy()])
records, others = run(half)
assert records == expected, (records, expected)
assert all(np.array_equal(*pair) for pair in zip(weights, others, strict=True))
print(json.dumps(records))
"""


def test_training_runs_and_resumes_on_jax_without_tensorflow(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, last = json.loads(done.stdout.splitlines()[-1])
    assert last["psnr"] > first["psnr"] - 0.1 and last["loss"] < first["loss"]


def test_integers_are_no_images_to_denoise():
    with pytest.raises(ValueError, match=r"must be floats .* of dtype uint8"):
        denoise(tiny(), [np.zeros((8, 8, 1), "uint8")])
