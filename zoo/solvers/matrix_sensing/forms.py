"""How factors make a matrix, for iterations that know of one array of factors alone.

The array `z` holds `U` for `X = U U^T` and `[U; V]`, one above the other, for
`X = U V^T`. With the weight `1 / scale^2` of the operator, `weight A^T(A(X))` is `X` on
average.
"""

import keras
import numpy as np
from keras import ops

from zoo.layers.sensing import to_complex, to_stacked

KINDS = ("psd", "hermitian", "general", "indefinite")


def make_form(operator, kind, weight, signs=None):
    """Returns the form of `kind`, one of `KINDS`."""
    if kind == "general":
        return Product(operator, weight)
    if kind == "hermitian":
        return Hermitian(operator, weight)
    return Symmetric(operator, weight, signs)


class Symmetric:
    """`X = U U^T`, or `U diag(signs) U^T`, with an operator that is symmetric."""

    def __init__(self, operator, weight, signs=None):
        self.operator = operator
        self.weight = weight
        self.signs = None if signs is None else signs[..., None, :]

    def halves(self, z):
        return (z,)

    def lift(self, z):
        return (self.operator.lift(z),)

    def value(self, lifted):
        (w,) = lifted
        return self.operator.combine(self._signed(w), w)

    def pair(self, lifted, steps):
        (w,), (d,) = lifted, steps
        right = () if self.signs is None else (self._signed(w), self._signed(d))
        return self.operator.combine_pair(w, d, *right)

    def adjoint(self, e, lifted):
        """Returns `G z`, `G = weight A^T(e)`."""
        (w,) = lifted
        return self.operator.pull(self.weight * e, w)

    def pull(self, e, lifted):
        """Returns the gradient for the factors, but for a constant."""
        return self._signed(self.adjoint(e, lifted))

    def precondition(self, z, g, damping):
        """Returns `g (U^T U + damping)^-1`."""
        return _solve_right(g, gram(z), damping)

    def product(self, basis, values, x):
        """Returns `B diag(values) B^T x`."""
        return ops.matmul(basis * values[..., None, :], ops.matmul(_t(basis), x))

    def factors(self, z):
        """Returns the pair of factors of `X = left right^T`."""
        return z, self._signed(z)

    def _signed(self, w):
        return w if self.signs is None else w * self.signs


class Hermitian(Symmetric):
    """`X = U U^H` with `U` given as its real above its imaginary part."""

    def precondition(self, z, g, damping):
        if z.shape[-1] == 1:
            return super().precondition(z, g, damping)
        # Rows [Re, Im] times [[Re H, Im H], [-Im H, Re H]] are those of a product.
        re, im = ops.split(z, 2, axis=-2)
        h_re = gram(re) + gram(im)
        h_im = ops.matmul(_t(re), im) - ops.matmul(_t(im), re)
        h = ops.concatenate(
            [
                ops.concatenate([h_re, h_im], axis=-1),
                ops.concatenate([-h_im, h_re], axis=-1),
            ],
            axis=-2,
        )
        rows = ops.concatenate(ops.split(g, 2, axis=-2), axis=-1)
        rows = _solve_right(rows, h, damping)
        return ops.concatenate(ops.split(rows, 2, axis=-1), axis=-2)

    def factors(self, z):
        z = to_complex(z)
        return z, ops.conj(z)

    def product(self, basis, values, x):
        basis, x = to_complex(basis), to_complex(x)
        small = ops.matmul(ops.conj(_t(basis)), x)
        values = ops.cast(values, small.dtype)
        return to_stacked(ops.matmul(basis * values[..., None, :], small))


class Product:
    """`X = U V^T`, of any shape."""

    def __init__(self, operator, weight):
        self.operator = operator
        self.weight = weight

    def halves(self, z):
        return ops.split(z, [self.operator.shape[0]], axis=-2)

    def lift(self, z):
        u, v = self.halves(z)
        return self.operator.lift(u), self.operator.lift(v, "right")

    def value(self, lifted):
        return self.operator.combine(*lifted)

    def pair(self, lifted, steps):
        (left, right), (step_left, step_right) = lifted, steps
        return self.operator.combine_pair(left, step_left, right, step_right)

    def adjoint(self, e, lifted):
        """Returns `G V` above `G^T U`, `G = weight A^T(e)`: the gradient of both."""
        left, right = lifted
        e = self.weight * e
        return ops.concatenate(
            [self.operator.pull(e, right), self.operator.pull_left(e, left)], axis=-2
        )

    pull = adjoint

    def precondition(self, z, g, damping):
        """Returns `G V (V^T V + damping)^-1` above `G^T U (U^T U + damping)^-1`."""
        (u, v), (g_u, g_v) = self.halves(z), self.halves(g)
        return ops.concatenate(
            [_solve_right(g_u, gram(v), damping), _solve_right(g_v, gram(u), damping)],
            axis=-2,
        )

    def balance(self, z):
        """Returns the gradient of `|U^T U - V^T V|_F^2 / 4`."""
        u, v = self.halves(z)
        difference = gram(u) - gram(v)
        return ops.concatenate(
            [ops.matmul(u, difference), -ops.matmul(v, difference)], axis=-2
        )

    def factors(self, z):
        return tuple(self.halves(z))


def gram(z):
    return ops.matmul(_t(z), z)


def _t(x):
    return ops.swapaxes(x, -1, -2)


def _solve_right(g, h, damping):
    """Returns `g (h + damping)^-1`, for a positive semidefinite `h`."""
    size = h.shape[-1]
    identity = ops.eye(size, dtype=h.dtype)
    # No less than the rounding of `h`: some columns may be zero, or depend on others.
    rounding = size * np.finfo(keras.backend.standardize_dtype(h.dtype)).eps
    largest = ops.max(h, axis=(-2, -1), keepdims=True)
    damping = damping[..., None, None] + (rounding * largest + 1e-30)
    return ops.matmul(g, ops.linalg.inv(h + damping * identity))
