"""Two runs in one folder: the second is refused, a killed one is never in the way."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from zoo.study import app, lock

# What holds a folder as a run does, without importing TensorFlow.
HOLD = """
import importlib.util, subprocess, sys
spec = importlib.util.spec_from_file_location("lock", sys.argv[1])
lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock)
with lock.hold(sys.argv[2]):
    if len(sys.argv) > 3:
        child = subprocess.Popen(["sleep", sys.argv[3]], close_fds=False)
        print(child.pid, flush=True)
    print("held", flush=True)
    sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(not lock.fcntl, reason="needs locks of the system")


@pytest.fixture
def holder():
    """Starts processes that hold a folder; they end with the test."""
    processes = []

    def start(folder, *orphan):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, lock.__file__, str(folder), *orphan],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        orphans = [int(process.stdout.readline()) for _ in orphan]
        assert process.stdout.readline() == "held\n"
        return process, *orphans

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def little_patience(monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE", 0.3)


def test_a_second_run_is_refused_in_one_line(call, error, holder, tmp_path):
    folder = tmp_path / "runs" / "coin"
    process, *_ = holder(folder)
    assert call() == 1
    assert error() == (
        f"coin: error: {folder} is in use by process {process.pid} on "
        f"{socket.gethostname()}: wait for it or use another --logdir"
    )
    assert [path.name for path in folder.iterdir()] == [lock.LOCK]


def test_fresh_does_not_take_the_folder_from_a_run(call, error, holder, tmp_path):
    folder = tmp_path / "runs" / "coin"
    holder(folder)
    assert call("--fresh") == 1
    assert "is in use by process" in error()
    assert [path.name for path in folder.parent.iterdir()] == ["coin"]


def test_a_dry_run_and_a_report_need_no_lock(call, error, holder, capsys, tmp_path):
    assert call("--runs=1") == 0
    folder = tmp_path / "runs" / "coin"
    settings = (folder / "config.json").read_text()
    (folder / "report.md").unlink()
    partial = folder / "side=a,seed=0" / ".result.json.9.partial"
    partial.write_text("what the other run is writing")
    holder(folder)
    assert call("--runs=1", "--workers=3") == 0
    assert (folder / "report.md").exists()
    assert (folder / "config.json").read_text() == settings
    assert partial.exists()
    assert call("--dry_run") == 0
    assert "6 runs; their time was not measured" in capsys.readouterr().out
    # One with something left to run does, and so does another configuration.
    assert call("--runs=2") == 1
    assert "is in use by" in error()
    assert call("--runs=1", "--epochs=9") == 1
    assert "holds another configuration" in error()


def test_nothing_is_written_into_the_folder_of_something_else(call, error, tmp_path):
    folder = tmp_path / "runs" / "coin"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("years of work")
    assert call() == 1
    assert "is not empty and has no config.json" in error()
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


def test_the_lock_of_a_killed_process_is_gone_at_once(holder, tmp_path):
    process, *_ = holder(tmp_path)
    assert lock.is_held(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert str(process.pid) in (tmp_path / lock.LOCK).read_text()
    assert not lock.is_held(tmp_path)
    with lock.hold(tmp_path):
        assert (tmp_path / lock.LOCK).read_text() == (
            f"process {os.getpid()} on {socket.gethostname()}"
        )
    assert not lock.is_held(tmp_path)


def test_orphans_keep_the_lock_and_are_waited_for(holder, monkeypatch, tmp_path):
    monkeypatch.setattr(lock, "PATIENCE", 30.0)
    process, orphan = holder(tmp_path, "60")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert lock.is_held(tmp_path)
    os.kill(orphan, signal.SIGTERM)
    with lock.hold(tmp_path):
        pass


def test_a_lock_on_a_folder_that_was_set_aside_does_not_count(tmp_path, monkeypatch):
    folder, try_lock = tmp_path / "coin", lock._try

    def overtaken(file, **kwargs):
        monkeypatch.setattr(lock, "_try", try_lock)
        folder.rename(tmp_path / "coin.1")
        return try_lock(file, **kwargs)

    monkeypatch.setattr(lock, "_try", overtaken)
    with lock.hold(folder):
        assert lock.is_held(folder)
        assert not lock.is_held(tmp_path / "coin.1")


def test_where_files_cannot_be_locked_a_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lock, "fcntl", None)
    with lock.hold(tmp_path):
        assert not lock.is_held(tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / lock.LOCK} cannot be locked")


def test_the_processes_of_a_run_are_one_run(call, error, tmp_path, monkeypatch):
    """A chief that was started by another process does not ask for the lock."""
    monkeypatch.setattr(app.workers, "_end_with_parent", lambda: None)
    monkeypatch.setenv(app.workers.PARENT, str(os.getppid()))
    with lock.hold(tmp_path / "runs" / "coin"):
        assert call("--runs=1") == 0
        monkeypatch.delenv(app.workers.PARENT)
        assert call("--runs=2") == 1
        assert f"process {os.getpid()} on" in error()


def test_locks_are_held_no_longer_than_a_run(call, tmp_path):
    folder = tmp_path / "runs" / "coin"
    assert call("--runs=1") == 0
    start = time.monotonic()
    assert call("--runs=2") == 0
    assert not lock.is_held(folder)
    assert pathlib.Path(folder, "report.html").exists()
    assert time.monotonic() - start < 30
