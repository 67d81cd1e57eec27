"""What the runs show: Table 5, Figures 4 to 9, and the findings in words."""

import numpy as np
import pandas as pd

from zoo.study import Section, deviation, format_mean, new_figure, plot_band
from zoo.study.report import counted

NAMES = {
    "SB": "small batch",
    "LB": "large batch",
    "LR": "large batch, scaled learning rate",
    "GBN": "large batch, ghost batch normalisation",
    "LE": "large batch, as many updates as SB",
    "GBN+LE": "ghosts and as many updates",
}


def write_sections(study, results, config, regimes):
    """Returns the report's sections, those of each data set in turn."""
    sections = []
    for name in config.dataset:
        part = _Part(results, name, regimes)
        if not part.regimes:
            continue
        source = study.data[name].source
        sections += [
            _settings(name, source, config),
            _table(part, study.published),
            _accuracies(part, study.published),
            _findings(part),
            _under_training(part),
            *_figures(part),
        ]
    return sections


class _Part:
    """The finished runs on one data set."""

    def __init__(self, results, dataset, regimes):
        self.results, self.dataset = results, dataset
        rows = results.select(dataset=dataset) if "dataset" in results.values else []
        present = set(rows["regime"]) if len(rows) else set()
        self.regimes = {
            name: regime for name, regime in regimes.items() if name in present
        }
        # From the smallest batch to the largest, with nothing done about it.
        self.sizes = sorted(
            (
                name
                for name, regime in self.regimes.items()
                if not (regime.ghosts or regime.longer or regime.scaled)
            ),
            key=lambda name: self.regimes[name].batch_size,
        )

    def scalars(self, regime, name):
        if regime not in self.regimes:
            return np.zeros(0)
        rows = self.results.select(dataset=self.dataset, regime=regime)
        return rows[name].to_numpy("float64")

    def curve(self, regime, x, y):
        return self.results.mean_curve(x, y, dataset=self.dataset, regime=regime)


def _settings(dataset, source, config):
    text = (
        f"Data: {dataset}, {source}. Network: {config.model}. SGD with momentum "
        f"{config.momentum}, learning rate {config.learning_rate} for batches of "
        f"{config.batch_size}, {counted(config.epochs, 'epoch')}, "
        f"{counted(config.runs, 'seed')}. Large batches have "
        f"{config.large_batch_size} images, ghosts {config.virtual_batch_size}; the "
        "regimes LR, LE and GBN+LE scale the learning rate by "
        f"the rule `{config.lr_rule}`. The published numbers are "
        "those of ResNet-50 on CIFAR: compare differences, not values."
    )
    return Section(f"Setting: {dataset}", text)


def _table(part, published):
    dataset = part.dataset
    columns = {
        "CIFAR-10, published": published["cifar10"],
        "CIFAR-100, published": published["cifar100"],
    }
    rows = []
    for regime in [name for name in part.regimes if name in NAMES]:
        settings = part.regimes[regime]
        rows.append(
            {
                "regime": regime,
                "meaning": NAMES[regime],
                "batch": settings.batch_size,
                "updates": f"{part.scalars(regime, 'updates').mean():.0f}",
                f"{dataset}, ours: test %": format_mean(
                    part.scalars(regime, "test_accuracy"), 100
                ),
                "validation %": format_mean(
                    part.scalars(regime, "validation_accuracy"), 100
                ),
                **{
                    title: numbers.get(regime, "not given")
                    for title, numbers in columns.items()
                },
            }
        )
    text = "Accuracy in percent, mean ± standard deviation over seeds."
    return Section(f"Table 5: {dataset}", text, pd.DataFrame(rows))


def _accuracies(part, published):
    dataset = part.dataset
    figure, ax = new_figure(
        f"Accuracy by regime: {dataset}", "", "difference from SB, percentage points"
    )
    names = [name for name in part.regimes if name in NAMES]
    ours = {name: 100 * part.scalars(name, "test_accuracy") for name in names}
    base = ours["SB"].mean() if "SB" in ours else 0.0
    bars = {f"{dataset}, ours (test)": [ours[name].mean() - base for name in names]}
    for key, title in (("cifar10", "CIFAR-10"), ("cifar100", "CIFAR-100")):
        bars[f"{title}, published"] = [
            published[key].get(name, np.nan) - published[key]["SB"] for name in names
        ]
    width = 0.8 / len(bars)
    for number, (label, heights) in enumerate(bars.items()):
        where = np.arange(len(names)) + (number - 1) * width
        errors = [deviation(ours[name]) for name in names] if number == 0 else None
        ax.bar(where, heights, width, yerr=errors, label=label, capsize=3)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(range(len(names)), names)
    ax.legend()
    return Section(
        f"Table 5 as differences: {dataset}", figure=figure, name=f"{dataset}_table5"
    )


def _findings(part):
    accuracy = {
        name: part.scalars(name, "test_accuracy") * 100 for name in part.regimes
    }
    rows = []

    def judge(claim, low, high, slack=0.0):
        """Says whether `high` beats `low` by more than the spread of their seeds."""
        if low not in accuracy or high not in accuracy:
            return
        gain = accuracy[high].mean() - accuracy[low].mean()
        spread = sum(deviation(accuracy[regime]) for regime in (low, high))
        holds = gain > spread if not slack else gain > -slack
        rows.append(
            {
                "finding": claim,
                "holds here": "yes" if holds else "no",
                "difference, points": f"{gain:+.2f}",
                "spread of the seeds": f"{spread:.2f}",
            }
        )

    judge("Large batches generalise worse at equal epochs (LB below SB)", "LB", "SB")
    judge("Ghosts alone close part of the gap (GBN above LB)", "LB", "GBN")
    judge("A scaled learning rate closes part of it (LR above LB)", "LB", "LR")
    judge("As many updates close more (LE above LR)", "LR", "LE")
    judge("As many updates close the gap (LE within 1 point of SB)", "SB", "LE", 1.0)
    judge("Ghosts help on top of that (GBN+LE above LE)", "LE", "GBN+LE")
    judge("Both together beat small batches (GBN+LE above SB)", "SB", "GBN+LE")
    if len(part.sizes) > 2:
        losses = [part.scalars(name, "validation_loss").mean() for name in part.sizes]
        rows.append(
            {
                "finding": "The larger the batch, the higher the validation loss",
                "holds here": "yes" if np.all(np.diff(losses) > 0) else "no",
                "difference, points": " < ".join(f"{loss:.3f}" for loss in losses),
                "spread of the seeds": "",
            }
        )
    text = (
        "A finding holds where the difference of the mean test accuracies is larger "
        "than the standard deviations of both regimes together."
    )
    return Section(f"Findings: {part.dataset}", text, pd.DataFrame(rows))


def _accuracy_at(part, regime, loss):
    """Validation accuracy, percent, where the mean training loss first is `loss`."""
    _, losses, _ = part.curve(regime, "update_curve", "training_loss_curve")
    _, accuracies, _ = part.curve(regime, "update_curve", "validation_accuracy_curve")
    below = int(np.argmax(losses <= loss))
    around = slice(max(below - 1, 0), below + 1)
    # The losses of a crossing fall, and np.interp wants them to rise.
    return 100 * np.interp(-loss, -losses[around], accuracies[around])


def _under_training(part):
    rows = []
    for regime in [name for name in part.regimes if name in NAMES]:
        row = {
            "regime": regime,
            "training loss": format_mean(part.scalars(regime, "train_loss"), digits=3),
            "training %": format_mean(part.scalars(regime, "train_accuracy"), 100),
            "distance from start": format_mean(
                part.scalars(regime, "distance"), digits=1
            ),
        }
        if regime != "SB" and "SB" in part.regimes:
            loss = max(
                part.curve(name, "update_curve", "training_loss_curve")[1][-1]
                for name in (regime, "SB")
            )
            gap = 100 * (
                part.scalars("SB", "validation_accuracy").mean()
                - part.scalars(regime, "validation_accuracy").mean()
            )
            equal = _accuracy_at(part, "SB", loss) - _accuracy_at(part, regime, loss)
            row |= {
                "gap to SB, points": f"{gap:+.2f}",
                "common training loss": f"{loss:.3f}",
                "gap at that loss, points": f"{equal:+.2f}",
            }
        rows.append(row)
    text = (
        "How much of a gap is under-training: the training loss that each regime ends "
        "with, its gap in validation accuracy to SB at the end, and the gap where both "
        "training losses first come down to the higher of their two last values. All "
        "in inference mode. A gap that vanishes at equal training loss is one of "
        "training, not of generalisation."
    )
    table = pd.DataFrame(rows).fillna("")
    return Section(f"Under-training: {part.dataset}", text, table)


def _figures(part):
    sizes = part.sizes
    ghosts = [name for name in (*sizes, "GBN") if name in part.regimes]
    equal = [name for name in ("SB", "LE", "GBN+LE") if name in part.regimes]
    every = [name for name in NAMES if name in part.regimes]
    in_updates, in_epochs = (
        ("update_curve", "updates"),
        ("update_curve_in_epochs", "epochs"),
    )
    training = ("training_loss_curve", "training loss (nats)")
    validation = ("validation_loss_curve", "validation loss (nats)")
    distance = ("distance_curve", "distance of the weights from their start")
    return [
        _curves(part, "Figure 4", "figure4", sizes, in_updates, training),
        _curves(part, "Figure 5", "figure5", sizes, in_epochs, training),
        _curves(part, "Figure 6", "figure6", sizes, in_epochs, validation),
        _curves(part, "Figure 7", "figure7", ghosts, in_epochs, training),
        _curves(part, "Figure 8", "figure8", ghosts, in_epochs, validation),
        _curves(part, "Figure 9", "figure9", equal, in_updates, training),
        _curves(
            part,
            "Distance from initialisation",
            "distance",
            every,
            in_updates,
            distance,
        ),
    ]


def _curves(part, title, name, regimes, x, y):
    (x, xlabel), (y, ylabel) = x, y
    figure, ax = new_figure(
        f"{title}: {part.dataset}",
        xlabel,
        ylabel,
        xscale="log" if xlabel == "updates" else "linear",
        yscale="log" if "loss" in ylabel else "linear",
    )
    colors = {name: f"C{number}" for number, name in enumerate(part.regimes)}
    for regime in regimes:
        label = f"{regime} ({part.regimes[regime].batch_size})"
        plot_band(ax, *part.curve(regime, x, y), label, color=colors[regime])
    ax.legend(title="regime (batch)", loc="center left", bbox_to_anchor=(1, 0.5))
    return Section(
        f"{title}: {part.dataset}", figure=figure, name=f"{part.dataset}_{name}"
    )
