"""What the studies of images share: test images, classical denoisers, pictures."""

import importlib.util

import numpy as np
from matplotlib.figure import Figure
from skimage.data import shepp_logan_phantom
from skimage.metrics import structural_similarity
from skimage.restoration import denoise_nl_means
from skimage.transform import resize

from zoo.data import average_pool, load_natural_images
from zoo.study.study import check_different

PHANTOM = "phantom"
SIDE = 256
# For three levels of wavelets.
MULTIPLE = 8


def load_images(config):
    """Returns names of images, and the images `[batch, side, side, 1]`.

    They are the middles of `--images`, or of all the test images of `--data_dir`. A
    search takes all validation images instead.

    Raises:
        ValueError: with one line that names the flag.
    """
    known = photographs(config)
    names = list(known)
    if config.data_dir is None and config.search == "grid":
        known[PHANTOM] = phantom(SIDE)
        names = config.images
    for name in names:
        if name not in known:
            raise ValueError(f"--images={name} must hold some of {', '.join(known)}")
    check_different("images", names)
    size = config.image_size or MULTIPLE
    if size % MULTIPLE:
        raise ValueError(f"--image_size={size} must be a multiple of {MULTIPLE}")
    side = min(min(known[name].shape[:2]) for name in names)
    if side < MULTIPLE:
        raise ValueError(f"--images must have sides from {MULTIPLE} pixels up")
    if side < size:
        raise ValueError(
            f"--image_size={size} must not be above the sides of --images, from {side} "
            "up"
        )
    side -= side % size
    images = np.stack([middle(known[name], side) for name in names])
    if config.image_size:
        images = average_pool(images, size)
    return names, images.astype("float32")


def photographs(config):
    """Returns the test photographs, or those that a search is judged by, by name."""
    split = "test" if config.search == "grid" else "validation"
    try:
        return load_natural_images(split, data_dir=config.data_dir)
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"--data_dir={config.data_dir}: {error}") from None


def phantom(side):
    """Returns the Shepp-Logan phantom, `[side, side, 1]`."""
    image = resize(shepp_logan_phantom(), (side, side), anti_aliasing=True)
    return np.clip(image, 0, 1)[..., None].astype("float32")


def middle(image, side):
    """Cuts the middle of an image."""
    top, left = ((size - side) // 2 for size in image.shape[:2])
    return image[top : top + side, left : left + side]


def similarities(estimates, truth):
    """Returns the structural similarity of each grey image in [0, 1]."""
    pairs = zip(
        np.asarray(truth, "float64")[..., 0],
        np.asarray(estimates, "float64")[..., 0],
        strict=True,
    )
    return np.array([structural_similarity(*pair, data_range=1.0) for pair in pairs])


def non_local_means(images, sigma):
    """Denoises a batch by the non-local means of scikit-image."""
    estimates = [
        denoise_nl_means(
            image[..., 0],
            patch_size=5,
            patch_distance=6,
            h=0.8 * level,
            sigma=level,
            fast_mode=True,
        )
        for image, level in zip(images, np.ravel(sigma), strict=True)
    ]
    return np.stack(estimates)[..., None]


def bm3d(images, sigma):
    """Denoises a batch by BM3D, of the package of that name."""
    from bm3d import bm3d

    pairs = zip(images, np.ravel(sigma), strict=True)
    return np.stack([bm3d(image[..., 0], level)[..., None] for image, level in pairs])


def check_bm3d(names):
    """Refuses BM3D among the denoisers where its package is missing."""
    if "bm3d" in names and importlib.util.find_spec("bm3d") is None:
        raise ValueError("--denoiser=bm3d needs the package bm3d: pip install bm3d")


def picture_grid(pictures, columns=4):
    """Draws grey images `[height, width, 1]` with their names."""
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.6 * rows), dpi=120, layout="constrained")
    for place, (name, image) in enumerate(pictures, 1):
        ax = figure.add_subplot(rows, columns, place)
        ax.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(name, fontsize="small")
        ax.axis("off")
    return figure
