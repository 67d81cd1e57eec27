"""Distance from initialisation, against the weights themselves."""

import keras
import numpy as np

from zoo.metrics import DistanceFromInitialization


def test_distances_are_those_of_the_trainable_weights():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4), keras.layers.BatchNormalization()]
    )
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
    y = np.zeros((12, 4), "float32")
    callback = DistanceFromInitialization(updates=[1, 3, 5])

    class Weights(keras.callbacks.Callback):
        seen = [[v.numpy() for v in model.trainable_variables]]

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append([v.numpy() for v in model.trainable_variables])

    logs = model.fit(
        x, y, batch_size=4, epochs=2, verbose=0, callbacks=[callback, Weights()]
    ).history
    initial = np.concatenate([w.ravel() for w in Weights.seen[0]])
    distances = [
        np.linalg.norm(np.concatenate([w.ravel() for w in now]) - initial)
        for now in Weights.seen
    ]
    np.testing.assert_allclose(callback.curve, np.take(distances, [1, 3, 5]), rtol=1e-6)
    np.testing.assert_allclose(logs["distance"], np.take(distances, [3, 6]), rtol=1e-6)
