import functools

import keras
import numpy as np
import pytest

from zoo.models import resnet

IMAGENET = ((224, 224, 3), 1000)
CIFAR = ((32, 32, 3), 10)

built = functools.cache(resnet)  # for tests that only look


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def shapes(model, suffix):
    """The output of the last block of each stage that has that suffix."""
    stages = {}
    for layer in model.layers:
        if layer.name.startswith("stage") and layer.name.endswith(suffix):
            stages[layer.name.partition("_")[0]] = layer.output.shape[1:]
    return list(stages.values())


@pytest.mark.parametrize(
    "depth, count, stages",
    [
        (18, 11_689_512, (2, 2, 2, 2)),
        (34, 21_797_672, (3, 4, 6, 3)),
        (50, 25_557_032, (3, 4, 6, 3)),
        (101, 44_549_160, (3, 4, 23, 3)),
    ],
)
def test_imagenet_nets(depth, count, stages):
    """The counts of torchvision's nets, the stages of He et al., Table 1."""
    model = resnet(depth, *IMAGENET)
    assert trainable(model) == count
    expansion = 4 if depth >= 50 else 1
    assert model.get_layer("stem").output.shape == (None, 112, 112, 64)
    assert shapes(model, "_relu") == [
        (side, side, filters * expansion)
        for side, filters in zip((56, 28, 14, 7), (64, 128, 256, 512), strict=True)
    ]
    names = [x.name for x in model.layers if isinstance(x, keras.layers.Add)]
    assert names == [
        f"stage{stage}_block{index}_add"
        for stage, blocks in enumerate(stages, start=1)
        for index in range(1, blocks + 1)
    ]
    convs = sum(
        isinstance(layer, keras.layers.Conv2D) and "shortcut" not in layer.name
        for layer in model.layers
    )
    assert convs + 1 == depth  # and the dense layer


@pytest.mark.parametrize("depth, count", [(18, 11_173_962), (50, 23_520_842)])
def test_imagenet_nets_with_cifar_stem(depth, count):
    assert trainable(built(depth, *CIFAR)) == count


@pytest.mark.parametrize(
    "depth, count, published",
    [
        (20, 269_722, 0.27),
        (32, 464_154, 0.46),
        (44, 658_586, 0.66),
        (56, 853_018, 0.85),
    ],
)
def test_cifar_nets(depth, count, published):
    """He et al., Table 6, in millions."""
    model = built(depth, *CIFAR)
    assert trainable(model) == count
    assert round(count / 1e6, 2) == published
    assert shapes(model, "_relu") == [(32, 32, 16), (16, 16, 32), (8, 8, 64)]
    convs = sum(isinstance(layer, keras.layers.Conv2D) for layer in model.layers)
    assert convs + 1 == depth


@pytest.mark.parametrize("side", [8, 28, 7, 9])
def test_padded_shortcut_equals_numpy(side):
    """Every second pixel, then channels of zeros up to twice as many."""
    model = resnet(20, (side, side, 1), 10)
    entry = model.get_layer("stage1_block3_relu").output
    shortcut = model.get_layer("stage2_block1_shortcut_pad").output
    images = np.random.default_rng(0).normal(size=(2, side, side, 1))
    x, y = keras.Model(model.input, [entry, shortcut])(images)
    np.testing.assert_array_equal(
        y, np.pad(np.asarray(x)[:, ::2, ::2], [(0, 0)] * 3 + [(0, 16)])
    )
    half = -(-side // 2)
    assert shapes(model, "_relu")[1:] == [
        (half, half, 32),
        (-(-half // 2), -(-half // 2), 64),
    ]


def test_bottleneck_strides_in_its_3x3():
    model = built(50, *CIFAR)
    convs = [model.get_layer(f"stage2_block1_conv{index}") for index in (1, 2, 3)]
    assert [(c.kernel_size[0], c.strides[0], c.filters) for c in convs] == [
        (1, 1, 128),
        (3, 2, 128),
        (1, 1, 512),
    ]
    shortcut = model.get_layer("stage2_block1_shortcut")
    assert (shortcut.kernel_size, shortcut.strides) == ((1, 1), (2, 2))


@pytest.mark.parametrize("side", [8, 9])
def test_strided_convolution_is_centred_on_the_shortcut_pixels(side):
    """A kernel of one centred 1 keeps the pixels that the shortcut keeps."""
    model = resnet(20, (side, side, 1), 10, normalization=None)
    conv = model.get_layer("stage2_block1_conv1")
    kernel = np.zeros(conv.kernel.shape)
    kernel[1, 1, :16, :16] = np.eye(16)
    conv.set_weights([kernel, np.zeros(32)])
    outputs = [conv.output, model.get_layer("stage2_block1_shortcut_pad").output]
    images = np.random.default_rng(0).normal(size=(2, side, side, 1))
    x, y = keras.Model(model.input, outputs)(images)
    np.testing.assert_allclose(x, y, atol=1e-5)


@pytest.mark.parametrize(
    "depth, block, summands",
    [
        (20, "stage1_block2", ["stage1_block1_relu", "stage1_block2_conv2_norm"]),
        (18, "stage2_block1", ["{}_shortcut_norm", "{}_conv2_norm"]),
        (50, "stage1_block1", ["{}_shortcut_norm", "{}_conv3_norm"]),
    ],
)
def test_block_adds_its_shortcut_before_the_relu(depth, block, summands):
    model = built(depth, *CIFAR)
    names = [*(name.format(block) for name in summands), f"{block}_relu"]
    outputs = [model.get_layer(name).output for name in names]
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3))
    shortcut, branch, y = keras.Model(model.input, outputs)(images)
    assert np.min(branch) < 0
    np.testing.assert_allclose(y, np.maximum(shortcut + branch, 0), atol=1e-6)


@pytest.mark.parametrize(
    "shape, arguments, side",
    [
        ((63, 100, 3), {}, 63),
        ((64, 64, 3), {}, 16),
        ((64, 64, 3), {"stem": "cifar"}, 64),
        ((32, 32, 3), {"stem": "imagenet"}, 8),
    ],
)
def test_stem(shape, arguments, side):
    model = resnet(20, shape, 10, **arguments)
    assert shapes(model, "_relu")[0][0] == side


@pytest.mark.parametrize(
    "depth, stem", [(18, "cifar"), (18, "imagenet"), (50, "imagenet")]
)
def test_imagenet_nets_take_digits(depth, stem):
    model = resnet(depth, (8, 8, 1), 10, stem=stem)
    assert model(np.ones((2, 8, 8, 1))).shape == (2, 10)


@pytest.mark.parametrize("depth", [0, 19, 110, "18", None])
def test_bad_depth(depth):
    with pytest.raises(ValueError, match=r"`depth` must be one of \(18, 20, .*Rec"):
        resnet(depth, *CIFAR)


@pytest.mark.parametrize("stem", ["", "cifar10", None])
def test_bad_stem(stem):
    with pytest.raises(ValueError, match=r"`stem` must be one of .*Received: stem"):
        resnet(20, *CIFAR, stem=stem)
