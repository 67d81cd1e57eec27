"""LISTA, LAMP and LVAMP: networks that start as ISTA, FISTA, AMP and VAMP."""

from typing import Any, Literal

import keras

from zoo._types import Array
from zoo.layers import LampBlock, ListaBlock, LvampBlock, SoftShrinkage
from zoo.layers.shrinkage import Shrinkage
from zoo.losses.checks import check_bool, check_integer, check_number
from zoo.models.normalization import DEEPEST
from zoo.models.unrolled.network import UnrolledNetwork

# Of ALISTA's support selection: the share of coordinates a layer, and the most.
TRUSTED, MOST_TRUSTED = 0.012, 0.13


def lista(
    matrix: Array,
    depth: int = 16,
    regularization: float = 0.1,
    coupling: Literal["free", "coupled", "analytic"] = "free",
    *,
    momentum: bool = False,
    select_support: bool = False,
    tied: bool = True,
    **kwargs: Any,
) -> UnrolledNetwork:
    """Builds learned ISTA, and before any training ISTA or FISTA for the Lasso.

    Every layer has a threshold of its own. With `coupling="analytic"` this is ALISTA,
    which trains two numbers a layer, and is ISTA with another matrix.

    Args:
        matrix: `A`, array `[M, N]` with `M < N` and of rank `M`.
        depth: int, layers. Defaults to 16.
        regularization: float above 0, of the Lasso `|y - A x|^2 / 2 + regularization
            |x|_1` that the untrained network minimises. Defaults to 0.1.
        coupling: `"free"`, `"coupled"` or `"analytic"`, see `zoo.layers.ListaBlock`.
            Defaults to `"free"`.
        momentum: bool, whether the untrained network is FISTA. Defaults to `False`.
        select_support: bool, whether in layer `t` the largest `min(0.012 t, 0.13)` of
            the coordinates pass unshrunk. Defaults to `False`.
        tied: bool, whether layers share the matrices. Defaults to `True`.
        **kwargs: of all blocks: `rank`, `start`, `per_signal`, `coordinatewise`,
            `dtype`.

    Returns:
        A `zoo.models.UnrolledNetwork`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> import numpy as np
    >>> from zoo.data import bernoulli_gaussian
    >>> from zoo.solvers.sparse import fista
    >>> problem = bernoulli_gaussian((50, 100))
    >>> y, _ = problem.sample(10)
    >>> network = lista(problem.matrix, 20, 0.05, momentum=True)
    >>> solved = fista(problem.matrix, y, 0.05, iterations=20).x
    >>> bool(np.allclose(network.predict(y, verbose=0), solved, atol=1e-5))
    True

    Reference:

    - Gregor and LeCun, 2010, "Learning Fast Approximations of Sparse Coding", ICML
    - Liu, Chen, Wang and Yin, 2019, "ALISTA: Analytic Weights Are As Good As Learned
      Weights in LISTA", ICLR
    """

    check_bool("momentum", momentum)
    check_bool("select_support", select_support)

    def build(index, tied_to):
        t = index + 1
        return ListaBlock(
            matrix if tied_to is None else None,
            regularization,
            coupling,
            momentum=max(0.0, (t - 2) / (t + 1)) if momentum else 0.0,
            trusted=min(TRUSTED * t, MOST_TRUSTED) if select_support else 0.0,
            tied_to=tied_to,
            **kwargs,
        )

    return _stack(build, depth, tied)


def lamp(
    matrix: Array,
    depth: int = 8,
    shrinkage: Shrinkage | None = None,
    start: Literal["ridge", "amp"] | Array = "ridge",
    *,
    tied: bool = True,
    **kwargs: Any,
) -> UnrolledNetwork:
    """Builds learned AMP, and before any training, with `start="amp"`, AMP.

    Args:
        matrix: `A`, array `[M, N]` with `M < N` and of rank `M`.
        depth: int, layers. Defaults to 8.
        shrinkage: a `zoo.layers.shrinkage.Shrinkage`; each layer has one of its own, of
            the same first values. Defaults to `SoftShrinkage()`.
        start: `"ridge"`, `"amp"` or an array `[N, M]`, the first matrix that leads
            back, see `zoo.layers.LampBlock`. Defaults to `"ridge"`.
        tied: bool, whether layers share that matrix. Defaults to `True`.
        **kwargs: of all blocks: `damping`, `dtype`.

    Returns:
        A `zoo.models.UnrolledNetwork`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> from zoo.data import bernoulli_gaussian
    >>> from zoo.layers import BernoulliGaussianShrinkage
    >>> from zoo.metrics import nmse
    >>> problem = bernoulli_gaussian()
    >>> y, x = problem.sample(100)
    >>> network = lamp(problem.matrix, 6, BernoulliGaussianShrinkage(0.1))
    >>> nmse(network.predict(y, verbose=0), x) < -29
    True

    Reference:

    - Borgerding, Schniter and Rangan, 2017, "AMP-Inspired Deep Networks for Sparse
      Linear Inverse Problems", [arXiv:1612.01183](https://arxiv.org/abs/1612.01183)
    """

    def build(index, tied_to):
        return LampBlock(
            matrix if tied_to is None else None,
            _copy(shrinkage, kwargs),
            start,
            tied_to=tied_to,
            **kwargs,
        )

    return _stack(build, depth, tied)


def lvamp(
    matrix: Array,
    depth: int = 8,
    shrinkage: Shrinkage | None = None,
    noise_variance: float = 1e-3,
    *,
    tied: bool = True,
    **kwargs: Any,
) -> UnrolledNetwork:
    """Builds learned VAMP, and before any training VAMP.

    Args:
        matrix: `A`, array `[M, N]` with `M < N` and of rank `M`.
        depth: int, layers. Defaults to 8.
        shrinkage: a `zoo.layers.shrinkage.Shrinkage`; each layer has one of its own, of
            the same first values. Defaults to `SoftShrinkage()`.
        noise_variance: float above 0, first value, of one measurement. Defaults to
            1e-3.
        tied: bool, whether layers share what is made of the matrix, and the variance
            of the noise. Defaults to `True`.
        **kwargs: of all blocks: `form`, `learn`, `prior_variance`, `damping`, `dtype`.

    Returns:
        A `zoo.models.UnrolledNetwork`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> from zoo.data import bernoulli_gaussian
    >>> from zoo.layers import BernoulliGaussianShrinkage
    >>> from zoo.metrics import nmse
    >>> problem = bernoulli_gaussian(condition=15.0)
    >>> y, x = problem.sample(100)
    >>> shrinkage = BernoulliGaussianShrinkage(0.1)
    >>> network = lvamp(problem.matrix, 10, shrinkage, problem.noise_variance)
    >>> nmse(network.predict(y, verbose=0), x) < -43
    True

    Reference:

    - Borgerding, Schniter and Rangan, 2017, "AMP-Inspired Deep Networks for Sparse
      Linear Inverse Problems", [arXiv:1612.01183](https://arxiv.org/abs/1612.01183)
    """
    check_number("noise_variance", noise_variance)

    def build(index, tied_to):
        return LvampBlock(
            matrix if tied_to is None else None,
            _copy(shrinkage, kwargs),
            noise_variance,
            tied_to=tied_to,
            **kwargs,
        )

    return _stack(build, depth, tied)


def _stack(build, depth, tied):
    check_bool("tied", tied)
    blocks = []
    for index in range(check_integer("depth", depth, 1, DEEPEST)):
        # The first knows the matrix; the others its decomposition, if tied.
        blocks.append(build(index, blocks[0] if blocks and tied else None))
    return UnrolledNetwork(blocks)


def _copy(shrinkage, kwargs):
    if shrinkage is None:
        return SoftShrinkage(dtype=kwargs.get("dtype"))
    if not isinstance(shrinkage, Shrinkage):
        # The block says what is wrong with it.
        return shrinkage
    config = keras.saving.serialize_keras_object(shrinkage)["config"]
    return type(shrinkage).from_config({**config, "name": None})
