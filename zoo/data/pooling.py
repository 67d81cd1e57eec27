"""Smaller images, for studies that must end in minutes."""

import numpy as np

from zoo._types import Array


def average_pool(images: Array, size: int) -> np.ndarray:
    """Shrinks images to `size x size` by averaging blocks of equal size.

    Args:
        images: float array `(n, side, side, channels)`.
        size: int, the new side, a divisor of the old one.

    Returns:
        Float array `(n, size, size, channels)`.

    Raises:
        ValueError: `size` does not divide both sides of the images.

    Example:

    >>> import numpy as np
    >>> images = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> average_pool(images, 2)[0, :, :, 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    count, height, width, channels = images.shape
    if size < 1 or height % size or width % size:
        raise ValueError(
            f"size must divide the images' sides, {height} and {width}. "
            f"Received: size={size}"
        )
    blocks = images.reshape(count, size, height // size, size, width // size, channels)
    return blocks.mean(axis=(2, 4))
