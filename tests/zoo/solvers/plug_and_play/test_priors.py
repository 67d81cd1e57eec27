"""Priors against scikit-image, PyWavelets, and what their minima must satisfy."""

import numpy as np
import pytest
import pywt
import tensorflow as tf
from skimage.restoration import denoise_tv_chambolle

from zoo.solvers.plug_and_play import L1, TotalVariation, Wavelet
from zoo.solvers.plug_and_play.priors import differences, divergence
from zoo.solvers.plug_and_play.wavelet import transform

RNG = np.random.default_rng(0)


def noisy(shape=(16, 20)):
    image = np.zeros(shape)
    image[4:10, 5:15] = 1.0
    return image + 0.2 * RNG.standard_normal(shape)


def exact(prior, image):
    """The prox and its memory, in a graph: iterations outside of one take long."""
    run = tf.function(prior.prox, autograph=False)
    strength = np.full((1, 1, 1, 1), prior.weight)
    found, memory = run(tf.constant(image), tf.constant(strength), prior.memory(image))
    return np.asarray(found), tuple(map(np.asarray, memory))


def tv(x):
    down = np.pad(np.diff(x, axis=0), ((0, 1), (0, 0)))
    right = np.pad(np.diff(x, axis=1), ((0, 0), (0, 1)))
    return np.sum(np.sqrt(down**2 + right**2))


def images(*arrays):
    return np.stack(arrays)[..., None]


@pytest.mark.parametrize(("eps", "atol"), [(1e-8, 1e-3), (1e-13, 1e-5)])
def test_total_variation_is_that_of_scikit_image(eps, atol):
    image, weight = noisy(), 0.15
    # It stops where its objective does: at 1e-8 some way before the minimum.
    truth = denoise_tv_chambolle(image, weight, eps=eps, max_num_iter=50_000)
    prior = TotalVariation(weight, iterations=4000, dtype="float64")
    found = exact(prior, images(image))[0][0, ..., 0]
    np.testing.assert_allclose(found, truth, rtol=0, atol=atol)

    def objective(x):
        return weight * tv(x) + np.sum((x - image) ** 2) / 2

    assert objective(found) <= objective(truth) + 1e-6


def test_total_variation_has_no_duality_gap():
    image = images(noisy())
    prior = TotalVariation(0.2, iterations=4000, dtype="float64")
    found, (down, right) = exact(prior, image)
    assert np.sqrt(down**2 + right**2).max() <= 0.2 * (1 + 1e-12)
    along = sum(
        np.sum(p * np.asarray(g))
        for p, g in zip((down, right), differences(found), strict=True)
    )
    # What the dual variable proves that no image goes below.
    gap = 0.2 * tv(found[0, ..., 0]) - along
    assert 0 <= gap <= 1e-6


def test_the_divergence_is_the_adjoint_of_the_differences():
    x, *fields = RNG.standard_normal((3, 2, 5, 7, 3))
    # Fields are 0 at the ends.
    fields[0][:, -1], fields[1][:, :, -1] = 0, 0
    pairs = zip(fields, differences(x), strict=True)
    left = sum(np.sum(p * np.asarray(g)) for p, g in pairs)
    assert left == pytest.approx(np.sum(np.asarray(divergence(fields)) * x), rel=1e-12)


def test_a_prox_goes_on_from_the_one_before():
    image = images(noisy())
    strength = np.full((1, 1, 1, 1), 0.2)
    long = TotalVariation(0.2, iterations=3000, dtype="float64")
    short = TotalVariation(0.2, iterations=20, dtype="float64")
    truth, _ = exact(long, image)
    found, memory = short.prox(image, strength, short.memory(image))
    errors = [np.abs(np.asarray(found) - truth).max()]
    for _ in range(10):
        found, memory = short.prox(image, strength, memory)
        errors.append(np.abs(np.asarray(found) - truth).max())
    assert errors[-1] < 0.2 * errors[0]


def test_channels_and_images_do_not_see_each_other():
    prior = TotalVariation(0.2, iterations=30, dtype="float64")
    first, second = noisy(), noisy()
    steps = np.array([1.0, 0.3])
    both = np.asarray(prior(images(first, second), steps))
    for image, step, found in zip((first, second), steps, both, strict=True):
        alone = np.asarray(prior(images(image), step))[0]
        np.testing.assert_allclose(found, alone, atol=1e-14)
    colour = np.stack([first, second], -1)[None]
    together = np.asarray(prior(colour))[0]
    np.testing.assert_allclose(together[..., 0], both[0, ..., 0], atol=1e-14)


@pytest.mark.parametrize("wavelet", ["haar", "db4", "sym5"])
def test_a_level_of_wavelets_is_orthonormal(wavelet):
    matrix = transform(wavelet, 16)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(16), atol=1e-10)


@pytest.mark.parametrize("wavelet", ["haar", "db4"])
def test_wavelets_are_those_of_pywavelets(wavelet):
    image, weight = noisy((32, 40)), 0.1
    means, *details = pywt.wavedec2(image, wavelet, "periodization", level=2)
    shrunk = [
        tuple(pywt.threshold(band, weight, "soft") for band in level)
        for level in details
    ]
    truth = pywt.waverec2([means, *shrunk], wavelet, "periodization")
    prior = Wavelet(weight, wavelet, levels=2, dtype="float64")
    found = np.asarray(prior(images(image)))[0, ..., 0]
    np.testing.assert_allclose(found, truth, atol=1e-10)


def test_spins_are_the_mean_over_shifts():
    image = noisy()
    still = Wavelet(0.1, "haar", levels=2, dtype="float64")
    spun = Wavelet(0.1, "haar", levels=2, spins=2, dtype="float64")
    shifted = []
    for shift in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        moved = np.asarray(still(images(np.roll(image, shift, (0, 1)))))[0, ..., 0]
        shifted.append(np.roll(moved, (-shift[0], -shift[1]), (0, 1)))
    found = np.asarray(spun(images(image)))[0, ..., 0]
    np.testing.assert_allclose(found, np.mean(shifted, 0), atol=1e-14)


def test_l1_is_the_soft_threshold():
    image = RNG.standard_normal((2, 3, 4, 1))
    found = np.asarray(L1(0.5, dtype="float64")(image, np.array([1.0, 2.0])))
    limit = np.array([0.5, 1.0]).reshape(2, 1, 1, 1)
    truth = np.sign(image) * np.maximum(np.abs(image) - limit, 0)
    np.testing.assert_allclose(found, truth)


@pytest.mark.parametrize(
    "prior", [L1(0.2), TotalVariation(0.2, iterations=7), Wavelet(0.2, "sym5", 2, 3)]
)
def test_a_prior_comes_back_from_its_config(prior):
    again = type(prior).from_config(prior.get_config())
    image = np.pad(images(noisy()), ((0, 0), (0, 4), (0, 0), (0, 0)))
    np.testing.assert_array_equal(np.asarray(again(image)), np.asarray(prior(image)))
    assert again.get_config() == prior.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L1(0.0), "`weight` must be above 0. Received: weight=0.0"),
        (lambda: TotalVariation(float("nan")), "`weight` must be above 0"),
        (lambda: TotalVariation(1.0, 0), "`iterations` must be an integer from 1 up"),
        (lambda: Wavelet(1.0, "bior2.2"), "`wavelet` must be an orthogonal wavelet"),
        (lambda: Wavelet(1.0, "fourier"), "`wavelet` must be an orthogonal wavelet"),
        (lambda: Wavelet(1.0, levels=0), "`levels` must be an integer from 1 up"),
        (lambda: Wavelet(1.0, spins=0), "`spins` must be an integer from 1 up"),
        (
            lambda: Wavelet(1.0)(np.zeros((1, 12, 16, 1))),
            "`images` must have sides that are multiples of 8 for levels=3",
        ),
    ],
)
def test_a_mistake_is_told_in_a_line(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert message in str(error.value)


def test_a_wavelet_that_is_cut_off_is_none():
    with pytest.raises(ValueError, match=r"orthogonal wavelet .* wavelet='dmey'"):
        Wavelet(0.1, "dmey")
