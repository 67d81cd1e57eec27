"""Matrices of low rank against dense ones."""

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
from zoo.layers import LowRankMatrix
from zoo.layers.low_rank import LARGEST_DENSE, rebalance, truncate

ROOT = pathlib.Path(zoo.__file__).parents[1]
KINDS = ("psd", "hermitian", "general", "indefinite")
every_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind):
    """A layer of rank 3, in float64 and with random factors, and its matrix."""
    n1, n2 = shape = (7, 5) if kind == "general" else (6, 6)
    layer = LowRankMatrix(shape, 3, kind, dtype="float64")
    generator = np.random.default_rng(0)
    u = generator.normal(size=(n1, 3))
    if kind == "hermitian":
        imaginary = generator.normal(size=(n1, 3))
        layer.assign(np.concatenate([u, imaginary]))
        u = u + 1j * imaginary
        return layer, np.einsum("ic,jc->ij", u, u.conj())
    if kind == "general":
        v = generator.normal(size=(n2, 3))
        layer.assign(np.concatenate([u, v]))
        return layer, np.einsum("ic,jc->ij", u, v)
    layer.assign(u)
    signs = np.array([1, 1, -1 if kind == "indefinite" else 1])
    return layer, np.einsum("ic,c,jc->ij", u, signs, u)


def split(x):
    return np.concatenate([x.real, x.imag], axis=-1)


@every_kind
def test_all_ways_to_see_the_matrix_agree(kind):
    layer, truth = make(kind)
    n1, n2 = truth.shape
    np.testing.assert_allclose(layer.to_dense(), truth, rtol=1e-12)

    rows, columns = np.meshgrid(np.arange(n1), np.arange(n2), indexing="ij")
    entries = np.asarray(layer.entries(rows, columns))
    if kind == "hermitian":
        entries = entries[..., 0] + 1j * entries[..., 1]
    np.testing.assert_allclose(entries, truth, rtol=1e-12, atol=1e-14)

    x = np.random.default_rng(1).normal(size=(2, 3, n2))
    if kind == "hermitian":
        x = x + 1j * np.random.default_rng(2).normal(size=(2, 3, n2))
        expected = split(np.einsum("ij,abj->abi", truth, x))
        np.testing.assert_allclose(layer(split(x)), expected, rtol=1e-11, atol=1e-13)
    else:
        expected = np.einsum("ij,abj->abi", truth, x)
        np.testing.assert_allclose(layer(x), expected, rtol=1e-11, atol=1e-13)
        product = np.asarray(layer.left) @ np.asarray(layer.right).T
        np.testing.assert_allclose(product, truth, rtol=1e-12)


@every_kind
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_truncation_is_the_best_approximation(kind, rank):
    layer, truth = make(kind)
    left, values, right = np.linalg.svd(truth)
    best = (left[:, :rank] * values[:rank]) @ right[:rank]
    shorter = layer.truncate(rank)
    assert shorter.rank == rank and shorter.kind == kind
    np.testing.assert_allclose(shorter.to_dense(), best, atol=1e-13)
    np.testing.assert_allclose(layer.to_dense(), truth, rtol=1e-12)


def test_truncation_keeps_the_larger_values_whatever_their_signs():
    layer = LowRankMatrix((3, 3), 3, "indefinite", signs=[1, -1, -1], dtype="float64")
    layer.assign(np.diag([1.0, 3.0, 2.0]))
    shorter = layer.truncate(2)
    assert shorter.signs == (-1, -1)
    np.testing.assert_allclose(shorter.to_dense(), np.diag([0, -9, -4]), atol=1e-14)


@every_kind
def test_rebalancing_leaves_the_matrix_alone(kind):
    layer, truth = make(kind)
    if kind == "general":
        factor = np.asarray(layer.factor)
        layer.assign(np.concatenate([factor[:7] * 8, factor[7:] / 8]))
    before = np.asarray(layer.factor)
    layer.rebalance()
    np.testing.assert_allclose(layer.to_dense(), truth, rtol=1e-12)
    u, v = np.asarray(layer.left), np.asarray(layer.right)
    if kind == "general":
        np.testing.assert_allclose(u.T @ u, v.T @ v, atol=1e-12)
    else:
        np.testing.assert_array_equal(layer.factor, before)


sizes = st.integers(1, 6)


@settings(max_examples=30)
@given(st.data(), st.lists(st.integers(1, 3), max_size=2), st.floats(1e-3, 1e3))
def test_factors_are_rebalanced_and_truncated_in_batches(data, batch, size):
    n1, n2 = data.draw(sizes), data.draw(sizes)
    rank = data.draw(st.integers(1, min(n1, n2)))
    kept = data.draw(st.integers(1, rank))
    generator = np.random.default_rng(data.draw(st.integers(0, 99)))
    u = size * generator.normal(size=(*batch, n1, rank))
    v = generator.normal(size=(*batch, n2, rank))
    truth = np.einsum("...ic,...jc->...ij", u, v)

    new_u, new_v = map(np.asarray, rebalance(u, v))
    scale = np.linalg.norm(truth)
    np.testing.assert_allclose(
        np.einsum("...ic,...jc->...ij", new_u, new_v), truth, atol=1e-13 * scale
    )
    grams = [np.einsum("...ic,...id->...cd", x, x) for x in (new_u, new_v)]
    np.testing.assert_allclose(*grams, atol=1e-13 * scale)
    values = np.linalg.svd(truth, compute_uv=False)[..., :rank]
    diagonal = np.diagonal(grams[0], axis1=-2, axis2=-1)
    np.testing.assert_allclose(diagonal, values, atol=1e-13 * scale)

    new_u, new_v = map(np.asarray, truncate(u, v, kept))
    residual = truth - np.einsum("...ic,...jc->...ij", new_u, new_v)
    lost = np.sqrt(np.sum(values[..., kept:] ** 2, axis=-1))
    np.testing.assert_allclose(
        np.linalg.norm(residual, axis=(-2, -1)), lost, atol=1e-12 * scale
    )


def test_a_factor_without_full_rank_is_rebalanced():
    u, v = np.ones((5, 3)), np.zeros((4, 3))
    v[:, 0] = 1.0
    new_u, new_v = map(np.asarray, rebalance(u, v))
    np.testing.assert_allclose(new_u @ new_v.T, u @ v.T, atol=1e-14)
    np.testing.assert_allclose(new_u.T @ new_u, new_v.T @ new_v, atol=1e-14)


def test_signs_are_half_and_half_unless_given():
    for rank, signs in ((1, (1,)), (4, (1, 1, -1, -1)), (5, (1, 1, 1, -1, -1))):
        assert LowRankMatrix((6, 6), rank, "indefinite").signs == signs
    layer = LowRankMatrix((6, 6), 2, "indefinite", signs=np.array([-1.0, 1.0]))
    assert layer.signs == (-1, 1)
    assert type(layer).from_config(layer.get_config()).signs == (-1, 1)


def test_the_start_is_small_and_orthogonal():
    for kind in KINDS:
        factor = np.asarray(LowRankMatrix((9, 9), 3, kind).factor)
        np.testing.assert_allclose(factor.T @ factor, 1e-4 * np.eye(3), atol=1e-9)
    identity = keras.initializers.Identity(0.5)
    layer = LowRankMatrix((4, 4), 2, initializer=identity)
    np.testing.assert_array_equal(layer.factor, 0.5 * np.eye(4, 2))


@every_kind
def test_gradients_of_entries_are_those_of_the_dense_matrix(kind):
    layer, _ = make(kind)
    rows, columns = np.array([0, 2, 2]), np.array([1, 3, 2])
    width = 1e-6
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sin(layer.entries(rows, columns)))
    gradient = tape.gradient(loss, layer.factor.value)
    gradient = np.asarray(tf.convert_to_tensor(gradient))
    factor = np.asarray(layer.factor)
    for place in np.ndindex(*factor.shape):
        ends = []
        for sign in (1, -1):
            moved = factor.copy()
            moved[place] += sign * width
            layer.assign(moved)
            values = layer.to_dense()[rows, columns]
            values = np.stack([values.real, values.imag])
            ends.append(np.sin(values).sum())
        slope = (ends[0] - ends[1]) / (2 * width)
        np.testing.assert_allclose(gradient[place], slope, atol=1e-7)


def test_a_mask_passes():
    inputs = keras.Input((4, 3))
    outputs = LowRankMatrix((5, 3), 2, "general")(keras.layers.Masking()(inputs))
    assert outputs._keras_mask is not None


def test_a_matrix_too_large_to_show_still_gives_entries_and_products():
    layer = LowRankMatrix((4097, 4097), 1, initializer="ones")
    assert LARGEST_DENSE < 4097**2
    with pytest.raises(ValueError, match=r"4096 x 4096 entries at most.*4097"):
        layer.to_dense()
    assert float(layer.entries([4096], [0])[0]) == 1.0
    assert float(layer(np.ones((1, 4097)))[0, 0]) == 4097.0


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"shape": (4, 5)}, "`shape` must be square for kind='psd'"),
        ({"shape": 4}, "`shape` must be two ints from 1 up"),
        ({"rank": 5}, "`rank` must be from 1 to 4"),
        ({"rank": 0}, "`rank` must be an int from 1 up"),
        ({"rank": 2.0}, "`rank` must be an int from 1 up"),
        ({"shape": (4, 2), "rank": 3, "kind": "general"}, "`rank` must be from 1 to 2"),
        ({"kind": "symmetric"}, "`kind` must be one of"),
        ({"signs": [1, -1]}, "`signs` must be None unless kind='indefinite'"),
        ({"kind": "indefinite", "signs": [1]}, "`signs` must be 2 values of 1 or -1"),
        ({"kind": "indefinite", "signs": [1, 0]}, "`signs` must be 2 values of 1 or"),
        ({"kind": "indefinite", "signs": 1}, "`signs` must be 2 values of 1 or -1"),
    ],
)
def test_mistakes_end_in_one_line(kwargs, words):
    with pytest.raises(ValueError) as caught:
        LowRankMatrix(**{"shape": (4, 4), "rank": 2, **kwargs})
    assert words in str(caught.value)
    assert "Received: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mistakes_in_calls_end_in_one_line():
    layer = LowRankMatrix((4, 4), 2)
    with pytest.raises(ValueError, match=r"`factor` must be of shape \(4, 2\)"):
        layer.assign(np.zeros((2, 4)))
    for rank in (0, 3, 1.0):
        with pytest.raises(ValueError, match=r"`rank` must be .* Received: rank="):
            layer.truncate(rank)
    with pytest.raises(ValueError, match="expected axis -1 of input shape"):
        layer(np.zeros((1, 3)))


JAX = """
import keras, numpy as np
from zoo.layers import LowRankMatrix

assert keras.backend.backend() == "jax"
for kind in ("psd", "hermitian", "general", "indefinite"):
    layer = LowRankMatrix((6, 6), 3, kind, initializer="orthogonal")
    layer.rebalance()
    dense = layer.to_dense()
    left, values, right = np.linalg.svd(dense)
    best = (left[:, :2] * values[:2]) @ right[:2]
    np.testing.assert_allclose(layer.truncate(3).to_dense(), dense, atol=1e-5)
    if values[1] - values[2] > 0.01:
        np.testing.assert_allclose(layer.truncate(2).to_dense(), best, atol=1e-5)
    entries = np.asarray(layer.entries(np.arange(6), np.arange(6)[::-1]))
    if kind == "hermitian":
        entries = entries[..., 0] + 1j * entries[..., 1]
    np.testing.assert_allclose(entries, dense[:, ::-1].diagonal(), atol=1e-6)
    assert layer(np.ones((2, 12 if kind == "hermitian" else 6))).shape[0] == 2
"""


def test_jax_agrees():
    subprocess.run(
        [sys.executable, "-c", JAX],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
        },
        check=True,
        capture_output=True,
    )
