"""The study of matrix sensing: its experiments, their findings, its users' mistakes."""

import types

import numpy as np
import pytest

from zoo.apps import matrix_sensing
from zoo.apps.matrix_sensing.common import (
    finite,
    say_small,
    say_steps,
    steps_to,
    timed,
)
from zoo.apps.matrix_sensing.covariance import freedom, unknowns
from zoo.apps.matrix_sensing.measurements import KINDS, SPARSE, make_operator, said
from zoo.apps.matrix_sensing.methods import METHODS, far_start
from zoo.data import low_rank_matrix
from zoo.layers.sensing import GaussianSensing

EXPERIMENTS = matrix_sensing.EXPERIMENTS


@pytest.fixture(scope="module")
def quick(call, results, tmp_path_factory):
    """The folder of a finished `quick` run of all experiments."""
    logdir = tmp_path_factory.mktemp("quick")
    assert call(logdir) == 0
    return results(logdir / "matrix_sensing")


# Of the Pauli strings of 8 qubits, 3 %.
FEW = "8 qubits 0.03"
FIGURES = {
    "methods": ("figure2_1.3", "ours_1.3", "uv_1.3"),
    "noise": (
        *("figure1_rank", "figure1_noise"),
        *("figure4_final", "figure4_curves"),
    ),
    "measurements": (
        *("figure3_fgd_0.8", "figure3_fgd_0.4"),
        *("figure3_fgd_0.8_unscaled", "figure3_cg"),
    ),
    "covariance": (
        *("figure5_breast_cancer_1.091", "figure5_breast_cancer_0.667"),
        "figure5_convergence_breast_cancer",
    ),
    "tomography": ("fidelity_random", "fidelity_ghz"),
    "scaling": ("seconds",),
}


@pytest.mark.parametrize("experiment", FIGURES)
def test_quick_reports_every_figure(quick, experiment):
    folder = quick / experiment
    text = folder.report(FIGURES[experiment])
    assert "Failed runs" not in text
    assert "nan" not in text.lower()


def steps(folder, method):
    return folder.number("steps_to_1e-06", method=method)


def test_conjugate_gradients_need_the_fewest_steps(quick):
    folder = quick / "methods"
    assert 0 < steps(folder, "cg") <= 25
    others = [steps(folder, method) for method in METHODS if "cg" not in method]
    assert steps(folder, "cg") < min(count for count in others if count > 0) / 3
    assert steps(folder, "fgd_momentum") < 0.6 * steps(folder, "fgd")


def test_factor_pairs_work_from_the_spectral_start_without_balance(quick):
    folder = quick / "methods"
    for method in ("uv", "uv_momentum", "uv_0.5", "uv_cg", "uv_scaled_gd"):
        assert 0 < steps(folder, method) <= 1500
    assert abs(steps(folder, "uv_0.5") - steps(folder, "uv_0.5_balance")) <= 2


def test_balance_matters_from_a_far_start_and_to_plain_descent_alone(quick):
    folder = quick / "methods"
    plain, balanced = (
        folder.number("error", method=method) for method in ("uv_far", "uv_far_balance")
    )
    assert plain > 0.3 > 2 * balanced
    for method in ("cg", "scaled_gd"):
        near, far = (steps(folder, f"uv{start}_{method}") for start in ("", "_far"))
        assert 0 < far <= 1.05 * near


def test_full_rank_does_not_diverge_in_noise_from_a_small_start(quick):
    folder = quick / "noise"
    assert folder.number("diverged", setting="small") == 0
    found = folder.curves(setting="small")
    # Rows are the ranks 2, 3, 4, 8, 16, 32, 64; columns the levels of noise.
    last, best, held_out = (
        found[name].reshape(7, 6) for name in ("last", "best", "held_out")
    )
    assert last[0, 0] < 1e-6
    assert (np.diff(last[:, 0]) > 0).all() and last[-1, 0] < 0.05
    # At the true rank the error is in proportion to the noise.
    assert np.allclose(last[0, 1:] / [0.01, 0.05, 0.1, 0.2, 0.5], 0.6, atol=0.1)
    # With much noise the worst rank is not the highest.
    assert last[-1, -1] < last[:, -1].max() < 1
    # Of higher ranks, noise is fitted after the best step; held-out values see it.
    assert (last[3:, 4:] > 1.7 * best[3:, 4:]).all()
    assert (held_out[:, 3:] < 1.5 * best[:, 3:]).all()


def test_what_diverges_is_a_long_step_or_a_large_start(quick):
    folder = quick / "noise"
    cells = {
        setting: folder.curves(setting=setting)["diverged_cells"].reshape(7, 6)
        for setting in ("long_steps", "longer_steps", "large_start")
    }
    # A step that is somewhat too long stays near, and never settles.
    assert not cells["long_steps"].any()
    assert folder.curves(setting="long_steps")["last"].min() > 0.05
    # At a longer one low ranks diverge as well.
    assert cells["longer_steps"][:3].any()
    # From a large start R = n alone does, with noise and without.
    assert cells["large_start"][-1].all() and not cells["large_start"][:-1].any()


def test_measurements_of_all_kinds_serve_alike_by_conjugate_gradients(quick):
    folder = quick / "measurements"
    found = {
        row["case"]: float(row["steps_to_1e-05"])
        for row in folder.rows()
        if row["case"].endswith(" cg")
    }
    assert len(found) == len(KINDS) + len(SPARSE)
    assert min(found.values()) > 0 and max(found.values()) < 40


def test_rank_one_measurements_need_shorter_steps_or_pairs(quick):
    folder = quick / "measurements"

    def count(case):
        return folder.number("steps_to_1e-05", case=case)

    dense = count("gaussian fgd_0.8")
    assert 0 < dense < 100
    assert count("rank_one fgd_0.8") < 0 < count("rank_one fgd_0.4")
    assert count("rank_one_pair fgd_0.8") < 1.5 * dense
    size = {
        kind: folder.number("bytes", case=f"{kind} cg")
        for kind in ("gaussian", "rank_one")
    }
    assert size["rank_one"] < size["gaussian"] / 30


def test_sparse_measurements_are_slow_where_zeros_are_not_scaled_for(quick):
    def count(case):
        return (quick / "measurements").number("steps_to_1e-05", case=case)

    for kind in ("gaussian", "sign"):
        dense, sparse = count(f"{kind} fgd_0.8"), count(f"{kind} 0.1 fgd_0.8")
        assert abs(sparse - dense) < 0.2 * dense
        assert count(f"{kind} 0.1 fgd_0.8_unscaled") == pytest.approx(
            10 * sparse, rel=0.1
        )


def test_least_squares_is_exact_with_as_many_measurements_as_unknowns(quick):
    def error(method, share):
        return (quick / "covariance").number("error", method=method, share=share)

    assert error("least_squares", 1.091) < 1e-10
    floor = error("truncation", 0.667)
    for method in ("cg", "fgd_momentum"):
        assert floor < error(method, 1.091) < error(method, 0.667) < 2 * floor
    # Of a matrix in all directions alike, what least squares sees is its share.
    assert error("least_squares", 0.667) == pytest.approx(np.sqrt(1 / 3), abs=0.06)


def test_states_are_found_from_a_share_of_the_strings(quick):
    folder = quick / "tomography"
    found = folder.rows(state="random")
    found += folder.rows(strings="6 qubits 0.3", state="ghz")
    found += folder.rows(strings="8 qubits 0.3", state="ghz")
    assert len(found) == 12
    for row in found:
        assert float(row["fidelity"]) > (0.99 if int(row["shots"]) else 0.9999)


def test_what_is_not_a_ghz_state_may_fit_the_same_strings(quick):
    folder = quick / "tomography"
    for row in folder.rows(state="ghz", shots=0):
        assert float(row["residual"]) < 1e-4
    assert folder.number("fidelity", state="ghz", strings=FEW, shots=0) < 0.1
    assert f"ghz {FEW}" in folder.report().split("|")[0]


def test_the_trace_takes_out_what_smoothing_shrinks(quick):
    for row in (quick / "tomography").rows(shots=8192):
        assert float(row["smoothed_fidelity"]) == pytest.approx(
            float(row["fidelity"]), abs=1e-4
        )


def test_thresholding_costs_less_than_its_full_decompositions(quick):
    def value(name, case):
        return (quick / "scaling").number(name, case=case)

    for size in (512, 1024):
        assert value("error", f"iht {size}") < 1e-3
        whole = value("cpu_seconds", f"full_svd {size}") * value("steps", f"iht {size}")
        assert value("cpu_seconds", f"iht {size}") < whole / 2
        assert value("cpu_seconds", f"cg {size}") < value("cpu_seconds", f"iht {size}")


@pytest.mark.parametrize("kind", KINDS)
def test_measurements_keep_lengths_on_average(kind):
    u = low_rank_matrix((64, 64), 2)
    for density in (None, 0.1) if kind in SPARSE else (None,):
        operator = make_operator(kind, density, 640, 0)
        assert operator.symmetric
        sizes = np.linalg.norm(operator.center(operator(u))) / operator.scale
        # A rank-one a a^T stretches the trace, of which X has much.
        assert 0.85 < sizes < (1.5 if kind == "rank_one" else 1.15)


def test_the_far_start_is_the_spectral_one_out_of_balance():
    u = low_rank_matrix((64, 64), 2)
    operator = GaussianSensing((64, 64), 640, dtype="float64")
    left, right = far_start(operator, np.asarray(operator(u)))
    assert np.allclose(left.T @ left, 4096 * right.T @ right)
    x = left @ right.T
    assert np.linalg.matrix_rank(x) == 2
    assert np.linalg.norm(x - u @ u.T) < 1


def test_numbers_of_unknowns_are_those_of_the_report():
    assert (unknowns(54), freedom(54, 15)) == (1485, 705)


def test_what_is_timed_ends_early_the_first_time():
    calls = []
    result, seconds = timed(lambda min_change=0.0: calls.append(min_change) or "found")
    assert calls == [1.0, 0.0]
    assert result == "found" and seconds >= 0


def test_words():
    assert steps_to([1, 0.1, 0.01, 0.1], 0.1) == 1
    assert steps_to([1, np.nan], 0.1) == -1
    assert say_steps([1, 2, 6]) == "2"
    assert say_steps([1, -1]) == "1 of 2 runs"
    assert say_steps([-1, -1]) == "never"
    assert say_steps([]) == say_small([]) == "-"
    assert said([3, 5]) == "3 to 5"
    assert said([3, -1]) == "1 of 2 in 3"
    assert said([-1]) == "never"
    assert finite([1, 2, np.inf, 3]).tolist() == [1, 2]


@pytest.mark.parametrize("preset", ["quick", "cpu", "paper"])
def test_every_preset_is_complete_and_valid(preset):
    for study in matrix_sensing.EXPERIMENTS:
        assert set(study.presets[preset]) == set(study.presets["quick"])
        config = types.SimpleNamespace(**study.presets[preset], data_dir=None)
        if "covtype" in getattr(config, "dataset", ()):
            config.dataset = ["digits"]
        study().prepare(config)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("--experiment=methods", "--method=newton"),
            "--method=newton must be one of fgd, fgd_momentum, uv",
        ),
        (
            ("--experiment=methods", "--condition=0.5"),
            "--condition=0.5 must hold numbers from 1 to 1e+06",
        ),
        (
            ("--experiment=methods", "--measurements=251"),
            "--measurements=251 must be 252 at least",
        ),
        (
            ("--experiment=noise", "--rank=2,65"),
            "--rank=65 must hold whole numbers from 1 to 64",
        ),
        (
            ("--experiment=noise", "--noise=nan"),
            "--noise=nan must hold numbers from 0 to 10",
        ),
        (
            ("--experiment=noise", "--setting=small,small"),
            "--setting=small,small must hold different names, one at least",
        ),
        (
            ("--experiment=measurements", "--density=0.1,0.1"),
            "--density=0.1,0.1 must hold different numbers, one at least",
        ),
        (
            ("--experiment=measurements", "--kind=fourier"),
            "--kind=fourier must be one of gaussian, sign, rank_one",
        ),
        (
            (
                *("--experiment=measurements", "--kind=rank_one"),
                "--method=fgd_0.8_unscaled",
            ),
            "--method=fgd_0.8_unscaled needs one of --kind=gaussian,sign",
        ),
        (
            ("--experiment=covariance", "--dataset=mnist"),
            "--dataset=mnist must be one of digits",
        ),
        (
            ("--experiment=covariance", "--rank=31"),
            "--rank=31 must hold whole numbers from 1 to 30",
        ),
        (
            ("--experiment=covariance", "--data_dir=/no/folder"),
            "--data_dir=/no/folder: must be an existing folder",
        ),
        (
            ("--experiment=tomography", "--qubits=4", "--share=0.01"),
            "--share must give 2^(qubits + 1) - 1 strings at least",
        ),
        (
            ("--experiment=tomography", "--shots=1.5"),
            "--shots=1.5 must hold whole numbers from 0",
        ),
        (
            ("--experiment=scaling", "--method=full_svd", "--size=4096"),
            "--method=full_svd has no --size above 1024",
        ),
        (("--experiment=scaling", "--shots=3"), "--shots is not read by"),
        (("--experiment=scaling", "--iterations=0"), "flag --iterations=0"),
    ],
)
def test_a_mistake_is_one_line(complaint, arguments, line):
    assert line in complaint(*arguments)
