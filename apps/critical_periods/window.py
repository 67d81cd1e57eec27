"""Sensitivity by onset: a deficit in a window of epochs, early or late."""

import numpy as np
import pandas as pd

from zoo.apps.critical_periods.common import (
    CLEAN,
    CriticalPeriodsStudy,
    phase_of,
)
from zoo.apps.critical_periods.numbers import (
    CONTROL,
    NAMES,
    by_seed,
    curves_figure,
    differences,
    direction,
    labels,
    paired,
    with_error,
)
from zoo.apps.critical_periods.presets import CPU, PAPER, QUICK
from zoo.study import Section, format_mean


class Window(CriticalPeriodsStudy):
    """Trains `onset` clean epochs, a window of the deficit, then clean epochs."""

    experiment = "window"
    title = "Critical periods: a deficit in a window"
    presets = {
        "quick": {
            **QUICK,
            "model": ["small_cnn"],
            "onset": [0, 8],
            "window_epochs": 8,
            "runs": 1,
        },
        "cpu": {
            **CPU,
            "model": ["small_cnn"],
            "onset": [0, 10, 20],
            "window_epochs": 20,
            "limit": 1024,
            "runs": 3,
        },
        "paper": {
            **PAPER,
            "model": ["cnn"],
            "onset": list(range(0, 120, 20)),
            "window_epochs": 40,
        },
    }

    def prepare(self, config):
        self.check_numbers(config, "onset", 0, 1e6, int)
        config.onset.sort()
        super().prepare(config)

    def grid(self, hp, config):
        hp.Choice("dataset", config.dataset)
        hp.Choice("model", config.model)
        hp.Choice("arm", self.arms(config))
        hp.Choice("onset", config.onset)
        self.seeds(hp, config)

    def path(self, values, config):
        return (
            (CLEAN,) * values["onset"]
            + (phase_of(values["arm"]),) * config.window_epochs
            + (CLEAN,) * config.epochs
        )

    def points(self, config):
        return [
            {"arm": arm, "onset": onset}
            for arm in self.arms(config)
            for onset in config.onset
        ]

    def sections(self, results, point, config):
        title, name = labels(point)
        rows, sentences, curves = [], [], {}
        for arm in self.arms(config):
            found, losses = [], []
            for onset in config.onset:
                place = {**point, "onset": onset}
                values = by_seed(results, "test_accuracy", **place, arm=arm)
                control = by_seed(results, "test_accuracy", **place, arm=CONTROL)
                rows.append(
                    {
                        "training": NAMES[arm],
                        "onset": onset,
                        "test %": format_mean(list(values.values())),
                    }
                )
                if values:
                    found.append((onset, np.array(list(values.values()))))
                if arm != CONTROL:
                    loss = paired(values, control)
                    rows[-1]["less as many clean epochs"] = with_error(loss)
                    losses.append(differences(values, control))
                    sentences.append(
                        f"{NAMES[arm]} from epoch {onset} {with_error(loss)}, "
                        f"{direction(loss)}"
                    )
            if len(losses) > 1:
                change = paired(losses[-1], losses[0])
                sentences.append(
                    f"the last window less the first {with_error(change)}, "
                    f"{direction(change)}"
                )
            if found:
                curves[NAMES[arm]] = tuple(zip(*found, strict=True))
        text = (
            f"A deficit of {config.window_epochs} epochs, then {config.epochs} clean "
            "ones, less clean training of as many epochs, in points: "
            f"{'; '.join(sentences)}. Achille et al. find that early windows cost most."
        )
        if config.decay < 1:
            text += " The learning rate falls, so that late windows move weights less."
        figure = curves_figure(
            f"{title}: a deficit of {config.window_epochs} epochs",
            "onset, clean epochs before the deficit",
            curves,
        )
        table = pd.DataFrame(rows).fillna("-")
        return [Section(title, text, table, figure, f"window_{name}")]
