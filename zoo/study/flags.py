"""The flags that all studies share, and how presets and flags make settings."""

import math
import os
import types

from absl import flags

# Common flags that are no entries of presets.
COMMON = (
    *(
        "preset",
        "data_dir",
        "logdir",
        "seed",
        "search",
        "trials",
        "workers",
        "strategy",
    ),
    *("policy", "jit", "resume", "fresh", "dry_run"),
)
# Flags of all studies that a preset may lack: the study does not read them then.
SHARED = ("dataset", "limit", "image_size", "runs", "epochs", "batch_size")
# Settings that may differ between two starts in one folder.
FREE = frozenset(
    {"logdir", "data_dir", "runs", "trials", "workers", "resume", "fresh", "dry_run"}
)


def define_flags(*studies):
    """Defines the common flags and the studies' own; call once, at the entry point."""
    presets = list(studies[0].presets)
    flags.DEFINE_enum("preset", presets[0], presets, "Settings to start from.")
    flags.DEFINE_list("dataset", None, "Data sets, separated by commas.")
    flags.DEFINE_integer("limit", None, "Training images; 0 takes all.", lower_bound=0)
    flags.DEFINE_integer(
        "image_size",
        None,
        "Average-pool images to this side; 0 leaves them.",
        lower_bound=0,
    )
    flags.DEFINE_string(
        "data_dir", None, "Folder of the data set's files or of TensorFlow Datasets."
    )
    flags.DEFINE_string("logdir", "runs", "Folder for results and TensorBoard logs.")
    flags.DEFINE_integer("seed", 0, "First seed.", lower_bound=0, upper_bound=2**31 - 1)
    flags.DEFINE_integer(
        "runs", None, "Seeds a condition.", lower_bound=1, upper_bound=100_000
    )
    flags.DEFINE_integer(
        "epochs", None, "Epochs a run.", lower_bound=1, upper_bound=10**6
    )
    flags.DEFINE_integer("batch_size", None, "Images a batch.", lower_bound=1)
    flags.DEFINE_enum(
        "search",
        "grid",
        ["grid", "random", "bayesian", "hyperband"],
        "Visit every point of the grid, or tune over the study's search space.",
    )
    flags.DEFINE_integer(
        "trials",
        None,
        "Trials of a search (20), or points of the grid to stop after (all).",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "workers",
        0,
        "Processes to spread trials over; 0 runs them in this one.",
        lower_bound=0,
        upper_bound=1024,
    )
    flags.DEFINE_enum(
        "strategy",
        "none",
        ["none", "mirrored", "multi_worker"],
        "Spread each training over GPUs, or over the machines of TF_CONFIG.",
    )
    flags.DEFINE_enum(
        "policy",
        "float32",
        ["float32", "mixed_float16", "mixed_bfloat16"],
        "Keras dtype policy.",
    )
    flags.DEFINE_enum(
        "jit", "auto", ["auto", "on", "off"], "XLA compilation; auto is Keras's choice."
    )
    flags.DEFINE_bool(
        "resume", True, "Go on with what lies in the study's folder; else refuse to."
    )
    flags.DEFINE_bool(
        "fresh", False, "Set the study's earlier folder aside, start over."
    )
    flags.DEFINE_bool(
        "dry_run", False, "Print the grid and the estimated time, then stop."
    )
    experiments = [study.experiment for study in studies if study.experiment]
    if experiments:
        flags.DEFINE_list(
            "experiment",
            experiments,
            f"Parts of the study to run: {', '.join(experiments)}.",
        )
    for define in dict.fromkeys(study.define_flags.__func__ for study in studies):
        define(studies[0])


def chosen(studies, values):
    """Returns those of `studies` that `--experiment` names, in their own order.

    Raises:
        ValueError: it names none of them, or a flag is set that they do not read.
    """
    if not studies[0].experiment:
        return studies
    known = [study.experiment for study in studies]
    for name in values.experiment:
        if name not in known:
            raise ValueError(f"--experiment={name} must be one of {', '.join(known)}")
    chosen = [study for study in studies if study.experiment in values.experiment]
    if not chosen:
        raise ValueError(f"--experiment must name some of {', '.join(known)}")
    settings = {name for study in studies for name in study.presets[values.preset]}
    settings.update(SHARED)
    read = {name for study in chosen for name in study.presets[values.preset]}
    for name in sorted(settings - read):
        if values[name].value is not None:
            raise ValueError(
                f"--{name} is not read by --experiment={','.join(values.experiment)}"
            )
    return chosen


def check_values(config):
    """Checks what holds for the settings of all studies.

    Raises:
        ValueError: a number is not finite, or there is no folder of data.
    """
    for name, value in sorted(vars(config).items()):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{name}={value} must be finite")
    if config.search == "hyperband" and config.trials:
        raise ValueError(
            f"--trials={config.trials} is not read by --search=hyperband, whose number "
            "of trials follows from --epochs"
        )
    if config.data_dir and not os.path.isdir(config.data_dir):
        raise ValueError(f"--data_dir={config.data_dir}: must be an existing folder")


def make_config(study, values):
    """Makes the settings from flag values: what is set wins over the preset.

    Args:
        study: a `Study`.
        values: `absl.flags.FlagValues`, parsed.

    Returns:
        `types.SimpleNamespace`, one attribute a common flag or preset entry.
    """
    preset = study.presets[values.preset]
    config = {name: values[name].value for name in COMMON}
    if study.experiment:
        config["experiment"] = study.experiment
    for name, value in preset.items():
        config[name] = value if values[name].value is None else values[name].value
    return types.SimpleNamespace(**config)


def to_flags(config):
    """Formats settings as flags, one a line, for `--flagfile`."""
    lines = []
    for name, value in sorted(vars(config).items()):
        if value is None or name in ("fresh", "dry_run", "resume", "workers"):
            continue
        if isinstance(value, list | tuple):
            value = ",".join(map(str, value))
        lines.append(f"--{name}={value}")
    return "\n".join(lines) + "\n"


def differences(old, new):
    """Says in words where two dicts of settings differ, leaving out the free ones."""
    return [
        f"{name} was {old.get(name)!r}, now {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if name not in FREE and old.get(name) != new.get(name)
    ]
