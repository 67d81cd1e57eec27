"""Data consistency against dense matrices, and what it refuses."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from zoo.data.masks import random_mask
from zoo.layers import DataConsistency
from zoo.layers.operators import (
    Blur,
    Downsample,
    FourierMask,
    GaussianMatrix,
    Identity,
    PixelMask,
    StructuredRandom,
)

RNG = np.random.default_rng(0)
SHAPE = (6, 4, 1)
F64 = {"dtype": "float64"}
MASK = random_mask(SHAPE[:2], 0.4, seed=3)
OPPOSITE = np.roll(np.flip(MASK), (1, 1), (0, 1))
SYMMETRIC = np.maximum(MASK, OPPOSITE)
TIGHT = {
    "identity": lambda: Identity(SHAPE, **F64),
    "pixels": lambda: PixelMask(SHAPE, RNG.integers(0, 2, SHAPE[:2]), **F64),
    "box": lambda: Downsample(SHAPE, 2, **F64),
    "decimate": lambda: Downsample(SHAPE, 2, kind="decimate", **F64),
    "dct": lambda: StructuredRandom(SHAPE, 9, kind="dct", **F64),
}
FILTERS = {
    "symmetric mask": lambda: FourierMask(SHAPE, SYMMETRIC, **F64),
    "any mask": lambda: FourierMask(SHAPE, MASK, **F64),
    "blur": lambda: Blur(SHAPE, [[0.1, 0.8, 0.1]], boundary="circular", **F64),
}
OTHERS = {"gaussian": lambda: GaussianMatrix(SHAPE, 9, **F64)}
HARD = TIGHT | FILTERS
SOFT = HARD | OTHERS


def data(operator, batch=2):
    """Returns an image, and measurements of no image, in float64."""
    x = RNG.normal(size=(batch, *operator.image_shape))
    y = RNG.normal(size=(batch, *operator.measurement_shape))
    if operator.is_complex:
        y = y + 1j * RNG.normal(size=y.shape)
    return y, x


def dense(operator, y, x):
    """Returns the real matrix, and the batch as vectors."""
    matrix = operator.dense()
    y, x = y.reshape(len(y), -1), x.reshape(len(x), -1)
    if operator.is_complex:
        matrix = np.concatenate([matrix.real, matrix.imag])
        y = np.concatenate([y.real, y.imag], axis=1)
    return matrix, y, x


def result(layer, *inputs):
    return ops.convert_to_numpy(layer(*inputs))


def flat(layer, *inputs):
    estimate = result(layer, *inputs)
    return estimate.reshape(len(estimate), -1)


def test_the_masks_are_of_two_kinds():
    assert (MASK != OPPOSITE).any() and (MASK == OPPOSITE)[MASK == 1].any()


@pytest.mark.parametrize("name", HARD)
def test_hard_is_the_nearest_of_the_best_fits(name):
    operator = HARD[name]()
    y, x = data(operator)
    matrix, target, start = dense(operator, y, x)
    expected = start + (target - start @ matrix.T) @ np.linalg.pinv(matrix).T
    estimate = flat(DataConsistency(operator), y, x)
    np.testing.assert_allclose(estimate, expected, atol=1e-12)


@pytest.mark.parametrize("mask", [MASK, SYMMETRIC], ids=["any", "symmetric"])
def test_measured_frequencies_are_those_of_the_measurements(mask):
    operator = FourierMask(SHAPE, mask, **F64)
    truth, x = RNG.normal(size=(2, 3, *SHAPE))
    y = ops.convert_to_numpy(operator(truth))
    estimate = result(DataConsistency(operator), y, x)
    np.testing.assert_allclose(operator(estimate), y, atol=1e-12)
    spectra = [np.fft.fft2(one[..., 0], norm="ortho") for one in (estimate, x, truth)]
    seen = np.maximum(mask, np.roll(np.flip(mask), (1, 1), (0, 1)))
    expected = np.where(seen, spectra[2], spectra[1])
    np.testing.assert_allclose(spectra[0], expected, atol=1e-12)


def test_a_symmetric_mask_takes_the_residual_back():
    operator = FourierMask(SHAPE, SYMMETRIC, **F64)
    truth, x = RNG.normal(size=(2, 3, *SHAPE))
    y = operator(truth)
    expected = x + ops.convert_to_numpy(operator.adjoint(y - operator(x)))
    np.testing.assert_allclose(
        result(DataConsistency(operator), y, x), expected, atol=1e-12
    )


@pytest.mark.parametrize("name", HARD)
def test_what_is_consistent_stays(name):
    layer = DataConsistency(HARD[name]())
    y, x = data(layer.operator)
    once = result(layer, y, x)
    np.testing.assert_allclose(result(layer, y, once), once, atol=1e-12)


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("weight", [0.1, 3.0])
def test_soft_is_the_minimum(name, weight):
    operator = SOFT[name]()
    y, x = data(operator)
    matrix, target, start = dense(operator, y, x)
    normal = weight * matrix.T @ matrix + np.eye(matrix.shape[1])
    expected = np.linalg.solve(normal, (weight * target @ matrix + start).T).T
    layer = DataConsistency(operator, "soft", weight, **F64)
    np.testing.assert_allclose(flat(layer, y, x), expected, atol=1e-12)
    assert float(layer.weight) == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize("name", HARD)
def test_soft_nears_hard_as_the_weight_grows(name):
    operator = HARD[name]()
    y, x = data(operator)
    goal = result(DataConsistency(operator), y, x)
    gaps = []
    for weight in (1e2, 1e4, 1e6):
        layer = DataConsistency(operator, "soft", weight, **F64)
        gaps.append(np.abs(result(layer, y, x) - goal).max())
    # They differ by `1 / weight`.
    np.testing.assert_allclose(np.divide(gaps[:-1], gaps[1:]), 100, rtol=0.2)


@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_without_an_image_it_begins_at_zero_filling(mode):
    for name in HARD:
        layer = DataConsistency(HARD[name](), mode)
        y, _ = data(layer.operator)
        pulled = layer.operator.adjoint(y)
        np.testing.assert_array_equal(layer(y), layer(y, pulled))
    operator = FourierMask(SHAPE, SYMMETRIC, **F64)
    layer = DataConsistency(operator, mode)
    y = operator(RNG.normal(size=(2, *SHAPE)))
    np.testing.assert_allclose(layer(y), operator.adjoint(y), atol=1e-12)


def test_the_gradient_of_the_weight_is_that_of_the_formula():
    operator = FourierMask(SHAPE, SYMMETRIC, **F64)
    layer = DataConsistency(operator, "soft", 0.7, **F64)
    y, x = data(operator)
    y = ops.convert_to_numpy(operator(RNG.normal(size=x.shape)))
    layer(y, x)
    with tf.GradientTape() as tape:
        total = ops.sum(layer(y, x) ** 2)
    (raw,) = layer.trainable_variables
    weight = 0.7
    back = ops.convert_to_numpy(operator.adjoint(y - operator(x)))
    estimate = x + weight / (1 + weight) * back
    # The weight is the softplus of what is trained.
    slope = 1 - np.exp(-weight)
    expected = slope * np.sum(2 * estimate * back) / (1 + weight) ** 2
    np.testing.assert_allclose(tape.gradient(total, raw.value), expected, rtol=1e-12)
    assert not DataConsistency(operator).trainable_variables


def test_a_saved_model_has_the_operator(tmp_path):
    operator = FourierMask(SHAPE, MASK)
    y = keras.Input(SHAPE, dtype="complex64")
    x = keras.Input(SHAPE)
    layer = DataConsistency(operator, "soft", 0.3)
    model = keras.Model([y, x], layer(y, layer(y, x)))
    inputs = data(operator)
    inputs = [inputs[0].astype("complex64"), inputs[1].astype("float32")]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(inputs), model(inputs))
    assert not np.array_equal(loaded(inputs), inputs[1])


def test_half_precision_rounds_no_measurement():
    operator = FourierMask(SHAPE, SYMMETRIC)
    truth, x = RNG.normal(size=(2, 3, *SHAPE)).astype("float32")
    y = operator(truth)
    for mode in ("hard", "soft"):
        half = DataConsistency(operator, mode, dtype="mixed_bfloat16")
        full = DataConsistency(operator, mode)
        assert keras.backend.standardize_dtype(half(y, x).dtype) == "float32"
        np.testing.assert_array_equal(half(y, x), full(y, x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((lambda x: x,), "`operator` must be a zoo.layers.operators.LinearOperator"),
        ((Identity(SHAPE), "firm"), "`mode` must be one of"),
        ((Identity(SHAPE), "soft", 0.0), "`weight` must be a finite number above 0"),
        ((Identity(SHAPE), "soft", np.nan), "`weight` must be a finite number"),
        ((Identity(SHAPE), "soft", [1.0, 2.0]), "`weight` must be a finite number"),
        ((GaussianMatrix(SHAPE, 9),), "`mode` must be 'soft' for an operator without"),
        ((Blur(SHAPE, [[0.2, 0.8, 0.0]], boundary="zero"),), "`mode` must be 'soft'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DataConsistency(*arguments)


def test_bad_measurements():
    layer = DataConsistency(PixelMask(SHAPE, np.ones(SHAPE[:2])))
    x = np.zeros((1, *SHAPE))
    with pytest.raises(ValueError, match=r"`y` must have the shape \(batch, 6, 4, 1\)"):
        layer(x[:, :5], x)
    with pytest.raises(ValueError, match=r"`x` must have the shape \(batch, 6, 4, 1\)"):
        layer(x, x[:, :5])
    with pytest.raises(ValueError, match="`y` must be real"):
        layer(1j * x, x)


SCRIPT = """
import jax
import keras
import numpy as np
from zoo.layers import DataConsistency
from zoo.layers.operators import Blur, FourierMask

rng = np.random.default_rng(0)
# Frequencies that are their own opposites: the mask is symmetric.
mask = np.zeros((6, 4)); mask[0, 0] = mask[3, 2] = mask[0, 2] = 1
operator = FourierMask((6, 4, 1), mask)
truth, x = rng.normal(size=(2, 2, 6, 4, 1)).astype("float32")
y = operator(truth)
for mode, share in (("hard", 1), ("soft", 0.75)):
    layer = DataConsistency(operator, mode, 3.0)
    layer.build(y.shape)
    z = jax.jit(lambda y, x: layer(y, x))(y, x)
    expected = share * np.asarray(y) + (1 - share) * np.asarray(operator(x))
    np.testing.assert_allclose(operator(z), expected, atol=1e-6)
    assert abs(np.asarray(z) - x).max() > 0.1

# Trained through conjugate gradients.
layer = DataConsistency(Blur((6, 4, 1), [[0.25, 0.5, 0.25]], "zero"), "soft")
layer.build(x.shape)

@jax.jit
def loss(raw, x):
    with keras.StatelessScope([(layer.raw_weight, raw)]):
        return jax.numpy.sum((layer(x, x) - truth) ** 2)

raw = layer.raw_weight.value
slopes = jax.grad(loss, (0, 1))(raw, x)
for slope, at in ((slopes[0], lambda t: (raw + t, x)),
                  ((slopes[1] * truth).sum(), lambda t: (raw, x + t * truth))):
    difference = (loss(*at(1e-2)) - loss(*at(-1e-2))) / 2e-2
    np.testing.assert_allclose(slope, difference, rtol=2e-3)
"""


def test_jax():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
