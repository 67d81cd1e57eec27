"""Generative adversarial networks as games: losses and penalties."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from zoo._backend.gradients import input_gradient
from zoo._types import Array
from zoo.games.trainer import GameTrainer
from zoo.optimizers.checks import check_choice


def _saturating(real, fake):
    return ops.softplus(-real) + ops.softplus(fake), -ops.softplus(fake)


def _non_saturating(real, fake):
    return ops.softplus(-real) + ops.softplus(fake), ops.softplus(-fake)


def _wasserstein(real, fake):
    return fake - real, -fake


def _least_squares(real, fake):
    return ops.square(real - 1) + ops.square(fake), ops.square(fake - 1)


def _relativistic(real, fake):
    return ops.softplus(fake - real), ops.softplus(real - fake)


LOSSES = {
    "non_saturating": _non_saturating,
    "saturating": _saturating,
    "wasserstein": _wasserstein,
    "least_squares": _least_squares,
    "relativistic": _relativistic,
}


@keras.saving.register_keras_serializable(package="zoo")
class GANLoss:
    """The losses of a discriminator D and a generator G, means over the batch.

    With `r = D(x)` and `f = D(G(z))`, logits or scores, `s` softplus, and z a standard
    normal that is drawn once a batch:

    | kind | discriminator | generator |
    |---|---|---|
    | `"non_saturating"` | `s(-r) + s(f)` | `s(-f)` |
    | `"saturating"` | `s(-r) + s(f)` | `-s(f)` |
    | `"wasserstein"` | `f - r` | `-f` |
    | `"least_squares"` | `(r - 1)^2 + f^2` | `(f - 1)^2` |
    | `"relativistic"` | `s(f - r)` | `s(r - f)` |

    The saturating game is the zero-sum one. A Wasserstein discriminator needs a
    gradient penalty or clipped weights.

    Args:
        latent_dim: int >= 1, numbers in `z`.
        kind: str, one of the above.

    Raises:
        ValueError: `latent_dim` is less than 1, or `kind` is unknown.

    Example:

    >>> import numpy as np
    >>> loss = GANLoss(latent_dim=1, kind="wasserstein")
    >>> players = {"discriminator": lambda x, training: 2 * x, "generator":
    ...            lambda z, training: z}
    >>> real, noise, share = np.ones((4, 1)), np.zeros((4, 1)), np.zeros(4)
    >>> losses = loss(players, (real, noise, share))
    >>> float(losses["discriminator"]), float(losses["generator"])
    (-2.0, 0.0)

    Reference:

    - Goodfellow et al., 2014, "Generative adversarial nets",
      [arXiv:1406.2661](https://arxiv.org/abs/1406.2661)
    - Arjovsky, Chintala and Bottou, 2017, "Wasserstein GAN",
      [arXiv:1701.07875](https://arxiv.org/abs/1701.07875)
    - Mao et al., 2017, "Least squares generative adversarial networks",
      [arXiv:1611.04076](https://arxiv.org/abs/1611.04076)
    - Jolicoeur-Martineau, 2019, "The relativistic discriminator",
      [arXiv:1807.00734](https://arxiv.org/abs/1807.00734)
    """

    def __init__(self, latent_dim: int, kind: str = "non_saturating") -> None:
        if latent_dim < 1:
            raise ValueError(
                f"`latent_dim` must be >= 1. Received: latent_dim={latent_dim}"
            )
        check_choice("kind", kind, tuple(LOSSES))
        self.latent_dim, self.kind = latent_dim, kind

    def draw(
        self, batch: Any, seed: keras.random.SeedGenerator
    ) -> tuple[Array, Array, Array]:
        """Returns the data, noise, and shares of each sample for `GradientPenalty`.

        Data are cast to float32; labels beside them are left out.
        """
        batch = ops.cast(batch[0] if isinstance(batch, tuple) else batch, "float32")
        rows = ops.shape(batch)[0]
        noise = keras.random.normal((rows, self.latent_dim), dtype="float32", seed=seed)
        return batch, noise, keras.random.uniform((rows,), dtype="float32", seed=seed)

    def __call__(
        self, players: Mapping[str, Callable[..., Array]], batch: Sequence[Array]
    ) -> dict[str, Array]:
        real, noise, _ = batch
        fake = players["generator"](noise, training=True)
        scores = [players["discriminator"](x, training=True) for x in (real, fake)]
        scores = [ops.cast(score, "float32") for score in scores]
        discriminator, generator = LOSSES[self.kind](*scores)
        return {
            "discriminator": ops.mean(discriminator),
            "generator": ops.mean(generator),
        }

    def get_config(self):
        return {"latent_dim": self.latent_dim, "kind": self.kind}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def generated(players, noise):
    """Generated samples, in float32, that no gradient flows through."""
    fake = players["generator"](noise, training=True)
    return ops.stop_gradient(ops.cast(fake, "float32"))


class _Penalty:
    """A penalty on the discriminator's gradients for its input, times a weight."""

    def __init__(self, weight: float) -> None:
        if not weight > 0:
            raise ValueError(f"`weight` must be > 0. Received: weight={weight}")
        self.weight = float(weight)

    def squared_norms(self, players, x):
        """`|grad_x D(x)|^2` of each sample."""

        def discriminator(x):
            return players["discriminator"](x, training=True)

        gradient = ops.cast(input_gradient(discriminator, x), "float32")
        return ops.sum(ops.square(gradient), axis=list(range(1, len(x.shape))))

    def get_config(self):
        return {"weight": self.weight}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable(package="zoo")
class R1(_Penalty):
    """Penalises the discriminator's slope at real data: `weight/2 E|grad_x D(x)|^2`.

    For `GameTrainer.compile(penalties={"discriminator": R1(0.02)})`.

    Args:
        weight: float > 0, gamma.

    Raises:
        ValueError: `weight` is not above 0.

    Example: `D(x) = 3 x`, whose slope is 3.

    >>> penalty = R1(2.0)
    >>> players = {"discriminator": lambda x, training: 3 * x}
    >>> float(penalty(players, (ops.ones((4, 1)),)))
    9.0

    Reference:

    - Mescheder, Geiger and Nowozin, 2018, "Which training methods for GANs do actually
      converge?", [arXiv:1801.04406](https://arxiv.org/abs/1801.04406)
    """

    def __call__(
        self, players: Mapping[str, Callable[..., Array]], batch: Sequence[Array]
    ) -> Array:
        real, *_ = batch
        return 0.5 * self.weight * ops.mean(self.squared_norms(players, real))


@keras.saving.register_keras_serializable(package="zoo")
class R2(_Penalty):
    """Penalises the discriminator's slope at generated data, as `R1` at real data.

    Args:
        weight: float > 0, gamma.

    Raises:
        ValueError: `weight` is not above 0.

    Example: `D(x) = x^2` and `G(z) = z`: the slope at `z = 2` is 4.

    >>> penalty = R2(2.0)
    >>> players = {"discriminator": lambda x, training: x**2,
    ...            "generator": lambda z, training: z}
    >>> float(penalty(players, (None, 2 * ops.ones((4, 1)))))
    16.0

    Reference:

    - Mescheder, Geiger and Nowozin, 2018, "Which training methods for GANs do actually
      converge?", [arXiv:1801.04406](https://arxiv.org/abs/1801.04406)
    """

    def __call__(
        self, players: Mapping[str, Callable[..., Array]], batch: Sequence[Array]
    ) -> Array:
        fake = generated(players, batch[1])
        return 0.5 * self.weight * ops.mean(self.squared_norms(players, fake))


@keras.saving.register_keras_serializable(package="zoo")
class GradientPenalty(_Penalty):
    """Keeps the discriminator's slope between real and generated data near 1.

    `weight E (|grad_x D(x')| - 1)^2`, where `x'` lies evenly spread between a real and
    a generated sample.

    Args:
        weight: float > 0. Defaults to 10.

    Raises:
        ValueError: `weight` is not above 0.

    Example: `D(x) = 3 x`, whose slope is 2 above 1.

    >>> penalty = GradientPenalty(10.0)
    >>> players = {"discriminator": lambda x, training: 3 * x,
    ...            "generator": lambda z, training: z}
    >>> real, noise, share = ops.ones((4, 1)), ops.zeros((4, 1)), ops.zeros(4)
    >>> round(float(penalty(players, (real, noise, share))), 4)
    40.0

    Reference:

    - Gulrajani et al., 2017, "Improved training of Wasserstein GANs",
      [arXiv:1704.00028](https://arxiv.org/abs/1704.00028)
    """

    def __init__(self, weight: float = 10.0) -> None:
        super().__init__(weight)

    def __call__(
        self, players: Mapping[str, Callable[..., Array]], batch: Sequence[Array]
    ) -> Array:
        real, noise, share = batch
        fake = generated(players, noise)
        share = ops.reshape(share, (-1, *[1] * (len(real.shape) - 1)))
        between = real + share * (fake - real)
        norms = ops.sqrt(self.squared_norms(players, between) + 1e-12)
        return self.weight * ops.mean(ops.square(norms - 1))


def gan(
    discriminator: keras.Model,
    generator: keras.Model,
    kind: str = "non_saturating",
    latent_dim: int | None = None,
    seed: int = 0,
) -> GameTrainer:
    """Makes the game of a discriminator and a generator.

    Args:
        discriminator: built `keras.Model` from data to `[batch, 1]` scores: logits but
            for the least-squares and Wasserstein losses.
        generator: built `keras.Model` from `[batch, latent_dim]` noise to data.
        kind: str, one of those of `GANLoss`.
        latent_dim: int, numbers of noise. Defaults to those that the generator, if it
            is a functional or sequential model, was built for.
        seed: int, of the noise.

    Returns:
        A `GameTrainer` of the players `"discriminator"` and `"generator"`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.games import R1, gan
    >>> dense, start = keras.layers.Dense, keras.Input
    >>> discriminator = keras.Sequential([start((2,)), dense(8, "relu"), dense(1)])
    >>> generator = keras.Sequential([start((4,)), dense(8, "relu"), dense(2)])
    >>> trainer = gan(discriminator, generator)
    >>> trainer.compile(
    ...     keras.optimizers.Adam(1e-3, beta_1=0.5),
    ...     order="alternating",
    ...     penalties={"discriminator": R1(0.02)},
    ... )
    >>> history = trainer.fit(np.ones((16, 2), "float32"), verbose=0)
    >>> sorted(history.history)
    ['discriminator_loss', 'generator_loss']
    """
    players = {"discriminator": discriminator, "generator": generator}
    if latent_dim is None:
        latent_dim = generator.input_shape[-1]
    return GameTrainer(players, GANLoss(latent_dim, kind), seed=seed)
