"""What every study that trains does alike: load image sets, fit, fail clearly."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Literal

import keras
import numpy as np

from zoo._types import Array
from zoo.data import (
    ImageSet,
    average_pool,
    batches,
    check_finite,
    load_images,
    steps_per_epoch,
)
from zoo.study import distribute
from zoo.study.tensorboard import EpochLogs

PARTS = ("train", "validation", "test")
SIZES = ("limit", "image_size")


def load_data(name: str, config: SimpleNamespace) -> ImageSet:
    """Loads an image set as the settings say: `limit`, `image_size`, `data_dir`.

    Args:
        name: str, one of `config.dataset`.
        config: the settings.

    Returns:
        A `zoo.data.ImageSet`.

    Raises:
        ValueError: with one line that names `--dataset`.

    Example:

    >>> import types
    >>> config = types.SimpleNamespace(data_dir=None, limit=100, seed=0, image_size=4)
    >>> load_data("digits", config).train[0].shape
    (100, 4, 4, 1)
    """
    try:
        data = load_images(
            name, config.data_dir, limit=config.limit or None, seed=config.seed
        )
        for part in PARTS:
            check_finite(part, getattr(data, part)[0])
        if not config.image_size:
            return data
        pooled: dict[str, Any] = {
            part: (average_pool(images, config.image_size), labels)
            for part in PARTS
            for images, labels in [getattr(data, part)]
        }
    except ValueError as error:
        sizes = [f"--{flag}={getattr(config, flag)}" for flag in SIZES]
        raise ValueError(f"--dataset={name}: {error} ({', '.join(sizes)})") from None
    return dataclasses.replace(data, **pooled)


def fit(
    model: keras.Model,
    images: Array,
    labels: Array,
    config: SimpleNamespace,
    *,
    seed: int,
    logdir: str | os.PathLike[str],
    batch_size: int | None = None,
    epochs: int | None = None,
    first_epoch: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    map_fn: Callable[[Array, Array, Array], tuple[Array, Array]] | None = None,
) -> dict[str, list[float]]:
    """Fits a compiled model with seeded batches, TensorBoard and an end at NaN.

    Args:
        model: a compiled `keras.Model`.
        images, labels: arrays.
        config: the settings; `batch_size` and `epochs` are theirs where not given.
        seed: int, of the order of the batches.
        logdir: str, the folder of TensorBoard's logs.
        first_epoch: int, the epochs that the model has been trained for.
        callbacks: further Keras callbacks.
        map_fn: as in `zoo.data.batches`.

    Returns:
        Dict of a log's name to its value in each epoch.

    Raises:
        FloatingPointError: the loss is not finite.

    Example:

    >>> import tempfile
    >>> import types
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> config = types.SimpleNamespace(batch_size=4, epochs=3, strategy="none")
    >>> x, y = np.ones((8, 2), "float32"), np.ones((8, 1), "float32")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     history = fit(model, x, y, config, seed=0, logdir=folder)
    >>> len(history["loss"])
    3
    """
    batch_size = batch_size or config.batch_size
    dataset = batches(
        images,
        labels,
        batch_size,
        seed=seed,
        first_epoch=first_epoch,
        drop_remainder=len(images) % batch_size == 0,
        map_fn=map_fn,
    )
    distribute.wrap(model, config)
    with distribute.scope(config):
        if not model.optimizer.built:
            # Else `fit` makes slots as it traces a step, and must trace it twice.
            model.optimizer.build(model.trainable_variables)
        history = model.fit(
            dataset,
            steps_per_epoch=steps_per_epoch(len(images), batch_size),
            epochs=epochs or config.epochs,
            initial_epoch=first_epoch,
            callbacks=[
                *callbacks,
                keras.callbacks.TerminateOnNaN(),
                EpochLogs(logdir),
            ],
            shuffle=False,
            verbose=0,
        ).history
    if not np.isfinite(history["loss"][-1]):
        raise FloatingPointError(
            f"the loss is {history['loss'][-1]} in epoch "
            f"{first_epoch + len(history['loss'])}"
        )
    return history


def evaluate(
    model: keras.Model, data: ImageSet, config: SimpleNamespace
) -> dict[str, float]:
    """Evaluates a model on all parts of an image set.

    Args:
        model: a compiled `keras.Model`.
        data: `zoo.data.ImageSet`.
        config: the settings.

    Returns:
        Dict of `train_loss`, `test_accuracy` and so on to floats.

    Example:

    >>> import types
    >>> data = load_images("digits", limit=50)
    >>> layers = [keras.layers.Flatten(), keras.layers.Dense(10)]
    >>> model = keras.Sequential([keras.Input(data.input_shape), *layers])
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> model.compile("sgd", loss)
    >>> sorted(evaluate(model, data, types.SimpleNamespace(strategy="none")))
    ['test_loss', 'train_loss', 'validation_loss']
    """
    distribute.wrap(model, config)
    with distribute.scope(config):
        return {
            f"{part}_{name}": value
            for part in PARTS
            for images, labels in [getattr(data, part)]
            for name, value in model.evaluate(
                batches(images, labels, 500, shuffle=False),
                verbose=0,
                return_dict=True,
            ).items()
        }


def jit_compile(config: SimpleNamespace) -> bool | Literal["auto"]:
    """Returns what `--jit` means to `keras.Model.compile`.

    Args:
        config: the settings.

    Returns:
        `True`, `False` or `"auto"`.

    Example:

    >>> import types
    >>> jit_compile(types.SimpleNamespace(jit="on"))
    True
    """
    values: dict[str, bool | Literal["auto"]] = {
        "auto": "auto",
        "on": True,
        "off": False,
    }
    return values[config.jit]
