"""Every method finds fresh random matrices; bad input ends in one line."""

import functools
import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest

from zoo._backend import compiling
from zoo.data import ghz_state, low_rank_matrix, measurement_noise
from zoo.layers.sensing import (
    DenseSensing,
    EntrySensing,
    GaussianSensing,
    HadamardSensing,
    PauliSensing,
    RankOneSensing,
    SignSensing,
    SparseSensing,
    to_stacked,
)
from zoo.metrics import fidelity
from zoo.solvers.matrix_sensing import SensingResult, least_squares, solve

# Of few or of many measurements; what they say is tested below.
pytestmark = pytest.mark.filterwarnings("ignore:.* measurements (are few|determine)")

FACTORED = ("cg", "fgd", "fgd_momentum", "scaled_gd")


def dense_of(truth):
    """The matrix of factors as `low_rank_matrix` returns them."""
    if isinstance(truth, tuple):
        return truth[0] @ truth[1].T
    if truth.shape[0] == 2 * 64:
        u = truth[:64] + 1j * truth[64:]
        return u @ u.conj().T
    return truth @ truth.T


@functools.cache
def problem(kind, seed=0):
    """An operator, measurements by NumPy from its matrices, and the true factors."""
    shape, rank, m = {
        "psd": ((64, 64), 2, 640),
        "indefinite": ((40, 40), 4, 800),
        "general": ((30, 50), 3, 1000),
        "hermitian": ((64, 64), 3, 2500),
    }[kind]
    truth = low_rank_matrix(shape, rank, 2.0, kind, seed)
    if kind == "hermitian":
        operator = PauliSensing.random(6, m, seed=seed)
    else:
        operator = GaussianSensing(shape, m, symmetric=kind != "general", seed=seed + 9)
    x = dense_of(truth)
    y = np.einsum("mij,ij->m", operator.dense(), np.conj(x)).real
    return operator, y, rank, truth, x


def error(result, x):
    return np.linalg.norm(result.to_dense() - x) / np.linalg.norm(x)


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        *((method, "psd") for method in (*FACTORED, "iht")),
        *((method, "general") for method in (*FACTORED, "iht")),
        *((method, "hermitian") for method in (*FACTORED, "iht")),
        *((method, "indefinite") for method in FACTORED),
    ],
)
def test_a_method_recovers_a_kind(method, kind):
    operator, y, rank, _, x = problem(kind, seed=len(method))
    result = solve(operator, y, rank, method, kind=kind, max_iterations=2000)
    assert result.stop_reason == "converged"
    assert error(result, x) < 5e-6
    assert result.kind == kind
    assert result.residual <= 1e-6
    assert len(result.history["residual"]) == result.steps + 1


@pytest.mark.parametrize("kind", ["psd", "general"])
def test_the_ball_of_the_true_nuclear_norm_holds_the_matrix(kind):
    operator, y, rank, _, x = problem(kind)
    radius = np.linalg.svd(x, compute_uv=False).sum()
    result = solve(
        operator, y, rank, "nuclear", kind=kind, radius=radius, max_iterations=600
    )
    assert error(result, x) < 1e-4
    assert np.linalg.svd(result.to_dense(), compute_uv=False).sum() < radius * 1.0001


@pytest.mark.parametrize(
    "make",
    [
        lambda n, m: SignSensing((n, n), m, symmetric=True),
        lambda n, m: HadamardSensing(n, m),
        lambda n, m: RankOneSensing(
            np.random.default_rng(0).normal(size=(m, n)), centered=True
        ),
        lambda n, m: RankOneSensing(*np.random.default_rng(0).normal(size=(2, m, n))),
        lambda n, m: SparseSensing((n, n), m, "gaussian", 0.2, symmetric=True),
        lambda n, m: SparseSensing((n, n), m, "sign", 0.2, symmetric=True),
        lambda n, m: SparseSensing((n, n), m, "rank_one", 0.3),
    ],
    ids=[
        *("sign", "hadamard", "rank_one", "rank_one_pairs"),
        *("sparse_gaussian", "sparse_sign", "sparse_rank_one"),
    ],
)
def test_the_default_recovers_from_each_kind_of_measurement(make):
    operator = make(64, 1280)
    u = low_rank_matrix((64, 64), 2, 2.0, seed=4)
    y = np.asarray(operator(u))
    result = solve(operator, y, 2)
    assert result.stop_reason in ("converged", "stalled")
    assert error(result, u @ u.T) < 1e-5


def test_the_default_completes_a_matrix():
    generator = np.random.default_rng(0)
    u, v = low_rank_matrix((60, 50), 2, 1.5, "general", seed=1)
    rows, columns = np.divmod(generator.permutation(3000)[:1500], 50)
    operator = EntrySensing(rows, columns, (60, 50))
    result = solve(operator, (u @ v.T)[rows, columns], 2)
    assert error(result, u @ v.T) < 1e-4


def test_steps_of_the_default_on_the_reports_problem():
    """At most 25 products, of which the spectral start makes four."""
    for seed in range(5):
        u = low_rank_matrix((64, 64), 2, 1.3, seed=seed)
        operator = GaussianSensing((64, 64), 640, symmetric=True, seed=seed + 50)
        y = np.einsum("mij,ij->m", operator.dense().astype("float64"), u @ u.T)
        result = solve(operator, y, 2, truth=u, tolerance=0.0, max_iterations=30)
        assert result.history["error"].min() < 1e-6
        assert np.flatnonzero(result.history["error"] < 1e-6)[0] <= 21


def test_steps_do_not_grow_with_the_condition_number():
    steps = {}
    for condition in (1.0, 100.0):
        truth = low_rank_matrix((40, 40), 4, condition, "general", seed=2)
        operator = GaussianSensing((40, 40), 800, seed=3, dtype="float64")
        y = np.einsum("mij,ij->m", operator.dense(), dense_of(truth))
        for method in ("cg", "scaled_gd"):
            limits = {"tolerance": 1e-8, "min_change": 0.0}
            result = solve(operator, y, 4, method, truth=truth, **limits)
            hits = np.flatnonzero(result.history["error"] < 1e-6)
            steps[method, condition] = hits[0]
    assert steps["cg", 100.0] <= 1.6 * steps["cg", 1.0]
    assert steps["scaled_gd", 100.0] <= 1.1 * steps["scaled_gd", 1.0]


def test_unbalanced_factors_do_not_slow_the_scaled_methods():
    operator, y, rank, *_ = problem("general")
    first = solve(operator, y, rank, max_iterations=1)
    starts = [(first.left, first.right), (8 * first.left, first.right / 8)]
    for method in ("scaled_gd", "cg"):
        even, uneven = (
            solve(operator, y, rank, method, start=start).steps for start in starts
        )
        assert abs(uneven - even) <= 0.05 * even + 1


def test_momentum_follows_its_formula():
    """U+ = Z - eta G Z, Z+ = U+ + mu (U+ - U), in NumPy."""
    operator = GaussianSensing((20, 20), 400, symmetric=True, dtype="float64")
    truth = low_rank_matrix((20, 20), 2, 2.0)
    matrices = operator.dense()
    y = np.einsum("mij,ij->m", matrices, truth @ truth.T)
    start = truth + 0.1 * np.random.default_rng(0).normal(size=truth.shape)
    options = {"learning_rate": 0.2, "momentum": 0.6, "restart": False}
    result = solve(
        *(operator, y, 2, "fgd_momentum"),
        **{"start": start, "max_iterations": 30, "tolerance": 0.0, **options},
    )
    # Of the scaled problem: |A(X)| = |X|_F on average, and |y| = 1.
    size = np.linalg.norm(y)
    z = u = start / np.sqrt(size)
    for _ in range(30):
        residual = np.einsum("mij,ij->m", matrices, z @ z.T) - y / size
        new = z - 0.2 * np.einsum("m,mij->ij", residual, matrices) @ z
        z, u = new + 0.6 * (new - u), new
    np.testing.assert_allclose(result.left, z * np.sqrt(size), rtol=1e-9)


def test_the_balancing_term_balances():
    operator, y, rank, *_ = problem("general")
    first = solve(operator, y, rank, max_iterations=1)
    start = 2 * first.left, first.right / 2
    options = {"learning_rate": 0.1, "start": start, "max_iterations": 400}
    gaps = []
    for balance in (0.0, 0.25):
        result = solve(operator, y, rank, "fgd", balance=balance, **options)
        u, v = result.left, result.right
        gaps.append(np.linalg.norm(u.T @ u - v.T @ v))
    assert gaps[1] < 1e-3 * gaps[0]


@pytest.mark.parametrize("start", ["orthogonal", "svp"])
@pytest.mark.parametrize("kind", ["psd", "general", "hermitian"])
def test_other_starts_get_there(start, kind):
    operator, y, rank, _, x = problem(kind)
    result = solve(operator, y, rank, kind=kind, start=start)
    assert error(result, x) < 5e-6


def test_a_given_start_of_the_truth_is_left_at_once():
    operator, y, rank, truth, _ = problem("hermitian")
    stacked = solve(operator, y, rank, start=truth)
    complex_one = solve(operator, y, rank, start=truth[:64] + 1j * truth[64:])
    assert stacked.steps == complex_one.steps == 0
    assert stacked.stop_reason == "converged"


def test_scales_of_the_operator_and_of_the_measurements_do_not_matter():
    operator, y, rank, _, x = problem("psd")
    scaled = DenseSensing(1e3 * operator.dense(), symmetric=True)
    plain = solve(operator, y, rank, "fgd", learning_rate=0.4)
    other = solve(scaled, 1e3 * 1e-5 * y, rank, "fgd", learning_rate=0.4)
    assert abs(plain.steps - other.steps) <= 2
    assert error(other, 1e-5 * x) < 5e-6


def test_a_batch_equals_its_problems():
    operator, y, rank, _, x = problem("psd")
    options = {"start": "orthogonal", "tolerance": 1e-5}
    together = solve(operator, np.stack([y, 3 * y, -y]), rank, "fgd", **options)
    assert together.left.shape == (3, 64, 2)
    assert together.history["residual"].shape == (3, together.steps.max() + 1)
    for number, factor in enumerate((1, 3)):
        assert together.stop_reason[number] == "converged"
        error = np.linalg.norm(together.to_dense()[number] - factor * x)
        assert error < 1e-4 * factor
        ended = together.steps[number]
        curve = together.history["residual"][number]
        assert np.isfinite(curve[: ended + 1]).all()
        assert np.isnan(curve[ended + 1 :]).all()
    # No positive semidefinite matrix has the measurements of -X.
    assert together.residual[2] > 0.5


def test_ranks_of_a_batch_pad_with_columns_of_zeros():
    operator, y, *_ = problem("psd")
    ranks = np.array([2, 5])
    options = {"start": "orthogonal", "max_iterations": 50, "overparameterized": True}
    result = solve(operator, np.stack([y, y]), ranks, "fgd", **options)
    assert np.all(result.left[0, :, 2:] == 0)
    assert np.all(np.any(result.left[1] != 0, axis=0))
    with pytest.raises(ValueError, match="`rank`"):
        solve(operator, np.stack([y, y]), np.array([2, 3, 4]))


@pytest.mark.parametrize("method", ["fgd", "iht", "cg"])
def test_each_problem_of_a_batch_keeps_to_its_rank(method):
    operator, y, *_ = problem("psd")
    y, ranks = measurement_noise(y, 0.3), np.array([1, 3])
    result = solve(operator, np.stack([y, y]), ranks, method, overparameterized=True)
    found = [np.linalg.matrix_rank(x, tol=1e-5) for x in result.to_dense()]
    assert found == [1, 3]


def test_held_out_values_that_are_zero_do_no_harm():
    """Most strings of a GHZ state are."""
    state = ghz_state(6)
    operator = PauliSensing.random(6, 819, seed=0)
    y = np.asarray(operator(to_stacked(state.astype("complex64"))))
    result = solve(operator, y, 1, holdout=0.02)
    assert np.isfinite(result.holdout_error)
    assert fidelity(result.left, state) > 0.999


def test_no_damping_and_dependent_columns_do_not_stop_a_batch():
    operator, y, rank, *_ = problem("psd")
    result = solve(operator, y, rank, start=np.ones((64, 2)), damping=0.0)
    assert np.isfinite(result.left).all()
    result = solve(operator, y, 6, "scaled_gd", damping=0.0, overparameterized=True)
    assert np.isfinite(result.left).all()


def test_one_graph_for_many_limits():
    operator, y, rank, *_ = problem("psd")
    solve(operator, y, rank, max_iterations=5, tolerance=0.0)
    before = len(compiling._COMPILED)
    result = solve(operator, y, rank, max_iterations=6, tolerance=1e-12)
    assert len(compiling._COMPILED) == before
    assert result.steps == 6


def test_held_out_measurements_stop_an_overparameterized_fit_in_time():
    operator, y, _, truth, x = problem("psd")
    noisy = measurement_noise(y, 0.2, seed=3)
    options = {
        **{"method": "fgd_momentum", "start": "orthogonal", "learning_rate": 0.3},
        **{"restart": False, "overparameterized": True, "max_iterations": 300},
        **{"holdout": 0.1, "truth": truth, "min_change": 0.0},
    }
    result = solve(operator, noisy, 8, **options)
    curve = result.history["error"]
    assert curve[-1] > 1.3 * curve.min()
    assert error(result, x) <= 1.45 * curve.min()
    assert error(result, x) < curve[-1]
    assert result.holdout_error == pytest.approx(result.history["holdout"].min())
    at = result.history["holdout"].argmin()
    assert error(result, x) == pytest.approx(curve[at], rel=1e-3)


def test_a_rate_too_long_ends_as_diverged_and_finite():
    operator, y, rank, *_ = problem("psd")
    result = solve(operator, y, rank, "fgd", learning_rate=20.0)
    assert result.stop_reason == "diverged"
    assert np.isfinite(result.left).all()
    # Of the factors that are returned.
    matrices = operator.dense().astype("float64")
    misfit = np.einsum("mij,ij->m", matrices, result.to_dense()) - y
    expected = np.linalg.norm(misfit) / np.linalg.norm(y)
    assert result.residual == pytest.approx(expected, rel=1e-3)
    assert result.history["residual"][-1] == result.residual
    assert len(result.history["residual"]) == result.steps + 1


def test_history_of_the_error_is_that_of_the_factors():
    for kind in ("psd", "general", "hermitian", "indefinite"):
        operator, y, rank, truth, x = problem(kind)
        result = solve(operator, y, rank, kind=kind, truth=truth, max_iterations=4)
        assert result.history["error"][-1] == pytest.approx(error(result, x), rel=1e-3)


def test_the_error_of_large_matrices_needs_no_large_matrix():
    operator = HadamardSensing(1024, 20_480)
    truth = low_rank_matrix((1024, 1024), 2)
    y = np.asarray(operator(truth))
    result = solve(operator, y, 2, truth=truth, max_iterations=5)
    exact = np.linalg.norm(result.to_dense() - truth @ truth.T)
    assert result.history["error"][-1] == pytest.approx(exact, rel=1e-3)


def test_the_same_seed_gives_the_same_numbers():
    operator, y, rank, *_ = problem("psd")
    one, two = (solve(operator, y, rank, start="orthogonal", seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.left, two.left)


def test_graphs_are_shared_and_keep_no_operator_alive():
    def make(seed):
        operator = GaussianSensing((12, 12), 200, symmetric=True, seed=seed)
        u = low_rank_matrix((12, 12), 1, seed=seed)
        result = solve(operator, np.asarray(operator(u)), 1)
        assert error(result, u @ u.T) < 5e-6
        return weakref.ref(operator)

    references = [make(seed) for seed in range(2)]
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_warns_of_negative_eigenvalues_under_a_positive_form():
    operator, y, rank, *_ = problem("indefinite")
    with pytest.warns(UserWarning, match="negative eigenvalues.*kind='indefinite'"):
        solve(operator, y, rank, max_iterations=2)


def test_warns_of_few_measurements_and_of_enough_for_least_squares():
    operator = GaussianSensing((20, 20), 100, symmetric=True)
    y = np.ones(100)
    with pytest.warns(UserWarning, match="few for 39 degrees of freedom"):
        solve(operator, y, 2, max_iterations=1)
    operator = GaussianSensing((20, 20), 210, symmetric=True)
    with pytest.warns(UserWarning, match="determine all 210 entries"):
        solve(operator, np.ones(210), 2, max_iterations=1)


SYMMETRIC = GaussianSensing((10, 10), 50, symmetric=True)
GENERAL = GaussianSensing((10, 8), 60)
Y, TRUTH = np.ones(50), np.ones((10, 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: solve(SYMMETRIC, np.full(50, np.nan), 1), "finite.*50 values"),
        (lambda: solve(SYMMETRIC, np.append(Y[1:], np.inf), 1), "finite.*1 values"),
        (lambda: solve(SYMMETRIC, np.ones(49), 1), r"`y` must have.*\(49,\)"),
        (lambda: solve(SYMMETRIC, 1.0, 1), "`y` must have"),
        (lambda: solve(SYMMETRIC, Y + 0j, 1), "`y` must be real.*complex128"),
        (lambda: solve(SYMMETRIC, 0 * Y, 1), "`y` must not be zero"),
        (lambda: solve(SYMMETRIC, Y, 11), "`rank`.*from 1 to 10.*rank=11"),
        (lambda: solve(SYMMETRIC, Y, 0), "`rank`.*rank=0"),
        (lambda: solve(SYMMETRIC, Y, 2.5), "`rank`.*rank=2.5"),
        (lambda: solve(SYMMETRIC, Y, 8), "rank=8, of 52 degrees.*50 measurements"),
        (lambda: solve(SYMMETRIC, Y, 1, "newton"), "`method`.*'newton'"),
        (lambda: solve(SYMMETRIC, Y, 1, kind="general"), "`kind` must not be"),
        (lambda: solve(GENERAL, np.ones(60), 1, kind="psd"), "`symmetric=True`"),
        (lambda: solve(SYMMETRIC, Y, 1, kind="hermitian"), "`kind`.*Hermitian"),
        (lambda: solve(SYMMETRIC, Y, 1, kind="odd"), "`kind` must be one of"),
        (lambda: solve(SYMMETRIC, Y, 1, start="warm"), "`start` must be one of"),
        (lambda: solve(SYMMETRIC, Y, 1, start=np.ones((9, 1))), "`start`.*10"),
        (lambda: solve(GENERAL, np.ones(60), 1, start=np.ones((10, 1))), "pair"),
        (lambda: solve(SYMMETRIC, Y, 1, "nuclear"), "`radius` must be given"),
        (lambda: solve(SYMMETRIC, Y, 1, "nuclear", radius=-1.0), "`radius`.*-1.0"),
        (lambda: solve(SYMMETRIC, Y, 1, learning_rate=0.1), "`learning_rate`.*'cg'"),
        (lambda: solve(SYMMETRIC, Y, 1, "fgd", learning_rate=0.0), "above 0.*'auto'"),
        (lambda: solve(SYMMETRIC, Y, 1, "iht", learning_rate="auto"), "above 0"),
        (
            lambda: solve(SYMMETRIC, Y, 1, "fgd_momentum", momentum=1.0),
            "`momentum` must be below 1",
        ),
        (lambda: solve(SYMMETRIC, Y, 1, kind="indefinite", method="iht"), "'iht'"),
        (lambda: solve(SYMMETRIC, Y, 1, kind="indefinite", start="svp"), "'svp'"),
        (lambda: solve(SYMMETRIC, Y, 1, "iht", start=np.ones((10, 1))), "'iht'"),
        (lambda: solve(SYMMETRIC, Y, 2, start=np.ones((10, 3))), "2 columns"),
        (lambda: solve(SYMMETRIC, Y, 1, start=np.full((10, 1), np.nan)), "finite"),
        (lambda: solve(SYMMETRIC, Y, 1, start=np.ones((3, 10, 1))), "one problem"),
        (lambda: solve(SYMMETRIC, Y, 1, truth=(TRUTH, TRUTH)), "`truth`.*one factor"),
        (lambda: solve(SYMMETRIC, Y, 1, truth=0 * TRUTH), "`truth`.*not zero"),
        (
            lambda: solve(SYMMETRIC, Y, 1, kind="indefinite", start=(TRUTH, 2 * TRUTH)),
            "`start`.*signs",
        ),
        (
            lambda: solve(
                SYMMETRIC, np.ones((2, 50)), np.array([1, 2]), "nuclear", radius=1.0
            ),
            "`rank`.*'nuclear'",
        ),
        (lambda: solve(DenseSensing(np.zeros((9, 3, 3))), np.ones(9), 1), "zero"),
        (lambda: solve(None, Y, 1), "`operator`.*NoneType"),
        (lambda: solve(SYMMETRIC, Y, 1, "fgd", balance=0.1), "`balance`.*'psd'"),
        (
            lambda: solve(GaussianSensing((4, 4), 9, dtype="bfloat16"), np.ones(9), 1),
            "float32 or float64.*bfloat16",
        ),
        (lambda: least_squares(SYMMETRIC, np.ones((2, 50))), "one problem"),
        (lambda: solve(SYMMETRIC, Y, 1, holdout=1.0), "`holdout`.*1.0"),
        (lambda: solve(SYMMETRIC, Y, 1, max_iterations=0), "`max_iterations`"),
        (lambda: solve(SYMMETRIC, Y, 1, tolerance=-1.0), "`tolerance`.*-1.0"),
        (lambda: solve(SYMMETRIC, Y, 1, gain=0.0), "`gain`.*above 0"),
        (lambda: least_squares(HadamardSensing(1024, 3), np.arange(3)), "512"),
    ],
)
def test_mistakes_end_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_to_dense_is_guarded():
    factor = np.ones((10_000, 1))
    result = SensingResult(factor, factor, "psd", "cg", 0, "", 0.0, None, {})
    with pytest.raises(ValueError, match=r"`to_dense`.*\(10000, 10000\)"):
        result.to_dense()


def test_least_squares_needs_no_rank():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(20, 20))
    x = x + x.T
    operator = GaussianSensing((20, 20), 230, symmetric=True, dtype="float64")
    y = np.einsum("mij,ij->m", operator.dense(), x)
    np.testing.assert_allclose(least_squares(operator, y), x, atol=1e-9)
    operator = PauliSensing([a + b + c for a in "IXYZ" for b in "IXYZ" for c in "IXYZ"])
    x = x[:8, :8] + 1j * (np.triu(x[:8, :8], 1) - np.triu(x[:8, :8], 1).T)
    y = np.einsum("mij,ji->m", operator.dense(), x).real
    np.testing.assert_allclose(least_squares(operator, y), x, atol=1e-5)


@pytest.mark.parametrize("symmetric", [True, False])
def test_too_few_measurements_give_the_matrix_of_least_norm(symmetric):
    operator = GaussianSensing((12, 12), 40, symmetric=symmetric, dtype="float64")
    y = np.random.default_rng(0).normal(size=40)
    flat = operator.dense().reshape(40, -1)
    expected = (np.linalg.pinv(flat) @ y).reshape(12, 12)
    np.testing.assert_allclose(least_squares(operator, y), expected, atol=1e-9)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_least_squares_of_centered_measurements_in_float32(noise):
    generator = np.random.default_rng(0)
    operator = RankOneSensing(generator.normal(size=(400, 12)), centered=True)
    x = generator.normal(size=(12, 12))
    x = x + x.T
    vectors = np.asarray(operator.a, "float64")
    y = np.einsum("mi,ij,mj->m", vectors, x, vectors)
    y = measurement_noise(y, noise, seed=1)
    found = least_squares(operator, y)
    bound = 1e-3 if not noise else 5 * noise
    assert np.linalg.norm(found - x) < bound * np.linalg.norm(x)


def test_on_jax():
    script = """
import numpy as np
from zoo.data import low_rank_matrix
from zoo.layers.sensing import GaussianSensing, PauliSensing
from zoo.solvers.matrix_sensing import solve

u = low_rank_matrix((32, 32), 2)
operator = GaussianSensing((32, 32), 320, symmetric=True)
y = np.asarray(operator(u))
for method in ("cg", "fgd_momentum", "scaled_gd", "iht"):
    result = solve(operator, y, 2, method, tolerance=1e-5)
    assert np.abs(result.to_dense() - u @ u.T).max() < 1e-5, method
batch = solve(operator, np.stack([y, 2 * y]), 2, tolerance=1e-5)
assert np.abs(batch.to_dense()[1] - 2 * u @ u.T).max() < 2e-5
noisy = y + 0.05 * np.std(y) * np.random.default_rng(0).normal(size=y.shape)
result = solve(operator, noisy, 2)
assert result.stop_reason in ("stalled", "converged"), result.stop_reason
assert 0.01 < result.residual < 0.1
assert np.linalg.norm(result.to_dense() - u @ u.T) < 0.1
pure = low_rank_matrix((16, 16), 1, kind="hermitian")
operator = PauliSensing.random(4, 150)
result = solve(operator, np.asarray(operator(pure)), 1, tolerance=1e-5)
state = pure[:16] + 1j * pure[16:]
assert np.abs(result.to_dense() - state @ state.conj().T).max() < 1e-5
"""
    import os

    subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", script],
        check=True,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
