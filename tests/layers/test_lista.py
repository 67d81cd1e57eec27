"""Layers of learned ISTA against ISTA and FISTA in NumPy."""

import keras
import numpy as np
import pytest

from zoo.layers import ListaBlock

M, N, DEPTH, REGULARIZATION = 30, 60, 10, 0.05


def problem(kind="float64"):
    generator = np.random.default_rng(0)

    def normal(*shape):
        x = generator.normal(size=shape)
        return x if kind == "float64" else x + 1j * generator.normal(size=shape)

    matrix = normal(M, N) / np.sqrt(M)
    x = normal(7, N) * (generator.random((7, N)) < 0.1)
    return matrix, x @ matrix.T + 0.01 * normal(7, M)


def soft(r, threshold):
    magnitude = np.maximum(np.abs(r), 1e-300)
    return r / magnitude * np.maximum(magnitude - threshold, 0)


def ista(matrix, y, depth=DEPTH, fast=False):
    step = 1 / np.linalg.norm(matrix, 2) ** 2
    x = last = np.zeros((len(y), N), y.dtype)
    for t in range(1, depth + 1):
        momentum = (t - 2) / (t + 1) if fast else 0
        r = x + step * (y - x @ matrix.T) @ matrix.conj() + momentum * (x - last)
        x, last = soft(r, step * REGULARIZATION), x
    return x


def stack(matrix, tied, depth=DEPTH, **kwargs):
    """A model of new blocks."""
    y, x, first = keras.Input((M,), dtype=matrix.dtype.name), None, None
    kwargs = {"regularization": REGULARIZATION, "dtype": "float64", **kwargs}
    for _ in range(depth):
        block = ListaBlock(matrix, tied_to=first, **kwargs)
        first = block if tied else None
        x = block(y, x)
    return keras.Model(y, x)


@pytest.mark.parametrize("kind", ["float64", "complex128"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kwargs", [{}, {"rank": N}, {"coupling": "coupled"}], ids=str)
def test_a_stack_of_new_blocks_is_ista(kind, tied, kwargs):
    matrix, y = problem(kind)
    x = stack(matrix, tied, **kwargs)(y)
    assert np.any(np.asarray(x)) and not np.all(np.asarray(x))
    np.testing.assert_allclose(x, ista(matrix, y), atol=1e-10)


def test_with_momentum_it_is_fista():
    matrix, y = problem()
    inputs = keras.Input((M,), dtype="float64")
    x = last = first = None
    for t in range(1, DEPTH + 1):
        block = ListaBlock(
            matrix,
            REGULARIZATION,
            momentum=(t - 2) / (t + 1) if t > 2 else 0.0,
            tied_to=first,
            dtype="float64",
        )
        first = first or block
        x, last = block(inputs, x, last), x
    x = keras.Model(inputs, x)(y)
    np.testing.assert_allclose(x, ista(matrix, y, fast=True), atol=1e-10)
    assert np.abs(x - ista(matrix, y)).max() > 0.01


def test_the_fixed_point_solves_the_lasso():
    matrix, y = problem()
    block = ListaBlock(matrix, REGULARIZATION, coupling="coupled", dtype="float64")
    x = ista(matrix, y, 5000)
    np.testing.assert_allclose(block(y, x), x, atol=1e-12)
    gradient = (y - x @ matrix.T) @ matrix
    np.testing.assert_allclose(
        gradient[x != 0], REGULARIZATION * np.sign(x[x != 0]), atol=1e-8
    )
    assert np.abs(gradient).max() < REGULARIZATION + 1e-8


def test_a_low_rank_carry_is_the_nearest_one():
    matrix, _ = problem()
    block = ListaBlock(matrix, rank=35, dtype="float64")
    square = np.eye(N) - matrix.T @ matrix / np.linalg.norm(matrix, 2) ** 2
    left, values, right = np.linalg.svd(square)
    best = (left[:, :35] * values[:35]) @ right[:35]
    x = np.random.default_rng(1).normal(size=(3, N))
    np.testing.assert_allclose(block.linear.carry(x), x @ best.T, atol=1e-12)
    shapes = [tuple(weight.shape) for weight in block.linear.weights]
    assert shapes == [(N, M), (35, N), (N, 35)]


def test_analytic_weights_are_those_of_the_pseudoinverse():
    matrix, y = problem()
    block = ListaBlock(matrix, REGULARIZATION, coupling="analytic", dtype="float64")
    x = ista(matrix, y, 3)
    ours = np.asarray(block(y, x))
    back = np.asarray(block.linear.back_matrix)
    np.testing.assert_allclose(np.diag(back @ matrix), 1.0, rtol=1e-12)
    inverse = np.linalg.pinv(matrix)
    scale = back[:, :1] / inverse[:, :1]
    np.testing.assert_allclose(back, scale * inverse, rtol=1e-9)
    threshold = REGULARIZATION / np.linalg.norm(matrix, 2) ** 2
    expected = soft(x + (y - x @ matrix.T) @ back.T, threshold)
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    names = {weight.name for weight in block.trainable_weights}
    assert names == {"threshold", "step"}


@pytest.mark.parametrize("kind", ["float64", "complex128"])
def test_trusted_coordinates_pass_as_they_are(kind):
    matrix, y = problem(kind)
    threshold = REGULARIZATION / np.linalg.norm(matrix, 2) ** 2
    r = y @ matrix.conj() / np.linalg.norm(matrix, 2) ** 2
    r[0] *= 1e-3
    y[0] *= 1e-3
    x = np.asarray(ListaBlock(matrix, REGULARIZATION, trusted=0.1, dtype="float64")(y))
    for ours, theirs in zip(x, r, strict=True):
        places = np.argsort(-np.abs(theirs))[: round(0.1 * N)]
        places = places[np.abs(theirs[places]) > threshold]
        expected = soft(theirs, threshold)
        expected[places] = theirs[places]
        np.testing.assert_allclose(ours, expected, atol=1e-12)
    assert np.count_nonzero(x[0]) == 0


def test_a_threshold_for_each_signal_makes_the_block_scale():
    matrix, y = problem()
    block = ListaBlock(matrix, REGULARIZATION, per_signal=True, dtype="float64")
    scales = 10.0 ** np.arange(7)[:, None]
    np.testing.assert_allclose(block(scales * y), scales * block(y), rtol=1e-12)
    y = y / np.sqrt(np.mean(y**2, axis=-1, keepdims=True))
    np.testing.assert_allclose(block(y), ista(matrix, y, 1), atol=1e-12)


def test_a_threshold_for_each_coordinate():
    matrix, y = problem()
    block = ListaBlock(matrix, REGULARIZATION, coordinatewise=True, dtype="float64")
    np.testing.assert_allclose(block(y), ista(matrix, y, 1), atol=1e-12)
    (threshold,) = (w for w in block.weights if w.name == "threshold")
    assert threshold.shape == (N,)
    raw = np.array(threshold)
    raw[:-1] = 10.0
    threshold.assign(raw)
    changed = np.asarray(block(y))
    assert not changed[:, :-1].any() and changed[:, -1].any()


def test_a_start_of_ones_own():
    matrix, y = problem()
    back = 1.5 * np.linalg.pinv(matrix)
    for coupling in ("free", "coupled"):
        block = ListaBlock(
            matrix, REGULARIZATION, coupling, start=back, dtype="float64"
        )
        x = ista(matrix, y, 3)
        threshold = REGULARIZATION / np.linalg.norm(matrix, 2) ** 2
        expected = soft(x + (y - x @ matrix.T) @ back.T, threshold)
        np.testing.assert_allclose(block(y, x), expected, atol=1e-12)


MATRIX = np.eye(3, 5)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"regularization": 0.0}, "`regularization` must be a number above 0"),
        ({"coupling": "tied"}, "`coupling` must be one of"),
        ({"rank": 6}, "`rank` must be from 1 to 5, or None"),
        ({"rank": 0}, "`rank` must be an int from 1 up"),
        ({"rank": 2, "coupling": "coupled"}, "`rank` must be None unless"),
        ({"momentum": np.nan}, "`momentum` must be a finite number"),
        ({"trusted": 1.0}, "`trusted` must be a number from 0, below 1"),
        ({"per_signal": 1}, "`per_signal` must be a bool"),
        ({"coordinatewise": None}, "`coordinatewise` must be a bool"),
        ({"start": "ridge"}, "`start` must be 'ista' or an array"),
        ({"start": np.eye(3, 5)}, "`start` must be a name or a finite array of shape"),
        ({"start": 1j * np.eye(5, 3)}, "`start` must be real, as `matrix` is"),
        (
            {"start": np.eye(5, 3), "coupling": "analytic"},
            "`start` must be 'ista' with coupling='analytic'",
        ),
        ({"coupling": "coupled", "tied_to": "free"}, "`tied_to` must be a block of"),
        ({"coupling": "analytic", "tied_to": "coupled"}, "`tied_to` must be of the"),
        ({"rank": 2, "tied_to": "free"}, "`rank` must be None, or None as that of"),
    ],
    ids=str,
)
def test_mistakes_end_in_one_line(kwargs, words):
    if "tied_to" in kwargs:
        other = ListaBlock(MATRIX, coupling=kwargs["tied_to"])
        kwargs = {**kwargs, "tied_to": other}
    with pytest.raises(ValueError) as caught:
        ListaBlock(MATRIX, **kwargs)
    assert words in str(caught.value)
    assert "Received: " in str(caught.value)
    assert "\n" not in str(caught.value)
