"""The report of a study: Markdown, HTML, figures, a table, and TensorBoard's copy."""

import dataclasses
import io
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from zoo._files import write_atomically
from zoo._types import Array
from zoo.study import tensorboard
from zoo.study.page import to_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclasses.dataclass
class Section:
    """A part of a report.

    Attributes:
        title: str, its heading.
        text: str, Markdown.
        table: `pandas.DataFrame` or `None`.
        figure: `matplotlib.figure.Figure` or `None`.
        name: str, the figure's file name without its ending.

    Example:

    >>> table = pd.DataFrame({"regime": ["LB"], "accuracy": [format_mean([0.9, 0.92])]})
    >>> print(to_markdown(Section("Accuracy", "Of the last epoch.", table).table))
    | regime | accuracy |
    | --- | --- |
    | LB | 0.91 ± 0.01 |
    """

    title: str
    text: str = ""
    table: pd.DataFrame | None = None
    figure: "Figure | None" = None
    name: str = ""


def new_figure(
    title: str, xlabel: str, ylabel: str, **axes: Any
) -> "tuple[Figure, Axes]":
    """Makes a figure with one labelled pair of axes, in the style of all reports.

    Args:
        title: str, above the axes.
        xlabel, ylabel: str, below and beside them.
        **axes: further properties of the axes, such as `yscale="log"`.

    Returns:
        The `matplotlib.figure.Figure` and its axes.

    Example:

    >>> figure, ax = new_figure("Loss", "epoch", "nats", yscale="log")
    >>> ax.get_title(), ax.get_yscale()
    ('Loss', 'log')
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=120, layout="constrained")
    ax = figure.add_subplot()
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel, **axes)
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def plot_band(
    ax: "Axes",
    x: Array,
    mean: Array,
    deviation: Array,
    label: str | None,
    **line: Any,
) -> None:
    """Plots a mean curve with a band of one standard deviation.

    Args:
        ax: the axes.
        x, mean, deviation: arrays, `[points]`.
        label: str, of the curve in the legend.
        **line: further properties of the curve, such as `color`.

    Example:

    >>> figure, ax = new_figure("Loss", "epoch", "nats")
    >>> x = np.arange(3.0)
    >>> plot_band(ax, x, x**2, 0.1 * x, label="large batches")
    >>> ax.get_legend_handles_labels()[1], len(ax.collections)
    (['large batches'], 1)
    """
    (drawn,) = ax.plot(x, mean, label=label, **line)
    ax.fill_between(
        x,
        mean - deviation,
        mean + deviation,
        color=drawn.get_color(),
        alpha=0.15,
        linewidth=0,
    )


def format_mean(
    values: Sequence[float] | Array, scale: float = 1.0, digits: int = 2
) -> str:
    """Formats numbers as mean ± standard deviation (the sample's).

    One number stands alone, and none is a hyphen.

    Args:
        values: list or array of numbers.
        scale: float, what they are multiplied by. Defaults to 1.
        digits: int, those after the point. Defaults to 2.

    Returns:
        A string.

    Example:

    >>> format_mean([0.9, 0.92], scale=100), format_mean([0.9]), format_mean([])
    ('91.00 ± 1.41', '0.90', '-')
    """
    values = np.asarray(values, "float64") * scale
    if not len(values):
        return "-"
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {deviation(values):.{digits}f}"


def deviation(values: Sequence[float] | Array) -> float:
    """Returns the sample's standard deviation, 0 of one number.

    Args:
        values: list or array of numbers.

    Example:

    >>> deviation([1.0, 2.0, 3.0]), deviation([1.0])
    (1.0, 0.0)
    """
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def to_markdown(table):
    """Formats a `pandas.DataFrame`, without its index, as a Markdown table."""

    def row(cells):
        texts = (" ".join(str(cell).replace("|", "\\|").split()) for cell in cells)
        return "| " + " | ".join(texts) + " |"

    lines = [row(table.columns), row(["---"] * len(table.columns))]
    lines += [row(cells) for cells in table.itertuples(index=False)]
    return "\n".join(lines)


def write_report(folder, title, sections, results):
    """Writes `report.md`, `report.html`, `figures/*.png` and `results.csv`.

    TensorBoard gets the text and the figures too.
    """
    folder = pathlib.Path(folder)
    (folder / "figures").mkdir(exist_ok=True)
    write_atomically(folder / "results.csv", results.table.to_csv(index=False))
    text, images = render(title, sections)
    for path, png in images.items():
        write_atomically(folder / path, png)
    write_atomically(folder / "report.md", text)
    write_atomically(folder / "report.html", to_page(title, text, images))
    tensorboard.write_report(folder / "report", text, images)
    return folder / "report.md"


def render(title, sections):
    """Returns a report's Markdown, and a dict of the paths of its images to PNGs."""
    parts, images = [f"# {title}"], {}
    for section in sections:
        parts.append(f"## {section.title}")
        if section.text:
            parts.append(section.text)
        if section.table is not None:
            parts.append(to_markdown(section.table))
        if section.figure is not None:
            path = f"figures/{section.name}.png"
            images[path] = _png(section.figure)
            parts.append(f"![{section.title}]({path})")
    return "\n\n".join(parts) + "\n", images


def _png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def counted(number, noun):
    """Returns a number of things in words.

    >>> counted(1, "seed"), counted(5, "seed")
    ('1 seed', '5 seeds')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
