"""Operators made of operators."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from zoo._types import Array
from zoo.layers.operators.base import LinearOperator
from zoo.layers.operators.complex import join


@keras.saving.register_keras_serializable(package="zoo")
class Stack(LinearOperator):
    """Measurements of one image by several operators, one after the other.

    Each operator's measurements are made flat. They are complex if those of any
    operator are.

    Args:
        operators: list of `LinearOperator`, at least one, of one `image_shape`.
        **kwargs: `name`, `dtype`, that of the first operator if not given.

    Call arguments:
        x: `[batch, H, W, C]`.

    Returns:
        `[batch, m]`, with `m` the number of all measurements of an image.

    Raises:
        ValueError: `operators` are not as above.

    Example:

    >>> from zoo.layers.operators import Downsample, PixelMask
    >>> masks = [[1, 0], [0, 0]], [[0, 0], [0, 1]]
    >>> operator = Stack([PixelMask((2, 2, 1), mask) for mask in masks])
    >>> operator.measurement_shape
    (8,)
    >>> operator = Stack([Downsample((2, 2, 1), 2), *operator.operators])
    >>> operator.measurement_shape
    (9,)
    """

    def __init__(self, operators: Sequence[LinearOperator], **kwargs: Any) -> None:
        several = isinstance(operators, (list, tuple))
        parts: list[Any] = list(operators) if several else [operators]
        _check_operators("operators", parts)
        shapes = {operator.image_shape for operator in parts}
        if len(shapes) != 1:
            raise ValueError(
                "`operators` must be one or more of one `image_shape`. "
                f"Received: {len(parts)} of image shapes {sorted(shapes)}"
            )
        kwargs.setdefault("dtype", parts[0].dtype_policy)
        sizes = [math.prod(operator.measurement_shape) for operator in parts]
        super().__init__(
            parts[0].image_shape,
            (sum(sizes),),
            is_complex=any(operator.is_complex for operator in parts),
            **kwargs,
        )
        self.operators: list[LinearOperator] = parts
        self._stops = [sum(sizes[: index + 1]) for index in range(len(sizes))]

    def measure(self, x: Array) -> Array:
        return self._join([operator.measure(x) for operator in self.operators])

    def transpose(self, y: Array) -> Array:
        parts = zip(self.operators, self._split(y), strict=True)
        return sum(operator.transpose(part) for operator, part in parts)

    def zero_unmeasured(self, y: Array) -> Array:
        parts = zip(self.operators, self._split(y), strict=True)
        return self._join([operator.zero_unmeasured(part) for operator, part in parts])

    def normal(self, x: Array) -> Array:
        return sum(operator.normal(x) for operator in self.operators)

    def rank_bound(self) -> int:
        return sum(operator.rank_bound() for operator in self.operators)

    def _split(self, y):
        """Returns the measurements of each operator, in its shape."""
        parts = []
        for operator, part in zip(
            self.operators, ops.split(y, self._stops[:-1], axis=1), strict=True
        ):
            if self.is_complex and not operator.is_complex:
                part = ops.real(part)
            parts.append(ops.reshape(part, (-1, *operator.measurement_shape)))
        return parts

    def _join(self, parts):
        """Returns the measurements of all operators, made flat."""
        flat = []
        for operator, part in zip(self.operators, parts, strict=True):
            part = ops.reshape(part, (-1, math.prod(operator.measurement_shape)))
            if self.is_complex and not operator.is_complex:
                part = join(part, ops.zeros_like(part))
            flat.append(part)
        return ops.concatenate(flat, axis=1)

    def get_config(self):
        config = super().get_config()
        del config["image_shape"]
        return {
            **config,
            "operators": list(map(keras.layers.serialize, self.operators)),
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        operators = list(map(keras.layers.deserialize, config.pop("operators")))
        return cls(operators, **config)


@keras.saving.register_keras_serializable(package="zoo")
class Compose(LinearOperator):
    """Measurements `y = A B x` of what another operator measures.

    Args:
        outer: `LinearOperator`, `A`.
        inner: `LinearOperator` of real measurements that are images of the shape that
            `outer` takes, `B`.
        **kwargs: `name`, `dtype`, that of `inner` if not given.

    Call arguments:
        x: `[batch, H, W, C]`.

    Returns:
        `[batch, *outer.measurement_shape]`.

    Raises:
        ValueError: `outer` or `inner` are not as above.

    Example:

    >>> from zoo.layers.operators import Blur, Downsample
    >>> blur = Blur((8, 8, 1), [[1 / 9] * 3] * 3, "reflect")
    >>> operator = Compose(Downsample((8, 8, 1), 2, "decimate"), blur)
    >>> operator.measurement_shape
    (4, 4, 1)
    >>> operator.dot_test() < 1e-6
    True
    """

    def __init__(
        self, outer: LinearOperator, inner: LinearOperator, **kwargs: Any
    ) -> None:
        _check_operators("outer", [outer])
        _check_operators("inner", [inner])
        if inner.is_complex or inner.measurement_shape != outer.image_shape:
            raise ValueError(
                "`inner` must measure real images of the shape that `outer` takes, "
                f"{outer.image_shape}. Received: inner with "
                f"{'complex' if inner.is_complex else 'real'} measurements of shape "
                f"{inner.measurement_shape}"
            )
        kwargs.setdefault("dtype", inner.dtype_policy)
        super().__init__(
            inner.image_shape,
            outer.measurement_shape,
            is_complex=outer.is_complex,
            **kwargs,
        )
        self.outer = outer
        self.inner = inner

    def measure(self, x: Array) -> Array:
        return self.outer.measure(self.inner.measure(x))

    def transpose(self, y: Array) -> Array:
        return self.inner.transpose(self.outer.transpose(y))

    def zero_unmeasured(self, y: Array) -> Array:
        return self.outer.zero_unmeasured(y)

    def normal(self, x: Array) -> Array:
        return self.inner.transpose(self.outer.normal(self.inner.measure(x)))

    def rank_bound(self) -> int:
        return min(self.outer.rank_bound(), self.inner.rank_bound())

    def get_config(self):
        config = super().get_config()
        del config["image_shape"]
        parts = {"outer": self.outer, "inner": self.inner}
        return config | {
            name: keras.layers.serialize(part) for name, part in parts.items()
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        parts = [
            keras.layers.deserialize(config.pop(name)) for name in ("outer", "inner")
        ]
        return cls(*parts, **config)


def _check_operators(name, operators):
    for operator in operators:
        if not isinstance(operator, LinearOperator):
            raise ValueError(
                f"`{name}` must be made of zoo.layers.operators. "
                f"Received: {type(operator).__name__}"
            )
