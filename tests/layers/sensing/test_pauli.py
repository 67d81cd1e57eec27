"""Pauli sensing against Kronecker products, and against itself in steps."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.layers.sensing import PauliSensing, pauli, to_complex, to_stacked

PAULIS = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}


def kronecker(string):
    return functools.reduce(np.kron, [PAULIS[letter] for letter in string])


def all_strings(num_qubits):
    return [
        "".join(letters) for letters in itertools.product("IXYZ", repeat=num_qubits)
    ]


def complex_normal(generator, *shape):
    return generator.normal(size=shape) + 1j * generator.normal(size=shape)


@st.composite
def problems(draw):
    """Strings in any order, two factors and weights, with or without a batch."""
    q = draw(st.integers(1, 4))
    m = draw(st.integers(1, 4**q))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    strings = generator.permutation(all_strings(q))[:m].tolist()
    batch = draw(st.sampled_from([(), (2,), (2, 3)]))
    rank = draw(st.integers(1, 3))
    u, v = (complex_normal(generator, *batch, 2**q, rank) for _ in range(2))
    return strings, u, v, generator.normal(size=(*batch, m))


@settings(max_examples=40)
@given(problems(), st.sampled_from([1, 64, 2**19]))
def test_measures_and_pulls_as_kronecker_products_do(problem, table_size):
    strings, u, v, e = problem
    matrices = np.array([kronecker(string) for string in strings])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pauli, "TABLE_SIZE", table_size)
        operator = PauliSensing(strings, dtype="float64")
    state = np.einsum("mij,...jr,...ir->...m", matrices, u, u.conj())
    both = np.einsum("mij,...jr,...ir->...m", matrices, u, v.conj()).real
    pulled = np.einsum("...m,mij,...jr->...ir", e, matrices, v)
    np.testing.assert_allclose(state.imag, 0, atol=1e-12)
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-11)
    close(operator(to_stacked(u)), state.real)
    close(operator(to_stacked(u), to_stacked(v)), both)
    close(to_complex(operator.adjoint_matmul(e, to_stacked(v))), pulled)
    close(to_complex(operator.adjoint_matmul_left(e, to_stacked(v))), pulled)


@pytest.mark.parametrize("num_qubits", [1, 2, 3, 4])
def test_dense_is_the_kronecker_products(num_qubits):
    strings = all_strings(num_qubits)
    matrices = PauliSensing(strings).dense()
    np.testing.assert_array_equal(matrices, [kronecker(s) for s in strings])


def test_masks_are_strings_too():
    operator = PauliSensing((np.array([0, 2, 3]), np.array([1, 2, 0])), num_qubits=2)
    assert operator.strings == ["IZ", "YI", "XX"]
    assert operator.num_qubits == 2 and operator.shape == (4, 4)


def test_measurements_keep_the_order_of_the_strings():
    strings = ["ZZI", "III", "XYX", "IZZ", "YYX", "XXX"]
    ghz = np.array([1, 0, 0, 0, 0, 0, 0, 1])[:, None] / np.sqrt(2)
    operator = PauliSensing(strings, dtype="float64")
    assert operator.strings == strings
    np.testing.assert_allclose(
        operator(to_stacked(ghz)), [1, 1, 0, 1, -1, 1], atol=1e-14
    )
    backwards = PauliSensing(strings[::-1], dtype="float64")
    np.testing.assert_allclose(
        backwards(to_stacked(ghz)), [1, -1, 1, 0, 1, 1], atol=1e-14
    )


def test_steps_change_nothing(monkeypatch):
    whole = PauliSensing.random(6, 900, dtype="float64")
    monkeypatch.setattr(pauli, "TABLE_SIZE", 2**8)
    stepped = PauliSensing.random(6, 900, dtype="float64")
    generator = np.random.default_rng(0)
    u, v = (tf.constant(generator.normal(size=(3, 128, 2))) for _ in range(2))
    e = tf.constant(generator.normal(size=(3, 900)))

    def run(operator):
        def measured(u, v, e):
            with tf.GradientTape() as tape:
                tape.watch(u)
                y = operator(u, v)
                value = tf.reduce_sum(e * y)
            return y, operator.adjoint_matmul(e, v), tape.gradient(value, u)

        return measured

    expected = run(whole)(u, v, e)
    # The gradient of `<e, A(U V^T)>` is what the adjoint pulls back.
    np.testing.assert_allclose(expected[2], expected[1], atol=1e-10)
    for jit_compile in (False, True):
        compiled = tf.function(run(stepped), jit_compile=jit_compile)
        for got, want in zip(compiled(u, v, e), expected, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-10)


def test_works_inside_a_while_loop():
    operator = PauliSensing.random(5, 300)
    u = tf.random.normal((64, 1), seed=0) / 8

    @tf.function
    def descend(u):
        def body(i, u):
            return i + 1, u - 1e-3 * operator.adjoint_matmul(operator(u), u)

        return tf.while_loop(lambda i, u: i < 3, body, (0, u))[1]

    expected = u
    for _ in range(3):
        expected -= 1e-3 * operator.adjoint_matmul(operator(expected), expected)
    np.testing.assert_allclose(descend(u), expected, rtol=1e-5, atol=1e-6)


def test_scale_is_that_of_random_hermitian_matrices():
    # X X^H - Y Y^H has the spread of the Gaussian unitary ensemble.
    generator = np.random.default_rng(0)
    operator = PauliSensing.random(5, 600, dtype="float64")
    x, y = (complex_normal(generator, 20, 32, 64) for _ in range(2))
    measured = np.array(operator(to_stacked(x)) - operator(to_stacked(y)))
    gram = x @ x.conj().swapaxes(-1, -2) - y @ y.conj().swapaxes(-1, -2)
    ratio = np.sum(measured**2) / np.sum(np.abs(gram) ** 2)
    # 20 matrices of 1024 degrees of freedom, 600 of them seen.
    assert np.sqrt(ratio) == pytest.approx(operator.scale, rel=0.03)


def test_random_strings_are_distinct_seeded_and_not_the_identity():
    operator = PauliSensing.random(3, 63)
    assert set(operator.strings) == set(all_strings(3)) - {"III"}
    first, again = (PauliSensing.random(8, 500, seed=1).strings for _ in range(2))
    assert first == again != PauliSensing.random(8, 500, seed=2).strings


def test_random_strings_are_made_without_a_loop_over_them():
    operator = PauliSensing.random(12, 33554)
    assert operator.cost_estimate()["bytes"] == 8 * 33554
    assert len(set(operator.strings)) == 33554


def test_random_strings_are_uniform():
    letters = np.array([list(s) for s in PauliSensing.random(6, 2000).strings])
    for letter in "IXYZ":
        share = np.mean(letters == letter, axis=0)
        # Four deviations of 2000 draws.
        np.testing.assert_allclose(share, 0.25, atol=0.04)


def test_saved_and_loaded_it_measures_the_same(tmp_path):
    operator = PauliSensing.random(4, 50)
    model = keras.Sequential([keras.Input((32, 2)), operator])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(3, 32, 2)).astype("float32")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.layers[-1].strings == operator.strings


def test_stacked_and_complex_are_inverse():
    factor = complex_normal(np.random.default_rng(0), 2, 8, 3)
    stacked = to_stacked(factor)
    np.testing.assert_array_equal(stacked[:, :8], factor.real)
    np.testing.assert_array_equal(stacked[:, 8:], factor.imag)
    np.testing.assert_array_equal(to_complex(stacked), factor)
    assert to_complex(np.ones((4, 1), "float32")).dtype == "complex64"


@pytest.mark.parametrize(
    ("strings", "num_qubits", "message"),
    [
        (["XX", "XA"], None, r"letters I, X, Y and Z. .*strings\[1\]='XA'"),
        (["XX", "xx"], None, r"strings\[1\]='xx'"),
        (["XX", "X\u00d1"], None, r"strings\[1\]"),
        (["XX", "XYZ"], None, r"one length. .*strings\[0\]='XX', strings\[1\]='XYZ'"),
        (["XX", 3], None, r"strings\[1\]=3"),
        ([""], None, "one length"),
        ([], None, "list of strings"),
        (None, None, "list of strings"),
        ("XYZ", None, "list of strings"),
        (["XX", "ZZ", "XX", "ZZ"], None, "string 2 is string 0 again"),
        (["XX", "ZZ"], 3, "2 letters"),
        (([0, 1], [1, 4]), 2, "from 0 to 3. Received: masks from 0 to 4"),
        (([0, -1], [1, 1]), 2, "from -1 to 1"),
        (([0.0, 1.0], [1, 1]), 2, "must be ints"),
        (([True, False], [1, 1]), 2, "must be ints"),
        (([0, 1], [1]), 2, r"shapes \[\(2,\), \(1,\)\]"),
        (([0, 1], [1, 2], [1, 2]), 2, "pair of arrays"),
        ((np.ones((2, 2), int), np.ones((2, 2), int)), 2, "pair of arrays"),
        (([1, 0, 1], [2, 2, 2]), 2, "string 2 is string 0 again"),
        (([0, 1], [1, 2]), None, "num_qubits=None"),
        (([0, 1], [1, 2]), 17, "`num_qubits` must be 16 at most"),
        (([0, 1], [1, 2]), True, "num_qubits=True"),
        (["X" * 17], None, "16 at most"),
    ],
)
def test_bad_strings_are_told_in_one_line(strings, num_qubits, message):
    with pytest.raises(ValueError, match=message) as error:
        PauliSensing(strings, num_qubits)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("num_qubits", "count", "message"),
    [
        (0, 1, "num_qubits=0"),
        (17, 1, "16 at most"),
        (2, 0, "num_measurements=0"),
        (2, 16, "`num_measurements` must be 15 at most"),
    ],
)
def test_bad_sizes_are_told_in_one_line(num_qubits, count, message):
    with pytest.raises(ValueError, match=message):
        PauliSensing.random(num_qubits, count)


@pytest.mark.parametrize("shape", [(4, 1), (16, 1), (8,), (3, 4, 1)])
def test_factors_of_other_sizes_are_told(shape):
    operator = PauliSensing(["XX"])
    operator2 = PauliSensing(["XXX"])
    wrong = operator2 if shape == (8,) else operator
    with pytest.raises(ValueError, match="real above the imaginary"):
        wrong(np.ones(shape))
