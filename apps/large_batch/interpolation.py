"""Figure 1: the loss on the line between both minima, and on planes around each."""

import numpy as np
import pandas as pd

from zoo.apps.large_batch.minima import (
    BATCHES,
    CPU,
    PAPER,
    QUICK,
    MinimaStudy,
    compare,
    finished,
)
from zoo.metrics import interpolate, loss_and_accuracy, plane, random_directions
from zoo.study import Section, format_mean, new_figure, plot_band
from zoo.study.tuning import tuned

# Steps along each direction of a plane, to one filter's norm on either side.
STEPS = np.linspace(-1, 1, 9)
# How far from a minimum, in units of the distance of both, its walls are compared.
DISTANCES = (0.125, 0.25, 0.5)


class Interpolation(MinimaStudy):
    """Trains with both batches from one start and looks at the loss between them."""

    experiment = "interpolation"
    title = "Large batches: the loss between minima"
    objective = ("SB_validation_accuracy", "max")
    presets = {"quick": {**QUICK, "runs": 1}, "cpu": CPU, "paper": PAPER}

    def grid(self, hp, config):
        hp.Choice("network", config.network)
        self.seeds(hp, config)

    def run(self, hp, config, logdir):
        config = tuned(config, hp)
        network, seed = hp.get("network"), hp.get("seed")
        minima = {
            batch: self.train_to_level(
                network, batch, config, seed, f"{logdir}/{batch}"
            )
            for batch in BATCHES
        }
        _, validated = loss_and_accuracy(
            minima["SB"].model, *self.data[network].validation
        )
        images, labels = self.measured(network, config)
        parts = {"training": (images, labels), "test": self.data[network].test}
        weights = [minimum.level for minimum in minima.values()]
        curves = interpolate(minima["SB"].model, *weights, parts, statistics=images)
        outcome = {
            "SB_validation_accuracy": validated,
            "distance": _distance(minima["SB"].model, *weights),
            **{
                f"{batch}_test_accuracy": float(
                    curves["test_accuracy"][np.argmin(abs(curves["alpha"] - place))]
                )
                for place, batch in enumerate(BATCHES)
            },
        }
        for batch, minimum in minima.items():
            surface = plane(
                minimum.model,
                random_directions(minimum.model, seed),
                {"training": (images, labels)},
                STEPS,
                statistics=images,
            )
            curves[f"{batch}_plane"] = surface["training_loss"].ravel()
        return {**outcome, **curves}

    def sections(self, results, config):
        sections = [Section("Setting", self.settings(config))]
        for network in finished(results, config.network):
            runs = results.select(network=network)["run"]
            curves = [results.curves(run) for run in runs]
            sections += [
                _line(results, network),
                _walls(network, curves),
                _planes(network, curves),
            ]
        return sections


def _distance(model, first, second):
    """Of the trainable weights."""
    squares = [
        np.sum(np.square(a - b))
        for weight, a, b in zip(model.weights, first, second, strict=True)
        if weight.trainable
    ]
    return float(np.sqrt(np.sum(squares)))


def _line(results, network):
    title = f"Figure 1: the line between both minima: {network}"
    figure, ax = new_figure(
        title, "SB at 0, LB at 1", "loss, nats (solid)", yscale="log"
    )
    right = ax.twinx()
    right.set_ylabel("accuracy, % (dashed)")
    for number, part in enumerate(("training", "test")):
        color = f"C{number}"
        x, mean, spread = results.mean_curve("alpha", f"{part}_loss", network=network)
        plot_band(ax, x, mean, spread, part, color=color)
        x, mean, spread = results.mean_curve(
            "alpha", f"{part}_accuracy", network=network
        )
        plot_band(right, x, 100 * mean, 100 * spread, None, color=color, linestyle="--")
    for place in (0, 1):
        ax.axvline(place, color="black", linewidth=0.6, linestyle=":")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    text = (
        "Weights `(1 - alpha) SB + alpha LB` of two trainings from one start, each "
        "where its training loss first was low enough, mean and deviation over seeds; "
        "statistics of batch normalisation are measured anew at each point."
    )
    return Section(title, text, figure=figure, name=f"figure1_{network}")


def _walls(network, curves):
    """How high the training loss stands at the same distances from both minima."""
    alpha = curves[0]["alpha"]
    losses = np.stack([one["training_loss"] for one in curves])

    def at(place):
        return losses[:, np.argmin(abs(alpha - place))]

    rows, words = [], []
    sides = {"away from the other": -1, "towards the other": 1}
    for side, sign in sides.items():
        for distance in DISTANCES:
            small = at(sign * distance) - at(0)
            large = at(1 - sign * distance) - at(1)
            verdict = compare(small, large)
            words.append(verdict)
            rows.append(
                {
                    "side": side,
                    "distance": distance,
                    "rise from SB": format_mean(small, digits=3),
                    "rise from LB": format_mean(large, digits=3),
                    "LB rises": {"larger": "more", "smaller": "less"}.get(
                        verdict, "as much"
                    ),
                }
            )
    text = (
        "The rise of the training loss, in nats, at the same distance from each "
        "minimum, in units of their own. Keskar et al. saw a narrower valley at LB: "
        f"here it rises more from LB in {words.count('larger')} of {len(words)} "
        f"places, less in {words.count('smaller')}, by more than both deviations "
        "together."
    )
    title = f"Which minimum is narrower on the line: {network}"
    return Section(title, text, pd.DataFrame(rows))


def _planes(network, curves):
    from matplotlib.figure import Figure

    title = f"Planes of filter-normalised directions: {network}"
    figure = Figure(figsize=(8.0, 3.8), dpi=120, layout="constrained")
    side = len(STEPS)
    means = [
        np.mean([one[f"{batch}_plane"] for one in curves], axis=0).reshape(side, side)
        for batch in BATCHES
    ]
    low, high = np.min(means), np.max(means)
    levels = np.geomspace(max(low, 1e-6), high, 15)
    axes = figure.subplots(1, 2, sharey=True)
    for ax, batch, mean in zip(axes, BATCHES, means, strict=True):
        drawn = ax.contourf(
            STEPS, STEPS, np.maximum(mean.T, levels[0]), levels, norm="log"
        )
        ax.plot(0, 0, "w+")
        ax.set(title=batch, xlabel="first direction", aspect="equal")
    axes[0].set_ylabel("second direction")
    figure.colorbar(drawn, ax=axes, label="training loss, nats", format="%.2g")
    figure.suptitle(title)
    text = (
        "The training loss around each minimum, mean over seeds; at 1 each filter has "
        "moved by its own norm."
    )
    return Section(title, text, figure=figure, name=f"planes_{network}")
