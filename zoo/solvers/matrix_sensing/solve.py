"""Recovers a matrix of low rank from linear measurements: one call for all methods."""

import math
from typing import Any, Literal

import numpy as np

from zoo._backend.compiling import call_compiled
from zoo._types import Array
from zoo.layers.sensing import SensingOperator
from zoo.solvers.matrix_sensing import checks
from zoo.solvers.matrix_sensing.graph import NUMBERS, Structure, run
from zoo.solvers.matrix_sensing.result import SensingResult, make_result
from zoo.solvers.matrix_sensing.starts import OVERSAMPLING


def solve(
    operator: SensingOperator,
    y: Array,
    rank: int | Array,
    method: str = "cg",
    *,
    kind: Literal["psd", "hermitian", "general", "indefinite"] | None = None,
    start: Literal["spectral", "orthogonal", "svp"]
    | Array
    | tuple[Array, Array] = "spectral",
    gain: float = 1e-2,
    max_iterations: int = 1000,
    tolerance: float = 1e-6,
    min_change: float = 1e-7,
    holdout: float = 0.0,
    truth: Array | tuple[Array, Array] | None = None,
    overparameterized: bool = False,
    seed: int = 0,
    **options: Any,
) -> SensingResult:
    """Recovers `X` of low rank from measurements `y_i = <A_i, X>`, plus noise.

    `min |A(X) - y|^2 / 2` over `X` of rank `rank`. With `G = A^T(A(X) - y)`, the
    methods and their options are:

    - `"cg"`: conjugate gradients, preconditioned as `"scaled_gd"` is, with an exact
      line search; `damping=0.01`.
    - `"fgd"`: factored gradient descent, `U <- U - eta G U`; `learning_rate="auto"`,
      `step_constant=0.25`, `balance=0.0`.
    - `"fgd_momentum"`: `U <- Z - eta G Z`, `Z <- U + mu (U - U_last)`; the same and
      `momentum=0.5`, `restart=True`.
    - `"scaled_gd"`: `U <- U - eta G U (U^T U)^-1`; `learning_rate=0.5`,
      `damping=0.01`.
    - `"iht"`: iterative hard thresholding, `X <- P_rank(X - eta G)`;
      `learning_rate=0.5`.
    - `"nuclear"`: accelerated projection on the ball `|X|_* <= radius`; `radius`.

    Only `"nuclear"` forms `G` and `X`. For `X = U V^T` a step of `U` takes `G V`, of
    `V` `G^T U`. The whole loop runs in one compiled graph, which is kept for the next
    problem of the same shape; the problems of a batch share it, and with it each pass
    over the measurements.

    Rates and `gain` are those of a problem scaled to `|X|_F = 1` and `|A(X)| = |X|_F`
    on average, which is what the iterations see whatever the scale of the operator and
    of `y`. `"auto"` is the rule of Bhojanapalli et al., `step_constant / (|X_0|_2 +
    |G_0|_2)`; their proof takes 1/16. `balance` is the `lambda` of `lambda |U^T U - V^T
    V|_F^2`. `damping`, times `|A(X) - y|`, is added to the diagonal of `U^T U`.
    `restart` drops the momentum where it points uphill. Measurements of rank one that
    are not centred stretch the direction of the trace: there `"scaled_gd"` needs a
    shorter rate than its default.

    Args:
        operator: a `zoo.layers.sensing.SensingOperator` in float32 or float64.
        y: `[..., m]`, measured values, real and finite.
        rank: int, or an int array of the batch's shape for factors of different ranks,
            which `"nuclear"` does not take.
        method: str, see above. Defaults to `"cg"`.
        kind: `"psd"` for `X = U U^T`, `"hermitian"` for `X = U U^H`, `"general"` for
            `X = U V^T`, or `"indefinite"` for `X = U diag(s) U^T` with signs `s`.
            Defaults to `"psd"` for an operator that is symmetric, `"hermitian"` for one
            that is Hermitian, else `"general"`.
        start: `"spectral"`, the dominant part of `A^T(y)` by subspace iteration;
            `"orthogonal"`, random orthonormal columns times `gain`; `"svp"`, five
            steps of hard thresholding; or the factors, in the form of `truth`, which
            `"iht"`, that starts at `X = 0`, does not take. Defaults to `"spectral"`.
        gain: float > 0, of the orthogonal start. Defaults to 0.01.
        max_iterations: int >= 1. Defaults to 1000.
        tolerance: float >= 0, the relative residual to stop at. Defaults to 1e-6.
        min_change: float >= 0, the relative change of the measurements to stop at.
            Defaults to 1e-7.
        holdout: float, the share of measurements that is not fitted but watched: the
            factors of the least error on them are returned. Defaults to 0.0.
        truth: factors of the true `X`, whose distance the history then holds: `U`, for
            a Hermitian `X` complex or `[Re U; Im U]`, and otherwise the pair of
            factors. Defaults to `None`.
        overparameterized: bool, whether `rank` is above that of `X` on purpose: then
            it may have more degrees of freedom than there are measurements. Defaults to
            `False`.
        seed: int, of what is random. Defaults to 0.
        **options: of the method, see above.

    Returns:
        A `SensingResult`.

    Raises:
        ValueError: an argument is not as above, `y` has the wrong shape, is complex or
            not finite, or there are fewer measurements than degrees of freedom.

    Warns:
        UserWarning: there are fewer than three times as many measurements as degrees of
            freedom, or as many as least squares needs; or the data of a `"psd"` or
            `"hermitian"` kind look as if `X` had negative eigenvalues.

    Example:

    >>> import numpy as np
    >>> from zoo.layers.sensing import GaussianSensing
    >>> u = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 2)))[0]
    >>> operator = GaussianSensing((64, 64), 640, symmetric=True)
    >>> result = solve(operator, np.asarray(operator(u)), rank=2)
    >>> result.stop_reason
    'converged'
    >>> bool(np.allclose(result.to_dense(), u @ u.T, atol=1e-5))
    True

    Reference:

    - Bhojanapalli et al., 2016, "Dropping Convexity for Faster Semi-definite
      Optimization", [arXiv:1509.03917](https://arxiv.org/abs/1509.03917)
    - Ajayi et al., 2018, "Provably convergent acceleration in factored gradient descent
      with applications in matrix sensing",
      [arXiv:1806.00534](https://arxiv.org/abs/1806.00534)
    - Tong et al., 2021, "Accelerating Ill-Conditioned Low-Rank Matrix Estimation via
      Scaled Gradient Descent", [arXiv:2005.08898](https://arxiv.org/abs/2005.08898)
    - Zhang et al., 2021, "Preconditioned Gradient Descent for Over-Parameterized
      Nonconvex Matrix Factorization",
      [arXiv:2504.09708](https://arxiv.org/abs/2504.09708)
    - Jain et al., 2010, "Guaranteed Rank Minimization via Singular Value Projection",
      [arXiv:0909.5457](https://arxiv.org/abs/0909.5457)
    """
    y = checks.check_measurements(operator, y)
    kind = checks.check_kind(operator, kind, method, start)
    ranks = checks.check_rank(operator, rank, method, y)
    options = checks.check_options(method, kind, options)
    checks.check_limits(gain, max_iterations, tolerance, min_change, holdout)
    generator = np.random.default_rng(seed)
    batch, m = y.shape[:-1], operator.num_measurements
    weights = hold_out(generator, m, holdout)
    fitted = m if weights is None else int(weights.sum())
    checks.check_enough(operator, ranks, kind, fitted, overparameterized)

    # The graph sees problems of one size: on average |X|_F is 1.
    scale = operator.scale * (fitted / m) ** 0.5
    y = np.asarray(operator.center(y))
    fit = np.linalg.norm(y if weights is None else y * weights, axis=-1)
    checks.check_sizes(operator.scale, fit)
    norm = fit / scale
    roots = np.sqrt(norm)[..., None, None]
    width = int(ranks.max())
    given, truth = (
        tuple(
            one / roots
            for one in checks.check_factors(operator, name, factors, kind, batch, rank)
        )
        if not (factors is None or isinstance(factors, str))
        else None
        for name, factors, rank in (("start", start, width), ("truth", truth, None))
    )
    auto = options.get("learning_rate") == "auto"
    numbers = {
        **options,
        **({"learning_rate": 1.0} if auto else {}),
        **{"tolerance": tolerance, "min_change": min_change, "gain": gain},
        "radius": options.get("radius", 1.0) / norm,
        "damping": options.get("damping", 0.0) / scale,
    }
    rows = sum(operator.factor_rows) if kind == "general" else operator.factor_rows[0]
    more = min(width + OVERSAMPLING, *operator.shape)
    columns = np.arange(width) < ranks[..., None, None] if ranks.ndim else None
    structure = Structure(
        method=method,
        kind=kind,
        rank=width,
        start=start if isinstance(start, str) else "given",
        # One graph for many limits.
        rows=2 ** math.ceil(math.log2(max_iterations + 1)),
        auto=auto,
        balance=bool(options.get("balance")),
        momentum=bool(options.get("momentum")),
        restart=bool(options.get("restart")),
    )
    arrays = (
        y / norm[..., None],
        scale**-2,
        max_iterations,
        np.stack([np.broadcast_to(numbers.get(one, 0.0), batch) for one in NUMBERS]),
        generator.normal(size=(*batch, rows, more)),
        columns,
        weights,
        given,
        truth,
    )
    outputs = call_compiled(run, operator, structure, *arrays)
    left, right, history, steps, reasons, spectrum = outputs
    if kind in ("psd", "hermitian") and structure.start == "spectral":
        checks.warn_of_negative_part(spectrum, operator.shape[0], fitted, kind)
    if method == "nuclear":
        left, right = split(left, kind)
    names = ["residual", *["holdout"][: weights is not None]]
    names += ["error"][: truth is not None]
    left, right = left * roots, right * roots
    return make_result(left, right, kind, method, history, names, steps, reasons)


def hold_out(generator, m, share):
    """Returns weights of measurements, 0 for a random share; `None` for no share."""
    if not share:
        return None
    weights = np.ones(m)
    weights[generator.permutation(m)[: max(1, round(share * m))]] = 0.0
    return weights


def split(x, kind):
    """Returns factors of all columns of a matrix `X` that is given whole."""
    if kind == "psd":
        values, vectors = np.linalg.eigh(x)
        # The largest first.
        values, vectors = values[..., ::-1], vectors[..., ::-1]
        left = vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]
        return left, left
    u, values, v = np.linalg.svd(x, full_matrices=False)
    roots = np.sqrt(values)[..., None, :]
    return u * roots, np.swapaxes(v, -1, -2) * roots
