import numpy as np
import pytest
from keras import ops

from zoo.layers.sensing import SparseSensing

KINDS = ["gaussian", "sign", "rank_one"]
sparse_ones = pytest.mark.filterwarnings("ignore:.*are in no measurement")


def matrices(operator):
    """The matrices `A_i`, one place after the other from the stored weights."""
    weights = {
        weight.name: ops.convert_to_numpy(weight).astype("float64")
        for weight in operator.weights
    }
    (n1, n2), m = operator.shape, operator.num_measurements
    result = np.zeros((m, n1, n2))
    if operator.kind == "rank_one":
        vectors = []
        for side, size in (("left", n1), ("right", n2)):
            vectors.append(np.zeros((m, size)))
            places = weights[f"{side}_places"].astype(int).reshape(-1, m)
            for row, values in zip(places, weights[f"{side}_values"], strict=True):
                vectors[-1][np.arange(m), row] += values
        result = np.einsum("mi,mj->mij", *vectors)
    else:
        if "places" in weights:
            rows, columns = np.divmod(weights["places"].astype(int), n2)
        else:
            rows, columns = (
                weights[f"{side}_places"].astype(int) for side in ("left", "right")
            )
        values = weights["values"]
        unit = np.sqrt(n1 * n2 / (len(values) * m))
        for i, j, row in zip(
            rows.reshape(-1, m), columns.reshape(-1, m), values, strict=True
        ):
            result[np.arange(m), i, j] += unit * row
    return (result + np.swapaxes(result, 1, 2)) / 2 if operator.symmetric else result


@sparse_ones
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    "shape, m, density",
    [
        ((12, 12), 40, 0.2),
        ((12, 12), 40, 0.8),
        ((12, 12), 9, 1.0),
        ((60, 60), 30, 1e-3),
    ],
)
def test_measures_by_the_stored_places(kind, symmetric, shape, m, density):
    operator = SparseSensing(
        shape, m, kind, density, symmetric=symmetric, seed=2, dtype="float64"
    )
    a = matrices(operator)
    np.testing.assert_allclose(operator.dense(), a, atol=1e-13)
    generator = np.random.default_rng(0)
    u, v = (generator.normal(size=(2, n, 3)) for n in shape)
    expected = np.einsum("mij,bir,bjr->bm", a, u, v)
    np.testing.assert_allclose(operator(u, v), expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["gaussian", "sign"])
@pytest.mark.parametrize("density", [0.01, 0.3, 0.5, 0.9, 1.0])
def test_each_matrix_has_so_many_entries(kind, density):
    operator = SparseSensing((20, 30), 50, kind, density)
    counts = np.count_nonzero(matrices(operator), axis=(1, 2))
    np.testing.assert_array_equal(counts, round(density * 600))


@sparse_ones
def test_at_least_one_entry():
    a = matrices(SparseSensing((5, 5), 3, "gaussian", 1e-6))
    np.testing.assert_array_equal(np.count_nonzero(a, axis=(1, 2)), 1)
    a = matrices(SparseSensing((5, 5), 3, "rank_one", 1e-6))
    np.testing.assert_array_equal(np.count_nonzero(a, axis=(1, 2)), 1)


@pytest.mark.parametrize("density", [0.2, 0.5, 0.7])
def test_all_places_are_equally_likely(density):
    operator = SparseSensing((5, 6), 4000, "sign", density)
    counts = np.count_nonzero(matrices(operator), axis=0)
    deviation = np.sqrt(4000 * density * (1 - density))
    assert np.abs(counts - 4000 * density).max() < 5 * deviation


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_an_isometry_on_average_over_draws(kind, symmetric):
    n, m = 10, 400
    dimension = n * (n + 1) / 2 if symmetric else n * n
    squares = [
        np.sum(
            matrices(SparseSensing((n, n), m, kind, 0.3, symmetric=symmetric, seed=s))
            ** 2
        )
        / dimension
        for s in range(40)
    ]
    error = np.std(squares) / np.sqrt(len(squares))
    assert abs(np.mean(squares) - 1) <= 5 * error + 1e-6
    assert SparseSensing((n, n), m, kind, 0.3, symmetric=symmetric).scale == 1.0


@pytest.mark.parametrize("kind", ["gaussian", "sign"])
def test_values_are_of_their_kind(kind):
    a = matrices(SparseSensing((20, 20), 200, kind, 0.25)) * np.sqrt(200 * 0.25)
    values = a[a != 0]
    assert abs(np.mean(values)) < 5 / np.sqrt(len(values))
    fourth = np.mean(values**4)
    np.testing.assert_allclose(fourth, 1 if kind == "sign" else 3, rtol=0.1)


@sparse_ones
def test_stores_numbers_and_places_of_what_is_not_zero():
    def stored(*arguments):
        return SparseSensing(*arguments).cost_estimate()["bytes"]

    assert stored((64, 64), 640, "gaussian", 0.1) == 640 * 410 * (4 + 4)
    assert stored((64, 64), 640, "sign", 0.1) == 640 * 410 * (4 + 1)
    assert stored((64, 32), 640, "rank_one", 0.1) == 640 * (6 + 3) * (4 + 4)
    # Too few for X to be formed: two ints a place.
    assert stored((512, 512), 100, "gaussian", 1e-4) == 100 * 26 * (4 + 8)
    assert stored((512, 512), 100, "sign", 1e-4) == 100 * 26 * (1 + 8)


def test_counts_multiplications_and_additions():
    formed = SparseSensing((64, 64), 640, "gaussian", 0.1)
    expected = 4 * 640 * 410 + 4 * 3 * 64 * 64
    assert formed.cost_estimate(rank=3)["flops"] == expected
    vectors = SparseSensing((64, 32), 640, "rank_one", 0.1)
    assert vectors.cost_estimate(rank=3)["flops"] == 4 * 640 * (6 + 3) * 3


def test_a_seed_is_an_operator_and_a_precision_is_not():
    one, same, other = (
        matrices(SparseSensing((9, 9), 40, seed=seed, dtype=dtype))
        for seed, dtype in ((1, "float32"), (1, "float64"), (2, "float32"))
    )
    np.testing.assert_allclose(one, same, atol=1e-7)
    assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_warns_of_what_no_measurement_sees(kind):
    with pytest.warns(UserWarning, match=r"^\d+ rows and \d+ columns of X are in no"):
        SparseSensing((50, 50), 10, kind, 1e-3)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"shape": (3,)}, r"`shape` must be two ints from 1 up\. Received: shape=\(3,"),
        ({"num_measurements": 0}, r"`num_measurements` must be an int from 1 up\."),
        (
            {"kind": "dense"},
            r"`kind` must be one of \('gaussian', 'sign', 'rank_one'\)\. Received: "
            r"kind='dense'$",
        ),
        ({"density": 0}, r"`density` must be above 0, up to 1\. Received: density=0$"),
        ({"density": 1.5}, r"`density` must be above 0, up to 1\. Received: density=1"),
        ({"density": np.nan}, r"`density` must be above 0, up to 1\. Received"),
        ({"shape": (3, 4), "symmetric": True}, r"`symmetric=True` needs a square"),
    ],
)
def test_says_what_is_wrong(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SparseSensing(**{"shape": (4, 4), "num_measurements": 20, **kwargs})
