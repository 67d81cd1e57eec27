"""The grid of Gaussians: where, how wide, how even, in which order."""

import numpy as np
import pytest

from zoo.data import gaussian_grid


def test_defaults_are_the_report_s_mixture():
    mixture = gaussian_grid()
    assert mixture.points.shape == (5000, 16, 2)
    assert mixture.points.dtype == np.float32
    axis = {-1.5, -0.5, 0.5, 1.5}
    assert {tuple(c) for c in mixture.centers.tolist()} == {
        (x, y) for x in axis for y in axis
    }
    residues = mixture.points - mixture.centers
    np.testing.assert_allclose(residues.mean(0), 0, atol=4 * 0.02 / 5000**0.5)
    np.testing.assert_allclose(residues.std(0), 0.02, rtol=0.04)


def test_batches_hold_as_many_of_each_mode_and_all_points_of_an_epoch():
    mixture = gaussian_grid(points_per_mode=8, side=2)
    taken = [np.asarray(batch) for batch in mixture.batches(4, seed=1).take(4)]
    for batch in taken:
        assert batch.shape == (16, 2)
        distances = np.linalg.norm(batch[:, None] - mixture.centers, axis=-1)
        counts = np.bincount(distances.argmin(1), minlength=4)
        assert counts.tolist() == [4, 4, 4, 4]
    for epoch in (taken[:2], taken[2:]):
        seen = {tuple(row) for row in np.concatenate(epoch).tolist()}
        assert seen == {tuple(row) for row in mixture.points.reshape(-1, 2).tolist()}
    again = next(iter(mixture.batches(4, seed=1)))
    np.testing.assert_array_equal(again, taken[0])
    assert not np.array_equal(next(iter(mixture.batches(4, seed=2))), taken[0])


def test_a_seed_is_a_mixture():
    one, same, other = (gaussian_grid(10, seed=seed).points for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"points_per_mode": 0}, "`points_per_mode` must be >= 1"),
        ({"side": 0}, "`side` must be >= 1"),
        ({"spacing": 0.0}, "`spacing` must be > 0"),
        ({"sigma": float("nan")}, "`sigma` must be > 0"),
    ],
)
def test_mistakes_end_in_one_line(kwargs, words):
    with pytest.raises(ValueError) as caught:
        gaussian_grid(**kwargs)
    assert words in str(caught.value)


@pytest.mark.parametrize("per_mode", [0, 9])
def test_batches_are_no_larger_than_a_mode(per_mode):
    with pytest.raises(ValueError, match="`per_mode` must be from 1 to the 8 points"):
        gaussian_grid(points_per_mode=8).batches(per_mode)
