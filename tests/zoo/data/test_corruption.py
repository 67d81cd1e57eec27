import numpy as np
import pytest

from zoo.data import corrupt_labels

LABELS = np.repeat(np.arange(10, dtype="int32"), 1000)


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.8, 1.0])
def test_exactly_the_fraction_is_wrong_and_uniform(fraction):
    corrupted = corrupt_labels(LABELS, fraction, 10)
    assert corrupted.dtype == LABELS.dtype
    wrong = corrupted != LABELS
    assert wrong.sum() == fraction * len(LABELS)
    shifts = (corrupted[wrong] - LABELS[wrong]) % 10
    counts = np.bincount(shifts, minlength=10)[1:]
    # Nine equally likely outcomes, to five standard deviations.
    expected = wrong.sum() / 9
    assert np.all(np.abs(counts - expected) <= 5 * np.sqrt(expected))


def test_a_larger_fraction_adds_to_a_smaller_and_the_labels_stay():
    before = LABELS.copy()
    some, more = (corrupt_labels(LABELS, f, 10, seed=3) for f in (0.2, 0.5))
    np.testing.assert_array_equal(some[some != LABELS], more[some != LABELS])
    np.testing.assert_array_equal(LABELS, before)
    assert np.any(some != corrupt_labels(LABELS, 0.2, 10, seed=4))


@pytest.mark.parametrize(
    ("fraction", "classes", "message"),
    [
        (1.5, 10, r"`fraction` must be .*Received: fraction=1.5"),
        ("half", 10, r"`fraction` must be .*Received: fraction='half'"),
        (0.5, 1, r"`num_classes` must be .*Received: num_classes=1"),
    ],
)
def test_bad_arguments(fraction, classes, message):
    with pytest.raises(ValueError, match=message):
        corrupt_labels(LABELS, fraction, classes)


@pytest.mark.parametrize("labels", [[1, 2, 10], [0.5, 1.0], [-1, 0]])
def test_labels_are_classes(labels):
    with pytest.raises(ValueError, match="`labels` must be integers from 0 to 9"):
        corrupt_labels(labels, 0.5, 10)
