"""The readers against files written here byte by byte, sound and damaged."""

import gzip
import os
import pickle
import struct

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from zoo.data.formats import (
    read_cifar_binary,
    read_cifar_python,
    read_idx,
    read_official,
)

RNG = np.random.default_rng(0)


def idx_bytes(array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def cifar_binary_bytes(images, *labels):
    """Writes records as the publisher describes them: labels, red, green, blue."""
    records = []
    for index, image in enumerate(images):
        planes = [image[:, :, channel].tobytes() for channel in range(3)]
        records.append(bytes(int(part[index]) for part in labels) + b"".join(planes))
    return b"".join(records)


def python2_bytes(value):
    """Pickles as Python 2 does, in which the official archives are written."""
    if isinstance(value, dict):
        items = b"".join(python2_bytes(part) for item in value.items() for part in item)
        return b"}(" + items + b"u"
    if isinstance(value, bytes):
        return b"T" + struct.pack("<I", len(value)) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(python2_bytes, value)) + b"e"
    dtype = b"cnumpy\ndtype\n(" + python2_bytes(b"u1") + b"K\x00K\x01tR"
    dtype += b"(K\x03" + python2_bytes(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2
    dtype += b"K\x00tb"
    shape = b"(" + b"".join(map(python2_bytes, value.shape)) + b"t"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t"
    array += python2_bytes(b"b") + b"tR"
    return (
        array + b"(K\x01" + shape + dtype + b"\x89" + python2_bytes(value.tobytes())
    ) + b"tb"


def cifar_python_bytes(images, **labels):
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    content = {b"batch_label": b"testing batch 1 of 1", b"data": rows}
    content |= {key.encode(): list(map(int, part)) for key, part in labels.items()}
    return b"\x80\x02" + python2_bytes(content) + b"."


def random_images(n, shape=(32, 32, 3)):
    return RNG.integers(0, 256, (n, *shape)).astype(np.uint8)


@pytest.fixture
def write(tmp_path):
    def write(content, name="file"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_reads_what_was_written(write, pack):
    images, labels = random_images(5, (28, 27, 1)), np.array([0, 9, 255, 3, 1])
    read = read_idx(write(pack(idx_bytes(images[..., 0]))))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, images)
    read = read_idx(write(pack(idx_bytes(labels))))
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, labels)


SOUND = idx_bytes(np.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected the IDX magic .*, found an empty file"),
        (b"\x00\x00\x08", "expected the IDX magic .*, found 000008"),
        (b"\x89PNG\r\n", "found 89504e47"),
        (b"\x00\x00\x0d\x03" + SOUND[4:], "found 00000d03"),
        (b"\x00\x00\x08\x02" + SOUND[4:], "found 00000802"),
        (SOUND[:13], "expected an IDX header of 16 bytes, found a file of 13"),
        (SOUND[:-1], r"expected 24 bytes for the dimensions \(2, 3, 4\), found 23"),
        (SOUND + b"x", r"expected 24 bytes for the dimensions \(2, 3, 4\), found 25"),
        (SOUND[:4] + b"\xff" * 12, "expected 79228162458924105385300197375 bytes"),
        (gzip.compress(SOUND, mtime=0)[:-9], "damaged or truncated gzip file"),
        (
            gzip.compress(SOUND, mtime=0)[:12] + b"\xff" * 9,
            "damaged or truncated gzip file",
        ),
        (gzip.compress(SOUND, mtime=0) + b"x", "damaged or truncated gzip file"),
    ],
)
def test_damaged_idx_is_one_line_with_the_file_name(write, content, message):
    path = write(content, "train-images-idx3-ubyte")
    with pytest.raises(ValueError, match=message) as error:
        read_idx(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@hypothesis.given(st.integers(0, len(SOUND) - 1), st.integers(0, 255), st.booleans())
@hypothesis.settings(
    max_examples=200,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_any_changed_byte_reads_or_is_a_value_error(write, place, value, zipped):
    content = bytearray(gzip.compress(SOUND, mtime=0) if zipped else SOUND)
    content[place] = value
    path = write(bytes(content))
    try:
        assert read_idx(path).size == 24
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")


def test_cifar_binary_reads_files_in_order(write):
    images, labels = random_images(5), np.array([3, 1, 4, 1, 5])
    paths = [
        write(cifar_binary_bytes(images[:3], labels[:3]), "data_batch_1.bin"),
        write(cifar_binary_bytes(images[3:], labels[3:]), "data_batch_2.bin"),
    ]
    read_images, read_labels = read_cifar_binary(paths, label_bytes=1)
    assert read_images.dtype == np.uint8
    assert read_labels.dtype == np.int32
    np.testing.assert_array_equal(read_images, images)
    np.testing.assert_array_equal(read_labels, labels)


def test_cifar100_binary_takes_the_fine_label(write):
    images, coarse, fine = random_images(2), [7, 8], [70, 99]
    path = write(cifar_binary_bytes(images, coarse, fine))
    read_images, read_labels = read_cifar_binary([path], label_bytes=2)
    np.testing.assert_array_equal(read_images, images)
    np.testing.assert_array_equal(read_labels, fine)


@pytest.mark.parametrize("size", [0, 1, 3072, 3074, 2 * 3073 - 1])
def test_cifar_binary_checks_the_record_size(write, size):
    path = write(bytes(size), "test_batch.bin")
    message = f"test_batch.bin: expected .* of 3073 bytes, found {size} bytes"
    with pytest.raises(ValueError, match=message):
        read_cifar_binary([path], label_bytes=1)


def test_cifar_python_reads_the_official_python2_pickle(write):
    images, fine = random_images(3), [7, 99, 0]
    content = cifar_python_bytes(images, coarse_labels=[1, 2, 3], fine_labels=fine)
    read_images, read_labels = read_cifar_python([write(content)], "fine_labels")
    assert read_images.dtype == np.uint8
    assert read_labels.dtype == np.int32
    np.testing.assert_array_equal(read_images, images)
    np.testing.assert_array_equal(read_labels, fine)


def test_cifar_python_reads_a_python3_pickle(write):
    images = random_images(2)
    rows = images.transpose(0, 3, 1, 2).reshape(2, -1)
    path = write(pickle.dumps({b"data": rows, b"labels": [1, 2]}, protocol=4))
    np.testing.assert_array_equal(read_cifar_python([path], "labels")[0], images)


class Hostile:
    def __init__(self, function, *args):
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("function", [os.mkdir, eval])
def test_a_hostile_pickle_runs_nothing(write, tmp_path, function):
    target = tmp_path / "owned"
    argument = str(target) if function is os.mkdir else f"os.mkdir({str(target)!r})"
    argument = argument.replace("os.", "__import__('os').")
    content = pickle.dumps({b"data": Hostile(function, argument)}, protocol=4)
    pickle.loads(content)
    target.rmdir()  # The plain unpickler did run it.
    with pytest.raises(ValueError, match=r"asks for .*, and only NumPy arrays"):
        read_cifar_python([write(content)], "labels")
    assert not target.exists()


ROWS = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], r"expected a dictionary .* found \[1, 2\]"),
        ({b"data": ROWS}, "expected a dictionary .* b'labels', found"),
        ({b"data": ROWS, b"labels": [1, None]}, "expected a dictionary"),
        ({b"data": ROWS, b"labels": [1]}, r"expected uint8 data \(1, 3072\)"),
        ({b"data": ROWS[:, 1:], b"labels": [1, 2]}, r"found uint8 \(2, 3071\)"),
        ({b"data": ROWS + 0.5, b"labels": [1, 2]}, "found float64"),
        ({b"data": 3, b"labels": [1, 2]}, r"found int64 \(\)"),
    ],
)
def test_cifar_python_checks_the_content(write, content, message):
    path = write(pickle.dumps(content, protocol=4), "test_batch")
    with pytest.raises(ValueError, match=message) as error:
        read_cifar_python([path], "labels")
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_every_truncated_pickle_is_a_value_error(write):
    content = cifar_python_bytes(random_images(1), labels=[3])
    lengths = [*range(300), *range(300, len(content), 97), len(content) - 1]
    for length in lengths:
        path = write(content[:length])
        with pytest.raises(ValueError, match="expected a CIFAR pickle, but"):
            read_cifar_python([path], "labels")


def write_mnist(write, folder, train=(4, 28, 28), labels=(0, 1, 2, 9)):
    write(idx_bytes(np.zeros(train)), f"{folder}/train-images-idx3-ubyte")
    write(idx_bytes(np.array(labels)), f"{folder}/train-labels-idx1-ubyte")
    write(idx_bytes(np.ones((1, 28, 28))), f"{folder}/t10k-images-idx3-ubyte")
    return write(idx_bytes(np.array([5])), f"{folder}/t10k-labels-idx1-ubyte")


MNIST = ((28, 28, 1), 10)


def test_official_prefers_the_folder_itself_and_a_complete_set(write, tmp_path):
    assert read_official("fashion_mnist", tmp_path, *MNIST) is None
    last = write_mnist(write, "fashion-mnist")
    train, test, source = read_official("fashion_mnist", tmp_path, *MNIST)
    assert source == f"IDX files in {tmp_path / 'fashion-mnist'}"
    np.testing.assert_array_equal(train[1], [0, 1, 2, 9])
    np.testing.assert_array_equal(test[1], [5])
    assert read_official("mnist", tmp_path, *MNIST) is None
    write(b"stray", "t10k-labels-idx1-ubyte")
    assert read_official("fashion_mnist", tmp_path, *MNIST)[2] == source
    last.unlink()
    message = "holds some IDX files of fashion_mnist, but not train-images-idx3-ubyte,"
    with pytest.raises(FileNotFoundError, match=message):
        read_official("fashion_mnist", tmp_path, *MNIST)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train": (4, 28, 27)}, r"expected images \('n', 28, 28, 1\)"),
        ({"train": (3, 28, 28)}, r"images \(3, 28, 28, 1\) and labels \(4,\)"),
        ({"train": (0, 28, 28), "labels": ()}, r"found images \(0, 28, 28, 1\)"),
        ({"train": (4,)}, r"found images \(4,\)"),
        ({"labels": (1, 2, 10, 3)}, "labels from 0 to 9, found 10 at record 2"),
    ],
)
def test_official_checks_images_against_labels(write, tmp_path, wrong, message):
    write_mnist(write, "mnist", **wrong)
    with pytest.raises(ValueError, match=message) as error:
        read_official("mnist", tmp_path, *MNIST)
    assert "train-images-idx3-ubyte, train-labels-idx1-ubyte: " in str(error.value)
    assert "\n" not in str(error.value)


CIFAR = (32, 32, 3)


@pytest.mark.parametrize("kind", ["bin", "py"])
def test_official_cifar10(write, tmp_path, kind):
    images, labels = random_images(12), np.arange(12) % 10
    folder, end = f"cifar-10-batches-{kind}", ".bin" * (kind == "bin")
    for i in range(6):
        part = images[2 * i : 2 * i + 2], labels[2 * i : 2 * i + 2]
        if kind == "bin":
            content = cifar_binary_bytes(*part)
        else:
            content = cifar_python_bytes(part[0], labels=part[1])
        name = f"data_batch_{i + 1}" if i < 5 else "test_batch"
        write(content, f"{folder}/{name}{end}")
    train, test, source = read_official("cifar10", tmp_path, CIFAR, 10)
    assert str(tmp_path / folder) in source
    np.testing.assert_array_equal(train[0], images[:10])
    np.testing.assert_array_equal(train[1], labels[:10])
    np.testing.assert_array_equal(test[0], images[10:])
    np.testing.assert_array_equal(test[1], labels[10:])


@pytest.mark.parametrize("kind", ["binary", "python"])
def test_official_cifar100(write, tmp_path, kind):
    images, coarse, fine = random_images(3), np.array([1, 2, 19]), np.array([0, 50, 99])
    for name, part in (("train", slice(2)), ("test", slice(2, 3))):
        if kind == "binary":
            content = cifar_binary_bytes(images[part], coarse[part], fine[part])
            name += ".bin"
        else:
            content = cifar_python_bytes(
                images[part], coarse_labels=coarse[part], fine_labels=fine[part]
            )
        write(content, f"cifar-100-{kind}/{name}")
    train, test, _ = read_official("cifar100", tmp_path, CIFAR, 100)
    np.testing.assert_array_equal(train[0], images[:2])
    np.testing.assert_array_equal(train[1], fine[:2])
    np.testing.assert_array_equal(test[1], fine[2:])
