"""Disks that are full or cannot be written, and files that a power cut left in half."""

import contextlib
import errno
import os
import subprocess

import pytest
import tensorflow as tf

from zoo._files import write_atomically
from zoo.study import results


@pytest.fixture
def disk(tmp_path):
    """A file system of 2 MB of its own; only root may make one."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a tmpfs")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """Lists the runs that were started so far."""
    path = tmp_path / "log"
    monkeypatch.setenv("COIN_LOG", str(path))
    return lambda: path.read_text().split()


def fill(disk):
    """Fills a disk to its last byte; returns the file that does."""
    path = disk / "filler"
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
        while True:
            file.write(bytes(512))
    return path


def full():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_stops_a_grid_that_goes_on_later(call, error, ran, disk):
    assert call("--trials=2", logdir=disk / "runs") == 0
    filler = fill(disk)
    assert call(logdir=disk / "runs") == 1
    line = error()
    assert "No space left on device" in line
    assert str(disk / "runs" / "coin") in line
    filler.unlink()
    assert call(logdir=disk / "runs") == 0
    table = results.Results(disk / "runs" / "coin").table
    assert table["status"].tolist() == ["finished"] * 6
    assert ran()[:2] == ["side=a,seed=0", "side=a,seed=1"]
    assert not set(ran()[:2]) & set(ran()[2:])
    assert not list((disk / "runs").rglob("*.partial"))


@pytest.mark.parametrize("left", [1, 8, 24, 64])
def test_wherever_the_disk_runs_full_nothing_finished_is_lost(
    call, error, ran, disk, left
):
    """With `left` kilobytes at the start, some run, report or log does not fit."""
    filler = fill(disk)
    os.truncate(filler, os.path.getsize(filler) - (left << 10))
    assert call(logdir=disk / "runs") == 1
    line = error()
    assert line.count("No space left on device") == 1
    assert len(line.replace(str(disk), "")) < 100
    filler.unlink()
    ended = [path.parent.name for path in (disk / "runs").rglob("result.json")]
    before = ran() if ended else []
    assert call(logdir=disk / "runs") == 0
    assert not set(ended) & set(ran()[len(before) :])
    table = results.Results(disk / "runs" / "coin").table
    assert table["status"].tolist() == ["finished"] * 6


@pytest.mark.parametrize("name", ["curves.npz", "result.json", "report.html"])
def test_a_write_that_fails_is_one_line_and_is_done_again(
    call, error, ran, monkeypatch, tmp_path, name
):
    replace, failed = os.replace, []

    def fail_once(source, target):
        if target.name == name and not failed:
            failed.append(target)
            full()
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_once)
    assert call() == 1
    line = error()
    assert line.startswith("coin: error: [Errno 28] No space left on device: ")
    assert line.endswith(f"/{name}'")
    first = len(ran())
    assert call() == 0
    assert len(ran()) == 6 + (first == 1)
    assert "Failed" not in (tmp_path / "runs" / "coin" / "report.md").read_text()


@pytest.mark.parametrize(
    "problem",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "weights.h5"),
        tf.errors.ResourceExhaustedError(None, None, "x; No space left on device"),
    ],
)
def test_a_full_disk_makes_no_failed_run(call, coin, error, monkeypatch, problem):
    def run(self, hp, config, logdir):
        raise problem

    with monkeypatch.context() as patch:
        patch.setattr(coin, "run", run)
        assert call() == 1
    assert "No space left on device" in error()
    assert call() == 0


def test_a_folder_that_cannot_be_written_is_named(call, error, ran, disk):
    assert call("--runs=1", logdir=disk / "runs") == 0
    remount = ["mount", "-o", "remount,ro", str(disk)]
    subprocess.run(remount, check=True, capture_output=True)
    for logdir in (disk / "runs", disk / "new"):
        assert call(logdir=logdir) == 1
        line = error()
        assert "[Errno 30] Read-only file system" in line
        assert str(logdir) in line
    # What is there can be seen without writing.
    assert call("--dry_run", logdir=disk / "runs") == 0
    assert len(ran()) == 2


@pytest.mark.parametrize(
    "name", ["side=a,seed=0/result.json", "side=a,seed=0/curves.npz"]
)
def test_a_run_with_half_a_file_is_repeated_alone(call, ran, capsys, tmp_path, name):
    assert call() == 0
    folder = tmp_path / "runs" / "coin"
    table = results.Results(folder).table.drop(columns="seconds")
    path = folder / name
    path.write_bytes(path.read_bytes()[:-20])
    capsys.readouterr()
    assert call() == 0
    assert f"{path} is not whole: that run is repeated\n" in capsys.readouterr().err
    assert ran()[6:] == ["side=a,seed=0"]
    assert results.Results(folder).table.drop(columns="seconds").equals(table)


def test_half_written_files_of_keras_tuner_do_not_matter(call, ran, tmp_path):
    assert call("--runs=2") == 0
    tuner = list((tmp_path / "runs" / "coin" / "tuner").rglob("*.json"))
    assert {path.name for path in tuner} >= {"oracle.json", "trial.json"}
    for path in tuner:
        path.write_text(path.read_text()[:30])
    assert call() == 0
    assert len(ran()) == len(set(ran())) == 6


def test_half_a_report_is_written_again(call, tmp_path):
    assert call() == 0
    folder = tmp_path / "runs" / "coin"
    whole = {}
    for name in ("report.md", "report.html", "results.csv"):
        whole[name] = (folder / name).read_text()
        write_atomically(folder / name, whole[name][:40])
    assert call() == 0
    for name, text in whole.items():
        assert (folder / name).read_text() == text
