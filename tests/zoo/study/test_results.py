"""Results: whole or not at all, and read back as they were written."""

import os

import numpy as np
import pytest

from zoo._files import write_atomically
from zoo.study.results import (
    Results,
    read_result,
    run_name,
    write_result,
)


def result(status="finished", reason="", **values):
    return {
        "values": values,
        "status": status,
        "reason": reason,
        "scalars": {"score": float(values.get("seed", 0))},
        "seconds": 1.0,
    }


def put(folder, name, curves=None, **kwargs):
    run = folder / name
    run.mkdir(parents=True)
    write_result(run, result(**kwargs), curves or {})


def test_a_write_cut_short_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            write_atomically(path, "new")
    assert path.read_text() == "old"
    write_atomically(path, b"new")
    assert path.read_text() == "new"


def test_a_run_counts_once_its_result_is_there(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    write_atomically(run / "curves.npz", b"half a file")
    assert read_result(run) is None
    assert Results(tmp_path).table.empty
    write_result(run, result(seed=3), {"loss": np.arange(3.0)})
    assert read_result(run) == result(seed=3)
    np.testing.assert_array_equal(Results(tmp_path).curves("run")["loss"], [0, 1, 2])


@pytest.mark.parametrize("content", ["", "{", "[]", '{"values": {}}', "\x00"])
def test_a_broken_result_is_named(tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_text(content)
    with pytest.raises(ValueError, match=r"result\.json is not a result .*--fresh"):
        Results(tmp_path)


def test_the_table_keeps_the_grids_order_and_the_failures(tmp_path):
    put(tmp_path, "b", seed=1)
    put(tmp_path, "a", seed=2)
    put(tmp_path, "c", seed=0, status="failed", reason="it broke")
    results = Results(tmp_path, order=["b", "a"])
    assert results.table["run"].tolist() == ["b", "a", "c"]
    assert results.values == ["seed"]
    assert results.select(seed=2)["score"].tolist() == [2.0]
    assert results.select()["run"].tolist() == ["b", "a"]
    assert results.failed()["reason"].tolist() == ["it broke"]


def test_mean_curves_are_cut_to_the_shortest(tmp_path):
    put(tmp_path, "a", seed=1, curves={"x": [1, 2, 3], "y": [1.0, 2.0, 3.0]})
    put(tmp_path, "b", seed=2, curves={"x": [1, 2], "y": [3.0, 6.0]})
    x, mean, deviation = Results(tmp_path).mean_curve("x", "y")
    np.testing.assert_array_equal(x, [1, 2])
    np.testing.assert_allclose(mean, [2, 4])
    np.testing.assert_allclose(deviation, [1, 2])
    nothing = Results(tmp_path).mean_curve("x", "y", seed=9)
    assert [len(part) for part in nothing] == [0, 0, 0]


def test_names_of_runs_tell_close_values_apart():
    assert run_name({"regime": "GBN+LE", "seed": 0}) == "regime=GBN+LE,seed=0"
    assert run_name({"path": "a/b"}) == "path=a-b"
    close = [run_name({"rate": 0.12345678}), run_name({"rate": 0.12345679})]
    assert close[0] != close[1] and close[0].startswith("rate=0.1235,")
    tuned = {"rate": 1, "tuner/epochs": 3, "tuner/bracket": 2, "tuner/trial_id": "7"}
    assert run_name(tuned) == "rate=1,epochs=3"
