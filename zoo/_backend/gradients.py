"""Gradients that can be differentiated again, the same way on each backend."""

import keras
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.losses.loss import scale_loss_for_distribution

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
elif keras.backend.backend() == "jax":
    import jax
elif keras.backend.backend() == "torch":
    import torch


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
        weighted sum: `None` where TensorFlow or PyTorch sees that it depends on none of
        one.

    Raises:
        NotImplementedError: the backend has no gradients.
    """
    way = of_backend(
        "Gradients of gradients",
        tensorflow=_taped_vjp,
        jax=_traced_vjp,
        torch=_kept_vjp,
    )
    return way(function, variables)


def input_gradient(function, x):
    """Returns the gradient of `sum(function(x))` for `x`, differentiable again.

    Raises:
        NotImplementedError: the backend has no gradients.
    """
    way = of_backend(
        "Gradients of gradients",
        tensorflow=_taped_input_gradient,
        jax=_traced_input_gradient,
        torch=_kept_input_gradient,
    )
    return way(function, x)


def replica_share(gradients):
    """Divides gradients by the replicas of `tf.distribute`: optimizers take sums."""
    return [scale_loss_for_distribution(gradient) for gradient in gradients]


def of_backend(what, **ways):
    """Returns that of `ways` which is named as the backend.

    Raises:
        NotImplementedError: none is; the message says that `what` needs one.
    """
    backend = keras.backend.backend()
    if backend not in ways:
        *others, last = ways
        raise NotImplementedError(
            f"{what} must run on the {', '.join(others)} or {last} backend. "
            f"Received: backend={backend!r}"
        )
    return ways[backend]


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


def _kept_vjp(function, variables):
    for variable in variables:
        # A scope may have put numbers in the place of the variable's own.
        variable.value.requires_grad_()
    with torch.enable_grad():
        outputs, made = function()

    def pullback(weights, wanted):
        targets = [outputs[index] for index in weights]
        cotangents = [
            weight * torch.ones_like(target)
            for weight, target in zip(weights.values(), targets, strict=True)
        ]
        return kept_gradients(
            targets, [variable.value for variable in wanted], cotangents
        )

    return outputs, made, pullback


def _kept_input_gradient(function, x):
    x = requiring(x)
    with torch.enable_grad():
        y = function(x)
    return kept_gradients([y], [x], [torch.ones_like(y)])[0]


def requiring(x):
    """Returns a PyTorch tensor that gradients can be taken for."""
    return x if x.requires_grad else x.detach().requires_grad_()


def kept_gradients(targets, sources, cotangents):
    """PyTorch's gradients of weighted sums, differentiable again, or `None`."""
    return torch.autograd.grad(
        targets, sources, cotangents, create_graph=True, allow_unused=True
    )


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
