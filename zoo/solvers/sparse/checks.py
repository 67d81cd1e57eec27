"""What is checked before sparse signals are sought."""

import numpy as np

from zoo.layers.shrinkage import Shrinkage
from zoo.losses.checks import check_integer, check_number


def check_matrix(matrix):
    """Returns `A` as a float64 or complex128 array `[M, N]`."""
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or not matrix.size or matrix.dtype.kind not in "biufc":
        raise ValueError(
            "`matrix` must be an array of numbers [M, N]. "
            f"Received: matrix of shape {matrix.shape} and dtype {matrix.dtype}"
        )
    _check_finite("matrix", matrix)
    if not matrix.any():
        raise ValueError("`matrix` must not be 0. Received: matrix of zeros")
    return _wide(matrix)


def check_signals(matrix, y, truth=None):
    """Returns the matrix, `y` and the truth in double precision, alike complex or real.

    Raises:
        ValueError: they have no shapes that go together, or are not finite.
    """
    matrix = check_matrix(matrix)
    m, n = matrix.shape
    y = np.asarray(y)
    if not y.ndim or y.shape[-1] != m or not y.size:
        raise ValueError(
            f"`y` must have the matrix's {m} measurements on its last axis. "
            f"Received: y of shape {y.shape}, matrix of shape {matrix.shape}"
        )
    arrays = [matrix, y]
    if truth is not None:
        truth = np.asarray(truth)
        if truth.shape != (*y.shape[:-1], n):
            raise ValueError(
                f"`truth` must be of shape {(*y.shape[:-1], n)}. "
                f"Received: truth of shape {truth.shape}"
            )
        arrays.append(truth)
    for name, array in zip(("matrix", "y", "truth"), arrays, strict=False):
        _check_finite(name, array)
    is_complex = any(map(np.iscomplexobj, arrays))
    arrays = [_wide(array, is_complex) for array in arrays]
    return arrays if truth is not None else (*arrays, None)


def check_numbers(name, value, shape=(), low=None):
    """Returns a number or an array, from `low` up; above 0 if that is `None`.

    Raises:
        ValueError: it is of another shape, or a number is not allowed.
    """
    numbers = np.asarray(value, "float64")
    allowed = "above 0" if low is None else f"from {low} up"
    if numbers.shape not in ((), shape):
        others = f", or an array of shape {shape}" if shape else ""
        raise ValueError(
            f"`{name}` must be one number{others}. "
            f"Received: {name} of shape {numbers.shape}"
        )
    valid = np.isfinite(numbers) & (numbers > 0 if low is None else numbers >= low)
    if not valid.all():
        wrong = numbers[~valid].flat[0]
        raise ValueError(f"`{name}` must be {allowed}. Received: {name}={wrong}")
    return numbers


def check_shrinkage(shrinkage, size):
    """Builds a shrinkage function for signals of a size where it is not yet.

    Raises:
        ValueError: it is none, or computes in less than float32.
    """
    if not isinstance(shrinkage, Shrinkage):
        raise ValueError(
            "`shrinkage` must be a `zoo.layers.shrinkage.Shrinkage`. "
            f"Received: shrinkage of type {type(shrinkage).__name__}"
        )
    policy = {shrinkage.compute_dtype, shrinkage.variable_dtype}
    if policy not in ({"float32"}, {"float64"}):
        raise ValueError(
            "`shrinkage` must have the dtype float32 or float64. "
            f"Received: shrinkage of dtype {shrinkage.dtype_policy.name}"
        )
    if not shrinkage.built:
        shrinkage.build((None, size))


def check_limits(iterations, tolerance):
    """Returns when an iteration ends."""
    iterations = check_integer("iterations", iterations, 1)
    return iterations, check_number("tolerance", tolerance, 0)


def check_rank(values, shape):
    """Checks that no singular value is 0 but for rounding.

    Raises:
        ValueError: some are.
    """
    rank = np.count_nonzero(values > values[0] * max(shape) * np.finfo("float64").eps)
    if rank < len(values):
        which = "rows" if shape[0] <= shape[1] else "columns"
        raise ValueError(
            f"`matrix` must have full rank: leave out {which} that are combinations of "
            f"others. Received: matrix of shape {shape} and rank {rank}"
        )


def _check_finite(name, array):
    wrong = np.size(array) - np.count_nonzero(np.isfinite(array))
    if wrong:
        raise ValueError(
            f"`{name}` must be finite. Received: {name} with {wrong} values that are "
            "NaN or infinite"
        )


def _wide(array, is_complex=None):
    if is_complex is None:
        is_complex = np.iscomplexobj(array)
    return array.astype("complex128" if is_complex else "float64")
