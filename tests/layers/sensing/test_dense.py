import numpy as np
import pytest
from keras import ops

from zoo.layers.sensing import DenseSensing, GaussianSensing, SignSensing
from zoo.layers.sensing.base import LARGEST_DENSE

GENERATOR = np.random.default_rng(0)
MATRICES = GENERATOR.normal(size=(11, 5, 5))
SYMMETRIC = (MATRICES + np.swapaxes(MATRICES, 1, 2)) / 2


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("symmetric", [False, True])
def test_measures_by_what_it_is_given(symmetric):
    a = SYMMETRIC if symmetric else MATRICES
    operator = DenseSensing(MATRICES, symmetric=symmetric, dtype="float64")
    np.testing.assert_allclose(operator.dense(), a, atol=1e-15)
    u, v = GENERATOR.normal(size=(2, 3, 5, 2))
    x = u @ np.swapaxes(v, 1, 2)
    np.testing.assert_allclose(
        operator(u, v), np.einsum("mij,bij->bm", a, x), atol=1e-13
    )
    e = GENERATOR.normal(size=(3, 11))
    g = np.einsum("bm,mij->bij", e, a)
    np.testing.assert_allclose(operator.adjoint_matmul(e, v), g @ v, atol=1e-13)


def test_a_symmetric_matrix_has_the_same_measurements_by_half_the_storage():
    whole, packed = (
        GaussianSensing((12, 12), 30, symmetric=symmetric, seed=4, dtype="float64")
        for symmetric in (False, True)
    )
    # Draws are of single precision, whatever they are stored in.
    a = whole.dense()
    np.testing.assert_allclose(
        packed.dense(), (a + np.swapaxes(a, 1, 2)) / 2, atol=1e-7
    )
    u = GENERATOR.normal(size=(12, 2))
    np.testing.assert_allclose(whole(u), packed(u), atol=2e-6)
    assert whole.cost_estimate()["bytes"] == 30 * 144 * 8
    assert packed.cost_estimate()["bytes"] == 30 * 78 * 8


def test_a_dense_operator_of_the_same_matrices_is_the_same():
    random = GaussianSensing((6, 4), 20, dtype="float64")
    given = DenseSensing(random.dense(), dtype="float64")
    u, v = GENERATOR.normal(size=(6, 2)), GENERATOR.normal(size=(4, 2))
    np.testing.assert_allclose(random(u, v), given(u, v), rtol=1e-12)


def test_scale_is_exact_where_matrices_are_given():
    for symmetric, dimension in ((False, 25), (True, 15)):
        operator = DenseSensing(MATRICES, symmetric=symmetric, dtype="float64")
        expected = np.sqrt(np.sum(operator.dense() ** 2) / dimension)
        assert operator.scale == pytest.approx(expected, rel=1e-12)


def test_gaussian_entries_have_variance_one_over_m():
    a = GaussianSensing((30, 20), 100).dense() * 10
    assert abs(a.mean()) < 5 / np.sqrt(a.size)
    # Moments of Gaussian variables, 5 standard errors off at most.
    for power, moment, variance in ((2, 1, 2), (4, 3, 96)):
        error = np.sqrt(variance / a.size)
        assert abs(np.mean(a.astype("float64") ** power) - moment) < 5 * error


def test_signs_are_all_of_one_size_and_in_bytes():
    operator = SignSensing((6, 9), 50)
    np.testing.assert_allclose(np.abs(operator.dense()), 50**-0.5, rtol=1e-6)
    assert [weight.dtype for weight in operator.weights] == ["int8"]
    assert operator.cost_estimate()["bytes"] == 50 * 6 * 9
    assert abs(np.mean(np.sign(operator.dense()))) < 5 / np.sqrt(50 * 6 * 9)
    assert operator.scale == pytest.approx(1.0)


def test_packed_signs_are_halves_of_sums():
    # Two opposite signs add up to none, and so cannot be told from their bytes alone.
    whole, packed = (
        SignSensing((6, 6), 50, symmetric=symmetric, seed=1)
        for symmetric in (False, True)
    )
    a = whole.dense()
    np.testing.assert_allclose(
        packed.dense(), (a + np.swapaxes(a, 1, 2)) / 2, atol=1e-7
    )
    assert packed.cost_estimate()["bytes"] == 50 * 21


@pytest.mark.parametrize("operator", [GaussianSensing, SignSensing])
def test_a_seed_is_an_operator_and_a_precision_is_not(operator):
    one, same, other = (
        operator((5, 6), 20, seed=seed, dtype=dtype).dense()
        for seed, dtype in ((1, "float32"), (1, "float64"), (2, "float32"))
    )
    np.testing.assert_allclose(one, same, atol=1e-7)
    assert np.abs(one - other).max() > 0.1


def test_flops_count_both_passes_over_the_matrices():
    operator = DenseSensing(MATRICES)
    assert operator.cost_estimate(2)["flops"] == 4 * 11 * 25 + 4 * 25 * 2


@pytest.mark.parametrize(
    "matrices, kwargs, message",
    [
        (
            MATRICES[0],
            {},
            r"`matrices` must be real and have 3 axes, none empty\. Rece",
        ),
        (MATRICES[:0], {}, r"`matrices` must be real .* of shape \(0, 5, 5\)"),
        (MATRICES * 1j, {}, r"`matrices` must be real .* dtype complex128"),
        (
            MATRICES * np.inf,
            {},
            r"`matrices` must be finite\. Received: matrices with 275",
        ),
        (MATRICES[:, :4], {"symmetric": True}, r"`symmetric=True` needs a square"),
    ],
)
def test_says_what_is_wrong_in_one_line(matrices, kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        DenseSensing(matrices, **kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("operator", [GaussianSensing, SignSensing])
@pytest.mark.parametrize(
    "arguments, message",
    [
        (((4,), 5), r"`shape` must be two ints from 1 up\. Received: shape=\(4,\)$"),
        (((4, 0), 5), r"`shape` must be two ints from 1 up\."),
        (((4, 4), 2.0), r"`num_measurements` must be an int from 1 up\."),
    ],
)
def test_random_ones_say_what_is_wrong(operator, arguments, message):
    with pytest.raises(ValueError, match=message):
        operator(*arguments)


def test_matrices_are_made_up_to_a_size_only():
    n = LARGEST_DENSE + 1
    with pytest.raises(ValueError, match=r"`dense` needs sides of 512 at most\. Rec"):
        DenseSensing(np.ones((1, 1, n))).dense()
