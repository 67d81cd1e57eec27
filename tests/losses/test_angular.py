"""Angular margins against float64 formulas, finite differences and hard inputs."""

import importlib.util
import math
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.layers import CosineDense
from zoo.losses import (
    AngularMargin,
    ArcFace,
    CosFace,
    LSoftmax,
    MarginWarmup,
    SphereFace,
    angular_margin,
)

ROOT = pathlib.Path(zoo.__file__).parents[1]
M1, M2, M3 = (1.0, 1.35, 2.0, 3.0, 4.0), (0.0, 0.3, 0.5, 1.57, 2.6), (0.0, 0.35)

# Each with the margins m1, m2, m3 that it stands for.
KINDS = {
    "arc_face": (ArcFace(scale=16.0), (1.0, 0.5, 0.0)),
    "cos_face": (CosFace(scale=16.0), (1.0, 0.0, 0.35)),
    "sphere_face": (SphereFace(scale=16.0), (1.35, 0.0, 0.0)),
    "sphere_face_4": (SphereFace(4.0, scale=16.0), (4.0, 0.0, 0.0)),
    "angular_margin": (AngularMargin(0.9, 0.4, 0.15, scale=16.0), (0.9, 0.4, 0.15)),
    "far": (AngularMargin(3.0, 2.6, 0.2, scale=16.0), (3.0, 2.6, 0.2)),
}
every_kind = pytest.mark.parametrize("loss, margins", KINDS.values(), ids=KINDS)


def psi(angle, m1, m2):
    phi = m1 * angle + m2
    k = np.floor(phi / np.pi)
    return (-1) ** k * np.cos(phi) - 2 * k


def reference(labels, cosines, m1, m2, m3, scale=16.0):
    """Equation (16) of the review, row by row."""
    losses = []
    for label, row in zip(labels, np.asarray(cosines, "float64"), strict=True):
        logits = scale * row
        logits[label] = scale * (psi(np.arccos(row[label]), m1, m2) - m3)
        top = logits.max()
        losses.append(top + np.log(np.exp(logits - top).sum()) - logits[label])
    return np.array(losses)


def batch(samples=40, classes=7, seed=0, edge=0.9999):
    generator = np.random.default_rng(seed)
    cosines = generator.uniform(-edge, edge, (samples, classes)).astype("float32")
    labels = generator.integers(0, classes, samples)
    # The true class's cosines reach from end to end.
    cosines[np.arange(samples), labels] = np.linspace(-edge, edge, samples)
    return labels, cosines


def each(loss, labels, cosines):
    """The loss of each sample, whatever the reduction."""
    return loss.call(tf.convert_to_tensor(labels), tf.convert_to_tensor(cosines))


def gradient(loss, labels, cosines):
    cosines = tf.convert_to_tensor(cosines)
    with tf.GradientTape() as tape:
        tape.watch(cosines)
        total = tf.reduce_sum(each(loss, labels, cosines))
    return tape.gradient(total, cosines)


# The function of the angle.


@pytest.mark.parametrize("m2", M2)
@pytest.mark.parametrize("m1", M1)
def test_psi_falls_everywhere_with_a_continuous_slope(m1, m2):
    angles = np.linspace(0.0, np.pi, 200_001)
    values = np.asarray(angular_margin(np.cos(angles), m1, m2))
    np.testing.assert_allclose(values, psi(angles, m1, m2), rtol=0, atol=1e-7)
    assert (np.diff(values) < 0).all()
    # A jump of the slope would be a second difference of the order of one step.
    most = m1**2 * angles[1] ** 2
    assert np.abs(np.diff(values, 2)).max() <= 1.01 * most + 1e-12


@pytest.mark.parametrize("m3", M3)
@pytest.mark.parametrize("m1, m2", [(1.0, 0.5), (1.35, 0.3), (4.0, 2.6)])
def test_loss_rises_with_the_angle(m1, m2, m3):
    angles = np.linspace(0.0, np.pi, 2001)
    cosines = np.stack([np.cos(angles), np.zeros_like(angles)], axis=-1)
    loss = AngularMargin(m1, m2, m3, scale=1.0, dtype="float64")
    losses = np.asarray(each(loss, np.zeros(2001, "int32"), cosines))
    assert (np.diff(losses) > 0).all()
    expected = np.log1p(np.exp(m3 - psi(angles, m1, m2)))
    np.testing.assert_allclose(losses, expected, rtol=1e-9)


CHEBYSHEV = {
    2: lambda c: 2 * c**2 - 1,
    3: lambda c: 4 * c**3 - 3 * c,
    4: lambda c: 8 * c**4 - 8 * c**2 + 1,
}


@pytest.mark.parametrize("m", CHEBYSHEV)
def test_textbook_sphere_face(m):
    """Polynomials of the cosine, piece by piece between the angles k pi / m."""
    angles = np.linspace(0.0, np.pi, 999)
    piece = np.searchsorted(np.arange(1, m) * np.pi / m, angles, side="right")
    cosines = np.cos(angles)
    expected = (-1.0) ** piece * CHEBYSHEV[m](cosines) - 2 * piece
    np.testing.assert_allclose(angular_margin(cosines, float(m)), expected, atol=1e-7)


@pytest.mark.parametrize("m", [0.1, 0.5, 1.57, 2.6])
def test_textbook_arc_face_and_its_continuation(m):
    angles = np.linspace(1e-3, np.pi, 999)
    cosines = np.cos(angles)
    plain = cosines * np.cos(m) - np.sin(m) * np.sqrt(1 - cosines**2)
    expected = np.where(angles + m <= np.pi, plain, -2 - plain)
    np.testing.assert_allclose(angular_margin(cosines, m2=m), expected, atol=1e-9)


@every_kind
def test_values(loss, margins):
    labels, cosines = batch()
    np.testing.assert_allclose(
        each(loss, labels, cosines),
        reference(labels, cosines, *margins),
        rtol=1e-5,
        atol=1e-5,
    )


@every_kind
def test_gradient_equals_float64_differences(loss, margins):
    labels, cosines = batch()
    ours = np.asarray(gradient(loss, labels, cosines))
    exact, step = np.zeros_like(ours, "float64"), 1e-7
    for column in range(cosines.shape[1]):
        move = np.zeros(cosines.shape[1])
        move[column] = step
        up, down = (
            reference(labels, cosines.astype("float64") + sign * move, *margins)
            for sign in (1, -1)
        )
        exact[:, column] = (up - down) / (2 * step)
    norms = np.linalg.norm(exact, axis=1)
    errors = np.linalg.norm(ours - exact, axis=1)
    assert (errors <= 1e-4 * norms + 1e-6).all()


def test_small_losses_are_not_lost_to_rounding():
    """Where the target is far ahead, exp(-lead) is below a float32 of the logits."""
    cosines = np.array([[0.99, 0.5, 0.2]], "float32")
    ours = each(CosFace(margin=0.1, scale=64.0), [0], cosines)
    expected = np.log1p(np.exp(64 * (0.5 - 0.89)) + np.exp(64 * (0.2 - 0.89)))
    np.testing.assert_allclose(ours, [expected], rtol=1e-4)


def test_loss_at_random_initialisation():
    """`s sin m + ln C + s^2 / (2 D)` is 43.9; 43.6 was measured elsewhere."""
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    embeddings = generator.normal(size=(256, 512)).astype("float32")
    cosines = CosineDense(10_000)(embeddings)
    loss = ArcFace(margin=0.5, scale=64.0)(generator.integers(0, 10_000, 256), cosines)
    assert float(loss) == pytest.approx(43.6, abs=0.5)


@pytest.mark.parametrize("classes, rounded", [(2, 3.5), (10, 8.2), (10_000, 16.1)])
def test_automatic_scale_is_the_least_for_a_probability(classes, rounded):
    """Vectors of classes as far apart as can be have cosines -1 / (C - 1)."""
    cosines = np.full((1, classes), -1 / (classes - 1), "float64")
    cosines[0, 0] = 1.0
    loss = each(AngularMargin(m2=0.0, dtype="float64"), [0], cosines)
    np.testing.assert_allclose(np.exp(-loss), [0.999], rtol=1e-9)
    fixed = AngularMargin(m2=0.0, scale=rounded)
    np.testing.assert_allclose(np.exp(-each(fixed, [0], cosines)), [0.999], atol=2e-4)


def test_straight_through_gradient_is_that_of_plain_logits():
    labels, cosines = batch()
    exact, straight = (
        AngularMargin(1.35, 0.5, 0.1, scale=16.0, gradient=kind)
        for kind in ("exact", "straight_through")
    )
    np.testing.assert_array_equal(
        each(straight, labels, cosines), each(exact, labels, cosines)
    )
    logits = 16 * cosines.astype("float64")
    rows = np.arange(len(labels))
    targets = psi(np.arccos(logits[rows, labels] / 16), 1.35, 0.5) - 0.1
    logits[rows, labels] = 16 * targets
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[rows, labels] -= 1
    np.testing.assert_allclose(gradient(straight, labels, cosines), 16 * p, atol=1e-4)


def test_margins_of_single_classes():
    labels, cosines = batch()
    margins = [0.1 * label for label in range(7)]
    ours = each(ArcFace(scale=16.0, class_margin=margins), labels, cosines)
    expected = [
        reference([label], [row], 1.0, margins[label], 0.0)[0]
        for label, row in zip(labels, cosines, strict=True)
    ]
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="must hold 7 numbers, one a class"):
        each(ArcFace(class_margin=[0.1, 0.2]), labels, cosines)


# Hard inputs.

DTYPES = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}


@every_kind
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cosine", [1.0, -1.0, 1.0000002, -1.0000002])
def test_ends_of_the_cosine(loss, margins, dtype, cosine):
    """The value is exact, and loss and gradient are finite."""
    row = tf.cast([[cosine, 0.25, -0.5, 1.0]], dtype)
    value, slope = each(loss, [0], row), gradient(loss, [0], row)
    clipped = [[np.sign(cosine), 0.25, -0.5, 1.0]]
    np.testing.assert_allclose(value, reference([0], clipped, *margins), rtol=1e-5)
    assert slope.dtype == dtype
    assert np.isfinite(tf.cast(slope, "float32")).all()


@every_kind
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision_rounds_the_cosines_only(loss, margins, dtype):
    labels, cosines = batch(edge=0.9)
    rounded = tf.cast(cosines, dtype)
    expected = reference(labels, tf.cast(rounded, "float64"), *margins)
    np.testing.assert_allclose(
        each(loss, labels, rounded), expected, rtol=1e-5, atol=1e-5
    )
    slope = gradient(loss, labels, rounded)
    assert slope.dtype == dtype
    exact = gradient(loss, labels, tf.cast(rounded, "float32"))
    np.testing.assert_array_equal(
        tf.cast(slope, "float32"), tf.cast(tf.cast(exact, dtype), "float32")
    )


OLD_XLA = pytest.mark.skipif(
    tf.__version__ < "2.20", reason="its maximum takes no notice of NaN"
)


@every_kind
@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=OLD_XLA)])
def test_not_a_number_stays_in_its_sample(loss, margins, jit):
    labels, cosines = batch(samples=4)
    cosines[1, 2] = np.nan
    cosines[2, labels[2]] = np.nan
    compiled = tf.function(
        lambda x: (each(loss, labels, x), gradient(loss, labels, x)), jit_compile=jit
    )
    losses, slopes = compiled(tf.constant(cosines))
    np.testing.assert_array_equal(np.isnan(losses), [False, True, True, False])
    assert np.isfinite(slopes.numpy()[[0, 3]]).all()
    good = [0, 3]
    expected = reference(labels[good], cosines[good], *margins)
    np.testing.assert_allclose(np.asarray(losses)[good], expected, rtol=1e-5, atol=1e-5)


@every_kind
def test_one_class_costs_nothing(loss, margins):
    cosines = np.array([[0.3], [-1.0]], "float32")
    np.testing.assert_array_equal(each(loss, [0, 0], cosines), [0.0, 0.0])
    np.testing.assert_array_equal(gradient(loss, [0, 0], cosines), [[0.0], [0.0]])


@pytest.mark.parametrize("m1, m2", [(1.0, 0.5), (1.35, 0.0), (2.0, 2.6)])
@pytest.mark.parametrize("angle", [1e-4, 1e-2, 3.1])
def test_gradient_of_the_embedding_has_its_limit(m1, m2, angle):
    """`m1 sin(m1 theta + m2) / |x|`, though the slope in the cosine is infinite."""
    head = CosineDense(1, kernel_initializer="ones", dtype="float64")
    # Orthogonal to the kernel, and as long.
    across = np.array([1.0, -1.0, 0.0, 0.0]) * math.sqrt(2)
    x = tf.constant([2.0 * (np.cos(angle) * np.ones(4) + np.sin(angle) * across)])
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = angular_margin(head(x), m1, m2)
    norm = np.linalg.norm(tape.gradient(value, x))
    expected = abs(m1 * np.sin(m1 * angle + m2)) / 4
    assert norm == pytest.approx(expected, rel=1e-5)


@every_kind
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_zero_embeddings_get_no_gradient(loss, margins, dtype):
    head = CosineDense(4, dtype=dtype)
    x = tf.zeros((2, 3), head.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss([0, 1], head(x))
    assert np.isfinite(value)
    for slope in tape.gradient(value, [x, head.kernel.value]):
        np.testing.assert_array_equal(tf.cast(slope, "float32"), np.zeros(slope.shape))


# L-Softmax.


def polar(samples=30, classes=5):
    generator = np.random.default_rng(3)
    x = generator.normal(size=(samples, 6)).astype("float32")
    labels = generator.integers(0, classes, samples)
    keras.utils.set_random_seed(0)
    head = CosineDense(classes, polar=True)
    return labels, x, head, head(x)


@pytest.mark.parametrize("margin", [1.0, 2.0, 3.0, 4.0])
def test_l_softmax_keeps_the_norms(margin):
    labels, x, head, scores = polar()
    kernel = np.asarray(head.kernel, "float64")
    logits = x @ kernel
    norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(kernel, axis=0)
    rows = np.arange(len(labels))
    angles = np.arccos(logits[rows, labels] / norms[rows, labels])
    logits[rows, labels] = norms[rows, labels] * psi(angles, margin, 0.0)
    expected = np.log(np.exp(logits).sum(1)) - logits[rows, labels]
    ours = LSoftmax(margin, reduction=None)(labels, scores)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 5), (2, 5), (2, 2), (5,), (6, 3, 5)])
def test_l_softmax_refuses_plain_cosines(shape):
    with pytest.raises(ValueError, match=r"y_pred must be \(\.\.\., 2, classes\)"):
        LSoftmax()(np.zeros(shape[0]), np.zeros(shape))


def test_l_softmax_takes_one_hot_and_ignored_labels():
    labels, _, _, scores = polar()
    loss = LSoftmax(2.0, ignore_class=-1)
    one_hot = keras.ops.one_hot(labels, 5)
    assert float(loss(one_hot, scores)) == pytest.approx(float(loss(labels, scores)))
    some = np.where(np.arange(30) < 10, labels, -1)
    first = float(loss(labels[:10], scores[:10]))
    assert float(loss(some, scores)) == pytest.approx(first, rel=1e-6)


# Warm-up.


def still_model(loss, jit):
    """A model that does not learn: its loss shows the margins."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), CosineDense(3)])
    model.compile(keras.optimizers.SGD(0.0), loss, jit_compile=jit)
    return model


@pytest.mark.parametrize("jit", [False, True])
def test_warm_up_in_fit(jit):
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    y = np.arange(8) % 3
    full = {"m1": 1.5, "m2": 0.4, "m3": 0.2, "scale": 5.0}
    loss = AngularMargin(**full)
    model = still_model(loss, jit)

    def loss_at(strength):
        margins = 1 + 0.5 * strength, 0.4 * strength, 0.2 * strength
        return reference(y, model(x), *margins, scale=5.0).mean()

    def losses(epochs):
        warmup = MarginWarmup(loss, steps=4, levels=2)
        return model.fit(
            x,
            y,
            batch_size=8,
            epochs=epochs,
            validation_data=(x, y),
            callbacks=[warmup],
            verbose=0,
        ).history

    # A step that was compiled before knows the full margins.
    model.fit(x, y, batch_size=8, verbose=0)
    seen = losses(3)
    expected = [loss_at(0.0), loss_at(0.5), loss_at(0.5)]
    np.testing.assert_allclose(seen["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(seen["val_loss"], expected, rtol=1e-5)
    # A new callback goes on where the optimizer is.
    expected = [loss_at(1.0)] * 2
    np.testing.assert_allclose(losses(2)["loss"], expected, rtol=1e-5)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(loss_at(1.0), rel=1e-5)
    assert loss.get_config() == AngularMargin(**full).get_config()


def warm_up(optimizer, batches, epochs, **kwargs):
    """The strength after each call of a step, of a warm-up of three updates."""
    loss = ArcFace(scale=5.0)
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(round(3 * float(loss.strength), 5))

    model = keras.Sequential([keras.Input((4,)), CosineDense(3)])
    model.compile(optimizer, loss, **kwargs)
    model.fit(
        np.ones((batches, 4), "float32"),
        np.arange(batches) % 3,
        batch_size=1,
        epochs=epochs,
        callbacks=[MarginWarmup(loss, steps=3, levels=3), Watch()],
        verbose=0,
    )
    return seen


def test_warm_up_within_an_epoch():
    assert warm_up("sgd", batches=4, epochs=2) == [0, 1, 2, 3, 3, 3, 3, 3]


@pytest.mark.parametrize("wrap", [keras.optimizers.LossScaleOptimizer, lambda one: one])
def test_warm_up_counts_updates_of_accumulated_gradients(wrap):
    optimizer = wrap(keras.optimizers.SGD(gradient_accumulation_steps=2))
    # An epoch may begin within an update.
    assert warm_up(optimizer, batches=3, epochs=3) == [0, 0, 1, 1, 2, 2, 3, 3, 3]


def test_warm_up_of_several_steps_at_once():
    seen = warm_up("sgd", batches=5, epochs=2, steps_per_execution=2)
    assert seen == [0, 2, 3, 3, 3, 3]


# Construction.


@pytest.mark.parametrize(
    "build, name",
    [
        (lambda: AngularMargin(m1=0.0), "m1"),
        (lambda: AngularMargin(m2=-0.1), "m2"),
        (lambda: AngularMargin(m3=math.nan), "m3"),
        (lambda: AngularMargin(scale=0.0), "scale"),
        (lambda: AngularMargin(scale="large"), "scale"),
        (lambda: AngularMargin(gradient="none"), "gradient"),
        (lambda: AngularMargin(class_margin=[0.1, -0.1]), "class_margin"),
        (lambda: ArcFace(margin=-1), "margin"),
        (lambda: CosFace(margin="1"), "margin"),
        (lambda: SphereFace(margin=0), "margin"),
        (lambda: LSoftmax(margin=math.inf), "margin"),
        (lambda: MarginWarmup(keras.losses.MeanSquaredError(), 10), "loss"),
        (lambda: MarginWarmup(ArcFace(), steps=0), "steps"),
        (lambda: MarginWarmup(ArcFace(), steps=5, levels=0.5), "levels"),
    ],
)
def test_refuses(build, name):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        build()


@pytest.mark.parametrize(
    "build, keys",
    [
        (ArcFace, {"margin", "scale", "gradient", "class_margin"}),
        (CosFace, {"margin", "scale"}),
        (SphereFace, {"margin", "scale", "gradient"}),
        (LSoftmax, {"margin"}),
    ],
)
def test_config_holds_what_the_constructor_takes(build, keys):
    common = {"ignore_class", "reduction", "name", "dtype"}
    assert set(build().get_config()) == keys | common
    assert build.from_config(build(margin=1.25).get_config()).get_config()[
        "margin"
    ] == (1.25)


JAX = """
import sys
import jax, keras, numpy as np
from zoo.layers import CosineDense
from zoo.losses import AngularMargin, MarginWarmup
assert keras.backend.backend() == "jax"
given = np.load(sys.argv[1])
labels, cosines = given["labels"], given["cosines"]
loss = AngularMargin(3.0, 2.6, 0.2, scale=16.0)

def total(cosines, labels):
    losses = loss.call(labels, cosines)
    return losses.sum(), losses

run = jax.jit(jax.value_and_grad(total, has_aux=True))
(_, losses), slopes = run(cosines, labels)
np.testing.assert_allclose(losses, given["losses"], rtol=1e-5, atol=1e-5)
np.testing.assert_allclose(slopes, given["slopes"], rtol=1e-4, atol=1e-4)

ends = np.array([[1.0, 0.2], [-1.0, 0.2], [1.0000002, 1.0], [np.nan, 0.1]], "float32")
for dtype in ("float32", "bfloat16"):
    (_, losses), slopes = run(keras.ops.cast(ends, dtype), np.zeros(4, "int32"))
    assert slopes.dtype == dtype
    assert np.isfinite(losses[:3]).all() and np.isnan(losses[3])
    assert np.isfinite(np.asarray(slopes, "float32")[:3]).all()
assert run(np.array([[0.3]], "float32"), np.array([0]))[0][0] == 0

# Zero embeddings, and second derivatives in forward mode, away from the loss's kinks.
keras.utils.set_random_seed(0)
head = CosineDense(4)
head.build((2, 3))
labels = np.array([0, 1])
slope = jax.jit(jax.grad(lambda x: loss(labels, head(x))))
np.testing.assert_array_equal(slope(np.zeros((2, 3), "float32")), np.zeros((2, 3)))
x = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]], "float32")
_, second = jax.jvp(slope, (x,), (np.ones_like(x),))
difference = (slope(x + 1e-2) - slope(x - 1e-2)) / 2e-2
np.testing.assert_allclose(second, difference, rtol=1e-2, atol=1e-2)

# Warm-up, on a model that does not learn.
x, y = np.random.default_rng(0).normal(size=(8, 4)).astype("float32"), np.arange(8) % 3
loss = AngularMargin(1.5, 0.4, 0.2, scale=5.0)
model = keras.Sequential([keras.Input((4,)), CosineDense(3)])
model.compile(keras.optimizers.SGD(0.0), loss)
seen = model.fit(
    x, y, batch_size=4, epochs=3, shuffle=False, verbose=0,
    validation_data=(x, y), callbacks=[MarginWarmup(loss, steps=4, levels=2)],
).history
expected = [
    AngularMargin(1 + 0.5 * r, 0.4 * r, 0.2 * r, scale=5.0)(y, model(x))
    for r in (0.0, 0.5, 1.0)
]
np.testing.assert_allclose(seen["loss"], expected, rtol=1e-5)
np.testing.assert_allclose(seen["val_loss"], expected, rtol=1e-5)
"""


@pytest.mark.skipif(
    not importlib.util.find_spec("jax"), reason="needs jax: pip install jax"
)
def test_jax(tmp_path):
    labels, cosines = batch()
    loss, margins = KINDS["far"]
    np.savez(
        tmp_path / "given.npz",
        labels=labels,
        cosines=cosines,
        losses=reference(labels, cosines, *margins),
        slopes=gradient(loss, labels, cosines),
    )
    done = subprocess.run(
        [sys.executable, "-c", JAX, tmp_path / "given.npz"],
        env=os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
