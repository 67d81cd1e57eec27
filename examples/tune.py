"""Tunes a classifier of scikit-learn's digits with Keras Tuner, and tests the best.

    python examples/tune.py
    python examples/tune.py --trials=30 --epochs=40

Of Zoo it takes the builder: networks with batch or ghost batch normalisation, trained
by cross-entropy, the bi-tempered loss, or with a large margin. The rest is Keras
Tuner's.
"""

import argparse
import tempfile

import keras_tuner
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from zoo.models import tunable_classifier


class Digits(keras_tuner.HyperModel):
    """Chooses the network, its normalisation, its loss, its optimizer and its batch."""

    def build(self, hp):
        return tunable_classifier(
            hp,
            input_shape=(8, 8, 1),
            num_classes=10,
            networks=("mlp", "convnet"),
            normalizations=("batch", "ghost"),
            losses=("cross_entropy", "bi_tempered", "large_margin"),
        )

    def fit(self, hp, model, *args, **kwargs):
        batch_size = hp.Choice("batch_size", [64, 128, 256])
        return model.fit(*args, batch_size=batch_size, **kwargs)


def main(trials, epochs, folder):
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
    images, test_images, labels, test_labels = train_test_split(
        images, labels, test_size=360, random_state=0, stratify=labels
    )
    tuner = keras_tuner.RandomSearch(
        Digits(),
        keras_tuner.Objective("val_accuracy", "max"),
        max_trials=trials,
        seed=1,
        directory=folder,
        project_name="digits",
    )
    tuner.search(images, labels, validation_split=0.2, epochs=epochs, verbose=0)
    best = tuner.get_best_hyperparameters()[0].values
    for name, value in sorted(best.items()):
        shown = f"{value:.3g}" if isinstance(value, float) else value
        print(f"{name:24}{shown}")
    model = tuner.get_best_models()[0]
    scores = model.evaluate(test_images, test_labels, verbose=0, return_dict=True)
    print(f"test accuracy {scores['accuracy']:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--folder", help="Keras Tuner's; a temporary one by default.")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        main(flags.trials, flags.epochs, flags.folder or folder)
