"""Sparse signals: the published ones to the printed digits, and an endless stream."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data import SparseProblem, bernoulli_gaussian, bernoulli_gaussian_fixture


@pytest.mark.parametrize(
    ("condition", "norm"), [(None, 224.04772), (15, 224.48553), (100, 224.52189)]
)
def test_the_public_fixture_has_the_printed_norms(condition, norm):
    problem, y, x = bernoulli_gaussian_fixture(condition)
    assert f"{np.linalg.norm(x):.5f}" == "224.55166"
    assert f"{np.linalg.norm(y):.5f}" == f"{norm:.5f}"
    assert y.shape == (1000, 250)
    assert x.shape == (1000, 500)
    assert problem.noise_variance == pytest.approx(2e-5, rel=1e-12)
    assert y.dtype == x.dtype == problem.matrix.dtype == "float64"


@pytest.mark.parametrize("condition", [1, 15, 100.0, 1000])
def test_singular_values_fall_geometrically(condition):
    matrix = bernoulli_gaussian((20, 50), condition=condition).matrix
    values = np.linalg.svd(matrix, compute_uv=False)
    steps = np.arange(20) / 19
    np.testing.assert_allclose(values / values[0], condition**-steps, rtol=1e-9)
    np.testing.assert_allclose(np.sum(values**2), 50, rtol=1e-12)


def test_independent_entries_have_variance_one_over_m():
    matrix = bernoulli_gaussian((200, 300)).matrix
    np.testing.assert_allclose(matrix.var() * 200, 1, atol=0.03)
    np.testing.assert_allclose(matrix.mean(), 0, atol=0.002)
    other = bernoulli_gaussian((200, 300), seed=1).matrix
    assert np.abs(np.corrcoef(matrix.ravel(), other.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_signals_and_noise_have_their_statistics(is_complex):
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(2, 20, 40)) / np.sqrt(40 if is_complex else 20)
    matrix = matrix[0] + 1j * matrix[1] if is_complex else matrix[0]
    variance = np.linspace(0.5, 4, 40)
    problem = SparseProblem(matrix, 0.3, 0.01, variance)
    y, x = problem.sample(20_000, dtype="float64")
    assert x.dtype == y.dtype == matrix.dtype
    np.testing.assert_allclose(np.mean(x != 0), 0.3, atol=0.005)
    power = np.mean(np.abs(x) ** 2, axis=0)
    np.testing.assert_allclose(power, 0.3 * variance, rtol=0.08)
    noise = y - x @ matrix.T
    np.testing.assert_allclose(np.mean(np.abs(noise) ** 2), 0.01, rtol=0.02)
    # Circular, or real: the mean square is 0, or the mean squared magnitude.
    pseudo = np.mean(noise**2) / 0.01, np.mean(x**2) / np.mean(np.abs(x) ** 2)
    np.testing.assert_allclose(pseudo, 0 if is_complex else 1, atol=0.03)
    correlation = np.corrcoef(np.abs(x).T) - np.eye(40)
    assert np.abs(correlation).max() < 0.05


@pytest.mark.parametrize("snr", [0.0, 40.0])
def test_snr_is_that_of_the_measurements(snr):
    problem = bernoulli_gaussian((100, 150), 0.2, snr)
    y, x = problem.sample(5000, dtype="float64")
    clean = x @ problem.matrix.T
    measured = 10 * np.log10(np.sum(clean**2) / np.sum((y - clean) ** 2))
    np.testing.assert_allclose(measured, snr, atol=0.1)


@pytest.mark.parametrize("snr", [None, np.inf])
def test_there_may_be_no_noise(snr):
    problem = bernoulli_gaussian((5, 10), snr=snr)
    assert problem.noise_variance == 0
    y, x = problem.sample(50, dtype="float64")
    np.testing.assert_array_equal(y, x @ problem.matrix.T)


@settings(max_examples=30)
@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(1, 20))
def test_a_batch_is_a_function_of_seed_and_index(seed, index, batch_size):
    problem = bernoulli_gaussian((5, 10), sparsity=0.5)
    first = problem.sample(batch_size, seed, index)
    problem.sample(7, seed, index + 1)
    np.random.normal()
    state = np.random.get_state()[1].copy()
    again = problem.sample(batch_size, seed, index)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    wide = problem.sample(batch_size, seed, index, "float64")
    np.testing.assert_array_equal(wide[1].astype("float32"), first[1])
    for other in ((seed + 1, index), (seed, index + 1)):
        assert (problem.sample(batch_size, *other)[0] != first[0]).any()


def test_batches_do_not_end_and_can_start_anywhere():
    problem = bernoulli_gaussian((5, 10))
    whole, rest = problem.batches(4, seed=3), problem.batches(4, seed=3, first=2)
    assert whole.num_batches is None
    for (y, x), index in zip(rest, range(5), strict=False):
        np.testing.assert_array_equal(x, whole[index + 2][1])
        np.testing.assert_array_equal(y, problem.sample(4, 3, index + 2)[0])


@pytest.mark.parametrize("workers", [1, 2])
def test_fit_sees_the_batches_in_order_across_epochs(workers):
    problem = bernoulli_gaussian((5, 10), sparsity=0.5)
    seen = []

    class Look(keras.layers.Layer):
        def call(self, y):
            return y

    class Model(keras.Model):
        def train_step(self, data):
            seen.append(np.asarray(data[1]))
            return {"loss": 0.0}

    inputs = keras.Input((5,))
    model = Model(inputs, Look()(inputs))
    model.compile(run_eagerly=True)
    stream = problem.batches(3, seed=1, first=5, workers=workers)
    model.fit(stream, steps_per_epoch=2, epochs=3, verbose=0, shuffle=False)
    expected = [problem.sample(3, 1, 5 + step)[1] for step in range(6)]
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (10, 10)}, r"M < N, fewer measurements.*\(10, 10\)"),
        ({"shape": (10,)}, "`shape` must be"),
        ({"sparsity": 0.0}, "`sparsity` must be a number above 0, up to 1"),
        ({"sparsity": 1.5}, "`sparsity` must be a number above 0, up to 1"),
        ({"snr": np.nan}, "`snr` must be a finite number"),
        ({"snr": -np.inf}, "`snr` must be a finite number"),
        ({"condition": 0.5}, "`condition` must be a number from 1 up"),
        ({"seed": -1}, "`seed` must be an integer from 0 up"),
    ],
)
def test_bad_arguments_end_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        bernoulli_gaussian(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.sample(0), "`batch_size` must be an int from 1 up"),
        (lambda p: p.sample(1, seed=-1), "`seed` must be an integer from 0 up"),
        (lambda p: p.sample(1, index=0.5), "`index` must be an integer from 0 up"),
        (lambda p: p.sample(1, dtype="float16"), "`dtype` must be one of"),
        (lambda p: p.batches(1, first=-1), "`first` must be an integer from 0 up"),
        (lambda p: p.batches(0), "`batch_size` must be an int from 1 up"),
        (lambda p: SparseProblem(np.ones(3), 0.1, 0), "`matrix` must be finite"),
        (lambda p: SparseProblem([[np.nan]], 0.1, 0), "`matrix` must be finite"),
        (lambda p: SparseProblem(np.eye(2), 0.1, -1), "`noise_variance` must be"),
        (
            lambda p: SparseProblem(np.eye(2), 0.1, 0, np.array([1.0, 0.0])),
            "`signal_variance` must be > 0, one number or 2",
        ),
    ],
)
def test_bad_calls_end_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(bernoulli_gaussian((5, 10)))
    assert "\n" not in str(error.value)
