"""What every optimizer must do: one row an optimizer (or a way to set it up).

A new optimizer adds a row to `ROWS`; a test fails until it does.
"""

import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import zoo
import zoo.optimizers

ROOT = pathlib.Path(zoo.__file__).parents[1]
SHAPES = ((4, 3), (3,))
FACTORS = ((4, 3), (5, 3))


def simplex(shape):
    """Probabilities along the last axis."""
    return np.random.default_rng(0).dirichlet(np.ones(shape[-1]), shape[:-1])


@dataclasses.dataclass
class Row:
    """An optimizer; `simplex` where its variables hold probabilities."""

    cls: type
    kwargs: dict = dataclasses.field(default_factory=dict)
    shapes: tuple = SHAPES

    @property
    def simplex(self):
        return self.kwargs.get("geometry") == "entropic"

    def __str__(self):
        arguments = ",".join(f"{key}={value}" for key, value in self.kwargs.items())
        return f"{self.cls.__name__}({arguments})"

    def build(self, learning_rate=0.0625, **kwargs):
        return self.cls(learning_rate, **self.kwargs, **kwargs)

    def gradients(self, steps, seed=1):
        generator = np.random.default_rng(seed)
        return [
            [generator.normal(size=shape).astype("float32") for shape in self.shapes]
            for _ in range(steps)
        ]

    def variables(self, dtype="float32"):
        return variables(self.shapes, dtype)

    def model(self):
        """A compiled model, whose weights are on the simplex whatever the row."""
        quarter, third = (keras.initializers.Constant(1 / n) for n in (4, 3))
        model = keras.Sequential(
            [
                keras.Input((2,), dtype="int32"),
                keras.layers.Embedding(10, 4, embeddings_initializer=quarter),
                keras.layers.Flatten(),
                keras.layers.Dense(3, use_bias=False, kernel_initializer=third),
            ]
        )
        model.set_weights([simplex(weight.shape) for weight in model.get_weights()])
        model.compile(self.build(), "mse")
        return model


ROWS = [
    Row(zoo.optimizers.OptimisticSGD),
    Row(zoo.optimizers.OptimisticSGD, {"momentum": 0.5}),
    Row(zoo.optimizers.OptimisticSGD, {"momentum": 0.5, "nesterov": True}),
    Row(zoo.optimizers.OptimisticRMSprop),
    Row(zoo.optimizers.OptimisticRMSprop, {"momentum": 0.5, "centered": True}),
    Row(zoo.optimizers.OptimisticRMSprop, {"version": "gradient", "optimism": 0.5}),
    Row(zoo.optimizers.OptimisticAdam),
    Row(zoo.optimizers.OptimisticAdam, {"amsgrad": True, "beta_1": 0.0}),
    Row(zoo.optimizers.OptimisticAdam, {"version": "gradient", "optimism": 0.5}),
    Row(zoo.optimizers.MirrorDescent, {"geometry": "entropic"}),
    Row(zoo.optimizers.MirrorDescent, {"geometry": "euclidean"}),
    Row(zoo.optimizers.OptimisticMirrorDescent, {"geometry": "entropic"}),
    Row(zoo.optimizers.OptimisticMirrorDescent, {"geometry": "euclidean"}),
    Row(
        zoo.optimizers.FactoredGradientDescent,
        {"momentum": 0.5, "preconditioner": "damped"},
        FACTORS,
    ),
    Row(
        zoo.optimizers.FactoredGradientDescent,
        {"left_rows": 2, "balance": 0.1, "projection": "trace_ball"},
        FACTORS,
    ),
]
every_row = pytest.mark.parametrize("row", ROWS, ids=str)
# Replicas are slow to start; what differs between rows of a class does not meet them.
MIRRORED = list({(row.cls, row.simplex): row for row in ROWS}.values())
mirrored_rows = pytest.mark.parametrize("row", MIRRORED, ids=str)
decaying_rows = pytest.mark.parametrize(
    "row", [row for row in ROWS if not row.simplex], ids=str
)


def variables(shapes, dtype="float32"):
    return [keras.Variable(simplex(shape), dtype=dtype) for shape in shapes]


def values(variables):
    return [ops.convert_to_numpy(variable.value) for variable in variables]


def run(optimizer, gradients, wrap=lambda function, variables: function):
    """The values of the variables after every step."""
    moved, rows = variables([gradient.shape for gradient in gradients[0]]), []
    optimizer.build(moved)

    def apply(*gradients):
        optimizer.apply(list(gradients), moved)

    step = wrap(apply, [*moved, *optimizer.variables])
    for gradient in gradients:
        step(*map(ops.convert_to_tensor, gradient))
        rows.append(values(moved))
    return rows


def assert_close(one, other, **tolerances):
    tolerances = tolerances or {"rtol": 1e-5, "atol": 1e-6}
    pairs = zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, **tolerances)


def assert_equal(one, other):
    pairs = zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)


def public_optimizers():
    things = [getattr(zoo.optimizers, name) for name in zoo.optimizers.__all__]
    return {
        thing
        for thing in things
        if isinstance(thing, type) and issubclass(thing, keras.optimizers.Optimizer)
    }


def test_every_public_optimizer_has_a_row():
    assert public_optimizers() == {row.cls for row in ROWS}


@every_row
def test_config_makes_an_equal_optimizer(row):
    optimizer = row.build(clipnorm=1.0, use_ema=True, ema_momentum=0.5, name="mine")
    config = json.loads(json.dumps(optimizer.get_config()))
    revived = row.cls.from_config(dict(config))
    assert revived.get_config() == optimizer.get_config() == config
    assert set(vars(revived)) == set(vars(optimizer))
    assert config.items() >= row.kwargs.items()


@every_row
def test_numbers_of_numpy_do_as_those_of_python(row, compiled):
    def of_numpy(value):
        kinds = {float: np.float64, int: np.int64}
        return kinds.get(type(value), lambda same: same)(value)

    config, steps = row.build().get_config(), row.gradients(2)
    given = {name: of_numpy(value) for name, value in config.items()}
    ours = run(row.cls.from_config(given), steps, compiled)
    assert_equal(ours, run(row.build(), steps, compiled))


@every_row
def test_registered_under_zoo(row):
    name = keras.saving.get_registered_name(row.cls)
    assert name == f"zoo>{row.cls.__name__}"


@every_row
def test_eager_graph_and_xla_agree(row, compiled):
    steps = row.gradients(20)
    eager = run(row.build(), steps)
    assert_close(run(row.build(), steps, compiled), eager)
    xla = functools.partial(compiled, jit=True)
    assert_close(run(row.build(), steps, xla), eager)


@every_row
def test_slots_have_the_dtype_of_their_variable(row):
    optimizer, moved = row.build(), row.variables("float64")
    optimizer.build(moved)
    optimizer.apply(list(map(ops.convert_to_tensor, row.gradients(1)[0])), moved)
    assert {variable.dtype for variable in optimizer.variables[2:]} <= {"float64"}


@decaying_rows
def test_weight_decay_is_no_part_of_the_direction(row):
    steps, optimizer = row.gradients(4), row.build()
    decayed, moved = run(row.build(weight_decay=0.5), steps), row.variables()
    for gradient in steps:
        for variable in moved:
            variable.assign(variable * (1 - 0.5 * 0.0625))
        optimizer.apply(list(map(ops.convert_to_tensor, gradient)), moved)
    assert_close(decayed[-1], values(moved))


def clipped(kind, bound, gradient):
    if kind == "clipvalue":
        return [np.clip(g, -bound, bound) for g in gradient]
    norms = [np.sqrt(np.sum(g**2)) for g in gradient]
    if kind == "global_clipnorm":
        norms = [np.sqrt(np.sum(np.square(norms)))] * len(norms)
    return [g * min(1, bound / norm) for g, norm in zip(gradient, norms, strict=True)]


@every_row
@pytest.mark.parametrize("kind", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_gradients_are_clipped_before_all_else(row, kind):
    steps = row.gradients(3)
    ours = run(row.build(**{kind: 0.5}), steps)
    before = [clipped(kind, 0.5, gradient) for gradient in steps]
    assert_close(ours, run(row.build(), before))


@every_row
def test_moving_average_follows_the_iterates(row):
    rows = run(row.build(), row.gradients(6))
    optimizer = row.build(use_ema=True, ema_momentum=0.75)
    assert_equal(run(optimizer, row.gradients(6)), rows)
    average = rows[0]
    for row_ in rows[1:]:
        average = [0.75 * a + 0.25 * b for a, b in zip(average, row_, strict=True)]
    assert_close(values(optimizer._model_variables_moving_average), average)


@every_row
def test_two_accumulated_steps_are_one_of_the_mean(row, compiled):
    steps = row.gradients(8)
    means = [
        [(a + b) / 2 for a, b in zip(*pair, strict=True)]
        for pair in zip(steps[::2], steps[1::2], strict=True)
    ]
    accumulated = run(row.build(gradient_accumulation_steps=2), steps)
    assert_close(accumulated[1::2], run(row.build(), means))
    graph = run(row.build(gradient_accumulation_steps=2), steps, compiled)
    assert_close(graph, accumulated)


@pytest.mark.tensorflow("gradients of embeddings are slices")
@every_row
def test_sparse_gradients_move_as_dense_ones(row):
    generator, ends = np.random.default_rng(2), []
    touched = [([0, 2, 0], generator.normal(size=(3, 3))), ([3], np.ones((1, 3)))] * 3
    for sparse in (True, False):
        optimizer, moved = row.build(), row.variables()[:1]
        optimizer.build(moved)
        for rows, slopes in touched:
            slices = tf.IndexedSlices(tf.constant(slopes, "float32"), rows, (4, 3))
            optimizer.apply([slices if sparse else tf.convert_to_tensor(slices)], moved)
        ends.append(values(moved))
    assert_close(*ends)


def apply_scaled(optimizer, gradients, moved):
    """Calls `apply`, whose branches of a scaled loss are stateless on JAX."""
    if keras.backend.backend() == "tensorflow":
        optimizer.apply(gradients, moved)
        return
    state = [variable.value for variable in optimizer.variables]
    weights = [variable.value for variable in moved]
    weights, state = optimizer.stateless_apply(state, gradients, weights)
    for variable, value in zip(
        [*moved, *optimizer.variables], [*weights, *state], strict=True
    ):
        variable.assign(value)


@every_row
def test_a_step_that_overflows_leaves_no_trace(row):
    steps = row.gradients(4)
    truth = run(row.build(), steps)
    inner, moved = row.build(), row.variables()
    outer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**4)
    outer.build(moved)
    for index, gradient in enumerate(steps):
        state = values(inner.variables)
        apply_scaled(outer, [ops.full(g.shape, np.inf) for g in gradient], moved)
        assert_equal(values(inner.variables), state)
        scale = float(outer.dynamic_scale)
        scaled = [ops.convert_to_tensor(g * scale) for g in gradient]
        apply_scaled(outer, scaled, moved)
        assert_close(values(moved), truth[index])


@pytest.fixture
def mixed_float16():
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


@every_row
def test_it_trains_in_mixed_precision(row, mixed_float16):
    model = row.model()
    before = model.get_weights()
    train(model, epochs=1)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    for now, old in zip(model.get_weights(), before, strict=True):
        assert now.dtype == "float32"
        assert np.isfinite(now).all()
        assert np.any(now != old)


@every_row
def test_a_schedule_is_followed(row):
    steps = row.gradients(6)
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.0625, 0.0])
    optimizer = row.cls.from_config(row.build(schedule).get_config())
    rows = run(optimizer, steps)
    assert_equal(rows[:3], run(row.build(), steps[:3]))
    assert np.any(rows[2][0] != rows[0][0])
    if row.kwargs.get("momentum", 0) == 0:
        assert_close(rows[3:], [rows[2]] * 3)


@every_row
def test_a_rate_that_has_fallen_to_zero_loads_again(row):
    optimizer = row.build()
    optimizer.learning_rate = 0.0
    assert float(row.cls.from_config(optimizer.get_config()).learning_rate) == 0


def data():
    generator = np.random.default_rng(0)
    x = generator.integers(0, 10, (24, 2)).astype("int32")
    return x, generator.normal(size=(24, 3)).astype("float32")


def train(model, epochs=2):
    model.fit(*data(), batch_size=8, epochs=epochs, shuffle=False, verbose=0)
    return model.get_weights()


FRESH = """
import contextlib, pathlib, sys
import keras, numpy, tensorflow as tf
import zoo.optimizers

replicas = contextlib.nullcontext
if keras.backend.backend() == "tensorflow":
    cpu = tf.config.list_physical_devices("CPU")[0]
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, halves)
    replicas = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope
folder = pathlib.Path(sys.argv[1])
with numpy.load(folder / "data.npz") as file:
    data = file["x"], file["y"]
for path in sorted(folder.glob("*.keras")):
    mirrored = path.stem.endswith("mirrored")
    with replicas() if mirrored else contextlib.nullcontext():
        model = keras.models.load_model(path)
        model.fit(*data, batch_size=8, epochs=2, shuffle=False, verbose=0)
    numpy.savez(path.with_suffix(".npz"), *model.get_weights())
"""
JAX = """
import json, pathlib, sys
import jax, keras, numpy
import zoo.optimizers

assert keras.backend.backend() == "jax"
folder = pathlib.Path(sys.argv[1])
for index, config in enumerate(json.loads((folder / "configs.json").read_text())):
    with numpy.load(folder / f"{index}_gradients.npz") as file:
        steps = [[file[f"{i}_{j}"] for j in range(2)] for i in range(100)]
        starts = [file[f"start_{j}"] for j in range(2)]
    optimizer = keras.optimizers.deserialize(config)
    moved = [keras.Variable(start) for start in starts]
    optimizer.build(moved)
    step = jax.jit(optimizer.stateless_apply)
    weights = [variable.value for variable in moved]
    state = [variable.value for variable in optimizer.variables]
    for gradients in steps:
        weights, state = step(state, gradients, weights)
    numpy.savez(folder / f"{index}.npz", *weights)
"""


def in_fresh_process(script, folder, **environment):
    subprocess.run(
        [sys.executable, "-c", script, folder],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=True,
        capture_output=True,
    )


def load(path):
    with np.load(path) as file:
        return [file[name] for name in file.files]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Every row's model, trained, and then further: here, there, and on replicas."""
    folder, here, there = tmp_path_factory.mktemp("saved"), {}, {}
    x, y = data()
    np.savez(folder / "data.npz", x=x, y=y)
    names = {str(row): [f"{index:02}"] for index, row in enumerate(ROWS)}
    for row in MIRRORED:
        names[str(row)].append(names[str(row)][0] + "mirrored")
    for row in ROWS:
        model = row.model()
        train(model)
        for name in names[str(row)]:
            model.save(folder / f"{name}.keras")
        here[str(row)] = train(model)
    in_fresh_process(FRESH, folder)
    for row in ROWS:
        there[str(row)] = [load(folder / f"{name}.npz") for name in names[str(row)]]
    return here, there


@every_row
def test_training_that_goes_on_elsewhere_is_training_that_went_on(row, fresh):
    here, there = fresh
    assert_equal(there[str(row)][0], here[str(row)])


@pytest.mark.tensorflow("replicas of `tf.distribute`")
@mirrored_rows
def test_two_replicas_train_as_one_device(row, fresh):
    here, there = fresh
    assert_close(there[str(row)][1], here[str(row)])


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jax")
    for index, row in enumerate(ROWS):
        steps = {
            f"{i}_{j}": gradient
            for i, step in enumerate(row.gradients(100))
            for j, gradient in enumerate(step)
        }
        starts = {
            f"start_{j}": start for j, start in enumerate(values(row.variables()))
        }
        np.savez(folder / f"{index}_gradients.npz", **steps, **starts)
    configs = [keras.optimizers.serialize(row.build()) for row in ROWS]
    (folder / "configs.json").write_text(json.dumps(configs))
    in_fresh_process(JAX, folder, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
    return {str(row): load(folder / f"{i}.npz") for i, row in enumerate(ROWS)}


@pytest.mark.tensorflow("it is what JAX is compared with")
@every_row
def test_jax_takes_the_same_steps(row, on_jax, compiled):
    assert_close(on_jax[str(row)], run(row.build(), row.gradients(100), compiled)[-1])
