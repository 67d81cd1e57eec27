"""The study of games: its experiments, their findings, its users' mistakes."""

import contextlib
import dataclasses
import types

import keras_tuner
import numpy as np
import pytest

from zoo.apps import games
from zoo.apps.games import search, settings
from zoo.apps.games.matrix import gaps
from zoo.apps.games.small import METHODS, paths, steps_within
from zoo.apps.games.training import Watch, picture, train
from zoo.data import gaussian_grid
from zoo.games import bilinear_game, random_matrix_game

EXPERIMENTS = games.EXPERIMENTS


@pytest.fixture(scope="module")
def quick(call, results, tmp_path_factory):
    """The folder of a finished `quick` run of all experiments."""
    logdir = tmp_path_factory.mktemp("quick")
    assert call(logdir) == 0
    return results(logdir / "games")


FIGURES = {
    "gaussians": (
        *("figure1", "figure2", "discriminator_loss", "generator_loss"),
        *("progress", "tuned"),
    ),
    "search": ("sensitivity",),
    "matrix": (
        *("gap_matching_pennies", "gap_rock_paper_scissors", "gap_odds_and_evens"),
        "gap_random",
    ),
    "dynamics": (
        *("trajectories", "distance_bilinear", "distance_potential"),
        *("distance_mixed", "distance_unstable", "limits"),
    ),
    "players": ("players_potential", "players_hamiltonian"),
}


@pytest.mark.parametrize("experiment", FIGURES)
def test_quick_reports_every_figure(quick, experiment):
    folder = quick / experiment
    text = folder.report(FIGURES[experiment])
    assert "Failed runs" not in text
    assert folder.rows()


def test_optimism_reaches_mixed_equilibria_that_mirror_descent_leaves(quick):
    folder = quick / "matrix"
    for game in ("matching_pennies", "rock_paper_scissors", "odds_and_evens"):
        plain = folder.number("gap", game=game, method="mirror_descent")
        start = 0.6
        assert plain > start
        for method in ("optimistic_mirror_descent", "mirror_prox"):
            assert folder.number("gap", game=game, method=method) < plain / 100
        # The average of plain play comes nearer all the same.
        assert folder.number("average_gap", game=game, method="mirror_descent") < (
            plain / 2
        )
    steps = folder.number(
        "steps_to_gap", game="matching_pennies", method="optimistic_mirror_descent"
    )
    assert 0 < steps <= 51


def test_what_turns_and_what_descends(quick):
    folder = quick / "dynamics"

    def distance(play):
        return folder.number("distance", play=play)

    start = 5**0.5
    assert distance("bilinear descent") > start
    assert distance("bilinear momentum") > distance("bilinear descent")
    for method in ("optimistic", "extragradient", "consensus", "sga"):
        assert distance(f"bilinear {method}") < start
        assert distance(f"mixed {method}") < distance("mixed descent")
    assert distance("potential sga") == pytest.approx(distance("potential descent"))
    # Consensus is drawn to what no player wants; aligned SGA is not.
    assert distance("unstable consensus") < start < distance("unstable sga")
    assert folder.number("steps_to_1e-6", play="limits optimistic 0.5") <= 53
    assert distance("limits optimistic 0.6") > 10


def test_more_players_turn_until_adjusted(quick):
    folder = quick / "players"

    def distance(game, method):
        return folder.number("distance", game=game, method=method)

    assert distance("hamiltonian", "descent") > 1
    assert distance("hamiltonian", "sga") < 0.1
    assert distance("potential", "sga") == distance("potential", "descent")


def test_tuned_adam_reaches_all_modes(tmp_path):
    config = types.SimpleNamespace(
        per_mode=16, check_every=500, jit="off", strategy="none"
    )
    outcome = train(
        settings.TUNED["adam"],
        gaussian_grid(),
        config,
        seed=7,
        logdir=str(tmp_path),
        iterations=2000,
        snapshots=[1000],
    )
    assert outcome["modes"] == 16
    assert outcome["high_quality"] > 0.7
    assert outcome["cloud_1000"].shape == (4000,)
    assert outcome["iteration_curve"].tolist() == [500, 1000, 1500, 2000]
    assert list(tmp_path.rglob("events.*"))


def test_a_check_is_passed_by_all_modes_and_quality_alone(tmp_path):
    mixture = gaussian_grid(1000)
    samples = mixture.points.reshape(-1, 2)
    watch = Watch(mixture, 4, 10, [10], str(tmp_path))

    class Generator:
        def __init__(self):
            self.samples = samples[samples[:, 0] > -1]

        def predict_on_batch(self, noise):
            return self.samples

    class Model:
        players = {"generator": Generator()}

        def averaged(self, player):
            return contextlib.nullcontext()

    watch.set_model(Model())
    logs = {"generator_loss": 0.5, "discriminator_loss": 1.0}
    watch.on_epoch_end(0, dict(logs))
    Model.players["generator"].samples = samples
    watch.on_epoch_end(1, dict(logs, generator_loss=-0.1))
    Model.players["generator"].samples = samples + 0.5
    watch.on_epoch_end(2, dict(logs))
    watch.on_train_end()
    assert list(tmp_path.glob("events.*"))
    outcome = watch.outcome()
    assert outcome["hit"] == 20
    assert outcome["good_at_end"] == 0
    assert outcome["average_modes_curve"].tolist() == [12, 16, 0]
    assert outcome["least_generator_loss"] == pytest.approx(0.1)


def test_settings_are_what_the_report_names():
    for name, setting in settings.REPORT.items():
        assert (setting.r1, setting.fading) == (0.0, False)
        assert setting.optimism == (1.0 if name.startswith("optimistic") else 0.0)
        optimizer = setting.make_optimizer(100)
        rate = float(optimizer.learning_rate)
        assert rate == pytest.approx(float(name[-5:]) if "gd" in name else 2e-4)
        if "adam" in name:
            assert (optimizer.beta_1, optimizer.beta_2) == (0.5, 0.999)


def test_faded_rates_end_at_zero_and_extragradient_counts_twice():
    for name, last in (("adam", 100), ("extra_adam", 200)):
        rate = settings.TUNED[name].make_optimizer(100)._learning_rate
        assert float(rate(last)) == 0
        assert float(rate(last - 1)) > 0


def test_each_change_changes_one_thing():
    changed = dict(settings.cases("changes", []))
    assert len(changed) == 10
    for name, setting in changed.items():
        base = settings.TUNED if name.startswith("tuned") else settings.REPORT
        base = dataclasses.asdict(base[settings.CHANGED])
        different = {
            key
            for key, value in dataclasses.asdict(setting).items()
            if value != base[key]
        }
        thing = name.removeprefix("tuned-").removeprefix("report+")
        # That a rate fades is a part of it.
        expected = {"noise": "latent_dim", "R1": "r1"}.get(thing, thing)
        assert different - {"fading"} == {expected}


def test_searches_are_alike_and_seeded():
    for sample in range(3):
        drawn = {name: search.draw(name, sample, 0) for name in search.METHODS}
        assert len({one["r1"] for one in drawn.values()}) == 1
        assert drawn["adam"]["rate"] == drawn["sga"]["rate"]
        assert drawn["adam"] == search.draw("adam", sample, 0)
    rates = [search.draw("gd", sample, 0)["rate"] for sample in range(200)]
    low, high = search.RATES["gd"]
    assert low <= min(rates) < 2 * low and high / 2 < max(rates) <= high
    middle = np.median(np.log(rates))
    assert abs(middle - np.log(low * high) / 2) < 0.5
    hp = keras_tuner.HyperParameters()
    search.declare(hp, "optimistic_gd")
    assert {entry.name for entry in hp.space} == {
        *("rate", "r1", "memory", "optimism", "order")
    }


def test_keras_tuner_tunes_one_method(call, results, tmp_path):
    folder = results(tmp_path / "games" / "search")
    arguments = ("--experiment=search", "--search=random", "--trials=2")
    assert call(tmp_path, *arguments, "--method=adam") == 0
    found = folder.rows()
    assert len(found) == 2
    assert len({row["rate"] for row in found}) == 2
    assert "Best trials" in folder.report()


def test_gaps_of_rows_are_those_of_the_game():
    game = random_matrix_game(3, 4)
    generator = np.random.default_rng(0)
    x, y = generator.dirichlet(np.ones(3), 5), generator.dirichlet(np.ones(4), 5)
    expected = [game.duality_gap(pair) for pair in zip(x, y, strict=True)]
    np.testing.assert_allclose(gaps(game, x, y), expected)


def test_paths_end_early_when_they_run_away():
    game = bilinear_game([[1.0]])
    path = paths(game, [1.0, 2.0], METHODS["momentum"], 0.9, 2000)
    assert len(path) < 200
    assert 1e6 < np.abs(path[-1]).max() < 1e8


@pytest.mark.parametrize(
    ("distances", "steps"),
    [([1, 1e-7, 1e-8], 1), ([1, 1e-7, 1], -1), ([1e-7], 0), ([1, np.nan], -1)],
)
def test_steps_count_from_where_it_stays(distances, steps):
    assert steps_within(np.array(distances)) == steps


def test_pictures_hold_every_point():
    mixture = gaussian_grid(10)
    drawn = picture(np.array([[1.9, 1.9], [-1.9, -1.9]]), mixture, size=64)
    assert drawn.shape == (64, 64, 1)
    assert (drawn == 0).sum() == 2
    # The first axis of a picture runs downwards.
    assert drawn[:8, -8:].min() == 0


@pytest.mark.parametrize("preset", ["quick", "cpu", "paper"])
def test_every_preset_is_complete(preset):
    for study in games.EXPERIMENTS:
        assert set(study.presets[preset]) == set(study.presets["quick"])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("--experiment=gaussians", "--method=sgd"),
            "--method=sgd must be one of gd_0.001, gd_0.002, rmsprop",
        ),
        (
            ("--experiment=gaussians", "--setting=report,report"),
            "--setting=report,report must hold different names, one at least",
        ),
        (
            ("--experiment=gaussians", "--setting=tuned", "--method=gd_0.001"),
            "--method=gd_0.001 has no --setting=tuned",
        ),
        (
            ("--experiment=gaussians", "--iterations=50"),
            "--iterations=50 must be a multiple of twice --check_every=20",
        ),
        (
            ("--experiment=search", "--search=bayesian"),
            "--search=bayesian tunes one --method, not gd,rmsprop",
        ),
        (
            ("--experiment=matrix", "--game=chess"),
            "--game=chess must be one of matching_pennies",
        ),
        (
            ("--experiment=players", "--players=1"),
            "--players=1 must hold whole numbers from 2",
        ),
        (
            ("--experiment=players", "--players=2,2"),
            "--players=2,2 must hold different numbers",
        ),
        (("--experiment=dynamics", "--samples=3"), "--samples is not read by"),
        (("--experiment=dynamics", "--steps=0"), "flag --steps=0"),
    ],
)
def test_a_mistake_is_one_line(complaint, arguments, line):
    assert line in complaint(*arguments)
