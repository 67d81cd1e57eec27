"""Plug-and-Play methods against NumPy, direct solves and each other."""

import itertools
import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest

from zoo.layers.operators import Blur, FourierMask, Identity, PixelMask, Stack
from zoo.metrics import psnr
from zoo.models.denoisers import dncnn
from zoo.solvers.plug_and_play import (
    L1,
    PhotonCounting,
    Poisson,
    TotalVariation,
    Wavelet,
    pnp_admm,
    pnp_drs,
    pnp_fbs,
    pnp_pdhg,
)

SHAPE = (8, 8, 1)
RNG = np.random.default_rng(0)
TRUTH = RNG.random((3, *SHAPE))
SOLVERS = {"admm": pnp_admm, "drs": pnp_drs, "fbs": pnp_fbs, "pdhg": pnp_pdhg}
EACH = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
SMOOTH = np.outer([0.2, 0.6, 0.2], [0.2, 0.6, 0.2])


def mask(shape=SHAPE[:2], seed=1):
    return (np.random.default_rng(seed).random(shape) < 0.6).astype("float64")


def fourier():
    return FourierMask(SHAPE, mask(), dtype="float64")


def blur(boundary="circular"):
    kernel = np.outer([0.1, 0.7, 0.2], [0.3, 0.6, 0.1])
    return Blur(SHAPE, kernel, boundary=boundary, dtype="float64")


def pixels():
    return PixelMask(SHAPE, mask(), dtype="float64")


def measure(operator, noise=0.05):
    y = np.asarray(operator(TRUTH))
    return y + noise * np.random.default_rng(2).standard_normal(y.shape)


def smoother():
    """A symmetric linear denoiser with eigenvalues between 0 and 1."""
    layer = keras.layers.DepthwiseConv2D(
        3, padding="same", use_bias=False, dtype="float64"
    )
    layer.build((None, *SHAPE))
    layer.set_weights([SMOOTH[..., None, None]])
    return layer


def as_matrix(function):
    """A linear function of images as a matrix."""
    units = np.eye(64).reshape(64, *SHAPE)
    return np.asarray(function(units)).reshape(64, 64).T


OPERATORS = {
    "fourier": fourier,
    "circular": blur,
    "zero": lambda: blur("zero"),
    "mask": pixels,
}


def numpy_iterates(method, operator, y, step, dual_step, count):
    """The estimates of one image, with dense matrices and complex numbers."""
    a = operator.dense()
    s = as_matrix(smoother())
    y = y.ravel()
    gram, back = (a.conj().T @ a).real, (a.conj().T @ y).real
    inverse = np.linalg.inv(np.eye(64) + step * gram)
    x = last = z = back
    v, p = inverse @ (z + step * back), np.zeros(len(y), a.dtype)
    u = z - v
    for _ in range(count):
        if method == "admm":
            x = s @ (v - u)
            v = inverse @ (x + u + step * back)
            u = u + x - v
        elif method == "drs":
            v = inverse @ (z + step * back)
            x = s @ (2 * v - z)
            z = z + x - v
        elif method == "fbs":
            x = s @ (x - step * (gram @ x - back))
        else:
            last, x = x, s @ (x - step * (a.conj().T @ p).real)
            p = (p + dual_step * (a @ (2 * x - last) - y)) / (1 + dual_step)
    return x


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("method", SOLVERS)
def test_a_method_is_its_formula(method, kind):
    operator = OPERATORS[kind]()
    y = measure(operator)
    extra = {"dual_step": 0.9} if method == "pdhg" else {}
    result = SOLVERS[method](
        y, operator, smoother(), step=1.1, iterations=7, tolerance=0.0, **extra
    )
    for found, one in zip(result.x, y, strict=True):
        truth = numpy_iterates(method, operator, one, 1.1, 0.9, 7)
        # Conjugate gradients end at 1e-12.
        np.testing.assert_allclose(found.ravel(), truth, atol=1e-11)
    assert (result.iterations == 7).all()
    assert (result.stop_reason == "max_iterations").all()
    assert result.x.dtype == "float64"


@pytest.mark.parametrize("kind", ["fourier", "circular", "mask"])
def test_drs_is_admm(kind):
    operator = OPERATORS[kind]()
    y, prior = measure(operator), TotalVariation(0.05, 5, dtype="float64")
    for denoiser in (smoother(), prior):
        options = {"step": 2.0, "iterations": 30, "tolerance": 0.0}
        one = pnp_admm(y, operator, denoiser, **options)
        other = pnp_drs(y, operator, denoiser, **options)
        np.testing.assert_allclose(one.x, other.x, rtol=0, atol=1e-12)
        np.testing.assert_allclose(one.point, other.point, rtol=0, atol=1e-12)


@EACH
@pytest.mark.parametrize("kind", ["fourier", "circular", "mask"])
def test_a_linear_denoiser_ends_at_the_direct_solve(solver, kind):
    operator, step = OPERATORS[kind](), 0.9
    y, s = measure(operator), as_matrix(smoother())
    a = operator.dense()
    gram, back = (a.conj().T @ a).real, (y.reshape(3, -1) @ a.conj()).real
    # x = S (x - step (A^T A x - A^T y)).
    system = np.eye(64) - s + step * s @ gram
    truth = np.linalg.solve(system, step * s @ back.T).T
    result = solver(
        y, operator, smoother(), step=step, iterations=3000, tolerance=1e-13
    )
    assert (result.stop_reason == "converged").all()
    np.testing.assert_allclose(result.x.reshape(3, -1), truth, atol=1e-10)


@EACH
def test_l1_meets_the_conditions_of_a_minimum(solver):
    operator, weight = blur(), 0.05
    y = measure(operator)
    result = solver(
        y,
        operator,
        L1(weight, dtype="float64"),
        step=1.5,
        iterations=20_000,
        tolerance=1e-13,
    )
    slope = np.asarray(operator.gram(result.x) - operator.adjoint(y))
    active = result.x != 0
    assert active.any()
    assert np.abs(slope).max() <= weight + 1e-9
    np.testing.assert_allclose(slope[active], -weight * np.sign(result.x[active]))


def test_all_methods_reach_one_minimiser_of_total_variation():
    cvxpy = pytest.importorskip("cvxpy")
    operator, weight = blur(), 0.08
    y = measure(operator)[:1]
    found = [
        solver(
            y,
            operator,
            TotalVariation(weight, iterations=30, dtype="float64"),
            step=step,
            iterations=4000,
            tolerance=1e-11,
        ).x
        for solver, step in [
            (pnp_admm, 1.0),
            (pnp_drs, 3.0),
            (pnp_fbs, 1.0),
            (pnp_pdhg, 1.0),
        ]
    ]
    x = cvxpy.Variable((8, 8))
    down, right = (
        cvxpy.vstack([x[1:] - x[:-1], np.zeros((1, 8))]),
        cvxpy.hstack([x[:, 1:] - x[:, :-1], np.zeros((8, 1))]),
    )
    fields = cvxpy.vstack([cvxpy.vec(down, order="C"), cvxpy.vec(right, order="C")])
    loss = operator.dense() @ cvxpy.vec(x, order="C") - y.ravel()
    objective = cvxpy.sum_squares(loss) / 2 + weight * cvxpy.sum(
        cvxpy.norm(fields, axis=0)
    )
    problem = cvxpy.Problem(cvxpy.Minimize(objective))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem.solve("CLARABEL", tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    for image in found:
        np.testing.assert_allclose(image, found[0], rtol=0, atol=1e-6)
        np.testing.assert_allclose(image[0, ..., 0], x.value, rtol=0, atol=1e-6)


@EACH
def test_an_image_stops_as_if_it_were_alone(solver):
    operator, prior = blur(), TotalVariation(0.05, dtype="float64")
    y = measure(operator)
    y[1] *= 0.01
    y[2] = 0
    steps = np.array([0.5, 1.0, 1.4])
    options = {"iterations": 300, "tolerance": 1e-4}
    result = solver(y, operator, prior, step=steps, truth=TRUTH, **options)
    assert len(set(result.iterations)) > 1
    for i in range(3):
        alone = solver(
            y[i : i + 1],
            operator,
            prior,
            step=steps[i],
            truth=TRUTH[i : i + 1],
            **options,
        )
        count = alone.iterations[0]
        assert result.iterations[i] == count
        assert result.stop_reason[i] == alone.stop_reason[0]
        np.testing.assert_allclose(result.x[i], alone.x[0], atol=1e-12)
        for name in ("residual", "psnr", "contraction"):
            row, single = getattr(result, name)[i], getattr(alone, name)[0]
            length = len(single)
            # Rounding alone moves what stands still.
            np.testing.assert_allclose(row[:length], single, rtol=1e-6, atol=1e-12)
            assert np.isnan(row[length:]).all()


def test_histories_are_of_the_points():
    operator, y = blur(), measure(blur())
    options = {"step": 1.0, "tolerance": 0.0, "truth": TRUTH}
    points = [TRUTH * 0 + np.asarray(operator.adjoint(y))]
    for count in (1, 2, 3):
        result = pnp_drs(y, operator, smoother(), iterations=count, **options)
        points.append(result.point)
    changes = [
        np.linalg.norm((b - a).reshape(3, -1), axis=1)
        for a, b in itertools.pairwise(points)
    ]
    sizes = [np.linalg.norm(point.reshape(3, -1), axis=1) for point in points[1:]]
    np.testing.assert_allclose(
        result.residual, np.array(changes).T / np.array(sizes).T, rtol=1e-9
    )
    contraction = [changes[1] / changes[0], changes[2] / changes[1]]
    np.testing.assert_allclose(result.contraction, np.array(contraction).T, rtol=1e-9)
    np.testing.assert_allclose(result.psnr[:, -1], psnr(result.x, TRUTH), rtol=1e-9)


def conditioned():
    keras.utils.set_random_seed(0)
    return dncnn(3, 4, normalization=None, noise_level_input=True)


def test_a_schedule_is_followed():
    operator, network = blur(), conditioned()
    y = measure(operator)
    schedule = np.array([[0.3], [0.2], [0.1], [0.05]])
    options = {"step": 1.0, "tolerance": 0.0}
    found = pnp_fbs(y, operator, network, sigma=schedule, iterations=4, **options)
    x = None
    for sigma in schedule[:, 0]:
        x = pnp_fbs(
            y, operator, network, sigma=sigma, iterations=1, start=x, **options
        ).x
    np.testing.assert_allclose(found.x, x, atol=1e-6)
    other = pnp_fbs(y, operator, network, sigma=0.05, iterations=4, **options)
    assert np.abs(other.x - x).max() > 1e-4


def test_levels_of_one_an_image_are_those_of_single_runs():
    operator, network = blur(), conditioned()
    y, sigma = measure(operator), np.array([0.0, 0.1, 0.3])
    options = {"step": 1.0, "iterations": 3, "tolerance": 0.0}
    both = pnp_admm(y, operator, network, sigma=sigma, **options)
    table = np.tile(sigma, (3, 1))
    same = pnp_admm(y, operator, network, sigma=table, **options)
    np.testing.assert_array_equal(both.x, same.x)
    for i in range(3):
        alone = pnp_admm(y[i : i + 1], operator, network, sigma=sigma[i], **options)
        np.testing.assert_allclose(both.x[i], alone.x[0], atol=1e-6)


@EACH
def test_a_python_function_does_what_the_layer_does(solver):
    operator, layer = fourier(), smoother()
    seen = []

    def function(images, sigma):
        assert isinstance(images, np.ndarray)
        seen.append(sigma)
        return np.asarray(layer(images))

    options = {"step": 0.7, "iterations": 6, "tolerance": 0.0, "truth": TRUTH}
    y = measure(operator)
    truth = solver(y, operator, layer, **options)
    found = solver(y, operator, function, sigma=0.2, **options)
    np.testing.assert_allclose(found.x, truth.x, atol=1e-13)
    np.testing.assert_allclose(found.residual, truth.residual, atol=1e-13)
    np.testing.assert_allclose(seen, np.full((6, 3), 0.2))


def test_a_range_is_where_the_denoiser_works():
    operator = blur()
    y = measure(operator)
    options = {"step": 1.0, "iterations": 3, "tolerance": 0.0}

    def scaled(images, sigma):
        assert sigma == pytest.approx(np.full(3, 0.1 * 2.0))
        return np.tanh(images)

    found = pnp_fbs(y, operator, scaled, sigma=0.1, value_range=(-1, 1), **options)

    def plain(images, sigma):
        return (np.tanh(2 * images - 1) + 1) / 2

    truth = pnp_fbs(y, operator, plain, **options)
    np.testing.assert_allclose(found.x, truth.x, atol=1e-13)


@pytest.mark.parametrize("fidelity", [Poisson(peak=20.0), PhotonCounting()])
def test_counts_are_recovered_alike_by_all_methods(fidelity):
    operator = Identity((16, 16, 1), dtype="float64")
    truth = np.full((1, 16, 16, 1), 0.3)
    truth[:, 4:12, 4:12] = 0.8
    rng = np.random.default_rng(0)
    if isinstance(fidelity, Poisson):
        y = rng.poisson(20.0 * truth).astype("float64")
    else:
        y = rng.binomial(64, 1 - np.exp(-truth)).astype("float64")
    prior = TotalVariation(6.0, iterations=20, dtype="float64")
    options = {"fidelity": fidelity, "iterations": 1000, "tolerance": 1e-8}
    found = [
        solver(y, operator, prior, step=0.01, truth=truth, **options)
        for solver in (pnp_admm, pnp_drs, pnp_pdhg)
    ]
    first = psnr(np.asarray(fidelity.start(operator, y)), truth)
    for result in found:
        np.testing.assert_allclose(result.x, found[0].x, rtol=0, atol=1e-5)
        assert result.psnr[0, -1] > first[0] + 3


def test_fbs_reaches_the_minimum_of_counts():
    operator = Identity(SHAPE, dtype="float64")
    y = np.random.default_rng(0).poisson(20 * (0.5 + TRUTH)).astype("float64")
    fidelity = Poisson(0.2, 3.0, peak=20.0)
    prior = L1(5.0, dtype="float64")
    step = 1 / fidelity.smoothness(operator, y)
    options = {"fidelity": fidelity, "iterations": 20_000, "tolerance": 1e-12}
    found = pnp_fbs(y, operator, prior, step=step, **options)
    # 20 - y / x + 5 = 0.
    np.testing.assert_allclose(found.x, np.maximum(y / 25, 0.2), atol=1e-6)


def test_a_graph_sees_new_weights():
    operator, layer = blur(), smoother()
    y, options = measure(operator), {"step": 1.0, "iterations": 2, "tolerance": 0.0}
    before = pnp_fbs(y, operator, layer, **options)
    layer.set_weights([0.5 * layer.get_weights()[0]])
    after = pnp_fbs(y, operator, layer, **options)
    assert np.abs(before.x - after.x).max() > 0.1


def test_float32_is_kept():
    operator = FourierMask(SHAPE, mask())
    y = np.asarray(operator(TRUTH))
    result = pnp_admm(y, operator, Wavelet(0.01, "haar"), step=1.0, iterations=5)
    assert result.x.dtype == "float32"


def test_what_explodes_keeps_its_last_estimate():
    operator = Identity(SHAPE)
    y = TRUTH.copy()
    y[0] = 0
    with pytest.warns(UserWarning, match="`pnp_admm` diverged on 2 of 3 images"):
        result = pnp_admm(
            y,
            operator,
            keras.layers.Rescaling(1e6),
            step=3.0,
            truth=TRUTH,
            iterations=50,
        )
    assert result.stop_reason.tolist() == ["converged", "diverged", "diverged"]
    assert np.isfinite(result.x).all()


def test_a_step_outside_of_the_interval_is_warned_of():
    operator, y = blur(), measure(blur())
    layer = smoother()
    with pytest.warns(UserWarning, match="`step` must lie between 0 and 2 for FBS"):
        pnp_fbs(y, operator, layer, step=2.1, iterations=1)
    masked = pixels()
    with pytest.warns(UserWarning, match="`step` must lie between 0 and 2 for FBS"):
        pnp_fbs(measure(masked), masked, layer, step=2.1, iterations=1)
    with pytest.warns(UserWarning, match=r"`dual_step` in \(0, 0.5\]"):
        pnp_pdhg(y, operator, layer, step=2.0, dual_step=0.6, iterations=1)
    identity = Identity(SHAPE, dtype="float64")
    with pytest.warns(UserWarning, match="between 0.178571 and inf for ADMM"):
        pnp_admm(TRUTH, identity, layer, step=0.1, lipschitz_bound=0.2, iterations=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pnp_fbs(y, operator, layer, step=1.9, iterations=1)
        pnp_pdhg(y, operator, layer, step=2.0, dual_step=0.5, iterations=1)
        pnp_admm(TRUTH, identity, layer, step=0.5, lipschitz_bound=0.2, iterations=1)


def test_a_certificate_is_made_when_it_is_asked_for():
    operator = fourier()
    result = pnp_admm(measure(operator), operator, smoother(), step=1.0, iterations=3)
    assert "certificate" not in vars(result)
    assert result.certificate.status == "not_met"
    assert "mu = 0" in result.certificate.why
    assert result.certificate is result.certificate


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": TRUTH[0]}, r"`y` must be measurements \[batch, 8, 8, 1\]"),
        ({"y": TRUTH[:, :4]}, r"`y` must be measurements \[batch, 8, 8, 1\]"),
        (
            {"y": np.repeat(TRUTH, 3, -1)},
            r"`y` must be measurements \[batch, 8, 8, 1\]",
        ),
        (
            {"y": 255 * TRUTH},
            r"`y` must be of images with intensities of about \[0, 1\]",
        ),
        ({"y": TRUTH * np.nan}, "`y` must be finite. Received: y with 192 values"),
        ({"y": TRUTH + 1j}, "`y` must be real for this operator"),
        ({"truth": 255 * TRUTH}, r"`truth` must have intensities of about \[0, 1\]"),
        ({"truth": TRUTH[:2]}, r"`truth` must be images \[3, 8, 8, 1\]"),
        ({"start": TRUTH[..., 0]}, r"`start` must be images \[3, 8, 8, 1\]"),
        ({"operator": np.eye(8)}, "`operator` must be a `zoo.layers.operators"),
        ({"denoiser": "bm3d"}, "`denoiser` must be a Keras model, a prior"),
        ({"denoiser": dncnn(2, 2, 3)}, "`denoiser` must take images of 1 channels"),
        ({"denoiser": conditioned()}, "`sigma` must be given: the denoiser takes"),
        ({"sigma": 0.1}, "`sigma` must be None: the denoiser takes no noise level"),
        (
            {"denoiser": conditioned(), "sigma": np.ones(2)},
            r"`sigma` must be one number, one an image, \[3\]",
        ),
        ({"denoiser": conditioned(), "sigma": np.nan}, "`sigma` must be finite"),
        ({"step": 0.0}, "`step` must be above 0. Received: step=0.0"),
        ({"step": np.ones(2)}, r"`step` must be one number, or one an image, \[3\]"),
        ({"iterations": 0}, "`iterations` must be an integer from 1 up"),
        ({"tolerance": -1.0}, "`tolerance` must be a number from 0 up"),
        ({"fidelity": "l2"}, "`fidelity` must be 'least_squares'"),
        ({"value_range": (1, 0)}, "`value_range` must be two finite numbers"),
        ({"value_range": 255}, "`value_range` must be two finite numbers"),
        ({"lipschitz_bound": -1}, "`lipschitz_bound` must be a number from 0 up"),
        ({"fidelity": Poisson()}, "`fidelity` must have a Lipschitz gradient for FBS"),
    ],
)
def test_a_mistake_is_told_in_a_line(options, message):
    arguments = {
        "y": TRUTH,
        "operator": Identity(SHAPE, dtype="float64"),
        "denoiser": smoother(),
        "step": 1.0,
        **options,
    }
    with pytest.raises(ValueError, match=message) as error:
        pnp_fbs(**arguments)
    assert "\n" not in str(error.value)


JAX = """
import keras
import numpy as np

from zoo.layers.operators import FourierMask, Identity
from zoo.models.denoisers import dncnn
from zoo.solvers.plug_and_play import (
    PhotonCounting, TotalVariation, Wavelet, pnp_admm, pnp_fbs, pnp_pdhg
)

assert keras.backend.backend() == "jax"
data = np.load(PATH)
network = dncnn(3, 4, normalization=None)
network.set_weights([data[f"weight{i}"] for i in range(3)])
operator = FourierMask((8, 8, 1), data["mask"])
options = {"step": 0.8, "iterations": 10, "tolerance": 0.0}
for solver in (pnp_admm, pnp_fbs, pnp_pdhg):
    name = solver.__name__
    found = solver(data["y"], operator, network, truth=data["truth"], **options)
    np.testing.assert_allclose(found.x, data[name], atol=1e-4)
    np.testing.assert_allclose(found.residual, data[name + "_residual"], atol=1e-4)
certificate = found.certificate
np.testing.assert_allclose(certificate.measured_eps, data["eps"], rtol=1e-2)
prior = TotalVariation(0.1)
found = pnp_admm(data["y"], operator, prior, **options)
np.testing.assert_allclose(found.x, data["tv"], atol=1e-4)
counts, identity = data["counts"], Identity((8, 8, 1))
prior = Wavelet(0.5, "haar")
found = pnp_admm(counts, identity, prior, fidelity=PhotonCounting(), **options)
np.testing.assert_allclose(found.x, data["photons"], atol=1e-4)
options["iterations"] = 2
found = pnp_admm(data["y"], operator, lambda x, sigma: 0.5 * x, **options)
np.testing.assert_allclose(found.x, data["half"], atol=1e-4)
"""


def test_jax_gives_the_same(tmp_path):
    keras.utils.set_random_seed(0)
    network = dncnn(3, 4, normalization=None)
    operator = FourierMask(SHAPE, mask())
    y = measure(operator).astype("complex64")
    options = {"step": 0.8, "iterations": 10, "tolerance": 0.0}
    data = {"y": y, "mask": mask(), "truth": TRUTH}
    for solver in SOLVERS.values():
        result = solver(y, operator, network, **options)
        data[solver.__name__] = result.x
        data[solver.__name__ + "_residual"] = result.residual
    data["eps"] = result.certificate.measured_eps
    data["tv"] = pnp_admm(y, operator, TotalVariation(0.1), **options).x
    data["counts"] = np.random.default_rng(0).binomial(64, 0.5 * TRUTH)
    photons = {"fidelity": PhotonCounting(), **options}
    prior = Wavelet(0.5, "haar")
    data["photons"] = pnp_admm(data["counts"], Identity(SHAPE), prior, **photons).x
    options["iterations"] = 2
    data["half"] = pnp_admm(y, operator, lambda x, sigma: 0.5 * x, **options).x
    data.update({f"weight{i}": w for i, w in enumerate(network.get_weights())})
    path = str(tmp_path / "data.npz")
    np.savez(path, **data)
    run = subprocess.run(
        [sys.executable, "-c", JAX.replace("PATH", repr(path))],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]


def test_the_weight_of_a_prior_may_change():
    operator = pixels()
    y, prior = measure(operator), L1(0.1)
    first = pnp_drs(y, operator, prior, step=1.0, iterations=20).x
    prior.weight = 0.4
    again = pnp_drs(y, operator, prior, step=1.0, iterations=20).x
    expected = pnp_drs(y, operator, L1(0.4), step=1.0, iterations=20).x
    assert not np.allclose(first, expected)
    np.testing.assert_array_equal(again, expected)


@pytest.mark.parametrize("fidelity", [Poisson(0.1, 2.0), PhotonCounting(0.1, 1.0)])
def test_dark_frames_are_recovered(fidelity):
    result = pnp_fbs(
        np.zeros((1, *SHAPE)), Identity(SHAPE), L1(0.1), step=0.01, fidelity=fidelity
    )
    assert np.isfinite(result.x).all()


def test_operators_may_multiply_and_each_image_is_looked_at():
    truth = np.full((1, *SHAPE), 0.6)
    for operator in (Blur(SHAPE, np.ones((3, 3))), Stack([Identity(SHAPE)] * 9)):
        result = pnp_admm(operator(truth), operator, L1(1e-6), step=1.0)
        np.testing.assert_allclose(result.x, truth, atol=1e-3)
    bright = np.zeros((60, *SHAPE))
    bright[7] = 200
    with pytest.raises(ValueError, match="a mean magnitude of 200"):
        pnp_admm(bright, Identity(SHAPE), L1(0.1), step=1.0)
