"""What trainings on patches are given: schedules and measurements."""

import numpy as np
import pytest

from zoo.layers.operators import FourierMask, PixelMask
from zoo.models.patch_training import check_schedule, measure
from zoo.models.progress import digest


def test_numbers_of_numpy_are_settings():
    schedule = check_schedule(np.int64(6), np.int32(4), np.float32(0.5), np.int64(9))
    assert schedule == (6, 4, 0.5, 6)
    assert digest([*schedule], [], []) == digest([6, 4, 0.5, 6], [], [])


@pytest.mark.parametrize("kind", [FourierMask, PixelMask])
def test_each_real_number_that_is_measured_is_under_noise(kind):
    operator = kind((8, 8, 1), np.ones((8, 8)))
    images = np.zeros((64, 8, 8, 1))
    noise = measure(operator, images, 0.2, np.random.default_rng(0))
    assert noise.dtype == operator.measurement_dtype
    parts = [noise.real, noise.imag] if operator.is_complex else [noise]
    for part in parts:
        # Of 4,096 numbers the deviation is known to 1.1 %.
        assert part.std() == pytest.approx(0.2, rel=0.04)
