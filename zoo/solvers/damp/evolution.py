"""What D-AMP does to an image, foretold without its measurements."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from zoo._types import Array
from zoo.layers.operators import LinearOperator
from zoo.layers.spectrum import column_norm
from zoo.losses.checks import check_integer, check_number
from zoo.solvers.damp.checks import check_problem
from zoo.solvers.damp.pieces import Step, denoise, energy, first_memory, per_image
from zoo.solvers.plug_and_play.checks import check_images
from zoo.solvers.plug_and_play.problem import Denoiser


@dataclasses.dataclass(frozen=True)
class StateEvolution:
    """The levels and errors that state evolution foretells.

    Attributes:
        sigma: `[batch, iterations]`, the standard deviation of the noise in what is
            denoised.
        psnr: `[batch, iterations]`, of the estimates in dB, for a peak of 1.

    Example: nothing is taken off ones, and the noise of twice as many pixels as
    measurements doubles each time.

    >>> from zoo.layers.operators import GaussianMatrix
    >>> operator, ones = GaussianMatrix((64, 64, 1), 2048), np.ones((1, 64, 64, 1))
    >>> found = state_evolution(operator, lambda x, sigma: x, ones, 3)
    >>> isinstance(found, StateEvolution), (found.sigma**2).round(0).tolist()
    (True, [[2.0, 4.0, 8.0]])
    """

    sigma: np.ndarray
    psnr: np.ndarray


def state_evolution(
    operator: LinearOperator,
    denoiser: Denoiser,
    images: Array,
    iterations: int = 10,
    *,
    noise: float = 0.0,
    value_range: Sequence[float] = (0.0, 1.0),
    seed: int = 0,
) -> StateEvolution:
    """Predicts the error of D-AMP, and so of LDAMP, on images.

    `sigma_t^2 = noise^2 / c^2 + (n / M) mse_t`,
    `mse_(t+1) = mean |D(x + sigma_t N, sigma_t) - x|^2`

    with white noise `N` and `mse_0 = mean |x|^2`. It holds for large matrices of
    independent entries.

    Args:
        operator: a `zoo.layers.operators.LinearOperator`, of which the sizes and the
            norm of columns, `c`, count alone.
        denoiser: as for `damp`.
        images: `x`, `[batch, height, width, channels]` in [0, 1].
        iterations: int >= 1. Defaults to 10.
        noise: float >= 0, the standard deviation of the noise of a measurement, of each
            of its real numbers. Defaults to 0.
        value_range: as for `damp`.
        seed: int >= 0, of the noise, which images share. Defaults to 0.

    Returns:
        A `StateEvolution`.

    Raises:
        ValueError: an argument is not as above.

    Example: a denoiser that halves what it is given, of an image of ones. A quarter of
    the noise stays, and a quarter of the image is lost.

    >>> from zoo.layers.operators import GaussianMatrix
    >>> operator = GaussianMatrix((64, 64, 1), 2048)
    >>> images = np.ones((1, 64, 64, 1))
    >>> found = state_evolution(operator, lambda x, sigma: x / 2, images, 3)
    >>> print((found.sigma**2).round(1))  # 2 and then 2 (0.25 + sigma^2 / 4)
    [[2.  1.5 1.2]]

    Reference:

    - Metzler, Maleki and Baraniuk, 2016, "From Denoising to Compressed Sensing",
      [arXiv:1406.4175](https://arxiv.org/abs/1406.4175)
    """
    problem = check_problem(operator, denoiser, value_range)
    images = check_images("images", images, operator)
    iterations = check_integer("iterations", iterations, 1)
    noise = check_number("noise", noise, 0) / column_norm(operator)
    seed = check_integer("seed", seed, 0)
    pixels = operator.num_pixels
    ratio = pixels / operator.rank_bound()
    error, memory = energy(images) / pixels, first_memory(problem, images)
    step = Step(0.0, divergence=False)
    sigmas, errors = [], []
    for iteration in range(iterations):
        sigma = np.sqrt(noise**2 + ratio * error)
        rng = np.random.default_rng([seed, iteration])
        white = rng.standard_normal(operator.image_shape).astype(images.dtype)
        noisy = images + per_image(sigma, images) * white
        estimate, _, memory = denoise(problem, noisy, memory, sigma, None, step)
        error = energy(estimate - images) / pixels
        sigmas.append(sigma)
        errors.append(error)
    with np.errstate(divide="ignore"):
        psnr = -10 * np.log10(np.stack(errors, 1))
    return StateEvolution(np.stack(sigmas, 1), psnr)
