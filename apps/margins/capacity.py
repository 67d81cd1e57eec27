"""Error against width, and how well networks fit labels that mean nothing."""

import numpy as np
import pandas as pd

from zoo.apps.margins.common import MarginStudy, train
from zoo.models import mlp
from zoo.study import (
    Section,
    distribute,
    evaluate,
    format_mean,
    new_figure,
    plot_band,
)
from zoo.study.tuning import tuned

WIDE = "width"
# What a network is to fit: Zhang et al.'s labels and images without meaning.
FITS = ("true labels", "random labels", "shuffled pixels", "random pixels")


class Capacity(MarginStudy):
    """Trains one hidden layer of growing width, and a wide one on random data."""

    experiment = "capacity"
    title = "Margins: capacity"
    objective = ("validation_accuracy", "max")
    presets = {
        "quick": {
            "dataset": ["digits"],
            "limit": 200,
            "image_size": 0,
            "corruption": [0.0, 0.2],
            "width": [2, 16, 512],
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
        "width": [1, 4, 16, 64, 256, 1024, 4096],
        "epochs": 60,
        "runs": 2,
        "learning_rate": 1e-3,
    }
    presets["paper"] = {
        **presets["cpu"],
        "dataset": ["cifar10"],
        "limit": 0,
        "image_size": 0,
        "width": [2**power for power in range(3, 17)],
        "epochs": 500,
        "batch_size": 128,
    }

    def grid(self, hp, config):
        hp.Choice("task", [WIDE, "fit"])
        with hp.conditional_scope("task", [WIDE]):
            hp.Choice("width", config.width)
            hp.Choice("corruption", config.corruption)
        with hp.conditional_scope("task", ["fit"]):
            hp.Choice("data", list(FITS))
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        hp.Fixed("task", WIDE)
        hp.Fixed("corruption", config.corruption[0])

    def run(self, hp, config, logdir):
        config = tuned(config, hp)
        data, seed = self.data, hp.get("seed")
        images, labels = data.train
        if hp.get("task") == WIDE:
            width = hp.get("width")
            labels = self.wrong_labels(hp, seed)
        else:
            width = max(config.width)
            images, labels = meaningless(hp.get("data"), images, labels, seed)
        with distribute.scope(config):
            model = mlp(
                data.input_shape, data.num_classes, units=(width,), normalization="none"
            )
        history = train(model, images, labels, config, seed=seed, logdir=logdir)
        return {
            **evaluate(model, data, config),
            "fitted_accuracy": history["accuracy"][-1],
            "parameters": model.count_params(),
            "epoch_accuracy": np.array(history["accuracy"]),
            "epoch_loss": np.array(history["loss"]),
            "epoch_curve": np.arange(1.0, len(history["loss"]) + 1),
        }

    def sections(self, results, config):
        parts = [Section("Setting", self.settings(config))]
        if len(results.select(task=WIDE)):
            parts += self._widths(results, config)
        if len(results.select(task="fit")):
            parts += self._fits(results)
        return parts

    def _widths(self, results, config):
        rows, sections = [], []
        for level in config.corruption:
            figure, ax = new_figure(
                f"Error against width, {level:.0%} wrong labels",
                "hidden units",
                "error, %",
                xscale="log",
            )
            errors = {"train": [], "test": []}
            for width in config.width:
                found = results.select(task=WIDE, width=width, corruption=level)
                train_error = 100 - 100 * found["fitted_accuracy"].to_numpy("float64")
                test_error = 100 - 100 * found["test_accuracy"].to_numpy("float64")
                errors["train"].append(train_error.mean() if len(found) else np.nan)
                errors["test"].append(test_error.mean() if len(found) else np.nan)
                rows.append(
                    {
                        "wrong labels": f"{level:.0%}",
                        "hidden units": width,
                        "training error, %": format_mean(train_error),
                        "test error, %": format_mean(test_error),
                    }
                )
            for part, values in errors.items():
                ax.plot(config.width, values, marker="o", label=part)
            ax.legend()
            name = f"width_{round(100 * level)}"
            title = f"Figures 1 and 2: error against width, {level:.0%} wrong labels"
            sections.append(Section(title, figure=figure, name=name))
        text = (
            "Training error is of the labels that were trained on, test error of right "
            "labels. Classic theory has test error rise once a network can fit its "
            "training set; the report's finding is that it goes on falling."
        )
        table = Section("Error against width", text, pd.DataFrame(rows))
        return [table, *sections, self._finding(results, config)]

    def _finding(self, results, config):
        rows = []
        for level in config.corruption:
            found = results.select(task=WIDE, corruption=level)
            means = found.groupby("width")[["fitted_accuracy", "test_accuracy"]].mean()
            fits = means[means["fitted_accuracy"] > 0.99]
            if not len(fits):
                text, gain = "no width fits its training labels", ""
            else:
                first = fits.iloc[0]["test_accuracy"]
                gain = 100 * (fits.iloc[-1]["test_accuracy"] - first)
                text = "yes" if gain > 0 else "no"
                first, last = (int(fits.index[at]) for at in (0, -1))
                gain = f"{gain:+.2f}, from {first} to {last} units"
            rows.append(
                {
                    "finding": "test error falls on beyond the width that fits 99 % of "
                    f"the labels, {level:.0%} of them wrong",
                    "holds here": text,
                    "accuracy gained, points": gain,
                }
            )
        return Section("Findings on width", table=pd.DataFrame(rows))

    def _fits(self, results):
        figure, ax = new_figure(
            "Figure 3: fitting data without meaning", "epochs", "training accuracy, %"
        )
        rows = []
        for name in FITS:
            found = results.select(task="fit", data=name)
            if not len(found):
                continue
            x, mean, spread = results.mean_curve(
                "epoch_curve", "epoch_accuracy", task="fit", data=name
            )
            plot_band(ax, x, 100 * mean, 100 * spread, name)
            rows.append(
                {
                    "training data": name,
                    "training accuracy, %": format_mean(
                        found["fitted_accuracy"].to_numpy("float64"), 100
                    ),
                }
            )
        ax.legend()
        text = (
            "The widest network, on right labels and on data without meaning. The "
            "capacity that fits all of them says nothing about generalisation."
        )
        return [
            Section("Fitting data without meaning", text, pd.DataFrame(rows)),
            Section("Figure 3", figure=figure, name="fit"),
        ]


def meaningless(kind, images, labels, seed):
    """Returns training data from which one thing was taken, as `FITS` names it."""
    generator = np.random.default_rng(seed)
    if kind == "random labels":
        return images, generator.permutation(labels)
    if kind == "shuffled pixels":
        flat = images.reshape(len(images), -1)
        return flat[:, generator.permutation(flat.shape[1])].reshape(
            images.shape
        ), labels
    if kind == "random pixels":
        noise = generator.normal(images.mean(), images.std(), images.shape)
        return noise.astype(images.dtype), labels
    return images, labels
