"""What the tests of studies share: calls of an app, and readers of what it wrote."""

import csv
import pathlib

import numpy as np
import pytest
from absl.testing import flagsaver

from zoo.study import app


# `Path` itself has no subclasses before Python 3.12.
class Results(type(pathlib.Path())):
    """The folder of an experiment, or of all, with readers of what is in it."""

    def report(self, figures=()):
        """Returns the text of the report, in which are figures that are not blank."""
        text = (self / "report.md").read_text()
        for name in figures:
            assert f"figures/{name}.png" in text
            assert (self / "figures" / f"{name}.png").stat().st_size > 5000
        return text

    def rows(self, **values):
        """Returns the runs with these values, dicts of texts."""
        with open(self / "results.csv") as file:
            return [
                row
                for row in csv.DictReader(file)
                if all(row[key] == str(value) for key, value in values.items())
            ]

    def number(self, name, **values):
        """Returns a number of the only run with these values."""
        (row,) = self.rows(**values)
        return float(row[name])

    def curves(self, **values):
        """Returns a dict of the curves of the only run with these values."""
        (row,) = self.rows(**values)
        with np.load(self / row["run"] / "curves.npz") as file:
            return dict(file)


@pytest.fixture(scope="session")
def results():
    """The class that reads a folder."""
    return Results


@pytest.fixture(scope="module")
def call(request, define_flags):
    """Calls the app of the module's `EXPERIMENTS` with flags; returns its exit code."""
    experiments = request.module.EXPERIMENTS
    define_flags(*experiments)

    def call(logdir, *arguments):
        try:
            with flagsaver.flagsaver():
                app.parse([experiments[0].name, f"--logdir={logdir}", *arguments])
                return app.run_studies(*experiments)
        except SystemExit as error:
            return error.code

    return call


@pytest.fixture
def complaint(call, capsys, tmp_path):
    """Calls the app with a mistake; returns the line it ends with, before any work."""

    def complain(*arguments):
        assert call(tmp_path / "runs", *arguments) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert not (tmp_path / "runs").exists()
        return line

    return complain
