"""Floor 0: what Keras's backends lack, and fast paths that were measured.

Each fast path stands beside a plain `keras.ops` way in the part that uses it and gives
the same numbers. `benchmarks/` holds the timings.
"""

import functools

import keras
from keras import ops
from keras.src import backend as keras_backend
from keras.src.losses.loss import unscale_loss_for_distribution
from keras.src.losses.losses import LossFunctionWrapper

from zoo._backend.ghosts import (
    cut_ghosts,
    ghost_norm,
    has_ghost_norm,
    join,
    uncut_ghosts,
)
from zoo._backend.probing import graph_of, probe
from zoo._backend.tracing import is_concrete, under_xla

__all__ = [
    "LossFunctionWrapper",
    "compiled",
    "cut_ghosts",
    "ghost_norm",
    "graph_of",
    "has_ghost_norm",
    "is_concrete",
    "join",
    "probe",
    "real_filter",
    "set_mask",
    "subtract_products",
    "take",
    "uncut_ghosts",
    "under_xla",
    "unscale_loss_for_distribution",
]

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
elif keras.backend.backend() == "jax":
    import jax

# Keras has it for its own losses alone: what it hides leaves the mean of a loss.
set_mask = keras_backend.set_keras_mask


def take(x, indices, axis):
    """`ops.take` for indices that are not negative.

    Keras adds the axis to those that are, which on TensorFlow takes as long again.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.take(x, indices, axis=axis)
    return tf.gather(x, indices, axis=axis)


def real_filter(gains):
    """Returns `F^H diag(gains) F`, a function of images, over their last two axes.

    TensorFlow and JAX transform half of the frequencies, which is all that real images
    have.

    Args:
        gains: `[..., H, W]`, the same for `k` and `-k`, in the order of `fft2`.
    """
    size, backend = gains.shape[-2:], keras.backend.backend()
    half = gains[..., : size[1] // 2 + 1]
    if backend == "jax":
        transform, inverse = jax.numpy.fft.rfft2, jax.numpy.fft.irfft2
    elif backend == "tensorflow":
        transform, inverse = tf.signal.rfft2d, tf.signal.irfft2d
        half = tf.complex(half, tf.zeros_like(half))
    else:

        def apply(images):
            real, imaginary = ops.fft2((images, ops.zeros_like(images)))
            return ops.ifft2((gains * real, gains * imaginary))[0]

        return apply
    return lambda images: inverse(half * transform(images), size)


def subtract_products(optimizer, variable, *terms):
    """`variable -= sum of scale * x` over pairs of terms, inside `update_step`.

    TensorFlow without XLA makes a pass over the memory for each product and each sum;
    its op for gradient descent makes one a term.
    """
    if keras.backend.backend() != "tensorflow" or under_xla():
        optimizer.assign_sub(variable, sum(scale * x for scale, x in terms))
        return
    if isinstance(variable, keras.Variable):
        variable = variable.value
    for scale, x in terms:
        tf.raw_ops.ResourceApplyGradientDescent(
            var=variable.handle,
            alpha=tf.cast(scale, variable.dtype),
            delta=tf.convert_to_tensor(x),
        )


def compiled(function, model):
    """Compiles a function of arrays that calls `model` and changes no weight of it.

    The arrays may differ in their first axis between calls, and in nothing else.
    """
    if keras.backend.backend() == "tensorflow":
        return _traced_once(function)
    if keras.backend.backend() != "jax":
        return _detached(function)
    variables = model.variables

    @jax.jit
    def run(values, *arrays):
        with keras.StatelessScope(list(zip(variables, values, strict=True))):
            return function(*arrays)

    return lambda *arrays: run([variable.value for variable in variables], *arrays)


def _traced_once(function):
    # A call would count the trace, and warn of the many that many models need.
    @functools.cache
    def trace(*specs):
        return tf.function(function, autograph=False).get_concrete_function(*specs)

    def run(*arrays):
        tensors = [tf.convert_to_tensor(array) for array in arrays]
        specs = [tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in tensors]
        return trace(*specs)(*tensors)

    return run


def _detached(function):
    """For backends that compile nothing, without what they keep for gradients."""

    def run(*arrays):
        outputs = function(*map(ops.convert_to_tensor, arrays))
        return keras.tree.map_structure(ops.stop_gradient, outputs)

    return run
