"""What all studies share: grid, runs, resuming, results, report, flags."""

from zoo.study.app import main
from zoo.study.report import Section, deviation, format_mean, new_figure, plot_band
from zoo.study.results import Results
from zoo.study.study import Study
from zoo.study.tensorboard import EpochLogs
from zoo.study.training import evaluate, fit, jit_compile, load_data

__all__ = [
    "EpochLogs",
    "Results",
    "Section",
    "Study",
    "deviation",
    "evaluate",
    "fit",
    "format_mean",
    "jit_compile",
    "load_data",
    "main",
    "new_figure",
    "plot_band",
]
