"""Deficits beside independent references, in the pipeline, and in a model."""

import importlib.util
import os
import subprocess
import sys

import hypothesis
import keras
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
from hypothesis import strategies as st

from zoo.data import batches
from zoo.data.deficits import (
    Blur,
    Deficit,
    DeficitWindow,
    LabelPermutation,
    VerticalFlip,
    WhiteNoise,
    without_class,
)

N = 10
IMAGES = np.random.default_rng(0).random((N, 8, 9, 3), dtype="float32")
LABELS = np.arange(N, dtype="uint8")
BUILDERS = {
    "blur": lambda: Blur(4),
    "average": lambda: Blur(3, method="average"),
    "flip": VerticalFlip,
    "noise": lambda: WhiteNoise(0.2, 0.1, seed=3),
    "labels": lambda: LabelPermutation(N, seed=1),
}
ON_IMAGES = ["blur", "average", "flip", "noise"]


def alter(deficit, images, seed=(0, 1)):
    altered, labels = deficit.corrupt(images, LABELS, np.array(seed, "int64"))
    assert labels is LABELS
    return altered.numpy()


def bilinear(images, height, width):
    """Resizes by SciPy, at the centres of the new pixels."""
    old = images.shape[1:3]
    rows = (np.arange(height) + 0.5) * old[0] / height - 0.5
    columns = (np.arange(width) + 0.5) * old[1] / width - 0.5
    points = np.meshgrid(rows, columns, indexing="ij")
    resized = np.empty((len(images), height, width, images.shape[3]))
    for index in np.ndindex(len(images), images.shape[3]):
        resized[index[0], ..., index[1]] = scipy.ndimage.map_coordinates(
            images[index[0], ..., index[1]], points, order=1, mode="nearest"
        )
    return resized


SIDES = [(28, 28, 8), (28, 28, 7), (32, 32, 8), (10, 14, 8), (5, 9, 1)]


@pytest.mark.parametrize(("height", "width", "size"), SIDES)
def test_blur_is_bilinear_resizing_down_and_up(height, width, size):
    images = np.random.default_rng(1).normal(size=(3, height, width, 2))
    expected = bilinear(bilinear(images, size, size), height, width)
    found = alter(Blur(size), images)
    assert found.dtype == "float64"
    np.testing.assert_allclose(found, expected, atol=1e-13)
    found = alter(Blur(size), images.astype("float32"))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("height", "width", "size"), SIDES)
def test_average_blur_goes_up_from_the_means_of_areas(height, width, size):
    images = np.random.default_rng(1).normal(size=(3, height, width, 2))
    # Each pixel cut into size x size: then every area is a block of whole parts.
    parts = images.repeat(size, axis=1).repeat(size, axis=2)
    means = parts.reshape(3, size, height, size, width, 2).mean(axis=(2, 4))
    expected = bilinear(means, height, width)
    found = alter(Blur(size, method="average"), images)
    np.testing.assert_allclose(found, expected, atol=1e-13)


@hypothesis.given(
    st.integers(1, 12),
    st.integers(0, 20),
    st.sampled_from(["bilinear", "average"]),
    st.floats(-(2.0**90), 2.0**90, width=32),
)
@hypothesis.settings(max_examples=40)
def test_blur_keeps_constant_images_and_the_range_of_others(size, more, method, value):
    blur, side = Blur(size, method=method), size + more
    constant = np.full((1, side, size, 1), value, "float32")
    # Products below the smallest normal float32 are taken for 0.
    np.testing.assert_allclose(alter(blur, constant), constant, rtol=1e-6, atol=1e-36)
    images = np.random.default_rng(more).random((2, side, size, 1))
    blurred = alter(blur, images)
    assert images.min() - 1e-12 <= blurred.min()
    assert blurred.max() <= images.max() + 1e-12
    if more == 0:
        np.testing.assert_allclose(blurred, images, rtol=1e-12)


def test_flip_reverses_rows_and_is_an_involution():
    flipped = alter(VerticalFlip(), IMAGES)
    np.testing.assert_array_equal(flipped, IMAGES[:, ::-1])
    np.testing.assert_array_equal(alter(VerticalFlip(), flipped), IMAGES)


def test_noise_has_its_moments_and_knows_nothing_of_the_image():
    zeros = np.zeros((100, 20, 10, 1), "float32")
    noise = alter(WhiteNoise(), zeros, seed=(2**40, 7))
    np.testing.assert_array_equal(alter(WhiteNoise(), zeros + 5, (2**40, 7)), noise)
    n = noise.size
    # To five standard errors.
    assert abs(noise.mean() - 0.5) <= 5 * 0.25 / n**0.5
    assert abs(noise.std() - 0.25) <= 5 * 0.25 / (2 * n) ** 0.5
    inside = np.mean((noise >= 0) & (noise <= 1))
    assert abs(inside - 0.9545) <= 5 * (0.9545 * 0.0455 / n) ** 0.5
    flat = noise.ravel() - noise.mean()
    assert abs(np.mean(flat[1:] * flat[:-1])) <= 5 * 0.25**2 / n**0.5
    blank = alter(WhiteNoise(mean=0.3, stddev=0), zeros)
    np.testing.assert_allclose(blank, 0.3, rtol=1e-6)


def test_noise_is_a_function_of_the_seed():
    noise = alter(WhiteNoise(seed=1), IMAGES)
    np.testing.assert_array_equal(alter(WhiteNoise(seed=2), IMAGES), noise)
    for other in ((0, 2), (1, 1)):
        assert not np.isclose(alter(WhiteNoise(), IMAGES, other), noise).any()


def test_noise_in_a_model_is_new_at_each_call_and_follows_its_seed():
    one, same, other = (WhiteNoise(seed=seed) for seed in (1, 1, 2))
    first, second = (one(IMAGES, training=True).numpy() for _ in range(2))
    assert not np.isclose(first, second).any()
    np.testing.assert_array_equal(same(IMAGES, training=True), first)
    assert not np.isclose(other(IMAGES, training=True), first).any()


@hypothesis.given(st.integers(2, 300), st.integers(0, 2**40))
@hypothesis.settings(max_examples=40)
def test_permutation_is_a_bijection_that_keeps_no_label(num_classes, seed):
    deficit = LabelPermutation(num_classes, seed=seed)
    labels = np.arange(num_classes)
    _, permuted = deficit.corrupt(IMAGES, labels, None)
    np.testing.assert_array_equal(np.sort(permuted), labels)
    assert np.all(permuted != labels)
    again = LabelPermutation(num_classes, seed=seed).permutation
    np.testing.assert_array_equal(permuted, again)


def test_all_permutations_without_fixed_point_have_the_same_chance():
    seen = [tuple(LabelPermutation(3, seed=s).permutation) for s in range(200)]
    # There are two: to five standard deviations.
    assert set(seen) == {(1, 2, 0), (2, 0, 1)}
    assert abs(seen.count((1, 2, 0)) - 100) <= 5 * 50**0.5


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_permutation_keeps_the_images_and_the_labels_type_and_shape(dtype):
    deficit, labels = LabelPermutation(3), np.array([[0], [2], [2]], dtype)
    expected = deficit.permutation[labels]
    images, permuted = deficit.corrupt(IMAGES, labels, None)
    assert images is IMAGES
    for found in (permuted, deficit(labels, training=True)):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_pipeline_resumes_and_gives_each_batch_another_seed(name):
    def epochs(count, first=0):
        deficit = BUILDERS[name]()
        dataset = batches(IMAGES, LABELS, 4, map_fn=deficit.corrupt, first_epoch=first)
        return list(dataset.take(3 * count).as_numpy_iterator())

    assert BUILDERS[name]().active.numpy()
    whole, resumed = epochs(3), epochs(1, first=2)
    for found, expected in zip(resumed, whole[6:], strict=True):
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    if name == "noise":
        assert not np.isclose(whole[0][0], whole[1][0]).any()
        assert not np.isclose(whole[0][0], whole[3][0]).any()
    clean = dict(zip(LABELS, IMAGES, strict=True))
    if name == "flip":
        for images, labels in whole:
            expected = np.stack([clean[label][::-1] for label in labels])
            np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_layer_acts_in_training_while_active_and_corrupt_always(name):
    deficit = BUILDERS[name]()
    x = LABELS if name == "labels" else IMAGES
    for training in (False, None):
        np.testing.assert_array_equal(deficit(x, training=training), x)
    altered = deficit(x, training=True).numpy()
    assert np.any(altered != x)
    deficit.active.assign(False)
    np.testing.assert_array_equal(deficit(x, training=True), x)
    corrupted = deficit.corrupt(IMAGES, LABELS, np.array([0, 1]))
    corrupted = corrupted[name == "labels"].numpy()
    assert np.any(corrupted != x)
    if name != "noise":
        np.testing.assert_array_equal(corrupted, altered)


def test_a_layer_maps_a_dataset():
    blur = Blur(4)
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4)
    dataset = dataset.map(lambda x, y: (blur(x, training=True), y))
    found = np.concatenate([images for images, _ in dataset.as_numpy_iterator()])
    np.testing.assert_allclose(found, alter(blur, IMAGES), atol=1e-6)
    blur.active.assign(False)
    found = np.concatenate([images for images, _ in dataset.as_numpy_iterator()])
    np.testing.assert_array_equal(found, IMAGES)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("name", ON_IMAGES)
def test_half_precision_is_that_of_the_result_only(name, dtype):
    images = tf.cast(IMAGES, dtype)
    deficit = BUILDERS[name]()
    wide = alter(deficit, tf.cast(images, "float32"))
    narrow, _ = deficit.corrupt(images, LABELS, np.array([0, 1]))
    assert narrow.dtype == dtype
    np.testing.assert_array_equal(narrow, tf.cast(wide, dtype))
    # A policy does not round what the layer is given.
    mixed = type(deficit).from_config(deficit.get_config() | {"dtype": "mixed_float16"})
    inputs = keras.Input(images.shape[1:], dtype=dtype)
    outputs = keras.Model(inputs, mixed(inputs))(images, training=True)
    assert outputs.dtype == dtype == mixed(inputs).dtype
    assert mixed.compute_output_shape((None, 8, 9, 3)) == (None, 8, 9, 3)
    if name != "noise":
        np.testing.assert_array_equal(outputs, narrow)


def test_a_model_in_mixed_bfloat16_trains():
    policy = keras.DTypePolicy("mixed_bfloat16")
    blur = Blur(4, dtype=policy)
    dense = keras.layers.Dense(1, dtype=policy)
    layers = [keras.Input((8, 9, 3)), blur, keras.layers.Flatten(dtype=policy), dense]
    model = keras.Sequential(layers)
    model.compile("sgd", "mse")
    history = model.fit(IMAGES, LABELS.astype("float32"), verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert dense.compute_dtype == "bfloat16"


@pytest.mark.parametrize("name", BUILDERS)
def test_a_saved_deficit_goes_on_as_it_would_have(name, tmp_path):
    x = LABELS if name == "labels" else IMAGES
    deficit = BUILDERS[name]()
    inputs = keras.Input(x.shape[1:], dtype=x.dtype)
    model = keras.Model(inputs, deficit(inputs))
    assert model.output_shape == (None, *x.shape[1:])
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].get_config() == deficit.get_config()
    expected = model(x, training=True)
    np.testing.assert_array_equal(loaded(x, training=True), expected)
    assert np.any(expected != x)
    deficit.active.assign(False)
    model.save_weights(tmp_path / "model.weights.h5")
    loaded.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(loaded(x, training=True), x)


class Count(keras.layers.Layer):
    """Counts the images whose first pixel is not 0, and its own traces."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.count = self.add_weight(initializer="zeros", trainable=False)
        self.traces = 0

    def call(self, x):
        self.traces += 1
        self.count.assign_add(keras.ops.sum(x[:, 0, 0, 0]))
        return x


@pytest.mark.parametrize(
    ("start", "stop", "initial", "active"),
    [
        (0, None, 0, [1, 1, 1, 1]),
        (1, 3, 0, [0, 1, 1, 0]),
        (1, 3, 2, [1, 0]),
        (0, 2, 2, [0, 0]),
    ],
)
def test_a_window_opens_and_closes_without_a_new_trace(start, stop, initial, active):
    flip, count, counts, traces = VerticalFlip(), Count(), [], []
    layers = [keras.Input((4, 4, 1)), flip, count, keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    x, y = np.zeros((6, 4, 4, 1)), np.zeros(6)
    x[:, -1] = 1

    def watch(epoch, logs):
        counts.append(int(count.count.numpy()))
        traces.append(count.traces)

    watcher = keras.callbacks.LambdaCallback(on_epoch_end=watch)
    model.fit(
        *(x, y),
        batch_size=2,
        epochs=4,
        initial_epoch=initial,
        verbose=0,
        callbacks=[DeficitWindow(flip, start, stop), watcher],
    )
    assert np.diff(counts, prepend=0).tolist() == [6 * on for on in active]
    assert len(set(traces)) == 1
    assert model.optimizer.iterations.numpy() == 3 * len(active)
    assert not flip.active.numpy()


def classifier(*deficits):
    keras.utils.set_random_seed(0)
    layers = [keras.Input(IMAGES.shape[1:]), *deficits, keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(N)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    return model


def fit(model, first, last, callbacks=(), map_fn=None):
    model.fit(
        batches(IMAGES, LABELS, 5, first_epoch=first, map_fn=map_fn),
        steps_per_epoch=2,
        initial_epoch=first,
        epochs=last,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )


def test_a_window_in_a_model_trains_as_phases_of_the_pipeline_do():
    blur = Blur(2)
    inside, outside, clean = classifier(blur), classifier(), classifier()
    fit(inside, 0, 5, [DeficitWindow(blur, 1, 3)])
    for first, last, map_fn in ((0, 1, None), (1, 3, blur.corrupt), (3, 5, None)):
        fit(outside, first, last, map_fn=map_fn)
    fit(clean, 0, 5)
    ours, phases, never = (m.trainable_variables[0] for m in (inside, outside, clean))
    np.testing.assert_allclose(ours, phases, atol=1e-6)
    assert np.abs(ours - never).max() > 1e-2


@pytest.mark.parametrize("killed", [2, 4])
def test_a_killed_training_with_noise_in_a_model_resumes_to_the_same(killed, tmp_path):
    path = tmp_path / "model.keras"

    def save(epoch, logs):
        if epoch == killed - 1:
            model.save(path)

    noise = WhiteNoise()
    model = classifier(noise)
    saver = keras.callbacks.LambdaCallback(on_epoch_end=save)
    fit(model, 0, 5, [DeficitWindow(noise, 1, 3), saver])
    resumed = keras.saving.load_model(path)
    fit(resumed, killed, 5, [DeficitWindow(resumed.layers[0], 1, 3)])
    for found, expected in zip(resumed.weights, model.weights, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_class_that_is_left_out_is_never_seen():
    labels = np.array([3, 1, 2, 1, 3, 0, 1, 2, 3, 1])
    before = labels.copy()
    images, kept = without_class(IMAGES, labels, 1)
    assert kept.tolist() == [3, 2, 3, 0, 2, 3]
    np.testing.assert_array_equal(images, IMAGES[[0, 2, 4, 5, 7, 8]])
    np.testing.assert_array_equal(labels, before)
    dataset = batches(images, kept, 4)
    seen = np.concatenate([y for _, y in dataset.take(6).as_numpy_iterator()])
    assert sorted(set(seen.tolist())) == [0, 2, 3]


ONES = np.ones((1, 8, 7, 1), "float32")
BAD = {
    "size": lambda: Blur(0),
    "size=2.5": lambda: Blur(2.5),
    "method": lambda: Blur(method="cubic"),
    "sides of at least size=8": lambda: Blur().corrupt(ONES, LABELS, None),
    r"sides of .*Received: images.shape=\(1, 8, 7, 1\)": lambda: Blur()(ONES),
    r"must be \(batch, height, width, channels\)": lambda: Blur(2)(ONES[0]),
    r"Received: images.shape=\(None, None, 8, 1\)": lambda: Blur()(
        keras.Input((None, 8, 1))
    ),
    "`images` must be of a floating dtype. Received: dtype=int32": lambda: Blur(
        2
    ).corrupt(ONES.astype("int32"), LABELS, None),
    "`images` must be of a floating dtype. Received: dtype=uint8": (
        lambda: WhiteNoise().corrupt(ONES.astype("uint8"), LABELS, None)
    ),
    "mean": lambda: WhiteNoise(mean=float("nan")),
    "stddev": lambda: WhiteNoise(stddev=-1),
    "seed": lambda: WhiteNoise(seed=1.5),
    "num_classes": lambda: LabelPermutation(1),
    "seed=-1": lambda: LabelPermutation(3, seed=-1),
    "`labels` must be of an integer dtype": lambda: LabelPermutation(3).corrupt(
        ONES, np.ones(3), None
    ),
    "holds num_classes=300. Received: dtype=uint8": lambda: LabelPermutation(
        300
    ).corrupt(ONES, LABELS, None),
    "`deficit` must be a Deficit": lambda: DeficitWindow(keras.layers.Flatten()),
    "start": lambda: DeficitWindow(Blur(), start=-1),
    "`stop` must be an integer from 3 up. Received: stop=2": lambda: DeficitWindow(
        Blur(), start=2, stop=2
    ),
    r"`label` must be .*\[0, 1\]. Received: label=2": lambda: without_class(
        ONES.repeat(2, axis=0), [0, 1], 2
    ),
    "at least two classes": lambda: without_class(ONES, [1], 1),
    "`labels` must have one label for each image": lambda: without_class(
        ONES, [0, 1], 1
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_get_one_clear_line(message):
    with pytest.raises(ValueError, match=message) as caught:
        BAD[message]()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("start", "stop"), [(4, None), (7, 9), (2, 5)])
def test_a_window_outside_training_gets_one_clear_line(start, stop):
    flip = VerticalFlip()
    message = (
        "`start` and `stop` must lie in the 4 epochs of the training. "
        f"Received: start={start}, stop={stop}"
    )
    with pytest.raises(ValueError, match=message):
        fit(classifier(flip), 0, 4, [DeficitWindow(flip, start, stop)])


def test_a_window_on_a_deficit_that_the_model_lacks_gets_one_clear_line():
    message = "`deficit` must be a layer of the model. Received: deficit=other"
    window = DeficitWindow(Blur(name="other"))
    with pytest.raises(ValueError, match=message):
        fit(classifier(Blur()), 0, 1, [window])


def test_a_deficit_of_ones_own_needs_only_what_it_alters():
    class Negative(Deficit):
        def alter(self, x, seed):
            return -x

    deficit = Negative()
    np.testing.assert_array_equal(alter(deficit, IMAGES), -IMAGES)
    np.testing.assert_array_equal(deficit(IMAGES, training=True), -IMAGES)


JAX = """
import sys
import keras
import numpy as np
from zoo.data import batches
from zoo.data.deficits import (
    Blur, DeficitWindow, LabelPermutation, VerticalFlip, WhiteNoise
)

given = np.load(sys.argv[1])
x = given["images"]
for found in (
    Blur(4)(x, training=True),
    Blur(4).corrupt(x, 0, None)[0],
    next(iter(batches(x, x, 10, shuffle=False, map_fn=Blur(4).corrupt)))[0],
):
    np.testing.assert_allclose(found, given["blurred"], atol=1e-6)
noisy = WhiteNoise().corrupt(x, 0, np.array([0, 1]))[0]
np.testing.assert_array_equal(noisy, given["noisy"])
permuted = LabelPermutation(10)(np.arange(10, dtype="uint8"), training=True)
assert permuted.dtype == "uint8"
np.testing.assert_array_equal(permuted, given["permuted"])

noise = WhiteNoise(seed=1)
first, second = (np.asarray(noise(x, training=True)) for _ in range(2))
assert not np.isclose(first, second).any()
assert abs(first.mean() - 0.5) < 0.05 and abs(first.std() - 0.25) < 0.05
np.testing.assert_array_equal(WhiteNoise(seed=1)(x, training=True), first)


class Watch(keras.layers.Layer):
    traces = 0

    def __init__(self):
        super().__init__()
        self.first = self.add_weight(initializer="zeros", trainable=False)

    def call(self, x):
        Watch.traces += 1
        self.first.assign(x[0, 0, 0, 0])
        return x


x = np.zeros((2, 4, 4, 1), "float32")
x[:, -1] = 1
for deficit in (VerticalFlip(), WhiteNoise()):
    watch, seen, traces = Watch(), [], []
    layers = [keras.Input((4, 4, 1)), deficit, watch, keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(1)])
    model.compile("adam", "mse")

    def record(epoch, logs):
        seen.append(float(watch.first.value) != 0)
        traces.append(Watch.traces)

    recorder = keras.callbacks.LambdaCallback(on_epoch_end=record)
    window = DeficitWindow(deficit, 1, 3)
    model.fit(
        x, x[:, 0, 0], epochs=4, batch_size=2, verbose=0, callbacks=[window, recorder]
    )
    assert seen == [False, True, True, False], seen
    assert len(set(traces)) == 1, traces
    assert not deficit.active.value
"""


@pytest.mark.skipif(
    not importlib.util.find_spec("jax"), reason="needs jax: pip install jax"
)
def test_jax(tmp_path):
    np.savez(
        tmp_path / "given.npz",
        images=IMAGES,
        blurred=alter(Blur(4), IMAGES),
        noisy=alter(WhiteNoise(), IMAGES),
        permuted=LabelPermutation(10).permutation,
    )
    done = subprocess.run(
        [sys.executable, "-c", JAX, tmp_path / "given.npz"],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
