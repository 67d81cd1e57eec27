import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import zoo
from zoo.metrics import (
    MarginDistribution,
    layer_margins,
    score_margin,
    signature,
    signature_names,
)

ROOT = pathlib.Path(zoo.__file__).parents[1]
NORMS = {"l2": 2, "l1": 1, "linf": np.inf}
DUALS = {"l2": 2, "l1": np.inf, "linf": 1}


def python(script, *arguments, **environment):
    """Runs a script in a process of its own; returns what it prints."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def randomize(model):
    generator = np.random.default_rng(3)
    model.set_weights(
        [
            0.5 + abs(generator.normal(0.0, 0.5, w.shape))
            if w.ndim == 1
            else generator.normal(0.0, 0.5, w.shape)
            for w in model.get_weights()
        ]
    )
    return model


def perceptron(units=(6, 5), classes=4, features=7):
    layers = [
        keras.layers.Dense(width, "relu", name=f"hidden{index}")
        for index, width in enumerate(units, start=1)
    ]
    head = keras.layers.Dense(classes, name="head")
    return randomize(keras.Sequential([keras.Input((features,)), *layers, head]))


def convolutional():
    return randomize(
        keras.Sequential(
            [
                keras.Input((6, 6, 2)),
                keras.layers.Conv2D(3, 3, activation="softplus", name="conv"),
                keras.layers.BatchNormalization(),
                keras.layers.Dropout(0.5),
                keras.layers.Flatten(),
                keras.layers.Dense(3),
            ]
        )
    )


def data(samples=50, shape=(7,), classes=4):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(samples, *shape)).astype("float32")
    return x, generator.integers(0, classes, samples)


def reference(model, x, labels, dual):
    """Margins and total variation of a perceptron, in float64, sample by sample."""
    weights = [w.astype("float64") for w in model.get_weights()]
    kernels, biases = weights[::2], weights[1::2]
    margins, activations = [], [[] for _ in kernels]
    for point, label in zip(x.astype("float64"), labels, strict=True):
        layers = [point]
        for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
            layers.append(np.maximum(layers[-1] @ kernel + bias, 0))
        scores = layers[-1] @ kernels[-1] + biases[-1]
        other = max(set(range(len(scores))) - {label}, key=lambda j: scores[j])
        slope = kernels[-1][:, label] - kernels[-1][:, other]
        row = []
        for depth in reversed(range(len(layers))):
            size = np.linalg.norm(slope, dual)
            row.append((scores[label] - scores[other]) / size)
            activations[depth].append(layers[depth])
            if depth:
                slope = kernels[depth - 1] @ (slope * (layers[depth] > 0))
        margins.append(row[::-1])
    variation = [np.var(layer, axis=0).sum() for layer in activations]
    return np.array(margins), np.array(variation)


def test_score_margin_is_the_lead_over_the_best_other_class():
    scores = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    labels = np.arange(20) % 4
    expected = [
        float(row[label]) - max(float(row[j]) for j in range(4) if j != label)
        for row, label in zip(scores, labels, strict=True)
    ]
    np.testing.assert_array_equal(score_margin(scores, labels), expected)
    np.testing.assert_array_equal(
        score_margin(scores, labels) > 0, scores.argmax(axis=1) == labels
    )


@pytest.mark.parametrize(
    ("norm", "batch_size"),
    [("l2", 1), ("l2", 50), ("l2", 128), *((norm, 7) for norm in NORMS)],
)
def test_equals_numpy_in_batches_of_any_size(norm, batch_size):
    model, (x, labels) = perceptron(), data()
    result = layer_margins(model, x, labels, norm=norm, batch_size=batch_size)
    margins, variation = reference(model, x, labels, DUALS[norm])
    assert result.layers == ("input", "hidden1", "hidden2")
    assert result.margins.dtype == "float32"
    np.testing.assert_allclose(result.margins, margins, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(result.variation, variation, rtol=1e-6)
    np.testing.assert_allclose(
        result.normalized, margins / np.sqrt(variation), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("norm", NORMS)
def test_exact_for_a_linear_model(norm):
    model, (x, labels) = perceptron(units=()), data()
    kernel, bias = model.get_weights()
    scores = x @ kernel + bias
    margins = layer_margins(model, x, labels, norm=norm).margins[:, 0]
    for row, label, margin in zip(scores, labels, margins, strict=True):
        other = np.where(np.arange(4) == label, -np.inf, row).argmax()
        size = np.linalg.norm(kernel[:, label] - kernel[:, other], DUALS[norm])
        np.testing.assert_allclose(margin, (row[label] - row[other]) / size, rtol=1e-4)


def test_slopes_equal_finite_differences_of_a_convolutional_network():
    model, (x, labels) = convolutional(), data(6, (6, 6, 2), 3)
    before = model.get_weights()
    result = layer_margins(model, x, labels, ["input"])
    # In inference mode: nothing is dropped, no statistics move.
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    scores = model.predict(x, verbose=0)
    step = 1e-2
    for index, label in enumerate(labels):
        rivals = scores[index].copy()
        rivals[label] = -np.inf
        other = rivals.argmax()
        shifts = step * np.eye(72, dtype="float32").reshape(72, 6, 6, 2)
        up, down = (
            model.predict(x[index] + sign * shifts, verbose=0) for sign in (1, -1)
        )
        slope = (up - down) / (2 * step)
        size = np.linalg.norm(slope[:, label] - slope[:, other])
        expected = (scores[index, label] - scores[index, other]) / size
        np.testing.assert_allclose(result.margins[index, 0], expected, rtol=2e-3)


def test_rescaling_a_layer_leaves_normalized_margins_alone():
    model, (x, labels) = perceptron(), data()
    expected = layer_margins(model, x, labels)
    (first, bias), (second, shift) = (
        model.get_layer(name).get_weights() for name in ("hidden1", "hidden2")
    )
    model.get_layer("hidden1").set_weights([10 * first, 10 * bias])
    model.get_layer("hidden2").set_weights([second / 10, shift])
    result = layer_margins(model, x, labels)
    np.testing.assert_allclose(
        result.margins[:, 1], 10 * expected.margins[:, 1], rtol=1e-4
    )
    np.testing.assert_allclose(result.normalized, expected.normalized, rtol=1e-4)


def test_total_variation_survives_a_large_mean():
    x, labels = data(1000)
    x = x + np.float32(1000.0)
    variation = layer_margins(perceptron(), x, labels, "input", batch_size=64).variation
    expected = np.var(x.astype("float64"), axis=0).sum()
    np.testing.assert_allclose(variation, [expected], rtol=1e-6)


def test_a_dead_layer_gives_finite_numbers():
    model, (x, labels) = perceptron(), data()
    layer = model.get_layer("hidden2")
    layer.set_weights([0 * layer.kernel.numpy(), -1.0 + 0 * layer.bias.numpy()])
    result = layer_margins(model, x, labels)
    assert result.variation[2] == 0
    assert np.isfinite(result.margins).all()
    assert np.isfinite(result.normalized).all()


MEMORY = """
import resource
import keras, numpy
from zoo.metrics import layer_margins

hidden = keras.layers.Dense(8192, "relu")
model = keras.Sequential([keras.Input((7,)), hidden, keras.layers.Dense(2)])
x = numpy.broadcast_to(numpy.ones(7, "float32"), (12_000, 7))
peaks = []
for samples in (500, 12_000):
    layer_margins(model, x[:samples], numpy.zeros(samples, int), batch_size=100)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[1] - peaks[0])
"""


def test_memory_does_not_grow_with_the_samples():
    # In a process of its own, whose peak is this pass's.
    grown = int(python(MEMORY))
    # In KiB: all activations would take 384 000 more.
    assert grown < 60_000


def test_quartiles_are_those_of_what_is_classified_right():
    generator = np.random.default_rng(0)
    margins = generator.normal(1.0, 1.0, (200, 3))
    result = signature(margins)
    assert result.shape == (15,)
    for layer in range(3):
        column = sorted(m for m in margins[:, layer] if m > 0)

        def quantile(share, column=column):
            place = share * (len(column) - 1)
            low = int(place)
            return column[low] + (place - low) * (column[low + 1] - column[low])

        q1, q2, q3 = map(quantile, (0.25, 0.5, 0.75))
        expected = [q1 - 1.5 * (q3 - q1), q1, q2, q3, q3 + 1.5 * (q3 - q1)]
        np.testing.assert_allclose(result[5 * layer : 5 * layer + 5], expected)


def test_moments_are_in_the_units_of_the_margins():
    margins = np.array([[1.0, 2.0], [3.0, -4.0], [2.0, 2.0]])
    first = [((1 + 3**k + 2**k) / 3) ** (1 / k) for k in range(1, 6)]
    np.testing.assert_allclose(signature(margins, "moments"), [*first, *5 * [2.0]])
    np.testing.assert_allclose(
        signature(7 * margins, "moments"), 7 * signature(margins, "moments")
    )


def test_names_of_a_signature():
    for kind, last in (("quartiles", "b_upper_fence"), ("moments", "b_moment5")):
        names = signature_names(["a", "b"], kind)
        assert len(names) == len(set(names)) == len(signature(np.ones((2, 2)), kind))
        assert names[-1] == last


def test_signature_refuses():
    with pytest.raises(ValueError, match=r"kind must be one of .*kind='mean'"):
        signature(np.ones((3, 1)), "mean")
    with pytest.raises(ValueError, match="a sample that is classified right"):
        signature(np.array([[1.0, -1.0]]))


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 4], [0, -1, 2], [[0], [1], [2]]])
def test_labels_that_are_refused(labels):
    with pytest.raises(ValueError, match="`labels` must be integers from 0 to 3, of"):
        layer_margins(perceptron(), np.ones((3, 7)), labels)


def test_mixed_precision_comes_close():
    x, labels = data()
    exact = layer_margins(perceptron(), x, labels).margins
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        close = layer_margins(perceptron(), x, labels).margins
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(close, exact, rtol=0.1, atol=0.1)


JAX = """
import sys
import keras, numpy
from zoo.metrics import layer_margins

assert keras.backend.backend() == "jax"
model = keras.models.load_model(sys.argv[1] + "/model.keras")
data = numpy.load(sys.argv[1] + "/data.npz")
result = layer_margins(model, data["x"], data["labels"], batch_size=20)
numpy.savez(sys.argv[1] + "/jax.npz", margins=result.margins, v=result.variation)
"""


def test_jax_measures_the_same(tmp_path):
    model, (x, labels) = convolutional(), data(50, (6, 6, 2), 3)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=x, labels=labels)
    python(JAX, tmp_path, KERAS_BACKEND="jax")
    expected = layer_margins(model, x, labels)
    with np.load(tmp_path / "jax.npz") as file:
        theirs = MarginDistribution(expected.layers, file["margins"], file["v"])
    np.testing.assert_allclose(theirs.margins, expected.margins, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(theirs.normalized, expected.normalized, rtol=1e-4)
