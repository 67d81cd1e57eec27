"""What measurements say of an image: data terms, and least squares among them."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from zoo._types import Array
from zoo.layers.operators import LinearOperator


class Term(NamedTuple):
    """A data term `f` of given measurements, as functions in a graph.

    Attributes:
        gradient: of `x`.
        prox: of a step `[batch]`, the function `argmin_x f(x) + |x - z|^2 / (2 step)`
            of `z`.
        dual: of `w`, `x` and a step `[batch]`, the next dual variable in the space of
            images.
    """

    gradient: Callable[[Array], Array]
    prox: Callable[[Array], Callable[[Array], Array]]
    dual: Callable[[Array, Array, Array], Array]


@dataclasses.dataclass(frozen=True)
class LeastSquares:
    """Gaussian noise: `f(x) = |A x - y|^2 / 2`, with complex `y` too.

    `mu` is the smallest eigenvalue of `A^T A`, `L` the largest.

    Example:

    >>> import numpy as np
    >>> from zoo.layers.operators import PixelMask
    >>> operator = PixelMask((1, 2, 1), np.array([[1.0, 0.0]], "float32"))
    >>> term = LeastSquares()
    >>> term.strong_convexity(operator, None), term.smoothness(operator, None)
    (0.0, 1.0)
    """

    needs_measurements = False

    def check(self, operator: LinearOperator, y: Array) -> None:
        """Raises a `ValueError` if measurements have no such term."""

    def start(self, operator: LinearOperator, y: Array) -> Array:
        """Returns a first image, `A^T y`."""
        return operator.adjoint(y)

    def bind(self, operator: LinearOperator, y: Array) -> Term:
        """Returns the `Term` of measurements."""
        back = operator.adjoint(y)

        def gradient(x):
            return operator.gram(x) - back

        def prox(step):
            return operator.prox_map(y, step)

        def dual(w, x, step):
            # `A^T p` of the dual variable `p` of measurements: images are real.
            step = per_image(step)
            return (w + step * gradient(x)) / (1 + step)

        return Term(gradient, prox, dual)

    def strong_convexity(self, operator: LinearOperator, y: Array | None) -> float:
        """Returns `mu`, a float."""
        return operator.strong_convexity()

    def smoothness(self, operator: LinearOperator, y: Array | None) -> float:
        """Returns `L`, a float."""
        return operator.operator_norm() ** 2


def per_image(numbers):
    """Gives numbers `[batch]` the axes of images."""
    return ops.reshape(numbers, (-1, 1, 1, 1))
