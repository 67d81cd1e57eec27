"""Layers of learned VAMP against VAMP in NumPy, with dense inverses."""

import keras
import numpy as np
import pytest

from zoo.layers import BernoulliGaussianShrinkage, LvampBlock, SoftShrinkage
from zoo.layers.lvamp import DenseStep, SvdStep

M, N, DEPTH, NOISE = 40, 80, 10, 2e-5


def problem(kind="float64", condition=None):
    generator = np.random.default_rng(0)

    def normal(*shape):
        x = generator.normal(size=shape)
        if kind == "float64":
            return x
        return (x + 1j * generator.normal(size=shape)) / np.sqrt(2)

    matrix = normal(M, N) / np.sqrt(M)
    if condition is not None:
        left, _, right = np.linalg.svd(matrix, full_matrices=False)
        values = np.logspace(0, -np.log10(condition), M)
        matrix = (left * values) @ right
        matrix *= np.sqrt(N) / np.linalg.norm(matrix)
    x = normal(3, N) * (generator.random((3, N)) < 0.1)
    return matrix, x, x @ matrix.T + np.sqrt(NOISE) * normal(3, M)


def estimate(matrix, y, r, variance, noise=NOISE):
    """The best linear estimate of one signal, by the dense inverse; and its slope."""
    precision = matrix.conj().T @ matrix / noise + np.eye(N) / variance
    inverse = np.linalg.inv(precision)
    x = inverse @ (matrix.conj().T @ y / noise + r / variance)
    return x, np.trace(inverse).real / (N * variance)


def posterior(r, variance):
    """The posterior mean for a tenth nonzero of variance 1, and its mean slope."""
    beta, parts = 1 / (1 + variance), 1 + np.iscomplexobj(r)
    power = parts * beta * np.abs(r) ** 2 / variance
    p = 1 / (1 + 9 * (1 + 1 / variance) ** (parts / 2) * np.exp(-power / 2))
    slope = beta * p * (1 + (1 - p) * power)
    if parts == 2:
        slope = (slope + beta * p) / 2
    return beta * r * p, slope.mean()


def first_variance(matrix, y):
    return np.linalg.norm(y) ** 2 / np.linalg.norm(matrix) ** 2


def vamp(matrix, y, damping=1.0, depth=DEPTH):
    estimates = []
    for signal in y:
        r, g = np.zeros(N, y.dtype), first_variance(matrix, signal)
        for t in range(depth):
            x1, alpha = estimate(matrix, signal, r, g)
            p, q = (x1 - alpha * r) / (1 - alpha), g * alpha / (1 - alpha)
            x, a = posterior(p, q)
            a = np.clip(a, 0.5 / N, 1 - 0.5 / N)
            share = damping if t else 1.0
            r = share * (x - a * p) / (1 - a) + (1 - share) * r
            g = share * q * a / (1 - a) + (1 - share) * g
        estimates.append((x, r, [g]))
    return [np.array(part) for part in zip(*estimates, strict=True)]


def stack(matrix, tied=True, depth=DEPTH, **kwargs):
    y, state, first = keras.Input((M,), dtype=matrix.dtype.name), None, None
    for _ in range(depth):
        block = LvampBlock(
            matrix,
            BernoulliGaussianShrinkage(dtype="float64"),
            NOISE,
            tied_to=first,
            dtype="float64",
            **kwargs,
        )
        first = block if tied else None
        x, state = block(y, state)
    return keras.Model(y, [x, *state])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("damping", [1.0, 0.8])
@pytest.mark.parametrize(
    ("kind", "condition"),
    [("float64", None), ("float64", 15.0), ("complex128", None)],
)
def test_a_stack_of_new_blocks_is_vamp(kind, condition, damping, tied):
    matrix, truth, y = problem(kind, condition)
    outputs = stack(matrix, tied, damping=damping)(y)
    expected = vamp(matrix, y, damping)
    for ours, theirs in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)
    error = np.linalg.norm(outputs[0] - truth) / np.linalg.norm(truth)
    assert error < 0.1


@pytest.mark.parametrize("kind", ["float64", "complex128"])
@pytest.mark.parametrize("condition", [None, 1000.0])
def test_the_linear_estimate_is_that_of_the_dense_inverse(kind, condition):
    matrix, truth, y = problem(kind, condition)
    for variance in (1e-4, 0.1, 3.0):
        r = truth + np.sqrt(variance) * np.random.default_rng(1).normal(size=(3, N))
        svd = SvdStep(matrix, NOISE, dtype="float64")
        dense = DenseStep(matrix, NOISE, variance, dtype="float64")
        g = np.full((3, 1), variance)
        expected = [
            estimate(matrix, *pair, variance) for pair in zip(y, r, strict=True)
        ]
        alpha = expected[0][1]
        means = np.array([mean for mean, _ in expected])
        for step in (svd, dense):
            p, q = step.estimate(y.astype(kind), r.astype(kind), g)
            x = (1 - alpha) * np.asarray(p) + alpha * r
            np.testing.assert_allclose(x, means, atol=1e-8)
            np.testing.assert_allclose(q, g * alpha / (1 - alpha), rtol=1e-8)


def test_at_its_variance_the_dense_form_is_that_of_the_svd():
    matrix, _, y = problem()
    first = first_variance(matrix, y[:1])
    kwargs = {"noise_variance": NOISE, "dtype": "float64"}
    blocks = [
        LvampBlock(matrix, form=form, prior_variance=first, **kwargs)
        for form in ("svd", "dense")
    ]
    (x, (r, g)), (other, (s, h)) = (block(y[:1]) for block in blocks)
    for ours, theirs in ((x, other), (r, s), (g, h)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", ["svd", "dense"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_finite_whatever_is_measured(form, kind):
    matrix, _, _ = problem()
    y = np.random.default_rng(0).normal(size=(6, M))
    y *= np.array([0.0, 1e-25, 1e-12, 1.0, 1e8, 1e14])[:, None]
    for make in (SoftShrinkage, BernoulliGaussianShrinkage):
        state, first = None, None
        for _ in range(15):
            block = LvampBlock(
                matrix, make(dtype=kind), 1.0, form, tied_to=first, dtype=kind
            )
            first = block
            x, state = block(y.astype(kind), state)
            for part in keras.tree.flatten((x, state)):
                assert np.isfinite(part).all()


def test_the_slope_is_kept_from_what_divides_by_it():
    """All coordinates pass: the slope is 1, and the clip leaves half a coordinate."""
    matrix, _, y = problem()
    block = LvampBlock(matrix, SoftShrinkage(1e-9, dtype="float64"), dtype="float64")
    _, (_, g) = block(y)
    first = np.sum(y**2, -1, keepdims=True) / np.linalg.norm(matrix) ** 2
    q = block.linear.estimate(y, None, first)[1]
    np.testing.assert_allclose(g, q * (1 - 0.5 / N) / (0.5 / N), rtol=1e-6)


def test_what_is_learned():
    matrix, _, _ = problem()
    parts = ("noise", "spectrum", "project", "right")
    names = {"noise": "log_noise"}
    for learn in ((), ("noise",), parts):
        block = LvampBlock(matrix, noise_variance=0.02, learn=learn)
        trained = {weight.name for weight in block.linear.trainable_weights}
        assert trained == {names.get(part, part) for part in learn}
        np.testing.assert_allclose(block.linear.noise_variance, 0.02, rtol=1e-6)
    tied = LvampBlock(None, tied_to=block)
    assert tied.linear is block.linear


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"noise_variance": 0.0}, "`noise_variance` must be a number above 0"),
        ({"form": "spectral"}, "`form` must be one of"),
        ({"learn": "noise"}, "`learn` must be a tuple of some of"),
        ({"learn": ("sigma",)}, "`learn` must be a tuple of some of"),
        ({"form": "dense", "prior_variance": -1}, "`prior_variance` must be a number"),
        ({"damping": 2}, "`damping` must be a number above 0, up to 1"),
        (
            {"form": "dense", "tied_to": LvampBlock(np.eye(3, 5))},
            "`tied_to` must be a block of the same kind",
        ),
    ],
    ids=str,
)
def test_mistakes_end_in_one_line(kwargs, words):
    with pytest.raises(ValueError) as caught:
        LvampBlock(np.eye(3, 5), **kwargs)
    assert words in str(caught.value)
    assert "Received: " in str(caught.value)
    assert "\n" not in str(caught.value)
