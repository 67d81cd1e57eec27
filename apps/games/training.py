"""Trains two networks on the mixture of Gaussians, and watches what they reach."""

import time

import keras
import numpy as np
import tensorflow as tf

from zoo.apps.games.networks import discriminator, generator
from zoo.games import R1, gan
from zoo.metrics import mode_coverage
from zoo.study import EpochLogs, distribute

SAMPLES, SHOWN = 16_000, 2_000
EMA = 0.99
# All modes, and this share of samples of high quality: reached.
GOOD = 0.8


def train(setting, mixture, config, *, seed, logdir, iterations, snapshots=()):
    """Trains both networks, and measures the generator's samples as it goes.

    Samples are those of the moving average of the generator's weights and of the
    weights themselves; a check is passed by either.

    Args:
        setting: a `Setting`.
        mixture: a `zoo.data.GaussianMixture`.
        config: the settings; `per_mode` and `check_every`.
        seed: int, of the weights, the noise and the order of the points.
        logdir: str, for TensorBoard.
        iterations: int, a multiple of `check_every`.
        snapshots: iterations after which samples are kept.

    Returns:
        Dict of scalars and curves.

    Raises:
        FloatingPointError: a loss or a sample is not finite.
    """
    keras.utils.set_random_seed(seed)
    long = config.check_every >= 100 and config.check_every % 10 == 0
    with distribute.scope(config):
        trainer = gan(
            discriminator(), generator(setting.latent_dim), setting.loss, seed=seed
        )
        trainer.compile(
            {
                "discriminator": setting.make_optimizer(iterations, name="of_d"),
                "generator": setting.make_optimizer(
                    iterations, name="of_g", use_ema=True, ema_momentum=EMA
                ),
            },
            adjustment=setting.make_adjustment(),
            order=setting.order,
            penalties={"discriminator": R1(setting.r1)} if setting.r1 else None,
            jit_compile={"on": True, "off": False, "auto": None}[config.jit],
            # TensorBoard's callback costs a seventh of an update after each call.
            steps_per_execution=10 if long and config.strategy == "none" else 1,
        )
        watch = Watch(
            mixture, setting.latent_dim, config.check_every, snapshots, logdir
        )
        # A check is an epoch: what is logged is the mean since the last.
        start = time.process_time()
        distribute.wrap(trainer, config).fit(
            mixture.batches(config.per_mode, seed=seed),
            steps_per_epoch=config.check_every,
            epochs=iterations // config.check_every,
            callbacks=[watch, EpochLogs(logdir)],
            shuffle=False,
            verbose=0,
        )
    seconds = time.process_time() - start
    return {**watch.outcome(), "cpu_seconds": seconds}


def estimate(setting, iterations, per_mode):
    """The seconds that a training takes on two cores."""
    costs = {"none": 1.0, "extragradient": 1.7, "sga": 2.3, "consensus": 2.0}
    # Measured with 256 points a batch.
    step = 2.6e-3 * costs[setting.adjustment] * (0.3 + 0.7 * per_mode / 16)
    return 2.0 + step * iterations


class Watch(keras.callbacks.Callback):
    """Measures samples at the end of each epoch, draws them, and keeps some."""

    def __init__(self, mixture, latent_dim, every, snapshots, logdir):
        super().__init__()
        self.mixture, self.every = mixture, every
        self.snapshots = set(snapshots)
        self.writer = tf.summary.create_file_writer(logdir)
        noise = np.random.default_rng(1).normal(size=(SAMPLES, latent_dim))
        self.noise = noise.astype("float32")
        self.rows, self.clouds = [], {}

    def on_epoch_end(self, epoch, logs=None):
        iteration = (epoch + 1) * self.every
        row = {"iteration": iteration, **logs}
        plain = self.sample()
        with self.model.averaged("generator"):
            averaged = self.sample()
        for name, samples in (("raw", plain), ("average", averaged)):
            if not np.isfinite(samples).all():
                raise FloatingPointError(f"a sample is not finite at {iteration}")
            found = mode_coverage(samples, self.mixture.centers, self.mixture.sigma)
            row.update({f"{name}_{key}": value for key, value in found.items()})
        logs.update({key: row[key] for key in row if key.startswith("average_")})
        self.rows.append(row)
        with self.writer.as_default(step=iteration):
            tf.summary.image("samples", picture(averaged[:SHOWN], self.mixture)[None])
        if iteration in self.snapshots:
            self.clouds[iteration] = averaged[:SHOWN]

    def on_train_end(self, logs=None):
        self.writer.close()

    def sample(self):
        return self.model.players["generator"].predict_on_batch(self.noise)

    def outcome(self):
        curves = {
            key: np.array([row[key] for row in self.rows], "float64")
            for key in self.rows[0]
        }
        modes = len(self.mixture.centers)
        good = np.zeros(len(self.rows), bool)
        for name in ("raw", "average"):
            good |= (curves[f"{name}_modes"] == modes) & (
                curves[f"{name}_high_quality"] >= GOOD
            )
        last = self.rows[-1]
        found = {key: last[f"average_{key}"] for key in ("modes", "high_quality", "kl")}
        return {
            "hit": float(curves["iteration"][good.argmax()]) if good.any() else -1.0,
            "good_at_end": float(good[-1]),
            **found,
            # Of high quality are the samples of a generator of one mode, too.
            "covered_quality": found["modes"] / modes * found["high_quality"],
            "discriminator_loss": last["discriminator_loss"],
            "generator_loss": last["generator_loss"],
            "least_generator_loss": float(np.abs(curves["generator_loss"]).min()),
            **{f"{key}_curve": curve for key, curve in curves.items()},
            **{
                f"cloud_{iteration}": cloud.ravel()
                for iteration, cloud in self.clouds.items()
            },
        }


def picture(cloud, mixture, size=256):
    """Draws points as a picture, `[size, size, 1]`, white where there are none."""
    reach = np.abs(mixture.centers).max() + 0.5
    counts, *_ = np.histogram2d(
        cloud[:, 1], cloud[:, 0], bins=size, range=[[-reach, reach]] * 2
    )
    return (1.0 - np.minimum(counts[::-1, :, None], 1.0)).astype("float32")
