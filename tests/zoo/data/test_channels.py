"""Channels of users against draws that are made otherwise."""

import numpy as np
import pytest

from zoo.data import massive_mimo, random_access

MIMO = {"antennas": 16, "users": 20, "pilots": 30}


def hexagons(count, center):
    """Distances of uniform points of a hexagon, by rejection."""
    generator = np.random.default_rng(7)
    edges = np.exp(1j * np.pi / 3 * np.arange(6))
    points = generator.uniform(-1.2, 1.2, (2, 4 * count))
    points = points[0] + 1j * points[1]
    inside = (np.real(points[:, None] * edges.conj()) < 1).all(axis=1)
    return np.abs(points[inside][:count] + center)


def test_sizes_are_as_published():
    problem = random_access()
    assert problem.matrix.shape == (128, 1024)
    assert problem.sparsity == 0.01
    problem = massive_mimo()
    assert problem.matrix.shape == (128, 896)
    np.testing.assert_array_equal(np.flatnonzero(problem.mask)[:64], np.arange(64))
    np.testing.assert_array_equal(
        np.flatnonzero(problem.mask)[64:], 448 + np.arange(64)
    )
    assert random_access().mask.all()


def test_pilots_are_qpsk_of_norm_1():
    matrix = random_access(users=30, pilots=40, stacked=False).matrix
    np.testing.assert_allclose(np.abs(matrix.real), 80**-0.5)
    np.testing.assert_allclose(np.abs(matrix.imag), 80**-0.5)
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=0), 1)
    assert len(np.unique(matrix.round(6))) == 4


@pytest.mark.parametrize("make", [random_access, lambda **k: massive_mimo(**k, **MIMO)])
def test_stacked_vectors_are_the_complex_ones(make):
    plain, stacked = make(stacked=False, snr=None), make(snr=None)
    y, x = plain.sample(50, seed=2, dtype="float64")
    y2, x2 = stacked.sample(50, seed=2, dtype="float64")
    np.testing.assert_allclose(x2, np.concatenate([x.real, x.imag], axis=1))
    np.testing.assert_allclose(y2, np.concatenate([y.real, y.imag], axis=1), atol=1e-12)
    assert plain.noise_variance == stacked.noise_variance == 0
    both = np.tile(plain.mask, 2)
    np.testing.assert_array_equal(stacked.mask, both)
    np.testing.assert_allclose(
        stacked.signal_variance, np.tile(plain.signal_variance, 2) / 2
    )


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize(
    "make", [random_access, lambda **k: massive_mimo(**k, **MIMO)], ids=["one", "many"]
)
def test_powers_are_as_said(make, stacked):
    problem = make(stacked=stacked, snr=10.0)
    y, x = problem.sample(8000, dtype="float64")
    expected = problem.sparsity * problem.signal_variance
    power = np.mean(np.abs(x) ** 2, axis=0)
    for part in (problem.mask, ~problem.mask):
        if part.any():
            np.testing.assert_allclose(
                power[part].mean(), expected[part].mean(), rtol=0.05
            )
    clean = x @ problem.matrix.T
    noise = y - clean
    np.testing.assert_allclose(
        np.mean(np.abs(noise) ** 2), problem.noise_variance, rtol=0.02
    )
    snr = 10 * np.log10(np.sum(np.abs(clean) ** 2) / np.sum(np.abs(noise) ** 2))
    np.testing.assert_allclose(snr, 10, atol=0.2)


@pytest.mark.parametrize(("cell", "center"), [(0, 0.0), (1, 2.0)])
def test_amplitudes_are_those_of_places_in_hexagons(cell, center):
    problem = massive_mimo(antennas=1, users=500, pilots=4, stacked=False)
    _, x = problem.sample(40, dtype="float64")
    users = x[:, :500] if cell == 0 else x[:, 500:]
    gain = 1 / (1 + hexagons(20_000, center) ** 4)
    # Five paths of modulus 1 alike, and five of power 0.1.
    expected = 25.5 * np.mean(gain**2)
    np.testing.assert_allclose(np.mean(np.abs(users) ** 2), expected, rtol=0.03)
    np.testing.assert_allclose(problem.signal_variance[500 * cell], expected, rtol=0.02)
    fourth = (25**2 + 4 * 25 * 0.5 + 2 * 0.25) * np.mean(gain**4)
    np.testing.assert_allclose(np.mean(np.abs(users) ** 4), fourth, rtol=0.06)


def test_few_directions_of_a_user_are_strong():
    problem = massive_mimo(stacked=False)
    _, x = problem.sample(64 * 4, dtype="float64")
    power = np.abs(x.reshape(4, 64, -1)[..., :64]) ** 2
    strongest = (
        np.sort(power, axis=1)[:, ::-1].cumsum(axis=1) / power.sum(axis=1)[:, None]
    )
    assert np.median(strongest[:, 5]) > 0.9
    # Each user has a direction of its own.
    assert len(np.unique(power.argmax(axis=1)[0])) > 20


def test_draws_are_cut_to_the_batch():
    problem = massive_mimo(**MIMO)
    y, x = problem.sample(21)
    assert (len(y), len(x)) == (21, 21)
    whole = problem.sample(32)[1]
    np.testing.assert_array_equal(x, whole[:21])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_access(users=0), "`users` must be an int from 1 up"),
        (lambda: random_access(pilots=0), "`pilots` must be an int from 1 up"),
        (lambda: random_access(activity=0), "`activity` must be a number above 0"),
        (lambda: random_access(seed=-1), "`seed` must be an integer from 0 up"),
        (lambda: massive_mimo(antennas=0), "`antennas` must be an int from 1 up"),
        (lambda: massive_mimo(cells=3), r"`cells` must be one of \(1, 7\)"),
        (lambda: massive_mimo(snr="high"), "`snr` must be a finite number"),
    ],
)
def test_bad_arguments_end_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
