"""Plug-and-Play: what the spectral norm does, what is certified, users' mistakes."""

import numpy as np
import pytest
from scipy import stats

from zoo.apps import plug_and_play
from zoo.apps.imaging import non_local_means, phantom
from zoo.apps.plug_and_play import tasks
from zoo.apps.plug_and_play.denoisers import DENOISERS
from zoo.metrics import psnr

EXPERIMENTS = plug_and_play.EXPERIMENTS

SMALL = ("--images=camera", "--image_size=32", "--iterations=4", "--task=inpainting")


@pytest.fixture(scope="module")
def quick(call, results, tmp_path_factory):
    """The folder of a finished `quick` run."""
    logdir = tmp_path_factory.mktemp("quick")
    assert call(logdir) == 0
    return results(logdir / "plug_and_play")


@pytest.mark.parametrize("task", ["sharpening", "mri_random"])
def test_the_spectral_norm_steadies_the_iteration(quick, task):
    folder = quick / "contraction"
    folder.report([f"{name}_{task}" for name in ("factors", "ratios", "psnr")])

    def number(name, denoiser, step):
        return folder.number(name, task=task, denoiser=denoiser, step=step)

    for step in (1.0, 20.0):
        assert number("largest_factor", "simple_cnn_realsn", step) < 1
        assert number("measured_eps", "simple_cnn_realsn", step) < 0.92
        assert number("measured_eps", "simple_cnn", step) > 1
    # It ends far from what it once had.
    assert number("mean_factor", "simple_cnn", 20.0) > 1
    assert number("loss_of_best", "simple_cnn", 20.0) > 10


def test_what_is_proved_is_seen(quick):
    folder = quick / "contraction"
    point = {"task": "sharpening", "denoiser": "simple_cnn_realsn"}
    verdicts = [
        folder.curves(**point, step=step)["verdict"][0].partition(":")[0]
        for step in (1.0, 20.0)
    ]
    assert verdicts == ["not_met", "proved"]
    proved = folder.number("proved_factor", **point, step=20.0)
    assert folder.number("largest_factor", **point, step=20.0) < proved < 1


def test_what_is_not_strongly_convex_is_not_certified(quick):
    folder = quick / "contraction"
    text = folder.report()
    for denoiser in ("simple_cnn", "simple_cnn_realsn"):
        for step in (1.0, 20.0):
            curves = folder.curves(task="mri_random", denoiser=denoiser, step=step)
            assert curves["verdict"][0].startswith("not_met: mu = 0")
            assert curves["verdict"][0] in text


def test_learned_denoisers_beat_total_variation(quick):
    folder = quick / "recovery"
    text = folder.report(["curves_mri_random", "pictures_mri_random"])
    for task in ("deblurring", "inpainting", "mri_random"):
        best, tv = (
            folder.number("psnr", task=task, denoiser=denoiser)
            for denoiser in ("unet", "tv")
        )
        assert best > tv > folder.number("start_psnr", task=task, denoiser="tv")
    assert "for a peak of 1" in text


def test_scores_are_of_the_images_that_are_drawn(quick):
    folder = quick / "recovery"
    point = {"task": "mri_random", "denoiser": "unet"}
    curves = folder.curves(**point)
    truth = phantom(256)
    assert truth.shape == (256, 256, 1) and 0 <= truth.min() < truth.max() <= 1
    assert len(curves["psnrs"]) == 2
    np.testing.assert_allclose(
        curves["psnrs"].mean(), folder.number("psnr", **point), rtol=1e-6
    )
    assert curves["estimate"].shape == (64, 64, 1)


@pytest.mark.parametrize("name", tasks.TASKS)
def test_every_task_measures_what_its_title_says(name):
    task = tasks.TASKS[name]
    shape = (64, 64, 1)
    images = np.full((1, *shape), 0.5, "float32")
    operator = task.operator(shape, 0)
    first, again = (task.measure(operator, images, 3) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = task.measure(operator, images, 4)
    assert np.any(first != other)
    if name == "photons":
        # Half a photon at each detector.
        seen = 64 * -np.expm1(-0.5)
        assert abs(first.mean() - seen) < 4 * np.sqrt(seen) / 64
        return
    noise = first - np.asarray(operator(images))
    parts = noise.view("float32") if np.iscomplexobj(noise) else noise
    values = parts[parts != 0]
    # Four standard errors of a standard deviation.
    assert abs(values.std() / task.noise - 1) < 4 / np.sqrt(2 * values.size)
    assert stats.kstest(values / task.noise, "norm").pvalue > 1e-3


def test_sharpening_is_as_convex_as_it_says():
    operator = tasks.TASKS["sharpening"].operator((32, 32, 1), 0)
    assert operator.strong_convexity() == pytest.approx(1 / 16, rel=1e-6)
    assert operator.operator_norm() == pytest.approx(1.0, rel=1e-6)


def test_non_local_means_takes_noise_off():
    rng = np.random.default_rng(0)
    clean = np.kron(rng.random((2, 4, 4, 1)), np.ones((1, 8, 8, 1))).astype("float32")
    noisy = clean + 0.05 * rng.standard_normal(clean.shape).astype("float32")
    estimate = non_local_means(noisy, np.array([0.05, 0.05]))
    assert np.all(psnr(estimate, clean) > psnr(noisy, clean) + 3)


@pytest.mark.parametrize("denoiser", ["tv", "wavelet", "nlm", "unet"])
def test_every_method_runs_with_every_kind_of_denoiser(
    call, results, tmp_path, denoiser
):
    flags = (*SMALL, "--experiment=recovery", "--solver=admm,drs,fbs,pdhg")
    assert call(tmp_path, *flags, f"--denoiser={denoiser}") == 0
    rows = results(tmp_path / "plug_and_play/recovery").rows()
    assert [row["status"] for row in rows] == ["finished"] * 4


def test_a_search_tunes_the_step(call, results, tmp_path):
    flags = (*SMALL, "--experiment=recovery", "--search=random", "--trials=2")
    assert call(tmp_path, *flags, "--denoiser=tv") == 0
    folder = results(tmp_path / "plug_and_play/recovery")
    assert len({row["step"] for row in folder.rows()}) == 2
    assert "## Best trials" in folder.report()


def test_photographs_of_your_own(call, results, tmp_path):
    from PIL import Image

    folder = tmp_path / "data/test"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in (("a", (40, 50)), ("b", (48, 33))):
        pixels = rng.integers(0, 255, size).astype("uint8")
        Image.fromarray(pixels).save(folder / f"{name}.png")
    flags = ("--experiment=recovery", "--denoiser=tv", "--task=denoising")
    flags += (f"--data_dir={tmp_path / 'data'}", "--image_size=0", "--iterations=2")
    assert call(tmp_path / "runs", *flags) == 0
    curves = results(tmp_path / "runs/plug_and_play/recovery").curves()
    assert curves["estimate"].shape == (32, 32, 1)


def test_bounded_networks_have_their_bound():
    for name, denoiser in DENOISERS.items():
        assert denoiser.bounded == name.endswith("_realsn")


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["--task=x"], "--task=x must be one of denoising, "),
        (["--denoiser=x"], "--denoiser=x must be one of tv, "),
        (["--solver=x"], "--solver=x must be one of admm, drs, fbs, pdhg"),
        (["--images=x"], "--images=x must hold some of camera, "),
        (["--image_size=60"], "--image_size=60 must be a multiple of 8"),
        (["--image_size=264"], "--image_size=264 must not be above the sides"),
        (["--step=0"], "--step=0 must hold numbers from 1e-06 to 1e+06"),
        (["--iterations=1"], "--iterations=1"),
        (["--strategy=mirrored"], "--strategy=mirrored must be none"),
        (["--search=hyperband"], "--search=hyperband"),
        (["--data_dir=/nowhere"], "--data_dir=/nowhere: "),
    ],
)
def test_a_mistake_is_one_line(complaint, arguments, line):
    assert line in complaint(*arguments)
