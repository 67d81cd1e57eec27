"""Figure 6: one projector for all tasks, wavelets, and a network for each task."""

import warnings

import keras
import numpy as np
from absl import flags
from keras import ops

from zoo.apps.imaging import photographs
from zoo.apps.plug_and_play.common import progress
from zoo.apps.plug_and_play.decision import Decision
from zoo.apps.plug_and_play.figure_6 import comparison, convergence, pictures
from zoo.apps.plug_and_play.restorations import (
    RESTORATIONS,
    SIDE,
    first_images,
    pulled_back,
    train_specialised,
)
from zoo.data import PatchSampler, load_natural_images
from zoo.metrics import psnr
from zoo.models.projector import pretrained
from zoo.solvers.plug_and_play import Wavelet, pnp_admm
from zoo.study.tuning import Comparison, hold, refuse_hyperband, tunable

PRIORS = ("wavelet", "projector", "specialised")
# Of photographs: moon's pixels are doubled, which any x2 super-resolution would find.
SCALE = 0.5
# The step of a data term without noise.
CERTAIN = 1e4
# Estimates of a run of which the gradient's constant is measured.
LOOKS = 6
# Patches that it is measured of.
LOOKED_AT = 4


class Projector(Comparison):
    """Recovers patches by one projector, changing the operator alone."""

    name = "plug_and_play"
    experiment = "projector"
    title = "Plug-and-Play: one network to solve them all"
    objective = ("psnr", "max")
    presets = {
        "quick": {
            "restoration": list(RESTORATIONS),
            "prior": ["wavelet", "projector"],
            "patches": 16,
            "iterations": 100,
            "training_steps": 20,
            "runs": 1,
        },
    }
    presets["cpu"] = {
        **presets["quick"],
        "prior": list(PRIORS),
        "patches": 128,
        "iterations": 300,
        "training_steps": 1500,
    }
    presets["paper"] = {
        **presets["cpu"],
        "patches": 1024,
        "training_steps": 20_000,
        "runs": 3,
    }

    @classmethod
    def define_flags(cls):
        flags.DEFINE_list("restoration", None, f"Tasks: {', '.join(RESTORATIONS)}.")
        flags.DEFINE_list("prior", None, f"What recovers: {', '.join(PRIORS)}.")
        flags.DEFINE_integer(
            "patches",
            None,
            "Patches that are tested.",
            lower_bound=2,
            upper_bound=100_000,
        )
        flags.DEFINE_integer(
            "training_steps", None, "Updates of a specialised network.", lower_bound=1
        )

    def prepare(self, config):
        self.check_choices(config, "restoration", RESTORATIONS)
        self.check_choices(config, "prior", PRIORS)
        if config.strategy != "none":
            raise ValueError(f"--strategy={config.strategy} must be none")
        known = photographs(config)
        self.names = list(known)
        try:
            self.truth = patches(known, config.patches, config.seed)
        except ValueError as error:
            raise ValueError(f"--data_dir={config.data_dir}: {error}") from None
        self.projector = bounded_projector()
        self.decision = Decision(pretrained("image_discriminator_32"))

    def grid(self, hp, config):
        hp.Choice("restoration", config.restoration)
        hp.Choice("prior", config.prior)
        self.seeds(hp, config)

    def space(self, hp, config):
        refuse_hyperband(config)
        hold(hp, config, "restoration")
        priors = tunable(config, "prior", "steps", ["wavelet", "projector"])
        hp.Choice("prior", priors)
        hp.Float("step_factor", 0.1, 10.0, sampling="log")

    def run(self, hp, config, logdir):
        task, prior = RESTORATIONS[hp.get("restoration")], hp.get("prior")
        operator = task.operator(self.truth.shape[1:], hp.get("seed"))
        y = task.measure(operator, self.truth, hp.get("seed"))
        found = {"iterations_taken": 0.0}
        if prior == "specialised":
            images = self.specialised(task, operator, y, hp.get("seed"), config)
        else:
            # Which a search chooses.
            factor = hp.values.get("step_factor", 1.0)
            projector = self.projector if prior == "projector" else None
            result = solve(
                task, projector, operator, y, self.truth, config.iterations, factor
            )
            images = result.x
            found = {
                **progress(result),
                "iterations_taken": float(result.iterations.mean()),
                "residual_curve": np.nanmean(result.residual, axis=0),
            }
        estimates = consistent(task, operator, images, y)
        if prior == "projector":
            found.update(self.condition(task, operator, y, config))
        scores = psnr(estimates, self.truth)
        start = np.clip(pulled_back(operator, y), 0, 1)
        return {
            **found,
            "psnr": float(scores.mean()),
            "start_psnr": float(psnr(start, self.truth).mean()),
            "psnrs": scores,
            "estimate": estimates[0],
            "start": start[0],
        }

    def specialised(self, task, operator, y, seed, config):
        """Returns the estimates of a network that is trained for a task."""
        images = load_natural_images("train", data_dir=config.data_dir)
        network = train_specialised(task, operator, images, config.training_steps, seed)
        return network.predict_on_batch(pulled_back(operator, y))

    def condition(self, task, operator, y, config):
        """Measures, along the iterates of some patches, what convergence asks for."""
        estimates = []

        def recorded(images, sigma):
            estimates.append(self.projector.predict_on_batch(images))
            return estimates[-1]

        y = y[:LOOKED_AT]
        with warnings.catch_warnings():
            # The report says what diverged.
            warnings.simplefilter("ignore", UserWarning)
            pnp_admm(
                y,
                operator,
                recorded,
                step=1 / task.penalty,
                iterations=min(config.iterations, task.iterations),
                start=first_images(operator, y),
            )
        looks = np.unique(np.geomspace(1, len(estimates), LOOKS).round()).astype(int)
        chosen = [estimates[look - 1] for look in looks]
        constants = [self.decision.lipschitz(images).max() for images in chosen]
        return {
            "lipschitz": float(max(constants)),
            "looks": looks,
            "lipschitz_curve": np.array(constants),
            "phi_curve": np.array([self.decision(x).mean() for x in chosen]),
            "misfit_curve": np.array([misfit(operator, x, y) for x in chosen]),
        }

    def sections(self, results, config):
        return [
            comparison(results, config, self.names),
            pictures(results, config, self.truth[0]),
            convergence(results, config),
        ]


def patches(images, count, seed):
    """Returns patches of photographs at half their size, `[count, 32, 32, 1]`."""
    sampler = PatchSampler(images, SIDE, scales=(SCALE,), augment=False, seed=seed)
    return sampler.batch(0, count)


def bounded_projector():
    """Returns the trained projector, whose estimates are cut off at 0 and 1."""
    network = pretrained()
    # Its residual has no bound, and compressive sensing would run away with it.
    estimate = ops.clip(network.output, 0.0, 1.0)
    return keras.Model(network.inputs[0], estimate)


def solve(task, projector, operator, y, truth, iterations, factor=1.0):
    """Recovers patches by ADMM with a projector, or with wavelets if it is `None`.

    Args:
        task: a `Restoration`.
        projector: a model, or `None`.
        operator: a `zoo.layers.operators.LinearOperator`.
        y: its measurements of `truth`.
        truth: patches `[batch, 32, 32, 1]`.
        iterations: int, the most.
        factor: float above 0, of the task's step. Defaults to 1.

    Returns:
        A `PlugAndPlayResult`.
    """
    weight, step = task.wavelet
    denoiser = Wavelet(weight)
    if projector is not None:
        denoiser, step = projector, 1 / task.penalty
        iterations = min(iterations, task.iterations)
    return pnp_admm(
        y,
        operator,
        denoiser,
        step=factor * step,
        iterations=iterations,
        start=first_images(operator, y),
        truth=truth,
    )


def consistent(task, operator, images, y):
    """Returns the images nearest to these that measure `y`, if that has no noise."""
    if task.noise:
        return images
    return ops.convert_to_numpy(operator.prox_l2(images, y, CERTAIN))


def misfit(operator, images, y):
    """Returns `|A x - y|^2 / 2`, the mean over images."""
    difference = ops.convert_to_numpy(operator(images)) - y
    return float(np.sum(difference**2) / (2 * len(y)))
