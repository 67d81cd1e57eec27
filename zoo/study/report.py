"""The report of a study: Markdown, figures, a table, and the same in TensorBoard."""

import dataclasses
import io
import pathlib

import numpy as np
import pandas as pd

from zoo._files import write_atomically
from zoo.study import tensorboard


@dataclasses.dataclass
class Section:
    """A part of a report.

    Attributes:
        title: str, its heading.
        text: str, Markdown.
        table: `pandas.DataFrame` or `None`.
        figure: `matplotlib.figure.Figure` or `None`.
        name: str, the figure's file name without its ending.
    """

    title: str
    text: str = ""
    table: pd.DataFrame | None = None
    figure: object = None
    name: str = ""


def new_figure(title, xlabel, ylabel, **axes):
    """Makes a figure with one labelled pair of axes, in the style of all reports.

    Returns:
        The `matplotlib.figure.Figure` and its axes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=120, layout="constrained")
    ax = figure.add_subplot()
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel, **axes)
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def plot_band(ax, x, mean, deviation, label, **line):
    """Plots a mean curve with a band of one standard deviation."""
    (drawn,) = ax.plot(x, mean, label=label, **line)
    ax.fill_between(
        x,
        mean - deviation,
        mean + deviation,
        color=drawn.get_color(),
        alpha=0.15,
        linewidth=0,
    )


def format_mean(values, scale=1.0, digits=2):
    """Formats numbers as mean ± standard deviation (the sample's).

    One number stands alone, and none is a hyphen.

    >>> format_mean([0.9, 0.92], scale=100)
    '91.00 ± 1.41'
    """
    values = np.asarray(values, "float64") * scale
    if not len(values):
        return "-"
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {deviation(values):.{digits}f}"


def deviation(values):
    """Returns the sample's standard deviation, 0 of one number."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def to_markdown(table):
    """Formats a `pandas.DataFrame`, without its index, as a Markdown table."""

    def row(cells):
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    lines = [row(table.columns), row(["---"] * len(table.columns))]
    lines += [row(cells) for cells in table.itertuples(index=False)]
    return "\n".join(lines)


def write_report(folder, title, sections, results):
    """Writes `report.md`, `figures/*.png`, `results.csv` and TensorBoard's copies."""
    folder = pathlib.Path(folder)
    (folder / "figures").mkdir(exist_ok=True)
    write_atomically(folder / "results.csv", results.table.to_csv(index=False))
    parts, images = [f"# {title}"], {}
    for section in sections:
        parts.append(f"## {section.title}")
        if section.text:
            parts.append(section.text)
        if section.table is not None:
            parts.append(to_markdown(section.table))
        if section.figure is not None:
            images[section.name] = _png(section.figure)
            write_atomically(
                folder / f"figures/{section.name}.png", images[section.name]
            )
            parts.append(f"![{section.title}](figures/{section.name}.png)")
    text = "\n\n".join(parts) + "\n"
    write_atomically(folder / "report.md", text)
    tensorboard.write_report(folder / "report", text, images)
    return folder / "report.md"


def _png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
