"""Measurements by random matrices of which most entries are zero."""

import keras
import numpy as np
from keras import ops

from zoo.layers.cosine_dense import check_count
from zoo.layers.sensing.base import check_shape
from zoo.layers.sensing.entries import warn_unseen
from zoo.layers.sensing.rank_one import RankOneOperator

KINDS = "gaussian", "sign", "rank_one"


@keras.saving.register_keras_serializable(package="zoo")
class SparseSensing(RankOneOperator):
    """Measurements by random matrices of few entries that are not zero.

    | `kind` | `A_i` | Places that are not zero |
    |---|---|---|
    | `"gaussian"` | entries `N(0, s^2)` | `k = density n1 n2` of all |
    | `"sign"` | entries `+-s` | `k = density n1 n2` of all |
    | `"rank_one"` | `a_i b_i^T`, of entries `N(0, s)` | `density n1` and `density n2` |

    The places are drawn for each matrix anew, at least one of them, and all different.
    `s^2` is `1/m` over the share of entries that are not zero, so that on average
    `|A(X)|^2 = |X|_F^2` for all kinds, as of the dense ones: `scale` is 1. Nothing else
    is stored: a number and one or two ints a place.

    An entry of `X` is seen by `m k / (n1 n2)` measurements on average. Where these are
    few, an `X` of which a few entries hold most is not found, as with single entries.

    Args:
        shape: pair of ints, the sizes `(n1, n2)` of `X`.
        num_measurements: int >= 1, `m`.
        kind: `"gaussian"`, `"sign"` or `"rank_one"`. Defaults to `"gaussian"`.
        density: float above 0, up to 1, the share of places, of a matrix or of a
            vector, that are not zero. Defaults to 0.1.
        symmetric: bool, whether to measure by `(A_i + A_i^T) / 2`. Defaults to `False`.
        seed: int, of the matrices. Defaults to 0.
        **kwargs: `name`, `dtype`.

    Call arguments:
        u: `[..., n1, r]`.
        v: `[..., n2, r]`. Defaults to `u`.

    Returns:
        `[..., m]`.

    Raises:
        ValueError: `shape` is no pair of ints from 1 up, `num_measurements` no int from
            1 up, `kind` unknown, `density` not above 0 and up to 1, or `symmetric=True`
            with a `shape` that is not square.

    Example:

    >>> operator = SparseSensing((64, 64), 640, kind="sign", density=0.1)
    >>> operator.cost_estimate()["bytes"] == 640 * 410 * (4 + 1)
    True

    Reference:

    - Achlioptas, 2003, "Database-friendly random projections: Johnson-Lindenstrauss
      with binary coins"
    - Zhong, Jain and Dhillon, 2015, "Efficient Matrix Sensing Using Rank-1 Gaussian
      Measurements"
    """

    def __init__(
        self,
        shape,
        num_measurements,
        kind="gaussian",
        density=0.1,
        *,
        symmetric=False,
        seed=0,
        **kwargs,
    ):
        n1, n2 = check_shape(shape)
        m = check_count("num_measurements", num_measurements)
        if kind not in KINDS:
            raise ValueError(f"`kind` must be one of {KINDS}. Received: kind={kind!r}")
        if not 0 < density <= 1:
            raise ValueError(
                f"`density` must be above 0, up to 1. Received: density={density!r}"
            )
        super().__init__((n1, n2), m, symmetric=symmetric, paired=symmetric, **kwargs)
        self.kind, self.density, self.seed = kind, density, seed
        generator = np.random.default_rng(seed)
        if kind == "rank_one":
            self._draw_vectors(generator)
        else:
            self._draw_matrices(generator)

    def _draw_vectors(self, generator):
        m, places, self._values = self.num_measurements, [], {}
        self._places = {}
        for side, size in zip(("left", "right"), self.shape, strict=True):
            count = max(1, round(self.density * size))
            drawn = distinct(generator, m, count, size)
            places.append(drawn)
            values = generator.standard_normal((m, count), "float32")
            values *= np.float32((size / count) ** 0.5 * m**-0.25)
            self._places[side] = self.add_data(f"{side}_places", drawn.reshape(-1))
            self._values[side] = self.add_data(f"{side}_values", values)
        warn_unseen(*map(np.unique, places), self.shape, self.symmetric)
