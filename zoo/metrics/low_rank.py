"""How near a matrix of low rank is to another; of both, the factors are all it takes.

A matrix is given as a factor `u`, `[..., n, r]`, of `U U^T` (`U U^H` if it is complex),
or as a pair `(u, v)` of `U V^T`. What is given has leading dimensions alike, a batch.
All is computed in double precision, and no matrix of `n` by `n` is formed. The real
factors of `zoo.layers.sensing.PauliSensing` are made complex by `to_complex`.
"""

import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.sensing import SensingOperator, to_stacked


def relative_error(
    estimate: Array | tuple[Array, Array], truth: Array | tuple[Array, Array]
) -> float | np.ndarray:
    """Returns `|X - X*|_F / |X*|_F`.

    The difference is taken of small triangular factors: errors down to 1e-15 are seen,
    where `|X|^2 - 2 <X, X*> + |X*|^2` is blind below 1e-8.

    Args:
        estimate: `X`, a factor or a pair of them.
        truth: `X*`, likewise.

    Returns:
        A float, or a float64 array of a batch.

    Raises:
        ValueError: these are no factors, their sizes differ, or `X*` is 0.

    Example:

    >>> truth = np.array([[1.0], [2.0]])
    >>> relative_error(-truth, truth) < 1e-15  # (-u)(-u)^T is u u^T
    True
    >>> round(relative_error((truth, 1.1 * truth), truth), 12)
    0.1
    """
    size = np.linalg.norm(_core(truth), axis=(-2, -1))
    if not np.all(size > 0):
        raise ValueError("`truth` must not be 0.")
    error = np.linalg.norm(_core(estimate, truth), axis=(-2, -1))
    return _plain(error / size)


def procrustes_distance(u: Array, v: Array) -> float | np.ndarray:
    """Returns `min |U - V R|_F` over orthogonal `R`.

    Of complex factors it is over unitary `R`. Factors of the same `U U^H` are at
    distance 0, and no others are.

    Args:
        u: `[..., n, r]`.
        v: `[..., n, r]`.

    Returns:
        A float, or a float64 array of a batch.

    Raises:
        ValueError: these are no factors, or their shapes differ.

    Example:

    >>> u = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> procrustes_distance(u, u[:, ::-1])
    0.0
    """
    u, v = _array(u), _array(v)
    if u.shape != v.shape:
        raise ValueError(
            "`u` and `v` must be of one shape. "
            f"Received: u.shape={u.shape}, v.shape={v.shape}"
        )
    left, _, right = np.linalg.svd(_conjugate(v) @ u)
    return _plain(np.linalg.norm(u - v @ (left @ right), axis=(-2, -1)))


def fidelity(u: Array, v: Array) -> float | np.ndarray:
    """Returns the fidelity of two quantum states `rho = U U^H` and `sigma = V V^H`.

    `(tr sqrt(sqrt(rho) sigma sqrt(rho)))^2 = (sum of singular values of U^H V)^2`

    Of pure states it is `|<u, v>|^2`. States have trace 1; others are taken as they
    are, and their traces multiply the fidelity.

    Args:
        u: `[..., n, r]`.
        v: `[..., n, s]`.

    Returns:
        A float, 1 for equal states and 0 for orthogonal ones, or a float64 array of a
        batch.

    Raises:
        ValueError: these are no factors, or their sizes differ.

    Example:

    >>> zero, plus = np.array([[1.0], [0.0]]), np.array([[1.0], [1.0]]) / np.sqrt(2)
    >>> round(fidelity(zero, plus), 12)
    0.5

    Reference:

    - Jozsa, 1994, "Fidelity for Mixed Quantum States", Journal of Modern Optics 41
    """
    u, v = _array(u), _array(v)
    _check_rows(u, v)
    overlap = np.linalg.svd(_conjugate(u) @ v, compute_uv=False)
    return _plain(np.sum(overlap, axis=-1) ** 2)


def trace_distance(
    estimate: Array | tuple[Array, Array], truth: Array | tuple[Array, Array]
) -> float | np.ndarray:
    """Returns `|X - X*|_1 / 2`, half the sum of the singular values.

    Of two quantum states it is the largest difference in the probability of any
    event: 0 for equal ones, 1 for orthogonal ones.

    Args:
        estimate: `X`, a factor or a pair of them.
        truth: `X*`, likewise.

    Returns:
        A float, or a float64 array of a batch.

    Raises:
        ValueError: these are no factors, or their sizes differ.

    Example:

    >>> zero, plus = np.array([[1.0], [0.0]]), np.array([[1.0], [1.0]]) / np.sqrt(2)
    >>> round(trace_distance(zero, plus), 12)  # sqrt(1 - fidelity)
    0.707106781187
    """
    return _plain(_singular_values(estimate, truth).sum(axis=-1) / 2)


def measurement_residual(
    operator: SensingOperator, factors: Array | tuple[Array, Array], y: Array
) -> float | np.ndarray:
    """Returns `|A(X) - y| / |y|`: how well a matrix explains what was measured.

    Args:
        operator: a `zoo.layers.sensing.SensingOperator`. One that centers its
            measurements sees those of `y` centered.
        factors: `X`, a factor or a pair of them. Complex ones are stacked.
        y: `[..., m]`.

    Returns:
        A float, or a float64 array of a batch.

    Raises:
        ValueError: these are no factors.

    Example:

    >>> from zoo.layers.sensing import DenseSensing
    >>> operator = DenseSensing(np.ones((1, 2, 2)))
    >>> measurement_residual(operator, np.ones((2, 1)), np.array([5.0]))  # A(X) = 4
    0.2
    """
    u, v = _pair(factors)
    if operator.hermitian:
        # The operator takes `U V^H`.
        u, v = to_stacked(u + 0j), to_stacked(np.conj(v) + 0j)
    y = np.asarray(ops.convert_to_numpy(operator.center(y)), "float64")
    error = np.asarray(ops.convert_to_numpy(operator(u, v)), "float64") - y
    return _plain(np.linalg.norm(error, axis=-1) / np.linalg.norm(y, axis=-1))


def effective_rank(factors: Array | tuple[Array, Array]) -> float | np.ndarray:
    """Returns `exp(-sum p_i log p_i)`, with `p` the singular values over their sum.

    It is `r` for `r` equal singular values, and falls to 1 as one outgrows the others:
    a rank that does not hang on a threshold.

    Args:
        factors: `X`, a factor or a pair of them.

    Returns:
        A float, or a float64 array of a batch.

    Raises:
        ValueError: these are no factors, or `X` is 0.

    Example:

    >>> round(effective_rank(np.eye(5)[:, :3]), 12)
    3.0

    Reference:

    - Roy and Vetterli, 2007, "The effective rank: A measure of effective
      dimensionality", European Signal Processing Conference
    """
    values = _singular_values(factors)
    total = values.sum(axis=-1, keepdims=True)
    if not np.all(total > 0):
        raise ValueError("`factors` must not be of a matrix that is 0.")
    p = values / total
    # 0 log 0 is 0.
    return _plain(np.exp(-np.sum(p * np.log(np.where(p > 0, p, 1)), axis=-1)))


def _singular_values(*matrices):
    return np.linalg.svd(_core(*matrices), compute_uv=False)


def _core(matrix, subtracted=None):
    """A small matrix with the singular values of `X`, or of `X - Y`."""
    left, right = _pair(matrix)
    if subtracted is not None:
        u, v = _pair(subtracted)
        _check_rows(left, u)
        _check_rows(right, v)
        left = np.concatenate([left, u], axis=-1)
        right = np.concatenate([right, -v], axis=-1)
    left, right = (np.linalg.qr(factor, mode="r") for factor in (left, right))
    return left @ np.swapaxes(right, -1, -2)


def _pair(factors):
    """`U` and `V` of the matrix `U V^T`, in double precision."""
    if isinstance(factors, tuple):
        u, v = map(_array, factors)
        if u.shape[-1] != v.shape[-1]:
            raise ValueError(
                "A pair of factors must have as many columns. "
                f"Received: factors of shapes {u.shape} and {v.shape}"
            )
        return u, v
    u = _array(factors)
    return u, np.conj(u)


def _array(factor):
    factor = np.asarray(factor)
    if factor.ndim < 2:
        raise ValueError(
            "A factor must be `[..., n, r]`. "
            f"Received: a factor of shape {factor.shape}"
        )
    return factor.astype("complex128" if np.iscomplexobj(factor) else "float64")


def _check_rows(one, other):
    if one.shape[-2] != other.shape[-2]:
        raise ValueError(
            "Factors must have as many rows. "
            f"Received: factors of shapes {one.shape} and {other.shape}"
        )


def _conjugate(factor):
    return np.conj(np.swapaxes(factor, -1, -2))


def _plain(x):
    return float(x) if np.ndim(x) == 0 else x
