"""Times a training step of GhostBatchNorm beside the layers it would replace.

Forward and backward, interleaved in one process: Keras's BatchNormalization, the raw
fused operation, and GhostBatchNorm, with and without XLA. A bound is on the CPU time,
which other work on the machine disturbs less than the wall time. Ends with exit code 1
if a bound is broken.

    python benchmarks/ghost_batch_norm.py [--quick]
"""

import argparse
import resource
import statistics
import subprocess
import sys

import keras
import numpy as np
import tensorflow as tf
from timing import times, verdicts

from zoo.layers import GhostBatchNorm

MATRIX = (1024, 512)
DEEP = (1024, 8, 8, 256)
WIDE = (1024, 32, 32, 64)
KERAS, FUSED = "keras BatchNormalization", "fused operation, whole batch"
GHOST, UNKNOWN = "GhostBatchNorm(64)", "GhostBatchNorm(64), unknown batch size"
WHOLE = "GhostBatchNorm(None)"
HEADER = "| shape | XLA | step | CPU ms | wall ms | / keras | / fused | bounds |"


class FusedBatchNorm(keras.layers.Layer):
    """The fused operation on the whole batch, without running statistics."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=shape[-1:], initializer="ones")
        self.beta = self.add_weight(shape=shape[-1:], initializer="zeros")

    def call(self, x, training=None):
        images = x if len(x.shape) == 4 else x[:, None, None]
        y, *_ = tf.compat.v1.nn.fused_batch_norm(
            images, self.gamma, self.beta, is_training=True
        )
        return tf.reshape(y, tf.shape(x))


LAYERS = {
    KERAS: keras.layers.BatchNormalization,
    FUSED: FusedBatchNorm,
    GHOST: lambda: GhostBatchNorm(64),
    UNKNOWN: lambda: GhostBatchNorm(64),
    WHOLE: lambda: GhostBatchNorm(None),
}


def bounds(shape, jit):
    """The most that each step may take: `{step: {reference: ratio}}`."""
    if jit:
        return {GHOST: {KERAS: 1.0}}
    if shape == MATRIX:
        return {GHOST: {KERAS: 1.1}, UNKNOWN: {KERAS: 1.1}}
    ghost = {KERAS: 0.45, FUSED: 1.8}
    return {GHOST: ghost, UNKNOWN: ghost, WHOLE: {KERAS: 0.35}}


def training_step(name, shape, jit):
    """A compiled function from `x` and `dy` to the output and its gradients."""
    layer = LAYERS[name]()
    layer.build(shape)
    rows = None if name == UNKNOWN else shape[0]
    signature = [tf.TensorSpec([rows, *shape[1:]])] * 2

    @tf.function(input_signature=signature, jit_compile=jit)
    def step(x, dy):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        weights = [weight.value for weight in layer.trainable_weights]
        return y, tape.gradient(y, [x, *weights], dy)

    return step.get_concrete_function()


def tensors(shape):
    generator = np.random.default_rng(0)
    return [
        tf.constant(generator.normal(3.0, 2.0, shape).astype("float32"))
        for _ in range(2)
    ]


def tolerance(shape):
    # Over a million positions a float32 mean is less exact, in Keras and in the kernel.
    return 1e-5 if np.prod(shape[:-1]) <= 2**16 else 1e-3


def equals_keras(steps, inputs):
    ours, theirs = (tf.nest.flatten(steps[name](*inputs))[0] for name in (WHOLE, KERAS))
    most = tolerance(ours.shape)
    return bool(np.allclose(ours, theirs, rtol=most, atol=most))


def time_shape(shape, jit, rounds):
    """Prints a shape's rows; returns whether all its bounds hold."""
    names = (KERAS, GHOST, WHOLE) if jit else LAYERS
    steps = {name: training_step(name, shape, jit) for name in names}
    inputs = tensors(shape)
    taken = times(steps, inputs, rounds)
    good = True
    for name, (cpu, wall) in taken.items():
        ratios = {
            reference: cpu / taken[reference][0]
            for reference in (KERAS, FUSED)
            if reference in taken
        }
        checks = {
            f"{'keras' if reference == KERAS else 'fused'} <= {most}": (
                ratios[reference] <= most
            )
            for reference, most in bounds(shape, jit).get(name, {}).items()
        }
        if name == WHOLE and not jit:
            text = f"output equals keras to {tolerance(shape)}"
            checks[text] = equals_keras(steps, inputs)
        cells = [
            "x".join(map(str, shape)),
            "yes" if jit else "no",
            name,
            f"{cpu:.1f}",
            f"{wall:.1f}",
            *(f"{ratios[r]:.2f}" if r in ratios else "" for r in (KERAS, FUSED)),
            verdicts(checks),
        ]
        print("|", " | ".join(cells), "|", flush=True)
        good &= all(checks.values())
    return good


def peak_memory(name):
    """Peak bytes of this process after training steps."""
    step, inputs = training_step(name, DEEP, jit=False), tensors(DEEP)
    for _ in range(3):
        step(*inputs)
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes * (1 if sys.platform == "darwin" else 1024)


def peak_memory_of_fresh(name, repeats):
    command = [sys.executable, __file__, "--peak_memory_of", name]
    return statistics.median(
        int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(repeats)
    )


def compare_memory(repeats):
    """Returns a sentence, and whether its bound holds."""
    fused = peak_memory_of_fresh(FUSED, repeats)
    activation = 4 * np.prod(DEEP)
    sentences, good = [], True
    for name in (GHOST, UNKNOWN):
        extra = (peak_memory_of_fresh(name, repeats) - fused) / activation
        check = verdicts({"<= 2": extra <= 2})
        sentences.append(
            f"{name}: {extra:.2f} activations of {'x'.join(map(str, DEEP))} more peak "
            f"memory than the fused operation ({check})."
        )
        good &= extra <= 2
    return "\n".join(sentences), bool(good)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer shapes and rounds")
    parser.add_argument("--peak_memory_of", choices=LAYERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_memory_of:
        print(peak_memory(arguments.peak_memory_of))
        return 0
    # First, while this process is small: a child's peak begins at its parent's size.
    memory, good = compare_memory(1 if arguments.quick else 5)
    print(f"{HEADER}\n|{'---|' * (HEADER.count('|') - 1)}", flush=True)
    shapes = (MATRIX, DEEP) if arguments.quick else (MATRIX, DEEP, WIDE)
    for jit in (False, True):
        for shape in shapes:
            rounds = 200 if shape == MATRIX else 15
            rounds = rounds // 3 if arguments.quick else rounds
            good &= time_shape(shape, jit, rounds)
    print(f"\n{memory}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
