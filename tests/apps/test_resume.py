"""Studies as processes, killed at random moments: the same numbers in the end.

`benchmarks/resume.py` does so to all studies, and more often.
"""

import importlib.util
import os
import pathlib
import random

import pandas as pd
import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "resume.py"
# Of some seconds of work, of which some runs take longer than a report.
STUDIES = {
    "games": ("--experiment=matrix", "--game=matching_pennies,random", "--steps=30"),
    "matrix_sensing": ("--experiment=covariance", "--iterations=50"),
}
THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)
pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX kills")


@pytest.fixture(scope="module")
def resume():
    """The module that kills."""
    spec = importlib.util.spec_from_file_location("resume", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("study", STUDIES)
def test_two_runs_give_the_same_bytes_though_one_is_killed(resume, tmp_path, study):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    flags = STUDIES[study]
    code, seconds = resume.run(study, whole, flags)
    assert code == 0, pathlib.Path(f"{whole}.log").read_text()
    rng = random.Random(0)
    moments = [rng.uniform(0, 0.7 * seconds) for _ in range(2)]
    code, kills = resume.run_killed(study, killed, flags, moments)
    log = pathlib.Path(f"{killed}.log").read_text()
    assert code == 0, log
    assert kills >= 1
    assert "Traceback" not in log
    assert resume.differences(whole, killed) == []
    for curves in whole.rglob("curves.npz"):
        twin = killed / curves.relative_to(whole)
        assert curves.read_bytes() == twin.read_bytes()
    assert not list(killed.rglob("*.partial"))


@pytest.mark.parametrize(
    "study, flags",
    [
        ("large_batch", ("--experiment=regimes", "--limit=300", "--epochs=1")),
        ("matrix_sensing", ("--experiment=methods", "--iterations=40")),
    ],
)
def test_other_numbers_of_threads_agree_to_rounding(
    resume, monkeypatch, tmp_path, study, flags
):
    tables = []
    for threads in ("1", "2"):
        for name in THREADS:
            monkeypatch.setenv(name, threads)
        code, _ = resume.run(study, tmp_path / threads, (*flags, "--runs=1"))
        assert code == 0
        (path,) = (tmp_path / threads).rglob("results.csv")
        table = pd.read_csv(path).sort_values("run", ignore_index=True)
        tables.append(table[[name for name in table if not resume.TIME.search(name)]])
    assert len(tables[0]) > 2
    pd.testing.assert_frame_equal(*tables, rtol=1e-5)


def test_a_number_that_differs_is_found(resume, tmp_path):
    for name, number, seconds in (("a", 1, 5), ("b", 1, 6), ("c", 2, 5)):
        folder = tmp_path / name / "study"
        folder.mkdir(parents=True)
        (folder / "results.csv").write_text(
            f"error,seconds,milliseconds_an_image\n{number},{seconds},{seconds}\n"
        )
        (folder / "report.md").write_text(
            f"| error | CPU s |\n| --- | --- |\n| {number} | {seconds} |\n"
        )
    assert resume.differences(tmp_path / "a", tmp_path / "b") == []
    assert len(resume.differences(tmp_path / "a", tmp_path / "c")) == 2
    assert len(resume.differences(tmp_path / "a", tmp_path / "none")) == 2
    assert resume.differences(tmp_path / "none", tmp_path / "a")
