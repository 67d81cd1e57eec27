"""What a Plug-and-Play solver returns."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from zoo.solvers.plug_and_play.certificate import Certificate


@dataclasses.dataclass(frozen=True)
class PlugAndPlayResult:
    """Images that were recovered, and how.

    Histories have a row an image and a column an iteration, up to the last of the
    slowest image; those of images that stopped before end in NaN. The point of a method
    is what it iterates: `x` of FBS, `z` of DRS, `x + u` of ADMM, and of PDHG `x` and
    `A^T p`.

    Attributes:
        x: `[batch, height, width, channels]`, the estimates: what the denoiser returned
            last.
        point: `[batch, ...]`, the point of the method at the end.
        method: str.
        iterations: int array `[batch]`.
        stop_reason: array of str `[batch]`. `"converged"`: the point changed by no more
            than `tolerance`, relatively; `"diverged"`: the next point was not finite,
            and was not taken; `"max_iterations"`.
        residual: `[batch, T]`, the norm of the change of the point over that of the
            point.
        contraction: `[batch, T - 1]`, the norm of a change over that of the one before:
            `|z_(k+1) - z_k| / |z_k - z_(k-1)|`.
        psnr: `[batch, T]`, of the estimates in dB, for a peak of 1; `None` without a
            `truth`.

    Example: the last changes of a method that converges get smaller and smaller.

    >>> from zoo.layers.operators import Identity
    >>> from zoo.solvers.plug_and_play import L1, pnp_fbs
    >>> y = np.linspace(0.0, 1.0, 16).reshape(1, 4, 4, 1)
    >>> result = pnp_fbs(y, Identity((4, 4, 1)), L1(0.1), step=0.5)
    >>> result.stop_reason.tolist(), bool(result.contraction[0, -1] < 1)
    (['converged'], True)
    """

    x: np.ndarray
    point: np.ndarray
    method: str
    iterations: np.ndarray
    stop_reason: np.ndarray
    residual: np.ndarray
    contraction: np.ndarray
    psnr: np.ndarray | None
    _certify: Callable[[], Certificate] = dataclasses.field(repr=False)

    @functools.cached_property
    def certificate(self) -> Certificate:
        """The `Certificate` of `certify` for this run, made when it is first asked for.

        It is measured near the estimates, within [0, 1], at the last noise level.
        """
        return self._certify()


def make_histories(history, longest):
    """Returns the residuals, the contractions and the mean squared errors.

    Args:
        history: `[rows, 3, batch]` of `run`.
        longest: int, the iterations of the slowest image.
    """
    change, size, error = np.moveaxis(history[:longest].astype("float64"), 0, -1)
    # A point that is 0 and stays has not moved.
    with np.errstate(divide="ignore", invalid="ignore"):
        residual = np.where(change == 0, 0.0, np.sqrt(change / size))
        contraction = np.sqrt(change[:, 1:] / change[:, :-1])
    return residual, contraction, error
