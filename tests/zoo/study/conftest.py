"""What the tests of the study machine share."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import types

import pytest
from absl import flags
from absl.testing import flagsaver

from zoo.study import app

COIN = pathlib.Path(__file__).with_name("coin.py")
ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(scope="session")
def coin():
    """The class of the study in `coin.py`."""
    spec = importlib.util.spec_from_file_location("coin", COIN)
    module = importlib.util.module_from_spec(spec)
    sys.modules["coin"] = module
    spec.loader.exec_module(module)
    return module.Coin


@pytest.fixture
def make_config(coin, tmp_path):
    """Makes settings as flags would, in a folder of the test's."""

    def make(**changes):
        common = {
            "preset": "quick",
            "data_dir": None,
            "logdir": str(tmp_path / "runs"),
            "seed": 0,
            "search": "grid",
            "trials": None,
            "workers": 0,
            "strategy": "none",
            "policy": "float32",
            "jit": "auto",
            "resume": True,
            "fresh": False,
            "dry_run": False,
        }
        settings = {**common, **coin.presets["quick"], **changes}
        return types.SimpleNamespace(**settings)

    return make


@pytest.fixture
def call(coin, define_flags, monkeypatch, tmp_path):
    """Calls the coin's app in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["coin.py"])
    if "preset" not in flags.FLAGS:
        define_flags(coin)

    def call(*arguments, logdir=tmp_path / "runs"):
        with flagsaver.flagsaver():
            app.parse(["coin", f"--logdir={logdir}", *arguments])
            return app.run_studies(coin)

    return call


@pytest.fixture
def error(capsys):
    """Reads the one line that a call has complained with."""

    def read():
        (line,) = [
            line
            for line in capsys.readouterr().err.splitlines()
            if line.startswith("coin: ")
        ]
        return line

    return read


@pytest.fixture
def start(tmp_path):
    """Starts the study in a process; whatever still runs at the end is killed."""
    processes = []

    def run(*flags, seconds=0.0, **environment):
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "COIN_LOG": str(tmp_path / "log"),
            "COIN_SECONDS": str(seconds),
            **environment,
        }
        process = subprocess.Popen(
            [sys.executable, str(COIN), f"--logdir={tmp_path / 'runs'}", *flags],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()
