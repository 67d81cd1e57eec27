"""Evaluation at updates, against Keras's own evaluation of the same weights."""

import keras
import numpy as np
import pytest

from zoo.metrics import EvaluateAtUpdates, loss_and_accuracy


def network():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(8),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def data():
    rng = np.random.default_rng(1)
    return rng.normal(size=(20, 5)).astype("float32"), rng.integers(0, 3, 20)


def test_curves_equal_keras_evaluation():
    model, (x, y) = network(), data()
    parts = {"training": (x, y), "validation": (x[:7], y[:7])}
    callback = EvaluateAtUpdates(parts, updates=[2, 5, 10], batch_size=3)
    logs = model.fit(
        x, y, batch_size=4, epochs=2, verbose=0, shuffle=False, callbacks=[callback]
    ).history
    curves = callback.curves
    assert curves["update"].tolist() == [2, 5, 10]
    for part, (images, labels) in parts.items():
        loss, accuracy = model.evaluate(images, labels, verbose=0)
        np.testing.assert_allclose(curves[f"{part}_loss"][-1], loss, rtol=1e-5)
        np.testing.assert_allclose(curves[f"{part}_accuracy"][-1], accuracy, rtol=1e-6)
    np.testing.assert_allclose(logs["val_loss"], curves["validation_loss"][1:])


def test_training_is_left_as_it_was():
    histories = []
    for callbacks in ([], [EvaluateAtUpdates({"validation": data()}, range(1, 11))]):
        x, y = data()
        history = network().fit(
            x, y, batch_size=4, epochs=2, verbose=0, shuffle=False, callbacks=callbacks
        )
        histories.append(history.history)
    assert histories[0]["loss"] == histories[1]["loss"]
    assert histories[0]["accuracy"] == histories[1]["accuracy"]


def test_huge_logits_do_not_overflow():
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(2, kernel_initializer="ones")]
    )
    x, y = np.full((2, 1), 1e30, "float32"), np.array([0, 1])
    assert loss_and_accuracy(model, x, y) == (np.log(2.0), 0.5)


@pytest.mark.parametrize(
    "labels", [np.zeros((20, 1), int), np.full(20, -1), [0.5] * 20]
)
def test_labels_are_classes_one_an_image(labels):
    with pytest.raises(ValueError, match="`labels` must be integers from 0 to 2, of"):
        loss_and_accuracy(network(), data()[0], labels)


def test_updates_are_counted_within_an_execution():
    curves = []
    for steps in (1, 2):
        model, (x, y) = network(), data()
        model.compile(model.optimizer, model.loss, steps_per_execution=steps)
        callback = EvaluateAtUpdates({"training": (x, y)}, updates=[2, 4, 7, 9])
        settings = {"batch_size": 4, "epochs": 2, "verbose": 0, "shuffle": False}
        model.fit(x, y, callbacks=[callback], **settings)
        curves.append(callback.curves)
    for name, curve in curves[0].items():
        np.testing.assert_allclose(curves[1][name], curve, rtol=1e-4)
    callback = EvaluateAtUpdates({"training": (x, y)}, updates=[3])
    with pytest.raises(ValueError, match="update 3, of an execution from 3 to 4"):
        model.fit(x, y, callbacks=[callback], **settings)
