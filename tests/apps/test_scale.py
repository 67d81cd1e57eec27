"""A study over processes, machines and devices: the table of one process in the end.

All machines are this one, met on loopback; devices are logical CPUs.
"""

import contextlib
import csv
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import keras
import pytest

from zoo.apps import margins

ROOT = pathlib.Path(__file__).parents[2]
# The app of the fixture `call`; a network without batch normalisation, which would see
# the parts of a batch. Two runs of one task and four of another.
EXPERIMENTS = margins.EXPERIMENTS
STUDY = ("--experiment=capacity", "--width=8", "--limit=200", "--epochs=2")
RUNS = 6
APP = ("-m", "zoo.apps.margins")
ON_TWO_CPUS = """
import runpy
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
runpy.run_module("zoo.apps.margins", run_name="__main__", alter_sys=True)
"""


def start(logdir, *flags, program=APP, name="log", **environment):
    """Starts the study in a process; what it prints goes to a file beside `logdir`."""
    with open(logdir.with_name(f"{name}.txt"), "ab") as log:
        return subprocess.Popen(
            [sys.executable, *program, *STUDY, f"--logdir={logdir}", *flags],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


@contextlib.contextmanager
def ended(*processes):
    """Waits for processes to end well; kills those that have not."""
    try:
        yield
        assert [process.wait(timeout=400) for process in processes] == [0] * len(
            processes
        )
    finally:
        for process in processes:
            process.kill()
            process.wait()


def free_ports(count):
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def folder(logdir):
    return logdir / "margins" / "capacity"


def table(logdir):
    """Reads the table: a dict of a run's name to its row, in order, without times."""
    with open(folder(logdir) / "results.csv") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    for row in rows.values():
        del row["seconds"]
    return rows


def numbers(rows, count=None):
    """Returns the numbers of the first rows, those of each in a dict."""
    return [
        {
            name: float(value)
            for name, value in row.items()
            if name.endswith(("_loss", "_accuracy"))
        }
        for row in list(rows.values())[:count]
    ]


def check_first_runs(logdir, alone, count, tolerance):
    """Compares the only runs of a folder with the first ones of one process."""
    rows = table(logdir)
    assert list(rows) == list(alone)[:count]
    for found, wanted in zip(numbers(rows), numbers(alone), strict=False):
        assert found == pytest.approx(wanted, rel=tolerance)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The table of one process."""
    logdir = tmp_path_factory.mktemp("alone") / "runs"
    with ended(start(logdir)):
        pass
    rows = table(logdir)
    assert len(rows) == RUNS
    return rows


def test_two_workers_make_the_table_of_one_process(tmp_path, alone):
    logdir = tmp_path / "runs"
    with ended(start(logdir, "--workers=2")):
        pass
    assert list(table(logdir).items()) == list(alone.items())
    logs = [path.read_text() for path in (folder(logdir) / "logs").glob("worker*.log")]
    assert len(logs) == 2
    assert sum(log.count("validation_accuracy") for log in logs) == RUNS


def test_a_machine_that_dies_and_comes_back_loses_nothing(tmp_path, alone):
    logdir = tmp_path / "runs"
    (port,) = free_ports(1)

    def machine(name):
        return start(
            logdir,
            name=name,
            KERASTUNER_ORACLE_IP="127.0.0.1",
            KERASTUNER_ORACLE_PORT=str(port),
            KERASTUNER_TUNER_ID=name,
        )

    def prints(name):
        return (tmp_path / f"{name}.txt").read_text()

    chief, *workers = map(machine, ("chief", "worker0", "worker1"))
    with ended(chief):
        # The first that has ended a run, while it is in the next one.
        deadline = time.monotonic() + 240
        while not (
            first := [one for one in range(2) if "[1/6]" in prints(f"worker{one}")]
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.3)
        dies = workers.pop(first[0])
        dies.send_signal(signal.SIGKILL)
        assert dies.wait() == -signal.SIGKILL
        assert not (folder(logdir) / "results.csv").exists()
        comes_back = machine(f"worker{first[0]}")
        with ended(comes_back, *workers):
            pass
    assert list(table(logdir).items()) == list(alone.items())
    # What Keras Tuner says to itself is nobody's.
    assert "\nwidth\n" not in prints("chief") + prints("worker0") + prints("worker1")


def test_replicas_on_two_devices_make_the_numbers_of_one(tmp_path, alone):
    logdir = tmp_path / "runs"
    flags = ("--strategy=mirrored", "--trials=1")
    with ended(start(logdir, *flags, program=("-c", ON_TWO_CPUS))):
        pass
    assert "replica:0/task:0/device:CPU:1" in (tmp_path / "log.txt").read_text()
    check_first_runs(logdir, alone, 1, 1e-5)


def test_machines_that_share_a_training_make_the_numbers_of_one(tmp_path, alone):
    logdir = tmp_path / "runs"
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    machines = [
        start(
            logdir,
            *("--strategy=multi_worker", "--trials=1"),
            TF_CONFIG=json.dumps(
                {"cluster": cluster, "task": {"type": "worker", "index": index}}
            ),
        )
        for index in range(2)
    ]
    with ended(*machines):
        pass
    check_first_runs(logdir, alone, 1, 1e-5)
    check_first_runs(tmp_path / "runs-task1", alone, 1, 1e-5)


@pytest.fixture
def policy():
    """Gives Keras's policy back, which a run sets."""
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("flag", "tolerance"),
    # With the 8 bits of bfloat16, one of 75 images of the test may change sides.
    [("--policy=mixed_bfloat16", 0.02), ("--jit=on", 1e-5)],
)
def test_half_precision_and_xla_run_a_study(
    call, policy, tmp_path, alone, flag, tolerance
):
    logdir = tmp_path / "runs"
    assert call(logdir, *STUDY, "--trials=1", flag) == 0
    check_first_runs(logdir, alone, 1, tolerance)
    if "bfloat16" in flag:
        assert numbers(table(logdir)) != numbers(alone, 1)
