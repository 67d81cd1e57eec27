"""The order of the batches, resuming a training, and augmentation."""

import itertools

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from zoo.data.pipeline import augment_flip_crop, batches, steps_per_epoch

N = 23
IMAGES = np.random.default_rng(0).normal(size=(N, 4)).astype("float32")
LABELS = np.arange(N, dtype="int32")


def labels_of(dataset, count):
    return [labels.numpy() for _, labels in dataset.take(count)]


def epochs_of(count, first=0, **options):
    dataset = batches(IMAGES, LABELS, 5, first_epoch=first, **options)
    seen = labels_of(dataset, 5 * count)
    return [np.concatenate(seen[5 * i : 5 * i + 5]) for i in range(count)]


@hypothesis.given(st.integers(1, 40), st.integers(1, 45), st.booleans())
@hypothesis.settings(max_examples=15)
def test_an_epoch_holds_each_sample_once(n, batch_size, drop):
    hypothesis.assume(batch_size <= n or not drop)
    samples = np.arange(n)
    steps = steps_per_epoch(n, batch_size, drop)
    dataset = batches(samples, samples, batch_size, drop_remainder=drop)
    seen = list(dataset.take(2 * steps).as_numpy_iterator())
    for epoch in (seen[:steps], seen[steps:]):
        sizes = [len(labels) for _, labels in epoch]
        assert sizes[:-1] == [batch_size] * (steps - 1)
        assert sizes[-1] == (batch_size if drop else n - batch_size * (steps - 1))
        labels = np.concatenate([labels for _, labels in epoch])
        images = np.concatenate([images for images, _ in epoch])
        np.testing.assert_array_equal(images, labels)
        assert len(set(labels)) == sum(sizes)


def test_images_go_with_their_labels_and_types_are_kept():
    for images, labels in batches(IMAGES, LABELS, 5).take(10):
        assert (images.dtype, labels.dtype) == ("float32", "int32")
        np.testing.assert_array_equal(images, IMAGES[labels.numpy()])


def test_the_order_is_a_function_of_seed_and_epoch():
    for epoch, order in enumerate(epochs_of(3, seed=7)):
        expected = tf.random.experimental.stateless_shuffle(LABELS, [7, epoch])
        np.testing.assert_array_equal(order, expected)
    assert len({tuple(order) for order in epochs_of(3) + epochs_of(3, seed=1)}) == 6


def test_a_later_first_epoch_continues_the_order():
    np.testing.assert_array_equal(epochs_of(4)[2:], epochs_of(2, first=2))


def test_without_shuffle_one_pass_in_order():
    dataset = batches(IMAGES, LABELS, 5, shuffle=False)
    seen = [labels for _, labels in dataset.as_numpy_iterator()]
    assert [len(labels) for labels in seen] == [5, 5, 5, 5, 3]
    np.testing.assert_array_equal(np.concatenate(seen), LABELS)


@pytest.mark.parametrize("drop", [False, True])
def test_cardinality_and_static_shape(drop):
    endless = batches(IMAGES, LABELS, 5, drop_remainder=drop)
    once = batches(IMAGES, LABELS, 5, drop_remainder=drop, shuffle=False)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    assert once.cardinality() == len(list(once)) == steps_per_epoch(N, 5, drop)
    for dataset in (endless, once):
        images, labels = dataset.element_spec
        assert images.shape == (5 if drop else None, 4)
        assert labels.shape == (5 if drop else None,)


def seed_of_batch(images, labels, seed):
    return images, tf.repeat(seed[None], len(labels), axis=0)


def test_map_fn_gets_a_seed_of_its_own_in_each_batch():
    def seeds(**options):
        dataset = batches(
            IMAGES, LABELS, 5, drop_remainder=True, map_fn=seed_of_batch, **options
        )
        return [tuple(pair[0]) for pair in labels_of(dataset, 12)]

    first = seeds()
    assert len(set(first)) == 12
    assert first == seeds()
    assert first[4:] == seeds(first_epoch=1)[:8]
    assert not set(first) & set(seeds(seed=1))


def small_model():
    initializer = keras.initializers.GlorotUniform(seed=0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, activation="tanh", kernel_initializer=initializer),
            keras.layers.Dense(N, kernel_initializer="zeros"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def train(model, first, last, map_fn=None):
    model.fit(
        batches(IMAGES, LABELS, 5, first_epoch=first, map_fn=map_fn),
        steps_per_epoch=steps_per_epoch(N, 5),
        initial_epoch=first,
        epochs=last,
        shuffle=False,
        verbose=0,
    )
    return model


def add_noise(images, labels, seed):
    return images + tf.random.stateless_normal(tf.shape(images), seed), labels


# TensorFlow's variables lack the `copy` argument that NumPy 2 asks for on saving.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("map_fn", [None, add_noise])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, map_fn):
    whole = train(small_model(), 0, 5, map_fn)
    train(small_model(), 0, 2, map_fn).save(tmp_path / "model.keras")
    resumed = train(keras.saving.load_model(tmp_path / "model.keras"), 2, 5, map_fn)
    for expected, got in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)
    restarted = train(keras.saving.load_model(tmp_path / "model.keras"), 0, 3, map_fn)
    assert not np.array_equal(restarted.get_weights()[0], whole.get_weights()[0])


def test_keras_evaluates_every_sample():
    model = small_model()
    dataset = batches(IMAGES, LABELS, 5, shuffle=False)
    np.testing.assert_allclose(model.evaluate(dataset, verbose=0), np.log(N), rtol=1e-6)
    assert model.predict(dataset, verbose=0).shape == (N, N)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be an integer .* Received: 0"),
        ({"batch_size": 2.0}, "`batch_size` must be an integer .* Received: 2.0"),
        ({"batch_size": 24, "drop_remainder": True}, "at most the 23 .* Received: 24"),
        ({"seed": -1}, "`seed` must be an integer of at least 0. Received: -1"),
        ({"first_epoch": 1.5}, "`first_epoch` must be an integer .* Received: 1.5"),
        ({"labels": LABELS[1:]}, "same length.* Received: 23 images and 22 labels"),
        ({"images": [], "labels": []}, "at least 1. Received: 0 images and 0 labels"),
        ({"labels": np.full(N, np.nan)}, r"`labels` .* Received: 23 .* index \(0,\)"),
    ],
)
def test_a_bad_argument_is_one_line(arguments, message):
    arguments = {"images": IMAGES, "labels": LABELS, "batch_size": 5} | arguments
    with pytest.raises(ValueError, match=message) as error:
        batches(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_images_are_counted_and_located(value):
    images = IMAGES.copy()
    images[17, 2] = images[20] = value
    message = r"`images` must be finite. Received: 5 .* first at index \(17, 2\)"
    with pytest.raises(ValueError, match=message):
        batches(images, LABELS, 5)


def test_steps_per_epoch_checks_n():
    with pytest.raises(ValueError, match=r"`n` must be an integer .* Received: 0"):
        steps_per_epoch(0, 4)


def crops(image, pad=4):
    """All the flipped and unflipped crops that one image can become."""
    height, width, _ = image.shape
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    places = itertools.product(range(2 * pad + 1), repeat=2)
    windows = [padded[y : y + height, x : x + width] for y, x in places]
    return windows + [window[:, ::-1] for window in windows]


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_augment_gives_each_flip_and_crop_equally_often(dtype):
    image = np.arange(1, 10 * 12 * 2 + 1).reshape(10, 12, 2).astype(dtype)
    n = 162 * 60
    labels = np.arange(n)
    images, same = augment_flip_crop(np.stack([image] * n), labels, seed=[3, 4])
    assert images.dtype == dtype
    np.testing.assert_array_equal(same, labels)
    index = {crop.tobytes(): place for place, crop in enumerate(crops(image))}
    assert len(index) == 162
    observed = np.bincount([index[crop.tobytes()] for crop in images.numpy()])
    assert np.sum((observed - 60) ** 2 / 60) < 222  # 161 degrees, p = 0.001


def test_augment_is_a_function_of_its_seed():
    images = tf.random.stateless_uniform((16, 8, 8, 3), [0, 0])
    first, _ = augment_flip_crop(images, None, [1, 2])
    again, _ = tf.function(augment_flip_crop)(images, None, tf.constant([1, 2]))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != augment_flip_crop(images, None, [1, 3])[0])


def test_augment_as_map_fn_keeps_the_shape_known():
    images = np.zeros((7, 8, 6, 3), "float32")
    dataset = batches(images, np.arange(7), 3, map_fn=augment_flip_crop)
    assert dataset.element_spec[0].shape[1:] == (8, 6, 3)
    assert [len(batch) for batch, _ in dataset.take(3)] == [3, 3, 1]
