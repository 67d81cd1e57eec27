"""D-AMP and D-VAMP against their recursions and against what theory foretells."""

import dataclasses
import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest

from zoo.layers.divergence import gaussian_probes
from zoo.layers.operators import (
    Blur,
    Compose,
    FourierMask,
    GaussianMatrix,
    PixelMask,
    StructuredRandom,
)
from zoo.models.denoisers import unet
from zoo.solvers.damp import (
    MessagePassingResult,
    StateEvolution,
    damp,
    dvamp,
    state_evolution,
)
from zoo.solvers.damp.methods import Dvamp
from zoo.solvers.plug_and_play import TotalVariation, Wavelet
from zoo.solvers.plug_and_play.problem import Problem

RNG = np.random.default_rng(0)
SHAPE = (16, 16, 1)
PIXELS, ROWS = 256, 128
SQUARE = np.zeros((1, 32, 32, 1))
SQUARE[:, 8:24, 8:24] = 1.0
TV = TotalVariation(1.0)


def smooth_images(count=2, side=16):
    x = np.linspace(0, 3, side)
    phases = RNG.uniform(0, 6, (count, 2, 1))
    rows, columns = np.sin(2 * x + phases[:, 0]), np.cos(3 * x + phases[:, 1])
    return 0.5 + 0.4 * (rows[:, :, None] * columns[:, None])[..., None]


def cosines(side):
    """The orthonormal cosine transform of `side` numbers."""
    k, i = np.mgrid[:side, :side]
    basis = np.cos(np.pi * k * (2 * i + 1) / (2 * side)) * np.sqrt(2 / side)
    basis[0] /= np.sqrt(2)
    return basis


def textures(count=2, side=64):
    """Images of a twentieth of all cosines: errors that average out."""
    shape = (count, side, side)
    waves = np.where(RNG.random(shape) < 0.05, RNG.normal(0, 0.7, shape), 0)
    waves[:, 0, 0] = 0.5 * side
    basis = cosines(side)
    return np.einsum("kh,bkl,lw->bhw", basis, waves, basis)[..., None]


def soft(images, sigma):
    """Shrinks the cosine transform of images: smooth, and told of the noise."""
    basis = cosines(images.shape[1])
    waves = np.einsum("kh,bhwc,lw->bklc", basis, images, basis)
    limit = 1.5 * np.reshape(sigma, (-1, 1, 1, 1))
    waves = np.sign(waves) * np.maximum(np.abs(waves) - limit, 0)
    return np.einsum("kh,bklc,lw->bhwc", basis, waves, basis)


def filter_matrix():
    """A symmetric smoothing of an image's pixels."""
    side = np.eye(16) * 0.5 + 0.25 * (np.eye(16, k=1) + np.eye(16, k=-1))
    return 0.9 * np.kron(side, side)


# Without Onsager's term the iteration needs a denoiser that takes out more.
@pytest.mark.parametrize(
    "damping, onsager, gain", [(1.0, True, 1), (0.7, True, 1), (1.0, False, 0.2)]
)
def test_with_a_linear_denoiser_it_is_its_closed_recursion(damping, onsager, gain):
    op = GaussianMatrix(SHAPE, ROWS, dtype="float64")
    matrix, smooth = op.dense(), gain * filter_matrix()
    truth = smooth_images()
    y = truth.reshape(2, PIXELS) @ matrix.T

    def denoiser(images, sigma):
        return (images.reshape(2, PIXELS) @ smooth).reshape(images.shape)

    result = damp(
        y,
        op,
        denoiser,
        iterations=6,
        damping=damping,
        onsager=onsager,
        tolerance=0,
        truth=truth,
        keep_pseudo_data=True,
        seed=4,
    )
    norm = np.linalg.norm(matrix) / 16
    x, v = np.zeros((2, PIXELS)), y
    for t in range(6):
        sigma = np.linalg.norm(v, axis=1) / (norm * np.sqrt(ROWS))
        r = x + v @ matrix / norm**2
        np.testing.assert_allclose(result.sigma[:, t], sigma, rtol=1e-8)
        pseudo = result.pseudo_data[:, t].reshape(2, PIXELS)
        np.testing.assert_allclose(pseudo, r, rtol=1e-7, atol=1e-9)
        probe = gaussian_probes(SHAPE, 1, [4, t]).ravel()
        divergence = probe @ smooth @ probe if onsager else 0.0
        share = damping if t else 1.0
        x = x + share * (r @ smooth - x)
        v = v + share * (y - x @ matrix.T + divergence / ROWS * v - v)
        psnr = -10 * np.log10(np.mean((x - truth.reshape(2, PIXELS)) ** 2, axis=1))
        np.testing.assert_allclose(result.psnr[:, t], psnr, atol=1e-6)
    np.testing.assert_allclose(result.x.reshape(2, PIXELS), x, rtol=1e-7, atol=1e-9)
    left = np.linalg.norm(y - x @ matrix.T, axis=1) / np.linalg.norm(y, axis=1)
    np.testing.assert_allclose(result.residual[:, -1], left, rtol=1e-7)
    assert list(result.stop_reason) == ["max_iterations"] * 2


def test_dvamp_with_a_linear_denoiser_is_its_closed_recursion():
    op = GaussianMatrix(SHAPE, ROWS, dtype="float64")
    matrix, smooth = op.dense(), filter_matrix()
    truth, noise = smooth_images(1), 0.05
    y = truth.reshape(1, PIXELS) @ matrix.T + noise * RNG.normal(size=(1, ROWS))

    def denoiser(images, sigma):
        return (images.reshape(1, PIXELS) @ smooth).reshape(images.shape)

    settings = {"noise": noise, "iterations": 4, "tolerance": 0, "seed": 2}
    result = dvamp(y, op, denoiser, keep_pseudo_data=True, **settings)
    energy, r = np.sum(matrix**2), np.zeros(PIXELS)
    for t in range(4):
        left = y[0] - matrix @ r
        g = (left @ left - ROWS * noise**2) / energy
        # The best linear estimate, by its normal equations.
        precision = matrix.T @ matrix / noise**2 + np.eye(PIXELS) / g
        best = np.linalg.solve(precision, matrix.T @ y[0] / noise**2 + r / g)
        error = np.trace(np.linalg.inv(precision)) / PIXELS
        variance = 1 / (1 / error - 1 / g)
        p = variance * (best / error - r / g)
        np.testing.assert_allclose(result.sigma[0, t], np.sqrt(variance), rtol=1e-5)
        np.testing.assert_allclose(result.pseudo_data[0, t].ravel(), p, atol=1e-5)
        probe = gaussian_probes(SHAPE, 1, [2, t]).ravel()
        a = probe @ smooth @ probe / PIXELS
        r = (smooth @ p - a * p) / (1 - a)


def test_state_evolution_foretells_the_measured_errors():
    # One image of this size strays by 0.6 dB: these are means over matrices and images.
    truth, noise = textures(4), 0.02
    gaps = []
    for seed in range(3):
        op = GaussianMatrix((64, 64, 1), 2048, seed=seed)
        y = np.asarray(op(truth)) + noise * RNG.normal(size=(4, 2048))
        settings = {"iterations": 6, "seed": seed}
        result = damp(y, op, soft, truth=truth, tolerance=0, **settings)
        foretold = state_evolution(op, soft, truth, noise=noise, **settings)
        assert isinstance(foretold, StateEvolution)
        gaps.append(result.psnr - foretold.psnr)
    assert np.all(abs(np.mean(gaps, axis=(0, 1))) < 0.5)
    assert np.all(foretold.psnr[:, -1] > foretold.psnr[:, 0] + 15)
    # And it is not met without Onsager's term.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = damp(y, op, soft, iterations=6, truth=truth, onsager=False)
    assert np.all(foretold.psnr[:, -1] - plain.psnr[:, -1] > 5)


def test_effective_noise_is_white_and_of_the_level_that_is_told():
    truth = textures(1)
    op = GaussianMatrix((64, 64, 1), 2048)
    settings = {"iterations": 5, "tolerance": 0, "keep_pseudo_data": True}
    result = damp(np.asarray(op(truth)), op, soft, **settings)
    errors = (result.pseudo_data[0] - truth)[..., 0]
    for error, sigma in zip(errors, result.sigma[0], strict=True):
        assert np.std(error) == pytest.approx(sigma, rel=0.06)
        standard = error / np.std(error)
        assert abs(np.mean(standard**4) - 3) < 0.35
        assert abs(np.mean(standard[1:] * standard[:-1])) < 0.06


@pytest.mark.parametrize("kind", ["dct", "hadamard", "coded_diffraction"])
def test_fast_transforms_of_random_signs_serve_too(kind):
    op = StructuredRandom((32, 32, 1), 512, kind=kind)
    result = damp(np.asarray(op(SQUARE)), op, TV, truth=SQUARE, iterations=12)
    assert result.psnr[0, -1] > 40
    assert result.damping[0] == 1


def test_dvamp_is_faster_where_singular_values_differ():
    op = GaussianMatrix((32, 32, 1), 512)
    y = np.asarray(op(SQUARE))
    ours, other = (
        solver(y, op, TV, truth=SQUARE, iterations=5).psnr[0, -1]
        for solver in (dvamp, damp)
    )
    assert ours > other + 10


def test_dvamp_takes_fast_transforms_of_random_signs():
    op = StructuredRandom((32, 32, 1), 512)
    result = dvamp(np.asarray(op(SQUARE)), op, TV, truth=SQUARE, iterations=12)
    assert result.psnr[0, -1] > 60


def test_where_singular_values_spread_dvamp_goes_on_and_damp_does_not():
    op = GaussianMatrix((32, 32, 1), 512)
    matrix = op.dense()
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    values = np.geomspace(1, 1 / 50, 512)
    values *= np.sqrt(1024 / np.sum(values**2))
    op.set_weights([(left * values) @ right, right, values**2])
    y = np.asarray(op(SQUARE))
    result = dvamp(y, op, TV, truth=SQUARE, iterations=20)
    assert result.psnr[0, -1] > 30
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = damp(y, op, TV, truth=SQUARE, iterations=20)
    assert np.nanmax(other.psnr) < result.psnr[0, -1] - 3


def test_an_image_does_not_depend_on_its_batch():
    truth = smooth_images(3)
    op = GaussianMatrix(SHAPE, ROWS)
    y = np.asarray(op(truth))
    whole = damp(y, op, TV, iterations=6)
    part = damp(y[1:2], op, TV, iterations=6)
    np.testing.assert_allclose(part.x[0], whole.x[1], atol=1e-4)


@pytest.mark.parametrize(
    "denoiser", [TV, Wavelet(1.4, "haar"), soft], ids=["tv", "wavelet", "function"]
)
def test_every_kind_of_denoiser_is_told_the_level(denoiser):
    truth = smooth_images(1, 32)
    op = GaussianMatrix((32, 32, 1), 614)
    result = damp(np.asarray(op(truth)), op, denoiser, truth=truth, iterations=10)
    assert isinstance(result, MessagePassingResult)
    assert result.psnr[0, -1] > result.psnr[0, 0] + 3


@pytest.mark.parametrize("conditioned", [True, False])
def test_networks_are_taken_with_their_level_or_without(conditioned):
    op = GaussianMatrix(SHAPE, ROWS)
    seen = []
    network = unet((3, 4), (1, 1), noise_level_input=conditioned)
    y = np.asarray(op(smooth_images()))

    def identity(images, sigma):
        seen.append(sigma)
        return images

    # A new network is the identity.
    settings = {"iterations": 2, "tolerance": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = (damp(y, op, one, **settings) for one in (network, identity))
    np.testing.assert_allclose(ours.sigma, theirs.sigma, rtol=1e-4)
    assert np.shape(seen[0]) == (2,)


def test_other_intensities_of_a_denoiser_change_nothing():
    op = GaussianMatrix(SHAPE, ROWS)
    y = np.asarray(op(smooth_images()))

    def grey_levels(images, sigma):
        return 255 * soft(images / 255, sigma / 255)

    plain = damp(y, op, soft, iterations=4).x
    scaled = damp(y, op, grey_levels, iterations=4, value_range=(0, 255)).x
    np.testing.assert_allclose(scaled, plain, atol=1e-3)


@pytest.mark.parametrize(
    "op",
    [
        PixelMask((32, 32, 1), RNG.random((32, 32)) < 0.3),
        Blur((32, 32, 1), np.ones((5, 5)) / 25),
    ],
    ids=["mask", "blur"],
)
def test_other_operators_warn_once_and_give_back_the_best_fit(op):
    rough = SQUARE + 0.2 * RNG.normal(size=SQUARE.shape)
    y = np.asarray(op(np.clip(rough, 0, 1)))

    def barely(images, sigma):
        return 0.98 * images

    with pytest.warns(UserWarning, match="`damp` damped . of 1") as caught:
        result = damp(y, op, barely, iterations=40, tolerance=0)
    assert sum(one.category is UserWarning for one in caught) == 1
    assert list(result.stop_reason) == ["diverged"]
    assert np.isfinite(result.x).all()
    left = y - np.asarray(op(result.x))
    ratio = np.linalg.norm(left) / np.linalg.norm(y)
    assert ratio == pytest.approx(np.nanmin(result.residual), rel=1e-4)


def test_what_overflows_is_left_and_given_back_finite():
    op = GaussianMatrix(SHAPE, ROWS)
    y = np.asarray(op(smooth_images()))

    def explode(images, sigma):
        images = images.copy()
        images[1] = np.inf if images[1].any() else 0
        return images * 0.5

    with pytest.warns(UserWarning, match="lost 1"):
        result = damp(y, op, explode, iterations=6, tolerance=0)
    assert result.stop_reason[1] == "diverged" and result.iterations[1] == 1
    assert result.iterations[0] == 6
    assert np.isfinite(result.x).all()


def test_images_stop_one_by_one():
    op = GaussianMatrix(SHAPE, ROWS)
    y = np.array(op(smooth_images()))
    y[0] = 0
    result = damp(y, op, soft, iterations=5, tolerance=1e-9)
    assert list(result.stop_reason) == ["converged", "max_iterations"]
    assert list(result.iterations) == [1, 5]
    assert np.isnan(result.sigma[0, 1:]).all() and np.isfinite(result.sigma[1]).all()
    assert not result.x[0].any()


OPERATOR = GaussianMatrix(SHAPE, ROWS)
Y = np.asarray(OPERATOR(smooth_images()))
NAN = np.where(np.arange(ROWS) == 3, np.nan, Y)
BAD = [
    ({"y": Y[:, 1:]}, r"`y` must be measurements \[batch, 128\]"),
    ({"y": NAN}, "`y` must be finite"),
    ({"y": Y + 0j}, "`y` must be real"),
    ({"y": 255 * Y}, r"intensities of about \[0, 1\]"),
    ({"operator": np.eye(3)}, "`operator` must be a"),
    ({"denoiser": unet(channels=3)}, "must take images of 1 channels"),
    ({"denoiser": 3}, "`denoiser` must be"),
    ({"iterations": 0}, "`iterations` must be"),
    ({"probes": 0}, "`probes` must be"),
    ({"relative_epsilon": 0.0}, "`relative_epsilon` must be"),
    ({"damping": 0.0}, "`damping` must be a number above 0, up to 1"),
    ({"damping": 1.5}, "`damping` must be"),
    ({"tolerance": -1}, "`tolerance` must be"),
    ({"seed": -1}, "`seed` must be"),
    ({"value_range": (1, 0)}, "`value_range` must be"),
    ({"truth": np.zeros((2, 16, 15, 1))}, "`truth` must be images"),
    ({"truth": np.full((2, *SHAPE), 200.0)}, "`truth` must have intensities"),
]


@pytest.mark.parametrize("solver", [damp, dvamp])
@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_input_is_one_clear_line(solver, arguments, message):
    arguments = {"y": Y, "operator": OPERATOR, "denoiser": soft, **arguments}
    with pytest.raises(ValueError, match=message) as caught:
        solver(**arguments)
    assert "\n" not in str(caught.value)


def test_dvamp_says_which_operators_it_takes():
    op = Compose(GaussianMatrix(SHAPE, 99), Blur(SHAPE, np.ones((3, 3)) / 9))
    with pytest.raises(ValueError, match="singular values that are known") as caught:
        dvamp(np.zeros((1, 99)), op, soft)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(2))
def test_on_half_of_the_frequencies_dvamp_goes_further(seed):
    mask = np.random.default_rng(seed).random((32, 32)) < 0.5
    mask[0, 0] = True
    op = FourierMask((32, 32, 1), mask)
    y = np.asarray(op(SQUARE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, other = (
            solver(y, op, TV, truth=SQUARE, iterations=10) for solver in (dvamp, damp)
        )
    assert ours.x.dtype == other.x.dtype == "float32"
    assert ours.psnr[0, -1] > other.psnr[0, -1] + 3
    assert ours.psnr[0, -1] > ours.psnr[0, 0] + 5


JAX = """
import keras, numpy as np
from zoo.layers.operators import GaussianMatrix, StructuredRandom
from zoo.solvers.damp import damp, dvamp
from zoo.solvers.plug_and_play import TotalVariation
assert keras.backend.backend() == "jax"
truth = np.zeros((1, 16, 16, 1))
truth[:, 4:12, 4:12] = 1.0
for solver, kind in ((damp, GaussianMatrix), (dvamp, StructuredRandom)):
    operator = kind((16, 16, 1), 160)
    y = np.asarray(operator(truth))
    result = solver(y, operator, TotalVariation(1.0), truth=truth, iterations=6)
    print(*result.psnr[0])
"""


def test_jax_gives_the_same():
    env = {**os.environ, "KERAS_BACKEND": "jax"}
    lines = subprocess.run(
        [sys.executable, "-c", JAX], env=env, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    truth = SQUARE[:, ::2, ::2]
    pairs = ((damp, GaussianMatrix), (dvamp, StructuredRandom))
    for line, (solver, kind) in zip(lines, pairs, strict=True):
        op = kind(SHAPE, 160)
        y = np.asarray(op(truth))
        psnr = solver(y, op, TV, truth=truth, iterations=6).psnr[0]
        np.testing.assert_allclose([*map(float, line.split())], psnr, atol=0.1)


def test_floating_point_of_the_operator_is_kept():
    op = GaussianMatrix(SHAPE, ROWS, dtype="float64")
    result = damp(np.asarray(op(smooth_images())), op, soft, iterations=2)
    assert result.x.dtype == "float64"
    assert keras.backend.floatx() == "float32"


def test_what_is_not_measured_does_not_count():
    mask = RNG.random(SHAPE[:2]) < 0.5
    operator = PixelMask(SHAPE, mask.astype("float32"))
    images = smooth_images()
    y = np.asarray(operator(images))
    expected = damp(y, operator, TV, iterations=4)
    other = damp(y + np.where(mask[..., None], 0, 1.0), operator, TV, iterations=4)
    np.testing.assert_array_equal(other.x, expected.x)
    np.testing.assert_array_equal(other.sigma, expected.sigma)


def test_more_noisy_numbers_than_rank_leave_more_noise():
    operator = GaussianMatrix(SHAPE, 2 * PIXELS, seed=1)
    problem = Problem(operator, TV, (0.0, 1.0))
    noise = 0.3
    left = noise * RNG.normal(size=(8, 2 * PIXELS))
    variance = Dvamp(problem, left, noise)._variance(left)
    # What noise alone leaves is no error of the estimate.
    assert abs(variance.mean()) < 0.15 * noise**2


def test_a_denoiser_needs_no_hash():
    @dataclasses.dataclass
    class Half:
        share: float = 0.5

        def __call__(self, images, sigma):
            return self.share * images

    images = smooth_images()
    operator = GaussianMatrix(SHAPE, ROWS, seed=1)
    result = damp(np.asarray(operator(images)), operator, Half(), iterations=2)
    assert np.isfinite(result.x).all()
