import itertools
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from zoo.losses.large_margin import (
    LargeMargin,
    competitors,
    dual_norm,
    linearized_margin,
)

ROOT = pathlib.Path(zoo.__file__).parents[1]
NORMS = {"l2": 2, "l1": 1, "linf": np.inf}
DUALS = {"l2": 2, "l1": np.inf, "linf": 1}
CLASSES = 5


def batch(samples=6, scale=1.0):
    generator = np.random.default_rng(0)
    scores = generator.normal(0.0, scale, (samples, CLASSES))
    return np.arange(samples) % CLASSES, scores


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def reference(
    labels,
    scores,
    weights=None,
    gamma=1.0,
    norm="l2",
    top_k=1,
    aggregation="max",
    alpha=4.0,
    on="logits",
    epsilon=1e-6,
    denominators=None,
):
    """One value a sample, in float64, sample by sample.

    `weights` are matrices from each layer's activation to the scores; `denominators`
    gathers the norms that are taken, or gives them.
    """
    weights = [np.eye(scores.shape[1])] if weights is None else weights
    gammas = np.broadcast_to(gamma, len(weights))
    given = iter(denominators) if denominators else None
    losses = []
    for label, z in zip(labels, scores, strict=True):
        f = softmax(z) if on == "probs" else z
        slopes = np.diag(f) - np.outer(f, f) if on == "probs" else np.eye(len(z))
        others = [j for j in np.argsort(-z) if j != label][:top_k]
        layers = []
        for matrix in weights:
            distances = []
            for other in others:
                gradient = matrix @ (slopes[label] - slopes[other])
                size = np.linalg.norm(gradient, DUALS[norm])
                size = next(given) if given else np.sqrt(size**2 + epsilon)
                if denominators is not None and not given:
                    denominators.append(size)
                distances.append((f[label] - f[other]) / size)
            layers.append(np.array(distances))
        if aggregation == "nearest":
            nearest = layers[-1].argmin()
            layers = [distances[[nearest]] for distances in layers]
        terms = []
        for distances, wanted in zip(layers, gammas, strict=True):
            each = np.maximum(0, wanted - distances)
            if alpha is not None:
                each = np.minimum(each, alpha * wanted)
            terms.append(each.sum() if aggregation == "sum" else each.max())
        losses.append(np.mean(terms))
    return np.array(losses)


SETTINGS = [
    {"norm": norm, "on": on, "top_k": top_k, "aggregation": aggregation}
    for norm, on in itertools.product(NORMS, ("logits", "probs"))
    for top_k, aggregation in [(1, "max"), (3, "max"), (3, "sum"), (3, "nearest")]
] + [
    {"gamma": 0.3, "alpha": None},
    {"gamma": 2.0, "alpha": 0.5, "epsilon": 0.1},
    {"top_k": 99, "aggregation": "sum"},
]
every_setting = pytest.mark.parametrize("kwargs", SETTINGS, ids=str)


@every_setting
def test_equals_numpy_on_the_scores(kwargs):
    labels, scores = batch(40, scale=2.0)
    each = LargeMargin(reduction=None, dtype="float64", **kwargs)(labels, scores)
    np.testing.assert_allclose(each, reference(labels, scores, **kwargs), rtol=1e-10)


@every_setting
def test_equals_numpy_at_hidden_layers(kwargs):
    labels, scores = batch(40, scale=2.0)
    generator = np.random.default_rng(1)
    weights = [generator.normal(size=(width, CLASSES)) for width in (7, 3, 11)]
    loss = LargeMargin(reduction=None, dtype="float64", **kwargs)

    def pullback(cotangent):
        return [tf.matmul(cotangent, w, transpose_b=True) for w in weights]

    each = loss.at(pullback)(labels, scores)
    expected = reference(labels, scores, weights, **kwargs)
    np.testing.assert_allclose(each, expected, rtol=1e-10)
    # The loss itself still measures on the scores.
    own = reference(labels, scores, **kwargs)
    np.testing.assert_allclose(loss(labels, scores), own, rtol=1e-10)


def test_each_layer_has_its_own_gamma():
    labels, scores = batch()
    weights = [np.eye(CLASSES), 0.1 * np.eye(CLASSES)]
    loss = LargeMargin([0.5, 8.0], reduction=None, dtype="float64")
    each = loss.at(lambda t: [t @ tf.constant(w) for w in weights])(labels, scores)
    expected = reference(labels, scores, weights, gamma=[0.5, 8.0])
    np.testing.assert_allclose(each, expected, rtol=1e-10)
    with pytest.raises(ValueError, match="`gamma` must hold a number for each layer"):
        loss(labels, scores)


@pytest.mark.parametrize("norm", NORMS)
def test_a_step_of_the_distance_reaches_the_boundary_of_a_linear_classifier(norm):
    generator = np.random.default_rng(2)
    x, w = generator.normal(size=(8, 6)), generator.normal(size=(6, CLASSES))
    labels = np.arange(8) % CLASSES
    loss = LargeMargin(norm=norm, epsilon=1e-30, dtype="float64")
    loss = loss.at(lambda cotangent: [tf.matmul(cotangent, w, transpose_b=True)])
    distances = loss.distances(tf.constant(labels, "int32"), tf.constant(x @ w))
    distances = distances[:, 0, 0].numpy()
    for point, label, distance in zip(x, labels, distances, strict=True):
        scores = point @ w
        other = max(set(range(CLASSES)) - {label}, key=lambda j: scores[j])
        slope = w[:, label] - w[:, other]
        step = {
            "l2": slope / np.linalg.norm(slope),
            "l1": np.sign(slope) * (abs(slope) == abs(slope).max()),
            "linf": np.sign(slope),
        }[norm]
        np.testing.assert_allclose(np.linalg.norm(step, NORMS[norm]), 1.0)
        moved = (point - distance * step) @ w
        np.testing.assert_allclose(moved[label], moved[other], atol=1e-12)


def test_closed_form_on_logits():
    scores = np.array([[4.0, 1.0, 0.0], [1.0, 2.0, 0.0]])
    distances = {"l2": np.sqrt(2), "l1": 1.0, "linf": 2.0}
    for norm, size in distances.items():
        loss = LargeMargin(gamma=5.0, norm=norm, reduction=None)
        expected = [5.0 - 3.0 / size, 5.0 + 1.0 / size]
        np.testing.assert_allclose(loss([0, 0], scores), expected, rtol=1e-6)


def finite_differences(function, x, step=1e-6):
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        shift = np.zeros_like(x)
        shift[index] = step
        gradient[index] = (function(x + shift) - function(x - shift)) / (2 * step)
    return gradient


def gradient_of(loss, labels, scores):
    scores = tf.constant(scores)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        total = loss(labels, scores)
    return tape.gradient(total, scores)


@every_setting
@pytest.mark.parametrize("second_order", [False, True])
def test_gradient_equals_finite_differences(kwargs, second_order):
    labels, scores = batch()
    loss = LargeMargin(
        second_order=second_order, reduction="sum", dtype="float64", **kwargs
    )
    frozen = []
    reference(labels, scores, denominators=frozen, **kwargs)

    def total(scores):
        denominators = None if second_order else frozen
        return reference(labels, scores, denominators=denominators, **kwargs).sum()

    np.testing.assert_allclose(
        gradient_of(loss, labels, scores),
        finite_differences(total, scores),
        rtol=1e-6,
        atol=1e-8,
    )


def test_first_and_second_order_differ():
    labels, scores = batch()
    first, second = (
        gradient_of(LargeMargin(on="probs", second_order=order), labels, scores)
        for order in (False, True)
    )
    assert np.abs(first - second).max() > 1e-2


@given(
    scores=st.lists(
        st.lists(
            st.floats(-(2.0**126), 2.0**126, width=32)
            | st.sampled_from([np.inf, -np.inf]),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
        max_size=5,
    ),
    label=st.integers(0, 2),
    kwargs=st.fixed_dictionaries(
        {
            "gamma": st.sampled_from([1e-3, 1.0, 1e4]),
            "norm": st.sampled_from(sorted(NORMS)),
            "on": st.sampled_from(["logits", "probs"]),
            "top_k": st.integers(1, 4),
            "aggregation": st.sampled_from(["max", "nearest"]),
            "second_order": st.booleans(),
        }
    ),
)
@settings(max_examples=150)
def test_any_scores_give_a_bounded_loss_and_a_finite_gradient(scores, label, kwargs):
    scores = tf.constant(scores, "float32")
    labels = np.full(len(scores), label)
    loss = LargeMargin(reduction=None, **kwargs)
    each = loss(labels, scores).numpy()
    assert (each >= 0).all() and (each <= 4 * loss.gamma * (1 + 1e-6)).all()
    assert np.isfinite(gradient_of(loss, labels, scores)).all()


@given(shift=st.floats(-5, 5), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_shifts_and_renamed_competitors_change_nothing(shift, seed):
    _, scores = batch()
    order = np.random.default_rng(seed).permutation(np.arange(1, CLASSES))
    for kwargs in ({"top_k": 3}, {"on": "probs", "top_k": 3, "aggregation": "sum"}):
        loss = LargeMargin(reduction=None, dtype="float64", **kwargs)
        labels = np.zeros(len(scores), "int32")
        renamed = scores[:, [0, *order]] + shift
        np.testing.assert_allclose(
            loss(labels, renamed), loss(labels, scores), rtol=1e-8, atol=1e-10
        )


INF = np.inf
# The label is 0: its score and that of the others, and the loss with its defaults.
EXTREMES = {
    "right by far": ([INF, 0.0, 0.0], 0.0),
    "wrong by far": ([0.0, INF, 0.0], 4.0),
    "lost": ([-INF, 0.0, 0.0], 4.0),
    "no rival": ([0.0, -INF, -INF], 0.0),
    "tie of the best": ([INF, INF, 0.0], 1.0),
    "tie of the worst": ([-INF, -INF, -INF], 1.0),
    "large": ([1e30, -1e30, 0.0], 0.0),
    "NaN": ([np.nan, 0.0, 0.0], np.nan),
    "NaN elsewhere": ([2.0, 0.0, np.nan], np.nan),
    "ordinary": ([0.0, 0.0, 0.0], 1.0),
}
WAYS = {
    "eager": lambda f: f,
    "graph": tf.function,
    "xla": tf.function(jit_compile=True),
}


@pytest.mark.parametrize("way", WAYS)
def test_extremes_reach_their_limits_and_spoil_no_other_sample(way):
    rows, expected = zip(*EXTREMES.values(), strict=True)
    loss, labels = LargeMargin(reduction=None), tf.zeros(len(rows), "int32")

    def step(scores):
        with tf.GradientTape() as tape:
            tape.watch(scores)
            each = loss(labels, scores)
        return each, tape.gradient(each, scores)

    each, gradient = WAYS[way](step)(tf.constant(rows))
    np.testing.assert_allclose(each, expected, atol=1e-5)
    assert np.isfinite(gradient[~np.isnan(expected)]).all()
    infinite = np.isinf(rows)
    np.testing.assert_array_equal(gradient.numpy()[infinite], 0.0)


def test_one_class_has_no_boundary():
    scores = tf.constant([[3.0], [-INF], [np.nan]])
    for kwargs in ({}, {"top_k": 3, "aggregation": "nearest"}, {"on": "probs"}):
        each = LargeMargin(reduction=None, **kwargs)([0, 0, 0], scores)
        np.testing.assert_array_equal(each, [0.0, 0.0, np.nan])


def test_scores_of_a_sequence():
    labels, scores = batch(12)
    loss = LargeMargin(top_k=2, aggregation="sum", reduction=None)
    each = loss(labels.reshape(3, 4), scores.reshape(3, 4, CLASSES))
    np.testing.assert_allclose(
        each, np.reshape(loss(labels, scores), (3, 4)), rtol=1e-6
    )


def test_parts_stand_alone():
    labels, scores = tf.constant([3, 0]), tf.constant([[0.0, 3.0, 1.0, 9.0]] * 2)
    for k, expected in [(1, [[1], [3]]), (2, [[1, 2], [3, 1]])]:
        np.testing.assert_array_equal(competitors(labels, scores, k), expected)
    assert competitors(labels, scores, 9).shape == (2, 3)
    gradient = np.random.default_rng(0).normal(size=(2, 3, 4))
    for norm, dual in DUALS.items():
        flat = gradient.reshape(2, -1)
        expected = np.linalg.norm(flat, dual, axis=1)
        ours = dual_norm(gradient, norm, epsilon=1e-30)
        np.testing.assert_allclose(ours, expected)
        np.testing.assert_allclose(dual_norm(0 * flat, norm, epsilon=0.25), [0.5, 0.5])
    assert linearized_margin(3.0, 2.0) == 1.5


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"gamma": 0.0}, "`gamma` must be a positive number"),
        ({"gamma": [1.0, -1.0]}, "`gamma` must be a positive number"),
        ({"gamma": "1"}, "`gamma` must be a positive number"),
        ({"norm": "l3"}, "`norm` must be one of"),
        ({"top_k": 0}, "`top_k` must be an integer from 1 up"),
        ({"aggregation": "mean"}, "`aggregation` must be one of"),
        ({"alpha": 0}, "`alpha` must be a positive number"),
        ({"on": "scores"}, "`on` must be one of"),
        ({"epsilon": 0.0}, "`epsilon` must be a positive number"),
    ],
    ids=str,
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=rf"{message}.*Received: {next(iter(kwargs))}"):
        LargeMargin(**kwargs)


def test_config_keeps_a_gamma_for_each_layer():
    loss = LargeMargin([1.0, 2.0], second_order=True, on="probs")
    revived = keras.losses.deserialize(keras.losses.serialize(loss))
    assert revived.gamma == [1.0, 2.0]
    assert revived.get_config() == loss.get_config()


JAX = """
import jax, numpy, sys
from zoo.losses.large_margin import LargeMargin

rows, kwargs = eval(sys.argv[1], {"nan": numpy.nan, "inf": numpy.inf})
scores, labels = numpy.array(rows, "float32"), numpy.zeros(len(rows), "int32")
loss = LargeMargin(reduction=None, **kwargs)
each = jax.jit(loss)(labels, scores)
gradient = jax.jit(jax.grad(lambda z: loss(labels, z).sum()))(scores)
print(each.tolist(), gradient.tolist(), sep="\\n")
"""


@pytest.mark.parametrize("kwargs", [{}])
def test_extremes_on_jax(kwargs):
    rows, expected = zip(*EXTREMES.values(), strict=True)
    run = subprocess.run(
        [sys.executable, "-c", JAX, str((list(rows), kwargs))],
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "jax"},
        check=True,
        capture_output=True,
        text=True,
    )
    each, gradient = (
        np.array(eval(line, {"nan": np.nan})) for line in run.stdout.splitlines()
    )
    np.testing.assert_allclose(each, expected, atol=1e-5)
    assert np.isfinite(gradient[~np.isnan(expected)]).all()
    np.testing.assert_array_equal(gradient[np.isinf(rows)], 0.0)
