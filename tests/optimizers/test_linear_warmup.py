"""Warm-up: the ramp, what follows it, saving."""

import keras
import numpy as np
import pytest

from zoo.optimizers import LinearWarmup


def rates(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_it_ramps_linearly_then_holds():
    np.testing.assert_allclose(
        rates(LinearWarmup(0.5, 5), range(8)), [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5]
    )


def test_it_scales_any_schedule_and_then_follows_it():
    inner = keras.optimizers.schedules.PiecewiseConstantDecay([3, 6], [1.0, 0.1, 0.01])
    expected = [0.25, 0.5, 0.75, 1.0, 0.1, 0.1, 0.1, 0.01]
    np.testing.assert_allclose(rates(LinearWarmup(inner, 4), range(8)), expected)


def test_numbers_of_numpy_are_stored_as_those_of_python():
    schedule = LinearWarmup(np.float64(0.5), np.int64(5))
    assert [type(value) for value in schedule.get_config().values()] == [float, int]


def test_no_warm_up_changes_nothing():
    assert rates(LinearWarmup(0.25, 0), [0, 1, 100]) == [0.25] * 3


@pytest.mark.parametrize("steps", [-1, 2.5, True])
def test_warm_up_of_no_number_of_steps_is_refused(steps):
    words = rf"`warmup_steps` must be an int from 0 up. Received: warmup_steps={steps}"
    with pytest.raises(ValueError, match=words):
        LinearWarmup(0.1, steps)


def test_it_trains_saves_and_loads_inside_an_optimizer(tmp_path):
    inner = keras.optimizers.schedules.CosineDecay(0.1, 100)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(LinearWarmup(inner, 4)), "mse")
    x, y = np.ones((8, 2), "float32"), np.ones((8, 1), "float32")
    model.fit(x, y, batch_size=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").optimizer
    assert int(loaded.iterations) == 4
    np.testing.assert_allclose(loaded.learning_rate, model.optimizer.learning_rate)
