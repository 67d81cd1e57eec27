"""Batches whose order is a function of the seed and the epoch alone."""

import numbers
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from zoo._types import Array

_PAD = 4


def steps_per_epoch(n: int, batch_size: int, drop_remainder: bool = False) -> int:
    """Counts the batches of one epoch.

    Args:
        n: Number of samples.
        batch_size: Samples a batch, at least 1.
        drop_remainder: Whether a last batch that is not full is dropped.

    Returns:
        The number of batches, at least 1.

    Raises:
        ValueError: If `n` or `batch_size` is no positive integer, or if
            `drop_remainder=True` leaves no batch.

    Example:

    >>> steps_per_epoch(10, 4), steps_per_epoch(10, 4, drop_remainder=True)
    (3, 2)
    """
    for name, value in (("n", n), ("batch_size", batch_size)):
        if not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError(
                f"`{name}` must be an integer of at least 1. Received: {value!r}"
            )
    if drop_remainder and batch_size > n:
        raise ValueError(
            f"`batch_size` must be at most the {n} samples when "
            f"`drop_remainder=True`. Received: {batch_size}"
        )
    return n // batch_size if drop_remainder else -(-n // batch_size)


def batches(
    images: Array,
    labels: Array,
    batch_size: int,
    *,
    shuffle: bool = True,
    seed: int = 0,
    first_epoch: int = 0,
    drop_remainder: bool = False,
    map_fn: Callable[[Array, Array, Array], tuple[Array, Array]] | None = None,
) -> tf.data.Dataset:
    """Batches arrays held in memory, in an order that resumes exactly.

    With `shuffle=True` the dataset is infinite. Epoch `e` visits each sample
    once, in an order that depends on `(seed, e)` only, and no batch spans two
    epochs. A training that resumes at epoch `k` with `first_epoch=k` therefore
    sees what an uninterrupted one would have seen. For Keras:

    ```python
    model.fit(
        batches(images, labels, 64, first_epoch=k),
        steps_per_epoch=steps_per_epoch(len(images), 64),
        initial_epoch=k,
        epochs=20,
        shuffle=False,  # Keras warns otherwise: the order is ours.
    )
    ```

    If `steps_per_execution` is set, it must divide the steps of an epoch, or Keras
    runs past the epoch's end.

    With `shuffle=False` the dataset is one pass in order, for evaluation.

    Args:
        images: Array `(n, ...)`, held in memory once, on the CPU.
        labels: Array `(n, ...)` of any type.
        batch_size: Samples a batch, at least 1.
        shuffle: Whether to give endless shuffled epochs or one pass in order.
        seed: Integer from which order and augmentation follow.
        first_epoch: The epoch at which the dataset starts, 0 for a new training.
        drop_remainder: Whether a last batch that is not full is dropped in each
            epoch; the batch dimension is then static.
        map_fn: Optional `map_fn(images, labels, seed)` that returns the batch to
            use, such as `augment_flip_crop`. `seed` is an int64 pair for
            TensorFlow's stateless random functions, other for each batch of each
            epoch.

    Returns:
        A `tf.data.Dataset` of `(images, labels)` batches, prefetched.

    Raises:
        ValueError: If the arrays are empty, differ in length or hold NaN or
            infinity, or if an argument is out of its range.

    Example:

    >>> images = np.arange(6, dtype="float32").reshape(6, 1)
    >>> dataset = batches(images, np.arange(6), batch_size=4, seed=1)
    >>> sizes = [len(labels) for _, labels in dataset.take(4)]
    >>> sizes
    [4, 2, 4, 2]
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if not len(images) == len(labels) > 0:
        raise ValueError(
            "`images` and `labels` must have the same length, at least 1. Received: "
            f"{len(images)} images and {len(labels)} labels"
        )
    check_finite("images", images)
    check_finite("labels", labels)
    for name, value in (("seed", seed), ("first_epoch", first_epoch)):
        if not isinstance(value, numbers.Integral) or value < 0:
            raise ValueError(
                f"`{name}` must be an integer of at least 0. Received: {value!r}"
            )
    n = len(images)
    steps = steps_per_epoch(n, batch_size, drop_remainder)
    with tf.device("CPU:0"):
        images, labels = tf.convert_to_tensor(images), tf.convert_to_tensor(labels)

    def epoch_indices(epoch):
        order = tf.range(n)
        if shuffle:
            order = tf.random.experimental.stateless_shuffle(order, [seed, epoch])
        chunks = tf.data.Dataset.from_tensor_slices(order)
        chunks = chunks.batch(batch_size, drop_remainder=drop_remainder)
        return chunks.enumerate().map(lambda step, index: (epoch, step, index))

    def gather(epoch, step, index):
        batch = tf.gather(images, index), tf.gather(labels, index)
        if map_fn is None:
            return batch
        batch_seed = tf.random.experimental.stateless_fold_in([seed, epoch], step)
        return map_fn(*batch, batch_seed)

    epochs = tf.data.Dataset.counter(first_epoch)
    if not shuffle:
        epochs = epochs.take(1)
    dataset = epochs.flat_map(epoch_indices)
    dataset = dataset.map(gather, num_parallel_calls=tf.data.AUTOTUNE)
    length = tf.data.INFINITE_CARDINALITY if shuffle else steps
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(length))
    options = tf.data.Options()
    # tf.data's graph rewrites would keep a second copy of the arrays.
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)


def augment_flip_crop(images: Array, labels: Array, seed: Array) -> tuple[Array, Array]:
    """Flips each image at random and crops it from a zero border of 4 pixels.

    Args:
        images: Tensor `(batch, height, width, channels)`.
        labels: The labels, returned as they are.
        seed: Pair of integers; the same pair gives the same images.

    Returns:
        `(images, labels)`, of the shapes and types given.

    Example:

    >>> images, labels = tf.ones((8, 32, 32, 3)), tf.range(8)
    >>> augmented, _ = augment_flip_crop(images, labels, seed=[0, 1])
    >>> tuple(augmented.shape)
    (8, 32, 32, 3)

    Reference:

    - He, Zhang, Ren, Sun (2016), Deep residual learning for image recognition,
      arXiv:1512.03385, section 4.2.
    """
    batch = tf.shape(images)[0]
    height, width = images.shape[1:3]
    crop_seed, flip_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    top, left = tf.unstack(
        tf.random.stateless_uniform((2, batch, 1), crop_seed, 0, 2 * _PAD + 1, tf.int32)
    )
    flip = tf.random.stateless_uniform((batch, 1), flip_seed, 0, 2, tf.int32) == 1
    columns = tf.range(width)
    rows = top + tf.range(height)
    columns = left + tf.where(flip, columns[::-1], columns)
    padded = tf.pad(images, [[0, 0], [_PAD, _PAD], [_PAD, _PAD], [0, 0]])
    cropped = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(cropped, columns, axis=2, batch_dims=1), labels


def check_finite(name: str, values: Array) -> None:
    """Raises a `ValueError` that says where `values` are NaN or infinite.

    Args:
        name: str, what to call them.
        values: array, of any dtype and shape.

    Raises:
        ValueError: one of them is not finite.

    Example:

    >>> check_finite("images", np.array([[0.0, np.inf]]))
    Traceback (most recent call last):
    ValueError: `images` must be finite. Received: 1 NaN or infinite values, the first
        at index (0, 1)
    """
    if not np.issubdtype(values.dtype, np.inexact):
        return
    finite = np.isfinite(values)
    if not finite.all():
        first = np.unravel_index(finite.argmin(), finite.shape)
        raise ValueError(
            f"`{name}` must be finite. Received: {np.count_nonzero(~finite)} NaN or "
            f"infinite values, the first at index {tuple(map(int, first))}"
        )
