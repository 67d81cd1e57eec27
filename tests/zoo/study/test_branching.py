"""Trainings that share their beginnings: the same numbers, shared, killed or not."""

import itertools
import types

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator

from zoo.study import branching
from zoo.study.branching import (
    BranchingTraining,
    common_length,
    get_state,
    set_state,
)

CLEAN, BLUR = "clean", "blur"
PATHS = [(BLUR,) * n + (CLEAN,) * 3 for n in (0, 1, 2)] + [(CLEAN,) * 5]


class Killed(Exception):
    pass


@keras.saving.register_keras_serializable("test_branching")
class Counting(keras.layers.Layer):
    """Counts how often it is traced."""

    def build(self, input_shape):
        self.traces = 0

    def call(self, x):
        self.traces += 1
        return x


@pytest.fixture
def config():
    return types.SimpleNamespace(batch_size=8, epochs=3, strategy="none")


@pytest.fixture
def build():
    def build(seed=0):
        """A network with all kinds of state: moving statistics, dropout, momentum."""
        keras.utils.set_random_seed(seed)
        layers = [
            keras.Input((4,)),
            Counting(),
            keras.layers.Dense(6, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(2),
        ]
        model = keras.Sequential(layers)
        model.compile(
            keras.optimizers.Adam(0.02),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        model.optimizer.build(model.trainable_variables)
        return model

    return build


@pytest.fixture
def phases():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(24, 4)).astype("float32")
    labels = (images.sum(axis=1) > 0).astype("int32")
    data = {"images": images, "labels": labels}
    return {
        CLEAN: data,
        BLUR: {**data, "map_fn": lambda images, labels, seed: (0.5 * images, labels)},
    }


@pytest.fixture
def train(config, phases, build, tmp_path):
    """Trains along a path; returns the records, the weights and the epochs trained."""
    logs = itertools.count()

    def train(path, *, share=True, folder="states", die_after=None, seed=0, model=None):
        trained = []

        def record(epochs, values):
            if epochs == die_after:
                raise Killed
            trained.append(epochs)
            return {"loss": float(values["loss"])}

        model = model or build(seed)
        records = BranchingTraining(tmp_path / folder, [seed], share).run(
            model,
            path,
            [other for other in PATHS if other != path],
            phases,
            config,
            seed=seed,
            logdir=str(tmp_path / f"logs{next(logs)}"),
            record=record,
        )
        return records, model.get_weights(), trained

    return train


def equal(first, second):
    assert first[0] == second[0]
    for one, other in zip(first[1], second[1], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("order", [PATHS, PATHS[::-1]])
def test_shared_trainings_give_the_numbers_of_unshared_ones(train, order):
    shared = {path: train(path) for path in order}
    for path in PATHS:
        equal(shared[path], train(path, share=False, folder="none"))
    # 3, then 1 + 3, then 1 + 3, then 2 more of the first.
    assert sum(len(epochs) for *_, epochs in shared.values()) == 13
    assert sum(map(len, PATHS)) == 17


def test_unshared_trainings_leave_nothing_behind(train, tmp_path):
    train(PATHS[1], share=False)
    assert not list(tmp_path.glob("states/*"))


@pytest.mark.parametrize(
    ("die_after", "share"), [(1, True), (3, True), (5, True), (4, False)]
)
def test_a_killed_training_goes_on_to_the_same_numbers(
    train, monkeypatch, tmp_path, die_after, share
):
    path = PATHS[2]
    whole = train(path, share=False, folder="whole")
    monkeypatch.setattr(branching, "SAVE_EVERY", 0.0)
    with pytest.raises(Killed):
        train(path, share=share, die_after=die_after)
    resumed = train(path, share=share)
    equal(resumed, whole)
    # The epoch under way is all that is trained again.
    assert resumed[2] == list(range(die_after, 6))
    assert not list(tmp_path.glob("states/*partway*"))


def test_states_of_other_settings_are_not_taken(train):
    train(PATHS[0], seed=0)
    assert train(PATHS[0], seed=1)[2] == [1, 2, 3]


def test_a_half_written_state_counts_for_nothing(train, tmp_path):
    whole = train(PATHS[0])
    (state,) = tmp_path.glob("states/*3clean.npz")
    state.rename(state.with_name(f".{state.name}.7.partial"))
    again = train(PATHS[0])
    equal(again, whole)
    assert again[2] == [1, 2, 3]


def test_a_state_that_was_cut_short_is_trained_again(train, tmp_path, capsys):
    whole = train(PATHS[0])
    (state,) = tmp_path.glob("states/*3clean.npz")
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    again = train(PATHS[0])
    equal(again, whole)
    assert again[2] == [1, 2, 3]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{state} is broken (") and line.endswith(": trained again")
    assert train(PATHS[0])[2] == []


def test_one_compiled_step_serves_all_phases(train, build):
    model, again = build(), build()
    train((CLEAN,), share=False, model=model)
    train((BLUR, CLEAN, BLUR), share=False, model=again)
    assert again.layers[0].traces == model.layers[0].traces > 1


def test_a_copied_state_trains_as_its_source(train, build):
    used = build(5)
    train(PATHS[0], share=False, seed=5, model=used)
    set_state(used, get_state(build(0)))
    equal(
        train(PATHS[1], share=False, model=used),
        train(PATHS[1], share=False, folder="none"),
    )


def test_a_loss_that_is_not_finite_ends_the_training(
    train, phases, monkeypatch, tmp_path
):
    monkeypatch.setattr(branching, "SAVE_EVERY", 0.0)
    phases[BLUR]["map_fn"] = lambda images, labels, seed: (images * np.inf, labels)
    with pytest.raises(FloatingPointError, match="in epoch 2"):
        train((CLEAN, BLUR), share=False)
    assert not list(tmp_path.glob("states/*"))


def test_half_precision_shares_too(train, build):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        used = build()
        assert type(used.optimizer).__name__ == "LossScaleOptimizer"
        train(PATHS[1], model=used)
        set_state(used, get_state(build()))
        shared = train(PATHS[2], model=used)
        equal(shared, train(PATHS[2], share=False, folder="none"))
    finally:
        keras.config.set_dtype_policy("float32")


def test_epochs_that_are_not_trained_again_are_in_tensorboard(train, tmp_path):
    train(PATHS[0])
    _, _, trained = train(PATHS[3])
    assert trained == [4, 5]
    events = event_accumulator.EventAccumulator(str(tmp_path / "logs1/train"))
    steps = [one.step for one in events.Reload().Tensors("epoch_loss")]
    assert steps == [0, 1, 2, 3, 4]


def test_common_beginnings():
    assert common_length(PATHS[0], PATHS[3]) == 3
    assert common_length(PATHS[1], PATHS[2]) == 1
    assert common_length(PATHS[0], PATHS[1]) == 0
