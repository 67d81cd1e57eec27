"""Least squares: what recovers any matrix, once there are enough measurements."""

import numpy as np
import scipy.linalg

from zoo._types import Array
from zoo.layers.sensing import SensingOperator
from zoo.solvers.matrix_sensing.checks import check_measurements


def least_squares(operator: SensingOperator, y: Array) -> np.ndarray:
    """Returns the matrix of least norm among those that fit the measurements best.

    It takes as many measurements as `X` has entries, `n (n + 1) / 2` for a symmetric
    one, and then no assumption on its rank: the baseline of methods that make one.

    Args:
        operator: a `zoo.layers.sensing.SensingOperator` with sides of at most 512.
        y: `[m]`, measured values, real and finite.

    Returns:
        `X`, float64 array `[n1, n2]`, complex for a Hermitian operator.

    Raises:
        ValueError: the operator is too large, or `y` is not as above.

    Example:

    >>> from zoo.layers.sensing import GaussianSensing
    >>> x = np.diag([1.0, 2.0, 3.0])
    >>> operator = GaussianSensing((3, 3), 6, symmetric=True)
    >>> y = np.einsum("mij,ij->m", operator.dense(), x)
    >>> print(np.abs(least_squares(operator, y) - x).max() < 1e-5)
    True
    """
    y = check_measurements(operator, y)
    if y.ndim > 1:
        raise ValueError(
            f"`y` must be of one problem, [m]. Received: y of shape {y.shape}"
        )
    y = np.asarray(operator.center(y))
    matrices = operator.dense()
    # What the rounding of the matrices alone lets be seen is not.
    smallest = 10 * np.finfo(operator.variable_dtype).eps
    if not operator.symmetric:
        flat = matrices.reshape(len(matrices), -1)
        return _solve(flat, y, smallest).reshape(operator.shape)
    # An orthonormal basis of the symmetric matrices: an entry off the diagonal and its
    # mirror count as one, root 2 times as large.
    matrices = (matrices + np.conj(np.swapaxes(matrices, 1, 2))) / 2
    n, (rows, columns) = operator.shape[0], np.triu_indices(operator.shape[0], 1)
    above = 2**0.5 * matrices[:, rows, columns]
    pieces = [matrices.real[:, range(n), range(n)], above.real]
    if operator.hermitian:
        pieces.append(above.imag)
    entries = _solve(np.concatenate(pieces, axis=1), y, smallest)
    entries[n:] /= 2**0.5
    diagonal, real, imag = np.split(entries, [n, n + len(rows)])
    x = np.zeros(operator.shape, "complex128" if operator.hermitian else "float64")
    x[rows, columns] = real + 1j * imag if operator.hermitian else real
    return x + np.conj(x.T) + np.diag(diagonal)


def _solve(a, y, smallest):
    # By a QR decomposition with pivots: several times as fast as by singular values.
    a = a.astype("float64")
    return scipy.linalg.lstsq(a, y, cond=smallest, lapack_driver="gelsy")[0]
