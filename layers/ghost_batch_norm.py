"""Ghost batch normalisation."""

from typing import Any, Literal

import keras
from keras import ops

from zoo import _backend
from zoo.layers.checks import check_choice, is_integer
from zoo.layers.cosine_dense import at_least_float32


@keras.saving.register_keras_serializable(package="zoo")
class GhostBatchNorm(keras.layers.BatchNormalization):
    """Batch normalisation by the statistics of small parts of a large batch.

    In training the batch is cut, in order, into `K = max(batch // virtual_batch_size,
    1)` ghosts (the last one takes the rows left over), and each ghost is normalised by
    its own statistics, with one `gamma` and `beta` for all:

    `y_k = gamma * (x_k - mean(x_k)) / sqrt(var(x_k) + epsilon) + beta`

    So a large batch keeps the noise in its normalisation, and with it the
    regularisation, of a small one. Inference is that of batch normalisation at any
    batch size. `virtual_batch_size=None` is batch normalisation, with a faster
    TensorFlow kernel than Keras's own.

    The running statistics see the ghosts one after the other, as small batches would
    be seen. With `m = momentum`, in closed form:

    `moving <- m^K * moving + sum_k (1 - m) * m^(K - k) * statistic_k`,  `k = 1..K`

    Algorithm 1 of the paper prints other weights, `(1 - m) * m^k`: these run through
    the ghosts backwards and do not add up to one. It also averages standard
    deviations; here, as in Keras, variances are averaged.

    The weights are those of `keras.layers.BatchNormalization`, in shape and order, so
    `set_weights` takes either's. A `.weights.h5` file names layers by their class: load
    one of Keras's layers into those, then call `to_ghost_batch_norm`.

    Under `tf.distribute` each replica cuts its own part of the batch, and the running
    statistics are averaged over the replicas; one left without rows changes nothing.

    Derivatives of any order are exact, in reverse and forward mode. On TensorFlow those
    of Keras's layer lack a term from the second order on.

    Args:
        virtual_batch_size: int >= 2, rows a ghost, or `None` for the whole batch.
            Defaults to 64.
        axis: int, the axis of the channels, not the batch axis. Defaults to -1.
        update: `"sequential"`, one step of the running statistics a ghost, as above,
            or `"mean"`, one step a batch by the mean over its ghosts (`momentum` must
            then be smaller for the statistics to be as fresh). Defaults to
            `"sequential"`.
        **kwargs: every other argument of `keras.layers.BatchNormalization`:
            `momentum=0.99`, `epsilon=1e-3`, `center`, `scale`, initializers,
            regularizers, constraints, `renorm` (corrects each ghost), `name`, `dtype`.

    Call arguments:
        inputs: `[batch, ..., channels]`, or with the channels at `axis`.
        training: bool, whether to normalise by the ghosts' statistics.
        mask: bool, the shape of `inputs` without its last axis. Masked positions do
            not count in the statistics. A ghost with fewer than two positions that
            count is normalised by the running statistics, which it leaves alone.

    Returns:
        A tensor of the shape of `inputs`.

    Raises:
        ValueError: `virtual_batch_size` below 2, unknown `update`, the batch axis as
            `axis`, or `synchronized=True` together with ghosts: statistics over all
            replicas are the opposite of statistics over part of one.

    Example:

    >>> import numpy as np
    >>> layer = GhostBatchNorm(virtual_batch_size=32)
    >>> x = np.random.default_rng(0).normal(5.0, 3.0, (128, 8)).astype("float32")
    >>> y = np.asarray(layer(x, training=True))
    >>> bool(np.allclose(y.reshape(4, 32, 8).mean(axis=1), 0.0, atol=1e-5))
    True

    Reference:

    - Hoffer, Hubara and Soudry, 2017, "Train longer, generalize better",
      Algorithm 1, [arXiv:1705.08741](https://arxiv.org/abs/1705.08741)
    """

    def __init__(
        self,
        virtual_batch_size: int | None = 64,
        axis: int = -1,
        *,
        update: Literal["sequential", "mean"] = "sequential",
        **kwargs: Any,
    ) -> None:
        check_virtual_batch_size(virtual_batch_size)
        check_choice("update", update, ("sequential", "mean"))
        if not is_integer(axis):
            raise ValueError(f"`axis` must be an int. Received: axis={axis!r}")
        if virtual_batch_size is not None and kwargs.get("synchronized"):
            raise ValueError(
                "synchronized=True needs virtual_batch_size=None. "
                f"Received: virtual_batch_size={virtual_batch_size}"
            )
        super().__init__(axis=axis, **kwargs)
        self.virtual_batch_size = virtual_batch_size
        self.update = update

    def build(self, input_shape):
        if self.axis % len(input_shape) == 0:
            raise ValueError(
                "axis must not be the batch axis. "
                f"Received: axis={self.axis}, input_shape={tuple(input_shape)}"
            )
        super().build(input_shape)

    def add_weight(self, *args, trainable=True, **kwargs):
        # Else replicas keep running statistics of their own, and a checkpoint one's.
        aggregation = "none" if trainable else "mean"
        kwargs.setdefault("aggregation", aggregation)
        return super().add_weight(*args, trainable=trainable, **kwargs)

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable) or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        if mask is not None and len(mask.shape) != len(inputs.shape) - 1:
            raise ValueError(
                "mask must have one dimension less than inputs. "
                f"Received: mask.shape={mask.shape}, inputs.shape={inputs.shape}"
            )
        x, mask = channels_last(inputs, mask, self.axis)
        if mask is None and not self._renorm and _backend.has_ghost_norm():
            gamma, beta = self._affine(x.dtype)
            outputs, mean, variance, count = _backend.ghost_norm(
                x,
                gamma,
                beta,
                self._moving(x.dtype),
                self.virtual_batch_size,
                self.epsilon,
            )
        else:
            outputs, mean, variance, count = self._normalize(x, mask)
        self._update_moving(mean, variance, ops.cast(count >= 2, x.dtype))
        return ops.cast(ops.moveaxis(outputs, -1, self.axis), self.compute_dtype)

    def _normalize(self, x, mask):
        size = self.virtual_batch_size
        blocks = _backend.cut_ghosts(x, size)
        masks = (
            [None] * len(blocks) if mask is None else _backend.cut_ghosts(mask, size)
        )
        found = zip(*map(moments, blocks, masks), strict=True)
        mean, variance, count = map(_backend.join, found)

        gamma, beta = self._affine(x.dtype)
        valid = count >= 2
        if self._renorm:
            r, d, *_ = self._renorm_correction_and_moments(mean, variance)
            r, d = ops.where(valid, r, 1), ops.where(valid, d, 0)
            gamma, beta = self._compose_transforms(r, d, gamma, beta, x.dtype)
        moving_mean, moving_variance = self._moving(x.dtype)
        center = ops.where(valid, mean, moving_mean)
        spread = ops.where(valid, variance, moving_variance)
        scale = gamma * ops.rsqrt(spread + self.epsilon)
        offset = ops.broadcast_to(beta, ops.shape(mean))

        outputs, start = [], 0
        for block in blocks:
            ghosts = slice(start, start + ops.shape(block)[0])
            normal = (block - center[ghosts, None]) * scale[ghosts, None]
            outputs.append(normal + offset[ghosts, None])
            start = ghosts.stop
        return _backend.uncut_ghosts(outputs, x), mean, variance, count

    def _moving(self, dtype):
        return ops.cast(self.moving_mean, dtype), ops.cast(self.moving_variance, dtype)

    def _affine(self, dtype):
        shape = self.moving_mean.shape
        gamma = ops.cast(self.gamma, dtype) if self.scale else ops.ones(shape, dtype)
        beta = ops.cast(self.beta, dtype) if self.center else ops.zeros(shape, dtype)
        return gamma, beta

    @property
    def _renorm(self):
        # An argument of Keras's layer since 3.15.
        return getattr(self, "renorm", False)

    def _update_moving(self, mean, variance, valid):
        """Moves the running statistics by those of the ghosts where `valid` is 1."""
        mean = ops.where(valid, mean, 0)
        variance = ops.where(valid, variance, 0)
        if not self._renorm:
            self._move(self.moving_mean, mean, valid, self.momentum)
            self._move(self.moving_variance, variance, valid, self.momentum)
            return
        stddev = ops.sqrt(variance + self.epsilon)
        self._move(self.renorm_mean, mean, valid, self.renorm_momentum)
        self._move(self.renorm_stddev, stddev, valid, self.renorm_momentum)
        self._move(self.moving_mean, mean, valid, self.momentum)
        self._move(self.moving_stddev, stddev, valid, self.momentum)
        self.moving_variance.assign(
            ops.relu(ops.square(self.moving_stddev) - self.epsilon)
        )

    def _move(self, moving, statistic, valid, momentum):
        seen = ops.sum(valid, axis=0)
        if self.update == "mean":
            weights = valid * (1 - momentum) / ops.maximum(seen, 1)
            decay = 1 - ops.sum(weights, axis=0)
        else:
            later = seen - ops.cumsum(valid, axis=0)
            weights = valid * (1 - momentum) * ops.power(momentum, later)
            decay = ops.power(momentum, seen)
        value = ops.cast(moving, statistic.dtype)
        moving.assign(value * decay + ops.sum(weights * statistic, axis=0))

    def get_config(self):
        config = super().get_config()
        config.update(virtual_batch_size=self.virtual_batch_size, update=self.update)
        return config


# Those whose normalisation is known: subclasses may do more.
BATCH_NORMS = (keras.layers.BatchNormalization, GhostBatchNorm)


def channels_last(inputs, mask, axis):
    """Returns inputs in float32 at least, and a mask of their shape or `None`."""
    x = ops.cast(inputs, at_least_float32(inputs.dtype))
    if mask is not None:
        mask = ops.broadcast_to(ops.expand_dims(mask, -1), ops.shape(inputs))
        mask = ops.moveaxis(ops.cast(mask, "bool"), axis, -1)
    return ops.moveaxis(x, axis, -1), mask


def moments(x, mask):
    """Mean, variance and count of the positions, each `[ghosts, channels]`."""
    if mask is None:
        # ops.moments stops a gradient of second order; ops.mean is float32 on JAX.
        size = ops.cast(ops.shape(x)[1], x.dtype)
        mean = ops.sum(x, axis=1) / size
        variance = ops.sum(ops.square(x - mean[:, None]), axis=1) / size
        return mean, variance, ops.full_like(mean[:, :1], size)
    count = ops.sum(ops.cast(mask, x.dtype), axis=1)
    some = ops.maximum(count, 1)
    mean = ops.sum(ops.where(mask, x, 0), axis=1) / some
    deviation = ops.where(mask, x - mean[:, None], 0)
    return mean, ops.sum(ops.square(deviation), axis=1) / some, count


def to_ghost_batch_norm(
    model: keras.Model,
    virtual_batch_size: int | None = 64,
    update: Literal["sequential", "mean"] = "sequential",
) -> keras.Model:
    """Copies a model with each batch normalisation made a ghost batch normalisation.

    Weights and running statistics are copied; `model` is left as it is. The copy is
    not compiled.

    Args:
        model: functional or built sequential `keras.Model`; nested ones are converted
            too.
        virtual_batch_size: int >= 2, rows a ghost. Defaults to 64.
        update: as for `GhostBatchNorm`. Defaults to `"sequential"`.

    Returns:
        A `keras.Model` that predicts as `model` does.

    Raises:
        ValueError: `model` is no functional or built sequential model, has no batch
            normalisation, or has one inside another layer (a wrapper, a subclass) or
            of a subclass of its own.

    Example:

    >>> import keras
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.BatchNormalization()])
    >>> to_ghost_batch_norm(model, virtual_batch_size=32).layers[-1].virtual_batch_size
    32
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            "model must be a functional or built sequential keras.Model. "
            f"Received: model={model!r}"
        )

    def convert(layer):
        config = layer.get_config()
        if type(layer) not in BATCH_NORMS:
            return layer.__class__.from_config(config)
        # Raises what from_config would bury in a TypeError.
        GhostBatchNorm(
            virtual_batch_size, update=update, synchronized=layer.synchronized
        )
        config.update(virtual_batch_size=virtual_batch_size, update=update)
        return GhostBatchNorm.from_config(config)

    copy = keras.models.clone_model(model, clone_function=convert, recursive=True)
    layers = [
        layer
        for layer in copy._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    if not layers:
        raise ValueError(
            f"model must have a BatchNormalization layer. Received: model={model.name}"
        )
    for layer in layers:
        if type(layer) is not GhostBatchNorm:
            raise ValueError(
                "model must have its BatchNormalization layers in functional or "
                "sequential models, not inside other layers, and of no subclass. "
                f"Received: model={model.name}, with the layer {layer.path}"
            )
    copy.set_weights(model.get_weights())
    return copy


def check_virtual_batch_size(value):
    """Raises ValueError unless `value` is an int from 2 up, or `None`."""
    if value is not None and not (is_integer(value) and value >= 2):
        raise ValueError(
            "`virtual_batch_size` must be an int >= 2 or None. "
            f"Received: virtual_batch_size={value!r}"
        )
