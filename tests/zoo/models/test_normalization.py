"""The normalization argument, and what every builder shares because of it."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.layers import GhostBatchNorm
from zoo.models import alexnet, all_cnn, convnet, mlp, normalization_layer, resnet

DIGITS = (8, 8, 1)
BATCH = 12

SMALL = {
    "mlp": functools.partial(mlp, units=(16, 12)),
    "all_cnn": functools.partial(all_cnn, filters=(4,) * 3 + (6,) * 5),
    "alexnet": functools.partial(alexnet, filters=(4, 6), units=(16, 12)),
    "convnet": functools.partial(convnet, filters=(4, 6), units=(16, 12)),
    "resnet20": functools.partial(resnet, 20),
}
every_builder = pytest.mark.parametrize("build", SMALL.values(), ids=SMALL)


def digits(batch=BATCH, shape=DIGITS):
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(batch, *shape)).astype("float32"),
        np.arange(batch) % 10,
    )


@pytest.fixture
def mixed_bfloat16():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_dtype_policy(before)


def test_layer_of_each_normalization():
    assert normalization_layer(None) is None
    assert normalization_layer("none") is None
    batch = normalization_layer("batch", name="norm")
    ghost = normalization_layer("ghost", 16, name="norm")
    assert type(batch) is keras.layers.BatchNormalization
    assert type(ghost) is GhostBatchNorm
    assert ghost.virtual_batch_size == 16
    for layer in (batch, ghost):
        assert (layer.name, layer.momentum, layer.epsilon) == ("norm", 0.9, 1e-5)


@pytest.mark.parametrize("name", ["layer", "", 1, "Batch"])
@every_builder
def test_unknown_normalization(build, name):
    with pytest.raises(ValueError, match=r"`normalization` must be .*Received: norm"):
        build(DIGITS, 10, normalization=name)


@every_builder
def test_bias_stands_where_no_normalization_follows(build):
    def names(normalization):
        model = build(DIGITS, 10, normalization=normalization)
        return {w.path.partition("/")[2] for w in model.trainable_weights}

    plain, normalized = names("none"), names("batch")
    assert plain == names(None)
    assert {path for path in normalized if path.endswith("/bias")} == {
        path
        for path in plain
        if path.endswith("/bias") and path.startswith(("logits", "conv9"))
    }
    for path in plain - normalized:
        layer = path.removesuffix("/bias")
        assert {f"{layer}_norm/gamma", f"{layer}_norm/beta"} <= normalized


@pytest.mark.parametrize("normalization", ["none", "batch", "ghost"])
@every_builder
def test_gradient_reaches_every_weight(build, normalization):
    keras.utils.set_random_seed(0)
    model = build(DIGITS, 10, normalization=normalization, virtual_batch_size=6)
    images, labels = digits()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        value = loss(labels, model(images, training=True))
    for weight, gradient in zip(
        model.trainable_weights,
        tape.gradient(value, model.trainable_weights),
        strict=True,
    ):
        assert gradient is not None, weight.path
        assert np.any(gradient.numpy()), weight.path


@every_builder
def test_ghost_of_a_whole_batch_equals_batch(build):
    batch = build(DIGITS, 10, normalization="batch")
    ghost = build(DIGITS, 10, normalization="ghost", virtual_batch_size=BATCH)
    ghost.set_weights(batch.get_weights())
    images, _ = digits()
    np.testing.assert_allclose(
        ghost(images, training=True), batch(images, training=True), atol=1e-4
    )
    for one, other in zip(ghost.weights, batch.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6, err_msg=one.path)


@every_builder
def test_ghosts_see_only_their_own_samples(build):
    """The second ghost's logits do not move with the first ghost's images."""
    model = build(DIGITS, 10, normalization="ghost", virtual_batch_size=BATCH // 2)
    images, _ = digits()
    before = model(images, training=True)
    images[: BATCH // 2] *= 2.0
    after = model(images, training=True)
    np.testing.assert_allclose(before[BATCH // 2 :], after[BATCH // 2 :], atol=1e-5)


@every_builder
def test_fit_runs_and_moves_every_weight(build):
    model = build(DIGITS, 10)
    before = model.get_weights()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(*digits(), batch_size=BATCH, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    for weight, old in zip(model.weights, before, strict=True):
        assert np.any(weight.numpy() != old), weight.path


# Keras reads TensorFlow variables in the way of NumPy 1.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@every_builder
def test_ghost_model_saves_loads_and_clones(build, tmp_path):
    model = build(DIGITS, 10, normalization="ghost", virtual_batch_size=6)
    images, _ = digits()
    model(images, training=True)  # moves the running statistics off their start
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    cloned = keras.models.clone_model(model)
    cloned.set_weights(model.get_weights())
    for copy in (loaded, cloned):
        np.testing.assert_allclose(copy(images), model(images), atol=1e-6)
        ghosts = [x for x in copy.layers if isinstance(x, GhostBatchNorm)]
        assert ghosts and {x.virtual_batch_size for x in ghosts} == {6}


@every_builder
def test_logits_are_float32_in_mixed_precision(build, mixed_bfloat16):
    model = build(DIGITS, 10, normalization="batch")
    images, _ = digits(4)
    assert model.layers[1].compute_dtype == "bfloat16"
    outputs = model(images, training=True)
    assert outputs.dtype == tf.float32
    # Not merely cast: the last weights work in float32 too.
    assert [x for x in model.layers if x.weights][-1].compute_dtype == "float32"


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 11, 2), (28, 28, 1), (32, 32, 3)])
@every_builder
def test_image_sizes(build, shape):
    model = build(shape, 3)
    images, _ = digits(2, shape)
    assert model.output_shape == (None, 3)
    assert model(images).shape == (2, 3)


@pytest.mark.parametrize("num_classes", [1, 0, -3, 2.5, None, "10"])
@every_builder
def test_bad_num_classes(build, num_classes):
    with pytest.raises(ValueError, match=r"`num_classes` must be .*Received: num_c"):
        build(DIGITS, num_classes)


@pytest.mark.parametrize("shape", [(), 64, None, (8, 8, 0), (None, 8, 1), (8, 8.0, 1)])
@every_builder
def test_bad_input_shape(build, shape):
    with pytest.raises(ValueError, match=r"`input_shape` must .*Received: input_shape"):
        build(shape, 10)


@pytest.mark.parametrize("name", ["all_cnn", "alexnet", "convnet", "resnet20"])
@pytest.mark.parametrize("shape", [(8, 8), (64,), (1, 8, 8, 1)])
def test_images_have_three_axes(name, shape):
    with pytest.raises(ValueError, match=r"`input_shape` must hold 3 positive"):
        SMALL[name](shape, 10)
