"""Numbers of the runs, paired by seed, what they show in words, and their figure."""

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from zoo.study import deviation

# Accuracies are averaged over the last epochs of a training.
AVERAGED = 5
# Clean training of `--epochs`, and of as many as a deficit's training has in all.
BASELINE, CONTROL = "baseline", "control"
NAMES = {
    BASELINE: "no deficit",
    CONTROL: "as many epochs, all clean",
    "blur": "blurred images",
    "flip": "images upside down",
    "labels": "permuted labels",
    "noise": "noise for images",
    "class": "a class withheld",
}
PERCENT = "test accuracy, %"
OPTIMIZER_NAMES = {"sgd": "SGD with momentum 0.9", "adam": "Adam"}


def by_seed(results, name, **point):
    """Returns a scalar in percent by seed, of the finished runs at a point."""
    rows = results.select(**point)
    return {
        row["seed"]: 100 * row[name]
        for _, row in rows.iterrows()
        if not np.isnan(row[name])
    }


def differences(first, second):
    """Returns `first - second` by seed, of the seeds that both have."""
    return {seed: first[seed] - second[seed] for seed in first if seed in second}


def paired(first, second):
    """Returns the differences `first - second` as an array."""
    return np.array(list(differences(first, second).values()))


def labels(point):
    """Returns a network on its data, as a title and as a part of a file's name."""
    model, dataset = point["model"], point["dataset"]
    return f"{model}, {dataset}", f"{dataset}_{model}"


def standard_error(values):
    return deviation(values) / np.sqrt(max(len(values), 1))


def with_error(values):
    """Formats a mean with its standard error.

    >>> with_error(np.array([1.0, 2.0, 3.0]))
    '+2.00 (0.58)'
    """
    if not len(values):
        return "-"
    error = f" ({standard_error(values):.2f})" if len(values) > 1 else ""
    return f"{values.mean():+.2f}{error}"


def direction(values):
    """Says whether a mean difference is shown: at 5 % by Student's t, of three seeds.

    >>> direction(np.array([-1.0, -1.2, -0.9]))
    'lower'
    """
    if len(values) < 3:
        return "too few seeds to tell"
    limit = stats.t.ppf(0.975, len(values) - 1)
    if abs(values.mean()) <= limit * standard_error(values):
        return "not shown to differ"
    return "higher" if values.mean() > 0 else "lower"


def settings(data, config):
    """Says in sentences what was trained on what, and how to read differences."""
    rate = f"learning rate {config.learning_rate:g}"
    rate += f" x {config.decay:g} each epoch" if config.decay < 1 else ", fixed"
    details = [
        f"{OPTIMIZER_NAMES[config.optimizer]}, {rate}",
        f"batches of {config.batch_size}",
        f"weight decay {config.weight_decay:g}",
        f"normalisation: {config.normalization}",
    ]
    details += [f"dropout {config.dropout:g}"] if config.dropout else []
    details += [f"pooling of {config.pool_size}"] if config.pool_size else []
    details += ["the softmax taken twice"] if config.double_softmax else []
    details += [f"blur to {config.blur_size}"] if "blur" in config.deficit else []
    sources = "; ".join(
        f"{one.name}, {one.source}: {len(one.train[0])} images of "
        f"{'x'.join(map(str, one.input_shape))} to train on"
        for one in data.values()
    )
    return (
        f"{sources}. {', '.join(details)}. After the deficit all trainings go on for "
        f"{config.epochs} clean epochs, with the optimizer as it is. Accuracies are "
        f"those on test images, averaged over the last {AVERAGED} epochs of a run, of "
        f"{config.runs} seeds; ± is their deviation, and in brackets stands the "
        "standard error of a mean difference between trainings of the same seed. A "
        "difference counts as shown where Student's t-test over seeds rejects a mean "
        "of 0 at 5 %, with no correction for the number of comparisons."
    )


def curves_figure(title, xlabel, curves):
    """Draws accuracies twice: close up, and on the whole scale.

    Args:
        title, xlabel: str.
        curves: dict of a label to a pair: list of x, and list of arrays, a value a
            seed.
    """
    figure = Figure(figsize=(9.6, 4.0), dpi=120, layout="constrained")
    close, whole = figure.subplots(1, 2)
    figure.suptitle(title)
    for ax in (close, whole):
        for number, (label, (x, values)) in enumerate(curves.items()):
            ax.errorbar(
                # Beside each other, where bars would hide one another.
                np.array(x) + 0.004 * max(x, default=0) * number,
                [one.mean() for one in values],
                [deviation(one) for one in values],
                marker="o",
                markersize=4,
                capsize=3,
                label=label,
            )
        ax.set(xlabel=xlabel, ylabel=PERCENT)
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    close.set_title("close up")
    whole.set(title="whole scale", ylim=(0, 100))
    whole.legend(loc="lower right")
    return figure
