"""Unrolled networks that come with trained weights, and how these were trained."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np

from zoo.data import bernoulli_gaussian_fixture
from zoo.layers import BernoulliGaussianShrinkage
from zoo.losses.checks import check_choice
from zoo.models.unrolled.builders import lamp, lista, lvamp
from zoo.models.unrolled.network import UnrolledNetwork
from zoo.models.unrolled.training import Stage
from zoo.models.weight_files import read

FOLDER = pathlib.Path(__file__).with_name("weights")
PUBLIC = "bernoulli_gaussian_250x500"
# Conditions of the matrices, see `bernoulli_gaussian_fixture`.
CONDITIONS = {PUBLIC: None, f"{PUBLIC}_kappa15": 15.0, f"{PUBLIC}_kappa100": 100.0}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is built for a matrix and trained for it.

    Attributes:
        build: function from the matrix to an untrained network.
        stages: list of `Stage`.
        untied: list of `Stage` that follow once no layers share matrices, or none if
            they stay shared.
    """

    build: Callable
    stages: list
    untied: list = dataclasses.field(default_factory=list)


def _alista(depth, matrix):
    regularization = 0.2 * np.linalg.norm(matrix, 2) ** 2
    return lista(matrix, depth, regularization, "analytic", select_support=True)


def _lista(depth, matrix):
    regularization = 0.15 * np.linalg.norm(matrix, 2) ** 2
    # Shrinkage is what such a step makes up for.
    start = 1.5 * np.linalg.pinv(matrix)
    return lista(matrix, depth, regularization, start=start)


def _lamp(depth, shrinkage, matrix):
    return lamp(matrix, depth, shrinkage and shrinkage())


def _lvamp(depth, matrix):
    # As who knows neither the sparsity nor the noise.
    return lvamp(matrix, depth, BernoulliGaussianShrinkage(0.05, 2.0), 1.0)


_BERNOULLI = BernoulliGaussianShrinkage
_LVAMP = [Stage(150, learning_rate=0.3, batch_size=250)]
# More layers are slower to agree on the noise.
_DEEP_LVAMP = [Stage(250, learning_rate=0.3, batch_size=250)]
_LISTA = [
    Stage(4000),
    Stage(2500, supervise="last", learning_rate=4e-3),
    Stage(2500, supervise="last", learning_rate=4e-3, batch_size=1000),
]
_LAMP = [
    Stage(3000),
    Stage(3500, supervise="last", learning_rate=5e-3, batch_size=1000),
]
_UNTIED = [Stage(900, supervise="last", learning_rate=4e-3)]
_SHORT = [Stage(400), Stage(300, supervise="last", learning_rate=4e-3)]
_ALISTA = [
    Stage(200, learning_rate=0.1, batch_size=250),
    Stage(150, supervise="last", learning_rate=0.03, batch_size=250),
]
RECIPES = {
    PUBLIC: {
        "alista_6": Recipe(functools.partial(_alista, 6), _ALISTA),
        "alista_12": Recipe(functools.partial(_alista, 12), _ALISTA),
        "lista_6": Recipe(functools.partial(_lista, 6), _LISTA),
        "lamp_l1_8": Recipe(functools.partial(_lamp, 8, None), _SHORT),
        "lamp_l1_10": Recipe(functools.partial(_lamp, 10, None), _SHORT),
        "lamp_bg_6": Recipe(functools.partial(_lamp, 6, _BERNOULLI), _LAMP),
        "lamp_bg_6_untied": Recipe(
            functools.partial(_lamp, 6, _BERNOULLI), _LAMP, _UNTIED
        ),
        "lamp_bg_8": Recipe(functools.partial(_lamp, 8, _BERNOULLI), _SHORT),
        "lvamp_bg_8": Recipe(functools.partial(_lvamp, 8), _LVAMP),
    },
    f"{PUBLIC}_kappa15": {
        "lvamp_bg_12": Recipe(functools.partial(_lvamp, 12), _DEEP_LVAMP)
    },
    f"{PUBLIC}_kappa100": {
        "lvamp_bg_15": Recipe(functools.partial(_lvamp, 15), _DEEP_LVAMP)
    },
}


def fixture(weights):
    """Returns the problem that weights are for, its measurements and its signals."""
    return bernoulli_gaussian_fixture(CONDITIONS[weights])


def pretrained(name: str, weights: str = PUBLIC) -> UnrolledNetwork:
    """Returns a trained network for the public problem of 250 measurements of 500.

    The matrix is that of `zoo.data.bernoulli_gaussian_fixture`: a network is of use for
    it alone. What was trained comes with the package, and the rest is made of the
    matrix. `zoo/models/unrolled/weights/README.md` says how good each is.

    With `weights="bernoulli_gaussian_250x500"`, of a matrix of independent entries:
    `lista_6`, `alista_6`, `alista_12`, `lamp_l1_8`, `lamp_l1_10`, `lamp_bg_6`,
    `lamp_bg_6_untied`, `lamp_bg_8` and `lvamp_bg_8`. With `_kappa15` added, of
    condition 15: `lvamp_bg_12`. With `_kappa100`: `lvamp_bg_15`.

    Args:
        name: str, as above, such as `"lamp_bg_8"`: LAMP with the Bernoulli-Gaussian
            shrinkage and 8 layers; `l1` is soft thresholding.
        weights: str, as above. Defaults to `"bernoulli_gaussian_250x500"`.

    Returns:
        A `zoo.models.UnrolledNetwork`.

    Raises:
        ValueError: there are no such weights, or no such network of them.

    Example:

    >>> from zoo.data import bernoulli_gaussian_fixture
    >>> from zoo.metrics import nmse
    >>> problem, y, x = bernoulli_gaussian_fixture()
    >>> round(nmse(pretrained("lvamp_bg_8").predict(y, verbose=0), x), 1)
    -44.9
    """
    recipes = RECIPES[check_choice("weights", weights, tuple(RECIPES))]
    recipe = recipes[check_choice("name", name, tuple(recipes))]
    network = recipe.build(fixture(weights)[0].matrix)
    if recipe.untied:
        network = network.untie()
    arrays = read(FOLDER / weights / f"{name}.npz")
    for weight, array in zip(network.trainable_weights, arrays, strict=True):
        weight.assign(array)
    return network
