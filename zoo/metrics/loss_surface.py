"""A model's loss as a function of its weights: values, gradients, Hessian products."""

import functools
from collections.abc import Callable
from typing import Literal

import keras
import numpy as np
from keras import ops
from threadpoolctl import threadpool_limits

from zoo import _backend
from zoo._backend import LossFunctionWrapper
from zoo._backend.compiling import widest_float
from zoo._backend.gradients import vjp
from zoo._types import Array
from zoo.losses.checks import check_choice, check_integer

NORMALIZATIONS = ("element", "filter")

# Beside a model that computes, threads of NumPy wait longer than they work.
one_thread = functools.partial(threadpool_limits, limits=1, user_api="blas")


class LossSurface:
    """The mean loss over given data as a function of a model's trainable weights.

    `f(w) = mean_i loss(y_i, model_w(x_i))`

    Weights, gradients and products are flat float64 vectors, the trainable weights one
    after the other; the model computes in its own precision. Its own weights are never
    written to, and all of its state is that of now: make a new surface once the model
    has changed.

    The model runs in inference mode: nothing is dropped out, and batch normalisation
    uses its running statistics, which do not count among the weights. Regularisers are
    not part of the loss, and masks are passed over.

    Each kind of result is compiled once. `weights` are the model's own, and `dtype` is
    the precision of the most precise.

    Args:
        model: built `keras.Model` of one input and one output.
        x: array of inputs, `[samples, ...]`.
        y: array of targets, `[samples, ...]`.
        loss: `keras.losses.Loss`, whose reduction is passed over, function of targets
            and outputs that gives a value or more for each sample, or name of one.
            Defaults to the loss that `model` was compiled with.
        batch_size: int, samples a step. Defaults to 512.

    Raises:
        ValueError: the data are empty or of two lengths, there is no loss, or it does
            not give values for each sample, or `model` is not built or has no trainable
            weights.
        NotImplementedError: for derivatives, the backend has no gradients.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.set_weights([np.array([[1.0], [2.0]]), np.zeros(1)])
    >>> x, y = np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros((2, 1))
    >>> surface = LossSurface(model, x, y, loss="mse")
    >>> surface.weights
    array([1., 2., 0.])
    >>> surface.gradient()
    (2.5, array([1., 2., 3.]))
    >>> surface.hessian_product(np.array([1.0, 0.0, 0.0]))
    array([1., 0., 1.])
    """

    def __init__(
        self,
        model: keras.Model,
        x: Array,
        y: Array,
        loss: keras.losses.Loss | Callable[..., Array] | str | None = None,
        batch_size: int = 512,
    ) -> None:
        if len(x) == 0 or len(x) != len(y):
            raise ValueError(
                "`x` and `y` must hold the same number of samples, at least one. "
                f"Received: len(x)={len(x)}, len(y)={len(y)}"
            )
        if not model.built or not model.trainable_variables:
            raise ValueError(
                "`model` must be built and have trainable weights. "
                f"Received: model={model.name}"
            )
        self._loss = per_sample_loss(model, loss)
        self._model, self._x, self._y = model, x, y
        self._variables = model.trainable_variables
        self._batch_size = check_integer("batch_size", batch_size, 1)
        self._values = _backend.compiled(self._sum_value, model)
        self._gradients = _backend.compiled(self._sum_gradient, model)
        self._products = _backend.compiled(self._sum_product, model)
        self.weights = _flat_array(self._arrays())
        dtypes = {variable.dtype for variable in self._variables}
        wide = "float64" in dtypes
        self.dtype: Literal["float32", "float64"] = "float64" if wide else "float32"

    def value(self, weights: Array | None = None) -> float:
        """Returns the loss, a float, at flat weights (the model's own by default)."""
        return self._mean(self._values, weights)[0]

    def gradient(self, weights: Array | None = None) -> tuple[float, np.ndarray]:
        """Returns the loss, a float, and its gradient, a flat vector."""
        return self._mean(self._gradients, weights)

    def hessian_product(
        self, vector: Array, weights: Array | None = None
    ) -> np.ndarray:
        """Returns the Hessian of the loss times a flat vector, a flat vector."""
        return self._mean(self._products, weights, vector)[0]

    def scales(self, normalization: Literal["element", "filter"]) -> np.ndarray:
        """Returns the size of each weight, a flat vector.

        Rescaling the units of a ReLU network, which leaves its function alone, rescales
        these as it does the weights: distances in units of them do not change. For
        `"filter"` that holds where the units of a layer have one factor.

        Args:
            normalization: `"element"`, `|w_i|`; or `"filter"`, the Euclidean norm of
                the weights at one index of a kernel's last axis, which are those into
                one output of a dense layer or a convolution, but not of a transposed or
                depthwise one; and `|w_i|` of vectors, such as biases.
        """
        check_choice("normalization", normalization, NORMALIZATIONS)
        if normalization == "element":
            return abs(self.weights)
        return _flat_array(map(_filter_norms, self._arrays()))

    def _arrays(self):
        return [ops.convert_to_numpy(variable.value) for variable in self._variables]

    def _mean(self, compiled, *vectors):
        dtype = widest_float()
        vectors = [
            np.asarray(self.weights if vector is None else vector, dtype)
            for vector in vectors
        ]
        totals = 0.0
        for start in range(0, len(self._x), self._batch_size):
            batch = slice(start, start + self._batch_size)
            arrays = (np.asarray(self._x[batch]), np.asarray(self._y[batch]))
            sums = compiled(*vectors, *arrays)
            totals = [
                total + np.asarray(ops.convert_to_numpy(part), "float64")
                for total, part in zip(totals or [0.0] * len(sums), sums, strict=True)
            ]
        means = [total / len(self._x) for total in totals]
        return tuple(mean if mean.ndim else float(mean) for mean in means)

    # What follows is traced: sums over one batch at flat weights.

    def _sum_value(self, weights, x, y):
        with self._scope(weights):
            return (self._total(x, y),)

    def _sum_gradient(self, weights, x, y):
        with self._scope(weights):
            total, gradients = self._differentiate(lambda: self._total(x, y))
        return total, self._flat(gradients)

    def _sum_product(self, weights, vector, x, y):
        parts = self._cut(vector)

        def along():
            _, gradients = self._differentiate(lambda: self._total(x, y))
            pairs = zip(gradients, parts, strict=True)
            return sum(ops.sum(one * other) for one, other in pairs)

        with self._scope(weights):
            _, products = self._differentiate(along)
        return (self._flat(products),)

    def _scope(self, weights):
        return keras.StatelessScope(
            list(zip(self._variables, self._cut(weights), strict=True))
        )

    def _total(self, x, y):
        losses = self._loss(y, self._model(x, training=False))
        if len(losses.shape) == 0:
            raise ValueError(
                "`loss` must give at least a value for each sample. "
                "Received: loss.shape=()"
            )
        losses = ops.cast(losses, widest_float())
        return ops.sum(ops.mean(losses, axis=tuple(range(1, len(losses.shape)))))

    def _differentiate(self, function):
        (y,), _, pullback = vjp(lambda: ([function()], None), self._variables)
        gradients = pullback({0: 1.0}, self._variables)
        return y, [
            ops.zeros_like(variable.value) if gradient is None else gradient
            for variable, gradient in zip(self._variables, gradients, strict=True)
        ]

    def _cut(self, vector):
        parts, start = [], 0
        for variable in self._variables:
            stop = start + int(np.prod(variable.shape))
            part = ops.reshape(vector[start:stop], variable.shape)
            parts.append(ops.cast(part, variable.dtype))
            start = stop
        return parts

    def _flat(self, tensors):
        return ops.concatenate(
            [ops.cast(ops.reshape(t, (-1,)), widest_float()) for t in tensors]
        )


def _flat_array(arrays):
    return np.concatenate([np.ravel(array).astype("float64") for array in arrays])


def _filter_norms(array):
    array = array.astype("float64")
    if array.ndim < 2:
        return abs(array)
    inner = tuple(range(array.ndim - 1))
    norms = np.sqrt(np.sum(array**2, axis=inner, keepdims=True))
    return np.broadcast_to(norms, array.shape)


def per_sample_loss(model, loss):
    """Returns the function of targets and outputs that gives each sample its loss."""
    loss = getattr(model, "loss", None) if loss is None else loss
    if loss is None:
        raise ValueError(
            "`loss` must be given for a model that is not compiled with one. "
            "Received: loss=None"
        )
    loss = keras.losses.get(loss)
    # Which fits the shapes of targets to those of outputs, as `compile` does.
    loss = loss if isinstance(loss, keras.losses.Loss) else LossFunctionWrapper(loss)
    return loss.call
