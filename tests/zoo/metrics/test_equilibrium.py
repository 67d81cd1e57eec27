import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.metrics import duality_gap, nash_conv, utilities

PENNIES = np.array([[1.0, -1.0], [-1.0, 1.0]])


def random_case(actions, seed):
    generator = np.random.default_rng(seed)
    payoffs = generator.normal(size=(len(actions), *actions))
    return list(payoffs), [generator.dirichlet(np.ones(count)) for count in actions]


def expected(table, strategies):
    """By the sum over all outcomes."""
    total = 0.0
    for outcome in itertools.product(*map(range, table.shape)):
        chance = 1.0
        for strategy, action in zip(strategies, outcome, strict=True):
            chance *= strategy[action]
        total += chance * table[outcome]
    return total


def pure(action, count):
    return np.eye(count)[action]


@pytest.mark.parametrize("actions", [(2, 3), (4, 1), (2, 3, 4), (2, 2, 3, 2)])
def test_utilities_and_nash_conv_equal_brute_force(actions):
    payoffs, strategies = random_case(actions, seed=len(actions))
    gains = 0.0
    for i, utility in enumerate(utilities(payoffs, strategies)):
        truth = [
            expected(
                payoffs[i], [*strategies[:i], pure(a, actions[i]), *strategies[i + 1 :]]
            )
            for a in range(actions[i])
        ]
        np.testing.assert_allclose(utility, truth, rtol=0, atol=1e-14)
        gains += max(truth) - expected(payoffs[i], strategies)
    assert nash_conv(payoffs, strategies) == pytest.approx(gains, abs=1e-13)


@given(
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    shift=st.floats(-5, 5),
    scale=st.floats(0.1, 10),
)
@settings(max_examples=50)
def test_duality_gap_is_nash_conv_and_follows_units(rows, columns, seed, shift, scale):
    (payoff, _), (x, y) = random_case((rows, columns), seed)
    gap = duality_gap(payoff, x, y)
    assert gap >= -1e-14
    assert gap == pytest.approx(nash_conv([payoff, -payoff], [x, y]), abs=1e-13)
    assert duality_gap(scale * payoff + shift, x, y) == pytest.approx(
        scale * gap, abs=1e-12
    )
    # The players in each other's place.
    assert duality_gap(-payoff.T, y, x) == pytest.approx(gap, abs=1e-13)


def test_known_values():
    assert duality_gap(PENNIES, [0.5, 0.5], [0.5, 0.5]) == 0
    assert duality_gap(PENNIES, [1, 0], [0, 1]) == 2
    # All three of a coordination game agree, or one of them can mend it alone.
    agree = np.zeros((2, 2, 2))
    agree[0, 0, 0] = agree[1, 1, 1] = 1
    assert nash_conv([agree] * 3, [[1, 0]] * 3) == 0
    assert nash_conv([agree] * 3, [[1, 0], [1, 0], [0, 1]]) == 1


def test_takes_float32_probabilities_of_many_actions():
    weights = np.random.default_rng(0).uniform(size=5000).astype("float32")
    x = weights / weights.sum(dtype="float32")
    payoff = np.zeros((5000, 1))
    assert duality_gap(payoff, x, [1.0]) == 0


@pytest.mark.parametrize(
    ("payoffs", "message"),
    [
        ([PENNIES], "two players or more"),
        ([PENNIES, PENNIES[:1]], "one shape"),
        ([PENNIES[0], PENNIES[0]], "an axis for each"),
        ([PENNIES] * 3, "an axis for each"),
        ([np.zeros((2, 0))] * 2, "an action"),
        ([PENNIES, np.nan * PENNIES], "finite"),
        ([PENNIES, np.inf * PENNIES], "finite"),
    ],
)
def test_bad_payoffs_raise(payoffs, message):
    with pytest.raises(ValueError, match=f"`payoffs` must.*{message}.*Received"):
        nash_conv(payoffs, [[0.5, 0.5], [0.5, 0.5]])


@pytest.mark.parametrize(
    "strategies",
    [
        [[0.5, 0.5]],
        [[0.5, 0.5], [0.5, 0.25, 0.25]],
        [[0.5, 0.5], [[0.5, 0.5]]],
        [[0.5, 0.6], [0.5, 0.5]],
        [[1.5, -0.5], [0.5, 0.5]],
        [[np.nan, 0.5], [0.5, 0.5]],
    ],
)
def test_bad_strategies_raise(strategies):
    with pytest.raises(ValueError, match=r"`strategies` must.*Received"):
        nash_conv([PENNIES, -PENNIES], strategies)
    with pytest.raises(ValueError, match=r"`strategies` must.*Received"):
        duality_gap(PENNIES, strategies[0], (strategies[1:] or [[1]])[0])
