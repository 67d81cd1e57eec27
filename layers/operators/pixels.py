"""Operators that see pixels as they are: all of them, or some."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.operators.base import LinearOperator
from zoo.layers.operators.checks import check_image_shape, check_mask


@keras.saving.register_keras_serializable(package="zoo")
class Identity(LinearOperator):
    """Measurements `y = x`: denoising.

    Args:
        image_shape: three ints, `(H, W, C)` of an image.
        **kwargs: `name`, `dtype`.

    Call arguments:
        x: `[batch, H, W, C]`.

    Returns:
        `[batch, H, W, C]`.

    Raises:
        ValueError: `image_shape` is not as above.

    Example:

    >>> import numpy as np
    >>> operator = Identity((1, 2, 1))
    >>> z, y = np.array([[[[0.0], [1.0]]]]), np.array([[[[1.0], [1.0]]]])
    >>> np.asarray(operator.prox_l2(z, y, step=1.0)).ravel()  # the mean of z and y
    array([0.5, 1. ], dtype=float32)
    """

    tightness = 1.0

    def __init__(self, image_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(image_shape, check_image_shape(image_shape), **kwargs)

    def measure(self, x: Array) -> Array:
        return x

    def transpose(self, y: Array) -> Array:
        return y

    def compute_extreme(self, end: Literal["smallest", "largest"]) -> float:
        return 1.0


@keras.saving.register_keras_serializable(package="zoo")
class PixelMask(LinearOperator):
    """Measurements `y = m x` of the pixels that a mask shows: inpainting.

    Measurements are images, 0 where nothing is seen. What `y` is there counts for
    nothing.

    Args:
        image_shape: three ints, `(H, W, C)` of an image.
        mask: `[H, W]` for all channels or `[H, W, C]`, 1 where a pixel is seen and 0
            elsewhere.
        **kwargs: `name`, `dtype`.

    Call arguments:
        x: `[batch, H, W, C]`.

    Returns:
        `[batch, H, W, C]`.

    Raises:
        ValueError: `mask` is of another shape, has other values than 0 and 1, or no 1.

    Example:

    >>> import numpy as np
    >>> operator = PixelMask((1, 3, 1), [[1, 0, 1]])
    >>> np.asarray(operator(np.array([[[[2.0], [3.0], [4.0]]]]))).ravel()
    array([2., 0., 4.], dtype=float32)
    >>> operator.strong_convexity()  # the middle is not seen
    0.0
    """

    tightness = 1.0

    def __init__(self, image_shape: Sequence[int], mask: Array, **kwargs: Any) -> None:
        height, width, channels = check_image_shape(image_shape)
        shapes = (height, width), (height, width, channels)
        mask = check_mask(mask, shapes)
        super().__init__(image_shape, shapes[1], **kwargs)
        self._mask_shape = mask.shape
        self.mask = self.add_data("mask", mask)

    def measure(self, x: Array) -> Array:
        mask = ops.cast(self.mask, x.dtype)
        return x * (mask[..., None] if len(self._mask_shape) == 2 else mask)

    def transpose(self, y: Array) -> Array:
        return self.measure(y)

    def normal(self, x: Array) -> Array:
        return self.measure(x)

    def zero_unmeasured(self, y: Array) -> Array:
        return self.measure(y)

    def rank_bound(self) -> int:
        repeats = self.num_pixels // int(np.prod(self._mask_shape))
        return repeats * int(ops.convert_to_numpy(self.mask).sum())

    def compute_extreme(self, end: Literal["smallest", "largest"]) -> float:
        return 1.0 if end == "largest" or self.rank_bound() == self.num_pixels else 0.0

    def get_config(self):
        return {**super().get_config(), "mask_shape": self._mask_shape}

    @classmethod
    def from_config(cls, config):
        """Makes a layer of the saved shape; its mask comes with the weights."""
        config = dict(config)
        return cls(mask=np.ones(config.pop("mask_shape")), **config)
