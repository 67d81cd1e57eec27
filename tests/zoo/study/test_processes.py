"""Studies as processes: killed and started again, spread by hand."""

import os
import signal

from tests.zoo.study.processes import (
    check_against_a_run_of_its_own,
    end,
    finished,
    table,
    wait_for,
)


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
