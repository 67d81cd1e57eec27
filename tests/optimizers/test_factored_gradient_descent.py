"""Factored gradient descent: its rules in NumPy, and steps on sensing problems."""

import functools
import itertools
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.data import low_rank_matrix
from zoo.optimizers import FactoredGradientDescent
from zoo.optimizers.factored_gradient_descent import balance_gradient

ROOT = pathlib.Path(zoo.__file__).parents[1]


def norm(x):
    return np.linalg.norm(x, 2)


def reference(factor, slope, steps, left_rows=None, momentum=0.0, **options):
    """The iterates, by inverses and singular values."""
    option = {"restart": True, "balance": 0.0, "smoothness": 1.0, "damping": 1.0}
    option.update(options)
    cut, stacked = left_rows or len(factor), left_rows is not None
    before, least, iterates = np.zeros_like(factor), np.inf, []
    for _ in range(steps):
        gradient = slope(factor)
        u, v = factor[:cut], factor[cut:] if stacked else factor
        if option["balance"]:
            gap = u.T @ u - v.T @ v
            gradient = gradient + 4 * option["balance"] * np.vstack([u @ gap, -v @ gap])
        bound = norm(gradient) / norm(factor) / (1 if stacked else 2)
        rate = option["learning_rate"]
        smoothness = option["smoothness"]
        if rate == "auto" and option.get("preconditioner"):
            rate = 0.5 / smoothness / (1 if stacked else 2)
        elif rate == "auto":
            size = norm(factor) ** 2 / 2 if stacked else norm(factor @ factor.T)
            least = min(least, 0.25 / (smoothness * size + bound))
            rate = least / (1 if stacked else 2)
        direction = gradient
        if option.get("preconditioner"):
            shift = 0.0
            if option["preconditioner"] == "damped":
                shift = option["damping"] * bound / smoothness
            eye = np.eye(factor.shape[1])
            direction = gradient[:cut] @ np.linalg.inv(v.T @ v + shift * eye)
            if stacked:
                other = gradient[cut:] @ np.linalg.inv(u.T @ u + shift * eye)
                direction = np.vstack([direction, other])
        # The papers' form: U is where a plain step from Z ends.
        ahead = factor - rate * direction
        change = momentum * before - rate * direction
        if option["restart"] and np.sum(gradient * change) > 0:
            change = np.zeros_like(change)
        factor, before = ahead + momentum * change, change
        if option.get("projection"):
            limit = option["radius"] * (2 if stacked else 1)
            factor = factor * min(1, np.sqrt(limit) / np.linalg.norm(factor))
        iterates.append(factor)
    return iterates


def slope_psd(truth, factor):
    """Of `|U U^T - X|_F^2 / 2`."""
    return 2 * (factor @ factor.T - truth) @ factor


def slope_stack(truth, factor):
    u, v = factor[: len(truth)], factor[len(truth) :]
    residual = u @ v.T - truth
    return np.vstack([residual @ v, residual.T @ u])


def small_problem(left_rows):
    """A start, and the gradient, of an approximation of a matrix of full rank."""
    generator = np.random.default_rng(0)
    if left_rows is None:
        square = generator.normal(size=(6, 6))
        return generator.normal(size=(6, 2)) / 2, functools.partial(
            slope_psd, square @ square.T / 24
        )
    truth = generator.normal(size=(left_rows, 4)) / 2
    return generator.normal(size=(left_rows + 4, 2)), functools.partial(
        slope_stack, truth
    )


def run(optimizer, start, slope, steps, dtype="float64"):
    factor = keras.Variable(start, dtype=dtype)
    optimizer.build([factor])
    step = tf.function(lambda gradient: optimizer.apply([gradient], [factor]))
    iterates = []
    for _ in range(steps):
        step(tf.constant(slope(factor.numpy()), dtype))
        iterates.append(factor.numpy())
    return iterates


OPTIONS = [
    {"learning_rate": 0.0625},
    {"learning_rate": 0.0625, "momentum": 0.5},
    {"learning_rate": 0.0625, "momentum": 0.9},
    {"learning_rate": 0.0625, "momentum": 0.9, "restart": False},
    {"learning_rate": "auto"},
    {"learning_rate": "auto", "momentum": 0.9, "smoothness": 2.0},
    {"learning_rate": 0.125, "preconditioner": "scaled"},
    {"learning_rate": 0.125, "preconditioner": "damped", "damping": 0.5},
    {"learning_rate": "auto", "preconditioner": "damped", "smoothness": 2.0},
    {"learning_rate": "auto", "preconditioner": "scaled", "momentum": 0.3},
    {"learning_rate": 0.0625, "projection": "trace_ball", "radius": 0.7},
]
STACKED = [{"left_rows": 5, **options} for options in OPTIONS] + [
    {"left_rows": 5, "learning_rate": 0.0625, "balance": 0.1},
    {"left_rows": 5, "learning_rate": "auto", "balance": 0.1, "momentum": 0.5},
]


@pytest.mark.parametrize("options", [*OPTIONS, *STACKED], ids=str)
def test_every_option_in_float64(options):
    start, slope = small_problem(options.get("left_rows"))
    ours = run(FactoredGradientDescent(**options), start, slope, 40)
    np.testing.assert_allclose(ours, reference(start, slope, 40, **options), rtol=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_without_restart_it_is_nesterov_sgd(momentum):
    generator = np.random.default_rng(0)
    start = generator.normal(size=(6, 2))
    slopes = generator.normal(size=(50, 6, 2)).astype("float32")
    ends = []
    for optimizer in (
        FactoredGradientDescent(0.0625, momentum, restart=False),
        keras.optimizers.SGD(0.0625, momentum, nesterov=True),
    ):
        given = iter(slopes)
        ends.append(run(optimizer, start, lambda _, g=given: next(g), 50, "float32"))
    np.testing.assert_allclose(*ends, rtol=1e-6, atol=1e-7)


def test_the_papers_eta_is_twice_the_learning_rate():
    start, slope = small_problem(None)
    ours = run(FactoredGradientDescent(0.0625, 0.5, restart=False), start, slope, 30)
    eta, z, u = 0.125, start, start
    for iterate in ours:
        ahead = z - eta * slope(z) / 2
        z, u = ahead + 0.5 * (ahead - u), ahead
        np.testing.assert_allclose(iterate, z, rtol=1e-10)


def sensing(n, rank, m, kappa, symmetric=True, scale=1.0, gain=1.0, seed=0):
    """Gaussian matrices `[m, n * n]`, and a matrix of low rank."""
    generator = np.random.default_rng(seed)
    matrices = generator.normal(size=(m, n, n)) * (gain / np.sqrt(m))
    kind = "psd" if symmetric else "general"
    factors = low_rank_matrix((n, n), rank, kappa, kind, seed=1)
    u, v = (factors, factors) if symmetric else factors
    if symmetric:
        matrices = (matrices + matrices.transpose(0, 2, 1)) / 2
    return matrices.reshape(m, -1), scale * u @ v.T


def orthogonal(rows, rank, gain=1e-2):
    return gain * np.linalg.qr(np.random.default_rng(2).normal(size=(rows, rank)))[0]


def spectral(matrices, truth, rank, symmetric=True):
    start = (matrices @ truth.ravel() @ matrices).reshape(truth.shape)
    left, values, right = np.linalg.svd(start)
    u, v = left[:, :rank], right[:rank].T
    roots = np.sqrt(values[:rank])
    return u * roots if symmetric else np.vstack([u * roots, v * roots])


def count_steps(
    matrices, truth, start, most=1500, tolerance=1e-6, dtype="float64", **options
):
    """The steps to a relative error, or infinity; all within one graph."""
    n, cut = len(truth), options.get("left_rows")
    factor = keras.Variable(start, dtype=dtype)
    optimizer = FactoredGradientDescent(**options)
    optimizer.build([factor])
    a, x = tf.constant(matrices, dtype), tf.constant(truth, dtype)
    y = tf.linalg.matvec(a, tf.reshape(x, [-1]))

    def product():
        u, v = (factor[:cut], factor[cut:]) if cut else (factor[:], factor[:])
        return u, v, tf.matmul(u, v, transpose_b=True)

    @tf.function
    def solve():
        steps, error = 0, tf.constant(1.0, dtype)
        while steps < most and error > tolerance:
            u, v, xs = product()
            e = tf.linalg.matvec(a, tf.reshape(xs, [-1])) - y
            g = tf.reshape(tf.linalg.matvec(a, e, transpose_a=True), [n, n])
            slope = 2 * tf.matmul(g, u)
            if cut:
                slope = tf.concat([tf.matmul(g, v), tf.matmul(g, u, True)], 0)
            optimizer.apply([slope], [factor])
            error = tf.norm(product()[2] - x) / tf.norm(x)
            steps += 1
        return steps, error

    steps, error = solve()
    return int(steps) if error <= tolerance else np.inf


@pytest.mark.parametrize(
    ("start", "options", "published"),
    [
        ("orthogonal", {"learning_rate": 0.05}, 625),
        ("orthogonal", {"learning_rate": 0.05, "momentum": 0.5}, 308),
        ("orthogonal", {"learning_rate": 0.05, "momentum": 0.75}, 121),
        ("orthogonal", {"learning_rate": 0.15, "momentum": 0.5}, 97),
        ("spectral", {"learning_rate": 0.25, "preconditioner": "scaled"}, 61),
    ],
)
def test_steps_on_64x64_matrices(start, options, published):
    """Counts of another program on its draw; between draws they vary by a tenth."""
    matrices, truth = sensing(64, 2, 640, 1.3, seed=4)
    starts = {
        "orthogonal": orthogonal(64, 2),
        "spectral": spectral(matrices, truth, 2),
    }
    steps = count_steps(matrices, truth, starts[start], restart=False, **options)
    assert abs(steps / published - 1) < 0.1


def test_restarts_spare_large_momentum_nearly_half_its_steps():
    problem = *sensing(64, 2, 640, 1.3), orthogonal(64, 2)
    with_restarts, without = (
        count_steps(*problem, learning_rate=0.15, momentum=0.9, restart=restart)
        for restart in (True, False)
    )
    assert with_restarts <= 0.6 * without


def test_preconditioned_steps_depend_neither_on_condition_nor_on_balance():
    counts = []
    for kappa in (1, 10, 100):
        matrices, truth = sensing(40, 4, 800, kappa, symmetric=False)
        start = spectral(matrices, truth, 4, symmetric=False)
        tilted = np.vstack([8 * start[:40], start[40:] / 8])
        even, uneven = (
            count_steps(matrices, truth, one, left_rows=40, preconditioner="scaled")
            for one in (start, tilted)
        )
        assert abs(uneven / even - 1) <= 0.05
        counts.append(even)
    assert max(counts) <= 1.1 * counts[0]
    plain = count_steps(matrices, truth, start, 2 * max(counts), left_rows=40)
    assert plain == np.inf


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("gain", [0.03, 30.0])
def test_the_automatic_rate_knows_no_units(momentum, scale, gain):
    """Nor does it need a start of the right size."""
    options = {"momentum": momentum, "most": 600}
    problem = sensing(32, 2, 500, 2.0)
    truth = count_steps(*problem, orthogonal(32, 2), **options)
    assert truth < 400
    matrices, x = sensing(32, 2, 500, 2.0, scale=scale, gain=gain)
    start, options["smoothness"] = orthogonal(32, 2), gain**2
    scaled = count_steps(matrices, x, start * np.sqrt(scale), **options)
    assert abs(scaled - truth) <= 1
    assert count_steps(matrices, x, start, **options) <= 1.5 * truth


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("preconditioner", [None, "damped"])
def test_the_automatic_rate_converges_in_float32(symmetric, preconditioner):
    matrices, truth = sensing(32, 2, 500, 2.0, symmetric)
    steps = count_steps(
        matrices,
        truth,
        orthogonal(32 if symmetric else 64, 2),
        tolerance=3e-6,
        dtype="float32",
        momentum=0.0 if preconditioner else 0.9,
        left_rows=None if symmetric else 32,
        preconditioner=preconditioner,
    )
    assert steps < 250


def test_one_measurement_at_a_random_start_would_be_far_too_long():
    n = 400
    x = low_rank_matrix((n, n), 1)
    slope = functools.partial(slope_psd, x @ x.T)
    optimizer = FactoredGradientDescent()
    start = orthogonal(n, 1)
    run(optimizer, start, slope, 1)
    first = float(optimizer.measured_rates[0])
    # Plain steps diverge where 2 * learning_rate > 1, with `|X|_2 = 1`.
    assert 2 * first > 2
    optimizer = FactoredGradientDescent()
    iterates = run(optimizer, start, slope, 150)
    assert norm(iterates[-1] @ iterates[-1].T - x @ x.T) < 1e-8
    assert 2 * float(optimizer.measured_rates[0]) < 0.25
    lengths = [norm(b - a) / norm(a) for a, b in itertools.pairwise(iterates)]
    assert max(lengths) <= 0.25 + 1e-12


def test_damping_survives_a_rank_that_is_too_large():
    matrices, truth = sensing(40, 2, 800, 2.0)
    counts = [
        count_steps(matrices, truth, orthogonal(40, 4), 400, preconditioner=one)
        for one in ("damped", None)
    ]
    assert counts[0] < 200
    assert counts[1] == np.inf


def test_the_balancing_term_is_the_gradient_that_it_says():
    generator = np.random.default_rng(0)
    factor = generator.normal(size=(7, 2))
    u, v = tf.constant(factor[:4]), tf.constant(factor[4:])
    with tf.GradientTape() as tape:
        tape.watch([u, v])
        gap = tf.matmul(u, u, True) - tf.matmul(v, v, True)
        loss = tf.reduce_sum(gap**2)
    truth = np.concatenate(tape.gradient(loss, [u, v]))
    np.testing.assert_allclose(balance_gradient(u, v), truth, rtol=1e-12)


def test_balancing_rescues_a_start_of_unequal_factors():
    matrices, truth = sensing(24, 2, 300, 1.3, symmetric=False)
    start = spectral(matrices, truth, 2, symmetric=False)
    start = np.vstack([8 * start[:24], start[24:] / 8])
    options = {"learning_rate": 0.02, "left_rows": 24, "tolerance": 0.05}
    plain = count_steps(matrices, truth, start, **options)
    balanced = count_steps(matrices, truth, start, balance=1 / 16, **options)
    assert balanced < plain


def test_the_trace_ball_holds_every_iterate_and_leaves_its_inside_alone():
    start, slope = small_problem(None)
    inside = run(FactoredGradientDescent(0.0625), start / 3, slope, 20)
    wide = FactoredGradientDescent(0.0625, projection="trace_ball", radius=99.0)
    np.testing.assert_array_equal(run(wide, start / 3, slope, 20), inside)
    tight = FactoredGradientDescent(0.0625, projection="trace_ball", radius=0.25)
    squares = np.sum(np.square(run(tight, start, slope, 20)), axis=(1, 2))
    np.testing.assert_allclose(squares, 0.25, rtol=1e-12)
    start, slope = small_problem(5)
    tight = FactoredGradientDescent(
        0.05, projection="trace_ball", radius=0.25, left_rows=5
    )
    for factor in run(tight, start, slope, 20):
        values = np.linalg.svd(factor[:5] @ factor[5:].T, compute_uv=False)
        assert values.sum() <= 0.25 + 1e-12


def shrink(optimizer, variable):
    optimizer.apply([2 * variable.value], [variable])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("preconditioner", [None, "scaled", "damped"])
@pytest.mark.parametrize("left_rows", [None, 30])
def test_factors_without_full_rank_stay_finite(dtype, preconditioner, left_rows):
    column = np.random.default_rng(0).normal(size=(70, 1))
    for factor in (np.zeros((70, 3)), np.repeat(column, 3, axis=1)):
        variable = keras.Variable(factor, dtype=dtype)
        optimizer = FactoredGradientDescent(
            preconditioner=preconditioner, left_rows=left_rows
        )
        optimizer.build([variable])
        # A gradient G U has the factor's null space.
        step = functools.partial(shrink, optimizer, variable)
        for jit_compile in (False, True) if dtype == "float32" else (False,):
            tf.function(step, jit_compile=jit_compile)()
            assert np.isfinite(np.asarray(variable.numpy(), "float64")).all()


def model(**options):
    keras.utils.set_random_seed(0)
    layer = zoo.layers.LowRankMatrix((6, 6), 2, initializer="orthogonal")
    model = keras.Sequential([keras.Input((6,)), layer])
    model.compile(FactoredGradientDescent(**options), "mse", jit_compile=False)
    return model


def train(model, epochs):
    x = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
    model.fit(x, x[:, ::-1], batch_size=32, epochs=epochs, shuffle=False, verbose=0)
    return model.get_weights()


@pytest.mark.parametrize("preconditioner", [None, "scaled", "damped"])
def test_gradients_that_are_not_finite_end_in_the_weights(preconditioner):
    """Where `keras.callbacks.TerminateOnNaN` finds them, as with other optimizers."""
    factor = keras.Variable(np.eye(4, 2))
    optimizer = FactoredGradientDescent("auto", preconditioner=preconditioner)
    for value in (1.0, np.nan, 1.0):
        optimizer.apply([np.full((4, 2), value, "float32")], [factor])
    assert np.isnan(np.asarray(factor)).all()


@pytest.mark.parametrize("preconditioner", [None, "damped"])
def test_what_was_measured_is_saved_with_the_model(tmp_path, preconditioner):
    options = {"momentum": 0.5, "preconditioner": preconditioner}
    trained = model(**options)
    train(trained, 3)
    trained.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    config = loaded.optimizer.get_config()
    assert config == trained.optimizer.get_config()
    assert config["learning_rate"] == "auto"
    np.testing.assert_array_equal(train(loaded, 3), train(trained, 3))
    if preconditioner is None:
        assert 0 < float(loaded.optimizer.measured_rates[0]) < np.inf


def test_callbacks_change_a_factor_of_the_automatic_rate():
    start, slope = small_problem(None)
    whole, half = FactoredGradientDescent(), FactoredGradientDescent()
    half.learning_rate = 0.5
    (a,), (b,) = (run(optimizer, start, slope, 1) for optimizer in (whole, half))
    np.testing.assert_allclose(a - start, 2 * (b - start), rtol=1e-6)


def test_matrices_are_measured_one_by_one():
    generator = np.random.default_rng(0)
    variables = [keras.Variable(generator.normal(size=(n, 2))) for n in (3, 5)]
    optimizer = FactoredGradientDescent()
    optimizer.build(variables)
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([10 * variables[0], None], variables)
    first, other = map(float, optimizer.measured_rates)
    assert first < 1 and other == np.inf


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"learning_rate": -1.0}, "`learning_rate` must be a finite float from 0 up"),
        ({"learning_rate": "fast"}, "`learning_rate` should be float"),
        ({"momentum": 1.5}, "`momentum` must be a float between [0, 1]"),
        ({"momentum": -0.5}, "`momentum` must be a float between [0, 1]"),
        ({"left_rows": 0}, "`left_rows` must be None or an int from 1 up"),
        ({"left_rows": 2.0}, "`left_rows` must be None or an int from 1 up"),
        ({"left_rows": True}, "`left_rows` must be None or an int from 1 up"),
        ({"preconditioner": "adam"}, "`preconditioner` must be one of"),
        ({"damping": -1.0}, "`damping` must be a finite number from 0 up"),
        ({"balance": 1.0}, "`balance` needs `left_rows`"),
        ({"projection": "ball"}, "`projection` must be one of"),
        ({"radius": 0.0}, "`radius` must be a finite number above 0"),
        ({"smoothness": float("nan")}, "`smoothness` must be a finite number above 0"),
        ({"step_constant": 0}, "`step_constant` must be a finite number above 0"),
        ({"weight_decay": 0.1}, "`weight_decay` needs a `learning_rate` other than"),
    ],
)
def test_mistakes_end_in_one_line(kwargs, words):
    with pytest.raises(ValueError) as caught:
        FactoredGradientDescent(**kwargs)
    assert words in str(caught.value)


def test_what_is_no_factor_is_refused_by_name():
    bias = keras.Variable(np.zeros(3), name="bias")
    with pytest.raises(ValueError, match=r"must be a matrix.*bias of shape \(3,\)"):
        FactoredGradientDescent().build([bias])
    factor = keras.Variable(np.zeros((3, 2)), name="factor")
    with pytest.raises(ValueError, match=r"`left_rows` must be less.*factor of shape"):
        FactoredGradientDescent(left_rows=3).build([factor])


JAX = """
import sys
import jax, keras, numpy as np
from zoo.optimizers import FactoredGradientDescent

assert keras.backend.backend() == "jax"
with np.load(sys.argv[1]) as file:
    start, truth = file["start"], file["truth"]
for name, options in (
    ("plain", {"momentum": 0.5}),
    ("scaled", {"preconditioner": "scaled"}),
    ("damped", {"preconditioner": "damped"}),
):
    optimizer, factor = FactoredGradientDescent(**options), keras.Variable(start)
    optimizer.build([factor])
    step = jax.jit(optimizer.stateless_apply)
    weights = [factor.value]
    state = [variable.value for variable in optimizer.variables]
    for _ in range(20):
        u = weights[0]
        weights, state = step(state, [2 * (u @ u.T - truth) @ u], weights)
    np.save(sys.argv[1].replace("npz", name + ".npy"), weights[0])
"""
REPLICAS = """
import sys
import keras, numpy as np, tensorflow as tf
import zoo.layers
from zoo.optimizers import FactoredGradientDescent

cpu = tf.config.list_physical_devices("CPU")[0]
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, halves)
x = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
ends = []
for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(
    ["CPU:0", "CPU:1"]
)):
    with strategy.scope():
        identity = keras.initializers.Identity(0.5)
        layer = zoo.layers.LowRankMatrix((6, 6), 2, initializer=identity)
        model = keras.Sequential([keras.Input((6,)), layer])
        model.compile(FactoredGradientDescent(momentum=0.5), "mse")
        model.fit(x, x[:, ::-1], batch_size=16, epochs=3, shuffle=False, verbose=0)
    ends.append([model.get_weights()[0], model.optimizer.measured_rates[0].numpy()])
for one, other in zip(*ends):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
"""


def in_fresh_process(script, *arguments, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_jax_takes_the_same_automatic_steps(tmp_path):
    start, slope = small_problem(None)
    truth = -slope(np.eye(6)) / 2 + np.eye(6)
    path = tmp_path / "problem.npz"
    np.savez(path, start=start.astype("float32"), truth=truth.astype("float32"))
    in_fresh_process(JAX, str(path), KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
    for name, options in (
        ("plain", {"momentum": 0.5}),
        ("scaled", {"preconditioner": "scaled"}),
        ("damped", {"preconditioner": "damped"}),
    ):
        ours = run(FactoredGradientDescent(**options), start, slope, 20)[-1]
        theirs = np.load(tmp_path / f"problem.{name}.npy")
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


def test_replicas_measure_as_one_device_does():
    in_fresh_process(REPLICAS)


def test_config_round_trip():
    optimizer = FactoredGradientDescent(
        momentum=0.5, restart=False, left_rows=3, preconditioner="damped", damping=2.0,
        balance=0.5, projection="trace_ball", radius=2.0, smoothness=3.0,
        step_constant=0.0625, clipnorm=1.0, use_ema=True,
    )  # fmt: skip
    config = json.loads(json.dumps(optimizer.get_config()))
    assert FactoredGradientDescent.from_config(config).get_config() == config
