"""Times the triplet loss beside one that holds all triplets of a batch at once."""

import math

import numpy as np
import tensorflow as tf
from timing import print_table, times, verdicts

from zoo.losses.pairs import Triplet

BATCH, FEATURES, CLASSES, MARGIN = 512, 128, 64, 0.2
TILED, SEMI_HARD = "tile of batch^2 x batch, semi-hard", "Triplet, semi-hard"
BOUND = 1 / 3


def pairs(quick):
    """A forward and backward pass of semi-hard triplets, beside the tile."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(BATCH, FEATURES)).astype("float32")
    x = tf.math.l2_normalize(tf.constant(x), axis=1)
    labels = tf.constant(generator.integers(0, CLASSES, BATCH).astype("int32"))
    losses = {
        TILED: tiled_semi_hard,
        SEMI_HARD: Triplet(MARGIN),
        "Triplet, hard": Triplet(MARGIN, mining="hard"),
    }
    np.testing.assert_allclose(
        losses[SEMI_HARD](labels, x), tiled_semi_hard(labels, x), rtol=1e-5
    )
    rows, good = [], True
    for jit in (False, True):
        steps = {name: loss_step(loss, jit) for name, loss in losses.items()}
        taken = times(steps, (labels, x), 5 if quick else 12)
        for name, (cpu, wall) in taken.items():
            ratio = cpu / taken[TILED][0]
            checks = {"<= 1/3": ratio <= BOUND} if name == SEMI_HARD else {}
            xla = "yes" if jit else "no"
            cells = xla, f"{cpu:.0f}", f"{wall:.0f}", f"{ratio:.3f}", verdicts(checks)
            rows.append([name, *cells])
            good &= all(checks.values())
    print(f"{BATCH} embeddings of {FEATURES} numbers, {CLASSES} classes.\n")
    print_table(["loss", "XLA", "CPU ms", "wall ms", "/ tile", "bound"], rows)
    return good


def loss_step(loss, jit):
    @tf.function(jit_compile=jit)
    def step(labels, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(labels, x)
        return value, tape.gradient(value, x)

    return step


def tiled_semi_hard(labels, x):
    """The same loss, each anchor and positive beside a copy of the anchor's row."""
    sizes = tf.reduce_sum(x * x, axis=1)
    products = tf.matmul(x, x, transpose_b=True)
    distances = tf.maximum(sizes[:, None] + sizes[None] - 2 * products, 0)
    same = labels[:, None] == labels[None]
    other, same = ~same, same & ~tf.eye(BATCH, dtype="bool")

    tile = tf.repeat(distances, BATCH, axis=0)
    further = tf.repeat(other, BATCH, axis=0) & (tile > tf.reshape(distances, [-1, 1]))
    nearest = tf.reduce_min(tf.where(further, tile, math.inf), axis=1)
    nearest = tf.reshape(nearest, [BATCH, BATCH])
    furthest = tf.reduce_max(tf.where(other, distances, -math.inf), 1, keepdims=True)
    negatives = tf.where(tf.math.is_inf(nearest), furthest, nearest)

    costs = tf.where(same, tf.nn.relu(distances - negatives + MARGIN), 0)
    counts = tf.reduce_sum(tf.cast(same, "float32"), axis=1)
    means = tf.reduce_sum(costs, axis=1) / tf.maximum(counts, 1)
    return tf.reduce_sum(means) / tf.reduce_sum(tf.cast(counts > 0, "float32"))
