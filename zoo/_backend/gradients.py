"""Gradients that can be differentiated again, the same way on each backend."""

import keras
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.losses.loss import scale_loss_for_distribution

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
elif keras.backend.backend() == "jax":
    import jax


def vjp(function, variables):
    """Calls `function()`, and gives what pulls weighted sums of its outputs back.

    What is pulled back can be differentiated again: `function` may call `vjp`, for the
    same variables too.

    Args:
        function: callable without arguments that returns a list of scalar tensors, and
            anything else that it made on the way.
        variables: list of trainable Keras variables.

    Returns:
        The outputs; what else; and `pullback(weights, wanted)`, from a dict of outputs'
        indices to numbers, and a list of some of `variables`, to the gradients of the
        weighted sum: `None` where TensorFlow sees that it depends on none of one.

    Raises:
        NotImplementedError: the backend is neither TensorFlow nor JAX.
    """
    return _choose(_taped_vjp, _traced_vjp)(function, variables)


def input_gradient(function, x):
    """Returns the gradient of `sum(function(x))` for `x`, differentiable again.

    Raises:
        NotImplementedError: the backend is neither TensorFlow nor JAX.
    """
    return _choose(_taped_input_gradient, _traced_input_gradient)(function, x)


def replica_share(gradients):
    """Divides gradients by the replicas of `tf.distribute`: optimizers take sums."""
    return [scale_loss_for_distribution(gradient) for gradient in gradients]


def _choose(tensorflow, jax):
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        raise NotImplementedError(
            "Gradients of gradients need the TensorFlow or the JAX backend. "
            f"Received: backend={backend!r}"
        )
    return tensorflow if backend == "tensorflow" else jax


def _taped_vjp(function, variables):
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        for variable in variables:
            tape.watch(variable.value)
        outputs, made = function()

    def pullback(weights, wanted):
        targets = [outputs[index] for index in weights]
        cotangents = [
            tf.cast(weight, target.dtype)
            for weight, target in zip(weights.values(), targets, strict=True)
        ]
        sources = [variable.value for variable in wanted]
        return [
            # Those of embeddings come as slices.
            None if gradient is None else tf.convert_to_tensor(gradient)
            for gradient in tape.gradient(targets, sources, output_gradients=cotangents)
        ]

    return outputs, made, pullback


def _taped_input_gradient(function, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x)


def _traced_vjp(function, variables):
    places = {id(variable): place for place, variable in enumerate(variables)}
    values = [variable.value for variable in variables]

    def run(values):
        return _in_scope(function, zip(variables, values, strict=True))

    outputs, transposed, (made, updates) = jax.vjp(run, values, has_aux=True)
    _keep(updates)

    def pullback(weights, wanted):
        cotangents = [
            jax.numpy.full_like(output, weights.get(index, 0.0))
            for index, output in enumerate(outputs)
        ]
        (gradients,) = transposed(cotangents)
        return [gradients[places[id(variable)]] for variable in wanted]

    return outputs, made, pullback


def _traced_input_gradient(function, x):
    y, transposed, (_, updates) = jax.vjp(
        lambda x: _in_scope(lambda: (function(x), None), ()), x, has_aux=True
    )
    _keep(updates)
    (gradient,) = transposed(jax.numpy.ones_like(y))
    return gradient


def _in_scope(function, mapping):
    """Calls `function` with variables' values replaced; adds what it assigned.

    The scope continues the one around it: what was assigned there stays seen.
    """
    outer, mapping = get_stateless_scope(), list(mapping)
    scope = keras.StatelessScope(mapping)
    before = {**(outer.state_mapping if outer else {}), **scope.state_mapping}
    scope.state_mapping = dict(before)
    with scope:
        outputs, made = function()
    updates = {
        key: value
        for key, value in scope.state_mapping.items()
        if value is not before.get(key)
    }
    return outputs, (made, updates)


def _keep(updates):
    """Hands the updates of variables, such as moving averages, to the scope around."""
    outer = get_stateless_scope()
    if outer:
        outer.state_mapping.update(updates)
