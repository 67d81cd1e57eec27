"""Data terms of photons that are counted pixel by pixel."""

import dataclasses
import math

import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.operators import Identity, LinearOperator
from zoo.losses.checks import check_integer, check_number
from zoo.solvers.plug_and_play.fidelities import Term, per_image

# After them the root is off by rounding, for rates of 0.01 to 10, steps of 1e-6 to 1e3.
NEWTON_STEPS = 6
SMALLEST = 1e-12


@dataclasses.dataclass(frozen=True)
class Pixelwise:
    """A term of pixels that are measured one by one: the operator is the identity.

    Methods with a prox keep the image in the box `[low, high]`. The gradient is that of
    `f` in the box, which goes on outside with the curvature of the nearest end: so `mu`
    and `L` of the box hold everywhere.
    """

    low: float = 0.0
    high: float = math.inf
    needs_measurements = True

    def __post_init__(self):
        check_number("low", self.low, 0)
        if not self.high > self.low:
            raise ValueError(f"`high` must be above `low`. Received: high={self.high}")

    def check(self, operator: LinearOperator, y: Array) -> None:
        """Raises a `ValueError` if measurements have no such term."""
        if not isinstance(operator, Identity):
            raise ValueError(
                f"`operator` must be an `Identity` for {type(self).__name__}. "
                f"Received: operator of type {type(operator).__name__}"
            )
        if np.min(y) < 0:
            raise ValueError(
                f"`y` must be counts, from 0 up. Received: values down to {np.min(y):g}"
            )

    def bind(self, operator, y):
        """Returns the `Term` of measurements."""

        def gradient(x):
            inside = ops.clip(x, self.low, self.high)
            return self.slope(inside, y) + self.bend(inside, y) * (x - inside)

        def prox(step):
            column = per_image(step)
            return lambda z: ops.clip(self.root(z, y, column), self.low, self.high)

        def dual(w, x, step):
            column = per_image(step)
            q = w + column * x
            return q - column * prox(1 / step)(q / column)

        return Term(gradient, prox, dual)

    def strong_convexity(self, operator, y):
        """Returns `mu` on the box, a float."""
        if self.high == math.inf:
            return 0.0
        return float(self.bend(np.float64(self.high), np.min(y)))

    def smoothness(self, operator, y):
        """Returns `L` on the box, a float."""
        if self.low == 0:
            return math.inf
        return float(self.bend(np.float64(self.low), np.max(y)))


@dataclasses.dataclass(frozen=True)
class Poisson(Pixelwise):
    """Photon counts `y` of mean `peak x`: `f(x) = sum peak x - y log x`.

    The prox is the root of `x^2 - (z - step peak) x - step y`. On the box, `mu = min y
    / high^2` and `L = max y / low^2`.

    Args:
        low, high: floats, `0 <= low < high`, the box of images. Default to 0 and
            infinity; `pnp_fbs` needs a `low` above 0.
        peak: float above 0, the mean count where the image is 1. Defaults to 1.0.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> from zoo.layers.operators import Identity
    >>> operator, y = Identity((2, 2, 1)), np.full((1, 2, 2, 1), 3.0)
    >>> term = Poisson(0.1, 2.0)
    >>> print(term.strong_convexity(operator, y), round(term.smoothness(operator, y)))
    0.75 300
    """

    peak: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        tiny = np.finfo("float32").tiny
        check_number("peak", self.peak, tiny, allowed="above 0")

    def start(self, operator: LinearOperator, y: Array) -> Array:
        """Returns a first image, `y / peak` in the box."""
        return ops.clip(y / self.peak, self.low, self.high)

    def slope(self, x, y):
        return self.peak - y / x

    def bend(self, x, y):
        return y / x**2

    def root(self, z, y, step):
        return _poisson_root(z, y, self.peak, step)


@dataclasses.dataclass(frozen=True)
class PhotonCounting(Pixelwise):
    """Single photons: `y` of `samples` binary detectors of a pixel have seen any.

    A detector sees none with the probability `exp(-rate x)`:

    `f(x) = sum (samples - y) rate x - y log(1 - exp(-rate x))`

    The prox is found by Newton's method, for the root's equation or for its logarithm,
    whichever steps farther: both come nearer from below, for both are concave. On the
    box, with `g(x) = (rate / (2 sinh(rate x / 2)))^2`, `mu = g(high) min y` and `L =
    g(low) max y`.

    Args:
        low, high: floats, `0 <= low < high`, the box of images. Default to 0 and
            infinity; `pnp_fbs` needs a `low` above 0.
        samples: int >= 1, the binary measurements of a pixel. Defaults to 64.
        rate: float above 0, the mean number of photons at a detector where the image
            is 1. Defaults to 1.0.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> from zoo.layers.operators import Identity
    >>> operator, y = Identity((2, 2, 1)), np.full((1, 2, 2, 1), 32.0)
    >>> term = PhotonCounting(0.1, 1.0)
    >>> round(term.strong_convexity(operator, y), 2)
    29.46
    >>> round(term.smoothness(operator, y), 1)
    3197.3

    Reference:

    - Chan, Wang and Elgendy, 2016, "Plug-and-Play ADMM for Image Restoration:
      Fixed-Point Convergence and Applications", arXiv:1605.01710
    """

    samples: int = 64
    rate: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        check_integer("samples", self.samples, 1)
        tiny = np.finfo("float32").tiny
        check_number("rate", self.rate, tiny, allowed="above 0")

    def check(self, operator: LinearOperator, y: Array) -> None:
        super().check(operator, y)
        if np.max(y) > self.samples:
            raise ValueError(
                f"`y` must count up to samples={self.samples}. "
                f"Received: values up to {np.max(y):g}"
            )

    def start(self, operator: LinearOperator, y: Array) -> Array:
        """Returns a first image, the most likely one in the box and in [0, 1]."""
        # Where all have seen a photon there is no limit.
        dark = ops.maximum(1 - y / self.samples, math.exp(-self.rate))
        return ops.clip(-ops.log(dark) / self.rate, self.low, self.high)

    def slope(self, x, y):
        seen, _ = self._seen(x)
        return self.rate * (self.samples - y - y * seen)

    def bend(self, x, y):
        seen, lost = self._seen(x)
        return self.rate**2 * (y * seen) / lost

    def root(self, z, y, step):
        # The root of `p = q`, `p = x + offset`, `q = gain / (exp(rate x) - 1)`.
        offset = step * self.rate * (self.samples - y) - z
        gain = step * self.rate * y
        # Below it: `1 / t - 1 / 2 <= 1 / (exp(t) - 1)`, and `0 <= q`.
        x = _poisson_root(z, y, self.rate * (self.samples - y / 2), step)
        x = ops.maximum(x, -offset)
        for _ in range(NEWTON_STEPS):
            seen, lost = self._seen(x)
            p, q, slope = x + offset, gain * seen, self.rate / lost
            plain = (q - p) / (1 + q * slope)
            p = ops.maximum(p, SMALLEST)
            logarithmic = p * ops.log(q / p) / (1 + p * slope)
            x = x + ops.maximum(plain, logarithmic)
        return x

    def _seen(self, x):
        """Returns `1 / (exp(t) - 1)` and `1 - exp(-t)` with `t = rate x`."""
        exponent = ops.maximum(self.rate * x, SMALLEST)
        lost = -ops.expm1(-exponent)
        return ops.exp(-exponent) / lost, lost


def _poisson_root(z, y, slope, step):
    """Returns `argmin_x slope x - y log x + (x - z)^2 / (2 step)`, from 0 up."""
    middle = z - step * slope
    # The root of the larger magnitude, without a difference of numbers that are near.
    large = (ops.abs(middle) + ops.sqrt(ops.square(middle) + 4 * step * y)) / 2
    return ops.where(middle >= 0, large, step * y / large)
