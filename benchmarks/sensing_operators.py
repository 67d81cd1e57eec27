"""The section on single operators of `benchmarks/matrix_sensing.py`."""

import numpy as np
import tensorflow as tf
from threadpoolctl import threadpool_limits
from timing import print_table, times, verdicts

from zoo.layers.sensing import HadamardSensing, RankOneSensing

SIZE, RANK, RATIO = 1024, 5, 50
# Of a value and a gradient, over the faster of the two peers that do the same.
PAIR = 1.0
# Of 16 columns over 2, which read the same vectors, and of 16 problems of rank 1.
COLUMNS, PROBLEMS = 1.3, 1.5
# Of vectors that are stored, over those of signs and Hadamard transforms.
STRUCTURED = 10
# Milliseconds a product of such vectors at n = 4096, whose storage is 3.4 GB.
HUGE, LONGEST = 4096, 10


def value_and_gradient(operator):
    @tf.function
    def run(u, y):
        lifted = operator.lift(u)
        return operator.pull(operator.combine(lifted, lifted) - y, lifted)

    return run


def by_tensorflow(a):
    @tf.function
    def run(u, y):
        w = tf.matmul(a, u)
        e = tf.reduce_sum(w * w, axis=1) - y
        return tf.matmul(a, e[:, None] * w, transpose_a=True)

    return run


def by_numpy(a):
    def run(u, y):
        w = a @ u.numpy()
        e = np.einsum("mr,mr->m", w, w) - y.numpy()
        return a.T @ (e[:, None] * w)

    return run


def factor(*shape):
    return tf.constant(np.random.default_rng(1).normal(size=shape), "float32")


def operators(quick):
    """CPU time of rank-one products, beside the peers that do the same."""
    with threadpool_limits(1):
        rows = [*stored(5 if quick else 15), *structured(5 if quick else 15)]
    print(
        f"n = {SIZE}, m = {RATIO} n, rank {RANK} if nothing else is said; CPU ms of a "
        "value and a gradient, and the ratio to ours.\n"
    )
    columns = ["what", "ms", "beside", "ms", "ratio", "bounds"]
    print_table(columns, [(*cells, verdicts(checks)) for cells, checks in rows])
    return all(all(checks.values()) for _, checks in rows)


def stored(rounds):
    """Rows on vectors that are stored: `(cells, checks)`."""
    m = RATIO * SIZE
    a = np.random.default_rng(0).standard_normal((m, SIZE), "float32")
    ours = value_and_gradient(RankOneSensing(a))
    steps = {
        "RankOneSensing": ours,
        "NumPy": by_numpy(a),
        "TensorFlow": by_tensorflow(tf.constant(a)),
    }
    seen = cpu(steps, (factor(SIZE, RANK), factor(m)), rounds)
    best = min(seen["NumPy"], seen["TensorFlow"])
    for peer in ("NumPy", "TensorFlow"):
        yield compared(
            "RankOneSensing",
            seen["RankOneSensing"],
            peer,
            seen[peer],
            {f"<= {PAIR} of the faster": seen["RankOneSensing"] <= PAIR * best},
        )

    inputs = {
        "2 columns": (factor(SIZE, 2), factor(m)),
        "16 columns": (factor(SIZE, 16), factor(m)),
        "16 problems of rank 1": (factor(16, SIZE, 1), factor(16, m)),
    }
    steps = {name: lambda one=one: ours(*one) for name, one in inputs.items()}
    seen = cpu(steps, (), rounds)
    for name, bound in (("16 columns", COLUMNS), ("16 problems of rank 1", PROBLEMS)):
        slower = seen[name] / seen["2 columns"]
        yield compared(
            "2 columns",
            seen["2 columns"],
            name,
            seen[name],
            {f"<= {bound}": slower <= bound},
        )


def structured(rounds):
    """Rows on vectors that are not stored: `(cells, checks)`."""
    m = RATIO * SIZE
    operator = HadamardSensing(SIZE, m, centered=False)
    rows = np.asarray(operator.lift(np.eye(SIZE)))
    steps = {
        "HadamardSensing": value_and_gradient(operator),
        "the same, stored": value_and_gradient(RankOneSensing(rows)),
    }
    seen = cpu(steps, (factor(SIZE, RANK), factor(m)), rounds)
    ours, theirs = seen["HadamardSensing"], seen["the same, stored"]
    yield compared(
        "HadamardSensing",
        ours,
        "the same, stored",
        theirs,
        {f">= {STRUCTURED}": theirs >= STRUCTURED * ours},
    )

    m = RATIO * HUGE
    operator = HadamardSensing(HUGE, m)
    u, e = factor(HUGE, RANK), factor(m)
    lifted = operator.lift(u)
    steps = {
        "forward": tf.function(lambda: operator(u)),
        "adjoint": tf.function(lambda: operator.pull(e, lifted)),
    }
    seen = cpu(steps, (), rounds)
    yield compared(
        f"HadamardSensing, n = {HUGE}: forward",
        seen["forward"],
        "adjoint",
        seen["adjoint"],
        {f"<= {LONGEST} ms each": max(seen.values()) <= LONGEST},
    )


def cpu(steps, inputs, rounds):
    return {name: one for name, (one, _) in times(steps, inputs, rounds).items()}


def compared(name, ours, peer, theirs, checks):
    ratio = f"{theirs / ours:.2f}"
    return (name, f"{ours:.1f}", peer, f"{theirs:.1f}", ratio), checks
