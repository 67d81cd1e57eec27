"""Training of a projector, against discriminators or without."""

import os
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.data.natural_images import PatchSampler
from zoo.games.trainer import GameTrainer
from zoo.metrics.image_quality import psnr
from zoo.models.patch_training import check_parts, check_positive, check_schedule
from zoo.models.progress import Progress, digest, fit
from zoo.models.projector.losses import ProjectorLoss
from zoo.models.projector.perturbation import perturb

# Patches of a validation.
COUNT = 128


def train(
    projector: keras.Model,
    images: dict[str, Array] | Sequence[Array],
    *,
    image_discriminator: keras.Model | None = None,
    latent_discriminator: keras.Model | None = None,
    loss: ProjectorLoss | None = None,
    validation: dict[str, Array] | Sequence[Array] | None = None,
    steps: int = 6000,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    discriminator_rate: float = 2e-4,
    clip: float = 10.0,
    evaluate_every: int = 500,
    folder: str | os.PathLike[str] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    seed: int = 0,
    verbose: int = 0,
) -> list[dict[str, float]]:
    """Trains a projector on patches of natural images that are perturbed.

    Projector and discriminators play the game of `ProjectorLoss`, all at once, by Adam
    with gradients whose numbers are clipped to `clip`, and so are the weights after an
    update: gradients of the discriminators are then bounded. The paper's rates are 2e-4
    for all, over about 50,000 updates; here the projector's falls to 0 by a cosine.

    Args:
        projector: a `zoo.models.projector.projector`, trained in place.
        images: dict or list of `[height, width, channels]` in [0, 1].
        image_discriminator, latent_discriminator: networks of this package, trained
            in place, or `None` to train without. Default to `None`.
        loss: a `ProjectorLoss`. Defaults to one with the paper's weights.
        validation: images as `images`. Defaults to those of `zoo.data.natural_images`.
        steps: int, updates. Defaults to 6000.
        batch_size: int, patches an update. Defaults to 16; the paper's is 25.
        learning_rate: float above 0, the projector's at first. Defaults to 1e-3.
        discriminator_rate: float above 0, the discriminators'. Defaults to 2e-4.
        clip: float above 0. Defaults to 10.0.
        evaluate_every: int, updates between validations, of which `steps` is a
            multiple. Defaults to 500.
        folder: where the state is kept at each validation, to go on from when the same
            training is begun again, whatever weights the network then has; or `None`.
            Defaults to `None`.
        callbacks: list of Keras callbacks. An epoch is `evaluate_every` updates, and
            ends with `val_psnr` in its logs.
        seed: int >= 0, of patches and perturbations. Defaults to 0.
        verbose: 0 for silence, 1 for a line a validation. Defaults to 0.

    Returns:
        List of dicts, one a validation: `step`, `{player}_loss`, means over the updates
        since the one before, and `psnr` in dB, the mean over 128 perturbed patches of
        `validation`, the same ones each time.

    Raises:
        ValueError: an argument is not as above, or `folder` holds another training.
        FloatingPointError: a loss is not finite.

    Example:

    >>> from zoo.data import load_natural_images
    >>> from zoo.models.projector import image_discriminator, projector
    >>> images = load_natural_images("validation")
    >>> records = train(
    ...     projector(image_size=8, widths=(4,), latent_size=4),
    ...     images,
    ...     image_discriminator=image_discriminator(8, width=4, blocks=(1,)),
    ...     validation=images,
    ...     steps=20,
    ...     evaluate_every=10,
    ... )
    >>> [record["step"] for record in records]
    [10, 20]

    Reference:

    - Chang et al., 2017, "One Network to Solve Them All", arXiv:1703.09912
    """
    schedule = check_schedule(steps, batch_size, learning_rate, evaluate_every)
    discriminator_rate = check_positive("discriminator_rate", discriminator_rate)
    clip = check_positive("clip", clip)
    channels = projector.inputs[0].shape[-1]
    images, validation = check_parts(images, validation, channels, "projector")
    loss = ProjectorLoss() if loss is None else loss
    trainer = _make_trainer(
        projector,
        image_discriminator,
        latent_discriminator,
        loss,
        keras.optimizers.schedules.CosineDecay(schedule.learning_rate, steps),
        discriminator_rate,
        clip,
    )
    size = projector.inputs[0].shape[1]
    sampler = PatchSampler(images, size, seed=seed)
    name = digest(
        [*schedule, discriminator_rate, clip, loss.get_config(), sampler.seed],
        trainer.players.values(),
        [*images.values(), *validation.values()],
    )
    clean = PatchSampler(validation, size, seed=seed).batch(0, COUNT)
    perturbed = perturb(clean, np.random.default_rng([sampler.seed, 2]))

    def score():
        estimates = ops.convert_to_numpy(projector(perturbed, training=False))
        return float(psnr(estimates, clean).mean())

    def draw(step):
        patches = sampler.batch(step, batch_size)
        # Another sequence than that of the patches.
        rng = np.random.default_rng([sampler.seed, step, 1])
        return ((patches, perturb(patches, rng)),)

    progress = Progress("psnr", score, schedule, name, folder, verbose)
    return fit(trainer, draw, progress, callbacks)


def _make_trainer(
    projector,
    image_discriminator,
    latent_discriminator,
    loss,
    projector_rate,
    discriminator_rate,
    clip,
):
    """Returns the game of a projector and the discriminators that there are."""
    outputs = [projector.output, projector.get_layer("latent").output]
    players = {
        "projector": keras.Model(projector.inputs[0], outputs, name="projector_player"),
        "image_discriminator": image_discriminator,
        "latent_discriminator": latent_discriminator,
    }
    players = {name: one for name, one in players.items() if one is not None}
    optimizers = {
        name: keras.optimizers.Adam(
            discriminator_rate, beta_1=0.5, clipvalue=clip, name=name
        )
        for name in players
    }
    optimizers["projector"] = keras.optimizers.Adam(
        projector_rate, epsilon=1e-6, clipvalue=clip, name="projector"
    )
    trainer = GameTrainer(players, loss)
    trainer.compile(optimizers, clip=dict.fromkeys(players, clip))
    return trainer
