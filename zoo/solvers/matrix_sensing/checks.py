"""What is checked before a matrix is sought, and what is warned of."""

import math
import numbers
import warnings

import numpy as np

from zoo.layers.sensing import SensingOperator
from zoo.solvers.matrix_sensing.forms import KINDS

STARTS = ("spectral", "orthogonal", "svp")
# This method forms `X`, and decomposes it in each step.
LARGEST_NUCLEAR = 1024
# Options of each method and their defaults.
METHODS = {
    "fgd": {"learning_rate": "auto", "step_constant": 0.25, "balance": 0.0},
    "fgd_momentum": {
        "learning_rate": "auto",
        "step_constant": 0.25,
        "balance": 0.0,
        "momentum": 0.5,
        "restart": True,
    },
    "scaled_gd": {"learning_rate": 0.5, "damping": 0.01},
    "cg": {"damping": 0.01},
    "iht": {"learning_rate": 0.5},
    "nuclear": {"radius": None},
}
# Kinds that a method does not find.
WITHOUT = {"iht": ("indefinite",), "nuclear": ("hermitian", "indefinite")}


def check_measurements(operator, y):
    """Returns `y` as a float64 array `[..., m]`."""
    if not isinstance(operator, SensingOperator):
        raise ValueError(
            "`operator` must be a `zoo.layers.sensing.SensingOperator`. "
            f"Received: operator of type {type(operator).__name__}"
        )
    if operator.variable_dtype not in ("float32", "float64"):
        raise ValueError(
            "`operator` must have variables of float32 or float64. "
            f"Received: operator of dtype {operator.variable_dtype}"
        )
    y = np.asarray(y)
    if np.iscomplexobj(y):
        raise ValueError(
            "`y` must be real: take its real part, measurements by Hermitian matrices "
            f"have no other. Received: y of dtype {y.dtype}"
        )
    y = y.astype("float64")
    m = operator.num_measurements
    if not y.ndim or y.shape[-1] != m or not y.size:
        raise ValueError(
            f"`y` must have the operator's {m} measurements on its last axis. "
            f"Received: y of shape {y.shape}"
        )
    if not np.isfinite(y).all():
        raise ValueError(
            "`y` must be finite. Received: y with "
            f"{np.count_nonzero(~np.isfinite(y))} values that are NaN or infinite"
        )
    if not np.abs(np.asarray(operator.center(y))).max(-1).all():
        raise ValueError(
            "`y` must not be zero, nor all alike under a centred operator. Received: y "
            "of which X = 0 is a solution"
        )
    return y


def check_kind(operator, kind, method, start):
    """Returns the kind of `X`; by default what suits the operator."""
    if method not in METHODS:
        raise ValueError(
            f"`method` must be one of {tuple(METHODS)}. Received: method={method!r}"
        )
    if kind is None:
        if operator.hermitian:
            kind = "hermitian"
        else:
            kind = "psd" if operator.symmetric else "general"
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {KINDS}. Received: kind={kind!r}")
    if kind == "general" and operator.symmetric:
        raise ValueError(
            "`kind` must not be 'general' with a symmetric operator, which sees the "
            "symmetric part of X alone. Received: kind='general'"
        )
    if kind != "general" and not operator.symmetric:
        raise ValueError(
            f"`kind` must be 'general' unless the operator is made with "
            f"`symmetric=True`. Received: kind={kind!r}"
        )
    if operator.hermitian != (kind == "hermitian"):
        raise ValueError(
            "`kind` must be 'hermitian' with a Hermitian operator and no other. "
            f"Received: kind={kind!r}, operator={operator.name!r}"
        )
    if kind in WITHOUT.get(method, ()):
        raise ValueError(
            f"`method` must not be {method!r} for the kind {kind!r}. "
            f"Received: method={method!r}, kind={kind!r}"
        )
    if isinstance(start, str) and start not in STARTS:
        raise ValueError(
            f"`start` must be one of {STARTS}, or factors. Received: start={start!r}"
        )
    if method == "iht" and not isinstance(start, str):
        raise ValueError(
            "`start` must not be given for method='iht', which starts at X = 0. "
            f"Received: start of type {type(start).__name__}"
        )
    if isinstance(start, str) and start == "svp" and kind == "indefinite":
        raise ValueError(
            "`start` must not be 'svp' for the kind 'indefinite'. Received: start='svp'"
        )
    if method == "nuclear" and max(operator.shape) > LARGEST_NUCLEAR:
        raise ValueError(
            f"`method` must not be 'nuclear', which decomposes X in each step, for "
            f"sides above {LARGEST_NUCLEAR}. Received: shape={operator.shape}"
        )
    return kind


def check_rank(operator, rank, method, y):
    """Returns the ranks, `[...]` as the batch of `y` or one int."""
    ranks, largest = np.asarray(rank), min(operator.shape)
    valid = ranks.dtype.kind in "iu" and ranks.size and ranks.min() >= 1
    if not valid or ranks.max() > largest or ranks.shape not in ((), y.shape[:-1]):
        raise ValueError(
            f"`rank` must be an int from 1 to {largest}, or one for each problem of "
            f"the batch. Received: rank={rank!r}"
        )
    if ranks.ndim and method == "nuclear":
        raise ValueError(
            "`rank` must be one int for method='nuclear', which finds its own. "
            f"Received: rank={rank!r}"
        )
    return ranks


def check_sizes(scale, fit):
    """Checks that what is divided by can be."""
    if not 0 < scale < math.inf:
        raise ValueError(
            "`operator` must have matrices that are neither zero nor too large. "
            f"Received: operator of scale {scale}"
        )
    if not (np.all(fit > 0) and np.all(np.isfinite(fit / scale))):
        raise ValueError(
            "`y` must not be zero, nor too large, where it is fitted. "
            f"Received: y of length {fit.min():g} to {fit.max():g}"
        )


def check_factors(operator, name, factors, kind, batch, rank):
    """Returns the pair of factors that a user gave, real: `[Re; Im]` of complex ones.

    Args:
        operator: the operator.
        name: str, of the argument.
        factors: as in `solve`.
        kind: str.
        batch: tuple, the batch's shape; factors have it, or none.
        rank: int, the columns, or `None` for any number.
    """
    pair = isinstance(factors, (tuple, list))
    if pair != (kind in ("general", "indefinite")) or (pair and len(factors) != 2):
        expected = "one factor" if pair else "the pair of factors"
        if pair and kind in ("general", "indefinite"):
            expected = "the pair of factors"
        raise ValueError(
            f"`{name}` must be {expected} of X for kind={kind!r}. "
            f"Received: {name} of type {type(factors).__name__}"
        )
    both = [np.asarray(one) for one in (factors if pair else (factors, factors))]
    if kind == "hermitian" and np.iscomplexobj(both[0]):
        both = [np.concatenate([one.real, one.imag], axis=-2) for one in both]
    for one, rows in zip(both, operator.factor_rows, strict=True):
        shape = one.shape
        valid = one.ndim >= 2 and shape[:-2] in ((), batch) and shape[-2] == rows
        if not valid or shape[-1] != (rank or both[0].shape[-1]):
            columns = "the same number of" if rank is None else rank
            raise ValueError(
                f"`{name}` must have factors of {rows} rows and {columns} columns, "
                "of one problem or of all. "
                f"Received: {name} with a factor of shape {shape}"
            )
        if np.iscomplexobj(one) or not np.isfinite(one).all() or not np.any(one):
            raise ValueError(
                f"`{name}` must be real for kind={kind!r}, finite and not zero. "
                f"Received: {name} with a factor of dtype {one.dtype}, from "
                f"{np.min(one):g} to {np.max(one):g}"
            )
    if kind == "indefinite":
        u, v = both
        signs = np.sign(np.sum(u * v, axis=-2, keepdims=True))
        if not np.allclose(v, np.where(signs < 0, -u, u)):
            raise ValueError(
                f"`{name}` must be U and U with the signs of some columns changed for "
                f"kind='indefinite'. Received: {name} of other factors"
            )
    return both


def check_options(method, kind, options):
    """Returns the options of a method with its defaults."""
    known = METHODS[method]
    for name, value in options.items():
        if name not in known:
            raise ValueError(
                f"`{name}` must not be given for method={method!r}, which takes "
                f"{', '.join(known)}. Received: {name}={value!r}"
            )
        if name == "restart":
            valid, allowed = isinstance(value, bool), "a bool"
        else:
            positive = name in ("learning_rate", "step_constant", "radius")
            valid = is_number(value, positive)
            allowed = "a finite number " + ("above 0" if positive else "from 0 up")
        if known[name] == "auto":
            valid, allowed = valid or value == "auto", f"{allowed}, or 'auto'"
        if not valid:
            raise ValueError(f"`{name}` must be {allowed}. Received: {name}={value!r}")
    options = {**known, **options}
    if options.get("radius", 1) is None:
        raise ValueError(
            "`radius` must be given for method='nuclear': the nuclear norm of X, or a "
            "guess at it. Received: radius=None"
        )
    if options.get("balance") and kind != "general":
        raise ValueError(
            "`balance` must be 0 unless the kind is 'general', which has two factors. "
            f"Received: balance={options['balance']!r}, kind={kind!r}"
        )
    if options.get("momentum", 0) >= 1:
        raise ValueError(
            f"`momentum` must be below 1. Received: momentum={options['momentum']!r}"
        )
    return options


def is_number(value, positive):
    """Whether `value` is a finite number from 0 up, or above 0."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return number and 0 <= value < math.inf and bool(value or not positive)


def check_limits(gain, max_iterations, tolerance, min_change, holdout):
    """Checks where the iteration starts and ends."""
    whole = isinstance(max_iterations, numbers.Integral)
    if isinstance(max_iterations, bool) or not whole or max_iterations < 1:
        raise ValueError(
            "`max_iterations` must be an int from 1 up. "
            f"Received: max_iterations={max_iterations!r}"
        )
    bounds = {"tolerance": tolerance, "min_change": min_change, "gain": gain}
    for name, value in bounds.items():
        if not is_number(value, positive=name == "gain"):
            allowed = "above 0" if name == "gain" else "from 0 up"
            raise ValueError(
                f"`{name}` must be a finite number {allowed}. "
                f"Received: {name}={value!r}"
            )
    if not isinstance(holdout, numbers.Real) or not 0 <= holdout < 1:
        raise ValueError(
            f"`holdout` must be a number from 0 up and below 1. "
            f"Received: holdout={holdout!r}"
        )


def check_enough(operator, ranks, kind, fitted, overparameterized):
    """Refuses fewer measurements than degrees of freedom; warns of few and of many.

    Args:
        operator: the operator.
        ranks: array of ints.
        kind: str.
        fitted: int, the measurements that are not held out.
        overparameterized: bool, whether the ranks are above that of `X` on purpose.
    """
    n1, n2 = operator.shape
    r = int(np.max(ranks))
    freedom, unknowns = {
        "general": (r * (n1 + n2 - r), n1 * n2),
        "hermitian": (r * (2 * n1 - r), n1 * n1),
    }.get(kind, (r * (2 * n1 - r + 1) // 2, n1 * (n1 + 1) // 2))
    # A centred operator measures one combination less.
    centered = getattr(operator, "centered", False)
    if fitted - centered >= unknowns:
        warnings.warn(
            f"{fitted} measurements determine all {unknowns} entries of X: "
            "`least_squares` recovers it whatever its rank.",
            stacklevel=3,
        )
    if overparameterized:
        return
    if fitted < freedom:
        raise ValueError(
            f"`rank` must leave no more degrees of freedom than measurements, or "
            f"`overparameterized` be True. Received: rank={r}, of {freedom} degrees of "
            f"freedom, and {fitted} measurements to fit"
        )
    if fitted < 3 * freedom and fitted < unknowns:
        warnings.warn(
            f"{fitted} measurements are few for {freedom} degrees of freedom: below "
            "three times as many, recovery is not to be counted on.",
            stacklevel=3,
        )


def warn_of_negative_part(values, n, fitted, kind):
    """Warns where data under `X = U U^T` look as if `X` had negative eigenvalues.

    Args:
        values: eigenvalues of `A^T(y)` that the spectral start saw, `[..., k]`,
            falling, for a `y` of length 1.
        n: int, the side of `X`.
        fitted: int, the measurements.
        kind: `"psd"` or `"hermitian"`.
    """
    # Where the semicircle of the eigenvalues ends that random measurements add.
    edge = math.sqrt((4 if kind == "hermitian" else 2) * n / fitted)
    lowest, highest = values.min(-1), values.max(-1)
    if np.any((-lowest > 1.3 * edge) & (-lowest > 0.4 * highest)):
        remedy = " Pass kind='indefinite'." if kind == "psd" else ""
        warnings.warn(
            "X seems to have negative eigenvalues, which a positive semidefinite X "
            f"cannot fit: the spectral start saw {lowest.min():.2f} beside "
            f"{highest.max():.2f}.{remedy}",
            stacklevel=3,
        )
