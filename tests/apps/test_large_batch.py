"""The regimes of large batches: their training, their findings, users' mistakes."""

import pathlib
import re
import types

import keras
import keras_tuner
import numpy as np
import pytest
from absl import flags

from zoo.apps import large_batch
from zoo.apps.large_batch import Regimes, regimes
from zoo.data import load_images
from zoo.study import training

EXPERIMENTS = large_batch.EXPERIMENTS


@pytest.fixture
def run(call, tmp_path):
    """Calls the app with flags, in a folder of the test's; returns its exit code."""

    def run(*arguments, logdir=None):
        return call(logdir or tmp_path / "runs", "--experiment=regimes", *arguments)

    return run


@pytest.fixture
def config():
    return types.SimpleNamespace(
        **Regimes.presets["quick"],
        data_dir=None,
        seed=0,
        search="grid",
        strategy="none",
        policy="float32",
        jit="auto",
    )


def error(capsys):
    return capsys.readouterr().err.splitlines()


@pytest.fixture(scope="module")
def quick(call, results, tmp_path_factory):
    """The folder of a finished `quick` run."""
    logdir = tmp_path_factory.mktemp("quick")
    assert call(logdir, "--experiment=regimes") == 0
    return results(logdir / "large_batch/regimes")


def accuracies(folder, regime):
    return [float(row["test_accuracy"]) for row in folder.rows(regime=regime)]


def test_quick_shows_the_gap_and_what_closes_it(quick):
    small, large, scaled, longer, both = (
        accuracies(quick, regime) for regime in ("SB", "LB", "LR", "LE", "GBN+LE")
    )
    assert len(small) == len(large) == 2
    # At equal epochs each seed's large batch is worse, a scaled rate closes part of
    # the gap, equal updates all of it, with ghosts too.
    assert max(large) < min(scaled) < max(scaled) < min(small)
    assert min(longer) > np.mean(small) - 0.01
    assert min(both) > np.mean(small) - 0.01


def test_quick_reports_every_figure_and_table(quick):
    names = ["table5", *(f"figure{number}" for number in range(4, 10)), "distance"]
    text = quick.report([f"digits_{name}" for name in names])
    for part in (
        "## Table 5: digits",
        "| 92.78 | 69.89 |",
        "| 94.13 | 71.04 |",
        "## Findings: digits",
        "## Under-training: digits",
        "scikit-learn",
        "ResNet-50 on CIFAR",
    ):
        assert part in text
    assert "LB below SB) | yes" in text


def test_quick_says_that_the_gap_is_under_training(quick):
    text = quick.report().partition("## Under-training")[2]
    row = next(line for line in text.splitlines() if line.startswith("| LB"))
    *_, gap, _, equal, _ = (cell.strip() for cell in row.split("|"))
    assert float(gap) > 10
    assert abs(float(equal)) < 5


def test_the_same_command_gives_the_same_numbers(config, tmp_path):
    runs = []
    for number in range(2):
        instance = Regimes()
        instance.prepare(config)
        hp = keras_tuner.HyperParameters()
        hp.values = {"dataset": "digits", "regime": "GBN", "seed": 1}
        keras.utils.set_random_seed(1)
        runs.append(instance.run(hp, config, str(tmp_path / str(number))))
    assert runs[0].keys() == runs[1].keys()
    for name in runs[0]:
        np.testing.assert_array_equal(runs[0][name], runs[1][name], err_msg=name)


def test_regimes_are_those_of_table_5(config):
    table = regimes.regimes(config)
    assert list(table) == [
        "SB",
        "LB",
        "LR",
        "GBN",
        "LE",
        "GBN+LE",
        "B32",
        "B64",
        "B128",
    ]
    assert table["GBN+LE"] == regimes.Regime(256, ghosts=True, longer=True, scaled=True)
    config.lr_rule = "fixed"
    assert "LR" not in regimes.regimes(config)


def test_longer_training_makes_as_many_updates(config):
    instance = Regimes()
    table = regimes.regimes(config)
    updates = {
        name: instance._epochs(table[name], config) * 1280 / table[name].batch_size
        for name in ("SB", "LB", "LE")
    }
    assert updates["LE"] == updates["SB"] == 16 * updates["LB"]


@pytest.mark.parametrize(
    ("rule", "factor"), [("fixed", 1), ("sqrt", 4), ("linear", 16)]
)
def test_the_learning_rate_rules(config, rule, factor):
    config.lr_rule, config.schedule = rule, "constant"
    instance = Regimes()
    data = load_images()
    regime = regimes.Regime(256, longer=True, scaled=True)
    optimizer = instance._model(data, regime, config, 100, 5).optimizer
    np.testing.assert_allclose(optimizer.learning_rate, 0.01 * factor, rtol=1e-6)
    assert optimizer.global_clipnorm == 5.0
    plain = instance._model(data, regimes.Regime(256), config, 100, 5).optimizer
    np.testing.assert_allclose(plain.learning_rate, 0.01, rtol=1e-6)
    assert plain.global_clipnorm is None


def test_schedules_and_warm_up(config):
    step = regimes._schedule("step", 1.0, 100)
    rates = [float(step(update)) for update in (0, 50, 51, 75, 76)]
    np.testing.assert_allclose(rates, [1, 1, 0.1, 0.1, 0.01], rtol=1e-6)
    cosine = regimes._schedule("cosine", 1.0, 100)
    np.testing.assert_allclose([float(cosine(50)), float(cosine(100))], [0.5, 0])
    config.warmup_epochs = 2
    model = Regimes()._model(load_images(), regimes.Regime(16), config, 100, 5)
    np.testing.assert_allclose(model.optimizer.learning_rate, 0.001, rtol=1e-6)


def test_ghosts_are_in_the_network(config):
    model = Regimes()._model(
        load_images(), regimes.Regime(256, ghosts=True), config, 10, 5
    )
    sizes = [getattr(layer, "virtual_batch_size", None) for layer in model.layers]
    assert sizes.count(16) == 2


def test_dry_run_prints_the_grid_and_touches_nothing(run, capsys, tmp_path):
    assert run("--dry_run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 19
    assert lines[0].startswith("dataset=digits,regime=SB,seed=0")
    assert lines[-1].startswith("18 runs, about ")
    assert not (tmp_path / "runs").exists()


def test_dry_run_knows_what_it_does_not_know(run, capsys):
    assert run("--dry_run", "--model=mlp") == 0
    assert "18 runs; their time was not measured" in capsys.readouterr().out
    assert run("--dry_run", "--search=random", "--trials=7") == 0
    assert "random search, 7 trials" in capsys.readouterr().out


def test_the_paper_preset_is_the_reports(capsys):
    paper = Regimes.presets["paper"]
    assert paper["dataset"] == ["cifar10", "cifar100"]
    assert paper["model"] == "resnet50"
    sizes = ("batch_size", "large_batch_size", "virtual_batch_size")
    assert [paper[name] for name in sizes] == [64, 1024, 64]
    assert Regimes.published["cifar100"]["GBN+LE"] == 71.04


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset=imagenet"], "--dataset=imagenet: .*digits.*cifar100"),
        (["--preset=huge"], "--preset=huge: value should be one of <quick|cpu|paper>"),
        (["--epochs=0"], "--epochs=0"),
        (["--runs=0"], "--runs=0"),
        (["--batch_size=x"], "--batch_size=x"),
        (["--virtual_batch_size=1"], "--virtual_batch_size=1"),
        (
            ["--large_batch_size=8"],
            "--large_batch_size=8 must be above --batch_size=16",
        ),
        (["--large_batch_size=4096"], "must be at most the 1280 training images"),
        (["--learning_rate=-1"], "--learning_rate=-1"),
        (["--momentum=1.5"], "--momentum=1.5"),
        (["--image_size=3"], "size must divide the images' sides, 8 and 8"),
        (["--limit=99999"], "limit.*99999"),
        (["--dataset=digits,digits"], "--dataset names one twice: digits,digits"),
        (["--dataset=cifar10", "--data_dir=/nowhere"], "/nowhere"),
        (["--jit=on", "--strategy=mirrored"], "--jit=on does not work under"),
        (["--workers=-1"], "--workers=-1"),
        (["--no_such_flag"], "no_such_flag"),
        (["stray"], "unexpected argument 'stray'"),
    ],
)
def test_a_mistake_ends_in_one_line_and_exit_code_1(
    run, capsys, tmp_path, arguments, message
):
    assert run(*arguments) == 1
    (line,) = error(capsys)
    assert ": error: " in line
    assert re.search(message.replace("|", r"\|"), line), line
    assert not (tmp_path / "runs").exists()


def test_an_unwritable_logdir_is_named(run, capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert run(logdir=tmp_path / "file") == 1
    (line,) = error(capsys)
    assert str(tmp_path / "file") in line
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_run_with_half_a_result_is_repeated(run, capsys, tmp_path):
    assert run("--trials=1", "--epochs=1") == 0
    capsys.readouterr()
    (result,) = pathlib.Path(tmp_path / "runs/large_batch/regimes").glob(
        "*/result.json"
    )
    result.write_text("{ torn")
    assert run("--trials=1", "--epochs=1") == 0
    assert f"{result} is not whole: that run is repeated" in capsys.readouterr().err
    assert result.read_text() != "{ torn"


def test_another_configuration_is_refused(run, capsys):
    assert run("--trials=1", "--epochs=1") == 0
    capsys.readouterr()
    assert run("--trials=1", "--epochs=2") == 1
    (line,) = error(capsys)
    assert "holds another configuration: epochs was 1, now 2" in line


def test_nan_data_is_a_mistake(run, capsys, monkeypatch, tmp_path):
    data = load_images()
    data.train[0][3, 2, 1, 0] = np.nan
    monkeypatch.setattr(training, "load_images", lambda *_, **__: data)
    assert run() == 1
    (line,) = error(capsys)
    assert "--dataset=digits: `train` must be finite" in line
    assert not (tmp_path / "runs").exists()


def test_a_strategy_trains(run, results, tmp_path):
    assert run("--strategy=mirrored", "--trials=1", "--epochs=1") == 0
    folder = results(tmp_path / "runs/large_batch/regimes")
    assert accuracies(folder, "SB")[0] > 0.8


def test_a_diverged_run_is_a_failed_run(run, capsys, tmp_path):
    code = run("--trials=1", "--epochs=2", "--learning_rate=1e30", "--runs=1")
    assert code == 2
    output = capsys.readouterr()
    assert "FAILED: FloatingPointError: the loss is nan in epoch 1" in output.out
    assert "1 of 1 trials failed" in output.err
    (folder,) = (tmp_path / "runs/large_batch/regimes").glob("dataset=*")
    assert (folder / "train").is_dir()


def test_flags_win_over_presets_and_replay(run, tmp_path):
    assert run("--trials=1", "--epochs=1", "--model=mlp") == 0
    lines = (tmp_path / "runs/large_batch/regimes/flags.txt").read_text().splitlines()
    assert {"--epochs=1", "--model=mlp", "--batch_size=16", "--dataset=digits"} <= {
        *lines
    }
    replay = [line for line in lines if not line.startswith("--logdir")]
    assert run(*replay, logdir=tmp_path / "again") == 0
    tables = [
        (tmp_path / name / "large_batch/regimes/results.csv")
        .read_text()
        .rpartition(",")[0]
        for name in ("runs", "again")
    ]
    assert tables[0] == tables[1]
    assert flags.FLAGS.epochs is None
