"""What a study is: a question, a grid of conditions, a run, a report."""

import os
import pathlib
from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any, Literal

import keras_tuner

from zoo.study.report import Section
from zoo.study.results import Results


class Study:
    """One question, asked by training networks at every point of a grid.

    A subclass names its settings in `presets` and says what a point of the grid is,
    how one is run, and what the results show. `zoo.study.main` makes an app of it:
    flags, search, resuming, workers, TensorBoard and the report.

    Attributes:
        name: str, the folder under `--logdir` and the app's name in `zoo.apps`.
        experiment: str, or `None` where the app has only this study. An app of several
            gives each a name for `--experiment` and a folder inside the app's.
        title: str, the heading of the report, which a subclass must name.
        summary: str, one line for lists of studies.
        objective: pair of a scalar that `run` returns and `"max"` or `"min"`: what
            `--search` other than grid looks for, and what the progress line shows.
        presets: dict of preset name to dict of settings. Every preset has the same
            keys; each key is a flag, common (such as `dataset`, `epochs`, `batch_size`
            and `runs`) or of `define_flags`, that overrides it.
        published: the source's numbers, for `report` to set beside ours.

    Example:

    >>> class Coin(Study):
    ...     name = "coin"
    ...     objective = ("heads", "max")
    ...     def grid(self, hp, config):
    ...         hp.Choice("seed", list(range(config.runs)))
    ...     def run(self, hp, config, logdir):
    ...         return {"heads": float(hp.get("seed") % 2)}
    """

    name: str
    experiment: str | None = None
    title: str
    summary: str = ""
    objective: tuple[str, Literal["max", "min"]]
    presets: Mapping[str, Mapping[str, Any]] = {}
    published: Mapping[Any, Any] = {}

    @classmethod
    def define_flags(cls) -> None:
        """Defines the study's own absl flags, with `None` as default.

        The experiments of one app share one such method.
        """

    @classmethod
    def folder(cls, logdir: str | os.PathLike[str]) -> pathlib.Path:
        """Returns the `pathlib.Path` below `logdir` that results go to."""
        return pathlib.Path(logdir, cls.name, cls.experiment or "")

    def prepare(self, config: SimpleNamespace) -> None:
        """Checks `config` and loads what all runs share.

        Raises:
            ValueError, OSError: with one line that names the flag at fault.
        """

    def check_choices(
        self, config: SimpleNamespace, flag: str, known: Collection[Any]
    ) -> None:
        """Checks that a list flag holds different ones of `known`, one at least.

        Raises:
            ValueError: with one line that names the flag.
        """
        values = getattr(config, flag)
        check_different(flag, values)
        for value in values:
            if value not in known:
                raise ValueError(
                    f"--{flag}={value} must be one of {', '.join(map(str, known))}"
                )

    def check_numbers(
        self,
        config: SimpleNamespace,
        flag: str,
        low: float,
        high: float,
        kind: type[float] | type[int] = float,
    ) -> None:
        """Reads a list flag of different numbers from `low` to `high` into `config`.

        Args:
            config: the settings.
            flag: str, its name.
            low, high: numbers.
            kind: `float` or `int`. Defaults to `float`.

        Raises:
            ValueError: with one line that names the flag.
        """
        numbers, name = [], {int: "whole numbers", float: "numbers"}[kind]
        for text in getattr(config, flag):
            try:
                numbers.append(kind(str(text)))
                valid = low <= numbers[-1] <= high
            except ValueError:
                valid = False
            if not valid:
                raise ValueError(
                    f"--{flag}={text} must hold {name} from {low:g} to {high:g}"
                )
        check_different(flag, numbers, "numbers")
        setattr(config, flag, numbers)

    def grid(self, hp: keras_tuner.HyperParameters, config: SimpleNamespace) -> None:
        """Declares the conditions and seeds on `hp`, a `keras_tuner.HyperParameters`.

        Each entry needs a finite list of values: `hp.Choice`, `hp.Boolean`, or a
        range with a step.
        """
        raise NotImplementedError

    def seeds(self, hp: keras_tuner.HyperParameters, config: SimpleNamespace) -> None:
        """Declares `--runs` seeds, from `--seed` on, on `hp`."""
        hp.Choice("seed", [config.seed + run for run in range(config.runs)])

    def space(self, hp: keras_tuner.HyperParameters, config: SimpleNamespace) -> None:
        """Declares what `--search` other than grid looks through.

        The grid by default; a study that tunes continuous ranges overrides it.
        """
        self.grid(hp, config)

    def seconds(
        self, values: Mapping[str, Any], config: SimpleNamespace
    ) -> float | None:
        """Estimates the seconds that the point `values` takes on two cores.

        Returns:
            float, or `None` where nothing was measured.
        """
        return None

    def run(
        self, hp: keras_tuner.HyperParameters, config: SimpleNamespace, logdir: str
    ) -> dict[str, Any]:
        """Runs one point.

        Args:
            hp: `keras_tuner.HyperParameters`, the point; `hp.get(name)`.
            config: the settings, one attribute a flag.
            logdir: str, a folder for TensorBoard logs.

        Returns:
            Dict of names to scalars and 1-D curves, the objective among the scalars.
        """
        raise NotImplementedError

    def report(self, results: Results, config: SimpleNamespace) -> list[Section]:
        """Says what the results show.

        Args:
            results: `zoo.study.Results`.
            config: the settings.

        Returns:
            List of `zoo.study.Section`.
        """
        return []


def check_different(flag, values, what="names"):
    """Raises a `ValueError` of one line unless a list flag holds different values."""
    if not values or len(set(values)) < len(values):
        held = ",".join(map(str, values))
        raise ValueError(f"--{flag}={held} must hold different {what}, one at least")
