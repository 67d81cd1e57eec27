import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

import zoo
from zoo.layers import GhostBatchNorm
from zoo.metrics.hessian import hessian_trace, spectral_density, top_eigenvalues
from zoo.metrics.loss_surface import LossSurface

ROOT = pathlib.Path(zoo.__file__).parents[1]
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Quadratic:
    """`g w + w H w / 2`, with the methods of a surface."""

    def __init__(self, hessian, slope=0.0, weights=None):
        size = len(hessian)
        self.hessian, self.slope = np.asarray(hessian, "float64"), slope
        self.weights = np.zeros(size) if weights is None else weights
        self.products = 0

    def hessian_product(self, vector):
        self.products += 1
        return self.hessian @ vector


def symmetric(eigenvalues, seed=0):
    size = len(eigenvalues)
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    return (q * eigenvalues) @ q.T


def data(samples=40, features=5, classes=3, seed=0):
    generator = np.random.default_rng(seed)
    # Models take their inputs in float32.
    x = generator.normal(size=(samples, features)).astype("float32").astype("float64")
    return x, generator.integers(0, classes, samples)


def network(*layers, features=5, classes=3, dtype="float64", seed=0):
    keras.utils.set_random_seed(seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        stack = [keras.Input((features,)), *(layer() for layer in layers)]
        model = keras.Sequential([*stack, keras.layers.Dense(classes)])
    finally:
        keras.config.set_dtype_policy(before)
    generator = np.random.default_rng(seed)
    model.set_weights(
        [abs(generator.normal(0.5, 0.5, w.shape)) for w in model.get_weights()]
    )
    return model


def smooth_network():
    return network(
        lambda: keras.layers.Dense(6, "tanh"),
        lambda: keras.layers.BatchNormalization(),
        lambda: keras.layers.Dropout(0.5),
    )


def numpy_loss(weights, x, y):
    """The loss of `smooth_network`, written again."""
    kernel, bias, gamma, beta, mean, variance, kernel2, bias2 = weights
    hidden = np.tanh(x @ kernel + bias)
    hidden = gamma * (hidden - mean) / np.sqrt(variance + 1e-3) + beta
    scores = hidden @ kernel2 + bias2
    scores = scores - scores.max(axis=1, keepdims=True)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return -logs[np.arange(len(y)), y].mean()


def dense_hessian(surface):
    """Central differences of the gradient, column by column, made symmetric."""
    size, step = len(surface.weights), 1e-5
    columns = [
        (
            surface.gradient(surface.weights + step * unit)[1]
            - surface.gradient(surface.weights - step * unit)[1]
        )
        / (2 * step)
        for unit in np.eye(size)
    ]
    return (np.array(columns) + np.array(columns).T) / 2


def softmax_hessian(model, x):
    """The closed form for softmax regression, which is the Fisher matrix too."""
    kernel, bias = model.get_weights()
    scores = x @ kernel + bias
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    inputs = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    curvature = np.einsum("nc,cd->ncd", p, np.eye(p.shape[1])) - np.einsum(
        "nc,nd->ncd", p, p
    )
    size = inputs.shape[1] * p.shape[1]
    blocks = np.einsum("ni,nj,ncd->icjd", inputs, inputs, curvature)
    return blocks.reshape(size, size) / len(x), p, inputs


def test_loss_and_gradient_equal_numpy_in_batches_of_any_size():
    model, (x, y) = smooth_network(), data()
    weights = model.get_weights()
    trainable = [w.numpy() for w in model.trainable_variables]
    for batch_size in (1, 7, 40, 512):
        surface = LossSurface(model, x, y, CROSS_ENTROPY, batch_size)
        value, gradient = surface.gradient()
        assert value == pytest.approx(numpy_loss(weights, x, y), rel=1e-12)
        assert value == pytest.approx(surface.value(), rel=1e-12)
        assert gradient.dtype == "float64"

    def at(flat):
        cuts = np.cumsum([w.size for w in trainable])[:-1]
        parts = zip(np.split(flat, cuts), trainable, strict=True)
        parts = [part.reshape(w.shape) for part, w in parts]
        return numpy_loss([*parts[:4], *weights[4:6], *parts[4:]], x, y)

    flat = np.concatenate([w.ravel() for w in trainable])
    np.testing.assert_array_equal(surface.weights, flat)
    moved = flat + 0.1
    assert surface.value(moved) == pytest.approx(at(moved), rel=1e-12)
    slopes = [(at(flat + d) - at(flat - d)) / 2e-6 for d in 1e-6 * np.eye(len(flat))]
    np.testing.assert_allclose(gradient, slopes, atol=1e-8)


def test_product_equals_a_dense_hessian():
    model, (x, y) = smooth_network(), data()
    surface = LossSurface(model, x, y, CROSS_ENTROPY, batch_size=16)
    dense = dense_hessian(surface)
    vectors = np.random.default_rng(1).normal(size=(5, len(dense)))
    products = [surface.hessian_product(v) for v in vectors]
    np.testing.assert_allclose(products, vectors @ dense, atol=1e-7)
    moved = surface.weights + 0.05
    there = LossSurface(model, x, y, CROSS_ENTROPY)
    there.weights = moved
    np.testing.assert_allclose(
        surface.hessian_product(vectors[0], moved),
        dense_hessian(there) @ vectors[0],
        atol=1e-7,
    )


def test_eigenvalues_trace_and_spectrum_of_a_network_equal_a_dense_hessian():
    model, (x, y) = smooth_network(), data()
    surface = LossSurface(model, x, y, CROSS_ENTROPY)
    for normalization in (None, "element", "filter"):
        scales = 1.0 if normalization is None else surface.scales(normalization)
        dense = dense_hessian(surface) * scales * np.reshape(scales, (-1, 1))
        values, vectors = np.linalg.eigh(dense)
        found = top_eigenvalues(
            surface, 5, normalization=normalization, vectors=True, tolerance=1e-6
        )
        np.testing.assert_allclose(found.values, values[:-6:-1], rtol=1e-6)
        overlaps = abs(np.sum(found.vectors * vectors.T[:-6:-1], axis=1))
        np.testing.assert_allclose(overlaps, 1.0, atol=1e-6)
        trace, error = hessian_trace(
            surface, normalization=normalization, probes=200, seed=1
        )
        assert abs(trace - np.trace(dense)) < 3 * error
        density = spectral_density(
            surface, normalization=normalization, probes=1, iterations=100
        )
        v = np.random.default_rng(0).standard_normal(len(dense))
        v /= np.linalg.norm(v)
        moments = [density.weights @ density.nodes**power for power in range(4)]
        expected = [v @ np.linalg.matrix_power(dense, power) @ v for power in range(4)]
        np.testing.assert_allclose(moments, expected, rtol=1e-6)


def test_product_of_a_convolutional_network_equals_differences_of_gradients():
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Conv2D(4, 3, activation="softplus", dtype="float64"),
        GhostBatchNorm(2, dtype="float64"),
        keras.layers.MaxPooling2D(2, dtype="float64"),
        keras.layers.DepthwiseConv2D(2, dtype="float64"),
        keras.layers.GlobalAveragePooling2D(dtype="float64"),
        keras.layers.Dense(3, dtype="float64"),
    ]
    model = keras.Sequential([keras.Input((8, 8, 2)), *layers])
    x, y = data(9, 128)
    surface = LossSurface(model, x.reshape(9, 8, 8, 2), y, CROSS_ENTROPY, 4)
    v = np.random.default_rng(0).normal(size=len(surface.weights))
    ahead, behind = (
        surface.gradient(surface.weights + step * v)[1] for step in (1e-5, -1e-5)
    )
    np.testing.assert_allclose(
        surface.hessian_product(v), (ahead - behind) / 2e-5, atol=1e-8
    )


def test_float32_eigenvalues_are_within_1e_4():
    model, (x, y) = smooth_network(), data()
    expected = np.linalg.eigvalsh(
        dense_hessian(LossSurface(model, x, y, CROSS_ENTROPY))
    )
    single = network(
        lambda: keras.layers.Dense(6, "tanh"),
        lambda: keras.layers.BatchNormalization(),
        lambda: keras.layers.Dropout(0.5),
        dtype="float32",
    )
    single.set_weights(model.get_weights())
    surface = LossSurface(single, x, y, CROSS_ENTROPY)
    assert surface.dtype == "float32"
    found = top_eigenvalues(surface, 4)
    np.testing.assert_allclose(found.values, expected[:-5:-1], rtol=1e-4)


def test_softmax_regression_has_its_closed_form_and_fisher_matrix():
    model, (x, y) = network(), data()
    surface = LossSurface(model, x, y, CROSS_ENTROPY)
    dense, p, inputs = softmax_hessian(model, x)
    identity = np.eye(len(dense))
    ours = np.array([surface.hessian_product(unit) for unit in identity])
    np.testing.assert_allclose(ours, dense, atol=1e-13)
    found = top_eigenvalues(surface, 4, tolerance=1e-8)
    np.testing.assert_allclose(
        found.values, np.linalg.eigvalsh(dense)[:-5:-1], rtol=1e-10
    )
    # Expected over labels that the model draws.
    fisher = sum(
        np.mean(
            p[:, label]
            * np.sum((p - np.eye(3)[label]) ** 2, axis=1)
            * np.sum(inputs**2, axis=1)
        )
        for label in range(3)
    )
    assert np.trace(ours) == pytest.approx(fisher, rel=1e-12)
    trace, error = hessian_trace(surface, probes=400)
    assert abs(trace - fisher) < 3 * error


@pytest.mark.parametrize("k", [1, 7, 30])
def test_lanczos_finds_any_number_of_eigenvalues(k):
    spectrum = np.linspace(-3.0, 5.0, 30) ** 3
    found = top_eigenvalues(Quadratic(symmetric(spectrum)), k, tolerance=1e-9)
    np.testing.assert_allclose(found.values, np.sort(spectrum)[: -k - 1 : -1])
    assert np.all(found.residuals <= 1e-9 * np.abs(spectrum).max())
    assert found.vectors is None


def test_residuals_bound_the_error_where_iterations_run_out():
    spectrum = np.arange(200.0)
    surface = Quadratic(symmetric(spectrum))
    found = top_eigenvalues(surface, 3, iterations=20, vectors=True)
    assert found.products == surface.products == 20
    assert found.residuals[-1] > 1e-3 * 199
    for value, residual, vector in zip(
        found.values, found.residuals, found.vectors, strict=True
    ):
        assert np.linalg.norm(vector) == pytest.approx(1.0)
        error = np.linalg.norm(surface.hessian @ vector - value * vector)
        assert error == pytest.approx(residual, rel=1e-9)
        assert np.abs(spectrum - value).min() <= residual


def test_the_search_stops_once_residuals_are_small():
    spectrum = np.concatenate([np.linspace(0, 1, 200), [50.0, 80.0]])
    surface = Quadratic(symmetric(spectrum))
    found = top_eigenvalues(surface, 2)
    assert surface.products == found.products < 20
    np.testing.assert_allclose(found.values, [80.0, 50.0], rtol=1e-6)


def test_equal_eigenvalues_are_all_found_once_nothing_else_is_left():
    for spectrum in ([2.0] * 6, [0.0] * 6, [3.0, 3.0, 3.0, 1.0, 1.0, -2.0]):
        found = top_eigenvalues(Quadratic(np.diag(spectrum)), 6)
        np.testing.assert_allclose(found.values, spectrum, atol=1e-12)
    assert top_eigenvalues(Quadratic([[4.0]]), 1).values == pytest.approx([4.0])


def test_hutchinson_is_exact_on_diagonals_and_its_error_is_honest():
    assert hessian_trace(Quadratic(np.diag([1.0, 2.0, -5.0])), probes=2) == (-2.0, 0.0)
    surface = Quadratic(symmetric(np.linspace(-1, 3, 20)))
    estimates = np.array(
        [hessian_trace(surface, probes=50, seed=seed) for seed in range(60)]
    )
    errors = (estimates[:, 0] - np.trace(surface.hessian)) / estimates[:, 1]
    assert 0.7 < np.std(errors) < 1.4
    off = surface.hessian - np.diag(np.diag(surface.hessian))
    assert estimates[:, 1].mean() == pytest.approx(
        np.sqrt(2 * np.sum(off**2) / 50), rel=0.1
    )


def test_the_density_is_one_and_lies_where_eigenvalues_do():
    spectrum = np.concatenate([np.zeros(150), np.full(50, 10.0)])
    found = spectral_density(Quadratic(symmetric(spectrum)), probes=40)
    assert found.grid.shape == found.density.shape == (1000,)
    step = found.grid[1] - found.grid[0]
    assert found.density.sum() * step == pytest.approx(1.0, abs=1e-5)
    assert found.weights.sum() == pytest.approx(1.0)
    share = found.density[found.grid > 5].sum() * step
    assert share == pytest.approx(0.25, abs=0.03)
    # All are equal: one bell, of a hundredth of the value.
    one = spectral_density(Quadratic(2 * np.eye(3)), points=301)
    assert one.grid[one.density.argmax()] == pytest.approx(2.0)
    assert one.density.max() == pytest.approx(1 / (0.02 * np.sqrt(2 * np.pi)))


def test_seeds_determine_results_and_weights_stay_untouched():
    model, (x, y) = smooth_network(), data()
    before = [w.copy() for w in model.get_weights()]
    surface = LossSurface(model, x, y, CROSS_ENTROPY)

    def measure(seed):
        return (
            top_eigenvalues(surface, 1, iterations=3, seed=seed).values,
            hessian_trace(surface, probes=3, seed=seed),
            spectral_density(surface, probes=1, iterations=4, seed=seed).nodes,
        )

    for one, same, other in zip(measure(0), measure(0), measure(1), strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_losses_by_name_by_function_and_by_compilation_are_the_same():
    model = network(classes=2)
    x, _ = data()
    y = np.random.default_rng(3).normal(size=(40, 2))
    model.compile(loss="mse")
    values = [
        LossSurface(model, x, y, loss).value()
        for loss in (
            None,
            "mean_squared_error",
            keras.losses.MeanSquaredError(reduction="sum"),
            lambda y, scores: ops.square(y - scores),
        )
    ]
    np.testing.assert_allclose(values, np.mean((model.predict(x, verbose=0) - y) ** 2))


def test_frozen_layers_do_not_count_and_regularisers_add_nothing():
    regularizer = keras.regularizers.L2(10.0)
    model = network(lambda: keras.layers.Dense(4, kernel_regularizer=regularizer))
    x, y = data()
    surface = LossSurface(model, x, y, CROSS_ENTROPY)
    assert surface.value() == pytest.approx(
        float(CROSS_ENTROPY(y, model.predict(x, verbose=0))), rel=1e-6
    )
    model.layers[0].trainable = False
    frozen = LossSurface(model, x, y, CROSS_ENTROPY)
    assert len(frozen.weights) == 4 * 3 + 3
    np.testing.assert_allclose(frozen.gradient()[1], surface.gradient()[1][-15:])


def test_scales_are_sizes_of_weights_or_of_filters():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5, 5, 2)), keras.layers.Conv2D(3, 2)])
    kernel, bias = (
        np.random.default_rng(0).normal(size=w.shape) for w in model.weights
    )
    model.set_weights([kernel, bias])
    surface = LossSurface(model, np.zeros((1, 5, 5, 2)), np.zeros((1, 4, 4, 3)), "mse")
    np.testing.assert_array_equal(surface.scales("element"), abs(surface.weights))
    filters = surface.scales("filter")
    for channel in range(3):
        expected = np.linalg.norm(kernel[..., channel].ravel())
        np.testing.assert_allclose(filters[:24].reshape(8, 3)[:, channel], expected)
    np.testing.assert_allclose(filters[24:], abs(bias))
    with pytest.raises(ValueError, match="normalization"):
        surface.scales("layer")


def test_the_progress_bar_ends(capsys):
    surface = Quadratic(symmetric(np.arange(30.0)))
    top_eigenvalues(surface, 1)
    assert capsys.readouterr().out == ""
    top_eigenvalues(surface, 1, verbose=1)
    hessian_trace(surface, probes=5, verbose=1)
    spectral_density(surface, probes=2, iterations=3, verbose=1)
    out = capsys.readouterr().out
    assert "5/5" in out and "6/6" in out


def test_bad_input_ends_in_one_line():
    model, (x, y) = network(), data()
    surface = LossSurface(model, x, y, CROSS_ENTROPY)
    broken = network()
    broken.set_weights([np.full((5, 3), np.nan), np.zeros(3)])
    nowhere = LossSurface(broken, x, y, CROSS_ENTROPY)
    unbuilt = keras.Sequential([keras.layers.Dense(1)])
    calls = {
        "`x` and `y` must": lambda: LossSurface(model, x[:0], y[:0], "mse"),
        "`x` and `y` must hold": lambda: LossSurface(model, x, y[:3], "mse"),
        "`model` must": lambda: LossSurface(unbuilt, x, y, "mse"),
        "`loss` must be given": lambda: LossSurface(model, x, y),
        "`loss` must give": lambda: LossSurface(
            model, x, y, lambda y, scores: ops.mean(scores)
        ).value(),
        "`batch_size` must": lambda: LossSurface(model, x, y, "mse", 0),
        "`k` must be at most": lambda: top_eigenvalues(surface, 19),
        "`k` must": lambda: top_eigenvalues(surface, 0),
        "`iterations` must": lambda: top_eigenvalues(surface, 5, iterations=4),
        "`tolerance` must": lambda: top_eigenvalues(surface, tolerance=-1.0),
        "`probes` must": lambda: hessian_trace(surface, probes=1),
        "`width` must": lambda: spectral_density(surface, width=0.0),
        "`points` must": lambda: spectral_density(surface, points=1),
        "must be finite": lambda: top_eigenvalues(nowhere),
        "must be finite at": lambda: hessian_trace(nowhere),
        "must be finite at the": lambda: spectral_density(nowhere),
        "`normalization` must": lambda: top_eigenvalues(surface, normalization="layer"),
    }
    for message, call in calls.items():
        with pytest.raises(ValueError, match=message) as error:
            call()
        if "give" not in message:
            assert "\n" not in str(error.value) and "Received: " in str(error.value)


JAX = """
import keras, numpy as np
from zoo.metrics.loss_surface import LossSurface
from zoo.metrics.hessian import hessian_trace, spectral_density, top_eigenvalues
from zoo.metrics.sharpness import adaptive_sharpness, epsilon_sharpness
generator = np.random.default_rng(0)
model = keras.Sequential([
    keras.Input((5,)), keras.layers.Dense(6, "tanh"), keras.layers.Dense(3)])
model.set_weights([generator.normal(size=w.shape) for w in model.get_weights()])
x, y = generator.normal(size=(40, 5)), generator.integers(0, 3, 40)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
surface = LossSurface(model, x, y, loss, batch_size=16)
top = top_eigenvalues(surface, 3)
print(*top.values, hessian_trace(surface)[0], spectral_density(surface).nodes.max(),
    epsilon_sharpness(surface, 1e-2, iterations=30).value,
    epsilon_sharpness(surface, 1e-2, 10, iterations=30).value,
    adaptive_sharpness(surface, 0.1).value)
"""


def test_jax_gives_the_numbers_of_tensorflow(capsys):
    environment = {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "jax"}
    result = subprocess.run(
        [sys.executable, "-c", JAX],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    exec(JAX, {})
    ours = capsys.readouterr().out
    np.testing.assert_allclose(
        *(np.array(text.split(), "float64") for text in (result, ours)), rtol=1e-4
    )
