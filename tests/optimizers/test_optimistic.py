"""Optimistic optimizers: the rule, its first step, games where it converges or not."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.optimizers import OptimisticAdam, OptimisticRMSprop, OptimisticSGD

PARENTS = {
    OptimisticSGD: keras.optimizers.SGD,
    OptimisticRMSprop: keras.optimizers.RMSprop,
    OptimisticAdam: keras.optimizers.Adam,
}
BASES = [
    (OptimisticSGD, {}),
    (OptimisticSGD, {"momentum": 0.9}),
    (OptimisticSGD, {"momentum": 0.5, "nesterov": True}),
    (OptimisticRMSprop, {}),
    (OptimisticRMSprop, {"momentum": 0.8, "rho": 0.95}),
    (OptimisticRMSprop, {"centered": True, "epsilon": 1e-3}),
    (OptimisticRMSprop, {"centered": True, "momentum": 0.5}),
    (OptimisticAdam, {}),
    (OptimisticAdam, {"beta_1": 0.0, "beta_2": 0.9, "epsilon": 1e-3}),
    (OptimisticAdam, {"amsgrad": True, "beta_2": 0.8}),
]


def name_of(value):
    return getattr(value, "__name__", None)


def gradients(steps, size=5):
    """Gradients of changing sign and size."""
    generator = np.random.default_rng(0)
    scale = np.exp(generator.normal(size=(steps, 1)))
    return scale * generator.normal(0.2, 1.0, (steps, size))


def trajectory(optimizer, gradients, dtype="float64"):
    """Every value of a variable, a row a step, that starts at 1."""
    w, rows = keras.Variable(np.ones(gradients.shape[1]), dtype=dtype), []
    optimizer.build([w])
    step = tf.function(lambda gradient: optimizer.apply([gradient], [w]))
    for gradient in gradients:
        step(tf.constant(gradient, dtype))
        rows.append(w.numpy())
    return np.array(rows)


@dataclasses.dataclass
class SGD:
    """Keras's direction, times its rate, in float64."""

    momentum: float = 0.0
    nesterov: bool = False
    velocity: float = 0.0

    def __call__(self, g, rate, t):
        self.velocity = self.momentum * self.velocity + rate * g
        return (
            self.momentum * self.velocity + rate * g
            if self.nesterov
            else (self.velocity)
        )


@dataclasses.dataclass
class RMSprop:
    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False
    square: float = 0.0
    mean: float = 0.0
    velocity: float = 0.0

    def __call__(self, g, rate, t):
        self.square = self.rho * self.square + (1 - self.rho) * g**2
        self.mean = self.rho * self.mean + (1 - self.rho) * g
        variance = self.square - self.centered * self.mean**2
        u = g / np.sqrt(variance + self.epsilon)
        self.velocity = self.momentum * self.velocity + rate * u
        return self.velocity


@dataclasses.dataclass
class Adam:
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False
    rounded: bool = False
    mean: float = 0.0
    square: float = 0.0
    largest: float = 0.0

    def __call__(self, g, rate, t):
        self.mean = self.beta_1 * self.mean + (1 - self.beta_1) * g
        self.square = self.beta_2 * self.square + (1 - self.beta_2) * g**2
        self.largest = np.maximum(self.largest, self.square)
        root = np.sqrt(self.largest if self.amsgrad else self.square)
        # Keras's own bias correction holds its betas in float32, whatever the dtype.
        kind = np.float32 if self.rounded else np.float64
        beta_1, beta_2 = float(kind(self.beta_1)), float(kind(self.beta_2))
        correction = np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        return rate * correction * self.mean / (root + self.epsilon)


TRUTH = {OptimisticSGD: SGD, OptimisticRMSprop: RMSprop, OptimisticAdam: Adam}


def reference(rule, rates, gradients, optimism, version="update"):
    """The rule of Daskalakis et al. on top of any rule for the direction."""
    w, rows = np.ones(gradients.shape[1]), []
    last_g, last_u, last_rate = gradients[0], None, None
    classical = getattr(rule, "momentum", 0) > 0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        if version == "gradient":
            ahead, last_g = (1 + optimism) * g - optimism * last_g, g
            w = w - rule(ahead, rate, t)
        else:
            u = rule(g, rate, t)
            last = u if last_u is None else last_u
            if last_rate and not classical:
                last = last * rate / last_rate
            w = w - (1 + optimism) * u + optimism * last
            last_u, last_rate = u, rate
        rows.append(w)
    return np.array(rows)


VERSIONS = [
    (*base, version)
    for base in BASES
    for version in ("update", "gradient")
    if version == "update" or base[0] is not OptimisticSGD
]
every_base = pytest.mark.parametrize("cls, kwargs", BASES, ids=name_of)
every_version = pytest.mark.parametrize("cls, kwargs, version", VERSIONS, ids=name_of)


def versioned(cls, version):
    return {} if cls is OptimisticSGD else {"version": version}


def truth_of(cls, kwargs, version):
    """The direction; in the gradient version it is computed by Keras itself."""
    rounded = (
        {"rounded": True} if (cls, version) == (OptimisticAdam, "gradient") else {}
    )
    return TRUTH[cls](**kwargs, **rounded)


@every_version
def test_it_follows_the_rule_in_float64(cls, kwargs, version):
    g, rate = gradients(200), 2.0**-6
    optimizer = cls(rate, optimism=0.3, **kwargs, **versioned(cls, version))
    truth = reference(truth_of(cls, kwargs, version), [rate] * 200, g, 0.3, version)
    np.testing.assert_allclose(trajectory(optimizer, g), truth, rtol=0, atol=1e-11)


@every_version
def test_it_follows_the_rule_under_a_schedule(cls, kwargs, version):
    g, rates = gradients(200), [2.0**-6] * 50 + [2.0**-8] * 100 + [2.0**-5] * 50
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        [49, 149], [rates[0], rates[50], rates[150]]
    )
    optimizer = cls(schedule, **kwargs, **versioned(cls, version))
    truth = reference(truth_of(cls, kwargs, version), rates, g, 1.0, version)
    np.testing.assert_allclose(trajectory(optimizer, g), truth, rtol=0, atol=1e-11)


@every_version
def test_the_first_step_is_a_plain_one(cls, kwargs, version):
    g = gradients(1)
    optimizer = cls(0.125, optimism=3.0, **kwargs, **versioned(cls, version))
    plain = trajectory(PARENTS[cls](0.125, **kwargs), g)
    np.testing.assert_allclose(trajectory(optimizer, g), plain, rtol=2e-6)


@every_version
def test_no_optimism_is_the_keras_optimizer_bit_for_bit(cls, kwargs, version):
    g = gradients(120)
    optimizer = cls(optimism=0, **kwargs, **versioned(cls, version))
    ours = trajectory(optimizer, g, "float32")
    plain = PARENTS[cls](**kwargs)
    np.testing.assert_array_equal(ours, trajectory(plain, g, "float32"))
    assert len(optimizer.variables) == len(plain.variables)


@every_base
def test_arguments_and_defaults_are_those_of_keras(cls, kwargs):
    own = {"name", "optimism", "version"}
    ours, theirs = (
        {key: value for key, value in one.get_config().items() if key not in own}
        for one in (cls(**kwargs), PARENTS[cls](**kwargs))
    )
    assert ours == theirs


@every_base
def test_momentum_needs_no_slot_beyond_that_of_keras(cls, kwargs):
    optimizers = cls(**kwargs), PARENTS[cls](**kwargs)
    for optimizer in optimizers:
        optimizer.build([keras.Variable(np.ones(3))])
    ours, theirs = (len(optimizer.variables) for optimizer in optimizers)
    kept = kwargs.get("momentum", 0) > 0 and not kwargs.get("nesterov")
    assert ours == theirs + (not kept)


def distances(optimizer, steps, start=(1.0, 2.0)):
    """Distances from the equilibrium of the game `x * y`, both players at once."""
    x, y = (keras.Variable(value, dtype="float64") for value in start)
    optimizer.build([x, y])

    step = tf.function(lambda *slopes: optimizer.apply(list(slopes), [x, y]))
    rows = []
    for _ in range(steps):
        step(y + 0.0, -x)
        rows.append(np.hypot(x.numpy(), y.numpy()))
    return np.array(rows)


def steps_to(distances, bound=1e-6):
    """The first step, from 1, after which all distances are below `bound`."""
    return int(np.max(np.flatnonzero(distances >= bound), initial=-1)) + 2


def test_optimism_solves_the_bilinear_game_in_53_steps():
    assert steps_to(distances(OptimisticSGD(0.5), 100)) <= 53


def test_the_last_gradient_lags_one_step_not_two():
    # 2 g_t - g_{t-2} diverges here.
    assert steps_to(distances(OptimisticSGD(0.4), 200)) <= 134


def test_the_bilinear_game_is_stable_below_one_over_root_three():
    assert distances(OptimisticSGD(0.57), 1000)[-1] < 1e-6
    assert distances(OptimisticSGD(0.6), 1000)[-1] > 1e6
    assert distances(OptimisticSGD(0.5, optimism=0.0), 100)[-1] > 1e4


def test_adam_needs_more_optimism_than_one_step_in_the_bilinear_game():
    assert distances(OptimisticAdam(1e-2), 4096)[-1] > 1
    far_sighted = OptimisticAdam(1e-2, beta_1=0.5, optimism=10.0)
    assert distances(far_sighted, 4096)[-1] < 1e-12


def test_the_last_gradient_is_kept_by_value():
    w, held = keras.Variable([1.0, 1.0]), tf.Variable([4.0, 4.0])
    optimizer = OptimisticSGD(0.5)
    optimizer.apply([held], [w])
    held.assign([0.0, 2.0])
    optimizer.apply([held], [w])
    np.testing.assert_array_equal(w, [-1 - 0.5 * -4, -1 - 0.5 * (2 * 2 - 4)])


@every_base
@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_variable_without_gradient_rests_and_the_others_go_on(cls, kwargs):
    g = tf.constant(gradients(6), "float32")
    rests, moves, other = (
        keras.Variable(np.ones(5, "float32"), name=name)
        for name in ("rests", "moves", "other")
    )
    optimizer, alone = cls(0.125, **kwargs), cls(0.125, **kwargs)
    optimizer.build([rests, moves])
    optimizer.apply([g[0], g[0]], [rests, moves])
    still = [rests, *(slot for slot in optimizer.variables if "rests" in slot.name)]
    assert len(still) > 1
    before = [variable.numpy() for variable in still]
    for gradient in g[1:]:
        optimizer.apply([None, gradient], [rests, moves])
    np.testing.assert_array_equal([variable.numpy() for variable in still], before)
    for gradient in g:
        alone.apply([gradient], [other])
    np.testing.assert_array_equal(moves, other)


@pytest.mark.parametrize("cls", PARENTS)
def test_bad_arguments_are_refused(cls):
    for rate in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"`learning_rate`.*learning_rate={rate}"):
            cls(rate)
    for optimism in (-1, float("nan"), float("inf"), "1", True, None):
        with pytest.raises(ValueError, match=f"`optimism` must.*={optimism!r}$"):
            cls(optimism=optimism)
    if cls is not OptimisticSGD:
        with pytest.raises(ValueError, match=r"`version` must be one of.*='paper'"):
            cls(version="paper")
