import functools
import math
from itertools import pairwise

import keras
import numpy as np
import pytest

from zoo.models import keskar

built = functools.cache(keskar)

# Filters and dense layers of the paper's appendix B.
VGG = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]


def kernels(model):
    return [
        tuple(layer.kernel.shape)
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    ]


EXPECTED = {
    "F1": [(784, 512), *4 * [(512, 512)], (512, 10)],
    "F2": [(360, 512), *6 * [(512, 512)], (512, 1973)],
    "C1": [(5, 5, 3, 64), (5, 5, 64, 64), (4096, 384), (384, 192), (192, 10)],
    "C2": [*((3, 3, *pair) for pair in pairwise(VGG)), (512, 512), (512, 10)],
}
EXPECTED["C3"] = [*EXPECTED["C1"][:-1], (192, 100)]
EXPECTED["C4"] = [*EXPECTED["C2"][:-1], (512, 100)]


@pytest.mark.parametrize("network", EXPECTED)
def test_sizes(network):
    """Each hidden kernel is normalised by a scale and a shift, and without a bias."""
    shapes = EXPECTED[network]
    model = built(network)
    assert kernels(model) == shapes
    hidden = sum(shape[-1] for shape in shapes[:-1])
    trainable = sum(map(math.prod, shapes)) + 2 * hidden + shapes[-1][-1]
    assert sum(math.prod(w.shape) for w in model.trainable_weights) == trainable
    assert model.count_params() == trainable + 2 * hidden


def test_counts_of_the_literature():
    # The convolutions of VGG-16, as keras.applications states: 14,714,688.
    head = 512 * 512 + 512 + 512 * 10 + 10
    assert keskar("C2", normalization="none").count_params() == 14_714_688 + head
    # Zhang et al., 2017, Table 1, where it is of 28 x 28 x 3.
    zhang = keskar("C1", (28, 28, 3), normalization="none")
    assert zhang.count_params() == 1_387_786
    # 1.47 million, moving statistics included.
    assert built("F1").count_params() == 1_465_354


def test_poolings_of_the_deep_networks():
    pools = [x for x in built("C2").layers if isinstance(x, keras.layers.MaxPooling2D)]
    assert [pool.output.shape[1:] for pool in pools] == [
        (16, 16, 64),
        (8, 8, 128),
        (4, 4, 256),
        (2, 2, 512),
        (1, 1, 512),
    ]


@pytest.mark.parametrize("network, dropouts", [("F1", 0), ("C1", 2), ("C2", 1)])
def test_dropout_follows_hidden_dense_layers_of_convolutional_networks(
    network, dropouts
):
    layers = keskar(network, (12, 12, 1), 4, dropout=0.25).layers
    after = [
        previous.name
        for previous, layer in pairwise(layers)
        if isinstance(layer, keras.layers.Dropout) and layer.rate == 0.25
    ]
    assert after == [f"dense{index + 1}_relu" for index in range(dropouts)]


@pytest.mark.parametrize("network", ["F1", "C1", "C2"])
def test_other_data(network):
    model = keskar(network, (9, 11, 2), 7, normalization="ghost", virtual_batch_size=4)
    x = np.random.default_rng(0).normal(size=(3, 9, 11, 2))
    assert model(x).shape == (3, 7)


def test_vectors():
    assert keskar("F2", (8,), 3).get_layer("dense1").kernel.shape == (8, 512)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"`network` must be one of .*network='F3'"):
        keskar("F3")
    with pytest.raises(ValueError, match=r"`input_shape` must hold 3 positive"):
        keskar("C2", (8,))
    with pytest.raises(ValueError, match=r"`normalization` must be"):
        keskar("C1", normalization="layer")
