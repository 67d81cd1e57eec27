"""The trace of the Fisher information, against closed forms and single gradients."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.metrics.fisher import FisherTraceCallback, fisher_trace

ROOT = pathlib.Path(zoo.__file__).parents[1]
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def data(samples, *shape, seed=1):
    return np.random.default_rng(seed).normal(size=(samples, *shape)).astype("float32")


def randomized(model, seed=0):
    generator = np.random.default_rng(seed)
    weights = [generator.normal(0.0, 0.5, w.shape) for w in model.get_weights()]
    # Vectors, such as variances, may have to be positive.
    model.set_weights([abs(w) + 0.1 if w.ndim == 1 else w for w in weights])
    # Saturated scores have no gradients.
    head = model.layers[-1]
    head.set_weights([generator.normal(0.0, 0.1, w.shape) for w in head.get_weights()])
    return model


def linear(features=4, classes=3):
    layer = keras.layers.Dense(classes, name="scores")
    model = keras.Sequential([keras.Input((features,)), layer])
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(size=w.shape) for w in model.get_weights()])
    return model


def perceptron():
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((4,)),
        keras.layers.Dense(5, "relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(3),
    ]
    return keras.Sequential(layers)


def residual():
    """Convolutions, normalisation and dropout around a layer that is called twice."""
    shared = keras.layers.Conv2D(3, 3, padding="same", name="shared")
    inputs = keras.Input((5, 5, 2))
    x = keras.layers.Conv2D(3, 3, padding="same", name="first")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Add()([x, shared(keras.layers.Activation("relu")(x))])
    x = keras.layers.Add()([x, shared(keras.layers.Activation("tanh")(x))])
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    return randomized(keras.Model(inputs, keras.layers.Dense(4, name="head")(x)))


def sequence():
    """Kinds of layers whose gradients are slices, loops or sums over positions."""
    inputs = keras.Input((6,), dtype="int32")
    x = keras.layers.Embedding(7, 4, name="embedding")(inputs)
    x = keras.layers.Add()([x, keras.layers.MultiHeadAttention(2, 3, name="mix")(x, x)])
    x = keras.layers.LayerNormalization(name="norm")(x)
    x = keras.layers.Conv1D(4, 3, name="conv")(x)
    x = keras.layers.LSTM(3, name="recurrent")(x)
    return randomized(keras.Model(inputs, keras.layers.Dense(3, name="head")(x)))


def separable():
    stack = [
        keras.Input((7, 7, 2)),
        keras.layers.SeparableConv2D(4, 3, name="separable"),
        keras.layers.Conv2DTranspose(4, 2, strides=2, name="transposed"),
        keras.layers.GroupNormalization(2, name="groups"),
        keras.layers.Conv2D(4, 3, dilation_rate=2, name="dilated"),
        keras.layers.PReLU(name="slopes"),
        keras.layers.Flatten(),
        keras.layers.Dense(3, name="head"),
    ]
    return randomized(keras.Sequential(stack, name="separable"))


def brute_force(model, images):
    """For each image and variable, the sum over classes, a tape for each."""
    variables = model.trainable_variables
    values = [variable.value for variable in variables]
    found = np.zeros((len(images), len(variables)))
    for image, row in zip(images, found, strict=True):
        p = tf.nn.softmax(model(image[None], training=False))[0].numpy()
        for label, share in enumerate(p.astype("float64")):
            with tf.GradientTape() as tape:
                scores = model(image[None], training=False)
                score = tf.nn.log_softmax(scores)[0, label]
            for index, gradient in enumerate(tape.gradient(score, values)):
                dense = tf.convert_to_tensor(gradient).numpy().astype("float64")
                row[index] += share * np.sum(dense**2)
    return found


def test_softmax_regression_equals_its_closed_form():
    model, x = linear(), data(50, 4)
    kernel, bias = model.get_weights()
    scores = x.astype("float64") @ kernel + bias
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    residuals = np.eye(3) - p[:, None]
    curvature = np.einsum("nc,nck->n", p, residuals**2)
    expected = ((x.astype("float64") ** 2).sum(axis=1) + 1) * curvature
    trace = fisher_trace(model, x)
    assert trace.total == pytest.approx(expected.mean(), rel=1e-5)
    error = expected.std(ddof=1) / 50**0.5
    assert trace.error == pytest.approx(error, rel=1e-5)
    assert trace.layers == {"scores": trace.total}
    assert trace.layer_errors == {"scores": trace.error}


@pytest.mark.parametrize(
    ("build", "images"),
    [
        (residual, data(5, 5, 5, 2)),
        (separable, data(3, 7, 7, 2)),
        (sequence, np.random.default_rng(0).integers(0, 7, (3, 6))),
    ],
)
def test_each_layer_equals_gradients_one_by_one(build, images):
    model = build()
    expected = brute_force(model, images)
    trace = fisher_trace(model, images)
    owners = [v.path.removeprefix("separable/") for v in model.trainable_variables]
    owners = [path.rpartition("/")[0] for path in owners]
    assert set(trace.layers) == set(trace.layer_errors) == set(owners)
    for layer, value in trace.layers.items():
        own = expected[:, [owner == layer for owner in owners]].sum(axis=1)
        assert own.min() > 0
        assert value == pytest.approx(own.mean(), rel=1e-4)
        error = own.std(ddof=1) / len(images) ** 0.5
        assert trace.layer_errors[layer] == pytest.approx(error, rel=1e-3)
    assert trace.total == pytest.approx(expected.sum(axis=1).mean(), rel=1e-4)
    assert sum(trace.layers.values()) == pytest.approx(trace.total, rel=1e-12)


def test_parts_of_any_size_give_the_same_trace():
    model, x = linear(classes=7), data(6, 4)
    whole = fisher_trace(model, x).total
    for batch_size in (1, 2, 3, 6):
        part = fisher_trace(model, x, batch_size=batch_size).total
        assert part == pytest.approx(whole, rel=1e-6)


def test_sampled_labels_are_right_on_average_and_exact_ones_have_no_noise():
    model, x = perceptron(), data(40, 4)
    exact = {fisher_trace(model, x, seed=seed).total for seed in range(2)}
    assert len(exact) == 1
    (exact,) = exact
    images = np.repeat(x, 100, axis=0)
    sampled = fisher_trace(model, images, labels="sampled", draws=1, seed=3).total
    again = fisher_trace(model, images, labels="sampled", draws=1, seed=3).total
    assert sampled == again
    # The spread of one draw about its image's own mean, by gradients of each label.
    singles = [_by_label(model, one) for one in x]
    variance = np.mean([np.sum(p * (t - p @ t) ** 2) for p, t in singles])
    assert exact == pytest.approx(np.mean([p @ t for p, t in singles]), rel=1e-4)
    error = (variance / len(images)) ** 0.5
    assert 0 < abs(sampled - exact) < 4 * error
    assert error < 0.03 * exact
    many = fisher_trace(model, x, labels="sampled", draws=100, seed=4).total
    assert 0 < abs(many - exact) < 4 * error


def _by_label(model, image):
    p = tf.nn.softmax(model(image[None], training=False))[0].numpy().astype("float64")
    squares = []
    for label in range(len(p)):
        with tf.GradientTape() as tape:
            score = tf.nn.log_softmax(model(image[None], training=False))[0, label]
        values = [variable.value for variable in model.trainable_variables]
        gradients = tape.gradient(score, values)
        squares.append(sum(np.sum(g.numpy() ** 2) for g in gradients))
    return p, np.array(squares)


def test_confident_scores_keep_their_trace():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, use_bias=False)])
    model.set_weights([np.array([[30.0, 0.0]])])
    p = 1 / (1 + np.exp(30.0))
    trace = fisher_trace(model, np.ones((2, 1), "float32"))
    assert trace.total == pytest.approx(2 * p * (1 - p), rel=1e-5)


def test_frozen_layers_do_not_count():
    model, x = residual(), data(4, 5, 5, 2)
    whole = fisher_trace(model, x)
    callback = FisherTraceCallback(x)
    callback.set_model(model)
    callback.on_train_begin()
    callback.on_epoch_end(0, {})
    model.get_layer("shared").trainable = False
    callback.on_epoch_end(1, logs := {})
    rest = {name: t for name, t in whole.layers.items() if name != "shared"}
    assert {name: logs[f"fisher/{name}"] for name in rest} == pytest.approx(rest)
    assert logs["fisher"] == pytest.approx(sum(rest.values()))


def fit(callbacks, epochs=4, **kwargs):
    model = perceptron()
    model.compile(keras.optimizers.SGD(0.1), CROSS_ENTROPY)
    x, y = data(16, 4), np.arange(16) % 3
    history = model.fit(
        x, y, batch_size=4, epochs=epochs, verbose=0, callbacks=callbacks, **kwargs
    )
    return model, history.history


def test_training_is_left_as_it_was():
    x = data(8, 4, seed=2)
    plain, history = fit([])
    for labels in ("exact", "sampled"):
        measured, logs = fit([FisherTraceCallback(x, labels=labels)])
        assert logs["loss"] == history["loss"]
        for one, other in zip(plain.weights, measured.weights, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_curves_and_logs_hold_the_trace_after_each_chosen_epoch():
    x = data(8, 4, seed=2)
    callback = FisherTraceCallback(x, epochs=[0, 1, 4])
    model, logs = fit([callback])
    curves = callback.curves
    assert curves["epoch"].tolist() == [0, 1, 4]
    before, last = fisher_trace(perceptron(), x), fisher_trace(model, x)
    for index, trace in ((0, before), (2, last)):
        assert curves["fisher"][index] == pytest.approx(trace.total, rel=1e-5)
        assert curves["fisher_error"][index] == pytest.approx(trace.error, rel=1e-5)
    names = [name for name in curves if name.startswith("fisher/")]
    assert len(names) == 3
    total = sum(curves[name] for name in names)
    np.testing.assert_allclose(total, curves["fisher"], rtol=1e-12)
    for name in ("fisher", *names):
        assert logs[name] == curves[name][1:].tolist()
    every = FisherTraceCallback(x)
    fit([every], epochs=2)
    assert every.curves["epoch"].tolist() == [1, 2]


def test_all_measurements_share_one_trace():
    calls = []

    class Counted(keras.layers.Dense):
        def call(self, inputs):
            calls.append(1)
            return super().call(inputs)

    model = keras.Sequential([keras.Input((4,)), Counted(3, name="counted")])
    model.compile("sgd", CROSS_ENTROPY)
    x, y = data(16, 4), np.arange(16) % 3
    callback = FisherTraceCallback(x)
    model.fit(x, y, epochs=1, verbose=0, callbacks=[callback])
    first = len(calls)
    model.fit(x, y, epochs=4, initial_epoch=1, verbose=0, callbacks=[callback])
    assert len(calls) == first
    assert callback.curves["epoch"].tolist() == [2, 3, 4]
    assert len(set(callback.curves["fisher"])) == 3


def test_bad_input_raises():
    model, x = linear(), data(4, 4)
    cases = [
        (model, x, {"labels": "true"}, "`labels` must be one of"),
        (model, x, {"draws": 0}, "`draws` must be an integer from 1 up"),
        (model, x, {"batch_size": 0}, "`batch_size` must be an integer from 1 up"),
        (model, x, {"seed": 0.5}, "`seed` must be an integer"),
        (model, x[:1], {}, "`images` must hold two or more"),
        (model, x[:, :3], {}, "of the shape that `model` takes"),
        (linear(classes=1), x, {}, "of two or more classes"),
        (keras.Sequential([keras.Input((4,))]), x, {}, "have trainable weights"),
        (keras.Sequential([keras.layers.Dense(3)]), x, {}, "`model` must be built"),
        (model, np.full((2, 4), np.nan, "float32"), {}, "must be finite"),
    ]
    for model, images, arguments, message in cases:
        with pytest.raises(ValueError, match=message) as error:
            fisher_trace(model, images, **arguments)
        assert "\n" not in str(error.value)
    outputs = keras.layers.Dense(3)(inputs := keras.Input((4,)))
    two = keras.Model(inputs, [outputs, outputs])
    with pytest.raises(ValueError, match="must give logits"):
        fisher_trace(two, x)
    for arguments in ({"labels": "true"}, {"epochs": [-1]}, {"draws": 0}):
        with pytest.raises(ValueError, match="must be"):
            FisherTraceCallback(x, **arguments)


def test_jax_gives_the_same():
    code = """
import runpy, numpy as np, keras
from zoo.metrics.fisher import FisherTraceCallback, fisher_trace
tests = runpy.run_path("tests/zoo/metrics/test_fisher.py")
trace = fisher_trace(tests["residual"](), tests["data"](5, 5, 5, 2))
print(*trace.layers.values())
x = tests["data"](8, 4, seed=2)
callback = FisherTraceCallback(x, epochs=[0, 2])
model, logs = tests["fit"]([callback], epochs=2)
curve = callback.curves["fisher"]
start = fisher_trace(tests["perceptron"](), x).total
np.testing.assert_allclose(curve, [start, fisher_trace(model, x).total], rtol=1e-5)
assert abs(curve[0] - curve[1]) > 1e-3
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    here = fisher_trace(residual(), data(5, 5, 5, 2)).layers.values()
    found = [float(value) for value in run.stdout.split()]
    np.testing.assert_allclose(found, list(here), rtol=1e-4)
