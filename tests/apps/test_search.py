"""Searches: what each experiment tunes, that its runs read it, what has nothing."""

import types

import numpy as np
import pytest

from zoo.apps import (
    critical_periods,
    deep_unrolling,
    games,
    large_batch,
    margins,
    matrix_sensing,
    plug_and_play,
    sparse_recovery,
)
from zoo.apps.games import small
from zoo.study.runner import run_point, search_space

# The app of the fixture `call`.
EXPERIMENTS = games.EXPERIMENTS
APPS = (
    *(critical_periods, deep_unrolling, games, large_batch, margins, matrix_sensing),
    *(plug_and_play, sparse_recovery),
)
STUDIES = {
    f"{study.name} {study.experiment}": study
    for app in APPS
    for study in app.EXPERIMENTS
}
NOTHING = {
    "margins losses",
    "matrix_sensing scaling",
    "matrix_sensing tomography",
    "sparse_recovery cost",
}
TUNED = [name for name in STUDIES if name not in NOTHING]
# Experiments that Hyperband may cut short.
WITH_EPOCHS = {
    "large_batch regimes",
    "large_batch alpha",
    *(f"margins {name}" for name in ("angular", "noise", "distributions", "gap")),
    "margins capacity",
}
# What is not tuned, of every kind of study, as small as it goes.
TINY_IMAGES = {"limit": 200, "epochs": 1, "runs": 1}
TINY = {
    "critical_periods": {**TINY_IMAGES, "epochs": 5, "model": ["small_fc"]},
    "deep_unrolling": {"iterations": 3},
    "games": {
        **{"steps": 5, "actions": 3, "per_mode": 2, "check_every": 2},
        **{"iterations": 4, "long_iterations": 4, "tuned_iterations": 4},
    },
    "large_batch": {
        **TINY_IMAGES,
        **{"large_batch_size": 64, "measured": 32, "epsilon": [1e-3], "dimension": 4},
        **{"eigenvalues": 1, "target_loss": 10.0, "alpha": [1.0]},
    },
    "margins": {**TINY_IMAGES, "width": [2, 4]},
    "plug_and_play": {"iterations": 3, "image_size": 32, "patches": 2},
    "matrix_sensing": {"iterations": 3, "rank": ["2", "3"]},
    "sparse_recovery": {
        **{"measurements": 10, "unknowns": 20, "iterations": 3, "depth": 2},
        **{"lista_depth": 2, "steps": 0.005, "batch_size": 20},
        **{"users": 16, "pilots": 8, "activity": 0.2},
    },
}
ONLY = {
    "critical_periods fisher": {
        **{"fisher_images": 8, "deficit_epochs": ["1"], "model": ["small_fc"]},
    },
    "critical_periods window": {"window_epochs": 1, "onset": ["0"]},
    # No regime then has a rate of its own.
    "large_batch regimes": {"lr_rule": "fixed"},
    "margins angular": {"loss": ["arcface"]},
    "margins noise": {"loss": ["bi_tempered"]},
    "games search": {"method": ["optimistic_adam"]},
    "matrix_sensing noise": {"noise": ["0", "0.1"]},
    "sparse_recovery layers": {"condition": ["none"], "method": ["fista", "lamp_bg"]},
    "sparse_recovery channels": {"method": ["lamp_bg"]},
}


@pytest.fixture
def prepared(tmp_path):
    """Makes a prepared experiment and its settings, by its name."""

    def prepared(name, search="random", **changes):
        study = STUDIES[name]
        preset = study.presets["quick"]
        common = {
            **{"seed": 3, "search": search, "data_dir": None, "logdir": str(tmp_path)},
            **{"strategy": "none", "policy": "float32", "jit": "off"},
            "experiment": study.experiment,
        }
        wanted = {**TINY[study.name], **ONLY.get(name, {}), **changes}
        small = {key: value for key, value in wanted.items() if key in preset}
        config = types.SimpleNamespace(**{**common, **preset, **small})
        instance = study()
        instance.prepare(config)
        return instance, config

    return prepared


def draw(space, seed):
    """Returns a random point of a space, as Keras Tuner draws it."""
    point = space.copy()
    point.values = {}
    for entry in space.space:
        if point.is_active(entry):
            point.values[entry.name] = entry.random_sample(seed=seed)
    return point


@pytest.mark.parametrize("name", TUNED)
def test_a_search_has_a_range_and_one_seed(prepared, name):
    space = search_space(*prepared(name))
    ranges = [entry for entry in space.space if hasattr(entry, "min_value")]
    assert ranges
    assert all(entry.min_value < entry.max_value for entry in ranges)
    assert space.get("seed") == 3
    points = [draw(space, seed).values for seed in range(20)]
    assert {point["seed"] for point in points} == {3}
    assert len({str(point) for point in points}) > 10


class Trained(Exception):
    """Ends a run where its training would begin."""


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in TUNED
        if name.split()[0] in ("critical_periods", "large_batch", "margins")
    ],
)
def test_networks_are_trained_as_the_point_says(prepared, monkeypatch, tmp_path, name):
    study, config = prepared(name)
    point, fitted = draw(search_space(study, config), 1), []

    def fit(model, images, labels, config, *, batch_size=None, **_):
        fitted.append((model, batch_size or config.batch_size))
        raise Trained

    def train(training, model, path, others, phases, config, **_):
        fitted.append((model, config.batch_size))
        raise Trained

    for module in ("margins.common", "large_batch.minima", "large_batch.regimes"):
        monkeypatch.setattr(f"zoo.apps.{module}.fit", fit)
    branching = "zoo.apps.critical_periods.common.BranchingTraining.run"
    monkeypatch.setattr(branching, train)
    with pytest.raises(Trained):
        study.run(point, config, str(tmp_path))
    ((model, batch_size),) = fitted
    rate = model.optimizer.learning_rate
    # A schedule's first.
    rate = rate(0) if callable(rate) else rate
    found = {
        "learning_rate": rate,
        "batch_size": batch_size,
        "momentum": getattr(model.optimizer, "momentum", None),
        "weight_decay": model.optimizer.weight_decay or 0.0,
        "t2": getattr(model.loss, "t2", None),
        "arcface_margin": getattr(model.loss, "m2", None),
    }
    read = found.keys() & point.values.keys()
    assert "learning_rate" in read
    for key in read:
        np.testing.assert_allclose(float(found[key]), point.get(key), rtol=1e-6)


@pytest.mark.parametrize("experiment", ["layers", "channels"])
def test_unrolled_networks_are_trained_at_the_rates_of_the_point(
    prepared, monkeypatch, tmp_path, experiment
):
    study, config = prepared(f"sparse_recovery {experiment}", method=["lamp_bg"])
    space, rates = search_space(study, config), []

    def train(network, problem, stages, **_):
        rates.append(stages[0].learning_rate)
        raise Trained

    monkeypatch.setattr("zoo.apps.sparse_recovery.methods.train", train)
    for factor in (1.0, 0.3):
        point = draw(space, 0)
        point.values["rate_factor"] = factor
        with pytest.raises(Trained):
            study.run(point, config, str(tmp_path))
    np.testing.assert_allclose(rates[1], 0.3 * rates[0])


@pytest.mark.parametrize(
    ("name", "changed", "number"),
    [
        ("games gaussians", {"rate_factor": (0.1, 10.0)}, "generator_loss"),
        ("games matrix", {"rate": (0.01, 1.0)}, "gap"),
        ("games dynamics", {"rate_factor": (0.1, 2.0)}, "distance"),
        ("games players", {"rate": (0.01, 0.3)}, "distance"),
        ("matrix_sensing methods", {"learning_rate": (0.01, 0.5)}, "error"),
        ("matrix_sensing noise", {"gain": (0.001, 1.0)}, "error"),
        ("matrix_sensing covariance", {"rank": (1, 3)}, "error"),
        ("matrix_sensing measurements", {"learning_rate": (0.05, 0.5)}, "error"),
        ("sparse_recovery layers", {"weight_factor": (0.1, 10.0)}, "nmse"),
        ("deep_unrolling undersampling", {"step_factor": (0.1, 10.0)}, "psnr"),
        ("plug_and_play recovery", {"step": (0.1, 10.0)}, "psnr"),
        ("plug_and_play projector", {"step_factor": (0.1, 10.0)}, "psnr"),
    ],
)
def test_runs_read_what_is_tuned(prepared, tmp_path, name, changed, number):
    study, config = prepared(name)
    space, ((tuned, values),) = search_space(study, config), changed.items()
    point = next(
        point for seed in range(100) if tuned in (point := draw(space, seed)).values
    )
    found = []
    for value in values:
        point.values[tuned] = value
        result = run_point(study, config, point, tmp_path / f"{value}")
        assert result["reason"] == ""
        found.append(result["scalars"][number])
    assert found[0] != found[1]


def test_optimism_and_strength_reach_a_small_game():
    point = types.SimpleNamespace(values={"optimism": 3.0})
    method = small.chosen(small.METHODS["optimistic_adam"], point)
    assert method.optimizer(0.1).optimism == 3.0
    point = types.SimpleNamespace(values={"strength": 0.2})
    method = small.chosen(small.METHODS["sga"], point)
    assert method.adjustment().strength == 0.2
    method = small.chosen(small.METHODS["descent"], types.SimpleNamespace(values={}))
    assert method.adjustment() is None


@pytest.mark.parametrize("name", sorted(NOTHING))
def test_what_has_nothing_to_tune_says_so(prepared, name):
    with pytest.raises(ValueError, match=r"--search=random has nothing to tune in"):
        search_space(*prepared(name))


@pytest.mark.parametrize("name", TUNED)
def test_hyperband_needs_epochs(prepared, name):
    if name in WITH_EPOCHS:
        assert search_space(*prepared(name, "hyperband")).space
    else:
        with pytest.raises(ValueError, match=r"^--search=hyperband changes"):
            search_space(*prepared(name, "hyperband"))


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("games matrix", "restarted_halpern"),
        ("matrix_sensing methods", "cg"),
        ("matrix_sensing covariance", "truncation"),
        ("matrix_sensing measurements", "cg"),
        ("sparse_recovery layers", "amp_bg"),
        ("deep_unrolling undersampling", "gancs"),
    ],
)
def test_methods_without_numbers_to_tune_are_one_line(prepared, name, method):
    with pytest.raises(ValueError, match=rf"which --method={method} lacks"):
        search_space(*prepared(name, method=[method]))


def test_a_search_reports_its_best_trials_alone(call, results, tmp_path, capsys):
    flags = ("--experiment=matrix", "--game=matching_pennies", "--steps=20")
    assert call(tmp_path, *flags, "--search=bayesian", "--trials=3") == 0
    folder = results(tmp_path / "games" / "matrix")
    rates = {row["rate"] for row in folder.rows()}
    assert len(rates) == 3
    assert "## Best trials" in folder.report()
    assert "## Gaps" not in folder.report()
    assert call(tmp_path / "other", *flags, "--search=hyperband") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "--search=hyperband changes epochs, which there are none of" in line


@pytest.mark.parametrize("method", ["tv", "nlm", "ldamp"])
def test_strength_reaches_every_kind_of_denoiser(prepared, tmp_path, method):
    name = "deep_unrolling compressive"
    small = {"method": [method], "rate": [0.25], "image_size": 32, "depth": 2}
    study, config = prepared(name, **small)
    point, found = draw(search_space(study, config), 0), []
    for strength in (0.5, 1.0, 2.0):
        point.values["strength"] = strength
        result = run_point(study, config, point, tmp_path / f"{strength}")
        assert result["reason"] == ""
        found.append(result["scalars"]["psnr"])
    assert len(set(found)) == 3


def test_images_are_tuned_on_photographs_that_no_test_is_of(prepared):
    for name in ("deep_unrolling compressive", "plug_and_play recovery"):
        tuned, tested = (prepared(name, way)[0].names for way in ("random", "grid"))
        assert tuned and not set(tuned) & set(tested)
