"""Results: whole or not at all, and read back as they were written."""

import errno
import os

import numpy as np
import pytest

from zoo._files import write_atomically
from zoo.study.results import (
    CutShort,
    Results,
    forget_broken,
    read_arrays,
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


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch, step):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "file"
    write_atomically(path, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(OSError) as error:
            write_atomically(path, "new")
    assert str(error.value) == f"[Errno 28] No space left on device: '{path}'"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
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


def test_what_is_half_there_is_told_from_what_is_something_else(tmp_path):
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "result.json"
    for content in ("", '{"val', "\x00", '{"values": {}, "status": "fin'):
        path.write_text(content)
        with pytest.raises(CutShort):
            read_result(tmp_path / "run")
    # Another version's, perhaps: it is not taken for lost.
    path.write_text('{"values": {}}')
    with pytest.raises(ValueError, match="it lacks entries") as error:
        forget_broken(tmp_path)
    assert not isinstance(error.value, CutShort)
    assert path.exists()


@pytest.mark.parametrize("name", ["result.json", "curves.npz"])
def test_a_run_with_half_a_file_counts_no_more(tmp_path, capsys, name):
    put(tmp_path, "good", seed=1)
    put(tmp_path, "broken", seed=2, curves={"loss": np.arange(1000.0)})
    path = tmp_path / "broken" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    forget_broken(tmp_path)
    assert capsys.readouterr().err == f"{path} is not whole: that run is repeated\n"
    assert Results(tmp_path).table["run"].tolist() == ["good"]
    forget_broken(tmp_path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("left", [0, 0.1, 0.5, 0.99])
def test_arrays_of_half_a_file_are_told(tmp_path, left):
    path = tmp_path / "state.npz"
    np.savez(path, weights=np.arange(100.0))
    np.testing.assert_array_equal(read_arrays(path)["weights"], np.arange(100.0))
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    with pytest.raises(CutShort, match=r"state\.npz is broken \("):
        read_arrays(path)


def test_curves_that_have_rotted_are_named(tmp_path):
    put(tmp_path, "run", curves={"loss": np.random.default_rng(0).random(1000)})
    path = tmp_path / "run" / "curves.npz"
    content = bytearray(path.read_bytes())
    content[500:600] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"curves\.npz is broken .*delete its folder"):
        Results(tmp_path).curves("run")


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
