"""Images made consistent with what was measured of them."""

from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo._types import Array
from zoo.layers.checks import check_choice, check_positive
from zoo.layers.operators.base import LinearOperator
from zoo.layers.operators.fourier import FourierDiagonal
from zoo.layers.shrinkage.base import POSITIVE
from zoo.layers.unrolled_block import serialize

MODES = ("hard", "soft")
# Parts of the largest eigenvalue of `A^T A` below which none is inverted.
SMALLEST_EIGENVALUE = 1e-6


@keras.saving.register_keras_serializable(package="zoo")
class DataConsistency(keras.layers.Layer):
    """Moves images to where they agree with measurements `y = A x`.

    `x + A^+ (y - A x)` (`mode="hard"`)

    `argmin_z weight |A z - y|^2 / 2 + |z - x|^2 / 2` (`"soft"`)

    The hard form is the nearest image that fits the measurements best, and the limit of
    the soft one as the weight grows. Where `A A^T = I` they are

    `x + A^T (y - A x)` and `x + weight / (1 + weight) A^T (y - A x)`

    For `FourierMask` what is measured of the spectrum so takes the place of the
    image's own, or is averaged with it. Hard consistency keeps noise as it is; the soft
    form has a positive weight that is trained.

    Args:
        operator: a `zoo.layers.operators.LinearOperator`, `A`. For the hard form, one
            with `A A^T A = c A`, such as `Identity`, `PixelMask` or `Downsample`; or
            one that is diagonal in Fourier's basis, `FourierMask` or a circular `Blur`,
            of which eigenvalues of `A^T A` below 1e-6 of the largest are taken for 0.
            The soft form takes any, and is fast where `prox_l2` is in closed form.
        mode: `"hard"` or `"soft"`. Defaults to `"hard"`.
        weight: float above 0, first value, of the soft form. Defaults to 1.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        y: `[batch, *operator.measurement_shape]`.
        x: `[batch, H, W, C]`. Defaults to `A^T y`, as zero-filling has it.

    Returns:
        `[batch, H, W, C]`, in the float dtype of the operator.

    Raises:
        ValueError: an argument is not as above.

    Example: the first pixel is seen.

    >>> import numpy as np
    >>> from zoo.layers.operators import PixelMask
    >>> operator = PixelMask((1, 2, 1), [[1, 0]])
    >>> y, x = np.array([[[[4.0], [0.0]]]]), np.array([[[[1.0], [2.0]]]])
    >>> np.asarray(DataConsistency(operator)(y, x)).ravel()
    array([4., 2.], dtype=float32)
    >>> np.asarray(DataConsistency(operator, "soft")(y, x)).ravel()
    array([2.5, 2. ], dtype=float32)

    Reference:

    - Mardani et al., 2019, "Deep Generative Adversarial Neural Networks for Compressive
      Sensing MRI", [arXiv:1706.00051](https://arxiv.org/abs/1706.00051) (hard)
    - Schlemper et al., 2018, "A Deep Cascade of Convolutional Neural Networks for
      Dynamic MR Image Reconstruction",
      [arXiv:1704.02422](https://arxiv.org/abs/1704.02422) (soft)
    """

    def __init__(
        self,
        operator: LinearOperator,
        mode: Literal["hard", "soft"] = "hard",
        weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        if not isinstance(operator, LinearOperator):
            raise ValueError(
                "`operator` must be a zoo.layers.operators.LinearOperator. "
                f"Received: operator={operator!r}"
            )
        check_choice("mode", mode, MODES)
        if mode == "hard" and operator.tightness is None and not _is_filter(operator):
            raise ValueError(
                "`mode` must be 'soft' for an operator without a closed form of its "
                f"pseudoinverse. Received: mode='hard', operator={operator!r}"
            )
        self.operator = operator
        self.mode = mode
        self.first_weight = check_positive("weight", weight)

    def build(self, y_shape):
        if self.mode == "soft":
            # Constant initializers of Keras round to float32.
            raw = POSITIVE.inverse(np.float64(self.first_weight))
            self.raw_weight = self.add_weight(
                name="raw_weight",
                initializer=lambda shape, dtype: ops.convert_to_tensor(raw, dtype),
                autocast=False,
            )

    @property
    def weight(self) -> Array:
        """The weight of the measurements in the soft form, a scalar tensor."""
        return POSITIVE.forward(ops.convert_to_tensor(self.raw_weight))

    def call(self, y, x=None):
        operator = self.operator
        pulled = operator.adjoint(y)
        x = pulled if x is None else operator.to_images(x)
        if self.mode == "soft":
            return operator.prox_l2(x, y, self.weight)
        missing = pulled - operator.normal(x)
        if operator.tightness is not None:
            return x + missing / operator.tightness
        values = ops.cast(operator.eigenvalues, x.dtype)
        seen = values > SMALLEST_EIGENVALUE * ops.max(values)
        gains = ops.where(seen, 1 / ops.where(seen, values, 1), 0)
        return x + operator.filter(gains)(missing)

    def compute_output_shape(self, y_shape, x_shape=None):
        return (y_shape[0], *self.operator.image_shape)

    def compute_output_spec(self, y, x=None):
        shape = self.compute_output_shape(y.shape)
        return keras.KerasTensor(shape, self.operator.float_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "operator": serialize(self.operator),
            "mode": self.mode,
            "weight": self.first_weight,
        }

    @classmethod
    def from_config(cls, config):
        operator = keras.saving.deserialize_keras_object(config["operator"])
        return cls(**{**config, "operator": operator})


def _is_filter(operator):
    """Whether `A^T A` is known by its eigenvalues in Fourier's basis."""
    return isinstance(operator, FourierDiagonal) and operator.eigenvalues is not None
