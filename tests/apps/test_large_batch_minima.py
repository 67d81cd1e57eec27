"""The minima of small and large batches: their measures, findings, users' mistakes."""

import types

import numpy as np
import pytest

from zoo.apps import large_batch
from zoo.apps.large_batch import Alpha, Sharpness, minima

EXPERIMENTS = large_batch.EXPERIMENTS


@pytest.fixture(scope="module")
def quick(call, results, tmp_path_factory):
    """The folder of a finished `quick` run of the experiments on minima."""
    logdir = tmp_path_factory.mktemp("quick")
    assert call(logdir, "--experiment=sharpness,alpha") == 0
    # Seeds add nothing to what is asserted of these.
    assert call(logdir, "--experiment=interpolation,hessian", "--runs=1") == 0
    return results(logdir / "large_batch")


def curves(folder):
    return [folder.curves(run=row["run"]) for row in folder.rows()]


@pytest.mark.parametrize(
    ("experiment", "names"),
    [
        ("sharpness", ["equal_loss_small_mlp"]),
        ("interpolation", ["figure1_small_mlp", "planes_small_mlp"]),
        ("alpha", ["figure2_small_mlp", "figure3_small_mlp"]),
        ("hessian", ["eigenvalues_small_mlp", "density_small_mlp"]),
    ],
)
def test_quick_draws_every_figure(quick, experiment, names):
    (quick / experiment).report(names)


def test_quick_reports_tables_1_to_4_and_the_settings_that_values_depend_on(quick):
    text = (quick / "sharpness").report()
    for part in (
        "## Table 1: networks",
        "## Table 2: accuracy",
        "## Table 3: sharpness in the full space",
        "## Table 4: sharpness in subspaces of 100",
        "## At equal training loss: small_mlp",
        "are not normalised: their entries have variance 1",
        "ten iterations of L-BFGS inside it from each of two starts",
        "batches of 16 (SB) and 256 (LB)",
    ):
        assert part in text


def test_both_minima_are_compared_at_equal_loss(quick):
    found = (quick / "sharpness").rows()
    assert len(found) == 4
    losses = [float(row["level_train_loss"]) for row in found]
    assert max(losses) <= 0.01
    assert min(losses) > 0.008
    # After equal epochs they are not: fewer updates have not come as far.
    small, large = (
        [float(row["loss"]) for row in found if row["batch"] == batch]
        for batch in ("SB", "LB")
    )
    assert min(large) > 10 * max(small)


def test_the_sharpness_of_a_smaller_box_is_smaller(quick):
    for row in (quick / "sharpness").rows():
        for prefix in ("", "level_"):
            for space in ("full", "subspace"):
                large, small = (
                    float(row[f"{prefix}{space}_{epsilon}"])
                    for epsilon in ("0.001", "0.0005")
                )
                assert 0 < small < large


def test_the_report_says_which_minima_are_sharper(quick):
    text = (quick / "sharpness").report()
    assert "their minima are sharper by " in text
    words = {"sharper", "flatter", "alike"}
    table = text.partition("## At equal training loss")[2].partition("\n## ")[0]
    verdicts = [
        line.split("|")[-2].strip() for line in table.splitlines() if "|" in line
    ]
    assert len([word for word in verdicts if word in words]) == 10


def test_the_line_joins_both_minima(quick):
    for one in curves(quick / "interpolation"):
        np.testing.assert_array_equal(one["alpha"], np.linspace(-1, 2, 25))
        assert one["SB_plane"].shape == one["LB_plane"].shape == (81,)
        # The centre of each plane is an end of the line.
        for place, batch in ((0, "SB"), (1, "LB")):
            at = np.argmin(abs(one["alpha"] - place))
            np.testing.assert_allclose(
                one[f"{batch}_plane"][40], one["training_loss"][at], rtol=1e-5
            )
            assert one["training_loss"][at] < 0.02


def test_rescaling_moves_the_sharpness_and_not_the_function(quick):
    folder = quick / "alpha"
    found, text = curves(folder), folder.report()
    alphas = Alpha.presets["quick"]["alpha"]
    one, five = alphas.index(1.0), alphas.index(5.0)
    assert len(found) == 1
    for run in found:
        largest = float(folder.rows()[0]["largest_logit"])
        assert run["difference_curve"].max() <= 1e-5 * max(largest, 1.0)
        for name in ("sharpness", "eigenvalue"):
            curve = run[f"{name}_curve"]
            assert curve[five] > 2 * curve[one]
        for name in ("adaptive", "filter_eigenvalue"):
            curve = run[f"{name}_curve"]
            np.testing.assert_allclose(curve, curve[one], rtol=1e-2)
        norms = run["first_norm_curve"] / run["first_norm_curve"][one]
        np.testing.assert_allclose(norms, alphas, rtol=1e-5)
    assert "of one and the same function" in text


def test_the_eigenvalues_are_sorted_and_within_the_trace(quick):
    folder = quick / "hessian"
    for row, one in zip(folder.rows(), curves(folder), strict=True):
        values = one["eigenvalues"]
        assert len(values) == len(one["filter_eigenvalues"]) == 10
        assert (np.diff(values) <= 0).all()
        # All but a few eigenvalues of a minimum are above 0.
        assert values.sum() < float(row["trace"]) + 3 * float(row["trace_error"])
        area = np.trapezoid(one["density"], one["grid"])
        assert area == pytest.approx(1, abs=1e-3)
        assert one["grid"][0] < float(row["lowest"]) < one["grid"][-1]


def test_the_paper_preset_is_the_reports():
    paper = Sharpness.presets["paper"]
    assert (paper["batch_size"], paper["epochs"], paper["runs"]) == (256, 100, 5)
    assert (paper["epsilon"], paper["dimension"]) == ([1e-3, 5e-4], 100)
    assert paper["large_batch_size"] == 0
    assert Sharpness.published["full", 1e-3]["F1"][1] == "205.14 ± 69.52"
    assert Sharpness.published["subspace", 5e-4]["C4"][0] == "1.89 ± 0.33"
    for table in Sharpness.published.values():
        assert list(table) == ["F1", "F2", "C1", "C2", "C3", "C4"]


def test_each_network_takes_its_own_data_of_several():
    study = Sharpness()
    paper = Sharpness.presets["paper"]
    found = {name: study._dataset(name, paper["dataset"]) for name in paper["network"]}
    assert found == {name: minima.DATA[name] for name in paper["network"]}


def test_a_loss_that_is_not_reached_is_a_failed_run(call, tmp_path, capsys):
    code = call(
        tmp_path,
        "--experiment=hessian",
        "--epochs=1",
        "--trials=1",
        "--target_loss=1e-9",
    )
    assert code == 2
    output = capsys.readouterr().out
    assert "the training loss did not come down to 1e-09 in 10 epochs" in output


def test_tables_stand_without_a_loss_that_is_not_reached(call, tmp_path):
    small = ("--epochs=1", "--runs=1", "--target_loss=1e-9", "--epsilon=1e-3")
    assert call(tmp_path, "--experiment=sharpness", *small) == 0
    text = (tmp_path / "large_batch/sharpness/report.md").read_text()
    assert "in 0 of 1 runs of small and 0 of 1 of large batches" in text
    assert "## Table 3" in text
    assert "equal_loss" not in text


@pytest.mark.parametrize(
    ("experiment", "arguments", "message"),
    [
        ("sharpness", ["--epsilon=0"], "--epsilon=0 must hold numbers from 1e-09 to 1"),
        ("sharpness", ["--epsilon=x"], "--epsilon=x must hold numbers from 1e-09 to 1"),
        (
            "sharpness",
            ["--epsilon=nan"],
            "--epsilon=nan must hold numbers from 1e-09 to 1",
        ),
        ("sharpness", ["--epsilon=1,1"], "--epsilon=1.0,1.0 must hold different"),
        ("sharpness", ["--dimension=0"], "--dimension=0"),
        (
            "sharpness",
            ["--dimension=99999"],
            "--dimension=99999 must be at most the 26378 weights of --network=",
        ),
        ("sharpness", ["--network=F9"], "--network=F9 must be one of small_mlp, F1"),
        (
            "hessian",
            ["--large_batch_size=8"],
            "--large_batch_size=8 must be above --batch_size=16 and at most the 1280",
        ),
        (
            "hessian",
            ["--large_batch_size=5000"],
            "--large_batch_size=5000 must be above --batch_size=16 and at most the",
        ),
        (
            "hessian",
            ["--dataset=mnist,cifar10", "--network=F2"],
            "--dataset=mnist,cifar10 must name one data set for all networks, or timit",
        ),
        ("alpha", ["--alpha=0.5,2"], "--alpha=0.5,2.0 must hold 1"),
        ("alpha", ["--alpha=1,-2"], "--alpha=-2 must hold numbers from 1e-06 to 1e+06"),
        ("alpha", ["--epsilon=1e-3,1e-4"], "--epsilon=0.001,0.0001 must be one number"),
        (
            "alpha",
            ["--target_loss=1"],
            "--target_loss is not read by --experiment=alpha",
        ),
        ("alpha", ["--dimension=3"], "--dimension is not read by --experiment=alpha"),
    ],
)
def test_a_mistake_ends_in_one_line(complaint, experiment, arguments, message):
    assert message in complaint(f"--experiment={experiment}", *arguments)


def test_the_words_follow_the_spread_of_the_seeds():
    assert minima.compare([1.0, 1.2], [2.0, 2.2]) == "larger"
    assert minima.compare([2.0, 2.2], [1.0, 1.2]) == "smaller"
    assert minima.compare([1.0, 2.0], [1.5, 2.5]) == "as large"
    assert minima.compare([1.0], [2.0]) == "-"


def test_the_same_point_gives_the_same_numbers(tmp_path):
    config = types.SimpleNamespace(
        **{**Sharpness.presets["quick"], "epochs": 1, "limit": 300, "measured": 64},
        data_dir=None,
        seed=0,
        search="grid",
        strategy="none",
        policy="float32",
        jit="auto",
    )
    values = {"network": "small_mlp", "batch": "SB", "seed": 1}
    outcomes = []
    for number in range(2):
        study = Sharpness()
        study.prepare(config)
        hp = types.SimpleNamespace(get=values.get, values=values)
        outcomes.append(study.run(hp, config, str(tmp_path / str(number))))
    assert outcomes[0].keys() == outcomes[1].keys()
    for name in outcomes[0]:
        np.testing.assert_array_equal(outcomes[0][name], outcomes[1][name], name)
