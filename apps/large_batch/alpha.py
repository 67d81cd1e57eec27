"""Figures 2 and 3: one function, with weights as sharp as one likes."""

import numpy as np
import pandas as pd

from zoo.apps.large_batch.minima import CPU, PAPER, QUICK, MinimaStudy, finished
from zoo.metrics import (
    adaptive_sharpness,
    epsilon_sharpness,
    plane,
    top_eigenvalues,
)
from zoo.models import rescale
from zoo.study import Section, evaluate, format_mean, new_figure, plot_band
from zoo.study.tuning import tuned

SETTINGS = {"epsilon": [1e-3], "alpha": [0.2, 0.5, 1.0, 2.0, 5.0, 10.0]}
# Multiples of both layers that the plane of Figure 2 shows.
MULTIPLES = np.linspace(0, 6, 19)
RHO = 0.5
# One batch is enough, and it is trained for `epochs`.
UNREAD = ("large_batch_size", "target_loss")
MEASURES = {
    "sharpness": "ε-sharpness",
    "eigenvalue": "largest eigenvalue",
    "adaptive": "adaptive sharpness",
    "filter_eigenvalue": "largest eigenvalue, filter",
}
INVARIANT = ("adaptive", "filter_eigenvalue")


class Alpha(MinimaStudy):
    """Trains one network and measures rescaled copies of the same function."""

    experiment = "alpha"
    title = "Large batches: one function, any sharpness"
    # Normalisation takes the scale of a layer out again.
    normalization = "none"
    batches = ("SB",)
    presets = {
        name: {key: preset[key] for key in preset if key not in UNREAD} | SETTINGS
        for name, preset in (
            ("quick", {**QUICK, "runs": 1}),
            ("cpu", CPU),
            ("paper", PAPER),
        )
    }

    def prepare(self, config):
        self.check_numbers(config, "alpha", 1e-6, 1e6)
        self.check_numbers(config, "epsilon", 1e-9, 1)
        if len(config.epsilon) > 1:
            raise ValueError(
                f"--epsilon={','.join(map(str, config.epsilon))} must be one number"
            )
        if 1.0 not in config.alpha:
            raise ValueError(
                f"--alpha={','.join(map(str, config.alpha))} must hold 1, which the "
                "others are compared to"
            )
        super().prepare(config)

    def grid(self, hp, config):
        hp.Choice("network", config.network)
        self.seeds(hp, config)

    def run(self, hp, config, logdir):
        config = tuned(config, hp)
        network, seed = hp.get("network"), hp.get("seed")
        model = self.train(network, "SB", config, seed, logdir, ("end",)).model
        images, _ = self.measured(network, config)
        logits = model.predict(images, verbose=0)
        pair = _first_pair(model)
        rows = []
        for alpha in config.alpha:
            scaled = rescale(model, alpha, [pair])
            surface = self.surface(scaled, network, config)
            rows.append(
                {
                    "alpha": alpha,
                    "difference": abs(scaled.predict(images, verbose=0) - logits).max(),
                    "first_norm": np.linalg.norm(scaled.get_layer(pair[0]).kernel),
                    "second_norm": np.linalg.norm(scaled.get_layer(pair[1]).kernel),
                    "loss": surface.value(),
                    **_measure(surface, config, seed),
                }
            )
        return {
            **evaluate(model, self.data[network], config),
            "largest_logit": float(abs(logits).max()),
            **{f"{name}_curve": [row[name] for row in rows] for name in rows[0]},
            "plane": _plane(model, pair, self.measured(network, config)),
        }

    def sections(self, results, config):
        sections = [Section("Setting", self.settings(config))]
        for network in finished(results, config.network):
            runs = results.select(network=network)["run"]
            curves = [results.curves(run) for run in runs]
            sections += [
                _table(network, curves, config),
                _figure2(network, curves),
                _figure3(network, curves, config),
            ]
        return sections


def _first_pair(model):
    first, second, *_ = (
        layer.name for layer in model.layers if hasattr(layer, "kernel")
    )
    return first, second


def _measure(surface, config, seed):
    (epsilon,) = config.epsilon
    return {
        "sharpness": epsilon_sharpness(surface, epsilon, seed=seed).value,
        "adaptive": adaptive_sharpness(surface, RHO, seed=seed).value,
        "eigenvalue": top_eigenvalues(surface, 1, seed=seed).values[0],
        "filter_eigenvalue": top_eigenvalues(
            surface, 1, normalization="filter", seed=seed
        ).values[0],
    }


def _plane(model, pair, part):
    """The loss where the first layer and the second kernel are multiplied."""
    layers = [model.get_layer(name) for name in pair]
    moved = [[layers[0].kernel, layers[0].bias], [layers[1].kernel]]
    directions = [
        [
            np.array(weight) if any(weight is one for one in some) else 0 * weight
            for weight in model.trainable_weights
        ]
        for some in moved
    ]
    steps = MULTIPLES - 1
    surface = plane(model, directions, {"training": part}, steps, normalization=None)
    return surface["training_loss"].ravel()


def _relative(curves, name, config):
    """A measure at each factor, in units of that at 1; `[runs, factors]`."""
    values = np.stack([one[f"{name}_curve"] for one in curves])
    return values / values[:, [config.alpha.index(1.0)]]


def _table(network, curves, config):
    relative = {name: _relative(curves, name, config) for name in MEASURES}
    rows = []
    for index, alpha in enumerate(config.alpha):
        differences = [one["difference_curve"][index] for one in curves]
        rows.append(
            {
                "alpha": f"{alpha:g}",
                "logits differ by, at most": f"{max(differences):.1e}",
                "loss f": format_mean(
                    [one["loss_curve"][index] for one in curves], digits=4
                ),
                **{
                    label: format_mean(
                        [one[f"{name}_curve"][index] for one in curves],
                        digits=_digits(curves, name),
                    )
                    for name, label in MEASURES.items()
                },
            }
        )
    moved = max(abs(relative[name] - 1).max() for name in INVARIANT)
    span = {
        name: (relative[name].max(axis=1) / relative[name].min(axis=1)).min()
        for name in ("sharpness", "eigenvalue")
    }
    text = (
        "`(W_1, b_1, W_2) -> (alpha W_1, alpha b_1, W_2 / alpha)` of the first two "
        "layers, in a network without normalisation. In each of "
        f"{len(curves)} runs these factors move the ε-sharpness "
        f"{span['sharpness']:.3g}-fold at least and the largest eigenvalue "
        f"{span['eigenvalue']:.3g}-fold, of one and the same function; the measures in "
        "units of the weights, adaptive sharpness and the eigenvalue in coordinates of "
        f"filters, move by {100 * moved:.2g} % at most."
    )
    title = f"One function, other sharpness: {network}"
    return Section(title, text, pd.DataFrame(rows))


def _digits(curves, name):
    return 3 if np.mean([one[f"{name}_curve"] for one in curves]) < 10 else 1


def _figure2(network, curves):
    title = f"Figure 2: the loss over both layers' scales: {network}"
    figure, ax = new_figure(
        title,
        "multiple of the first layer",
        "multiple of the second layer",
        aspect="equal",
    )
    side = len(MULTIPLES)
    mean = np.mean([one["plane"] for one in curves], axis=0).reshape(side, side)
    mean = np.maximum(mean, 1e-6)
    levels = np.geomspace(mean.min(), mean.max(), 17)
    drawn = ax.contourf(MULTIPLES, MULTIPLES, mean.T, levels, norm="log")
    figure.colorbar(drawn, ax=ax, label="training loss, nats", format="%.1e")
    line = np.geomspace(0.01, MULTIPLES[-1], 200)
    for product in (0.3, 1.0, 3.0, 10.0):
        ax.plot(line, product / line, color="white", linewidth=0.8)
    factors = curves[0]["alpha_curve"]
    factors = factors[(factors < MULTIPLES[-1]) & (1 / factors < MULTIPLES[-1])]
    ax.plot(factors, 1 / factors, "wo", markersize=4)
    for factor in factors:
        ax.annotate(
            f"alpha = {factor:g}",
            (factor, 1 / factor),
            (4, 4),
            textcoords="offset points",
            color="white",
            fontsize=7,
        )
    ax.set(xlim=MULTIPLES[[0, -1]], ylim=MULTIPLES[[0, -1]])
    text = (
        "Along each line the product of both scales, and with it every output, "
        "is the same up to the second layer's bias; along that with the dots the "
        "network is the one that was trained. Near an axis a small step changes the "
        "product much: there the minimum is sharp."
    )
    return Section(title, text, figure=figure, name=f"figure2_{network}")


def _figure3(network, curves, config):
    title = f"Figure 3: measures of one function: {network}"
    figure, ax = new_figure(
        title,
        "alpha, factor of the first layer",
        "measure, to that at alpha = 1",
        xscale="log",
        yscale="log",
    )
    order = np.argsort(config.alpha)
    for name, label in MEASURES.items():
        relative = _relative(curves, name, config)[:, order]
        plot_band(
            ax,
            np.array(config.alpha)[order],
            relative.mean(axis=0),
            relative.std(axis=0),
            label,
            linestyle="--" if name in INVARIANT else "-",
            marker="o",
            markersize=3,
        )
    ax.legend()
    return Section(title, figure=figure, name=f"figure3_{network}")
