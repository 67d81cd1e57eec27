"""Layers of learned AMP against AMP in NumPy."""

import keras
import numpy as np
import pytest

from zoo import layers
from zoo.layers import (
    BernoulliGaussianShrinkage,
    LampBlock,
    ListaBlock,
    SoftShrinkage,
)

M, N, DEPTH = 60, 120, 10


def problem(kind="float64", sparsity=0.1):
    generator = np.random.default_rng(0)

    def normal(*shape):
        x = generator.normal(size=shape)
        if kind == "float64":
            return x
        return (x + 1j * generator.normal(size=shape)) / np.sqrt(2)

    matrix = normal(M, N) / np.sqrt(M)
    x = normal(7, N) * (generator.random((7, N)) < sparsity)
    return matrix, x, x @ matrix.T + 0.005 * normal(7, M)


def soft(r, variance):
    """Soft thresholding, and its mean slope, which has two parts if complex."""
    magnitude, kink = np.abs(r), 1.1402 * np.sqrt(variance)
    gain = np.maximum(1 - kink / magnitude, 0)
    slope = (magnitude > kink) * 1.0
    if np.iscomplexobj(r):
        slope = (slope + gain) / 2
    return r * gain, slope.mean(axis=-1, keepdims=True)


def posterior(r, variance):
    """The posterior mean for a tenth nonzero of variance 1, and its mean slope."""
    beta = 1 / (1 + variance)
    rho = 9 * np.sqrt(1 + 1 / variance) * np.exp(-beta * r**2 / (2 * variance))
    slope = beta * (1 + rho * (1 + beta * r**2 / variance)) / (1 + rho) ** 2
    return beta * r / (1 + rho), slope.mean(axis=-1, keepdims=True)


def amp(matrix, y, denoise, back=None, damping=1.0, depth=DEPTH):
    back = matrix.conj().T if back is None else back
    x, v, slope = np.zeros((len(y), N), y.dtype), np.zeros_like(y), 0.0
    for t in range(depth):
        share = damping if t else 1.0
        new = y - x @ matrix.T + N / M * slope * v
        v = share * new + (1 - share) * v
        variance = np.sum(np.abs(v) ** 2, axis=-1, keepdims=True) / M
        new, slope = denoise(x + v @ back.T, variance)
        x = share * new + (1 - share) * x
    return x, v, slope


def stack(matrix, make, tied=True, depth=DEPTH, **kwargs):
    y, state, first = keras.Input((M,), dtype=matrix.dtype.name), None, None
    for _ in range(depth):
        shrinkage = make(dtype="float64")
        block = LampBlock(matrix, shrinkage, tied_to=first, dtype="float64", **kwargs)
        first = block if tied else None
        state = block(y, state)
    return keras.Model(y, state)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("damping", [1.0, 0.8])
@pytest.mark.parametrize(
    ("kind", "make", "denoise"),
    [
        ("float64", SoftShrinkage, soft),
        ("complex128", SoftShrinkage, soft),
        ("float64", BernoulliGaussianShrinkage, posterior),
    ],
)
def test_a_stack_of_new_blocks_is_amp(kind, make, denoise, damping, tied):
    matrix, truth, y = problem(kind)
    states = stack(matrix, make, tied, damping=damping)(y)
    expected = amp(matrix, y, denoise, damping=damping)
    for ours, theirs in zip(states, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)
    error = np.linalg.norm(states[0] - truth) / np.linalg.norm(truth)
    assert error < 0.2


def conditioned(matrix, condition):
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    values = np.logspace(0, -np.log10(condition), M)
    values *= np.sqrt(N) / np.linalg.norm(values)
    return (left * values) @ right


def test_the_ridge_is_ahead_and_does_not_diverge():
    matrix, truth, _ = problem()
    for condition, least in ((None, 6.0), (15.0, 20.0)):
        a = matrix if condition is None else conditioned(matrix, condition)
        y = truth @ a.T
        errors = []
        for start in ("amp", "ridge"):
            x = stack(a, BernoulliGaussianShrinkage, depth=6, start=start)(y)[0]
            errors.append(20 * np.log10(np.linalg.norm(x - truth)))
        assert errors[0] - errors[1] > least


def test_the_ridge_has_the_trace_of_the_identity():
    matrix, _, y = problem()
    block = LampBlock(matrix, start="ridge", dtype="float64")
    back = np.asarray(block.linear.back_matrix)
    penalty = 0.03 * np.mean(np.linalg.svd(matrix, compute_uv=False) ** 2)
    inverse = np.linalg.inv(matrix @ matrix.T + penalty * np.eye(M))
    expected = matrix.T @ inverse
    expected *= N / np.trace(expected @ matrix)
    np.testing.assert_allclose(back, expected, atol=1e-12)
    x, v, slope = amp(matrix, y, soft, expected, depth=1)
    for ours, theirs in zip(block(y), (x, v, slope), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_a_start_of_ones_own():
    matrix, _, y = problem()
    back = 2 * np.linalg.pinv(matrix)
    x = stack(matrix, SoftShrinkage, start=back)(y)[0]
    np.testing.assert_allclose(x, amp(matrix, y, soft, back)[0], atol=1e-10)


def test_the_variance_is_each_signals_own():
    matrix, _, y = problem()
    model = stack(matrix, BernoulliGaussianShrinkage, depth=3)
    both = model(np.concatenate([y[:1], 100 * y[1:2]]))[0]
    np.testing.assert_allclose(both[:1], model(y[:1])[0], rtol=1e-12)


def test_the_scale_of_a_shrinkage_is_in_the_term_of_the_slope():
    """Half of every estimate is half of every slope."""
    matrix, _, y = problem()
    model = stack(matrix, lambda dtype: SoftShrinkage(scale=0.5, dtype=dtype), depth=4)

    def half(r, variance):
        x, slope = soft(r, variance)
        return x / 2, slope / 2

    for ours, theirs in zip(model(y), amp(matrix, y, half, depth=4), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


@pytest.mark.parametrize(
    "name", [name for name in layers.__all__ if name.endswith("Shrinkage")]
)
@pytest.mark.parametrize("start", ["amp", "ridge"])
def test_finite_on_small_problems_where_amp_is_lost(name, start):
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(30, 50)) / np.sqrt(30)
    x = generator.normal(size=(20, 50)) * (generator.random((20, 50)) < 0.25)
    y, state, first = (x @ matrix.T).astype("float32"), None, None
    for _ in range(10):
        shrinkage = getattr(layers, name)()
        block = LampBlock(matrix, shrinkage, start, tied_to=first)
        first = first or block
        state = block(y, state)
        assert all(np.isfinite(part).all() for part in state)


def test_trains_the_matrix_that_leads_back_and_the_shrinkage():
    matrix, _, y = problem()
    block = LampBlock(matrix)
    block(y.astype("float32"))
    names = {weight.path.split("/")[-1] for weight in block.trainable_weights}
    assert names == {"back", "threshold", "scale"}
    tied = LampBlock(None, tied_to=block)
    assert tied.linear is block.linear
    assert tied.shrinkage is not block.shrinkage


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"shrinkage": "soft"}, "`shrinkage` must be a zoo.layers.shrinkage"),
        (
            {"shrinkage": SoftShrinkage(dtype="float64")},
            "`shrinkage` must have weights of the block's dtype, float32",
        ),
        ({"start": "pinv"}, "`start` must be one of ('amp', 'ridge') or an array"),
        ({"start": np.full((5, 3), np.nan)}, "`start` must be a name or a finite"),
        ({"damping": 0.0}, "`damping` must be a number above 0, up to 1"),
        ({"damping": "1"}, "`damping` must be a number above 0, up to 1"),
        ({"tied_to": ListaBlock(np.eye(3, 5))}, "`tied_to` must be a block of the"),
        (
            {"tied_to": LampBlock(np.eye(3, 5)), "dtype": "float64"},
            "`dtype` must be 'float32', that of `tied_to`",
        ),
        ({"tied_to": LampBlock(np.eye(2, 5))}, "`matrix` must be None or of the shape"),
    ],
    ids=str,
)
def test_mistakes_end_in_one_line(kwargs, words):
    with pytest.raises(ValueError) as caught:
        LampBlock(np.eye(3, 5), **kwargs)
    assert words in str(caught.value)
    assert "Received: " in str(caught.value)
    assert "\n" not in str(caught.value)
