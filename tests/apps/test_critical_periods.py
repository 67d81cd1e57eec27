"""Critical periods: what is trained when, what the runs show, users' mistakes."""

import dataclasses
import types

import keras
import keras_tuner
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from zoo.apps.critical_periods import (
    EXPERIMENTS,
    BlurDeficit,
    Compare,
    Fisher,
    Plasticity,
    Window,
    common,
    deficits,
    numbers,
)
from zoo.study import branching
from zoo.study.runner import grid_points, search_space

# A network and data that are trained in a second.
TINY = ("--model=small_fc", "--limit=128", "--epochs=5", "--runs=1")


@pytest.fixture
def settings():
    def settings(study, preset="quick", **changes):
        common_settings = {
            "data_dir": None,
            "logdir": "nowhere",
            "seed": 0,
            "search": "grid",
            "strategy": "none",
            "policy": "float32",
            "jit": "auto",
        }
        values = {**common_settings, **study.presets[preset], **changes}
        return types.SimpleNamespace(**values)

    return settings


@pytest.fixture
def prepared(settings):
    def prepared(study, **changes):
        config = settings(study, **changes)
        instance = study()
        instance.prepare(config)
        return instance, config

    return prepared


@pytest.fixture(scope="module")
def quick(call, results, tmp_path_factory):
    """The folder of a finished `quick` run of what the report is about."""
    logdir = tmp_path_factory.mktemp("quick")
    assert call(logdir, "--experiment=blur,fisher") == 0
    return results(logdir / "critical_periods")


def test_quick_shows_what_seeds_separate_and_no_more(quick):
    text = (quick / "blur").report(["blur_digits_small_fc", "blur_digits_small_cnn"])
    blur = quick / "blur"
    for model in ("small_fc", "small_cnn"):
        accuracy = {
            arm: np.array(
                [
                    blur.number("test_accuracy", model=model, arm=arm, seed=seed)
                    for seed in range(3)
                ]
            )
            for arm in ("baseline", "control", "blur")
        }
        for other in ("baseline", "control"):
            difference = 100 * (accuracy["blur"] - accuracy[other])
            test = stats.ttest_1samp(difference, 0.0)
            word = "higher" if test.statistic > 0 else "lower"
            word = word if test.pvalue < 0.05 else "not shown to differ"
            mean, error = difference.mean(), stats.sem(difference)
            assert f"{mean:+.2f} ({error:.2f}), {word}" in text
        # Trained to the end, so that the deficit is what differs.
        assert (
            min(float(row["train_accuracy"]) for row in blur.rows(model=model)) > 0.99
        )


def test_quick_shows_information_that_falls_only_without_the_deficit(quick):
    fisher = quick / "fisher"
    fisher.report(["fisher_digits_small_cnn", "fisher_layers_digits_small_cnn"])
    clean, blurred = (
        fisher.curves(arm=arm)["fisher_curve"] for arm in ("control", "blur")
    )
    measured = ~np.isnan(clean)
    np.testing.assert_array_equal(measured, ~np.isnan(blurred))
    clean, blurred = clean[measured], blurred[measured]
    assert clean[-1] < clean.max() / 5
    assert blurred[-1] > blurred.max() / 5
    assert blurred[-1] > 5 * clean[-1]


def test_layers_of_the_trace_sum_to_it(quick):
    curves = (quick / "fisher").curves(arm="blur")
    layers = [values for name, values in curves.items() if name.startswith("fisher/")]
    np.testing.assert_allclose(np.sum(layers, 0), curves["fisher_curve"], rtol=1e-5)


def test_curves_begin_where_training_did(quick):
    curves = (quick / "blur").curves(model="small_cnn", arm="blur", seed=0)
    assert len(curves["loss_curve"]) == 10 + 10
    last = curves["test_accuracy_curve"][-numbers.AVERAGED :]
    expected = (quick / "blur").number(
        "test_accuracy", model="small_cnn", arm="blur", seed=0
    )
    assert np.mean(last) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("experiment", "flags", "epochs"),
    [
        # Shared: 5 + 2 clean, 2 with the deficit, 5 after each n.
        ("blur", ["--deficit_epochs=1,2"], (7 + 2 + 2 * 5, 5 + 2 * (6 + 7))),
        ("plasticity", ["--deficit_epochs=1,2"], (7 + 2 + 2 * 5, 5 + 2 * (6 + 7))),
        # Both windows have 2 epochs; the second begins after 1 clean one.
        ("window", ["--onset=0,1", "--window_epochs=2"], (8 + 7 + 7, 2 * (7 + 8))),
    ],
)
def test_sharing_changes_no_number_and_spares_epochs(
    call, results, monkeypatch, tmp_path, experiment, flags, epochs
):
    flags = (f"--experiment={experiment}", *TINY, *flags)
    trained = []

    def counting(*args, first_epoch, epochs, **kwargs):
        trained.append(epochs - first_epoch)
        return fit(*args, first_epoch=first_epoch, epochs=epochs, **kwargs)

    fit = branching.fit
    monkeypatch.setattr(branching, "fit", counting)
    for share, expected in zip(("true", "false"), epochs, strict=True):
        trained.clear()
        assert call(tmp_path / share, *flags, f"--share_prefix={share}") == 0
        assert sum(trained) == expected
    shared, plain = (
        results(tmp_path / share / "critical_periods" / experiment)
        for share in ("true", "false")
    )
    assert len(shared.rows()) in (4, 5)
    for row in shared.rows():
        (other,) = plain.rows(run=row["run"])
        for name in row:
            assert name == "seconds" or row[name] == other[name], name
    # What no training will branch from again.
    assert not (shared / "states").exists()


def test_states_last_until_the_grid_is_whole(call, tmp_path):
    flags = (*TINY, "--experiment=blur", "--deficit_epochs=1,2")
    states = tmp_path / "critical_periods/blur/states"
    assert call(tmp_path, *flags, "--trials=2") == 0
    assert list(states.iterdir())
    assert call(tmp_path, *flags) == 0
    assert not states.exists()


def test_a_comparison_and_windows_are_told(call, results, tmp_path):
    flags = (*TINY, "--deficit_epochs=1,2", "--experiment=compare")
    assert call(tmp_path, *flags) == 0
    folder = results(tmp_path / "critical_periods/compare")
    text = folder.report(["compare_digits_small_fc"])
    assert "over the 3 values of n: Pearson's r" in text
    assert "1 seeds are too few for an interval" in text
    flags = (*TINY, "--onset=0,1", "--window_epochs=1", "--experiment=window")
    assert call(tmp_path, *flags, "--deficit=blur,flip") == 0
    folder = results(tmp_path / "critical_periods/window")
    text = folder.report(["window_digits_small_fc"])
    for words in ("images upside down from epoch 1", "last window less the first"):
        assert words in text


@pytest.mark.parametrize(
    "flags", [["--strategy=mirrored"], ["--policy=mixed_float16", "--double_softmax"]]
)
def test_replicas_and_half_precision(call, tmp_path, flags):
    small = (*TINY, "--deficit_epochs=1", "--experiment=blur")
    assert call(tmp_path, *small, *flags) == 0
    keras.config.set_dtype_policy("float32")


def test_a_search_compares_no_trials(call, results, tmp_path):
    small = (*TINY, "--deficit_epochs=1", "--experiment=blur")
    assert call(tmp_path, *small, "--search=random", "--trials=2") == 0
    folder = results(tmp_path / "critical_periods/blur")
    assert len({row["learning_rate"] for row in folder.rows()}) == 2
    assert "## Best trials" in folder.report()
    assert "findings" not in folder.report()
    assert not (folder / "states").exists()


def test_a_grid_trains_each_beginning_once(prepared):
    for study in EXPERIMENTS:
        instance, config = prepared(study)
        paths = instance.paths(config)
        assert len(set(paths)) == len(paths)
        points = grid_points(search_space(instance, config))
        assert {instance.path(point, config) for point in points} == set(paths)


def test_paths_of_a_deficit(prepared):
    study, config = prepared(BlurDeficit, epochs=5, deficit_epochs=[3, 0])
    assert study.path({"arm": "blur", "n": 3}, config) == ("blur",) * 3 + ("clean",) * 5
    assert study.path({"arm": "control", "n": 3}, config) == ("clean",) * 8
    assert study.path({"arm": "baseline"}, config) == ("clean",) * 5
    assert len(study.paths(config)) == 3


def test_paths_of_a_window(prepared):
    study, config = prepared(Window, epochs=5, onset=["2", "0"], window_epochs=3)
    point = {"arm": "blur", "onset": 2}
    path = ("clean",) * 2 + ("blur",) * 3 + ("clean",) * 5
    assert study.path(point, config) == path
    control = study.path({**point, "arm": "control"}, config)
    assert control == ("clean",) * 10


def test_a_withheld_class_is_not_seen_before_it_comes(prepared):
    study, config = prepared(Plasticity)
    data = study.data["digits"]
    phases = study.phases(data, config)
    assert config.withheld in phases["clean"]["labels"]
    assert config.withheld not in phases["class"]["labels"]
    kept = np.sum(data.train[1] != config.withheld)
    assert len(phases["class"]["images"]) == kept


def test_the_learning_rate_falls_by_the_epoch(prepared):
    study, config = prepared(BlurDeficit)
    phases = study.phases(study.data["digits"], config)
    for phase in phases.values():
        (callback,) = phase["callbacks"]
        assert callback.schedule(2) == pytest.approx(0.05 * 0.9**2)
    config.decay = 1.0
    assert "callbacks" not in study.phases(study.data["digits"], config)["clean"]


def test_networks_and_their_switches(prepared):
    for name in ("small_fc", "small_cnn", "small_alexnet"):
        study, config = prepared(
            BlurDeficit, dropout=0.5, pool_size=2, double_softmax=True
        )
        model = study.build(name, study.data["digits"], config)
        rates = [layer.rate for layer in model.layers if hasattr(layer, "rate")]
        # Of certain answers, right and wrong: what a second softmax allows.
        weights = model.get_weights()
        model.set_weights([*weights[:-2], 1e4 * weights[-2], weights[-1]])
        images, labels = (part[:64] for part in study.data["digits"].train)
        loss = model.evaluate(images, labels, verbose=0, return_dict=True)["loss"]
        assert np.log(np.e + 9) - 1 < loss < np.log(np.e + 9) + 1e-5
        assert (0.5 in rates) == (name in common.ADJUSTABLE)
        assert model.output_shape == (None, 10)
        sizes = [layer.pool_size for layer in model.layers if "pool" in layer.name]
        assert set(sizes) == ({(2, 2)} if name in common.ADJUSTABLE else set())
    config.normalization, config.optimizer = "none", "adam"
    model = study.build("small_cnn", study.data["digits"], config)
    assert "BatchNormalization" not in [type(one).__name__ for one in model.layers]
    assert model.optimizer.name == "adam"


def test_runs_share_a_compiled_model_but_no_weights(prepared, tmp_path):
    study, config = prepared(
        BlurDeficit, logdir=str(tmp_path), epochs=5, share_prefix=False
    )

    def run(seed):
        hp = keras_tuner.HyperParameters()
        hp.values = {
            "dataset": "digits",
            "model": "small_fc",
            "arm": "baseline",
            "seed": seed,
        }
        keras.utils.set_random_seed(seed)
        return study.run(hp, config, str(tmp_path / "logs"))

    first, other, again = run(0), run(1), run(0)
    assert study.compiled[0] == ("digits", "small_fc", 0.05, 0.001)
    assert first["train_loss"] == again["train_loss"] != other["train_loss"]


def test_the_paper_presets_are_the_reports():
    paper = BlurDeficit.presets["paper"]
    assert paper["deficit_epochs"] == [0, 20, 40, 60, 80, 100, 120, 140]
    assert (paper["epochs"], paper["runs"], paper["blur_size"]) == (160, 5, 8)
    assert (paper["learning_rate"], paper["decay"]) == (0.005, 1.0)
    assert paper["double_softmax"] and not paper["weight_decay"]
    paper = Compare.presets["paper"]
    assert paper["deficit_epochs"] == [0, 20, 40, 60, 80, 100]
    assert (paper["limit"], paper["epochs"], paper["runs"]) == (10000, 100, 3)
    assert (paper["optimizer"], paper["withheld"]) == ("adam", 9)
    assert paper["pool_size"] == 0


def test_differences_are_shown_at_five_percent():
    # t of 4 degrees of freedom: 2.78 standard errors.
    values = np.array([-1.0, 0.0, 1.0, 0.0, 0.0])
    error = numbers.standard_error(values)
    assert numbers.direction(values + 2.7 * error) == "not shown to differ"
    assert numbers.direction(values + 2.8 * error) == "higher"
    assert numbers.direction(values - 2.8 * error) == "lower"
    assert numbers.direction(np.array([5.0, 5.1])) == "too few seeds to tell"


class Made:
    """Results that were never run."""

    def __init__(self, rows):
        self.table = pd.DataFrame(rows)

    def select(self, **values):
        rows = self.table
        for key, value in values.items():
            rows = rows[rows[key] == value]
        return rows

    def failed(self):
        return []


def made(prepared, drops):
    """A finished comparison, of accuracies that fall by `drops` a step of n."""
    study, config = prepared(Compare, deficit_epochs=[0, 4, 8], runs=5)
    rows = []
    for point in study.points(config):
        for seed in range(5):
            n = point.get("n", 0)
            fall = drops.get(point["arm"], 0.0) * n / 400
            spread = 1e-4 * (seed - 2) if n else 0.0
            accuracy = 0.9 - fall + spread
            rows.append(
                {
                    "dataset": "digits",
                    "model": "small_alexnet",
                    "arm": point["arm"],
                    "n": n,
                    "seed": seed,
                    **{f"{part}_accuracy": accuracy for part in common.PARTS},
                    "train_accuracy": 1.0,
                }
            )
    return study, Made(rows), config


def test_a_made_drop_is_found_and_correlates(prepared):
    study, runs, config = made(prepared, {"blur": 1.0, "class": 0.5})
    text = "\n".join(section.text for section in study.report(runs, config))
    assert "ends at 100.0 % of the training images." in text
    assert "Blurred images for 8 epochs, in points: less no deficit -2.0" in text
    assert text.count(", lower") == 4
    assert "Pearson's r 1.00, 95 % interval 1.00 to 1.00" in text


def test_no_made_drop_is_found_where_there_is_none(prepared):
    study, runs, config = made(prepared, {})
    point = {"dataset": "digits", "model": "small_alexnet"}
    arms = deficits._Arms(study, runs, point, config)
    assert abs(arms.drop("blur", 8).mean()) < 0.02
    text = "\n".join(section.text for section in study.report(runs, config))
    assert text.count("not shown to differ") == 4


def test_a_trace_is_measured_on_what_a_phase_shows(prepared):
    study, config = prepared(Fisher)
    data = study.data["digits"]
    phases = study.phases(data, config)
    clean, blurred = (
        phases[name]["callbacks"][-1].images for name in ("clean", "blur")
    )
    np.testing.assert_array_equal(clean, data.train[0][:64])
    assert blurred.std() < clean.std() and blurred.shape == clean.shape
    again = study.phases(data, config)
    assert again["blur"]["callbacks"][-1] is phases["blur"]["callbacks"][-1]
    images = 1 - data.train[0]
    other = dataclasses.replace(data, name="other", train=(images, data.train[1]))
    of_other = study.phases(other, config)["clean"]["callbacks"][-1].images
    np.testing.assert_array_equal(of_other, images[:64])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--deficit_epochs=-1"], "whole numbers from 0"),
        (["--deficit_epochs=0"], "--deficit_epochs=0 must hold a number above 0"),
        (["--deficit_epochs=4,x"], "--deficit_epochs=x must hold whole numbers"),
        (["--model=vgg"], "--model=vgg must be one of small_fc, fc"),
        (["--deficit=sepia"], "--deficit=sepia must be one of blur, flip"),
        (["--blur_size=9"], "--blur_size=9 must be at most the images' side, 8"),
        (["--withheld=10"], "--withheld=10 must be a class of digits, from 0 to 9"),
        (["--learning_rate=0"], "--learning_rate=0.0 must be above 0"),
        (["--learning_rate=inf"], "--learning_rate=inf must be finite"),
        (["--weight_decay=inf"], "--weight_decay=inf must be finite"),
        (["--dataset="], "--dataset= must hold different names"),
        (["--pool_size=5"], "--pool_size=5 must be at most 2 for the images of digits"),
        (["--search=hyperband"], "--search=hyperband changes the epochs"),
        (["--decay=1.5"], "--decay=1.5 must be above 0 and at most 1"),
        (["--epochs=4"], "--epochs=4 must be at least 5"),
        (["--batch_size=641"], "at most the 640 training images of digits"),
        (["--onset=3"], "--onset is not read by --experiment=blur"),
    ],
)
def test_mistakes_end_in_one_line(complaint, flags, words):
    assert words in complaint("--experiment=blur", *flags)


def test_mistakes_of_one_experiment(complaint):
    assert "whole numbers from 0" in complaint("--experiment=window", "--onset=-2")
    line = complaint("--experiment=compare", "--deficit=blur")
    assert "must name two deficits" in line
    line = complaint("--experiment=compare", "--deficit_epochs=0,4")
    assert "must hold two numbers above 0" in line
    few = ("--limit=5", "--batch_size=5")
    line = complaint("--experiment=plasticity", *few)
    assert "--withheld=9 must be a class of the 5 training images" in line
    line = complaint("--experiment=fisher", "--strategy=mirrored")
    assert "--strategy=mirrored must be none" in line
    line = complaint("--experiment=fisher", "--fisher_images=641")
    assert "--fisher_images=641 must be at most the 640" in line


def test_a_dry_run_lists_the_points(call, capsys, tmp_path):
    assert call(tmp_path, "--experiment=window", "--dry_run") == 0
    assert "arm=blur,onset=8,seed=0" in capsys.readouterr().out
