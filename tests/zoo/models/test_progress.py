"""Trainings that go on where they were killed."""

import math

import keras
import numpy as np
import pytest

from zoo.models.patch_training import Schedule
from zoo.models.progress import STATE, Progress, architecture, digest, fit

ONES = np.ones((8, 8))


def make():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def draw(step):
    x = np.random.default_rng(step).normal(size=(4, 2)).astype("float32")
    return x, x[:, :1]


def run(model, scores, folder=None, name="a", callbacks=(), best=True):
    schedule = Schedule(6, 4, 0.1, 2)
    scores = iter(scores)
    best_of = model if best else None
    settings = ("psnr", lambda: next(scores), schedule, name, folder, 0, best_of)
    return fit(model, draw, Progress(*settings), callbacks)


class Keep(keras.callbacks.Callback):
    """Keeps the weights and the logs of each epoch, and maybe ends after one."""

    def __init__(self, last=math.inf):
        super().__init__()
        self.last, self.weights, self.logs = last, [], []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())
        self.logs.append(dict(logs))
        if epoch == self.last:
            raise KeyboardInterrupt


def assert_same(one, other):
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("best", "place"), [(True, 1), (False, 2)])
def test_the_best_weights_or_the_last_are_left(best, place):
    model, keep = make(), Keep()
    records = run(model, [1.0, 3.0, 2.0], callbacks=[keep], best=best)
    assert [record["step"] for record in records] == [2, 4, 6]
    assert list(records[0]) == ["step", "loss", "psnr"]
    assert [logs["val_psnr"] for logs in keep.logs] == [1.0, 3.0, 2.0]
    assert_same(model.get_weights(), keep.weights[place])


@pytest.mark.parametrize("best", [True, False])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, best):
    whole = make()
    expected = run(whole, [3.0, 2.0, 1.0], best=best)
    with pytest.raises(KeyboardInterrupt):
        run(make(), [3.0], tmp_path, callbacks=[Keep(0)], best=best)
    model = make()
    assert run(model, [2.0, 1.0], tmp_path, best=best) == expected
    assert_same(model.get_weights(), whole.get_weights())
    # Nothing is left to do: only the weights come back.
    again = make()
    assert run(again, [], tmp_path, best=best) == expected
    assert_same(again.get_weights(), whole.get_weights())
    with pytest.raises(ValueError, match="which holds another"):
        run(make(), [], tmp_path, name="b", best=best)


@pytest.mark.parametrize("score", [math.nan, -math.inf])
def test_what_is_lost_is_left_and_not_taken_up_again(tmp_path, score):
    model, keep = make(), Keep()
    records = run(model, [1.0, score], tmp_path, callbacks=[keep])
    assert len(records) == 2
    assert_same(model.get_weights(), keep.weights[0])
    again = make()
    assert len(run(again, [], tmp_path)) == 2
    assert_same(again.get_weights(), keep.weights[0])


def test_a_perfect_score_ends_nothing():
    assert len(run(make(), [math.inf, 1.0, 2.0])) == 3


def test_one_line_an_epoch_is_printed(capsys):
    model = make()
    settings = (Schedule(2, 4, 0.1, 1), "a", None, 1)
    fit(model, draw, Progress("snr", lambda: 1.234, *settings), ())
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("step 1 of 2: loss ")
    assert last.endswith(", validation 1.23 dB")


def test_names_tell_settings_networks_and_data_apart():
    network, other = make(), keras.Sequential([keras.Input((2,)), keras.layers.ReLU()])
    names = [
        digest([1], [network], [ONES]),
        digest([2], [network], [ONES]),
        digest([1], [network, other], [ONES]),
        digest([1], [other], [ONES]),
        digest([1], [network], [2 * ONES]),
        digest([1], [network], [ONES[:4], ONES[4:]]),
        digest([1], [network], [ONES.reshape(4, 16)]),
    ]
    assert len(set(names)) == 7
    assert digest([1], [network], [ONES.T]) == names[0]


@pytest.mark.parametrize("make", [make, lambda: branches("relu")])
def test_names_of_layers_and_weights_do_not_count(make):
    first, second = make(), make()
    assert [one.name for one in first.layers] != [one.name for one in second.layers]
    second.set_weights([one + 1 for one in second.get_weights()])
    assert architecture(first) == architecture(second)
    assert architecture(first) != architecture(branches("elu"))


def branches(activation):
    """A network in which names tell what feeds what."""
    x = keras.Input((2,))
    one = keras.layers.Dense(2, activation=activation)(x)
    other = keras.layers.Dense(2)(one)
    return keras.Model(x, keras.layers.Subtract()([one, other]))


def test_the_state_is_one_file(tmp_path):
    run(make(), [1.0, 2.0, 3.0], tmp_path / "new" / "folder")
    assert [one.name for one in (tmp_path / "new" / "folder").iterdir()] == [STATE]
