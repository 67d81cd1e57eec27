"""What the experiments on Plug-and-Play methods share: flags, images, a run."""

import itertools
import warnings

import numpy as np
import pandas as pd
from absl import flags

from zoo.apps.imaging import check_bm3d, load_images
from zoo.apps.plug_and_play.denoisers import DENOISERS, LEVEL
from zoo.apps.plug_and_play.tasks import TASKS
from zoo.solvers import plug_and_play
from zoo.study.tuning import Comparison, hold, refuse_hyperband

SOLVERS = {
    name: getattr(plug_and_play, f"pnp_{name}")
    for name in ("admm", "drs", "fbs", "pdhg")
}
# Of a point, which float32 rounds to 1e-7 of it.
SMALLEST_CHANGE = 1e-5


class PlugAndPlayStudy(Comparison):
    """An experiment of the report on Plug-and-Play methods."""

    name = "plug_and_play"
    objective = ("psnr", "max")

    @classmethod
    def define_flags(cls):
        flags.DEFINE_list("task", None, f"What to undo: {', '.join(TASKS)}.")
        flags.DEFINE_list("denoiser", None, f"Denoisers: {', '.join(DENOISERS)}.")
        flags.DEFINE_list("solver", None, f"Methods: {', '.join(SOLVERS)}.")
        flags.DEFINE_list(
            "images", None, "Names of test images, also phantom; or all of --data_dir."
        )
        flags.DEFINE_integer(
            "iterations", None, "Iterations of a method.", lower_bound=2
        )
        flags.DEFINE_list(
            "step", None, "Steps, in parts of the one that suits the task."
        )

    def prepare(self, config):
        self.check_choices(config, "task", TASKS)
        self.check_choices(config, "denoiser", DENOISERS)
        self.check_choices(config, "solver", SOLVERS)
        self.check_numbers(config, "step", 1e-6, 1e6)
        if config.strategy != "none":
            raise ValueError(
                f"--strategy={config.strategy} must be none: nothing is trained"
            )
        check_bm3d(config.denoiser)
        self.names, self.truth = load_images(config)
        self.problems, self.networks = {}, {}

    def grid(self, hp, config):
        hp.Choice("task", config.task)
        self.compared(hp, config)
        hp.Choice("step", config.step)
        self.seeds(hp, config)

    def space(self, hp, config):
        refuse_hyperband(config)
        hold(hp, config, "task")
        self.compared(hp, config)
        hp.Float("step", 0.1, 10.0, sampling="log")

    def compared(self, hp, config):
        """Declares what recovers."""
        hp.Choice("denoiser", config.denoiser)
        hp.Choice("solver", config.solver)

    def point(self, hp):
        """Returns what a point of the grid says to a solver, a dict of arguments."""
        task, denoiser = TASKS[hp.get("task")], DENOISERS[hp.get("denoiser")]
        operator, y = self.problem(hp.get("task"), hp.get("seed"))
        step, sigma = suited(
            task, denoiser, operator, y, hp.get("solver"), hp.get("step")
        )
        return {
            "y": y,
            "operator": operator,
            "denoiser": self.network(hp.get("task"), hp.get("denoiser")),
            "step": step,
            "sigma": sigma,
            "fidelity": task.fidelity,
        }

    def solve(self, hp, config, **settings):
        """Recovers all images at a point of the grid; returns the solver's result."""
        solver = SOLVERS[hp.get("solver")]
        with warnings.catch_warnings():
            # The report says which steps are too long, and what diverged.
            warnings.simplefilter("ignore", UserWarning)
            return solver(
                **self.point(hp),
                truth=self.truth,
                iterations=config.iterations,
                **settings,
            )

    def sections(self, results, config):
        return [
            section
            for task in config.task
            if len(results.select(task=task))
            for section in self.sections_of(results, config, task)
        ]

    def sections_of(self, results, config, task):
        """Returns the sections on one task."""
        raise NotImplementedError

    def conditions(self, results, config, task):
        """Yields each condition of a task that has finished, and its runs."""
        chosen = (config.denoiser, config.solver, config.step)
        for denoiser, solver, step in itertools.product(*chosen):
            point = {"denoiser": denoiser, "solver": solver, "step": step}
            runs = results.select(task=task, **point)
            if len(runs):
                yield denoiser, solver, step, runs

    def problem(self, name, seed):
        """Returns the operator and the measurements of a task, made once."""
        if (name, seed) not in self.problems:
            operator = TASKS[name].operator(self.truth.shape[1:], seed)
            y = TASKS[name].measure(operator, self.truth, seed)
            self.problems[name, seed] = operator, y
        return self.problems[name, seed]

    def network(self, task, name):
        """Returns a denoiser, made once: graphs are kept by it."""
        key = (task if name in TASKS[task].weight else None, name)
        if key not in self.networks:
            self.networks[key] = DENOISERS[name].make(TASKS[task])
        return self.networks[key]


def suited(task, denoiser, operator, y, solver, factor):
    """Returns the step that suits a task and a denoiser, and the level it is given."""
    if solver != "fbs":
        level, ratio = LEVEL / 255, task.fixed_ratio
        if denoiser.levels:
            level, ratio = task.sigma / 255, task.ratio
        step = factor * ratio * (level / task.noise) ** 2
    else:
        step = factor / task.fidelity.smoothness(operator, y)
        # The noise that a step lets in.
        level = step**0.5 * task.noise
    return step, level if denoiser.levels else None


def progress(result):
    """Returns the mean PSNR, in the end and on the way, and what was lost of it."""
    # What has stopped keeps its last.
    psnr = pd.DataFrame(result.psnr.T).ffill()
    return {
        "psnr": float(psnr.iloc[-1].mean()),
        "loss_of_best": float((psnr.max() - psnr.iloc[-1]).max()),
        "psnr_curve": psnr.mean(axis=1).to_numpy(),
    }


def moving_factors(result):
    """Returns the contractions of changes that are more than rounding."""
    moving = result.residual[:, 1:] > SMALLEST_CHANGE
    return result.contraction[moving & np.isfinite(result.contraction)]


def geometric_mean(factors):
    """Returns the root of the product of all of them."""
    return float(np.exp(np.log(np.maximum(factors, 1e-30)).mean()))
