"""What every block of an unrolled iteration is."""

import numbers

import keras
import numpy as np
from keras import ops

from zoo.layers.shrinkage import Shrinkage, SoftShrinkage
from zoo.layers.shrinkage.base import POSITIVE, is_complex


class UnrolledBlock(keras.layers.Layer):
    """One iteration for sparse signals as a layer: a linear step, then a shrinkage.

    The base of the blocks. The linear step holds what depends on the matrix, and
    blocks that are tied share it, in a saved model too, but not in what
    `keras.models.clone_model` makes. Only its products are in the compute dtype, and
    all else is in float32 at least.

    Args:
        matrix: `A`, or `None` with `tied_to`.
        tied_to: a block of the same kind, or its linear step, to share it; or `None`.
        kind: the class of the linear step.
        settings: dict of its arguments beside the matrix.
        **kwargs: `name`, `dtype`, `trainable`.
    """

    def __init__(self, matrix, tied_to, kind, settings, **kwargs):
        super().__init__(autocast=False, **kwargs)
        if tied_to is None:
            self.linear = kind(matrix, dtype=self.dtype_policy, **settings)
            return
        linear = getattr(tied_to, "linear", tied_to)
        if not isinstance(linear, kind):
            raise ValueError(
                "`tied_to` must be a block of the same kind, with the same form. "
                f"Received: tied_to={tied_to!r}"
            )
        if matrix is not None and np.shape(matrix) != linear.shape:
            raise ValueError(
                f"`matrix` must be None or of the shape {linear.shape} of that of "
                f"`tied_to`. Received: matrix of shape {np.shape(matrix)}"
            )
        if linear.dtype_policy != self.dtype_policy:
            raise ValueError(
                f"`dtype` must be {linear.dtype_policy.name!r}, that of `tied_to`. "
                f"Received: dtype={self.dtype_policy.name!r}"
            )
        self.linear = linear

    def __call__(self, y, *args, **kwargs):
        # Keras would bury what `call` raises in lines of its own.
        y = y if hasattr(y, "shape") else np.asarray(y)
        size, shape = self.linear.shape[0], y.shape
        if not shape or shape[-1] != size:
            raise ValueError(
                f"`y` must have {size} measurements on its last axis. "
                f"Received: y of shape {tuple(shape)}"
            )
        if not self.linear.is_complex and is_complex(y):
            raise ValueError("`y` must be real, as `matrix` is. Received: y complex")
        return super().__call__(y, *args, **kwargs)

    def build_shrinkage(self):
        """Builds the shrinkage function, which blocks may share."""
        if not self.shrinkage.built:
            self.shrinkage.build((None, self.linear.shape[1]))

    def add_positive(self, name, value, shape=()):
        """Returns a weight for numbers above 0, which `positive` gives."""
        raw = POSITIVE.inverse(np.full(shape, value, "float64"))
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(raw, dtype),
            autocast=False,
        )

    def positive(self, weight):
        """Returns the numbers of `add_positive`, in float32 or float64."""
        return POSITIVE.forward(self.to_statistic(weight))

    def to_signal(self, x):
        """Returns `x` as a tensor of the signals' dtype."""
        return ops.cast(ops.convert_to_tensor(x), self.linear.signal_dtype)

    def to_statistic(self, x):
        """Returns `x` as a tensor in float32 or float64."""
        return ops.cast(ops.convert_to_tensor(x), self.linear.statistics_dtype)

    def energy(self, x):
        """Returns `|x|^2` along the last axis, `[..., 1]`."""
        parts = (ops.real(x), ops.imag(x)) if is_complex(x) else (x,)
        squares = sum(ops.square(self.to_statistic(part)) for part in parts)
        return ops.sum(squares, axis=-1, keepdims=True)

    def to_output(self, x):
        """Returns `x` as a tensor of the compute dtype, or complex."""
        return ops.cast(x, self.linear.product_dtype)

    def output_spec(self, shape):
        """Returns a symbolic output of the compute dtype, or complex."""
        return keras.KerasTensor(shape, dtype=self.linear.product_dtype)

    def signal_spec(self, shape):
        """Returns a symbolic signal."""
        return keras.KerasTensor(shape, dtype=self.linear.signal_dtype)

    def statistic_spec(self, shape):
        """Returns a symbolic number for each signal."""
        dtype = self.linear.statistics_dtype
        return keras.KerasTensor((*shape[:-1], 1), dtype=dtype)

    def get_config(self):
        return {**super().get_config(), "tied_to": serialize(self.linear)}

    @classmethod
    def from_config(cls, config):
        """Makes a block; its matrices come with the weights."""
        config = {**config, "matrix": None}
        for name in ("tied_to", "shrinkage"):
            if name in config:
                config[name] = keras.saving.deserialize_keras_object(config[name])
        return super().from_config(config)


def serialize(layer):
    """Returns a layer's config, by which a saved model knows layers that are shared."""
    keras.saving.serialize_keras_object(layer)
    # Keras names a layer the second time it meets it, if it saves a model.
    config = keras.saving.serialize_keras_object(layer)
    # Whether the layer was built is no part of a block's config.
    config.pop("build_config", None)
    return config


def check_shrinkage(shrinkage, block):
    """Returns a shrinkage function for a block: soft thresholding if it is `None`.

    Raises:
        ValueError: it is none, or its weights are of another dtype.
    """
    if shrinkage is None:
        return SoftShrinkage(dtype=block.dtype_policy)
    if not isinstance(shrinkage, Shrinkage):
        raise ValueError(
            "`shrinkage` must be a zoo.layers.shrinkage.Shrinkage or None. "
            f"Received: shrinkage={shrinkage!r}"
        )
    if shrinkage.variable_dtype != block.variable_dtype:
        raise ValueError(
            f"`shrinkage` must have weights of the block's dtype, "
            f"{block.variable_dtype}. Received: shrinkage of {shrinkage.variable_dtype}"
        )
    return shrinkage


def check_damping(damping):
    """Returns the share of a step that is made."""
    number = isinstance(damping, numbers.Real) and not isinstance(damping, bool)
    if not number or not 0 < damping <= 1:
        raise ValueError(
            "`damping` must be a number above 0, up to 1. "
            f"Received: damping={damping!r}"
        )
    return float(damping)


def times(number, x):
    """Multiplies by real numbers what may be complex, or of less precision."""
    return ops.cast(number, x.dtype) * x
