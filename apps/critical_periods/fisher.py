"""Information plasticity: the trace of the Fisher information along training."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from zoo.apps.critical_periods.common import CLASS, CriticalPeriodsStudy
from zoo.apps.critical_periods.numbers import BASELINE, NAMES, labels
from zoo.apps.critical_periods.presets import CPU, PAPER, QUICK
from zoo.metrics import FisherTraceCallback
from zoo.study import Section, format_mean, new_figure, plot_band


class Fisher(CriticalPeriodsStudy):
    """Measures the trace while a network is trained with a deficit, and without."""

    experiment = "fisher"
    title = "Critical periods: the Fisher information"
    presets = {
        "quick": {
            **QUICK,
            "model": ["small_cnn"],
            "deficit_epochs": [10],
            "fisher_images": 64,
            "fisher_every": 5,
            "runs": 1,
        },
        "cpu": {
            **CPU,
            "model": ["small_cnn"],
            "limit": 2048,
            "deficit_epochs": [40],
            "fisher_images": 300,
            "fisher_every": 4,
            "runs": 3,
        },
        "paper": {
            **PAPER,
            "model": ["cnn"],
            "deficit_epochs": [40, 100],
            "fisher_images": 300,
            "fisher_every": 4,
        },
    }

    def prepare(self, config):
        super().prepare(config)
        for name, data in self.data.items():
            labels = data.train[1]
            # The smallest phase may lack a class.
            count = np.sum(labels != config.withheld)
            if CLASS not in config.deficit:
                count = len(labels)
            if config.fisher_images > count:
                raise ValueError(
                    f"--fisher_images={config.fisher_images} must be at most the "
                    f"{count} training images of {name}"
                )
        if config.strategy != "none":
            raise ValueError(
                f"--strategy={config.strategy} must be none for --experiment=fisher, "
                "which measures on one device"
            )
        self.callbacks = {}

    def grid(self, hp, config):
        hp.Choice("dataset", config.dataset)
        hp.Choice("model", config.model)
        hp.Choice("arm", self.arms(config))
        hp.Choice("n", self.lengths(config))
        self.seeds(hp, config)

    def points(self, config):
        points = super().points(config)
        return [point for point in points if point["arm"] != BASELINE]

    def phases(self, data, config):
        phases = super().phases(data, config)
        last = max(len(path) for path in self.paths(config))
        epochs = {1, 2, *range(config.fisher_every, last + 1, config.fisher_every)}
        epochs |= {*self.lengths(config), *map(len, self.paths(config))}
        for name, phase in phases.items():
            key = (data.name, name)
            if key not in self.callbacks:
                self.callbacks[key] = FisherTraceCallback(
                    self._images(phase, config), epochs
                )
            phase["callbacks"] = [*phase.get("callbacks", []), self.callbacks[key]]
        return phases

    def run(self, hp, config, logdir):
        outcome = super().run(hp, config, logdir)
        trace = outcome["fisher_curve"]
        trace = trace[~np.isnan(trace)]
        return {**outcome, "fisher": trace[-1], "highest_fisher": trace.max()}

    def _images(self, phase, config):
        """The images of a phase, as a network in it sees them."""
        images = phase["images"][: config.fisher_images]
        labels = phase["labels"][: config.fisher_images]
        if "map_fn" in phase:
            images, _ = phase["map_fn"](images, labels, (config.seed, 0))
        return np.asarray(images)

    def sections(self, results, point, config):
        title, name = labels(point)
        rows = []
        figure, ax = new_figure(
            f"{title}: trace of the Fisher information", "epoch", "trace", yscale="log"
        )
        for arm in self.arms(config):
            for n in self.lengths(config):
                runs = results.select(**point, arm=arm, n=n)
                if not len(runs):
                    continue
                label = f"{NAMES[arm]}, n = {n}"
                rows.append(
                    {
                        "training": NAMES[arm],
                        "n": n,
                        "highest trace": format_mean(runs["highest_fisher"], digits=1),
                        "last trace": format_mean(runs["fisher"], digits=1),
                        "test %": format_mean(runs["test_accuracy"], 100),
                    }
                )
                stack = np.stack(
                    [results.curves(run)["fisher_curve"] for run in runs["run"]]
                )
                measured = ~np.isnan(stack[0])
                plot_band(
                    ax,
                    1 + np.flatnonzero(measured),
                    stack[:, measured].mean(axis=0),
                    stack[:, measured].std(axis=0),
                    label,
                )
        for n in self.lengths(config):
            ax.axvline(n, color="gray", linestyle=":")
        ax.legend()
        text = (
            f"Of {config.fisher_images} images as the phase shows them, exact over "
            "labels, in inference mode. The dotted line is where the deficit ends. "
            "Achille et al. see it rise, then fall, and stay high with a deficit."
        )
        sections = [Section(title, text, pd.DataFrame(rows), figure, f"fisher_{name}")]
        layers = self._layers(results, point, config, title)
        if layers:
            sections.append(
                Section(
                    f"{title}: by layer",
                    "The same, a line a layer, of the first seed.",
                    figure=layers,
                    name=f"fisher_layers_{name}",
                )
            )
        return sections

    def _layers(self, results, point, config, title):
        arms = self.arms(config)
        figure = Figure(figsize=(9.6, 4.0), dpi=120, layout="constrained")
        axes = figure.subplots(1, len(arms), sharey=True, squeeze=False)[0]
        n = self.lengths(config)[-1]
        for ax, arm in zip(axes, arms, strict=True):
            runs = results.select(**point, arm=arm, n=n)
            if not len(runs):
                return None
            layers = _by_layer(results.curves(runs["run"].iloc[0]))
            colors = colormaps["viridis"](np.linspace(0, 0.95, len(layers)))
            for (name, values), color in zip(layers.items(), colors, strict=True):
                measured = np.flatnonzero(~np.isnan(values))
                ax.plot(1 + measured, values[measured], label=name, color=color)
            ax.set(title=f"{NAMES[arm]}, n = {n}", xlabel="epoch", yscale="log")
            ax.axvline(n, color="gray", linestyle=":")
            ax.grid(alpha=0.3)
        axes[0].set_ylabel("trace")
        axes[-1].legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
        figure.suptitle(title)
        return figure


def _by_layer(curves):
    """The curves by layer, normalisation with the layer that it follows."""
    layers = {}
    for name, values in curves.items():
        if name.startswith("fisher/"):
            layer = name.removeprefix("fisher/").removesuffix("_curve")
            layer = layer.removesuffix("_norm")
            layers[layer] = layers.get(layer, 0) + values
    return layers
