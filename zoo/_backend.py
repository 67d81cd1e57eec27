"""Floor 0: what Keras's backends lack, and fast paths that were measured.

Each fast path stands beside a plain `keras.ops` way in the part that uses it and gives
the same numbers. `benchmarks/` holds the timings.
"""

import math

import keras
from keras import ops

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util


def under_xla():
    """Whether TensorFlow is tracing code that XLA will compile.

    `tf.function(jit_compile=True)`, which `compile(jit_compile=True)` builds, opens an
    XLA context around its trace; TensorFlow's control flow asks for it the same way.
    """
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    return graph is not None and control_flow_util.GraphOrParentsInXlaContext(graph)


def cut_ghosts(x, size):
    """Cuts the rows of `x` into ghosts of `size` rows; the last takes what is left.

    Returns blocks `[ghosts, positions, channels]`: one where all ghosts are known to
    be equal in size, else the last ghost is a block of its own.
    """
    rows, *sizes, channels = ops.shape(x)
    positions = math.prod(sizes)
    known = isinstance(rows, int)
    if size is None or (known and rows < 2 * size):
        return [ops.reshape(x, (1, rows * positions, channels))]
    if known and rows % size == 0:
        return [ops.reshape(x, (rows // size, size * positions, channels))]
    whole = (max if known else ops.maximum)(rows // size, 1) - 1
    head, last = x[: whole * size], x[whole * size :]
    return [
        ops.reshape(head, (whole, size * positions, channels)),
        ops.reshape(last, (1, (rows - whole * size) * positions, channels)),
    ]


def uncut_ghosts(blocks, x):
    """Undoes `cut_ghosts`: one tensor of the shape of `x`."""
    shape = ops.shape(x)
    return join([ops.reshape(block, (-1, *shape[1:])) for block in blocks])


def join(parts):
    """Concatenates along the first axis, without a copy where there is one part."""
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=0)


def has_ghost_norm():
    """Whether this backend has `ghost_norm`."""
    return keras.backend.backend() == "tensorflow"


def ghost_norm(x, gamma, beta, moving, size, epsilon):
    """Normalises each ghost of `size` rows by its own mean and variance.

    Fused kernels, ghost by ghost, take images outside XLA: a ghost stays in cache from
    its statistics to its output. XLA fuses the closed form better, and the ghosts of a
    matrix are too small to pay for a kernel call each.

    Args:
        x: `[batch, ..., channels]`, float32 or float64.
        gamma, beta: `[channels]`.
        moving: pair of mean and variance, `[channels]`, used where a ghost has fewer
            than two positions.
        size: rows a ghost, or `None` for the whole batch.
        epsilon: added to the variance.

    Returns:
        The normalised `x`; means and biased variances, `[ghosts, channels]`; counts of
        positions, `[ghosts, 1]`.
    """
    fusible = x.dtype == tf.float32 and any(side != 1 for side in x.shape[1:-1])
    if fusible and not under_xla():
        return _fused_ghost_norm(x, gamma, beta, size, epsilon)
    return _closed_form_ghost_norm(x, gamma, beta, moving, size, epsilon)


def _fused_ghost_norm(x, gamma, beta, size, epsilon):
    shape = tf.shape(x)
    # The kernel reduces over all but the last of four axes.
    flat = tf.reshape(x, [shape[0], -1, 1, x.shape[-1]])
    if size is None or (x.shape[0] is not None and x.shape[0] < 2 * size):
        rows = shape[:1]
        y, mean, variance = _fused_batch_norm(flat, gamma, beta, epsilon)[:3]
        mean, variance = mean[None], variance[None]
    else:
        starts = tf.range(tf.maximum(shape[0] // size, 1)) * size
        ends = tf.concat([starts[1:], shape[:1]], 0)
        rows = ends - starts
        y, mean, variance = _fused_runs(flat, gamma, beta, starts, ends, epsilon)
    count = tf.cast(rows * tf.shape(flat)[1], x.dtype)[:, None]
    # The kernel normalises by the biased variance, yet returns the unbiased one.
    return tf.reshape(y, shape), mean, variance * (count - 1) / count, count


def _fused_runs(x, gamma, beta, starts, ends, epsilon):
    runs = tf.size(starts)

    @tf.custom_gradient
    def normalize(x, gamma, beta):
        y, mean, variance, *reserve = _for_each(
            runs,
            lambda run: _fused_batch_norm(
                x[starts[run] : ends[run]], gamma, beta, epsilon
            ),
            x.shape,
            stacked=4,
        )

        def gradient(dy, *_):
            dx, dgamma, dbeta = _for_each(
                runs,
                lambda run: tf.raw_ops.FusedBatchNormGradV3(
                    y_backprop=dy[starts[run] : ends[run]],
                    x=x[starts[run] : ends[run]],
                    scale=gamma,
                    reserve_space_1=reserve[0][run],
                    reserve_space_2=reserve[1][run],
                    reserve_space_3=tf.zeros([0]),
                    epsilon=epsilon,
                    is_training=True,
                )[:3],
                x.shape,
                stacked=2,
            )
            return dx, tf.reduce_sum(dgamma, 0), tf.reduce_sum(dbeta, 0)

        return (y, mean, variance), gradient

    return normalize(x, gamma, beta)


def _fused_batch_norm(x, gamma, beta, epsilon):
    return tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=gamma,
        offset=beta,
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        epsilon=epsilon,
        is_training=True,
    )[:5]


def _for_each(runs, function, shape, stacked):
    """Calls `function(run)`; joins its first output by rows, stacks the others."""
    arrays = [
        tf.TensorArray(
            tf.float32, runs, infer_shape=False, element_shape=[None, *shape[1:]]
        )
    ] + [
        tf.TensorArray(tf.float32, runs, element_shape=shape[-1:])
        for _ in range(stacked)
    ]

    def body(run, *arrays):
        outputs = function(run)
        return run + 1, *(
            array.write(run, output)
            for array, output in zip(arrays, outputs, strict=True)
        )

    _, rows, *others = tf.while_loop(lambda run, *_: run < runs, body, [0, *arrays])
    return rows.concat(), *(array.stack() for array in others)


def _closed_form_ghost_norm(x, gamma, beta, moving, size, epsilon):
    moving_mean, moving_variance = moving

    @tf.custom_gradient
    def normalize(x, gamma, beta):
        blocks = cut_ghosts(x, size)
        outputs, saved = [], []
        for block in blocks:
            mean = tf.reduce_mean(block, 1, keepdims=True)
            variance = tf.reduce_mean(
                tf.math.squared_difference(block, mean), 1, keepdims=True
            )
            valid = tf.shape(block)[1] >= 2
            center = tf.where(valid, mean, moving_mean)
            inverse = tf.math.rsqrt(
                tf.where(valid, variance, moving_variance) + epsilon
            )
            outputs.append((block - center) * (gamma * inverse) + beta)
            saved.append((mean, variance, center, inverse, tf.cast(valid, x.dtype)))
        mean = join([kept[0][:, 0] for kept in saved])
        variance = join([kept[1][:, 0] for kept in saved])

        def gradient(dy, *_):
            dx, dgamma, dbeta = [], 0.0, 0.0
            for dblock, block, (*_, center, inverse, valid) in zip(
                cut_ghosts(dy, size), blocks, saved, strict=True
            ):
                normal = (block - center) * inverse
                mean_dy = tf.reduce_mean(dblock, 1, keepdims=True)
                mean_dy_normal = tf.reduce_mean(dblock * normal, 1, keepdims=True)
                dx.append(
                    (dblock - valid * mean_dy - normal * (valid * mean_dy_normal))
                    * (gamma * inverse)
                )
                count = tf.cast(tf.shape(block)[1], x.dtype)
                dgamma += count * tf.reduce_sum(mean_dy_normal, [0, 1])
                dbeta += count * tf.reduce_sum(mean_dy, [0, 1])
            return uncut_ghosts(dx, x), dgamma, dbeta

        return (uncut_ghosts(outputs, x), mean, variance), gradient

    y, mean, variance = normalize(x, gamma, beta)
    count = join(
        [
            tf.fill([tf.shape(block)[0], 1], tf.cast(tf.shape(block)[1], x.dtype))
            for block in cut_ghosts(x, size)
        ]
    )
    return y, mean, variance, count
