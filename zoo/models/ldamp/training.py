"""Training LDAMP: all layers at once, one after the other, or the denoisers alone."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.data.natural_images import PatchSampler
from zoo.losses.checks import check_choice, check_integer, check_number
from zoo.models import denoisers
from zoo.models.ldamp.fitting import Measured, fit, mean_psnr
from zoo.models.ldamp.network import LdampNetwork
from zoo.models.patch_training import check_parts, check_schedule, measure

METHODS = ("end_to_end", "layerwise", "denoisers")
# Levels in grey levels of 255 between which denoisers of no level input are trained.
BINS = (0, 10, 20, 40, 60, 80, 100, 150, 300, 500)
# Levels that denoisers with that input are trained for.
ALL_LEVELS = (2, 500)


def train(
    network: LdampNetwork,
    images: dict[str, Array] | Sequence[Array],
    *,
    method: Literal["end_to_end", "layerwise", "denoisers"] = "end_to_end",
    loss: Literal["mse", "sure"] = "mse",
    noise: float = 1 / 255,
    steps: int = 1000,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    validation: dict[str, Array] | Sequence[Array] | None = None,
    patches: int = 32,
    evaluate_every: int = 100,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    seed: int = 0,
    verbose: int = 0,
) -> list[dict[str, Any]]:
    """Trains the denoisers of LDAMP on patches of images and their measurements.

    A patch is of the size of the operator's images. Where the operator is a
    `GaussianMatrix` each batch is measured by a new one. The methods are

    - `"end_to_end"`: all layers at once; the only one for layers that share a denoiser,
      beside the last;
    - `"layerwise"`: layer by layer, those before as they are. A layer begins as the one
      before;
    - `"denoisers"`: each denoiser alone, by `zoo.models.denoisers.train`. One that is
      given its level is trained for 2 to 500 grey levels; any other for the bin of `0,
      10, 20, 40, 60, 80, 100, 150, 300, 500` grey levels that its first layer's noise
      lies in once those before are trained.

    In the first two a stage keeps the weights that are best on the validation patches,
    those it began with among them. So no stage makes the estimate of its last layer
    worse. A layer of `"layerwise"` is accepted if its estimate is no worse than that of
    the layer before.

    Args:
        network: a `zoo.models.ldamp.LdampNetwork`, trained in place.
        images: dict or list of `[height, width, channels]` in [0, 1].
        method: str, as above. Defaults to `"end_to_end"`.
        loss: `"mse"`; or `"sure"`, Stein's estimate of it from the last pseudo-data
            `r`, which takes no true image: `|x - r|^2 / n - s^2 + 2 s^2 div D(r) / n`,
            with `s` the level. Unused by `"denoisers"`. Defaults to `"mse"`.
        noise: float >= 0, the standard deviation of the noise of a measurement, of each
            of its real numbers. Defaults to 1 / 255.
        steps: int, updates, of each layer or denoiser if these are trained one by one.
            Defaults to 1000.
        batch_size: int, patches an update. Defaults to 16.
        learning_rate: float above 0, at first; it falls to 0 by a cosine. Defaults to
            1e-3.
        validation: images as `images`. Defaults to those of `zoo.data.natural_images`.
        patches: int >= 1, validation patches. Defaults to 32.
        evaluate_every: int, updates between validations, of which `steps` is a
            multiple. Defaults to 100.
        callbacks: list of Keras callbacks.
        seed: int >= 0, of patches, noise and matrices. Defaults to 0.
        verbose: 0 for silence, 1 for a line a stage. Defaults to 0.

    Returns:
        List of dicts, one a stage: `layers`, those of the network whose estimate is
        meant; `before` and `after`, the PSNR of their mean squared error on the
        validation patches in dB; `previous`, that of a layer less, or `None`; `levels`,
        the grey levels that a denoiser was trained for, or `None`; and `accepted`,
        always of a denoiser, and of a stage without `previous` if it found better
        weights.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> from zoo.data import load_natural_images
    >>> from zoo.layers.operators import GaussianMatrix
    >>> from zoo.models.denoisers import dncnn
    >>> from zoo.models.ldamp import ldamp
    >>> operator = GaussianMatrix((16, 16, 1), 128)
    >>> network = ldamp(operator, dncnn(3, 8, noise_level_input=True), 3)
    >>> images = load_natural_images("validation")
    >>> (stage,) = train(network, images, steps=20, evaluate_every=10)
    >>> stage["after"] >= stage["before"]
    True

    Reference:

    - Metzler, Mousavi and Baraniuk, 2017, "Learned D-AMP: Principled Neural Network
      based Compressive Image Recovery",
      [arXiv:1704.06625](https://arxiv.org/abs/1704.06625)
    - Metzler et al., 2018, "Unsupervised Learning with Stein's Unbiased Risk
      Estimator", [arXiv:1805.10531](https://arxiv.org/abs/1805.10531)
    """
    check_choice("method", method, METHODS)
    check_choice("loss", loss, ("mse", "sure"))
    noise = check_number("noise", noise, 0)
    schedule = check_schedule(steps, batch_size, learning_rate, evaluate_every)
    check_integer("patches", patches, 1)
    if method == "denoisers":
        for denoiser in network.denoisers:
            if not getattr(denoiser, "inputs", None):
                raise ValueError(
                    '`method="denoisers"` needs those of `zoo.models.denoisers`. '
                    f"Received: a denoiser of type {type(denoiser).__name__}"
                )
    if method == "layerwise" and len(network.denoisers) < network.depth:
        raise ValueError(
            '`method="layerwise"` needs a denoiser a layer. '
            f"Received: {len(network.denoisers)} denoisers for {network.depth} layers"
        )
    seed = check_integer("seed", seed, 0)
    channels = _check_square(network.operator)
    images, validation = check_parts(images, validation, channels, "operator")
    size = network.operator.image_shape[0]
    held = PatchSampler(validation, size, augment=False, seed=seed).batch(0, patches)
    rng = np.random.default_rng([seed, 2])
    known = measure(network.operator, held, noise, rng), held
    if method == "denoisers":
        settings = {**schedule._asdict(), "callbacks": callbacks, "seed": seed}
        parts = (network, images, validation, known)
        return _train_denoisers(*parts, settings, verbose)
    sampler = PatchSampler(images, size, seed=seed)
    stages = [network.depth]
    if method == "layerwise":
        stages = list(range(1, network.depth + 1))
    records: list[dict[str, Any]] = []
    for depth in stages:
        part = network.truncate(depth)
        first = depth - 1 if method == "layerwise" else 0
        model = Measured(part, loss, noise, first, [seed, depth])
        previous = None
        if method == "layerwise" and depth > 1:
            previous = records[-1]["after"]
            _take_over(part, known)
        before = mean_psnr(part, known)
        after = fit(model, sampler, known, before, schedule, depth * steps, callbacks)
        accepted = after > before if previous is None else after >= previous
        records.append(_record(depth, before, after, previous, None, accepted, verbose))
    return records


def _train_denoisers(network, images, validation, known, settings, verbose):
    """Trains each denoiser alone, and measures the network before and after."""
    first = {}
    for place, block in enumerate(network.blocks):
        first.setdefault(id(block.denoiser), place)
    records = []
    for denoiser, place in zip(network.denoisers, first.values(), strict=True):
        conditioned = len(denoiser.inputs) == 2
        levels = ALL_LEVELS if conditioned else _bin(network, place, known[0])
        before = mean_psnr(network, known)
        denoisers.train(
            denoiser,
            images,
            tuple(level / 255 for level in levels),
            validation=validation,
            patch_size=network.operator.image_shape[0],
            **settings,
        )
        after = mean_psnr(network, known)
        record = _record(network.depth, before, after, None, levels, True, verbose)
        records.append(record)
    return records


def _bin(network, place, y):
    """Returns the bin of the mean level of what a layer denoises."""
    state = None
    for block in network.blocks[:place]:
        state = block(y, state)
    _, _, level = network.blocks[place].pseudo_data(y, state)
    level = 255 * float(ops.mean(level))
    # NaN, of layers that diverge, goes last.
    inside = sum(not level < edge for edge in BINS[1:-1])
    return BINS[inside], BINS[inside + 1]


def _take_over(network, known):
    """Gives the last denoiser the weights of the one before, if it is better so."""
    before, last = network.denoisers[-2:]
    kinds = [[weight.shape for weight in one.weights] for one in (before, last)]
    if kinds[0] == kinds[1]:
        own, entry = last.get_weights(), mean_psnr(network, known)
        last.set_weights(before.get_weights())
        if not mean_psnr(network, known) > entry:
            last.set_weights(own)


def _record(layers, before, after, previous, levels, accepted, verbose):
    if verbose:
        print(f"{layers} layers: {before:.2f} -> {after:.2f} dB", flush=True)
    return {
        "layers": layers,
        "before": before,
        "after": after,
        "previous": previous,
        "levels": levels,
        "accepted": bool(accepted),
    }


def _check_square(operator):
    """Returns the channels of an operator of square images."""
    height, width, channels = operator.image_shape
    if height != width:
        raise ValueError(
            "`network` must be of an operator of square images to be trained. "
            f"Received: image_shape={operator.image_shape}"
        )
    return channels
