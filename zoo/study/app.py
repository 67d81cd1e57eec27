"""The entry point of an app: flags in, a study run, a report out."""

import pathlib
import sys

import keras
from absl import app, flags

from zoo.study import distribute, lock, tensorboard, workers
from zoo.study.codes import FAILED_TRIALS, FINISHED, MISTAKE, STOPPED
from zoo.study.flags import (
    check_values,
    chosen,
    define_flags,
    make_config,
    to_flags,
)
from zoo.study.report import Section, counted, write_report
from zoo.study.results import Results, run_name
from zoo.study.runner import (
    DEFAULT_TRIALS,
    Progress,
    StudyTuner,
    check_settings,
    format_seconds,
    grid_points,
    have_ended,
    open_folder,
    search_space,
    set_aside,
)
from zoo.study.study import Study

# Points that `--dry_run` prints.
LISTED = 1000


def main(*studies: type[Study]) -> None:
    """Runs a study as an absl app, under `python -m` or `zoo NAME`; never returns.

    Several study classes are the experiments of one app: they bear its `name`, and
    `--experiment` chooses among them.

    A mistake in a flag, in the data or in the folder ends in one line and exit code 1,
    a grid with a failed trial in exit code 2.

    Args:
        *studies: subclasses of `zoo.study.Study`.

    Example: an app is this one line, and ends the process.

    >>> from zoo.apps import margins
    >>> main(*margins.EXPERIMENTS)  # doctest: +SKIP
    """
    others = set(flags.FLAGS)
    define_flags(*studies)
    for name in set(flags.FLAGS) - others:
        # For --help, which shows the flags of the main module alone.
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])
    distribute.grow_memory()
    app.run(lambda _: run_studies(*studies), flags_parser=parse)


def parse(argv):
    """Parses the flags; ends the process with one line where one is wrong."""
    try:
        left = flags.FLAGS(argv)
    except flags.Error as error:
        sys.exit(_complain(error))
    if len(left) > 1:
        sys.exit(_complain(f"unexpected argument {left[1]!r}: flags start with --"))
    return left


def run_studies(*studies):
    """Runs what `--experiment` chooses of an app's study classes; returns an exit code.

    All are checked before the first runs. One that has failed trials does not keep the
    next from running.
    """
    try:
        chosen_studies = chosen(studies, flags.FLAGS)
        several = len(chosen_studies) > 1
        if several and workers.role() != "single":
            raise ValueError(
                "KERASTUNER_ORACLE_IP joins the machines of one experiment: "
                f"--experiment={','.join(flags.FLAGS.experiment)} must name one"
            )
        for study in chosen_studies if several else ():
            # Not kept: each has its data in memory.
            _prepare(study())
        outcome = FINISHED
        for study in chosen_studies:
            if several:
                print(f"\n{study.name} --experiment={study.experiment}", flush=True)
            outcome = max(outcome, run_study(*_prepare(study())))
        return outcome
    except KeyboardInterrupt:
        print("\nstopped: the same command goes on from here", file=sys.stderr)
        return STOPPED
    except (ValueError, OSError) as error:
        return _complain(error)


def _prepare(study):
    """Returns a study, its settings, its search space and the points of its grid."""
    config = make_config(study, flags.FLAGS)
    check_values(config)
    distribute.check(config)
    config.logdir = distribute.own_logdir(config)
    study.prepare(config)
    hp = search_space(study, config)
    points = grid_points(hp)[: config.trials] if config.search == "grid" else []
    return study, config, hp, points


def run_study(study, config, hp, points):
    """Runs a study that is prepared; returns the exit code."""
    if config.dry_run:
        _print_plan(study, config, points)
        return FINISHED
    folder = study.folder(config.logdir)
    role = workers.role()
    if role == "worker":
        _search(study, config, folder, points)
        return FINISHED
    if workers.has_parent():
        # Which holds the folder.
        return _run(study, config, hp, points, role)
    if config.fresh:
        set_aside(folder)
    if folder.exists():
        check_settings(folder, config)
    if have_ended(folder, points) and lock.is_held(folder):
        # A report alone does not disturb the run that another process adds to it.
        return _finish(study, config, folder, points)
    with lock.hold(folder):
        return _run(study, config, hp, points, role)


def _run(study, config, hp, points, role):
    folder = open_folder(study, config)
    if not any(folder.glob("events.*")):
        tensorboard.write_study(folder, hp, study.objective[0], to_flags(config))
    if config.workers and role == "single":
        workers.run(config.workers, folder, Progress(study, config, points, folder))
    else:
        _search(study, config, folder, points)
    return _finish(study, config, folder, points)


def _search(study, config, folder, points):
    tuner = StudyTuner(study, config, folder, Progress(study, config, points, folder))
    tuner.search()


def _finish(study, config, folder, points):
    results = Results(folder, order=[run_name(point) for point in points])
    sections = study.report(results, config)
    if config.search != "grid":
        sections = [_best(study, results), *sections]
    failed = results.failed()
    if len(failed):
        text = "Each failed run keeps its folder; delete it to repeat the run."
        table = failed[["run", "reason"]]
        sections.append(Section("Failed runs", text, table))
    sections.append(_how(study, config, results))
    report = write_report(folder, study.title, sections, results)
    print(f"report:      {report}, report.html")
    print(f"TensorBoard: tensorboard --logdir {config.logdir}")
    if len(failed):
        print(f"{len(failed)} of {len(results.table)} trials failed", file=sys.stderr)
        return FAILED_TRIALS
    return FINISHED


def _best(study, results):
    name, direction = study.objective
    table = results.select()
    if name not in table:
        return Section("Best trials", "No trial has finished.")
    table = table.sort_values(name, ascending=direction == "min")
    columns = [*(key for key in results.values if "tuner/" not in key), name]
    table = table[columns].head(10)
    return Section("Best trials", f"By {name}, {direction}imised.", table)


def _how(study, config, results):
    seconds = results.table["seconds"].sum()
    text = (
        f"{counted(len(results.table), 'run')}, {format_seconds(seconds)} in all, with "
        f"Keras {keras.__version__} on {keras.backend.backend()}. The settings are in "
        f"`flags.txt`; this repeats the study elsewhere:\n\n```\npython "
        f"{' '.join(workers.program())} "
        f"--flagfile={study.folder(config.logdir)}/flags.txt --logdir=elsewhere\n```"
    )
    return Section("How this was made", text)


def _print_plan(study, config, points):
    if not points:
        size = f"{config.trials or DEFAULT_TRIALS} trials"
        if config.search == "hyperband":
            size = f"up to {config.epochs} epochs a trial"
        print(f"{study.name}: {config.search} search, {size}")
        return
    seconds = [study.seconds(point, config) for point in points]
    names = [run_name(point) for point in points[:LISTED]]
    width = max(map(len, names))
    for name, estimate in zip(names, seconds, strict=False):
        about = "" if estimate is None else f"  about {format_seconds(estimate)}"
        print(f"{name:{width}}{about}".rstrip())
    if len(points) > LISTED:
        print(f"... and {len(points) - LISTED:,} more")
    if None in seconds:
        print(f"{counted(len(points), 'run')}; their time was not measured")
        return
    total = format_seconds(sum(seconds) / max(config.workers, 1))
    print(f"{counted(len(points), 'run')}, about {total} on two cores")


def _complain(error):
    line = " ".join(str(error).split())
    program = pathlib.Path(sys.argv[0])
    name = program.parent.name if program.stem == "__main__" else program.stem
    print(f"{name}: error: {line}", file=sys.stderr)
    return MISTAKE
