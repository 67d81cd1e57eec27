"""The sections on the bi-tempered loss of `benchmarks/losses.py`."""

import keras
import numpy as np
import tensorflow as tf
from scipy.optimize import brentq
from timing import print_table, times, verdicts

from zoo.losses import BiTemperedLogistic, tempered_softmax

SIZES = (2, 10, 1000, 100_000)
BELOW, ABOVE = (0, 0.3, 0.5, 0.8, 0.99, 0.9999), (1.0001, 1.01, 1.1, 1.2, 1.5, 2, 3, 4)
BATCH, SWEEPS = 128, 5


def grid(n, generator):
    """Activations from easy to hard."""
    normal, lone = generator.normal(size=n), np.zeros(n)
    lone[0] = 1e3
    return [
        normal,
        10 * normal,
        np.zeros(n),
        lone,
        -lone,
        *(generator.uniform(-bound, bound, n) for bound in (1e3, 1e4, 1e8)),
        normal + 1e4,
        normal + 1e6,
    ]


def exact(row, t):
    """Tempered probabilities by a bracketing root, in float64."""
    a, s = row.astype("float64") - row.max(), t - 1
    near = abs(s) < 0.05

    def probabilities(w):
        x = w - s * a
        live = x > (-1 if near else 0)
        safe = np.where(live, x, 1.0)
        logarithm = np.log1p(safe) if near else np.log(safe)
        return np.where(live, np.exp(-logarithm / s), 0.0)

    top = s * np.log(len(a))
    end = np.expm1(top) * (1 + 1e-6) if near else np.exp(top) * (1 + 1e-6 * np.sign(s))
    low = 0.0 if near else 1.0
    root = brentq(
        lambda w: probabilities(w).sum() - 1, low, end, xtol=1e-300, rtol=1e-15
    )
    return probabilities(root)


def normaliser(quick):
    """Tempered probabilities in float32 beside exact ones, over the grid."""
    generator, rows, good = np.random.default_rng(0), [], True
    for temperatures, most in ((BELOW, 2e-4), (ABOVE, 5e-6)):
        sums, errors, cases = [], [], 0
        for n in SIZES[:-1] if quick else SIZES:
            for row in grid(n, generator):
                row = row.astype("float32")
                for t in temperatures:
                    p = np.asarray(tempered_softmax(row[None], t), "float64")[0]
                    truth = exact(row, t)
                    live = truth > 1e-6 * truth.max()
                    sums.append(abs(p.sum() - 1))
                    errors.append(np.max(np.abs(p - truth)[live] / truth[live]))
                    cases += 1
        checks = {
            "|sum - 1| <= 5e-6": max(sums) <= 5e-6,
            f"error <= {most:g}": max(errors) <= most,
            "no NaN": np.isfinite(sums).all() and np.isfinite(errors).all(),
        }
        name = f"{temperatures[0]} to {temperatures[-1]}"
        worst = f"{max(sums):.1e}", f"{max(errors):.1e}", f"{np.median(errors):.1e}"
        rows.append([name, cases, *worst, verdicts(checks)])
        good &= all(checks.values())
    columns = ["t", "cases", "sum - 1", "largest error", "median error", "bounds"]
    print_table(columns, rows)
    return bool(good)


def fixed_point(t1=0.8, t2=1.2):
    """The paper's way: sweeps of a fixed-point iteration for the normaliser."""

    def log_t(x, t):
        return (x ** (1 - t) - 1) / (1 - t)

    def exp_t(x, t):
        return tf.maximum(1 + (1 - t) * x, 0) ** (1 / (1 - t))

    def loss(labels, activations):
        y = tf.one_hot(labels, activations.shape[-1])

        @tf.custom_gradient
        def each(activations):
            top = tf.reduce_max(activations, -1, keepdims=True)
            shifted = activations - top
            scaled = shifted
            for _ in range(SWEEPS):
                total = tf.reduce_sum(exp_t(scaled, t2), -1, keepdims=True)
                scaled = shifted * total ** (1 - t2)
            total = tf.reduce_sum(exp_t(scaled, t2), -1, keepdims=True)
            p = exp_t(activations - (top - log_t(1 / total, t2)), t2)
            terms = y * (log_t(y + 1e-10, t1) - log_t(p, t1))
            terms -= (y ** (2 - t1) - p ** (2 - t1)) / (2 - t1)

            def gradient(upstream):
                pull = (p - y) * p ** (t2 - t1)
                escort = p**t2
                escort /= tf.reduce_sum(escort, -1, keepdims=True)
                along = tf.reduce_sum(pull, -1, keepdims=True)
                return upstream[:, None] * (pull - escort * along)

            return tf.reduce_sum(terms, -1), gradient

        return each(activations)

    return loss


def step(loss, jit):
    @tf.function(jit_compile=jit)
    def run(labels, activations):
        with tf.GradientTape() as tape:
            tape.watch(activations)
            total = tf.reduce_sum(loss(labels, activations))
        return total, tape.gradient(total, activations)

    return run


def bi_tempered(quick):
    """Forward and backward, beside the paper's sweeps and the cross-entropy."""
    sweeps, ours, general = "5 sweeps", "ours (0.8, 1.2)", "ours (0.8, 1.3)"
    softmax = "softmax cross-entropy"
    losses = {
        sweeps: fixed_point(),
        ours: BiTemperedLogistic(reduction=None),
        general: BiTemperedLogistic(0.8, 1.3, reduction=None),
        softmax: lambda y, z: keras.losses.sparse_categorical_crossentropy(
            y, z, from_logits=True
        ),
    }
    generator, rows, good = np.random.default_rng(0), [], True
    for classes, rounds in ((1000, 40), (100_000, 9)):
        z = tf.constant(generator.normal(size=(BATCH, classes)).astype("float32"))
        y = tf.constant(generator.integers(0, classes, BATCH).astype("int32"))
        for jit in (False, True):
            steps = {name: step(loss, jit) for name, loss in losses.items()}
            taken = times(steps, (y, z), rounds // 3 if quick else rounds)
            for name, (cpu, wall) in taken.items():
                ratios = {other: cpu / taken[other][0] for other in (sweeps, softmax)}
                checks = {}
                if name == ours:
                    checks["/ sweeps <= 0.5"] = ratios[sweeps] <= 0.5
                    if jit and classes == 100_000:
                        checks["/ softmax <= 5"] = ratios[softmax] <= 5
                cells = (
                    f"{cpu:.1f}",
                    f"{wall:.1f}",
                    *(f"{r:.2f}" for r in ratios.values()),
                )
                xla = "yes" if jit else "no"
                rows.append([classes, xla, name, *cells, verdicts(checks)])
                good &= all(checks.values())
    print(f"Batch {BATCH}, forward and backward.\n")
    columns = ["classes", "XLA", "loss", "CPU ms", "wall ms", "/ sweeps", "/ softmax"]
    print_table([*columns, "bounds"], rows)
    return bool(good)
