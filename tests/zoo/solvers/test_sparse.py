"""Solvers of sparse recovery against NumPy, against the Lasso, and as published."""

import os
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn.linear_model import Lasso

from zoo.data import SparseProblem, bernoulli_gaussian, bernoulli_gaussian_fixture
from zoo.layers import BernoulliGaussianShrinkage, LampBlock, LvampBlock, SoftShrinkage
from zoo.metrics import nmse
from zoo.solvers import amp, fista, ista, state_evolution, support_oracle, vamp

ALPHA = 1.1402


def soft():
    return SoftShrinkage(ALPHA, dtype="float64")


def matched():
    return BernoulliGaussianShrinkage(0.1, 1.0, dtype="float64")


@pytest.fixture(scope="module")
def fixture():
    return bernoulli_gaussian_fixture()


@pytest.fixture(scope="module")
def amp_lasso(fixture):
    problem, y, x = fixture
    return amp(problem.matrix, y, soft(), iterations=100, tolerance=0.0, truth=x)


def reaches(result, level=-35.0):
    """The first iteration whose mean NMSE is below a level."""
    return int(np.argmax(result.nmse("signal") < level))


def small(is_complex=False, count=3, shape=(30, 60)):
    generator = np.random.default_rng(5)

    def normal(*size):
        real, imag = generator.normal(size=(2, *size))
        return (real + 1j * imag) / np.sqrt(2) if is_complex else real

    matrix = normal(*shape) / np.sqrt(shape[0])
    x = (generator.random((count, shape[1])) < 0.1) * normal(count, shape[1])
    return matrix, x @ matrix.T + 0.01 * normal(count, shape[0]), x


# References in NumPy, one signal at a time.


def shrink_soft(r, variance):
    kink, size = ALPHA * np.sqrt(variance), np.abs(r)
    gain = np.maximum(size - kink, 0) / size
    slope = (size > kink).astype(float)
    return gain * r, np.mean((slope + gain) / 2 if np.iscomplexobj(r) else slope)


def threshold(r, kink):
    return np.maximum(np.abs(r) - kink, 0) * np.exp(1j * np.angle(r))


def numpy_thresholding(matrix, y, penalty, steps, momentum=False, ahead=False):
    x = last = np.zeros(matrix.shape[1])
    step = 1 / np.linalg.eigvalsh(matrix.conj().T @ matrix).max()
    for t in range(1, steps + 1):
        z = x + (momentum and t > 1) * (t - 2) / (t + 1) * (x - last)
        residual = y - matrix @ (z if ahead else x)
        last = x
        x = threshold(z + step * matrix.conj().T @ residual, step * penalty)
    return x


def numpy_amp(matrix, y, steps, damping=1.0):
    m, n = matrix.shape
    x, v, slope = np.zeros(n), np.zeros(m), 0.0
    for t in range(steps):
        share = damping if t else 1.0
        onsager = n / m * slope * v
        v = (1 - share) * v + share * (y - matrix @ x + onsager)
        variance = np.linalg.norm(v) ** 2 / m
        new, slope = shrink_soft(x + matrix.conj().T @ v, variance)
        x = (1 - share) * x + share * new
    return x


def numpy_vamp(matrix, y, noise, steps):
    """With the dense linear estimate, and precisions."""
    n = matrix.shape[1]
    r, g = np.zeros(n), (np.linalg.norm(y) / np.linalg.norm(matrix)) ** 2
    adjoint = matrix.conj().T
    for _ in range(steps):
        covariance = np.linalg.inv(adjoint @ matrix / noise + np.eye(n) / g)
        mean = covariance @ (adjoint @ y / noise + r / g)
        spread = np.trace(covariance).real / n
        q = 1 / (1 / spread - 1 / g)
        p = q * (mean / spread - r / g)
        x, a = shrink_soft(p, q)
        g = 1 / (1 / (a * q) - 1 / q)
        r = g * (x / (a * q) - p / q)
    return x


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize(
    "method", ["ista", "fista", "extrapolated", "amp", "damped", "vamp"]
)
def test_a_method_is_its_formula(method, is_complex):
    matrix, y, _ = small(is_complex)
    options = {"iterations": 10, "tolerance": 0.0}
    if method in ("ista", "fista", "extrapolated"):
        ahead = {"extrapolated": True} if method == "extrapolated" else {}
        solver = ista if method == "ista" else fista
        result = solver(matrix, y, 0.02, **ahead, **options)
        kind = method != "ista", bool(ahead)
        expected = [numpy_thresholding(matrix, one, 0.02, 10, *kind) for one in y]
    elif method == "vamp":
        result = vamp(matrix, y, soft(), 1e-3, **options)
        expected = [numpy_vamp(matrix, one, 1e-3, 10) for one in y]
    else:
        damping = 0.7 if method == "damped" else 1.0
        result = amp(matrix, y, soft(), damping=damping, **options)
        expected = [numpy_amp(matrix, one, 10, damping) for one in y]
    tolerance = 1e-8 if method == "vamp" else 1e-10
    np.testing.assert_allclose(result.x, expected, atol=tolerance)
    assert result.x.dtype == ("complex128" if is_complex else "float64")
    assert (result.stop_reason == "max_iterations").all()
    assert (result.iterations == 10).all()


def test_damped_vamp_ends_where_vamp_does():
    matrix, y, _ = small()
    damped, plain = (
        vamp(matrix, y, matched(), 1e-3, damping=damping, iterations=500).x
        for damping in (0.6, 1.0)
    )
    np.testing.assert_allclose(damped, plain, atol=1e-5)


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_stacked_blocks_are_the_method(is_complex):
    matrix, y, _ = small(is_complex)
    shrinkage, state, first = soft(), None, None
    for _ in range(6):
        block = LampBlock(matrix, shrinkage, tied_to=first, dtype="float64")
        first = first or block
        state = block(y, state)
    options = {"iterations": 6, "tolerance": 0.0}
    expected = amp(matrix, y, shrinkage, **options).x
    np.testing.assert_allclose(state[0], expected, atol=1e-10)
    state, first = None, None
    for _ in range(6):
        block = LvampBlock(matrix, shrinkage, 1e-3, tied_to=first, dtype="float64")
        first = first or block
        x, state = block(y, state)
    expected = vamp(matrix, y, shrinkage, 1e-3, **options).x
    np.testing.assert_allclose(x, expected, atol=1e-10)


# As published, on the fixture.


def test_amp_with_soft_thresholding_takes_26_iterations(amp_lasso):
    assert reaches(amp_lasso) == 26
    curve = amp_lasso.nmse()
    published = [-12.98, -21.36, -31.99, -34.51, -36.79]
    np.testing.assert_allclose(curve[[5, 10, 20, 25, 50]], published, atol=0.05)
    np.testing.assert_allclose(amp_lasso.regularization.mean(), 3.04e-3, atol=5e-6)


def test_fista_takes_202_iterations(fixture, amp_lasso):
    problem, y, x = fixture
    penalty = amp_lasso.regularization
    result = fista(problem.matrix, y, penalty, iterations=203, tolerance=0.0, truth=x)
    assert reaches(result) == 202
    np.testing.assert_allclose(result.nmse()[[100, 200]], [-12.61, -34.62], atol=0.05)


def test_vamp_with_soft_thresholding_takes_14_iterations(fixture):
    problem, y, x = fixture
    result = vamp(
        problem.matrix, y, soft(), 2e-5, iterations=20, tolerance=0.0, truth=x
    )
    assert reaches(result) == 14
    published = [-19.84, -30.82, -35.02, -36.69]
    np.testing.assert_allclose(result.nmse()[[5, 10, 14, 20]], published, atol=0.05)


VAMP_AT = [1, 2, 4, 6, 8, 10, 15]
VAMP = {
    None: [-6.76, -12.53, -25.49, -38.78, -44.85, -45.55, -45.61],
    15: [-6.72, -12.46, -25.16, -36.87, -42.48, -43.80, -44.10],
    100: [-6.59, -12.02, -22.65, -31.32, -36.81, -39.55, -41.08],
}
ORACLES = {None: -46.03, 15: -44.77, 100: -42.61}


@pytest.mark.parametrize("condition", VAMP)
def test_matched_vamp_and_the_oracle_are_as_published(condition):
    problem, y, x = bernoulli_gaussian_fixture(condition)
    options = {"iterations": 15, "tolerance": 0.0, "truth": x}
    result = vamp(problem.matrix, y, matched(), problem.noise_variance, **options)
    curve = result.nmse()
    np.testing.assert_allclose(curve[VAMP_AT], VAMP[condition], atol=0.05)
    np.testing.assert_allclose(curve[-1], nmse(result.x, x), atol=1e-9)
    oracle = support_oracle(problem.matrix, y, x, problem.noise_variance)
    np.testing.assert_allclose(nmse(oracle, x), ORACLES[condition], atol=0.01)
    squares = support_oracle(problem.matrix, y, x)
    np.testing.assert_allclose(nmse(squares, x), ORACLES[condition], atol=0.01)
    if condition is None:
        assert reaches(result) == 6
        np.testing.assert_allclose(curve[-1], -45.6, atol=0.2)


def test_state_evolution_ends_at_the_least_error():
    curve = state_evolution(matched(), 0.5, 0.1, 2e-5, iterations=60)
    np.testing.assert_allclose(curve[-1], -45.62, atol=0.05)
    assert curve[0] == 0
    assert (np.diff(curve) <= 1e-9).all()


@pytest.mark.parametrize("shrinkage", [soft, matched])
def test_state_evolution_is_the_error_of_samples(shrinkage):
    generator, noise, error = np.random.default_rng(0), 0.003, 0.3 * 2.0
    shrinkage = shrinkage()
    curve = state_evolution(shrinkage, 0.7, 0.3, noise, 4, signal_variance=2.0)
    for expected in curve[1:]:
        variance = noise + error / 0.7
        x = (generator.random(10**6) < 0.3) * generator.normal(0, 2**0.5, 10**6)
        r = x + generator.normal(0, variance**0.5, x.shape)
        estimate = np.asarray(shrinkage(r[None], np.array([[variance]]))[0])
        error = np.mean((estimate - x) ** 2)
        np.testing.assert_allclose(10 * np.log10(error / 0.6), expected, atol=0.03)


def test_state_evolution_predicts_large_problems():
    problem = bernoulli_gaussian((1000, 2000))
    y, x = problem.sample(32)
    shrinkage = BernoulliGaussianShrinkage(0.1)
    result = amp(problem.matrix, y, shrinkage, iterations=12, tolerance=0.0, truth=x)
    predicted = state_evolution(shrinkage, 0.5, 0.1, problem.noise_variance, 12)
    np.testing.assert_allclose(
        result.nmse()[[1, 2, 12]], predicted[[1, 2, 12]], atol=0.3
    )


# Fixed points.


def violation(matrix, y, x, penalty):
    """How far the conditions of a minimum of the Lasso are from met."""
    pull = (y - x @ matrix.T) @ matrix.conj()
    penalty = np.broadcast_to(np.asarray(penalty)[..., None], x.shape)
    some = x != 0
    unit = np.where(some, x, 1) / np.abs(np.where(some, x, 1))
    on = np.abs(pull - penalty * unit)[some].max()
    off = (np.abs(pull) - penalty)[~some].max()
    return max(on, off)


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_fixed_points_solve_the_lasso(is_complex):
    matrix, y, _ = small(is_complex, 4, (50, 80))
    options = {"tolerance": 1e-13, "iterations": 5000}
    penalty = np.array([0.01, 0.02, 0.05, 0.1])
    results = (
        ista(matrix, y, penalty, **options),
        fista(matrix, y, penalty, extrapolated=True, **options),
        vamp(matrix, y, soft(), 1e-3, **options),
    )
    for result in results:
        assert violation(matrix, y, result.x, result.regularization) < 1e-9
    public = fista(matrix, y, penalty, **options)
    assert violation(matrix, y, public.x, penalty) < 2e-5


def test_amp_solves_the_lasso_of_scikit_learn(fixture, amp_lasso):
    problem, y, _ = fixture
    result = amp(problem.matrix, y[:20], soft(), iterations=1000, tolerance=1e-12)
    settled = result.stop_reason == "converged"
    assert settled.sum() >= 15
    penalty = result.regularization
    at = np.flatnonzero(settled)
    assert violation(problem.matrix, y[at], result.x[at], penalty[at]) < 1e-6
    for i in at[:3]:
        lasso = Lasso(penalty[i] / 250, fit_intercept=False, tol=1e-12, max_iter=10**5)
        expected = lasso.fit(problem.matrix, y[i]).coef_
        np.testing.assert_allclose(result.x[i], expected, atol=1e-6)


def test_regularization_is_said_of_plain_soft_thresholding_alone():
    matrix, y, _ = small()
    scaled = SoftShrinkage(ALPHA, scale=0.9, dtype="float64")
    for shrinkage in (matched(), scaled):
        assert amp(matrix, y, shrinkage, iterations=2).regularization is None


# Stops.


def test_each_signal_stops_alone_and_then_stays():
    matrix, y, x = small(count=6)
    y[3], x[3] = 0.0, 0.0
    options = {"iterations": 2000, "tolerance": 1e-4}
    together = fista(matrix, y, 0.01, truth=x, **options)
    assert (together.stop_reason == "converged").all()
    assert together.iterations[3] == 2
    assert len(set(together.iterations)) > 2
    for i in range(6):
        alone = fista(matrix, y[i], 0.01, truth=x[i], **options)
        np.testing.assert_allclose(alone.x, together.x[i], atol=1e-12)
        assert alone.iterations == together.iterations[i]
        assert alone.iterations.shape == alone.stop_reason.shape == ()
        curve = together.squared_errors[i]
        np.testing.assert_allclose(
            alone.squared_errors, curve[: alone.iterations + 1], atol=1e-12
        )
        assert (curve[alone.iterations :] == curve[alone.iterations]).all()


def test_a_batch_has_any_shape():
    matrix, y, x = small(count=6)
    flat = vamp(matrix, y, matched(), 1e-3, truth=x)
    folded = vamp(
        *(matrix, y.reshape(2, 3, -1), matched(), np.full((2, 3), 1e-3)),
        truth=x.reshape(2, 3, -1),
    )
    np.testing.assert_allclose(folded.x.reshape(6, -1), flat.x, atol=1e-12)
    assert folded.iterations.shape == folded.variance.shape == (2, 3)
    np.testing.assert_allclose(folded.nmse(), flat.nmse(), atol=1e-9)


@pytest.mark.parametrize("shrinkage", [soft, matched])
def test_amp_says_that_it_diverges(shrinkage):
    problem, y, x = bernoulli_gaussian_fixture(15)
    y, x = y[:50], x[:50]
    with pytest.warns(UserWarning, match=r"diverged on \d+ of 50.*`vamp`.*damping"):
        result = amp(problem.matrix, y, shrinkage())
    assert np.mean(result.stop_reason == "diverged") > 0.9
    assert np.isfinite(result.x).all()
    options = {"iterations": 200, "damping": 0.5, "truth": x}
    damped = amp(problem.matrix, y, shrinkage(), **options)
    best = -43.5 if shrinkage is matched else -24.5
    assert damped.nmse()[-1] < best


@pytest.mark.parametrize("scale", [0.1, 30.0])
def test_amp_says_that_a_matrix_is_of_another_scale_and_vamp_takes_any(scale):
    problem = bernoulli_gaussian()
    y, _ = problem.sample(20, dtype="float64")
    matrix, scaled = scale * problem.matrix, scale * y
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        amp(matrix, scaled, soft())
    message = r"takes \|A\|_F.* multiply `matrix` and `y` by"
    assert any(re.search(message, str(one.message)) for one in caught)
    noise = problem.noise_variance
    one = vamp(problem.matrix, y, matched(), noise, iterations=10)
    other = vamp(matrix, scaled, matched(), scale**2 * noise, iterations=10)
    np.testing.assert_allclose(other.x, one.x, atol=1e-8)


@pytest.mark.parametrize("snr", [-20.0, 0.0])
def test_much_noise_is_no_divergence(snr):
    problem = bernoulli_gaussian((100, 200), snr=snr, condition=10.0)
    y, x = problem.sample(100, dtype="float64")
    result = vamp(problem.matrix, y, matched(), problem.noise_variance, truth=x)
    assert not (result.stop_reason == "diverged").any()
    assert result.nmse()[-1] < 0


@pytest.mark.parametrize("noise", [0.0, 1e-6])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_overflows_without_noise(dtype, noise):
    problem = bernoulli_gaussian((100, 200), sparsity=0.05, snr=None)
    y, x = problem.sample(20, dtype=dtype)
    shrinkage = BernoulliGaussianShrinkage(0.05, dtype=dtype)
    for result in (
        vamp(problem.matrix, y, shrinkage, noise, iterations=200, truth=x),
        amp(problem.matrix, y, shrinkage, iterations=200, truth=x),
    ):
        assert np.isfinite(result.x).all()
        assert np.median(result.squared_errors[:, -1]) < 1e-6
        assert result.x.dtype == dtype


@pytest.mark.parametrize("shape", [(60, 30), (30, 30)], ids=["tall", "square"])
def test_more_measurements_than_unknowns_are_welcome(shape):
    matrix, y, x = small(count=20, shape=shape)
    for result in (
        fista(matrix, y, 1e-3, iterations=5000),
        vamp(matrix, y, matched(), 1e-4),
    ):
        assert nmse(result.x, x) < -20


def test_float32_is_as_good(fixture):
    problem, y, x = fixture
    shrinkage = BernoulliGaussianShrinkage(0.1)
    options = {"iterations": 15, "tolerance": 0.0, "truth": x}
    result = vamp(problem.matrix, y, shrinkage, problem.noise_variance, **options)
    assert result.x.dtype == "float32"
    np.testing.assert_allclose(result.nmse()[VAMP_AT], VAMP[None], atol=0.05)


def test_what_a_shrinkage_has_learned_counts():
    matrix, y, _ = small()
    shrinkage = soft()
    before = amp(matrix, y, shrinkage, iterations=5)
    shrinkage.set_weights([np.full_like(w, 1.5) for w in shrinkage.get_weights()])
    assert np.abs(amp(matrix, y, shrinkage, iterations=5).x - before.x).max() > 1e-3


def test_the_oracle_of_complex_signals_is_least_squares():
    matrix, y, x = small(True)
    estimate = support_oracle(matrix, y, x)
    some = x[0] != 0
    expected = np.linalg.pinv(matrix[:, some]) @ y[0]
    np.testing.assert_allclose(estimate[0, some], expected, atol=1e-12)
    assert (estimate[0, ~some] == 0).all()
    assert (support_oracle(matrix, y[0], 0 * x[0]) == 0).all()
    everywhere = support_oracle(matrix, y[0], np.ones(60))
    np.testing.assert_allclose(everywhere, np.linalg.pinv(matrix) @ y[0], atol=1e-12)


def test_the_oracle_weighs_each_coordinate():
    matrix, y, x = small()
    variance = np.linspace(0.5, 2, 60)
    estimate = support_oracle(matrix, y[1], x[1], 0.1, variance)
    some = x[1] != 0
    columns, prior = matrix[:, some], np.diag(variance[some])
    gain = (
        prior
        @ columns.T
        @ np.linalg.inv(columns @ prior @ columns.T + 0.1 * np.eye(30))
    )
    np.testing.assert_allclose(estimate[some], gain @ y[1], atol=1e-12)


# What users get wrong.

EYE = np.eye(2, 4)
ONES = np.ones((3, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ista(np.ones(3), ONES, 0.1), r"`matrix` must be an array of numbers"),
        (lambda: ista(0 * EYE, ONES, 0.1), "`matrix` must not be 0"),
        (lambda: ista(EYE * np.nan, ONES, 0.1), "`matrix` must be finite"),
        (lambda: ista(EYE, np.ones((3, 4)), 0.1), "the matrix's 2 measurements"),
        (lambda: ista(EYE, np.ones((0, 2)), 0.1), "the matrix's 2 measurements"),
        (lambda: ista(EYE, ONES * [1, np.nan], 0.1), r"`y` must be finite.*3 values"),
        (lambda: ista(EYE, ONES, 0.0), "`regularization` must be above 0.*=0.0"),
        (lambda: fista(EYE, ONES, [1, 1, -1]), "`regularization` must be above 0.*-1"),
        (lambda: fista(EYE, ONES, [1, 1]), r"one number, or an array of shape \(3,\)"),
        (
            lambda: ista(EYE, ONES, 0.1, truth=ONES),
            r"`truth` must be of shape \(3, 4\)",
        ),
        (lambda: ista(EYE, ONES, 0.1, iterations=0), "`iterations` must be an integer"),
        (lambda: ista(EYE, ONES, 0.1, tolerance=-1), "`tolerance` must be a number"),
        (lambda: amp(EYE, ONES, 1.1), "`shrinkage` must be a `zoo.layers.shrinkage"),
        (
            lambda: amp(EYE, ONES, SoftShrinkage(dtype="mixed_float16")),
            "dtype float32 or float64.*mixed_float16",
        ),
        (lambda: amp(EYE, ONES, soft(), damping=0), "`damping` must be .*above 0"),
        (lambda: vamp(EYE, ONES, soft(), -1.0), "`noise_variance` must be from 0 up"),
        (
            lambda: vamp(np.ones((2, 4)), ONES, soft(), 0.1),
            r"full rank: leave out rows.*shape \(2, 4\) and rank 1",
        ),
        (lambda: state_evolution(soft(), 0.0, 0.1, 0.1), "`ratio` must be above 0"),
        (lambda: state_evolution(soft(), 0.5, 1.1, 0.1), "`sparsity` must be"),
        (lambda: support_oracle(EYE, ONES, ONES), "`truth` must be of shape"),
        (
            lambda: ista(EYE, ONES, 0.1, iterations=1).nmse(),
            "`nmse` needs that `truth` is passed",
        ),
    ],
)
def test_bad_input_ends_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


JAX = """
import numpy as np
from zoo.layers import BernoulliGaussianShrinkage, SoftShrinkage
from zoo.solvers import amp, fista, vamp
data = np.load(PATH)
matrix, y, x = (data[name] for name in ("matrix", "y", "x"))
shrinkage = BernoulliGaussianShrinkage(0.1)
options = {"iterations": 15, "tolerance": 0.0}
result = vamp(matrix, y, shrinkage, 1e-3, truth=x, **options)
np.testing.assert_allclose(result.x, data["vamp"], atol=1e-4)
np.testing.assert_allclose(result.nmse(), data["curve"], atol=1e-2)
soft = SoftShrinkage(1.1402)
result = amp(matrix, y, soft, **options)
np.testing.assert_allclose(result.x, data["amp"], atol=1e-4)
result = fista(matrix, y, 0.01)
assert result.x.dtype == "complex64"
np.testing.assert_allclose(result.x, data["fista"], atol=1e-4)
"""


def test_jax_gives_the_same(tmp_path):
    matrix, y, x = small(True)
    options = {"iterations": 15, "tolerance": 0.0}
    result = vamp(matrix, y, matched(), 1e-3, truth=x, **options)
    data = {"matrix": matrix, "y": y, "x": x, "vamp": result.x}
    data["curve"] = result.nmse()
    data["amp"] = amp(matrix, y, soft(), **options).x
    data["fista"] = fista(matrix, y, 0.01).x
    path = str(tmp_path / "data.npz")
    np.savez(path, **data)
    run = subprocess.run(
        [sys.executable, "-c", JAX.replace("PATH", repr(path))],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]


def test_a_problem_of_ones_own_takes_the_same_calls():
    problem = SparseProblem(small()[0], sparsity=0.1, noise_variance=1e-4)
    y, x = problem.sample(50, dtype="float64")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = vamp(problem.matrix, y, matched(), problem.noise_variance)
    assert nmse(result.x, x) < -15
