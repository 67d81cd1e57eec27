"""Data terms against scalar root finders and finite differences."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy.optimize import brentq, minimize_scalar

from zoo.layers.operators import FourierMask, Identity, PixelMask
from zoo.solvers.plug_and_play import LeastSquares, PhotonCounting, Poisson
from zoo.solvers.plug_and_play.checks import check_fidelity

COUNTS = np.array([0.0, 1.0, 5.0, 40.0])
POINTS = np.array([-3.0, -0.2, 0.0, 0.4, 1.0, 7.0])
# All counts at all points.
Y, Z = (grid.reshape(1, -1, 1, 1) for grid in np.meshgrid(COUNTS, POINTS))
TERMS = [Poisson(peak=3.0), PhotonCounting(samples=50, rate=0.7)]


def bind(term, y=Y):
    return term.bind(Identity(y.shape[1:], dtype="float64"), ops.convert_to_tensor(y))


def curvature(term, operator, y):
    return term.strong_convexity(operator, y), term.smoothness(operator, y)


def slope(term, x, y):
    """`f'` of a pixel, in NumPy."""
    if isinstance(term, Poisson):
        return term.peak - y / x
    rate = term.rate
    seen = math.exp(-rate * x) / -math.expm1(-rate * x)
    return rate * (term.samples - y - y * seen)


def value(term, x, y):
    if isinstance(term, Poisson):
        return term.peak * x - y * np.log(x)
    lost = -np.expm1(-term.rate * x)
    return (term.samples - y) * term.rate * x - y * np.log(lost)


@pytest.mark.parametrize("step", [1e-3, 0.1, 2.0, 50.0])
@pytest.mark.parametrize("term", TERMS, ids=["poisson", "photons"])
def test_the_prox_is_the_scalar_root(term, step):
    found = np.asarray(bind(term).prox(np.full(1, step))(Z)).ravel()
    for x, y, z in zip(found, Y.ravel(), Z.ravel(), strict=True):
        if y == 0:
            dark = term.peak if isinstance(term, Poisson) else term.rate * 50
            truth = max(z - step * dark, 0.0)
        else:
            truth = brentq(
                lambda x, y=y, z=z: step * slope(term, x, y) + x - z,
                1e-12,
                1e4,
                xtol=1e-15,
                rtol=1e-15,
            )
        assert abs(x - truth) <= 1e-12 * max(1.0, truth)


@settings(max_examples=60)
@given(
    z=st.floats(-1e3, 1e3),
    y=st.integers(0, 64),
    step=st.floats(1e-6, 1e3),
    rate=st.floats(1e-2, 10.0),
)
def test_newtons_steps_are_enough_for_any_photons(z, y, step, rate):
    term = PhotonCounting(samples=64, rate=rate)
    y, z = np.full((1, 1, 1, 1), float(y)), np.full((1, 1, 1, 1), z)
    x = float(np.asarray(bind(term, y).prox(np.full(1, step))(z)).item())
    assert x >= 0
    if y.item() == 0:
        expected = max(z.item() - step * rate * 64, 0.0)
        assert x == pytest.approx(expected, abs=1e-9)
        return
    # The root lies where the sign of the derivative changes.
    for side in (-1, 1):
        at = x * (1 + side * 1e-9) + side * 1e-13
        if at > 0:
            assert side * (step * slope(term, at, y.item()) + at - z.item()) > 0


@pytest.mark.parametrize("term", TERMS, ids=["poisson", "photons"])
def test_the_gradient_is_that_of_the_likelihood(term):
    x = np.linspace(0.1, 2.0, Y.size).reshape(Y.shape)
    found = np.asarray(bind(term).gradient(ops.convert_to_tensor(x)))
    h = 1e-6
    rise = (value(term, x + h, Y) - value(term, x - h, Y)) / (2 * h)
    np.testing.assert_allclose(found, rise, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    "term", [Poisson(0.2, 1.5, peak=3.0), PhotonCounting(0.2, 1.5, rate=0.7)]
)
def test_mu_and_smoothness_bound_the_slope_of_the_gradient_everywhere(term):
    y = np.array([2.0, 9.0]).reshape(1, 2, 1, 1)
    mu, smoothness = curvature(term, Identity((2, 1, 1), dtype="float64"), y)
    points = np.linspace(-1.0, 3.0, 401)
    gradient = bind(term, y).gradient
    curve = np.stack(
        [np.asarray(gradient(np.full((1, 2, 1, 1), x))).ravel() for x in points]
    )
    bends = np.diff(curve, axis=0) / np.diff(points)[:, None]
    assert mu * (1 - 1e-9) <= bends.min() <= mu * 1.02
    assert smoothness * (1 + 1e-9) >= bends.max() >= smoothness * 0.98


@pytest.mark.parametrize("make", [Poisson, PhotonCounting])
def test_the_prox_stays_in_the_box(make):
    term = make(0.2, 0.9)
    y, z = np.full((1, 1, 1, 1), 3.0), np.array([[[[-5.0]]], [[[0.5]]], [[[5.0]]]])
    found = np.asarray(bind(term, y).prox(np.full(3, 0.01))(z)).ravel()
    for x, start in zip(found, z.ravel(), strict=True):
        best = minimize_scalar(
            lambda x, start=start: 0.01 * value(term, x, 3.0) + (x - start) ** 2 / 2,
            bounds=(0.2, 0.9),
            method="bounded",
            options={"xatol": 1e-12},
        )
        # What a minimum tells of its place: the root of the precision.
        assert abs(x - best.x) < 1e-6
    assert found[0] == 0.2
    assert found[2] == 0.9


@pytest.mark.parametrize("term", [Poisson(), PhotonCounting()])
def test_without_a_box_there_is_no_curvature(term):
    assert curvature(term, Identity((6, 4, 1)), Y) == (0.0, math.inf)


def test_the_dual_step_is_moreaus_identity():
    # Of the conjugate, by what it minimises: f*(p) of a Poisson term is closed.
    term, y = Poisson(peak=3.0), np.full((1, 1, 1, 1), 5.0)
    w, x, step = 0.3, 0.8, 0.6
    found = bind(term, y).dual(
        np.full((1, 1, 1, 1), w), np.full((1, 1, 1, 1), x), np.full(1, step)
    )

    def conjugate(p):
        return -5.0 * np.log(3.0 - p)

    best = minimize_scalar(
        lambda p: step * conjugate(p) + (p - (w + step * x)) ** 2 / 2,
        bounds=(-50, 3 - 1e-9),
        method="bounded",
        options={"xatol": 1e-12},
    )
    assert float(np.asarray(found).item()) == pytest.approx(best.x, abs=1e-6)


def test_least_squares_is_that_of_the_operator():
    rng = np.random.default_rng(0)
    mask = rng.random((6, 6)) < 0.5
    operator = FourierMask((6, 6, 1), mask.astype("float32"), dtype="float64")
    x, z = rng.random((2, 2, 6, 6, 1))
    y = np.asarray(operator(x))
    term = LeastSquares().bind(operator, ops.convert_to_tensor(y))
    np.testing.assert_allclose(np.asarray(term.gradient(x)), 0, atol=1e-12)
    step = np.array([0.5, 2.0])
    best = np.asarray(term.prox(step)(z))
    left = np.asarray(term.gradient(best)) + (best - z) / step.reshape(2, 1, 1, 1)
    np.testing.assert_allclose(left, 0, atol=1e-12)
    # The same dual step in the space of measurements.
    p = rng.random(y.shape) + 1j * rng.random(y.shape)
    p = np.where(mask[None, :, :, None], p, 0)
    new = (p + 0.7 * (np.asarray(operator(z)) - y)) / 1.7
    found = term.dual(operator.adjoint(p), z, np.full(2, 0.7))
    np.testing.assert_allclose(
        np.asarray(found), np.asarray(operator.adjoint(new)), atol=1e-12
    )
    assert curvature(LeastSquares(), operator, y) == (0.0, 1.0)


def test_starts_are_the_most_likely_images():
    y = np.array([0.0, 6.0, 64.0]).reshape(1, 3, 1, 1)
    found = np.asarray(PhotonCounting(rate=0.5).start(None, y)).ravel()
    np.testing.assert_allclose(found, [0, -np.log(1 - 6 / 64) / 0.5, 1.0])
    np.testing.assert_allclose(Poisson(peak=2.0).start(None, y), y / 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Poisson(-0.1), "`low` must be a number from 0 up"),
        (lambda: Poisson(1.0, 0.5), "`high` must be above `low`"),
        (lambda: Poisson(high=math.nan), "`high` must be above `low`"),
        (lambda: Poisson(peak=0.0), "`peak` must be above 0"),
        (lambda: PhotonCounting(samples=0), "`samples` must be an integer from 1 up"),
        (lambda: PhotonCounting(rate=-1.0), "`rate` must be above 0"),
        (lambda: check_fidelity("poisson"), "`fidelity` must be 'least_squares'"),
        (
            lambda: Poisson().check(PixelMask((2, 2, 1), np.ones((2, 2))), Y),
            "`operator` must be an `Identity` for Poisson",
        ),
        (
            lambda: Poisson().check(Identity((2, 2, 1)), np.full((1, 2, 2, 1), -1.0)),
            "`y` must be counts, from 0 up. Received: values down to -1",
        ),
        (
            lambda: PhotonCounting().check(Identity((2, 2, 1)), np.full((1,), 65.0)),
            "`y` must count up to samples=64. Received: values up to 65",
        ),
    ],
)
def test_a_mistake_is_told_in_a_line(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
