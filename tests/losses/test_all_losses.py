"""What every loss must do: one row a loss (or a way to set it up), one test a duty.

A new loss adds a row to `ROWS`; a test fails until it does.
"""

import dataclasses
import os
import pathlib
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import zoo
import zoo.losses
from zoo import _backend
from zoo._backend.gradients import input_gradient

ROOT = pathlib.Path(zoo.__file__).parents[1]
SAMPLES, CLASSES = 6, 4


@dataclasses.dataclass
class Row:
    """A loss and the shape of what it takes for one sample.

    `kind` is what a label is: one of the classes, one bit, or the class of a whole
    batch of embeddings.
    """

    loss: type
    kwargs: dict = dataclasses.field(default_factory=dict)
    shape: tuple = (CLASSES,)
    kind: str = "class"
    bounded: bool = False

    def __str__(self):
        arguments = ",".join(f"{name}={value}" for name, value in self.kwargs.items())
        return f"{self.loss.__name__}({arguments})"

    def build(self, **kwargs):
        return self.loss(**self.kwargs, **kwargs)

    def scores(self, samples=SAMPLES):
        scores = np.random.default_rng(0).normal(0.0, 1.0, (samples, *self.shape))
        if self.bounded:
            scores = np.tanh(scores)
        if len(self.shape) == 2:
            scores[:, 1] = np.abs(scores[:, 1]) + 0.5
        return scores.astype("float32")

    def labels(self, samples=SAMPLES):
        classes = {"class": CLASSES, "bit": 2, "pairs": 3}[self.kind]
        return np.arange(samples, dtype="int32") % classes

    def model(self, **kwargs):
        """A compiled model from vectors of five numbers to what the loss takes."""
        keras.utils.set_random_seed(0)
        x = inputs = keras.Input((5,))
        x = keras.layers.Dense(int(np.prod(self.shape)), "tanh")(x)
        outputs = keras.layers.Reshape(self.shape, dtype="float32")(x)
        model = keras.Model(inputs, outputs)
        model.compile(keras.optimizers.SGD(0.05), self.build(), **kwargs)
        return model

    def data(self):
        x = np.random.default_rng(1).normal(size=(12, 5)).astype("float32")
        return x, self.labels(12)


ROWS = [
    Row(zoo.losses.AngularMargin, {"scale": 8.0}, bounded=True),
    Row(zoo.losses.ArcFace, {"scale": 8.0}, bounded=True),
    Row(zoo.losses.BiTemperedLogistic),
    Row(zoo.losses.BiTemperedLogistic, {"t1": 0.5, "t2": 1.3}),
    Row(zoo.losses.BiTemperedLogistic, {"label_smoothing": 0.1}),
    Row(zoo.losses.ComplementaryCrossEntropy),
    Row(zoo.losses.Contrastive, shape=(3,), kind="pairs"),
    Row(zoo.losses.CosFace, {"scale": 8.0}, bounded=True),
    Row(zoo.losses.LargeMargin),
    Row(zoo.losses.LargeMargin, {"top_k": 2, "aggregation": "sum", "on": "probs"}),
    Row(zoo.losses.LSoftmax, {"margin": 2.0}, shape=(2, CLASSES), bounded=True),
    Row(zoo.losses.MulticlassHinge),
    Row(zoo.losses.MulticlassHinge, {"kind": "weston_watkins"}),
    Row(zoo.losses.ProperMargin, shape=(), kind="bit"),
    Row(zoo.losses.SphereFace, {"scale": 8.0}, bounded=True),
    Row(zoo.losses.TemperatureSoftmax),
    Row(zoo.losses.Triplet, shape=(3,), kind="pairs"),
    Row(zoo.losses.Triplet, {"mining": "hard", "margin": None}, (3,), "pairs"),
    Row(zoo.losses.WeightedMargin),
]
every_row = pytest.mark.parametrize("row", ROWS, ids=str)
class_rows = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.kind == "class"], ids=str
)
# A sample's loss depends on that sample alone.
separate_rows = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.kind != "pairs"], ids=str
)


def values(loss, labels, scores):
    return np.asarray(ops.cast(loss(labels, scores), "float32"))


def train(row, sample_weight=None, class_weight=None, **kwargs):
    model = row.model(**kwargs)
    model.fit(
        *row.data(),
        batch_size=12,
        sample_weight=sample_weight,
        class_weight=class_weight,
        shuffle=False,
        verbose=0,
    )
    return model.get_weights()


def assert_close(one, other, rtol=1e-5, atol=1e-6):
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


def public_losses():
    things = [getattr(zoo.losses, name) for name in zoo.losses.__all__]
    return {
        thing
        for thing in things
        if isinstance(thing, type) and issubclass(thing, keras.losses.Loss)
    }


def test_every_public_loss_has_a_row():
    assert public_losses() == {row.loss for row in ROWS}


@every_row
def test_config_makes_an_equal_loss(row):
    loss = row.build(reduction="sum")
    config = loss.get_config()
    revived = type(loss).from_config(config)
    assert revived.get_config() == config
    assert config["reduction"] == "sum"
    scores, labels = row.scores(), row.labels()
    np.testing.assert_array_equal(
        values(revived, labels, scores), values(loss, labels, scores)
    )


@every_row
def test_registered_under_zoo(row):
    name = keras.saving.get_registered_name(row.loss)
    assert name == f"zoo>{row.loss.__name__}"
    revived = keras.losses.deserialize(keras.losses.serialize(row.build()))
    assert type(revived) is row.loss


@every_row
def test_one_finite_value_a_sample_and_their_mean(row):
    scores, labels = row.scores(), row.labels()
    each = values(row.build(reduction=None), labels, scores)
    assert each.shape == (SAMPLES,)
    assert np.isfinite(each).all()
    assert np.ptp(each) > 0
    np.testing.assert_allclose(
        values(row.build(), labels, scores), each.mean(), rtol=1e-5
    )


@every_row
def test_a_batch_of_no_samples_has_no_losses(row):
    scores, labels = ops.convert_to_tensor(row.scores(0)), row.labels(0)
    loss = row.build(reduction=None)
    assert values(loss, labels, scores).shape == (0,)
    gradient = input_gradient(lambda scores: loss(labels, scores), scores)
    assert tuple(gradient.shape) == tuple(scores.shape)


@every_row
def test_sample_weights_scale_their_samples(row):
    scores, labels = row.scores(), row.labels()
    weights = np.arange(SAMPLES, dtype="float32")
    each = values(row.build(reduction=None), labels, scores)
    weighted = row.build()(labels, scores, sample_weight=weights)
    np.testing.assert_allclose(weighted, np.mean(weights * each), rtol=1e-5)


@class_rows
def test_class_weights_are_sample_weights(row):
    _, labels = row.data()
    weights = {0: 0.0, 1: 2.0, 2: 1.0, 3: 0.5}
    by_sample = np.array([weights[label] for label in labels.tolist()])
    assert_close(train(row, class_weight=weights), train(row, sample_weight=by_sample))


@separate_rows
def test_a_mask_hides_its_samples(row):
    scores, labels = row.scores(), row.labels()
    mask = np.array([True, False, True, True, False, True])
    masked = ops.convert_to_tensor(scores)
    _backend.set_mask(masked, ops.convert_to_tensor(mask))
    np.testing.assert_allclose(
        row.build()(labels, masked),
        row.build()(labels[mask], scores[mask]),
        rtol=1e-5,
    )


@class_rows
def test_labels_come_as_integers_columns_or_rows(row):
    scores, labels = row.scores(), row.labels()
    loss = row.build(reduction=None)
    expected = values(loss, labels, scores)
    for form in (labels[:, None], labels.astype("int64"), np.eye(CLASSES)[labels]):
        np.testing.assert_allclose(values(loss, form, scores), expected, rtol=1e-6)


@class_rows
def test_an_ignored_class_does_not_count(row, compiled):
    scores, labels = row.scores(), row.labels()
    kept = labels != 1
    for ignored in (1, -1, 255):
        given = np.where(kept, labels, ignored)
        loss = row.build(ignore_class=ignored)
        expected = row.build()(labels[kept], scores[kept])
        np.testing.assert_allclose(loss(given, scores), expected, rtol=1e-5)
        inputs = map(ops.convert_to_tensor, (given, scores))
        np.testing.assert_allclose(compiled(loss)(*inputs), expected, rtol=1e-5)


@class_rows
@pytest.mark.parametrize("label", [-1, CLASSES, -0.5, 1.75])
def test_what_is_no_label_is_never_silent(row, label, compiled):
    scores, labels = row.scores(), row.labels().astype("float32")
    labels[2] = label
    loss = row.build(reduction=None)
    with pytest.raises(ValueError, match=rf"labels from 0 to 3. Received: {label}"):
        loss(labels, scores)
    if keras.backend.backend() == "torch":
        # No values are unknown to a loss there: nothing is traced.
        return
    each = compiled(loss)(*map(ops.convert_to_tensor, (labels, scores)))
    np.testing.assert_array_equal(np.isnan(each), np.arange(SAMPLES) == 2)


@class_rows
def test_labels_of_another_shape_are_refused(row):
    with pytest.raises(ValueError, match="y_true must be labels"):
        row.build()(np.zeros((SAMPLES, CLASSES + 1)), row.scores())


@every_row
def test_labels_of_another_number_of_samples_are_refused(row):
    loss, scores = row.build(reduction=None), row.scores()
    for shape in ((1,), (1, 1), (SAMPLES - 1,), (SAMPLES + 1, 1)):
        with pytest.raises(
            ValueError, match=r"y_true must be .*y_true.shape=\("
        ) as error:
            loss(np.zeros(shape), scores)
        assert "\n" not in str(error.value)


@class_rows
def test_labels_do_not_broadcast_along_other_axes(row):
    scores = np.stack([row.scores()] * 2)
    with pytest.raises(ValueError, match="y_true must be labels"):
        row.build()(np.zeros((2, 1)), scores)
    each = values(row.build(reduction=None), np.stack([row.labels()] * 2), scores)
    expected = values(row.build(reduction=None), row.labels(), row.scores())
    np.testing.assert_allclose(each, [expected] * 2, rtol=1e-6)


@class_rows
def test_labels_survive_every_dtype_policy(row):
    # In bfloat16 the label 257 would become 256.
    if row.shape != (CLASSES,):
        pytest.skip("the classes are fixed by the row's shape")
    scores = np.zeros((1, 300), "float32")
    scores[0, 257] = 0.9
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        right = row.build()([257], scores)
        wrong = row.build()([256], scores)
    finally:
        keras.config.set_dtype_policy("float32")
    assert right < wrong


@separate_rows
def test_a_nan_spoils_its_own_sample_only(row):
    scores, labels = row.scores(), row.labels()
    expected = values(row.build(reduction=None), labels, scores)
    scores[2:3].flat[0] = np.nan
    each = values(row.build(reduction=None), labels, scores)
    assert np.isnan(each[2])
    others = np.arange(SAMPLES) != 2
    np.testing.assert_allclose(each[others], expected[others], rtol=1e-6)


@every_row
@pytest.mark.parametrize(("dtype", "error"), [("float16", 2e-3), ("bfloat16", 1e-2)])
def test_low_precision_scores_are_computed_in_float32(row, dtype, error):
    scores, labels = ops.cast(row.scores(), dtype), row.labels()
    loss = row.build(reduction=None)
    low = ops.convert_to_numpy(loss(labels, scores))
    assert low.dtype == "float32"
    exact = values(loss, labels, ops.cast(scores, "float32"))
    np.testing.assert_allclose(low, exact, rtol=error, atol=error)
    gradient = input_gradient(lambda scores: loss(labels, scores), scores)
    assert gradient.dtype == scores.dtype
    assert np.isfinite(ops.cast(gradient, "float32")).all()


@every_row
def test_float64_where_it_is_asked_for(row):
    scores, labels = row.scores().astype("float64"), row.labels()
    exact = row.build(reduction=None, dtype="float64")(labels, scores)
    assert keras.backend.standardize_dtype(exact.dtype) == "float64"
    np.testing.assert_allclose(
        values(row.build(reduction=None), labels, scores), exact, rtol=1e-4, atol=1e-6
    )
    with pytest.raises(ValueError, match="`dtype` must be 'float32' or 'float64'"):
        row.build(dtype="bfloat16")


@pytest.mark.traced
@every_row
def test_trains_with_and_without_xla_alike(row):
    plain = train(row, jit_compile=False)
    assert any(
        np.any(a != b) for a, b in zip(plain, row.model().get_weights(), strict=True)
    )
    assert_close(train(row, jit_compile=True), plain, rtol=1e-4, atol=1e-5)
    assert_close(train(row, run_eagerly=True), plain, rtol=1e-4, atol=1e-5)


@every_row
def test_any_number_of_samples(row, compiled):
    loss = compiled(
        row.build(reduction=None),
        input_signature=[
            tf.TensorSpec([None], "int32"),
            tf.TensorSpec([None, *row.shape], "float32"),
        ],
    )
    for samples in (1, 5):
        scores, labels = row.scores(samples), row.labels(samples)
        each = loss(*map(ops.convert_to_tensor, (labels, scores)))
        assert each.shape == (samples,)
        expected = values(row.build(reduction=None), labels, scores)
        np.testing.assert_allclose(each, expected, rtol=1e-5, atol=1e-6)


FRESH = """
import contextlib, pathlib, pickle, sys
import keras, numpy, tensorflow as tf
import zoo.losses

scope = contextlib.nullcontext
if keras.backend.backend() == "tensorflow":
    cpu = tf.config.list_physical_devices("CPU")[0]
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, halves)
    scope = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope
folder = pathlib.Path(sys.argv[1])
for path in sorted(folder.glob("*.keras")):
    x, labels = pickle.loads(path.with_suffix(".data").read_bytes())
    loss = keras.models.load_model(path).evaluate(x, labels, verbose=0)
    with scope():
        model = keras.models.load_model(path)
        model.fit(x, labels, batch_size=12, shuffle=False, verbose=0)
    numpy.savez(path.with_suffix(".npz"), loss, *model.get_weights())
"""
JAX = """
import pathlib, pickle, sys
import jax, keras, numpy
import zoo.losses

assert keras.backend.backend() == "jax"
folder = pathlib.Path(sys.argv[1])
for path in sorted(folder.glob("*.loss")):
    config, labels, scores = pickle.loads(path.read_bytes())
    loss = keras.losses.deserialize(config)
    step = jax.jit(jax.value_and_grad(lambda scores: loss(labels, scores).sum()))
    total, gradient = step(scores)
    numpy.savez(path.with_suffix(".npz"), loss(labels, scores), total, gradient)
"""


def run(script, folder, **environment):
    subprocess.run(
        [sys.executable, "-c", script, folder],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Every row's saved model in a fresh process: evaluated, then trained by replicas.

    Returns what each evaluates to here, and what did there: the loss, then the weights.
    """
    folder = tmp_path_factory.mktemp("saved")
    here, there = {}, {}
    for index, row in enumerate(ROWS):
        model = row.model()
        here[str(row)] = model.evaluate(*row.data(), verbose=0)
        model.save(folder / f"{index}.keras")
        (folder / f"{index}.data").write_bytes(pickle.dumps(row.data()))
    run(FRESH, folder)
    for index, row in enumerate(ROWS):
        with np.load(folder / f"{index}.npz") as file:
            there[str(row)] = [file[name] for name in file.files]
    return here, there


@every_row
def test_reloads_in_a_fresh_process(row, fresh):
    here, there = fresh
    assert there[str(row)][0] == here[str(row)]


@pytest.mark.tensorflow("replicas of `tf.distribute`")
@separate_rows
def test_two_replicas_train_as_one_device(row, fresh):
    _, there = fresh
    assert_close(there[str(row)][1:], train(row))


@pytest.fixture(scope="module")
def jax(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jax")
    for index, row in enumerate(ROWS):
        config = keras.losses.serialize(row.build(reduction=None))
        content = (config, row.labels(), row.scores())
        (folder / f"{index}.loss").write_bytes(pickle.dumps(content))
    run(JAX, folder, KERAS_BACKEND="jax")
    return folder


@pytest.mark.tensorflow("it is what JAX is compared with")
@every_row
def test_jax_gives_the_same_values_and_gradients(row, jax):
    scores, loss = ops.convert_to_tensor(row.scores()), row.build(reduction=None)
    each = loss(row.labels(), scores)
    gradient = input_gradient(lambda scores: loss(row.labels(), scores), scores)
    with np.load(jax / f"{ROWS.index(row)}.npz") as file:
        theirs = [file[name] for name in file.files]
    ours = [each, ops.sum(each), gradient]
    assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
