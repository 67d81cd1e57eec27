"""What a model's layers give on the way to its output, and their slopes."""

import keras
from keras import ops
from keras.src import backend as keras_backend
from keras.src.models.functional import operation_fn

from zoo._backend.gradients import kept_gradients, of_backend, requiring

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
elif keras.backend.backend() == "jax":
    import jax
elif keras.backend.backend() == "torch":
    import torch


def graph_of(model):
    """Returns the graph of a functional or built sequential model, else `None`."""
    graph = getattr(model, "_functional", model)
    return graph if getattr(graph, "inputs", None) else None


def probe(model, x, layers, training=False):
    """Calls a classifier, and gives what pulls cotangents of its scores back.

    One backward pass reaches the input and all layers: samples do not see each other,
    so that a cotangent with a row for each sample gives each its own gradients. Where
    they do, as in training through batch normalisation, the gradients are those of the
    batch's sum.

    What is pulled back can be differentiated once more.

    Args:
        model: functional or built sequential model of one input and one output.
        x: a batch.
        layers: names of layers that are called once, and `"input"` for the input.
        training: as in calling `model`. Defaults to `False`.

    Returns:
        The scores; the activations, a list in the order of `layers`; and `pullback`,
        from a tensor of the shape of the scores to a list of the shapes of the
        activations.

    Raises:
        NotImplementedError: the backend has no gradients.
    """
    run = of_backend(
        "Margins at hidden layers", tensorflow=_taped, jax=_perturbed, torch=_kept
    )
    (x,) = graph_of(model)._standardize_inputs(x)
    scores, activations, pullback = run(model, x, layers, training)
    return scores, activations, lambda t: pullback(ops.cast(t, scores.dtype))


def _taped(model, x, layers, training):
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:

        def watch(_, activation):
            tape.watch(activation)
            return activation

        scores, activations = _run_graph(model, x, layers, training, watch)

    def pullback(cotangent):
        return tape.gradient(
            scores,
            activations,
            output_gradients=cotangent,
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )

    return scores, activations, pullback


def _perturbed(model, x, layers, training):
    # The derivative for zeros that are added to the activations.
    variables = model.variables
    with keras_backend.AutocastScope(None):
        values = [variable.value for variable in variables]

    def run(offsets):
        # Updates of variables must leave this trace as outputs.
        scope = keras.StatelessScope(
            list(zip(variables, values, strict=True)), collect_losses=True
        )
        with scope:
            scores, activations = _run_graph(
                model,
                x,
                layers,
                training,
                lambda name, t: t + offsets[name] if offsets else t,
            )
        updates = [scope.get_current_value(variable) for variable in variables]
        return scores, (activations, updates, scope.losses)

    _, (shapes, *_) = jax.eval_shape(run, None)
    zeros = {
        name: jax.numpy.zeros(shape.shape, shape.dtype)
        for name, shape in zip(layers, shapes, strict=True)
    }
    scores, transposed, (activations, updates, losses) = jax.vjp(
        run, zeros, has_aux=True
    )
    for variable, value in zip(variables, updates, strict=True):
        if not variable.trainable:
            variable.assign(value)
    keras.Layer.add_loss(model, losses)

    def pullback(cotangent):
        (gradients,) = transposed(cotangent)
        return [gradients[name] for name in layers]

    return scores, activations, pullback


def _kept(model, x, layers, training):
    with torch.enable_grad():
        scores, activations = _run_graph(
            model, x, layers, training, lambda _, activation: requiring(activation)
        )

    def pullback(cotangent):
        gradients = kept_gradients([scores], activations, [cotangent])
        return [
            torch.zeros_like(activation) if gradient is None else gradient
            for gradient, activation in zip(gradients, activations, strict=True)
        ]

    return scores, activations, pullback


def _run_graph(model, x, layers, training, change):
    """Runs a model with `change(name, activation)` in place of each activation."""
    seen = {}

    def visit(name, activation):
        if name not in layers:
            return activation
        if name in seen:
            raise ValueError(f"The layer {name!r} must be called once in the model.")
        seen[name] = change(name, activation)
        return seen[name]

    def visited(operation):
        call = operation_fn(operation, training=training)
        return lambda *args, **kwargs: visit(operation.name, call(*args, **kwargs))

    outputs = graph_of(model)._run_through_graph(
        [visit("input", x)], operation_fn=visited
    )
    (scores,) = keras.tree.flatten(outputs)
    return scores, [seen[name] for name in layers]
