"""Training steps of heads of cosines beside a dense softmax."""

import keras
import numpy as np
import tensorflow as tf
from timing import print_table, times, verdicts

from zoo.layers import CosineDense, PartialCosineDense
from zoo.losses import ArcFace

CLASSES = 10_000


def heads(quick):
    """A training step of each head on embeddings, beside a dense softmax."""
    dense, cosine, partial = "Dense, softmax", "CosineDense, ArcFace", "sample of 10 %"
    bounds = {False: {cosine: 1.35, partial: 0.4}, True: {cosine: 1.25, partial: 0.4}}
    generator = np.random.default_rng(0)
    x = tf.constant(generator.normal(size=(128, 16)).astype("float32"))
    y = tf.constant(generator.integers(0, CLASSES, 128).astype("int32"))
    rows, good = [], True
    for jit, most in bounds.items():
        steps = {
            dense: head_step(dense_softmax, jit),
            cosine: head_step(cosine_arc_face, jit),
            partial: head_step(partial_arc_face, jit),
        }
        taken = times(steps, (x, y), 10 if quick else 30)
        for name, (cpu, wall) in taken.items():
            ratio = cpu / taken[dense][0]
            checks = {f"<= {most[name]}": ratio <= most[name]} if name in most else {}
            times_and_ratio = f"{cpu:.1f}", f"{wall:.1f}", f"{ratio:.2f}"
            xla = "yes" if jit else "no"
            rows.append([name, xla, *times_and_ratio, verdicts(checks)])
            good &= all(checks.values())
    print(f"128 embeddings of 512 numbers, {CLASSES} classes.\n")
    print_table(["head, loss", "XLA", "CPU ms", "wall ms", "/ dense", "bounds"], rows)
    return good


def head_step(build, jit):
    """A compiled training step, forward, backward and update, of `(x, y)`."""
    model, inputs = build()
    model.optimizer = keras.optimizers.SGD(0.01)

    # The gradient of the embeddings is part of the step: they are a layer's output.
    @tf.function(jit_compile=jit)
    def step(x, y):
        model.train_step(inputs(x, y))

    return step


def embeddings():
    x = keras.Input((16,))
    return x, keras.layers.Dense(512)(x)


def dense_softmax():
    x, features = embeddings()
    model = keras.Model(x, keras.layers.Dense(CLASSES)(features))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, lambda x, y: (x, y)


def cosine_arc_face():
    x, features = embeddings()
    model = keras.Model(x, CosineDense(CLASSES)(features))
    model.compile("sgd", ArcFace())
    return model, lambda x, y: (x, y)


def partial_arc_face():
    x, features = embeddings()
    y = keras.Input((), dtype="int32")
    head = PartialCosineDense(CLASSES, ArcFace(), sample_rate=0.1)
    model = keras.Model([x, y], head(features, y))
    model.compile("sgd")
    return model, lambda x, y: ([x, y],)
