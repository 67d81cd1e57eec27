"""GhostBatchNorm against a float64 reference, Keras's layer and finite differences."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from zoo import _backend
from zoo._backend import ghosts as backend_ghosts
from zoo.layers import GhostBatchNorm, to_ghost_batch_norm

ROOT = pathlib.Path(zoo.__file__).parents[1]
EPSILON = 1e-3
MOMENTUM = 0.9
SHAPES = [(10, 5), (10, 3, 5), (10, 3, 2, 5), (10, 2, 3, 2, 5)]
BATCH_NORM = keras.layers.BatchNormalization
needs_renorm = pytest.mark.skipif(
    not hasattr(BATCH_NORM(), "renorm"), reason="this Keras has no renorm"
)


@pytest.fixture(params=["fused", "closed form", "plain"])
def way(request, monkeypatch):
    """The three ways that the layer may compute; matrices are never fused."""
    if request.param == "closed form":
        monkeypatch.setattr(backend_ghosts, "under_xla", lambda: True)
    if request.param == "plain":
        monkeypatch.setattr(_backend, "has_ghost_norm", lambda: False)
    return request.param


# The reference.


def ghosts(rows, size):
    """Slices of the ghosts: the last one takes the rows left over."""
    count = max(rows // size, 1) if size else 1
    starts = [ghost * (size or 0) for ghost in range(count)]
    return [slice(*ends) for ends in zip(starts, [*starts[1:], rows], strict=True)]


def moments(x):
    axes = tuple(range(x.ndim - 1))
    return x.mean(axes), x.var(axes)


def reference(x, dy, gamma, beta, size, moving=None, epsilon=EPSILON):
    """Output, gradients and the ghosts' moments, in float64."""
    x, dy, gamma, beta = (np.asarray(t, "float64") for t in (x, dy, gamma, beta))
    y, dx, statistics = np.empty_like(x), np.empty_like(x), []
    dgamma, dbeta = np.zeros_like(gamma), np.zeros_like(beta)
    axes = tuple(range(x.ndim - 1))
    for rows in ghosts(len(x), size):
        frozen = x[rows, ..., 0].size < 2
        if not frozen:
            statistics.append(moments(x[rows]))
        mean, variance = moving if frozen else statistics[-1]
        inverse = 1 / np.sqrt(variance + epsilon)
        normal = (x[rows] - mean) * inverse
        y[rows] = gamma * normal + beta
        rest = dy[rows].copy()
        if not frozen:
            rest -= dy[rows].mean(axes) + normal * (dy[rows] * normal).mean(axes)
        dx[rows] = gamma * inverse * rest
        dgamma += (dy[rows] * normal).sum(axes)
        dbeta += dy[rows].sum(axes)
    return y, dx, dgamma, dbeta, statistics


def moved(value, statistics, momentum=MOMENTUM):
    """A running statistic after it has seen `statistics`, one by one."""
    value = np.asarray(value, "float64")
    for statistic in statistics:
        value = momentum * value + (1 - momentum) * statistic
    return value


# The layer under test.


def normals(*shape, seed=0, mean=0.0, scale=1.0):
    values = np.random.default_rng(seed).normal(mean, scale, shape)
    return values.astype("float32")


def twin(layer, shape, seed=9):
    """Builds `layer` with weights that only the seed and the channels decide."""
    layer.build(shape)
    generator = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(generator.uniform(0.5, 1.5, weight.shape))
    return layer


def ghost_layer(shape, size=4, **kwargs):
    kwargs = {"momentum": MOMENTUM, "epsilon": EPSILON, **kwargs}
    return twin(GhostBatchNorm(size, **kwargs), shape)


def keras_layer(shape, **kwargs):
    return twin(BATCH_NORM(momentum=MOMENTUM, epsilon=EPSILON, **kwargs), shape)


def training_step(layer, **call_kwargs):
    """A function from `x` and `dy` to the output and its gradients."""

    def step(x, dy):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True, **call_kwargs)
        weights = [weight.value for weight in layer.trainable_variables]
        return y, *tape.gradient(y, [x, *weights], tf.cast(dy, y.dtype))

    return step


def in_graph(step, shape, unknown="batch", **kwargs):
    """Compiles for inputs of which the batch or "all" but the channels is unknown."""
    count = {"none": 0, "batch": 1, "all": len(shape) - 1}[unknown]
    spec = tf.TensorSpec([*[None] * count, *shape[count:]])
    return tf.function(step, input_signature=[spec, spec], **kwargs)


def close(actual, expected, tolerance=1e-5):
    """Largest error, relative to the largest value, or to 1 where all cancel out."""
    expected = np.asarray(expected, "float64")
    error = np.abs(np.asarray(actual, "float64") - expected).max(initial=0.0)
    assert error <= tolerance * max(np.abs(expected).max(initial=0.0), 1.0)


def all_close(actual, expected, tolerance=1e-5):
    for one, other in zip(actual, expected, strict=True):
        close(one, other, tolerance)


def values(layer):
    return [weight.numpy() for weight in layer.weights]


def in_fresh_process(code, *arguments, backend="tensorflow", python=sys.executable):
    """Runs `code`; returns what it prints."""
    environment = os.environ | {
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    done = subprocess.run(
        [python, "-c", code, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    return done.stdout.strip()


# Formulas.


@pytest.mark.parametrize("unknown", ["none", "batch", "all"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{len(shape)}-D")
def test_equals_the_float64_reference(way, shape, unknown):
    x, dy = normals(*shape, mean=2.0, scale=3.0), normals(*shape, seed=1)
    layer = ghost_layer(shape)
    gamma, beta, mean, variance = values(layer)
    results = in_graph(training_step(layer), shape, unknown)(x, dy)
    *expected, statistics = reference(x, dy, gamma, beta, 4)
    all_close(results, expected)
    means, variances = zip(*statistics, strict=True)
    assert len(means) == 2
    all_close(values(layer)[2:], [moved(mean, means), moved(variance, variances)])


def test_fused_kernels_serve_images_outside_xla(monkeypatch):
    used = []
    for name in ("_fused_ghost_norm", "_closed_form_ghost_norm"):
        function = getattr(backend_ghosts, name)
        monkeypatch.setattr(
            backend_ghosts,
            name,
            lambda *args, name=name, function=function: (
                used.append(name) or function(*args)
            ),
        )

    def way_of(shape, **kwargs):
        step = training_step(ghost_layer(shape))
        in_graph(step, shape, **kwargs).get_concrete_function()
        return used.pop().split("_")[1]

    assert way_of((8, 2, 2, 3)) == "fused"
    assert way_of((8, None, None, 3), unknown="none") == "fused"
    # A batch of one image of one pixel may come, which needs running statistics.
    assert way_of((8, 2, 2, 3), unknown="all") == "closed"
    assert way_of((8, 2, 2, 3), jit_compile=True) == "closed"
    assert way_of((8, 3)) == "closed"


@pytest.mark.parametrize("shape", [(32, 8), (32, 6, 6, 8)], ids=["2-D", "4-D"])
def test_large_mean(way, shape):
    """Mean 100, deviation 0.01: a one-pass variance would be zero.

    The mean itself is a float32 sum, right to a few units in its last place, and
    an error in it moves the output by as much over the deviation.
    """
    x = normals(*shape, mean=100.0, scale=0.01)
    layer = ghost_layer(shape, size=8, momentum=0.0, update="mean")
    gamma, beta, *_ = values(layer)
    y = layer(x, training=True)
    expected, _, _, _, statistics = reference(x, x, gamma, beta, 8)
    variance = np.mean([variance for _, variance in statistics], axis=0)
    close(layer.moving_variance, variance, 1e-3)
    bound = 8 * np.spacing(np.float32(100)) * gamma / np.sqrt(variance + EPSILON)
    assert np.all(np.abs(y - expected) <= bound)
    whole = np.asarray(keras_layer(shape)(x, training=True))
    kerases = np.abs(whole - reference(x, x, gamma, beta, None)[0]).max()
    assert np.abs(y - expected).max() <= 4 * kerases


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 3, 3)], ids=["2-D", "4-D"])
def test_half_precision_does_not_overflow(way, shape, dtype):
    x = tf.cast(6e4 * np.sign(normals(*shape)), dtype)
    layer = ghost_layer(shape, dtype=f"mixed_{dtype}")
    gamma, beta, *_ = values(layer)
    y, *gradients = training_step(layer)(x, x / 6e4)
    assert y.dtype == dtype
    assert all(np.isfinite(tf.cast(t, "float32")).all() for t in (y, *gradients))
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    assert np.isfinite(layer.moving_variance).all()
    x = tf.cast(x, "float64")
    expected = reference(x, x, gamma, beta, 4)[0]
    close(tf.cast(y, "float64"), expected, 2e-3 if dtype == "float16" else 1e-2)


@pytest.mark.parametrize("shape", [(10, 5), (10, 3, 3, 5)], ids=["2-D", "4-D"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_float64(shape, jit_compile):
    x, dy = (normals(*shape, seed=seed).astype("float64") for seed in range(2))
    layer = ghost_layer(shape, dtype="float64")
    gamma, beta, mean, _ = values(layer)
    step = tf.function(training_step(layer), jit_compile=jit_compile)
    results = step(tf.constant(x), tf.constant(dy))
    *expected, statistics = reference(x, dy, gamma, beta, 4)
    all_close(results, expected, 1e-12)
    close(layer.moving_mean, moved(mean, [mean for mean, _ in statistics]), 1e-12)


# Batches of all sizes.


@pytest.mark.parametrize("shape", [(3,), (2, 1, 3)], ids=["2-D", "4-D"])
def test_every_batch_size(way, shape):
    """Batches 0 to 9 of ghosts of 4: the last ghost takes the remainder."""
    layer = ghost_layer((None, *shape))
    initial = values(layer)
    step = in_graph(training_step(layer), (None, *shape))
    for rows in range(10):
        x, dy = normals(rows, *shape, seed=rows), normals(rows, *shape, seed=50)
        for weight, value in zip(layer.weights, initial, strict=True):
            weight.assign(value)
        results = step(x, dy)
        gamma, beta, *moving = initial
        *expected, statistics = reference(x, dy, gamma, beta, 4, moving)
        all_close(results, expected)
        assert len(statistics) == (max(rows // 4, 1) if rows * len(shape) > 1 else 0)
        for index, before in enumerate(moving):
            seen = moved(before, [statistic[index] for statistic in statistics])
            close(values(layer)[2 + index], seen)
        if not statistics:
            np.testing.assert_array_equal(values(layer)[2:], moving)
        assert layer(x).shape == (rows, *shape)


@pytest.mark.parametrize("unknown", ["none", "batch", "all"])
def test_one_position_is_normalised_by_the_running_statistics(way, unknown):
    layer = ghost_layer((1, 1, 1, 3))
    gamma, beta, *moving = values(layer)
    x, dy = normals(1, 1, 1, 3), normals(1, 1, 1, 3, seed=1)
    results = in_graph(training_step(layer), x.shape, unknown)(x, dy)
    all_close(results, reference(x, dy, gamma, beta, 4, moving)[:4])
    np.testing.assert_array_equal(values(layer)[2:], moving)


@settings(max_examples=15)
@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    rows=st.integers(1, 12),
    size=st.one_of(st.none(), st.integers(2, 6)),
    update=st.sampled_from(["sequential", "mean"]),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_any_shape(shape, rows, size, update, scale):
    x = normals(rows, *shape, seed=rows, scale=scale)
    layer = ghost_layer(x.shape, size, update=update)
    gamma, beta, *moving = values(layer)
    results = training_step(layer)(tf.constant(x), normals(*x.shape, seed=1))
    *expected, statistics = reference(
        x, normals(*x.shape, seed=1), gamma, beta, size, moving
    )
    all_close(results, expected, 5e-5)
    for index, before in enumerate(moving):
        seen = [statistic[index] for statistic in statistics]
        if update == "mean" and seen:
            seen = [np.mean(seen, axis=0)]
        close(values(layer)[2 + index], moved(before, seen), 5e-5)


# Running statistics.


@pytest.mark.parametrize("shape", [(14, 5), (14, 2, 2, 5)], ids=["2-D", "4-D"])
def test_sequential_update_equals_keras_on_the_ghosts_in_turn(way, shape):
    x = normals(*shape, mean=3.0)
    ours, theirs = ghost_layer(shape), keras_layer(shape)
    ours(x, training=True)
    for rows in ghosts(len(x), 4):
        theirs(x[rows], training=True)
    np.testing.assert_allclose(values(ours), values(theirs), rtol=1e-6, atol=1e-6)


def test_mean_update_takes_one_step_a_batch(way):
    x = normals(14, 5, mean=3.0)
    layer = ghost_layer(x.shape, update="mean")
    *_, mean, variance = values(layer)
    layer(x, training=True)
    means, variances = zip(*(moments(x[rows]) for rows in ghosts(14, 4)), strict=True)
    expected = (mean, means), (variance, variances)
    for actual, (before, ghostly) in zip(values(layer)[2:], expected, strict=True):
        close(actual, moved(before, [np.mean(ghostly, axis=0)]), 1e-6)


# Where it must be Keras's layer.


@pytest.mark.parametrize("size", [None, 6, 7, 64])
@pytest.mark.parametrize("shape", [(11, 5), (11, 3, 2, 5)], ids=["2-D", "4-D"])
def test_one_ghost_equals_keras(way, shape, size):
    ours, theirs = ghost_layer(shape, size), keras_layer(shape)
    for seed in range(3):
        x, dy = normals(*shape, seed=seed, mean=1.0), normals(*shape, seed=50)
        results = [training_step(layer)(tf.constant(x), dy) for layer in (ours, theirs)]
        all_close(*results)
    all_close(values(ours), values(theirs), 1e-6)


@pytest.mark.parametrize("rows", [1, 3, 4, 9])
def test_inference_is_keras_at_any_batch_size(rows):
    ours, theirs = ghost_layer((None, 2, 2, 5)), keras_layer((None, 2, 2, 5))
    x = normals(rows, 2, 2, 5)
    np.testing.assert_array_equal(ours(x), theirs(x))
    np.testing.assert_array_equal(values(ours), values(theirs))


def test_frozen_layer_infers():
    layer = ghost_layer((8, 5))
    x = normals(8, 5)
    expected, before = layer(x), values(layer)
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), expected)
    np.testing.assert_array_equal(values(layer), before)


def test_without_center_and_scale(way):
    x, dy = normals(8, 5), normals(8, 5, seed=1)
    layer = ghost_layer(x.shape, center=False, scale=False)
    results = training_step(layer)(tf.constant(x), dy)
    all_close(results, reference(x, dy, np.ones(5), np.zeros(5), 4)[:2])


@pytest.mark.parametrize("shape", [(10, 5, 4), (10, 5, 3, 2)], ids=["3-D", "4-D"])
def test_channels_first(way, shape):
    x, dy = normals(*shape), normals(*shape, seed=1)
    last = np.moveaxis(x, 1, -1)
    first_layer = ghost_layer(shape, axis=1)
    last_layer = ghost_layer(last.shape)
    y, dx, *others = training_step(first_layer)(tf.constant(x), dy)
    expected = training_step(last_layer)(tf.constant(last), np.moveaxis(dy, 1, -1))
    moved_back = np.moveaxis(y, 1, -1), np.moveaxis(dx, 1, -1), *others
    all_close(moved_back, expected, 1e-6)
    all_close(values(first_layer), values(last_layer), 1e-6)


def test_synchronized_without_ghosts():
    x = normals(8, 5)
    ours = ghost_layer(x.shape, None, synchronized=True)
    theirs = keras_layer(x.shape, synchronized=True)
    np.testing.assert_array_equal(ours(x, training=True), theirs(x, training=True))
    np.testing.assert_array_equal(values(ours), values(theirs))


# Masks.

# Three ghosts of 4, 4 and 6 rows; the second has one valid step.
MASK = np.array(
    [
        *([1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 1, 1]),
        *([0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]),
        *([1, 1, 1], [1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 1, 1]),
    ],
    dtype=bool,
)


def masked_reference(x, dy, layer_values, mask, size):
    """Each ghost of more than one valid step, alone, with the others cut away."""
    gamma, beta, mean, variance = (value.astype("float64") for value in layer_values)
    y = np.empty(x.shape)
    statistics = []
    for rows in ghosts(len(x), size):
        valid = x[rows][mask[rows]].astype("float64")
        center, spread = mean, variance
        if len(valid) >= 2:
            center, spread = moments(valid)
            statistics.append((center, spread))
        y[rows] = gamma * (x[rows] - center) / np.sqrt(spread + EPSILON) + beta
    return y, statistics


@pytest.mark.parametrize("unknown", ["none", "all"])
def test_masked_steps_do_not_count(unknown):
    x, dy = normals(14, 3, 5, mean=2.0), normals(14, 3, 5, seed=1)
    layer = ghost_layer(x.shape)
    before = values(layer)
    step = in_graph(training_step(layer, mask=tf.constant(MASK)), x.shape, unknown)
    y, *_ = step(x, dy)
    expected, statistics = masked_reference(x, dy, before, MASK, 4)
    close(y, expected)
    assert len(statistics) == 2
    for index in (0, 1):
        seen = moved(before[2 + index], [moment[index] for moment in statistics])
        close(values(layer)[2 + index], seen)


def test_gradient_under_a_mask_is_that_of_the_valid_rows_alone():
    """Whole rows masked, nothing sent back from them: as if they were not there."""
    keep = np.array([1, 1, 0, 1, 1, 0, 1, 1], bool)
    x, dy = normals(8, 3, 5), normals(8, 3, 5, seed=1) * keep[:, None, None]
    layer = ghost_layer(x.shape, None)
    mask = tf.constant(np.repeat(keep[:, None], 3, axis=1))
    gamma, beta, *_ = values(layer)
    _, dx, dgamma, dbeta = training_step(layer, mask=mask)(tf.constant(x), dy)
    _, *expected, _ = reference(x[keep], dy[keep], gamma, beta, None)
    all_close([dx[keep], dgamma, dbeta], expected)
    close(dx[~keep], np.zeros_like(dx[~keep]))


def test_nan_where_masked_does_no_harm():
    clean = normals(14, 3, 5)
    dirty = np.where(MASK[..., None], clean, np.nan)
    layers = [ghost_layer(clean.shape) for _ in range(2)]
    outputs = [
        np.asarray(layer(x, training=True, mask=MASK))
        for layer, x in zip(layers, (clean, dirty), strict=True)
    ]
    np.testing.assert_array_equal(*(output[MASK] for output in outputs))
    np.testing.assert_array_equal(*map(values, layers))


def test_mask_of_masking_layer():
    x = np.where(MASK[..., None], normals(14, 3, 5), 0.0).astype("float32")
    inputs = keras.Input((3, 5))
    layer = GhostBatchNorm(4)
    model = keras.Model(inputs, layer(keras.layers.Masking()(inputs)))
    alone = GhostBatchNorm(4)
    expected = alone(x, training=True, mask=MASK)
    np.testing.assert_array_equal(model(x, training=True), expected)
    np.testing.assert_array_equal(values(layer), values(alone))


def test_mask_of_the_wrong_rank():
    layer = ghost_layer((8, 3, 5))
    with pytest.raises(ValueError, match="one dimension less than inputs"):
        layer(normals(8, 3, 5), training=True, mask=np.ones((8, 3, 5), bool))


# Batch renormalisation.

CLIPPING = {"rmax": 1.1, "rmin": 0.9, "dmax": 0.2}


@needs_renorm
@pytest.mark.parametrize("clipping", [None, CLIPPING], ids=["free", "clipped"])
def test_renorm_with_one_ghost_equals_keras(clipping):
    shape, arguments = (8, 2, 5), {"renorm": True, "renorm_clipping": clipping}
    ours, theirs = (
        ghost_layer(shape, None, **arguments),
        keras_layer(shape, **arguments),
    )
    for seed in range(2):
        x, dy = normals(*shape, seed=seed, scale=2.0), normals(*shape, seed=7)
        all_close(*(training_step(one)(tf.constant(x), dy) for one in (ours, theirs)))
    all_close(values(ours), values(theirs))


@needs_renorm
def test_renorm_corrects_each_ghost():
    """Without clipping, the output is normalised by the renorm statistics."""
    x = normals(10, 5, scale=2.0)
    layer = ghost_layer(x.shape, renorm=True)
    gamma, beta = layer.gamma.numpy(), layer.beta.numpy()
    mean, stddev = layer.renorm_mean.numpy(), layer.renorm_stddev.numpy()
    close(layer(x, training=True), gamma * (x - mean) / stddev + beta)
    means = [moments(x[rows])[0] for rows in ghosts(10, 4)]
    close(layer.renorm_mean, moved(mean, means, 0.99))


@needs_renorm
def test_renorm_leaves_a_single_row_to_the_running_statistics():
    layer = ghost_layer((1, 5), renorm=True)
    layer.moving_variance.assign(layer.moving_stddev**2 - EPSILON)
    x, before = normals(1, 5), values(layer)
    close(layer(x, training=True), layer(x))
    all_close(values(layer), before, 1e-6)


# Arguments, configuration, files.


@pytest.mark.parametrize("size", [1, 0, -4, 2.5, "64", True])
def test_virtual_batch_size_is_checked(size):
    message = f"`virtual_batch_size` must be an int >= 2 or None.*{size!r}"
    with pytest.raises(ValueError, match=message):
        GhostBatchNorm(size)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"`update` must be .*update='last'"):
        GhostBatchNorm(update="last")
    message = "synchronized=True needs virtual_batch_size=None.*virtual_batch_size=8"
    with pytest.raises(ValueError, match=message):
        GhostBatchNorm(8, synchronized=True)
    for axis in (0, -2):
        with pytest.raises(ValueError, match=f"not be the batch axis.*axis={axis}"):
            GhostBatchNorm(axis=axis).build((8, 3))


def test_config_survives_build_and_revival():
    layer = GhostBatchNorm(8, axis=1, update="mean", momentum=0.5, name="ghost")
    config = layer.get_config()
    assert config["virtual_batch_size"] == 8
    assert config["update"] == "mean"
    layer.build((None, 3, 2, 2))
    assert layer.get_config() == config
    assert GhostBatchNorm.from_config(config).get_config() == config


def small_model(norm=GhostBatchNorm, **kwargs):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            keras.layers.Conv2D(3, 3, use_bias=False),
            norm(**kwargs),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            norm(**kwargs),
            keras.layers.Dense(1),
        ]
    )


def trained(model, epochs=1, **kwargs):
    x = normals(22, 4, 4, 2, mean=1.0)
    model.compile("sgd", "mse", **kwargs)
    y = x.mean(axis=(1, 2, 3))
    model.fit(x, y, batch_size=11, epochs=epochs, shuffle=False, verbose=0)
    return model


def test_saved_files_reload_exactly(tmp_path):
    model = trained(small_model(virtual_batch_size=4))
    x = normals(5, 4, 4, 2, seed=3)
    predictions = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")

    revived = keras.models.load_model(tmp_path / "model.keras")
    empty = small_model(virtual_batch_size=4)
    empty.load_weights(tmp_path / "model.weights.h5")
    for copy in (revived, empty):
        np.testing.assert_array_equal(copy.predict(x, verbose=0), predictions)
        for ours, theirs in zip(copy.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert revived.layers[1].get_config() == model.layers[1].get_config()


@pytest.mark.parametrize("ours_first", [True, False])
def test_weights_interchange_with_keras(ours_first):
    pair = [small_model(virtual_batch_size=4), small_model(BATCH_NORM)]
    source, target = pair if ours_first else pair[::-1]
    trained(source).compile()
    target.set_weights(source.get_weights())
    x = normals(5, 4, 4, 2, seed=3)
    np.testing.assert_array_equal(
        target.predict(x, verbose=0), source.predict(x, verbose=0)
    )


def test_weights_file_of_keras_layers_loads_by_conversion(tmp_path):
    source, target = trained(small_model(BATCH_NORM)), small_model(BATCH_NORM)
    source.save_weights(tmp_path / "model.weights.h5")
    target.load_weights(tmp_path / "model.weights.h5")
    x = normals(5, 4, 4, 2, seed=3)
    np.testing.assert_array_equal(
        to_ghost_batch_norm(target, 4).predict(x, verbose=0),
        source.predict(x, verbose=0),
    )


# Second derivatives.


def loss_gradient(layer, weights):
    """The gradient for `x` of `sum(weights * layer(x) ** 3)`."""

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(weights * layer(x, training=True) ** 3)
        return tape.gradient(loss, x)

    return gradient


def reverse_over_reverse(gradient):
    def product(x, v):
        with tf.GradientTape() as tape:
            tape.watch(x)
            inner = tf.reduce_sum(gradient(x) * v)
        return tape.gradient(inner, x)

    return product


def forward_over_reverse(gradient):
    def product(x, v):
        with tf.autodiff.ForwardAccumulator(x, v) as accumulator:
            dx = gradient(x)
        return accumulator.jvp(dx)

    return product


def reference_product(x, v, weights, layer_values, size):
    """Hessian times `v`, by central differences of the float64 gradient."""
    x, v, weights = (t.astype("float64") for t in (x, v, weights))
    gamma, beta, *_ = layer_values

    def gradient(x):
        y, *_ = reference(x, x, gamma, beta, size)
        return reference(x, 3 * weights * y**2, gamma, beta, size)[1]

    step = 1e-5
    return (gradient(x + step * v) - gradient(x - step * v)) / (2 * step)


WRAPPINGS = {
    "eager": lambda mode, gradient: mode(gradient),
    "function": lambda mode, gradient: tf.function(mode(gradient)),
    "eager over function": lambda mode, gradient: mode(tf.function(gradient)),
    "function over function": lambda mode, gradient: tf.function(
        mode(tf.function(gradient))
    ),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("mode", [reverse_over_reverse, forward_over_reverse])
def test_hessian_vector_product(way, mode, wrapping):
    x, v, weights = (normals(10, 2, 2, 3, seed=seed) for seed in range(3))
    nested = wrapping == "function over function"
    if way == "plain" and not nested:
        pytest.skip("TensorFlow's own derivatives: one wrapping is enough")
    for size in (4, 5, None) if nested and way == "fused" else (4,):
        layer = ghost_layer(x.shape, size)
        expected = reference_product(x, v, weights, values(layer), size)
        gradient = loss_gradient(layer, weights)
        product = WRAPPINGS[wrapping](mode, gradient)
        close(product(tf.constant(x), tf.constant(v)), expected)


@pytest.mark.parametrize(
    "mode, shape",
    [(reverse_over_reverse, (10, 2, 2, 3)), (forward_over_reverse, (10, 3))],
)
def test_hessian_vector_product_under_xla_or_of_unknown_size(mode, shape):
    x, v, weights = (normals(*shape, seed=seed) for seed in range(3))
    layer = ghost_layer(shape)
    expected = reference_product(x, v, weights, values(layer), 4)
    product = mode(loss_gradient(layer, weights))
    compiled = tf.function(product, jit_compile=True)
    close(compiled(tf.constant(x), tf.constant(v)), expected)
    close(in_graph(product, shape)(x, v), expected)


def test_derivatives_by_all_that_the_gradient_depends_on(way):
    """Second derivatives of the fused way are written by hand: each against plain."""
    x, dy, v = (normals(10, 2, 2, 3, seed=seed) for seed in range(3))

    def second(layer):
        gamma, beta = layer.gamma.value, layer.beta.value
        sources = [tf.constant(x), tf.constant(dy), gamma, beta]
        with tf.GradientTape() as outer:
            outer.watch(sources)
            _, dx, dgamma, dbeta = training_step(layer)(sources[0], sources[1])
            total = tf.reduce_sum(dx * v) + tf.reduce_sum(dgamma**2 + dbeta**3)
        return outer.gradient(total, sources, unconnected_gradients="zero")

    layer = ghost_layer(x.shape)
    actual = second(layer)
    sources = [np.asarray(t, "float64") for t in (x, dy, *values(layer)[:2])]

    def total(x, dy, gamma, beta):
        _, dx, dgamma, dbeta, _ = reference(x, dy, gamma, beta, 4)
        return (dx * v).sum() + (dgamma**2 + dbeta**3).sum()

    generator = np.random.default_rng(5)
    for index, derivative in enumerate(actual):
        direction = generator.normal(size=derivative.shape)
        ends = []
        for sign in (1, -1):
            shifted = list(sources)
            shifted[index] = sources[index] + sign * 1e-5 * direction
            ends.append(total(*shifted))
        slope = (ends[0] - ends[1]) / 2e-5
        assert abs(np.vdot(derivative, direction) - slope) <= 1e-4 * max(abs(slope), 1)


# Training.


def test_gradients_are_those_of_accumulated_small_batches(way):
    """Exact, as ghosts meet in nothing but the normalisation."""
    ghostly = small_model(virtual_batch_size=4)
    plain = small_model(BATCH_NORM)
    plain.set_weights(ghostly.get_weights())
    x = normals(12, 4, 4, 2)
    y = x.mean(axis=(1, 2, 3))[:, None]

    def gradients(model, rows):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x[rows], training=True) - y[rows]) ** 2)
        return tape.gradient(loss, [w.value for w in model.trainable_variables])

    parts = [gradients(plain, rows) for rows in ghosts(12, 4)]
    mean = [np.mean(part, axis=0) for part in zip(*parts, strict=True)]
    all_close(gradients(ghostly, slice(None)), mean, 2e-5)
    all_close(ghostly.get_weights(), plain.get_weights(), 1e-6)


def test_xla_trains_as_without():
    models = [
        trained(small_model(virtual_batch_size=4), epochs=3, jit_compile=jit)
        for jit in (False, True)
    ]
    all_close(*(model.get_weights() for model in models), 1e-4)


def test_mixed_precision_model():
    layer = GhostBatchNorm(4, dtype="mixed_bfloat16")
    assert layer(normals(8, 5), training=True).dtype == tf.bfloat16
    assert layer.compute_output_spec(keras.KerasTensor((8, 5))).dtype == "bfloat16"
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    model = trained(small_model(virtual_batch_size=4, dtype="mixed_bfloat16"))
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


MIRRORED = """
import sys
import keras, numpy, tensorflow as tf
from zoo.layers import GhostBatchNorm

cpu = tf.config.list_physical_devices("CPU")[0]
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, halves)
x = numpy.random.default_rng(0).normal(1.0, 2.0, (25, 2, 2, 3)).astype("float32")
y = x.mean(axis=(1, 2, 3))[:, None]

def build():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((2, 2, 3)),
        GhostBatchNorm(4, momentum=0.5),
        keras.layers.Flatten(),
        GhostBatchNorm(4, momentum=0.5),
        keras.layers.Dense(1),
    ])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model

with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = build()
# Two batches of 12 rows, 6 to a replica; the last, of one row, leaves one replica none.
model.fit(x, y, batch_size=12, epochs=2, shuffle=False, verbose=0)
model.save(sys.argv[1])

# By hand: each replica's part through the model, gradients and statistics averaged.
alone = build()
layers = [alone.layers[0], alone.layers[2]]
for _ in range(2):
    for rows in (slice(0, 12), slice(12, 24), slice(24, 25)):
        before = alone.get_weights()
        gradients, after = [], []
        for part in numpy.array_split(numpy.arange(25)[rows], 2):
            alone.set_weights(before)
            with tf.GradientTape() as tape:
                error = (alone(x[part], training=True) - y[part]) ** 2
                # Keras: the mean over a replica's rows, over the number of replicas.
                loss = tf.reduce_sum(error) / max(len(part), 1) / 2
            variables = [variable.value for variable in alone.trainable_variables]
            gradients.append(tape.gradient(loss, variables))
            after.append(alone.get_weights())
        alone.set_weights([sum(pair) / 2 for pair in zip(*after)])
        gradients = [sum(pair) for pair in zip(*gradients)]
        alone.optimizer.apply(gradients, alone.trainable_variables)

for ours, theirs in zip(model.get_weights(), alone.get_weights()):
    numpy.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
reloaded = keras.models.load_model(sys.argv[1])
for one in (model, reloaded):
    print(one.evaluate(x, y, batch_size=12, verbose=0))
"""


def test_replicas_have_ghosts_of_their_own_and_shared_statistics(tmp_path):
    printed = in_fresh_process(MIRRORED, tmp_path / "model.keras")
    evaluated, reloaded = map(float, printed.split())
    assert np.isfinite(evaluated)
    assert evaluated == pytest.approx(reloaded, rel=1e-6)


JAX = """
import sys
import jax, keras, numpy
from zoo.layers import GhostBatchNorm
assert keras.backend.backend() == "jax"
folder = sys.argv[1]
layer = GhostBatchNorm(4, momentum=0.9)
layer.build((10, 3, 5))
x, mask = numpy.load(folder + "/x.npy"), numpy.load(folder + "/mask.npy")
for arguments in ({}, {"mask": mask}):
    y = layer(x, training=True, **arguments)
    numpy.save(folder + f"/y{len(arguments)}.npy", y)
numpy.save(folder + "/weights.npy", layer.get_weights())
for update in ("sequential", "mean"):
    model = keras.Sequential([
        keras.Input((3, 5)), GhostBatchNorm(4, update=update), keras.layers.Dense(1)
    ])
    model.compile("sgd", "mse")
    model.fit(x, x[..., :1], batch_size=7, verbose=0)
    assert numpy.isfinite(model.predict(x[:1], verbose=0)).all()
jax.config.update("jax_enable_x64", True)
y = GhostBatchNorm(None, dtype="float64")(x.astype("float64"), training=True)
x = x - x.mean((0, 1), dtype="float64")
wanted = x / numpy.sqrt((x * x).mean((0, 1)) + 1e-3)
numpy.testing.assert_allclose(y, wanted, atol=1e-13)
"""


@pytest.mark.skipif(
    not importlib.util.find_spec("jax"), reason="needs jax: pip install jax"
)
def test_jax(tmp_path):
    x, mask = normals(10, 3, 5, mean=2.0), MASK[:10]
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "mask.npy", mask)
    in_fresh_process(JAX, tmp_path, backend="jax")
    layer = GhostBatchNorm(4, momentum=MOMENTUM)
    for name, arguments in (("y0", {}), ("y1", {"mask": mask})):
        y = layer(x, training=True, **arguments)
        close(np.load(tmp_path / f"{name}.npy"), y)
    all_close(np.load(tmp_path / "weights.npy"), values(layer))


# Conversion of models.


def nested_model():
    inner = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4), BATCH_NORM(name="inner")]
    )
    inputs = keras.Input((3,))
    x = BATCH_NORM(momentum=0.5, epsilon=0.1, scale=False, name="outer")(inputs)
    return keras.Model(inputs, keras.layers.Add()([inner(x), keras.layers.Dense(4)(x)]))


@pytest.mark.parametrize("build", [nested_model, lambda: small_model(BATCH_NORM)])
def test_conversion_keeps_weights_and_predictions(build):
    model = build()
    generator = np.random.default_rng(0)
    model.set_weights([generator.uniform(0.5, 1, w.shape) for w in model.get_weights()])
    before = [weight.copy() for weight in model.get_weights()]
    copy = to_ghost_batch_norm(model, 8, update="mean")
    x = normals(5, *model.input_shape[1:])
    np.testing.assert_array_equal(
        copy.predict(x, verbose=0), model.predict(x, verbose=0)
    )
    for ours, theirs in zip(copy.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    old, new = (
        [layer for layer in net._flatten_layers() if isinstance(layer, BATCH_NORM)]
        for net in (model, copy)
    )
    assert {type(layer) for layer in new} == {GhostBatchNorm}
    assert {type(layer) for layer in old} == {BATCH_NORM}
    for ours, theirs in zip(new, old, strict=True):
        expected = theirs.get_config() | {"virtual_batch_size": 8, "update": "mean"}
        assert ours.get_config() == expected
    copy(normals(16, *model.input_shape[1:]), training=True)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_conversion_changes_the_size_of_ghosts():
    once = to_ghost_batch_norm(small_model(BATCH_NORM), 8)
    assert to_ghost_batch_norm(once, None).layers[1].virtual_batch_size is None


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.norm = BATCH_NORM()

    def call(self, x):
        return self.norm(x)


def functional(layer):
    inputs = keras.Input((4, 3))
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
    "model, message",
    [
        (keras.layers.Dense(1), "functional or built sequential"),
        (Subclassed(), "functional or built sequential"),
        (keras.Sequential([BATCH_NORM()]), "functional or built sequential"),
        (functional(keras.layers.Dense(1)), "must have a BatchNormalization layer"),
        (functional(keras.layers.TimeDistributed(BATCH_NORM())), "inside other layers"),
        (functional(type("Own", (BATCH_NORM,), {})()), "and of no subclass"),
        (functional(type("Own", (GhostBatchNorm,), {})()), "and of no subclass"),
        (functional(BATCH_NORM(synchronized=True)), "synchronized=True needs"),
    ],
)
def test_conversion_refuses(model, message):
    with pytest.raises(ValueError, match=message):
        to_ghost_batch_norm(model, 8)
