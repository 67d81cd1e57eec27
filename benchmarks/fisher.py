"""Holds what the trace of the Fisher information promises: its time, and no noise.

`all_cnn` of 16 and 32 filters on 300 images of 28 x 28 and 10 classes. Steps take turns
in one process; times are medians of seconds after two calls that compile. The peers are
what a user would write: a tape for each image and class, compiled, and one for each
image whose gradients are those of a label that is drawn; they take 30 images, and their
times are told for ten times as many. The bound is on wall seconds of an idle machine of
two cores. Ends with exit code 1 if a bound is broken.

    python benchmarks/fisher.py [--only=SECTION,...] [--quick]
"""

import functools
import sys

import keras
import numpy as np
import tensorflow as tf
from timing import print_table, run_sections, times, verdicts

from zoo.metrics.fisher import FisherTraceCallback, fisher_trace
from zoo.models import all_cnn

EXACT, SAMPLED = "exact", "sampled, 1 draw"
PEER, SAMPLED_PEER = "a tape for each label", "a tape for a label drawn"


@functools.cache
def problem():
    """A network and its images, of noise about ten patterns."""
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    model = all_cnn((28, 28, 1), 10, filters=(16,) * 3 + (32,) * 5)
    y = generator.integers(0, 10, 300)
    patterns = generator.normal(size=(10, 28, 28, 1))
    images = patterns[y] + generator.normal(size=(300, 28, 28, 1))
    return model, images.astype("float32")


def plain(model, images):
    """The trace by gradients one by one, exact and of one drawn label."""
    variables = [variable.value for variable in model.trainable_variables]

    @tf.function
    def squares(image, label):
        with tf.GradientTape() as tape:
            scores = model(image[None], training=False)
            score = tf.nn.log_softmax(scores)[0, label]
        gradients = tape.gradient(score, variables)
        square = tf.add_n([tf.reduce_sum(tf.square(one)) for one in gradients])
        return tf.exp(score) * square, square

    labels = [tf.constant(label) for label in range(10)]

    def exact():
        pairs = (squares(image, label) for image in images for label in labels)
        return sum(float(share) for share, _ in pairs) / len(images)

    def sampled(seed=0):
        tf.random.set_seed(seed)
        scores = model(images, training=False)
        drawn = tf.random.categorical(scores, 1)[:, 0]
        pairs = zip(images, tf.cast(drawn, "int32"), strict=True)
        return sum(float(squares(*pair)[1]) for pair in pairs) / len(images)

    return exact, sampled


def measured(model, images, **kwargs):
    """A measurement that is compiled once, as in a callback."""
    callback = FisherTraceCallback(images, epochs=[], **kwargs)
    callback.set_model(model)
    callback.on_train_begin()
    return lambda: callback._measure(0)["fisher"]


def trace(quick):
    """The time of one measurement, and how far draws of labels move it."""
    model, images = problem()
    few = images[:30]
    exact, sampled = plain(model, tf.constant(few))
    steps = {
        EXACT: measured(model, images),
        SAMPLED: measured(model, images, labels="sampled"),
        "sampled, 5 draws": measured(model, images, labels="sampled", draws=5),
        SAMPLED_PEER: sampled,
        PEER: exact,
    }
    values = {name: step() for name, step in steps.items()}
    taken = times(steps, (), 1 if quick else 5)
    for name in (PEER, SAMPLED_PEER):
        taken[name] = tuple(10 * milliseconds for milliseconds in taken[name])
    seeds = range(2 if quick else 5)
    settings = {SAMPLED: 1, "sampled, 5 draws": 5}
    spread = {EXACT: 0.0, PEER: 0.0, SAMPLED_PEER: np.std([sampled(s) for s in seeds])}
    for name, draws in settings.items():
        options = {"labels": "sampled", "draws": draws}
        totals = [fisher_trace(model, images, seed=s, **options).total for s in seeds]
        spread[name] = np.std(totals)
    rows, good = [], True
    for name, (cpu, wall) in taken.items():
        checks = {}
        if name == EXACT:
            apart = abs(fisher_trace(model, few).total / values[PEER] - 1)
            again = steps[EXACT]() == values[EXACT]
            checks = {
                "<= 5 s": wall <= 5e3,
                f"one by one to 1e-4 ({apart:.0e})": apart <= 1e-4,
                "the same again": again,
                "faster than one by one": wall < taken[PEER][1],
            }
        cells = f"{values[name]:.3f}", f"{spread[name]:.3f}"
        cells = *cells, f"{cpu / 1e3:.2f}", f"{wall / 1e3:.2f}"
        rows.append([name, *cells, verdicts(checks)])
        good &= all(checks.values())
    columns = ["labels", "trace", "its spread over seeds", "CPU s", "s", "bounds"]
    print_table(columns, rows)
    return good


if __name__ == "__main__":
    sys.exit(run_sections(__doc__, {"trace": trace}))
