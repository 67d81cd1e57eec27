"""Linear systems and eigenvalues of operators that are given by their products."""

import keras
import numpy as np
from keras import ops

# Residuals, over the right side, at which conjugate gradients end.
TOLERANCES = {"float32": 1e-6, "float64": 1e-12}
MOST_STEPS = 500
# Residuals of an eigenvector, over the largest eigenvalue, at which Lanczos's method
# ends. The error of the eigenvalue is its square over the gap to the next one.
LANCZOS_TOLERANCE = 1e-6


def inner(x, y):
    """Returns the inner product of each pair of images, `[batch, 1, 1, 1]`."""
    return ops.sum(x * y, axis=(1, 2, 3), keepdims=True)


def conjugate_gradients(product, b, x):
    """Solves `M x = b` for each image, with a symmetric and positive `M`.

    An image is done at `|b - M x| <= t |b|`, with `t` 1e-6 in float32 and 1e-12 in
    float64, and all of them after 500 steps.

    Args:
        product: function of images, that returns `M x`.
        b: `[batch, H, W, C]`.
        x: the same, where to start.

    Returns:
        The solutions, `[batch, H, W, C]`.
    """
    tolerance = TOLERANCES[keras.backend.standardize_dtype(b.dtype)]
    goal = tolerance**2 * inner(b, b)

    def body(count, x, residual, direction, energy):
        image = product(direction)
        active = energy > goal
        curvature = ops.where(active, inner(direction, image), 1.0)
        length = ops.where(active, energy / curvature, 0.0)
        x = x + length * direction
        residual = residual - length * image
        new_energy = inner(residual, residual)
        ratio = ops.where(active, new_energy / ops.where(active, energy, 1.0), 0.0)
        return count + 1, x, residual, residual + ratio * direction, new_energy

    residual = b - product(x)
    state = (0, x, residual, residual, inner(residual, residual))
    return ops.while_loop(
        lambda count, x, residual, direction, energy: ops.any(energy > goal),
        body,
        state,
        maximum_iterations=MOST_STEPS,
    )[1]


def shifted_solution(product, shift, b, x):
    """Solves `(M + shift I) x = b` by `conjugate_gradients`, with gradients.

    The gradient for `b` is the solution `u` for that of `x` as right side, and for
    `shift` it is `-u^T x`.

    Args:
        product, b, x: as for `conjugate_gradients`.
        shift: above 0, `[batch, 1, 1, 1]` or `[1, 1, 1, 1]`.

    Returns:
        The solutions, `[batch, H, W, C]`.
    """

    def solve(b, shift, x):
        def shifted(images):
            return product(images) + shift * images

        solution = conjugate_gradients(shifted, b, x)

        def gradient(upstream):
            pulled = conjugate_gradients(shifted, upstream, ops.zeros_like(upstream))
            slope = -inner(pulled, solution)
            one = shift.shape[0] == 1
            slope = ops.sum(slope, axis=0, keepdims=True) if one else slope
            return pulled, slope, ops.zeros_like(x)

        return solution, gradient

    if keras.backend.backend() != "jax":
        # These differentiate the loop itself, for all that `product` depends on too.
        return solve(b, shift, x)[0]
    return ops.custom_gradient(solve)(b, shift, x)


def extreme_eigenvalue(product, size, largest=True, most_steps=300):
    """Computes an end of the spectrum of a symmetric matrix by Lanczos's method.

    The start is drawn from a fixed seed: equal calls give equal results.

    Args:
        product: function of a NumPy vector, that returns its product with the matrix.
        size: int, the length of the vector.
        largest: bool, whether to return the largest eigenvalue or the smallest.
        most_steps: int, products that are made at most.

    Returns:
        The eigenvalue, and the norm of the residual of its eigenvector: some eigenvalue
        is at most so far off.
    """
    vector = np.random.default_rng(0).normal(size=size)
    vector, before = vector / np.linalg.norm(vector), np.zeros(size)
    diagonal, beside = [], []
    while True:
        image = product(vector)
        diagonal.append(vector @ image)
        image = image - diagonal[-1] * vector - (beside[-1] if beside else 0) * before
        norm = np.linalg.norm(image)
        steps = len(diagonal)
        # Rounding may take it past `size` steps.
        last = steps == most_steps or norm <= 1e-14 * max(map(abs, diagonal))
        if last or steps % 10 == 0:
            tridiagonal = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
            values, vectors = np.linalg.eigh(tridiagonal)
            end = -1 if largest else 0
            residual = norm * abs(vectors[-1, end])
            if last or residual <= LANCZOS_TOLERANCE * abs(values).max():
                return float(values[end]), float(residual)
        vector, before = image / norm, vector
        beside.append(norm)
