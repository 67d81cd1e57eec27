"""Matrix sensing by `fit`: its loss and gradient, all kinds, saving, precision."""

import itertools
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.data import low_rank_matrix
from zoo.layers import LowRankMatrix
from zoo.layers.sensing import DenseSensing, GaussianSensing, PauliSensing
from zoo.models import MatrixSensing
from zoo.optimizers import FactoredGradientDescent

ROOT = pathlib.Path(zoo.__file__).parents[1]
SQUARES = keras.losses.MeanSquaredError(reduction="sum")
KINDS = ("psd", "general", "indefinite")


def problem(kind="psd", n=16, m=200, rank=2, symmetric=False, **kwargs):
    """A model, and the measurements of a random matrix of its kind."""
    keras.utils.set_random_seed(0)
    shape = (n, n - 4) if kind == "general" else (n, n)
    operator = GaussianSensing(shape, m, symmetric=symmetric, **kwargs)
    factors = low_rank_matrix(shape, rank, 1.5, kind)
    u, v = (factors, factors) if kind == "psd" else factors
    y = operator.dense().astype("float64").reshape(m, -1) @ (u @ v.T).ravel()
    matrix = LowRankMatrix(shape, rank, kind, **kwargs)
    return MatrixSensing(operator, matrix), y, u @ v.T


def fit(model, y, steps):
    """Full batches, in one epoch: epochs are what takes long in `fit`."""
    rows = np.tile(np.arange(len(y)), steps)
    model.fit(rows, y[rows], batch_size=len(y), shuffle=False, verbose=0)


def error(model, truth):
    return np.linalg.norm(model.matrix.to_dense() - truth) / np.linalg.norm(truth)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_full_batches_find_the_matrix(kind, jit_compile):
    model, y, truth = problem(kind)
    left_rows = 16 if kind == "general" else None
    optimizer = FactoredGradientDescent(
        momentum=0.75, smoothness=2.0, left_rows=left_rows
    )
    model.compile(optimizer, SQUARES, jit_compile=jit_compile)
    fit(model, y, 250)
    assert error(model, truth) < 1e-4


def test_its_summary_names_the_operator(capsys):
    model, *_ = problem()
    model(np.arange(3))
    model.summary(line_length=120)
    assert "gaussian_sensing" in capsys.readouterr().out


def test_a_quantum_state_is_found_from_its_pauli_measurements():
    keras.utils.set_random_seed(0)
    strings = ["".join(letters) for letters in itertools.product("IXYZ", repeat=3)]
    operator = PauliSensing(strings[::3] + strings[1::3])
    state = low_rank_matrix((8, 8), 1, kind="hermitian")
    y = np.asarray(operator(state))
    model = MatrixSensing(operator, LowRankMatrix((8, 8), 1, "hermitian"))
    optimizer = FactoredGradientDescent(
        momentum=0.75, smoothness=2 * operator.scale**2, projection="trace_ball"
    )
    model.compile(optimizer, SQUARES)
    fit(model, y, 150)
    u = state[:8] + 1j * state[8:]
    assert error(model, u @ u.conj().T) < 1e-3


def test_small_batches_find_the_matrix_too():
    model, y, truth = problem()
    model.compile(FactoredGradientDescent(0.25, momentum=0.5), SQUARES)
    rows = np.concatenate([np.random.permutation(200) for _ in range(120)])
    model.fit(rows, y[rows], batch_size=50, shuffle=False, verbose=0)
    assert error(model, truth) < 1e-4


def test_any_keras_loss_and_optimizer_will_do():
    model, y, truth = problem()
    y[::20] += 3.0
    model.compile(keras.optimizers.Adam(0.01), keras.losses.Huber(1e-3))
    fit(model, y, 600)
    assert error(model, truth) < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_the_measurements_asked_for(kind):
    model, _, _ = problem(kind)
    model.matrix.assign(np.random.default_rng(1).normal(size=model.matrix.factor.shape))
    truth = model.operator.dense().reshape(200, -1) @ model.matrix.to_dense().ravel()
    asked = np.array([7, 199, 0, 7])
    np.testing.assert_allclose(model(asked)[:, 0], truth[asked], rtol=1e-4, atol=1e-4)
    outputs = model.predict(np.arange(200), batch_size=64, verbose=0)
    np.testing.assert_allclose(outputs, truth[:, None], rtol=1e-4, atol=1e-4)
    assert model.compute_output_shape((None,)) == (None, 1)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_sum_of_squares_is_twice_f_and_their_mean_2_over_m(symmetric):
    model, y, _ = problem(symmetric=symmetric, dtype="float64")
    matrices = model.operator.dense()
    u = np.random.default_rng(1).normal(size=(16, 2))
    model.matrix.assign(u)
    residual = np.einsum("kij,ic,jc->k", matrices, u, u) - y
    weighted = np.einsum("k,kij->ij", residual, matrices)
    slope = (weighted + weighted.T) @ u
    for loss, factor in ((SQUARES, 2), (keras.losses.MeanSquaredError(), 2 / 200)):
        with tf.GradientTape() as tape:
            value = loss(y, model(np.arange(200)))
        gradient = tape.gradient(value, model.matrix.factor.value)
        np.testing.assert_allclose(value, factor * residual @ residual / 2, rtol=1e-6)
        np.testing.assert_allclose(gradient, factor * slope, rtol=1e-6, atol=1e-6)


def test_training_goes_on_where_it_was_saved(tmp_path):
    model, y, _ = problem()
    model.compile(FactoredGradientDescent(momentum=0.5, smoothness=2.0), SQUARES)

    def train(model):
        fit(model, y, 5)
        return model.matrix.to_dense()

    train(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(train(loaded), train(model))


def test_a_stored_operator_is_saved_with_its_matrices(tmp_path):
    matrices = np.random.default_rng(0).normal(size=(10, 4, 4))
    model = MatrixSensing(DenseSensing(matrices), LowRankMatrix((4, 4), 1))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    rows = np.arange(10)
    np.testing.assert_array_equal(loaded(rows), model(rows))


def test_only_the_factor_is_trained():
    model, _, _ = problem()
    assert [weight.name for weight in model.trainable_weights] == ["factor"]


def test_it_trains_in_mixed_precision():
    model, y, truth = problem(dtype="mixed_bfloat16")
    assert model.matrix.factor.dtype == "float32"
    model.compile(FactoredGradientDescent(smoothness=2.0), SQUARES)
    fit(model, y, 60)
    assert error(model, truth) < 0.05


def test_mistakes_end_in_one_line():
    operator = GaussianSensing((4, 4), 10)
    matrix = LowRankMatrix((4, 4), 1)
    for arguments, words in (
        ((matrix, matrix), "`operator` must be a SensingOperator"),
        ((operator, operator), "`matrix` must be a LowRankMatrix"),
        ((operator, LowRankMatrix((5, 5), 1)), r"must agree in \(shape, hermitian\)"),
        ((operator, LowRankMatrix((4, 4), 1, "hermitian")), "must agree in"),
    ):
        with pytest.raises(ValueError, match=words):
            MatrixSensing(*arguments)


JAX = """
import keras, numpy as np
from zoo.layers import LowRankMatrix
from zoo.layers.sensing import GaussianSensing
from zoo.models import MatrixSensing
from zoo.optimizers import FactoredGradientDescent

assert keras.backend.backend() == "jax"
operator = GaussianSensing((16, 16), 200)
x = np.random.default_rng(0).normal(size=(16, 2)) / 5
y = np.asarray(operator(x))
model = MatrixSensing(operator, LowRankMatrix((16, 16), 2))
optimizer = FactoredGradientDescent(momentum=0.75, smoothness=2.0)
model.compile(optimizer, keras.losses.MeanSquaredError(reduction="sum"))
rows = np.tile(np.arange(200), 250)
model.fit(rows, y[rows], batch_size=200, shuffle=False, verbose=0)
error = np.linalg.norm(model.matrix.to_dense() - x @ x.T) / np.linalg.norm(x @ x.T)
assert error < 1e-4, error
"""


def test_it_trains_on_jax():
    done = subprocess.run(
        [sys.executable, "-c", JAX],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
