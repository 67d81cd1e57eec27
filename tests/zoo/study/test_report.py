"""Reports: numbers, tables, figures, and their copies in TensorBoard."""

import base64
import html.parser
import re

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from zoo.study import Results, Section, deviation, format_mean, new_figure, plot_band
from zoo.study.page import to_page
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


def test_a_cell_stays_on_its_line():
    table = pd.DataFrame({"a": ["one\ntwo"]})
    assert to_markdown(table).splitlines()[-1] == "| one two |"


class Page(html.parser.HTMLParser):
    """What a browser would show of a page: headings, texts, tables, images."""

    VOID = ("meta", "img", "br", "hr")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.tables, self.images, self.attributes = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"th", "td"} & set(self.open):
            self.tables[-1][-1][-1] += data
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)


@pytest.fixture
def written(tmp_path):
    """The folder of a report with tables, figures, code and texts of all kinds."""
    sections = [
        Section("Words & more", "Some *text* of `a < b`, R&D.\n\n```\nx --a=<1>\n```"),
        Section("Numbers", "", pd.DataFrame({"a|b": [1, 2], "c": ["x|y", 0.5]})),
    ]
    for name in ("loss", "figure3_fgd_0.8"):
        figure, ax = new_figure("Title", "epochs", name)
        ax.plot([1, 2])
        table = pd.DataFrame({name: [name, "0.50 ± 0.01"]})
        sections.append(Section(f"Figure of {name}", "", table, figure, name))
    write_report(tmp_path, "Study of <things>", sections, Results(tmp_path))
    return tmp_path


def test_the_page_has_all_that_the_markdown_has(written):
    text = (written / "report.md").read_text()
    page = Page((written / "report.html").read_text())
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.M)
    tables = [
        [
            [cell.replace("\\|", "|") for cell in re.split(r"(?<!\\) ?\| ?", row)[1:-1]]
            for row in block.splitlines()
            if not row.startswith("| ---")
        ]
        for block in blocks
    ]
    assert len(tables) == 3
    assert page.tables == tables
    paths = re.findall(r"!\[(.*)\]\((.*)\)", text)
    assert len(paths) == 2
    assert [image["alt"] for image in page.images] == [name for name, _ in paths]
    for image, (_, path) in zip(page.images, paths, strict=True):
        png = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
        assert png == (written / path).read_bytes()
    shown = "".join(page.texts)
    for part in ("Study of <things>", "Words & more", "a < b", "R&D", "x --a=<1>"):
        assert part in shown
    assert page.tags.count("h2") == text.count("\n## ") == 4


def test_the_page_needs_no_network(written):
    page = Page((written / "report.html").read_text())
    assert not {"script", "link", "iframe"} & set(page.tags)
    for name, value in page.attributes:
        if name in ("src", "href"):
            assert value.startswith("data:image/png;base64,")
    (policy,) = [
        value for name, value in page.attributes if "default-src" in (value or "")
    ]
    assert policy.startswith("default-src 'none'; img-src data:;")


EVIL = '<script>alert("x")</script><b onclick=x>R&D</b>'


def test_what_users_write_is_shown_not_obeyed(tmp_path):
    table = pd.DataFrame({EVIL: [EVIL, f"TypeError: {EVIL}"]})
    sections = [Section(EVIL, f"a {EVIL} b\n\n{EVIL}", table)]
    write_report(tmp_path, EVIL, sections, Results(tmp_path))
    page = Page((tmp_path / "report.html").read_text())
    assert not {"script", "b"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.tables == [[[EVIL], [EVIL], [f"TypeError: {EVIL}"]]]
    # The tab, the heading, the section, and two texts.
    assert "".join(page.texts).count('alert("x")') == 5


def test_an_image_that_is_not_the_reports_is_left_alone():
    page = Page(to_page("t", "![a](figures/none.png)", {}))
    assert page.images == [{"alt": "a", "src": "figures/none.png"}]


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
