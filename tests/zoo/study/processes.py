"""The study of `coin.py` in processes, for the tests of several files."""

import re
import time

import pandas as pd


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
