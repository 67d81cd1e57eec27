"""TensorBoard's HParams and text beside the scalars that a run logs itself."""

import contextlib
import os
import pathlib

import keras
import tensorflow as tf
from tensorboard.plugins.hparams import api

from zoo._files import disk_problem


class EpochLogs(keras.callbacks.TensorBoard):
    """Keras's callback, of epochs alone.

    Keras's would write nothing of a batch either, and be slow about it.

    Args:
        logdir: str, the folder to write to.

    Example:

    >>> import os
    >>> import tempfile
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = tf.ones((4, 2)), tf.ones((4, 1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     history = model.fit(x, y, callbacks=[EpochLogs(folder)], verbose=0)
    ...     print(os.listdir(folder))
    ['train']
    """

    def __init__(self, logdir: str | os.PathLike[str]) -> None:
        super().__init__(logdir, write_graph=False)

    def on_train_batch_begin(self, batch, logs=None):
        pass

    def on_train_batch_end(self, batch, logs=None):
        pass


def write_study(folder, hp, objective, flags):
    """Writes the HParams columns and the flags at the root of a study's logs."""
    columns = [api.HParam(entry.name, _domain(entry)) for entry in hp.space]
    columns.append(api.HParam("status", api.Discrete(["finished", "failed"])))
    with _writing(folder):
        api.hparams_config(columns, [api.Metric(f"result/{objective}")])
        tf.summary.text("flags", f"```\n{flags}```")


def write_epochs(logdir, records):
    """Writes what `EpochLogs` would have of epochs that are not trained again."""
    with _writing(f"{logdir}/train"):
        for epoch, record in enumerate(records):
            for name, value in record.items():
                tf.summary.scalar(f"epoch_{name}", value, step=epoch)


def write_run(folder, values, scalars, status):
    """Writes a run's HParams, under its folder's name, and its final scalars."""
    with _writing(folder):
        api.hparams({**values, "status": status}, pathlib.Path(folder).name)
        for name, value in scalars.items():
            tf.summary.scalar(f"result/{name}", value)


def write_report(folder, text, images):
    """Writes a report's Markdown and its figures, a dict of paths to PNG bytes."""
    with _writing(folder):
        tf.summary.text("report", text)
        for path, png in images.items():
            tf.summary.image(path.removesuffix(".png"), tf.io.decode_png(png, 3)[None])


@contextlib.contextmanager
def _writing(folder):
    try:
        writer = tf.summary.create_file_writer(str(folder))
        with writer.as_default(step=0):
            yield
        writer.close()
    except tf.errors.OpError as error:
        problem = disk_problem(error) or error.message
        raise OSError(f"{folder} cannot be written: {problem}") from None


def _domain(entry):
    """Maps a Keras Tuner entry to the domain of a TensorBoard column."""
    if hasattr(entry, "min_value") and entry.step is None:
        return api.RealInterval(float(entry.min_value), float(entry.max_value))
    return api.Discrete(list(entry.values))
