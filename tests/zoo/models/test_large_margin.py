import itertools
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import zoo
from zoo import _backend
from zoo.losses.large_margin import LargeMargin
from zoo.models import LargeMarginModel, mlp, normalization_layer
from zoo.models.large_margin import choose_layers

ROOT = pathlib.Path(zoo.__file__).parents[1]
DIM, WIDTHS, CLASSES, SAMPLES, RATE = 4, (6, 5), 3, 7, 0.1
LAYERS = ["input", "hidden1", "hidden2"]


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def perceptron():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((DIM,))
    for index, width in enumerate(WIDTHS, start=1):
        x = keras.layers.Dense(width, "softplus", name=f"hidden{index}")(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(x))


def network(activity_regularizer="l2", normalization="batch"):
    """A smooth classifier with all that a training step must carry along."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(
                4,
                3,
                activation="tanh",
                kernel_regularizer="l2",
                activity_regularizer=activity_regularizer,
            ),
            normalization_layer(normalization, None),
            keras.layers.AveragePooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(8, activation="tanh"),
            keras.layers.Dense(CLASSES, dtype="float32"),
        ]
    )


def images(samples=24):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(samples, 6, 6, 1)).astype("float32")
    return x, np.arange(samples) % CLASSES


def compiled(model, loss="default", **kwargs):
    loss = cross_entropy() if loss == "default" else loss
    metrics = ["accuracy"] if loss else None
    model.compile(keras.optimizers.SGD(RATE), loss, metrics=metrics, **kwargs)
    return model


def fit(model, epochs=2, sample_weight=None, **kwargs):
    return model.fit(
        *images(),
        batch_size=24,
        epochs=epochs,
        sample_weight=sample_weight,
        shuffle=False,
        verbose=0,
        **kwargs,
    ).history


def assert_close(one, other, rtol=1e-4, atol=1e-6):
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


# A float64 perceptron and its loss in NumPy, with the gradients worked out by hand.


def softplus(x):
    return np.logaddexp(0.0, x)


def forward(weights, x):
    (w1, b1), (w2, b2), (w3, b3) = weights
    a1 = x @ w1 + b1
    a2 = softplus(a1) @ w2 + b2
    return a1, a2, softplus(a2) @ w3 + b3


def gradients(weights, x, cotangent):
    """Gradients of `sum(cotangent * scores)` for the input and both hidden layers."""
    (w1, _), (w2, _), (w3, _) = weights
    a1, a2, _ = forward(weights, x)
    g2 = cotangent @ w3.T
    g1 = (g2 / (1 + np.exp(-a2))) @ w2.T
    return [(g1 / (1 + np.exp(-a1))) @ w1.T, g1, g2]


def reference(weights, x, labels, sample_weight=1.0, cross=1.0, norms=None, top_k=1):
    """The mean loss of a batch, and the norms that it divides by."""
    scores = forward(weights, x)[-1]
    rows = np.arange(len(x))
    others = scores.copy()
    others[rows, labels] = -np.inf
    rivals = np.argsort(-others, axis=1)[:, :top_k].T
    distances, sizes = [], []
    for index, rival in enumerate(rivals):
        cotangent = np.eye(CLASSES)[labels] - np.eye(CLASSES)[rival]
        each = gradients(weights, x, cotangent)
        own = np.stack([np.sqrt((g**2).sum(axis=1) + 1e-6) for g in each], axis=1)
        sizes.append(own)
        difference = scores[rows, labels] - scores[rows, rival]
        used = own if norms is None else norms[index]
        distances.append(difference[:, None] / used)
    penalty = np.clip(1.0 - np.stack(distances), 0.0, 4.0).max(axis=0).mean(axis=1)
    nll = np.log(np.exp(scores).sum(axis=1)) - scores[rows, labels]
    return np.mean(sample_weight * (penalty + cross * nll)), sizes


def finite_differences(function, flat, step=1e-6):
    shifts = step * np.eye(len(flat))
    return np.array(
        [(function(flat + s) - function(flat - s)) / (2 * step) for s in shifts]
    )


@pytest.fixture
def float64():
    for dtype in ("float64", "float32"):
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)
        if dtype == "float64":
            yield


def pairs(flat):
    sizes = (DIM, *WIDTHS, CLASSES)
    weights = []
    for rows, columns in itertools.pairwise(sizes):
        w, flat = np.split(flat, [rows * columns])
        b, flat = np.split(flat, [columns])
        weights.append((w.reshape(rows, columns), b))
    return weights


def data():
    generator = np.random.default_rng(1)
    x = generator.normal(size=(SAMPLES, DIM))
    return x, np.arange(SAMPLES) % CLASSES, generator.uniform(0.0, 2.0, SAMPLES)


def ravel(arrays):
    return np.concatenate([np.ravel(array) for array in arrays])


@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("second_order", [False, True])
@pytest.mark.parametrize("loss", ["default", None])
def test_a_step_goes_down_the_gradient_of_the_whole_loss(
    float64, second_order, loss, top_k
):
    x, labels, sample_weight = data()
    margin_loss = LargeMargin(top_k=top_k, second_order=second_order, dtype="float64")
    model = compiled(LargeMarginModel(perceptron(), margin_loss=margin_loss), loss)
    cross = 0.0 if loss is None else 1.0
    before = ravel(model.get_weights())
    value, norms = reference(
        pairs(before), x, labels, sample_weight, cross, top_k=top_k
    )
    kept = None if second_order else norms

    def total(flat):
        return reference(
            pairs(flat), x, labels, sample_weight, cross, kept, top_k=top_k
        )[0]

    logs = model.train_on_batch(x, labels, sample_weight, return_dict=True)
    np.testing.assert_allclose(float(logs["loss"]), value, rtol=1e-12)
    step = (before - ravel(model.get_weights())) / RATE
    np.testing.assert_allclose(
        step, finite_differences(total, before), rtol=1e-6, atol=1e-8
    )


def test_one_pass_gives_the_gradients_of_all_layers(float64):
    x, labels, _ = data()
    model = perceptron()
    cotangent = np.eye(CLASSES)[labels] - 0.3
    scores, activations, pullback = _backend.probe(model, x, LAYERS)
    weights = pairs(ravel(model.get_weights()))
    a1, a2, expected = forward(weights, x)
    np.testing.assert_allclose(scores, expected)
    assert_close(activations, [x, softplus(a1), softplus(a2)])
    expected = gradients(weights, x, cotangent)
    assert_close(pullback(cotangent), expected, rtol=1e-10)
    # In the order that is asked for, as often as is asked for.
    _, _, pullback = _backend.probe(model, x, ["hidden2", "input"])
    for _ in range(2):
        assert_close(pullback(cotangent), [expected[2], expected[0]], rtol=1e-10)


def test_without_weight_it_trains_as_the_classifier():
    plain, ours = (
        compiled(network()),
        compiled(LargeMarginModel(network(), margin_weight=0.0)),
    )
    history, expected = fit(ours), fit(plain)
    assert list(history) == list(expected)
    for name in expected:
        assert_close(history[name], expected[name])
    assert_close(ours.get_weights(), plain.get_weights())


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"second_order": True}, {"top_k": 2, "aggregation": "nearest"}],
    ids=str,
)
def test_trains_alike_eager_compiled_and_with_xla(kwargs):
    trained = []
    for how in ({"run_eagerly": True}, {"jit_compile": False}, {"jit_compile": True}):
        model = LargeMarginModel(network(), margin_loss=LargeMargin(**kwargs))
        before = model.get_weights()
        history = fit(compiled(model, **how))
        trained.append([history["loss"], *model.get_weights()])
        # Batch normalisation moves its statistics once a step, with the weights.
        assert all(
            np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True)
        )
    assert_close(trained[1], trained[0])
    assert_close(trained[2], trained[0], rtol=1e-3, atol=1e-5)


def test_running_statistics_move_as_in_the_classifier():
    plain, ours = compiled(network()), compiled(LargeMarginModel(network()))
    fit(plain, epochs=1)
    fit(ours, epochs=1)
    assert_close(
        [weight.numpy() for weight in ours.non_trainable_weights],
        [weight.numpy() for weight in plain.non_trainable_weights],
    )


def test_dropout_drops_in_training_only_and_afresh():
    dropout = keras.layers.Dropout(0.5, seed=0)
    classifier = keras.Sequential(
        [keras.Input((50,)), dropout, keras.layers.Dense(CLASSES)]
    )
    x = np.ones((4, 50), "float32")
    (once, (seen,), _), (again, *_), (quiet, *_), (same, *_) = (
        _backend.probe(classifier, x, [dropout.name], training)
        for training in (True, True, False, False)
    )
    assert set(np.unique(seen)) == {0.0, 2.0}
    assert np.any(once != again)
    np.testing.assert_array_equal(quiet, same)


def test_weights_of_samples_and_classes():
    weights = np.linspace(0.0, 2.0, 24)
    by_class = {0: 0.0, 1: 2.0, 2: 0.5}
    ours = compiled(LargeMarginModel(network()), None)
    fit(ours, class_weight=by_class)
    same = compiled(LargeMarginModel(network()), None)
    fit(same, sample_weight=np.array([by_class[label] for label in images()[1]]))
    assert_close(ours.get_weights(), same.get_weights())
    other = compiled(LargeMarginModel(network()), None)
    fit(other, sample_weight=weights)
    assert np.abs(other.get_weights()[0] - ours.get_weights()[0]).max() > 1e-4


def test_one_hot_labels_and_ignored_classes():
    x, labels = images()
    by_label = compiled(LargeMarginModel(network()), None)
    by_row = compiled(LargeMarginModel(network()), None)
    for model, y in ((by_label, labels), (by_row, np.eye(CLASSES)[labels])):
        model.train_on_batch(x, y)
    assert_close(by_row.get_weights(), by_label.get_weights())
    ignoring = LargeMargin(ignore_class=-1)
    model = compiled(LargeMarginModel(network(), margin_loss=ignoring), None)
    before = model.get_weights()[-2:]
    logs = model.train_on_batch(x, np.full(24, -1), return_dict=True)
    assert_close(model.get_weights()[-2:], before, rtol=0, atol=0)
    assert np.isfinite(logs["loss"])


def test_called_it_is_the_classifier():
    classifier = network()
    model = compiled(LargeMarginModel(classifier, name="wide"))
    fit(model)
    x, labels = images()
    np.testing.assert_array_equal(
        model.predict(x, verbose=0), classifier.predict(x, verbose=0)
    )
    compiled(classifier)
    assert model.evaluate(x, labels, verbose=0) == classifier.evaluate(
        x, labels, verbose=0
    )
    assert model.name == "wide"
    assert model.compute_output_shape((None, 6, 6, 1)) == (None, CLASSES)
    assert len(model.weights) == len(classifier.weights)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    # Keras adds a regularizer's float16 to a float32 loss, and fails.
    exact = fit(compiled(LargeMarginModel(network(None))))
    keras.config.set_dtype_policy(policy)
    try:
        model = compiled(LargeMarginModel(network(None)))
        history = fit(model)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.dtype_policy.name == policy
    np.testing.assert_allclose(history["loss"], exact["loss"], rtol=0.05)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_labels_survive_mixed_precision():
    # In bfloat16 the label 257 would become 256.
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        losses = []
        for label in (256, 257):
            classifier = mlp((DIM,), 300, units=[4], normalization=None)
            kernel, bias = classifier.get_layer("logits").get_weights()
            bias[257] = 50.0
            classifier.get_layer("logits").set_weights([kernel, bias])
            model = compiled(LargeMarginModel(classifier), None)
            x, y = np.ones((1, DIM), "float32"), np.array([label], "float32")
            losses.append(model.train_on_batch(x, y))
    finally:
        keras.config.set_dtype_policy("float32")
    assert losses[1] == 0.0 < losses[0]


def cnn():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 1))
    for filters in (16, 32):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def test_a_cap_keeps_the_loss_from_spiking():
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    x = (digits.images[..., None] / 16).astype("float32")

    def history(alpha, loss=None, epochs=2, **kwargs):
        margin_loss = LargeMargin(alpha=alpha)
        model = LargeMarginModel(cnn(), margin_loss=margin_loss)
        optimizer = keras.optimizers.SGD(0.05, momentum=0.9, **kwargs)
        model.compile(optimizer, loss, metrics=loss and ["accuracy"], jit_compile=False)
        fitted = model.fit(x, digits.target, 128, epochs, verbose=0, shuffle=False)
        return fitted.history

    assert max(history(None)["loss"]) > 1e3
    assert max(history(4.0)["loss"]) <= 4.0
    clipped = history(4.0, cross_entropy(), epochs=6, global_clipnorm=1.0)
    assert max(clipped["loss"]) < 4.0
    assert clipped["accuracy"][-1] > 0.9


def test_layers_that_are_chosen():
    assert choose_layers(perceptron()) == LAYERS
    assert choose_layers(perceptron(), "hidden2") == ["hidden2"]
    assert choose_layers(perceptron(), LAYERS[::-1]) == LAYERS[::-1]
    words = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(9, 4),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(4, activation="tanh", name="hidden"),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    assert choose_layers(words) == ["hidden"]
    with pytest.raises(ValueError, match="`layers` must hold some of"):
        choose_layers(words, ["input"])


class Subclass(keras.Model):
    def call(self, x):
        return x


def two_inputs():
    inputs = [keras.Input((2,)), keras.Input((2,))]
    return keras.Model(inputs, keras.layers.Dense(2)(inputs[0] + inputs[1]))


@pytest.mark.parametrize(
    ("model", "layers", "message"),
    [
        (perceptron, ["hidden3"], "`layers` must hold some of .*hidden1.*'hidden3'"),
        (perceptron, [], "`layers` must hold some of"),
        (Subclass, None, "`model` must be a functional or built sequential"),
        (keras.Sequential, None, "`model` must be a functional or built sequential"),
        (two_inputs, None, "of one input and one output"),
        (
            lambda: keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]),
            None,
            "`model` must give logits",
        ),
    ],
)
def test_bad_arguments(model, layers, message):
    with pytest.raises(ValueError, match=message):
        LargeMarginModel(model(), layers)


@pytest.mark.parametrize(
    "kwargs", [{"margin_weight": -1.0}, {"margin_loss": "hinge"}], ids=str
)
def test_bad_settings(kwargs):
    name = next(iter(kwargs))
    with pytest.raises(ValueError, match=rf"`{name}` must be .*Received: {name}="):
        LargeMarginModel(perceptron(), **kwargs)


def test_a_layer_that_is_called_twice_is_refused():
    shared = keras.layers.Dense(DIM, activation="relu", name="shared")
    inputs = keras.Input((DIM,))
    outputs = keras.layers.Dense(2)(shared(shared(inputs)))
    with pytest.raises(ValueError, match="'shared' must be called once"):
        _backend.probe(keras.Model(inputs, outputs), np.ones((1, DIM)), ["shared"])


FRESH = """
import pathlib, sys
import keras, numpy, tensorflow as tf
import zoo.models

cpu = tf.config.list_physical_devices("CPU")[0]
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, halves)
folder = pathlib.Path(sys.argv[1])
data = numpy.load(folder / "data.npz")
model = keras.models.load_model(folder / "trained.keras")
scores = model.predict(data["x"], verbose=0)
model.fit(data["x"], data["y"], 24, 2, shuffle=False, verbose=0)
alone = model.get_weights()
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = keras.models.load_model(folder / "plain.keras")
model.fit(data["x"], data["y"], 24, 2, shuffle=False, verbose=0)
replicas = model.get_weights()
numpy.savez(folder / "tensorflow.npz", scores, *alone, *replicas)
"""
JAX = """
import pathlib, sys
import keras, numpy
import zoo.models

assert keras.backend.backend() == "jax"
folder = pathlib.Path(sys.argv[1])
data = numpy.load(folder / "data.npz")
weights = []
for name in ("second", "nearest"):
    model = keras.models.load_model(folder / f"{name}.keras")
    sgd = keras.optimizers.SGD(0.1)
    model.compile(sgd, model.loss, run_eagerly=name == "second")
    model.fit(data["x"], data["y"], 24, 2, shuffle=False, verbose=0)
    weights += model.get_weights()
numpy.savez(folder / "jax.npz", *weights)
"""


def saved(model, path):
    model.save(path)
    return model


def run(script, folder, **environment):
    subprocess.run(
        [sys.executable, "-c", script, folder],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=True,
        capture_output=True,
    )


def unload(path):
    with np.load(path) as file:
        return [file[name] for name in file.files]


def test_reloads_in_a_fresh_process_and_trains_there_on_replicas(tmp_path):
    x, y = images()
    np.savez(tmp_path / "data.npz", x=x, y=y)
    only = LargeMarginModel(network(), ["input"], margin_weight=0.5, name="only")
    model = compiled(only, None)
    fit(model)
    saved(model, tmp_path / "trained.keras")
    # Normalisation differs between halves of a batch.
    keras.utils.set_random_seed(0)
    plain = mlp((6, 6, 1), CLASSES, units=(8, 5), normalization=None)
    plain = saved(compiled(LargeMarginModel(plain)), tmp_path / "plain.keras")
    run(FRESH, tmp_path)
    scores, *weights = unload(tmp_path / "tensorflow.npz")
    np.testing.assert_array_equal(scores, model.predict(x, verbose=0))
    fit(model)
    fit(plain)
    assert_close(weights, [*model.get_weights(), *plain.get_weights()])


def test_jax_trains_to_the_same_weights(tmp_path):
    x, y = images()
    np.savez(tmp_path / "data.npz", x=x, y=y)
    expected = []
    for name, normalization, kwargs in [
        # On TensorFlow, Keras's own normalisation lacks a term of the second order.
        ("second", "ghost", {"second_order": True}),
        ("nearest", "batch", {"top_k": 2, "aggregation": "nearest", "norm": "linf"}),
    ]:
        classifier = network(normalization=normalization)
        model = LargeMarginModel(classifier, margin_loss=LargeMargin(**kwargs))
        saved(compiled(model), tmp_path / f"{name}.keras")
        fit(model)
        expected += model.get_weights()
    run(JAX, tmp_path, KERAS_BACKEND="jax")
    assert_close(unload(tmp_path / "jax.npz"), expected)


def test_another_backend_is_told_so(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    with pytest.raises(NotImplementedError, match="backend='numpy'"):
        _backend.probe(perceptron(), np.ones((1, DIM)), ["input"])
