"""Density matrices come back from a share of the Pauli strings, with shot noise too."""

import numpy as np
import pytest

from zoo.data import ghz_state, measure_shots, random_state
from zoo.layers.sensing import GaussianSensing, PauliSensing, to_stacked
from zoo.metrics import fidelity
from zoo.solvers.matrix_sensing import solve, tomography


def measured(state, qubits, share, seed=0):
    operator = PauliSensing.random(qubits, round(share * 4**qubits), seed=seed)
    stacked = to_stacked(np.asarray(state, "complex64"))
    return operator, np.asarray(operator(stacked), "float64")


@pytest.mark.parametrize(("qubits", "share"), [(6, 0.2), (8, 0.03)])
def test_a_small_share_of_the_strings_gives_a_pure_state(qubits, share):
    state = random_state(qubits, seed=1)
    operator, y = measured(state, qubits, share)
    result = tomography(operator, y)
    assert fidelity(result.left, state) > 0.9999
    assert np.sum(np.abs(result.left) ** 2) == pytest.approx(1.0, abs=1e-6)
    assert np.iscomplexobj(result.left)
    np.testing.assert_array_equal(result.right, np.conj(result.left))


def test_a_mixed_state():
    state = random_state(5, rank=3, seed=2)
    operator, y = measured(state, 5, 0.7)
    result = tomography(operator, y, rank=3)
    density = state @ state.conj().T
    np.testing.assert_allclose(result.to_dense(), density, atol=1e-5)


def test_shots_lower_the_fidelity_and_more_shots_less():
    state = random_state(6, seed=3)
    operator, y = measured(state, 6, 0.2)
    fidelities = [
        fidelity(tomography(operator, measure_shots(y, shots, seed=1)).left, state)
        for shots in (256, 8192)
    ]
    assert 0.5 < fidelities[0] < fidelities[1]
    assert 0.99 < fidelities[1] < 1.0


def test_a_state_of_few_strings_that_are_not_zero():
    state = ghz_state(6)
    operator, y = measured(state, 6, 0.3, seed=5)
    assert fidelity(tomography(operator, y).left, state) > 0.99


def test_the_trace_is_what_differs_from_solve():
    state = random_state(4, seed=4)
    operator, y = measured(state, 4, 0.8)
    plain, ours = solve(operator, 0.9 * y, 1), tomography(operator, 0.9 * y)
    assert np.sum(np.abs(plain.left) ** 2) == pytest.approx(0.9, abs=1e-4)
    assert np.sum(np.abs(ours.left) ** 2) == pytest.approx(1.0, abs=1e-6)


def test_mistakes_end_in_one_line():
    operator = PauliSensing.random(3, 40)
    with pytest.raises(ValueError, match=r"`expectations`.*outside"):
        tomography(operator, np.full(40, 1.5))
    with pytest.raises(ValueError, match=r"`operator`.*GaussianSensing"):
        tomography(GaussianSensing((8, 8), 30, symmetric=True), np.ones(30))
