"""Margin distributions, layer by layer, of networks trained on corrupted labels."""

import numpy as np
import pandas as pd

from zoo.apps.margins.common import MarginStudy, network, train
from zoo.metrics import layer_margins, score_margin
from zoo.study import Section, distribute, evaluate, format_mean, new_figure
from zoo.study.tuning import tuned

# Training images whose margins are measured, at most.
MEASURED = 5000
BINS = 40


class Distributions(MarginStudy):
    """Trains to fit corrupted labels and measures the margins of the training set."""

    experiment = "distributions"
    title = "Margins: distributions by layer"
    objective = ("validation_accuracy", "max")
    presets = {
        "quick": {
            "dataset": ["digits"],
            "limit": 600,
            "image_size": 0,
            "corruption": [0.0, 0.2, 0.5],
            "width": [8],
            "epochs": 60,
            "batch_size": 50,
            "runs": 1,
            "learning_rate": 3e-3,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "dataset": ["fashion_mnist"],
        "limit": 2000,
        "image_size": 14,
        "width": [8],
        "epochs": 60,
        "batch_size": 50,
        "runs": 3,
        "learning_rate": 1e-3,
    }
    presets["paper"] = {
        **presets["cpu"],
        "dataset": ["cifar10"],
        "limit": 0,
        "image_size": 0,
        "width": [32],
        "epochs": 200,
        "batch_size": 128,
    }

    def grid(self, hp, config):
        hp.Choice("corruption", config.corruption)
        hp.Choice("width", config.width)
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        hp.Fixed("corruption", config.corruption[0])

    def run(self, hp, config, logdir):
        config = tuned(config, hp)
        data, seed = self.data, hp.get("seed")
        images, labels = data.train[0], self.wrong_labels(hp, seed)
        with distribute.scope(config):
            model = network(data, hp.get("width"))
        history = train(model, images, labels, config, seed=seed, logdir=logdir)
        images, labels = images[:MEASURED], labels[:MEASURED]
        measured = layer_margins(model, images, labels)
        scores = model.predict_on_batch(images)
        outcome = {
            **evaluate(model, data, config),
            "fitted_accuracy": history["accuracy"][-1],
            "score_margins": score_margin(scores, labels),
        }
        for layer, margins in zip(measured.layers, measured.normalized.T, strict=True):
            outcome[f"median_{layer}"] = np.median(margins)
            outcome[f"margins_{layer}"] = margins
        return outcome

    def sections(self, results, config):
        found = results.select()
        layers = [
            column.removeprefix("median_")
            for column in found
            if column.startswith("median_")
        ]
        if not len(found):
            return [Section("Setting", self.settings(config))]
        return [
            Section("Setting", self.settings(config)),
            self._table(results, config, layers),
            self._finding(results, config, layers),
            self._histograms(results, config, layers),
        ]

    def _table(self, results, config, layers):
        rows = []
        for level in config.corruption:
            found = results.select(corruption=level)
            values = {
                "test accuracy, %": ("test_accuracy", 100, 2),
                "fitted, %": ("fitted_accuracy", 100, 2),
                **{f"median, {one}": (f"median_{one}", 1, 4) for one in layers},
            }
            rows.append(
                {
                    "wrong labels": f"{level:.0%}",
                    **{
                        label: format_mean(
                            found[name].to_numpy("float64"), scale, digits
                        )
                        for label, (name, scale, digits) in values.items()
                    },
                }
            )
        text = (
            "Medians of the margins of training samples to the labels trained on, at "
            "each layer, in units of the spread of its activations. `fitted` is the "
            "accuracy on those labels."
        )
        return Section("Margins by layer", text, pd.DataFrame(rows))

    def _finding(self, results, config, layers):
        rows = []
        for layer in layers:
            medians = [
                results.select(corruption=level)[f"median_{layer}"].mean()
                for level in sorted(config.corruption)
            ]
            falls = np.all(np.diff(medians) < 0)
            rows.append(
                {
                    "finding": f"fewer wrong labels, larger margins: {layer}",
                    "holds here": "yes" if falls else "no",
                    "medians": " > ".join(f"{median:.4f}" for median in medians),
                }
            )
        text = "Published: so at all layers (Jiang et al., 2019, CIFAR-10)."
        return Section("Findings", text, pd.DataFrame(rows))

    def _histograms(self, results, config, layers):
        figure, ax = new_figure("", "", "")
        ax.remove()
        figure.set_size_inches(6.4, 1.9 * len(layers))
        curves = {
            level: results.curves(found["run"].iloc[0])
            for level in sorted(config.corruption)
            if len(found := results.select(corruption=level))
        }
        for place, layer in enumerate(layers, start=1):
            ax = figure.add_subplot(len(layers), 1, place)
            every = np.concatenate([one[f"margins_{layer}"] for one in curves.values()])
            bins = np.linspace(*np.quantile(every, [0.005, 0.98]), BINS)
            for level, one in curves.items():
                ax.hist(
                    one[f"margins_{layer}"],
                    bins,
                    density=True,
                    histtype="step",
                    label=f"{level:.0%} wrong labels",
                )
            ax.axvline(0, color="black", linewidth=0.5)
            ax.set(title=layer, yticks=[])
            if place == 1:
                ax.legend()
        ax.set_xlabel("margin / spread of the activations")
        text = "One seed. To the right is a larger margin."
        return Section("Figure 7: margin distributions", text, None, figure, "figure7")
