"""Matrices of low rank: random ones, and covariances of real data."""

import os
import pathlib
import warnings
import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np

from zoo._types import Array
from zoo.layers.checks import check_count
from zoo.layers.sensing.base import check_shape
from zoo.losses.checks import check_choice, check_number

KINDS = ("psd", "hermitian", "general", "indefinite")
COVARIANCES = ("digits", "breast_cancer", "covtype")
_COVTYPE_FILES = ("covtype.data.gz", "covtype.data")
_COVTYPE_FEATURES = 54


def low_rank_matrix(
    shape: Sequence[int],
    rank: int,
    condition: float = 1.0,
    kind: Literal["psd", "hermitian", "general", "indefinite"] = "psd",
    seed: int = 0,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Draws the factors of a random matrix of low rank and Frobenius norm 1.

    Its singular values fall geometrically, the first being `condition` times the last.
    Its singular vectors are orthonormal and uniformly distributed (Haar).

    | `kind` | `X` | returned |
    |---|---|---|
    | `"psd"` | `U U^T` | `U`, `[n, rank]` |
    | `"hermitian"` | `U U^H`, complex | `[Re U; Im U]`, `[2 n, rank]` |
    | `"general"` | `U V^T`, `U^T U = V^T V` | `U` and `V`, `[n1, rank]`, `[n2, rank]` |
    | `"indefinite"` | `U diag(s) U^T` | `U` and `U diag(s)`, both `[n, rank]` |

    The signs `s` are +1 for the first half of the columns, the longer if `rank` is odd,
    and -1 for the others, and the singular values alternate between the halves.

    Args:
        shape: pair of ints, the sizes `(n1, n2)` of `X`, equal unless `"general"`.
        rank: int from 1 to the smaller size.
        condition: float >= 1. A matrix of rank 1 has none. Defaults to 1.0.
        kind: one of the above. Defaults to `"psd"`.
        seed: int. Defaults to 0.

    Returns:
        A float64 array or a pair of them, as above.

    Raises:
        ValueError: an argument is outside what is allowed above.

    Example:

    >>> u = low_rank_matrix((64, 64), rank=2, condition=10.0)
    >>> spectrum = np.linalg.svd(u @ u.T, compute_uv=False)
    >>> print((spectrum[:3] / spectrum[0]).round(6), np.linalg.norm(u @ u.T).round(6))
    [1.  0.1 0. ] 1.0
    """
    n1, n2 = check_shape(shape)
    rank = check_count("rank", rank)
    condition = check_number("condition", condition, 1)
    check_choice("kind", kind, KINDS)
    if kind != "general" and n1 != n2:
        raise ValueError(
            f"`shape` must be square for kind={kind!r}. Received: shape={shape}"
        )
    if rank > min(n1, n2):
        raise ValueError(
            f"`rank` must be from 1 to {min(n1, n2)}, the smaller size. "
            f"Received: rank={rank}"
        )
    generator = np.random.default_rng(seed)
    spectrum = np.geomspace(1, 1 / condition, rank)
    roots = np.sqrt(spectrum / np.linalg.norm(spectrum))
    if kind == "hermitian":
        u = _orthonormal(generator, n1, rank, "complex128") * roots
        return np.concatenate([u.real, u.imag])
    u = _orthonormal(generator, n1, rank) * roots
    if kind == "psd":
        return u
    if kind == "general":
        return u, _orthonormal(generator, n2, rank) * roots
    u = np.concatenate([u[:, ::2], u[:, 1::2]], axis=1)
    return u, u * np.where(np.arange(rank) < (rank + 1) // 2, 1.0, -1.0)


def measurement_noise(y: Array, level: float, seed: int = 0) -> np.ndarray:
    """Adds Gaussian noise to measurements.

    Args:
        y: `[..., m]`.
        level: float >= 0, the standard deviation of the noise over the root mean square
            of `y` along its last axis.
        seed: int. Defaults to 0.

    Returns:
        A NumPy array of the shape of `y`, and of its dtype if that is a float.

    Raises:
        ValueError: `level` is no number from 0 up.

    Example:

    >>> y = np.full(100_000, 3.0)
    >>> print((measurement_noise(y, 0.1) - y).std().round(3))
    0.3
    """
    level = check_number("level", level, 0)
    y = np.asarray(y)
    noise = np.random.default_rng(seed).normal(size=y.shape)
    size = np.sqrt(np.mean(np.square(y), axis=-1, keepdims=True, dtype="float64"))
    return (y + level * size * noise).astype(np.result_type(y, "float32"))


def covariance(
    name: Literal["digits", "breast_cancer", "covtype"] = "digits",
    data_dir: str | os.PathLike[str] | None = None,
    *,
    standardize: bool = False,
) -> tuple[np.ndarray, str]:
    """Returns the covariance matrix of the features of a real data set.

    | name | features | samples |
    |---|---|---|
    | `"digits"` | 64 grey values | 1,797, embedded in scikit-learn |
    | `"breast_cancer"` | 30 measures of cell nuclei | 569, embedded in scikit-learn |
    | `"covtype"` | 54: 10 quantities, 44 indicators of 0 or 1 | 581,012 |

    Features are taken as they are: the ten quantities of covtype, in metres and
    degrees, vary by far more than its indicators, and the spectrum drops after ten
    values. Of correlations (`standardize=True`) all features have the same part. The
    nearest matrix of rank 15 is 0.13 away from that of digits, the norm of which is 1,
    and one of rank 2 is 0.002 away from that of breast_cancer.

    `covtype` is read from the official file `covtype.data`, gzipped or not, in
    `data_dir`, or else from where `sklearn.datasets.fetch_covtype(data_home=data_dir)`
    keeps it, which downloads it if need be.

    Args:
        name: one of the names above. Defaults to `"digits"`.
        data_dir: folder of covtype. Defaults to scikit-learn's own.
        standardize: bool, whether to divide every feature by its standard deviation. A
            constant one stays zero. Defaults to `False`.

    Returns:
        The matrix, float64 `[p, p]` of Frobenius norm 1, and one sentence, str, that
        says where the data came from.

    Raises:
        ValueError: `name` is none of the above, or the file is damaged.
        FileNotFoundError: `data_dir` does not exist, or the data cannot be had.

    Example:

    >>> matrix, source = covariance("digits")
    >>> matrix.shape, source
    ((64, 64), "scikit-learn's embedded digits")

    Reference:

    - Blackard and Dean, 1999, "Comparative accuracies of artificial neural networks and
      discriminant analysis in predicting forest cover types from cartographic
      variables", Computers and Electronics in Agriculture 24(3): covtype
    """
    check_choice("name", name, COVARIANCES)
    if data_dir is not None:
        data_dir = pathlib.Path(data_dir).expanduser()
        if not data_dir.is_dir():
            raise FileNotFoundError(
                f"`data_dir` must be an existing folder. Received: {str(data_dir)!r}"
            )
    if name == "covtype":
        features, source = _read_covtype(data_dir)
    else:
        import sklearn.datasets

        features = getattr(sklearn.datasets, f"load_{name}")().data
        source = f"scikit-learn's embedded {name}"
    features = features - features.mean(axis=0)
    if standardize:
        spread = features.std(axis=0)
        features /= np.where(spread > 0, spread, 1.0)
    matrix = features.T @ features
    return matrix / np.linalg.norm(matrix), source


def _orthonormal(generator, rows, columns, dtype="float64"):
    """A Haar distributed matrix of orthonormal columns."""
    square = generator.normal(size=(rows, columns)).astype(dtype)
    if dtype == "complex128":
        square += 1j * generator.normal(size=(rows, columns))
    q, r = np.linalg.qr(square)
    # QR leaves signs, or phases, to the routine: these make the factor unique.
    diagonal = np.diagonal(r)
    return q * (diagonal / np.abs(diagonal))


def _read_covtype(data_dir):
    from sklearn.datasets import fetch_covtype

    for file in _COVTYPE_FILES:
        path = data_dir and data_dir / file
        if path and path.is_file():
            try:
                rows = np.loadtxt(path, delimiter=",", ndmin=2)
            except (OSError, EOFError, ValueError, zlib.error) as error:
                raise ValueError(f"{path} cannot be read ({error}).") from error
            if rows.shape[1] != _COVTYPE_FEATURES + 1:
                raise ValueError(
                    f"{path} must have {_COVTYPE_FEATURES + 1} columns, of features "
                    f"and the label. It has {rows.shape[1]}."
                )
            return rows[:, :-1], str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # That it tries again.
            return fetch_covtype(data_home=data_dir).data, "scikit-learn's covtype"
    except OSError as error:
        raise FileNotFoundError(
            f"`covtype` was not found and cannot be downloaded ({error}): (1) put its "
            "official file covtype.data.gz into a folder and pass it as --data_dir; or "
            '(2) on a machine with a network run python -c "import sklearn.datasets as '
            "d; d.fetch_covtype(data_home='DIR')\" and copy DIR here as --data_dir; or "
            "(3) take digits, which needs no file."
        ) from error
