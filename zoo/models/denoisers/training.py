"""Training of denoisers on patches of images under fresh noise."""

import hashlib
import io
import json
import math
import pathlib

import keras
import numpy as np
from keras import ops

from zoo._files import write_atomically
from zoo.data.natural_images import PatchSampler, check_images, load_natural_images
from zoo.losses.checks import check_integer, check_number
from zoo.models.denoisers.inference import evaluate

STATE = "state.npz"


def train(
    network,
    images,
    sigma,
    *,
    validation=None,
    steps=4000,
    batch_size=16,
    patch_size=64,
    learning_rate=2e-3,
    evaluate_every=500,
    folder=None,
    callbacks=(),
    seed=0,
    verbose=0,
):
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
            training is begun again, or `None`. Defaults to `None`.
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
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        check_integer(name, value, 1)
    evaluate_every = min(check_integer("evaluate_every", evaluate_every, 1), steps)
    if steps % evaluate_every:
        raise ValueError(
            f"`steps` must be a multiple of evaluate_every={evaluate_every}. "
            f"Received: steps={steps}"
        )
    tiny = np.finfo("float32").tiny
    check_number("learning_rate", learning_rate, tiny, allowed="above 0")
    channels = network.inputs[0].shape[-1]
    images = _check_channels("images", images, channels)
    if validation is None:
        validation = load_natural_images("validation", color=channels == 3)
    validation = _check_channels("validation", validation, channels)
    sampler = PatchSampler(images, patch_size, seed=seed)
    model = _Noisy(network, seed)
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    # XLA takes longer on CPUs, and is what JAX has.
    jit_compile = keras.backend.backend() == "jax"
    model.compile(keras.optimizers.Adam(schedule), jit_compile=jit_compile)
    # Else `fit` makes slots as it traces a step, and must trace it twice.
    model.optimizer.build(network.trainable_variables)
    settings = (levels, steps, batch_size, patch_size, learning_rate, evaluate_every)
    name = _digest(network, [images, validation], [*settings, seed])
    every = (evaluate_every, steps, verbose)
    progress = _Progress(folder, name, validation, np.mean(levels), *every)
    progress.set_model(model)
    first = progress.restore()
    if first < steps:
        model.fit(
            _Batches(sampler, levels, batch_size, first),
            steps_per_epoch=evaluate_every,
            initial_epoch=first // evaluate_every,
            epochs=steps // evaluate_every,
            callbacks=[progress, *callbacks],
            shuffle=False,
            verbose=0,
        )
    network.set_weights(progress.best)
    return progress.records


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


class _Progress(keras.callbacks.Callback):
    """Validates, keeps the best weights, and the state of the training on disk.

    It follows no single update: JAX would wait for each.
    """

    def __init__(self, folder, name, validation, sigma, every, steps, verbose):
        super().__init__()
        self.path = None if folder is None else pathlib.Path(folder) / STATE
        self.name, self.every, self.steps = name, every, steps
        self.validation, self.sigma, self.verbose = validation, sigma, verbose
        self.records, self.best = [], None

    def restore(self):
        """Takes the state on disk, if there is one, and returns the updates made."""
        network = self.model.network
        self.best = network.get_weights()
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
        self.best = [arrays[f"best_{index}"] for index in range(len(self.best))]
        for index, variable in enumerate(self._variables()):
            variable.assign(arrays[f"now_{index}"])
        return self.records[-1]["step"]

    def on_epoch_end(self, epoch, logs=None):
        network = self.model.network
        scores = evaluate(network, self.validation, self.sigma).values()
        record = {
            "step": (epoch + 1) * self.every,
            "loss": float(logs["loss"]),
            "psnr": float(np.mean(list(scores))),
        }
        logs["val_psnr"] = record["psnr"]
        before = [one["psnr"] for one in self.records if math.isfinite(one["psnr"])]
        # NaN is no better.
        if record["psnr"] > max(before, default=-math.inf):
            self.best = network.get_weights()
        self.records.append(record)
        if not math.isfinite(record["psnr"]):
            self.model.stop_training = True
        if self.verbose:
            print(
                f"step {record['step']} of {self.steps}: loss {record['loss']:.3e}, "
                f"validation {record['psnr']:.2f} dB",
                flush=True,
            )
        self._save()

    def _save(self):
        if self.path is None:
            return
        arrays = {f"best_{index}": one for index, one in enumerate(self.best)}
        for index, variable in enumerate(self._variables()):
            arrays[f"now_{index}"] = ops.convert_to_numpy(variable)
        buffer = io.BytesIO()
        np.savez(buffer, training=self.name, records=json.dumps(self.records), **arrays)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, buffer.getvalue())

    def _variables(self):
        """All that an update reads: weights, state of the noise and of Adam."""
        return [*self.model.variables, *self.model.optimizer.variables]


class _Batches(keras.utils.PyDataset):
    """Endless patches and their levels of noise; those of a step know its number."""

    def __init__(self, sampler, levels, count, first):
        super().__init__()
        self.sampler, self.levels, self.count = sampler, levels, count
        self.first = first

    @property
    def num_batches(self):
        """`None`: there is no last one."""
        return None

    def __getitem__(self, index):
        step = self.first + index
        # Another sequence than that of the patches.
        rng = np.random.default_rng([self.sampler.seed, step, 1])
        least, largest = self.levels
        if least:
            levels = np.exp(rng.uniform(*np.log(self.levels), self.count))
        else:
            levels = rng.uniform(0, largest, self.count)
        levels = levels.astype("float32")
        return ((self.sampler.batch(step, self.count), levels),)


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


def _check_channels(name, images, channels):
    images = check_images(name, images)
    found = next(iter(images.values())).shape[-1]
    if found != channels:
        raise ValueError(
            f"`{name}` must have {channels} channels, as the network. Received: {found}"
        )
    return images


def _digest(network, parts, settings):
    """Returns the name of a training: its settings, its images and its network."""
    shapes = [tuple(one.shape) for one in network.variables]
    digest = hashlib.sha256(json.dumps([settings, shapes]).encode())
    for images in parts:
        for image in images.values():
            digest.update(image.tobytes())
    return digest.hexdigest()[:12]
