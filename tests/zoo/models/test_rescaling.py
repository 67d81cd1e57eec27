"""Rescaled networks against NumPy, and against the function they must keep."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.models import alexnet, all_cnn, convnet, keskar, mlp, rescale, resnet

NONE = {"normalization": "none"}
BUILDERS = {
    "mlp": lambda: mlp((6, 6, 1), 4, units=(9, 8, 7), **NONE),
    "alexnet": lambda: alexnet((8, 8, 2), 4, filters=(5, 6), units=(9, 8), **NONE),
    "convnet": lambda: convnet((8, 8, 1), 4, filters=(5, 6), units=(9,), **NONE),
    "all_cnn": lambda: all_cnn((8, 8, 1), 4, filters=(4,) * 8, dropout=0.5, **NONE),
    "C1": lambda: keskar("C1", (8, 8, 1), 4, **NONE),
}


def images(model, rows=5, seed=0):
    shape = (rows, *model.input_shape[1:])
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def with_biases(model, seed=0):
    """Gives biases, which start at 0, values of their own."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name == "bias":
            weight.assign(generator.normal(size=weight.shape))
    return model


def by_name(model, name):
    layer = model.get_layer(name)
    return layer.kernel.numpy(), layer.bias.numpy()


@pytest.mark.parametrize("alpha", [5.0, 0.03])
@pytest.mark.parametrize("builder", BUILDERS)
def test_same_logits_with_other_weights(builder, alpha):
    model = with_biases(BUILDERS[builder]())
    before = model.get_weights()
    scaled, x = rescale(model, alpha), images(model)
    logits = model(x).numpy()
    assert np.abs(scaled(x) - logits).max() <= 1e-5 * max(1, np.abs(logits).max())
    for weight, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)
    moved = [
        not np.array_equal(new, old)
        for new, old in zip(scaled.get_weights(), before, strict=True)
    ]
    # The first kernel, the last, and all biases but the last.
    assert sum(moved) == 2 + len(before) // 2 - 1


def test_all_pairs_scale_hidden_activations():
    model = with_biases(mlp((5,), 3, units=(4, 6), **NONE))
    w1, b1, w2, b2, w3, b3 = model.get_weights()
    expected = [3 * w1, 3 * b1, w2, 3 * b2, w3 / 3, b3]
    scaled = rescale(model, 3)
    for actual, wanted in zip(scaled.get_weights(), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-6)
    x = np.random.default_rng(1).normal(size=(7, 5))
    hidden = np.maximum(np.maximum(x @ w1 + b1, 0) @ w2 + b2, 0)
    np.testing.assert_allclose(scaled(x), hidden @ w3 + b3, atol=1e-5)
    activations = keras.Model(scaled.input, scaled.get_layer("dense2_relu").output)
    np.testing.assert_allclose(activations(x), 3 * hidden, rtol=1e-4, atol=1e-5)


def test_named_pairs_scale_no_other_layer():
    model = with_biases(alexnet((8, 8, 1), 3, filters=(4, 5), units=(7, 6), **NONE))
    scaled, x = rescale(model, 0.25, [("conv2", "dense1")]), images(model)
    for name in ("conv1", "conv2", "dense1", "dense2", "logits"):
        (kernel, bias), (old_kernel, old_bias) = (
            by_name(one, name) for one in (scaled, model)
        )
        factor, shift = {"conv2": (0.25, 0.25), "dense1": (4, 1)}.get(name, (1, 1))
        np.testing.assert_array_equal(kernel, factor * old_kernel)
        np.testing.assert_array_equal(bias, shift * old_bias)
    # Powers of two are exact.
    np.testing.assert_array_equal(scaled(x), model(x))


@given(st.floats(-12, 12), st.integers(0, 10))
@settings(max_examples=30)
def test_any_factor(exponent, seed):
    alpha = 10.0**exponent
    model = with_biases(mlp((5,), 3, units=(4, 6), **NONE), seed)
    x = images(model, seed=seed)
    np.testing.assert_allclose(rescale(model, alpha)(x), model(x), atol=1e-5, rtol=1e-5)


def test_its_own_inverse():
    model = with_biases(mlp((5,), 3, units=(4, 6), **NONE))
    back = rescale(rescale(model, 8.0), 1 / 8)
    for new, old in zip(back.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def sequential(*layers):
    return with_biases(
        keras.Sequential([keras.Input((6, 6, 2)), *layers, keras.layers.Dense(3)])
    )


@pytest.mark.parametrize(
    "between",
    [
        [keras.layers.ReLU(negative_slope=0.1), keras.layers.AveragePooling2D(2)],
        [keras.layers.LeakyReLU(), keras.layers.Flatten(), keras.layers.Dropout(0.5)],
        [keras.layers.PReLU(alpha_initializer="uniform")],
        [keras.layers.Activation("relu"), keras.layers.ZeroPadding2D()],
        [keras.layers.ReLU(), keras.layers.GlobalMaxPooling2D()],
        [],
    ],
    ids=lambda layers: "-".join(type(layer).__name__ for layer in layers),
)
def test_sequential_models_and_homogeneous_layers(between):
    model = sequential(keras.layers.Conv2D(4, 3, activation="relu"), *between)
    scaled, x = rescale(model, 5.0), images(model)
    assert isinstance(scaled, keras.Sequential)
    np.testing.assert_allclose(scaled(x), model(x), atol=1e-5)
    assert not np.allclose(scaled.layers[0].kernel, model.layers[0].kernel)


@pytest.mark.parametrize(
    "layer, said",
    [
        (keras.layers.BatchNormalization(name="odd"), "takes the scale out again"),
        (keras.layers.LayerNormalization(name="odd"), "takes the scale out again"),
        (keras.layers.Activation("tanh", name="odd"), "Activation"),
        (keras.layers.ReLU(max_value=6, name="odd"), "ReLU"),
        (keras.layers.ReLU(threshold=1, name="odd"), "ReLU"),
        (keras.layers.ELU(name="odd"), "ELU"),
        (keras.layers.Softmax(name="odd"), "Softmax"),
        (keras.layers.Rescaling(2.0, 1.0, name="odd"), "Rescaling"),
        (keras.layers.Dense(4, activation="gelu", name="odd"), "not positively homog"),
        (keras.layers.Dense(4, activation="sigmoid", name="odd"), "not positively"),
    ],
    ids=str,
)
def test_what_does_not_carry_a_scale_is_named(layer, said):
    model = sequential(keras.layers.Dense(4, name="first"), layer)
    with pytest.raises(ValueError, match=rf"cannot carry .*through 'odd' .*{said}"):
        rescale(model, 2.0)


def test_residual_branches_are_named():
    with pytest.raises(
        ValueError,
        match=r"from layer 'stem' on through 'stem_relu' \(ReLU\), whose out",
    ):
        rescale(resnet(20, (8, 8, 1), 3, **NONE), 2.0)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(4, name="first")(inputs)
    x = keras.layers.Add(name="sum")([x, inputs])
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    with pytest.raises(ValueError, match=r"'first' on through 'sum' \(Add\)"):
        rescale(model, 2.0)


def test_hidden_outputs_are_named():
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(4, name="first")(inputs)
    model = keras.Model(inputs, [hidden, keras.layers.Dense(3)(hidden)])
    with pytest.raises(ValueError, match=r"'first' \(Dense\), whose output goes"):
        rescale(model, 2.0)


def test_shared_layers_are_named():
    inputs = keras.Input((4,))
    shared = keras.layers.Dense(4, name="shared")
    model = keras.Model(inputs, keras.layers.Dense(3)(shared(shared(inputs))))
    with pytest.raises(ValueError, match=r"'shared' \(Dense\), which is called more"):
        rescale(model, 2.0)


def test_the_scale_of_an_output_is_left_alone():
    """A softmax after the last layer stands between no pair."""
    model = sequential(keras.layers.Dense(4, activation="relu"))
    probabilities = keras.Sequential(
        [keras.Input((6, 6, 2)), *model.layers, keras.layers.Softmax()]
    )
    x = images(model)
    np.testing.assert_allclose(
        rescale(probabilities, 7.0)(x), probabilities(x), atol=1e-6
    )


def test_bad_arguments():
    model = mlp((4,), 3, units=(5, 5), **NONE)
    for alpha in (0, -1.0, np.nan, np.inf, "2"):
        with pytest.raises(ValueError, match=r"`alpha` must be a number above 0\. Rec"):
            rescale(model, alpha)
    for pair in (("dense1", "none"), ("dense1",), "ab", ("dense1", "dense1_relu")):
        with pytest.raises(ValueError, match=r"`pairs` must hold pairs .*Received"):
            rescale(model, 2.0, [pair])
    for pair in (("dense1", "logits"), ("dense2", "dense1"), ("logits", "dense1")):
        with pytest.raises(ValueError, match=rf"next to '{pair[0]}' the layer after"):
            rescale(model, 2.0, [pair])
    with pytest.raises(ValueError, match="`model` must be a functional or built seq"):
        rescale(keras.Sequential([keras.layers.Dense(2)]), 2.0)
    with pytest.raises(ValueError, match="`model` must have two dense or convol"):
        rescale(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]), 2.0)
