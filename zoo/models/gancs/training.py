"""Training of generators, alone or against a discriminator, and how good they are."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo import _backend
from zoo._types import Array
from zoo.data.natural_images import PatchSampler
from zoo.games.trainer import GameTrainer
from zoo.losses.checks import check_integer, check_number
from zoo.metrics.image_quality import snr
from zoo.models.gancs.costs import Costs
from zoo.models.gancs.networks import operator_of
from zoo.models.patch_training import (
    check_channels,
    check_parts,
    check_schedule,
    measure,
)
from zoo.models.progress import Progress, digest, fit


def train(
    generator: keras.Model,
    images: dict[str, Array] | Sequence[Array],
    *,
    discriminator: keras.Model | None = None,
    noise: float = 0.0,
    adversarial: float = 0.025,
    l1: float = 1.0,
    fidelity: float = 0.0,
    validation: dict[str, Array] | Sequence[Array] | None = None,
    steps: int = 2000,
    batch_size: int = 4,
    learning_rate: float = 1e-3,
    evaluate_every: int = 250,
    folder: str | os.PathLike[str] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    seed: int = 0,
    verbose: int = 0,
) -> list[dict[str, float]]:
    """Trains a generator on patches of photographs and their measurements.

    Patches have the size of the operator's images. Each batch is measured by the
    operator, under fresh noise, and the players take turns, the discriminator first.
    Both are trained by Adam with `beta_1=0.5` and a rate that falls to 0 by a cosine.
    What they minimise says `zoo.models.gancs.costs.Costs`. The last weights are kept: a
    generator that is to deceive a discriminator is not the one of the largest SNR.

    Args:
        generator: a network of `zoo.models.gancs.generator`, trained in place.
        images: dict or list of `[height, width, channels]` in [0, 1].
        discriminator: a network of `zoo.models.gancs.discriminator`, trained in place,
            or `None` to minimise the errors of pixels alone. Defaults to `None`.
        noise: float from 0 up, standard deviation of each real number that is measured,
            in units of [0, 1]. Defaults to 0.
        adversarial, l1, fidelity: floats, weights of the costs, see there.
        validation: images as `images`, each pooled and cut as `evaluate` does. Defaults
            to those of `zoo.data.natural_images`.
        steps: int, batches. Defaults to 2000.
        batch_size: int, patches a batch. Defaults to 4.
        learning_rate: float above 0, at first, of both players. Defaults to 1e-3.
        evaluate_every: int, batches between validations, of which `steps` is a
            multiple. Defaults to 250.
        folder: where the state is kept at each validation, to go on from when the same
            training is begun again, whatever weights the network then has; or `None`.
            Defaults to `None`.
        callbacks: list of Keras callbacks. An epoch is `evaluate_every` batches, and
            ends with `val_snr` in its logs.
        seed: int >= 0, of patches and noise. Defaults to 0.
        verbose: 0 for silence, 1 for a line a validation. Defaults to 0.

    Returns:
        List of dicts, one a validation: `step`, `generator_loss` and
        `discriminator_loss`, means over the batches since the one before, and `snr`,
        the mean over images in dB.

    Raises:
        ValueError: an argument is not as above, or `folder` holds another training.
        FloatingPointError: a cost is not finite.

    Example:

    >>> import numpy as np
    >>> from zoo.data import load_natural_images
    >>> from zoo.layers.operators import FourierMask
    >>> from zoo.models.gancs import generator
    >>> operator = FourierMask((16, 16, 1), np.eye(16))
    >>> images = load_natural_images("validation")
    >>> settings = {"steps": 4, "evaluate_every": 2, "validation": images}
    >>> records = train(generator(operator, width=4), images, **settings)
    >>> [record["step"] for record in records]
    [2, 4]

    Reference:

    - Mardani et al., 2019, "Deep Generative Adversarial Neural Networks for Compressive
      Sensing MRI", [arXiv:1706.00051](https://arxiv.org/abs/1706.00051)
    """
    operator = operator_of(generator)
    costs = Costs(operator, noise, adversarial, l1, fidelity)
    schedule = check_schedule(steps, batch_size, learning_rate, evaluate_every)
    height, width, channels = operator.image_shape
    if height != width:
        raise ValueError(
            "`generator` must be of square images to be trained. "
            f"Received: an operator with image_shape={operator.image_shape}"
        )
    images, validation = check_parts(images, validation, channels, "operator")
    validation = views(validation, operator.image_shape, "validation")
    sampler = PatchSampler(images, height, seed=seed)
    players = {"generator": generator}
    if discriminator is not None:
        # The first in turn.
        players = {"discriminator": discriminator, **players}
    trainer = GameTrainer(players, costs, seed=sampler.seed)
    rate = keras.optimizers.schedules.CosineDecay(schedule.learning_rate, steps)
    adam = {name: keras.optimizers.Adam(rate, beta_1=0.5) for name in players}
    trainer.compile(adam, order="alternating")
    weights = (costs.noise, costs.adversarial, costs.l1, costs.fidelity)
    name = digest(
        [weights, *schedule, sampler.seed],
        players.values(),
        [*operator.get_weights(), *images.values(), *validation.values()],
    )

    def score():
        scores = evaluate(generator, validation, costs.noise).values()
        return float(np.mean(list(scores)))

    def draw(step):
        return (sampler.batch(step, batch_size),)

    progress = Progress("snr", score, schedule, name, folder, verbose)
    return fit(trainer, draw, progress, callbacks)


def evaluate(
    generator: keras.Model,
    images: dict[str, Array] | Sequence[Array],
    noise: float = 0.0,
    seed: int = 0,
) -> dict[str | int, float]:
    """Returns the SNR in dB of each image that a generator recovers.

    That of zero-filling is `evaluate` of a new generator, where `A A^T = I`.

    Args:
        generator: a network of `zoo.models.gancs.generator`.
        images: dict or list of `[height, width, channels]` in [0, 1], no smaller than
            the operator's. A larger one is brought to means of squares of pixels, as
            large as may be, and cut in the middle.
        noise: float from 0 up, standard deviation of each real number that is measured.
            Defaults to 0.
        seed: int >= 0, of the noise, which is drawn image after image. Defaults to 0.

    Returns:
        Dict from the name of an image, or its place in the list, to a float.

    Raises:
        ValueError: an argument is not as above.

    Example: half of the pixels, 0, leave half of the energy as the error.

    >>> from zoo.layers.operators import PixelMask
    >>> from zoo.models.gancs import generator
    >>> half = PixelMask((2, 2, 1), [[1, 0], [0, 1]])
    >>> scores = evaluate(generator(half, width=1), {"grey": np.full((9, 9, 1), 0.5)})
    >>> round(scores["grey"], 2)
    3.01
    """
    operator = operator_of(generator)
    images = views(images, operator.image_shape)
    noise = check_number("noise", noise, 0.0)
    rng = np.random.default_rng(check_integer("seed", seed, 0))
    run = _backend.compiled(lambda y: generator(y, training=False), generator)
    scores: dict[str | int, float] = {}
    for name, image in images.items():
        y = measure(operator, image[None], noise, rng)
        estimate = ops.convert_to_numpy(run(y))
        scores[name] = float(snr(estimate[0], image))
    return scores


def views(
    images: dict[str, Array] | Sequence[Array],
    shape: Sequence[int],
    name: str = "images",
) -> dict[Any, np.ndarray]:
    """Returns images of a shape: means of squares of pixels, cut in the middle.

    Args:
        images: dict or list of `[height, width, channels]` in [0, 1].
        shape: `(H, W, C)`.
        name: str, the argument's.

    Raises:
        ValueError: an image is smaller, or not as above.
    """
    height, width, channels = shape
    found = {}
    for key, image in check_channels(name, images, channels, "operator").items():
        factor = min(image.shape[0] // height, image.shape[1] // width)
        if not factor:
            raise ValueError(
                f"`{name}` must be of {height} x {width} pixels at least. "
                f"Received: {image.shape} of image {key!r}"
            )
        sides = (factor * height, factor * width)
        top, left = ((a - b) // 2 for a, b in zip(image.shape, sides, strict=False))
        cut = image[top : top + sides[0], left : left + sides[1]]
        cut = cut.reshape(height, factor, width, factor, channels)
        found[key] = cut.mean((1, 3))
    return found
