"""Where the iterations start: from the measurements, or small and orthogonal."""

from keras import ops

from zoo.layers.sensing import to_complex, to_stacked

# Columns beyond the rank, and products with the adjoint, of the spectral start.
OVERSAMPLING = 3
PASSES = 3


def spectral_basis(form, kind, y, probes):
    """Finds the dominant part of `M = A^T(y)` by subspace iteration, `M` not formed.

    Args:
        form: the form of the operator; its signs do not matter.
        kind: `"psd"`, `"hermitian"`, `"general"` or `"indefinite"`.
        y: `[..., m]`.
        probes: random `[..., rows of z, columns]`.

    Returns:
        The orthonormal basis or the pair of bases, and the eigenvalues, of the largest
        magnitude first, or the singular values.
    """
    operator, weights = form.operator, form.weight * y

    if kind == "general":

        def right(basis):
            return operator.pull(weights, operator.lift(basis, "right"))

        def left(basis):
            return operator.pull_left(weights, operator.lift(basis))

        basis = orthonormal(right(form.halves(probes)[1]))
        for _ in range(PASSES - 1):
            basis = orthonormal(right(orthonormal(left(basis))))
        return singular_parts(basis, left(basis))

    hermitian = kind == "hermitian"
    basis = probes
    for _ in range(PASSES):
        product = operator.pull(weights, operator.lift(basis))
        basis = orthonormal(product, hermitian)
    product = operator.pull(weights, operator.lift(basis))
    return eigen_parts(basis, product, kind)


def eigen_parts(basis, product, kind):
    """Eigenvectors and values of `B B^H M B B^H`, from `B` and `M B`.

    Those of `"psd"` and `"hermitian"` fall; of `"indefinite"` their magnitudes do.
    """
    hermitian = kind == "hermitian"
    if hermitian:
        basis, product = to_complex(basis), to_complex(product)
    small = ops.matmul(_adjoint(basis), product)
    values, vectors = ops.linalg.eigh((small + _adjoint(small)) / 2)
    values = ops.real(values) if hermitian else values
    order = ops.argsort(-abs(values) if kind == "indefinite" else -values, axis=-1)
    values = ops.take_along_axis(values, order, axis=-1)
    vectors = ops.take_along_axis(vectors, order[..., None, :], axis=-1)
    basis = ops.matmul(basis, vectors)
    return to_stacked(basis) if hermitian else basis, values


def singular_parts(basis, product):
    """Singular vectors and values of `B B^T M`, from `B` and `M^T B`."""
    right, triangle = ops.linalg.qr(product)
    u, values, v = ops.linalg.svd(ops.swapaxes(triangle, -1, -2), full_matrices=False)
    right = ops.matmul(right, ops.swapaxes(v, -1, -2))
    return (ops.matmul(basis, u), right), values


def spectral_start(form, kind, y, probes, rank):
    """Makes factors of the dominant part of `A^T(y)`.

    Returns:
        `z`; the signs of the eigenvalues, `[..., rank]`; and the eigenvalues or
        singular values that were seen, the largest first.
    """
    basis, values = spectral_basis(form, kind, y, probes)
    kept = values[..., :rank]
    roots = ops.sqrt(abs(kept) if kind == "indefinite" else ops.maximum(kept, 0.0))
    # A column of zeros would stay zero.
    roots = ops.maximum(roots, 1e-3 * ops.max(roots, axis=-1, keepdims=True))
    roots = roots[..., None, :]
    if kind == "general":
        basis = ops.concatenate(basis, axis=-2)
    z = basis[..., :rank] * roots
    return z, 1.0 - 2.0 * ops.cast(kept < 0, kept.dtype), values


def orthogonal_start(form, kind, draws, gain):
    """Makes small orthogonal factors, `gain` times orthonormal columns."""
    halves = [orthonormal(half, kind == "hermitian") for half in form.halves(draws)]
    return gain[..., None, None] * ops.concatenate(halves, axis=-2)


def orthonormal(x, hermitian=False):
    """Returns an orthonormal basis of the columns."""
    if hermitian:
        return to_stacked(ops.linalg.qr(to_complex(x))[0])
    return ops.linalg.qr(x)[0]


def _adjoint(x):
    return ops.conj(ops.swapaxes(x, -1, -2))
