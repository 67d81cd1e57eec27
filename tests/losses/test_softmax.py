"""The softmax losses against float64, closed forms and finite differences."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.losses.softmax import ComplementaryCrossEntropy, TemperatureSoftmax

INF, NAN = math.inf, math.nan


def log_sum_exp(z):
    top = z.max(-1, keepdims=True)
    return (top + np.log(np.exp(z - top).sum(-1, keepdims=True)))[..., 0]


def temperature(z, y, gamma):
    return (y * (log_sum_exp(gamma * z)[..., None] - gamma * z)).sum(-1)


def complementary(z, y):
    """Each `log(1 - p_k)` from the sum over the others."""
    total, loss = log_sum_exp(z), 0.0
    for k in range(z.shape[-1]):
        others = log_sum_exp(np.delete(z, k, -1))
        loss = loss - y[..., k] * (z[..., k] - total)
        loss = loss - (1 - y[..., k]) * (others - total)
    return loss


REFERENCES = {
    TemperatureSoftmax: lambda z, y: temperature(z, y, 0.5),
    ComplementaryCrossEntropy: complementary,
}
both = pytest.mark.parametrize("loss", REFERENCES)


def batch(classes=5, scale=3.0, samples=8):
    rng = np.random.default_rng(classes)
    z = rng.normal(0.0, scale, (samples, classes))
    return z, rng.integers(0, classes, samples)


@both
@pytest.mark.parametrize("classes", [2, 40])
@pytest.mark.parametrize("scale", [0.0, 30.0])
def test_values(loss, classes, scale, differentiate):
    z, labels = batch(classes, scale)
    z = z.astype("float32").astype("float64")
    values, _ = differentiate(loss(reduction=None), labels, z)
    expected = REFERENCES[loss](z, np.eye(classes)[labels])
    np.testing.assert_allclose(values, expected, rtol=2e-6, atol=1e-6)


@both
def test_gradient_against_finite_differences(loss, differentiate, slopes):
    z, labels = batch()
    y = np.eye(5)[labels]
    _, gradient = differentiate(loss(reduction=None, dtype="float64"), labels, z)
    expected = slopes(lambda z: REFERENCES[loss](z, y), z)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


@both
def test_rows_of_probabilities(loss, differentiate, slopes):
    z, _ = batch()
    y = np.random.default_rng(3).dirichlet(np.ones(5), 8)
    y[0] = [0.0, 0.5, 0.5, 0.0, 0.0]
    values, gradient = differentiate(loss(reduction=None, dtype="float64"), y, z)
    np.testing.assert_allclose(values, REFERENCES[loss](z, y), rtol=1e-10)
    expected = slopes(lambda z: REFERENCES[loss](z, y), z)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


@both
@settings(max_examples=40)
@given(data=st.data())
def test_any_finite_scores(loss, data):
    classes = data.draw(st.integers(2, 6))
    numbers = st.floats(-1e4, 1e4, width=32)
    z = np.array([data.draw(st.lists(numbers, min_size=classes, max_size=classes))])
    label = data.draw(st.integers(0, classes - 1))
    value = loss(reduction=None)([label], z.astype("float32"))
    expected = REFERENCES[loss](z, np.eye(classes)[[label]])
    np.testing.assert_allclose(value, expected, rtol=2e-6, atol=1e-6)


# The scores of a sample, its label, loss, and gradient, or None where finite will do.
LIMITS = {
    "+inf for the true class": ([INF, 1.0, 2.0], 0, 0.0, [0.0, 0.0, 0.0]),
    "+inf for a wrong class": ([0.0, INF, 2.0], 0, INF, None),
    "-inf for the true class": ([-INF, 1.0, 2.0], 0, INF, None),
    "-inf for all wrong classes": ([3.0, -INF, -INF], 0, 0.0, [0.0, 0.0, 0.0]),
    "one class": ([3.0], 0, 0.0, [0.0]),
    "one class, -inf": ([-INF], 0, 0.0, [0.0]),
    "gap of 1e4, right": ([1e4, 0.0, 0.0], 0, 0.0, [0.0, 0.0, 0.0]),
    "the largest of float32": ([3e38, -3e38, 0.0], 0, 0.0, [0.0, 0.0, 0.0]),
}


@both
@pytest.mark.parametrize("case", LIMITS)
def test_limits(loss, case, differentiate):
    z, label, expected, slope = LIMITS[case]
    # Beside a sample that nothing of this may touch.
    z = np.array([z, np.zeros(len(z))])
    values, gradient = differentiate(loss(reduction=None), [label, 0], z)
    plain, plain_gradient = differentiate(loss(reduction=None), [0], z[1:])
    assert values[0] == expected
    assert np.isfinite(gradient).all()
    if slope is not None:
        np.testing.assert_array_equal(gradient[0], slope)
    np.testing.assert_allclose(values[1:], plain, rtol=1e-6)
    np.testing.assert_allclose(gradient[1:], plain_gradient, rtol=1e-6, atol=1e-7)


@both
def test_minus_infinity_removes_a_class(loss, differentiate):
    values, gradient = differentiate(loss(reduction=None), [0], [[1.0, -INF, 2.0]])
    expected, slope = differentiate(loss(reduction=None), [0], [[1.0, 2.0]])
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient[:, [0, 2]], slope, rtol=1e-6)
    assert gradient[0, 1] == 0


@both
def test_equal_infinities_share_the_probability(loss, differentiate):
    for score in (INF, -INF):
        values, gradient = differentiate(loss(reduction=None), [0], [[score, score]])
        expected, _ = differentiate(loss(reduction=None), [0], [[0.0, 0.0]])
        np.testing.assert_allclose(values, expected, rtol=1e-6)
        assert np.isfinite(gradient).all()


@both
@pytest.mark.parametrize(("classes", "place"), [(1, 0), (5, 0), (5, 4)])
def test_nan_stays_in_its_sample(loss, classes, place, differentiate):
    z, labels = batch(classes)
    clean, slope = differentiate(loss(reduction=None), labels, z)
    z[2, place] = NAN
    values, gradient = differentiate(loss(reduction=None), labels, z)
    others = np.arange(8) != 2
    assert np.isnan(values[2])
    np.testing.assert_allclose(values[others], clean[others], rtol=1e-6)
    np.testing.assert_allclose(gradient[others], slope[others], rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.01, 0.5, 7.0])
def test_two_classes_are_equation_7(gamma, differentiate):
    v = np.linspace(-8, 8, 33)
    z = np.stack([v, np.zeros_like(v)], -1)
    loss = TemperatureSoftmax(gamma, reduction=None, dtype="float64")
    values, gradient = differentiate(loss, np.zeros(33, "int32"), z)
    expected = np.log1p(np.exp(-gamma * v))
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-15)
    slope = -gamma / (1 + np.exp(gamma * v))
    expected = np.stack([slope, -slope], -1)
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0])
def test_loss_margin_is_two_over_gamma(gamma):
    loss = TemperatureSoftmax(gamma, reduction=None, dtype="float64")
    step = 1e-3 / gamma
    below, here, above = np.asarray(
        loss([0, 0, 0], [[-step, 0.0], [0.0, 0.0], [step, 0.0]])
    )
    slope, bend = (above - below) / (2 * step), (above - 2 * here + below) / step**2
    np.testing.assert_allclose(-slope / bend, 2 / gamma, rtol=1e-5)


def test_gamma_one_is_cross_entropy(differentiate):
    z, labels = batch()
    values, gradient = differentiate(TemperatureSoftmax(1.0, reduction=None), labels, z)
    keras_loss = keras.losses.SparseCategoricalCrossentropy(True, reduction=None)
    np.testing.assert_allclose(values, keras_loss(labels, z), rtol=2e-6, atol=1e-6)
    p = np.exp(z - log_sum_exp(z)[:, None])
    np.testing.assert_allclose(gradient, p - np.eye(5)[labels], rtol=1e-5, atol=1e-6)


def test_large_gamma_over_gamma_is_the_perceptron(differentiate):
    z, labels = batch()
    gamma = 1e5
    loss = TemperatureSoftmax(gamma, reduction=None, dtype="float64")
    values, _ = differentiate(loss, labels, z)
    rows = np.arange(8)
    expected = z.max(-1) - z[rows, labels]
    np.testing.assert_allclose(values / gamma, expected, atol=1e-4)


@pytest.mark.parametrize("gamma", [0.0, -1.0, INF, NAN, "1", None, True])
def test_refused_gamma(gamma):
    with pytest.raises(ValueError, match="`gamma` must be a number above 0"):
        TemperatureSoftmax(gamma)


def test_two_classes_are_twice_cross_entropy(differentiate):
    v = np.concatenate([np.linspace(-30, 30, 25), [-1e4, 1e4]])
    z = np.stack([v, np.zeros_like(v)], -1)
    labels = np.arange(27) % 2
    ours, slope = differentiate(ComplementaryCrossEntropy(reduction=None), labels, z)
    signed = np.where(labels == 0, v, -v)
    np.testing.assert_allclose(ours, 2 * np.logaddexp(0, -signed), rtol=2e-6)
    theirs, their_slope = differentiate(TemperatureSoftmax(1.0), labels, z)
    np.testing.assert_allclose(ours.mean(), 2 * theirs, rtol=1e-6)
    np.testing.assert_allclose(slope / 27, 2 * their_slope, rtol=1e-5, atol=2e-8)


def test_closed_form_gradient(differentiate):
    z, labels = batch(6, scale=1.0)
    loss = ComplementaryCrossEntropy(reduction=None, dtype="float64")
    _, gradient = differentiate(loss, labels, z)
    p = np.exp(z - log_sum_exp(z)[:, None])
    ratios = p / (1 - p)
    for sample, c in enumerate(labels):
        wrong = [k for k in range(6) if k != c]
        expected = np.empty(6)
        expected[c] = p[sample, c] - 1 - p[sample, c] * ratios[sample, wrong].sum()
        for i in wrong:
            others = ratios[sample, [k for k in wrong if k != i]].sum()
            expected[i] = p[sample, i] * (2 - others)
        np.testing.assert_allclose(gradient[sample], expected, rtol=1e-9)


@pytest.mark.parametrize("gap", [20.0, 100.0, 1e4])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_gradient_of_wide_gaps(gap, label, differentiate, slopes):
    z, y = np.array([[gap, 0.0, 0.5, -1.0]]), np.eye(4)[[label]]
    values, gradient = differentiate(
        ComplementaryCrossEntropy(reduction=None), [label], z
    )
    np.testing.assert_allclose(values, complementary(z, y), rtol=2e-6, atol=1e-8)
    expected = slopes(lambda z: complementary(z, y), z, step=1e-4)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
