"""LDAMP networks: their form, their training, and what they refuse."""

import math
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from zoo.layers import LdampBlock
from zoo.layers.operators import FourierMask, GaussianMatrix
from zoo.models.denoisers import dncnn, unet
from zoo.models.ldamp import LdampNetwork, ldamp, pretrained, train
from zoo.models.ldamp.fitting import Measured, mean_psnr
from zoo.models.ldamp.training import _bin
from zoo.solvers.damp import damp

SHAPE = (12, 12, 1)
PIXELS, ROWS = 144, 72
RNG = np.random.default_rng(0)
WAVES = 0.5 + 0.4 * np.sin(np.arange(48) / 3)[:, None, None] * np.ones((48, 40, 1))
IMAGES = {"waves": WAVES, "turned": WAVES.swapaxes(0, 1)}
SETTINGS = {
    "validation": IMAGES,
    "steps": 30,
    "evaluate_every": 10,
    "batch_size": 4,
    "patches": 8,
    "learning_rate": 3e-3,
}
OPERATOR = GaussianMatrix(SHAPE, ROWS)
# Sines of several phases.
X = np.stack([WAVES[i : i + 12, :12] for i in range(0, 24, 6)]).astype("float32")
Y = np.asarray(OPERATOR(X))


def small(conditioned=True, channels=1):
    keras.utils.set_random_seed(0)
    network = dncnn(3, 8, channels, normalization=None, noise_level_input=conditioned)
    return network


def tied(depth=3, operator=OPERATOR, **kwargs):
    return ldamp(operator, small(), depth, **kwargs)


def untied(depth=3, conditioned=False, **kwargs):
    parts = []
    for place in range(depth):
        network = small(conditioned)
        for weight in network.weights:
            weight.assign(weight * (1 + 0.1 * place))
        parts.append(network)
    return ldamp(OPERATOR, parts, depth, **kwargs)


def weights_of(network):
    return [array for part in network.denoisers for array in part.get_weights()]


def assert_near(ours, theirs, tolerance=1e-4):
    """Compares to the largest value: untrained networks do not keep to [0, 1]."""
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale)


def same(one, other):
    return all(map(np.array_equal, one, other))


@pytest.mark.parametrize("onsager", [True, False])
def test_it_is_the_iteration_of_damp(onsager):
    denoiser = dncnn(3, 8, normalization=None, noise_level_input=True, residual=False)
    last = denoiser.trainable_weights[-1]
    # What iterations converge with.
    last.assign(0.1 * last)
    network = ldamp(OPERATOR, denoiser, 4, onsager=onsager)
    estimates = network.predict_all(Y)
    assert estimates.shape == (4, 4, *SHAPE)
    state = None
    for place, block in enumerate(network.blocks):
        # Each layer has probes of its own.
        assert block.seed == place
        state = block(Y, state)
        assert_near(estimates[place], state[0])
    assert_near(network.predict(Y, verbose=0), estimates[-1])
    settings = {"onsager": onsager, "probes": 50}
    solved = damp(Y, OPERATOR, denoiser, iterations=4, tolerance=0, **settings)
    ours = ldamp(OPERATOR, denoiser, 4, **settings).predict_all(Y)[-1]
    assert_near(ours, solved.x, 0.01 if onsager else 1e-4)


def test_ldit_is_ldamp_with_its_term_off():
    plain, full = tied(3, onsager=False), tied(3)
    ours, theirs = plain.predict_all(Y), full.predict_all(Y)
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert not np.allclose(ours[1], theirs[1])


def test_layers_share_a_denoiser_or_have_one_each():
    assert len(tied(4).denoisers) == 1
    assert len(untied(4).denoisers) == 4
    count = small().count_params()
    trained = [
        sum(np.prod(weight.shape) for weight in one.trainable_weights)
        for one in (tied(4), untied(4, conditioned=True))
    ]
    assert trained == [count, 4 * count]


@pytest.mark.parametrize("make", [tied, untied])
def test_saved_and_loaded_it_is_the_same(make, tmp_path):
    network = make()
    for weight in network.trainable_weights:
        weight.assign(RNG.normal(0, 0.1, weight.shape))
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    assert isinstance(loaded, LdampNetwork)
    np.testing.assert_array_equal(loaded.predict_all(Y), network.predict_all(Y))
    assert len(loaded.denoisers) == len(network.denoisers)
    assert len({id(block.operator) for block in loaded.blocks}) == 1
    # A matrix that was assigned is kept, and so is its norm.
    assert loaded.get_config()["settings"] == network.get_config()["settings"]


def test_truncated_it_shares_the_first_layers():
    network = untied(4)
    part = network.truncate(2)
    np.testing.assert_array_equal(part.predict_all(Y), network.predict_all(Y)[:2])
    part.denoisers[1].set_weights([0 * w for w in part.denoisers[1].get_weights()])
    np.testing.assert_array_equal(part.predict_all(Y), network.predict_all(Y)[:2])


def test_with_xla_it_is_the_same():
    network = tied()
    expected = network.predict(Y, verbose=0)
    network.compile(jit_compile=True)
    assert_near(network.predict(Y, verbose=0), expected)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_in_mixed_precision_it_is_nearly_the_same(policy):
    exact = tied()
    keras.config.set_dtype_policy(policy)
    try:
        network = tied()
        network.denoisers[0].set_weights(exact.denoisers[0].get_weights())
        found = network.predict(Y, verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert found.dtype == "float32"
    error = np.linalg.norm(found - exact.predict(Y, verbose=0))
    assert error < 0.05 * np.linalg.norm(found)


def test_any_operator_and_size_and_channels_are_taken():
    mask = RNG.random((8, 6)) < 0.5
    operator = FourierMask((8, 6, 3), mask)
    network = ldamp(operator, small(channels=3), 2)
    y = np.asarray(operator(RNG.random((2, 8, 6, 3))))
    assert network.predict_all(y).shape == (2, 2, 8, 6, 3)
    assert network.predict_all(y, batch_size=1).shape == (2, 2, 8, 6, 3)


@pytest.mark.parametrize("loss", ["mse", "sure"])
def test_training_end_to_end_lowers_the_error(loss):
    network = tied()
    before = OPERATOR.get_weights()
    settings = {**SETTINGS, "steps": 60}
    (record,) = train(network, IMAGES, loss=loss, **settings)
    assert record["after"] > record["before"] + 1
    assert record["accepted"] and record["layers"] == 3
    # Fresh matrices are for batches alone.
    assert same(OPERATOR.get_weights(), before)


def test_a_killed_training_leaves_the_operator_as_it_was():
    network, before = tied(), OPERATOR.get_weights()

    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(network, IMAGES, callbacks=[Kill()], **SETTINGS)
    assert same(OPERATOR.get_weights(), before)


@pytest.mark.parametrize(
    ("estimate", "expected"), [(0.1, 20), (0, math.inf), (math.nan, -math.inf)]
)
def test_errors_of_nothing_and_of_nan_have_a_place(estimate, expected):
    class Network:
        def predict_all(self, y):
            return np.full((2, 1, 4, 4, 1), estimate)

    found = mean_psnr(Network(), (None, np.zeros((1, 4, 4, 1))))
    assert found == pytest.approx(expected)


def test_training_repeats_itself():
    networks = [tied(), tied()]
    records = [train(one, IMAGES, **SETTINGS) for one in networks]
    assert records[0] == records[1]
    assert same(*map(weights_of, networks))


def test_layerwise_training_never_worsens():
    network = untied()
    records = train(network, IMAGES, method="layerwise", **SETTINGS)
    assert [record["layers"] for record in records] == [1, 2, 3]
    estimates = [network.truncate(depth) for depth in (1, 2, 3)]
    for record, part in zip(records, estimates, strict=True):
        assert record["after"] >= record["before"]
        assert (
            record["accepted"]
            == (record["previous"] is None or record["after"] >= record["previous"])
            or record["layers"] == 1
        )
        assert part.depth == record["layers"]
    assert records[1]["previous"] == records[0]["after"]
    assert all(weight.trainable for weight in network.denoisers[0].trainable_weights)


def test_a_stage_that_finds_nothing_better_keeps_what_it_had():
    network = untied()
    train(network, IMAGES, method="layerwise", **{**SETTINGS, "steps": 10})
    settings = {**SETTINGS, "learning_rate": 50.0, "steps": 2, "evaluate_every": 1}
    start = weights_of(network)
    records = train(network, IMAGES, method="layerwise", **settings)
    assert all(record["after"] == record["before"] for record in records)
    # The later layers may have taken over what the first had, and no more.
    first = network.denoisers[0].get_weights()
    assert same(first, start[: len(first)])


def test_a_layer_is_trained_with_those_before_as_they_are():
    network = untied()
    first = [weight.copy() for weight in network.denoisers[0].get_weights()]
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(network.denoisers[0].get_weights()[0].copy())

    callbacks = [Watch()]
    settings = {**SETTINGS, "steps": 2, "evaluate_every": 2}
    train(network, IMAGES, method="layerwise", callbacks=callbacks, **settings)
    assert not np.array_equal(seen[0], first[0])
    assert all(np.array_equal(one, seen[2]) for one in seen[2:])


def test_a_layer_begins_as_the_one_before_where_that_is_better():
    network = untied()
    # A last denoiser that is of no use.
    network.denoisers[2].set_weights(
        [100 * weight for weight in network.denoisers[2].get_weights()]
    )
    settings = {**SETTINGS, "steps": 1, "evaluate_every": 1, "learning_rate": 1e-6}
    train(network, IMAGES, method="layerwise", **settings)
    for ours, theirs in zip(
        network.denoisers[2].get_weights(),
        network.denoisers[1].get_weights(),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_denoisers_are_trained_alone():
    network = untied(2)
    settings = {**SETTINGS, "steps": 10}
    records = train(network, IMAGES, method="denoisers", **settings)
    assert [record["layers"] for record in records] == [2, 2]
    assert records[0]["levels"] in [(100, 150), (150, 300)]
    (record,) = train(tied(), IMAGES, method="denoisers", **settings)
    assert record["levels"] == (2, 500)


@pytest.mark.parametrize(
    "level, expected",
    [(5, (0, 10)), (10, (10, 20)), (75, (60, 80)), (499, (300, 500))],
)
def test_bins_are_those_of_the_mean_level(level, expected):
    network = tied(1)
    y = np.full((2, ROWS), level / 255 * network.blocks[0].column_norm, "float32")
    assert _bin(network, 0, y) == expected
    assert _bin(network, 0, 100 * y)[1] <= 500


def test_sure_is_the_squared_error_on_average():
    network = tied(2)
    settings = {"noise": 0.05, "first": 0, "seed": [3]}
    clean = np.tile(X, (16, 1, 1, 1))
    mse, sure = (
        np.mean(
            [
                np.mean(model(clean, training=True))
                for model in [Measured(network, loss, **settings)]
                for _ in range(20)
            ]
        )
        for loss in ("mse", "sure")
    )
    assert sure == pytest.approx(mse, rel=0.1)


def test_sure_has_gradients_through_the_divergence():
    tensorflow = pytest.importorskip("tensorflow")
    network = tied(1)
    found = []
    for loss in ("mse", "sure"):
        model = Measured(network, loss, 0.05, 0, [1])
        with tensorflow.GradientTape() as tape:
            value = tensorflow.reduce_mean(model(np.tile(X, (40, 1, 1, 1))))
        kernel = network.denoisers[0].trainable_weights[-1]
        found.append(np.ravel(tape.gradient(value, kernel.value)))
    cosine = found[0] @ found[1] / np.linalg.norm(found[0]) / np.linalg.norm(found[1])
    assert cosine > 0.8


def test_pretrained_builds_on_a_trained_denoiser():
    network = pretrained(OPERATOR, 4, denoiser="unet_0-55", onsager=False)
    assert network.depth == 4 and not network.blocks[0].onsager
    assert len(network.denoisers) == 1
    assert network.predict_all(Y).shape == (4, 4, *SHAPE)
    with pytest.raises(ValueError, match="`denoiser` must be one of"):
        pretrained(OPERATOR, denoiser="unet_7")


BAD_NETWORKS = [
    (lambda: ldamp(OPERATOR, small(channels=3)), "take images of 1 channels"),
    (lambda: ldamp(OPERATOR, [small(), small()], 3), "`denoisers` must be one, or 3"),
    (lambda: ldamp(OPERATOR, [], None), "`denoisers` must be one"),
    (lambda: ldamp(OPERATOR, small(), 0), "`depth` must be"),
    (lambda: ldamp(np.eye(3), small()), "`operator` must be a"),
    (lambda: ldamp(OPERATOR, small(), seed=-1), "`seed` must be"),
    (lambda: LdampNetwork([]), "`blocks` must hold layers"),
    (
        lambda: LdampNetwork(
            [LdampBlock(GaussianMatrix(SHAPE, ROWS), small()) for _ in range(2)]
        ),
        "`blocks` must be of one operator",
    ),
    (lambda: tied().truncate(4), "`depth` must be at most 3"),
    (lambda: tied()(Y[:, 1:]), "`y` must be measurements"),
    (lambda: tied().predict_all(Y[:, 1:]), "`y` must be measurements"),
    (lambda: tied().predict_all(np.nan * Y), "`y` must be finite"),
    (lambda: tied().predict_all(255 * Y), r"intensities of about \[0, 1\]"),
    (lambda: tied().predict_all(Y, batch_size=0), "`batch_size` must be"),
]


@pytest.mark.parametrize("call, message", BAD_NETWORKS)
def test_bad_networks_and_inputs_are_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"method": "both"}, "`method` must be one of"),
        ({"loss": "l1"}, "`loss` must be one of"),
        ({"noise": -1}, "`noise` must be"),
        ({"steps": 0}, "`steps` must be"),
        ({"evaluate_every": 7}, "`steps` must be a multiple"),
        ({"learning_rate": 0.0}, "`learning_rate` must be"),
        ({"patches": 0}, "`patches` must be"),
        ({"seed": -1}, "`seed` must be"),
        ({"method": "layerwise"}, "needs a denoiser a layer"),
        ({"images": [255 * WAVES]}, r"`images` must lie in \[0, 1\]"),
        ({"images": [np.ones((20, 20, 3))]}, "must have 1 channels"),
        ({"validation": [np.nan * WAVES]}, r"`validation` must lie in \[0, 1\]"),
    ],
)
def test_bad_trainings_are_one_clear_line(arguments, message):
    arguments = {"images": IMAGES, **SETTINGS, **arguments}
    with pytest.raises(ValueError, match=message) as caught:
        train(tied(), **arguments)
    assert "\n" not in str(caught.value)


JAX = """
import keras, numpy as np
from zoo.layers.operators import GaussianMatrix
from zoo.models.denoisers import dncnn
from zoo.models.ldamp import ldamp, train
assert keras.backend.backend() == "jax"
keras.utils.set_random_seed(0)
operator = GaussianMatrix((12, 12, 1), 72)
denoiser = dncnn(2, 4, normalization=None, noise_level_input=True)
network = ldamp(operator, denoiser, 2)
waves = 0.5 + 0.4 * np.sin(np.arange(48) / 3)[:, None, None] * np.ones((48, 40, 1))
matrix = operator.get_weights()[0].copy()
(record,) = train(network, [waves], validation=[waves], steps=20, evaluate_every=20,
    batch_size=4, patches=8, learning_rate=3e-3)
assert record["after"] > record["before"]
assert np.array_equal(operator.get_weights()[0], matrix)
"""


def test_jax_trains_it():
    env = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run(
        [sys.executable, "-c", JAX], env=env, check=True, capture_output=True
    )


def test_a_unet_of_new_weights_is_the_identity_in_it():
    network = ldamp(OPERATOR, unet(noise_level_input=True), 1)
    norm = network.blocks[0].column_norm
    back = np.asarray(OPERATOR.adjoint(Y)) / norm**2
    np.testing.assert_allclose(network.predict_all(Y)[0], back, rtol=1e-4, atol=1e-5)
