"""The normalised mean squared error."""

import numpy as np
import pytest

from zoo.metrics import nmse


@pytest.mark.parametrize("is_complex", [False, True])
def test_sums_are_over_the_block_or_each_signal(is_complex):
    generator = np.random.default_rng(0)
    truth, noise = generator.normal(size=(2, 7, 20)) + is_complex * 1j
    truth = truth * np.arange(1, 8)[:, None]
    estimate = truth + 0.1 * noise
    squares = np.sum(np.abs(estimate - truth) ** 2, axis=1)
    energies = np.sum(np.abs(truth) ** 2, axis=1)
    block = 10 * np.log10(squares.sum() / energies.sum())
    signal = 10 * np.log10(np.mean(squares / energies))
    assert nmse(estimate, truth) == pytest.approx(block, abs=1e-12)
    assert nmse(estimate, truth, "signal") == pytest.approx(signal, abs=1e-12)
    assert abs(block - signal) > 1
    folded = nmse(estimate[:6].reshape(2, 3, 20), truth[:6].reshape(2, 3, 20), "signal")
    assert folded == pytest.approx(nmse(estimate[:6], truth[:6], "signal"), abs=1e-12)


def test_what_is_masked_does_not_count():
    truth = np.array([1.0, 2.0, 3.0])
    estimate = np.array([1.1, 9.0, 3.0])
    mask = np.array([True, False, True])
    expected = nmse(estimate[mask], truth[mask])
    assert nmse(estimate, truth, mask=mask) == expected


def test_float32_is_summed_in_float64():
    truth = np.ones((1, 10**6), "float32")
    estimate = truth + np.float32(2**-12)
    assert nmse(estimate, truth) == pytest.approx(-240 * np.log10(2), abs=1e-9)


def test_nothing_differs():
    assert nmse(np.ones(3), np.ones(3)) == -np.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(3), np.ones(4)), r"of one shape.*\(3,\).*\(4,\)"),
        ((1.0, 1.0), "of one shape"),
        ((np.ones(3), np.ones(3), "mean"), "`average` must be one of"),
        ((np.ones(3), np.zeros(3)), "`truth` must not be 0."),
        ((np.eye(2), np.diag([1, 0]), "signal"), "must not be 0 in any signal"),
        ((np.ones(3), np.ones(3), "block", np.ones(3)), "`mask` must be bool"),
        ((np.ones(3), np.ones(3), "block", np.ones(2, bool)), r"of shape \(3,\)"),
    ],
)
def test_bad_input_ends_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        nmse(*arguments)
    assert "\n" not in str(error.value)


def test_integers_do_not_wrap_around():
    one, other = np.array([[1, 2, 3]], "uint8"), np.array([[2, 2, 3]], "uint8")
    assert nmse(one, other) == nmse(one.astype(float), other)
