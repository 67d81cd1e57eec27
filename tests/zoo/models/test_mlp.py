import keras
import numpy as np
import pytest

from zoo.models import mlp


@pytest.mark.parametrize("depth, count", [(1, 1_209_866), (3, 1_735_178)])
def test_counts_of_zhang(depth, count):
    """Zhang et al., 2017, Table 1: CIFAR-10 cropped to 28 x 28 x 3."""
    model = mlp((28, 28, 3), 10, units=(512,) * depth, normalization=None)
    assert model.count_params() == count


def test_default_is_f1_of_keskar():
    model = mlp((28, 28, 1), 10)
    kernels = [784 * 512, *4 * [512 * 512], 512 * 10]
    scales, shifts, biases = 5 * 512, 5 * 512, 10
    counts = [int(np.prod(weight.shape)) for weight in model.trainable_weights]
    assert sum(counts) == sum(kernels) + scales + shifts + biases == 1_460_234
    assert [type(layer) for layer in model.layers] == [
        keras.layers.InputLayer,
        keras.layers.Flatten,
        *5 * [keras.layers.Dense, keras.layers.BatchNormalization, keras.layers.ReLU],
        keras.layers.Dense,
    ]


@pytest.mark.parametrize("shape", [(64,), (8, 8), (2, 4, 4, 2)])
def test_any_rank_is_flattened(shape):
    model = mlp(shape, 10, units=[7])
    assert model.get_layer("dense1").kernel.shape == (64, 7)


def test_equals_numpy():
    model = mlp((5,), 3, units=(4, 6), normalization=None)
    w1, b1, w2, b2, w3, b3 = (w.astype("float64") for w in model.get_weights())
    x = np.random.default_rng(0).normal(size=(7, 5))
    hidden = np.maximum(np.maximum(x @ w1 + b1, 0) @ w2 + b2, 0)
    np.testing.assert_allclose(model(x), hidden @ w3 + b3, atol=1e-5)


@pytest.mark.parametrize("units", [(), 512, (512, 0), (8.0,), (-1,), None, "512"])
def test_bad_units(units):
    with pytest.raises(ValueError, match=r"`units` must hold one or more .*Received"):
        mlp((8, 8, 1), 10, units=units)
