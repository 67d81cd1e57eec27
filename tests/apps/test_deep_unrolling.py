"""Deep unrolling: what Onsager's term and generators do, and users' mistakes."""

import numpy as np
import pytest

from zoo.apps import deep_unrolling
from zoo.apps.deep_unrolling import compressive
from zoo.metrics import psnr

EXPERIMENTS = deep_unrolling.EXPERIMENTS
RATES = (0.1, 0.25)


@pytest.fixture(scope="module")
def quick(call, results, tmp_path_factory):
    """The folder of a finished `quick` run."""
    logdir = tmp_path_factory.mktemp("quick")
    assert call(logdir) == 0
    return results(logdir / "deep_unrolling")


def test_onsagers_term_earns_its_place(quick):
    folder = quick / "compressive"
    text = folder.report(["psnr_by_rate", "quantiles", "state_evolution"])
    assert "LDIT" in text
    for rate in RATES:
        with_it, without = (
            folder.number("psnr", method=method, rate=rate)
            for method in ("ldamp", "ldit")
        )
        assert with_it > without + 2


def test_the_error_is_gaussian_with_onsagers_term_alone(quick):
    folder, rate = quick / "compressive", RATES[-1]
    normal = compressive.stats.norm.ppf(compressive.QUANTILES)
    # A few thousand numbers say little of the tails.
    bulk = np.abs(normal) < 2
    off, gap = {}, {}
    for method in ("ldamp", "ldit"):
        point = {"method": method, "rate": rate}
        quantiles = folder.curves(**point)["error_quantiles"]
        off[method] = np.abs(quantiles - normal)[bulk].max()
        gap[method] = folder.number("evolution_gap", **point)
    assert off["ldamp"] < 0.1 < off["ldit"]
    assert gap["ldamp"] < 1 and gap["ldit"] > 4
    assert abs(folder.number("error_over_sigma", method="ldamp", rate=rate) - 1) < 0.05


def test_ten_layers_beat_total_variation(quick):
    folder = quick / "compressive"
    for rate in RATES:
        best, rival = (
            folder.number("psnr", method=method, rate=rate)
            for method in ("ldamp", "tv")
        )
        assert best > rival


def test_scores_are_of_the_images_that_are_drawn(quick):
    folder = quick / "compressive"
    folder.report(["pictures_10", "pictures_25"])
    point = {"method": "ldamp", "rate": 0.25}
    curves = folder.curves(**point)
    assert len(curves["psnrs"]) == 2
    mean = curves["psnrs"].mean()
    np.testing.assert_allclose(mean, folder.number("psnr", **point), rtol=1e-6)
    # The network and the solver are one iteration.
    np.testing.assert_allclose(curves["psnr_curve"][-1], mean, atol=0.05)


def test_generators_recover_more_than_was_measured(quick):
    folder = quick / "undersampling"
    folder.report(["snr_by_acceleration", "pictures_4"])
    for acceleration in (2.0, 4.0, 6.0, 8.0):
        score = {
            method: folder.number("snr", method=method, acceleration=acceleration)
            for method in ("zero_filling", "tv", "gancs")
        }
        assert score["gancs"] > score["zero_filling"] + 2
        assert score["tv"] > score["zero_filling"]
    gain = folder.number("snr", method="gancs", acceleration=4.0)
    assert gain > 4 + folder.number("snr", method="zero_filling", acceleration=4.0)


def test_each_operator_measures_what_it_is_asked_for(call, results, tmp_path):
    flags = ("--experiment=compressive", "--method=tv", "--rate=0.5", "--images=camera")
    for operator in ("dct", "hadamard", "coded_diffraction"):
        logdir = tmp_path / operator
        small = ("--image_size=32", "--iterations=4", f"--operator={operator}")
        assert call(logdir, *flags, *small) == 0
        folder = results(logdir / "deep_unrolling/compressive")
        assert folder.number("psnr", method="tv") > 15
        curves = folder.curves(method="tv")
        assert psnr(curves["estimate"], np.zeros((32, 32, 1))) > 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--method=lista",), "--method=lista must be one of tv"),
        (("--rate=0",), "--rate=0 must hold numbers from 0.01 to 1"),
        (("--operator=fourier",), "--operator=fourier must be one of gaussian"),
        (("--images=lena",), "--images=lena must hold some of"),
        (("--image_size=60",), "--image_size=60"),
        (("--image_size=256", "--rate=0.9"), "--operator=gaussian needs a matrix"),
        (("--search=hyperband",), "--search=hyperband changes epochs"),
        (("--strategy=mirrored",), "--strategy=mirrored must be none"),
    ],
)
def test_mistakes_in_one_line(complaint, flags, words):
    assert words in complaint("--experiment=compressive", *flags)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--acceleration=3",), "--acceleration=3 must hold some of 2, 4, 6, 8"),
        (("--image_size=64",), "--image_size=64 must be 128"),
    ],
)
def test_mistakes_about_generators_in_one_line(complaint, flags, words):
    assert words in complaint("--experiment=undersampling", *flags)
