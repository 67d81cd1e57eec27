"""What all methods share: arrays into the graph, and what it returns to a result."""

import functools
import math
import warnings

import numpy as np
from keras import ops

from zoo._backend.compiling import call_compiled
from zoo.losses.checks import check_integer, check_number
from zoo.solvers.plug_and_play import checks
from zoo.solvers.plug_and_play.certificate import step_interval
from zoo.solvers.plug_and_play.certify import certify
from zoo.solvers.plug_and_play.loop import Structure, run
from zoo.solvers.plug_and_play.problem import Problem
from zoo.solvers.plug_and_play.result import PlugAndPlayResult, make_histories
from zoo.solvers.sparse.loop import DIVERGED, REASONS

# What rounding may add to the product of the steps of PDHG.
SLACK = 1e-6


def solve(
    method,
    y,
    operator,
    denoiser,
    *,
    step,
    sigma,
    fidelity,
    iterations,
    tolerance,
    start,
    truth,
    value_range,
    lipschitz_bound,
    dual_step=None,
):
    """Runs a method; arguments are those of the public functions.

    Returns:
        A `PlugAndPlayResult`.
    """
    checks.check_operator(operator)
    fidelity = checks.check_fidelity(fidelity)
    y = checks.check_measurements(operator, fidelity, y)
    batch = len(y)
    iterations = check_integer("iterations", iterations, 1)
    tolerance = check_number("tolerance", tolerance, 0)
    levels = checks.check_levels(sigma, batch, iterations)
    checks.check_denoiser(denoiser, operator, levels)
    steps = checks.check_steps("step", step, batch)
    bound = checks.check_bound(lipschitz_bound)
    problem = Problem(operator, denoiser, checks.check_range(value_range))
    if start is None:
        start = ops.convert_to_numpy(fidelity.start(operator, ops.convert_to_tensor(y)))
        checks.check_first(start, operator)
    else:
        start = checks.check_images("start", start, operator, batch)
    if truth is not None:
        truth = checks.check_images("truth", truth, operator, batch)
    if method == "pdhg":
        dual_steps = _dual_steps(operator, fidelity, steps, dual_step)
    else:
        dual_steps = steps
        _warn_of_steps(method, operator, fidelity, y, steps, bound)
    structure = Structure(
        method=method,
        fidelity=fidelity,
        # One graph for many limits.
        rows=2 ** math.ceil(math.log2(iterations)),
    )
    arrays = (
        (y.real, y.imag) if np.iscomplexobj(y) else y,
        start,
        np.stack([steps, dual_steps]),
        levels,
        iterations,
        tolerance,
        truth,
    )
    outputs = _run(problem, structure, arrays)
    x, point, taken, reasons, history = outputs
    lost = np.count_nonzero(reasons == DIVERGED)
    if lost:
        warnings.warn(
            f"`pnp_{method}` diverged on {lost} of {batch} images: the certificate of "
            "the result tells how far the denoiser moves images apart.",
            stacklevel=3,
        )
    longest = int(taken.max(initial=0))
    residual, contraction, error = make_histories(history, longest)
    with np.errstate(divide="ignore"):
        psnr = None if truth is None else -10 * np.log10(error)
    last = None if levels is None else float(np.max(levels[-1]))
    return PlugAndPlayResult(
        x=x,
        point=point,
        method=method,
        iterations=taken,
        stop_reason=np.vectorize(REASONS.get, otypes=["U16"])(reasons),
        residual=residual,
        contraction=contraction,
        psnr=psnr,
        _certify=functools.partial(
            certify,
            operator,
            denoiser,
            step,
            images=np.clip(x, 0, 1),
            method=method,
            fidelity=fidelity,
            y=y,
            sigma=last,
            value_range=value_range,
            lipschitz_bound=bound,
        ),
    )


def _run(problem, structure, arrays):
    if problem.compiles:
        return call_compiled(run, problem, structure, *arrays)
    tensors = [problem.tensors(array) for array in arrays]
    return tuple(map(ops.convert_to_numpy, run(problem, structure, *tensors)))


def _dual_steps(operator, fidelity, steps, dual_step):
    """Returns the steps of the dual variable, and warns if they are too long."""
    norm = operator.operator_norm()
    if dual_step is None:
        return 1 / (steps * norm**2)
    dual_steps = checks.check_steps("dual_step", dual_step, len(steps))
    product = float(np.max(steps * dual_steps)) * norm**2
    if product > 1 + SLACK:
        warnings.warn(
            "`step * dual_step * |A|^2` must be 1 at most for PDHG to converge: "
            f"`dual_step` in (0, {1 / (np.max(steps) * norm**2):g}]. "
            f"Received: a product of {product:g}",
            stacklevel=4,
        )
    return dual_steps


def _warn_of_steps(method, operator, fidelity, y, steps, bound):
    """Warns of steps outside of the interval in which the method converges."""
    interval, smoothness = None, math.inf
    if method == "fbs":
        smoothness = fidelity.smoothness(operator, y)
        if smoothness == math.inf:
            raise ValueError(
                "`fidelity` must have a Lipschitz gradient for FBS: give it a `low` "
                f"above 0. Received: fidelity={fidelity}"
            )
        # Convex priors ask for no more.
        interval = 0.0, 2 / smoothness if smoothness else math.inf
    if bound is not None:
        mu = fidelity.strong_convexity(operator, y)
        interval = step_interval(method, bound, mu, smoothness) or interval
    if interval is None:
        return
    wrong = [step for step in steps if not interval[0] < step < interval[1]]
    if wrong:
        warnings.warn(
            f"`step` must lie between {interval[0]:g} and {interval[1]:g} for "
            f"{method.upper()} to converge. Received: step={wrong[0]:g}",
            stacklevel=4,
        )
