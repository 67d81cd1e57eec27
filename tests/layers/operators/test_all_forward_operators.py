"""What every forward operator must do: one row an operator (or a way to set it up), one
test a duty.

A new operator adds a row to `ROWS`; a test fails until it does.
"""

import dataclasses
import doctest
import importlib
import os
import pathlib
import pickle
import pkgutil
import subprocess
import sys
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from keras.backend import standardize_dtype

import zoo
import zoo.layers.operators
from zoo._backend.gradients import input_gradient
from zoo.layers.operators import (
    Blur,
    Compose,
    Downsample,
    FourierMask,
    GaussianMatrix,
    Identity,
    LinearOperator,
    PixelMask,
    Stack,
    StructuredRandom,
)

ROOT = pathlib.Path(zoo.__file__).parents[1]
GREY, COLOUR, POWER = (6, 8, 1), (6, 8, 2), (4, 8, 2)
DRAW = np.random.default_rng(7)
SCATTERED = DRAW.random((6, 8)) < 0.5
CHANNELS = DRAW.random((6, 8, 2)) < 0.5
FREQUENCIES = DRAW.random((6, 8)) < 0.4
SYMMETRIC = np.maximum(FREQUENCIES, np.roll(FREQUENCIES[::-1, ::-1], (1, 1), (0, 1)))
# Their norms are at most 1, and so single precision is not lost in large condition
# numbers.
KERNEL = DRAW.normal(size=(3, 5))
KERNEL /= np.abs(KERNEL).sum()
LARGE = DRAW.normal(size=(5, 7))
LARGE /= np.abs(LARGE).sum()
ONES = np.ones((6, 8))


@dataclasses.dataclass
class Row:
    """An operator: its class, a name, and how to make one in a dtype.

    `iterative` says whether its proximal map is computed by conjugate gradients.
    """

    operator: type
    name: str
    make: Callable
    iterative: bool = False

    def __str__(self):
        return f"{self.operator.__name__}({self.name})"

    def build(self, dtype="float64"):
        return self.make(dtype=dtype)


def row(operator, name, *arguments, iterative=False):
    return Row(
        operator, name, lambda **kwargs: operator(*arguments, **kwargs), iterative
    )


def stack(**kwargs):
    return Stack(
        [
            Downsample(COLOUR, 2, **kwargs),
            FourierMask(COLOUR, FREQUENCIES, **kwargs),
            Blur(COLOUR, KERNEL, **kwargs),
        ],
        **kwargs,
    )


def real_stack(**kwargs):
    masks = SCATTERED, CHANNELS
    return Stack([PixelMask(COLOUR, mask, **kwargs) for mask in masks], **kwargs)


def low_resolution(**kwargs):
    blur = Blur(COLOUR, KERNEL, "reflect", **kwargs)
    return Compose(Downsample(COLOUR, 2, **kwargs), blur, **kwargs)


def blurred_spectrum(**kwargs):
    outer = FourierMask(COLOUR, FREQUENCIES, **kwargs)
    return Compose(outer, Blur(COLOUR, KERNEL, "zero", **kwargs), **kwargs)


ROWS = [
    row(Identity, "colour", COLOUR),
    row(PixelMask, "pixels", COLOUR, SCATTERED),
    row(PixelMask, "channels", COLOUR, CHANNELS),
    row(PixelMask, "all", GREY, ONES),
    row(FourierMask, "grey", GREY, FREQUENCIES),
    row(FourierMask, "colour", COLOUR, FREQUENCIES),
    row(FourierMask, "symmetric", COLOUR, SYMMETRIC),
    row(FourierMask, "all", COLOUR, ONES),
    row(Blur, "grey,circular", GREY, KERNEL, "circular"),
    row(Blur, "circular", COLOUR, LARGE, "circular"),
    row(Blur, "zero", COLOUR, LARGE, "zero", iterative=True),
    row(Blur, "reflect", COLOUR, LARGE, "reflect", iterative=True),
    row(Blur, "row,reflect", COLOUR, LARGE[:1], "reflect", iterative=True),
    row(Downsample, "box", COLOUR, 2, "box"),
    row(Downsample, "decimate", COLOUR, 2, "decimate"),
    row(Downsample, "one", COLOUR, 1, "box"),
    row(GaussianMatrix, "few", COLOUR, 20),
    row(GaussianMatrix, "many", COLOUR, 150),
    row(StructuredRandom, "dct", COLOUR, 20, "dct"),
    row(StructuredRandom, "odd,dct", (5, 7, 1), 20, "dct"),
    row(StructuredRandom, "all,dct", COLOUR, 96, "dct"),
    row(StructuredRandom, "hadamard", POWER, 20, "hadamard"),
    row(StructuredRandom, "few", COLOUR, 20, "coded_diffraction", iterative=True),
    row(StructuredRandom, "most", COLOUR, 80, "coded_diffraction", iterative=True),
    row(StructuredRandom, "all", COLOUR, 96, "coded_diffraction"),
    Row(Stack, "complex", stack, iterative=True),
    Row(Stack, "real", real_stack, iterative=True),
    Row(Compose, "low resolution", low_resolution, iterative=True),
    Row(Compose, "complex", blurred_spectrum, iterative=True),
]
# One a way to compute, for what takes a compilation or more.
FEW = ("channels", "colour", "circular", "reflect", "box", "few", "dct", "hadamard")
FEW_ROWS = [row for row in ROWS if row.name in (*FEW, "complex", "low resolution")]
every_row = pytest.mark.parametrize("row", ROWS, ids=str)
few_rows = pytest.mark.parametrize("row", FEW_ROWS, ids=str)


def test_every_public_operator_has_a_row():
    names = zoo.layers.operators.__all__
    public = {getattr(zoo.layers.operators, name) for name in names}
    for rows in (ROWS, FEW_ROWS):
        assert public - {LinearOperator} == {row.operator for row in rows}


@pytest.mark.parametrize(
    "module", [m.name for m in pkgutil.iter_modules(zoo.layers.operators.__path__)]
)
def test_examples_print_what_they_say(module):
    module = importlib.import_module(f"zoo.layers.operators.{module}")
    assert doctest.testmod(module).failed == 0


def arrays(operator, batch=3, seed=0):
    """Random images `x` and `z`, and measurements `y` that are those of no image."""
    generator = np.random.default_rng(seed)
    x, z = generator.normal(size=(2, batch, *operator.image_shape))
    y = generator.normal(size=(batch, *operator.measurement_shape))
    if operator.is_complex:
        y = y + 1j * generator.normal(size=y.shape)
    return x, z, y


def real_matrix(operator):
    """`A` over real numbers: the real above the imaginary part."""
    dense = operator.dense()
    assert np.iscomplexobj(dense) == operator.is_complex
    return np.concatenate([dense.real, dense.imag]) if operator.is_complex else dense


def real_vectors(y):
    y = np.asarray(y).reshape(len(y), -1)
    return np.concatenate([y.real, y.imag], axis=1) if np.iscomplexobj(y) else y


def assert_close(ours, theirs, tolerance=1e-12):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * max(np.abs(theirs).max(), 1e-300)


@every_row
def test_forward_and_adjoint_agree(row):
    assert row.build().dot_test(seed=1) < 1e-12
    assert row.build("float32").dot_test(seed=1) < 1e-6


@every_row
def test_agrees_with_its_dense_matrix(row):
    operator = row.build()
    x, _, y = arrays(operator)
    a = real_matrix(operator)
    flat = x.reshape(len(x), -1)
    assert_close(real_vectors(operator(x)), flat @ a.T)
    assert_close(np.reshape(operator.adjoint(y), flat.shape), real_vectors(y) @ a)
    assert_close(np.reshape(operator.gram(x), flat.shape), flat @ a.T @ a)


@every_row
def test_gram_is_adjoint_of_forward(row):
    operator = row.build()
    x, *_ = arrays(operator)
    assert_close(operator.gram(x), operator.adjoint(operator(x)))


@every_row
def test_what_is_measured_is_all_that_the_adjoint_sees(row):
    operator = row.build()
    x, _, y = arrays(operator)
    measured = operator.measured(y)
    assert standardize_dtype(measured.dtype) == operator.measurement_dtype
    assert_close(operator.adjoint(measured), operator.adjoint(y))
    np.testing.assert_array_equal(operator.measured(measured), measured)
    np.testing.assert_array_equal(operator.measured(operator(x)), operator(x))


@every_row
@pytest.mark.parametrize("step", [0.3, np.array([1e-3, 1.0, 1e3])], ids=["one", "each"])
def test_prox_holds_its_optimality_condition(row, step):
    operator = row.build()
    _, z, y = arrays(operator)
    x, residual = operator.prox_l2(z, y, step, return_residual=True)
    each = np.broadcast_to(step, 3).reshape(3, 1, 1, 1)
    slope = np.asarray(operator.adjoint(operator(x) - y)) + (np.asarray(x) - z) / each
    goal = np.asarray(operator.adjoint(y)) + z / each
    size = np.sqrt(np.sum(slope**2, (1, 2, 3)) / np.sum(goal**2, (1, 2, 3)))
    assert residual.shape == (3,)
    assert np.abs(np.asarray(residual) - size).max() < 1e-14
    assert size.max() < (2e-12 if row.iterative else 1e-14)


@every_row
def test_prox_is_the_solution_of_the_normal_equations(row):
    operator = row.build()
    _, z, y = arrays(operator)
    a = real_matrix(operator)
    step = np.array([0.2, 1.0, 5.0])
    expected = [
        np.linalg.solve(
            a.T @ a + np.eye(a.shape[1]) / step[i],
            a.T @ real_vectors(y)[i] + z[i].ravel() / step[i],
        )
        for i in range(3)
    ]
    x = operator.prox_l2(z, y, step)
    assert_close(np.reshape(x, (3, -1)), expected, 1e-10)
    again = operator.prox_map(y, step)(z)
    np.testing.assert_array_equal(x, again)


@every_row
def test_norm_and_convexity_are_those_of_the_matrix(row):
    operator = row.build()
    a = real_matrix(operator)
    values = np.linalg.eigvalsh(a.T @ a)
    norm, convexity = operator.operator_norm(), operator.strong_convexity()
    assert isinstance(norm, float) and isinstance(convexity, float)
    assert abs(norm - np.linalg.norm(a, 2)) <= 1e-10 * norm
    assert abs(convexity - max(values[0], 0)) <= 1e-10 * norm**2
    assert np.linalg.matrix_rank(a) <= operator.rank_bound()
    if operator.rank_bound() < operator.num_pixels:
        assert convexity == 0.0


@every_row
def test_a_batch_is_a_loop(row):
    operator = row.build()
    x, z, y = arrays(operator)
    functions = [
        (operator, (x,)),
        (operator.adjoint, (y,)),
        (operator.gram, (x,)),
        (lambda z, y: operator.prox_l2(z, y, 0.7), (z, y)),
    ]
    for function, inputs in functions:
        whole = np.asarray(function(*inputs))
        for place in range(3):
            one = function(*(array[place : place + 1] for array in inputs))
            assert_close(whole[place], np.asarray(one)[0], 1e-10)


@every_row
def test_a_gradient_is_the_adjoint(row):
    operator = row.build()
    x, _, y = map(ops.convert_to_tensor, arrays(operator))
    slope = input_gradient(lambda x: ops.abs(operator(x) - y) ** 2 / 2, x)
    assert_close(slope, operator.adjoint(operator(x) - y), 1e-11)


@few_rows
def test_prox_is_differentiable_in_its_image(row):
    operator = row.build()
    _, z, y = map(ops.convert_to_tensor, arrays(operator))
    direction, toward = map(ops.convert_to_tensor, arrays(operator, seed=3)[:2])
    gradient = input_gradient(lambda z: operator.prox_l2(z, y, 0.5) * toward, z)
    change = operator.prox_l2(z + direction, y, 0.5) - operator.prox_l2(z, y, 0.5)
    # Of an affine map, any difference is the derivative.
    assert_close(ops.sum(gradient * direction), ops.sum(change * toward), 1e-9)


@few_rows
@pytest.mark.parametrize("step", [0.5, np.array([0.2, 0.7, 3.0])], ids=["one", "each"])
def test_prox_is_differentiable_in_its_step(row, step):
    operator = row.build()
    _, z, y = map(ops.convert_to_tensor, arrays(operator))
    toward = ops.convert_to_tensor(arrays(operator, seed=3)[0])

    def value(step):
        return ops.sum(operator.prox_l2(z, y, step) * toward)

    slope = np.asarray(input_gradient(value, ops.convert_to_tensor(step, "float64")))
    assert slope.shape == np.shape(step)
    high, low = value(step * (1 + 1e-4)), value(step * (1 - 1e-4))
    difference = np.asarray(high - low) / 2e-4
    assert_close(np.sum(slope * step), difference, 1e-6)


@pytest.mark.parametrize("boundary", ["zero", "circular"])
def test_a_variable_is_a_step(boundary, compiled):
    operator = Blur(GREY, KERNEL, boundary, dtype="float64")
    _, z, y = arrays(operator)
    step = keras.Variable(0.7, dtype="float64")
    for run in (
        lambda z: operator.prox_l2(z, y, step),
        lambda z: operator.prox_map(y, step.value)(z),
    ):
        for function in (run, compiled(run)):
            x = function(ops.convert_to_tensor(z))
            assert_close(x, operator.prox_l2(z, y, 0.7), 1e-10)


def run(operator, x, z, y):
    """All that a solver asks for."""
    return (
        operator(x),
        operator.adjoint(y),
        operator.gram(x),
        operator.prox_map(y, np.array([0.1, 1.0, 3.0]))(z),
    )


@pytest.mark.traced
@few_rows
@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_graph_and_xla_agree_with_eager_at_any_batch_size(row, jit, compiled):
    operator = row.build("float32")
    x, z, y = arrays(operator)
    x, z = ops.cast(x, "float32"), ops.cast(z, "float32")
    y = ops.convert_to_tensor(y.astype(operator.measurement_dtype))
    expected = run(operator, x, z, y)
    function = compiled(
        lambda *inputs: run(operator, *inputs),
        jit=jit,
        input_signature=[
            tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in (x, z, y)
        ],
    )
    for ours, theirs in zip(function(x, z, y), expected, strict=True):
        assert_close(ours, theirs, 1e-5)


@few_rows
def test_runs_in_a_loop_in_a_graph(row, compiled):
    operator = row.build()
    _, z, y = arrays(operator)

    def loop(z):
        prox = operator.prox_map(y, 0.5)
        return ops.while_loop(
            lambda count, z: count < 3, lambda count, z: (count + 1, prox(z)), (0, z)
        )[1]

    ours = compiled(loop)(ops.convert_to_tensor(z))
    for _ in range(3):
        z = operator.prox_l2(z, y, 0.5)
    assert_close(ours, z, 1e-10)


@few_rows
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "float16"])
def test_half_precision_computes_in_single(row, dtype):
    operator, exact = row.build(dtype), row.build("float32")
    x, z, y = arrays(operator)
    kind = "complex64" if operator.is_complex else "float32"
    assert standardize_dtype(operator(x).dtype) == operator.measurement_dtype == kind
    for ours, theirs in zip(run(operator, x, z, y), run(exact, x, z, y), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert all(weight.dtype == "float32" for weight in operator.weights)


@every_row
def test_double_precision_is_double_throughout(row):
    operator, single = row.build(), row.build("float32")
    x, z, y = arrays(operator)
    kind = "complex128" if operator.is_complex else "float64"
    assert standardize_dtype(operator(x).dtype) == kind
    for ours, theirs in zip(run(operator, x, z, y), run(single, x, z, y), strict=True):
        assert_close(theirs, ours, 1e-5)


@every_row
def test_symbolic_output_tells_the_truth(row):
    operator = row.build("float32")
    x, *_ = arrays(operator)
    symbolic = operator(keras.KerasTensor((None, *operator.image_shape)))
    assert symbolic.shape == (None, *operator.measurement_shape)
    y = operator(x)
    assert symbolic.dtype == standardize_dtype(y.dtype)
    assert operator.compute_output_shape(x.shape) == tuple(y.shape)


@every_row
def test_registered_under_zoo(row):
    # The deficit of zoo.data is the "Blur" of saved models.
    saved = "BlurOperator" if row.operator is Blur else row.operator.__name__
    assert keras.saving.get_registered_name(row.operator) == f"zoo>{saved}"


@every_row
def test_config_makes_an_operator_of_equal_weights(row):
    operator = row.build()
    assert not operator.trainable_weights
    config = operator.get_config()
    revived = row.operator.from_config(config)
    assert revived.get_config() == config == operator.get_config()
    revived.set_weights(operator.get_weights())
    x, z, y = arrays(operator)
    for ours, theirs in zip(run(revived, x, z, y), run(operator, x, z, y), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert revived.operator_norm() == operator.operator_norm()
    assert revived.strong_convexity() == operator.strong_convexity()


@pytest.mark.parametrize("boundary", ["zero", "circular"])
def test_norms_are_those_of_the_weights_of_now(boundary, compiled):
    operator = Blur(GREY, KERNEL, boundary)
    stacked = Stack([operator, PixelMask(GREY, SCATTERED)])
    norms = [one.operator_norm() for one in (operator, stacked)]
    # Of the weights, those of `|k|^2` are squares.
    thrice = [
        (9 if weight.name == "eigenvalues" else 3) * weight.numpy()
        for weight in operator.weights
    ]
    images = keras.Input(GREY)
    keras.Model(images, operator(images)).set_weights(thrice)
    assert operator.operator_norm() == pytest.approx(3 * norms[0], rel=1e-6)
    again = Stack([Blur(GREY, 3 * KERNEL, boundary), PixelMask(GREY, SCATTERED)])
    assert stacked.operator_norm() == pytest.approx(again.operator_norm(), rel=1e-6)
    assert stacked.operator_norm() > 1.3 * norms[1]
    # A trace, in which weights have no values, takes what is known.
    traced = compiled(lambda x: x * operator.operator_norm())(1.0)
    assert float(traced) == pytest.approx(3 * norms[0], rel=1e-6)


@every_row
def test_saved_in_a_model_with_its_data(row, tmp_path):
    operator = row.build("float32")
    x, *_ = arrays(operator)
    inputs = keras.Input(operator.image_shape)
    model = keras.Model(inputs, operator(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.layers[-1].operator_norm() == operator.operator_norm()


JAX = """
import pathlib, pickle, sys
import jax, keras, numpy
import zoo.layers.operators

assert keras.backend.backend() == "jax"
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.row")):
    config, weights, inputs, expected, norm = pickle.loads(path.read_bytes())
    operator = keras.layers.deserialize(config)
    operator.set_weights(weights)

    def run(x, z, y):
        return (
            operator(x),
            operator.adjoint(y),
            operator.gram(x),
            operator.prox_map(y, numpy.array([0.1, 1.0, 3.0]))(z),
        )

    for ours, theirs in zip(jax.jit(run)(*inputs), expected, strict=True):
        assert ours.dtype == theirs.dtype
        error = numpy.abs(numpy.asarray(ours) - theirs).max()
        assert error <= 2e-5 * numpy.abs(theirs).max(), (config["config"], error)
    assert abs(operator.operator_norm() - norm) < 1e-5 * norm
    assert operator.dot_test() < 1e-6
"""


def test_jax_agrees(tmp_path):
    for index, row in enumerate(FEW_ROWS):
        operator = row.build("float32")
        x, z, y = arrays(operator)
        y = y.astype(operator.measurement_dtype)
        inputs = x.astype("float32"), z.astype("float32"), y
        content = (
            keras.layers.serialize(operator),
            operator.get_weights(),
            inputs,
            list(map(np.asarray, run(operator, *inputs))),
            operator.operator_norm(),
        )
        (tmp_path / f"{index:02}.row").write_bytes(pickle.dumps(content))
    subprocess.run(
        [sys.executable, "-c", JAX, tmp_path],
        env=os.environ
        | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        check=True,
    )
