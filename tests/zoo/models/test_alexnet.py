import keras
import numpy as np
import pytest

from zoo.models import alexnet


def test_count_of_zhang():
    """Zhang et al., 2017, Table 1: CIFAR-10 cropped to 28 x 28 x 3."""
    assert alexnet((28, 28, 3), 10, normalization=None).count_params() == 1_387_786


def test_layers():
    model = alexnet((28, 28, 3), 10)
    kernels = [
        tuple(layer.kernel.shape)
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    ]
    assert kernels == [
        (5, 5, 3, 64),
        (5, 5, 64, 64),
        (7 * 7 * 64, 384),
        (384, 192),
        (192, 10),
    ]
    pools = [x for x in model.layers if isinstance(x, keras.layers.MaxPooling2D)]
    assert [pool.output.shape for pool in pools] == [
        (None, 14, 14, 64),
        (None, 7, 7, 64),
    ]
    assert {(pool.pool_size, pool.strides) for pool in pools} == {((3, 3), (2, 2))}


def test_arguments_for_a_small_net():
    model = alexnet((8, 8, 1), 10, filters=(16, 32), units=(24,), pool_size=2)
    assert model.get_layer("conv2").kernel.shape == (5, 5, 16, 32)
    assert model.get_layer("conv2_pool").pool_size == (2, 2)
    assert model.get_layer("dense1").kernel.shape == (2 * 2 * 32, 24)


def test_dropout_thins_the_dense_layers_in_training_only():
    images = np.ones((2, 8, 8, 1))
    model = alexnet((8, 8, 1), 10, filters=(4, 4), normalization=None, dropout=0.5)
    rates = [x.rate for x in model.layers if isinstance(x, keras.layers.Dropout)]
    assert rates == [0.5, 0.5]
    still, moving = (model(images, training=training) for training in (False, True))
    np.testing.assert_allclose(still[0], still[1], atol=1e-6)
    assert not np.allclose(moving[0], moving[1])


@pytest.mark.parametrize("name", ["filters", "units"])
@pytest.mark.parametrize("sizes", [(), 64, (64, 0), (1.5,)])
def test_bad_sizes(name, sizes):
    with pytest.raises(ValueError, match=rf"`{name}` must hold one or more .*Received"):
        alexnet((8, 8, 1), 10, **{name: sizes})
