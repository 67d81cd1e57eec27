"""Studies whose trials are spread over processes: killed, late, full, orphaned."""

import os
import pathlib
import re
import signal

import pytest

from tests.zoo.study.processes import (
    check_against_a_run_of_its_own,
    end,
    finished,
    table,
    wait_for,
)


def children(process):
    """Maps the Keras Tuner names of a process's children to their process numbers."""
    path = f"/proc/{process.pid}/task/{process.pid}/children"
    found = {}
    for child in pathlib.Path(path).read_text().split():
        variables = pathlib.Path(f"/proc/{child}/environ").read_text().split("\0")
        names = [text for text in variables if text.startswith("KERASTUNER_TUNER_ID=")]
        found.update({name.partition("=")[2]: int(child) for name in names})
    return found


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
