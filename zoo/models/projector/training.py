"""Training of a projector, against discriminators or without."""

import hashlib
import io
import json
import pathlib

import keras
import numpy as np
from keras import ops

from zoo._files import write_atomically
from zoo.data.natural_images import PatchSampler, check_images, load_natural_images
from zoo.games.trainer import GameTrainer
from zoo.losses.checks import check_integer, check_number
from zoo.metrics.image_quality import psnr
from zoo.models.projector.losses import ProjectorLoss
from zoo.models.projector.perturbation import perturb

STATE = "state.npz"
# Patches of a validation.
COUNT = 128


def train(
    projector,
    images,
    *,
    image_discriminator=None,
    latent_discriminator=None,
    loss=None,
    validation=None,
    steps=6000,
    batch_size=16,
    learning_rate=1e-3,
    discriminator_rate=2e-4,
    clip=10.0,
    evaluate_every=500,
    folder=None,
    callbacks=(),
    seed=0,
    verbose=0,
):
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
            training is begun again, or `None`. Defaults to `None`.
        callbacks: list of Keras callbacks. An epoch is `evaluate_every` updates.
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
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        check_integer(name, value, 1)
    evaluate_every = min(check_integer("evaluate_every", evaluate_every, 1), steps)
    if steps % evaluate_every:
        raise ValueError(
            f"`steps` must be a multiple of evaluate_every={evaluate_every}. "
            f"Received: steps={steps}"
        )
    tiny = np.finfo("float32").tiny
    rates = {
        "learning_rate": learning_rate,
        "discriminator_rate": discriminator_rate,
        "clip": clip,
    }
    for name, value in rates.items():
        check_number(name, value, tiny, allowed="above 0")
    channels = projector.inputs[0].shape[-1]
    images = _check_channels("images", images, channels)
    if validation is None:
        validation = load_natural_images("validation", color=channels == 3)
    validation = _check_channels("validation", validation, channels)
    loss = ProjectorLoss() if loss is None else loss
    trainer = _make_trainer(
        projector, image_discriminator, latent_discriminator, loss, steps, **rates
    )
    size = projector.inputs[0].shape[1]
    sampler = PatchSampler(images, size, seed=seed)
    settings = [steps, batch_size, *rates.values(), evaluate_every, loss.get_config()]
    progress = _Progress(
        folder,
        _digest(trainer, [images, validation], [*settings, seed]),
        PatchSampler(validation, size, seed=seed),
        (evaluate_every, steps, verbose),
    )
    progress.set_model(trainer)
    first = progress.restore()
    if first < steps:
        trainer.fit(
            _Batches(sampler, batch_size, first),
            steps_per_epoch=evaluate_every,
            initial_epoch=first // evaluate_every,
            epochs=steps // evaluate_every,
            callbacks=[progress, *callbacks],
            shuffle=False,
            verbose=0,
        )
    return progress.records


def _make_trainer(
    projector,
    image_discriminator,
    latent_discriminator,
    loss,
    steps,
    learning_rate,
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
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    optimizers = {
        name: keras.optimizers.Adam(
            discriminator_rate, beta_1=0.5, clipvalue=clip, name=name
        )
        for name in players
    }
    optimizers["projector"] = keras.optimizers.Adam(
        schedule, epsilon=1e-6, clipvalue=clip, name="projector"
    )
    trainer = GameTrainer(players, loss)
    trainer.compile(optimizers, clip=dict.fromkeys(players, clip))
    return trainer


class _Progress(keras.callbacks.Callback):
    """Validates, and keeps the state of the training on disk."""

    def __init__(self, folder, name, sampler, plan):
        super().__init__()
        self.path = None if folder is None else pathlib.Path(folder) / STATE
        self.name = name
        self.every, self.steps, self.verbose = plan
        self.clean = sampler.batch(0, COUNT)
        self.perturbed = perturb(self.clean, np.random.default_rng([sampler.seed, 2]))
        self.records = []

    def restore(self):
        """Takes the state on disk, if there is one, and returns the updates made."""
        if self.path is None or not self.path.exists():
            return 0
        with np.load(self.path) as file:
            arrays = dict(file)
        if str(arrays.pop("training")) != self.name:
            raise ValueError(
                "`folder` must be new, or hold this very training. "
                f"Received: folder={str(self.path.parent)!r}, which holds another"
            )
        self.records = json.loads(str(arrays.pop("records")))
        for index, variable in enumerate(self._variables()):
            variable.assign(arrays[f"now_{index}"])
        return self.records[-1]["step"]

    def on_epoch_end(self, epoch, logs=None):
        losses = {key: float(value) for key, value in logs.items() if "_loss" in key}
        estimates, _ = self.model.players["projector"](self.perturbed, training=False)
        scores = psnr(ops.convert_to_numpy(estimates), self.clean)
        record = {
            "step": (epoch + 1) * self.every,
            **losses,
            "psnr": float(scores.mean()),
        }
        self.records.append(record)
        if self.verbose:
            words = ", ".join(f"{key} {value:.4g}" for key, value in record.items())
            print(f"{words}, of {self.steps}", flush=True)
        if self.path is not None:
            self._save()

    def _save(self):
        arrays = {
            f"now_{index}": ops.convert_to_numpy(variable)
            for index, variable in enumerate(self._variables())
        }
        buffer = io.BytesIO()
        np.savez(buffer, training=self.name, records=json.dumps(self.records), **arrays)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, buffer.getvalue())

    def _variables(self):
        """All that an update reads: weights and the state of all optimizers."""
        return [*self.model.variables, *self.model.optimizer.variables]


class _Batches(keras.utils.PyDataset):
    """Endless patches and what is left of them; those of a step know its number."""

    def __init__(self, sampler, count, first):
        super().__init__()
        self.sampler, self.count, self.first = sampler, count, first

    @property
    def num_batches(self):
        """`None`: there is no last one."""
        return None

    def __getitem__(self, index):
        step = self.first + index
        clean = self.sampler.batch(step, self.count)
        # Another sequence than that of the patches.
        rng = np.random.default_rng([self.sampler.seed, step, 1])
        return ((clean, perturb(clean, rng)),)


def _check_channels(name, images, channels):
    images = check_images(name, images)
    found = next(iter(images.values())).shape[-1]
    if found != channels:
        raise ValueError(
            f"`{name}` must have {channels} channels, as the projector. "
            f"Received: {found}"
        )
    return images


def _digest(trainer, parts, settings):
    """Returns the name of a training: its settings, its images and its networks."""
    shapes = [tuple(one.shape) for one in trainer.variables]
    digest = hashlib.sha256(json.dumps([settings, shapes]).encode())
    for images in parts:
        for image in images.values():
            digest.update(image.tobytes())
    return digest.hexdigest()[:12]
