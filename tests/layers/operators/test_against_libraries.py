"""Each kind against what SciPy and NumPy compute by other means."""

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import scipy.ndimage
import scipy.signal

from zoo.layers.operators import (
    Blur,
    Downsample,
    FourierMask,
    GaussianMatrix,
    PixelMask,
    Stack,
    StructuredRandom,
)

DRAW = np.random.default_rng(3)
X = DRAW.normal(size=(2, 12, 9, 3))


def assert_close(ours, theirs, tolerance=1e-12):
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


@pytest.mark.parametrize("kernel_shape", [(3, 5), (11, 9), (1, 7), (1, 1)])
@pytest.mark.parametrize(
    "boundary, mode",
    [("circular", "wrap"), ("zero", "constant"), ("reflect", "mirror")],
)
def test_blur_is_the_convolution_of_scipy(boundary, mode, kernel_shape):
    kernel = DRAW.normal(size=kernel_shape)
    operator = Blur((12, 9, 3), kernel, boundary, dtype="float64")
    expected = scipy.ndimage.convolve(X, kernel[None, :, :, None], mode=mode)
    assert_close(operator(X), expected)


def test_blur_of_zeros_outside_is_the_convolution_of_scipy_signal():
    kernel = DRAW.normal(size=(5, 3))
    operator = Blur((12, 9, 1), kernel, "zero", dtype="float64")
    expected = scipy.signal.convolve2d(X[0, :, :, 0], kernel, mode="same")
    assert_close(np.asarray(operator(X[:1, :, :, :1]))[0, :, :, 0], expected)


def test_a_blur_that_keeps_flat_images_keeps_them_up_to_the_edge():
    kernel = np.outer([1, 2, 1], [1, 4, 6, 4, 1]) / 64
    ones = np.ones((1, 12, 9, 1))
    for boundary in ("circular", "reflect"):
        assert_close(Blur((12, 9, 1), kernel, boundary, dtype="float64")(ones), ones)


def test_frequencies_are_those_of_numpy():
    mask = DRAW.random((12, 9)) < 0.4
    operator = FourierMask((12, 9, 3), mask, dtype="float64")
    spectrum = np.fft.fft2(X, axes=(1, 2), norm="ortho") * mask[:, :, None]
    assert_close(operator(X), spectrum)
    y = spectrum + DRAW.normal(size=X.shape) * 1j
    pulled = np.fft.ifft2(y * mask[:, :, None], axes=(1, 2), norm="ortho").real
    assert_close(operator.adjoint(y), pulled)


def test_a_mask_sees_the_mirrored_frequencies_by_half():
    mask = np.zeros((4, 4))
    mask[0, 0] = mask[0, 1] = mask[1, 0] = mask[3, 0] = 1
    operator = FourierMask((4, 4, 1), mask, dtype="float64")
    values = np.zeros((4, 4))
    values[0, 0] = values[1, 0] = values[3, 0] = 1
    values[0, 1] = values[0, 3] = 0.5
    np.testing.assert_array_equal(operator.eigenvalues, values)
    assert operator.operator_norm() == 1.0
    one_sided = FourierMask((4, 4, 1), np.eye(1, 4, 1) * np.eye(4)[:, :1])
    assert one_sided.operator_norm() == np.sqrt(0.5)


def flat_rows(operator, matrix, signs):
    """`sqrt(n / m) R T D` written out."""
    n, m = operator.num_pixels, operator.measurement_shape[0]
    return np.sqrt(n / m) * (matrix * signs)[operator.rows]


def test_dct_is_that_of_scipy():
    for shape in ((4, 8, 1), (5, 7, 1), (3, 3, 3)):
        operator = StructuredRandom(shape, 15, "dct", seed=4, dtype="float64")
        n = operator.num_pixels
        matrix = scipy.fft.dct(np.eye(n), axis=0, norm="ortho")
        expected = flat_rows(operator, matrix, np.asarray(operator.code)[0])
        assert_close(operator.dense(), expected)


@pytest.mark.parametrize("shape", [(4, 8, 1), (8, 8, 1), (1, 1, 2), (1, 1, 1)])
def test_hadamard_is_that_of_scipy(shape):
    n = int(np.prod(shape))
    m = (n + 1) // 2
    operator = StructuredRandom(shape, m, "hadamard", seed=5, dtype="float64")
    matrix = scipy.linalg.hadamard(n) / np.sqrt(n)
    expected = flat_rows(operator, matrix, np.asarray(operator.code)[0])
    assert_close(operator.dense(), expected)


def test_coded_diffraction_is_the_transform_of_numpy():
    operator = StructuredRandom((4, 6, 2), 20, "coded_diffraction", dtype="float64")
    code = np.asarray(operator.code)
    np.testing.assert_allclose(np.sum(code**2, 0), 1, rtol=1e-14)
    x = DRAW.normal(size=(1, 4, 6, 2))
    coded = x * (code[0] + 1j * code[1]).reshape(4, 6, 2)
    spectrum = np.fft.fft2(coded, axes=(1, 2), norm="ortho")[0]
    expected = spectrum.transpose(2, 0, 1).ravel()[operator.rows]
    assert_close(np.asarray(operator(x))[0], expected * np.sqrt(48 / 20))


@pytest.mark.parametrize("kind", ["dct", "hadamard", "coded_diffraction"])
def test_columns_have_norm_one_on_average(kind):
    # Exactly so: all entries' squares, and each row's, add up to n / m.
    dense = StructuredRandom((4, 8, 1), 12, kind, dtype="float64").dense()
    np.testing.assert_allclose(np.sum(np.abs(dense) ** 2, 1), 32 / 12, rtol=1e-13)


def test_random_operators_differ_by_seed_alone():
    for make in (
        lambda seed, dtype: GaussianMatrix((4, 4, 1), 8, seed, dtype=dtype),
        lambda seed, dtype: StructuredRandom((4, 4, 1), 8, seed=seed, dtype=dtype),
    ):
        one, again = make(1, "float64").dense(), make(1, "float32").dense()
        np.testing.assert_allclose(one, again, atol=1e-7)
        assert np.abs(one - make(2, "float64").dense()).max() > 0.1


def test_gaussian_columns_have_norm_one_on_average():
    dense = GaussianMatrix((20, 20, 1), 100, dtype="float64").dense()
    energy = np.sum(dense**2, axis=0)
    # Five standard errors of a mean of 400 chi-squares over 100.
    assert abs(energy.mean() - 1) < 5 * np.sqrt(2 / 100 / 400)
    assert abs(dense.mean()) < 5 * 0.1 / np.sqrt(dense.size)


def test_box_is_the_mean_of_blocks_and_its_adjoint_spreads_it():
    operator = Downsample((12, 9, 3), 3, dtype="float64")
    expected = scipy.ndimage.uniform_filter(X, (0, 3, 3, 0))[:, 1::3, 1::3]
    assert_close(operator(X), expected)
    y = DRAW.normal(size=(2, 4, 3, 3))
    assert_close(operator.adjoint(y), np.kron(y, np.ones((1, 3, 3, 1))) / 9)


def test_decimation_takes_the_first_pixel():
    operator = Downsample((12, 9, 3), 3, "decimate", dtype="float64")
    np.testing.assert_array_equal(operator(X), X[:, ::3, ::3])


def test_measurements_that_are_not_seen_count_for_nothing():
    mask = DRAW.random((12, 9)) < 0.5
    for operator in (
        PixelMask((12, 9, 3), mask, dtype="float64"),
        FourierMask((12, 9, 3), mask, dtype="float64"),
    ):
        y = DRAW.normal(size=(1, 12, 9, 3))
        other = np.where(mask[:, :, None], y, y + 100)
        seen = np.where(mask[:, :, None], other, 0)
        np.testing.assert_array_equal(operator.measured(other), seen)
        np.testing.assert_array_equal(operator.adjoint(y), operator.adjoint(other))
        one, two = (operator.prox_l2(X[:1], each, 2.0) for each in (y, other))
        np.testing.assert_array_equal(one, two)


def test_a_stack_puts_flat_measurements_in_order():
    mask = DRAW.random((12, 9)) < 0.5
    parts = [
        Downsample((12, 9, 3), 3, dtype="float64"),
        FourierMask((12, 9, 3), mask, dtype="float64"),
    ]
    operator = Stack(parts)
    assert operator.dtype == "float64" and operator.is_complex
    flat = [np.reshape(part(X), (2, -1)) for part in parts]
    np.testing.assert_array_equal(operator(X), np.concatenate(flat, axis=1))
