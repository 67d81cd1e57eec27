"""PSNR and SNR against sums written out."""

import math

import numpy as np
import pytest

from zoo.metrics.image_quality import psnr, snr

RNG = np.random.default_rng(0)


def reference(estimate, truth, peak=None):
    error = math.fsum(abs(complex(one)) ** 2 for one in (estimate - truth).ravel())
    signal = math.fsum(abs(complex(one)) ** 2 for one in truth.ravel())
    return 10 * math.log10((peak**2 * truth.size if peak else signal) / error)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_each_image_has_its_own_value(kind):
    truth = RNG.uniform(0.1, 0.5, (3, 2, 7, 5, 2))
    estimate = truth + RNG.normal(
        0, [[[[[0.01]]]], [[[[0.1]]]], [[[[1]]]]], truth.shape
    )
    if kind == "complex":
        truth, estimate = truth * (1 + 1j), estimate + 0.3j
    for data_range in (1.0, 3.0):
        values = psnr(estimate, truth, data_range)
        assert values.shape == (3, 2)
        for place in np.ndindex(3, 2):
            expected = reference(estimate[place], truth[place], data_range)
            assert math.isclose(values[place], expected, rel_tol=1e-12)
            expected = reference(estimate[place], truth[place])
            assert math.isclose(snr(estimate, truth)[place], expected, rel_tol=1e-12)


def test_integers_do_not_wrap_around():
    truth, estimate = np.full((1, 1, 1), 1, "uint8"), np.full((1, 1, 1), 3, "uint8")
    assert math.isclose(psnr(estimate, truth, 255), 20 * math.log10(255 / 2))


def test_float32_is_summed_in_float64():
    truth = np.full((1000, 1000, 1), 0.5, "float32")
    estimate = truth + np.float32(2**-12)
    assert math.isclose(psnr(estimate, truth), 20 * 12 * math.log10(2), rel_tol=1e-12)


def test_the_true_image_is_infinitely_good_and_nan_is_seen():
    truth = RNG.uniform(size=(4, 4, 1))
    assert psnr(truth, truth) == math.inf == snr(truth, truth)
    assert np.isnan(psnr(truth * np.nan, truth))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((4, 4)), np.zeros((4, 4))), "one shape"),
        ((np.zeros((4, 4, 1)), np.zeros((4, 5, 1))), "one shape"),
        ((np.zeros((0, 4, 1)), np.zeros((0, 4, 1))), "one shape"),
        ((np.zeros((4, 4, 1)), np.full((4, 4, 1), 255.0)), "up to 255"),
        ((np.zeros((4, 4, 1)), np.zeros((4, 4, 1)), 0.0), "above 0"),
        ((np.zeros((4, 4, 1)), np.zeros((4, 4, 1)), math.nan), "above 0"),
    ],
)
def test_bad_inputs(arguments, message):
    with pytest.raises(ValueError, match=message):
        psnr(*arguments)


def test_an_image_of_zeros_has_no_snr():
    with pytest.raises(ValueError, match="no image that is 0"):
        snr(np.ones((2, 4, 4, 1)), np.zeros((2, 4, 4, 1)))


def test_the_imaginary_part_of_an_estimate_counts():
    truth = np.full((4, 4, 1), 0.5)
    assert math.isclose(psnr(truth + 0.1j, truth), 20.0)
    assert snr(truth + 0.1j, truth) == snr(truth + 0.1j, truth + 0j)
