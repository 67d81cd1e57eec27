"""Reports: numbers, tables, figures, and their copies in TensorBoard."""

import numpy as np
import pandas as pd
import tensorflow as tf

from zoo.study import Results, Section, deviation, format_mean, new_figure, plot_band
from zoo.study.report import to_markdown, write_report


def test_format_mean_uses_the_samples_deviation():
    assert format_mean([1.0, 3.0]) == "2.00 ± 1.41"
    assert format_mean([0.5], scale=100, digits=1) == "50.0"
    assert format_mean([]) == "-"
    assert deviation([4.0]) == 0.0


def test_markdown_tables_escape_bars():
    table = pd.DataFrame({"a|b": [1, 2], "c": ["x", "y|z"]})
    assert to_markdown(table).splitlines() == [
        "| a\\|b | c |",
        "| --- | --- |",
        "| 1 | x |",
        "| 2 | y\\|z |",
    ]


def test_a_report_is_written_with_figures_and_logged(tmp_path):
    figure, ax = new_figure("Title", "epochs", "loss", yscale="log")
    x = np.arange(1, 4)
    plot_band(ax, x, 1.0 / x, 0.1 / x, "run")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epochs", "loss")
    sections = [
        Section("Words", "Some text."),
        Section("Picture", figure=figure, name="loss"),
        Section("Numbers", table=pd.DataFrame({"a": [1]})),
    ]
    path = write_report(tmp_path, "Study", sections, Results(tmp_path))
    text = path.read_text()
    for part in ("# Study", "Some text.", "![Picture](figures/loss.png)", "| 1 |"):
        assert part in text
    assert (tmp_path / "figures/loss.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "results.csv").read_text().startswith("run,status")
    tags = {
        value.tag
        for events in (tmp_path / "report").iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert {"report", "figures/loss"} <= tags
