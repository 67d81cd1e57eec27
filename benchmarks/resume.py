"""Kills studies at random moments: what they report in the end must be the same.

    python benchmarks/resume.py                       # the quick preset of every study
    python benchmarks/resume.py --study=games --flags="--experiment=matrix"

A study runs once undisturbed. Then it is started and killed (SIGKILL to all of its
processes) until `--kills` kills have hit it, in a new folder whenever it has finished.
Moments are drawn from the time that it works, not from that of imports. Each finished
folder must have the undisturbed `results.csv` and tables of `report.md`, but for
columns of times. It ends with code 1 if one has not.
"""

import argparse
import contextlib
import os
import pathlib
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

import pandas as pd

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Names of columns that hold times, such as `cpu_seconds` or `ms per layer`.
TIME = re.compile(r"(?<![a-z])((milli)?seconds|minutes|ms|s|time)(?![a-z])", re.I)


@contextlib.contextmanager
def started(study, logdir, flags=()):
    """Starts an app and waits until it works; in the end, its process group is killed.

    It works as soon as it has opened a study's folder.
    """
    opened = opens(logdir)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with open(f"{logdir}.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", f"zoo.apps.{study}", f"--logdir={logdir}", *flags],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while process.poll() is None and opens(logdir) == opened:
            time.sleep(0.05)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def opens(logdir):
    """What changes as a folder of `logdir` is opened."""
    # `os.walk` passes over folders that the study removes meanwhile.
    return {
        os.stat(os.path.join(folder, "config.json")).st_mtime_ns
        for folder, _, files in os.walk(logdir)
        if "config.json" in files
    }


def run(study, logdir, flags=()):
    """Runs a study to its end; returns its exit code and the seconds of its work."""
    with started(study, logdir, flags) as process:
        begin = time.monotonic()
        return process.wait(), time.monotonic() - begin


def run_killed(study, logdir, flags, moments):
    """Runs a study to its end, killed at each of `moments` after it began to work.

    Returns:
        Its exit code, and how many kills have hit it.
    """
    for kills, moment in enumerate(moments):
        with (
            started(study, logdir, flags) as process,
            contextlib.suppress(subprocess.TimeoutExpired),
        ):
            return process.wait(moment), kills
    return run(study, logdir, flags)[0], len(moments)


def differences(logdir, other):
    """Says in words where the numbers of two finished folders differ."""
    found = []
    folders = sorted(path.parent for path in logdir.rglob("results.csv"))
    if not folders:
        return [f"{logdir} holds no results.csv"]
    for folder in folders:
        twin = other / folder.relative_to(logdir)
        for read in (read_csv, read_tables):
            try:
                found += (
                    [] if read(folder) == read(twin) else [f"{read.__name__}: {twin}"]
                )
            except FileNotFoundError as error:
                found.append(str(error))
    return found


def read_csv(folder):
    """Returns the text of `results.csv` without the columns of times."""
    table = pd.read_csv(folder / "results.csv", dtype=str, keep_default_na=False)
    return table[[name for name in table if not TIME.search(name)]].to_csv(index=False)


def read_tables(folder):
    """Returns the tables of `report.md`, lists of rows, without columns of times."""
    text = (folder / "report.md").read_text(encoding="utf-8")
    tables = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()]
        kept = [place for place, name in enumerate(rows[0]) if not TIME.search(name)]
        tables.append([[row[place] for place in kept] for row in rows])
    return tables


def check(study, flags, kills, seed):
    """Kills one study `kills` times; returns how many folders differ in the end."""
    rng, broken, hits, rounds = random.Random(seed), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        whole = pathlib.Path(folder, "whole")
        code, seconds = run(study, whole, flags)
        while hits < kills:
            logdir = pathlib.Path(folder, f"round{rounds}")
            # A study goes on by half of a moment, on average, until the next kill.
            moments = [rng.uniform(0, seconds / 2) for _ in range(kills - hits)]
            ended, hit = run_killed(study, logdir, flags, moments)
            found = differences(whole, logdir)
            if ended != code:
                found.append(f"exit code {ended} after kills, {code} without")
            for line in found:
                print(f"  {line}", flush=True)
            broken += bool(found)
            hits, rounds = hits + hit, rounds + 1
    print(
        f"{study}: {hits} kills in {rounds} rounds of {seconds:.0f} s of work, exit "
        f"code {code}, {broken} rounds differ",
        flush=True,
    )
    return broken


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", help="one study instead of all")
    parser.add_argument("--flags", default="", help="flags of the study")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    studies = [arguments.study] if arguments.study else names()
    flags = shlex.split(arguments.flags)
    broken = sum(
        check(study, flags, arguments.kills, arguments.seed) for study in studies
    )
    return int(broken > 0)


def names():
    """Returns the names of all studies."""
    sys.path.insert(0, str(ROOT))
    from zoo.apps import STUDIES

    return list(STUDIES)


if __name__ == "__main__":
    sys.exit(main())
