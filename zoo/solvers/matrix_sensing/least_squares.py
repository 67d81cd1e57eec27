"""Least squares: what recovers any matrix, once there are enough measurements."""

import numpy as np

from zoo.solvers.matrix_sensing.checks import check_measurements


def least_squares(operator, y):
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
    y = np.asarray(operator.center(check_measurements(operator, y)))
    matrices = operator.dense()
    if operator.hermitian:
        # Real and imaginary parts are the unknowns of a real system.
        parts = np.concatenate([matrices.real, matrices.imag], axis=-1)
        x = _solve(parts.astype("float64"), y)
        real, imag = np.split(x, 2, axis=-1)
        return real + 1j * imag
    return _solve(matrices.astype("float64"), y)


def _solve(matrices, y):
    flat = matrices.reshape(len(matrices), -1)
    # Rows in the span of the matrices: the solution keeps their symmetry.
    return np.linalg.lstsq(flat, y, rcond=None)[0].reshape(matrices.shape[1:])
