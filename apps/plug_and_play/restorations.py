"""What one projector restores images from, and networks trained for one task each."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from zoo.data import PatchSampler, block_mask, scattered_mask
from zoo.layers.operators import Downsample, GaussianMatrix, PixelMask
from zoo.models.projector.pretrained import BUILDERS

SIDE = 32


@dataclasses.dataclass(frozen=True)
class Restoration:
    """An inverse problem of patches.

    Attributes:
        title: str.
        kind: str; tasks of one kind differ in a number.
        operator: function of the images' shape and a seed to a `LinearOperator`.
        penalty: float, `rho`, the inverse of the projector's step.
        wavelet: pair of floats, the weight of the wavelets' l1 norm and the step.
        noise: float, its standard deviation in intensities.
        iterations: int, the projector's at most.
        published: three numbers of the paper as the report has them, with deviations:
            the l1 prior, one projector, and a network of the task; or `None`.
    """

    title: str
    kind: str
    operator: Callable
    penalty: float
    wavelet: tuple
    noise: float = 0.0
    iterations: int = 300
    published: tuple | None = None

    def measure(self, operator, images, seed):
        """Returns measurements of images with seeded noise."""
        clean = ops.convert_to_numpy(operator(images))
        noise = np.random.default_rng(seed).standard_normal(clean.shape)
        return clean + (self.noise * noise).astype(clean.dtype)


def _super_resolution(factor, **settings):
    return Restoration(
        title=f"super-resolution, x{factor}",
        kind="super-resolution",
        operator=lambda shape, seed: Downsample(shape, factor, kind="box"),
        penalty=1 / (6 * factor**2),
        iterations=30,
        **settings,
    )


# Penalties, and the wavelets' weights and steps, are the best of a few on patches of
# photographs for validation, and so are the 30 iterations of compressive sensing, which
# later drifts away. The paper's penalties are 0.3, of the block 0.2, and of
# super-resolution `0.5 / factor^2`: its `A^T` is `factor^2` times that of means.
RESTORATIONS = {
    "compressive_sensing": Restoration(
        "compressive sensing, 10x",
        "compressive sensing",
        lambda shape, seed: GaussianMatrix(shape, int(np.prod(shape)) // 10, seed),
        penalty=1.0,
        wavelet=(0.1, 1.0),
        iterations=30,
        published=("13.01 ± 2.75", "25.43 ± 3.74", "25.18 ± 2.82"),
    ),
    "pixelwise": Restoration(
        "half of the pixels, noise",
        "pixelwise inpainting and denoising",
        lambda shape, seed: PixelMask(shape, scattered_mask(shape[:2], 0.5, seed=seed)),
        penalty=1.0,
        wavelet=(0.1, 0.3),
        noise=0.05,
        published=("20.68 ± 1.65", "26.29 ± 1.98", "30.13 ± 1.66"),
    ),
    "scattered": Restoration(
        "ten blocks",
        "scattered inpainting",
        lambda shape, seed: PixelMask(
            shape, block_mask(shape[:2], round(0.1 * shape[0]), 10, seed=seed)
        ),
        penalty=0.3,
        wavelet=(1e-4, 1000.0),
        published=("27.85 ± 2.58", "25.69 ± 3.45", "18.30 ± 2.55"),
    ),
    "block": Restoration(
        "a block in the centre",
        "blockwise inpainting",
        lambda shape, seed: PixelMask(
            shape, block_mask(shape[:2], round(0.3 * shape[0]))
        ),
        penalty=0.67,
        wavelet=(1e-4, 1000.0),
    ),
    "super_resolution_2": _super_resolution(
        2,
        wavelet=(1e-4, 100.0),
        published=("27.30 ± 2.50", "27.11 ± 3.21", "22.59 ± 2.89"),
    ),
    "super_resolution_4": _super_resolution(4, wavelet=(1e-4, 3.0)),
}


def first_images(operator, y):
    """Returns where ADMM starts: `pulled_back`, with unseen pixels at the mean."""
    images = pulled_back(operator, y)
    if not isinstance(operator, PixelMask):
        return images
    seen = ops.convert_to_numpy(operator(np.ones_like(images)))
    means = np.sum(images, (1, 2, 3), keepdims=True) / np.sum(
        seen, (1, 2, 3), keepdims=True
    )
    return images + (1 - seen) * means


def pulled_back(operator, y):
    """Returns `A^T y / |A|^2`, images of about [0, 1]."""
    scale = operator.operator_norm() ** 2
    return ops.convert_to_numpy(operator.adjoint(y)) / scale


def train_specialised(restoration, operator, images, steps, seed):
    """Trains a network of the projector's form to undo one task, of one operator.

    Returns:
        A network from `pulled_back` measurements to images.
    """
    keras.utils.set_random_seed(seed)
    network = BUILDERS["projector_32"]()
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    network.compile(keras.optimizers.Adam(schedule), "mse", jit_compile=False)
    network.optimizer.build(network.trainable_variables)
    network.fit(
        _Pairs(restoration, operator, PatchSampler(images, SIDE, seed=seed)),
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
    )
    return network


class _Pairs(keras.utils.PyDataset):
    """Endless batches of what is measured and of the images."""

    def __init__(self, restoration, operator, sampler, count=16):
        super().__init__()
        self.restoration, self.operator = restoration, operator
        self.sampler, self.count = sampler, count

    @property
    def num_batches(self):
        """`None`: there is no last one."""
        return None

    def __getitem__(self, index):
        images = self.sampler.batch(index, self.count)
        y = self.restoration.measure(self.operator, images, [self.sampler.seed, index])
        return pulled_back(self.operator, y), images
