"""Readers of the official image files: IDX, CIFAR binary and CIFAR Python."""

import functools
import gzip
import io
import math
import os
import pathlib
import pickle
import zlib
from collections.abc import Iterable

import numpy as np

_GZIP_MAGIC = b"\x1f\x8b"
_IDX_UBYTE = 0x08
_CIFAR_SHAPE = (3, 32, 32)
_CIFAR_BYTES = math.prod(_CIFAR_SHAPE)

# All that a pickled NumPy array asks for, under the names of NumPy 1 and 2.
_ARRAY_GLOBALS = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np.ndarray.__new__,
    ("numpy._core.multiarray", "_reconstruct"): np.ndarray.__new__,
}


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads one IDX file of unsigned bytes, plain or gzipped.

    Args:
        path: The file, such as `train-images-idx3-ubyte.gz`. Whether it is
            gzipped is read from its first bytes, not from its name.

    Returns:
        For a file of three dimensions uint8 images `(n, height, width, 1)`; for
        a file of one dimension int32 labels `(n,)`.

    Raises:
        ValueError: If the file is not IDX, or is truncated or too long.

    Example:

    >>> import pathlib, struct, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "train-labels-idx1-ubyte")
    >>> _ = path.write_bytes(struct.pack(">II", 0x801, 3) + bytes([5, 0, 4]))
    >>> read_idx(path)
    array([5, 0, 4], dtype=int32)

    Reference:

    - LeCun, Bottou, Bengio, Haffner (1998), Gradient-based learning applied to
      document recognition, Proceedings of the IEEE 86(11).
    """
    content = _read_bytes(path)
    magic = content[:4]
    rank = magic[3] if len(magic) == 4 else 0
    if magic[:3] != bytes([0, 0, _IDX_UBYTE]) or rank not in (1, 3):
        raise ValueError(
            f"{path}: expected the IDX magic 00000801 (labels) or 00000803 "
            f"(images), found {magic.hex() or 'an empty file'}."
        )
    header = 4 + 4 * rank
    if len(content) < header:
        raise ValueError(
            f"{path}: expected an IDX header of {header} bytes, found a file of "
            f"{len(content)}."
        )
    shape = tuple(np.frombuffer(content, ">u4", count=rank, offset=4).tolist())
    if len(content) - header != math.prod(shape):
        raise ValueError(
            f"{path}: expected {math.prod(shape)} bytes for the dimensions {shape}, "
            f"found {len(content) - header}."
        )
    values = np.frombuffer(content, np.uint8, offset=header).reshape(shape)
    return values.astype(np.int32) if rank == 1 else values[..., np.newaxis]


def read_cifar_binary(
    paths: Iterable[str | os.PathLike[str]], label_bytes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Reads CIFAR's binary version, any number of records a file.

    Args:
        paths: The files, in the order in which their images are wanted.
        label_bytes: Label bytes before each image: 1 for CIFAR-10; 2 (coarse,
            then fine) for CIFAR-100. The last one is the label returned.

    Returns:
        uint8 images `(n, 32, 32, 3)` and int32 labels `(n,)`.

    Raises:
        ValueError: If a file is not a whole number of records, or is empty.

    Example:

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "test_batch.bin")
    >>> _ = path.write_bytes(bytes([7]) + bytes(3072))
    >>> images, labels = read_cifar_binary([path], label_bytes=1)
    >>> images.shape, labels
    ((1, 32, 32, 3), array([7], dtype=int32))

    Reference:

    - Krizhevsky (2009), Learning multiple layers of features from tiny images,
      technical report, University of Toronto.
    """
    size = label_bytes + _CIFAR_BYTES
    records = []
    for path in paths:
        content = _read_bytes(path)
        if not content or len(content) % size:
            raise ValueError(
                f"{path}: expected one or more records of {size} bytes, found "
                f"{len(content)} bytes."
            )
        records.append(np.frombuffer(content, np.uint8).reshape(-1, size))
    pixels = [part[:, label_bytes:] for part in records]
    labels = [part[:, label_bytes - 1] for part in records]
    return _cifar_images(pixels), np.concatenate(labels).astype(np.int32)


def read_cifar_python(
    paths: Iterable[str | os.PathLike[str]], label_key: str
) -> tuple[np.ndarray, np.ndarray]:
    """Reads CIFAR's Python version, pickled dictionaries with bytes as keys.

    Only what a NumPy array needs is unpickled, so a hostile file cannot run code.

    Args:
        paths: The files, in the order in which their images are wanted.
        label_key: The labels' key: `"labels"` for CIFAR-10, `"fine_labels"` or
            `"coarse_labels"` for CIFAR-100.

    Returns:
        uint8 images `(n, 32, 32, 3)` and int32 labels `(n,)`.

    Raises:
        ValueError: If a file is not such a pickle, or is truncated, or asks for
            anything but arrays.

    Example:

    >>> import pathlib, pickle, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "test_batch")
    >>> content = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [3, 8]}
    >>> _ = path.write_bytes(pickle.dumps(content, protocol=3))
    >>> images, labels = read_cifar_python([path], "labels")
    >>> images.shape, labels
    ((2, 32, 32, 3), array([3, 8], dtype=int32))

    Reference:

    - Krizhevsky (2009), Learning multiple layers of features from tiny images,
      technical report, University of Toronto.
    """
    batches = [_read_cifar_batch(path, label_key.encode()) for path in paths]
    pixels, labels = zip(*batches, strict=True)
    return _cifar_images(pixels), np.concatenate(labels)


def _read_idx_pair(paths):
    images, labels = map(read_idx, paths)
    return images, labels


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_IDX = (
    "IDX",
    _read_idx_pair,
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
# Each set's subfolders, and its formats: title, reader, train files, test files.
_OFFICIAL = {
    "mnist": (("mnist",), (_IDX,)),
    "fashion_mnist": (("fashion_mnist", "fashion-mnist"), (_IDX,)),
    "cifar10": (
        ("cifar10", "cifar-10-batches-bin", "cifar-10-batches-py"),
        (
            (
                "CIFAR binary",
                functools.partial(read_cifar_binary, label_bytes=1),
                tuple(f"{batch}.bin" for batch in _BATCHES),
                ("test_batch.bin",),
            ),
            (
                "CIFAR Python",
                functools.partial(read_cifar_python, label_key="labels"),
                _BATCHES,
                ("test_batch",),
            ),
        ),
    ),
    "cifar100": (
        ("cifar100", "cifar-100-binary", "cifar-100-python"),
        (
            (
                "CIFAR binary",
                functools.partial(read_cifar_binary, label_bytes=2),
                ("train.bin",),
                ("test.bin",),
            ),
            (
                "CIFAR Python",
                functools.partial(read_cifar_python, label_key="fine_labels"),
                ("train",),
                ("test",),
            ),
        ),
    ),
}


def read_official(name, data_dir, image_shape, num_classes):
    """Reads a set's official files from a folder or from its known subfolders.

    Args:
        name: `"mnist"`, `"fashion_mnist"`, `"cifar10"` or `"cifar100"`.
        data_dir: The folder. It is searched first, then `<data_dir>/<name>`, then
            the folder that the official archive unpacks there.
        image_shape: The shape `(height, width, channels)` that images must have.
        num_classes: Labels must be below it.

    Returns:
        `(train, test, source)`: two pairs of uint8 images `(n, *image_shape)` and
        int32 labels `(n,)`, and a sentence that names format and folder; `None` if
        no such file is there.

    Raises:
        FileNotFoundError: If some files of a format are there, but not all.
        ValueError: If a file is damaged or holds other images or labels.
    """
    subfolders, formats = _OFFICIAL[name]
    incomplete = None
    for folder in (data_dir, *(pathlib.Path(data_dir, sub) for sub in subfolders)):
        for title, read, train, test in formats:
            paths = {file: _find(folder, file) for file in (*train, *test)}
            missing = [file for file, path in paths.items() if path is None]
            if not missing:
                parts = [
                    _read_part(
                        read, [paths[file] for file in part], image_shape, num_classes
                    )
                    for part in (train, test)
                ]
                return *parts, f"{title} files in {folder}"
            if len(missing) < len(paths) and incomplete is None:
                incomplete = (
                    f"`data_dir`: {folder} holds some {title} files of {name}, but "
                    f"not {', '.join(missing)}."
                )
    if incomplete:
        raise FileNotFoundError(incomplete)
    return None


def _read_cifar_batch(path, label_key):
    content = _unpickle(path)
    try:
        pixels = np.asarray(content[b"data"])
        labels = np.array(content[label_key], np.int32, ndmin=1)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        found = sorted(map(str, content)) if isinstance(content, dict) else content
        raise ValueError(
            f"{path}: expected a dictionary with arrays b'data' and {label_key}, "
            f"found {found!r:.80}."
        ) from None
    if pixels.dtype != np.uint8 or pixels.shape != (labels.size, _CIFAR_BYTES):
        raise ValueError(
            f"{path}: expected uint8 data ({labels.size}, {_CIFAR_BYTES}) for "
            f"{labels.size} labels, found {pixels.dtype} {pixels.shape}."
        )
    return pixels, labels


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays and plain containers, and refuses all else."""

    def find_class(self, module, name):
        if (module, name) not in _ARRAY_GLOBALS:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, and only NumPy arrays are allowed"
            )
        return _ARRAY_GLOBALS[module, name]


def _unpickle(path):
    content = io.BytesIO(_read_bytes(path))
    try:
        return _ArrayUnpickler(content, encoding="bytes").load()
    except Exception as error:  # A damaged pickle can raise anything.
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: expected a CIFAR pickle, but {reason}.") from None


def _find(folder, file):
    for path in (pathlib.Path(folder, file), pathlib.Path(folder, f"{file}.gz")):
        if path.is_file():
            return path
    return None


def _read_part(read, paths, image_shape, num_classes):
    images, labels = read(paths)
    where = f"{paths[0].parent}: {', '.join(path.name for path in paths)}"
    n = len(labels)
    if labels.shape != (n,) or images.shape != (n, *image_shape) or n == 0:
        raise ValueError(
            f"{where}: expected images {('n', *image_shape)} and n labels, found "
            f"images {images.shape} and labels {labels.shape}."
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        raise ValueError(
            f"{where}: expected labels from 0 to {num_classes - 1}, found "
            f"{labels[wrong[0]]} at record {wrong[0]}."
        )
    return images, labels


def _cifar_images(pixels):
    """Turns rows of channel planes into NHWC images."""
    planes = np.concatenate(pixels).reshape(-1, *_CIFAR_SHAPE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def _read_bytes(path):
    with open(path, "rb") as file:
        content = file.read()
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: damaged or truncated gzip file ({error}).") from None
