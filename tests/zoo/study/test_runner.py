"""The runner: grids, searches, failures, resuming, folders."""

import json

import keras_tuner
import pytest
import tensorflow as tf

from zoo.study import Results
from zoo.study.runner import (
    Progress,
    StudyTuner,
    format_seconds,
    grid_points,
    open_folder,
    run_name,
    search_space,
    set_aside,
)


@pytest.fixture
def search(coin):
    """Runs a study as its app does, up to the report."""

    def run(config):
        study = coin()
        points = grid_points(search_space(study, config))
        points = points if config.search == "grid" else []
        if config.fresh:
            set_aside(study.folder(config.logdir))
        folder = open_folder(study, config)
        progress = Progress(study, config, points, folder)
        StudyTuner(study, config, folder, progress).search()
        return Results(folder, order=[run_name(point) for point in points])

    return run


def test_a_grid_visits_every_point_once(search, make_config, monkeypatch, tmp_path):
    monkeypatch.setenv("COIN_LOG", str(tmp_path / "log"))
    results = search(make_config())
    runs = (tmp_path / "log").read_text().split()
    assert len(runs) == len(set(runs)) == 6
    assert results.table["run"].tolist() == [
        f"side={side},seed={seed}" for side in "ab" for seed in range(3)
    ]
    assert results.table["heads"].tolist() == [97, 97.1, 97.2, 98, 98.1, 98.2]
    assert results.curves("side=b,seed=1")["curve"].tolist() == [98.1, 196.2]


def test_finished_runs_are_not_repeated_and_new_seeds_are_added(
    search, make_config, monkeypatch, tmp_path
):
    monkeypatch.setenv("COIN_LOG", str(tmp_path / "log"))
    first = search(make_config(runs=2))
    assert search(make_config(runs=2)).table.equals(first.table)
    assert len((tmp_path / "log").read_text().split()) == 4
    assert len(search(make_config(runs=3)).table) == 6
    assert len((tmp_path / "log").read_text().split()) == 6


def test_grid_points_follow_conditions():
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["plain", "ghost"])
    with hp.conditional_scope("kind", ["ghost"]):
        hp.Choice("size", [16, 64])
    assert grid_points(hp) == [
        {"kind": "plain"},
        {"kind": "ghost", "size": 16},
        {"kind": "ghost", "size": 64},
    ]


def test_a_point_is_the_same_wherever_it_is_run(
    coin, make_config, monkeypatch, tmp_path
):
    def grid(self, hp, config):
        hp.Choice("side", ["a", "b"])
        with hp.conditional_scope("side", ["b"]):
            hp.Choice("bias", [0.5])
        hp.Choice("seed", [0, 1])

    monkeypatch.setattr(coin, "grid", grid)
    tuner = StudyTuner(coin(), make_config(), tmp_path, None)
    # Workers get values in another order, and what is not active.
    point = tuner.point({"seed": 1, "bias": 0.5, "side": "a", "tuner/epochs": 3})
    assert list(point.items()) == [("side", "a"), ("seed", 1), ("tuner/epochs", 3)]


@pytest.mark.parametrize("kind", ["BAD", "NAN"])
def test_a_failed_run_is_recorded_and_the_grid_goes_on(
    search, make_config, monkeypatch, capsys, kind
):
    monkeypatch.setenv(f"COIN_{kind}", "a")
    results = search(make_config())
    assert results.table["status"].tolist() == ["failed"] * 3 + ["finished"] * 3
    reason = {"BAD": "RuntimeError: the coin fell off the table", "NAN": "heads is nan"}
    assert results.failed()["reason"].tolist() == [reason[kind]] * 3
    output = capsys.readouterr()
    assert f"side=a,seed=0  FAILED: {reason[kind]}" in output.out
    assert output.err == ""
    if kind == "BAD":
        error = results.folder / "side=a,seed=0" / "error.txt"
        assert "fell off the table" in error.read_text()


def test_the_progress_line_counts_and_estimates(search, make_config, capsys):
    search(make_config())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[1/6] side=a,seed=0  heads 97.0000  ")
    assert lines[-1].startswith("[6/6] side=b,seed=2  heads 98.2000  ")
    assert lines[-1].endswith("0 s left")
    search(make_config())
    assert capsys.readouterr().out == "6 trials have ended already and are kept\n"


@pytest.mark.parametrize("kind", ["random", "bayesian"])
def test_searches_sample_the_space_and_resume(search, make_config, kind):
    config = make_config(search=kind, trials=4)
    results = search(config)
    biases = results.table["bias"].tolist()
    assert len(set(biases)) == 4 and all(0.1 <= bias <= 1 for bias in biases)
    assert sorted(search(config).table["bias"]) == sorted(biases)
    # The Bayesian search may propose its best point twice.
    assert len(search(make_config(search=kind, trials=6)).table) in (5, 6)


def test_a_search_may_find_nothing(call, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COIN_BAD", "all")
    assert call("--search=random", "--trials=2") == 2
    report = (tmp_path / "runs" / "coin" / "report.md").read_text()
    assert "No trial has finished." in report
    assert call("--search=random", "--trials=2") == 2


def test_hyperband_sets_the_epochs(search, make_config):
    results = search(make_config(search="hyperband", epochs=4))
    assert set(results.table["epochs"]) == {2.0, 4.0}


def test_a_killed_runs_remains_are_cleared(search, make_config, coin, tmp_path):
    config = make_config(runs=1)
    folder = open_folder(coin(), config)
    run = folder / "side=a,seed=0"
    run.mkdir()
    (run / ".result.json.1.partial").write_text('{"val')
    (run / "curves.npz").write_text("half")
    (run / "events.old").write_text("")
    search(config)
    left = {path.name for path in run.iterdir() if "tfevents" not in path.name}
    assert left == {"curves.npz", "result.json"}


def test_a_run_logs_hparams_and_scalars(search, make_config):
    results = search(make_config(runs=1))
    run = results.folder / "side=a,seed=0"
    (events,) = run.glob("events.*")
    tags = {
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert "result/heads" in tags
    assert any("hparams" in tag for tag in tags)


def test_another_configuration_is_refused(coin, make_config):
    folder = open_folder(coin(), make_config())
    open_folder(coin(), make_config(runs=9, workers=2, data_dir="elsewhere"))
    with pytest.raises(ValueError) as error:
        open_folder(coin(), make_config(epochs=3, seed=1))
    assert str(error.value) == (
        f"{folder} holds another configuration: epochs was 2, now 3; seed was 0, "
        "now 1; use another --logdir, or --fresh to set the old one aside"
    )
    with pytest.raises(ValueError, match="holds results already: --resume or"):
        open_folder(coin(), make_config(resume=False))


def test_fresh_sets_the_old_folder_aside(search, make_config):
    search(make_config(runs=1))
    results = search(make_config(runs=1, fresh=True, epochs=7))
    assert results.table["epochs"].tolist() == [7, 7]
    old = Results(results.folder.with_name("coin.1"))
    assert old.table["epochs"].tolist() == [2, 2]


@pytest.mark.parametrize("content", ["{", "[1]", ""])
def test_a_broken_configuration_is_refused_and_kept(coin, make_config, content):
    folder = open_folder(coin(), make_config())
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json is not a study's settings"):
        open_folder(coin(), make_config())
    assert (folder / "config.json").read_text() == content


def test_a_strangers_folder_is_left_alone(coin, make_config, tmp_path):
    folder = tmp_path / "runs" / "coin"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"is not empty and has no config\.json"):
        open_folder(coin(), make_config())
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


def test_a_worker_may_start_before_its_chief(coin, make_config, tmp_path):
    (tmp_path / "runs" / "coin" / "tuner" / "worker").mkdir(parents=True)
    assert (open_folder(coin(), make_config()) / "config.json").exists()


def test_settings_are_kept_with_the_results(coin, make_config):
    folder = open_folder(coin(), make_config())
    assert json.loads((folder / "config.json").read_text())["epochs"] == 2
    assert "--epochs=2" in (folder / "flags.txt").read_text().splitlines()


def test_durations_are_for_people():
    assert [format_seconds(value) for value in (0.4, 89, 100, 5401)] == [
        "0 s",
        "89 s",
        "2 min",
        "1.5 h",
    ]
