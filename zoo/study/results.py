"""Results on disk: one folder a run, written whole or not at all."""

import hashlib
import io
import json
import os
import pathlib
import sys
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from zoo._files import write_atomically

RESULT = "result.json"
CURVES = "curves.npz"


class CutShort(ValueError):
    """A file that is there in part, as after a power cut."""


def run_name(values):
    """Names the folder of a point of the grid, such as `regime=LB,seed=0`."""
    plain = {key: values[key] for key in values if not key.startswith("tuner/")}
    if "tuner/epochs" in values:
        plain["epochs"] = values["tuner/epochs"]
    name = ",".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in plain.items()
    )
    if any(isinstance(value, float) for value in plain.values()):
        digest = hashlib.sha1(json.dumps(plain, sort_keys=True).encode())
        name += "," + digest.hexdigest()[:6]
    return name.replace("/", "-").replace(os.sep, "-")


def write_result(folder, result, curves):
    """Writes a run's outcome; `result.json` comes last and makes it count."""
    folder = pathlib.Path(folder)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **curves)
    write_atomically(folder / CURVES, buffer.getvalue())
    write_atomically(folder / RESULT, json.dumps(result, indent=1))


def read_result(folder):
    """Reads a run's outcome, or `None` where the run has not ended.

    Raises:
        CutShort: the file is not whole.
        ValueError: the file is there but is not a result.
    """
    path = pathlib.Path(folder) / RESULT
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CutShort(_not_a_result(path, str(error).splitlines()[0])) from None
    entries = {"values", "status", "reason", "scalars", "seconds"}
    if isinstance(result, dict) and entries <= set(result):
        return result
    raise ValueError(_not_a_result(path, "it lacks entries of a result"))


def _not_a_result(path, problem):
    return (
        f"{path} is not a result ({problem}): delete its folder to repeat that run, or "
        "start over with --fresh"
    )


def read_arrays(path):
    """Returns what a `.npz` file holds, a dict of arrays.

    Raises:
        CutShort: it is not whole, or not as it was written.
    """
    try:
        # NumPy would leave a broken file open.
        with open(path, "rb") as file, np.load(file) as arrays:
            return dict(arrays)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise CutShort(f"{path} is broken ({error})") from None


def forget_broken(folder):
    """Says which runs have a file that is not whole, and makes them count no more."""
    for path in sorted(pathlib.Path(folder).glob(f"*/{RESULT}")):
        curves, broken = path.with_name(CURVES), None
        try:
            read_result(path.parent)
            if not zipfile.is_zipfile(curves):
                broken = curves
        except CutShort:
            broken = path
        if broken:
            path.replace(path.with_name(f"{RESULT}.broken"))
            print(f"{broken} is not whole: that run is repeated", file=sys.stderr)


class Results:
    """The finished and failed runs under a study's folder.

    Attributes:
        table: `pandas.DataFrame`, one row a run: `run`, `status`, the point's values,
            the scalars, `reason` (of a failure) and `seconds`.
        values: list of str, the columns of `table` that say which point it is.

    Args:
        folder: str or path, the study's folder.
        order: run names in the order in which rows should stand; other runs follow.

    Raises:
        ValueError: a result cannot be read.

    Example:

    >>> import tempfile
    >>> outcome = {"status": "finished", "reason": "", "seconds": 1.0}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for seed in range(2):
    ...         run = pathlib.Path(folder, f"seed={seed}")
    ...         run.mkdir()
    ...         point = {"values": {"seed": seed}, "scalars": {"loss": 2.0 * seed}}
    ...         curves = {"epoch": [1, 2], "loss": [4.0, 2.0 * seed]}
    ...         write_result(run, outcome | point, curves)
    ...     results = Results(folder)
    ...     x, mean, deviation = results.mean_curve("epoch", "loss")
    >>> results.select(seed=1)["loss"].tolist(), mean.tolist()
    ([2.0], [4.0, 1.0])
    """

    def __init__(
        self, folder: str | os.PathLike[str], order: Iterable[str] = ()
    ) -> None:
        self.folder = pathlib.Path(folder)
        found = {}
        for path in sorted(self.folder.glob(f"*/{RESULT}")):
            found[path.parent.name] = read_result(path.parent)
        ranks = {name: rank for rank, name in enumerate(order)}
        names = sorted(found, key=lambda name: (ranks.get(name, len(ranks)), name))
        self.values = list(
            dict.fromkeys(key for name in names for key in found[name]["values"])
        )
        scalars = list(
            dict.fromkeys(key for name in names for key in found[name]["scalars"])
        )
        rows = [
            {
                "run": name,
                "status": found[name]["status"],
                **found[name]["values"],
                **found[name]["scalars"],
                "reason": found[name]["reason"],
                "seconds": found[name]["seconds"],
            }
            for name in names
        ]
        columns = ["run", "status", *self.values, *scalars, "reason", "seconds"]
        self.table = pd.DataFrame(rows, columns=columns)

    def select(self, **values: Any) -> pd.DataFrame:
        """Returns the rows of the finished runs at the given values."""
        rows = self.table[self.table["status"] == "finished"]
        for key, value in values.items():
            # A point that has not run has left no column.
            rows = rows[rows[key] == value] if key in rows else rows[:0]
        return rows

    def failed(self) -> pd.DataFrame:
        """Returns the rows of the failed runs."""
        return self.table[self.table["status"] == "failed"]

    def curves(self, run: str) -> dict[str, np.ndarray]:
        """Returns the curves of a run, a dict of 1-D arrays.

        Raises:
            CutShort: the file is broken.
        """
        path = self.folder / run / CURVES
        try:
            return read_arrays(path)
        except CutShort as error:
            raise CutShort(f"{error}: delete its folder to repeat that run") from None

    def mean_curve(
        self, x: str, y: str, **values: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Averages the curve `y` against `x` over the runs at the given values.

        Returns:
            Three arrays: `x` of the first run, mean and standard deviation of `y`,
            cut to the shortest run; empty where no run has finished.
        """
        runs = [self.curves(run) for run in self.select(**values)["run"]]
        if not runs:
            return (np.zeros(0),) * 3
        length = min(len(curves[y]) for curves in runs)
        stack = np.stack([curves[y][:length] for curves in runs])
        return runs[0][x][:length], stack.mean(axis=0), stack.std(axis=0)
