"""Runs a study: a Keras Tuner tuner over its grid or search space."""

import contextlib
import gc
import itertools
import json
import math
import os
import pathlib
import shutil
import sys
import time
import traceback
import warnings

import keras
import keras_tuner
import numpy as np
from keras_tuner.engine import base_tuner

from zoo._files import disk_problem, write_atomically
from zoo.study import lock, tensorboard
from zoo.study.flags import differences, to_flags
from zoo.study.results import (
    RESULT,
    forget_broken,
    read_result,
    run_name,
    write_result,
)

CONFIG = "config.json"
DEFAULT_TRIALS = 20


def search_space(study, config):
    """Returns the `keras_tuner.HyperParameters` of the grid or of the search."""
    hp = keras_tuner.HyperParameters()
    (study.grid if config.search == "grid" else study.space)(hp, config)
    return hp


def grid_points(hp):
    """Lists the points of a finite search space, each a dict of its active values."""
    names, points = [entry.name for entry in hp.space], {}
    point = hp.copy()
    for values in itertools.product(*(entry.values for entry in hp.space)):
        point.values = dict(zip(names, values, strict=True))
        active = {
            entry.name: point.values[entry.name]
            for entry in hp.space
            if point.is_active(entry)
        }
        points.setdefault(run_name(active), active)
    return list(points.values())


def have_ended(folder, points):
    """Says whether nothing is left to run of a grid."""
    return bool(points) and all(
        (folder / run_name(point) / RESULT).exists() for point in points
    )


def set_aside(folder):
    """Renames a study's folder, so that a new one can take its place.

    Raises:
        ValueError: a run holds it.
    """
    if folder.exists():
        with lock.hold(folder):
            numbered = (
                folder.with_name(f"{folder.name}.{number}")
                for number in itertools.count(1)
            )
            folder.rename(next(path for path in numbered if not path.exists()))


def check_settings(folder, config):
    """Refuses a folder that holds something else than this study's results.

    Raises:
        ValueError: another configuration, `--noresume` on an old folder, or a file
            that is not what it should be.
    """
    path = folder / CONFIG
    if not path.exists():
        # A worker that starts before its chief makes the latter two.
        ours = {lock.LOCK, "tuner", "logs"}
        if not {entry.name for entry in folder.iterdir()} <= ours:
            raise ValueError(
                f"{folder} is not empty and has no {CONFIG}: use another --logdir, or "
                "--fresh to set it aside"
            )
        return
    if not config.resume:
        raise ValueError(f"{folder} holds results already: --resume or --fresh")
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
        changed = differences(old, _to_json(config))
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a study's settings ({str(error).splitlines()[0]}): "
            "start over with --fresh or use another --logdir"
        ) from None
    if changed:
        raise ValueError(
            f"{folder} holds another configuration: {'; '.join(changed)}; use "
            "another --logdir, or --fresh to set the old one aside"
        )


def _to_json(config):
    return json.loads(json.dumps(vars(config)))


def open_folder(study, config):
    """Makes the study's folder, or finds it; clears what a kill has left in it.

    Raises:
        ValueError: it holds something else than this study's results.
        OSError: the folder cannot be written.
    """
    folder = study.folder(config.logdir)
    folder.mkdir(parents=True, exist_ok=True)
    check_settings(folder, config)
    for partial in folder.rglob(".*.partial"):
        partial.unlink(missing_ok=True)
    forget_broken(folder)
    write_atomically(folder / CONFIG, json.dumps(_to_json(config), indent=1))
    write_atomically(folder / "flags.txt", to_flags(config))
    return folder


def make_oracle(study, config, hp):
    """Makes the Keras Tuner oracle of `--search`."""
    objective = keras_tuner.Objective(*study.objective)
    common = {
        "objective": objective,
        "hyperparameters": hp,
        # Keras Tuner takes seed 0 for no seed.
        "seed": config.seed + 1,
        # A failed trial never ends the search.
        "max_consecutive_failed_trials": sys.maxsize,
    }
    oracles = keras_tuner.oracles
    if config.search == "grid":
        return oracles.GridSearchOracle(max_trials=config.trials, **common)
    if config.search == "hyperband":
        return oracles.HyperbandOracle(max_epochs=config.epochs, **common)
    kind = {
        "random": oracles.RandomSearchOracle,
        "bayesian": oracles.BayesianOptimizationOracle,
    }[config.search]
    return kind(max_trials=config.trials or DEFAULT_TRIALS, **common)


class StudyTuner(base_tuner.BaseTuner):
    """Runs a study's trials, or takes them from its folder where they have ended.

    Keras Tuner chooses the points and spreads them over workers. Its own files are
    made anew at each start: the results in the study's folder are what lasts, so
    nothing that a kill can leave half written is ever read again.
    """

    def __init__(self, study, config, folder, progress):
        self.study, self.config, self.folder = study, config, pathlib.Path(folder)
        self.progress, self.stdout = progress, sys.stdout
        self.space = search_space(study, config)
        super().__init__(
            make_oracle(study, config, self.space.copy()),
            directory=str(self.folder / "tuner"),
            project_name=os.environ.get("KERASTUNER_TUNER_ID", "single"),
            overwrite=True,
        )

    def pre_create_trial(self):
        # While others run the last trials, Keras Tuner asks again without a pause.
        time.sleep(0.05)

    def search(self):
        # Keras collects garbage after each run: it need not visit what was imported.
        gc.freeze()
        # Keras Tuner prints the conditions that it sends from machine to machine.
        with contextlib.redirect_stdout(None), warnings.catch_warnings():
            # A failed trial's objective is NaN, of which Keras Tuner takes statistics.
            warnings.filterwarnings("ignore", category=RuntimeWarning)
            super().search(verbose=0)

    def point(self, values):
        """Returns a trial's values in the order of the space, the active ones alone.

        Keras Tuner appends what a condition adds, and workers get inactive ones too.
        """
        hp = self.space.copy()
        hp.values = values
        active = {one.name: values[one.name] for one in hp.space if hp.is_active(one)}
        return active | {key: values[key] for key in values if "tuner/" in key}

    def run_trial(self, trial, **_):
        objective = self.study.objective[0]
        trial.hyperparameters.values = self.point(trial.hyperparameters.values)
        run = self.folder / run_name(trial.hyperparameters.values)
        try:
            result = read_result(run)
            if result is None:
                with contextlib.redirect_stdout(self.stdout):
                    result = self._run(trial.hyperparameters, run)
        except Exception as error:
            # The disk's or our own: Keras Tuner would note it and go on.
            raise keras_tuner.errors.FatalValueError(str(error)) from error
        # Keras Tuner prints the traceback of an exception, but not that of NaN.
        return {objective: result["scalars"].get(objective, math.nan)}

    def _run(self, hp, run):
        self.progress.started(run.name)
        result = run_point(self.study, self.config, hp, run)
        self.progress.ended(run.name, result)
        return result


def run_point(study, config, hp, run):
    """Runs one point into the folder `run` and writes its outcome; returns it.

    An exception, or a scalar or objective that is not finite, makes a failed result;
    but an error of the disk is raised, so that the run is repeated.
    """
    values = dict(hp.values)
    # A run that was killed left this folder behind.
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    keras.utils.set_random_seed(values.get("seed", config.seed))
    keras.config.set_dtype_policy(config.policy)
    if "tuner/epochs" in values:
        config = type(config)(**{**vars(config), "epochs": values["tuner/epochs"]})
    start = time.monotonic()
    scalars, curves, status, reason = {}, {}, "finished", ""
    try:
        outcome = study.run(hp, config, str(run))
        for key, value in outcome.items():
            (curves if np.ndim(value) else scalars)[key] = value
        scalars = {key: float(value) for key, value in scalars.items()}
        if study.objective[0] not in scalars:
            raise KeyError(f"run returned no {study.objective[0]!r}")
        broken = [key for key, value in scalars.items() if not math.isfinite(value)]
        if broken:
            status, reason = "failed", f"{broken[0]} is {scalars[broken[0]]}"
    except Exception as error:
        if problem := disk_problem(error):
            raise OSError(f"{run} cannot be written: {problem}") from error
        status = "failed"
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        write_atomically(run / "error.txt", traceback.format_exc())
    finally:
        keras.backend.clear_session(free_memory=True)
    result = {
        "values": values,
        "status": status,
        "reason": reason,
        "scalars": scalars,
        "seconds": round(time.monotonic() - start, 2),
    }
    tensorboard.write_run(run, values, scalars, status)
    write_result(run, result, curves)
    return result


class Progress:
    """Prints one line a trial: which of how many, its outcome, the time left."""

    def __init__(self, study, config, points, folder):
        self.study, self.config = study, config
        # Without a grid, the number of trials, and nothing known of each.
        self.estimates = {
            run_name(point): study.seconds(point, config) or 1.0 for point in points
        }
        self.total = len(points) or (config.trials or DEFAULT_TRIALS)
        if config.search == "hyperband":
            self.total = None
        self.seen = {}
        for path in pathlib.Path(folder).glob("*/result.json"):
            self.seen[path.parent.name] = read_result(path.parent)["seconds"]
        if self.seen:
            print(
                f"{len(self.seen)} trials have ended already and are kept", flush=True
            )

    def started(self, name):
        if sys.stdout.isatty():
            print(f"\r{self._count(len(self.seen) + 1)} {name} ...", end="", flush=True)

    def ended(self, name, result):
        self.seen[name] = result["seconds"]
        objective = self.study.objective[0]
        outcome = (
            f"{objective} {result['scalars'][objective]:.4f}"
            if result["status"] == "finished"
            else f"FAILED: {result['reason']}"
        )
        left = self.seconds_left()
        left = "" if left is None else f"  {format_seconds(left)} left"
        clear = "\r\x1b[K" if sys.stdout.isatty() else ""
        print(
            f"{clear}{self._count(len(self.seen))} {name}  {outcome}  "
            f"{format_seconds(result['seconds'])}{left}",
            flush=True,
        )

    def seconds_left(self):
        """Estimates what is left from what the ended trials took, or `None`."""
        if self.total is None or not self.seen:
            return None
        spent = sum(self.seen.values())
        expected = sum(self.estimates.get(name, 1.0) for name in self.seen)
        if self.estimates:
            waiting = sum(
                seconds
                for name, seconds in self.estimates.items()
                if name not in self.seen
            )
        else:
            waiting = max(self.total - len(self.seen), 0)
        return waiting * spent / max(expected, 1e-9) / max(self.config.workers, 1)

    def _count(self, number):
        total = "?" if self.total is None else self.total
        return f"[{number}/{total}]"


def format_seconds(seconds):
    """Formats a duration for people.

    >>> format_seconds(4.2), format_seconds(200), format_seconds(9000)
    ('4 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
