"""The section on gradient adjustments of `benchmarks/games.py`."""

import keras
import numpy as np
import tensorflow as tf
from timing import print_table, times, verdicts

from zoo.apps.games.networks import discriminator, generator
from zoo.games import GANLoss, QuadraticGame
from zoo.optimizers import (
    ConsensusOptimization,
    Extragradient,
    SimultaneousGradient,
    SymplecticGradientAdjustment,
)

BATCH, LATENT = 256, 4
PLAIN = "plain"
ADJUSTMENTS = {
    PLAIN: (SimultaneousGradient(), None),
    "SGA": (SymplecticGradientAdjustment(align=False), 2.6),
    "SGA, aligned": (SymplecticGradientAdjustment(), None),
    "consensus": (ConsensusOptimization(), 2.8),
    "extragradient": (Extragradient(), 2.1),
}


def step(adjustment, players, optimizers):
    loss = GANLoss(LATENT)
    variables = [player.trainable_variables for player in players.values()]

    @tf.function
    def run(real, noise):
        _, gradients = adjustment(
            lambda: list(loss(players, (real, noise, None)).values()),
            variables,
            optimizers=optimizers,
        )
        return gradients

    return run


def cost(quick):
    """Gradients of two 3 x 128 networks at a batch of 256, without an update."""
    keras.utils.set_random_seed(0)
    players = {
        "discriminator": discriminator(),
        "generator": generator(LATENT),
    }
    # The step ahead costs the least that an update can: no moments.
    optimizers = [keras.optimizers.SGD(0.0) for _ in players]
    for optimizer, player in zip(optimizers, players.values(), strict=True):
        optimizer.build(player.trainable_variables)
    steps = {
        name: step(adjustment, players, optimizers)
        for name, (adjustment, _) in ADJUSTMENTS.items()
    }
    generator_ = np.random.default_rng(0)
    inputs = [
        tf.constant(generator_.normal(size=(BATCH, size)).astype("float32"))
        for size in (2, LATENT)
    ]
    taken = times(steps, inputs, 60 if quick else 400)
    rows, good = [], True
    for name, (_, most) in ADJUSTMENTS.items():
        cpu, wall = taken[name]
        ratio = cpu / taken[PLAIN][0]
        checks = {f"<= {most}": ratio <= most} if most else {}
        rows.append(
            [name, f"{cpu:.2f}", f"{wall:.2f}", f"{ratio:.2f}", verdicts(checks)]
        )
        good &= all(checks.values())
    print_table(["gradients", "CPU ms", "wall ms", "/ plain", "bound"], rows)
    return good


def exactness(quick):
    """SGA and consensus beside the matrices of random quadratic games."""
    rows, good = [], True
    for n in (2, 3, 4):
        worst = 0.0
        for seed in range(3 if quick else 20):
            worst = max(worst, error(n, np.random.default_rng(seed)))
        checks = {"<= 1e-6": worst <= 1e-6}
        rows.append([n, f"{worst:.1e}", verdicts(checks)])
        good &= all(checks.values())
    print_table(["players", "largest error", "bound"], rows)
    return good


def error(n, generator):
    sizes = generator.integers(1, 6, n)
    player = np.repeat(np.arange(n), sizes)
    hessian = generator.normal(size=(len(player), len(player)))
    same = player[:, None] == player
    hessian = np.where(same, (hessian + hessian.T) / 2, hessian)
    offset, w = generator.normal(size=(2, len(player)))
    game = QuadraticGame(hessian, sizes, offset)
    players = game.players(w)
    variables = [layer.trainable_variables for layer in players.values()]
    xi = hessian @ w + offset
    rotation = (hessian - hessian.T).T / 2 @ xi
    pull = hessian.T @ xi
    sign = 1 if (xi @ pull) * (rotation @ pull) / len(w) + 0.1 >= 0 else -1
    expected = {
        SymplecticGradientAdjustment(0.7): xi + 0.7 * sign * rotation,
        SymplecticGradientAdjustment(0.7, align=False): xi + 0.7 * rotation,
        ConsensusOptimization(0.7): xi + 0.7 * pull,
    }
    worst = 0.0
    for adjustment, truth in expected.items():
        _, gradients = adjustment(lambda: list(game(players).values()), variables)
        found = np.concatenate([np.asarray(g) for (g,) in gradients])
        worst = max(worst, np.abs(found - truth).max())
    return worst


def adjustments(quick):
    """Exactness, then cost."""
    good = exactness(quick)
    print()
    return cost(quick) and good
