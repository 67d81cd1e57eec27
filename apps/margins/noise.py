"""Accuracy under label noise, loss by loss."""

import keras
import numpy as np
import pandas as pd

from zoo.apps.margins.common import MarginStudy, network, train
from zoo.data import steps_per_epoch
from zoo.losses import (
    BiTemperedLogistic,
    ComplementaryCrossEntropy,
    LargeMargin,
    MulticlassHinge,
    TemperatureSoftmax,
    WeightedMargin,
)
from zoo.metrics import EvaluateAtUpdates
from zoo.models import LargeMarginModel
from zoo.study import (
    Section,
    deviation,
    distribute,
    evaluate,
    format_mean,
    new_figure,
)
from zoo.study.tuning import tuned

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
LOSSES = {
    "cross_entropy": lambda point: CROSS_ENTROPY,
    "bi_tempered": lambda point: BiTemperedLogistic(point["t1"], point["t2"]),
    # Beside cross-entropy, at the input and at each hidden layer.
    "large_margin": lambda point: LargeMargin(point.get("margin", 1.0)),
    "temperature": lambda point: TemperatureSoftmax(point.get("gamma", 0.5)),
    "complementary": lambda point: ComplementaryCrossEntropy(),
    "hinge": lambda point: MulticlassHinge(),
    "weighted_margin": lambda point: WeightedMargin(),
}
# From where to where a search looks for what a loss has.
OPTIONS = {
    "bi_tempered": {"t1": (0.0, 1.0), "t2": (1.0, 4.0)},
    "large_margin": {"margin": (0.1, 3.0)},
    "temperature": {"gamma": (0.1, 1.0)},
}
# Images of each part that accuracy is followed on during training, at most.
FOLLOWED = 2000


class Noise(MarginStudy):
    """Trains on wrong labels and tests on right ones."""

    experiment = "noise"
    title = "Margins: accuracy under label noise"
    objective = ("validation_accuracy", "max")
    presets = {
        "quick": {
            "dataset": ["digits"],
            "limit": 600,
            "image_size": 0,
            "loss": ["cross_entropy", "bi_tempered", "large_margin"],
            "corruption": [0.0, 0.4],
            "width": [4],
            "epochs": 30,
            "batch_size": 50,
            "runs": 1,
            "learning_rate": 3e-3,
            "t1": 0.8,
            "t2": 1.2,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "dataset": ["fashion_mnist"],
        "limit": 4000,
        "image_size": 14,
        "corruption": [0.0, 0.2, 0.4, 0.6, 0.8],
        "width": [8],
        "epochs": 40,
        "batch_size": 100,
        "runs": 5,
        "learning_rate": 1e-3,
    }
    presets["paper"] = {
        **presets["cpu"],
        "dataset": ["mnist"],
        "limit": 0,
        "image_size": 0,
        "corruption": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.8],
        "width": [32],
        "epochs": 200,
        "batch_size": 128,
    }

    def prepare(self, config):
        super().prepare(config)
        self.check_losses(config, LOSSES)

    def grid(self, hp, config):
        hp.Choice("loss", config.loss)
        hp.Choice("corruption", config.corruption)
        hp.Choice("width", config.width)
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        hp.Fixed("corruption", max(config.corruption))
        hp.Choice("loss", config.loss)
        for loss in config.loss:
            with hp.conditional_scope("loss", [loss]):
                for name, ends in OPTIONS.get(loss, {}).items():
                    hp.Float(name, *ends)

    def run(self, hp, config, logdir):
        config = tuned(config, hp)
        name, data, seed = hp.get("loss"), self.data, hp.get("seed")
        point = {**vars(config), **hp.values}
        noisy = {
            part: self.wrong_labels(hp, seed, part) for part in ("train", "validation")
        }
        images = data.train[0]
        with distribute.scope(config):
            model, loss = network(data, hp.get("width")), LOSSES[name](point)
            if name == "large_margin":
                model = LargeMarginModel(model, margin_loss=loss)
                loss = CROSS_ENTROPY
        steps = steps_per_epoch(len(images), config.batch_size)
        follow = EvaluateAtUpdates(
            {
                "noisy": (
                    data.validation[0][:FOLLOWED],
                    noisy["validation"][:FOLLOWED],
                ),
                "clean": tuple(part[:FOLLOWED] for part in data.test),
            },
            [steps * epoch for epoch in range(1, config.epochs + 1)],
        )
        history = train(
            model,
            images,
            noisy["train"],
            config,
            loss=loss,
            seed=seed,
            logdir=logdir,
            callbacks=[follow],
        )
        clean = follow.curves["clean_accuracy"]
        return {
            **evaluate(model, data, config),
            "noisy_train_accuracy": history["accuracy"][-1],
            # Where an equally noisy validation set would have one stop.
            "stopped_accuracy": clean[int(np.argmax(follow.curves["noisy_accuracy"]))],
            "clean_accuracy_curve": clean,
            "epoch_loss": np.array(history["loss"]),
        }

    def sections(self, results, config):
        losses = [one for one in config.loss if len(results.select(loss=one))]
        return [
            Section("Setting", self.settings(config)),
            self._table(results, config, losses),
            self._figure(results, config, losses),
            *self._findings(results, config, losses),
        ]

    def _accuracies(self, results, loss, corruption, name="test_accuracy"):
        rows = results.select(loss=loss, corruption=corruption)
        return 100 * rows[name].to_numpy("float64") if len(rows) else np.zeros(0)

    def _table(self, results, config, losses):
        rows = []
        for loss in losses:
            for label, name in (
                ("at the end", "test_accuracy"),
                ("stopped early", "stopped_accuracy"),
            ):
                rows.append(
                    {
                        "loss": loss,
                        "test %": label,
                        **{
                            f"noise {level:.0%}": format_mean(
                                self._accuracies(results, loss, level, name)
                            )
                            for level in config.corruption
                        },
                    }
                )
        text = (
            "Test accuracy on right labels, percent, mean ± standard deviation over "
            "seeds: after the last epoch, and at the epoch that is best on validation "
            "labels as noisy as the training labels."
        )
        return Section("Accuracy under label noise", text, pd.DataFrame(rows))

    def _figure(self, results, config, losses):
        figure, ax = new_figure(
            "Accuracy under label noise", "wrong training labels, %", "test accuracy, %"
        )
        for loss in losses:
            levels = [
                level
                for level in config.corruption
                if len(self._accuracies(results, loss, level))
            ]
            values = [self._accuracies(results, loss, level) for level in levels]
            ax.errorbar(
                [100 * level for level in levels],
                [one.mean() for one in values],
                [deviation(one) for one in values],
                label=loss,
                marker="o",
                capsize=3,
            )
        ax.legend()
        return Section("Accuracy by noise", figure=figure, name="noise")

    def _findings(self, results, config, losses):
        rows = []
        for loss in losses:
            if loss == "cross_entropy" or "cross_entropy" not in losses:
                continue
            for level in config.corruption:
                ours = self._accuracies(results, loss, level)
                base = self._accuracies(results, "cross_entropy", level)
                if not len(ours) or not len(base):
                    continue
                gain = ours.mean() - base.mean()
                spread = deviation(ours) + deviation(base)
                rows.append(
                    {
                        "finding": f"{loss} beats cross_entropy at {level:.0%} noise",
                        "holds here": "yes" if gain > spread else "no",
                        "difference, points": f"{gain:+.2f}",
                        "spread of the seeds": f"{spread:.2f}",
                    }
                )
        if not rows:
            return []
        text = (
            "A finding holds where the difference of the mean test accuracies at the "
            "end is larger than the standard deviations of both losses together."
        )
        return [Section("Findings", text, pd.DataFrame(rows))]
