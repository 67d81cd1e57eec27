"""Fitting a stage of LDAMP, and what it is worth on validation patches."""

import math

import keras
import numpy as np
from keras import ops

from zoo.layers.divergence import monte_carlo_divergence
from zoo.layers.operators import GaussianMatrix
from zoo.models.progress import Batches


class Measured(keras.Model):
    """A network that measures clean patches itself; its output is their losses.

    Args:
        network: a `LdampNetwork`.
        loss: `"mse"` or `"sure"`.
        noise: float, of measurements.
        first: int, the first layer that is trained.
        seed: ints.
    """

    def __init__(self, network, loss, noise, first, seed):
        # The network casts.
        super().__init__(name="measured", autocast=False)
        self.network = network
        self.loss_name = loss
        self.noise = noise
        self.first = first
        seed = int(np.random.default_rng(seed).integers(2**31))
        self.seeds = keras.random.SeedGenerator(seed)

    def call(self, clean, training=None):
        operator = self.network.operator
        if isinstance(operator, GaussianMatrix):
            shape = operator.matrix.shape
            deviation = shape[0] ** -0.5
            operator.matrix.assign(self._normal(shape) * deviation)
        y = operator(clean)
        y = y + ops.cast(self.noise * self._normal(ops.shape(y)), y.dtype)
        if operator.is_complex:
            y = y + 1j * ops.cast(self.noise * self._normal(ops.shape(y)), y.dtype)
        *before, last = self.network.blocks
        state = None
        for place, block in enumerate(before):
            state = block(y, state, training=training and place >= self.first)
        _, r, level = last.pseudo_data(y, state)
        x = last.denoise(r, level, training)
        if self.loss_name == "mse":
            return ops.mean(ops.square(x - clean), axis=(1, 2, 3))
        divergence = monte_carlo_divergence(
            lambda images: last.denoise(images, level, training),
            r,
            self._normal((1, *ops.shape(r))),
            x,
            last.relative_epsilon,
        )
        misfit = ops.mean(ops.square(x - r), axis=(1, 2, 3))
        share = 2 * divergence / operator.num_pixels - 1
        return misfit + ops.square(level) * share

    def _normal(self, shape):
        dtype = self.network.operator.float_dtype
        return keras.random.normal(shape, dtype=dtype, seed=self.seeds)

    def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
        return ops.mean(y_pred)


def mean_psnr(network, known):
    """Returns the PSNR of the mean squared error of the last estimates, in dB.

    Args:
        network: a `LdampNetwork`.
        known: pair of measurements and patches.
    """
    y, x = known
    error = np.mean((network.predict_all(y)[-1] - x) ** 2, dtype="float64")
    with np.errstate(divide="ignore"):
        found = float(-10 * np.log10(error))
    # NaN, of networks that diverge, is worse than all.
    return -math.inf if math.isnan(found) else found


def fit(model, sampler, known, before, schedule, first_step, callbacks):
    """Trains the layers of a network from `model.first` on, and leaves the best.

    Args:
        model: the network with its loss.
        sampler: a `PatchSampler`.
        known: pair of validation measurements and patches.
        before: float, what `mean_psnr` is at first.
        schedule: a `zoo.models.patch_training.Schedule`.
        first_step: int, the sampler's.
        callbacks: list of Keras callbacks.

    Returns:
        `mean_psnr` of what is left.
    """
    network = model.network
    operator = network.operator.get_weights()
    trained = {id(block.denoiser) for block in network.blocks[model.first :]}
    frozen = [
        weight
        for denoiser in network.denoisers
        if id(denoiser) not in trained
        for weight in denoiser.trainable_weights
    ]
    for weight in frozen:
        weight.trainable = False
    try:
        steps, size, rate, every = schedule
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
        optimizer = keras.optimizers.Adam(rate, global_clipnorm=1.0)
        # XLA takes longer on CPUs, and is what JAX has.
        model.compile(optimizer, jit_compile=keras.backend.backend() == "jax")
        # Else `fit` makes slots as it traces a step, and must trace it twice.
        optimizer.build(network.trainable_variables)
        best = _Best(network, operator, known, before)
        model.fit(
            Batches(lambda step: (sampler.batch(step, size),), first_step),
            steps_per_epoch=every,
            epochs=steps // every,
            callbacks=[best, *callbacks],
            shuffle=False,
            verbose=0,
        )
    finally:
        # What ends a training early leaves no matrix of a batch.
        network.operator.set_weights(operator)
        for weight in frozen:
            weight.trainable = True
    best.restore()
    return best.psnr


class _Best(keras.callbacks.Callback):
    """Keeps the denoisers that are best with the operator of the validation."""

    def __init__(self, network, operator, known, before):
        super().__init__()
        self.network, self.operator, self.known = network, operator, known
        self.psnr, self.weights = before, self._weights()

    def on_epoch_end(self, epoch, logs=None):
        self.network.operator.set_weights(self.operator)
        psnr = mean_psnr(self.network, self.known)
        logs["val_psnr"] = psnr
        if psnr > self.psnr:
            self.psnr, self.weights = psnr, self._weights()
        if not math.isfinite(logs["loss"]):
            self.model.stop_training = True

    def restore(self):
        pairs = zip(self.network.denoisers, self.weights, strict=True)
        for denoiser, weights in pairs:
            denoiser.set_weights(weights)

    def _weights(self):
        return [denoiser.get_weights() for denoiser in self.network.denoisers]
