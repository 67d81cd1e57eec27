"""The exact line search: along a line, the misfit of factors is a quartic."""

import math

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
    products = [ops.sum(a * b, axis=-1) for a, b in pairs]
    t = fused(
        lambda a01, a11, a02, a12, a22: quartic_minimum(
            a01, a11 + 2 * a02, 3 * a12, 2 * a22
        ),
        *products,
    )
    return ops.cast(t, residual.dtype)


def quartic_minimum(c0, c1, c2, c3):
    """Returns the `t` of the least `c0 t + c1 t^2/2 + c2 t^3/3 + c3 t^4/4`, `c3 >= 0`.

    The roots of the derivative in closed form, made better by Newton's method.
    """
    # In units of `size` the cubic's coefficients are near one another.
    size = abs(c0) + abs(c1) + abs(c2) + abs(c3)
    known = ops.where(size > 0, size, ops.ones_like(size))
    tiny = 1e-30
    c0, c1, c2, c3 = (c / known for c in (c0, c1, c2, ops.maximum(c3, tiny * known)))
    shift = c2 / (3 * c3)
    q = c1 / (3 * c3) - shift * shift
    r = (shift * c1 - c0) / (2 * c3) - shift * shift * shift
    discriminant = r * r + q * q * q
    # One real root: of the two cube roots, the one without cancellation.
    cube = abs(r) + ops.sqrt(ops.maximum(discriminant, 0.0))
    cube_root = ops.maximum(cube, tiny) ** (1 / 3)
    cube_root = ops.where(r < 0, -cube_root, cube_root)
    single = cube_root - q / cube_root
    # Three real roots.
    radius = ops.sqrt(ops.maximum(-q, 0.0))
    cosine = r / ops.maximum(radius * radius * radius, tiny)
    angle = ops.arccos(ops.clip(cosine, -1.0, 1.0))[..., None] / 3
    turns = ops.convert_to_tensor([0.0, 2 * math.pi / 3, 4 * math.pi / 3], c0.dtype)
    triple = 2 * radius[..., None] * ops.cos(angle + turns)
    roots = ops.where(discriminant[..., None] > 0, single[..., None], triple)
    t = roots - shift[..., None]
    c0, c1, c2, c3 = (c[..., None] for c in (c0, c1, c2, c3))
    for _ in range(2):
        slope = ((c3 * t + c2) * t + c1) * t + c0
        curvature = (3 * c3 * t + 2 * c2) * t + c1
        t = t - ops.where(curvature > 0, slope / ops.maximum(curvature, tiny), 0.0)
    values = (((c3 / 4 * t + c2 / 3) * t + c1 / 2) * t + c0) * t
    best = ops.argmin(values, axis=-1)[..., None]
    t = ops.take_along_axis(t, best, axis=-1)[..., 0]
    return ops.where(size > 0, t, 0.0)
