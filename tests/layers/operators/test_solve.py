import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from zoo.layers.operators import (
    Blur,
    Compose,
    Downsample,
    FourierMask,
    PixelMask,
    base,
)
from zoo.layers.operators.solve import conjugate_gradients, extreme_eigenvalue

GAUSS = np.exp(-(np.arange(-3, 4) ** 2) / 4)
GAUSS = np.outer(GAUSS, GAUSS) / GAUSS.sum() ** 2


def matrix_of(values, seed=0):
    basis = np.random.default_rng(seed).normal(size=(len(values), len(values)))
    basis = np.linalg.qr(basis)[0]
    return basis * values @ basis.T


def product_with(matrix, shape):
    def product(x):
        return ops.reshape(ops.reshape(x, (-1, len(matrix))) @ matrix, (-1, *shape))

    return product


def test_conjugate_gradients_solve_each_image():
    matrix = matrix_of(np.linspace(1, 50, 24))
    b = np.random.default_rng(1).normal(size=(4, 4, 6, 1)) * [[[[1e-6]]]]
    b[1] *= 1e9
    b[2] = 0
    start = np.random.default_rng(2).normal(size=b.shape) * [[[[1e-6]]]]
    product = product_with(matrix, (4, 6, 1))
    x = np.asarray(conjugate_gradients(product, ops.convert_to_tensor(b), start))
    expected = np.linalg.solve(matrix, b.reshape(4, 24).T).T.reshape(b.shape)
    error = np.abs(x - expected).max(axis=(1, 2, 3))
    assert (error[[0, 1, 3]] < 1e-11 * np.abs(b[[0, 1, 3]]).max(axis=(1, 2, 3))).all()
    # From a start that is not 0, a right side of zeros is met but for rounding.
    assert error[2] < 1e-18


def test_conjugate_gradients_leave_a_solution_and_stop_at_a_nan():
    product = product_with(matrix_of(np.linspace(1, 2, 4)), (2, 2, 1))
    x = np.random.default_rng(0).normal(size=(1, 2, 2, 1))
    b = product(ops.convert_to_tensor(x))
    np.testing.assert_array_equal(conjugate_gradients(product, b, x), x)
    bad = np.concatenate([b, np.full_like(b, np.nan)])
    both = np.asarray(conjugate_gradients(product, ops.convert_to_tensor(bad), 0 * bad))
    np.testing.assert_allclose(both[0], x[0], rtol=1e-11)
    assert np.isnan(both[1]).all()


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(0, 100), st.floats(1e-8, 1e8))
def test_lanczos_finds_both_ends(size, seed, scale):
    values = scale * np.random.default_rng(seed).random(size)
    matrix = matrix_of(values, seed)
    for largest, expected in ((True, values.max()), (False, values.min())):
        value, residual = extreme_eigenvalue(lambda v: matrix @ v, size, largest)
        assert residual <= 1e-6 * values.max()
        gap = min(abs(values[values != expected] - value), default=np.inf)
        assert abs(value - expected) <= residual**2 / gap + 1e-13 * values.max()


def test_lanczos_ends_at_few_distinct_eigenvalues():
    calls = []

    def product(vector):
        calls.append(1)
        return np.where(np.arange(1000) < 300, 2.0, 5.0) * vector

    assert abs(extreme_eigenvalue(product, 1000)[0] - 5) < 1e-12
    assert len(calls) == 2
    assert extreme_eigenvalue(lambda v: 0 * v, 1000) == (0.0, 0.0)


@pytest.mark.parametrize("boundary", ["zero", "reflect"])
def test_norm_of_a_large_blur_is_that_of_its_matrix(boundary, monkeypatch):
    monkeypatch.setattr(base, "LARGEST_EXACT", 0)
    operator = Blur((18, 17, 1), GAUSS, boundary, dtype="float64")
    values = np.linalg.eigvalsh(operator.dense().T @ operator.dense())
    norm = np.sqrt(values[-1])
    assert abs(operator.operator_norm() - norm) <= 1e-8 * norm
    # The smallest is never above the truth, by which a certificate would be void.
    assert 0 <= operator.strong_convexity() <= max(values[0], 0)


def test_convexity_of_a_large_blur_is_close_from_below(monkeypatch):
    monkeypatch.setattr(base, "LARGEST_EXACT", 0)
    kernel = -0.2 * GAUSS
    kernel[3, 3] += 1.0
    operator = Blur((18, 17, 1), kernel, "zero", dtype="float64")
    values = np.linalg.eigvalsh(operator.dense().T @ operator.dense())
    assert values[0] - 1e-5 <= operator.strong_convexity() <= values[0]


def test_norms_do_not_depend_on_the_channels():
    one, three = (Blur((12, 10, c), GAUSS, "reflect") for c in (1, 3))
    assert abs(one.operator_norm() - three.operator_norm()) < 1e-7


def test_convexity_is_zero_without_a_look_where_measurements_are_few():
    blur = Blur((64, 64, 1), GAUSS, "reflect")
    blind = Compose(Downsample((64, 64, 1), 2), blur)
    mask = np.ones((64, 64))
    mask[3, 5] = 0
    for operator in (
        blind,
        PixelMask((64, 64, 1), mask),
        Compose(PixelMask((64, 64, 1), mask), blur),
    ):
        assert operator.strong_convexity() == 0.0
    for kernel in ([[0.25, 0.5, 0.25]], np.full((3, 3), 1 / 9)):
        # The highest frequency, or a third of it, is lost.
        assert Blur((12, 12, 1), kernel).strong_convexity() == 0.0
    # The mirrored frequency is measured.
    assert FourierMask((64, 64, 1), mask).strong_convexity() == 0.5


@settings(max_examples=15)
@given(st.floats(1e-12, 1e12), st.floats(1e-20, 1e20), st.booleans())
def test_prox_is_finite_and_no_worse_than_its_ends_at_extremes(step, scale, closed):
    mask = np.random.default_rng(0).random((4, 3)) < 0.5
    operator = Blur((4, 3, 1), GAUSS[2:5, 2:5], "zero", dtype="float64")
    if closed:
        operator = FourierMask((4, 3, 1), mask, dtype="float64")
    z, x = scale * np.random.default_rng(1).normal(size=(2, 1, 4, 3, 1))
    y = operator(x)
    result = np.asarray(operator.prox_l2(z, y, step))

    def objective(x):
        fit = np.sum(np.abs(np.asarray(operator(x)) - y) ** 2)
        return fit / scale**2 + np.sum((x - z) ** 2) / scale**2 / step

    assert np.isfinite(result).all()
    assert objective(result) <= (1 + 1e-9) * min(objective(z), objective(x))
