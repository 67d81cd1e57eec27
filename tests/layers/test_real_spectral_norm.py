"""RealSpectralNormConv2D, its folding and its report against dense matrices."""

import math
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
from zoo.layers.convolution_norm import convolution_bound, convolution_norm
from zoo.layers.fold_normalization import fold_normalization
from zoo.layers.lipschitz_report import lipschitz_report
from zoo.layers.real_spectral_norm import RealSpectralNormConv2D

ROOT = pathlib.Path(zoo.__file__).parents[1]
RNG = np.random.default_rng(0)
# Kernels, sizes of images and dilation rates.
CASES = [
    ((3, 3, 1, 1), (16, 16), 1),
    ((3, 3, 3, 2), (12, 14), 1),
    ((5, 3, 2, 3), (13, 12), 1),
    ((4, 2, 1, 2), (12, 13), 1),
    ((1, 1, 3, 4), (5, 4), 1),
    ((3, 3, 2, 2), (12, 12), 3),
    ((5, 5, 1, 2), (2, 3), 2),
]
SMALL = ((3, 3, 3, 2), (6, 5), 1)
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def matrix(kernel, size, rate=1):
    """The convolution with zeros around the image, as a dense matrix."""
    height, width, before, after = kernel.shape
    result = np.zeros((*size, after, *size, before))
    for row, column, i, j in np.ndindex(*size, height, width):
        y = row + i * rate - rate * (height - 1) // 2
        x = column + j * rate - rate * (width - 1) // 2
        if 0 <= y < size[0] and 0 <= x < size[1]:
            result[row, column, :, y, x] = kernel[i, j].T
    return result.reshape(math.prod(size) * after, -1)


def truth(kernel, size, rate=1):
    return np.linalg.norm(matrix(np.asarray(kernel, "float64"), size, rate), 2)


def built(case=SMALL, dtype="float64", **arguments):
    keras.utils.set_random_seed(0)
    shape, size, rate = case
    layer = RealSpectralNormConv2D(
        shape[3],
        shape[:2],
        image_size=size,
        dilation_rate=rate,
        dtype=dtype,
        kernel_initializer="he_normal",
        **arguments,
    )
    layer.build((None, None, None, shape[2]))
    return layer


def array(x):
    return keras.ops.convert_to_numpy(x)


def images(case=SMALL, count=2, dtype="float64"):
    shape, size, _ = case
    return RNG.normal(size=(count, *size, shape[2])).astype(dtype)


def unit(x):
    return x / np.linalg.norm(x)


# The norm.


@every_case
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_settled_layer_has_the_norm_of_the_dense_matrix(case, dtype):
    layer = built(case, dtype, norm=0.7, mode="equal")
    layer.settle()
    _, size, rate = case
    norm = truth(layer.normalized_kernel(), size, rate)
    assert norm == pytest.approx(0.7, rel=1e-9 if dtype == "float64" else 1e-6)


@pytest.mark.parametrize("case", [CASES[0], CASES[1], CASES[3]], ids=str)
def test_power_steps_reach_the_norm_of_the_dense_matrix(case):
    layer, (_, size, _) = built(case, norm=0.7, mode="equal"), case
    step = tf.function(lambda: layer(tf.zeros((1, 1, 1, case[0][2])), training=True))
    for _ in range(600):
        step()
    assert truth(layer.normalized_kernel(), size) == pytest.approx(0.7, rel=1e-5)


@every_case
def test_the_measured_norm_is_that_of_the_dense_matrix(case):
    layer = built(case)
    shape, size, rate = case
    kernel = RNG.normal(size=shape)
    expected = truth(kernel, size, rate)
    rates = (rate, rate)
    assert convolution_norm(kernel, size, rates) == pytest.approx(expected, rel=1e-9)
    used = truth(layer.normalized_kernel(), size, rate)
    assert layer.measured_norm() == pytest.approx(used, rel=1e-9)
    other = truth(layer.normalized_kernel(), (9, 7), rate)
    assert layer.measured_norm(image_size=(9, 7)) == pytest.approx(other, rel=1e-9)


def test_fewer_steps_measure_less():
    kernel = RNG.normal(size=(3, 3, 2, 2))
    norms = [convolution_norm(kernel, (14, 14), steps=n) for n in (1, 3, 9, 200)]
    assert norms == sorted(norms) and norms[-1] <= truth(kernel, (14, 14)) * (1 + 1e-12)


def test_kernels_of_zeros_have_the_norm_zero():
    assert convolution_norm(np.zeros((3, 3, 1, 2)), (5, 5)) == 0


def test_a_new_layer_is_near_its_norm():
    layer = built(CASES[1], norm=0.5, mode="equal")
    assert truth(layer.normalized_kernel(), CASES[1][1]) < 0.5 * 1.01


def test_clip_never_inflates():
    layer = built(norm=1e3)
    np.testing.assert_array_equal(layer.normalized_kernel(), layer.kernel)
    layer = built(norm=0.1)
    layer.settle()
    norm = truth(layer.normalized_kernel(), SMALL[1])
    assert norm == pytest.approx(0.1, rel=1e-5)


def test_equal_inflates():
    layer = built(norm=1e3, mode="equal")
    layer.settle()
    norm = truth(layer.normalized_kernel(), SMALL[1])
    assert norm == pytest.approx(1e3, rel=1e-5)


@settings(max_examples=15)
@given(
    power=st.integers(-15, 15),
    mode=st.sampled_from(["clip", "equal"]),
    norm=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_kernels_of_any_size_are_brought_to_the_norm(power, mode, norm):
    layer = built(dtype="float32", norm=norm, mode=mode)
    before = truth(layer.kernel, SMALL[1])
    layer.kernel.assign(layer.kernel * 10.0**power)
    layer(images(dtype="float32"), training=True)
    expected = norm if mode == "equal" else min(norm, before * 10.0**power)
    found = truth(layer.normalized_kernel(), SMALL[1])
    assert found == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("mode", ["clip", "equal"])
def test_a_kernel_of_zeros_stays_and_learns(mode):
    layer = built(dtype="float32", mode=mode)
    layer.kernel.assign(np.zeros(layer.kernel.shape))
    before = array(layer.u)
    x = tf.constant(images(dtype="float32"))
    with tf.GradientTape() as tape:
        outputs = layer(x, training=True)
        loss = tf.reduce_sum(outputs * RNG.normal(size=outputs.shape))
    np.testing.assert_array_equal(outputs, np.zeros(outputs.shape))
    np.testing.assert_array_equal(layer.u, before)
    gradient = np.asarray(tape.gradient(loss, layer.kernel.value))
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


# The call.


def reference(kernel, u, x, size, norm, mode, rate=1, v=None):
    """Outputs, `v` and the next `u`, in NumPy."""
    dense = matrix(kernel, size, rate)
    v = unit(dense.T @ u) if v is None else v
    scale = u @ dense @ v / norm
    scale = max(scale, 1) if mode == "clip" else scale
    outputs = [dense @ one.ravel() / scale for one in x]
    return np.stack(outputs), v, unit(dense @ v)


@every_case
@pytest.mark.parametrize("mode", ["clip", "equal"])
def test_training_takes_one_step_and_inference_none(case, mode):
    layer, x = built(case, norm=0.6, mode=mode), images(case)
    kernel, u = array(layer.kernel), array(layer.u)
    for training in (True, False, True):
        expected, _, moved = reference(
            kernel, u.ravel(), x, case[1], 0.6, mode, case[2]
        )
        outputs = array(layer(x, training=training))
        np.testing.assert_allclose(outputs.reshape(2, -1), expected, atol=1e-12)
        u = moved if training else u
        np.testing.assert_allclose(array(layer.u).ravel(), u.ravel(), atol=1e-12)


def test_a_frozen_layer_takes_no_step():
    layer = built()
    before = array(layer.u)
    layer.trainable = False
    layer(images(), training=True)
    np.testing.assert_array_equal(layer.u, before)


def test_inference_follows_the_kernel():
    layer = built(norm=0.5, mode="equal")
    before = array(layer.normalized_kernel())
    layer.kernel.assign(3 * layer.kernel)
    np.testing.assert_allclose(layer.normalized_kernel(), before, rtol=1e-12)


@pytest.mark.parametrize(("mode", "norm"), [("clip", 0.6), ("clip", 9), ("equal", 9)])
def test_gradients_are_those_of_finite_differences_with_u_and_v_constant(mode, norm):
    case = SMALL
    layer, x = built(case, norm=norm, mode=mode), images(case)
    kernel, u = array(layer.kernel), array(layer.u).ravel()
    _, v, _ = reference(kernel, u, x, case[1], norm, mode)
    weights = RNG.normal(size=(2, *case[1], case[0][3]))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(weights * layer(tf.constant(x), training=True))
    gradient = array(tape.gradient(loss, layer.kernel.value))

    def value(kernel):
        outputs, _, _ = reference(kernel, u, x, case[1], norm, mode, v=v)
        return np.sum(weights.reshape(2, -1) * outputs)

    for _ in range(3):
        direction, step = unit(RNG.normal(size=kernel.shape)), 1e-5
        ends = (value(kernel + sign * step * direction) for sign in (1, -1))
        slope = (next(ends) - next(ends)) / (2 * step)
        assert np.sum(gradient * direction) == pytest.approx(slope, rel=1e-6)


def test_bias_and_activation_come_after():
    layer = built(bias_initializer="ones", activation="relu")
    bare = built(use_bias=False)
    x = images()
    expected = np.maximum(array(bare(x)) + 1, 0)
    np.testing.assert_allclose(layer(x), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_half_precision_takes_the_norm_in_float32(dtype):
    layer, exact = built(dtype=dtype), built(dtype="float32")
    layer.kernel.assign(exact.kernel)
    layer.u.assign(exact.u)
    exact.kernel.assign(keras.ops.cast(layer.kernel, "float32"))
    x = images(dtype="float32")
    outputs = [one(x, training=True) for one in (layer, exact)]
    assert outputs[0].dtype == layer.compute_dtype and layer.u.dtype == "float32"
    np.testing.assert_allclose(layer.u, exact.u, atol=1e-6)
    found, expected = layer.normalized_kernel(), exact.normalized_kernel()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_graphs_and_xla_take_the_same_step():
    layer, x = built(dtype="float32"), images(dtype="float32")
    start, results = array(layer.u), []
    for jit_compile in (None, False, True):
        layer.u.assign(start)
        step = lambda x: layer(x, training=True)  # noqa: E731
        if jit_compile is not None:
            step = tf.function(step, jit_compile=jit_compile)
        results.append((array(step(x)), array(layer.u)))
    for outputs, u in results[1:]:
        np.testing.assert_allclose(outputs, results[0][0], atol=1e-5)
        np.testing.assert_allclose(u, results[0][1], atol=1e-6)


class Late(keras.Model):
    """Its layer is built where it is first called."""

    def __init__(self):
        super().__init__()
        self.convolution = RealSpectralNormConv2D(2, 3, image_size=(6, 5))

    def call(self, inputs):
        return self.convolution(inputs)


def test_a_layer_built_by_fit_starts_warm():
    keras.utils.set_random_seed(0)
    model = Late()
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = images(count=4, dtype="float32")
    model.fit(x, np.zeros((4, 6, 5, 2)), verbose=0)
    layer = model.convolution
    expected = min(truth(layer.kernel, (6, 5)), 1)
    found = truth(layer.normalized_kernel(), (6, 5))
    assert found == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_saved_layer_is_the_same_bit_for_bit(tmp_path, suffix):
    def model():
        inputs = keras.Input((None, None, 3))
        return keras.Model(inputs, built(dtype="float32", norm=0.4)(inputs))

    one = model()
    one.layers[1].kernel.assign(RNG.normal(size=(3, 3, 3, 2)))
    x = images(dtype="float32")
    one(x, training=True)
    path = tmp_path / f"model{suffix}"
    if suffix == ".keras":
        one.save(path)
        other = keras.saving.load_model(path)
    else:
        one.save_weights(path)
        other = model()
        other.load_weights(path)
    for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(one(x), other(x))


def test_the_norm_is_one_where_a_layer_has_learnt():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 1))
    layer = RealSpectralNormConv2D(4, 3, image_size=(12, 12))
    last = RealSpectralNormConv2D(1, 3, image_size=(12, 12))
    model = keras.Model(inputs, last(keras.layers.ReLU()(layer(inputs))))
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, 400)
    model.compile(keras.optimizers.Adam(schedule), "mse")
    x = RNG.normal(size=(160, 12, 12, 1))
    # What it should be has a norm of 3.
    model.fit(x, 3 * x, batch_size=8, epochs=20, verbose=0)
    for one in (layer, last):
        assert truth(one.kernel, (12, 12)) > 1.2
        assert one.measured_norm() < 1.005
        one.settle()
        assert one.measured_norm() == pytest.approx(1, abs=1e-6)


SCRIPT = """
import sys
import keras, numpy as np
from zoo.layers.fold_normalization import fold_normalization
from zoo.layers.lipschitz_report import lipschitz_report
from zoo.layers.real_spectral_norm import RealSpectralNormConv2D

data = np.load(sys.argv[1])
inputs = keras.Input((None, None, 3))
layer = RealSpectralNormConv2D(2, (4, 3), norm=0.5, image_size=(6, 5))
model = keras.Model(inputs, layer(inputs))
layer.set_weights([data["kernel"], data["bias"], data["u"]])
x, trainable = data["x"], model.trainable_variables
def loss(trainable, fixed):
    outputs, fixed = model.stateless_call(trainable, fixed, x, training=True)
    return (outputs * data["weights"]).sum(), (outputs, fixed)
import jax
step = jax.jit(jax.value_and_grad(loss, has_aux=True))
values = [one.value for one in trainable]
(_, (outputs, fixed)), gradients = step(values, [layer.u.value])
for found, name in [(outputs, "outputs"), (fixed[0], "moved"), (gradients[0], "slope")]:
    np.testing.assert_allclose(found, data[name], rtol=1e-4, atol=1e-5)
np.testing.assert_array_equal(layer.u, data["u"])
model.compile(keras.optimizers.SGD(1e-3), "mse")
model.fit(x, 0 * outputs, verbose=0)
assert not np.array_equal(layer.u, data["u"])
layer.settle()
assert abs(layer.measured_norm() - 0.5) < 1e-6
assert lipschitz_report(model, (6, 5)).product <= 0.500001
np.testing.assert_allclose(fold_normalization(model)(x), model(x), atol=1e-5)
"""


def test_jax_takes_the_same_step(tmp_path):
    case = ((4, 3, 3, 2), (6, 5), 1)
    layer, x = built(case, dtype="float32", norm=0.5), images(case, dtype="float32")
    data = {"kernel": layer.kernel, "bias": layer.bias, "u": layer.u, "x": x}
    data = {name: array(value) for name, value in data.items()}
    data["weights"] = RNG.normal(size=(2, 6, 5, 2)).astype("float32")
    with tf.GradientTape() as tape:
        outputs = layer(x, training=True)
        loss = tf.reduce_sum(outputs * data["weights"])
    slope = tape.gradient(loss, layer.kernel.value)
    data |= {"outputs": outputs, "moved": array(layer.u), "slope": slope}
    np.savez(tmp_path / "data.npz", **data)
    run(SCRIPT, tmp_path / "data.npz", KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")


REPLICAS = """
import keras, numpy as np, tensorflow as tf
from zoo.layers.real_spectral_norm import RealSpectralNormConv2D

(cpu,) = tf.config.list_physical_devices("CPU")
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, halves)

def trained():
    keras.utils.set_random_seed(0)
    layer = RealSpectralNormConv2D(2, 3, norm=0.5, image_size=(6, 5))
    model = keras.Sequential([keras.Input((6, 5, 1)), layer])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x = np.random.default_rng(0).normal(size=(8, 6, 5, 1)).astype("float32")
    model.fit(x, np.zeros((8, 6, 5, 2)), batch_size=4, shuffle=False, verbose=0)
    return model.get_weights()

with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    two = trained()
for one, other in zip(trained(), two):
    np.testing.assert_allclose(one, other, atol=1e-6)
"""


def test_replicas_take_the_same_step():
    run(REPLICAS)


def run(script, *arguments, **variables):
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


# Folding.


def noisy(model):
    """Gives a model weights of its own."""
    for weight in model.weights:
        if weight.path.endswith("variance"):
            weight.assign(RNG.uniform(0.3, 3, weight.shape))
        elif not weight.path.endswith("/u"):
            weight.assign(weight + RNG.normal(0, 0.3, weight.shape))
    return model


def assert_folds(model, kinds, x=None):
    noisy(model)
    folded = fold_normalization(model)
    found = [type(layer).__name__ for layer in folded.layers]
    assert found == ["InputLayer", *kinds]
    x = RNG.normal(size=(2, 9, 7, 3)) if x is None else x
    expected = array(model(x))
    tolerance = 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(folded(x), expected, atol=tolerance)
    return folded


def chain(*layers):
    x = inputs = keras.Input((None, None, 3))
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def spectral(**arguments):
    return RealSpectralNormConv2D(4, 3, image_size=(6, 6), **arguments)


def convolution(**arguments):
    return keras.layers.Conv2D(4, 3, padding="same", **arguments)


def batch_norm(**arguments):
    return keras.layers.BatchNormalization(**arguments)


@pytest.mark.parametrize("make", [spectral, convolution])
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("arguments", [{}, {"scale": False, "epsilon": 0.1}])
def test_a_folded_model_is_the_same(make, use_bias, arguments):
    model = chain(
        make(use_bias=use_bias),
        batch_norm(**arguments),
        keras.layers.ReLU(),
        make(activation="relu"),
        batch_norm(center=False),
        spectral(use_bias=use_bias),
    )
    kinds = ["Conv2D", "ReLU", "Conv2D", "BatchNormalization", "Conv2D"]
    assert_folds(model, kinds)


def test_sequential_and_nested_models_are_folded():
    inner = keras.Sequential([keras.Input((None, None, 3)), spectral(), batch_norm()])
    folded = assert_folds(inner, ["Conv2D"])
    assert isinstance(folded, keras.Model)
    folded = assert_folds(chain(inner, spectral()), ["Functional", "Conv2D"])
    assert [type(one).__name__ for one in folded.layers[1].layers][1:] == ["Conv2D"]


def test_what_is_used_twice_is_not_folded():
    inputs = keras.Input((None, None, 3))
    x = convolution()(inputs)
    model = keras.Model(inputs, keras.layers.Add()([x, batch_norm()(x)]))
    assert_folds(model, ["Conv2D", "BatchNormalization", "Add"])
    shared, y = convolution(), keras.Input((None, None, 3))
    added = keras.layers.Add()([batch_norm()(shared(y)), shared(y)])
    assert_folds(keras.Model(y, added), ["Conv2D", "BatchNormalization", "Add"])


def test_outputs_and_other_axes_are_not_folded():
    inputs = keras.Input((9, 7, 3))
    x = convolution()(inputs)
    model = keras.Model(inputs, [x, batch_norm()(x)])
    kinds = [type(layer).__name__ for layer in fold_normalization(model).layers]
    assert kinds == ["InputLayer", "Conv2D", "BatchNormalization"]
    model = keras.Model(inputs, batch_norm(axis=1)(x))
    assert_folds(model, ["Conv2D", "BatchNormalization"])


class Doubled(keras.layers.BatchNormalization):
    def call(self, inputs, **kwargs):
        return 2 * super().call(inputs, **kwargs)


def test_a_batch_normalisation_that_does_more_is_not_folded():
    assert_folds(chain(convolution(), Doubled()), ["Conv2D", "Doubled"])


def test_lora_is_merged():
    layer = convolution()
    model = chain(layer, batch_norm())
    layer.enable_lora(2)
    folded = assert_folds(model, ["Conv2D"])
    assert len(folded.layers[1].weights) == 2


# The report.


def test_the_report_of_a_chain_is_the_product_of_its_norms():
    model = noisy(
        chain(convolution(), batch_norm(), keras.layers.ReLU(), spectral(norm=0.8))
    )
    report = lipschitz_report(model, (8, 7))
    first, norm, _, last = model.layers[1:]
    gains = array(norm.gamma) / np.sqrt(array(norm.moving_variance) + norm.epsilon)
    expected = [
        truth(first.kernel, (8, 7)),
        np.abs(gains).max(),
        1.0,
        truth(last.normalized_kernel(), (8, 7)),
    ]
    assert [name for name, _, _ in report.layers] == [one.name for one in model.layers][
        1:
    ]
    assert [norm for _, norm, _ in report.layers] == pytest.approx(expected, rel=1e-6)
    assert report.product == pytest.approx(math.prod(expected), rel=1e-6)
    lines = str(report).splitlines()
    assert len(lines) == 5 and "measured on 8 x 7 pixels" in lines[0]
    assert lines[-1].split()[0] == "product" and lines[-1].endswith("bounds the model")


def test_the_bound_holds_and_is_reached_by_a_linear_chain():
    kernels = [RNG.normal(size=(3, 3, *pair)) for pair in ((2, 3), (3, 1))]
    inputs = keras.Input((6, 5, 2), dtype="float64")
    same = {"padding": "same", "use_bias": False, "dtype": "float64"}
    layers = [keras.layers.Conv2D(k.shape[3], 3, **same) for k in kernels]
    model = keras.Model(inputs, layers[1](layers[0](inputs)))
    model.set_weights(kernels)
    product = lipschitz_report(model, (6, 5)).product
    first, second = (matrix(kernel, (6, 5)) for kernel in kernels)
    assert np.linalg.norm(second @ first, 2) <= product
    alone = keras.Model(inputs, layers[0].output)
    _, singular, right = np.linalg.svd(first)
    x = right[0].reshape(1, 6, 5, 2)
    norm = lipschitz_report(alone, (6, 5)).product
    assert np.linalg.norm(array(alone(x))) == pytest.approx(norm, rel=1e-9)
    assert singular[0] == pytest.approx(norm, rel=1e-9)


@pytest.mark.parametrize("merge", ["Subtract", "Add"])
@pytest.mark.parametrize("first", [True, False])
def test_the_report_of_a_residual_model_bounds_what_is_added(merge, first):
    inputs = keras.Input((None, None, 4))
    x = spectral(norm=0.5)(inputs)
    pair = [inputs, x] if first else [x, inputs]
    model = keras.Model(inputs, getattr(keras.layers, merge)()(pair))
    report = lipschitz_report(model, (6, 6))
    assert len(report.layers) == 1 and report.product == report.layers[0][1]
    sign = report.why.removeprefix("bounds model(x) ").removesuffix(" x")
    images = RNG.normal(size=(2, 6, 6, 4))
    left = model(images) + {"+": 1, "-": -1}[sign] * images
    bare = array(model.layers[1](images))
    assert min(np.abs(left - one).max() for one in (bare, -bare)) < 1e-5


def relu(x):
    return 5 * x


def branches():
    inputs = keras.Input((None, None, 4))
    x = spectral()(inputs)
    return keras.Model(inputs, convolution()(keras.layers.Add()([x, inputs])))


def pair():
    inputs = [keras.Input((None, None, 4)), keras.Input((None, None, 4))]
    return keras.Model(inputs, keras.layers.Add()(inputs))


def doubled():
    inputs = keras.Input((None, None, 4))
    return keras.Model(inputs, keras.layers.Add()([inputs, inputs]))


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda: chain(keras.layers.Conv2D(2, 3, 2, "same")), "no bound of conv2d"),
        (lambda: chain(keras.layers.Conv2D(2, 3)), "no bound of conv2d"),
        (lambda: chain(spectral(activation="elu")), "no bound of real_spectral"),
        (lambda: chain(convolution(activation=relu)), "no bound of conv2d"),
        (lambda: chain(Doubled()), "no bound of doubled"),
        (lambda: chain(keras.layers.ReLU(threshold=0.1)), "no bound of re_lu"),
        (lambda: chain(keras.layers.Lambda(lambda x: x)), "no bound of lambda"),
        (branches, "no chain: add"),
        (doubled, "no chain: add"),
        (pair, "several inputs"),
    ],
)
def test_a_network_without_a_bound_has_none_and_is_told_why(model, why):
    report = lipschitz_report(model(), (5, 4))
    assert report.product is None and why in report.why
    assert "no bound" in str(report)


@pytest.mark.parametrize(
    "shape, rate", [((3, 3, 2, 5), 1), ((3, 3, 5, 2), 2), ((1, 4, 3, 3), 1)]
)
def test_a_bound_is_just_above_the_norms_of_all_sizes(shape, rate):
    kernel = RNG.normal(size=shape)
    bound = convolution_bound(kernel)
    norms = [convolution_norm(kernel, (n, n), (rate, rate)) for n in (3, 12, 60)]
    assert norms == sorted(norms)
    # What the grid leaves open and what a border takes: both in percent.
    assert norms[-1] < bound < 1.02 * norms[-1]
    # A circular boundary at frequencies that are on no grid.
    symbols = np.fft.fft2(kernel, (37, 41), axes=(0, 1))
    assert np.linalg.norm(symbols, 2, (2, 3)).max() < bound


def test_a_report_bounds_convolutions_unless_it_is_to_measure():
    layer = keras.layers.Conv2D(3, 3, padding="same")
    model = keras.Sequential([keras.Input((None, None, 2)), layer])
    kernel = np.asarray(layer.kernel)
    assert lipschitz_report(model).product == convolution_bound(kernel)
    measured = lipschitz_report(model, (9, 8)).product
    assert measured == pytest.approx(convolution_norm(kernel, (9, 8)), rel=1e-9)


def test_known_layers_have_their_norms():
    kernel = RNG.normal(size=(12, 3)).astype("float32")
    layers = [
        keras.layers.ReLU(negative_slope=2),
        keras.layers.Dropout(0.5),
        keras.layers.Flatten(),
        keras.layers.Dense(3, activation="tanh"),
        keras.layers.Activation("softplus"),
    ]
    model = keras.Sequential([keras.Input((2, 2, 3)), *layers])
    layers[3].set_weights([kernel, np.zeros(3)])
    norms = [norm for _, norm, _ in lipschitz_report(model).layers]
    assert norms == pytest.approx([2, 1, 1, np.linalg.norm(kernel, 2), 1])


# Bad input.


@pytest.mark.parametrize(
    "arguments",
    [
        {"norm": 0},
        {"norm": -1},
        {"norm": math.nan},
        {"norm": math.inf},
        {"norm": "1"},
        {"image_size": 40},
        {"image_size": (40,)},
        {"image_size": (0, 40)},
        {"image_size": (8.0, 8)},
        {"mode": "max"},
        {"strides": 2},
        {"padding": "valid"},
        {"groups": 2},
        {"lora_rank": 2},
    ],
    ids=str,
)
def test_bad_arguments(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {name}="):
        RealSpectralNormConv2D(4, 3, **arguments)


def test_bad_calls():
    layer = built()
    with pytest.raises(ValueError, match="`steps` must be an int from 1"):
        layer.measured_norm(0)
    with pytest.raises(ValueError, match="`enable_lora` must not be called on a Real"):
        layer.enable_lora(2)
    for function in (fold_normalization, lipschitz_report):
        for model in (layer, Late()):
            with pytest.raises(ValueError, match="`model` must be a functional"):
                function(model)
    with pytest.raises(ValueError, match="`image_size` must be a pair"):
        lipschitz_report(chain(convolution()), 64)
