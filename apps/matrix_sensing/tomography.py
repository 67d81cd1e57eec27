"""Quantum states from Pauli strings: how many strings, and how many shots of each."""

import numpy as np
import pandas as pd

from zoo.apps.matrix_sensing.common import (
    SensingStudy,
    apart,
    recover,
    say_small,
    timed,
)
from zoo.data import ghz_state, measure_shots, random_state
from zoo.layers.sensing import PauliSensing, to_stacked
from zoo.metrics import fidelity
from zoo.solvers.matrix_sensing import tomography
from zoo.study import Section, format_mean, new_figure
from zoo.study.tuning import refuse_search

STATES = {
    "random": lambda qubits, seed: random_state(qubits, seed=seed),
    "ghz": lambda qubits, seed: ghz_state(qubits),
}
# What published code adds to each count.
SMOOTHING = 0.509
# The residual of a state that explains exact measurements.
FITTED = 1e-4


class Tomography(SensingStudy):
    """Recovers pure states of several qubits from a share of all Pauli strings."""

    experiment = "tomography"
    title = "Matrix sensing: quantum state tomography"
    objective = ("fidelity", "max")
    presets = {
        "quick": {
            "state": [*STATES],
            "qubits": ["4", "6", "8"],
            "share": ["0.03", "0.3"],
            "shots": ["0", "8192"],
            "runs": 1,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "qubits": ["4", "6", "8", "10"],
        "share": ["0.01", "0.03", "0.1", "0.3"],
        "runs": 3,
    }
    presets["paper"] = {
        **presets["cpu"],
        "qubits": ["4", "6", "8", "10", "12"],
        "share": ["0.002", "0.01", "0.03", "0.1", "0.3"],
    }

    def prepare(self, config):
        self.check_choices(config, "state", STATES)
        self.check_numbers(config, "qubits", 1, 13, int)
        self.check_numbers(config, "shots", 0, 10**9, int)
        self.check_numbers(config, "share", 1e-5, 0.9)
        # Of few qubits, small shares are less than a pure state's degrees of freedom.
        self.cases = [
            (qubits, share)
            for qubits in config.qubits
            for share in config.share
            if round(share * 4**qubits) >= 2 * 2**qubits - 1
        ]
        if not self.cases:
            raise ValueError(
                "--share must give 2^(qubits + 1) - 1 strings at least: "
                f"{max(config.share):g} of 4^{max(config.qubits)} is less"
            )

    def grid(self, hp, config):
        hp.Choice("state", config.state)
        hp.Choice("strings", [name(*case) for case in self.cases])
        hp.Choice("shots", config.shots)
        self.seeds(hp, config)

    def space(self, hp, config):
        refuse_search(config, "its solver has no steps to choose")

    def seconds(self, values, config):
        qubits = int(values["strings"].split()[0])
        return 0.5 + 2 * 4.0 ** (qubits - 10)

    def run(self, hp, config, logdir):
        case = [name(*case) for case in self.cases].index(hp.get("strings"))
        qubits, share = self.cases[case]
        shots, seeds = hp.get("shots"), apart(hp.get("seed"), 4)
        state = STATES[hp.get("state")](qubits, seeds[0])
        m = round(share * 4**qubits)
        operator = PauliSensing.random(qubits, m, seed=seeds[1])
        exact = np.asarray(operator(to_stacked(state)))

        def found(smoothing=0.0, min_change=1e-7):
            y = exact
            if shots:
                y = measure_shots(exact, shots, smoothing, qubits, seeds[2])
            return recover(
                operator, y, seed=seeds[3], min_change=min_change, solver=tomography
            )

        result, seconds = timed(found)
        outcome = {
            "fidelity": fidelity(result.left, state),
            "ratio": m / 2**qubits,
            "steps": result.steps,
            "residual": result.residual,
            "cpu_seconds": seconds,
        }
        if shots:
            smoothed = found(SMOOTHING)
            outcome["smoothed_fidelity"] = fidelity(smoothed.left, state)
        return outcome

    def sections(self, results, config):
        return [
            self._table(results, config),
            self._smoothing(results, config),
            *(self._figure(results, config, state) for state in config.state),
        ]

    def _table(self, results, config):
        rows = []
        for state in config.state:
            for qubits, share in self.cases:
                cells = {
                    "state": state,
                    "qubits": qubits,
                    "strings": f"{round(share * 4**qubits)} ({share:.1%})",
                    "m / 2^q": f"{share * 2**qubits:.1f}",
                }
                for shots in config.shots:
                    runs = results.select(
                        state=state, strings=name(qubits, share), shots=shots
                    )
                    words = f"{shots} shots" if shots else "exact"
                    cells[words] = format_mean(runs["fidelity"], digits=4)
                    cells[f"{words}: steps"] = format_mean(runs["steps"], digits=0)
                    cells[f"{words}: CPU s"] = say_small(runs["cpu_seconds"])
                rows.append(cells)
        text = (
            "Fidelity of the state that `tomography` finds, by conjugate gradients "
            "from a spectral start, to the true one, a pure state; random strings, "
            "of which the identity is none. A pure state has about 2 degrees of "
            "freedom a row, and shares that give fewer strings are left out. The CPU "
            "seconds are of all cores, with the shots drawn, without making the graph."
            + self._finding(results)
        )
        return Section("Fidelity", text, pd.DataFrame(rows))

    def _finding(self, results):
        runs = results.select(shots=0)
        others = runs[(runs["residual"] < FITTED) & (runs["fidelity"] < 0.5)]
        if not len(others):
            return ""
        cases = ", ".join(dict.fromkeys(others["state"] + " " + others["strings"]))
        return (
            f" In {len(others)} of the {len(runs)} exact runs another state fits the "
            f"measurements to a residual of {FITTED:g}: {cases}. Of a GHZ state almost "
            "all strings measure 0, and the few others may not tell it from all states."
        )

    def _smoothing(self, results, config):
        rows = []
        for shots in filter(None, config.shots):
            for qubits in config.qubits:
                runs = results.select(shots=shots)
                runs = runs[
                    [str(one).split()[0] == str(qubits) for one in runs["strings"]]
                ]
                if len(runs):
                    shrunk = shots / (shots + SMOOTHING * 2**qubits)
                    change = (runs["smoothed_fidelity"] - runs["fidelity"]).abs()
                    rows.append(
                        {
                            "shots": shots,
                            "qubits": qubits,
                            "expectations shrink by": f"{1 - shrunk:.2%}",
                            "largest change of a fidelity": f"{change.max():.1e}",
                        }
                    )
        text = (
            f"Published code adds {SMOOTHING} to the count of each of the 2^q outcomes "
            "of a string's shots. That shrinks all expectations alike, and a state is "
            "found up to that factor, which its trace of 1 takes out."
        )
        return Section("Smoothing of counts", text, pd.DataFrame(rows))

    def _figure(self, results, config, state):
        title = f"Fidelity against strings: {state}"
        figure, ax = new_figure(
            title, "strings / 2^qubits", "1 - fidelity", xscale="log", yscale="log"
        )
        for i, qubits in enumerate(config.qubits):
            for shots, style in zip(
                config.shots, ("o-", "s--", "^:", "v-."), strict=False
            ):
                points = []
                for share in (share for q, share in self.cases if q == qubits):
                    runs = results.select(
                        state=state, strings=name(qubits, share), shots=shots
                    )
                    if len(runs):
                        missing = max(1 - runs["fidelity"].mean(), 1e-10)
                        points.append((runs["ratio"].iloc[0], missing))
                if points:
                    words = f"{shots} shots" if shots else "exact"
                    ax.plot(
                        *np.transpose(sorted(points)),
                        style,
                        color=f"C{i}",
                        label=f"{qubits} qubits, {words}",
                        markersize=4,
                    )
        ax.axhline(0.01, color="black", linewidth=0.8, linestyle=":")
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=8)
        text = "Means over seeds; the dotted line is a fidelity of 0.99."
        return Section(title, text, None, figure, f"fidelity_{state}")


def name(qubits, share):
    return f"{qubits} qubits {share:g}"
