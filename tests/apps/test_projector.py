"""One projector for all tasks: what it beats, what is measured, users' mistakes."""

import numpy as np
import pytest
from keras import ops

from zoo.apps import plug_and_play
from zoo.apps.plug_and_play.decision import Decision
from zoo.apps.plug_and_play.projector import consistent, misfit
from zoo.apps.plug_and_play.restorations import (
    RESTORATIONS,
    first_images,
    pulled_back,
    train_specialised,
)
from zoo.layers.operators import Identity, PixelMask
from zoo.metrics import psnr
from zoo.models.projector import pretrained

EXPERIMENTS = plug_and_play.EXPERIMENTS

KINDS = {
    "compressive sensing",
    "pixelwise inpainting and denoising",
    "scattered inpainting",
    "blockwise inpainting",
    "super-resolution",
}
SMALL = ("--experiment=projector", "--patches=2", "--iterations=2")


@pytest.fixture(scope="module")
def quick(call, results, tmp_path_factory):
    """The folder of a finished `quick` run."""
    logdir = tmp_path_factory.mktemp("quick")
    assert call(logdir, "--experiment=projector") == 0
    return results(logdir / "plug_and_play/projector")


def test_one_projector_beats_wavelets_on_four_of_five_kinds_of_tasks(quick):
    above = dict.fromkeys(KINDS, True)
    for name, task in RESTORATIONS.items():
        ours, wavelet, start = (
            quick.number(number, restoration=name, prior=prior)
            for number, prior in (
                ("psnr", "projector"),
                ("psnr", "wavelet"),
                ("start_psnr", "projector"),
            )
        )
        above[task.kind] &= ours > wavelet
        assert ours > start
    assert above.keys() == KINDS
    count = sum(above.values())
    assert count >= 4
    assert f"on {count} of 5 kinds of tasks" in quick.report()


def test_the_report_has_all_of_it(quick):
    text = quick.report(["pictures_projector", "convergence_projector"])
    for task in RESTORATIONS.values():
        assert f"| {task.title} |" in text
    assert "25.43 ± 3.74" in text and "ImageNet: other data" in text
    assert "are left out" in text


def test_scores_are_of_the_images_that_are_drawn(quick):
    point = {"restoration": "pixelwise", "prior": "projector"}
    curves = quick.curves(**point)
    assert len(curves["psnrs"]) == 16 and curves["estimate"].shape == (32, 32, 1)
    np.testing.assert_allclose(
        curves["psnrs"].mean(), quick.number("psnr", **point), rtol=1e-6
    )


def test_conditions_are_measured_along_the_way(quick):
    for name in RESTORATIONS:
        curves = quick.curves(restoration=name, prior="projector")
        looks = curves["looks"]
        assert looks[0] == 1 and np.all(np.diff(looks) > 0)
        for curve in ("lipschitz_curve", "phi_curve", "misfit_curve"):
            assert len(curves[curve]) == len(looks)
            assert np.all(np.isfinite(curves[curve]))
        assert np.all(curves["lipschitz_curve"] > 0) and np.all(curves["phi_curve"] < 0)


@pytest.mark.parametrize("name", RESTORATIONS)
def test_every_task_measures_what_its_title_says(name):
    task = RESTORATIONS[name]
    operator = task.operator((32, 32, 1), 0)
    images = np.random.default_rng(0).uniform(size=(3, 32, 32, 1)).astype("float32")
    y = task.measure(operator, images, 0)
    noise = y - np.asarray(operator(images))
    assert noise.std() == pytest.approx(task.noise, rel=0.05)
    seen = y[0].size
    if name == "compressive_sensing":
        assert seen == 102
    elif name.startswith("super_resolution"):
        assert seen == (32 // int(name[-1])) ** 2
    else:
        hidden = 1 - np.asarray(operator.mask).mean()
        low, high = {
            "pixelwise": (0.5, 0.5),
            # Ten blocks of 3 x 3 may overlap.
            "scattered": (0.04, 90 / 1024),
            "block": (100 / 1024, 100 / 1024),
        }[name]
        assert low <= hidden <= high


def test_what_is_pulled_back_of_means_is_the_means():
    operator = RESTORATIONS["super_resolution_2"].operator((4, 4, 1), 0)
    y = np.arange(4.0).reshape(1, 2, 2, 1)
    expected = np.kron(y[0, ..., 0], np.ones((2, 2)))
    np.testing.assert_allclose(pulled_back(operator, y)[0, ..., 0], expected)


def test_admm_starts_from_what_is_seen_and_its_mean():
    operator = PixelMask((2, 2, 1), [[1, 1], [0, 1]])
    y = np.array([0.1, 0.2, 0.0, 0.6]).reshape(1, 2, 2, 1)
    start = first_images(operator, y).ravel()
    np.testing.assert_allclose(start, [0.1, 0.2, 0.3, 0.6], rtol=1e-6)
    means = RESTORATIONS["super_resolution_2"].operator((2, 2, 1), 0)
    y = np.full((1, 1, 1, 1), 0.7)
    np.testing.assert_allclose(first_images(means, y), 0.7 + np.zeros((1, 2, 2, 1)))


def test_the_constant_of_a_gradient_is_that_of_its_hessian():
    matrix = np.random.default_rng(0).normal(size=(16, 16)).astype("float32")
    matrix = (matrix + matrix.T) / 2

    class Quadratic:
        variables = ()

        def __call__(self, x, training):
            x = ops.reshape(x, (-1, 16))
            return ops.sum(x * (x @ matrix), axis=1, keepdims=True) / 2

    decision = Decision(Quadratic(), iterations=200)
    x = np.random.default_rng(1).normal(size=(2, 4, 4, 1)).astype("float32")
    flat = x.reshape(2, 16)
    logits = np.einsum("bi,ij,bj->b", flat, matrix, flat) / 2
    np.testing.assert_allclose(decision(x), -np.logaddexp(0, -logits), rtol=1e-4)
    for image, logit, found in zip(flat, logits, decision.lipschitz(x), strict=True):
        p = 1 / (1 + np.exp(-logit))
        slope = matrix @ image
        hessian = (1 - p) * matrix - p * (1 - p) * np.outer(slope, slope)
        expected = np.abs(np.linalg.eigvalsh(hessian)).max()
        assert found == pytest.approx(expected, rel=1e-2)


def test_misfits_are_halves_of_squares():
    y, images = np.zeros((2, 2, 2, 1), "float32"), np.ones((2, 2, 2, 1), "float32")
    assert misfit(Identity((2, 2, 1)), images, y) == pytest.approx(2.0)


def test_estimates_without_noise_measure_what_was_measured():
    images = np.full((1, 2, 2, 1), 0.5, "float32")
    operator = PixelMask((2, 2, 1), [[1, 1], [0, 1]])
    y = np.array([0.1, 0.2, 0.0, 0.6], "float32").reshape(1, 2, 2, 1)
    moved = consistent(RESTORATIONS["block"], operator, images, y)
    np.testing.assert_allclose(moved.ravel(), [0.1, 0.2, 0.5, 0.6], atol=1e-4)
    same = consistent(RESTORATIONS["pixelwise"], operator, images, y)
    np.testing.assert_array_equal(same, images)


def test_specialised_networks_learn_their_task():
    task = RESTORATIONS["pixelwise"]
    operator = task.operator((32, 32, 1), 0)
    ramp = np.linspace(0, 1, 48)[:, None, None] * np.ones((48, 48, 1))
    network = train_specialised(task, operator, [ramp], 60, 0)
    truth = ramp[None, 8:40, 8:40].astype("float32")
    seen = pulled_back(operator, task.measure(operator, truth, 5))
    estimate = network.predict_on_batch(seen)
    assert psnr(estimate, truth)[0] > psnr(seen, truth)[0] + 3


def test_specialised_networks_are_compared(call, results, tmp_path):
    flags = (*SMALL, "--restoration=scattered", "--training_steps=1")
    assert call(tmp_path, *flags, "--prior=wavelet,projector,specialised") == 0
    folder = results(tmp_path / "plug_and_play/projector")
    assert [row["status"] for row in folder.rows()] == ["finished"] * 3
    assert "trained for 1 updates" in folder.report()


def test_the_projector_is_the_same_for_every_task():
    first, second = (pretrained().get_weights() for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_photographs_of_your_own(call, results, tmp_path):
    from PIL import Image

    folder = tmp_path / "data/test"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (70, 80)).astype("uint8")
    Image.fromarray(pixels).save(folder / "a.png")
    flags = (*SMALL, "--restoration=block", "--prior=wavelet")
    assert call(tmp_path / "runs", *flags, f"--data_dir={tmp_path / 'data'}") == 0
    folder = results(tmp_path / "runs/plug_and_play/projector")
    assert "of a.png" in folder.report()


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["--restoration=x"], "--restoration=x must be one of compressive_sensing, "),
        (["--prior=x"], "--prior=x must be one of wavelet, projector, specialised"),
        (["--patches=1"], "--patches=1"),
        (["--training_steps=0"], "--training_steps=0"),
        (["--strategy=mirrored"], "--strategy=mirrored must be none"),
        (["--search=hyperband"], "--search=hyperband"),
        (["--data_dir=/nowhere"], "--data_dir=/nowhere: "),
        (["--task=denoising"], "--task is not read by --experiment=projector"),
    ],
)
def test_a_mistake_is_one_line(complaint, arguments, line):
    assert line in complaint("--experiment=projector", *arguments)
