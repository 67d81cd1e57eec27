"""Matrix sensing as a model that `fit` trains."""

from typing import Any

import keras
from keras import ops

from zoo.layers.low_rank import LowRankMatrix
from zoo.layers.sensing.base import SensingOperator


@keras.saving.register_keras_serializable(package="zoo")
class MatrixSensing(keras.Model):
    """The measurements of a trainable matrix of low rank.

    Inputs are numbers of measurements, from 0 to `m - 1`, and outputs their values
    `<A_i, X>`. With `y` what was measured,

    `model.fit(np.arange(m), y, batch_size=m)`

    takes one step an epoch, of the gradient of all. It is the epochs that are slow, and
    many steps in one are not: `rows = np.tile(np.arange(m), steps)` and

    `model.fit(rows, y[rows], batch_size=m, shuffle=False)`

    For 640 measurements of 64 x 64 matrices, an epoch of one step takes 32 ms of one
    core, a step among many 2 ms, and `zoo.solvers.matrix_sensing.solve` 22 ms in all.
    The model is for what only Keras has: its losses, as Huber's for outliers, its
    optimizers, callbacks and validation, or a sensing problem inside a larger model.

    All `m` are computed at every step and those of the batch gathered: a small batch is
    no cheaper than a large one.

    The loss `keras.losses.MeanSquaredError(reduction="sum")` of a full batch is
    `|A(X) - y|^2`, twice the `f` of papers, and `"mse"` is `2 f / m`:
    `zoo.optimizers.FactoredGradientDescent` wants `smoothness=2 * operator.scale**2`
    with the first, and that over `m` with the other.

    An operator that subtracts the mean of its measurements wants `operator.center(y)`.

    Args:
        operator: `zoo.layers.sensing.SensingOperator`.
        matrix: `zoo.layers.LowRankMatrix`, of the operator's shape, and Hermitian if
            and only if the operator is.
        **kwargs: `name`.

    Call arguments:
        inputs: ints, `[batch]`.

    Returns:
        `[batch, 1]`.

    Raises:
        ValueError: `operator` and `matrix` are not as above.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from zoo.data import low_rank_matrix
    >>> from zoo.layers import LowRankMatrix
    >>> from zoo.layers.sensing import GaussianSensing
    >>> from zoo.optimizers import FactoredGradientDescent
    >>> operator = GaussianSensing((16, 16), 100, symmetric=True)
    >>> truth = low_rank_matrix((16, 16), rank=1)
    >>> y = np.asarray(operator(truth))
    >>> model = MatrixSensing(operator, LowRankMatrix((16, 16), rank=1))
    >>> model.compile(
    ...     FactoredGradientDescent(momentum=0.75, smoothness=2.0),
    ...     keras.losses.MeanSquaredError(reduction="sum"),
    ... )
    >>> rows = np.tile(np.arange(100), 120)
    >>> history = model.fit(rows, y[rows], batch_size=100, shuffle=False, verbose=0)
    >>> bool(np.linalg.norm(model.matrix.to_dense() - truth @ truth.T) < 1e-3)
    True

    Reference:

    - Recht et al., 2010, "Guaranteed Minimum-Rank Solutions of Linear Matrix Equations
      via Nuclear Norm Minimization",
      [arXiv:0706.4138](https://arxiv.org/abs/0706.4138)
    """

    def __init__(
        self, operator: SensingOperator, matrix: LowRankMatrix, **kwargs: Any
    ) -> None:
        for name, value, cls in (
            ("operator", operator, SensingOperator),
            ("matrix", matrix, LowRankMatrix),
        ):
            if not isinstance(value, cls):
                raise ValueError(
                    f"`{name}` must be a {cls.__name__}. Received: {name}={value!r}"
                )
        one, other = ((part.shape, part.hermitian) for part in (operator, matrix))
        if one != other:
            raise ValueError(
                "`operator` and `matrix` must agree in (shape, hermitian). "
                f"Received: {one} and {other}"
            )
        super().__init__(**kwargs)
        self.operator = operator
        self.matrix = matrix
        self.built = True

    def call(self, inputs):
        symmetric = self.matrix.kind in ("psd", "hermitian")
        right = None if symmetric else self.matrix.right
        measurements = self.operator(self.matrix.left, right)
        return ops.take(measurements, ops.cast(inputs, "int32"), axis=0)[:, None]

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 1)

    def get_config(self):
        return {
            "name": self.name,
            "operator": keras.saving.serialize_keras_object(self.operator),
            "matrix": keras.saving.serialize_keras_object(self.matrix),
        }

    @classmethod
    def from_config(cls, config):
        parts = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("operator", "matrix")
        }
        return cls(**{**config, **parts})
