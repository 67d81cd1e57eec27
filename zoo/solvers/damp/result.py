"""What message passing with a denoiser returns."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class MessagePassingResult:
    """Images that were recovered, and how.

    Histories have a row an image and a column an iteration, up to the last of the
    slowest image; those of images that stopped before end in NaN.

    Attributes:
        x: `[batch, height, width, channels]`, the estimates: what the denoiser returned
            last, which damping of D-AMP mixes with what it returned before; or, of
            images that diverged, the estimate with the least `residual`.
        method: str.
        iterations: int array `[batch]`.
        stop_reason: array of str `[batch]`. `"converged"`: the estimate changed by no
            more than `tolerance`, relatively; `"diverged"`: `sigma` was not finite, was
            thrice the first, or ended above 1.2 times its least and 1.2e-3;
            `"max_iterations"`.
        sigma: `[batch, T]`, the standard deviation of the noise in the pseudo-data, as
            the method knows it and tells the denoiser.
        residual: `[batch, T]`, `|y - A x| / |y|` of the estimates.
        damping: `[batch]`, the share of a step that was made at the end: less than was
            asked for where `sigma` grew.
        psnr: `[batch, T]`, of the estimates in dB, for a peak of 1; `None` without a
            `truth`.
        pseudo_data: `[batch, T, height, width, channels]`, what was denoised: less the
            true images it is the effective noise, which is white and Gaussian where the
            theory holds; `None` unless kept.

    Example: an image of ones, and a denoiser that knows it.

    >>> from zoo.layers.operators import GaussianMatrix
    >>> from zoo.solvers.damp import damp
    >>> operator, ones = GaussianMatrix((8, 8, 1), 32), np.ones((1, 8, 8, 1))
    >>> result = damp(operator(ones), operator, lambda x, sigma: np.ones_like(x))
    >>> print(result.iterations, result.stop_reason, result.residual.shape)
    [2] ['converged'] (1, 2)
    """

    x: np.ndarray
    method: str
    iterations: np.ndarray
    stop_reason: np.ndarray
    sigma: np.ndarray
    residual: np.ndarray
    damping: np.ndarray
    psnr: np.ndarray | None
    pseudo_data: np.ndarray | None
