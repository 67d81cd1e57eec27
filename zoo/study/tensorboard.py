"""TensorBoard's HParams and text beside the scalars that a run logs itself."""

import contextlib

import keras
import tensorflow as tf
from tensorboard.plugins.hparams import api


class EpochLogs(keras.callbacks.TensorBoard):
    """Keras's callback, of epochs alone.

    Keras's would write nothing of a batch either, and be slow about it.
    """

    def __init__(self, logdir):
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
    """Writes a run's HParams and its final scalars."""
    with _writing(folder):
        api.hparams({**values, "status": status})
        for name, value in scalars.items():
            tf.summary.scalar(f"result/{name}", value)


def write_report(folder, text, images):
    """Writes a report's Markdown and its figures, a dict of PNG bytes."""
    with _writing(folder):
        tf.summary.text("report", text)
        for name, png in images.items():
            tf.summary.image(f"figures/{name}", tf.io.decode_png(png, 3)[None])


@contextlib.contextmanager
def _writing(folder):
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=0):
        yield
    writer.close()


def _domain(entry):
    """Maps a Keras Tuner entry to the domain of a TensorBoard column."""
    if hasattr(entry, "min_value") and entry.step is None:
        return api.RealInterval(float(entry.min_value), float(entry.max_value))
    return api.Discrete(list(entry.values))
