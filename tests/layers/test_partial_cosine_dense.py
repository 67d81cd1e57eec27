"""PartialCosineDense: its samples, its loss in them, and training with it."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.layers import CosineDense, PartialCosineDense
from zoo.losses import ArcFace

ROOT = pathlib.Path(zoo.__file__).parents[1]
UNITS, FEATURES = 40, 6


def head(sample_rate=0.25, loss=None, units=UNITS, **kwargs):
    keras.utils.set_random_seed(0)
    layer = PartialCosineDense(units, loss or ArcFace(scale=8.0), sample_rate, **kwargs)
    layer.build((None, FEATURES))
    return layer


def data(samples=8, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(samples, FEATURES)).astype("float32")
    return x, generator.integers(0, UNITS, samples).astype("int32")


def training_model(layer):
    x, y = keras.Input((FEATURES,)), keras.Input((), dtype="int32")
    return keras.Model([x, y], layer(x, y))


def step(layer, x, y, compiled=None):
    """Loss, its gradient and the cosines of one call in training."""

    def run(x, y):
        with tf.GradientTape() as tape:
            tape.watch(x)
            cosines = layer(x, y, training=True)
            (loss,) = layer.losses
        slopes = tape.gradient(loss, [x, layer.kernel.value])
        return loss, [tf.convert_to_tensor(slope) for slope in slopes], cosines

    return (compiled(run) if compiled else run)(tf.constant(x), tf.constant(y))


# Samples.


@pytest.mark.parametrize("jit", [False, True])
def test_a_sample_holds_the_batch_and_others_once(jit):
    layer = head(seed=1)
    draw = tf.function(layer.draw, jit_compile=jit)
    labels = np.array([3, 3, 39, 0, 17, 3], "int32")
    samples = [np.asarray(draw(tf.constant(labels))) for _ in range(20)]
    for classes in samples:
        assert classes.shape == (10,)
        assert (np.diff(classes) > 0).all()
        assert classes[0] >= 0
        assert classes[-1] < UNITS
        assert set(labels) <= set(classes)
    assert len({tuple(classes) for classes in samples}) > 15


def test_others_are_drawn_evenly():
    layer = head(seed=1)
    draw = tf.function(layer.draw)
    labels = tf.constant([5, 6])
    counts = np.zeros(UNITS)
    for _ in range(2000):
        counts[np.asarray(draw(labels))] += 1
    assert (counts[[5, 6]] == 2000).all()
    others = np.delete(counts, [5, 6])
    # 8 of 38: 421 on average, with a standard deviation of 18.
    assert abs(others - 421).max() < 5 * 18


def test_seeded_samples_repeat():
    one, other = (head(seed=3).draw(tf.constant([1, 2])) for _ in range(2))
    np.testing.assert_array_equal(one, other)


# The loss in a sample.


@pytest.mark.parametrize("mode", ["eager", "graph", "XLA"])
def test_the_whole_sample_is_the_full_head(mode):
    compiled = {
        "eager": None,
        "graph": lambda run: tf.function(
            run,
            input_signature=[tf.TensorSpec([None, 6]), tf.TensorSpec([None], "int32")],
        ),
        "XLA": lambda run: tf.function(run, jit_compile=True),
    }[mode]
    x, y = data()
    margins = list(np.linspace(0.1, 0.6, UNITS))
    loss = ArcFace(scale=8.0, class_margin=margins)
    layer, full = head(1.0, loss), CosineDense(UNITS)
    full.build((None, FEATURES))
    full.kernel.assign(keras.ops.transpose(layer.kernel))
    ours, slopes, cosines = step(layer, x, y, compiled)
    tensor = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        theirs = loss(y, full(tensor))
    of_x, of_kernel = tape.gradient(theirs, [tensor, full.kernel.value])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    np.testing.assert_allclose(slopes[0], of_x, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(slopes[1], tf.transpose(of_kernel), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(cosines, full(x), atol=1e-6)


def test_loss_of_a_sample_by_hand():
    x, y = data()
    layer, twin = head(seed=5), head(seed=5)
    classes = np.asarray(twin.draw(tf.constant(y)))
    loss, slopes, cosines = step(layer, x, y)
    everything = np.asarray(layer(x))
    np.testing.assert_allclose(cosines, everything[:, classes], atol=1e-6)
    places = [list(classes).index(label) for label in y]
    expected = ArcFace(scale=8.0)(places, everything[:, classes])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    touched = np.asarray(slopes[1]).any(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(touched), classes)


def test_labels_of_any_shape():
    x, y = data()
    flat, _, flat_cosines = step(head(seed=5), x, y)
    for inputs, labels in (
        (x, y[:, None]),
        (x.reshape(2, 4, FEATURES), y.reshape(2, 4)),
    ):
        loss, _, cosines = step(head(seed=5), inputs, labels)
        np.testing.assert_allclose(loss, flat, rtol=1e-5)
        np.testing.assert_allclose(
            np.reshape(cosines, (8, 10)), flat_cosines, rtol=1e-5, atol=1e-6
        )


def test_labels_survive_a_mixed_policy():
    """bfloat16 knows 256 and 258, but not 257."""
    layer = head(0.1, units=300, seed=5, dtype="mixed_bfloat16")
    x, y = tf.zeros((2, FEATURES)), tf.constant([257.0, 299.0])
    layer(x, y, training=True)
    classes = np.asarray(head(0.1, units=300, seed=5).draw(tf.constant([257, 299])))
    assert {257, 299} <= set(classes)
    places = np.asarray(layer._places(tf.constant([257, 299]), tf.constant(classes)))
    np.testing.assert_array_equal(classes[places], [257, 299])
    assert np.isfinite(layer.losses[0])


def test_ignored_labels_do_not_count():
    x, y = data()
    some = np.where(np.arange(8) < 5, y, -1)
    loss = ArcFace(scale=8.0, ignore_class=-1)
    ours, slopes, _ = step(head(1.0, loss), x, some)
    expected, *_ = step(head(1.0, loss), x[:5], y[:5])
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    np.testing.assert_array_equal(slopes[0][5:], np.zeros((3, FEATURES)))


@pytest.mark.parametrize("label", [-1, UNITS, 2**30])
def test_labels_of_no_class(label):
    x, y = data()
    y[2] = label
    with pytest.raises(ValueError, match=f"Received: {label}"):
        head()(x, y, training=True)
    loss, *_ = step(head(), x, y, tf.function)
    assert np.isnan(loss)


def test_a_batch_larger_than_the_sample():
    layer = head(0.1)
    x, y = data(6)
    y[:] = [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="at least 6 classes, one a label"):
        layer(x, y, training=True)

    signature = [tf.TensorSpec([None, FEATURES]), tf.TensorSpec([None], tf.int32)]

    def unknown_size(run):
        return tf.function(run, input_signature=signature)

    loss, *_ = step(head(0.1), x, y, unknown_size)
    assert np.isnan(loss)
    # As many labels, in fewer classes, have their place.
    loss, *_ = step(head(0.1), x, y // 2, unknown_size)
    assert np.isfinite(loss)


def test_zero_embeddings_get_no_gradient():
    _, y = data()
    loss, slopes, _ = step(head(), np.zeros((8, FEATURES), "float32"), y)
    assert np.isfinite(loss)
    for slope in slopes:
        np.testing.assert_array_equal(slope, np.zeros(slope.shape))


# Inference.


@pytest.mark.parametrize("labels", [None, "given"])
def test_inference_gives_all_classes_and_their_loss_for_labels(labels):
    x, y = data()
    layer = head()
    outputs = layer(x, y if labels else None, training=False)
    full = CosineDense(UNITS)
    full.build((None, FEATURES))
    full.kernel.assign(keras.ops.transpose(layer.kernel))
    np.testing.assert_allclose(outputs, full(x), atol=1e-6)
    expected = [ArcFace(scale=8.0)(y, full(x))] if labels else []
    np.testing.assert_allclose(layer.losses, expected, rtol=1e-5)


def test_evaluation_and_validation_report_the_loss_among_all_classes():
    x, y = data()
    layer = head()
    model = training_model(layer)
    model.compile(keras.optimizers.SGD(0.0))
    history = model.fit([x, y], validation_data=([x, y],), verbose=0).history
    expected = float(ArcFace(scale=8.0)(y, layer(x)))
    assert history["val_loss"] == pytest.approx([expected], rel=1e-5)
    assert model.evaluate([x, y], verbose=0) == pytest.approx(expected, rel=1e-5)
    assert history["loss"][0] < expected


def test_symbolic_shape_is_that_of_the_mode():
    layer, x = head(), keras.KerasTensor((8, FEATURES))
    y = keras.KerasTensor((8,), "int32")
    shapes = [
        layer.compute_output_spec(x, labels, training).shape
        for labels, training in ((None, True), (y, False), (y, True))
    ]
    assert shapes == [(8, UNITS), (8, UNITS), (8, 10)]


# Training.


def test_a_step_changes_the_rows_of_the_sample_only():
    x, y = data()
    layer, twin = head(seed=5), head(seed=5)
    model = training_model(layer)
    model.compile(keras.optimizers.SGD(0.5))
    before = layer.kernel.numpy()
    classes = np.asarray(twin.draw(tf.constant(y)))
    model.fit([x, y], batch_size=8, shuffle=False, verbose=0)
    changed = (layer.kernel.numpy() != before).any(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(changed), classes)


@pytest.mark.parametrize("optimizer, jit", [("sgd", False), ("adam", True)])
def test_learns_in_fit(optimizer, jit):
    """The last batch of each epoch is smaller than the others."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, UNITS, 410).astype("int32")
    x = generator.normal(size=(UNITS, FEATURES))[y]
    x = (x + 0.1 * generator.normal(size=x.shape)).astype("float32")
    layer = head(0.6)
    model = training_model(layer)
    rate = {"sgd": 1.0, "adam": 0.03}[optimizer]
    optimizer = keras.optimizers.get(
        {"class_name": optimizer, "config": {"learning_rate": rate}}
    )
    model.compile(optimizer, jit_compile=jit)
    model.fit([x, y], batch_size=20, epochs=8, verbose=0)
    predictions = model.predict([x, y], verbose=0)
    assert predictions.shape == (410, UNITS)
    assert (predictions.argmax(axis=1) == y).mean() > 0.9


def test_reloads_with_its_loss(tmp_path):
    x, y = data()
    model = training_model(head(loss=ArcFace(0.3, scale=4.0), seed=2))
    model.compile("sgd")
    model.fit([x, y], verbose=0)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(copy([x, y]), model([x, y]))
    assert copy.layers[-1].loss.get_config() == model.layers[-1].loss.get_config()
    assert np.isfinite(copy.fit([x, y], verbose=0).history["loss"]).all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"units": 0}, "`units` must be an int from 1 up"),
        ({"loss": "mse"}, "`loss` must be a keras.losses.Loss"),
        ({"loss": ArcFace(ignore_class=0)}, "must be out of \\[0, 40\\)"),
        ({"sample_rate": 0.0}, "`sample_rate` must be a number above 0"),
        ({"sample_rate": 1.5}, "`sample_rate` must be a number above 0"),
        ({"sample_rate": "0.1"}, "`sample_rate` must be a number above 0"),
        ({"sample_rate": np.float32(2)}, "`sample_rate` must be a number above 0"),
    ],
)
def test_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        PartialCosineDense(**{"units": 40, "loss": ArcFace(), **change})


def test_numbers_of_numpy_are_numbers():
    assert head(np.float32(0.5)).sample == head(0.5).sample


MIRRORED = """
import keras, numpy as np, tensorflow as tf
from zoo.layers import PartialCosineDense
from zoo.losses import ArcFace

cpu = tf.config.list_physical_devices("CPU")[0]
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, halves)
generator = np.random.default_rng(0)
x = generator.normal(size=(17, 6)).astype("float32")
y = generator.integers(0, 40, 17).astype("int32")

def trained():
    keras.utils.set_random_seed(0)
    layer = PartialCosineDense(40, ArcFace(scale=8.0), sample_rate=1.0)
    inputs = keras.Input((6,)), keras.Input((), dtype="int32")
    model = keras.Model(inputs, layer(*inputs))
    model.compile(keras.optimizers.SGD(0.5))
    history = model.fit([x[:16], y[:16]], batch_size=8, shuffle=False, verbose=0)
    # The last batch leaves one replica without rows.
    losses = history.history["loss"][0], model.evaluate([x, y], batch_size=8, verbose=0)
    return losses, layer.kernel.numpy()

with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    two = trained()
for ours, theirs in zip(two, trained()):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
"""


def test_replicas_step_as_one_device():
    run(MIRRORED)


JAX = """
import sys
import keras, numpy as np
from zoo.layers import PartialCosineDense
from zoo.losses import ArcFace
assert keras.backend.backend() == "jax"
given = np.load(sys.argv[1])
x, y = given["x"], given["y"]

def model(rate):
    layer = PartialCosineDense(40, ArcFace(scale=8.0), rate, seed=0)
    inputs = [keras.Input((6,)), keras.Input((), dtype="int32")]
    model = keras.Model(inputs, layer(*inputs))
    layer.kernel.assign(given["kernel"])
    model.compile(keras.optimizers.SGD(0.5))
    return model, layer

whole, layer = model(1.0)
history = whole.fit([x, y], batch_size=8, shuffle=False, verbose=0).history
np.testing.assert_allclose(history["loss"], given["loss"], rtol=1e-5)
np.testing.assert_allclose(layer.kernel, given["trained"], rtol=1e-4, atol=1e-5)

part, layer = model(0.25)
part.fit([x, y], batch_size=5, epochs=1, verbose=0)
changed = (np.asarray(layer.kernel) != given["kernel"]).any(axis=1)
assert set(y) <= set(np.flatnonzero(changed))
assert 10 < changed.sum() <= 20
assert part.predict([x, y], verbose=0).shape == (8, 40)
expected = float(ArcFace(scale=8.0)(y, layer(x)))
assert abs(part.evaluate([x, y], verbose=0) - expected) < 1e-5
"""


@pytest.mark.skipif(
    not importlib.util.find_spec("jax"), reason="needs jax: pip install jax"
)
def test_jax(tmp_path):
    x, y = data()
    layer = head(1.0)
    kernel = layer.kernel.numpy()
    model = training_model(layer)
    model.compile(keras.optimizers.SGD(0.5))
    history = model.fit([x, y], batch_size=8, shuffle=False, verbose=0).history
    np.savez(
        tmp_path / "given.npz",
        x=x,
        y=y,
        kernel=kernel,
        loss=history["loss"],
        trained=layer.kernel.numpy(),
    )
    run(JAX, tmp_path / "given.npz", KERAS_BACKEND="jax")


def run(script, *arguments, **variables):
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
