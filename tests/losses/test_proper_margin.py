"""Proper margin losses against their definition, in float64 and by differences."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.losses.proper_margin import BINDINGS, LINKS, ProperMargin

INF, NAN = math.inf, math.nan
ETA = {
    "logistic": lambda v: 1 / (1 + np.exp(-v)),
    "boosting": lambda v: 1 / (1 + np.exp(-2 * v)),
    "canonical_boosting": lambda v: (1 + v / np.sqrt(4 + v * v)) / 2,
}
# The minimum risk and its derivative.
RISK = {
    "logistic": (
        lambda p: -p * np.log(p) - (1 - p) * np.log(1 - p),
        lambda p: np.log((1 - p) / p),
    ),
    "exponential": (
        lambda p: 2 * np.sqrt(p * (1 - p)),
        lambda p: (1 - 2 * p) / np.sqrt(p * (1 - p)),
    ),
    "least_squares": (lambda p: p * (1 - p), lambda p: 1 - 2 * p),
}
every_pair = pytest.mark.parametrize(
    ("link", "binding"), list(itertools.product(ETA, RISK))
)


def phi(v, link, binding, sigma=1.0):
    eta = ETA[link](np.asarray(v) / sigma)
    risk, slope = RISK[binding]
    return risk(eta) + (1 - eta) * slope(eta)


def test_all_links_and_bindings_are_here():
    assert (tuple(ETA), tuple(RISK)) == (tuple(LINKS), tuple(BINDINGS))


@every_pair
@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_values_and_gradients(link, binding, sigma, differentiate, slopes):
    scores = np.linspace(-6, 6, 24).astype("float32").astype("float64")
    labels = np.arange(24) % 2
    sign = 2 * labels - 1
    loss = ProperMargin(link, binding, sigma, reduction=None)
    values, gradient = differentiate(loss, labels, scores)
    expected = phi(sign * scores, link, binding, sigma)
    np.testing.assert_allclose(values, expected, rtol=3e-6)
    expected = slopes(lambda s: phi(sign * s, link, binding, sigma), scores, 1e-5)
    np.testing.assert_allclose(gradient, expected, rtol=3e-6, atol=3e-7)


@pytest.mark.parametrize(
    ("link", "binding", "known"),
    [
        ("logistic", "logistic", lambda v: np.log1p(np.exp(-v))),
        ("boosting", "exponential", lambda v: np.exp(-v)),
        ("boosting", "least_squares", lambda v: 1 / (1 + np.exp(2 * v)) ** 2),
        (
            "canonical_boosting",
            "exponential",
            lambda v: (np.sqrt(4 + v * v) - v) / 2,
        ),
    ],
)
def test_named_losses(link, binding, known, differentiate):
    v = np.linspace(-9, 9, 37)
    loss = ProperMargin(link, binding, reduction=None)
    values, _ = differentiate(loss, np.ones(37), v)
    np.testing.assert_allclose(values, known(v), rtol=3e-6)


@every_pair
@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_loss_margin_against_finite_differences(link, binding, sigma):
    loss = ProperMargin(link, binding, sigma, reduction=None, dtype="float64")
    step = 1e-3 * sigma
    below, here, above = np.asarray(loss([1, 1, 1], [-step, 0.0, step]))
    slope, bend = (above - below) / (2 * step), (above - 2 * here + below) / step**2
    np.testing.assert_allclose(loss.loss_margin, -slope / bend, rtol=1e-5)
    wanted = {"logistic": 2, "boosting": 1, "canonical_boosting": 2}[link] * sigma
    assert loss.loss_margin == wanted


@every_pair
def test_risk_is_least_at_the_true_probability(link, binding):
    v = np.linspace(-4, 4, 801)
    loss = ProperMargin(link, binding, reduction=None, dtype="float64")
    right, wrong = np.asarray(loss(np.ones(801), v)), np.asarray(loss(np.zeros(801), v))
    for probability in (0.3, 0.5, 0.8):
        best = v[np.argmin(probability * right + (1 - probability) * wrong)]
        np.testing.assert_allclose(ETA[link](best), probability, atol=2.5e-3)


@every_pair
@settings(max_examples=20)
@given(score=st.floats(-1e4, 1e4, width=32), label=st.integers(0, 1))
def test_any_score_up_to_1e4_is_finite(link, binding, score, label):
    score = tf.constant([score])
    with tf.GradientTape() as tape:
        tape.watch(score)
        value = ProperMargin(link, binding)([label], score)
    assert np.isfinite(value)
    assert np.isfinite(tape.gradient(value, score)).all()


@pytest.mark.parametrize(
    ("link", "binding", "wrong", "right"),
    [
        ("logistic", "logistic", 1e4, 0.0),
        ("boosting", "logistic", 2e4, 0.0),
        ("canonical_boosting", "logistic", 2 * math.asinh(5e3), 1e-8),
        ("logistic", "exponential", math.exp(20) * (5e3 - 19), 0.0),
        ("boosting", "exponential", math.exp(20) * (1e4 - 19), 0.0),
        ("canonical_boosting", "exponential", 1e4, 1e-4),
        ("logistic", "least_squares", 1.0, 0.0),
        ("boosting", "least_squares", 1.0, 0.0),
        ("canonical_boosting", "least_squares", 1.0, 0.0),
    ],
)
def test_scores_of_1e4(link, binding, wrong, right, differentiate):
    loss = ProperMargin(link, binding, reduction=None)
    values, gradient = differentiate(loss, [1, 1], [-1e4, 1e4])
    np.testing.assert_allclose(values, [wrong, right], rtol=3e-6, atol=1e-15)
    assert np.isfinite(gradient).all()


@every_pair
def test_infinite_scores(link, binding, differentiate):
    loss = ProperMargin(link, binding, reduction=None)
    values, gradient = differentiate(loss, [1, 0], [-INF, -INF])
    wrong = 1.0 if binding == "least_squares" else INF
    np.testing.assert_array_equal(values, [wrong, 0.0])
    assert np.isfinite(gradient).all()
    assert gradient[1] == 0


@every_pair
def test_nan_stays_in_its_sample(link, binding, differentiate):
    loss = ProperMargin(link, binding, reduction=None)
    clean, slope = differentiate(loss, [1, 0], [0.0, 1.0])
    values, gradient = differentiate(loss, [1, 0], [NAN, 1.0])
    assert np.isnan(values[0])
    assert (values[1], gradient[1]) == (clean[1], slope[1])


def test_defaults_are_binary_cross_entropy():
    scores = np.linspace(-5, 5, 12)
    labels = np.arange(12) % 2
    np.testing.assert_allclose(
        ProperMargin()(labels, scores),
        keras.losses.BinaryCrossentropy(from_logits=True)(labels, scores),
        rtol=1e-6,
    )


@pytest.mark.parametrize("labels", [[1, 0], [[1], [0]], [True, False], [1.0, 0.0]])
@pytest.mark.parametrize("scores", [[2.0, 3.0], [[2.0], [3.0]]])
def test_columns_are_vectors(labels, scores):
    values = ProperMargin(reduction=None)(labels, scores)
    assert values.shape == (2,)
    np.testing.assert_allclose(values, np.logaddexp(0, [-2.0, 3.0]), rtol=1e-6)


@pytest.mark.parametrize("label", [-1.0, 2.0, 0.5, NAN])
def test_other_labels_are_never_silent(label):
    loss = ProperMargin(reduction=None)
    with pytest.raises(ValueError, match=f"y_true must hold 0 and 1.*: {label:g}"):
        loss([0.0, label], [1.0, 1.0])
    compiled = tf.function(loss)(tf.constant([0.0, label]), tf.constant([1.0, 1.0]))
    np.testing.assert_array_equal(np.isnan(compiled), [False, True])


def test_one_score_per_sample():
    with pytest.raises(ValueError, match="y_pred must be one number per sample"):
        ProperMargin()([0, 1], [[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(ValueError, match="y_true must be one number per sample"):
        ProperMargin()([[0, 1], [1, 0]], [1.0, 2.0])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"link": "probit"}, "`link` must be one of .* Received: link='probit'"),
        ({"binding": "hinge"}, "`binding` must be one of .* Received: binding='hinge'"),
        ({"sigma": 0.0}, "`sigma` must be a number above 0. Received: sigma=0.0"),
    ],
)
def test_refused_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ProperMargin(**kwargs)
