"""Quantum state tomography: density matrices from expectations of Pauli strings."""

import dataclasses
from typing import Any

import numpy as np

from zoo._types import Array
from zoo.layers.sensing import PauliSensing
from zoo.solvers.matrix_sensing.result import SensingResult
from zoo.solvers.matrix_sensing.solve import solve


def tomography(
    operator: PauliSensing,
    expectations: Array,
    rank: int = 1,
    method: str = "cg",
    **kwargs: Any,
) -> SensingResult:
    """Recovers a density matrix of low rank from expectations of Pauli strings.

    `y_i = tr(P_i rho)`, with `rho = U U^H` and `tr rho = 1`

    `solve` finds `rho`; what is added here is that its trace is made 1, after the
    residual was taken. A state of full rank is found only if the identity is among the
    strings, for no other measures a multiple of it. Expectations
    that were estimated from a finite number of shots are made by
    `zoo.data.measure_shots`; `zoo.metrics.fidelity` compares with a known state.

    Args:
        operator: a `zoo.layers.sensing.PauliSensing`.
        expectations: `[..., m]`, between -1 and 1.
        rank: int, 1 for a pure state. Defaults to 1.
        method: as for `solve`. Defaults to `"cg"`.
        **kwargs: what else `solve` takes.

    Returns:
        A `SensingResult` with complex factors: `rho` is `left right^T`, with `right`
        the conjugate of `left`.

    Raises:
        ValueError: the operator is not Hermitian, an expectation lies outside [-1, 1],
            or as `solve` does.

    Example:

    >>> from zoo.data import random_state
    >>> from zoo.layers.sensing import PauliSensing, to_stacked
    >>> from zoo.metrics import fidelity
    >>> state = random_state(6)
    >>> operator = PauliSensing.random(6, 819)  # 20 % of all strings
    >>> expectations = operator(to_stacked(state))
    >>> result = tomography(operator, expectations)
    >>> bool(fidelity(result.left, state) > 0.99)
    True

    Reference:

    - Liu, 2011, "Universal low-rank matrix recovery from Pauli measurements",
      [arXiv:1103.2816](https://arxiv.org/abs/1103.2816)
    - Kim et al., 2021, "Fast quantum state reconstruction via accelerated non-convex
      programming", [arXiv:2104.07006](https://arxiv.org/abs/2104.07006)
    """
    if not operator.hermitian:
        raise ValueError(
            "`operator` must be a `PauliSensing` or another that is Hermitian. "
            f"Received: operator of type {type(operator).__name__}"
        )
    outside = np.abs(np.asarray(expectations)) > 1 + 1e-6
    if outside.any():
        raise ValueError(
            "`expectations` must be between -1 and 1. Received: expectations with "
            f"{np.count_nonzero(outside)} values outside"
        )
    result = solve(operator, expectations, rank, method, **kwargs)
    trace = np.sum(np.abs(result.left) ** 2, axis=(-2, -1), keepdims=True)
    left = result.left / np.sqrt(trace)
    return dataclasses.replace(result, left=left, right=np.conj(left))
