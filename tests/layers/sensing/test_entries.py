import warnings

import numpy as np
import pytest

from zoo.layers.sensing import EntrySensing


def test_entries_in_the_order_they_are_given():
    generator = np.random.default_rng(0)
    rows, columns = np.divmod(generator.permutation(6 * 9)[:40], 9)
    operator = EntrySensing(rows, columns, (6, 9), dtype="float64")
    u, v = generator.normal(size=(6, 2)), generator.normal(size=(9, 2))
    np.testing.assert_allclose(operator(u, v), (u @ v.T)[rows, columns], atol=1e-14)
    matrices = np.zeros((40, 6, 9))
    matrices[range(40), rows, columns] = 1
    np.testing.assert_array_equal(operator.dense(), matrices)
    np.testing.assert_allclose(operator.scale, np.sqrt(40 / 54), rtol=1e-12)


def test_symmetric_entries_are_halves_of_two():
    rows, columns = [0, 2, 1, 2], [0, 0, 2, 2]
    operator = EntrySensing(rows, columns, (3, 3), symmetric=True, dtype="float64")
    generator = np.random.default_rng(0)
    u, v = generator.normal(size=(2, 3, 2))
    x = u @ v.T
    expected = (x + x.T)[rows, columns] / 2
    np.testing.assert_allclose(operator(u, v), expected, atol=1e-14)
    matrices = operator.dense()
    np.testing.assert_array_equal(matrices, np.swapaxes(matrices, 1, 2))
    # Six dimensions of symmetric matrices; two entries see 1, and two see 1/2.
    np.testing.assert_allclose(operator.scale, np.sqrt(3 / 6), rtol=1e-12)
    np.testing.assert_allclose(operator.scale**2, np.sum(matrices**2) / 6, rtol=1e-12)


def test_knowing_all_entries_is_an_isometry():
    rows, columns = np.indices((4, 5)).reshape(2, -1)
    assert EntrySensing(rows, columns, (4, 5)).scale == 1.0
    rows, columns = np.triu_indices(4)
    operator = EntrySensing(rows, columns, (4, 4), symmetric=True)
    # Of a symmetric matrix, an entry off the diagonal counts twice in its norm.
    np.testing.assert_allclose(operator.scale, np.sqrt(14 / 20))


def test_stores_two_ints_a_measurement():
    operator = EntrySensing(np.arange(100) % 10, np.arange(100) // 10, (10, 10))
    assert [weight.dtype for weight in operator.weights] == ["int32", "int32"]
    assert operator.cost_estimate(3) == {"bytes": 800, "flops": 4 * 100 * 3}


@pytest.mark.parametrize(
    "rows, columns, symmetric, message",
    [
        ([2, 0], [0, 2], False, r"^1 rows and 1 columns of X are in no measurement"),
        ([0, 1, 2], [0, 0, 0], False, r"^0 rows and 2 columns of X"),
        ([0, 0], [0, 1], True, r"^1 rows and 1 columns of X"),
    ],
)
def test_warns_of_what_has_no_sample(rows, columns, symmetric, message):
    with pytest.warns(UserWarning, match=message):
        EntrySensing(rows, columns, (3, 3), symmetric=symmetric)


def test_does_not_warn_where_each_row_and_column_has_a_sample():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EntrySensing([0, 1, 2], [2, 1, 0], (3, 3))
        # Entry (1, 2) tells of row 2 as well.
        EntrySensing([0, 1], [0, 2], (3, 3), symmetric=True)


@pytest.mark.parametrize(
    "rows, columns, kwargs, message",
    [
        (
            [0, 1, 0, 0],
            [1, 1, 1, 1],
            {},
            r"entries must be different\. Received: 2 repeated, the first \(0, 1\) at "
            r"position 2$",
        ),
        (
            [2, 0, 1],
            [0, 2, 1],
            {"symmetric": True},
            r"entries must be different\. Received: 1 repeated, the first \(0, 2\) at "
            r"position 1$",
        ),
        (
            [0, 3, 4],
            [0, 1, 2],
            {},
            r"`rows` must be from 0 to 2\. Received: 2 that are not, the first 3 at "
            r"position 1$",
        ),
        ([0, 1], [0, -1], {}, r"`columns` must be from 0 to 2\. Received: 1 that"),
        (
            [0, 1, 2],
            [0, 1],
            {},
            r"`rows` and `columns` must be equally many\. Received: 3 rows and 2",
        ),
        ([0.0, 1.0], [0, 1], {}, r"`rows` must be one axis of ints.* dtype float64$"),
        ([0, 1], [True, False], {}, r"`columns` must be one axis of ints.* dtype bool"),
        ([[0, 1]], [0, 1], {}, r"`rows` must be one axis .* shape \(1, 2\)"),
        ([], [], {}, r"`rows` must be one axis of ints, not empty"),
    ],
)
def test_says_what_is_wrong_in_one_line(rows, columns, kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        EntrySensing(rows, columns, (3, 3), **kwargs)
    assert "\n" not in str(caught.value)


def test_symmetric_needs_a_square():
    with pytest.raises(ValueError, match="needs a square `shape`"):
        EntrySensing([0], [0], (2, 3), symmetric=True)
