"""The hinge loss for many classes and the margin of scores against float64."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.losses.hinge import KINDS, MulticlassHinge, score_margin

INF, NAN = math.inf, math.nan
kinds = pytest.mark.parametrize("kind", KINDS)


def hinge(z, labels, kind, margin=1.0):
    losses = []
    for scores, c in zip(z, labels, strict=True):
        costs = [margin + score - scores[c] for j, score in enumerate(scores) if j != c]
        costs = [max(0.0, cost) for cost in costs]
        losses.append(max(costs) if kind == "crammer_singer" else sum(costs))
    return np.array(losses)


def batch(classes=5, samples=8):
    rng = np.random.default_rng(classes)
    z = rng.normal(size=(samples, classes)).astype("float32").astype("float64")
    return z, rng.integers(0, classes, samples)


@kinds
@pytest.mark.parametrize("classes", [2, 7])
@pytest.mark.parametrize("margin", [0.0, 2.5])
def test_values_and_gradients(kind, classes, margin, differentiate, slopes):
    z, labels = batch(classes)
    loss = MulticlassHinge(kind, margin, reduction=None)
    values, gradient = differentiate(loss, labels, z)
    np.testing.assert_allclose(
        values, hinge(z, labels, kind, margin), rtol=1e-6, atol=1e-6
    )
    expected = slopes(lambda z: hinge(z, labels, kind, margin), z)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@settings(max_examples=40)
@given(data=st.data())
@kinds
def test_any_finite_scores(kind, data):
    classes = data.draw(st.integers(1, 6))
    numbers = st.floats(-1e4, 1e4, width=32)
    z = np.array([data.draw(st.lists(numbers, min_size=classes, max_size=classes))])
    label = data.draw(st.integers(0, classes - 1))
    value = MulticlassHinge(kind, reduction=None)([label], z.astype("float32"))
    expected = hinge(z, [label], kind) if classes > 1 else 0.0
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)


@kinds
def test_keras_categorical_hinge_is_another_loss(kind, differentiate):
    z = [[-5.0, -7.0, -7.0]]
    values, gradient = differentiate(MulticlassHinge(kind, reduction=None), [0], z)
    assert keras.losses.CategoricalHinge()([[1, 0, 0]], z) == 6.0
    np.testing.assert_array_equal(values, [0.0])
    np.testing.assert_array_equal(gradient, np.zeros((1, 3)))


# The scores of a sample of class 0, its loss by either kind, and its gradient.
LIMITS = {
    "+inf for the true class": ([INF, 1.0, 2.0], 0.0, [0.0, 0.0, 0.0]),
    "+inf for a wrong class": ([0.0, INF, -9.0], INF, [-1.0, 1.0, 0.0]),
    "-inf for the true class": ([-INF, 1.0, -INF], INF, None),
    "-inf for a wrong class": ([0.0, -INF, 2.0], 3.0, [-1.0, 0.0, 1.0]),
    "-inf for all wrong classes": ([0.0, -INF, -INF], 0.0, [0.0, 0.0, 0.0]),
    "equal infinities": ([INF, INF, 0.0], 1.0, None),
    "one class": ([-3.0], 0.0, [0.0]),
    "one class, -inf": ([-INF], 0.0, [0.0]),
}


@kinds
@pytest.mark.parametrize("case", LIMITS)
def test_limits(kind, case, differentiate):
    z, expected, slope = LIMITS[case]
    loss = MulticlassHinge(kind, reduction=None)
    values, gradient = differentiate(loss, [0], [z])
    assert values[0] == expected
    assert np.isfinite(gradient).all()
    if slope is not None:
        np.testing.assert_array_equal(gradient[0], slope)


@kinds
@pytest.mark.parametrize(("classes", "place"), [(1, 0), (5, 0), (5, 4)])
def test_nan_stays_in_its_sample(kind, classes, place, differentiate):
    z, labels = batch(classes)
    loss = MulticlassHinge(kind, reduction=None)
    clean, slope = differentiate(loss, labels, z)
    z[2, place] = NAN
    values, gradient = differentiate(loss, labels, z)
    others = np.arange(8) != 2
    assert np.isnan(values[2])
    np.testing.assert_array_equal(values[others], clean[others])
    np.testing.assert_array_equal(gradient[others], slope[others])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_score_margin(dtype):
    z, labels = batch()
    margins = score_margin(labels.astype("int32"), keras.ops.array(z, dtype))
    assert keras.backend.standardize_dtype(margins.dtype) == dtype
    expected = [
        scores[c] - np.delete(scores, c).max()
        for scores, c in zip(z, labels, strict=True)
    ]
    np.testing.assert_allclose(margins, expected, rtol=1e-6)


@kinds
def test_scores_of_more_than_one_place(kind):
    z, labels = batch()
    loss = MulticlassHinge(kind, reduction=None)
    values = loss(labels.reshape(2, 4), z.reshape(2, 4, 5))
    np.testing.assert_allclose(values, np.reshape(loss(labels, z), (2, 4)))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"kind": "squared"}, "`kind` must be one of .* Received: kind='squared'"),
        ({"margin": -0.1}, "`margin` must be a number from 0 up. Received"),
        ({"margin": NAN}, "`margin` must be"),
    ],
)
def test_refused_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MulticlassHinge(**kwargs)
