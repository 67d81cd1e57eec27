"""What the experiments on sparse recovery share: flags, the problem, words, figures."""

import dataclasses

import numpy as np
from absl import flags
from matplotlib.ticker import MaxNLocator

from zoo.data import bernoulli_gaussian, bernoulli_gaussian_fixture
from zoo.metrics import nmse
from zoo.study import format_mean, new_figure
from zoo.study.tuning import Comparison, hold, refuse_hyperband

# The seed of the signals that errors are measured on, apart from all of training.
HELD_OUT = 10**6
SIGNALS = 1000
# `M`, `N`, sparsity and SNR of the public fixture.
FIXTURE = (250, 500, 0.1, 40.0)
# What presets share: a problem, and a training of two sizes.
QUICK_PROBLEM = {"measurements": 100, "unknowns": 200, "sparsity": 0.1, "snr": 40.0}
CPU_PROBLEM = {"measurements": 250, "unknowns": 500}
QUICK_TRAINING = {"steps": 0.15, "batch_size": 250, "schedule": "joint", "runs": 1}
PAPER_TRAINING = {"steps": 5.0, "batch_size": 1000, "schedule": "layerwise"}
# Figures end here, and so do the numbers of tables.
HIGHEST, DIVERGES = 5.0, "diverges"


class RecoveryStudy(Comparison):
    """An experiment of the report on sparse recovery."""

    name = "sparse_recovery"

    @classmethod
    def define_flags(cls):
        flags.DEFINE_list("method", None, "Methods to compare.")
        flags.DEFINE_list(
            "condition", None, "Condition numbers of the matrix; none: iid entries."
        )
        flags.DEFINE_list("problem", None, "Problems of channel estimation.")
        flags.DEFINE_integer("measurements", None, "M, rows of the matrix.")
        flags.DEFINE_integer(
            "unknowns", None, "N, its columns.", lower_bound=3, upper_bound=10**6
        )
        flags.DEFINE_float("sparsity", None, "Share of entries other than 0.")
        flags.DEFINE_float("snr", None, "Signal to noise ratio in dB.")
        flags.DEFINE_integer(
            "users", None, "Users of random access.", lower_bound=2, upper_bound=10**6
        )
        flags.DEFINE_integer("pilots", None, "Symbols of a user's pilot.")
        flags.DEFINE_float("activity", None, "Share of users who are active.")
        flags.DEFINE_integer(
            "antennas",
            None,
            "Antennas, and users of a cell, of massive MIMO.",
            lower_bound=1,
            upper_bound=10**5,
        )
        flags.DEFINE_integer(
            "depth", None, "Layers of a network.", lower_bound=1, upper_bound=1000
        )
        flags.DEFINE_integer(
            "lista_depth",
            None,
            "Layers of LISTA where entries are iid.",
            lower_bound=1,
            upper_bound=1000,
        )
        flags.DEFINE_integer(
            "iterations", None, "Iterations of FISTA at most.", lower_bound=1
        )
        flags.DEFINE_float("target_nmse", None, "NMSE in dB to count the work to.")
        flags.DEFINE_float(
            "steps", None, "Updates, in multiples of each network's own."
        )
        flags.DEFINE_enum(
            "schedule",
            None,
            ["joint", "layerwise"],
            "Train all layers at once by the errors of all, or one after the other.",
        )

    def space(self, hp, config):
        refuse_hyperband(config)
        hold(hp, config)

    def seeds_of(self, hp, config, learned):
        """Declares seeds for the methods `learned`: others meet the same signals."""
        if learned:
            with hp.conditional_scope("method", learned):
                self.seeds(hp, config)

    def check_number(self, config, flag, low, high, allowed):
        """Refuses a flag's number that is not within `low` and `high`."""
        value = getattr(config, flag)
        if not low <= value <= high:
            raise ValueError(f"--{flag}={value:g} must be {allowed}")

    def check_training(self, config):
        """Checks the flags of all experiments that train."""
        self.check_number(config, "steps", 1e-3, 1e6, "from 0.001 to 1e+06")

    def check_problem(self, config):
        """Checks the flags of the Bernoulli-Gaussian problem."""
        self.check_number(config, "measurements", 2, 1e5, "from 2 to 100000")
        if config.measurements >= config.unknowns:
            raise ValueError(
                f"--measurements={config.measurements} must be less than "
                f"--unknowns={config.unknowns}"
            )
        self.check_number(config, "sparsity", 1e-6, 1 - 1e-6, "above 0 and below 1")
        self.check_number(config, "snr", -20, 200, "from -20 to 200")
        self.check_number(config, "target_nmse", -200, -1, "from -200 to -1")


@dataclasses.dataclass(frozen=True)
class Task:
    """A problem, and the signals on which errors are measured.

    Attributes:
        problem: a `zoo.data.SparseProblem`.
        y: float64 `[signals, M]`.
        x: float64 `[signals, N]`.
        is_fixture: whether they are the public ones.
    """

    problem: object
    y: np.ndarray
    x: np.ndarray
    is_fixture: bool = False

    def nmse(self, estimate, average="block"):
        """The NMSE in dB of estimates of `x`."""
        return nmse(estimate, self.x, average, np.asarray(self.problem.mask))


def bernoulli_gaussian_task(config, condition=None):
    """Returns the public fixture where the settings are its own, else draws."""
    shape = (config.measurements, config.unknowns)
    if (*shape, config.sparsity, config.snr) == FIXTURE:
        return Task(*bernoulli_gaussian_fixture(condition), is_fixture=True)
    problem = bernoulli_gaussian(
        shape, config.sparsity, config.snr, condition, config.seed
    )
    return draw(problem)


def draw(problem):
    """Returns a problem with signals apart from those of training, none of them 0."""
    y, x = problem.sample(SIGNALS, HELD_OUT, dtype="float64")
    some = x.any(axis=1)
    if not some.any():
        raise ValueError("--sparsity or --activity leaves nothing but signals of 0")
    return Task(problem, y[some], x[some])


def steps_to(curve, limit):
    """The first step, from 1 on, with an error within `limit`; -1 if there is none."""
    within = np.flatnonzero(np.asarray(curve) <= limit)
    return int(within[0]) + 1 if len(within) else -1


def say_steps(counts, most=None):
    """Says in how many steps the median run is there."""
    if not len(counts):
        return "-"
    count = np.median(np.where(np.asarray(counts) < 0, np.inf, counts))
    if np.isfinite(count):
        return f"{count:.0f}"
    return "never" if most is None else f"more than {most}"


def say_decibels(values):
    """Formats errors, or says that they are far above that of an estimate of 0."""
    if len(values) and np.mean(values) > HIGHEST:
        return DIVERGES
    return format_mean(values)


def decibel_figure(title, xlabel):
    """A figure of the NMSE with room for a legend of many methods."""
    figure, ax = new_figure(title, xlabel, "NMSE, dB")
    figure.set_size_inches(8.6, 4.8)
    return figure, ax


def cut(ax):
    """Cuts a figure of the NMSE off above."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, min(high, HIGHEST))


def whole_ticks(ax):
    """Puts ticks at whole numbers of layers."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def finish(figure, ax):
    """Cuts a figure of the NMSE off above, and adds its legend beside it."""
    cut(ax)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right", fontsize=8)
