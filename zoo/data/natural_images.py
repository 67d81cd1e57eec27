"""Photographs that come with Python packages, and random patches of images."""

import hashlib
import importlib.util
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from zoo._types import Array
from zoo.losses.checks import check_choice, check_integer

PARTS = ("train", "validation", "test")
SUFFIXES = (".jpeg", ".jpg", ".png")
# Rec. 601.
_LUMA = np.array([0.299, 0.587, 0.114])
_FOLDERS = {
    # import name: (name to install, folder of its images)
    "pywt": ("PyWavelets", "data"),
    "skimage": ("scikit-image", "data"),
    "sklearn": ("scikit-learn", "datasets/images"),
}
# Where each lies, and the first 64 bits of the SHA-256 of its uint8 pixels.
_PHOTOGRAPHS = {
    "train": {
        "astronaut": ("skimage", "astronaut.png", "a8c429c18afa7b0f"),
        "brick": ("skimage", "brick.png", "664a145c5253f0d6"),
        "clock": ("skimage", "clock_motion.png", "ad313afa739ea86c"),
        "coffee": ("skimage", "coffee.png", "0ce2b51640b9c95f"),
        "coins": ("skimage", "coins.png", "e080cc03805f1fa7"),
        "flower": ("sklearn", "flower.jpg", "3202904ed246795b"),
        "grass": ("skimage", "grass.png", "b18dae4c68bf850a"),
        "gravel": ("skimage", "gravel.png", "3d51ad45f789cd8b"),
        "hubble": ("skimage", "hubble_deep_field.jpg", "9a3ea9548188f81e"),
        "ihc": ("skimage", "ihc.png", "c5b3ef509a92f16d"),
        "motorcycle": ("skimage", "motorcycle_left.png", "ca829467c1d4f427"),
        "retina": ("skimage", "retina.jpg", "3670e389d0dae9f7"),
        "rocket": ("skimage", "rocket.jpg", "3d4435cc745752b7"),
    },
    "validation": {
        "chelsea": ("skimage", "chelsea.png", "416b729128bfb2c3"),
        "page": ("skimage", "page.png", "667bfd85aab58052"),
        "text": ("skimage", "text.png", "6705caed21e62817"),
    },
    "test": {
        "camera": ("skimage", "camera.png", "5cb24482a53416f9"),
        "ascent": ("pywt", "ascent.npz", "c7777d46c3f4e311"),
        "china": ("sklearn", "china.jpg", "e701459344fd6979"),
        "moon": ("skimage", "moon.png", "a20362266d5b0102"),
    },
}
# The tests are of 256 x 256: every second pixel by area, or a window at a corner.
_HALVED = ("camera", "ascent")
_CORNERS = {"china": (60, 100), "moon": (100, 100)}
_WINDOW = 256


def load_natural_images(
    part: Literal["train", "validation", "test"] = "train",
    color: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
) -> dict[str, np.ndarray]:
    """Returns photographs for the training and the test of image models.

    They come with scikit-image, scikit-learn and PyWavelets, in one fixed split, and
    need no network. No two parts share a photograph or a view.

    - `"train"`: astronaut, coffee, flower, hubble, ihc, motorcycle, retina and rocket,
      and in grey alone brick, clock, coins, grass and gravel
    - `"validation"`: chelsea, and in grey alone page and text
    - `"test"`: china, and in grey alone camera, ascent and moon

    The four for the test are of 256 x 256: the first two are the means of 2 x 2 pixels,
    of china the rows from 60 and columns from 100 are taken, of moon those from 100.
    Grey is luma, 0.299 R + 0.587 G + 0.114 B. In color there are only images that have
    it.

    Args:
        part: `"train"`, `"validation"` or `"test"`. Defaults to `"train"`.
        color: bool, three channels, R, G and B, rather than one. Defaults to `False`.
        data_dir: folder of your own images, PNG or JPEG of 8 or 16 bits, those of a
            part in the folder of its name, such as `data_dir/train`. Defaults to the
            photographs above.

    Returns:
        Dict from name to float32 `[height, width, channels]` in [0, 1].

    Raises:
        ValueError: `part` is none of these, or an image is not the one that is known
            by its hash, or cannot be read, or the folder holds none that fits.
        FileNotFoundError: a folder or a package is missing.

    Example:

    >>> {name: image.shape for name, image in load_natural_images("test").items()}
    {'camera': (256, 256, 1), 'ascent': (256, 256, 1), 'china': (256, 256, 1),
     'moon': (256, 256, 1)}
    """
    check_choice("part", part, PARTS)
    read = _read_bundled(part) if data_dir is None else _read_folder(data_dir, part)
    images = {
        name: _channels(pixels, color).astype("float32")
        for name, pixels in read
        if pixels.shape[-1] == 3 or not color
    }
    if not images:
        raise ValueError(
            f"`data_dir` must hold color images in {part} for color=True. "
            f"Received: data_dir={str(data_dir)!r}"
        )
    return images


class PatchSampler:
    """Random patches of images: a batch is a function of the seed and the step.

    An image, one of its scales, a place and one of the eight symmetries of the square
    are drawn evenly. Smaller scales are local means.

    Args:
        images: dict or list of `[height, width, channels]` in [0, 1], of one number of
            channels.
        size: int, the side of a patch. Defaults to 64.
        scales: floats in (0, 1]. A scale at which an image is smaller than a patch is
            left out. Defaults to `(1, 0.8, 0.6, 0.5)`.
        augment: bool, whether patches are turned and mirrored. Defaults to `True`.
        seed: int >= 0. Defaults to 0.

    Raises:
        ValueError: an argument is not as above, or no image holds a patch.

    Example:

    >>> sampler = PatchSampler(load_natural_images("validation"), size=32)
    >>> sampler.batch(step=7, count=16).shape
    (16, 32, 32, 1)
    """

    def __init__(
        self,
        images: dict[str, Array] | Sequence[Array],
        size: int = 64,
        scales: Sequence[float] = (1.0, 0.8, 0.6, 0.5),
        augment: bool = True,
        seed: int = 0,
    ) -> None:
        self.size = check_integer("size", size, 1)
        self.seed = check_integer("seed", seed, 0)
        self.augment = augment
        if not len(scales) or not all(0 < scale <= 1 for scale in scales):
            raise ValueError(
                f"`scales` must be numbers above 0, up to 1. Received: scales={scales}"
            )
        named = check_images("images", images)
        pyramids = (
            [_rescale(image, scale) for scale in scales if self._fits(image, scale)]
            for image in named.values()
        )
        self.pyramids = [pyramid for pyramid in pyramids if pyramid]
        if not self.pyramids:
            raise ValueError(
                f"`images` must hold one of at least {size} x {size} pixels at a scale "
                f"of {scales}. Received: {len(named)} smaller images"
            )

    def batch(self, step: int, count: int) -> np.ndarray:
        """Returns the patches of a step, float32 `[count, size, size, channels]`."""
        rng = np.random.default_rng([self.seed, step])
        # In [0, 1): image, scale, row, column and symmetry of each patch.
        draws = rng.random((count, 5))
        return np.stack([self._patch(draw) for draw in draws])

    def _fits(self, image, scale):
        return min(_scaled(image, scale)) >= self.size

    def _patch(self, draw):
        pyramid = self.pyramids[int(draw[0] * len(self.pyramids))]
        image = pyramid[int(draw[1] * len(pyramid))]
        height, width = (side - self.size + 1 for side in image.shape[:2])
        row, column = int(draw[2] * height), int(draw[3] * width)
        patch = image[row : row + self.size, column : column + self.size]
        return symmetry(patch, int(8 * draw[4])) if self.augment else patch


def symmetry(image, index):
    """Returns an image after one of the eight symmetries of the square.

    Args:
        image: `[height, width, channels]`.
        index: int from 0 to 7; 0 leaves the image as it is.
    """
    if index & 4:
        image = image.swapaxes(0, 1)
    return image[:: -1 if index & 2 else 1, :: -1 if index & 1 else 1]


def check_images(
    name: str, images: dict[str, Array] | Sequence[Array]
) -> dict[Any, np.ndarray]:
    """Returns a dict of float32 images, once these are known to be what models take.

    Args:
        name: str, the argument's.
        images: dict, list or array of `[height, width, channels]` in [0, 1].

    Raises:
        ValueError: there are none, one is not finite, leaves [0, 1] or is of another
            shape, or they differ in channels.
    """
    if not isinstance(images, (dict, list, tuple, np.ndarray)):
        raise ValueError(f"`{name}` must be images. Received: {name}={images!r}")
    named: dict[Any, Array] = dict(
        images if isinstance(images, dict) else enumerate(images)
    )
    named = {key: np.asarray(image) for key, image in named.items()}
    channels = {image.shape[-1] for image in named.values() if image.ndim == 3}
    if len(channels) != 1 or any(image.ndim != 3 for image in named.values()):
        raise ValueError(
            f"`{name}` must be images [height, width, channels] of one number of "
            f"channels. Received: {sorted({image.shape for image in named.values()})}"
        )
    for key, image in named.items():
        low, high = np.min(image), np.max(image)
        # NaN fails both.
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"`{name}` must lie in [0, 1]. Received: values from {low:g} to "
                f"{high:g} in image {key!r}"
            )
    return {key: image.astype("float32") for key, image in named.items()}


def _read_bundled(part):
    """Yields names and pixels in [0, 1] of the photographs of a part."""
    for name, (package, file, digest) in _PHOTOGRAPHS[part].items():
        pixels = _load(_locate(package, file))
        found = hashlib.sha256(pixels.tobytes()).hexdigest()
        if not found.startswith(digest):
            raise ValueError(
                f"{file} of {_FOLDERS[package][0]} is not the image of the split: "
                f"the SHA-256 of its pixels must begin {digest}, and is {found}"
            )
        if name in _CORNERS:
            row, column = _CORNERS[name]
            pixels = pixels[row : row + _WINDOW, column : column + _WINDOW]
        pixels = _unit(pixels)
        yield name, _rescale(pixels, 0.5) if name in _HALVED else pixels


def _locate(package, file):
    project, folder = _FOLDERS[package]
    # Does not import the package, which takes a second.
    spec = importlib.util.find_spec(package)
    path = spec and pathlib.Path(spec.origin).parent / folder / file
    if not path or not path.is_file():
        raise FileNotFoundError(f"{file} comes with {project}: pip install {project}")
    return path


def _read_folder(data_dir, part):
    """Yields names and pixels in [0, 1] of a user's images."""
    folder = pathlib.Path(data_dir).expanduser() / part
    if not folder.is_dir():
        raise FileNotFoundError(
            f"`data_dir` must hold a folder {part} of PNG or JPEG images. "
            f"Received: data_dir={str(data_dir)!r}"
        )
    paths = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise ValueError(f"{folder} must hold PNG or JPEG images, and holds none.")
    for path in sorted(paths):
        yield path.name, _unit(_load(path))


def _load(path):
    """Returns an image as it is stored, `[height, width, 1 or 3]`."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return file["data"][..., None]
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode in ("L", "I;16", "I;16B", "I"):
                return np.asarray(image)[..., None]
            # Palettes, transparency and three equal channels are no colors.
            pixels = np.asarray(image.convert("RGB"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error
    grey = np.all(pixels == pixels[..., :1])
    return pixels[..., :1] if grey else pixels


def _unit(pixels):
    """Returns pixels of 8 or 16 bits in [0, 1], float64."""
    return pixels / (255 if pixels.dtype == np.uint8 else 65535)


def _channels(pixels, color):
    if color or pixels.shape[-1] == 1:
        return pixels
    return pixels @ _LUMA[:, None]


def _scaled(image, scale):
    return tuple(math.floor(scale * side) for side in image.shape[:2])


def _rescale(image, scale):
    """Returns an image at another scale, by the means over areas."""
    if scale == 1:
        return image
    # It takes a second to import.
    from skimage.transform import resize_local_mean

    rescaled = resize_local_mean(image, _scaled(image, scale), channel_axis=-1)
    return rescaled.astype(image.dtype)
