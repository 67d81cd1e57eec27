"""Lines through weights against networks in NumPy."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from zoo.layers import GhostBatchNorm
from zoo.metrics import interpolate
from zoo.models import mlp

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def data(rows=23, size=5, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, size)).astype("float32")
    return x, generator.integers(0, 3, rows)


def parts():
    return {"training": data(23, seed=0), "test": data(11, seed=1)}


def network(normalization="none"):
    model = mlp((5,), 3, units=(6,), normalization=normalization)
    model.compile(loss=CROSS_ENTROPY)
    return model


def weights(model, seed):
    generator = np.random.default_rng(seed)
    # Variances are positive.
    return [
        generator.uniform(0.5, 1.5, w.shape)
        if w.name in ("gamma", "moving_variance")
        else generator.normal(size=w.shape)
        for w in model.weights
    ]


def score(logits, labels):
    """Mean cross-entropy, and accuracy."""
    logits = logits - logits.max(axis=1, keepdims=True)
    picked = logits[np.arange(len(labels)), labels]
    loss = np.log(np.exp(logits).sum(axis=1)) - picked
    return loss.mean(), np.mean(logits.argmax(axis=1) == labels)


def assert_curves(curves, expected, alphas):
    np.testing.assert_array_equal(curves["alpha"], alphas)
    assert list(curves) == [
        "alpha",
        *(f"{part}_{name}" for part in parts() for name in ("loss", "accuracy")),
    ]
    for part, (x, y) in parts().items():
        losses, accuracies = zip(
            *(score(expected(alpha, x.astype("float64")), y) for alpha in alphas),
            strict=True,
        )
        np.testing.assert_allclose(curves[f"{part}_loss"], losses, rtol=1e-5)
        np.testing.assert_allclose(curves[f"{part}_accuracy"], accuracies, rtol=1e-12)


def test_equals_numpy():
    model = network()
    a, b = weights(model, 1), weights(model, 2)

    def logits(alpha, x):
        w1, b1, w2, b2 = (
            (1 - alpha) * u + alpha * v for u, v in zip(a, b, strict=True)
        )
        return np.maximum(x @ w1 + b1, 0) @ w2 + b2

    alphas = np.linspace(-1, 2, 7)
    curves = interpolate(model, a, b, parts(), alphas, batch_size=4)
    assert_curves(curves, logits, alphas)


def test_running_statistics_are_those_of_each_point():
    """Though interpolated variances would be negative."""
    model = network("batch")
    a, b = weights(model, 1), weights(model, 2)
    names = [w.name for w in model.weights]
    a[names.index("moving_variance")][:] = 0.01
    b[names.index("moving_variance")][:] = 9.0
    seen, _ = data(50, seed=5)

    def logits(alpha, x):
        blend = [(1 - alpha) * u + alpha * v for u, v in zip(a, b, strict=True)]
        kernel, gamma, beta, last, bias = (
            blend[index] for index, name in enumerate(names) if "moving" not in name
        )
        hidden = seen.astype("float64") @ kernel
        scale = gamma / np.sqrt(hidden.var(axis=0) + 1e-5)
        normal = (x @ kernel - hidden.mean(axis=0)) * scale + beta
        return np.maximum(normal, 0) @ last + bias

    alphas = np.linspace(-1, 2, 7)
    for batch_size in (7, 50):
        curves = interpolate(
            model, a, b, parts(), alphas, statistics=seen, batch_size=batch_size
        )
        assert_curves(curves, logits, alphas)


def test_ends_equal_keras_evaluation():
    model = network("ghost")
    assert any(isinstance(layer, GhostBatchNorm) for layer in model.layers)
    model.compile(loss=CROSS_ENTROPY, metrics=["accuracy"])
    a, b = weights(model, 1), weights(model, 2)
    x, y = data()
    curves = interpolate(model, a, b, {"training": (x, y)}, [0, 1], statistics=x)
    for point, ends in enumerate((a, b)):
        model.set_weights(ends)
        model.layers[3].momentum, model.layers[3].virtual_batch_size = 0.0, None
        model(x, training=True)
        loss, accuracy = model.evaluate(x, y)
        np.testing.assert_allclose(curves["training_loss"][point], loss, rtol=1e-5)
        np.testing.assert_allclose(curves["training_accuracy"][point], accuracy, 1e-6)


def test_default_line_is_that_of_the_paper():
    model = network()
    curves = interpolate(model, weights(model, 1), weights(model, 2), parts())
    assert len(curves["alpha"]) == 25
    assert (curves["alpha"][0], curves["alpha"][-1]) == (-1, 2)
    assert {0.0, 1.0} <= set(curves["alpha"])


def test_frozen_layers_move():
    model = network()
    a, b = weights(model, 1), weights(model, 2)
    trained = interpolate(model, a, b, parts(), [0.3])
    model.get_layer("dense1").trainable = False
    frozen = interpolate(model, a, b, parts(), [0.3])
    assert frozen["test_loss"] == trained["test_loss"]


def test_weights_of_integers_stay():
    class Shift(keras.layers.Layer):
        def build(self, shape):
            self.count = self.add_weight(
                shape=(), dtype="int32", trainable=False, name="count"
            )

        def call(self, x):
            return x + keras.ops.cast(self.count, x.dtype)

    model = keras.Sequential([keras.Input((5,)), Shift(), keras.layers.Dense(3)])
    model.compile(loss=CROSS_ENTROPY)
    kernel, bias = weights(model, 1)[-2:]
    model.layers[0].count.assign(2)
    a, b = ([np.array(count), kernel, bias] for count in (0, 10))
    assert [w.dtype for w in model.weights] == ["int32", "float32", "float32"]
    curves = interpolate(model, a, b, parts(), [0.0, 0.5, 1.0])
    assert_curves(curves, lambda _, x: (x + 2) @ kernel + bias, [0.0, 0.5, 1.0])


def test_loss_of_ones_own():
    model = network()
    a, b = weights(model, 1), weights(model, 2)

    def constant(labels, scores):
        return keras.ops.zeros_like(scores[:, 0]) + keras.ops.cast(labels, "float32")

    curves = interpolate(model, a, b, parts(), [0.5], loss=constant)
    np.testing.assert_allclose(curves["test_loss"], np.mean(data(11, seed=1)[1]))
    named = "sparse_categorical_crossentropy"
    probabilities = keras.Sequential([model, keras.layers.Softmax()])
    ours = interpolate(probabilities, a, b, parts(), [0.5], loss=named)
    logits = interpolate(model, a, b, parts(), [0.5])
    np.testing.assert_allclose(ours["test_loss"], logits["test_loss"], rtol=1e-4)
    with pytest.raises(ValueError, match=r"`loss` must be given .*Received: loss=None"):
        interpolate(probabilities, a, b, parts())


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_all_state_is_restored_exactly(error):
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(4),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3),
        ]
    )
    model.compile(loss=CROSS_ENTROPY)
    model.set_weights(weights(model, 3))
    before = [variable.numpy() for variable in model.variables]
    calls = []

    def loss(labels, scores):
        calls.append(1)
        if error and len(calls) == 3:
            raise error("stop")
        return keras.ops.zeros_like(scores[:, 0])

    def run():
        a, b = weights(model, 1), weights(model, 2)
        x, _ = data()
        interpolate(model, a, b, parts(), statistics=x, loss=loss)

    if error:
        with pytest.raises(error, match="stop"):
            run()
        assert len(calls) == 3
    else:
        run()
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_the_model_is_traced_once_for_all_points():
    traces = []

    class Counted(keras.layers.Layer):
        def call(self, x):
            traces.append(x.shape)
            return x

    model = keras.Sequential([keras.Input((5,)), Counted(), keras.layers.Dense(3)])
    model.compile(loss=CROSS_ENTROPY)
    counts = []
    for alphas in ([0.0], np.linspace(-1, 2, 9)):
        a, b = weights(model, 1), weights(model, 2)
        interpolate(model, a, b, parts(), alphas, batch_size=4)
        counts.append(len(traces))
    assert counts[0] == counts[1] <= 4


def test_progress_bar(capsys):
    model = network()
    a, b = weights(model, 1), weights(model, 2)
    interpolate(model, a, b, parts(), [0.0, 1.0])
    assert capsys.readouterr().out == ""
    interpolate(model, a, b, parts(), [0.0, 1.0], verbose=1)
    shown = capsys.readouterr().out
    assert "2/2" in shown and "test_accuracy" in shown


def test_bad_arguments():
    model, normal = network(), network("batch")
    a, b = weights(model, 1), weights(model, 2)

    def fails(match, model=model, a=a, b=b, parts=parts(), alphas=None, **kwargs):  # noqa: B008
        with pytest.raises(ValueError, match=match):
            interpolate(model, a, b, parts, alphas, **kwargs)

    fails(r"`weights_a` must hold arrays of the shapes .*Received", a=a[:-1])
    fails(r"`weights_b` must hold arrays of the shapes .*Received", b=a[::-1])
    for alphas in ([], [np.nan], [[0.0]], 0.5):
        fails(r"`alphas` must be one or more finite numbers\. Rec", alphas=alphas)
    fails(r"`batch_size` must be an integer from 1 up\. Rec", batch_size=0)
    for statistics in (None, data()[0][:0]):
        fails(
            r"`statistics` must hold inputs",
            normal,
            weights(normal, 1),
            weights(normal, 2),
            statistics=statistics,
        )
    x, y = data()
    for pair in ((x, y[1:]), (x[:0], y[:0]), (x, np.eye(3)[y])):
        fails(r"`parts` must hold inputs and an integer label", parts={"all": pair})
    one = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    one.compile(loss="binary_crossentropy")
    fails(r"`model` must give scores", one, weights(one, 1), weights(one, 2))


JAX = """
import keras
import numpy as np
from zoo.metrics import interpolate, plane, random_directions
from zoo.models import mlp, rescale

assert keras.backend.backend() == "jax"
generator = np.random.default_rng(0)
x, y = generator.normal(size=(24, 5)).astype("float32"), generator.integers(0, 3, 24)
model = mlp((5,), 3, units=(6,), normalization="batch")
model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
names = [w.name for w in model.weights]
a, b = ([generator.normal(size=w.shape) for w in model.weights] for _ in range(2))
before = model.get_weights()
parts, alphas = {"all": (x, y)}, [-1.0, 0.4, 2.0]
curves = interpolate(
    model, a, b, parts, alphas, statistics=x, batch_size=8
)
for alpha, found in zip(alphas, curves["all_loss"]):
    blend = [(1 - alpha) * u + alpha * v for u, v in zip(a, b)]
    kernel, gamma, beta, last, bias = (
        w for w, name in zip(blend, names) if "moving" not in name
    )
    hidden = x.astype("float64") @ kernel
    normal = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5) * gamma + beta
    logits = np.maximum(normal, 0) @ last + bias
    logits -= logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(24), y]
    np.testing.assert_allclose(found, losses.mean(), rtol=1e-4)
plain = mlp((5,), 3, units=(6,), normalization="none")
scaled = rescale(plain, 5.0)
np.testing.assert_allclose(scaled(x), plain(x), atol=1e-5)
surfaces = [
    plane(
        one,
        random_directions(one, 0),
        parts,
        [-1.0, 0.5],
        loss=model.loss
    )["all_loss"]
    for one in (plain, scaled)
]
np.testing.assert_allclose(*surfaces, rtol=1e-5)
assert all(np.array_equal(u, v) for u, v in zip(model.get_weights(), before))
"""


def test_jax():
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    result = subprocess.run(
        [sys.executable, "-c", JAX], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
