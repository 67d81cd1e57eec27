import numpy as np
import pytest
import scipy.linalg
from keras import ops

from zoo.layers.sensing import HadamardSensing


def vectors(operator):
    """The vectors `a_i`, from the stored bits and SciPy's Hadamard matrix."""
    n, m = operator.shape[0], operator.num_measurements
    order = 1 << (n - 1).bit_length()
    blocks = -(-m // order)
    packed = ops.convert_to_numpy(operator.signs)
    bits = np.unpackbits(packed[None], axis=0, bitorder="little").reshape(-1)
    signs = 1.0 - 2.0 * bits[: 2 * blocks * order].reshape(2, blocks, order)
    low = 1 << (order.bit_length() - 1) // 2
    h = scipy.linalg.hadamard(order)
    rows = []
    for first, second in zip(*signs, strict=True):
        first = first.reshape(order // low, low).T.reshape(-1)
        rows.append(h @ np.diag(first) @ h @ np.diag(second) / np.sqrt(order))
    return np.concatenate(rows)[:m, :n]


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize(
    "n, m", [(2, 6), (3, 5), (8, 8), (8, 21), (13, 100), (64, 128), (100, 150)]
)
def test_measures_by_two_rounds_of_signs_and_hadamard(n, m, centered):
    operator = HadamardSensing(n, m, centered=centered, seed=3, dtype="float64")
    a = vectors(operator)
    outer = np.einsum("mi,mj->mij", a, a)
    if centered:
        outer -= outer.mean(axis=0)
    np.testing.assert_allclose(operator.dense(), outer, atol=1e-12)
    u = np.random.default_rng(0).normal(size=(2, n, 3))
    y = np.einsum("mij,bir,bjr->bm", outer, u, u)
    np.testing.assert_allclose(operator(u), y, atol=1e-11 * np.abs(y).max())


@pytest.mark.parametrize("n, columns", [(256, 16), (500, 5), (1024, 2)])
def test_many_columns_of_long_vectors(n, columns):
    operator = HadamardSensing(n, n + 7, centered=False, dtype="float64")
    a = vectors(operator)
    generator = np.random.default_rng(0)
    u, w = generator.normal(size=(n, columns)), generator.normal(size=(n + 7, columns))
    np.testing.assert_allclose(operator.lift(u), a @ u, atol=1e-10)
    pulled = operator.pull(np.ones(n + 7), w)
    np.testing.assert_allclose(pulled, a.T @ w, atol=1e-10)


def test_vectors_of_a_block_are_orthogonal_and_entries_of_unit_variance():
    a = vectors(HadamardSensing(256, 512))
    for block in np.split(a, 2):
        np.testing.assert_allclose(block @ block.T, 256 * np.eye(256), atol=1e-10)
    np.testing.assert_allclose(np.mean(a**2), 1.0, rtol=1e-12)
    # The fourth moment of a Gaussian variable is 3: 131,072 values, 256 a sign.
    np.testing.assert_allclose(np.mean(a**4), 3.0, rtol=0.05)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("n", [5, 8, 12])
def test_scale_is_the_average_over_signs(n, centered):
    m, order = 64, 8 if n <= 8 else 16
    squares = []
    for seed in range(100):
        a = vectors(HadamardSensing(n, m, seed=seed))
        norms = np.sum(a**2, axis=1)
        mean = np.trace(a.T @ a) ** 2 / (m * n) if centered else 0
        squares.append((norms @ norms - mean) / (n * (n + 1) / 2))
    operator = HadamardSensing(n, m, centered=centered)
    error = np.std(squares) / np.sqrt(len(squares))
    assert abs(operator.scale**2 - np.mean(squares)) <= 5 * error + 1e-9 * m
    if n == order:
        np.testing.assert_allclose(squares, operator.scale**2, rtol=1e-12)


def test_stores_two_bits_a_row():
    operator = HadamardSensing(4096, 50 * 4096)
    assert operator.cost_estimate()["bytes"] == 51_200
    assert [weight.dtype for weight in operator.weights] == ["uint8"]
    # Four transforms of 64 for each of two rounds, forward and back.
    flops = 2 * 2 * 50 * 4096 * 5 * 2 * (64 + 64)
    assert operator.cost_estimate(rank=5)["flops"] == flops


def test_a_seed_is_an_operator_and_a_precision_is_not():
    u = np.random.default_rng(0).normal(size=(20, 2))
    one, same, other, double = (
        np.asarray(HadamardSensing(20, 90, seed=seed, dtype=dtype)(u))
        for seed, dtype in ((1, None), (1, None), (2, None), (1, "float64"))
    )
    np.testing.assert_array_equal(one, same)
    np.testing.assert_allclose(one, double, rtol=1e-4, atol=1e-4)
    assert np.abs(one - other).max() > 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0, 10), r"`size` must be an int from 1 up\. Received: size=0$"),
        ((4.0, 10), r"`size` must be an int from 1 up\. Received: size=4\.0$"),
        ((4, 0), r"`num_measurements` must be an int from 1 up\. Received: num_meas"),
    ],
)
def test_says_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        HadamardSensing(*arguments)
