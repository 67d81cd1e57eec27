"""Metrics of factors against the formulas of whole matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data import random_state
from zoo.layers.sensing import (
    GaussianSensing,
    PauliSensing,
    RankOneSensing,
    to_complex,
    to_stacked,
)
from zoo.metrics import (
    effective_rank,
    fidelity,
    measurement_residual,
    procrustes_distance,
    relative_error,
    trace_distance,
)


def normal(generator, shape, is_complex):
    values = generator.normal(size=shape)
    return values + 1j * generator.normal(size=shape) if is_complex else values


@st.composite
def factors(draw):
    """Two factors or two pairs of them, of any ranks, with their matrices."""
    n1, n2 = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    batch = draw(st.sampled_from([(), (3,), (2, 2)]))
    is_complex, pair = draw(st.booleans()), draw(st.booleans())
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    found = []
    for _ in range(2):
        rank = draw(st.integers(1, 4))
        u = normal(generator, (*batch, n1, rank), is_complex)
        v = normal(generator, (*batch, n2, rank), is_complex) if pair else u.conj()
        found.append(((u, v) if pair else u, u @ v.swapaxes(-1, -2)))
    return found


@settings(max_examples=100)
@given(factors())
def test_factors_give_what_matrices_give(found):
    (one, x), (two, y) = found
    close = np.testing.assert_allclose
    axes = (-2, -1)
    error = np.linalg.norm(x - y, axis=axes) / np.linalg.norm(y, axis=axes)
    close(relative_error(one, two), error, rtol=1e-10)
    values = np.linalg.svd(x - y, compute_uv=False)
    close(trace_distance(one, two), values.sum(-1) / 2, rtol=1e-10)
    values = np.linalg.svd(x, compute_uv=False)
    p = values / values.sum(-1, keepdims=True) + 1e-300
    close(effective_rank(one), np.exp(-np.sum(p * np.log(p), -1)), rtol=1e-10)
    if x.ndim == 2:
        for metric in (relative_error, trace_distance):
            assert isinstance(metric(one, two), float)
        assert isinstance(effective_rank(one), float)


@settings(max_examples=50)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32))
def test_fidelity_is_that_of_density_matrices(q, r, s, seed):
    r, s = min(r, 2**q), min(s, 2**q)
    u, v = random_state(q, r, seed), random_state(q, s, seed + 1)
    rho, sigma = u @ u.conj().T, v @ v.conj().T
    values, vectors = np.linalg.eigh(rho)
    # `sqrtm` fails on singular matrices; the inner root is left to its eigenvalues.
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.conj().T
    inner = np.linalg.eigvalsh(root @ sigma @ root)
    expected = np.sum(np.sqrt(np.maximum(inner, 0))) ** 2
    assert fidelity(u, v) == pytest.approx(expected, abs=1e-6)
    assert fidelity(u, v) == pytest.approx(fidelity(v, u), rel=1e-12)
    assert fidelity(u, u) == pytest.approx(1, rel=1e-12)
    # Fuchs and van de Graaf.
    distance = trace_distance(u, v)
    assert 1 - np.sqrt(fidelity(u, v)) <= distance + 1e-12
    assert distance <= np.sqrt(1 - fidelity(u, v) + 1e-12)


def test_fidelity_of_full_rank_is_that_of_the_product():
    u, v = random_state(3, 8, 0), random_state(3, 8, 1)
    rho, sigma = u @ u.conj().T, v @ v.conj().T
    # They are those of the square whose root has the trace that is asked for.
    values = np.linalg.eigvals(rho @ sigma)
    expected = np.sum(np.sqrt(values)).real ** 2
    assert fidelity(u, v) == pytest.approx(expected, rel=1e-10)


def test_pure_states_have_closed_forms():
    u, v = random_state(5, seed=0), random_state(5, seed=1)
    overlap = abs(np.vdot(u, v)) ** 2
    assert fidelity(u, v) == pytest.approx(overlap, rel=1e-12)
    assert trace_distance(u, v) == pytest.approx(np.sqrt(1 - overlap), rel=1e-12)
    phase = np.exp(0.7j)
    distance = np.sqrt(2 - 2 * np.sqrt(overlap))
    assert procrustes_distance(u, phase * v) == pytest.approx(distance, rel=1e-12)


@pytest.mark.parametrize("is_complex", [False, True])
def test_procrustes_is_the_least_over_rotations(is_complex):
    generator = np.random.default_rng(0)
    u, v = (normal(generator, (9, 3), is_complex) for _ in range(2))
    found = procrustes_distance(u, v)
    rotations = np.linalg.qr(normal(generator, (200, 3, 3), is_complex))[0]
    assert all(np.linalg.norm(u - v @ r) >= found for r in rotations)
    # The formula by singular values, which cancels where the distance is small.
    nuclear = np.linalg.svd(v.conj().T @ u, compute_uv=False).sum()
    squares = np.linalg.norm(u) ** 2 + np.linalg.norm(v) ** 2 - 2 * nuclear
    assert found == pytest.approx(np.sqrt(squares), rel=1e-12)
    assert procrustes_distance(u @ rotations[0], u) < 1e-14 * 9


@pytest.mark.parametrize("size", [1e-3, 1e-8, 1e-12])
def test_small_errors_are_seen(size):
    generator = np.random.default_rng(0)
    u, d = generator.normal(size=(2, 500, 4))
    rotation = np.linalg.qr(generator.normal(size=(4, 4)))[0]
    estimate = (u + size * d) @ rotation
    # Of U D^T + D U^T, and of the second order; exact up to the rounding of the sum.
    step = u @ d.T + d @ u.T + size * d @ d.T
    expected = size * np.linalg.norm(step) / np.linalg.norm(u @ u.T)
    assert relative_error(estimate, u) == pytest.approx(expected, abs=3e-15, rel=1e-10)
    near = procrustes_distance(estimate, u)
    turn = np.linalg.svd(u.T @ (u + size * d))
    least = np.linalg.norm(u + size * d - u @ (turn[0] @ turn[2]))
    assert near == pytest.approx(least, abs=1e-13)
    assert 0 < near < 1.1 * size * np.linalg.norm(d) + 1e-13


def test_no_square_matrix_is_formed():
    # 80 GB as a matrix.
    u, v = np.random.default_rng(0).normal(size=(2, 100_000, 2))
    assert 1 < relative_error(u, v) < 2
    assert trace_distance(u, v) > 0
    assert 1.9 < effective_rank((u, v)) <= 2
    assert fidelity(u, v) > 0 and procrustes_distance(u, v) > 0


def test_effective_rank_has_closed_forms():
    assert effective_rank(np.eye(6)[:, :4]) == pytest.approx(4, rel=1e-14)
    # Singular values 3/4 and 1/4.
    p = np.array([0.75, 0.25])
    expected = np.exp(-np.sum(p * np.log(p)))
    u = np.diag(np.sqrt([3.0, 1.0, 0.0]))
    assert effective_rank(u) == pytest.approx(expected, rel=1e-14)
    assert effective_rank((np.eye(2), np.diag([3.0, 1.0]))) == pytest.approx(expected)


def test_residual_is_that_of_the_dense_operator():
    generator = np.random.default_rng(0)
    operator = GaussianSensing((6, 4), 30, dtype="float64")
    u, v = generator.normal(size=(2, 6, 2)), generator.normal(size=(2, 4, 2))
    y = generator.normal(size=(2, 30))
    x = u @ v.swapaxes(-1, -2)
    error = np.einsum("mij,bij->bm", operator.dense(), x) - y
    expected = np.linalg.norm(error, axis=-1) / np.linalg.norm(y, axis=-1)
    np.testing.assert_allclose(measurement_residual(operator, (u, v), y), expected)


def test_residual_of_a_state_takes_complex_factors():
    operator = PauliSensing.random(3, 40, dtype="float64")
    u = random_state(3, 2)
    y = np.array(operator(to_stacked(u)))
    assert measurement_residual(operator, u, y) < 1e-14
    assert measurement_residual(operator, (u, u.conj()), y) < 1e-14
    assert measurement_residual(operator, to_complex(to_stacked(u)), y) < 1e-14
    assert measurement_residual(operator, 2 * u, y) == pytest.approx(3)


def test_residual_centers_what_a_centered_operator_measures():
    generator = np.random.default_rng(0)
    vectors, u = generator.normal(size=(50, 8)), generator.normal(size=(8, 2))
    operator = RankOneSensing(vectors, centered=True, dtype="float64")
    y = np.sum((vectors @ u) ** 2, axis=1)
    assert measurement_residual(operator, u, y) < 1e-14


ONE = np.ones((4, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relative_error(ONE, np.zeros((4, 2))), "`truth` must not be 0"),
        (lambda: relative_error(ONE[0], ONE), r"shape \(2,\)"),
        (lambda: relative_error(ONE, np.ones((5, 2))), "as many rows"),
        (lambda: relative_error((ONE, ONE[:, :1]), ONE), "as many columns"),
        (lambda: trace_distance(ONE, np.ones((5, 2))), "as many rows"),
        (lambda: fidelity(ONE, np.ones((5, 2))), "as many rows"),
        (lambda: procrustes_distance(ONE, ONE[:, :1]), "of one shape"),
        (lambda: effective_rank(np.zeros((4, 2))), "must not be of a matrix that is 0"),
    ],
)
def test_bad_factors_are_told_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
