"""The named image sets: splits, subsets, noise, sources and errors."""

import http.server
import pathlib
import socket
import threading
import time

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from hypothesis import strategies as st

from zoo.data.images import _check_online, load_images

DEBIAN = pathlib.Path("/usr/share/datasets/fashion-mnist")


def rows(*parts):
    """Image and label as one row each, sorted, to compare sets of samples."""
    flat = [np.c_[images.reshape(len(images), -1), labels] for images, labels in parts]
    flat = np.concatenate(flat)
    return flat[np.lexsort(flat.T)]


def counts(part, num_classes=10):
    return np.bincount(part[1], minlength=num_classes)


def is_subset(part, whole):
    return {row.tobytes() for row in rows(part)} <= {
        row.tobytes() for row in rows(whole)
    }


def assert_equal(part, other):
    np.testing.assert_array_equal(part[0], other[0])
    np.testing.assert_array_equal(part[1], other[1])


def test_digits_by_default():
    data = load_images(validation=0)
    assert data.name == "digits"
    assert data.input_shape == (8, 8, 1)
    assert data.num_classes == 10
    assert data.class_names == tuple("0123456789")
    assert data.source == "scikit-learn's embedded digits"
    assert data.train[0].shape == (1437, 8, 8, 1)
    assert data.validation[0].shape == (0, 8, 8, 1)
    assert data.test[0].shape == (360, 8, 8, 1)
    for images, labels in (data.train, data.validation, data.test):
        assert images.dtype == np.float32
        assert labels.dtype == np.int32
        assert labels.shape == (len(images),)
    assert (data.train[0].min(), data.train[0].max()) == (0, 1)


def test_digits_are_scikit_learns_each_once():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    data = load_images()
    np.testing.assert_array_equal(
        rows(data.train, data.validation, data.test), rows((images / 16, labels))
    )


def test_the_digits_test_part_is_fixed_and_stratified():
    first, second = load_images(seed=0), load_images(seed=1, validation=0.5)
    assert_equal(first.test, second.test)
    share = counts(first.test) / (
        counts(first.train) + counts(first.validation) + counts(first.test)
    )
    np.testing.assert_allclose(share, 360 / 1797, atol=1 / 170)


def test_a_seed_decides_everything():
    options = {"validation": 0.2, "limit": 500, "label_noise": 0.3}
    first, again = load_images(seed=3, **options), load_images(seed=3, **options)
    other = load_images(seed=4, **options)
    for part in ("train", "validation", "test"):
        assert_equal(getattr(first, part), getattr(again, part))
    assert not np.array_equal(first.train[0], other.train[0])
    assert not np.array_equal(first.validation[0], other.validation[0])


@hypothesis.given(
    st.one_of(st.integers(0, 1436), st.floats(0, 0.999)), st.integers(0, 2**32)
)
@hypothesis.settings(max_examples=25)
def test_validation_is_stratified_and_its_size_exact(validation, seed):
    data = load_images(validation=validation, seed=seed)
    size = validation if isinstance(validation, int) else round(validation * 1437)
    size = min(size, 1436)
    assert len(data.validation[1]) == size
    assert len(data.train[1]) == 1437 - size
    total = counts(data.train) + counts(data.validation)
    np.testing.assert_allclose(
        counts(data.validation), size * total / 1437, rtol=0, atol=1
    )


def test_per_class_is_exact_nested_and_after_the_hold_out():
    small, large = load_images(per_class=10), load_images(per_class=20)
    whole = load_images()
    np.testing.assert_array_equal(counts(small.train), np.full(10, 10))
    np.testing.assert_array_equal(counts(large.train), np.full(10, 20))
    assert is_subset(small.train, large.train)
    assert is_subset(large.train, whole.train)
    assert_equal(small.validation, whole.validation)
    assert_equal(small.test, whole.test)


@pytest.mark.parametrize("limit", [1, 10, 57, 1000, 1280])
def test_limit_is_as_even_as_can_be_and_nested(limit):
    whole, data = load_images().train, load_images(limit=limit).train
    even = np.zeros(10, int)
    while even.sum() < limit:
        open_classes = np.flatnonzero(even < counts(whole))
        even[open_classes[np.argmin(even[open_classes])]] += 1
    np.testing.assert_array_equal(counts(data), even)
    assert is_subset(data, load_images(limit=limit + 13).train)


def test_per_class_then_limit():
    data = load_images(per_class=9, limit=45)
    assert np.ptp(counts(data.train)) <= 1
    assert is_subset(data.train, load_images(per_class=9).train)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.333, 1.0])
def test_label_noise_is_exact_and_leaves_the_rest_clean(noise):
    clean, noisy = load_images(), load_images(label_noise=noise)
    np.testing.assert_array_equal(noisy.train[0], clean.train[0])
    changed = noisy.train[1] != clean.train[1]
    assert changed.sum() == round(noise * len(changed))
    assert_equal(noisy.validation, clean.validation)
    assert_equal(noisy.test, clean.test)
    more = load_images(label_noise=min(1, noise + 0.1)).train[1] != clean.train[1]
    assert np.all(more[changed])


def test_label_noise_is_uniform_over_the_other_classes():
    clean = load_images(validation=0).train[1]
    shifts = np.concatenate(
        [
            (load_images(validation=0, label_noise=1, seed=seed).train[1] - clean) % 10
            for seed in range(5)
        ]
    )
    observed = np.bincount(shifts, minlength=10)
    assert observed[0] == 0
    expected = len(shifts) / 9
    assert np.sum((observed[1:] - expected) ** 2 / expected) < 26.1  # p = 0.001


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "svhn"}, r"`name` must be one of \['digits', .* Received: 'svhn'"),
        ({"validation": 1.0}, r"`validation` must be a fraction .* Received: 1.0"),
        ({"validation": -1}, "`validation` .* integer from 0 to 1436. Received: -1"),
        ({"validation": 1437}, "`validation` .* Received: 1437"),
        ({"validation": float("nan")}, "`validation` .* Received: nan"),
        ({"validation": True}, "`validation` .* Received: True"),
        ({"validation": "0.1"}, "`validation` .* Received: '0.1'"),
        ({"per_class": 0}, r"`per_class` .* from 1 to \d+ \(the smallest class\)"),
        ({"per_class": 500}, "`per_class` must be an integer .* Received: 500"),
        ({"per_class": 2.5}, "`per_class` must be an integer .* Received: 2.5"),
        ({"limit": 0}, r"`limit` .* from 1 to 1293 \(the training images\)"),
        ({"limit": 1294}, "`limit` .* Received: 1294"),
        ({"per_class": 2, "limit": 21}, "`limit` .* from 1 to 20"),
        ({"label_noise": 1.1}, r"`label_noise` must be in \[0, 1\]. Received: 1.1"),
        ({"label_noise": float("nan")}, "`label_noise` .* Received: nan"),
        ({"label_noise": None}, "`label_noise` .* Received: None"),
        ({"seed": -1}, "`seed` must be an integer of at least 0. Received: -1"),
        ({"seed": 0.5}, "`seed` .* Received: 0.5"),
    ],
)
def test_a_bad_argument_is_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        load_images(**arguments)
    assert "\n" not in str(error.value)


def test_a_missing_folder_is_one_line(tmp_path):
    path = str(tmp_path / "nowhere")
    message = f"`data_dir` must be an existing folder. Received: '{path}'"
    with pytest.raises(FileNotFoundError, match=message):
        load_images("mnist", path)


def test_official_files_are_read_and_scaled(tmp_path):
    pixels = np.arange(40 * 3072).reshape(40, 3072) % 256
    records = np.c_[np.arange(40) % 20, np.arange(40) + 60, pixels].astype(np.uint8)
    (tmp_path / "cifar-100-binary").mkdir()
    (tmp_path / "cifar-100-binary" / "train.bin").write_bytes(records[:30].tobytes())
    (tmp_path / "cifar-100-binary" / "test.bin").write_bytes(records[30:].tobytes())
    data = load_images("cifar100", tmp_path, validation=0)
    assert data.source == f"CIFAR binary files in {tmp_path / 'cifar-100-binary'}"
    assert (data.num_classes, len(data.class_names)) == (100, 100)
    assert data.class_names[60] == "plain"
    images = pixels.reshape(40, 3, 32, 32).transpose(0, 2, 3, 1).astype("float32") / 255
    assert_equal(data.train, (images[:30], np.arange(60, 90)))
    assert_equal(data.test, (images[30:], np.arange(90, 100)))


@pytest.mark.skipif(
    not DEBIAN.is_dir(), reason=f"{DEBIAN} (Debian's dataset-fashion-mnist) is absent"
)
def test_fashion_mnist_of_debian_has_the_published_facts():
    data = load_images("fashion_mnist", DEBIAN, validation=0)
    assert data.source == f"IDX files in {DEBIAN}"
    assert data.train[0].shape == (60000, 28, 28, 1)
    np.testing.assert_array_equal(counts(data.train), np.full(10, 6000))
    np.testing.assert_array_equal(counts(data.test), np.full(10, 1000))
    # The mean and deviation by which the set is usually normalised.
    np.testing.assert_allclose(data.train[0].mean(dtype="float64"), 0.2860, atol=5e-5)
    np.testing.assert_allclose(data.train[0].std(dtype="float64"), 0.3530, atol=5e-5)
    assert data.class_names[data.train[1][0]] == "Ankle boot"


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mnist", (28, 28, 1)),
        ("fashion_mnist", (28, 28, 1)),
        ("cifar10", (32, 32, 3)),
        ("cifar100", (32, 32, 3)),
    ],
)
def test_tensorflow_datasets_mocked(name, shape):
    with tfds.testing.mock_data(num_examples=20):
        data = load_images(name, validation=5)
    assert data.source.startswith(f"TensorFlow Datasets, {name}/")
    assert data.input_shape == shape
    assert data.train[0].shape == (15, *shape)
    assert data.validation[0].shape == (5, *shape)
    assert data.train[0].max() <= 1
    assert data.train[1].dtype == np.int32


def prepare_mnist(data_dir, **sizes):
    """Writes what TensorFlow Datasets leaves after preparing MNIST."""
    folder = data_dir / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(28, 28, 1)),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
    )
    splits = []
    for split, n in sizes.items():
        template = tfds.core.ShardedFileTemplate(
            folder, dataset_name="mnist", split=split, filetype_suffix="tfrecord"
        )
        path = template.sharded_filepath(shard_index=0, num_shards=1)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for i in range(n):
                image = np.full((28, 28, 1), i, np.uint8)
                writer.write(features.serialize_example({"image": image, "label": i}))
        splits.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[n],
                num_bytes=len(path.read_bytes()),
                filename_template=template,
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=splits
    )
    return folder


def test_tensorflow_datasets_prepared_needs_no_network(tmp_path, monkeypatch):
    prepare_mnist(tmp_path, train=8, test=3)
    monkeypatch.setattr(socket, "socket", None)
    data = load_images("mnist", tmp_path, validation=0)
    assert data.source == "TensorFlow Datasets, mnist/3.0.1"
    np.testing.assert_array_equal(data.train[1], np.arange(8))
    assert data.train[0].shape == (8, 28, 28, 1)
    np.testing.assert_allclose(data.train[0][:, 3, 5, 0] * 255, np.arange(8), rtol=1e-6)
    np.testing.assert_array_equal(data.test[1], np.arange(3))


@pytest.mark.parametrize("damage", ["truncated", "no metadata"])
def test_tensorflow_datasets_damaged_is_one_line(tmp_path, damage):
    folder = prepare_mnist(tmp_path, train=8, test=3)
    if damage == "truncated":
        path = folder / "mnist-test.tfrecord-00000-of-00001"
        path.write_bytes(path.read_bytes()[:-10])
    else:
        (folder / "dataset_info.json").unlink()
    with pytest.raises(ValueError, match="cannot read what was prepared") as error:
        load_images("mnist", tmp_path)
    assert str(error.value).startswith(f"{folder}: ")
    assert "\n" not in str(error.value)


@pytest.fixture
def no_network(monkeypatch):
    def fail(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_no_data_and_no_network_names_three_ways_at_once(name, tmp_path, no_network):
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as error:
        load_images(name, tmp_path)
    assert time.monotonic() - start < 10
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"`{name}` was not found")
    for way in ("--data_dir", f"tfds.load('{name}', data_dir='DIR')", "take digits"):
        assert way in message
    assert ("dataset-fashion-mnist" in message) == (name == "fashion_mnist")
    assert not list(tmp_path.iterdir())


def test_any_answer_means_that_there_is_a_network():
    server = http.server.HTTPServer(
        ("127.0.0.1", 0), http.server.BaseHTTPRequestHandler
    )
    url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    _check_online(url)  # The server answers 501, for it handles no method.
    thread.join()
    server.server_close()
    with pytest.raises(OSError, match="refused"):
        _check_online(url)


def test_a_failed_download_is_one_line_with_its_reason(tmp_path, monkeypatch):
    def fail(self, download_config):
        raise RuntimeError("checksum\nmismatch")

    monkeypatch.setattr("zoo.data.images._check_online", lambda url: None)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(FileNotFoundError, match=r"\(RuntimeError: checksum mismatch\)"):
        load_images("cifar10", tmp_path)


def test_a_download_is_prepared_and_read(tmp_path, monkeypatch):
    pytest.importorskip("importlib_resources", reason="TFDS prepares nothing without")

    def examples(n):
        for i in range(n):
            yield i, {"image": np.full((28, 28, 1), i, np.uint8), "label": i}

    monkeypatch.setattr("zoo.data.images._check_online", lambda url: None)
    monkeypatch.setattr(
        tfds.image_classification.MNIST,
        "_split_generators",
        lambda self, manager: {"train": examples(8), "test": examples(3)},
    )
    data = load_images("mnist", tmp_path, validation=0)
    np.testing.assert_array_equal(np.sort(data.train[1]), np.arange(8))
    pixels = data.train[0][:, 0, 0, 0] * 255
    np.testing.assert_allclose(pixels, data.train[1], rtol=1e-6)
    assert len(data.test[1]) == 3
