"""How well samples cover the modes of a mixture."""

import numpy as np

from zoo._types import Array
from zoo.losses.checks import check_number


def mode_coverage(
    samples: Array,
    centers: Array,
    sigma: float,
    within: float = 3.0,
    share: float = 0.1,
) -> dict[str, float]:
    """Counts the modes that samples reach, and how many samples lie in one.

    A sample is of *high quality* within `within * sigma` of its nearest centre: 98.9 %
    of the true mixture's are, in the plane, within 3 standard deviations. A mode is
    *covered* by at least `share` of an even spread's samples, `n / modes`, of high
    quality.

    Args:
        samples: array `[n, d]`.
        centers: array `[modes, d]`.
        sigma: float > 0, the standard deviation of a mode along each axis.
        within: float > 0, in standard deviations.
        share: float from 0 to 1.

    Returns:
        Dict of `modes`, the covered ones; `high_quality`, the fraction of samples;
        `kl`, the divergence from the even spread of the high-quality samples' modes,
        in nats, which is `log(modes)` where there are none.

    Raises:
        ValueError: shapes do not fit, samples are not finite, or `sigma` is not above
            0.

    Example:

    >>> centers = np.array([[0.0, 0.0], [1.0, 0.0]])
    >>> samples = np.array([[0.0, 0.1], [0.1, 0.0], [1.0, 0.05], [0.5, 0.0]])
    >>> found = mode_coverage(samples, centers, sigma=0.1)
    >>> found["modes"], found["high_quality"], round(found["kl"], 4)
    (2, 0.75, 0.0566)
    """
    samples, centers = (np.asarray(a, "float64") for a in (samples, centers))
    if samples.ndim != 2 or centers.ndim != 2 or samples.shape[1] != centers.shape[1]:
        raise ValueError(
            "`samples` and `centers` must be of shapes [n, d] and [modes, d]. "
            f"Received: shapes {samples.shape} and {centers.shape}"
        )
    if not len(samples) or not np.isfinite(samples).all():
        raise ValueError(
            "`samples` must be finite, one at least. Received: NaN or none"
        )
    sigma = check_number("sigma", sigma, np.finfo("float64").tiny, allowed="above 0")
    # Far from the origin, differences of squares would lose their digits.
    middle = centers.mean(axis=0)
    samples, centers = samples - middle, centers - middle
    squares = (
        (samples**2).sum(1)[:, None]
        - 2 * samples @ centers.T
        + (centers**2).sum(1)[None, :]
    )
    nearest = squares.argmin(axis=1)
    good = squares[np.arange(len(samples)), nearest] <= (within * sigma) ** 2
    counts = np.bincount(nearest[good], minlength=len(centers))
    total = counts.sum()
    spread = counts[counts > 0] / max(total, 1)
    kl = np.log(len(centers)) + (spread * np.log(spread)).sum()
    covered = (counts > 0) & (counts >= share * len(samples) / len(centers))
    return {
        "modes": int(covered.sum()),
        "high_quality": float(good.mean()),
        "kl": float(max(kl, 0.0)),
    }
