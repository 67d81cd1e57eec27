"""Certificates against direct evaluation, and measured contraction below the proved."""

import math

import keras
import numpy as np
import pytest

from zoo.layers.operators import Blur, FourierMask, Identity, PixelMask
from zoo.models.denoisers import simple_cnn
from zoo.solvers.plug_and_play import (
    L1,
    PhotonCounting,
    Poisson,
    certify,
    contraction_factor,
    pnp_admm,
    pnp_drs,
    pnp_fbs,
    step_interval,
)

SHAPE = (8, 8, 1)
PIXELS = 64
# Circular, with eigenvalues of A^T A between 0.36 and 1 along either axis.
KERNEL = np.outer([0.1, 0.8, 0.1], [0.1, 0.8, 0.1])
RNG = np.random.default_rng(0)
IMAGES = RNG.random((2, *SHAPE))


def blur():
    return Blur(SHAPE, KERNEL, boundary="circular", dtype="float64")


def bounded(eps, seed=0):
    """A network of two layers whose residual has a Lipschitz constant up to `eps`."""
    rng = np.random.default_rng(seed)
    first, second = (
        np.linalg.qr(rng.standard_normal((PIXELS, PIXELS)))[0] for _ in range(2)
    )
    image = keras.Input(SHAPE, dtype="float64")
    x = keras.layers.Flatten(dtype="float64")(image)
    dense = [
        keras.layers.Dense(PIXELS, activation=activation, dtype="float64")
        for activation in ("relu", None)
    ]
    noise = keras.layers.Reshape(SHAPE, dtype="float64")(dense[1](dense[0](x)))
    model = keras.Model(image, keras.layers.Subtract(dtype="float64")([image, noise]))
    dense[0].set_weights([first, 0.1 * rng.standard_normal(PIXELS)])
    dense[1].set_weights([eps * second, np.zeros(PIXELS)])
    return model


def linear(matrix):
    """A denoiser that is a matrix."""
    image = keras.Input(SHAPE, dtype="float64")
    dense = keras.layers.Dense(PIXELS, use_bias=False, dtype="float64")
    x = keras.layers.Flatten(dtype="float64")(image)
    model = keras.Model(image, keras.layers.Reshape(SHAPE, dtype="float64")(dense(x)))
    dense.set_weights([matrix.T])
    return model


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.6, 1.3])
@pytest.mark.parametrize("mu", [0.2, 1.0])
def test_intervals_are_where_the_factor_is_below_1(eps, mu):
    smoothness = 1.0
    steps = np.geomspace(1e-3, 1e3, 2001)
    for method in ("admm", "drs", "fbs"):
        interval = step_interval(method, eps, mu, smoothness)
        for step in steps:
            factor = contraction_factor(method, eps, mu, smoothness, step)
            low, high = interval or (math.inf, 0.0)
            assert (factor < 1) == (low < step < high)


def test_the_interval_of_fbs_is_that_of_the_paper():
    eps, mu, smoothness = 0.25, 0.5, 1.0
    low, high = step_interval("fbs", eps, mu, smoothness)
    assert low == pytest.approx(1 / (mu * (1 + 1 / eps)), rel=1e-14)
    expected = 2 / smoothness - 1 / (smoothness * (1 + 1 / eps))
    assert high == pytest.approx(expected, rel=1e-14)
    # There is one if and only if eps < 2 mu / (L - mu).
    limit = 2 * mu / (smoothness - mu)
    assert step_interval("fbs", limit * 0.999, mu, smoothness)
    assert not step_interval("fbs", limit * 1.001, mu, smoothness)


def test_equation_20_and_the_factor_are_evaluated():
    eps, mu, step = 0.3, 0.36**2, 9.0
    found = certify(
        blur(), bounded(eps), step, images=IMAGES, lipschitz_bound=eps, pairs=4
    )
    assert found.mu == pytest.approx(mu, rel=1e-9)
    assert found.smoothness == pytest.approx(1.0, rel=1e-12)
    left = eps / ((1 + eps - 2 * eps**2) * mu)
    assert found.condition == (pytest.approx(left, rel=1e-8), step)
    a = step * mu
    factor = (1 + eps + eps * a + 2 * eps**2 * a) / (1 + a + 2 * eps * a)
    assert found.factor == pytest.approx(factor, rel=1e-8)
    assert found.status == "proved"


@pytest.mark.parametrize(
    ("solver", "step", "eps"),
    [(pnp_drs, 9.0, 0.3), (pnp_admm, 30.0, 0.5), (pnp_fbs, 1.5, 0.1)],
)
def test_no_pair_comes_nearer_by_less_than_what_is_proved(solver, step, eps):
    operator, denoiser = blur(), bounded(eps)
    method = solver.__name__.removeprefix("pnp_")
    found = certify(
        operator,
        denoiser,
        step,
        images=IMAGES,
        method=method,
        lipschitz_bound=eps,
        pairs=4,
    )
    assert found.status == "proved"
    rng = np.random.default_rng(1)
    first = rng.standard_normal((1000, *SHAPE))
    scale = 10.0 ** rng.uniform(-4, 1, (1000, 1, 1, 1))
    second = first + scale * rng.standard_normal(first.shape)
    # Half of the pairs along the directions that the operator shrinks least or most.
    modes = np.stack([np.ones(SHAPE), (-1.0) ** np.indices((8, 8)).sum(0)[..., None]])
    second[:500] = first[:500] + scale[:500] * modes[rng.integers(2, size=500)]
    y = np.zeros((1000, *SHAPE)) + rng.random(SHAPE)

    def step_from(points):
        result = solver(
            y,
            operator,
            denoiser,
            step=step,
            iterations=1,
            tolerance=0.0,
            start=points,
        )
        return result.point.reshape(1000, -1)

    before = np.linalg.norm((first - second).reshape(1000, -1), axis=1)
    after = np.linalg.norm(step_from(first) - step_from(second), axis=1)
    ratio = np.max(after / before)
    assert 0.6 * found.factor < ratio <= found.factor
    # Along the iterates too.
    result = solver(
        y[:4],
        operator,
        denoiser,
        step=step,
        tolerance=1e-10,
        iterations=400,
        lipschitz_bound=eps,
    )
    assert (result.stop_reason == "converged").all()
    steady = result.residual[:, 1:] > 1e-8
    assert np.nanmax(result.contraction[steady]) <= found.factor
    assert result.certificate.status == "proved"


def test_the_factor_of_fbs_is_reached():
    # On the identity with D(x) = (1 + eps) x nothing is lost in the proof.
    operator, grow = Identity(SHAPE, dtype="float64"), linear(1.2 * np.eye(64))
    result = pnp_fbs(IMAGES, operator, grow, step=0.5, iterations=5)
    factor = contraction_factor("fbs", 0.2, 1.0, 1.0, 0.5)
    np.testing.assert_allclose(result.contraction, factor, rtol=1e-12)


def test_eps_is_the_norm_of_a_linear_residual():
    rng = np.random.default_rng(3)
    left, right = (np.linalg.qr(rng.standard_normal((64, 64)))[0] for _ in range(2))
    residual = left @ np.diag(np.linspace(0.7, 0.01, 64)) @ right
    found = certify(
        Identity(SHAPE, dtype="float64"),
        linear(np.eye(64) - residual),
        1.0,
        images=IMAGES,
        refinements=500,
    )
    assert 0.69 < found.measured_eps <= 0.7 * (1 + 1e-9)
    assert found.ratios.shape == (32,)
    assert found.ratios.max() < 0.6
    assert found.eps == found.measured_eps
    assert found.status == "empirical"
    assert "not a bound" in found.why


def test_expansion_asymmetry_and_the_bounded_constant_are_measured():
    rng = np.random.default_rng(4)
    matrix = rng.standard_normal((64, 64))
    symmetric = 0.9 * np.eye(64)
    operator = Identity(SHAPE, dtype="float64")
    options = {"images": IMAGES, "pairs": 64, "sigma": 0.1}
    found = certify(operator, linear(symmetric), 1.0, **options)
    assert found.expansion == pytest.approx(0.9, rel=1e-9)
    assert found.asymmetry == pytest.approx(0.0, abs=1e-12)
    moved = np.mean((0.1 * IMAGES) ** 2, (1, 2, 3)).max() / 0.1**2
    assert found.bounded == pytest.approx(moved, rel=1e-9)
    many = RNG.random((8, *SHAPE))
    found = certify(operator, linear(matrix), 1.0, images=many, pairs=8)
    truth = np.linalg.norm(matrix - matrix.T) / np.linalg.norm(matrix)
    # Of eight probes.
    assert found.asymmetry == pytest.approx(truth, rel=0.5)
    assert found.bounded is None
    skew = matrix - matrix.T
    found = certify(operator, linear(skew), 1.0, images=many, pairs=8)
    assert found.asymmetry == pytest.approx(2.0, rel=0.7)


def test_a_network_in_float32_is_measured():
    found = certify(
        FourierMask((16, 16, 1), np.ones((16, 16))),
        simple_cnn(),
        1.0,
        images=RNG.random((2, 16, 16, 1)),
        pairs=16,
    )
    assert 0 < found.ratios.max() <= found.measured_eps
    assert found.asymmetry > 0.1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            {"operator": PixelMask(SHAPE, np.tri(8), dtype="float64")},
            "mu = 0: the data term is not strongly convex",
        ),
        (
            {"operator": FourierMask(SHAPE, np.tri(8), dtype="float64")},
            "mu = 0: the data term is not strongly convex",
        ),
        ({"step": 1e-3}, "The step must lie between 0.178571 and inf for eps = 0.2"),
        (
            {"step": 1.9, "method": "fbs"},
            "The step must lie between 0.166667 and 1.83333 for eps = 0.2",
        ),
        ({"denoiser": bounded(1.5), "bound": 1.5}, "eps = 1.5 is too large"),
        ({"bound": 0.02}, "A pair was seen with eps ="),
        ({"method": "pdhg"}, "The theorems are about ADMM, DRS and FBS"),
        ({"denoiser": L1(0.1, dtype="float64")}, "The prior is convex"),
    ],
)
def test_what_is_not_met_is_said(options, why):
    options = {"operator": Identity(SHAPE, dtype="float64"), "step": 1.0, **options}
    found = certify(
        options["operator"],
        options.get("denoiser", bounded(0.2)),
        options["step"],
        images=IMAGES,
        method=options.get("method", "admm"),
        lipschitz_bound=options.get("bound", 0.2),
        pairs=8,
        refinements=5,
    )
    assert found.status == "not_met"
    assert why in found.why


def test_counts_have_curvature_on_a_box_alone():
    operator, y = Identity(SHAPE, dtype="float64"), np.full((1, *SHAPE), 2.0)
    options = {"images": IMAGES, "lipschitz_bound": 0.2, "pairs": 2, "y": y}
    boxed = certify(operator, bounded(0.2), 1.0, fidelity=Poisson(0.1, 2.0), **options)
    assert boxed.status == "proved"
    assert (boxed.mu, boxed.smoothness) == (0.5, pytest.approx(200))
    free = certify(operator, bounded(0.2), 1.0, fidelity=Poisson(), **options)
    assert free.status == "not_met"
    assert free.mu == 0
    photons = PhotonCounting(0.1, 1.0)
    found = certify(operator, bounded(0.2), 1.0, fidelity=photons, **options)
    assert found.status == "proved"


def test_a_python_function_is_measured_without_gradients():
    found = certify(
        Identity(SHAPE, dtype="float64"),
        lambda images, sigma: 0.8 * images,
        1.0,
        images=IMAGES,
        pairs=10,
    )
    assert found.measured_eps == pytest.approx(0.2, rel=1e-9)
    assert found.asymmetry is None
    assert found.status == "empirical"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prove": True}, "`lipschitz_bound` must be given for a proof"),
        ({"lipschitz_bound": -0.1}, "`lipschitz_bound` must be a number from 0 up"),
        ({"method": "hqs"}, "`method` must be one of"),
        ({"images": IMAGES[:, :4]}, r"`images` must be images \[batch, 8, 8, 1\]"),
        ({"images": 255 * IMAGES}, r"`images` must have intensities of about \[0, 1\]"),
        ({"images": IMAGES * math.nan}, "`images` must be finite"),
        ({"fidelity": Poisson()}, "`y` must be given for counts"),
        ({"pairs": 0}, "`pairs` must be an integer from 1 up"),
        ({"refinements": -1}, "`refinements` must be an integer from 0 up"),
        ({"seed": -1}, "`seed` must be an integer from 0 up"),
        ({"sigma": -0.1}, "`sigma` must be finite, from 0 up"),
    ],
)
def test_a_mistake_is_told_in_a_line(options, message):
    options = {"images": IMAGES, **options}
    with pytest.raises(ValueError, match=message) as error:
        certify(Identity(SHAPE, dtype="float64"), bounded(0.2), 1.0, **options)
    assert "\n" not in str(error.value)
