"""Strategies: what is refused, and that replicas train as one device does."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from zoo.study import distribute

ROOT = pathlib.Path(__file__).parents[3]

TRAIN = """
import sys, types, keras, numpy as np, tensorflow as tf
from zoo.study import distribute

name, devices = sys.argv[1], int(sys.argv[2])
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpus[0], [tf.config.LogicalDeviceConfiguration()] * devices
)
config = types.SimpleNamespace(strategy=name, jit="auto", workers=0)
distribute.check(config)
keras.utils.set_random_seed(0)
with distribute.scope(config):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu"),
                              keras.layers.Dense(1)])
    sgd = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(sgd, keras.losses.MeanSquaredError())
assert distribute.wrap(distribute.wrap(model, config), config) is model
with distribute.scope(config):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((x, x.sum(1, keepdims=True))).batch(16)
    options = tf.data.Options()
    policy = tf.data.experimental.AutoShardPolicy.DATA
    options.experimental_distribute.auto_shard_policy = policy
    data = data.with_options(options)
    logs = model.fit(data, epochs=2, verbose=0, shuffle=False)
    loss = model.evaluate(data, verbose=0)
weights = [float(np.sum(w)) for w in model.get_weights()]
print("RESULT", [*weights, float(np.ravel(loss)[0])])
"""


def start(*arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process):
    output, errors = process.communicate(timeout=180)
    lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
    assert lines, errors[-3000:]
    return json.loads(lines[0].removeprefix("RESULT "))


@pytest.fixture(scope="module")
def alone():
    return result(start("none", 1))


def test_mirrored_replicas_train_as_one_device(alone):
    assert result(start("mirrored", 2)) == pytest.approx(alone, rel=1e-5)


def test_two_workers_train_as_one_device(alone):
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    workers = [
        start(
            "multi_worker",
            1,
            TF_CONFIG=json.dumps(
                {"cluster": cluster, "task": {"type": "worker", "index": index}}
            ),
        )
        for index in range(2)
    ]
    for worker in workers:
        assert result(worker) == pytest.approx(alone, rel=1e-5)


def test_gpus_give_memory_as_it_is_needed(monkeypatch):
    grown = []
    config = distribute.tf.config
    monkeypatch.setattr(config, "list_physical_devices", {"GPU": ["a", "b"]}.get)
    monkeypatch.setattr(
        config.experimental, "set_memory_growth", lambda *call: grown.append(call)
    )
    distribute.grow_memory()
    assert grown == [("a", True), ("b", True)]


def test_what_cannot_work_is_refused(make_config):
    with pytest.raises(ValueError, match="--jit=on does not work under --strategy=mir"):
        distribute.check(make_config(strategy="mirrored", jit="on"))
    with pytest.raises(ValueError, match="--workers=2 must be 0"):
        distribute.check(make_config(strategy="multi_worker", workers=2))


def test_each_task_of_a_training_has_a_folder_of_its_own(make_config, monkeypatch):
    config = make_config(logdir="runs")
    task = {"type": "worker", "index": 1}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {}, "task": task}))
    assert distribute.own_logdir(config) == "runs"
    config.strategy = "multi_worker"
    assert distribute.own_logdir(config) == "runs-task1"
