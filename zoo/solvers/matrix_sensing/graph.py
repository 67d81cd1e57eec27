"""The graph of a solver: a start, then a method's steps in a loop."""

import dataclasses

from keras import ops

from zoo.solvers.matrix_sensing.factored import (
    conjugate_gradients,
    gradient_descent,
    scaled_gradient_descent,
)
from zoo.solvers.matrix_sensing.forms import make_form
from zoo.solvers.matrix_sensing.loop import iterate
from zoo.solvers.matrix_sensing.projected import (
    hard_thresholding,
    nuclear_norm_descent,
)
from zoo.solvers.matrix_sensing.starts import orthogonal_start, spectral_start

# Steps of hard thresholding that the start "svp" makes, and their rate.
WARM_STEPS = 5
WARM_RATE = 0.5
# What a graph takes as one array, a column a problem, so as not to depend on it.
NUMBERS = (
    *("tolerance", "min_change", "gain", "learning_rate", "step_constant"),
    *("balance", "momentum", "damping", "radius"),
)


@dataclasses.dataclass(frozen=True)
class Structure:
    """What a graph depends on beside the operator and the shapes of arrays."""

    method: str
    kind: str
    rank: int
    start: str
    rows: int
    auto: bool
    balance: bool
    momentum: bool
    restart: bool


def run(
    operator,
    structure,
    y,
    weight,
    most,
    numbers,
    probes,
    columns,
    weights,
    given,
    truth,
):
    """Solves a batch of problems.

    Args:
        operator: the operator.
        structure: a `Structure`.
        y: `[..., m]`, of the length of the operator's scale.
        weight: scalar, 1 over the square of that.
        most: scalar, the steps that are made at most.
        numbers: `[len(NUMBERS), ...]`.
        probes: random `[..., rows of z, more columns than the rank]`.
        columns: 1 for the columns that a problem's factors have, else 0, `[..., 1,
            rank]`; or `None`.
        weights: `[m]`, 0 for measurements that are held out, else 1; or `None`.
        given: pair of factors to start at, or `None`.
        truth: pair of factors of the true matrix, or `None`.

    Returns:
        The factors of `X`; the history, steps and reasons of `iterate`; and what the
        spectral start saw of the spectrum of `A^T(y)`.
    """
    numbers = dict(zip(NUMBERS, ops.unstack(numbers, num=len(NUMBERS)), strict=True))
    method, kind = structure.method, structure.kind
    form = make_form(operator, kind, weight)

    def weigh(e):
        return e if weights is None else e * weights

    z, signs, spectrum = first(
        form, structure, y, weigh, probes, given, numbers["gain"]
    )
    if columns is not None:
        z = z * columns
    form = make_form(operator, kind, weight, signs)
    factors, damping = form.factors, numbers["damping"]
    rate = numbers["learning_rate"]
    if method == "cg":
        steps = conjugate_gradients(form, y, weigh, damping)
    elif method == "scaled_gd":
        steps = scaled_gradient_descent(form, y, weigh, rate, damping)
    elif method == "iht":
        steps = hard_thresholding(
            form, kind, y, weigh, probes, structure.rank, rate, columns
        )
    elif method == "nuclear":
        steps = nuclear_norm_descent(form, kind, y, weigh, numbers["radius"])
        identity = ops.eye(operator.shape[1], dtype=y.dtype)

        def factors(x):
            return x, identity

    else:
        steps = gradient_descent(
            form,
            y,
            weigh,
            probes[..., :1],
            rate=None if structure.auto else rate,
            step_constant=numbers["step_constant"],
            balance=numbers["balance"] if structure.balance else None,
            momentum=numbers["momentum"] if structure.momentum else None,
            restart=structure.restart,
        )
    if truth is not None and kind == "hermitian":
        truth = form.factors(truth[0])
    limits = numbers["tolerance"], numbers["min_change"]
    most = ops.cast(most, "int32")
    z, *rest = iterate(
        steps, factors, z, y, weights, truth, limits, most, structure.rows
    )
    return *factors(z), *rest, spectrum


def first(form, structure, y, weigh, probes, given, gain):
    """Returns the first factors, the signs of a form, and the spectrum if seen."""
    kind, rank, start = structure.kind, structure.rank, structure.start
    spectrum = y[..., :0]
    if given is not None:
        left, right = given
        if kind == "general":
            return ops.concatenate([left, right], axis=-2), None, spectrum
        signs = 1.0 - 2.0 * ops.cast(ops.sum(left * right, axis=-2) < 0, left.dtype)
        return left, signs if kind == "indefinite" else None, spectrum
    z = signs = None
    if start == "spectral" or kind == "indefinite":
        z, signs, spectrum = spectral_start(form, kind, weigh(y), probes, rank)
    if start == "orthogonal":
        z = orthogonal_start(form, kind, probes[..., :rank], gain)
    if start == "svp":
        rate = ops.full_like(gain, WARM_RATE)
        begin, step, _ = hard_thresholding(form, kind, y, weigh, probes, rank, rate)
        state = begin(probes[..., :rank])
        z = ops.fori_loop(0, WARM_STEPS, lambda i, state: step(state), state)["z"]
    return z, signs if kind == "indefinite" else None, spectrum
