"""Studies as processes: killed and started again, spread over workers, orphaned."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

COIN = pathlib.Path(__file__).with_name("coin.py")
ROOT = pathlib.Path(__file__).parents[3]


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


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def finished(tmp_path):
    return list((tmp_path / "runs" / "coin").glob("*/result.json"))


def table(tmp_path):
    path = tmp_path / "runs" / "coin" / "results.csv"
    return pd.read_csv(path).drop(columns="seconds")


def check_against_a_run_of_its_own(start, tmp_path):
    """Compares the table with that of one process that nothing disturbs."""
    disturbed = table(tmp_path)
    code, *_ = end(start("--fresh"))
    assert code == 0
    pd.testing.assert_frame_equal(disturbed, table(tmp_path))


def end(process):
    """Waits; returns the exit code, the output, and the errors less TensorFlow's."""
    output, errors = process.communicate(timeout=120)
    ours = [
        line
        for line in errors.splitlines()
        if not re.match("WARNING: All log|[IWE]0000 ", line)
    ]
    return process.returncode, output, "\n".join(ours)


def children(process):
    """Maps the Keras Tuner names of a process's children to their process numbers."""
    path = f"/proc/{process.pid}/task/{process.pid}/children"
    found = {}
    for child in pathlib.Path(path).read_text().split():
        variables = pathlib.Path(f"/proc/{child}/environ").read_text().split("\0")
        names = [text for text in variables if text.startswith("KERASTUNER_TUNER_ID=")]
        found.update({name.partition("=")[2]: int(child) for name in names})
    return found


def test_a_killed_grid_goes_on_and_ends_with_the_same_table(start, tmp_path):
    process = start(seconds=0.4)
    wait_for(lambda: len(finished(tmp_path)) >= 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(finished(tmp_path))
    code, output, errors = end(start())
    assert (code, errors) == (0, "")
    assert f"{before} trials have ended already and are kept" in output
    runs = (tmp_path / "log").read_text().split()
    assert len(set(runs)) == 6
    assert len(runs) <= 7
    check_against_a_run_of_its_own(start, tmp_path)


def test_ctrl_c_says_how_to_go_on(start, tmp_path):
    process = start(seconds=0.4)
    wait_for(lambda: finished(tmp_path))
    process.send_signal(signal.SIGINT)
    code, _, errors = end(process)
    assert code == 130
    assert errors == "\nstopped: the same command goes on from here"


def test_failed_runs_set_the_exit_code(start, tmp_path):
    code, _, errors = end(start(COIN_NAN="b"))
    assert code == 2
    assert errors == "3 of 6 trials failed"
    report = (tmp_path / "runs" / "coin" / "report.md").read_text()
    assert "## Failed runs" in report
    assert "| side=b,seed=0 | heads is nan |" in report


@pytest.mark.skipif(not pathlib.Path("/proc/self").exists(), reason="needs /proc")
def test_workers_share_the_grid_and_survive_a_kill(start, tmp_path):
    process = start("--workers=2", seconds=0.6)
    wait_for(lambda: finished(tmp_path))
    os.kill(children(process)["worker0"], signal.SIGKILL)
    code, output, errors = end(process)
    assert (code, errors) == (0, "")
    assert "[6/6]" in output
    runs = (tmp_path / "log").read_text().split()
    assert len(set(runs)) == 6
    assert len(runs) <= 7
    check_against_a_run_of_its_own(start, tmp_path)


def test_a_worker_that_comes_too_late_is_not_waited_for(start, tmp_path):
    code, output, errors = end(start("--workers=2", COIN_LATE="worker0"))
    assert (code, errors) == (0, "")
    assert "[6/6]" in output
    assert len(table(tmp_path)) == 6


def test_failed_trials_of_workers_set_the_exit_code(start, tmp_path):
    # The chief has ended, with that code, while a worker is still to come.
    code, _, errors = end(start("--workers=2", COIN_LATE="worker0", COIN_NAN="b"))
    assert (code, errors) == (2, "3 of 6 trials failed")


def test_what_a_worker_complains_of_is_repeated(start, tmp_path):
    process = start("--workers=1", COIN_FULL="1")
    code, _, errors = end(process)
    assert code == 1
    assert re.fullmatch(
        r"coin: error: \S+side=\S+ cannot be written: No space .*", errors
    )


@pytest.mark.skipif(not pathlib.Path("/proc/self").exists(), reason="needs /proc")
def test_workers_end_with_their_parent(start, tmp_path):
    process = start("--workers=1", seconds=0.5)
    wait_for(lambda: finished(tmp_path))
    orphans = children(process).values()
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(alive(orphan) for orphan in orphans), seconds=20)


def alive(number):
    try:
        state = pathlib.Path(f"/proc/{number}/stat").read_text()
    except FileNotFoundError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


def test_chief_and_workers_meet_by_environment_variables(start, tmp_path):
    meeting = {
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": str(20000 + os.getpid() % 20000),
    }
    chief = start(KERASTUNER_TUNER_ID="chief", **meeting)
    worker = start(KERASTUNER_TUNER_ID="worker", seconds=0.1, **meeting)
    code, output, errors = end(worker)
    assert (code, errors) == (0, "")
    assert "[6/6]" in output
    code, output, errors = end(chief)
    assert code == 0
    assert "report:" in output
    assert len(table(tmp_path)) == 6


def test_a_half_set_meeting_place_is_a_mistake(start):
    code, _, errors = end(start(KERASTUNER_ORACLE_IP="127.0.0.1"))
    assert code == 1
    assert errors == (
        "coin: error: KERASTUNER_ORACLE_IP is set, but KERASTUNER_ORACLE_PORT is not"
    )
