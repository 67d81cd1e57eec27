"""Figures 1 to 6: what a deficit of the first epochs leaves behind in the end."""

import re

import numpy as np
import pandas as pd
from scipy import stats

from zoo.apps.critical_periods.common import CLASS, CriticalPeriodsStudy
from zoo.apps.critical_periods.numbers import (
    BASELINE,
    CONTROL,
    NAMES,
    by_seed,
    curves_figure,
    direction,
    labels,
    paired,
    standard_error,
    with_error,
)
from zoo.apps.critical_periods.presets import (
    CPU,
    PAPER,
    PLASTICITY,
    QUICK,
    QUICK_PLASTICITY,
)
from zoo.study import Section, format_mean

RESAMPLES = 2000
# Below it, intervals of resampled seeds are too narrow.
FEWEST_SEEDS = 5
# Training accuracy, %, from which a network counts as trained to the end.
CONVERGED = 99
# What the report finds, of accuracy in points at its largest n, and where.
PUBLISHED = {
    ("blur", "fc"): "none on MNIST (Figure 1), a gain on CIFAR-10 (Figure 3)",
    ("blur", "cnn"): "-3 to -6 on CIFAR-10 (Figure 4; Achille et al.: -13, at a fixed "
    "rate -3), none on MNIST (Figure 1)",
    ("blur", "resnet"): "-3 to -6 on CIFAR-10 (Figure 5), none on MNIST (Figure 1)",
    ("blur", "alexnet"): "-7 on CIFAR-10 (Figure 6)",
    ("class", "alexnet"): "-7 to -9 on CIFAR-10 (Figure 6)",
}


class DeficitStudy(CriticalPeriodsStudy):
    """Trains n epochs with a deficit, then the same number of clean epochs."""

    def sections(self, results, point, config):
        arms = _Arms(self, results, point, config)
        return [
            Section(f"{arms.title}: findings", _findings(arms, config)),
            Section(
                f"{arms.title}: accuracy against n",
                "Bars are the deviation over seeds. The whole scale shows how large "
                "the effect is.",
                _table(arms),
                curves_figure(
                    f"{arms.title}: deficit in the first n epochs",
                    "n, epochs with the deficit",
                    arms.curves("test_accuracy"),
                ),
                f"{self.experiment}_{arms.name}",
            ),
        ]


class BlurDeficit(DeficitStudy):
    """Figures 1, 3, 4 and 5: blurred images at first."""

    experiment = "blur"
    title = "Critical periods: blurred images at first"
    presets = {
        "quick": {
            **QUICK,
            "model": ["small_fc", "small_cnn"],
            "deficit_epochs": [0, 10],
        },
        "cpu": {
            **CPU,
            "model": ["small_fc", "small_cnn"],
            "deficit_epochs": [0, 20, 40],
        },
        "paper": {
            **PAPER,
            "dataset": ["mnist", "cifar10"],
            "model": ["fc", "cnn", "resnet18"],
            "deficit_epochs": list(range(0, 160, 20)),
        },
    }


class Plasticity(DeficitStudy):
    """Figure 6, right: a class that comes late."""

    experiment = "plasticity"
    title = "Plasticity: a class that comes late"
    presets = {
        "quick": {
            **QUICK,
            **QUICK_PLASTICITY,
            "model": ["small_alexnet"],
            "deficit_epochs": [0, 8],
        },
        "cpu": {
            **CPU,
            **PLASTICITY,
            "model": ["small_alexnet"],
            "epochs": 30,
            "deficit_epochs": [0, 20, 40],
            "runs": 3,
        },
        "paper": {
            **PAPER,
            **PLASTICITY,
            "model": ["alexnet"],
            "epochs": 100,
            "deficit_epochs": list(range(0, 120, 20)),
            "runs": 3,
        },
    }

    def sections(self, results, point, config):
        arms = _Arms(self, results, point, config)
        withheld = Section(
            f"{arms.title}: class {config.withheld} and the others",
            f"The accuracy on test images of class {config.withheld}, which was not "
            "seen in the first n epochs, and on those of all other classes.",
            _table(arms, ("withheld", "others")),
            curves_figure(
                f"{arms.title}: class {config.withheld} withheld for n epochs",
                "n, epochs without the class",
                {
                    f"{label}: {part}": curve
                    for part, name in (
                        (f"class {config.withheld}", "withheld_accuracy"),
                        ("others", "others_accuracy"),
                    )
                    for label, curve in arms.curves(name).items()
                },
            ),
            f"{self.experiment}_{arms.name}_withheld",
        )
        return [*super().sections(results, point, config), withheld]


class Compare(DeficitStudy):
    """Figure 6: both deficits of one AlexNet, and whether their curves go together."""

    experiment = "compare"
    title = "Critical periods and plasticity of one network"
    presets = {
        "quick": {
            **QUICK,
            **QUICK_PLASTICITY,
            "deficit": ["blur", "class"],
            "model": ["small_alexnet"],
            "deficit_epochs": [0, 4, 8],
            "runs": 1,
        },
        "cpu": {
            **Plasticity.presets["cpu"],
            "deficit": ["blur", "class"],
            "limit": 2560,
            "deficit_epochs": [0, 10, 20, 30],
            "runs": 5,
        },
        "paper": {
            **Plasticity.presets["paper"],
            "deficit": ["blur", "class"],
        },
    }

    def prepare(self, config):
        super().prepare(config)
        if len(config.deficit) != 2:
            raise ValueError(
                f"--deficit={','.join(config.deficit)} must name two deficits to "
                "compare"
            )
        if len(self.lengths(config)) < 2:
            raise ValueError(
                "--deficit_epochs must hold two numbers above 0, to correlate three "
                "points"
            )

    def sections(self, results, point, config):
        arms = _Arms(self, results, point, config)
        text = _correlation(arms, *config.deficit)
        return [
            *super().sections(results, point, config),
            Section(f"{arms.title}: do the curves go together?", text),
        ]


class _Arms:
    """The finished runs of one network on one data set."""

    def __init__(self, study, results, point, config):
        self.results, self.point = results, point
        self.title, self.name = labels(point)
        self.names, self.ns = study.arms(config), study.lengths(config)
        self.baseline = self.of(BASELINE, 0)

    def of(self, arm, n, name="test_accuracy"):
        """A scalar by seed; n = 0 is the baseline's, whatever the arm."""
        point = {"arm": arm, "n": n} if n else {"arm": BASELINE}
        return by_seed(self.results, name, **self.point, **point)

    def drop(self, arm, n):
        """The differences to no deficit, of the same seeds."""
        return paired(self.of(arm, n), self.baseline)

    def beyond(self, arm, n):
        """The differences to clean training of as many epochs."""
        return paired(self.of(arm, n), self.of(CONTROL, n))

    def curves(self, name):
        """Values by seed against n, for each arm."""
        curves = {}
        for arm in self.names:
            found = [
                (n, np.array(list(self.of(arm, n, name).values())))
                for n in (0, *self.ns)
            ]
            found = [(n, values) for n, values in found if len(values)]
            curves[NAMES[arm]] = tuple(zip(*found, strict=True))
        return curves


def _table(arms, parts=("test",)):
    rows = []
    for arm in arms.names:
        for n in (0, *arms.ns) if arm == CONTROL else arms.ns:
            row = {"training": NAMES[arm if n else BASELINE], "n": n}
            for part in parts:
                values = list(arms.of(arm, n, f"{part}_accuracy").values())
                row[f"{part} %"] = format_mean(values)
            if parts == ("test",):
                train = list(arms.of(arm, n, "train_accuracy").values())
                row["training %, in the end"] = format_mean(train)
                row["less n = 0"] = with_error(arms.drop(arm, n)) if n else "-"
                shown = n and arm != CONTROL
                row["less as many clean epochs"] = (
                    with_error(arms.beyond(arm, n)) if shown else "-"
                )
            rows.append(row)
    return pd.DataFrame(rows)


def _findings(arms, config):
    if not arms.baseline:
        return "No training without a deficit has ended: there is nothing to compare."
    train = np.mean(list(arms.of(BASELINE, 0, "train_accuracy").values()))
    sentences = [
        f"Without a deficit the network ends at {train:.1f} % of the training images"
        + ("." if train >= CONVERGED else ", so that further epochs may help it.")
    ]
    n, kind = arms.ns[-1], re.sub("^small_|[0-9]+$", "", arms.point["model"])
    for arm in config.deficit:
        drop, beyond = arms.drop(arm, n), arms.beyond(arm, n)
        sentences.append(
            f"{NAMES[arm].capitalize()} for {n} epochs, in points: less no deficit "
            f"{with_error(drop)}, {direction(drop)}; less as many clean epochs "
            f"{with_error(beyond)}, {direction(beyond)}."
        )
        if (arm, kind) in PUBLISHED:
            sentences.append(
                f"Published, less no deficit at the largest n: {PUBLISHED[arm, kind]}."
            )
    return " ".join(sentences)


def _correlation(arms, first, second):
    """Says how the mean curves of two deficits correlate over n, and how surely."""
    grids = _grids(arms, first, second)
    if grids is None:
        return "No seed has finished all runs of both."
    means = [grid.mean(axis=0) for grid in grids]
    if any(np.ptp(mean) == 0 for mean in means):
        return "A curve is constant: there is nothing to correlate."
    count = len(grids[0])
    measures = {"Pearson's r": stats.pearsonr, "Spearman's": stats.spearmanr}
    found = []
    for name, measure in measures.items():
        found.append(f"{name} {measure(*means).statistic:.2f}")
        if count >= FEWEST_SEEDS:
            low, high = _interval(grids, measure)
            found[-1] += f", 95 % interval {low:.2f} to {high:.2f}"
    interval = (
        f"The intervals are of {RESAMPLES} bootstrap samples of the {count} seeds: "
        "they cover the noise of seeds, not other values of n, and where one holds 0, "
        "no correlation is shown."
        if count >= FEWEST_SEEDS
        else f"{count} seeds are too few for an interval."
    )
    spread = max(standard_error(grid[:, -1]) for grid in grids)
    text = (
        f"The mean accuracies of {NAMES[first]} and of {NAMES[second]} over the "
        f"{len(means[0])} values of n: {'; '.join(found)}. {interval} The largest "
        f"standard error at the last n is {spread:.2f} points, and the curves span "
        f"{np.ptp(means[0]):.2f} and {np.ptp(means[1]):.2f}: where they span no more "
        "than that, noise is what correlates."
    )
    if {first, second} == {"blur", CLASS}:
        text += " Published, of an AlexNet on CIFAR-10: both fall alike, 7 and 7 to 9."
    return text


def _grids(arms, *deficits):
    """Accuracies [seed, n] of each, of the seeds that have finished all; or `None`."""
    columns = [[arms.of(arm, n) for n in (0, *arms.ns)] for arm in deficits]
    seeds = [
        seed
        for seed in arms.baseline
        if all(seed in one for own in columns for one in own)
    ]
    if not seeds:
        return None
    return [np.array([[one[seed] for one in own] for seed in seeds]) for own in columns]


def _interval(grids, measure):
    rng = np.random.default_rng(0)
    values = []
    for _ in range(RESAMPLES):
        # The same seeds of both, which share the runs of n = 0.
        seeds = rng.integers(len(grids[0]), size=len(grids[0]))
        means = [grid[seeds].mean(axis=0) for grid in grids]
        # A resampled curve may be constant.
        if all(np.ptp(mean) for mean in means):
            values.append(measure(*means).statistic)
    return np.percentile(values, (2.5, 97.5)) if values else (np.nan, np.nan)
