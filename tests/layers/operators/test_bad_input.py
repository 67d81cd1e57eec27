import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.layers.operators import (
    Blur,
    Compose,
    Downsample,
    FourierMask,
    GaussianMatrix,
    Identity,
    PixelMask,
    Stack,
    StructuredRandom,
)

SHAPE = (6, 8, 1)
ONES = np.ones((6, 8))


def with_nan(array):
    array = np.array(array, "float64")
    array.flat[0] = np.nan
    return array


def frequencies():
    return FourierMask(SHAPE, ONES)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Identity((6, 8)), "`image_shape` must be three ints"),
        (lambda: Identity((6, 0, 1)), "`image_shape` must be three ints"),
        (lambda: Identity((6, 8.0, 1)), "`image_shape` must be three ints"),
        (lambda: Identity(None), "`image_shape` must be three ints"),
        (lambda: PixelMask(SHAPE, np.ones((8, 6))), r"shape \(6, 8\) or \(6, 8, 1\)"),
        (lambda: PixelMask(SHAPE, 0.5 * ONES), "`mask` must be zeros and ones"),
        (lambda: PixelMask(SHAPE, 0 * ONES), "at least one of them 1"),
        (lambda: PixelMask(SHAPE, with_nan(ONES)), "`mask` must be finite.* 1 values"),
        (lambda: PixelMask(SHAPE, 1j * ONES), "`mask` must be an array of real"),
        (lambda: FourierMask(SHAPE, np.ones(SHAPE)), r"the shape \(6, 8\)\. Received"),
        (lambda: FourierMask(SHAPE, 255 * ONES), "from 255 to 255"),
        (lambda: Blur(SHAPE, np.ones((2, 3))), "`kernel` must have two odd sizes"),
        (lambda: Blur(SHAPE, np.ones((7, 3))), r"no larger than the image's \(6, 8\)"),
        (lambda: Blur(SHAPE, np.ones(3)), "`kernel` must have two odd sizes"),
        (lambda: Blur(SHAPE, with_nan(np.ones((3, 3)))), "`kernel` must be finite"),
        (lambda: Blur(SHAPE, [[1.0]], "wrap"), "`boundary` must be one of"),
        (lambda: Downsample(SHAPE, 4), "`factor` must divide"),
        (lambda: Downsample(SHAPE, 0), "`factor` must be an int from 1 to 6"),
        (lambda: Downsample(SHAPE, 2.0), "`factor` must be an int from 1 to 6"),
        (lambda: Downsample(SHAPE, 2, "mean"), "`kind` must be one of"),
        (lambda: GaussianMatrix(SHAPE, 0), "`num_measurements` must be an int from 1"),
        (lambda: GaussianMatrix(SHAPE, 9, -1), "`seed` must be an int from 0 up"),
        (lambda: StructuredRandom(SHAPE, 49), "must be an int from 1 to 48"),
        (lambda: StructuredRandom(SHAPE, 9, "fft"), "`kind` must be one of"),
        (lambda: StructuredRandom(SHAPE, 9, "hadamard"), "a power of two.* 48 in all"),
        (lambda: Stack(None), "`operators` must be made of .* NoneType"),
        (lambda: Stack([]), "`operators` must be one or more"),
        (lambda: Stack([Identity(SHAPE), 3]), "`operators` must be made of .* int"),
        (lambda: Stack([Identity(SHAPE), Identity((8, 6, 1))]), "of one `image_shape`"),
        (lambda: Compose(3, Identity(SHAPE)), "`outer` must be made of"),
        (lambda: Compose(Identity((3, 3, 1)), Identity(SHAPE)), "`inner` must measure"),
        (lambda: Compose(Identity(SHAPE), frequencies()), "inner with complex"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("shape", [(6, 8, 1), (1, 8, 6, 1), (1, 6, 8, 3)])
def test_images_of_another_shape_are_refused(shape):
    x, y = np.ones(shape), np.ones((1, *SHAPE))
    operator = PixelMask(SHAPE, ONES)
    calls = (
        operator,
        operator.gram,
        lambda x: operator(keras.KerasTensor(x.shape)),
        lambda x: operator.prox_l2(x, y, 1.0),
        tf.function(lambda x: operator(x)),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"`x` must have the shape .batch, 6, 8"):
            call(x)
    for call in (operator.adjoint, lambda y: operator.prox_l2(y * 0 + 1, y, 1.0)):
        with pytest.raises(ValueError, match="must have the shape"):
            call(x)


@pytest.mark.parametrize(
    "step",
    [
        0.0,
        -1.0,
        float("nan"),
        float("inf"),
        [1.0, 0.0],
        [[1.0, 2.0]],
        tf.constant(0.0),
        keras.Variable(-1.0),
    ],
)
def test_steps_that_are_not_above_zero_are_refused(step):
    operator = Identity(SHAPE)
    x = np.ones((2, *SHAPE))
    with pytest.raises(ValueError, match="`step` must be a finite number above 0"):
        operator.prox_l2(x, x, step)


def test_complex_numbers_are_refused_where_all_is_real():
    operator, x = Identity(SHAPE), 1j * np.ones((1, *SHAPE))
    with pytest.raises(ValueError, match="`y` must be real, as the operator's"):
        operator.adjoint(x)
    with pytest.raises(ValueError, match="`x` must be real"):
        operator(x)


def test_dense_refuses_large_images():
    with pytest.raises(ValueError, match="images of 4096 numbers at most"):
        Identity((65, 64, 1)).dense()
