"""What every study that trains does alike."""

import types

import keras
import numpy as np
import pytest

from zoo.study import evaluate, fit, jit_compile, load_data


@pytest.fixture
def config():
    return types.SimpleNamespace(
        limit=100,
        image_size=0,
        data_dir=None,
        seed=0,
        strategy="none",
        jit="auto",
        batch_size=20,
        epochs=2,
    )


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    return model


def test_data_are_limited_and_pooled(config):
    config.image_size = 4
    data = load_data("digits", config)
    assert data.train[0].shape == (100, 4, 4, 1)
    assert data.test[0].shape[1:] == data.input_shape == (4, 4, 1)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("faces", {}), ("digits", {"image_size": 9}), ("digits", {"limit": 10**6})],
)
def test_a_mistake_in_the_data_names_the_flag(config, name, settings):
    vars(config).update(settings)
    with pytest.raises(ValueError, match=f"^--dataset={name}: "):
        load_data(name, config)


def test_the_same_seed_fits_the_same_weights(config, model, tmp_path):
    data, start, ends = load_data("digits", config), model.get_weights(), []
    for seed in (1, 1, 2):
        model.set_weights(start)
        history = fit(model, *data.train, config, seed=seed, logdir=str(tmp_path))
        ends.append(model.get_weights()[0])
    assert len(history["loss"]) == 2
    assert list(tmp_path.rglob("events.*"))
    np.testing.assert_array_equal(ends[0], ends[1])
    assert np.any(ends[0] != ends[2])
    logs = evaluate(model, data, config)
    assert set(logs) == {
        f"{part}_{name}"
        for part in ("train", "validation", "test")
        for name in ("loss", "accuracy")
    }


def test_a_loss_that_is_not_finite_ends_the_run(config, model, tmp_path):
    images, labels = load_data("digits", config).train
    model.optimizer.learning_rate = 1e38
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) in epoch 1"):
        fit(model, images, labels, config, seed=0, logdir=str(tmp_path))


def test_jit_flag_in_the_words_of_keras(config):
    means = {}
    for config.jit in ("auto", "on", "off"):
        means[config.jit] = jit_compile(config)
    assert means == {"auto": "auto", "on": True, "off": False}
