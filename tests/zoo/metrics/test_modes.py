"""Mode coverage against the true mixture and against counts by hand."""

import numpy as np
import pytest
from scipy.stats import chi2

from zoo.data import gaussian_grid
from zoo.metrics import mode_coverage


def test_the_mixture_itself_covers_all():
    mixture = gaussian_grid(points_per_mode=2000)
    found = mode_coverage(mixture.points.reshape(-1, 2), mixture.centers, 0.02)
    assert found["modes"] == 16
    # Within 3 deviations in the plane: 1 - exp(-9/2).
    assert found["high_quality"] == pytest.approx(chi2.cdf(9, 2), abs=0.003)
    assert found["kl"] < 1e-3


def test_counts_by_hand():
    centers = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    # 60 in the first, 35 in the second, 1 in the third, 4 nowhere.
    samples = np.concatenate(
        [
            np.full((60, 2), 0.1),
            np.tile([10.0, 0.29], (35, 1)),
            [[0.0, 10.0]],
            np.tile([5.0, 5.0], (4, 1)),
        ]
    )
    found = mode_coverage(samples, centers, sigma=0.1)
    assert found["modes"] == 2
    assert found["high_quality"] == 0.96
    p = np.array([60, 35, 1]) / 96
    assert found["kl"] == pytest.approx(np.log(4) + (p * np.log(p)).sum())
    # 1 of 100 is 4 % of an even spread's 25.
    assert mode_coverage(samples, centers, 0.1, share=0.03)["modes"] == 3
    assert mode_coverage(samples, centers, 0.1, within=2.5)["high_quality"] == 0.61


def test_nothing_of_high_quality():
    found = mode_coverage(np.full((5, 2), 9.0), np.zeros((16, 2)), 0.1)
    assert found == {"modes": 0, "high_quality": 0.0, "kl": pytest.approx(np.log(16))}
    assert mode_coverage(np.zeros((5, 2)), np.eye(2), 0.1, share=0.0)["modes"] == 0


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros(4), "`samples` and `centers` must be of shapes"),
        (np.zeros((4, 3)), "`samples` and `centers` must be of shapes"),
        (np.full((4, 2), np.nan), "`samples` must be finite"),
        (np.zeros((0, 2)), "`samples` must be finite, one at least"),
    ],
)
def test_mistakes_end_in_one_line(samples, words):
    with pytest.raises(ValueError) as caught:
        mode_coverage(samples, np.zeros((2, 2)), 0.1)
    assert words in str(caught.value)


def test_far_from_the_origin_all_is_the_same():
    samples = np.random.default_rng(0).normal(0, 1e-4, (500, 2))
    centers = np.array([[0.0, 0.0], [0.01, 0.0]])
    near = mode_coverage(samples, centers, 1e-4)
    far = mode_coverage(samples + 1e4, centers + 1e4, 1e-4)
    assert far["high_quality"] == pytest.approx(near["high_quality"], abs=0.005)


def test_sigma_is_above_0():
    with pytest.raises(
        ValueError, match=r"`sigma` must be above 0\. Received: sigma=-1"
    ):
        mode_coverage(np.zeros((5, 2)), np.eye(2), -1.0)
