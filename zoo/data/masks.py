"""Masks of what is measured of an image: frequencies and pixels.

Masks of frequencies are in the order of `fft2`: frequency 0 comes first. All are
float32 arrays of zeros and ones, drawn with NumPy: equal arguments give equal masks.
"""

from collections.abc import Sequence

import numpy as np

from zoo.losses.checks import check_integer, check_number


def cartesian_mask(
    shape: Sequence[int], fraction: float, center_fraction: float = 0.08, seed: int = 0
) -> np.ndarray:
    """Draws whole columns of frequencies, as a magnetic resonance scanner takes them.

    `round(fraction W)` columns are measured: the `round(center_fraction W)` of the
    lowest frequencies, and others at random.

    Args:
        shape: pair of ints, `(H, W)`.
        fraction: float above 0, up to 1, the share of all columns.
        center_fraction: float from 0 up to `fraction`. Defaults to 0.08.
        seed: int. Defaults to 0.

    Returns:
        `[H, W]`, float32.

    Raises:
        ValueError: an argument is not as above, or no column is left.

    Example:

    >>> float(cartesian_mask((256, 256), 0.25).mean())
    0.25
    """
    height, width = _check_shape(shape)
    count = _count(fraction, width)
    check_number("center_fraction", center_fraction, 0.0, fraction)
    frequencies = np.abs(np.fft.fftfreq(width))
    order = np.argsort(frequencies, kind="stable")
    center = round(center_fraction * width)
    others = np.random.default_rng(seed).permutation(order[center:])
    columns = np.zeros(width, "float32")
    columns[order[:center]] = columns[others[: count - center]] = 1
    return np.tile(columns, (height, 1))


def radial_mask(
    shape: Sequence[int], fraction: float | None = None, lines: int | None = None
) -> np.ndarray:
    """Draws lines through frequency 0 at equal angles.

    Args:
        shape: pair of ints, `(H, W)`.
        fraction: float above 0, up to 1, the share of all frequencies. The number of
            lines is found by bisection and comes close, within a line or two.
        lines: int >= 1, the number of lines in place of `fraction`.

    Returns:
        `[H, W]`, float32.

    Raises:
        ValueError: an argument is not as above, or not one of the two is given.

    Example:

    >>> round(float(radial_mask((256, 256), 0.3).mean()), 2)
    0.3
    """
    height, width = _check_shape(shape)
    if (fraction is None) == (lines is None):
        raise ValueError(
            "one of `fraction` and `lines` must be given. "
            f"Received: fraction={fraction}, lines={lines}"
        )
    if lines is not None:
        return _radial(height, width, check_integer("lines", lines, 1))
    wanted = _count(fraction, height * width)
    # Each line adds what it has not in common with the others: a bisection finds it.
    low, high = 1, 4 * max(height, width)
    while high - low > 1:
        middle = (low + high) // 2
        enough = _radial(height, width, middle).sum() >= wanted
        low, high = (low, middle) if enough else (middle, high)
    masks = [_radial(height, width, count) for count in (low, high)]
    return min(masks, key=lambda mask: abs(mask.sum() - wanted))


def random_mask(
    shape: Sequence[int], fraction: float, power: float = 0.0, seed: int = 0
) -> np.ndarray:
    """Draws single frequencies, low ones more often than high ones.

    `round(fraction H W)` frequencies are drawn without replacement with weights
    `(1 - r)^power`, where `r` grows from 0 at frequency 0 to almost 1 at the highest.
    Frequency 0 is always among them.

    Args:
        shape: pair of ints, `(H, W)`.
        fraction: float above 0, up to 1, the share of all frequencies.
        power: float from 0 up; 0 makes all frequencies alike. Defaults to 0.
        seed: int. Defaults to 0.

    Returns:
        `[H, W]`, float32.

    Raises:
        ValueError: an argument is not as above, or no frequency is left.

    Example:

    >>> mask = random_mask((64, 64), 0.25, power=3.0)
    >>> float(mask.mean()), float(mask[0, 0])
    (0.25, 1.0)
    """
    height, width = _check_shape(shape)
    count = _count(fraction, height * width)
    check_number("power", power, 0.0)
    frequencies = np.meshgrid(
        np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij"
    )
    # Half a step beyond the corner: no weight is 0.
    reach = np.hypot(0.5 + 0.5 / height, 0.5 + 0.5 / width)
    log_weights = power * np.log1p(-np.hypot(*frequencies) / reach)
    # The largest of independent Gumbel numbers, moved so, are such a draw.
    keys = log_weights + np.random.default_rng(seed).gumbel(size=(height, width))
    keys[0, 0] = np.inf
    return _largest(keys, count)


def scattered_mask(
    shape: Sequence[int], fraction_kept: float, seed: int = 0
) -> np.ndarray:
    """Draws the pixels that are seen: `round(fraction_kept H W)` of them.

    Args:
        shape: `(H, W)`, or `(H, W, C)` to draw each channel's for itself.
        fraction_kept: float above 0, up to 1, the share of the pixels that are seen.
        seed: int. Defaults to 0.

    Returns:
        An array of `shape`, float32.

    Raises:
        ValueError: an argument is not as above, or no pixel is left.

    Example:

    >>> float(scattered_mask((64, 64), 0.5).mean())
    0.5
    """
    shape = _check_shape(shape, channels=True)
    count = _count(fraction_kept, int(np.prod(shape)), "fraction_kept")
    return _largest(np.random.default_rng(seed).random(shape), count)


def block_mask(
    shape: Sequence[int],
    size: int | Sequence[int],
    blocks: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Hides rectangles: one in the centre, or some at random places.

    Args:
        shape: pair of ints, `(H, W)`.
        size: int or pair of ints, the sides of a rectangle in pixels.
        blocks: int >= 1, the number of rectangles, which may overlap, or `None` for one
            in the centre. Defaults to `None`.
        seed: int. Defaults to 0.

    Returns:
        `[H, W]`, float32: 0 where a rectangle is, 1 elsewhere.

    Raises:
        ValueError: an argument is not as above, or no pixel is left.

    Example:

    >>> block_mask((4, 6), (2, 4))
    array([[1., 1., 1., 1., 1., 1.],
           [1., 0., 0., 0., 0., 1.],
           [1., 0., 0., 0., 0., 1.],
           [1., 1., 1., 1., 1., 1.]], dtype=float32)
    """
    shape = _check_shape(shape)
    sizes = size if isinstance(size, (tuple, list)) else (size, size)
    sizes = [check_integer("size", one, 1) for one in sizes]
    rooms = [side - one for side, one in zip(shape, sizes, strict=True)]
    if min(rooms) < 0:
        raise ValueError(
            f"`size` must be no larger than the image. Received: size={size}, "
            f"shape={shape}"
        )
    corners = np.array([[room // 2 for room in rooms]])
    if blocks is not None:
        count = check_integer("blocks", blocks, 1)
        generator = np.random.default_rng(seed)
        corners = generator.integers(0, np.add(rooms, 1), (count, 2))
    mask = np.ones(shape, "float32")
    for top, left in corners:
        mask[top : top + sizes[0], left : left + sizes[1]] = 0
    if not mask.any():
        raise ValueError(
            "the blocks must leave a pixel to see. "
            f"Received: shape={shape}, size={size}, blocks={blocks}"
        )
    return mask


def _check_shape(shape, channels=False):
    ranks = (2, 3) if channels else (2,)
    if not isinstance(shape, (tuple, list)) or len(shape) not in ranks:
        allowed = "(H, W) or (H, W, C)" if channels else "(H, W)"
        raise ValueError(f"`shape` must be {allowed}. Received: shape={shape!r}")
    return tuple(check_integer("shape", size, 1) for size in shape)


def _count(fraction, size, name="fraction"):
    """The number, from 1 up, that is a share of `size`."""
    count = round(check_number(name, fraction, 0.0, 1.0) * size)
    if count < 1:
        raise ValueError(
            f"`{name}` must leave one of {size} at least. Received: {name}={fraction}"
        )
    return count


def _largest(keys, count):
    """A mask of the places of the `count` largest keys."""
    mask = np.zeros(keys.size, "float32")
    mask[np.argpartition(-keys.ravel(), count - 1)[:count]] = 1
    return mask.reshape(keys.shape)


def _radial(height, width, lines):
    """Lines through the origin; a step along one is half a frequency."""
    angles = np.pi * np.arange(lines)[:, None] / lines
    reach = int(np.ceil(np.hypot(height, width)))
    steps = np.arange(-reach, reach + 1) / 2
    rows = np.rint(steps * np.sin(angles)).astype("int64")
    columns = np.rint(steps * np.cos(angles)).astype("int64")
    inside = (-(height // 2) <= rows) & (rows < (height + 1) // 2)
    inside &= (-(width // 2) <= columns) & (columns < (width + 1) // 2)
    mask = np.zeros((height, width), "float32")
    # Negative frequencies count from the end, as in `fft2`.
    mask[rows[inside], columns[inside]] = 1
    return mask
