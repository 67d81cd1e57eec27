"""Times training with margins at hidden layers, and measuring them."""

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from timing import print_table, times, verdicts

from zoo.losses.large_margin import LargeMargin
from zoo.metrics import layer_margins
from zoo.models import LargeMarginModel

BATCH, HIDDEN = 128, ["conv1", "conv2", "dense1"]
PLAIN, BY_HAND = "cross-entropy", "margin, top-1, tapes by hand"
FIRST, NARROW = "LargeMarginModel, top-1", "the same, hidden layers only"
# By XLA or not, the most that a step may take, as a multiple of another.
BOUNDS = {
    False: {FIRST: {PLAIN: 1.8, BY_HAND: 1.05}, NARROW: {PLAIN: 1.5}},
    True: {FIRST: {PLAIN: 1.5, BY_HAND: 1.05}, NARROW: {PLAIN: 1.5}},
}


def large_margin(quick):
    """Prints a table of training steps, a signature pass and a short training."""
    good = training_steps(12 if quick else 30)
    good &= signature_pass(20 if quick else 100, 3 if quick else 9)
    return good & short_training()


def training_steps(rounds):
    rows, good = [], True
    for jit, bounds in BOUNDS.items():
        steps = {
            PLAIN: keras_step(network(), jit),
            BY_HAND: step_by_hand(jit),
            FIRST: margin_step(jit),
            NARROW: margin_step(jit, HIDDEN),
            "nearest of top-5": margin_step(jit, top_k=5, aggregation="nearest"),
            "max of top-5": margin_step(jit, top_k=5),
            "second order": margin_step(jit, second_order=True),
        }
        taken = times(steps, (), rounds)
        for name, (cpu, wall) in taken.items():
            checks = {
                f"{ratio} of {other}": cpu / taken[other][0] <= ratio
                for other, ratio in bounds.get(name, {}).items()
            }
            ratio = f"{cpu / taken[PLAIN][0]:.2f}"
            xla = "yes" if jit else "no"
            cells = [xla, name, f"{cpu:.0f}", f"{wall:.0f}", ratio, verdicts(checks)]
            rows.append(cells)
            good &= all(checks.values())
    columns = ["XLA", "step", "CPU ms", "wall ms", "/ cross-entropy", "at most"]
    print_table(columns, rows)
    return good


def network():
    keras.utils.set_random_seed(0)
    relu = {"activation": "relu"}
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(32, 5, padding="same", name="conv1", **relu),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 5, padding="same", name="conv2", **relu),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(512, name="dense1", **relu),
            keras.layers.Dense(10),
        ]
    )


def batch(samples=BATCH):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(samples, 28, 28, 1)).astype("float32")
    return x, generator.integers(0, 10, samples).astype("int32")


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def keras_step(model, jit):
    model.compile(keras.optimizers.SGD(0.01), cross_entropy(), jit_compile=jit)
    x, y = batch()
    model.train_on_batch(x, y)
    data = iter(tf.data.Dataset.from_tensors((x, y)).repeat())
    step = model.make_train_function()
    return lambda: step(data)


def margin_step(jit, layers=None, **kwargs):
    model = LargeMarginModel(network(), layers, LargeMargin(**kwargs))
    return keras_step(model, jit)


def step_by_hand(jit):
    """The same as `FIRST`, with nothing but what it needs."""
    model, optimizer, loss = network(), keras.optimizers.SGD(0.01), cross_entropy()
    layers = [model.get_layer(name).output for name in HIDDEN]
    probe = keras.Model(model.inputs, [model.outputs[0], *layers])
    variables = model.trainable_variables
    optimizer.build(variables)

    @tf.function(jit_compile=jit)
    def step(x, y):
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(x)
                scores, *hidden = probe(x, training=True)
                others = tf.where(tf.one_hot(y, 10) > 0, -1e9, scores)
                rival = tf.argmax(others, axis=1, output_type=tf.int32)
                own, other = (tf.gather(scores, i, batch_dims=1) for i in (y, rival))
                difference = own - other
                total = tf.reduce_sum(difference)
            penalties = []
            with outer.stop_recording():
                gradients = inner.gradient(total, [x, *hidden])
                flat = [tf.reshape(gradient, [BATCH, -1]) for gradient in gradients]
                squares = [tf.reduce_sum(rows * rows, 1) for rows in flat]
                norms = [tf.sqrt(square + 1e-6) for square in squares]
            for norm in norms:
                penalties.append(tf.clip_by_value(1.0 - difference / norm, 0.0, 4.0))
            value = loss(y, scores) + tf.reduce_mean(penalties)
        optimizer.apply(outer.gradient(value, [v.value for v in variables]), variables)
        return value

    inputs = [tf.constant(array) for array in batch()]
    return lambda: step(*inputs)


def signature_pass(batches, rounds):
    model, (x, y) = network(), batch(BATCH * batches)
    model.compile(jit_compile=False)
    steps = {
        "predict": lambda: model.predict(x, batch_size=BATCH, verbose=0),
        "layer_margins": lambda: layer_margins(model, x, y, batch_size=BATCH),
    }
    taken = times(steps, (), rounds)
    ratio = taken["layer_margins"][0] / taken["predict"][0]
    # The backward pass alone costs 1.7 of the forward pass, half of it in max-pooling.
    checks = {"at most 4": ratio <= 4}
    print(
        f"\nMargins at the input and all hidden layers of {len(x)} images take "
        f"{ratio:.2f} times the CPU time of predicting them, with the time to trace "
        f"the pass. {verdicts(checks)}"
    )
    return all(checks.values())


def short_training():
    """On digits, at a rate at which a loss without a cap explodes."""
    digits = load_digits()
    x = np.pad(digits.images[..., None] / 16, [(0, 0), (10, 10), (10, 10), (0, 0)])
    x, y = x.astype("float32")[:512], digits.target[:512]
    worst = {}
    for alpha in (None, 4.0):
        model = LargeMarginModel(network(), margin_loss=LargeMargin(alpha=alpha))
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
        model.compile(optimizer, loss=None, jit_compile=False)
        history = model.fit(x, y, BATCH, epochs=4, verbose=0).history
        worst[alpha] = max(history["loss"])
    checks = {
        "at most 4": worst[4.0] <= 4.0,
        "without a cap over 1e3": worst[None] > 1e3,
    }
    print(
        f"\nThe largest loss of an epoch is {worst[4.0]:.2f}, and {worst[None]:.3g} "
        f"without a cap. {verdicts(checks)}"
    )
    return all(checks.values())
