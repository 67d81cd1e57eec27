import keras
import numpy as np
import pytest

from zoo.models import all_cnn

SPRINGENBERG = (96, 96, 96, 192, 192, 192, 192, 192)
ACHILLE = (96, 96, 192, 192, 192, 192, 192, 192)
KERNELS = (3, 3, 3, 3, 3, 3, 3, 1, 1)
SIDES = (32, 32, 16, 16, 16, 8, 8, 8, 8)


def test_count_of_springenberg():
    assert all_cnn((32, 32, 3), 10, normalization=None).count_params() == 1_369_738


@pytest.mark.parametrize(
    "filters, arguments",
    [(SPRINGENBERG, {}), (ACHILLE, {"filters": ACHILLE})],
    ids=["springenberg", "achille"],
)
def test_convolutions(filters, arguments):
    model = all_cnn((32, 32, 3), 10, **arguments)
    convs = [x for x in model.layers if isinstance(x, keras.layers.Conv2D)]
    sizes = (3, *filters, 10)
    assert [conv.kernel.shape for conv in convs] == [
        (side, side, sizes[i], sizes[i + 1]) for i, side in enumerate(KERNELS)
    ]
    assert [conv.output.shape for conv in convs] == [
        (None, side, side, sizes[i + 1]) for i, side in enumerate(SIDES)
    ]
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    kernels = sum(int(np.prod(conv.kernel.shape)) for conv in convs)
    assert trainable == kernels + 2 * sum(filters) + 10


def test_logits_are_the_mean_of_the_class_maps():
    model = all_cnn((8, 8, 1), 4, filters=(4,) * 8)
    maps = keras.Model(model.input, model.get_layer("conv9").output)
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 1))
    assert np.min(maps(images)) < 0  # linear: no ReLU on the class maps
    np.testing.assert_allclose(
        model(images), np.mean(maps(images), axis=(1, 2)), atol=1e-6
    )


def test_dropout_follows_the_input_and_each_stride():
    model = all_cnn((8, 8, 1), 10, filters=(4,) * 8, input_dropout=0.2, dropout=0.5)
    rates = {
        layer.input.name: layer.rate
        for layer in model.layers
        if isinstance(layer, keras.layers.Dropout)
    }
    assert rates == {
        model.inputs[0].name: 0.2,
        model.get_layer("conv3_relu").output.name: 0.5,
        model.get_layer("conv6_relu").output.name: 0.5,
    }


@pytest.mark.parametrize("filters", [(), (16,) * 7, (16,) * 9, (16,) * 7 + (0,), 16])
def test_bad_filters(filters):
    with pytest.raises(ValueError, match=r"`filters` must hold 8 positive .*Received"):
        all_cnn((8, 8, 1), 10, filters=filters)
