"""The weighted margin loss against float64 and finite differences."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.losses.weighted_margin import WeightedMargin

INF, NAN = math.inf, math.nan


def weight(v, alpha=0.5, beta=1.0):
    """The report's equation (9), its left side a tangent below `-20 / beta`."""
    steep = math.exp(20) * (1 + (-beta * v - 20))
    left = steep if -beta * v > 20 else math.exp(-beta * v)
    return math.exp(-alpha * v**2) if v >= 0 else left


def reference(z, labels, **kwargs):
    margins = [
        scores[c] - np.delete(scores, c).max()
        for scores, c in zip(z, labels, strict=True)
    ]
    return np.array([weight(v, **kwargs) for v in margins])


def binary(v):
    """Scores of samples of class 0 whose margins are `v`."""
    v = np.asarray(v, "float64")
    return np.zeros(len(v), "int32"), np.stack([v, np.zeros_like(v)], -1)


@pytest.mark.parametrize("kwargs", [{}, {"alpha": 2.0, "beta": 0.3}])
@pytest.mark.parametrize("classes", [2, 6])
def test_values_and_gradients(kwargs, classes, differentiate, slopes):
    rng = np.random.default_rng(classes)
    z, labels = rng.normal(size=(12, classes)), rng.integers(0, classes, 12)
    loss = WeightedMargin(**kwargs, reduction=None, dtype="float64")
    values, gradient = differentiate(loss, labels, z)
    np.testing.assert_allclose(values, reference(z, labels, **kwargs), rtol=1e-12)
    expected = slopes(lambda z: reference(z, labels, **kwargs), z)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


@settings(max_examples=40)
@given(v=st.floats(-1e4, 1e4, width=32))
def test_any_margin(v):
    value = WeightedMargin(reduction=None)(*binary([v]))
    # `exp` turns the five roundings of an exponent of float32 into a relative error.
    rtol = (5 * abs(math.log(max(weight(v), 1e-38))) + 4) * 2.0**-24
    np.testing.assert_allclose(value, [weight(v)], rtol=rtol, atol=1e-37)


@pytest.mark.parametrize("beta", [0.5, 3.0])
def test_tangent_beyond_twenty(beta, differentiate):
    v = -np.array([19.9, 20.1, 40.0, 1e4]) / beta
    loss = WeightedMargin(beta=beta, reduction=None, dtype="float64")
    values, gradient = differentiate(loss, *binary(v))
    tangent = math.exp(20) * (-beta * v - 19)
    np.testing.assert_allclose(values[1:], tangent[1:], rtol=1e-12)
    np.testing.assert_allclose(values[0], math.exp(19.9), rtol=1e-12)
    slope = -beta * np.exp(np.minimum(-beta * v, 20))
    np.testing.assert_allclose(gradient[:, 0], slope, rtol=1e-12)


def test_kink_pulls_equal_scores_apart(differentiate):
    values, gradient = differentiate(
        WeightedMargin(beta=3.0, reduction=None), *binary([0.0, 1e-30])
    )
    np.testing.assert_array_equal(values, [1.0, 1.0])
    np.testing.assert_allclose(gradient[:, 0], [-3.0, 0.0], atol=1e-25)
    np.testing.assert_array_equal(gradient[:, 1], -gradient[:, 0])


def test_the_defaults_pull_most_at_the_margin_of_the_hinge_loss(differentiate):
    v = np.linspace(1e-3, 4, 4000)
    _, gradient = differentiate(
        WeightedMargin(reduction=None, dtype="float64"), *binary(v)
    )
    pull = -gradient[:, 0]
    np.testing.assert_allclose(v[pull.argmax()], 1.0, atol=1e-3)
    np.testing.assert_allclose(pull.max(), math.exp(-0.5), rtol=1e-6)


# The scores of a sample of class 0, its loss and gradient.
LIMITS = {
    "+inf for the true class": ([INF, 1.0, 2.0], 0.0, [0.0, 0.0, 0.0]),
    "+inf for a wrong class": ([0.0, INF, 2.0], INF, None),
    "-inf for the true class": ([-INF, 1.0, 2.0], INF, None),
    "-inf for all wrong classes": ([0.0, -INF, -INF], 0.0, [0.0, 0.0, 0.0]),
    "equal infinities": ([INF, INF, 0.0], 1.0, None),
    "the largest of float32": ([3e38, 0.0], 0.0, [0.0, 0.0]),
    "one class": ([-3.0], 0.0, [0.0]),
    "one class, -inf": ([-INF], 0.0, [0.0]),
}


@pytest.mark.parametrize("case", LIMITS)
def test_limits(case, differentiate):
    z, expected, slope = LIMITS[case]
    values, gradient = differentiate(WeightedMargin(reduction=None), [0], [z])
    assert values[0] == expected
    assert np.isfinite(gradient).all()
    if slope is not None:
        np.testing.assert_array_equal(gradient[0], slope)


@pytest.mark.parametrize(("classes", "place"), [(1, 0), (5, 0), (5, 4)])
def test_nan_stays_in_its_sample(classes, place, differentiate):
    z = np.random.default_rng(0).normal(size=(8, classes))
    labels = np.arange(8) % classes
    loss = WeightedMargin(reduction=None)
    clean, slope = differentiate(loss, labels, z)
    z[2, place] = NAN
    values, gradient = differentiate(loss, labels, z)
    others = np.arange(8) != 2
    assert np.isnan(values[2])
    np.testing.assert_array_equal(values[others], clean[others])
    np.testing.assert_array_equal(gradient[others], slope[others])


@pytest.mark.parametrize("name", ["alpha", "beta"])
@pytest.mark.parametrize("value", [0.0, -1.0, INF, NAN, None])
def test_refused_arguments(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a number above 0"):
        WeightedMargin(**{name: value})
