"""Layers of LDAMP: their equations, their parts, and what they refuse."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.layers import LampBlock, LdampBlock, SoftShrinkage
from zoo.layers.divergence import gaussian_probes
from zoo.layers.operators import FourierMask, GaussianMatrix, PixelMask

SHAPE = (8, 8, 1)
PIXELS, ROWS = 64, 32
RNG = np.random.default_rng(0)
MASK = RNG.random((8, 8)) < 0.5


def operator(rows=ROWS, shape=SHAPE, **kwargs):
    return GaussianMatrix(shape, rows, **kwargs)


def conditioned(dtype="float32"):
    """A denoiser that shrinks the more, the more noise it is told of."""
    image, level = keras.Input(SHAPE, dtype=dtype), keras.Input((), dtype=dtype)
    wide = keras.layers.Reshape((1, 1, 1), dtype=dtype)(level)
    square = keras.layers.Multiply(dtype=dtype)([wide, wide])
    gain = keras.layers.Rescaling(1.0, 1.0, dtype=dtype)(square)
    divided = keras.layers.Lambda(lambda pair: pair[0] / pair[1], dtype=dtype)
    return keras.Model((image, level), divided([image, gain]))


def convolution(**kwargs):
    keras.utils.set_random_seed(1)
    image = keras.Input(SHAPE)
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", **kwargs)(image)
    return keras.Model(image, keras.layers.Conv2D(1, 3, padding="same", **kwargs)(x))


def run(blocks, y):
    state = None
    for block in blocks:
        state = block(y, state)
    return state


def test_it_is_the_iteration_of_its_equations():
    op = operator(dtype="float64")
    matrix = op.dense()
    x = RNG.random((2, *SHAPE))
    y = x.reshape(2, PIXELS) @ matrix.T
    norm = np.linalg.norm(matrix) / 8
    blocks = [LdampBlock(op, conditioned("float64"), seed=place) for place in range(4)]
    found, v, slope = run(blocks, y)
    estimate, last, div = np.zeros((2, PIXELS)), np.zeros((2, ROWS)), np.zeros((2, 1))
    for place in range(4):
        last = y - estimate @ matrix.T + div / ROWS * last
        level = np.linalg.norm(last, axis=1, keepdims=True) / (norm * np.sqrt(ROWS))
        gain = 1 / (1 + level**2)
        estimate = gain * (estimate + last @ matrix / norm**2)
        # Of a multiple of the identity, with the probe's own energy.
        div = gain * np.sum(gaussian_probes(SHAPE, 1, place) ** 2)
    np.testing.assert_allclose(np.reshape(found, (2, PIXELS)), estimate, rtol=1e-7)
    np.testing.assert_allclose(v, last, rtol=1e-7)
    np.testing.assert_allclose(slope, div / PIXELS, rtol=1e-7)


def test_with_the_shrinkage_of_lamp_it_is_nearly_lamp():
    op = operator(512, (32, 32, 1))
    image, level = keras.Input((32, 32, 1)), keras.Input(())
    shrinkage = SoftShrinkage(name="soft")

    class Soft(keras.layers.Layer):
        def call(self, image, level):
            flat = keras.ops.reshape(image, (-1, 1024))
            variance = keras.ops.reshape(level, (-1, 1)) ** 2
            return keras.ops.reshape(shrinkage(flat, variance)[0], (-1, 32, 32, 1))

    denoiser = keras.Model((image, level), Soft()(image, level))
    truth = np.where(RNG.random((1, 1024)) < 0.1, RNG.normal(size=(1, 1024)), 0)
    matrix = op.dense().astype("float64")
    y = (truth @ matrix.T).astype("float32")
    blocks = [
        LdampBlock(op, denoiser, probes=8, relative_epsilon=1e-4, column_norm=1.0)
        for _ in range(6)
    ]
    ours = np.reshape(run(blocks, y)[0], (1, 1024))
    first = LampBlock(matrix, shrinkage)
    theirs = run([first] + [LampBlock(None, shrinkage, tied_to=first)] * 5, y)[0]
    error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    assert error < 0.02


def test_without_onsager_it_is_iterative_thresholding():
    op = operator(dtype="float64")
    matrix, y = op.dense(), RNG.normal(size=(1, ROWS))
    denoiser = keras.layers.Rescaling(0.5, dtype="float64")
    blocks = [LdampBlock(op, denoiser, onsager=False) for _ in range(3)]
    found, v, slope = run(blocks, y)
    norm, x = np.sum(matrix**2) / PIXELS, np.zeros(PIXELS)
    for _ in range(3):
        left = y[0] - matrix @ x
        x = 0.5 * (x + matrix.T @ left / norm)
    np.testing.assert_allclose(np.ravel(found), x, rtol=1e-9)
    np.testing.assert_allclose(v[0], left, rtol=1e-9)
    np.testing.assert_array_equal(slope, [[0.0]])


@pytest.mark.parametrize("mirrored", [False, True])
def test_complex_measurements_count_as_the_real_numbers_they_tell(mirrored):
    mask = MASK | (np.roll(np.flip(MASK), (1, 1), (0, 1)) if mirrored else False)
    op = FourierMask(SHAPE, mask)
    block = LdampBlock(op, keras.layers.Rescaling(1.0))
    noise = RNG.normal(size=(400, *SHAPE))
    v, r, level = block.pseudo_data(op(noise))
    dense = op.dense()
    rank = np.linalg.matrix_rank(np.concatenate([dense.real, dense.imag]), tol=1e-4)
    assert block.measurements == rank
    # White noise of 1 is seen as `n / M` times as much, on average.
    assert np.mean(level**2) == pytest.approx(PIXELS / rank, rel=0.02)
    assert v.dtype == "complex64" and r.dtype == "float32"
    x, _, _ = block(op(noise))
    assert x.dtype == "float32"


def test_the_scale_of_the_operator_does_not_matter():
    op, scaled = operator(), operator()
    scaled.matrix.assign(7 * scaled.matrix)
    y = RNG.normal(size=(2, ROWS)).astype("float32")
    denoiser = conditioned()
    ours = run([LdampBlock(scaled, denoiser)] * 3, 7 * y)[0]
    theirs = run([LdampBlock(op, denoiser)] * 3, y)[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_no_gradient_passes_through_the_slope():
    op, denoiser = operator(), convolution()
    y = RNG.normal(size=(2, ROWS)).astype("float32")
    with tf.GradientTape() as tape:
        _, _, slope = LdampBlock(op, denoiser)(y)
    assert tape.gradient(slope, denoiser.trainable_weights[0].value) is None


def test_an_image_does_not_depend_on_its_batch():
    op, y = operator(), RNG.normal(size=(5, ROWS)).astype("float32")
    blocks = [LdampBlock(op, convolution(), seed=place) for place in range(3)]
    whole = run(blocks, y)[0]
    np.testing.assert_allclose(run(blocks, y[3:4])[0][0], whole[3], atol=1e-5)


def test_the_slope_is_that_of_inference_where_training_changes_the_denoiser():
    op, y = operator(), RNG.normal(size=(2, ROWS)).astype("float32")
    norm = keras.layers.BatchNormalization(momentum=0.5)
    layers = [keras.Input(SHAPE), norm, keras.layers.Dropout(0.5, seed=0)]
    block = LdampBlock(op, keras.Sequential(layers), probes=2)
    _, r, _ = block.pseudo_data(y)
    _, _, slope = block(y, training=True)
    # One step, by what was denoised and not by the probes.
    np.testing.assert_allclose(norm.moving_mean, np.mean(r, (0, 1, 2)) / 2, rtol=1e-5)
    np.testing.assert_allclose(slope, block(y)[2], rtol=1e-3)


@pytest.mark.parametrize("training", [False, True])
def test_a_denoiser_that_training_leaves_alone_is_called_once_a_probe_more(training):
    calls = []

    class Half(keras.layers.Layer):
        def call(self, images):
            calls.append(images)
            return images / 2

    inputs = keras.Input(SHAPE)
    block = LdampBlock(operator(), keras.Model(inputs, Half()(inputs)), probes=3)
    calls.clear()
    block(RNG.normal(size=(2, ROWS)).astype("float32"), training=training)
    assert len(calls) == 4


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_denoisers_of_half_precision_give_nearly_the_same(dtype):
    # The slope is the mean over pixels, whose rounding averages out.
    shape = (48, 48, 1)
    op = operator(100, shape)
    y = RNG.normal(size=(2, 100)).astype("float32")
    image, half = keras.Input(shape), keras.Input(shape)
    layers = [
        keras.layers.Conv2D(8, 3, padding="same", activation="relu", dtype=dtype),
        keras.layers.Conv2D(1, 3, padding="same", dtype=dtype),
    ]
    rounded = keras.Model(half, layers[1](layers[0](half)))
    exact = [
        type(layer).from_config({**layer.get_config(), "dtype": "float32"})
        for layer in layers
    ]
    full = keras.Model(image, exact[1](exact[0](image)))
    full.set_weights(rounded.get_weights())
    ours, theirs = (LdampBlock(op, one)(y) for one in (rounded, full))
    assert ours[0].dtype == "float32"
    scale = np.std(theirs[0])
    np.testing.assert_allclose(ours[0], theirs[0], atol=0.05 * scale)
    np.testing.assert_allclose(ours[2], theirs[2], atol=0.03)


def test_a_model_of_blocks_reloads_and_compiles(tmp_path):
    op, denoiser = operator(), convolution()
    y = keras.Input((ROWS,))
    model = keras.Model(y, run([LdampBlock(op, denoiser) for _ in range(3)], y)[0])
    x = RNG.normal(size=(2, ROWS)).astype("float32")
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), expected, atol=1e-5)
    model.compile(jit_compile=True)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-4)


def test_measurements_of_zeros_have_no_nan_in_value_or_gradient():
    op, denoiser = operator(), convolution()
    with tf.GradientTape() as tape:
        x, _, _ = run([LdampBlock(op, denoiser)] * 2, np.zeros((1, ROWS), "float32"))
        loss = tf.reduce_sum(tf.square(x - 1))
    for gradient in tape.gradient(loss, [w.value for w in denoiser.weights]):
        assert np.isfinite(gradient).all()


SMALL = operator()
BAD = [
    ({"operator": np.eye(3)}, "`operator` must be a"),
    ({"denoiser": lambda images: images}, "`denoiser` must be a Keras layer"),
    ({"operator": operator(shape=(8, 8, 3))}, "must take images of 3 channels"),
    ({"probes": 0}, "`probes` must be an int from 1 up"),
    ({"probes": 1.5}, "`probes` must be an int from 1 up"),
    ({"relative_epsilon": 0.0}, "`relative_epsilon` must be a finite number above 0"),
    ({"relative_epsilon": np.nan}, "`relative_epsilon` must be"),
    ({"seed": -1}, "`seed` must be an int from 0 up"),
    ({"column_norm": -1.0}, "`column_norm` must be"),
    ({"measurements": 0}, "`measurements` must be"),
]


@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_arguments_are_one_clear_line(arguments, message):
    arguments = {"operator": SMALL, "denoiser": convolution(), **arguments}
    with pytest.raises(ValueError, match=message) as caught:
        LdampBlock(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "y, message",
    [
        (np.zeros((2, ROWS + 1)), r"measurements \[batch, 32\]"),
        (np.zeros(ROWS), r"measurements \[batch, 32\]"),
        (np.zeros((2, ROWS), "complex64"), "`y` must be real"),
    ],
)
def test_bad_measurements_are_one_clear_line(y, message):
    with pytest.raises(ValueError, match=message) as caught:
        LdampBlock(SMALL, convolution())(y)
    assert "\n" not in str(caught.value)


JAX = """
import keras, numpy as np
from zoo.layers import LdampBlock
from zoo.layers.operators import FourierMask, GaussianMatrix
assert keras.backend.backend() == "jax"
for operator in (GaussianMatrix((8, 8, 1), 32), FourierMask((8, 8, 1), np.eye(8))):
    denoiser = keras.layers.Rescaling(0.5)
    y = operator(np.random.default_rng(0).random((2, 8, 8, 1)))
    state = None
    for _ in range(3):
        state = LdampBlock(operator, denoiser)(y, state)
    print(*np.ravel(state[0])[:5])
"""


def test_jax_gives_the_same():
    env = {**os.environ, "KERAS_BACKEND": "jax"}
    lines = subprocess.run(
        [sys.executable, "-c", JAX], env=env, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    for line, op in zip(
        lines, (GaussianMatrix(SHAPE, 32), FourierMask(SHAPE, np.eye(8))), strict=True
    ):
        y = op(np.random.default_rng(0).random((2, *SHAPE)))
        blocks = [LdampBlock(op, keras.layers.Rescaling(0.5)) for _ in range(3)]
        ours = np.ravel(run(blocks, y)[0])[:5]
        np.testing.assert_allclose(
            [*map(float, line.split())], ours, rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("mask", [PixelMask, FourierMask])
def test_what_a_mask_does_not_measure_counts_for_nothing(mask):
    op = mask(SHAPE, MASK)
    y = np.asarray(op(RNG.random((2, *SHAPE))))
    block = LdampBlock(op, convolution())
    expected, found = block(y), block(y + ~MASK[..., None])
    assert found[0].shape == found[1].shape == (2, *SHAPE)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
