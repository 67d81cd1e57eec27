"""Tables 1 to 4: accuracy and sharpness of the minima of small and large batches."""

import numpy as np
import pandas as pd

from zoo.apps.large_batch.minima import (
    BATCHES,
    CPU,
    DATA,
    PAPER,
    QUICK,
    MinimaStudy,
    compare,
    finished,
    numbers,
    of_both,
)
from zoo.metrics import (
    adaptive_sharpness,
    epsilon_sharpness,
    hessian_trace,
    top_eigenvalues,
)
from zoo.study import Section, format_mean, new_figure
from zoo.study.tuning import tuned

# Radii of the adaptive measures, at which the loss has risen but not levelled off.
RHO = {"element": 0.5, "filter": 0.1, "linf": 0.05}
SETTINGS = {"epsilon": [1e-3, 5e-4], "dimension": 100}
KINDS = {
    "F1": "fully connected",
    "F2": "fully connected",
    "C1": "(shallow) convolutional",
    "C2": "(deep) convolutional",
    "C3": "(shallow) convolutional",
    "C4": "(deep) convolutional",
}


class Sharpness(MinimaStudy):
    """Trains with both batches and measures how sharp the minima are."""

    experiment = "sharpness"
    title = "Large batches: the sharpness of minima"
    presets = {
        "quick": {**QUICK, **SETTINGS},
        "cpu": {**CPU, **SETTINGS},
        "paper": {**PAPER, **SETTINGS},
    }
    # Tables 2, 3 and 4 of the report, of Keskar et al.: mean and deviation of 5 runs.
    published = {
        "training": {
            "F1": ("99.66 ± 0.05", "99.92 ± 0.01"),
            "F2": ("99.99 ± 0.03", "98.35 ± 2.08"),
            "C1": ("99.89 ± 0.02", "99.66 ± 0.2"),
            "C2": ("99.99 ± 0.04", "99.99 ± 0.01"),
            "C3": ("99.56 ± 0.44", "99.88 ± 0.3"),
            "C4": ("99.10 ± 1.23", "99.57 ± 1.84"),
        },
        "test": {
            "F1": ("98.03 ± 0.07", "97.81 ± 0.07"),
            "F2": ("64.02 ± 0.2", "59.45 ± 1.05"),
            "C1": ("80.04 ± 0.12", "77.26 ± 0.42"),
            "C2": ("89.24 ± 0.12", "87.26 ± 0.07"),
            "C3": ("49.58 ± 0.39", "46.45 ± 0.43"),
            "C4": ("63.08 ± 0.5", "57.81 ± 0.17"),
        },
        ("full", 1e-3): {
            "F1": ("1.23 ± 0.83", "205.14 ± 69.52"),
            "F2": ("1.39 ± 0.02", "310.64 ± 38.46"),
            "C1": ("28.58 ± 3.13", "707.23 ± 43.04"),
            "C2": ("8.68 ± 1.32", "925.32 ± 38.29"),
            "C3": ("29.85 ± 5.98", "258.75 ± 8.96"),
            "C4": ("12.83 ± 3.84", "421.84 ± 36.97"),
        },
        ("full", 5e-4): {
            "F1": ("0.61 ± 0.27", "42.90 ± 17.14"),
            "F2": ("0.90 ± 0.05", "93.15 ± 6.81"),
            "C1": ("7.08 ± 0.88", "227.31 ± 23.23"),
            "C2": ("2.07 ± 0.86", "175.31 ± 18.28"),
            "C3": ("8.56 ± 0.99", "105.11 ± 13.22"),
            "C4": ("4.07 ± 0.87", "109.35 ± 16.57"),
        },
        ("subspace", 1e-3): {
            "F1": ("0.11 ± 0.00", "9.22 ± 0.56"),
            "F2": ("0.29 ± 0.02", "23.63 ± 0.54"),
            "C1": ("2.18 ± 0.23", "137.25 ± 21.60"),
            "C2": ("0.95 ± 0.34", "25.09 ± 2.61"),
            "C3": ("17.02 ± 2.20", "236.03 ± 31.26"),
            "C4": ("6.05 ± 1.13", "72.99 ± 10.96"),
        },
        ("subspace", 5e-4): {
            "F1": ("0.05 ± 0.00", "9.17 ± 0.14"),
            "F2": ("0.05 ± 0.00", "6.28 ± 0.19"),
            "C1": ("0.71 ± 0.15", "29.50 ± 7.48"),
            "C2": ("0.31 ± 0.08", "5.82 ± 0.52"),
            "C3": ("4.03 ± 1.45", "86.96 ± 27.39"),
            "C4": ("1.89 ± 0.33", "19.85 ± 4.12"),
        },
    }

    def prepare(self, config):
        self.check_numbers(config, "epsilon", 1e-9, 1)
        super().prepare(config)
        for network in config.network:
            weights = self.build(network).trainable_weights
            count = sum(int(np.prod(weight.shape)) for weight in weights)
            if config.dimension > count:
                raise ValueError(
                    f"--dimension={config.dimension} must be at most the {count} "
                    f"weights of --network={network}"
                )

    def grid(self, hp, config):
        hp.Choice("network", config.network)
        hp.Choice("batch", list(BATCHES))
        self.seeds(hp, config)

    def space(self, hp, config):
        super().space(hp, config)
        hp.Choice("batch", list(BATCHES))

    def run(self, hp, config, logdir):
        config = tuned(config, hp)
        network, seed = hp.get("network"), hp.get("seed")
        minimum = self.train(network, hp.get("batch"), config, seed, logdir)
        model = minimum.model
        outcome = {
            **self.ends(minimum, network, config),
            "training_loss_curve": minimum.loss_curve,
        }
        surface = self.surface(model, network, config)
        outcome |= {"loss": surface.value(), **_boxes(surface, config, seed, "")}
        if minimum.level is not None:
            model.set_weights(minimum.level)
            surface = self.surface(model, network, config)
            outcome |= {
                "level_loss": surface.value(),
                **_boxes(surface, config, seed, "level_"),
                **_invariants(surface, seed),
            }
        return outcome

    def sections(self, results, config):
        networks = finished(results, config.network)
        sections = [Section("Setting", self.settings(config)), self._networks(networks)]
        sections += [
            self._accuracies(results, networks),
            *self._sharpness(results, networks, config),
        ]
        for network in networks:
            sections += self._at_equal_loss(results, network, config)
        return sections

    def _networks(self, networks):
        rows = [
            {
                "network": name,
                "type": KINDS.get(name, "fully connected"),
                "data, published": DATA.get(name, "-"),
                "data, here": self.data[name].name,
            }
            for name in networks
        ]
        return Section("Table 1: networks", table=pd.DataFrame(rows))

    def _accuracies(self, results, networks):
        rows = []
        for network in networks:
            for number, batch in enumerate(BATCHES):
                row = {"network": network, "batch": batch}
                for part, name in (("training", "train"), ("test", "test")):
                    found = numbers(
                        results, f"{name}_accuracy", network=network, batch=batch
                    )
                    row[f"{part} %"] = format_mean(found, 100)
                    row[f"{part} %, published"] = self._published(part, network, number)
                rows.append(row)
        text = "Accuracy after equal epochs, in percent, mean ± deviation over seeds."
        return Section("Table 2: accuracy", text, pd.DataFrame(rows))

    def _sharpness(self, results, networks, config):
        sections = []
        titles = {
            "full": "Table 3: sharpness in the full space",
            "subspace": f"Table 4: sharpness in subspaces of {config.dimension}",
        }
        texts = {
            "full": "Mean ± deviation over seeds; `100 (max f - f) / (1 + f)` over the "
            "box, by ten iterations of L-BFGS inside it from each of two starts. "
            "Values compare at equal loss `f` alone, which stands beside.",
            "subspace": "As above. The columns of the random `A` are not normalised: "
            "their entries have variance 1. The paper does not say, and values depend "
            "on it.",
        }
        for space, title in titles.items():
            rows = []
            for network in networks:
                for number, batch in enumerate(BATCHES):
                    point = {"network": network, "batch": batch}
                    row = {
                        **point,
                        "loss f": format_mean(
                            numbers(results, "loss", **point), digits=4
                        ),
                    }
                    for epsilon in config.epsilon:
                        name = _box_name(space, epsilon)
                        row[f"ε = {epsilon:g}"] = format_mean(
                            numbers(results, name, **point)
                        )
                        row[f"ε = {epsilon:g}, published"] = self._published(
                            (space, epsilon), network, number
                        )
                    rows.append(row)
            sections.append(Section(title, texts[space], pd.DataFrame(rows)))
        return sections

    def _published(self, table, network, number):
        return self.published.get(table, {}).get(network, ("not given",) * 2)[number]

    def _at_equal_loss(self, results, network, config):
        measures = _measures(config)
        rows, verdicts = [], {}
        for name, label in {"level_loss": "loss f", **measures}.items():
            small, large = of_both(results, name, network)
            row = {"measure": label, "SB": _say(small), "LB": _say(large)}
            if len(small) and len(large):
                row["LB to SB"] = f"{np.mean(large) / np.mean(small):.2f}"
            if name in measures:
                words = {"larger": "sharper", "smaller": "flatter", "as large": "alike"}
                verdicts[label] = words.get(compare(small, large))
                row["LB is"] = verdicts[label] or "-"
            rows.append(row)
        table = pd.DataFrame(rows).fillna("")
        sections = [
            Section(
                f"At equal training loss: {network}",
                self._words(results, network, config, verdicts),
                table,
            )
        ]
        if any(verdicts.values()):
            sections.append(self._figure(results, network, measures))
        return sections

    def _words(self, results, network, config, verdicts):
        runs = {
            batch: len(results.select(network=network, batch=batch))
            for batch in BATCHES
        }
        reached = {
            batch: len(numbers(results, "level_loss", network=network, batch=batch))
            for batch in BATCHES
        }
        if not all(reached.values()):
            return (
                f"The training loss came down to {config.target_loss:g} in "
                f"{reached['SB']} of {runs['SB']} runs of small and {reached['LB']} of "
                f"{runs['LB']} of large batches: there is no equal loss to compare at."
            )
        if min(reached.values()) < 2:
            return "One run has no spread to judge a difference by: see --runs."
        named = {
            word: [label for label, verdict in verdicts.items() if verdict == word]
            for word in ("sharper", "flatter", "alike")
        }
        losses = [one.mean() for one in of_both(results, "level_loss", network)]
        sentences = [
            f"At the first epoch whose training loss is at most {config.target_loss:g} "
            f"({reached['SB']} and {reached['LB']} runs; on the measured images it is "
            f"{losses[1] / losses[0]:.2f} times as high with large batches), their "
            f"minima are sharper by {len(named['sharper'])} of {len(verdicts)} measures"
            + (f" ({'; '.join(named['sharper'])})" if named["sharper"] else "")
            + f", flatter by {len(named['flatter'])}"
            + (f" ({'; '.join(named['flatter'])})" if named["flatter"] else "")
            + f", and within the spread of the seeds by {len(named['alike'])}."
        ]
        small, large = (
            100 * one for one in of_both(results, "level_test_accuracy", network)
        )
        words = {"larger": "higher", "smaller": "lower", "as large": "no different"}
        sentences.append(
            f"Their test accuracy there is {words[compare(small, large)]}: "
            f"{format_mean(large)} against {format_mean(small)} %."
        )
        return " ".join(sentences) + (
            " A difference counts where it is larger than both deviations together."
        )

    def _figure(self, results, network, measures):
        title = f"LB against SB at equal training loss: {network}"
        figure, ax = new_figure(title, "sharpness, LB to mean SB", "", xscale="log")
        labels = []
        for name, label in measures.items():
            small, large = of_both(results, name, network)
            if not len(small) or not len(large) or small.mean() <= 0:
                continue
            for values, color, offset in ((small, "C0", 0.1), (large, "C1", -0.1)):
                where = np.full(len(values), len(labels) + offset)
                batch = "SB" if color == "C0" else "LB"
                ax.scatter(
                    np.maximum(values / small.mean(), 1e-3),
                    where,
                    s=18,
                    color=color,
                    label=batch if not labels else None,
                )
            labels.append(label)
        ax.axvline(1, color="black", linewidth=0.8)
        ax.set_yticks(range(len(labels)), labels)
        ax.invert_yaxis()
        ax.legend()
        return Section(title, figure=figure, name=f"equal_loss_{network}")


def _box_name(space, epsilon):
    return f"{space}_{epsilon:g}"


def _boxes(surface, config, seed, prefix):
    """Keskar's sharpness in each box."""
    return {
        prefix + _box_name(space, epsilon): epsilon_sharpness(
            surface, epsilon, dimension, seed=seed
        ).value
        for space, dimension in (("full", None), ("subspace", config.dimension))
        for epsilon in config.epsilon
    }


def _invariants(surface, seed):
    """What rescaling leaves alone, and the Hessian, which it does not."""
    outcome = {
        f"adaptive_{kind}": adaptive_sharpness(
            surface, RHO[kind], normalization=kind, seed=seed
        ).value
        for kind in ("element", "filter")
    }
    outcome["adaptive_linf"] = adaptive_sharpness(
        surface, RHO["linf"], "linf", seed=seed
    ).value
    for name, kind in (("", None), ("_filter", "filter")):
        top = top_eigenvalues(surface, 1, normalization=kind, iterations=40, seed=seed)
        outcome[f"eigenvalue{name}"] = top.values[0]
    outcome["trace"], _ = hessian_trace(surface, probes=20, seed=seed)
    return outcome


def _measures(config):
    """Names of the scalars at equal loss to what they are called."""
    boxes = {
        f"level_{_box_name(space, epsilon)}": f"ε-sharpness, {label}, {epsilon:g}"
        for space, label in (("full", "full"), ("subspace", "subspace"))
        for epsilon in config.epsilon
    }
    return {
        **boxes,
        "adaptive_element": f"adaptive, element, {RHO['element']:g}",
        "adaptive_filter": f"adaptive, filter, {RHO['filter']:g}",
        "adaptive_linf": f"adaptive, l∞, {RHO['linf']:g}",
        "eigenvalue": "largest eigenvalue",
        "eigenvalue_filter": "largest eigenvalue, filter",
        "trace": "trace of the Hessian",
    }


def _say(values):
    return format_mean(values, digits=4 if len(values) and np.mean(values) < 1 else 2)
