"""The photographs are those of the split, and patches are of the images."""

import itertools

import numpy as np
import pytest
from PIL import Image

from zoo.data import natural_images as module
from zoo.data.natural_images import PARTS, PatchSampler, load_natural_images, symmetry

RNG = np.random.default_rng(0)
RAMP = np.arange(16.0 * 12).reshape(16, 12, 1) / 255


@pytest.fixture(scope="module")
def grey():
    return {part: load_natural_images(part) for part in PARTS}


def thumbnail(image):
    """An image of 12 x 12 of mean 0 and norm 1."""
    small = np.asarray(Image.fromarray(image[..., 0]).resize((12, 12)), "float64")
    small -= small.mean()
    return small / np.linalg.norm(small)


def likeness(first, second):
    """The largest correlation of thumbnails, up to a symmetry."""
    first, second = thumbnail(first)[..., None], thumbnail(second)[..., None]
    return max(np.sum(first * symmetry(second, index)) for index in range(8))


def save(array, path):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(array).save(path)


def test_images_are_what_models_take(grey):
    assert [len(images) for images in grey.values()] == [13, 3, 4]
    for images in grey.values():
        for image in images.values():
            assert image.dtype == np.float32 and image.shape[2:] == (1,)
            assert image.min() >= 0 and 0.5 < image.max() <= 1
    assert all(image.shape == (256, 256, 1) for image in grey["test"].values())


def test_color_has_the_photographs_in_color_alone():
    for part, count in zip(PARTS, (8, 1, 1), strict=True):
        images = load_natural_images(part, color=True)
        assert len(images) == count
        assert all(image.shape[-1] == 3 for image in images.values())


def test_grey_is_rec_601_of_the_color(grey):
    color = load_natural_images("test", color=True)["china"].astype("float64")
    luma = 0.299 * color[..., 0] + 0.587 * color[..., 1] + 0.114 * color[..., 2]
    np.testing.assert_allclose(grey["test"]["china"][..., 0], luma, atol=1e-7)


def test_windows_and_halves_are_where_they_are_said_to_be(grey):
    from skimage import data
    from sklearn.datasets import load_sample_image

    china = load_sample_image("china.jpg")[60:316, 100:356]
    color = load_natural_images("test", color=True)["china"]
    np.testing.assert_array_equal((255 * color).round(), china)
    moon = data.moon()[100:356, 100:356, None]
    np.testing.assert_array_equal((255 * grey["test"]["moon"]).round(), moon)
    camera = data.camera().reshape(256, 2, 256, 2, 1).mean((1, 3)) / 255
    np.testing.assert_allclose(grey["test"]["camera"], camera, atol=1e-7)


def test_no_two_parts_share_a_view(grey):
    for first, second in itertools.combinations(PARTS, 2):
        assert not set(grey[first]) & set(grey[second])
        for one, two in itertools.product(grey[first], grey[second]):
            assert likeness(grey[first][one], grey[second][two]) < 0.9, (one, two)


def test_near_duplicates_would_be_found(grey):
    pixels = module._load(module._locate("skimage", "motorcycle_right.png"))
    right = (pixels @ module._LUMA[:, None] / 255).astype("float32")
    assert likeness(grey["train"]["motorcycle"], symmetry(right, 5)) > 0.9


def test_other_pixels_are_refused(monkeypatch):
    photographs = {"test": {"moon": ("skimage", "moon.png", "0" * 16)}}
    monkeypatch.setattr(module, "_PHOTOGRAPHS", photographs)
    with pytest.raises(ValueError, match=r"moon\.png of scikit-image is not"):
        load_natural_images("test")


def test_a_missing_package_is_named(monkeypatch):
    photographs = {"test": {"ascent": ("absent", "ascent.npz", "")}}
    monkeypatch.setattr(module, "_PHOTOGRAPHS", photographs)
    monkeypatch.setitem(module._FOLDERS, "absent", ("PyWavelets", "data"))
    with pytest.raises(FileNotFoundError, match="pip install PyWavelets"):
        load_natural_images("test")


def test_a_folder_of_images_is_read(tmp_path):
    color = RNG.integers(256, size=(9, 7, 3), dtype="uint8")
    deep = RNG.integers(65536, size=(9, 7), dtype="uint16")
    save(color, tmp_path / "train" / "color.png")
    save(color[..., 0], tmp_path / "train" / "grey.PNG")
    save(deep, tmp_path / "train" / "deep.png")
    alpha = np.concatenate([color, color[..., :1]], axis=-1)
    save(alpha, tmp_path / "train" / "alpha.png")
    (tmp_path / "train" / "notes.txt").write_text("no image")
    images = load_natural_images("train", data_dir=tmp_path)
    assert list(images) == ["alpha.png", "color.png", "deep.png", "grey.PNG"]
    assert all(image.shape == (9, 7, 1) for image in images.values())
    assert np.abs(images["deep.png"][..., 0] - deep / 65535).max() < 1e-7
    images = load_natural_images("train", color=True, data_dir=str(tmp_path))
    assert list(images) == ["alpha.png", "color.png"]
    for image in images.values():
        assert np.abs(image - color / 255).max() < 1e-7


def test_folders_without_images_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold a folder train"):
        load_natural_images("train", data_dir=tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="holds none"):
        load_natural_images("train", data_dir=tmp_path)
    save(np.zeros((4, 4), "uint8"), tmp_path / "train" / "grey.png")
    with pytest.raises(ValueError, match="must hold color images"):
        load_natural_images("train", color=True, data_dir=tmp_path)
    (tmp_path / "train" / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read"):
        load_natural_images("train", data_dir=tmp_path)
    with pytest.raises(ValueError, match="`part` must be one of"):
        load_natural_images("tests")


def test_a_batch_is_a_function_of_seed_and_step_alone():
    images = {"ramp": RAMP, "other": RAMP.swapaxes(0, 1)}
    first, second = (PatchSampler(images, 5, seed=1) for _ in range(2))
    second.batch(0, 8), second.batch(9, 3)
    np.testing.assert_array_equal(first.batch(4, 8), second.batch(4, 8))
    assert first.batch(4, 8).dtype == np.float32
    for other in (first.batch(5, 8), PatchSampler(images, 5, seed=2).batch(4, 8)):
        assert not np.array_equal(first.batch(4, 8), other)


def test_patches_are_all_windows_in_all_symmetries():
    image = RAMP[:4, :3]
    windows = {
        window.tobytes()
        for row, column, index in itertools.product(range(3), range(2), range(8))
        for window in [
            symmetry(image[row : row + 2, column : column + 2], index)
            .astype("float32")
            .copy()
        ]
    }
    assert len(windows) == 3 * 2 * 8
    batch = PatchSampler([image], 2, scales=(1,)).batch(0, 2000)
    assert {patch.tobytes() for patch in batch} == windows
    plain = PatchSampler([image], 2, scales=(1,), augment=False).batch(0, 200)
    assert len({patch.tobytes() for patch in plain}) == 3 * 2


def test_symmetries_are_the_eight_of_the_square():
    square = np.arange(9).reshape(3, 3, 1)
    images = {symmetry(square, index).tobytes() for index in range(8)}
    assert len(images) == 8
    assert {np.rot90(square, k).tobytes() for k in range(4)} <= images
    assert symmetry(square, 0).tobytes() == square.tobytes()


def test_scales_are_means_over_areas():
    # Of 5 pixels, 4 are made: each is a mean over 5/4.
    image = RNG.uniform(size=(5, 5, 1))
    weights = np.array(
        [[4, 1, 0, 0, 0], [0, 3, 2, 0, 0], [0, 0, 2, 3, 0], [0, 0, 0, 1, 4]]
    )
    expected = np.einsum("ih,hwc,jw->ijc", weights / 5, image, weights / 5)
    (patch,) = PatchSampler([image], 4, scales=(0.8,), augment=False).batch(0, 1)
    np.testing.assert_allclose(patch, expected, atol=1e-6)


def test_images_smaller_than_a_patch_are_left_out():
    sampler = PatchSampler([np.zeros((4, 4, 1)), np.ones((12, 8, 1))], 8)
    assert np.all(sampler.batch(0, 20) == 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([255 * RAMP],), r"\[0, 1\]. Received: values from 0 to 191"),
        (([np.full((8, 8, 1), np.nan)],), r"must lie in \[0, 1\]"),
        (([RAMP - 1],), r"must lie in \[0, 1\]"),
        (([RAMP[..., 0]],), "height, width, channels"),
        (([RAMP, np.zeros((8, 8, 3))],), "one number of channels"),
        (({},), "height, width, channels"),
        (([RAMP], 64), "at least 64 x 64"),
        (([RAMP], 0), "`size` must be"),
        (([RAMP], 4, (2.0,)), "`scales` must be"),
        (([RAMP], 4, ()), "`scales` must be"),
        (([RAMP], 4, (1,), True, -1), "`seed` must be"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        PatchSampler(*arguments)


@pytest.mark.parametrize("mode", ["LA", "1", "P", "RGB"])
def test_grey_images_of_any_mode_have_no_color(tmp_path, mode):
    (tmp_path / "train").mkdir()
    pixels = RNG.integers(0, 256, (16, 16), "uint8")
    Image.fromarray(pixels).convert(mode).save(tmp_path / "train" / "grey.png")
    (image,) = load_natural_images("train", data_dir=tmp_path).values()
    assert image.shape == (16, 16, 1)
    with pytest.raises(ValueError, match="color"):
        load_natural_images("train", color=True, data_dir=tmp_path)
