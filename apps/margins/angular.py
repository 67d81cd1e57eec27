"""Embeddings under angular margins: pictures in the plane, and classes unseen."""

import functools

import keras
import numpy as np
import pandas as pd

from zoo.apps.margins.common import MarginStudy, network, train
from zoo.data import steps_per_epoch
from zoo.layers import CosineDense
from zoo.losses import (
    AngularMargin,
    ArcFace,
    CosFace,
    LSoftmax,
    MarginWarmup,
    SphereFace,
)
from zoo.metrics import angular_spread, recall_at_1, verification_accuracy
from zoo.study import Section, distribute, format_mean, new_figure
from zoo.study.tuning import tuned

# Each is `- log softmax` with a margin; L-Softmax keeps the norms, and at 1 is softmax.
LOSSES = {
    "softmax": functools.partial(LSoftmax, 1.0),
    "l_softmax_2": functools.partial(LSoftmax, 2.0),
    "l_softmax_3": functools.partial(LSoftmax, 3.0),
    "l_softmax_4": functools.partial(LSoftmax, 4.0),
    "normalized": functools.partial(AngularMargin, 1.0, 0.0, 0.0, scale="auto"),
    "sphereface": functools.partial(SphereFace, margin=1.35, scale="auto"),
    "arcface": functools.partial(ArcFace, margin=0.3, scale="auto"),
    "cosface": functools.partial(CosFace, margin=0.2, scale="auto"),
    "combined": functools.partial(AngularMargin, 1.1, 0.15, 0.1, scale="auto"),
}
# From where to where a search looks for the margin of a loss.
MARGINS = {"sphereface": (1.0, 2.0), "arcface": (0.05, 0.8), "cosface": (0.05, 0.6)}
PLANE, UNSEEN = "plane", "unseen"
FEATURES = {PLANE: 2, UNSEEN: 64}
# Points of a picture, and images of unseen classes that are compared, at most.
SHOWN, COMPARED = 1000, 2000


class Angular(MarginStudy):
    """Trains embeddings under each angular margin and measures their angles."""

    experiment = "angular"
    title = "Margins: angular margins"
    objective = ("quality", "max")
    presets = {
        "quick": {
            "dataset": ["digits"],
            "limit": 0,
            "image_size": 0,
            "loss": ["softmax", "l_softmax_4", "arcface", "cosface"],
            "width": [8],
            "held_out": 3,
            "epochs": 60,
            "batch_size": 100,
            "runs": 1,
            "learning_rate": 3e-3,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "dataset": ["fashion_mnist"],
        "limit": 8000,
        "image_size": 14,
        "loss": list(LOSSES),
        "width": [8],
        "epochs": 15,
        "batch_size": 100,
        "runs": 2,
        "learning_rate": 1e-3,
    }
    presets["paper"] = {
        **presets["cpu"],
        "dataset": ["mnist"],
        "limit": 0,
        "image_size": 0,
        "width": [32],
        "epochs": 40,
        "batch_size": 256,
    }

    def prepare(self, config):
        super().prepare(config)
        self.check_losses(config, LOSSES)
        most = self.data.num_classes - 2
        if config.held_out > most:
            raise ValueError(
                f"--held_out={config.held_out} must be at most {most} of the "
                f"{self.data.num_classes} classes of {self.data.name}"
            )

    def grid(self, hp, config):
        hp.Choice("task", [PLANE, UNSEEN])
        hp.Choice("loss", config.loss)
        hp.Choice("width", config.width)
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        hp.Fixed("task", UNSEEN)
        hp.Choice("loss", config.loss)
        for loss in config.loss:
            if loss in MARGINS:
                with hp.conditional_scope("loss", [loss]):
                    hp.Float(f"{loss}_margin", *MARGINS[loss])

    def run(self, hp, config, logdir):
        config = tuned(config, hp)
        task, data = hp.get("task"), self.data
        keep = data.num_classes
        if task == UNSEEN:
            keep -= config.held_out
        images, labels = (part[data.train[1] < keep] for part in data.train)
        loss = self._loss(hp)
        updates = config.epochs * steps_per_epoch(len(images), config.batch_size)
        with distribute.scope(config):
            model, embed = self._models(hp, loss, keep, FEATURES[task])
        history = train(
            model,
            images,
            labels,
            config,
            loss=loss,
            metrics=False,
            seed=hp.get("seed"),
            logdir=logdir,
            # A full margin at once can keep a network from learning.
            callbacks=[MarginWarmup(loss, max(updates // 2, 1))],
        )
        # What a search chooses by is not what it is judged by.
        tested, truth = data.test if config.search == "grid" else data.validation
        chosen = truth < keep if task == PLANE else truth >= keep
        tested, truth = tested[chosen][:COMPARED], truth[chosen][:COMPARED]
        embeddings = embed.predict_on_batch(tested)
        within, between = angular_spread(embeddings, truth)
        outcome = {
            "angle_within": within,
            "angle_between": between,
            "epoch_loss": np.array(history["loss"]),
        }
        if task == UNSEEN:
            recall = recall_at_1(embeddings, truth)
            return {
                "quality": recall,
                "recall_at_1": recall,
                "verification_accuracy": verification_accuracy(embeddings, truth),
                **outcome,
            }
        scores = model.predict_on_batch(tested)
        if scores.ndim == 3:
            scores = scores[:, 0] * scores[:, 1]
        accuracy = np.mean(scores.argmax(-1) == truth)
        return {
            "quality": accuracy,
            "test_accuracy": accuracy,
            **outcome,
            "plane_x": embeddings[:SHOWN, 0],
            "plane_y": embeddings[:SHOWN, 1],
            "plane_class": truth[:SHOWN],
        }

    def _loss(self, hp):
        name = hp.get("loss")
        if f"{name}_margin" in hp.values:
            return LOSSES[name](margin=hp.get(f"{name}_margin"))
        return LOSSES[name]()

    def _models(self, hp, loss, classes, features):
        """The classifier, and the part of it that ends in the embedding."""
        base = network(self.data, hp.get("width"))
        hidden = base.get_layer("dense1_relu").output
        embedding = keras.layers.Dense(features, name="embedding")(hidden)
        head = CosineDense(classes, polar=isinstance(loss, LSoftmax), name="head")
        return (
            keras.Model(base.input, head(embedding)),
            keras.Model(base.input, embedding),
        )

    def sections(self, results, config):
        sections = [Section("Setting", self.settings(config))]
        for task, title, columns in (
            (
                PLANE,
                "In the plane",
                {"test_accuracy": ("test accuracy, %", 100)},
            ),
            (
                UNSEEN,
                "Classes that were held out",
                {
                    "verification_accuracy": ("verification accuracy, %", 100),
                    "recall_at_1": ("recall@1, %", 100),
                },
            ),
        ):
            sections += self._table(results, config, task, title, columns)
        if len(results.select(task=PLANE)):
            sections.append(self._pictures(results, config))
        return sections

    def _table(self, results, config, task, title, columns):
        columns = {
            **columns,
            "angle_within": ("within a class, °", 1),
            "angle_between": ("nearest two classes, °", 1),
        }
        rows = []
        for loss in config.loss:
            found = results.select(task=task, loss=loss)
            if len(found):
                rows.append(
                    {
                        "loss": loss,
                        **{
                            label: format_mean(found[name].to_numpy("float64"), scale)
                            for name, (label, scale) in columns.items()
                        },
                    }
                )
        if not rows:
            return []
        text = (
            f"Test images, embedded in {FEATURES[task]} numbers. The angle within a "
            "class is the mean to the class's centre; the other, the smallest between "
            "two centres. Mean ± standard deviation over seeds."
        )
        if task == UNSEEN:
            text += (
                f" The network never saw the last {config.held_out} classes, which are "
                "the ones embedded here; half of the pairs that are verified match."
            )
        return [Section(title, text, pd.DataFrame(rows))]

    def _pictures(self, results, config):
        shown = [
            one for one in config.loss if len(results.select(task=PLANE, loss=one))
        ]
        figure, ax = new_figure("", "", "")
        ax.remove()
        columns = min(len(shown), 3)
        rows = -(-len(shown) // columns)
        figure.set_size_inches(3 * columns, 3 * rows)
        for place, loss in enumerate(shown, start=1):
            run = results.select(task=PLANE, loss=loss)["run"].iloc[0]
            curves = results.curves(run)
            ax = figure.add_subplot(rows, columns, place, aspect="equal")
            ax.scatter(
                curves["plane_x"],
                curves["plane_y"],
                c=curves["plane_class"],
                cmap="tab10",
                s=4,
            )
            ax.axhline(0, color="black", linewidth=0.5)
            ax.axvline(0, color="black", linewidth=0.5)
            ax.set(title=loss, xticks=[], yticks=[])
        text = (
            "Test images in the plane, a colour each class, one seed. A class fills a "
            "sector; margins narrow it."
        )
        return Section("Figures 13 and 14: embeddings", text, None, figure, "plane")
