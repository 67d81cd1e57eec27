"""Training of denoisers on patches of images under fresh noise."""

import math
import os
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.data.natural_images import PatchSampler
from zoo.layers.real_spectral_norm import RealSpectralNormConv2D
from zoo.models.denoisers.inference import evaluate
from zoo.models.patch_training import check_parts, check_schedule
from zoo.models.progress import Progress, digest, fit


def train(
    network: keras.Model,
    images: dict[str, Array] | Sequence[Array],
    sigma: float | Sequence[float],
    *,
    validation: dict[str, Array] | Sequence[Array] | None = None,
    steps: int = 4000,
    batch_size: int = 16,
    patch_size: int = 64,
    learning_rate: float = 2e-3,
    evaluate_every: int = 500,
    folder: str | os.PathLike[str] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    seed: int = 0,
    verbose: int = 0,
) -> list[dict[str, float]]:
    """Trains a denoiser on patches of images under fresh Gaussian noise.

    What is minimised, by Adam with a rate that falls to 0 by a cosine, is the mean
    squared error. The weights that are best on the validation images are kept.

    Args:
        network: a denoiser of this package, trained in place.
        images: dict or list of `[height, width, channels]` in [0, 1].
        sigma: float > 0, standard deviation of the noise, or a pair of the least and
            the largest, between which each patch has its own: uniform from 0 up, and
            uniform on a log scale from a least above 0, where errors of all levels
            then weigh about alike. Noise of 25 grey levels is `25 / 255`.
        validation: images as `images`, under noise of `sigma`, or of the middle of the
            pair. Defaults to those of `zoo.data.natural_images`.
        steps: int, updates. Defaults to 4000.
        batch_size: int, patches an update. Defaults to 16.
        patch_size: int, their side. Defaults to 64.
        learning_rate: float above 0, at first. Defaults to 2e-3.
        evaluate_every: int, updates between validations, of which `steps` is a
            multiple. Defaults to 500.
        folder: where the state is kept at each validation, to go on from when the same
            training is begun again, whatever weights the network then has; or `None`.
            Defaults to `None`.
        callbacks: list of Keras callbacks. An epoch is `evaluate_every` updates, and
            ends with `val_psnr` in its logs.
        seed: int >= 0, of patches and noise. Defaults to 0.
        verbose: 0 for silence, 1 for a line a validation. Defaults to 0.

    Returns:
        List of dicts, one a validation: `step`, `loss`, the mean over the updates since
        the one before, and `psnr`, the mean over images in dB.

    Raises:
        ValueError: an argument is not as above, or `folder` holds another training.

    Example:

    >>> from zoo.data.natural_images import load_natural_images
    >>> from zoo.models.denoisers import dncnn
    >>> images = load_natural_images("validation")
    >>> settings = {"steps": 40, "evaluate_every": 20, "patch_size": 16}
    >>> records = train(dncnn(3, 8), images, 0.1, validation=images, **settings)
    >>> [record["step"] for record in records]
    [20, 40]

    Reference:

    - Zhang et al., 2017, "Beyond a Gaussian Denoiser", arXiv:1608.03981
    """
    levels = _check_levels(sigma)
    schedule = check_schedule(steps, batch_size, learning_rate, evaluate_every)
    channels = network.inputs[0].shape[-1]
    images, validation = check_parts(images, validation, channels, "network")
    sampler = PatchSampler(images, patch_size, seed=seed)
    model = _Noisy(network, sampler.seed)
    rate = keras.optimizers.schedules.CosineDecay(schedule.learning_rate, steps)
    # XLA takes longer on CPUs, and is what JAX has.
    jit_compile = keras.backend.backend() == "jax"
    model.compile(keras.optimizers.Adam(rate), jit_compile=jit_compile)
    # Else `fit` makes slots as it traces a step, and must trace it twice.
    model.optimizer.build(network.trainable_variables)
    name = digest(
        [levels, *schedule, sampler.size, sampler.seed],
        [network],
        [*images.values(), *validation.values()],
    )

    def score():
        # What is kept is divided by the norms themselves.
        for layer in network.layers:
            if isinstance(layer, RealSpectralNormConv2D):
                layer.settle()
        scores = evaluate(network, validation, np.mean(levels)).values()
        return float(np.mean(list(scores)))

    def draw(step):
        # Another sequence than that of the patches.
        given = _draw_levels(levels, batch_size, [sampler.seed, step, 1])
        return ((sampler.batch(step, batch_size), given),)

    progress = Progress("psnr", score, schedule, name, folder, verbose, best_of=network)
    return fit(model, draw, progress, callbacks)


class _Noisy(keras.Model):
    """A denoiser whose input is given noise, and whose loss is the squared error."""

    def __init__(self, network, seed):
        super().__init__(name="noisy", dtype="float32")
        self.network = network
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=None):
        clean, levels = inputs
        noise = keras.random.normal(ops.shape(clean), seed=self.seeds)
        noisy = clean + ops.reshape(levels, (-1, 1, 1, 1)) * noise
        conditioned = len(self.network.inputs) == 2
        inputs = (noisy, levels) if conditioned else noisy
        return self.network(inputs, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
        return ops.mean(ops.square(y_pred - x[0]))


def _draw_levels(levels, count, seed):
    """Returns levels of noise between the least and the largest, float32 `[count]`."""
    rng = np.random.default_rng(seed)
    least, largest = levels
    if least:
        found = np.exp(rng.uniform(*np.log(levels), count))
    else:
        found = rng.uniform(0, largest, count)
    return found.astype("float32")


def _check_levels(sigma):
    """Returns the least and the largest level of noise."""
    pair = tuple(sigma) if np.ndim(sigma) else (sigma, sigma)
    if len(pair) != 2 or not 0 <= pair[0] <= pair[1] < math.inf or not pair[1]:
        raise ValueError(
            "`sigma` must be a number above 0, or a pair of the least and the largest. "
            f"Received: sigma={sigma!r}"
        )
    if pair[1] > 2:
        raise ValueError(
            "`sigma` must be a part of the range [0, 1] of images, such as 25 / 255. "
            f"Received: sigma={sigma!r}"
        )
    return tuple(float(level) for level in pair)
