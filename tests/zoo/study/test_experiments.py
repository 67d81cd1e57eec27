"""An app of several experiments: which run, into which folders, with which flags."""

import os
import pathlib
import subprocess
import sys

import pytest
from absl import flags
from absl.testing import flagsaver

from zoo.study import app


@pytest.fixture(scope="module")
def experiments(coin, define_flags):
    class Toss(coin):
        experiment = "toss"

        @classmethod
        def define_flags(cls):
            flags.DEFINE_float("height", None, "Of the toss.")
            flags.DEFINE_float("speed", None, "Of the spin.")

    class Spin(Toss):
        experiment = "spin"

    for kind, setting in ((Toss, "height"), (Spin, "speed")):
        kind.presets = {"quick": {**coin.presets["quick"], setting: 1.0}}
    define_flags(Toss, Spin)
    return Toss, Spin


@pytest.fixture
def run(experiments, tmp_path):
    def call(*arguments):
        with flagsaver.flagsaver():
            app.parse(["coin", f"--logdir={tmp_path}", *arguments])
            return app.run_studies(*experiments)

    return call


def error(capsys):
    return capsys.readouterr().err


def test_all_run_by_default_each_in_its_folder(run, tmp_path):
    assert run() == 0
    for name in ("toss", "spin"):
        folder = tmp_path / "coin" / name
        assert len(list(folder.glob("*/result.json"))) == 6
        assert f"coin/{name}/flags.txt" in (folder / "report.md").read_text()
        assert f"--experiment={name}" in (folder / "flags.txt").read_text()


def test_one_runs_where_it_is_named_and_resumes_from_its_flagfile(run, tmp_path):
    assert run("--experiment=spin", "--speed=2", "--trials=1") == 0
    assert [path.name for path in (tmp_path / "coin").iterdir()] == ["spin"]
    folder = tmp_path / "coin" / "spin"
    assert "--speed=2.0" in (folder / "flags.txt").read_text()
    assert run(f"--flagfile={folder / 'flags.txt'}", "--trials=2") == 0
    assert len(list(folder.glob("*/result.json"))) == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--experiment=flip"], "--experiment=flip must be one of toss, spin"),
        (["--experiment="], "--experiment must name some of toss, spin"),
        (
            ["--experiment=spin", "--height=2"],
            "--height is not read by --experiment=spin",
        ),
    ],
)
def test_a_mistake_is_one_line_and_runs_nothing(run, capsys, tmp_path, arguments, line):
    assert run(*arguments) == 1
    assert error(capsys).splitlines()[-1].endswith(line)
    assert not list(tmp_path.iterdir())


def test_many_machines_join_one_experiment(run, capsys, monkeypatch):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "1")
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    assert run() == 1
    assert "--experiment=toss,spin must name one" in error(capsys)


def test_a_failed_trial_does_not_keep_the_next_from_running(run, tmp_path, monkeypatch):
    monkeypatch.setenv("COIN_BAD", "a")
    assert run() == 2
    assert (tmp_path / "coin" / "spin" / "report.md").exists()


SCRIPT = """
from coin import Coin
from zoo.study import main

class Toss(Coin):
    experiment = "toss"

class Spin(Coin):
    experiment = "spin"

if __name__ == "__main__":
    main(Toss, Spin)
"""


def test_workers_run_the_experiment_of_their_chief(tmp_path):
    script = tmp_path / "coins.py"
    script.write_text(SCRIPT)
    folders = [
        str(pathlib.Path(__file__).parent),
        str(pathlib.Path(__file__).parents[3]),
    ]
    done = subprocess.run(
        [sys.executable, script, "--logdir=runs", "--workers=1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name in ("toss", "spin"):
        folder = tmp_path / "runs" / "coin" / name
        assert len(list(folder.glob("*/result.json"))) == 6


def test_all_are_checked_before_the_first_runs(run, experiments, monkeypatch, tmp_path):
    def prepare(self, config):
        raise ValueError("--speed=1.0 is too fast")

    monkeypatch.setattr(experiments[1], "prepare", prepare)
    assert run() == 1
    assert not (tmp_path / "coin").exists()
