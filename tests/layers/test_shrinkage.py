"""Shrinkage functions against NumPy references, quadrature and finite differences."""

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
from zoo.layers import (
    BernoulliGaussianShrinkage,
    ExponentialShrinkage,
    GridShrinkage,
    PiecewiseLinearShrinkage,
    SoftShrinkage,
    SplineShrinkage,
    soft_threshold,
)

ROOT = pathlib.Path(zoo.__file__).parents[1]


def soft(r, v):
    return 0.8 * np.sign(r) * np.maximum(np.abs(r) - 1.3 * np.sqrt(v), 0)


def exponential(r, v):
    return r * (0.9 - 1.1 * np.exp(-(r**2) / (2 * 2.2**2 * v)))


def spline(r, v):
    z = np.abs(r) / (2.7 * np.sqrt(v))
    near = 2 / 3 - z**2 + z**3 / 2
    b = np.where(z < 1, near, np.where(z < 2, (2 - z) ** 3 / 6, 0))
    return r * (0.9 - 1.2 * b)


def piecewise_linear(r, v):
    nodes = np.array([0, 1.5, 3.5, 1e6])
    values = np.cumsum([0, 1.5 * 0.2, 2 * 1.4, (1e6 - 3.5) * 0.9])
    s = np.sqrt(v)
    return np.sign(r) * s * np.interp(np.abs(r) / s, nodes, values)


def grid(r, v):
    return r * np.interp(np.abs(r) / np.sqrt(v) / 1.2, np.arange(4), GAINS)


def bernoulli_gaussian(r, v):
    """The form of the notes, with `exp`."""
    t1, t2 = 1.7, np.log(1 / 0.2 - 1)
    beta = 1 / (1 + v / t1)
    return beta * r / (1 + np.exp(t2 - beta * r**2 / (2 * v)) * np.sqrt(1 + t1 / v))


GAINS = (0.1, 0.3, 1.2, 0.95)
REFERENCES = {
    "soft": (SoftShrinkage, {"threshold": 1.3, "scale": 0.8}, soft),
    "exponential": (
        ExponentialShrinkage,
        {"width": 2.2, "gain": 0.9, "bump": -1.1},
        exponential,
    ),
    "spline": (SplineShrinkage, {"width": 2.7, "gain": 0.9, "bump": -1.2}, spline),
    "piecewise": (
        PiecewiseLinearShrinkage,
        {"kinks": (1.5, 3.5), "slopes": (0.2, 1.4, 0.9)},
        piecewise_linear,
    ),
    "grid": (GridShrinkage, {"gains": GAINS, "spacing": 1.2}, grid),
    "bernoulli": (
        BernoulliGaussianShrinkage,
        {"sparsity": 0.2, "signal_variance": 1.7},
        bernoulli_gaussian,
    ),
}
every_kind = pytest.mark.parametrize("kind", REFERENCES)
# Multiples of the standard deviation, none at a kink.
POINTS = np.linspace(-7.013, 7.021, 118)
# What is left of a signal far above the noise.
FAR = {"soft": 0.8, "grid": 0.95, "bernoulli": 1.0}


def make(kind, dtype="float64", **kwargs):
    layer, arguments, reference = REFERENCES[kind]
    return layer(**arguments, dtype=dtype, **kwargs), reference


@every_kind
@pytest.mark.parametrize("variance", [1e-4, 0.3, 20.0])
def test_estimate_and_slope_are_those_of_the_formula(kind, variance):
    layer, reference = make(kind)
    s = np.sqrt(variance)
    r = s * POINTS
    estimate, _ = layer(r[None], np.full((1, 1), variance))
    np.testing.assert_allclose(
        estimate[0], reference(r, variance), rtol=1e-10, atol=1e-10 * s
    )
    # One coordinate a signal: the mean slope is that of the coordinate.
    _, slope = layer(r[:, None], np.full((1, 1), variance))
    step = 1e-6 * s
    ends = [reference(r + sign * step, variance) for sign in (1, -1)]
    np.testing.assert_allclose(
        np.asarray(slope)[:, 0], (ends[0] - ends[1]) / (2 * step), atol=1e-7
    )


@every_kind
def test_slope_is_the_mean_over_the_coordinates_of_each_signal(kind):
    layer, _ = make(kind)
    generator = np.random.default_rng(0)
    r = generator.normal(size=(2, 3, 7))
    variance = generator.uniform(0.1, 1.0, (2, 3, 1))
    estimate, slope = layer(r, variance)
    assert estimate.shape == (2, 3, 7) and slope.shape == (2, 3, 1)
    alone, slopes = layer(r[..., None], variance[..., None])
    np.testing.assert_allclose(estimate, alone[..., 0], rtol=1e-14)
    np.testing.assert_allclose(slope[..., 0], np.mean(slopes, (-1, -2)), rtol=1e-14)
    np.testing.assert_allclose(layer(r)[0], layer(r, np.ones((1, 1)))[0], rtol=1e-14)


def posterior(r, v, sparsity, t1, degrees):
    """Mean and variance of `x` given `r` by quadrature, for one real or complex `r`."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    # About the posterior of the Gaussian part, where the integrand is.
    beta = t1 / (t1 + v)
    x = beta * r + np.sqrt(beta * v) * nodes
    density = np.exp(
        -(x**2) / (2 * t1) - (r - x) ** 2 / (2 * v) + nodes**2 / 2
    ) * np.sqrt(beta * v / (2 * np.pi * t1) / (2 * np.pi * v))
    gauss, first, second = (weights @ (density * x**k) for k in range(3))
    null = np.exp(-(r**2) / (2 * v)) / np.sqrt(2 * np.pi * v)
    if degrees == 2:
        # The other part of the number is 0 in `r` as well.
        gauss *= (extra := 1 / np.sqrt(2 * np.pi * (t1 + v)))
        first, second = first * extra, second * extra
        null /= np.sqrt(2 * np.pi * v)
    evidence = sparsity * gauss + (1 - sparsity) * null
    mean = sparsity * first / evidence
    return mean, sparsity * second / evidence - mean**2


@pytest.mark.parametrize("degrees", [1, 2])
def test_bernoulli_gaussian_is_the_posterior_mean_and_its_slope_the_variance(degrees):
    v, t1, sparsity = 0.05, 1.4, 0.13
    layer = BernoulliGaussianShrinkage(sparsity, t1, dtype="float64")
    for r in (0.0, 0.1, -0.4, 0.7, 2.5):
        mean, variance = posterior(r, v / degrees, sparsity, t1 / degrees, degrees)
        inputs = np.array([[r]], "complex128" if degrees == 2 else "float64")
        estimate, slope = layer(inputs, np.full((1, 1), v))
        assert abs(np.asarray(estimate)[0, 0] - mean) < 1e-9
        if degrees == 1:
            assert abs(np.asarray(slope)[0, 0] * v - variance) < 1e-9


@every_kind
def test_complex_numbers_keep_their_phase_and_have_the_slope_of_two_parts(kind):
    layer, reference = make(kind)
    v = 0.3
    generator = np.random.default_rng(0)
    r = generator.normal(size=(1, 50)) + 1j * generator.normal(size=(1, 50))
    estimate, slope = map(np.asarray, layer(r, np.full((1, 1), v)))
    assert estimate.dtype == "complex128" and slope.dtype == "float64"
    if kind != "bernoulli":
        expected = reference(np.abs(r), v) * np.exp(1j * np.angle(r))
        np.testing.assert_allclose(estimate, expected, rtol=1e-10, atol=1e-12)
    step = 1e-6
    derivatives = [
        np.mean(
            np.asarray(layer(r + step * d, np.full((1, 1), v))[0])
            - np.asarray(layer(r - step * d, np.full((1, 1), v))[0])
        )
        / (2 * step * d)
        for d in (1, 1j)
    ]
    np.testing.assert_allclose(slope[0, 0], np.mean(derivatives).real, atol=1e-7)


@every_kind
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("complexity", [0.0, 1j])
def test_finite_with_finite_gradients_wherever_one_looks(kind, dtype, complexity):
    layer, _ = make(kind, dtype)
    r = np.array([0, 1e-45, 1e-30, 1e-8, 1.0, 1e8, 1e15, -1e17])
    r = r * (1 + complexity) if complexity else r
    r = tf.constant(r, dtype if not complexity else f"complex{2 * int(dtype[5:])}")
    variance = np.array([0, 1e-45, 1e-39, 1e-30, 1e-12, 1.0, 1e12, 1e30])[:, None]
    for signals in (r[None], r[:, None, None]):
        v = tf.constant(variance, dtype)
        with tf.GradientTape() as tape:
            tape.watch([signals, v])
            estimate, slope = layer(signals, v)
            loss = tf.reduce_sum(tf.math.real(estimate)) + tf.reduce_sum(slope)
        gradients = tape.gradient(loss, [signals, v, *layer.trainable_variables])
        for thing in (estimate, slope, *gradients):
            assert np.isfinite(tf.convert_to_tensor(thing)).all()


@settings(max_examples=100)
@given(
    st.sampled_from(list(REFERENCES)),
    st.floats(-(2.0**60), 2.0**60, width=32),
    st.floats(0.0, 2.0**100, width=32),
)
def test_finite_at_any_values(kind, r, variance):
    layer, _ = EXTREME.setdefault(kind, make(kind, "float32"))
    estimate, slope = layer(np.full((1, 1), r), np.full((1, 1), variance))
    assert np.isfinite(estimate).all() and np.isfinite(slope).all()
    assert abs(float(estimate[0, 0])) <= 1.7 * abs(r)


EXTREME = {}


@every_kind
def test_without_noise_all_is_signal(kind):
    """At variance 0 a number is infinitely far from zero, and zero is zero."""
    layer, _ = make(kind)
    r = np.array([[0.0, 1.0, -1e-3]])
    estimate, _ = layer(r, np.zeros((1, 1)))
    np.testing.assert_allclose(estimate, r * FAR.get(kind, 0.9), rtol=1e-12)


@every_kind
@pytest.mark.parametrize("coordinatewise", [False, True])
def test_first_values_come_back(kind, coordinatewise):
    layer, _ = make(kind, "float32", coordinatewise=coordinatewise)
    layer(np.ones((2, 5)))
    for name, value in layer.parameters().items():
        expected = np.array(REFERENCES[kind][1][name])
        shape = expected.shape + (5,) * coordinatewise
        assert value.shape == shape
        np.testing.assert_allclose(
            value, np.broadcast_to(expected.T, shape[::-1]).T, rtol=1e-6
        )


@every_kind
def test_parameters_stay_valid_wherever_training_takes_the_weights(kind):
    for extreme in (-50.0, 50.0):
        layer, _ = make(kind, "float32")
        layer.build((1, 3))
        for weight in layer.weights:
            weight.assign(np.full(weight.shape, extreme))
        estimate, slope = layer(np.array([[0.0, 1.0, -3.0]]), np.ones((1, 1)))
        assert np.isfinite(estimate).all() and np.isfinite(slope).all()
        values = layer.parameters()
        if kind == "bernoulli":
            assert 0 < values["sparsity"] < 1
        for name in ("threshold", "width", "kinks", "signal_variance"):
            assert np.all(np.asarray(values.get(name, 1)) > 0)


@every_kind
def test_gradients_of_the_parameters_are_those_of_finite_differences(kind):
    layer, _ = make(kind)
    generator = np.random.default_rng(0)
    r = tf.constant(generator.normal(size=(4, 50)))
    variance = tf.constant(generator.uniform(0.1, 0.2, (4, 1)))
    weights = generator.normal(size=(4, 50))

    def loss():
        estimate, slope = layer(r, variance)
        smooth = kind not in ("soft", "piecewise")
        return tf.reduce_sum(weights * estimate) + smooth * tf.reduce_sum(slope)

    layer.build(r.shape)
    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, [w.value for w in layer.weights])
    for weight, gradient in zip(layer.weights, gradients, strict=True):
        start, step = np.array(weight), 1e-6
        for place in np.ndindex(*weight.shape):
            ends = []
            for sign in (1, -1):
                moved = start.copy()
                moved[place] += sign * step
                weight.assign(moved)
                ends.append(float(loss()))
            weight.assign(start)
            slope = (ends[0] - ends[1]) / (2 * step)
            np.testing.assert_allclose(
                np.asarray(gradient)[place], slope, rtol=1e-5, atol=1e-6
            )


@every_kind
def test_coordinates_may_have_parameters_of_their_own(kind):
    layer, _ = make(kind, coordinatewise=True)
    plain, _ = make(kind)
    r = np.random.default_rng(0).normal(2.0, 1.0, (3, 4))
    for ours, theirs in zip(layer(r), plain(r), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)
    before = np.asarray(layer(r)[0])
    for weight in layer.weights:
        change = np.zeros(weight.shape)
        change[..., 1] = 0.3
        weight.assign_add(change)
    changed = np.any(np.asarray(layer(r)[0]) != before, axis=0)
    np.testing.assert_array_equal(changed, [False, True, False, False])


@every_kind
@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_rounds_the_estimate_alone(kind, dtype):
    """At a variance that float16 does not have."""
    layer, _ = make(kind, dtype)
    exact, _ = make(kind, "float32")
    half = layer.compute_dtype
    r = tf.cast(np.random.default_rng(0).normal(size=(2, 9)) * 1e-4, half)
    variance = np.full((2, 1), 1e-8)
    estimate, slope = layer(r, variance)
    truth, exact_slope = exact(tf.cast(r, "float32"), variance)
    assert keras.backend.standardize_dtype(estimate.dtype) == half
    np.testing.assert_array_equal(
        tf.cast(estimate, "float32"), tf.cast(tf.cast(truth, half), "float32")
    )
    np.testing.assert_array_equal(slope, exact_slope)


def test_soft_threshold_of_real_and_complex_numbers():
    r = np.array([-2.0, -0.5, 0.0, 0.7, 3.0])
    np.testing.assert_array_equal(
        soft_threshold(r, 0.6), np.sign(r) * np.maximum(np.abs(r) - 0.6, 0)
    )
    z = r * np.exp(0.3j)
    np.testing.assert_allclose(
        soft_threshold(z, np.full(5, 0.6)),
        np.asarray(soft_threshold(r, 0.6)) * np.exp(0.3j),
        atol=1e-15,
    )
    with tf.GradientTape() as tape:
        x = tf.constant([0.0 + 0.0j, 1.0 + 1.0j])
        tape.watch(x)
        loss = tf.reduce_sum(tf.math.real(soft_threshold(x, 0.0)))
    assert np.isfinite(tape.gradient(loss, x)).all()
    half = soft_threshold(tf.constant([2.0], "float16"), 0.5)
    assert half.dtype == "float16" and float(half[0]) == 1.5
    whole = soft_threshold(np.array([3, -1, 2]), 0.5)
    np.testing.assert_array_equal(whole, [2.5, -0.5, 1.5])


@every_kind
def test_coordinates_with_parameters_of_their_own_keep_their_number(kind):
    layer, _ = make(kind, coordinatewise=True)
    layer(np.ones((2, 5)))
    with pytest.raises(ValueError, match="to have value 5") as caught:
        layer(np.ones((2, 1)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "kwargs", "words"),
    [
        (SoftShrinkage, {"threshold": 0.0}, "`threshold` must be a number above 0"),
        (SoftShrinkage, {"threshold": "1"}, "`threshold` must be a number above 0"),
        (SoftShrinkage, {"threshold": (1.0, 2.0)}, "`threshold` must be a number"),
        (SoftShrinkage, {"scale": np.nan}, "`scale` must be a finite number"),
        (SoftShrinkage, {"coordinatewise": 1}, "`coordinatewise` must be a bool"),
        (ExponentialShrinkage, {"width": -1.0}, "`width` must be a number above 0"),
        (SplineShrinkage, {"gain": None}, "`gain` must be a finite number"),
        (PiecewiseLinearShrinkage, {"kinks": (2, 2)}, "`kinks` must be two numbers"),
        (PiecewiseLinearShrinkage, {"slopes": (1, 2)}, "`slopes` must be three finite"),
        (GridShrinkage, {"gains": (1.0,)}, "`gains` must be two finite numbers"),
        (GridShrinkage, {"gains": 1.0}, "`gains` must be two finite numbers or more"),
        (GridShrinkage, {"spacing": 0}, "`spacing` must be a number above 0"),
        (BernoulliGaussianShrinkage, {"sparsity": 1.0}, "`sparsity` must be a number"),
        (
            BernoulliGaussianShrinkage,
            {"signal_variance": np.inf},
            "`signal_variance` must be a number above 0",
        ),
    ],
)
def test_mistakes_end_in_one_line(layer, kwargs, words):
    with pytest.raises(ValueError) as caught:
        layer(**kwargs)
    assert words in str(caught.value)
    assert "Received: " in str(caught.value)
    assert "\n" not in str(caught.value)


JAX = """
import jax, keras, numpy as np
from zoo import layers

assert keras.backend.backend() == "jax"
with np.load(__import__("sys").argv[1]) as truth:
    r, variance = truth["r"], truth["variance"]
    for name in ("Soft", "Exponential", "Spline", "PiecewiseLinear", "Grid",
                 "BernoulliGaussian"):
        for dtype in ("float32", "complex64"):
            x = (r * (1 + 1j)).astype(dtype) if dtype == "complex64" else r
            layer = getattr(layers, name + "Shrinkage")()
            layer.build(x.shape)

            def loss(x, v):
                outputs = layer(x, v)
                return sum(abs(t).sum() for t in outputs), outputs

            gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
            gradients, outputs = jax.jit(gradient)(x, variance)
            assert all(np.isfinite(g).all() for g in gradients), (name, dtype)
            for i, ours in enumerate(outputs):
                np.testing.assert_allclose(
                    ours, truth[f"{name}-{dtype}-{i}"], rtol=1e-5, atol=1e-6)
"""


def test_jax_agrees(tmp_path):
    r = np.random.default_rng(0).normal(size=(4, 9)).astype("float32")
    r[0] = 0.0
    variance = np.array([[0.0], [1e-3], [0.3], [1e30]], "float32")
    truth = {"r": r, "variance": variance}
    for name in (
        "Soft",
        "Exponential",
        "Spline",
        "PiecewiseLinear",
        "Grid",
        "BernoulliGaussian",
    ):
        layer = getattr(zoo.layers, f"{name}Shrinkage")()
        for dtype in ("float32", "complex64"):
            x = r * (1 + 1j) if dtype == "complex64" else r
            for i, output in enumerate(layer(x.astype(dtype), variance)):
                truth[f"{name}-{dtype}-{i}"] = np.asarray(output)
    np.savez(tmp_path / "truth.npz", **truth)
    subprocess.run(
        [sys.executable, "-c", JAX, tmp_path / "truth.npz"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
        },
        check=True,
        capture_output=True,
    )
