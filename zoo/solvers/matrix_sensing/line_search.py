"""The exact line search: along a line, the misfit of factors is a quartic."""

import math

import keras
from keras import ops

from zoo._backend.compiling import fused, widest_float


def exact_step(residual, first, second):
    """Minimises `|residual + t first + t^2 second|^2` over all `t`.

    Args:
        residual: `[..., m]`.
        first: `[..., m]`.
        second: `[..., m]`.

    Returns:
        `t`, `[...]`, in the dtype of `residual`; 0 where the misfit does not change.
    """
    # Near the solution the products differ by more than float32 holds.
    a0, a1, a2 = (ops.cast(x, widest_float()) for x in (residual, first, second))
    pairs = (a0, a1), (a1, a1), (a0, a2), (a1, a2), (a2, a2)
    products = ops.stack([ops.sum(a * b, axis=-1) for a, b in pairs], axis=-1)
    t = _minima(ops.reshape(products, (-1, len(pairs))))
    return ops.cast(ops.reshape(t, products.shape[:-1]), residual.dtype)


def _minima_of_products(products):
    a01, a11, a02, a12, a22 = ops.unstack(products, num=5, axis=-1)
    return quartic_minimum(a01, a11 + 2 * a02, 3 * a12, 2 * a22)


_minima = fused(_minima_of_products, columns=5)


def quartic_minimum(c0, c1, c2, c3):
    """Returns the `t` of the least `c0 t + c1 t^2/2 + c2 t^3/3 + c3 t^4/4`, `c3 >= 0`.

    The roots of the derivative in closed form, made better by Newton's method. In units
    of the least root that any two of its terms could have, so that no power of it
    leaves the range of float32.
    """
    tiny = ops.cast(1e-30, c0.dtype)
    size = ops.maximum(abs(c0), tiny)
    linear = size / ops.maximum(abs(c1), tiny)
    square = ops.sqrt(size / ops.maximum(abs(c2), tiny))
    cubic = (size / ops.maximum(abs(c3), tiny)) ** (1 / 3)
    unit = ops.minimum(linear, ops.minimum(square, cubic))
    c0, c1 = c0 / size, c1 / size * unit
    c2, c3 = c2 / size * unit * unit, c3 / size * unit * unit * unit
    # The closed form is blind for the nearest root where the others are far away.
    near = (
        -2
        * c0
        / ops.maximum(c1 + ops.sqrt(ops.maximum(c1 * c1 - 4 * c0 * c2, 0.0)), 1e-3)
    )
    least = 1e-30 if keras.backend.standardize_dtype(c3.dtype) == "float64" else 1e-6
    t = cubic_roots(c0, c1, c2, ops.maximum(c3, least))
    t = ops.concatenate([near[..., None], t], axis=-1)
    c0, c1, c2, c3 = (c[..., None] for c in (c0, c1, c2, c3))
    for _ in range(3):
        slope = ((c3 * t + c2) * t + c1) * t + c0
        curvature = (3 * c3 * t + 2 * c2) * t + c1
        t = t - ops.where(curvature > 0, slope / ops.maximum(curvature, 1e-20), 0.0)
    values = (((c3 / 4 * t + c2 / 3) * t + c1 / 2) * t + c0) * t
    best = ops.argmin(values, axis=-1)[..., None]
    return unit * ops.take_along_axis(t, best, axis=-1)[..., 0]


def cubic_roots(c0, c1, c2, c3):
    """Returns the real roots of `c0 + c1 t + c2 t^2 + c3 t^3`, `[..., 3]`.

    One that is alone is there three times.
    """
    shift = c2 / (3 * c3)
    q = c1 / (3 * c3) - shift * shift
    r = (shift * c1 - c0) / (2 * c3) - shift * shift * shift
    discriminant = r * r + q * q * q
    # Of the two cube roots, the one without cancellation.
    cube = abs(r) + ops.sqrt(ops.maximum(discriminant, 0.0))
    cube_root = ops.maximum(cube, 1e-30) ** (1 / 3)
    cube_root = ops.where(r < 0, -cube_root, cube_root)
    single = cube_root - q / cube_root
    radius = ops.sqrt(ops.maximum(-q, 0.0))
    cosine = r / ops.maximum(radius * radius * radius, 1e-30)
    angle = ops.arccos(ops.clip(cosine, -1.0, 1.0))[..., None] / 3
    turns = ops.convert_to_tensor([0.0, 2 * math.pi / 3, 4 * math.pi / 3], c0.dtype)
    triple = 2 * radius[..., None] * ops.cos(angle + turns)
    roots = ops.where(discriminant[..., None] > 0, single[..., None], triple)
    return roots - shift[..., None]
