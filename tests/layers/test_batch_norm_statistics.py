"""reestimate_batch_norm against the exact moments of all the data."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.layers import GhostBatchNorm, reestimate_batch_norm

BATCH_NORM = keras.layers.BatchNormalization
NORMS = {
    "keras": BATCH_NORM,
    "ghosts": lambda **kwargs: GhostBatchNorm(4, **kwargs),
}


def data(rows=23, *shape, seed=0):
    shape = shape or (5,)
    return np.random.default_rng(seed).normal(7, 2, (rows, *shape)).astype("float32")


def batches(x, size=8):
    return [x[start : start + size] for start in range(0, len(x), size)]


def single(norm, shape=(5,)):
    return keras.Sequential([keras.Input(shape), norm])


def assert_moments(layer, x, tolerance=1e-5):
    axes = tuple(range(x.ndim - 1))
    x = x.astype("float64")
    for actual, expected in (
        (layer.moving_mean, x.mean(axes)),
        (layer.moving_variance, x.var(axes)),
    ):
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(5,), (3, 2, 5)], ids=["2-D", "4-D"])
@pytest.mark.parametrize("size", [8, 11])
def test_exact_moments_of_ragged_batches(norm, shape, size):
    """Of 11 the last batch is one row, by which ghosts of a matrix do not normalise."""
    x = data(23, *shape)
    model = single(NORMS[norm](), shape)
    reestimate_batch_norm(model, batches(x, size))
    assert_moments(model.layers[0], x)


@pytest.mark.parametrize("norm", NORMS)
def test_positions_count_alike(norm):
    """Of batches that differ in length, under masks, and at every call of a layer."""
    model = single(NORMS[norm](), (None, 2))
    x = data(8, 10, 2)
    reestimate_batch_norm(model, [x[:4], 3 * x[4:, :1]])
    seen = np.concatenate([x[:4].reshape(-1, 2), 3 * x[4:, 0]])
    assert_moments(model.layers[0], seen)

    model = keras.Sequential(
        [keras.Input((10, 2)), keras.layers.Masking(), NORMS[norm]()]
    )
    masked = x * (np.arange(10) < np.repeat([4, 1], 4)[:, None])[..., None]
    reestimate_batch_norm(model, [masked[:4], masked[4:], 0 * x])
    assert_moments(model.layers[1], masked[masked.any(-1)])

    shared, inputs = NORMS[norm](), [keras.Input((5,)), keras.Input((5,))]
    model = keras.Model(inputs, [shared(one) for one in inputs])
    one, other = data(), 2 * data(seed=1)
    reestimate_batch_norm(model, [([one, other], None)])
    assert_moments(shared, np.concatenate([one, other]))

    inner = NORMS[norm]()
    model = single(keras.layers.TimeDistributed(inner), (10, 2))
    reestimate_batch_norm(model, batches(x, 3))
    assert_moments(inner, x)


@pytest.mark.parametrize("norm", NORMS)
def test_channels_of_another_axis(norm):
    x = data(8, 3, 4)
    model = single(NORMS[norm](axis=1), (3, 4))
    reestimate_batch_norm(model, batches(x, 5))
    assert_moments(model.layers[0], np.moveaxis(x, 1, -1))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("old", [np.nan, 1000.0])
def test_what_was_there_counts_for_nothing(norm, old):
    """Nor do batches without rows; a first batch of one row is normalised to zeros."""
    first, second = NORMS[norm](center=False), NORMS[norm]()
    model = keras.Sequential([keras.Input((5,)), first, second])
    for layer in (first, second):
        layer.moving_mean.assign(np.full(5, old))
        layer.moving_variance.assign(np.full(5, old))
    x = data(9)
    reestimate_batch_norm(model, [x[:0], x[:1], x[:0], x[1:]])
    assert_moments(first, x)
    rest = (x[1:] - x[1:].mean(0)) / np.sqrt(x[1:].var(0) + 1e-3)
    assert_moments(second, np.concatenate([0 * x[:1], rest]), 1e-4)


def test_a_layer_that_runs_in_inference_keeps_what_it_has():
    class Still(keras.Model):
        def __init__(self):
            super().__init__()
            self.still, self.norm = BATCH_NORM(), BATCH_NORM()

        def call(self, inputs, training=None):
            return self.norm(self.still(inputs, training=False), training=training)

    model, x = Still(), data()
    model(x)
    reestimate_batch_norm(model, batches(x))
    np.testing.assert_array_equal(model.still.moving_mean, np.zeros(5))
    assert_moments(model.norm, x / np.sqrt(1 + 1e-3))


def test_large_mean():
    x = 100 + data(64) / 200
    model = single(BATCH_NORM())
    reestimate_batch_norm(model, batches(x, 64))
    assert_moments(model.layers[0], x, 1e-3)


def test_data_sets_with_targets():
    x = data()
    model = single(BATCH_NORM())
    pairs = tf.data.Dataset.from_tensor_slices((x, np.zeros(len(x)))).batch(8)
    reestimate_batch_norm(model, pairs)
    assert_moments(model.layers[0], x)


def test_layers_see_each_other_normalise_whole_batches():
    """The second layer's statistics follow from the first's in training mode."""
    model = keras.Sequential(
        [
            keras.Input((5,)),
            GhostBatchNorm(4, name="first"),
            keras.layers.Dense(3, "relu"),
            GhostBatchNorm(4, name="second"),
        ]
    )
    x = data()
    reestimate_batch_norm(model, batches(x))
    assert_moments(model.get_layer("first"), x)
    hidden = []
    for batch in batches(x):
        normal = (batch - batch.mean(0)) / np.sqrt(batch.var(0) + 1e-3)
        hidden.append(np.asarray(model.layers[1](normal)))
    assert_moments(model.get_layer("second"), np.concatenate(hidden), 1e-4)


def test_several_inputs():
    inputs = [keras.Input((5,)), keras.Input((5,))]
    outputs = BATCH_NORM(name="norm")(keras.layers.Add()(inputs))
    model = keras.Model(inputs, outputs)
    one, other = data(), data(seed=1)
    pairs = list(zip(batches(one), batches(other), strict=True))
    reestimate_batch_norm(model, [([a, b], None) for a, b in pairs])
    assert_moments(model.get_layer("norm"), one + other)


@pytest.mark.parametrize("norm", NORMS)
def test_frozen_layers_are_measured_and_stay_frozen(norm):
    model = keras.Sequential([keras.Input((5,)), single(NORMS[norm]())])
    model.trainable = False
    x = data()
    reestimate_batch_norm(model, batches(x))
    layer = model.layers[0].layers[0]
    assert_moments(layer, x)
    assert not layer.trainable
    assert not model.trainable_variables


@pytest.mark.skipif(
    not hasattr(BATCH_NORM(), "renorm"), reason="this Keras has no renorm"
)
@pytest.mark.parametrize("norm", NORMS)
def test_renorm_trains_on_from_the_new_statistics(norm):
    layer = NORMS[norm](renorm=True, momentum=1.0)
    model = single(layer)
    x = data()
    reestimate_batch_norm(model, batches(x))
    assert_moments(layer, x)
    np.testing.assert_array_equal(layer.renorm_mean, np.zeros(5))
    model(x, training=True)
    assert_moments(layer, x)


def busy_model():
    """A model with state of other kinds: seeds, metrics, a kernel written in calls."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dropout(0.5),
            keras.layers.SpectralNormalization(keras.layers.Dense(4)),
            GhostBatchNorm(4),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(data(16), data(16, 1), verbose=0)
    return model


def other_state(model):
    layer = model.layers[2]
    moving = {id(layer.moving_mean), id(layer.moving_variance)}
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    assert any("seed" in variable.path for variable in variables)
    return [v.numpy() for v in variables if id(v) not in moving]


def settings(layer):
    return layer.momentum, layer.virtual_batch_size, layer.trainable


def test_all_other_state_is_as_before():
    model = busy_model()
    before, set_before = other_state(model), settings(model.layers[2])
    statistics = model.layers[2].moving_mean.numpy()
    reestimate_batch_norm(model, batches(data()))
    for ours, theirs in zip(other_state(model), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert settings(model.layers[2]) == set_before
    assert not np.allclose(model.layers[2].moving_mean, statistics)
    # The dropout was at work: its masks are those of the restored seed, so it repeats.
    once = model.layers[2].moving_mean.numpy()
    reestimate_batch_norm(model, batches(data()))
    np.testing.assert_array_equal(model.layers[2].moving_mean, once)


def test_an_exception_leaves_all_as_it_was():
    model = busy_model()
    before, set_before = model.get_weights(), settings(model.layers[2])

    def broken():
        yield data(8)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        reestimate_batch_norm(model, broken())
    assert settings(model.layers[2]) == set_before
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_errors():
    model = single(keras.layers.Dense(1))
    with pytest.raises(ValueError, match="must have a BatchNormalization layer"):
        reestimate_batch_norm(model, [data()])
    model = single(BATCH_NORM())
    with pytest.raises(ValueError, match="`data` must hold at least one batch"):
        reestimate_batch_norm(model, [])
    with pytest.raises(ValueError, match="`data` must hold at least one batch"):
        reestimate_batch_norm(model, [data()[:0]])
    with pytest.raises(ValueError, match=r"`model` must be built\. .*model=late"):
        reestimate_batch_norm(keras.Sequential([BATCH_NORM()], name="late"), [data()])


class Doubled(BATCH_NORM):
    def call(self, inputs, **kwargs):
        return super().call(2 * inputs, **kwargs)


def test_a_call_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match=r"must have no .* with a `call` of its own"):
        reestimate_batch_norm(single(Doubled()), [data()])

    class Compiled(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm = BATCH_NORM()

        @tf.function
        def call(self, inputs, training=None):
            return self.norm(inputs, training=training)

    model = Compiled()
    model(data())
    before = model.norm.call
    with pytest.raises(ValueError, match="`model` must call its layers eagerly"):
        reestimate_batch_norm(model, [data()])
    assert model.norm.call == before
