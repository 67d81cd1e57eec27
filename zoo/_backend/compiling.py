"""Compiling a function of a layer once for all layers of its structure."""

import collections
import itertools
import json
import weakref
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
elif keras.backend.backend() == "jax":
    import jax

# Numbers of the layers whose class may hold more than its config and weights say.
_LAYERS: weakref.WeakKeyDictionary[keras.layers.Layer, int] = (
    weakref.WeakKeyDictionary()
)
_COUNTER = itertools.count()
# Compiled functions by what they depend on, the last used at the end.
_COMPILED: collections.OrderedDict[tuple, Callable] = collections.OrderedDict()
_MOST_COMPILED = 64


def call_compiled(function, layer, structure, *arrays):
    """Calls `function(layer, structure, *arrays)` in a graph that outlives the layer.

    The graph takes the layer's weights as arguments: layers of this package that differ
    in their weights alone share it, and it keeps none of them alive. Of a class from
    elsewhere, which may hold constants, each layer has its own.

    Args:
        function: pure function of a layer, a structure and arrays, that returns a tuple
            of arrays.
        layer: built layer.
        structure: hashable, what else `function` depends on.
        *arrays: NumPy arrays of real numbers, which the graph takes in the dtype of the
            layer's variables; pairs of such; or `None`.

    Returns:
        What `function` returns, as NumPy arrays.
    """
    values = [ops.convert_to_tensor(variable.value) for variable in layer.variables]
    arrays = [
        tuple(_tensor(one, layer) for one in array)
        if isinstance(array, tuple)
        else _tensor(array, layer)
        for array in arrays
    ]
    key = (
        type(layer),
        _constants(layer),
        function,
        structure,
        str(keras.tree.map_structure(_spec, (values, arrays))),
    )
    if key not in _COMPILED:
        _COMPILED[key] = _compile(function, layer, structure, values, arrays)
        if len(_COMPILED) > _MOST_COMPILED:
            _COMPILED.popitem(last=False)
    _COMPILED.move_to_end(key)
    return tuple(map(ops.convert_to_numpy, _COMPILED[key](values, arrays)))


def _constants(layer):
    """What tells layers apart that have weights of the same shapes."""
    if not type(layer).__module__.startswith("zoo."):
        return _LAYERS.setdefault(layer, next(_COUNTER))
    config = layer.get_config()
    # The seeds of this package fill weights.
    static = {name: config[name] for name in config if name not in ("name", "seed")}
    return json.dumps(static, sort_keys=True)


def _tensor(array, layer):
    if array is None:
        return None
    return ops.convert_to_tensor(np.asarray(array, layer.variable_dtype))


def _spec(t):
    if t is None:
        return None
    return tuple(t.shape), keras.backend.standardize_dtype(t.dtype)


def _compile(function, layer, structure, values, arrays):
    # Let go of once the graph is made.
    held = [layer]

    def run(values, arrays):
        (layer,) = held
        with keras.StatelessScope(list(zip(layer.variables, values, strict=True))):
            return function(layer, structure, *arrays)

    backend = keras.backend.backend()
    if backend == "tensorflow":
        specs = keras.tree.map_structure(
            lambda t: None if t is None else tf.TensorSpec(t.shape, t.dtype),
            (values, arrays),
        )
        compiled = tf.function(run, autograph=False).get_concrete_function(*specs)
    elif backend == "jax":
        # Accelerators round products to fewer bits unless told not to.
        with jax.default_matmul_precision("highest"):
            compiled = jax.jit(run).lower(values, arrays).compile()
    else:
        return run
    held.clear()
    return compiled


def widest_float():
    """Returns the dtype of sums that must not be rounded: JAX may not know float64."""
    if keras.backend.backend() == "jax" and not jax.config.jax_enable_x64:
        return "float32"
    return "float64"


def fused(function, columns):
    """Makes one kernel of a function of few numbers: of `[rows, columns]`, to `[rows]`.

    TensorFlow takes about a microsecond for each operation of a graph, however small;
    on long arrays its own kernels are as fast.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    # One for all graphs, for a kernel is never let go.
    signature = [tf.TensorSpec([None, columns], "float64")]
    return tf.function(
        function, input_signature=signature, jit_compile=True, autograph=False
    )
