"""Measuring what the convergence of Plug-and-Play methods depends on."""

from collections.abc import Sequence

import numpy as np

from zoo._types import Array
from zoo.layers.operators import LinearOperator
from zoo.losses.checks import check_choice, check_integer
from zoo.solvers.plug_and_play import checks
from zoo.solvers.plug_and_play.certificate import Certificate, Method, judge
from zoo.solvers.plug_and_play.checks import Fidelity
from zoo.solvers.plug_and_play.methods import METHODS
from zoo.solvers.plug_and_play.probe import CHUNK, Probe, draw_pairs
from zoo.solvers.plug_and_play.problem import Denoiser, Problem, takes_level

# Images of which the Jacobian is probed.
PROBES = 8


def certify(
    operator: LinearOperator,
    denoiser: Denoiser,
    step: float | Array,
    *,
    images: Array,
    method: Method = "admm",
    fidelity: Fidelity = "least_squares",
    y: Array | None = None,
    sigma: float | None = None,
    value_range: Sequence[float] = (0.0, 1.0),
    lipschitz_bound: float | None = None,
    prove: bool = False,
    pairs: int = 32,
    refinements: int = 20,
    seed: int = 0,
) -> Certificate:
    """Says whether a Plug-and-Play method is proved to converge, and measures why.

    The `eps` of `|(D - I)(x) - (D - I)(y)| <= eps |x - y|` is the largest seen: of
    pairs near `images`, half of them an image without and with noise of a root mean
    square of 0.001 to 0.1, half of them two images, one mirrored; then of the worst two
    of these pairs, whose difference is turned by power iterations along the Jacobian's
    first singular vector. That is no bound. A bound is what the caller passes. It takes
    about as long as the denoiser takes for `2 pairs + 10 refinements` images.

    Args:
        operator: a `zoo.layers.operators.LinearOperator`.
        denoiser: as for the solvers.
        step: float above 0, or one an image.
        images: `[batch, height, width, channels]`, such as iterates of a solver.
        method: `"admm"`, `"drs"`, `"fbs"` or `"pdhg"`. Defaults to `"admm"`.
        fidelity: as for the solvers. Defaults to `"least_squares"`.
        y: measurements, on which `mu` and `L` of counts depend. Defaults to `None`.
        sigma: float, the noise level. Networks without such an input take it too, for
            the constant of Chan et al. alone. Defaults to `None`.
        value_range: as for the solvers. Defaults to `(0.0, 1.0)`.
        lipschitz_bound: float, a proved bound of `eps`, such as the product of the
            norms of the layers of a residual network; or `None`. Defaults to `None`.
        prove: bool, whether only a bound will do. Defaults to `False`.
        pairs: int >= 1, random pairs. Defaults to 32.
        refinements: int >= 0, power iterations. Defaults to 20.
        seed: int >= 0. Defaults to 0.

    Returns:
        A `Certificate`.

    Raises:
        ValueError: an argument is not as above, or `prove` without a bound.

    Example: a denoiser that moves an image towards grey by a fifth.

    >>> import keras
    >>> from zoo.layers.operators import Identity
    >>> operator = Identity((8, 8, 1), dtype="float64")
    >>> shrink = keras.layers.Rescaling(0.8, 0.1, dtype="float64")
    >>> images = np.full((1, 8, 8, 1), 0.5)
    >>> found = certify(operator, shrink, 1.0, images=images, lipschitz_bound=0.2)
    >>> found.status, round(found.measured_eps, 6), round(found.factor, 3)
    ('proved', 0.2, 0.617)
    >>> found.why
    'eps <= 0.2 is given, mu = 1 and the step is in the interval.'

    Reference:

    - Ryu et al., 2019, "Plug-and-Play Methods Provably Converge with Properly Trained
      Denoisers", arXiv:1905.05406
    - Sreehari et al., 2016, "Plug-and-Play Priors for Bright Field Electron Tomography
      and Sparse Interpolation", arXiv:1512.07331
    - Chan, Wang and Elgendy, 2016, "Plug-and-Play ADMM for Image Restoration:
      Fixed-Point Convergence and Applications", arXiv:1605.01710
    """
    checks.check_operator(operator)
    method = check_choice("method", method, tuple(METHODS))
    term = checks.check_fidelity(fidelity)
    images = checks.check_images("images", images, operator)
    levels = sigma if takes_level(denoiser) or checks.is_function(denoiser) else None
    checks.check_denoiser(denoiser, operator, levels)
    noise = checks.check_levels(sigma, 1, 1)
    bound = checks.check_bound(lipschitz_bound)
    if prove and bound is None:
        raise ValueError(
            "`lipschitz_bound` must be given for a proof: what is measured is no "
            "bound. Received: lipschitz_bound=None"
        )
    if y is not None:
        y = checks.check_measurements(operator, term, y)
    elif term.needs_measurements:
        raise ValueError("`y` must be given for counts. Received: y=None")
    steps = np.atleast_1d(checks.check_steps("step", step, np.size(step)))
    pairs = check_integer("pairs", pairs, 1)
    refinements = check_integer("refinements", refinements, 0)
    rng = np.random.default_rng(check_integer("seed", seed, 0))
    problem = Problem(operator, denoiser, checks.check_range(value_range))
    level = None if levels is None else noise[0, 0]
    probe = Probe(problem, level, steps[0])
    x, d = draw_pairs(images, pairs, rng)
    ratios, expansions, moves = probe.ratios(x, d)
    measured, asymmetry = ratios.max(), None
    if problem.compiles:
        worst = np.argsort(ratios)[-CHUNK:]
        measured = max(measured, probe.refine(x[worst], d[worst], refinements))
        asymmetry = probe.asymmetry(x[:PROBES], rng)
    mu = term.strong_convexity(operator, y)
    smoothness = term.smoothness(operator, y)
    prior = checks.is_prior(denoiser)
    noisy = noise is not None and noise[0, 0] > 0
    return Certificate(
        method=method,
        **judge(method, steps, mu, smoothness, bound, float(measured), prior),
        measured_eps=float(measured),
        ratios=ratios,
        mu=mu,
        smoothness=smoothness,
        step=step,
        expansion=float(expansions.max()),
        asymmetry=asymmetry,
        bounded=float(moves.max() / noise[0, 0] ** 2) if noisy else None,
    )
