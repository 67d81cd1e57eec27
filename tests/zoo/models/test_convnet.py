import keras
import pytest

from zoo.models import convnet


def test_the_default_is_the_network_of_amid_et_al():
    model = convnet((28, 28, 1), 10)
    convolutions = (25 + 1) * 32 + (25 * 32 + 1) * 64
    dense = (7 * 7 * 64 + 1) * 1024 + (1024 + 1) * 10
    assert model.count_params() == convolutions + dense
    assert model.get_layer("conv2_pool").output.shape == (None, 7, 7, 64)


def test_dropout_follows_each_dense_layer():
    model = convnet((8, 8, 1), 4, units=(16, 8), dropout=0.3)
    rates = {
        layer.input.name: layer.rate
        for layer in model.layers
        if isinstance(layer, keras.layers.Dropout)
    }
    assert rates == {
        model.get_layer(f"dense{index}_relu").output.name: 0.3 for index in (1, 2)
    }


def test_batch_normalisation_takes_the_place_of_biases():
    model = convnet((8, 8, 1), 4, normalization="batch")
    assert model.get_layer("conv1").bias is None
    assert model.get_layer("dense1_norm").epsilon == 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": ()}, r"`filters` must hold .*Received: filters=\(\)"),
        ({"units": (0,)}, r"`units` must hold .*Received: units=\(0,\)"),
        ({"filters": (2,) * 4}, r"`input_shape` must be at least 16 .*\(8, 8, 1\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        convnet((8, 8, 1), 4, **arguments)
