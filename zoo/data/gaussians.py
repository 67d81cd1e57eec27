"""Mixtures of Gaussians, the synthetic data of many studies of GANs."""

import dataclasses

import numpy as np
import tensorflow as tf

from zoo.data.pipeline import batches


@dataclasses.dataclass(frozen=True)
class GaussianMixture:
    """Points of equally represented isotropic Gaussians in the plane.

    Attributes:
        points: float32 `[points_per_mode, modes, 2]`.
        centers: float32 `[modes, 2]`.
        sigma: float, the standard deviation along each axis.

    Example:

    >>> centers = np.array([[-1.0, 0.0], [1.0, 0.0]], "float32")
    >>> mixture = GaussianMixture(np.stack([centers] * 5), centers, sigma=0.0)
    >>> next(iter(mixture.batches(per_mode=2))).numpy()[:, 0]
    array([-1.,  1., -1.,  1.], dtype=float32)
    """

    points: np.ndarray
    centers: np.ndarray
    sigma: float

    def batches(self, per_mode: int, seed: int = 0) -> tf.data.Dataset:
        """Batches with as many points of each mode; endless, in a seeded order.

        Args:
            per_mode: int, points of each mode in a batch. Those of a last batch that is
                not full are left out of the epoch.
            seed: int.

        Returns:
            A `tf.data.Dataset` of float32 `[per_mode * modes, 2]`.

        Raises:
            ValueError: `per_mode` is less than 1 or more than the points of a mode.
        """
        count = len(self.points)
        if not 1 <= per_mode <= count:
            raise ValueError(
                f"`per_mode` must be from 1 to the {count} points of a mode. "
                f"Received: per_mode={per_mode}"
            )
        shape = (per_mode * len(self.centers), 2)
        nothing = np.zeros(count, "int8")
        rows = batches(self.points, nothing, per_mode, seed=seed, drop_remainder=True)
        return rows.map(lambda points, _: tf.reshape(points, shape))


def gaussian_grid(
    points_per_mode: int = 5000,
    side: int = 4,
    spacing: float = 1.0,
    sigma: float = 0.02,
    seed: int = 0,
) -> GaussianMixture:
    """Draws a mixture of Gaussians on a square grid around the origin.

    The defaults are the 16 modes and 80,000 points on which Balduzzi et al. (2018)
    train: centres at -1.5, -0.5, 0.5 and 1.5 along each axis.

    Args:
        points_per_mode: int >= 1.
        side: int >= 1, modes along each axis.
        spacing: float > 0, between neighbouring centres.
        sigma: float > 0, the standard deviation along each axis.
        seed: int.

    Returns:
        A `GaussianMixture`.

    Raises:
        ValueError: an argument is outside what is allowed above.

    Example:

    >>> mixture = gaussian_grid(points_per_mode=500)
    >>> mixture.points.shape, mixture.centers[0].tolist()
    ((500, 16, 2), [-1.5, -1.5])
    >>> tuple(next(iter(mixture.batches(per_mode=50))).shape)
    (800, 2)

    Reference:

    - Balduzzi, Racaniere, Martens, Foerster, Tuyls and Graepel, 2018, "The mechanics of
      n-player differentiable games", [arXiv:1802.05642](https://arxiv.org/abs/1802.05642)
    """
    arguments = {
        "points_per_mode": (points_per_mode, 1),
        "side": (side, 1),
        "spacing": (spacing, None),
        "sigma": (sigma, None),
    }
    for name, (value, least) in arguments.items():
        if not (value > 0 if least is None else value >= least):
            bound = "> 0" if least is None else f">= {least}"
            raise ValueError(f"`{name}` must be {bound}. Received: {name}={value}")
    axis = spacing * (np.arange(side) - (side - 1) / 2)
    centers = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(points_per_mode, len(centers), 2))
    points = centers + sigma * noise
    return GaussianMixture(points.astype("float32"), centers.astype("float32"), sigma)
