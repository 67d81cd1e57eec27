"""What blocks of all kinds do alike: stack, train, save, round, and tell mistakes."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.layers import (
    ExponentialShrinkage,
    LampBlock,
    ListaBlock,
    LvampBlock,
    SplineShrinkage,
)

ROOT = pathlib.Path(zoo.__file__).parents[1]
M, N = 10, 20
BLOCKS = {
    "lista": (ListaBlock, {}),
    "lista-rank": (ListaBlock, {"rank": 15, "coordinatewise": True}),
    "lista-coupled": (ListaBlock, {"coupling": "coupled", "per_signal": True}),
    "lista-analytic": (ListaBlock, {"coupling": "analytic", "trusted": 0.1}),
    "lamp": (LampBlock, {"shrinkage": ExponentialShrinkage}),
    "lamp-ridge": (
        LampBlock,
        {"shrinkage": SplineShrinkage, "start": "ridge", "damping": 0.9},
    ),
    "lvamp": (LvampBlock, {"shrinkage": SplineShrinkage}),
    "lvamp-learn": (
        LvampBlock,
        {
            "shrinkage": ExponentialShrinkage,
            "learn": ("noise", "spectrum", "project", "right"),
            "damping": 0.9,
        },
    ),
    "lvamp-dense": (LvampBlock, {"shrinkage": SplineShrinkage, "form": "dense"}),
}
every_kind = pytest.mark.parametrize("kind", BLOCKS)
every_kind_real_and_some_complex = pytest.mark.parametrize(
    ("kind", "number"),
    [(kind, "float") for kind in BLOCKS]
    + [(kind, "complex") for kind in ("lista-rank", "lamp", "lvamp-learn")],
)


def normal(*shape, dtype="float64", seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=shape)
    if dtype.startswith("complex"):
        x = x + 1j * generator.normal(size=shape)
    return x.astype(dtype)


def make(kind, matrix, **kwargs):
    block, arguments = BLOCKS[kind]
    arguments = dict(arguments)
    if "shrinkage" in arguments:
        arguments["shrinkage"] = arguments["shrinkage"](dtype=kwargs["dtype"])
    return block(matrix, **arguments, **kwargs)


def stack(kind, dtype="float64", tied=True, depth=3, signals="float64"):
    """A model of three blocks, the estimate its output."""
    matrix = normal(M, N, dtype=signals) / np.sqrt(M)
    inputs = keras.Input((M,), dtype=signals)
    first = state = None
    for _ in range(depth):
        block = make(kind, matrix, tied_to=first, dtype=dtype)
        first = block if tied else None
        outputs = block(inputs, state)
        x = keras.tree.flatten(outputs)[0]
        state = outputs[1] if kind.startswith("lvamp") else outputs
    return keras.Model(inputs, x)


def disturb(model):
    """Moves all trained weights, so that none is what its constructor makes it."""
    generator = np.random.default_rng(1)
    for weight in model.trainable_weights:
        scale = 0.1 * np.std(weight) + 0.02
        weight.assign_add(scale * generator.normal(size=weight.shape))


@every_kind_real_and_some_complex
def test_gradients_are_those_of_finite_differences(kind, number):
    signals = "float64" if number == "float" else "complex128"
    model = stack(kind, signals=signals)
    disturb(model)
    y, target = normal(4, M, dtype=signals), normal(4, N, dtype=signals, seed=1)

    def loss():
        return tf.reduce_sum(tf.abs(model(y) - target) ** 2)

    with tf.GradientTape() as tape:
        value = loss()
    weights = model.trainable_weights
    gradients = tape.gradient(value, [weight.value for weight in weights])
    generator = np.random.default_rng(2)
    for weight, gradient in zip(weights, gradients, strict=True):
        start, step = np.array(weight), 1e-6
        direction = generator.normal(size=weight.shape)
        ends = []
        for sign in (1, -1):
            weight.assign(start + sign * step * direction)
            ends.append(float(loss()))
        weight.assign(start)
        slope = (ends[0] - ends[1]) / (2 * step)
        ours = np.sum(np.asarray(tf.convert_to_tensor(gradient)) * direction)
        assert np.any(np.asarray(tf.convert_to_tensor(gradient))), weight.path
        np.testing.assert_allclose(ours, slope, rtol=1e-5, atol=1e-6)


@every_kind_real_and_some_complex
@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_stack_is_the_same_to_the_bit(kind, number, tied, tmp_path):
    signals = "float32" if number == "float" else "complex64"
    model = stack(kind, "float32", tied, signals=signals)
    disturb(model)
    y = normal(4, M, dtype=signals)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(y), model(y))
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    linears = [layer.linear for layer in loaded.layers if hasattr(layer, "linear")]
    assert len(set(map(id, linears))) == (1 if tied else 3)
    assert loaded.summary(print_fn=lambda text: None) is None


def test_a_loaded_stack_grows_as_a_new_one(tmp_path):
    """The step of the gradient is that of the matrix, which the file holds alone."""
    model = stack("lista", "float32")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    y, x = normal(4, M), normal(4, N)
    new, expected = (
        ListaBlock(None, tied_to=one.layers[1])(y, x) for one in (loaded, model)
    )
    np.testing.assert_array_equal(new, expected)


def test_blocks_of_one_shrinkage_share_it_after_loading_too(tmp_path):
    shrinkage, y = SplineShrinkage(), keras.Input((M,))
    first = LampBlock(normal(M, N), shrinkage)
    state = LampBlock(None, shrinkage, tied_to=first)(y, first(y))
    model = keras.Model(y, state[0])
    assert len(model.trainable_weights) == 4
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(loaded.trainable_weights) == 4


@every_kind
def test_any_leading_dimensions(kind):
    model = stack(kind)
    block = make(kind, normal(M, N), dtype="float64")
    y = normal(2, 3, M)
    for outputs in zip(
        keras.tree.flatten(block(y)),
        keras.tree.flatten(block(y.reshape(6, M))),
        strict=True,
    ):
        rows = np.reshape(outputs[0], (6, -1))
        np.testing.assert_allclose(rows, outputs[1], rtol=1e-12, atol=1e-14)
    assert model.output.shape == (None, N)


@every_kind
@pytest.mark.parametrize(
    ("dtype", "error"), [("mixed_float16", 0.01), ("mixed_bfloat16", 0.1)]
)
def test_half_precision_is_for_products_alone(kind, dtype, error):
    exact, half = stack(kind, "float32"), stack(kind, dtype)
    y = normal(50, M)
    ours, theirs = half(y), np.asarray(exact(y))
    assert keras.backend.standardize_dtype(ours.dtype) == dtype[6:]
    assert half.output.dtype == dtype[6:]
    difference = np.linalg.norm(tf.cast(ours, "float32") - theirs)
    assert difference < error * np.linalg.norm(theirs)
    states = keras.tree.flatten(half.layers[1](y))[1:]
    assert {state.dtype for state in states} <= {tf.float32}


@pytest.mark.parametrize("kind", ["lista-analytic", "lamp", "lvamp"])
def test_compiled_by_xla_it_is_the_same(kind):
    model, y = stack(kind), normal(4, M)
    compiled = tf.function(model, jit_compile=True)(tf.constant(y))
    np.testing.assert_allclose(compiled, model(y), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("block", [ListaBlock, LampBlock, LvampBlock])
@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.ones(3), "`matrix` must be an array of numbers [M, N]"),
        (None, "`matrix` must be an array of numbers [M, N]"),
        ([["a", "b"]], "`matrix` must be an array of numbers [M, N]"),
        (np.eye(3), "`matrix` must have fewer rows than columns"),
        (np.full((2, 3), np.nan), "`matrix` must be finite. Received: matrix with 6"),
        (np.ones((2, 3)), "`matrix` must have full rank"),
        (np.zeros((2, 3)), "`matrix` must have full rank"),
        (np.diag([1.0, 1e-11, 0])[:2], "`matrix` must have full rank"),
    ],
    ids=str,
)
def test_a_matrix_that_is_none_ends_in_one_line(block, matrix, words):
    with pytest.raises(ValueError) as caught:
        block(matrix)
    assert words in str(caught.value)
    assert "Received: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("block", [ListaBlock, LampBlock, LvampBlock])
def test_measurements_of_another_size_end_in_one_line(block):
    block = block(np.eye(2, 3))
    for y in (
        np.ones((4, 3)),
        np.float32(1.0),
        keras.Input((3,)),
        tf.ones((4, 2), "complex64"),
    ):
        with pytest.raises(ValueError, match=r"^`y` must .* Received: y .*$") as caught:
            block(y)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("block", [LampBlock, LvampBlock])
def test_numbers_of_numpy_are_numbers(block):
    assert block(np.eye(2, 3), damping=np.float32(0.5)).damping == 0.5
    with pytest.raises(ValueError, match="`damping` must be a number above 0, up to 1"):
        block(np.eye(2, 3), damping=np.float32(1.5))


JAX = """
import sys
import jax, keras, numpy as np
import zoo.layers

assert keras.backend.backend() == "jax"
for path in sys.argv[1:]:
    model = keras.models.load_model(path)
    truth = np.load(path + ".npz")
    weights = [w.value for w in model.trainable_weights]
    fixed = [w.value for w in model.non_trainable_weights]

    def loss(weights):
        x, _ = model.stateless_call(weights, fixed, truth["y"])
        return abs(x).sum(), x

    gradients, x = jax.jit(jax.grad(loss, has_aux=True))(weights)
    np.testing.assert_allclose(x, truth["x"], rtol=1e-3, atol=1e-4, err_msg=path)
    assert all(np.isfinite(gradient).all() for gradient in gradients), path
"""


def test_jax_loads_and_agrees(tmp_path):
    paths = []
    for kind, signals in (
        ("lista-rank", "float32"),
        ("lista-analytic", "float32"),
        ("lvamp-learn", "float32"),
        ("lamp", "complex64"),
        ("lvamp-dense", "complex64"),
    ):
        model = stack(kind, "float32", depth=2, signals=signals)
        disturb(model)
        paths.append(str(tmp_path / f"{kind}.keras"))
        y = normal(4, M, dtype=signals)
        model.save(paths[-1])
        np.savez(paths[-1] + ".npz", y=y, x=model(y))
    subprocess.run(
        [sys.executable, "-c", JAX, *paths],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
        },
        check=True,
        capture_output=True,
    )
