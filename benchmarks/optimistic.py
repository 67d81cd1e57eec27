"""The section on optimistic optimizers of `benchmarks/games.py`."""

import keras
import numpy as np
import tensorflow as tf
from timing import print_table, times, verdicts

from zoo.optimizers import OptimisticAdam, OptimisticRMSprop, OptimisticSGD

UNITS, BATCH, REPEATS = (784, 784, 496, 10), 128, 5
PAIRS = {
    keras.optimizers.SGD: OptimisticSGD,
    keras.optimizers.RMSprop: OptimisticRMSprop,
    keras.optimizers.Adam: OptimisticAdam,
}
# Of an update, without and with XLA, which copies the last direction twice: reading and
# writing it alone is two passes over the memory beside SGD's three.
BOUNDS = {
    OptimisticSGD: (1.25, 2.3),
    OptimisticRMSprop: (1.25, 2.0),
    OptimisticAdam: (1.25, 1.7),
}
STEP = 1.12, 1.25


def network():
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(units, "relu") for units in UNITS[1:-1]]
    return keras.Sequential(
        [keras.Input(UNITS[:1]), *hidden, keras.layers.Dense(UNITS[-1])]
    )


def repeated(step):
    """One update is too short to time alone."""

    def run(*inputs):
        for _ in range(REPEATS):
            step(*inputs)

    return run


def update(optimizer, jit):
    variables = network().trainable_variables
    optimizer.build(variables)

    @tf.function(jit_compile=jit)
    def step(*gradients):
        optimizer.apply(list(gradients), variables)

    return repeated(step)


def training(optimizer, jit):
    model = network()
    optimizer.build(model.trainable_variables)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function(jit_compile=jit)
    def step(x, y):
        with tf.GradientTape() as tape:
            error = loss(y, model(x, training=True))
        variables = model.trainable_variables
        slopes = tape.gradient(error, [variable.value for variable in variables])
        optimizer.apply(slopes, variables)

    return repeated(step)


def optimistic(quick):
    """CPU time of an update and of a training step, beside Keras's optimizer."""
    generator, rows, good = np.random.default_rng(0), [], True
    rounds = 15 if quick else 60
    model = network()
    gradients = [
        tf.constant(generator.normal(size=variable.shape), "float32")
        for variable in model.trainable_variables
    ]
    x = tf.constant(generator.normal(size=(BATCH, UNITS[0])), "float32")
    y = tf.constant(generator.integers(0, UNITS[-1], BATCH), "int32")
    for jit in (False, True):
        for pair in PAIRS.items():
            ratios, cells = [], []
            for make, inputs in ((update, gradients), (training, (x, y))):
                steps = {cls.__name__: make(cls(), jit) for cls in pair}
                plain, ours = (cpu for cpu, _ in times(steps, inputs, rounds).values())
                ratios.append(ours / plain)
                cells += [f"{ms / REPEATS:.2f}" for ms in (plain, ours)]
                cells.append(f"{ratios[-1]:.2f}")
            most = BOUNDS[pair[1]][jit]
            checks = {
                f"update <= {most}": ratios[0] <= most,
                f"step <= {STEP[jit]}": ratios[1] <= STEP[jit],
            }
            good &= all(checks.values())
            xla = "yes" if jit else "no"
            rows.append([pair[0].__name__, xla, *cells, verdicts(checks)])
    print(
        f"{model.count_params() / 1e6:.2f}M parameters, batch {BATCH}; CPU ms of "
        "Keras's optimizer, of ours, and their ratio.\n"
    )
    columns = ["optimizer", "XLA", "update", "ours", "ratio", "step", "ours", "ratio"]
    print_table([*columns, "bounds"], rows)
    return bool(good)
