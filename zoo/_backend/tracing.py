"""What is known of code that is being traced."""

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util
elif keras.backend.backend() == "jax":
    import jax


def is_concrete(x):
    """Whether the values of a tensor can be looked at: it is in no trace or graph."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return not (tf.is_tensor(x) and tf.is_symbolic_tensor(x))
    if backend == "jax":
        return not isinstance(x, jax.core.Tracer)
    return True


def under_xla():
    """Whether TensorFlow is tracing code that XLA will compile.

    `tf.function(jit_compile=True)`, which `compile(jit_compile=True)` builds, opens an
    XLA context around its trace; TensorFlow's control flow asks for it the same way.
    """
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    return graph is not None and control_flow_util.GraphOrParentsInXlaContext(graph)
