"""Tempered functions and their loss against float64 references and limits."""

import math
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import brentq

import zoo
from zoo.losses import BiTemperedLogistic, exp_t, log_t, tempered_softmax

ROOT = pathlib.Path(zoo.__file__).parents[1]
TEMPERATURES = [0, 0.3, 0.5, 0.8, 0.99, 0.9999, 1, 1.0001, 1.01, 1.1, 1.2, 1.5, 2, 3, 4]
PAIRS = [
    (0.8, 1.2),
    (0.5, 4.0),
    (1.0, 1.0),
    (1.0, 1.3),
    (0.8, 1.0),
    (1.5, 1.2),
    (0.3, 0.7),
    (0.9, 0.5),
    (0.0, 2.0),
    (0.9, 1.05),
    (0.8, 1.0001),
]


def activations(n):
    generator = np.random.default_rng(0)
    normal = generator.normal(size=n)
    lone = np.zeros(n)
    lone[0] = 1e3
    return {
        "normal": normal,
        "ten normal": 10 * normal,
        "zeros": np.zeros(n),
        "one above": lone,
        "one below": -lone,
        "thousands": generator.uniform(-1e3, 1e3, n),
        "ten thousands": generator.uniform(-1e4, 1e4, n),
        "shifted": normal + 1e4,
        "far shifted": normal + 1e6,
        "huge": generator.uniform(-1e8, 1e8, n),
    }


def reference(row, t):
    """Tempered probabilities by a bracketing root of the normaliser, in float64."""
    a = np.asarray(row, "float64")
    a = a - a.max()
    if t == 1:
        p = np.exp(a)
        return p / p.sum()
    s, n = t - 1, len(a)
    if abs(s) < 0.05:

        def probabilities(w):
            return np.exp(-np.log1p(np.maximum(w - s * a, -1 + 1e-16)) / s)

        ends = 0.0, 1.000001 * np.expm1(s * np.log(n))
    else:

        def probabilities(w):
            u = w - s * a
            return np.where(u > 0, np.abs(np.where(u > 0, u, 1.0)) ** (-1 / s), 0.0)

        ends = 1.0, float(n) ** s * (1 + 1e-6 * np.sign(s))
    root = brentq(lambda w: probabilities(w).sum() - 1, *ends, xtol=1e-300, rtol=1e-15)
    return probabilities(root)


def reference_loss(y, rows, t1, t2):
    p = np.stack([reference(row, t2) for row in rows])

    def log(x):
        return np.log(x) if t1 == 1 else (x ** (1 - t1) - 1) / (1 - t1)

    live = y > 0
    terms = np.where(
        live, y * (log(np.where(live, y, 1)) - log(np.where(live, p, 1))), 0
    )
    powers = y ** (2 - t1) - p ** (2 - t1)
    return terms.sum(-1) - powers.sum(-1) / (2 - t1)


@pytest.mark.parametrize("t", TEMPERATURES)
@pytest.mark.parametrize("n", [2, 10, 1000, 100_000])
def test_probabilities_equal_a_float64_root(n, t):
    for name, row in activations(n).items():
        row = row.astype("float32")
        p = np.asarray(tempered_softmax(row[None], t), "float64")[0]
        exact = reference(row, t)
        live = exact > 1e-6 * exact.max()
        assert np.isfinite(p).all(), name
        assert abs(p.sum() - 1) <= 5e-6, name
        error = np.max(np.abs(p - exact)[live] / exact[live])
        assert error <= (5e-6 if t >= 1 else 2e-4), name


@pytest.mark.parametrize("t", [0.5, 1.0, 1.2, 2.0])
def test_log_and_exp_are_inverse_and_have_the_textbook_form(t):
    x = np.linspace(0.05, 3, 50)
    textbook = np.log(x) if t == 1 else (x ** (1 - t) - 1) / (1 - t)
    np.testing.assert_allclose(log_t(x, t), textbook, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(exp_t(log_t(x, t), t), x, rtol=1e-12)


def test_ends_of_log_and_exp():
    assert float(log_t(np.array(0.0), 0.5)) == -2.0
    assert float(log_t(np.array(0.0), 2.0)) == -np.inf
    assert float(exp_t(np.array(-3.0), 0.5)) == 0.0
    assert float(exp_t(np.array(1.0), 2.0)) == np.inf


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("t1", "t2"), PAIRS)
def test_values_and_gradients_equal_float64(t1, t2, soft):
    generator = np.random.default_rng(1)
    scores, labels = 3 * generator.normal(size=(5, 7)), generator.integers(0, 7, 5)
    rows = generator.dirichlet(np.ones(7), 5) if soft else np.eye(7)[labels]
    given = rows if soft else labels
    loss = BiTemperedLogistic(t1, t2, reduction="sum", dtype="float64")
    each = BiTemperedLogistic(t1, t2, reduction=None, dtype="float64")(given, scores)
    np.testing.assert_allclose(
        each, reference_loss(rows, scores, t1, t2), rtol=1e-9, atol=1e-12
    )
    x = tf.Variable(scores)
    with tf.GradientTape() as tape:
        total = loss(given, x)
    gradient = tape.gradient(total, x).numpy()
    steps = 1e-6 * np.eye(scores.size).reshape(-1, *scores.shape)
    numeric = [float(loss(given, scores + h) - loss(given, scores - h)) for h in steps]
    numeric = np.reshape(numeric, scores.shape) / 2e-6
    np.testing.assert_allclose(gradient, numeric, atol=1e-6)
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-12)


def test_values_of_the_authors():
    labels = [[0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.2, 0.8, 0.0]]
    scores = [[-0.5, 0.1, 2.0], [0.1, 1.5, -5.0], [4.0, -3.0, -6.0]]
    for (t1, t2), expected in {
        (0.5, 1.5): [0.02301914, 0.18972909, 0.93874922],
        (0.5, 0.8): [0.21646356, 0.41836615, 1.33997854],
    }.items():
        loss = BiTemperedLogistic(t1, t2, reduction=None)
        np.testing.assert_allclose(loss(labels, scores), expected, atol=1e-5)
    for pair, expected in {
        (0.9, 1.1): 0.45677936,
        (0.8, 1.2): 0.34298314,
        (0.7, 1.3): 0.26295574,
    }.items():
        found = BiTemperedLogistic(*pair)([[0.2, 0.5, 0.3]], scores[:1])
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_at_one_it_is_the_cross_entropy():
    generator = np.random.default_rng(2)
    scores, labels = generator.normal(size=(50, 10)), generator.integers(0, 10, 50)
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    ours = BiTemperedLogistic(1.0, 1.0)(labels, scores)
    np.testing.assert_allclose(ours, expected(labels, scores), rtol=1e-6)


@pytest.mark.parametrize("k", range(2, 8))
@pytest.mark.parametrize("sign", [-1, 1])
def test_right_however_near_to_one_a_temperature_is(k, sign):
    generator = np.random.default_rng(3)
    scores, labels = generator.normal(size=(50, 10)), generator.integers(0, 10, 50)
    near = 1 + sign * 10.0**-k
    for t1, t2 in ((near, 1.0), (1.0, near), (near, near)):
        loss = BiTemperedLogistic(t1, t2, reduction=None)(labels, scores)
        exact = reference_loss(np.eye(10)[labels], scores, t1, t2)
        np.testing.assert_allclose(loss, exact, atol=5e-6)


def test_no_jump_at_one():
    generator = np.random.default_rng(3)
    scores, labels = generator.normal(size=(64, 10)), generator.integers(0, 10, 64)
    here = BiTemperedLogistic(1.0, 1.0, reduction=None)(labels, scores)
    for near in (1 - 1e-8, 1 + 1e-8):
        for variable in (False, True):
            t = keras.Variable(near, trainable=False) if variable else near
            there = BiTemperedLogistic(t, t, reduction=None)(labels, scores)
            np.testing.assert_allclose(there, here, atol=1e-6)
    # Where `u^(1 / (1 - t))` is formed, rounding makes this 0.4 % wrong.
    loss = BiTemperedLogistic(0.8, 1.000001)([1], [[1.0, 0.0, 0.0]])
    np.testing.assert_allclose(
        loss, BiTemperedLogistic(0.8, 1.0)([1], [[1.0, 0.0, 0.0]]), atol=1e-6
    )


@pytest.mark.parametrize(("t1", "t2"), [(0.8, 1.2), (0.9, 0.5), (0.8, 1.05)])
@pytest.mark.parametrize("graph", [False, True])
def test_second_derivatives_on_tensorflow(t1, t2, graph):
    scores = np.random.default_rng(8).normal(size=(2, 3))
    loss = BiTemperedLogistic(t1, t2, reduction="sum", dtype="float64")

    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = loss([0, 2], x)
        return tape.gradient(total, x)

    x, step = tf.constant(scores), 1e-6 * np.eye(1, 6).reshape(2, 3)
    with tf.GradientTape() as tape:
        tape.watch(x)
        first = (tf.function(slope) if graph else slope)(x)[0, 0]
    numeric = (slope(x + step) - slope(x - step)) / 2e-6
    np.testing.assert_allclose(tape.gradient(first, x), numeric, atol=1e-8)


@pytest.mark.parametrize("watch_scores", [False, True])
def test_temperatures_have_no_gradient(watch_scores):
    scores, t1, t2 = tf.constant([[1.0, 0.0, 2.0]]), tf.constant(0.8), tf.constant(1.0)
    with tf.GradientTape() as tape:
        tape.watch([t1, t2, scores] if watch_scores else [t1, t2])
        total = BiTemperedLogistic(t1, t2)([0], scores)
    assert tape.gradient(total, [t1, t2]) == [None, None]


def test_temperature_too_high_for_the_classes():
    scores = np.random.default_rng(9).normal(size=(1, 1000)).astype("float32")
    p = tempered_softmax(scores, 10.9)
    np.testing.assert_allclose(p[0], reference(scores[0], 10.9), rtol=5e-6)
    with pytest.raises(ValueError, match=r"1000\^\(t - 1\) <= 1e\+30.*t=11.5"):
        tempered_softmax(scores, 11.5)


INF, NAN = np.inf, np.nan
# Scores of a sample of class 0, and scores with the same probabilities.
EXTREMES = {
    "+inf for the true class": ([INF, 0, 0], [0, -INF, -INF]),
    "+inf for a wrong class": ([0, INF, 0], [-INF, 0, -INF]),
    "+inf twice": ([INF, INF, 0], [0, 0, -INF]),
    "-inf for the true class": ([-INF, 1, 1], [-INF, 1, 1]),
    "-inf for a wrong class": ([1, -INF, 2], [1, -INF, 2]),
    "-inf for all": ([-INF, -INF, -INF], [0, 0, 0]),
    "far right": ([100, 0, 0], [100, 0, 0]),
    "the largest of float32": ([3e38, -3e38, 0], [0, -INF, -INF]),
    "NaN": ([0, NAN, 1], None),
    "plain": ([1, 0, 2], [1, 0, 2]),
}
SETTLED = [0, 1, 7]


@pytest.mark.parametrize(
    ("t1", "t2"), [(0.8, 1.2), (0.5, 4.0), (0.9, 0.5), (0.8, 1.0), (0.8, 1.05)]
)
def test_extreme_scores(t1, t2, differentiate):
    given, same = zip(*EXTREMES.values(), strict=True)
    loss = BiTemperedLogistic(t1, t2, reduction=None)
    values, gradient = differentiate(loss, [0] * len(given), given)
    clean = np.array([rows is not None for rows in same])
    same = [row for row in same if row is not None]
    y = np.eye(3)[[0] * len(same)]
    expected = reference_loss(y, same, t1, t2)
    np.testing.assert_allclose(values[clean], expected, rtol=2e-6, atol=1e-6)
    assert np.isnan(values[~clean]).all()
    assert values[clean].max() <= (1 + 1e-6) / (1 - t1)
    np.testing.assert_allclose(gradient[clean].sum(-1), 0, atol=1e-6)
    np.testing.assert_array_equal(gradient[SETTLED], 0)


FAR = [
    (1.0, 1.0, 100),
    (1.0, 1.01, 300),
    (0.99, 1.0, 110),
    (1.05, 1.05, 2000),
    (1.1, 1.1, 1e5),
    (1.3, 1.0, 200),
]
far = pytest.mark.parametrize(("t1", "t2", "margin"), FAR)


def far_slopes(t1, t2, margin):
    """Two derivatives for a true class `margin` behind, where the other has all mass.

    `-p^(t2 - t1)` with `p = exp_t2(-margin)` is the first.
    """
    power, s = t2 - t1, t2 - 1
    u = 1 + s * margin
    first = math.exp(-power * (math.log(u) / s if s else margin))
    return -first, -power * first / u


@far
def test_a_probability_that_underflows_has_its_gradient(t1, t2, margin, differentiate):
    slope, _ = far_slopes(t1, t2, margin)
    scores = [[-margin, 0.0], [0.0, -margin]]
    for form in ([0, 1], np.eye(2, dtype="float32")):
        loss = BiTemperedLogistic(t1, t2, reduction=None)
        values, gradient = differentiate(loss, form, scores)
        exact = BiTemperedLogistic(t1, t2, reduction=None, dtype="float64")
        np.testing.assert_allclose(values, exact(form, scores), rtol=1e-5)
        expected = [[slope, -slope], [-slope, slope]]
        np.testing.assert_allclose(gradient, expected, rtol=1e-4)


@far
@pytest.mark.parametrize("variable", [False, True])
def test_a_probability_that_underflows_has_its_curvature(t1, t2, margin, variable):
    if variable:
        t1, t2 = (keras.Variable(t, trainable=False) for t in (t1, t2))
    loss = BiTemperedLogistic(t1, t2, reduction="sum")

    @tf.function
    def derivatives(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                total = loss([0], x)
            slope = tape.gradient(total, x)[0, 0]
        return slope, outer.gradient(slope, x)[0, 0]

    found = derivatives(tf.constant([[-margin, 0.0]]))
    expected = far_slopes(float(t1), float(t2), margin)
    # A variable of 1 is taken as 1e-7 from it.
    np.testing.assert_allclose(
        found, expected, rtol=1e-3 if variable else 1e-4, atol=1e-6
    )


@pytest.mark.parametrize(("t1", "t2"), [(1.5, 1.2), (1.9, 1.0), (1.3, 0.8)])
def test_a_steep_logarithm_has_finite_gradients(t1, t2, differentiate):
    scores = [
        [1, -INF, 2],
        [0, INF, 0],
        [-INF, 1, 1],
        [0, 90, 0],
        [1, 0, 2],
        [0, 1e6, 0],
    ]
    loss = BiTemperedLogistic(t1, t2, reduction=None)
    values, gradient = differentiate(loss, [0] * 6, scores)
    assert np.isfinite(values[[0, 4]]).all()
    np.testing.assert_array_equal(values[1:3], INF)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("t2", [0.5, 1.0, 1.2, 3.0])
def test_extreme_finite_scores_stay_finite(t2):
    generator = np.random.default_rng(4)
    for scale in (1e-30, 1e3, 1e7, 1e30):
        scores = tf.Variable((scale * generator.normal(size=(64, 5))).astype("float32"))
        with tf.GradientTape() as tape:
            loss = BiTemperedLogistic(0.8, t2)(generator.integers(0, 5, 64), scores)
        assert np.isfinite(loss)
        assert np.isfinite(tape.gradient(loss, scores)).all()


def test_one_class():
    np.testing.assert_allclose(BiTemperedLogistic()([0, 0], [[3.0], [-3.0]]), 0)
    with pytest.raises(ValueError, match="`label_smoothing` must be 0 for one class"):
        BiTemperedLogistic(label_smoothing=0.1)([0], [[3.0]])


def test_smoothed_labels_are_those_of_keras():
    generator = np.random.default_rng(5)
    scores, labels = generator.normal(size=(8, 4)), generator.integers(0, 4, 8)
    rows = np.eye(4)[labels]
    smoothed = BiTemperedLogistic(label_smoothing=0.2)
    plain = BiTemperedLogistic()(rows * 0.8 + 0.05, scores)
    np.testing.assert_allclose(smoothed(labels, scores), plain, rtol=1e-6)
    np.testing.assert_allclose(smoothed(rows, scores), plain, rtol=1e-6)
    keras_loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.2
    )
    entropy = -np.sum((rows * 0.8 + 0.05) * np.log(rows * 0.8 + 0.05), -1).mean()
    ours = BiTemperedLogistic(1.0, 1.0, label_smoothing=0.2)(labels, scores)
    np.testing.assert_allclose(ours, keras_loss(rows, scores) - entropy, rtol=1e-5)


def test_softmax_gradient_equals_differences():
    generator = np.random.default_rng(6)
    row, weights = generator.normal(size=(1, 6)), generator.normal(size=(1, 6))
    for t in (0.5, 1.0, 1.3, 2.0):
        x = tf.Variable(row)
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(weights * tempered_softmax(x, t))
        numeric = [
            np.sum(
                weights * (tempered_softmax(row + h, t) - tempered_softmax(row - h, t))
            )
            for h in 1e-6 * np.eye(6)
        ]
        gradient = tape.gradient(total, x)[0]
        np.testing.assert_allclose(gradient, np.array(numeric) / 2e-6, atol=1e-7)


def test_temperatures_that_a_callback_changes_in_a_compiled_step():
    t1 = keras.Variable(1.0, trainable=False)
    t2 = keras.Variable(1.0, trainable=False)
    loss = BiTemperedLogistic(t1, t2, reduction=None)
    generator = np.random.default_rng(7)
    scores = generator.normal(size=(20, 6)).astype("float32")
    labels = generator.integers(0, 6, 20)
    for jit in (False, True):
        step = tf.function(loss, jit_compile=jit)
        for pair in ((1.0, 1.0), (0.95, 1.05), (0.7, 1.3), (0.5, 0.8), (0.8, 1.2)):
            t1.assign(pair[0])
            t2.assign(pair[1])
            fixed = BiTemperedLogistic(*pair, reduction=None)(labels, scores)
            found = step(tf.constant(labels), tf.constant(scores))
            np.testing.assert_allclose(found, fixed, atol=5e-6)
    config = loss.get_config()
    np.testing.assert_allclose([config["t1"], config["t2"]], [0.8, 1.2], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"t1": 2.0}, r"`t1` must be a number >= 0 and < 2. Received: t1=2.0"),
        ({"t1": -0.1}, r"`t1` must be .*Received: t1=-0.1"),
        ({"t2": -1}, r"`t2` must be a number >= 0. Received: t2=-1"),
        ({"t2": keras.Variable(-1.0, trainable=False)}, "`t2` must be a number >= 0"),
        ({"t2": "warm"}, r"`t2` must be .*Received: t2='warm'"),
        ({"label_smoothing": 2}, r"`label_smoothing` must be a number from 0 to 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        BiTemperedLogistic(**arguments)


def test_a_trainable_temperature_is_refused():
    with pytest.raises(ValueError, match="`t1` must be a number or a variable that is"):
        BiTemperedLogistic(t1=keras.Variable(0.8))


JAX = """
import jax, numpy
from zoo.losses import BiTemperedLogistic, tempered_softmax

numpy.testing.assert_allclose(
    tempered_softmax(numpy.array([[1.0, 0.0, -1.0]]), 2.0),
    [[0.451606, 0.311108, 0.237286]],
    atol=1e-6,
)
scores = numpy.random.default_rng(0).normal(size=(4, 3)).astype("float32")
labels = numpy.arange(4) % 3

@jax.jit
def traced(t1, t2, scores):
    return BiTemperedLogistic(t1, t2, reduction="sum")(labels, scores)

for pair in ((1.0, 1.0), (0.95, 1.05), (0.8, 1.2), (0.5, 0.8)):
    fixed = BiTemperedLogistic(*pair, reduction="sum")
    numpy.testing.assert_allclose(
        traced(*pair, scores), fixed(labels, scores), atol=5e-6
    )
slope = jax.grad(lambda x: BiTemperedLogistic(reduction="sum")(labels, x))
step = numpy.zeros_like(scores)
step[0, 0] = 1e-2
numeric = (slope(scores + step) - slope(scores - step)) / 2e-2
numpy.testing.assert_allclose(jax.jacfwd(slope)(scores)[:, :, 0, 0], numeric, atol=1e-4)
# The probability underflows, its power does not.
far = jax.grad(lambda x: BiTemperedLogistic(1.0, 1.01, reduction="sum")([0], x))
hessian = jax.jit(jax.jacfwd(far))(numpy.array([[-300.0, 0.0]], "float32"))
numpy.testing.assert_allclose(hessian[0, 0, 0, 0], -1 / 1600, rtol=1e-5)

def refuses(function, *at):
    try:
        function(*at)
    except Exception:
        return True

assert refuses(jax.grad(lambda x: slope(x)[0, 0]), scores)
assert refuses(jax.grad(lambda t: traced(t, 1.2, scores)), 0.8)
assert refuses(jax.grad(lambda t: traced(0.8, t, scores)), 1.2)

jax.config.update("jax_enable_x64", True)
softmax = numpy.exp([1.0, 0.0, -1.0]) / numpy.exp([1.0, 0.0, -1.0]).sum()
p = tempered_softmax(numpy.array([1.0, 0.0, -1.0]), 1.0)
numpy.testing.assert_allclose(p, softmax, rtol=1e-14)
"""


def test_jax_traces_temperatures_differentiates_twice_and_keeps_float64():
    subprocess.run(
        [sys.executable, "-c", JAX],
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "jax"},
        check=True,
        capture_output=True,
    )
