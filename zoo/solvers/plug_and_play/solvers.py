"""ADMM, DRS, FBS and PDHG with a denoiser in the place of a prior."""

from collections.abc import Sequence

from zoo._types import Array
from zoo.layers.operators import LinearOperator
from zoo.solvers.plug_and_play.checks import Fidelity
from zoo.solvers.plug_and_play.problem import Denoiser
from zoo.solvers.plug_and_play.result import PlugAndPlayResult
from zoo.solvers.plug_and_play.solve import solve


def pnp_admm(
    y: Array,
    operator: LinearOperator,
    denoiser: Denoiser,
    *,
    step: float | Array,
    sigma: float | Array | None = None,
    fidelity: Fidelity = "least_squares",
    iterations: int = 100,
    tolerance: float = 1e-5,
    start: Array | None = None,
    truth: Array | None = None,
    value_range: Sequence[float] = (0.0, 1.0),
    lipschitz_bound: float | None = None,
) -> PlugAndPlayResult:
    """Recovers images by ADMM with a denoiser `D` for the prior.

    `x <- D(v - u)`,
    `v <- argmin_v f(v) + |v - (x + u)|^2 / (2 step)`,
    `u <- u + x - v`

    in this order, for which convergence is proved: first the denoiser, then the data,
    then the multipliers. With a prior `lambda phi` and a penalty `rho`, `step` is
    `lambda / rho`. With `z = x + u` it is `pnp_drs`, iterate by iterate.

    The denoiser is one of

    - a Keras model or layer, such as one of `zoo.models.denoisers`, from images to
      estimates, or from a pair of images and noise levels `[batch]`;
    - a `Prior` of this package, such as `TotalVariation(weight)`: all methods then
      minimise `f + weight phi`;
    - any Python function of a NumPy batch and `sigma`, which is an array `[batch]` or
      `None`. It runs outside of graphs, and so slower.

    All images of a batch run in one compiled loop, and each stops by itself. A graph is
    made once for an operator and a denoiser.

    Args:
        y: `[batch, *operator.measurement_shape]`, measurements of images with
            intensities of about [0, 1].
        operator: a `zoo.layers.operators.LinearOperator`, in whose dtype all is
            computed.
        denoiser: `D`, as above.
        step: float above 0, or one an image, `[batch]`.
        sigma: the noise level that a denoiser is told, in intensities: a number, one an
            image `[batch]`, or one an iteration, `[iterations, 1]` or `[iterations,
            batch]`; of networks without that input `None`. Defaults to `None`.
        fidelity: `f`: `"least_squares"`, a `Poisson` or a `PhotonCounting`. Defaults to
            `"least_squares"`, `|A x - y|^2 / 2`.
        iterations: int >= 1, the most that are made. Defaults to 100.
        tolerance: float >= 0, the change of an image's point, relative to its norm, at
            which it stops. Defaults to 1e-5.
        start: first images, as `x`; or `None` for `A^T y`, or of counts the image that
            they are most likely of. Defaults to `None`.
        truth: true images, to follow the PSNR to; or `None`. Defaults to `None`.
        value_range: pair of floats, what intensities 0 and 1 are for the denoiser,
            which is given `sigma` in the same unit. Defaults to `(0.0, 1.0)`.
        lipschitz_bound: float, a proved bound of the Lipschitz constant of `D - I`, for
            the result's certificate; or `None`. Defaults to `None`.

    Returns:
        A `PlugAndPlayResult`.

    Raises:
        ValueError: an argument is not as above, or not finite.

    Warns:
        UserWarning: images diverged, or with a `lipschitz_bound` the step is outside of
            the interval in which the method is proved to converge.

    Example: half of the pixels of a square, seen in no noise.

    >>> import numpy as np
    >>> from zoo.layers.operators import PixelMask
    >>> from zoo.solvers.plug_and_play import TotalVariation
    >>> truth = np.zeros((1, 16, 16, 1))
    >>> truth[:, 4:12, 4:12] = 1.0
    >>> mask = np.random.default_rng(0).random((16, 16)) < 0.5
    >>> operator = PixelMask((16, 16, 1), mask.astype("float32"))
    >>> prior = TotalVariation(0.01)
    >>> result = pnp_admm(operator(truth), operator, prior, step=10.0, truth=truth)
    >>> print(result.psnr[0, [0, -1]].round(1))
    [ 9.5 21.1]
    >>> result.certificate.status, result.certificate.mu
    ('not_met', 0.0)

    Reference:

    - Venkatakrishnan, Bouman and Wohlberg, 2013, "Plug-and-Play Priors for Model Based
      Reconstruction", IEEE GlobalSIP
    - Ryu et al., 2019, "Plug-and-Play Methods Provably Converge with Properly Trained
      Denoisers", arXiv:1905.05406
    """
    return solve("admm", **locals())


def pnp_drs(
    y: Array,
    operator: LinearOperator,
    denoiser: Denoiser,
    *,
    step: float | Array,
    sigma: float | Array | None = None,
    fidelity: Fidelity = "least_squares",
    iterations: int = 100,
    tolerance: float = 1e-5,
    start: Array | None = None,
    truth: Array | None = None,
    value_range: Sequence[float] = (0.0, 1.0),
    lipschitz_bound: float | None = None,
) -> PlugAndPlayResult:
    """Recovers images by Douglas-Rachford splitting with a denoiser for the prior.

    `v = argmin_v f(v) + |v - z|^2 / (2 step)`,  `x <- D(2 v - z)`,  `z <- z + x - v`

    Args:
        y, operator, denoiser, step, sigma, fidelity, iterations, tolerance, start,
            truth, value_range, lipschitz_bound: as for `pnp_admm`.

    Returns, Raises, Warns: as there.

    Example: soft thresholds are the solution where all is measured.

    >>> import numpy as np
    >>> from zoo.layers.operators import Identity
    >>> from zoo.solvers.plug_and_play import L1
    >>> y = np.array([1.0, 0.5, 0.1]).reshape(1, 1, 3, 1)
    >>> result = pnp_drs(y, Identity((1, 3, 1)), L1(0.2), step=1.0)
    >>> print(result.x.ravel().round(3))
    [0.8 0.3 0. ]

    Reference:

    - Ryu et al., 2019, "Plug-and-Play Methods Provably Converge with Properly Trained
      Denoisers", arXiv:1905.05406
    """
    return solve("drs", **locals())


def pnp_fbs(
    y: Array,
    operator: LinearOperator,
    denoiser: Denoiser,
    *,
    step: float | Array,
    sigma: float | Array | None = None,
    fidelity: Fidelity = "least_squares",
    iterations: int = 100,
    tolerance: float = 1e-5,
    start: Array | None = None,
    truth: Array | None = None,
    value_range: Sequence[float] = (0.0, 1.0),
    lipschitz_bound: float | None = None,
) -> PlugAndPlayResult:
    """Recovers images by forward-backward splitting with a denoiser for the prior.

    `x <- D(x - step grad f(x))`

    It has the fixed points of `pnp_admm`, and converges for fewer steps: those below
    `2 / L` with a convex prior, with `L = |A|_2^2` of least squares.

    Args:
        y, operator, denoiser, step, sigma, fidelity, iterations, tolerance, start,
            truth, value_range, lipschitz_bound: as for `pnp_admm`. Counts need a
            fidelity with a `low` above 0.

    Returns, Raises, Warns: as there; also of a step from `2 / L` up.

    Example: soft thresholds are the solution where all is measured.

    >>> import numpy as np
    >>> from zoo.layers.operators import Identity
    >>> from zoo.solvers.plug_and_play import L1
    >>> y = np.array([1.0, 0.5, 0.1]).reshape(1, 1, 3, 1)
    >>> result = pnp_fbs(y, Identity((1, 3, 1)), L1(0.2), step=0.5)
    >>> print(result.x.ravel().round(3))
    [0.8 0.3 0. ]

    Reference:

    - Ryu et al., 2019, "Plug-and-Play Methods Provably Converge with Properly Trained
      Denoisers", arXiv:1905.05406
    """
    return solve("fbs", **locals())


def pnp_pdhg(
    y: Array,
    operator: LinearOperator,
    denoiser: Denoiser,
    *,
    step: float | Array,
    dual_step: float | Array | None = None,
    sigma: float | Array | None = None,
    fidelity: Fidelity = "least_squares",
    iterations: int = 100,
    tolerance: float = 1e-5,
    start: Array | None = None,
    truth: Array | None = None,
    value_range: Sequence[float] = (0.0, 1.0),
    lipschitz_bound: float | None = None,
) -> PlugAndPlayResult:
    """Recovers images by the primal-dual hybrid gradient method with a denoiser.

    `x <- D(x - step A^T p)`,  `p <- (p + dual_step (A (2 x - x_last) - y)) / (1 +
    dual_step)`

    from `p = 0`, for least squares: it needs products with `A` alone. Of other data
    terms `p` is the proximal step of the conjugate of `f`.

    Args:
        y, operator, denoiser, step, sigma, fidelity, iterations, tolerance, start,
            truth, value_range, lipschitz_bound: as for `pnp_admm`.
        dual_step: float above 0, or one an image; or `None` for `1 / (step |A|_2^2)`,
            the longest with which it converges. Defaults to `None`.

    Returns, Raises, Warns: as there; also of a `dual_step` that is too long.

    Example: soft thresholds are the solution where all is measured.

    >>> import numpy as np
    >>> from zoo.layers.operators import Identity
    >>> from zoo.solvers.plug_and_play import L1
    >>> y = np.array([1.0, 0.5, 0.1]).reshape(1, 1, 3, 1)
    >>> result = pnp_pdhg(y, Identity((1, 3, 1)), L1(0.2), step=1.0)
    >>> print(result.x.ravel().round(3))
    [0.8 0.3 0. ]

    Reference:

    - Meinhardt et al., 2017, "Learning Proximal Operators: Using Denoising Networks for
      Regularizing Inverse Imaging Problems", arXiv:1704.03488
    """
    return solve("pdhg", **locals())
