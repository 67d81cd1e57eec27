import doctest

import numpy as np
import pytest

from zoo.data import masks
from zoo.data.masks import (
    block_mask,
    cartesian_mask,
    radial_mask,
    random_mask,
    scattered_mask,
)


def test_examples_print_what_they_say():
    assert doctest.testmod(masks).failed == 0


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.77, 1.0])
@pytest.mark.parametrize("shape", [(64, 64), (33, 48)])
def test_shares_are_exact(shape, fraction):
    height, width = shape
    columns = cartesian_mask(shape, fraction)
    assert (columns == columns[0]).all()
    assert columns[0].sum() == round(fraction * width)
    for mask in (
        random_mask(shape, fraction, power=3.0),
        scattered_mask(shape, fraction),
    ):
        assert mask.sum() == round(fraction * height * width)
    assert scattered_mask((*shape, 3), 0.5).sum() == round(height * width * 1.5)


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(64, 64), (96, 33)])
def test_radial_share_is_within_a_line(shape, fraction):
    mask = radial_mask(shape, fraction)
    assert abs(mask.sum() - fraction * mask.size) <= max(shape)


@pytest.mark.parametrize(
    "mask",
    [
        cartesian_mask((32, 48), 0.3),
        radial_mask((32, 48), 0.3),
        radial_mask((33, 47), lines=7),
        random_mask((32, 48), 0.3, power=2.0),
        scattered_mask((32, 48), 0.3),
        block_mask((32, 48), 8),
        block_mask((32, 48), (3, 9), blocks=10),
    ],
)
def test_masks_are_zeros_and_ones_in_float32(mask):
    assert mask.dtype == "float32"
    assert set(np.unique(mask)) == {0.0, 1.0}


def test_low_frequencies_come_first_in_the_order_of_fft2():
    columns = cartesian_mask((8, 100), 0.3, center_fraction=0.1)[0]
    assert np.abs(np.fft.fftfreq(100)[columns == 0]).min() > 0.04
    assert columns[np.abs(np.fft.fftfreq(100)) < 0.045].all()
    for mask in (columns[None], radial_mask((32, 48), 0.1), random_mask((9, 9), 0.1)):
        assert mask[0, 0] == 1
    dense = random_mask((64, 64), 0.25, power=4.0)
    radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(64)] * 2))
    assert dense[radius < 0.1].mean() > 0.75
    assert dense[radius > 0.5].mean() < 0.05


def test_power_zero_treats_all_frequencies_alike():
    share = np.mean([random_mask((8, 8), 0.5, seed=seed) for seed in range(2000)], 0)
    share = share.ravel()[1:]
    # Five standard errors.
    assert np.abs(share - 31 / 63).max() < 5 * np.sqrt(0.25 / 2000)


def test_weights_are_those_of_the_power():
    # Of one draw beside frequency 0, the chances are the weights.
    counts = sum(random_mask((1, 4), 0.5, 2.0, seed=seed)[0] for seed in range(4000))
    reach = np.hypot(1.0, 0.5 + 0.125)
    weights = (1 - np.abs(np.fft.fftfreq(4)) / reach) ** 2
    chances = weights[1:] / weights[1:].sum()
    assert np.abs(counts[1:] / 4000 - chances).max() < 5 * np.sqrt(0.25 / 4000)


def test_radial_lines_are_symmetric_and_as_many_as_asked_for():
    mask = radial_mask((65, 65), lines=5)
    np.testing.assert_array_equal(mask, np.roll(np.flip(mask), (1, 1), (0, 1)))
    two = radial_mask((65, 65), lines=2)
    assert two[0].all() and two[:, 0].all() and two.sum() == 129
    centered = np.fft.fftshift(mask)
    circle = [
        centered[round(32 + 30 * np.sin(a)), round(32 + 30 * np.cos(a))]
        for a in np.pi * np.arange(10) / 5
    ]
    assert all(circle)


def test_blocks_lie_where_they_should():
    mask = block_mask((10, 10), 3)
    assert mask.sum() == 91 and not mask[3:6, 3:6].any()
    hidden = 100 - block_mask((10, 10), 2, blocks=5, seed=3).sum()
    assert 4 <= hidden <= 20
    corners = np.mean(
        [block_mask((4, 4), 3, blocks=1, seed=seed) for seed in range(200)], 0
    )
    assert corners[0, 0] < 1 and corners[3, 3] < 1


def test_a_seed_makes_a_mask():
    for make in (
        lambda seed: cartesian_mask((16, 64), 0.3, seed=seed),
        lambda seed: random_mask((16, 64), 0.3, seed=seed),
        lambda seed: scattered_mask((16, 64), 0.3, seed=seed),
        lambda seed: block_mask((16, 64), 5, blocks=2, seed=seed),
    ):
        np.testing.assert_array_equal(make(1), make(1))
        assert (make(1) != make(2)).any()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: cartesian_mask((8, 8), 1.2), "`fraction` must be a number from 0 to"),
        (lambda: cartesian_mask((8, 8), 0.01), "`fraction` must leave one of 8"),
        (lambda: cartesian_mask((8, 8), 0.3, 0.4), "`center_fraction` must be"),
        (lambda: cartesian_mask(8, 0.3), "`shape` must be .H, W.. Received: shape=8"),
        (lambda: cartesian_mask((8, 0), 0.3), "`shape` must be an integer from 1 up"),
        (lambda: radial_mask((8, 8)), "one of `fraction` and `lines` must be given"),
        (lambda: radial_mask((8, 8), 0.3, 4), "one of `fraction` and `lines`"),
        (lambda: radial_mask((8, 8), lines=0), "`lines` must be an integer from 1 up"),
        (lambda: random_mask((8, 8), float("nan")), "`fraction` must be"),
        (lambda: random_mask((8, 8), 0.3, power=-1.0), "`power` must be"),
        (lambda: scattered_mask((8, 8), 0.0), "`fraction_kept` must leave one"),
        (lambda: scattered_mask((8,), 0.5), "`shape` must be .H, W. or .H, W, C."),
        (lambda: block_mask((8, 8), 9), "`size` must be no larger than the image"),
        (lambda: block_mask((8, 8), 8), "the blocks must leave a pixel"),
        (lambda: block_mask((8, 8), 2, blocks=0), "`blocks` must be an integer"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
