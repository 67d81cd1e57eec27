"""The divergence from random directions against the trace of the Jacobian."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.layers.divergence import gaussian_probes, monte_carlo_divergence
from zoo.layers.operators import (
    Blur,
    Compose,
    FourierMask,
    GaussianMatrix,
    Identity,
    PixelMask,
    StructuredRandom,
)
from zoo.layers.spectrum import column_norm, spectrum

SHAPE = (16, 16, 1)
PIXELS = 256
RNG = np.random.default_rng(0)


def linear(matrix):
    def run(images):
        return tf.reshape(tf.reshape(images, (-1, PIXELS)) @ matrix.T, (-1, *SHAPE))

    return run


def test_of_a_linear_function_it_is_the_quadratic_form_of_the_probe():
    matrix = RNG.normal(size=(PIXELS, PIXELS))
    x = tf.constant(RNG.normal(size=(2, *SHAPE)))
    probes = gaussian_probes(SHAPE, 3, seed=1)
    found = monte_carlo_divergence(linear(matrix), x, probes)
    flat = probes.reshape(3, PIXELS)
    expected = np.mean([p @ matrix @ p for p in flat])
    np.testing.assert_allclose(found, [expected] * 2, rtol=1e-9)


def test_of_a_diagonal_of_signs_a_probe_of_signs_is_exact():
    diagonal = RNG.choice([-1.0, 2.0], PIXELS)
    x = tf.constant(RNG.normal(size=(1, *SHAPE)))
    signs = RNG.choice([-1.0, 1.0], (1, 1, *SHAPE))
    found = monte_carlo_divergence(linear(np.diag(diagonal)), x, signs)
    np.testing.assert_allclose(found, [diagonal.sum()], rtol=1e-9)


def test_of_a_network_many_probes_average_to_the_trace_of_its_jacobian():
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE, dtype="float64")
    settings = {"padding": "same", "dtype": "float64"}
    hidden = keras.layers.Conv2D(6, 3, activation="tanh", **settings)(image)
    network = keras.Model(image, keras.layers.Conv2D(1, 3, **settings)(hidden))
    x = tf.constant(RNG.normal(size=(2, *SHAPE)))
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = network(x)
    jacobian = tape.batch_jacobian(value, x).numpy().reshape(2, PIXELS, PIXELS)
    trace = np.trace(jacobian, axis1=1, axis2=2)
    count = 400
    probes = gaussian_probes(SHAPE, count, seed=2)
    found = monte_carlo_divergence(network, x, probes, value, 1e-6)
    # The standard error of probes: of each, the norm of twice the symmetric part.
    symmetric = (jacobian + jacobian.swapaxes(1, 2)) / 2
    error = np.sqrt(2 * np.sum(symmetric**2, axis=(1, 2)) / count)
    assert np.all(abs(found - trace) < 4 * error)
    # And not for want of precision.
    assert np.all(error < 0.05 * abs(trace).max() + 1)


def test_images_share_probes_and_so_do_not_depend_on_their_batch():
    def clip(images):
        return tf.clip_by_value(images, 0.0, 1.0)

    x = RNG.normal(0.5, 1, (3, *SHAPE)).astype("float32")
    probes = gaussian_probes(SHAPE, 2, seed=3)
    whole = monte_carlo_divergence(clip, x, probes)
    parts = [monte_carlo_divergence(clip, x[i : i + 1], probes)[0] for i in range(3)]
    np.testing.assert_array_equal(whole, parts)


def test_steps_are_those_of_each_image_and_have_a_floor():
    steps = []

    def watch(images):
        steps.append(images - x)
        return images

    x = np.stack([np.full(SHAPE, value) for value in (10.0, -4.0, 0.0)])
    ones = np.ones((1, 1, *SHAPE))
    monte_carlo_divergence(watch, x, ones, x, relative_epsilon=0.01)
    found = np.asarray(steps[0])[:, 0, 0, 0]
    np.testing.assert_allclose(found, [0.1, 0.04, 1e-5], rtol=1e-6)


def test_gradients_pass_through_it():
    scale = tf.Variable(0.5, dtype="float64")
    x = tf.constant(RNG.normal(size=(1, *SHAPE)))
    probes = gaussian_probes(SHAPE)
    with tf.GradientTape() as tape:
        found = monte_carlo_divergence(lambda images: scale * images, x, probes)
    np.testing.assert_allclose(tape.gradient(found, scale), np.sum(probes**2), 1e-6)


MASK = RNG.random((8, 8)) < 0.4
SMALL = (8, 8, 1)


@pytest.mark.parametrize(
    "operator",
    [
        Identity((8, 8, 2)),
        PixelMask(SMALL, MASK),
        FourierMask((8, 8, 2), MASK),
        GaussianMatrix(SMALL, 20),
        StructuredRandom(SMALL, 20),
        StructuredRandom(SMALL, 64, kind="coded_diffraction"),
        Blur(SMALL, np.ones((3, 3)) / 9),
    ],
    ids=lambda operator: type(operator).__name__,
)
def test_closed_spectra_and_norms_are_those_of_the_dense_matrix(operator):
    matrix = operator.dense().astype("complex128")
    # Real images see the real and the imaginary rows.
    matrix = np.concatenate([matrix.real, matrix.imag])
    norm = np.linalg.norm(matrix) / np.sqrt(operator.num_pixels)
    assert column_norm(operator) == pytest.approx(norm, rel=1e-5)
    values, counts = spectrum(operator)
    found = np.sort(np.repeat(values, counts))[::-1]
    dense = np.linalg.svd(matrix, compute_uv=False)[: len(found)] ** 2
    np.testing.assert_allclose(found, dense, atol=1e-4 * dense[0])
    assert len(found) <= operator.rank_bound()


@pytest.mark.parametrize(
    "operator",
    [
        StructuredRandom((16, 16, 1), 60, kind="coded_diffraction"),
        Compose(GaussianMatrix(SHAPE, 99), Blur(SHAPE, np.ones((3, 3)) / 9)),
    ],
    ids=["coded_diffraction", "compose"],
)
def test_norms_that_are_not_closed_are_estimated(operator):
    matrix = operator.dense()
    norm = np.linalg.norm(matrix) / 16
    assert spectrum(operator) is None
    assert column_norm(operator) == pytest.approx(norm, rel=0.05)
    assert column_norm(operator) == column_norm(operator)
