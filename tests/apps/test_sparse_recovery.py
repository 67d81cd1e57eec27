"""The study of sparse recovery: experiments, findings, its users' mistakes."""

import types

import numpy as np
import pytest

from zoo.apps import sparse_recovery
from zoo.apps.sparse_recovery import cost, layers
from zoo.apps.sparse_recovery.common import (
    Task,
    bernoulli_gaussian_task,
    draw,
    say_decibels,
    say_steps,
    steps_to,
)
from zoo.apps.sparse_recovery.diagram import block_diagrams
from zoo.apps.sparse_recovery.methods import (
    METHODS,
    build,
    lasso_weights,
    multiplications,
    solve,
    stages,
)
from zoo.data import bernoulli_gaussian

EXPERIMENTS = sparse_recovery.EXPERIMENTS


def settings(study, preset="quick", **changes):
    common = {"seed": 0, "data_dir": None}
    return types.SimpleNamespace(**{**study.presets[preset], **common, **changes})


@pytest.fixture(scope="module")
def quick(call, results, tmp_path_factory):
    """The folder of a finished `quick` run, of matrices of independent entries."""
    logdir = tmp_path_factory.mktemp("quick")
    assert call(logdir, "--experiment=layers,cost", "--condition=none") == 0
    methods = "--method=lista,lamp_bg,lvamp_bg"
    assert call(logdir, "--experiment=channels", methods) == 0
    return results(logdir / "sparse_recovery")


@pytest.fixture(scope="module")
def ill(call, results, tmp_path_factory):
    """The folder of `layers` on an ill-conditioned matrix."""
    logdir = tmp_path_factory.mktemp("ill")
    methods = "--method=amp_l1,amp_bg,vamp_bg,lvamp_bg"
    assert call(logdir, "--experiment=layers", "--condition=15", methods) == 0
    return results(logdir / "sparse_recovery/layers")


def curve(folder, name="nmse_curve", **values):
    return folder.curves(**values)[name]


FIGURES = {
    "layers": ("figure2_none", "iterations_none"),
    "cost": ("multiplications", "fista_per_layer", "figure1"),
    "channels": ("figure2_random_access",),
}


@pytest.mark.parametrize("experiment", FIGURES)
def test_quick_reports_every_figure(quick, experiment):
    folder = quick / experiment
    text = folder.report(FIGURES[experiment])
    assert "Failed runs" not in text
    assert "nan" not in text.lower()


def test_solvers_run_once_and_networks_once_a_seed(quick):
    found = (quick / "layers").rows(condition="none")
    assert len(found) == len(layers.COMPARED)
    for row in found:
        assert ("seed" in row["run"]) == METHODS[row["method"]].learned


def test_every_network_beats_what_it_starts_as(quick):
    folder = quick / "layers"
    # LAMP is ahead of AMP, and LVAMP near VAMP, which is told the truth.
    for shrinkage in ("l1", "bg"):
        found = {
            name: curve(folder, condition="none", method=f"{name}_{shrinkage}")[3]
            for name in ("amp", "vamp", "lamp", "lvamp")
        }
        assert found["lamp"] < found["amp"] - 4
        assert found["lvamp"] < found["vamp"] + 0.5
    l1 = {
        name: curve(folder, condition="none", method=name)[3]
        for name in ("vamp_l1", "lvamp_l1")
    }
    assert l1["lvamp_l1"] < l1["vamp_l1"] - 2


def test_lamp_needs_half_of_the_layers_of_lista(quick):
    folder = quick / "layers"
    lista = curve(folder, condition="none", method="lista")
    lamp = curve(folder, condition="none", method="lamp_l1")
    assert len(lista) == 8
    assert 0 < steps_to(lamp, lista[-1]) <= 4


def test_untied_layers_are_no_worse_than_the_tied_ones_they_start_as(quick):
    tied, untied = (
        (quick / "layers").number("nmse", condition="none", method=name)
        for name in ("lamp_bg", "lamp_bg_untied")
    )
    assert untied < tied + 0.05


def test_ill_conditioning_breaks_amp_alone(quick, ill):
    iid = quick / "layers"
    for name in ("amp_l1", "amp_bg"):
        assert ill.number("diverged", method=name) > 0.5
        assert ill.number("nmse", method=name) > 0
        assert iid.number("diverged", method=name) < 0.05
    for name in ("vamp_bg", "lvamp_bg"):
        one, other = (curve(folder, method=name)[3] for folder in (iid, ill))
        assert abs(one - other) < 1
    text = ill.report()
    assert "| amp_l1 | diverges |" in text


def test_vamp_is_an_order_of_magnitude_ahead_of_fista(quick):
    counts = {
        name: steps_to(
            curve(quick / "layers", "signal_curve", condition="none", method=name), -25
        )
        for name in ("fista", "vamp_l1", "vamp_bg")
    }
    assert 0 < counts["vamp_bg"] < counts["vamp_l1"] < counts["fista"] / 10


def test_few_layers_cost_less_than_many_iterations(quick):
    folder = quick / "cost"
    work = {
        row["method"]: float(row["layers"]) * float(row["ms_per_layer"])
        for row in folder.rows()
        if row["layers"]
    }
    assert 0 < work["lvamp_bg"] < work["fista"] / 5
    assert work["lvamp_bg"] < folder.number("ms", method="lasso") / 20


def test_iterations_of_fista_a_layer_depend_on_the_weight(quick):
    folder = quick / "cost"
    first = curve(folder, method="lista")[0]
    counts = [steps_to(curve(folder, method="fista"), first)]
    counts += [
        steps_to(curve(folder, f"multiple_{multiple}", method="fista"), first)
        for multiple in (3, 10)
    ]
    assert counts[0] > 1.5 * counts[1] > 2 * counts[2] > 0


def test_lvamp_finds_users_that_lista_does_not(quick):
    found = {row["method"]: float(row["nmse"]) for row in (quick / "channels").rows()}
    assert found["lvamp_bg"] < found["lista"] - 4
    assert found["lamp_bg"] < found["lista"] - 3


def test_the_fixture_is_taken_where_the_settings_are_its_own():
    task = bernoulli_gaussian_task(settings(layers.Layers, "cpu"))
    assert task.is_fixture
    assert np.linalg.norm(task.x) == pytest.approx(224.55166, abs=1e-5)
    other = bernoulli_gaussian_task(settings(layers.Layers, "cpu", snr=30.0))
    assert not other.is_fixture and other.problem.noise_variance == 2e-4


def test_training_and_measuring_have_different_signals():
    config = settings(layers.Layers)
    task = bernoulli_gaussian_task(config)
    _, x = task.problem.sample(1000, seed=0)
    assert not np.array_equal(x, task.x.astype("float32"))
    assert task.y.shape == (1000, 100)


def test_signals_of_zero_are_not_measured_on():
    task = draw(bernoulli_gaussian((4, 8), sparsity=0.1))
    assert 400 < len(task.x) < 700 and task.x.any(axis=1).all()
    with pytest.raises(ValueError, match="--sparsity or --activity leaves nothing"):
        draw(bernoulli_gaussian((4, 8), sparsity=1e-6))


@pytest.mark.parametrize(("condition", "name"), [(None, "amp_l1"), (15, "vamp_l1")])
def test_the_lasso_of_fista_is_that_at_which_message_passing_ends(condition, name):
    problem = bernoulli_gaussian((50, 100), sparsity=0.05, condition=condition)
    task = Task(problem, *problem.sample(5, dtype="float64"))
    ends = [
        solve(METHODS[name], task, 200).x,
        solve(METHODS["fista"], task, 5000, lasso_weights(task)).x,
    ]
    np.testing.assert_allclose(*ends, rtol=0, atol=1e-3)


def test_lista_starts_at_the_best_of_some_thresholds():
    problem = bernoulli_gaussian((50, 100))
    task = Task(problem, *problem.sample(50, dtype="float64"))
    for name in ("lista", "alista", "lista_low_rank"):
        network = build(METHODS[name], task, 3)
        errors = [task.nmse(one) for one in network.predict_all(task.y)]
        assert np.isfinite(errors).all()
    assert len(network.blocks[0].linear.carry_matrices) == 2


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("fista", 40_000),
        ("vamp_bg", 40_000),
        ("lamp_bg", 40_000),
        ("alista", 40_000),
        ("lista", 60_000),
        ("lista_low_rank", 40_000),
        ("lvamp_bg", 50_000),
    ],
)
def test_multiplications_of_a_layer(name, count):
    assert multiplications(METHODS[name], (100, 200)) == count


def test_stages_scale_and_a_short_last_one_is_left_out():
    config = settings(layers.Layers, steps=1.0)
    joint, last = stages(METHODS["lamp_bg"], 5, config)
    assert (joint.steps, joint.supervise, last.supervise) == (800, "all", "last")
    config.steps = 0.1
    (joint,) = stages(METHODS["lamp_bg"], 5, config)
    assert (joint.steps, joint.batch_size) == (80, 250)
    config.schedule = "layerwise"
    assert len(stages(METHODS["lvamp_bg"], 5, config)) == 10


def test_the_diagram_has_a_box_for_each_part():
    ista, lista = block_diagrams().axes
    texts = [text.get_text() for text in lista.texts]
    assert texts.count("S") == texts.count("+") == 2
    assert [f"$\\theta_{layer}$" in texts for layer in (1, 2, 3)] == [True] * 3
    assert [text.get_text() for text in ista.texts].count("S") == 1


def test_cpu_seconds_are_of_calls_after_the_first():
    calls = []
    assert cost.cpu_seconds(lambda: calls.append(0)) >= 0
    assert len(calls) == cost.CALLS + 1


def test_words():
    assert steps_to([-1, -5, -6], -5) == 2
    assert steps_to([-1, np.nan], -5) == -1
    assert say_steps([3]) == "3"
    assert say_steps([-1]) == "never"
    assert say_steps([-1], 15) == "more than 15"
    assert say_steps([2, -1, 4]) == "4"
    assert say_steps([]) == "-"
    assert say_decibels([-3.0]) == "-3.00"
    assert say_decibels([300.0]) == "diverges"


def test_solvers_alone_can_be_run(call, tmp_path):
    small = ("--measurements=20", "--unknowns=40", "--iterations=5")
    one = ("--experiment=layers", "--condition=none", "--method=amp_bg,vamp_bg")
    assert call(tmp_path, *one, *small) == 0
    text = (tmp_path / "sparse_recovery/layers/report.md").read_text()
    assert "were not both run" in text and "needs a second condition" in text
    one = ("--experiment=cost", "--method=fista")
    assert call(tmp_path, *one, *small) == 0


@pytest.mark.parametrize("preset", ["quick", "cpu", "paper"])
def test_every_preset_is_complete_and_valid(preset):
    for study in sparse_recovery.EXPERIMENTS:
        assert set(study.presets[preset]) == set(study.presets["quick"])
        study().prepare(settings(study, preset))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("--experiment=layers", "--method=newton"),
            "--method=newton must be one of fista, amp_l1",
        ),
        (
            ("--experiment=layers", "--method=lasso"),
            "--method=lasso must be one of fista",
        ),
        (
            ("--experiment=layers", "--condition=0.5"),
            "--condition=0.5 must hold none, or numbers from 1",
        ),
        (
            ("--experiment=layers", "--condition=well"),
            "--condition=well must hold none, or numbers from 1",
        ),
        (
            ("--experiment=layers", "--condition=15,15"),
            "--condition=15,15 must hold different values, one at least",
        ),
        (
            ("--experiment=cost", "--measurements=200"),
            "--measurements=200 must be less than --unknowns=200",
        ),
        (("--experiment=cost", "--measurements=1"), "--measurements=1 must be from 2"),
        (("--experiment=cost", "--sparsity=0"), "--sparsity=0 must be above 0"),
        (("--experiment=layers", "--sparsity=nan"), "--sparsity=nan must be finite"),
        (("--experiment=layers", "--snr=inf"), "--snr=inf must be finite"),
        (("--experiment=layers", "--target_nmse=3"), "--target_nmse=3 must be from"),
        (("--experiment=layers", "--steps=0"), "--steps=0 must be from 0.001"),
        (("--experiment=layers", "--depth=0"), "flag --depth=0"),
        (
            ("--experiment=channels", "--problem=radar"),
            "--problem=radar must be one of random_access, massive_mimo",
        ),
        (
            ("--experiment=channels", "--pilots=128"),
            "--pilots=128 must be less than the users, 1 times --users=128",
        ),
        (
            (
                *("--experiment=channels", "--problem=massive_mimo"),
                *("--antennas=4", "--pilots=28"),
            ),
            "--pilots=28 must be less than the users, 7 times --antennas=4",
        ),
        (("--experiment=channels", "--activity=1"), "--activity=1 must be above 0"),
        (("--experiment=channels", "--snr=3"), "--snr is not read by"),
    ],
)
def test_a_mistake_is_one_line(complaint, arguments, line):
    assert line in complaint(*arguments)
