"""Predicting the generalisation gap of a population of networks from their margins."""

import numpy as np
import pandas as pd

from zoo.apps.margins.common import MarginStudy, network, train
from zoo.metrics import (
    GapPredictor,
    adjusted_r2,
    k_fold_r2,
    layer_margins,
    score_margin,
    signature,
)
from zoo.study import Section, distribute, evaluate, new_figure
from zoo.study.tuning import between, tuned

# Training images whose margins are measured, at most.
MEASURED = 2000
PREDICTORS = {
    "all layers, log": ("signature", "log"),
    "all layers, linear": ("signature", "linear"),
    "last hidden layer, log": ("last", "log"),
    "score margin, log": ("score", "log"),
}
FOLDS = 10
# scikit-learn's usual one: there are fewer than five networks for a number.
RIDGE = 1.0


class Gap(MarginStudy):
    """Trains a population of networks and predicts their gaps from margins alone."""

    experiment = "gap"
    title = "Margins: predicting the generalisation gap"
    objective = ("validation_accuracy", "max")
    presets = {
        "quick": {
            "dataset": ["digits"],
            "limit": 300,
            "image_size": 0,
            "width": [4, 8],
            "dropout": [0.0, 0.4],
            "weight_decay": [0.0],
            "corruption": [0.0, 0.2],
            "epochs": 60,
            "batch_size": 50,
            "runs": 1,
            "learning_rate": 3e-3,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "dataset": ["fashion_mnist"],
        "limit": 1000,
        "image_size": 14,
        "width": [8, 16],
        "dropout": [0.0, 0.3],
        "weight_decay": [0.0, 0.1],
        "corruption": [0.0, 0.1, 0.25],
        "runs": 3,
        "learning_rate": 2e-3,
    }
    presets["paper"] = {
        **presets["cpu"],
        "dataset": ["cifar10"],
        "limit": 0,
        "image_size": 0,
        "width": [16, 32, 64],
        "dropout": [0.0, 0.2, 0.5],
        "weight_decay": [0.0, 0.1, 0.5],
        "corruption": [0.0, 0.2, 0.5],
        "epochs": 200,
        "batch_size": 128,
    }

    def grid(self, hp, config):
        for name in ("width", "dropout", "weight_decay", "corruption"):
            hp.Choice(name, getattr(config, name))
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        hp.Fixed("corruption", config.corruption[0])
        between(hp, config, "dropout", "weight_decay")

    def run(self, hp, config, logdir):
        config = tuned(config, hp)
        data, seed = self.data, hp.get("seed")
        images, labels = data.train[0], self.wrong_labels(hp, seed)
        with distribute.scope(config):
            model = network(data, hp.get("width"), hp.get("dropout"))
        train(
            model,
            images,
            labels,
            config,
            weight_decay=hp.get("weight_decay"),
            seed=seed,
            logdir=logdir,
        )
        ends = evaluate(model, data, config)
        scores = model.predict(images, batch_size=500, verbose=0)
        fitted = np.mean(scores.argmax(-1) == labels)
        images, labels = images[:MEASURED], labels[:MEASURED]
        normalized = layer_margins(model, images, labels).normalized
        return {
            **ends,
            "fitted_accuracy": fitted,
            # Of the labels that were trained on, as in the source.
            "gap": fitted - ends["test_accuracy"],
            "signature": signature(normalized),
            "last": signature(normalized[:, -1:]),
            "score": signature(score_margin(scores[:MEASURED], labels)[:, None]),
        }

    def sections(self, results, config):
        found = results.select()
        sections = [Section("Setting", self.settings(config))]
        if len(found) < 2 * FOLDS:
            text = (
                f"{len(found)} networks are too few for {FOLDS} folds: the fit below "
                "is to the networks that it was made from."
            )
            sections.append(Section("Few networks", text))
        if len(found) < 3:
            return sections
        curves = [results.curves(run) for run in found["run"]]
        gaps = 100 * found["gap"].to_numpy("float64")
        return [
            *sections,
            self._population(found, gaps),
            *self._predictions(curves, gaps, found),
        ]

    def _population(self, found, gaps):
        rows = [
            {
                "networks": len(found),
                "test accuracy, %": _range(100 * found["test_accuracy"]),
                "fitted, %": _range(100 * found["fitted_accuracy"]),
                "gap, points": _range(gaps),
            }
        ]
        text = (
            "The gap is the accuracy on the labels that were trained on less that on "
            "the test set. Ranges are from the least to the greatest."
        )
        return Section("The population", text, pd.DataFrame(rows))

    def _predictions(self, curves, gaps, found):
        rows, out_of_fold = [], {}
        for name, (key, form) in PREDICTORS.items():
            features = np.stack([one[key] for one in curves])
            predictor = GapPredictor(form, alpha=RIDGE).fit(features, gaps)
            r2 = predictor.score(features, gaps)
            rows.append(
                {
                    "predictor": name,
                    "numbers": features.shape[1],
                    "R²": f"{r2:.3f}",
                    "adjusted R²": f"{adjusted_r2(r2, *features.shape):.3f}"
                    if len(gaps) > features.shape[1] + 1
                    else "-",
                    f"{FOLDS}-fold R²": f"{k_fold_r2(predictor, features, gaps):.3f}"
                    if len(gaps) >= 2 * FOLDS
                    else "-",
                }
            )
            out_of_fold[name] = predictor.predict(features)
        text = (
            "Quartiles and fences of the margins at each layer, or their logarithms, "
            f"to the gap by least squares with a ridge of {RIDGE:g}. In {FOLDS} folds "
            "each network is predicted from others."
        )
        return [
            Section("Predicting the gap", text, pd.DataFrame(rows)),
            self._figure(out_of_fold["all layers, log"], gaps, found),
        ]

    def _figure(self, predicted, gaps, found):
        figure, ax = new_figure(
            "Figure 8: actual against predicted gap",
            "predicted gap, points",
            "actual gap, points",
        )
        for level in sorted(set(found["corruption"])):
            chosen = (found["corruption"] == level).to_numpy()
            label = f"{level:.0%} wrong labels"
            ax.scatter(predicted[chosen], gaps[chosen], s=14, label=label)
        ends = [min(predicted.min(), gaps.min()), max(predicted.max(), gaps.max())]
        ax.plot(ends, ends, color="black", linewidth=0.8)
        ax.legend()
        return Section(
            "Figure 8: actual against predicted gap", figure=figure, name="figure8"
        )


def _range(values):
    return f"{np.min(values):.1f} to {np.max(values):.1f}"
