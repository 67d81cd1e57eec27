import warnings

import keras
import numpy as np
import pytest
from keras import ops

from zoo.layers.sensing import RankOneSensing

GENERATOR = np.random.default_rng(0)
A, B, C = (GENERATOR.normal(size=(30, n)) for n in (6, 8, 6))
OUTER = np.array([np.outer(a, a) for a in A])
CROSS = np.array([np.outer(a, b) for a, b in zip(A, B, strict=True)])
MIXED = np.array(
    [(np.outer(a, c) + np.outer(c, a)) / 2 for a, c in zip(A, C, strict=True)]
)


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def exact_scale(matrices, symmetric):
    """From the sum of the squared singular values over the dimension of the space."""
    n1, n2 = matrices.shape[1:]
    return np.sqrt(np.sum(matrices**2) / (n1 * (n1 + 1) / 2 if symmetric else n1 * n2))


@pytest.mark.parametrize(
    "arguments, kwargs, matrices",
    [
        ((A,), {}, OUTER),
        ((A,), {"symmetric": True}, OUTER),
        ((A,), {"centered": True}, OUTER - OUTER.mean(axis=0)),
        ((A, B), {}, CROSS),
        ((A, C), {"symmetric": True}, MIXED),
    ],
)
def test_measures_by_outer_products(arguments, kwargs, matrices):
    operator = RankOneSensing(*arguments, **kwargs, dtype="float64")
    np.testing.assert_allclose(operator.dense(), matrices, atol=1e-14)
    u, v = (GENERATOR.normal(size=(n, 2)) for n in operator.shape)
    expected = np.einsum("mij,ir,jr->m", matrices, u, v)
    np.testing.assert_allclose(operator(u, v), expected, atol=1e-12)
    assert operator.symmetric == (len(arguments) == 1 or "symmetric" in kwargs)


@pytest.mark.parametrize(
    "arguments, kwargs, matrices",
    [
        ((A,), {}, OUTER),
        ((A, B), {}, CROSS),
        ((A, C), {"symmetric": True}, MIXED),
    ],
)
def test_scale_is_exact(arguments, kwargs, matrices):
    operator = RankOneSensing(*arguments, **kwargs, dtype="float64")
    expected = exact_scale(matrices, operator.symmetric)
    np.testing.assert_allclose(operator.scale, expected, rtol=1e-12)


def test_centered_scale_is_exact_where_the_mean_is_a_multiple_of_the_identity():
    a = np.linalg.qr(GENERATOR.normal(size=(6, 6)))[0] * 2
    a = np.concatenate([a, np.linalg.qr(GENERATOR.normal(size=(6, 6)))[0]])
    outer = np.array([np.outer(row, row) for row in a])
    operator = RankOneSensing(a, centered=True, dtype="float64")
    expected = exact_scale(outer - outer.mean(axis=0), True)
    np.testing.assert_allclose(operator.scale, expected, rtol=1e-12)


@pytest.mark.parametrize("centered, factor", [(False, 22 / 21), (True, 1.0)])
def test_scale_of_gaussian_vectors(centered, factor):
    a = np.random.default_rng(1).normal(size=(40_000, 20))
    scale = RankOneSensing(a, centered=centered).scale
    # 40,000 draws of a variable of relative deviation below 1.
    np.testing.assert_allclose(scale**2 / (2 * len(a)), factor, rtol=0.02)


@pytest.mark.parametrize("centered", [False, True])
def test_centering_takes_the_trace_out_of_the_adjoint(centered):
    generator = np.random.default_rng(1)
    a, u = generator.normal(size=(200_000, 4)), generator.normal(size=(4, 1))
    operator = RankOneSensing(a, centered=centered, dtype="float64")
    mean = numpy(operator.adjoint_matmul(operator(u), np.eye(4))) / len(a)
    x = u @ u.T
    expected = 2 * x + (0 if centered else np.trace(x)) * np.eye(4)
    assert np.linalg.norm(mean - expected) < 0.05 * np.linalg.norm(expected)


def test_measured_values_are_centered_as_the_operator_is():
    plain = RankOneSensing(A, dtype="float64")
    centered = RankOneSensing(A, centered=True, dtype="float64")
    u = GENERATOR.normal(size=(3, 6, 2))
    y = numpy(plain(u))
    np.testing.assert_array_equal(plain.center(y), y)
    np.testing.assert_allclose(centered.center(y), centered(u), atol=1e-12)
    np.testing.assert_allclose(np.sum(centered(u), axis=-1), 0, atol=1e-11)


def test_stores_the_vectors_and_nothing_else():
    a, b = np.ones((50, 3)) * [1, 2, 3], np.ones((50, 7))
    assert RankOneSensing(a).cost_estimate()["bytes"] == 50 * 3 * 4
    assert RankOneSensing(a, b).cost_estimate()["bytes"] == 50 * (3 + 7) * 4
    both = RankOneSensing(a, a, symmetric=True, dtype="float64")
    assert both.cost_estimate()["bytes"] == 50 * 6 * 8


def test_counts_multiplications_and_additions():
    m, rank = 30, 2
    assert RankOneSensing(A).cost_estimate(rank)["flops"] == 4 * m * 6 * rank
    expected = 2 * m * rank * (6 + 8) + 2 * m * rank * 6
    assert RankOneSensing(A, B).cost_estimate(rank)["flops"] == expected
    both = RankOneSensing(A, C, symmetric=True)
    assert both.cost_estimate(rank)["flops"] == 8 * m * 6 * rank


@pytest.mark.parametrize("centered", [False, True])
def test_warns_that_signs_do_not_see_the_diagonal(centered):
    signs = np.sign(A)
    with pytest.warns(UserWarning, match=r"^the diagonal of X shows in nothing but"):
        operator = RankOneSensing(signs, centered=centered, dtype="float64")
    diagonal = np.diag([1.0, -1.0, 2.0, -2.0, 3.0, -3.0])
    np.testing.assert_allclose(operator(diagonal, np.eye(6)), 0, atol=1e-12)


def test_warns_of_rows_of_different_magnitudes_too():
    with pytest.warns(UserWarning, match="diagonal"):
        RankOneSensing(np.sign(A) * np.arange(1, 31)[:, None])


@pytest.mark.parametrize(
    "arguments",
    [(A,), (np.sign(A), np.sign(C)), (np.sign(A) * (A > -1),), (np.ones((5, 1)),)],
)
def test_does_not_warn_where_the_diagonal_is_seen(arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RankOneSensing(*arguments)


@pytest.mark.parametrize(
    "arguments, kwargs, message",
    [
        ((A[0],), {}, r"`a` must be real and have 2 axes, none empty\. Received: a of"),
        ((A * 1j,), {}, r"`a` must be real"),
        ((np.where(A > 2, np.nan, A),), {}, r"`a` must be finite\. Received: a with"),
        ((A, B[0]), {}, r"`b` must be real and have 2 axes"),
        ((A, B * np.inf), {}, r"`b` must be finite"),
        (
            (A, B[:7]),
            {},
            r"`a` and `b` must have one row a measurement\. Received: a of shape "
            r"\(30, 6\) and b of shape \(7, 8\)$",
        ),
        (
            (A, C),
            {"centered": True},
            r"`centered=True` needs `b=None`\. Received: centered=True and b of shape",
        ),
        ((A, B), {"symmetric": True}, r"`symmetric=True` needs a square `shape`\."),
    ],
)
def test_says_what_is_wrong_in_one_line(arguments, kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        RankOneSensing(*arguments, **kwargs)
    assert "\n" not in str(caught.value)


def test_the_scale_is_that_of_the_weights_of_now():
    a = np.random.default_rng(0).normal(size=(50, 6))
    operator = RankOneSensing(a)
    before = operator.scale
    operator.set_weights([2 * weight for weight in operator.get_weights()])
    assert operator.scale == pytest.approx(4 * before, rel=1e-6)
    factor = keras.Input((6, 2))
    keras.Model(factor, operator(factor)).set_weights([a])
    assert operator.scale == pytest.approx(before, rel=1e-6)
