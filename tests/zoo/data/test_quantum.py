"""States and shots against closed forms."""

import itertools

import numpy as np
import pytest
from scipy import stats

from zoo.data import ghz_state, hadamard_state, measure_shots, random_state
from zoo.layers.sensing import PauliSensing, to_stacked


def every_expectation(state):
    """Expectations of all strings, by string."""
    q = len(state).bit_length() - 1
    strings = ["".join(letters) for letters in itertools.product("IXYZ", repeat=q)]
    values = PauliSensing(strings, dtype="float64")(to_stacked(state))
    return dict(zip(strings, np.array(values), strict=True))


@pytest.mark.parametrize("num_qubits", [2, 3, 4, 5])
def test_ghz_expectations_follow_the_rule(num_qubits):
    for string, value in every_expectation(ghz_state(num_qubits)).items():
        y, z = string.count("Y"), string.count("Z")
        expected = 0
        if set(string) <= {"I", "Z"} and z % 2 == 0:
            expected = 1
        elif set(string) <= {"X", "Y"} and y % 2 == 0:
            expected = (-1) ** (y // 2)
        assert value == pytest.approx(expected, abs=1e-14), string


def test_hadamard_state_is_seen_by_x_alone():
    for string, value in every_expectation(hadamard_state(4)).items():
        expected = float(set(string) <= {"I", "X"})
        assert value == pytest.approx(expected, abs=1e-14), string


@pytest.mark.parametrize(("num_qubits", "rank"), [(1, 1), (3, 1), (3, 2), (4, 16)])
def test_random_states_have_trace_one_and_the_rank(num_qubits, rank):
    u = random_state(num_qubits, rank)
    assert u.shape == (2**num_qubits, rank)
    values = np.linalg.eigvalsh(u @ u.conj().T)
    assert values.sum() == pytest.approx(1)
    assert np.sum(values > 1e-12) == rank


def test_random_states_are_seeded():
    np.testing.assert_array_equal(random_state(4, seed=3), random_state(4, seed=3))
    assert np.abs(random_state(4, seed=3) - random_state(4, seed=4)).max() > 0.01


def test_random_pure_states_are_uniform():
    # |<0|u>|^2 of a uniform state in d dimensions is Beta(1, d - 1).
    chances = [abs(random_state(2, seed=seed)[0, 0]) ** 2 for seed in range(2000)]
    assert stats.kstest(chances, stats.beta(1, 3).cdf).pvalue > 0.001


def test_random_mixed_states_have_the_known_purity():
    # (d + r) / (d r + 1) on average, of a part of a uniform pure state of d r.
    states = [random_state(3, 2, seed) for seed in range(1000)]
    purity = [np.linalg.norm(u.conj().T @ u) ** 2 for u in states]
    error = np.std(purity) / np.sqrt(len(purity))
    assert abs(np.mean(purity) - (8 + 2) / (8 * 2 + 1)) < 4 * error


@pytest.mark.parametrize("y", [-0.9, 0.0, 0.3])
def test_shots_are_right_on_average_with_the_binomial_variance(y):
    shots, count = 100, 40_000
    found = measure_shots(np.full(count, y), shots)
    variance = (1 - y**2) / shots
    assert abs(found.mean() - y) < 4 * np.sqrt(variance / count)
    # The variance of a sample variance, but for its kurtosis, which is below 3.1 here.
    assert found.var() == pytest.approx(variance, rel=4 * np.sqrt(2.2 / count))


def test_shots_of_a_certain_outcome_are_exact():
    near = np.float32(1) + np.finfo("float32").eps
    found = measure_shots([1.0, -1.0, near], 7)
    np.testing.assert_array_equal(found, [1, -1, 1])


@pytest.mark.parametrize(("num_qubits", "shrunk"), [(8, 0.016), (12, 0.20)])
def test_smoothing_shrinks_by_what_the_docstring_says(num_qubits, shrunk):
    y = np.random.default_rng(0).uniform(-1, 1, (3, 50))
    plain = measure_shots(y, 8192, seed=1)
    smooth = measure_shots(y, 8192, 0.509, num_qubits, seed=1)
    factor = 8192 / (8192 + 0.509 * 2**num_qubits)
    np.testing.assert_allclose(smooth, factor * plain, rtol=1e-12)
    assert 1 - factor == pytest.approx(shrunk, rel=0.05)


def test_smoothing_is_that_of_the_counts_of_outcomes():
    # Counts of the 8 outcomes of 3 qubits, under ZZI.
    generator = np.random.default_rng(0)
    chances = generator.dirichlet(np.ones(8))
    signs = np.array([1, 1, -1, -1, -1, -1, 1, 1])
    counts = generator.multinomial(500, chances)
    smooth = (counts + 0.5) / (500 + 8 * 0.5)
    expected = smooth @ signs
    # The same outcomes as shots.
    y = counts @ signs / 500
    assert expected == pytest.approx(y * 500 / (500 + 8 * 0.5), rel=1e-12)
    estimate = measure_shots(np.full(20_000, y), 500, 0.5, 3)
    error = estimate.std() / np.sqrt(len(estimate))
    assert abs(estimate.mean() - expected) < 4 * error


def test_shots_are_seeded():
    y = np.zeros(50)
    np.testing.assert_array_equal(measure_shots(y, 9), measure_shots(y, 9))
    assert np.any(measure_shots(y, 9) != measure_shots(y, 9, seed=1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_state(0), "num_qubits=0"),
        (lambda: random_state(17), "16 at most"),
        (lambda: random_state(2, 5), "`rank` must be 4 at most"),
        (lambda: random_state(2, 0), "rank=0"),
        (lambda: ghz_state(1.0), "num_qubits=1.0"),
        (lambda: hadamard_state(-1), "num_qubits=-1"),
        (lambda: measure_shots([1.1, np.nan], 10), "2 values that are not"),
        (lambda: measure_shots([0.5], 0), "shots=0"),
        (lambda: measure_shots([0.5], 10, -0.1, 2), "smoothing=-0.1"),
        (lambda: measure_shots([0.5], 10, 0.5), "num_qubits=None"),
    ],
)
def test_bad_arguments_are_told_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
