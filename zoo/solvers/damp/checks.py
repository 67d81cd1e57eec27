"""What is checked before messages are passed."""

import numpy as np

from zoo.layers.ldamp import check_measurements, check_values
from zoo.losses.checks import check_bool, check_integer, check_number
from zoo.solvers.damp.pieces import Step
from zoo.solvers.plug_and_play import checks
from zoo.solvers.plug_and_play.problem import Problem, takes_level

TINY = float(np.finfo("float32").tiny)


def check_problem(operator, denoiser, value_range):
    """Returns the `Problem` of an operator and a denoiser that fit.

    Raises:
        ValueError: they do not.
    """
    checks.check_operator(operator)
    told = checks.is_function(denoiser) or takes_level(denoiser)
    checks.check_denoiser(denoiser, operator, 1.0 if told else None)
    return Problem(operator, denoiser, checks.check_range(value_range))


def check_measured(operator, y):
    """Returns measurements in the operator's precision, 0 where nothing is measured.

    Raises:
        ValueError: they do not belong to it, are not finite, or are of no image with
            intensities of about [0, 1].
    """
    checks.check_operator(operator)
    y = operator.measured(check_measurements(operator, y))
    return check_values(operator, y).astype(operator.measurement_dtype)


def check_step(relative_epsilon, onsager):
    """Returns the `Step` of the divergence."""
    return Step(
        check_number("relative_epsilon", relative_epsilon, TINY, allowed="above 0"),
        check_bool("onsager", onsager),
    )


def check_settings(iterations, probes, damping, tolerance, seed, keep):
    """Returns the settings of the loop as a dict."""
    share = "a number above 0, up to 1"
    return {
        "iterations": check_integer("iterations", iterations, 1),
        "probes": check_integer("probes", probes, 1),
        "damping": check_number("damping", damping, TINY, 1.0, share),
        "tolerance": check_number("tolerance", tolerance, 0),
        "seed": check_integer("seed", seed, 0),
        "keep": check_bool("keep_pseudo_data", keep),
    }
