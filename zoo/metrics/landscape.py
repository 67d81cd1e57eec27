"""Loss and accuracy on planes through the space of weights, in units of filters."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import keras
import numpy as np

from zoo._types import Array
from zoo.losses.checks import check_choice, check_integer
from zoo.metrics.interpolation import (
    check_line,
    check_weights,
    evaluate_at,
    to_numpy,
)

NORMALIZATIONS = ("filter", "layer", None)


def plane(
    model: keras.Model,
    directions: Sequence[Sequence[Array]],
    parts: Mapping[str, tuple[Array, Array]],
    alphas: Array | None = None,
    betas: Array | None = None,
    *,
    normalization: Literal["filter", "layer"] | None = "filter",
    statistics: Array | None = None,
    loss: keras.losses.Loss | Callable[..., Array] | str | None = None,
    batch_size: int = 1000,
    verbose: int = 0,
) -> dict[str, np.ndarray]:
    """Evaluates a classifier on a plane through its weights.

    The trainable weights are `w + alpha d_1 + beta d_2`, where `w` are the model's own,
    which it has back afterwards, whatever happens. All else is as in `interpolate`.

    Args:
        model: as for `interpolate`.
        directions: two lists of arrays, each of the shapes of
            `model.trainable_weights`, such as from `random_directions`.
        parts: as for `interpolate`.
        alphas: 1-D array of floats, steps along the first direction. Defaults to 25
            from -1 to 1.
        betas: 1-D array of floats, along the second. Defaults to `alphas`.
        normalization: `"filter"`, `"layer"` or `None`, done to `directions`, see
            `random_directions`. Defaults to `"filter"`, which leaves those that have
            it as they are; a plane through three minima takes `None`.
        statistics: as for `interpolate`.
        loss: as for `interpolate`.
        batch_size: int, samples a step. Defaults to 1000.
        verbose: 0 for silence, 1 for a progress bar. Defaults to 0.

    Returns:
        A dict of float64 arrays: `alpha` `[rows]`, `beta` `[columns]`, and for each
        part `{part}_loss` and `{part}_accuracy`, `[rows, columns]`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    >>> model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> x, y = np.ones((4, 2), "float32"), np.array([0, 1, 0, 1])
    >>> surface = plane(
    ...     model,
    ...     random_directions(model, seed=0),
    ...     {"training": (x, y)},
    ...     np.linspace(-1, 1, 5),
    ...     [0.0, 0.5, 1.0],
    ... )
    >>> surface["training_loss"].shape
    (5, 3)

    Reference:

    - Li, Xu, Taylor, Studer and Goldstein, 2018, "Visualizing the Loss Landscape of
      Neural Nets", [arXiv:1712.09913](https://arxiv.org/abs/1712.09913)
    """
    alphas = check_line("alphas", np.linspace(-1, 1, 25) if alphas is None else alphas)
    betas = alphas if betas is None else check_line("betas", betas)
    if len(directions) != 2:
        raise ValueError(
            "`directions` must hold two directions. "
            f"Received: len(directions)={len(directions)}"
        )
    variables = model.trainable_weights
    center = to_numpy(variables)
    first, second = (
        _normalized(check_weights("directions", one, variables), center, normalization)
        for one in directions
    )
    points = (
        [
            w + alpha * u + beta * v
            for w, u, v in zip(center, first, second, strict=True)
        ]
        for alpha in alphas
        for beta in betas
    )
    shape = len(alphas), len(betas)
    values = evaluate_at(
        model,
        variables,
        points,
        len(alphas) * len(betas),
        parts,
        statistics=statistics,
        loss=loss,
        batch_size=batch_size,
        verbose=verbose,
    )
    surfaces = {name: value.reshape(shape) for name, value in values.items()}
    return {"alpha": alphas, "beta": betas, **surfaces}


def random_directions(
    model: keras.Model,
    seed: int,
    count: int = 2,
    normalization: Literal["filter", "layer"] | None = "filter",
) -> list[list[np.ndarray]]:
    """Draws directions in the space of a model's weights, in its own units.

    The entries are normal; then, for the filter `j` of the kernel `w` of a layer,

    `d_j <- d_j ||w_j|| / ||d_j||`

    A filter is what gives one output of a dense layer or a convolution: a slice along
    the kernel's last axis, of other layers too. Networks whose ReLU layers are scaled
    against each other, or before batch normalisation, look the same along such
    directions. Weights of fewer than two axes, as are biases and the scales and shifts
    of normalisation, do not move: their directions are 0.

    Args:
        model: `keras.Model`, built.
        seed: int, of the draw.
        count: int, the number of directions. Defaults to 2.
        normalization: `"filter"`; `"layer"`, with the norms of whole kernels in place
            of those of filters; or `None`, where entries of all weights, biases too,
            stay as they are drawn. Defaults to `"filter"`.

    Returns:
        A list of `count` lists of float64 arrays, of the shapes of
        `model.trainable_weights`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> (kernel, bias), _ = random_directions(model, seed=0)
    >>> norms = np.linalg.norm(kernel, axis=0)
    >>> bool(np.allclose(norms, np.linalg.norm(model.layers[0].kernel, axis=0)))
    True
    >>> bias.tolist()
    [0.0, 0.0]

    Reference:

    - Li, Xu, Taylor, Studer and Goldstein, 2018, "Visualizing the Loss Landscape of
      Neural Nets", section 4, [arXiv:1712.09913](https://arxiv.org/abs/1712.09913)
    """
    generator = np.random.default_rng(check_integer("seed", seed, 0))
    weights = to_numpy(model.trainable_weights)
    return [
        _normalized(
            [generator.normal(size=w.shape) for w in weights], weights, normalization
        )
        for _ in range(check_integer("count", count, 1))
    ]


def _normalized(direction, weights, normalization):
    if check_choice("normalization", normalization, NORMALIZATIONS) is None:
        return direction
    return [
        _like(d, w, normalization) if w.ndim > 1 else np.zeros_like(w)
        for d, w in zip(direction, weights, strict=True)
    ]


def _like(direction, weight, normalization):
    """A direction with the norm of the weight, of each filter or of the layer."""
    axes = tuple(range(weight.ndim - (normalization == "filter")))
    norms, wanted = (
        np.sqrt(np.sum(np.square(array), axis=axes, keepdims=True))
        for array in (direction, weight)
    )
    return direction * np.divide(
        wanted, norms, out=np.zeros_like(norms), where=norms > 0
    )
