"""Sharpness: how far the loss rises near the weights.

Each measure takes a `zoo.metrics.LossSurface`, and is a float64 search on it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from zoo.losses.checks import check_choice, check_integer, check_number
from zoo.metrics.loss_surface import LossSurface, one_thread
from zoo.metrics.maximization import maximize_in_ball, maximize_in_box

TINY = np.finfo("float64").tiny


@dataclasses.dataclass(frozen=True)
class Sharpness:
    """A sharpness and what it was computed from.

    Attributes:
        value: float >= 0, the sharpness.
        loss: float, the loss at the weights. Sharpness is comparable between weights
            of equal loss.
        maximum: float, the largest loss that was found.
        evaluations: int, the gradients that it took.

    Example:

    >>> found = Sharpness(value=2.0, loss=0.1, maximum=0.122, evaluations=20)
    >>> round(100 * (found.maximum - found.loss) / (1 + found.loss), 6)
    2.0
    """

    value: float
    loss: float
    maximum: float
    evaluations: int


def epsilon_sharpness(
    surface: LossSurface,
    epsilon: float = 1e-3,
    dimension: int | None = None,
    *,
    method: Literal["projected", "scipy"] | None = None,
    starts: int = 2,
    iterations: int = 10,
    seed: int = 0,
    verbose: int = 0,
) -> Sharpness:
    """Measures the epsilon-sharpness of Keskar et al.

    `100 * (max_z f(w + A z) - f(w)) / (1 + f(w))` over the box
    `|z_i| <= epsilon * (|(A^+ w)_i| + 1)`

    In the full space `A` is the identity. In a random subspace its columns have
    independent entries of mean 0 and variance 1, and are not normalised: `z` of the
    same size moves the weights `sqrt(weights)` times as far as along columns of unit
    length, a choice that the paper leaves open and that values depend on. `A` is held
    in the precision of the weights.

    The maximum is found by `maximize_in_box`: it is a lower bound. It depends on how
    the network is written, see `adaptive_sharpness`.

    Args:
        surface: `LossSurface`.
        epsilon: float > 0, the size of the box. Defaults to 1e-3.
        dimension: int, at most the number of weights, the dimension of a random
            subspace, or `None` for the full space. The paper's is 100. Defaults to
            `None`.
        method: `"projected"` or `"scipy"`, see `maximize_in_box`. Defaults to
            `"projected"` in the full space and the paper's, `"scipy"`, in a subspace.
        starts, iterations: as in `maximize_in_box`. Default to 2 and the paper's 10.
        seed: int, of the subspace and the starts. Defaults to 0.
        verbose: 0 for silence, 1 for a progress bar. Defaults to 0.

    Returns:
        A `Sharpness`.

    Raises:
        ValueError: an argument is not as above, or the loss is not finite at the
            weights or in the box.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.metrics.loss_surface import LossSurface
    >>> layer = keras.layers.Dense(1, use_bias=False)
    >>> model = keras.Sequential([keras.Input((1,)), layer])
    >>> model.set_weights([np.ones((1, 1))])
    >>> surface = LossSurface(model, np.ones((1, 1)), np.zeros((1, 1)), loss="mse")
    >>> round(epsilon_sharpness(surface, epsilon=0.05).value, 4)  # 50 (1.1^2 - 1)
    10.5

    Reference:

    - Keskar et al., 2017, "On Large-Batch Training for Deep Learning: Generalization
      Gap and Sharp Minima", metric 2.1,
      [arXiv:1609.04836](https://arxiv.org/abs/1609.04836)
    """
    check_number("epsilon", epsilon, TINY, allowed="a number > 0")
    weights, loss = surface.weights, _finite_loss(surface)
    generator = np.random.default_rng(seed)
    function: Callable[..., Any] = surface.gradient
    if dimension is None:
        bounds, around = epsilon * (abs(weights) + 1), weights
    else:
        if check_integer("dimension", dimension, 1) > len(weights):
            raise ValueError(
                "`dimension` must be at most the number of weights, "
                f"{len(weights)}. Received: dimension={dimension}"
            )
        rows = generator.standard_normal((dimension, len(weights)), surface.dtype)
        bounds = epsilon * (abs(_coordinates(rows, weights)) + 1)
        around = np.zeros(dimension)

        def along(z):
            value, gradient = surface.gradient(weights + z.astype(rows.dtype) @ rows)
            return value, rows @ gradient.astype(rows.dtype)

        function = along

    maximum, evaluations = maximize_in_box(
        lambda z: function(around + z),
        bounds,
        starts,
        iterations,
        generator,
        verbose,
        method or ("projected" if dimension is None else "scipy"),
    )
    value = 100 * (max(maximum, loss) - loss) / (1 + loss)
    return Sharpness(value, loss, max(maximum, loss), evaluations)


def adaptive_sharpness(
    surface: LossSurface,
    rho: float,
    norm: Literal["l2", "linf"] = "l2",
    normalization: Literal["element", "filter"] = "element",
    *,
    starts: int = 2,
    iterations: int = 10,
    seed: int = 0,
    verbose: int = 0,
) -> Sharpness:
    """Measures how far the loss rises where weights move in units of their size.

    `max_u f(w + T u) - f(w)` over `||u|| <= rho`, with `T = diag(t)` of the sizes of
    the weights, `LossSurface.scales`

    Rescaling the units of a ReLU network leaves it alone, as it does the function: the
    search sees the same numbers; with `"filter"`, if a layer has one factor. To that
    end no constant is added to `t`; ASAM adds 0.01.

    For `"linf"` the maximum is found by `maximize_in_box`. For `"l2"` each step goes to
    the best point for the slope at the last one, `u = rho * T g / ||T g||`, where `g`
    is the gradient at `w + T u`; the first from `u = 0` is that of ASAM.

    Args:
        surface: `LossSurface`.
        rho: float > 0, the radius. ASAM's on CIFAR are 0.5 to 1 for `"l2"`.
        norm: `"l2"` or `"linf"`. Defaults to `"l2"`.
        normalization: `"element"` or `"filter"`. Defaults to `"element"`.
        starts: int, starting points: the weights, then random points near. Defaults
            to 2.
        iterations: int, steps a start. Defaults to 10.
        seed: int, of the starts. Defaults to 0.
        verbose: 0 for silence, 1 for a progress bar. Defaults to 0.

    Returns:
        A `Sharpness`.

    Raises:
        ValueError: an argument is not as above, or the loss is not finite at the
            weights or near.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.metrics.loss_surface import LossSurface
    >>> layer = keras.layers.Dense(1, use_bias=False)
    >>> model = keras.Sequential([keras.Input((1,)), layer])
    >>> model.set_weights([np.full((1, 1), 2.0)])
    >>> surface = LossSurface(model, np.ones((1, 1)), np.zeros((1, 1)), loss="mse")
    >>> round(adaptive_sharpness(surface, rho=0.5).value, 4)  # 3^2 - 2^2
    5.0

    Reference:

    - Kwon, Kim, Park and Choi, 2021, "ASAM: Adaptive Sharpness-Aware Minimization for
      Scale-Invariant Learning of Deep Neural Networks",
      [arXiv:2102.11600](https://arxiv.org/abs/2102.11600)
    - Dinh, Pascanu, Bengio and Bengio, 2017, "Sharp Minima Can Generalize For Deep
      Nets", [arXiv:1703.04933](https://arxiv.org/abs/1703.04933)
    """
    check_number("rho", rho, TINY, allowed="a number > 0")
    check_choice("norm", norm, ("l2", "linf"))
    scales, loss = surface.scales(normalization), _finite_loss(surface)
    search = maximize_in_box if norm == "linf" else maximize_in_ball

    def function(u):
        value, gradient = surface.gradient(surface.weights + scales * u)
        return value, scales * gradient

    maximum, evaluations = search(
        function,
        np.full(len(scales), rho),
        starts,
        iterations,
        np.random.default_rng(seed),
        verbose,
    )
    maximum = max(maximum, loss)
    return Sharpness(maximum - loss, loss, maximum, evaluations)


def _finite_loss(surface):
    loss = surface.value()
    if not np.isfinite(loss):
        raise ValueError(
            f"The loss must be finite at the weights. Received: loss={loss}"
        )
    return loss


def _coordinates(rows, x):
    """Returns the `z` that is nearest to `z @ rows = x`, the rows' pseudo-inverse."""
    with one_thread():
        gram, right = rows @ rows.T, rows @ x.astype(rows.dtype)
        return np.linalg.solve(gram.astype("float64"), right)
