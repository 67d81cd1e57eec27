"""Models outside of Keras: as TensorFlow's SavedModel, and as ONNX."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.data import random_mask
from zoo.layers.operators import FourierMask, GaussianMatrix
from zoo.models import all_cnn, convnet, mlp
from zoo.models.denoisers import dncnn, pretrained, unet
from zoo.models.gancs import generator
from zoo.models.ldamp import ldamp
from zoo.models.unrolled import pretrained as pretrained_unrolled

RNG = np.random.default_rng(0)
IMAGE = (32, 32, 3)


def images(*shape):
    return RNG.random(shape, dtype="float32")


def with_levels():
    return images(2, 16, 16, 1), np.full(2, 0.1, "float32")


def k_space():
    operator = FourierMask((16, 16, 1), random_mask((16, 16), 0.3, power=2.0))
    return generator(operator), np.asarray(operator(images(2, 16, 16, 1)))


def unrolled():
    return pretrained_unrolled("lamp_bg_8"), images(3, 250)


def message_passing():
    operator = GaussianMatrix((16, 16, 1), 128)
    network = ldamp(operator, unet((4, 8), (1, 1), noise_level_input=True), 2)
    return network, np.asarray(operator(images(2, 16, 16, 1)))


# What makes a model and an input, and whether ONNX has all its operations: it has no
# complex numbers.
MODELS = {
    "mlp": (lambda: (mlp((8, 8, 1), 10), images(2, 8, 8, 1)), True),
    "convnet": (lambda: (convnet(IMAGE, 10), images(2, *IMAGE)), True),
    "all_cnn": (lambda: (all_cnn(IMAGE, 10), images(2, *IMAGE)), True),
    "ghosts": (
        lambda: (mlp((8, 8, 1), 10, normalization="ghost"), images(2, 8, 8, 1)),
        True,
    ),
    "dncnn": (lambda: (dncnn(3, 8), images(2, 16, 16, 1)), True),
    "unet_25": (lambda: (pretrained("unet_25"), images(2, 30, 41, 1)), True),
    "unet_0-55": (lambda: (pretrained("unet_0-55"), with_levels()), True),
    "lamp": (unrolled, True),
    "ldamp": (message_passing, True),
    "gancs": (k_space, False),
}


def signature(model, x):
    """What a model that is no graph of layers must be told of its input."""
    if getattr(model, "inputs", None):
        return {}
    spec = keras.InputSpec(shape=(None, *x.shape[1:]), dtype=x.dtype)
    return {"input_signature": [spec]}


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_says_the_same(name, tmp_path):
    model, x = MODELS[name][0]()
    expected = np.asarray(model(x, training=False))
    model.export(tmp_path, verbose=False, **signature(model, x))
    # Its variables live as long as it does.
    loaded = tf.saved_model.load(tmp_path)
    given = tuple(map(tf.constant, x)) if isinstance(x, tuple) else x
    np.testing.assert_allclose(loaded.serve(given), expected, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, (_, onnx) in MODELS.items() if onnx])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_onnx_says_the_same(name, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    pytest.importorskip("tf2onnx", reason="pip install tf2onnx")
    model, x = MODELS[name][0]()
    expected = np.asarray(model(x, training=False))
    path = tmp_path / "model.onnx"
    model.export(path, format="onnx", verbose=False, **signature(model, x))
    session = runtime.InferenceSession(path)
    arrays = x if isinstance(x, tuple) else (x,)
    names = [one.name for one in session.get_inputs()]
    (found,) = session.run(None, dict(zip(names, arrays, strict=True)))
    np.testing.assert_allclose(found, expected, atol=1e-5)
