"""One graph serves all layers of a structure, and holds none of them."""

import gc
import os
import subprocess
import sys
import weakref

import keras
import numpy as np

from zoo._backend import compiling
from zoo._backend.compiling import call_compiled, fused, widest_float
from zoo.layers import CosineDense


def scaled(layer, power, x, pair, nothing):
    assert nothing is None
    return layer(x) ** power, pair[0] + pair[1]


def dense(seed, units=3):
    layer = CosineDense(units)
    keras.utils.set_random_seed(seed)
    layer.build((None, 4))
    return layer


def call(layer, power=2):
    x = np.arange(8.0).reshape(2, 4)
    first, second = call_compiled(scaled, layer, power, x, (x, 2 * x), None)
    np.testing.assert_allclose(first, np.asarray(layer(x)) ** power, rtol=1e-5)
    np.testing.assert_array_equal(second, 3 * x)
    assert first.dtype == second.dtype == np.float32


def test_layers_that_differ_in_weights_share_a_graph(monkeypatch):
    monkeypatch.setattr(compiling, "_COMPILED", type(compiling._COMPILED)())
    for seed in range(3):
        call(dense(seed))
    assert len(compiling._COMPILED) == 1
    call(dense(0, units=5))
    call(dense(0), power=3)
    assert len(compiling._COMPILED) == 3


def test_the_oldest_graphs_go(monkeypatch):
    monkeypatch.setattr(compiling, "_COMPILED", type(compiling._COMPILED)())
    monkeypatch.setattr(compiling, "_MOST_COMPILED", 2)
    for power in (1, 2, 1, 3):
        call(dense(0), power)
    powers = [key[3] for key in compiling._COMPILED]
    assert powers == [1, 3]


def test_no_layer_is_kept():
    layer = dense(7)
    call(layer, power=4)
    reference = weakref.ref(layer)
    del layer
    gc.collect()
    assert reference() is None


class Shifted(keras.layers.Layer):
    """A layer with a constant that its config does not tell."""

    def __init__(self, shift):
        super().__init__()
        self.shift = np.asarray(shift)

    def call(self, x):
        return x + self.shift


def test_layers_from_elsewhere_share_nothing():
    x = np.zeros((1, 2))
    for shift in (1.0, 2.0):
        layer = Shifted([shift, shift])
        shifted, _ = call_compiled(scaled, layer, 1, x, (x, x), None)
        np.testing.assert_array_equal(shifted, [[shift, shift]])


def test_a_fused_function_equals_itself():
    def products(rows):
        return 3 * rows[:, 0] * rows[:, 1] + 1

    rows = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_allclose(fused(products, 2)(rows), products(rows), rtol=1e-12)


def test_widest_float():
    assert widest_float() == "float64"
    script = "from zoo._backend.compiling import widest_float as f; assert f() == '{}'"
    for x64, expected in (("0", "float32"), ("1", "float64")):
        environment = {
            **os.environ,
            **{"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": x64},
        }
        subprocess.run(
            [sys.executable, "-c", script.format(expected)],
            check=True,
            env=environment,
        )
