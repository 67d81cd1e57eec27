"""The exact line search finds the least point of a line, whatever the quartic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from zoo.solvers.matrix_sensing.line_search import exact_step, quartic_minimum

finite = st.floats(-1e3, 1e3, allow_subnormal=False)
slopes = st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3)


def value(t, c0, c1, c2, c3):
    return c0 * t + c1 * t**2 / 2 + c2 * t**3 / 3 + c3 * t**4 / 4


def scanned_minimum(coefficients):
    """The least value at the real roots of the derivative, by NumPy."""
    roots = np.roots(coefficients[::-1])
    near = roots.real[np.abs(roots.imag) < 1e-6 * (1 + np.abs(roots.real))]
    return value(near, *coefficients).min()


@settings(max_examples=200)
@given(slopes, finite, finite, st.floats(1e-3, 1e3))
def test_no_root_of_the_derivative_is_lower(c0, c1, c2, c3):
    coefficients = np.array([c0, c1, c2, c3])
    t = float(quartic_minimum(*map(ops.convert_to_tensor, coefficients)))
    best = scanned_minimum(coefficients)
    assert value(t, *coefficients) <= best + 1e-9 * (1 + abs(best))


@pytest.mark.parametrize("size", [1e-9, 1e-4, 1.0, 1e4])
def test_a_brute_force_scan_finds_nothing_lower(size):
    generator = np.random.default_rng(0)
    for _ in range(20):
        e, a, b = generator.normal(size=(3, 30))
        a, b = size * a, size**2 * b
        t = float(exact_step(e, a, b))
        around = np.linspace(-5 / size, 5 / size, 20_001)
        misfits = np.sum(
            (e + around[:, None] * a + around[:, None] ** 2 * b) ** 2, axis=1
        )
        ours = np.sum((e + t * a + t * t * b) ** 2)
        assert ours <= misfits.min() * (1 + 1e-9)


def test_a_step_along_which_nothing_changes_is_none():
    zeros = np.zeros(5)
    assert float(exact_step(np.ones(5), zeros, zeros)) == 0.0


def test_a_parabola_where_the_step_has_no_second_order():
    residual, first = np.array([1.0, 2.0]), np.array([-0.5, -1.0])
    assert float(exact_step(residual, first, np.zeros(2))) == pytest.approx(2.0)


def test_a_batch_equals_its_problems():
    e, a, b = np.random.default_rng(1).normal(size=(3, 2, 4, 30))
    together = np.asarray(exact_step(e, a, b))
    assert together.shape == (2, 4)
    for i in range(2):
        for j in range(4):
            alone = float(exact_step(e[i, j], a[i, j], b[i, j]))
            assert together[i, j] == pytest.approx(alone, rel=1e-9)


def test_no_step_is_lost_in_float32():
    """What JAX computes with, where a step changes the measurements by a millionth."""
    e, a, b = np.random.default_rng(2).normal(size=(3, 300))
    for size in (1e-9, 1e-7, 1e-3, 1.0, 1e3):
        a1, a2 = size * a, size**2 * b
        products = [e @ a1, a1 @ a1 + 2 * e @ a2, 3 * a1 @ a2, 2 * a2 @ a2]
        narrow = [ops.convert_to_tensor(x, "float32") for x in products]
        wide = [ops.convert_to_tensor(x, "float64") for x in products]
        expected = float(quartic_minimum(*wide))
        assert float(quartic_minimum(*narrow)) == pytest.approx(expected, rel=1e-4)
