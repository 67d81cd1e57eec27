"""The study of margins: its experiments, their findings, its users' mistakes."""

import types

import numpy as np
import pytest

from zoo.apps import margins
from zoo.apps.margins import capacity, shapes
from zoo.apps.margins.common import network
from zoo.data import load_images

EXPERIMENTS = margins.EXPERIMENTS


@pytest.fixture(scope="module")
def quick(call, results, tmp_path_factory):
    """The folder of a finished `quick` run of all experiments."""
    logdir = tmp_path_factory.mktemp("quick")
    assert call(logdir) == 0
    return results(logdir / "margins")


FIGURES = {
    "losses": ("figure9", "figure10", "figure11", "figure12_log", "figure12_exp"),
    "angular": ("plane",),
    "noise": ("noise",),
    "distributions": ("figure7",),
    "gap": ("figure8",),
    "capacity": ("width_0", "width_20", "fit"),
}


@pytest.mark.parametrize("experiment", FIGURES)
def test_quick_reports_every_figure(quick, experiment):
    folder = quick / experiment
    text = folder.report(FIGURES[experiment])
    assert "Failed runs" not in text
    assert folder.rows()


def test_the_loss_margins_are_those_of_theory(quick):
    folder = quick / "losses"
    for loss, expected in {
        "logistic": 2.0,
        "softmax": 2.0,
        "exponential": 1.0,
        "temperature": 2.0 / shapes.GAMMA,
        "wide_logistic": 2.0 / shapes.GAMMA,
        "complementary": 2.0,
    }.items():
        found = folder.number("loss_margin", loss=loss)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    for loss in ("zero_one", "hinge", "weighted_margin"):
        assert folder.rows(loss=loss)[0]["loss_margin"] == ""


def test_a_margin_narrows_the_classes_it_was_trained_on(quick):
    folder = quick / "angular"
    for name, best in (("angle_within", min), ("test_accuracy", max)):
        plain, *others = (
            folder.number(name, task="plane", loss=loss)
            for loss in ("softmax", "l_softmax_4", "arcface", "cosface")
        )
        assert all(best(plain, other) == other != plain for other in others)
    for row in folder.rows(task="unseen"):
        # Of three classes a third would be chance.
        assert float(row["recall_at_1"]) > 0.5


def test_fewer_wrong_labels_give_larger_margins_at_every_layer(quick):
    folder = quick / "distributions"
    layers = [name for name in folder.rows()[0] if name.startswith("median_")]
    assert [name.removeprefix("median_") for name in layers] == [
        "input",
        "conv1_relu",
        "conv2_relu",
        "dense1_relu",
    ]
    for layer in layers:
        medians = [folder.number(layer, corruption=level) for level in (0.0, 0.2, 0.5)]
        assert medians == sorted(medians, reverse=True)


def test_all_layers_say_more_of_the_gap_than_the_score(quick):
    text = (quick / "gap").report()
    r2 = {
        cells[1]: float(cells[3])
        for line in text.splitlines()
        if line.startswith(("| all layers", "| last", "| score"))
        for cells in [[cell.strip() for cell in line.split("|")]]
    }
    assert r2["all layers, log"] > max(
        r2["score margin, log"], r2["last hidden layer, log"]
    )
    assert "too few for 10 folds" in text


def test_width_and_random_labels(quick):
    folder = quick / "capacity"
    errors = [
        1 - folder.number("test_accuracy", task="width", width=width, corruption=0.0)
        for width in ("2.0", "512.0")
    ]
    assert errors[1] < errors[0]
    for kind in capacity.FITS:
        assert folder.number("fitted_accuracy", task="fit", data=kind) > 0.9


def test_each_kind_of_meaningless_data_takes_one_thing_away():
    images, labels = load_images().train
    for kind in capacity.FITS:
        x, y = capacity.meaningless(kind, images, labels, seed=0)
        assert x.shape == images.shape and x.dtype == images.dtype
        assert np.array_equal(y, labels) == (kind != "random labels")
        assert np.array_equal(x, images) == (kind in ("true labels", "random labels"))
        np.testing.assert_array_equal(np.sort(y), np.sort(labels))
    x, _ = capacity.meaningless("shuffled pixels", images, labels, seed=0)
    np.testing.assert_array_equal(
        np.sort(x.reshape(len(x), -1)), np.sort(images.reshape(len(x), -1))
    )


def test_the_widest_network_is_that_of_amid_et_al():
    data = types.SimpleNamespace(input_shape=(28, 28, 1), num_classes=10)
    dense = network(data, 32).get_layer("dense1")
    assert dense.kernel.shape == (7 * 7 * 64, 1024)


@pytest.mark.parametrize("preset", ["quick", "cpu", "paper"])
def test_every_preset_is_complete_and_its_population_large_enough(preset):
    for study in margins.EXPERIMENTS:
        assert study.presets[preset].keys() == study.presets["quick"].keys()
    gap = margins.Gap.presets[preset]
    sizes = (len(gap[name]) for name in ("width", "dropout", "weight_decay"))
    networks = np.prod([*sizes, len(gap["corruption"]), gap["runs"]])
    assert networks >= 60 or preset == "quick"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--experiment=noise", "--loss=l2"], "--loss=l2 must be one of cross_entropy"),
        (
            ["--experiment=noise", "--corruption=0,1.5"],
            "--corruption=1.5 must hold numbers from 0 to 1",
        ),
        (
            ["--experiment=gap", "--width=four"],
            "--width=four must hold whole numbers from 1",
        ),
        (
            ["--experiment=gap", "--width=4,4"],
            "--width=4,4 must hold different numbers",
        ),
        (
            ["--experiment=angular", "--held_out=9"],
            "--held_out=9 must be at most 8 of the 10 classes of digits",
        ),
        (
            ["--experiment=noise", "--dataset=digits,mnist"],
            "--dataset=digits,mnist must name one data set",
        ),
        (["--experiment=noise", "--dataset=faces"], "--dataset=faces: "),
        (["--experiment=losses", "--epochs=3"], "--epochs is not read by"),
    ],
)
def test_a_mistake_is_one_line(complaint, arguments, line):
    assert line in complaint(*arguments)
