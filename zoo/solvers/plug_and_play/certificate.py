"""What is known of the convergence of a method, and how well."""

import dataclasses
import math
from typing import Literal, TypeAlias

import numpy as np

from zoo._types import Array

Method: TypeAlias = Literal["admm", "drs", "fbs", "pdhg"]
# Rounding of float32 in a measured ratio is no refutation of a bound.
SLACK = 1e-3


@dataclasses.dataclass(frozen=True)
class Certificate:
    """Whether the theorems of Ryu et al. hold for a method, a denoiser `D` and a step.

    They ask of the denoiser, for all `x` and `y`,

    `|(D - I)(x) - (D - I)(y)| <= eps |x - y|`

    and of the data term that it is `mu`-strongly convex with `mu > 0`; FBS also needs
    an `L`-Lipschitz gradient. Then the method's map shrinks distances by `factor < 1`
    for steps in an interval; of ADMM and DRS, for `eps < 1`,

    `eps / ((1 + eps - 2 eps^2) mu) < step`

    `mu = 0`, as with fewer measurements than pixels, in MRI, inpainting and
    super-resolution, is beyond them.

    Attributes:
        method: `"admm"`, `"drs"`, `"fbs"` or `"pdhg"`.
        status: `"proved"`: `eps` is a bound that the caller vouches for, and all else
            holds; `"empirical"`: it holds with the largest `eps` that was seen;
            `"not_met"`.
        why: str, the reason in a sentence.
        eps: float, the bound where one was given, else the largest ratio seen.
        measured_eps: float, the largest ratio seen, also after power iterations on the
            Jacobian: a lower bound of the true one.
        ratios: array `[pairs]`, `|(D - I)(x) - (D - I)(y)| / |x - y|` of random pairs:
            its distribution.
        mu: float, strong convexity of the data term.
        smoothness: float, `L`.
        step: float or array, as given.
        condition: pair of floats, the left and the right side of the condition above;
            of FBS, the lower end of the interval and the step.
        step_interval: pair of floats between which steps converge; or `None`.
        factor: float, the theorem's contraction of a step; `None` without a theorem.
        expansion: float, the largest `|D(x) - D(y)| / |x - y|` seen. Not above 1, with
            a symmetric Jacobian, is the condition of Sreehari et al.
        asymmetry: float, `|J - J^T|_F / |J|_F` of the Jacobian of `D`, an estimate of
            random probes; `None` of Python functions.
        bounded: float, the largest `|D(x) - x|^2 / (n sigma^2)` seen, of `n` pixels:
            the constant of Chan et al.; `None` without `sigma`.

    Example: nothing is proved with half of the pixels, whatever the denoiser.

    >>> from zoo.layers.operators import PixelMask
    >>> from zoo.solvers.plug_and_play import TotalVariation, certify
    >>> operator = PixelMask((4, 4, 1), np.eye(4, dtype="float32"))
    >>> images = np.full((1, 4, 4, 1), 0.5, "float32")
    >>> found = certify(operator, TotalVariation(0.1), 1.0, images=images, pairs=2)
    >>> found.status, found.mu, len(found.ratios)
    ('not_met', 0.0, 2)
    """

    method: Method
    status: Literal["proved", "empirical", "not_met"]
    why: str
    eps: float
    measured_eps: float
    ratios: np.ndarray
    mu: float
    smoothness: float
    step: float | Array
    condition: tuple[float, float]
    step_interval: tuple[float, float] | None
    factor: float | None
    expansion: float
    asymmetry: float | None
    bounded: float | None


def step_interval(
    method: Method, eps: float, mu: float, smoothness: float
) -> tuple[float, float] | None:
    """Returns the open interval of steps whose contraction is proved.

    ADMM and DRS, for `eps < 1`: `eps / ((1 + eps - 2 eps^2) mu) < step`
    FBS: `1 / (mu (1 + 1 / eps)) < step < 2 / L - 1 / (L (1 + 1 / eps))`

    Args:
        method: `"admm"`, `"drs"`, `"fbs"` or `"pdhg"`.
        eps: float from 0 up.
        mu, smoothness: floats from 0 up.

    Returns:
        Pair of floats, or `None` where there is no such step.

    Example:

    >>> step_interval("drs", 0.5, 1.0, 1.0), step_interval("drs", 0.5, 0.0, 1.0)
    ((0.5, inf), None)
    >>> print(step_interval("fbs", 0.25, 1.0, 1.0))
    (0.2, 1.8)
    """
    low, high = lowest_step(method, eps, mu), math.inf
    if method == "fbs":
        high = (2 - eps / (1 + eps)) / smoothness if smoothness else math.inf
    return (low, high) if low < high else None


def lowest_step(method, eps, mu):
    """Returns the lower end of the interval, or infinity."""
    if not mu or method == "pdhg" or (method != "fbs" and eps >= 1):
        return math.inf
    if method == "fbs":
        return eps / ((1 + eps) * mu)
    return eps / ((1 - eps) * (1 + 2 * eps) * mu)


def contraction_factor(
    method: Method, eps: float, mu: float, smoothness: float, step: float
) -> float | None:
    """Returns by how much a step shrinks distances at least.

    ADMM and DRS, `a = step mu`: `(1 + eps + eps a + 2 eps^2 a) / (1 + a + 2 eps a)`
    FBS: `max(|1 - step mu|, |1 - step L|) (1 + eps)`

    Args:
        method: `"admm"`, `"drs"` or `"fbs"`; of `"pdhg"` there is `None`.
        eps, mu, smoothness: as for `step_interval`.
        step: float above 0.

    Example:

    >>> print(contraction_factor("drs", 0.0, 1.0, 1.0, 1.0))
    0.5
    >>> print(contraction_factor("fbs", 0.25, 0.5, 1.0, 1.0))
    0.625

    Reference:

    - Ryu et al., 2019, "Plug-and-Play Methods Provably Converge with Properly Trained
      Denoisers", arXiv:1905.05406
    """
    if method == "pdhg":
        return None
    if method == "fbs":
        rates = abs(1 - step * mu), abs(1 - step * smoothness)
        return max(rates) * (1 + eps)
    a = step * mu
    return (1 + eps + eps * a + 2 * eps**2 * a) / (1 + a + 2 * eps * a)


def judge(method, steps, mu, smoothness, bound, measured, is_prior):
    """Returns what of a `Certificate` follows from the measurements, a dict."""
    eps = measured if bound is None else bound
    interval = step_interval(method, eps, mu, smoothness)
    factors = [contraction_factor(method, eps, mu, smoothness, a) for a in steps]
    status = "not_met"
    if is_prior:
        why = (
            "The prior is convex: its prox has eps up to 1, and the method goes to a "
            "minimiser by convexity, with no factor from these theorems."
        )
    elif method == "pdhg":
        why = "The theorems are about ADMM, DRS and FBS."
    elif not mu:
        why = "mu = 0: the data term is not strongly convex, and no step is proved."
    elif bound is not None and measured > bound * (1 + SLACK):
        why = (
            f"A pair was seen with eps = {measured:g}, above the given bound {bound:g}."
        )
    elif interval is None:
        why = f"eps = {eps:g} is too large: no step is proved."
    elif not all(interval[0] < step < interval[1] for step in steps):
        why = (
            f"The step must lie between {interval[0]:g} and {interval[1]:g} for "
            f"eps = {eps:g}."
        )
    elif bound is not None:
        status = "proved"
        why = f"eps <= {eps:g} is given, mu = {mu:g} and the step is in the interval."
    else:
        status = "empirical"
        why = f"eps = {eps:g} is the largest that was seen, not a bound."
    return {
        "status": status,
        "why": why,
        "eps": eps,
        "condition": (lowest_step(method, eps, mu), float(min(steps))),
        "step_interval": interval,
        "factor": None if method == "pdhg" else float(max(factors)),
    }
