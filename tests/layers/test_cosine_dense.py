"""CosineDense against float64 cosines, and its gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.layers import CosineDense


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def cosines(x, kernel):
    x, kernel = np.asarray(x, "float64"), np.asarray(kernel, "float64")
    norms = np.linalg.norm(x, axis=-1, keepdims=True) * np.linalg.norm(kernel, axis=0)
    return x @ kernel / norms


def built(features=5, units=4, **kwargs):
    keras.utils.set_random_seed(0)
    layer = CosineDense(units, **kwargs)
    layer.build((None, features))
    return layer


@settings(max_examples=20)
@given(
    leading=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    features=st.integers(1, 6),
    units=st.integers(1, 5),
    exponent=st.integers(-4, 15),
)
def test_values(leading, features, units, exponent):
    x = normals(*leading, features) + np.float32(0.1)
    layer = built(features, units)
    ours = np.asarray(layer(x * np.float32(10.0**exponent)))
    np.testing.assert_allclose(ours, cosines(x, layer.kernel), rtol=0, atol=1e-6)
    assert np.abs(ours).max() <= 1 + 2e-7


def test_sub_centers_give_the_nearest():
    layer = built(units=4, sub_centers=3)
    x = normals(7, 5)
    all_cosines = cosines(x, layer.kernel)
    expected = np.stack(
        [all_cosines[:, 3 * unit : 3 * unit + 3].max(axis=1) for unit in range(4)],
        axis=1,
    )
    np.testing.assert_allclose(layer(x), expected, atol=1e-6)


@pytest.mark.parametrize("leading", [(6,), (2, 3)])
def test_polar_rows_multiply_to_a_dense_layer(leading):
    layer = built(polar=True)
    x = normals(*leading, 5)
    outputs = np.asarray(layer(x))
    assert outputs.shape == (*leading, 2, 4)
    expected = cosines(x, layer.kernel)
    np.testing.assert_allclose(outputs[..., 0, :], expected, atol=1e-6)
    np.testing.assert_allclose(
        outputs.prod(axis=-2), x @ layer.kernel.numpy(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_low_precision_rounds_inputs_and_weights_only(dtype):
    """A cosine in bfloat16 would be off by up to 1 / 512."""
    layer = built(dtype=dtype)
    x = tf.cast(normals(9, 5), layer.compute_dtype)
    ours = layer(x)
    assert ours.dtype == "float32"
    weights = tf.cast(layer.kernel.value, "float64")
    np.testing.assert_allclose(ours, cosines(tf.cast(x, "float64"), weights), atol=1e-6)


def test_float32_inputs_stay_exact_under_a_mixed_policy():
    layer = built(dtype="mixed_bfloat16")
    x = normals(9, 5)
    np.testing.assert_allclose(layer(x), cosines(x, layer.kernel), atol=1e-6)


def test_float64():
    layer = built(dtype="float64")
    x = normals(9, 5).astype("float64")
    assert layer.compute_output_spec(keras.KerasTensor((9, 5))).dtype == "float64"
    np.testing.assert_allclose(layer(x), cosines(x, layer.kernel), rtol=1e-13)


def slopes(layer, x):
    """Gradients of a sum of sines of the outputs, for the inputs and the kernel."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(tf.sin(layer(x)))
    return tape.gradient(total, [x, layer.kernel.value])


@pytest.mark.parametrize("kwargs", [{}, {"sub_centers": 2}, {"polar": True}], ids=str)
def test_gradients_equal_differences(kwargs):
    layer = built(dtype="float64", **kwargs)
    x = normals(3, 5).astype("float64")
    kernel = layer.kernel.numpy()
    step = 1e-6

    def total(x, kernel):
        layer.kernel.assign(kernel)
        return float(tf.reduce_sum(tf.sin(layer(x))))

    exact = []
    for at in (x, kernel):
        difference = np.zeros_like(at)
        for index in np.ndindex(at.shape):
            ends = []
            for sign in (1, -1):
                moved = at.copy()
                moved[index] += sign * step
                ends.append(total(moved, kernel) if at is x else total(x, moved))
            difference[index] = (ends[0] - ends[1]) / (2 * step)
        exact.append(difference)
    layer.kernel.assign(kernel)
    for ours, theirs in zip(slopes(layer, x), exact, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize("jit", [None, False, True], ids=["eager", "graph", "XLA"])
def test_second_derivatives(mode, jit):
    """The kernel's squares have a gradient of their own; it has one too."""
    layer = built(dtype="float64")
    x = tf.constant(normals(3, 5), "float64")
    direction = tf.constant(normals(5, 4, seed=1), "float64")
    kernel = layer.kernel.value

    def product():
        if mode == "forward":
            with tf.autodiff.ForwardAccumulator(kernel, direction) as accumulator:
                slope = slopes(layer, x)[1]
            return accumulator.jvp(slope)
        with tf.GradientTape() as tape:
            along = tf.reduce_sum(slopes(layer, x)[1] * direction)
        return tape.gradient(along, kernel)

    run = product if jit is None else tf.function(product, jit_compile=jit)
    start, ends = layer.kernel.numpy(), []
    ours = run()
    for sign in (1, -1):
        layer.kernel.assign(start + sign * 1e-5 * direction.numpy())
        ends.append(slopes(layer, x)[1].numpy())
    np.testing.assert_allclose(ours, (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("polar", [False, True])
def test_vectors_without_direction_have_cosine_and_gradient_zero(polar):
    layer = built(polar=polar)
    kernel = layer.kernel.numpy()
    kernel[:, 1] = 0.0
    layer.kernel.assign(kernel)
    x = normals(3, 5)
    x[1], x[2] = 0.0, 1e-8
    outputs = np.asarray(layer(x))
    np.testing.assert_array_equal(outputs[1:], np.zeros_like(outputs[1:]))
    np.testing.assert_array_equal(outputs[..., 1], np.zeros_like(outputs[..., 1]))
    of_inputs, of_kernel = map(np.asarray, slopes(layer, x))
    np.testing.assert_array_equal(of_inputs[1:], np.zeros((2, 5)))
    np.testing.assert_array_equal(of_kernel[:, 1], np.zeros(5))
    assert of_inputs[0].any()
    assert of_kernel[:, 0].any()


def test_masks_pass():
    inputs = keras.Input((4, 5))
    outputs = CosineDense(3)(keras.layers.Masking()(inputs))
    x = normals(2, 4, 5)
    x[0, 2:] = 0.0
    masks = keras.Model(inputs, outputs)(x)._keras_mask
    np.testing.assert_array_equal(masks, [[True, True, False, False], [True] * 4])


def test_regularizer_and_constraint_reach_the_kernel():
    layer = built(
        kernel_regularizer=keras.regularizers.L2(0.5),
        kernel_constraint=keras.constraints.UnitNorm(axis=0),
    )
    expected = 0.5 * np.square(layer.kernel.numpy()).sum()
    assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-6)
    assert isinstance(layer.kernel.constraint, keras.constraints.UnitNorm)


def test_learns_directions_whatever_the_lengths():
    """Three bundles of vectors, their lengths drawn anew for each."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 300)
    centers = np.eye(3, 6)
    x = centers[labels] + 0.2 * generator.normal(size=(300, 6))
    x *= generator.uniform(0.01, 100.0, (300, 1))
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), CosineDense(3, sub_centers=2)])
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1.0), crossentropy, metrics=["accuracy"])
    model.fit(x, labels, epochs=10, verbose=0)
    assert model.evaluate(x, labels, verbose=0)[1] > 0.98


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"units": 0}, "`units` must be an int from 1 up"),
        ({"units": 2.0}, "`units` must be an int from 1 up"),
        ({"units": 3, "sub_centers": True}, "`sub_centers` must be an int from 1 up"),
        ({"units": 3, "sub_centers": 2, "polar": True}, "`polar=True` needs"),
    ],
)
def test_refuses(kwargs, message):
    with pytest.raises(ValueError, match=message):
        CosineDense(**kwargs)
