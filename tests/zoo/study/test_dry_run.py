"""A dry run of a grid that would take a day: seconds, and little memory."""

import time
import tracemalloc

from zoo.study.runner import grid_points, search_space


def test_a_hundred_thousand_points_are_counted_in_seconds(
    call, coin, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(coin, "seconds", lambda self, values, config: 0.864)
    start = time.process_time()
    assert call("--dry_run", "--runs=50000") == 0
    assert time.process_time() - start < 20
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["side=a,seed=0", "about", "1", "s"]
    assert lines[-2] == "... and 99,000 more"
    assert lines[-1] == "100000 runs, about 24.0 h on two cores"
    assert len(lines) == 1002
    assert not (tmp_path / "runs").exists()


def test_where_no_time_is_known_the_points_are_counted(call, capsys):
    assert call("--dry_run", "--runs=50000") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "100000 runs; their time was not measured"


def test_a_point_of_the_grid_takes_less_than_a_kilobyte(coin, make_config):
    hp = search_space(coin(), make_config(runs=10_000))
    tracemalloc.start()
    try:
        points = grid_points(hp)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(points) == 20_000
    assert peak < 20_000 * 1000


def test_hyperband_has_no_number_of_trials(call, capsys, error):
    assert call("--search=hyperband", "--epochs=9", "--dry_run") == 0
    assert "coin: hyperband search, up to 9 epochs a trial" in capsys.readouterr().out
    assert call("--search=hyperband", "--trials=3") == 1
    assert error().startswith("coin: error: --trials=3 is not read by --search=hyperb")
