"""D-AMP and D-VAMP: message passing with any denoiser."""

import warnings
from collections.abc import Sequence

import numpy as np

from zoo._types import Array
from zoo.layers.operators import LinearOperator
from zoo.layers.spectrum import spectrum
from zoo.losses.checks import check_number
from zoo.solvers.damp.checks import (
    check_measured,
    check_problem,
    check_settings,
    check_step,
)
from zoo.solvers.damp.loop import FLOOR, GROWTH, run
from zoo.solvers.damp.methods import Damp, Dvamp
from zoo.solvers.damp.result import MessagePassingResult
from zoo.solvers.plug_and_play.checks import check_images
from zoo.solvers.plug_and_play.problem import Denoiser
from zoo.solvers.sparse.loop import DIVERGED, REASONS


def damp(
    y: Array,
    operator: LinearOperator,
    denoiser: Denoiser,
    *,
    iterations: int = 30,
    probes: int = 1,
    relative_epsilon: float = 1e-3,
    damping: float = 1.0,
    onsager: bool = True,
    tolerance: float = 1e-4,
    truth: Array | None = None,
    keep_pseudo_data: bool = False,
    value_range: Sequence[float] = (0.0, 1.0),
    seed: int = 0,
) -> MessagePassingResult:
    """Recovers images by denoising-based approximate message passing, D-AMP.

    `r = x + A^T v / c^2`,  `sigma = |v| / (c sqrt(M))`,
    `x <- D(r, sigma)`,  `v <- y - A x + v div D(r) / M`

    from `x = 0` and `v = y`, with `c` the norm of the columns of `A`, on average. For a
    large `A` of independent entries `r` is the true image under white Gaussian noise of
    the standard deviation `sigma`. For other operators, such as blurs or masks, it is
    not, and the iteration may diverge: where `sigma` grows by a fifth the damping is
    halved, and an image that is lost all the same is given as it was when it fitted the
    measurements best, with a warning.

    The denoiser is one of

    - a Keras model or layer, such as one of `zoo.models.denoisers`, from images to
      estimates, or from a pair of images and noise levels `[batch]`;
    - a `zoo.solvers.plug_and_play.Prior`, such as `TotalVariation(1.0)`, whose weight
      is multiplied by `sigma`;
    - any Python function of a NumPy batch and `sigma`, an array `[batch]`, such as
      non-local means or BM3D.

    Args:
        y: `[batch, *operator.measurement_shape]`, measurements of images with
            intensities of about [0, 1].
        operator: a `zoo.layers.operators.LinearOperator`, in whose dtype all is
            computed.
        denoiser: `D`, as above.
        iterations: int >= 1, the most that are made. Defaults to 30.
        probes: int >= 1, over which the divergence is averaged; each is one more call
            of the denoiser. Defaults to 1.
        relative_epsilon: float above 0, the step of the divergence over the largest
            magnitude of an image. What jumps, as the hard thresholds of BM3D do, or
            rounds to half precision may want more; but steps that are not far below
            `sigma` tell of other noise than there is: BM3D recovers a photograph 5.8 dB
            worse with 0.1. Defaults to 1e-3.
        damping: float above 0, up to 1, the share of a step of `x` and `v` that is made
            in all iterations but the first. Defaults to 1.
        onsager: bool; without the last term of `v` it is iterative thresholding, D-IT.
            Defaults to `True`.
        tolerance: float >= 0, the change of an image, relative to its norm, at which it
            stops. Defaults to 1e-4.
        truth: true images, to follow the PSNR to; or `None`. Defaults to `None`.
        keep_pseudo_data: bool, whether to return `r` of all iterations. Defaults to
            `False`.
        value_range: pair of floats, what intensities 0 and 1 are for the denoiser,
            which is given `sigma` in the same unit. Defaults to `(0.0, 1.0)`.
        seed: int >= 0, of the probes, which do not depend on the batch. Defaults to 0.

    Returns:
        A `MessagePassingResult`.

    Raises:
        ValueError: an argument is not as above, or not finite.

    Warns:
        UserWarning: images were damped, or diverged.

    Example: a square, from half as many measurements as pixels.

    >>> from zoo.layers.operators import GaussianMatrix
    >>> from zoo.solvers.plug_and_play import TotalVariation
    >>> truth = np.zeros((1, 32, 32, 1))
    >>> truth[:, 8:24, 8:24] = 1.0
    >>> operator = GaussianMatrix((32, 32, 1), 512)
    >>> result = damp(operator(truth), operator, TotalVariation(1.0), truth=truth)
    >>> bool(result.psnr[0, -1] > 40)
    True

    Reference:

    - Metzler, Maleki and Baraniuk, 2016, "From Denoising to Compressed Sensing",
      [arXiv:1406.4175](https://arxiv.org/abs/1406.4175)
    """
    y = check_measured(operator, y)
    problem = check_problem(operator, denoiser, value_range)
    step = check_step(relative_epsilon, onsager)
    settings = check_settings(
        iterations, probes, damping, tolerance, seed, keep_pseudo_data
    )
    return _solve(Damp(problem, y), y, problem, step, settings, truth)


def dvamp(
    y: Array,
    operator: LinearOperator,
    denoiser: Denoiser,
    *,
    noise: float = 0.0,
    iterations: int = 30,
    probes: int = 1,
    relative_epsilon: float = 1e-3,
    damping: float = 1.0,
    tolerance: float = 1e-4,
    truth: Array | None = None,
    keep_pseudo_data: bool = False,
    value_range: Sequence[float] = (0.0, 1.0),
    seed: int = 0,
) -> MessagePassingResult:
    """Recovers images by denoising-based vector approximate message passing, D-VAMP.

    A linear estimate of images that are around `r` with variance `g`, then a denoiser,
    each told no more than it does not know:

    `z = n / sum_i s_i^2 / (s_i^2 + noise^2 / g)`,
    `p = r + z (argmin_x |A x - y|^2 / noise^2 + |x - r|^2 / g - r)`,
    `x = D(p, sqrt(g (z - 1)))`,  `a = div D(p) / n`,
    `r <- (x - a p) / (1 - a)`,  `g <- (|y - A r|^2 - M noise^2) / |A|_F^2`

    with the singular values `s_i` of `A`. Unlike D-AMP it takes those of any
    distribution, if their singular vectors are as good as random: fast transforms of
    random signs, or matrices whose entries depend on each other.

    Args:
        y, denoiser, iterations, probes, relative_epsilon, tolerance, truth,
            keep_pseudo_data, value_range, seed: as for `damp`.
        operator: a `zoo.layers.operators.LinearOperator` whose singular values are
            known: with `A A^T` a multiple of the identity, as `StructuredRandom`;
            diagonal in Fourier's basis; or a `GaussianMatrix` with `m` or `n` of 1,024
            at most.
        noise: float >= 0, the standard deviation of the noise of a measurement, of each
            of its real numbers. Defaults to 0.
        damping: float above 0, up to 1, the share of a step of `r` that is made in all
            iterations but the first. Defaults to 1.

    Returns, Raises, Warns: as there.

    Example:

    >>> from zoo.layers.operators import StructuredRandom
    >>> from zoo.solvers.plug_and_play import TotalVariation
    >>> truth = np.zeros((1, 32, 32, 1))
    >>> truth[:, 8:24, 8:24] = 1.0
    >>> operator = StructuredRandom((32, 32, 1), 512)
    >>> result = dvamp(operator(truth), operator, TotalVariation(1.0), truth=truth)
    >>> bool(result.psnr[0, -1] > 40)
    True

    Reference:

    - Rangan, Schniter and Fletcher, 2019, "Vector Approximate Message Passing",
      [arXiv:1610.03082](https://arxiv.org/abs/1610.03082)
    - Schniter, Rangan and Fletcher, 2016, "Denoising based Vector Approximate Message
      Passing", [arXiv:1611.01376](https://arxiv.org/abs/1611.01376)
    """
    y = check_measured(operator, y)
    problem = check_problem(operator, denoiser, value_range)
    if spectrum(operator) is None:
        raise ValueError(
            "`operator` must have singular values that are known, as `StructuredRandom`"
            " or a `GaussianMatrix` of 1,024 rows: use `damp` for others. "
            f"Received: operator={operator.name!r} of {type(operator).__name__}"
        )
    noise = check_number("noise", noise, 0)
    step = check_step(relative_epsilon, True)
    settings = check_settings(
        iterations, probes, damping, tolerance, seed, keep_pseudo_data
    )
    return _solve(Dvamp(problem, y, noise), y, problem, step, settings, truth)


def _solve(method, y, problem, step, settings, truth):
    """Runs a method, and makes a result of what it found."""
    if truth is not None:
        truth = check_images("truth", truth, problem.operator, len(y))
    # What diverges may overflow before it is left.
    with np.errstate(over="ignore", invalid="ignore"):
        found = run(method, problem, step, settings, truth)
    sigma, reason, taken = found["sigma"], found["reason"], found["taken"]
    rows = np.arange(len(sigma))
    last = sigma[rows, np.maximum(taken - 1, 0)]
    least = np.maximum(np.nanmin(sigma, axis=1), FLOOR)
    reason = np.where(last > GROWTH * least, DIVERGED, reason)
    lost = reason == DIVERGED
    damped = found["damping"] < settings["damping"]
    x = np.where(lost[:, None, None, None], found["best_x"], found["x"])
    if lost.any() or damped.any():
        warnings.warn(
            f"`{method.name}` damped {np.count_nonzero(damped)} of {len(x)} images and "
            f"lost {np.count_nonzero(lost)}: the operator or the denoiser is not of "
            "its theory. `zoo.solvers.plug_and_play` takes others.",
            stacklevel=3,
        )
    with np.errstate(divide="ignore"):
        psnr = None if truth is None else -10 * np.log10(found["error"])
    return MessagePassingResult(
        x=x,
        method=method.name,
        iterations=taken,
        stop_reason=np.vectorize(REASONS.get, otypes=["U16"])(reason),
        sigma=sigma,
        residual=found["residual"],
        damping=found["damping"],
        psnr=psnr,
        pseudo_data=found["pseudo_data"],
    )
