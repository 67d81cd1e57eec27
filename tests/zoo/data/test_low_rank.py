"""Random matrices of low rank, noise, and covariances of real data."""

import gzip
import urllib.error

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data import covariance, low_rank_matrix, measurement_noise

KINDS = ("psd", "hermitian", "general", "indefinite")


def dense(kind, factors):
    if kind == "psd":
        return factors @ factors.T
    if kind == "hermitian":
        n = len(factors) // 2
        u = factors[:n] + 1j * factors[n:]
        return u @ u.conj().T
    u, v = factors
    return u @ v.T


@settings(max_examples=60)
@given(
    st.sampled_from(KINDS),
    st.integers(1, 8),
    st.integers(1, 8),
    st.floats(1, 1e6),
    st.data(),
)
def test_norm_spectrum_and_symmetry_are_as_promised(kind, n1, n2, condition, data):
    n2 = n2 if kind == "general" else n1
    rank = data.draw(st.integers(1, min(n1, n2)))
    factors = low_rank_matrix((n1, n2), rank, condition, kind, seed=3)
    x = dense(kind, factors)
    assert x.shape == (n1, n2)
    np.testing.assert_allclose(np.linalg.norm(x), 1, rtol=1e-12)
    values = np.linalg.svd(x, compute_uv=False)
    powers = np.arange(rank) / max(rank - 1, 1)
    np.testing.assert_allclose(values[:rank] / values[0], condition**-powers, atol=1e-9)
    np.testing.assert_allclose(values[rank:], 0, atol=1e-14)
    if kind != "general":
        np.testing.assert_allclose(x, x.conj().T, atol=1e-15)
    else:
        u, v = factors
        np.testing.assert_allclose(u.T @ u, v.T @ v, atol=1e-14)
    if kind == "indefinite":
        u, v = factors
        half = (rank + 1) // 2
        np.testing.assert_array_equal(v, u * np.where(np.arange(rank) < half, 1, -1))
    arrays = factors if isinstance(factors, tuple) else (factors,)
    assert {array.dtype for array in arrays} == {np.dtype("float64")}


def test_both_signs_of_an_indefinite_matrix_have_large_values():
    u, v = low_rank_matrix((6, 6), 4, 8.0, "indefinite")
    values = np.linalg.eigvalsh(u @ v.T)
    np.testing.assert_allclose(
        np.sort(values / values.max()), [-0.5, -0.125, 0, 0, 0.25, 1], atol=1e-12
    )


@pytest.mark.parametrize("kind", ["psd", "hermitian"])
def test_singular_vectors_are_uniformly_distributed(kind):
    n, draws = 3, 4000
    factors = np.stack([low_rank_matrix((n, n), 1, 1.0, kind, s) for s in range(draws)])
    # Uniform on the sphere in `d` real dimensions: mean 0, fourth moment 3/(d (d + 2)).
    d = factors.shape[1]
    np.testing.assert_allclose(factors.mean(0), 0, atol=5 / np.sqrt(d * draws))
    np.testing.assert_allclose((factors**2).mean(0), 1 / d, rtol=0.08)
    np.testing.assert_allclose((factors**4).mean(0), 3 / (d * (d + 2)), rtol=0.15)


def test_a_seed_is_a_matrix():
    one, same = (low_rank_matrix((5, 5), 2, seed=7) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, low_rank_matrix((5, 5), 2, seed=8))


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"shape": 4}, "`shape` must be two ints"),
        ({"shape": (4, 5)}, "`shape` must be square for kind='psd'"),
        ({"rank": 5}, "`rank` must be from 1 to 4"),
        ({"rank": 0}, "`rank` must be an int from 1 up"),
        ({"condition": 0.5}, "`condition` must be a number from 1 up"),
        ({"condition": float("inf")}, "`condition` must be"),
        ({"kind": "spd"}, "`kind` must be one of"),
    ],
)
def test_mistakes_end_in_one_line(kwargs, words):
    with pytest.raises(ValueError) as caught:
        low_rank_matrix(**{"shape": (4, 4), "rank": 2, **kwargs})
    assert words in str(caught.value)
    assert "Received: " in str(caught.value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_is_relative_to_the_root_mean_square(dtype):
    y = np.random.default_rng(0).normal(3.0, 4.0, (2, 50_000)).astype(dtype)
    y[1] *= 1000
    noisy = measurement_noise(y, 0.2, seed=1)
    assert noisy.dtype == dtype
    noise = noisy - y
    np.testing.assert_allclose(noise.std(1), [0.2 * 5, 0.2 * 5000], rtol=0.02)
    np.testing.assert_allclose(noise.mean(1) / noise.std(1), 0, atol=0.02)
    np.testing.assert_array_equal(measurement_noise(y, 0.2, seed=1), noisy)
    assert not np.array_equal(measurement_noise(y, 0.2, seed=2), noisy)
    np.testing.assert_array_equal(measurement_noise(y, 0.0), y)


def test_noise_makes_floats_of_counts():
    assert measurement_noise(np.array([1, 2]), 0.1).dtype == np.float64


@pytest.mark.parametrize("level", [-0.1, float("nan"), "0.1"])
def test_noise_has_a_level_from_0_up(level):
    with pytest.raises(ValueError, match="`level` must be a number from 0 up"):
        measurement_noise(np.ones(3), level)


@pytest.mark.parametrize(("name", "features"), [("digits", 64), ("breast_cancer", 30)])
def test_embedded_covariances(name, features):
    matrix, source = covariance(name)
    assert name in source
    assert matrix.shape == (features, features)
    data = getattr(sklearn.datasets, f"load_{name}")().data
    truth = np.cov(data.T)
    np.testing.assert_allclose(matrix, truth / np.linalg.norm(truth), atol=1e-12)
    correlations, _ = covariance(name, standardize=True)
    varying = data.std(0) > 0
    truth = np.zeros((features, features))
    truth[np.ix_(varying, varying)] = np.corrcoef(data[:, varying].T)
    np.testing.assert_allclose(correlations, truth / np.linalg.norm(truth), atol=1e-12)


def test_the_distance_of_digits_from_low_rank():
    matrix, _ = covariance()
    values = np.linalg.eigvalsh(matrix)[::-1]
    assert values[-1] > -1e-15
    errors = [np.linalg.norm(values[rank:]) for rank in (10, 15, 30)]
    np.testing.assert_allclose(errors, [0.2052, 0.1286, 0.0368], atol=5e-4)


def cover_types(rows=40):
    """Quantities that vary by far more than the indicators beside them."""
    generator = np.random.default_rng(0)
    quantities = generator.normal(2000, 100, (rows, 10)).round()
    indicators = generator.integers(0, 2, (rows, 44))
    labels = generator.integers(1, 8, (rows, 1))
    return np.concatenate([quantities, indicators, labels], axis=1)


@pytest.mark.parametrize("file", ["covtype.data", "covtype.data.gz"])
def test_covtype_is_read_from_its_official_file(tmp_path, file):
    rows = cover_types()
    text = "\n".join(",".join(f"{value:.0f}" for value in row) for row in rows)
    opened = gzip.open if file.endswith("gz") else open
    with opened(tmp_path / file, "wt") as stream:
        stream.write(text)
    matrix, source = covariance("covtype", tmp_path)
    assert source == str(tmp_path / file)
    truth = np.cov(rows[:, :54].T)
    np.testing.assert_allclose(matrix, truth / np.linalg.norm(truth), atol=1e-12)
    values = np.linalg.eigvalsh(matrix)[::-1]
    assert values[9] > 100 * values[10]


def test_covtype_is_asked_of_scikit_learn_where_no_file_is(tmp_path, monkeypatch):
    asked = []

    def fetch(data_home):
        asked.append(data_home)
        return sklearn.utils.Bunch(data=cover_types()[:, :54])

    monkeypatch.setattr(sklearn.datasets, "fetch_covtype", fetch)
    for folder in (tmp_path, None):
        matrix, source = covariance("covtype", folder)
        assert matrix.shape == (54, 54) and source == "scikit-learn's covtype"
    assert asked == [tmp_path, None]


def test_a_missing_covtype_names_three_ways_to_get_it(tmp_path, monkeypatch):
    def fetch(data_home):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(sklearn.datasets, "fetch_covtype", fetch)
    with pytest.raises(FileNotFoundError) as caught:
        covariance("covtype", tmp_path)
    for words in ("no network", "(1)", "(2)", "(3)", "--data_dir", "digits"):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"1,2\n3,4\n", "must have 55 columns"),
        (b"1,2\n3\n", "cannot be read"),
        (b"a,b\n", "cannot be read"),
        (gzip.compress(b"1,2\n" * 99, mtime=0)[:-12], "cannot be read"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\0" + bytes(range(1, 99)), "cannot be read"),
    ],
)
def test_a_damaged_file_ends_in_one_line(tmp_path, content, words):
    packed = content.startswith(b"\x1f\x8b")
    path = tmp_path / ("covtype.data.gz" if packed else "covtype.data")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        covariance("covtype", tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_and_folders_are_checked(tmp_path):
    with pytest.raises(ValueError, match="`name` must be one of"):
        covariance("iris")
    with pytest.raises(FileNotFoundError, match="`data_dir` must be an existing"):
        covariance("covtype", tmp_path / "nowhere")
