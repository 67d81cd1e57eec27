"""One training over several devices, and what Keras 3 cannot do there.

`mirrored` copies the model to each GPU of this machine, `multi_worker` to each machine
that `TF_CONFIG` names; the batch size is that of all replicas together. Keras 3's `fit`
fails under several workers (keras-team/keras issue 20585) unless the model is wrapped
as it is here. `steps_per_execution` above 1 fails under every strategy (issue 19246),
and so does forced XLA (issue 20763). Batch normalisation sees the part of a batch that
its replica has.
"""

import contextlib
import functools
import json
import os

import tensorflow as tf


def check(config):
    """Refuses what cannot work, before anything is trained.

    Raises:
        ValueError: names the flags that cannot go together, or what is missing.
    """
    if config.strategy == "none":
        return
    if config.jit == "on":
        raise ValueError(
            f"--jit=on does not work under --strategy={config.strategy}: use --jit=auto"
        )
    if config.strategy == "multi_worker" and config.workers:
        raise ValueError(
            "--strategy=multi_worker spreads one training, --workers spreads trials: "
            f"--workers={config.workers} must be 0"
        )
    _strategy(config.strategy)


@functools.cache
def _strategy(name):
    # Collective operations must be set up once, before any other.
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    return tf.distribute.MultiWorkerMirroredStrategy()


def own_logdir(config):
    """Returns the folder that this process may write to.

    Under several workers all train the same runs; only the first writes what people
    read, and the others write beside it.
    """
    if config.strategy != "multi_worker":
        return config.logdir
    task = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {})
    index = task.get("index", 0)
    return config.logdir if index == 0 else f"{config.logdir}-task{index}"


def grow_memory():
    """Lets GPUs give memory as it is needed: processes may then share one."""
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)


def scope(config):
    """Returns the context in which models are built, compiled and fitted."""
    if config.strategy == "none":
        return contextlib.nullcontext()
    return _strategy(config.strategy).scope()


def wrap(model, config):
    """Makes `model`, built under `scope`, one that `--strategy` can train; returns it.

    `fit` and `evaluate` of `zoo.study` call it; before Keras's `fit` call it yourself.
    """
    if config.strategy == "multi_worker" and not isinstance(model, _VectorLogs):
        kind = type(model)
        model.__class__ = type(kind.__name__, (_VectorLogs, kind), {})
        # Keras fails to build from the parts of a batch; tracing builds as well.
        model._distribute_strategy = None
    return model


class _VectorLogs:
    """Steps whose logs survive Keras's reduction over workers along axis 0."""

    def train_step(self, data):
        return _as_vectors(super().train_step(data))

    def test_step(self, data):
        return _as_vectors(super().test_step(data))


def _as_vectors(logs):
    return {name: tf.reshape(value, [1]) for name, value in logs.items()}
