"""Ghosts of a batch: cutting it, and TensorFlow's fast normalisation of each."""

import math

import keras
from keras import ops

from zoo._backend.tracing import under_xla

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


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

    Derivatives of any order, in reverse and forward mode, are those of the closed form;
    none flow through the returned statistics. Only `tape.jacobian` of images whose last
    ghost differs in size needs `experimental_use_pfor=False`.

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
    fusible = (
        x.dtype == tf.float32
        and any(side != 1 for side in x.shape[1:-1])
        # The kernel knows no running statistics: each ghost must have two positions.
        and math.prod(side for side in x.shape[:-1] if side) >= 2
    )
    fused = fusible and not under_xla()
    normalize = _fused_ghost_norm if fused else _closed_form_ghost_norm
    y, mean, variance = normalize(x, gamma, beta, moving, size, epsilon)
    count = _ghost_counts(x, size)
    if fused:
        # The kernel normalises by the biased variance, yet returns the unbiased one.
        variance *= (count - 1) / count
    return y, mean, variance, count


def _ghost_counts(x, size):
    rows, *sizes, _ = ops.shape(x)
    if size is None or (isinstance(rows, int) and rows < 2 * size):
        counts = [rows]
    elif isinstance(rows, int):
        # Constants, which XLA folds into the weights of the running statistics.
        whole = rows // size - 1
        counts = [size] * whole + [rows - size * whole]
    else:
        starts = tf.range(tf.maximum(rows // size, 1)) * size
        counts = tf.concat([starts[1:], [rows]], 0) - starts
    return tf.cast(counts, x.dtype)[:, None] * tf.cast(math.prod(sizes), x.dtype)


def _fused_ghost_norm(x, gamma, beta, _, size, epsilon):
    @tf.custom_gradient
    def normalize(x, gamma, beta):
        y, mean, variance, *reserve = _each_ghost(
            lambda x, gamma, beta: tf.raw_ops.FusedBatchNormV2(
                x=x,
                scale=gamma,
                offset=beta,
                mean=tf.zeros([0]),
                variance=tf.zeros([0]),
                epsilon=epsilon,
                is_training=True,
            ),
            size,
            images=[x],
            shared=[gamma, beta],
            stacked=4,
        )

        def gradient(dy, *_):
            return _fused_gradient(dy, x, gamma, reserve, size, epsilon)

        return (y, mean, variance), gradient

    if not tf.executing_eagerly():
        # Forward mode sees a graph's custom gradients only as parts of functions.
        normalize = tf.function(normalize, autograph=False)
    # The kernel reduces over all but the last of four axes.
    flat = tf.reshape(x, [tf.shape(x)[0], -1, 1, x.shape[-1]])
    y, mean, variance = normalize(flat, gamma, beta)
    return tf.reshape(y, tf.shape(x)), mean, variance


def _fused_gradient(dy, x, gamma, reserve, size, epsilon):
    @tf.custom_gradient
    def gradient(dy, x, gamma):
        # Tensors of the graph that this runs in, which the next derivative finds.
        dy, x, gamma = map(tf.identity, (dy, x, gamma))
        dx, *sums = _each_ghost(
            lambda dy, x, gamma, mean, spread: tf.raw_ops.FusedBatchNormGradV2(
                y_backprop=dy,
                x=x,
                scale=gamma,
                reserve_space_1=mean,
                reserve_space_2=spread,
                epsilon=epsilon,
                is_training=True,
            )[:3],
            size,
            images=[dy, x],
            shared=[gamma],
            values=reserve,
            stacked=2,
        )
        dgamma, dbeta = (tf.reduce_sum(part, 0) for part in sums)

        def gradient_of_gradient(ddx, ddgamma, ddbeta):
            blocks, frames, _ = _ghost_frames(x, (0.0, 1.0), size, epsilon)
            return _closed_form_second_gradient(
                ddx, ddgamma, ddbeta, dy, x, gamma, blocks, frames
            )

        return (dx, dgamma, dbeta), gradient_of_gradient

    return gradient(dy, x, gamma)


def _each_ghost(function, size, images, shared, values=(), *, stacked):
    """Calls `function` with each ghost of `images`, `shared`, and each of `values`.

    Its first output is joined by rows, the `stacked` others are stacked. Nothing is
    differentiated through the loop: TensorFlow gets its second derivatives wrong.
    """
    images, shared, values = tf.nest.map_structure(
        tf.stop_gradient, (list(images), list(shared), list(values))
    )
    rows, *sizes = images[0].shape
    if size is None or (rows is not None and rows < 2 * size):
        first, *others = function(*images, *shared, *(value[0] for value in values))
        return first, *(output[None] for output in others)
    rows = tf.shape(images[0])[0]
    ghosts = tf.maximum(rows // size, 1)

    def body(ghost, *arrays):
        start = ghost * size
        stop = tf.where(ghost < ghosts - 1, start + size, rows)
        outputs = function(
            *(image[start:stop] for image in images),
            *shared,
            *(value[ghost] for value in values),
        )
        pairs = zip(arrays, outputs, strict=True)
        return ghost + 1, *(array.write(ghost, output) for array, output in pairs)

    def array(*shape, **kwargs):
        return tf.TensorArray(tf.float32, ghosts, element_shape=shape, **kwargs)

    _, first, *others = tf.while_loop(
        lambda ghost, *_: ghost < ghosts,
        body,
        [
            0,
            array(None, *sizes, infer_shape=False),
            *(array(sizes[-1]) for _ in range(stacked)),
        ],
    )
    return first.concat(), *(array.stack() for array in others)


def _closed_form_ghost_norm(x, gamma, beta, moving, size, epsilon):
    @tf.custom_gradient
    def normalize(x, gamma, beta):
        blocks, frames, moments = _ghost_frames(x, moving, size, epsilon)
        outputs = [
            (block - center) * (gamma * inverse) + beta
            for block, (center, inverse, _) in zip(blocks, frames, strict=True)
        ]
        mean, variance = (
            join([statistic[:, 0] for statistic in statistics])
            for statistics in zip(*moments, strict=True)
        )

        def gradient(dy, *_):
            return _closed_form_gradient(dy, x, gamma, blocks, frames)

        return (uncut_ghosts(outputs, x), mean, variance), gradient

    return normalize(x, gamma, beta)


def _ghost_frames(x, moving, size, epsilon):
    """Blocks of ghosts, what each is normalised by, and their moments.

    A frame is a centre, an inverse deviation, and 1 if both are the ghost's own, 0 if
    they are the running statistics'.
    """
    blocks, frames, moments = cut_ghosts(x, size), [], []
    for block in blocks:
        mean = _mean(block)
        variance = _mean(tf.math.squared_difference(block, mean))
        moments.append((mean, variance))
        center, spread, own = mean, variance, 1.0
        if (block.shape[1] or 0) < 2:
            valid = tf.shape(block)[1] >= 2
            center = tf.where(valid, mean, moving[0])
            spread = tf.where(valid, variance, moving[1])
            own = tf.cast(valid, x.dtype)
        frames.append((center, tf.math.rsqrt(spread + epsilon), own))
    return blocks, frames, moments


def _closed_form_gradient(dy, x, gamma, blocks, frames):
    dxs, dgammas, dbetas = [], [], []
    for dblock, block, (center, inverse, own) in zip(
        _cut_like(blocks, dy), blocks, frames, strict=True
    ):
        rest, mean, along = _project(dblock, block - center, inverse, own)
        dxs.append(rest * (gamma * inverse))
        dgammas.append(_total(along * inverse, block))
        dbetas.append(_total(mean, block))
    return uncut_ghosts(dxs, x), tf.add_n(dgammas), tf.add_n(dbetas)


def _project(t, deviation, inverse, own):
    """`t` less its parts along ones and `deviation`; its mean products with both."""
    mean, along = _mean(t), _mean(t * deviation)
    rest = t - own * mean - deviation * (own * along * inverse * inverse)
    return rest, mean, along


def _mean(x):
    """Means over the positions of each ghost, `[ghosts, 1, channels]`."""
    positions = x.shape[1]
    small = positions is not None and 0 < positions <= 512
    if small and under_xla() and _only_cpus():
        # On a CPU, XLA sums a middle axis in loops slower than a product of matrices.
        share = tf.constant(1 / positions, x.dtype)
        return tf.matmul(tf.fill([tf.shape(x)[0], 1, positions], share), x)
    return tf.reduce_mean(x, 1, keepdims=True)


def _only_cpus():
    # The others multiply matrices in less than float32.
    return all(
        device.device_type == "CPU" for device in tf.config.list_physical_devices()
    )


def _total(means, block):
    """Sums over a block, by channel, from the means over its ghosts' positions."""
    count = tf.cast(tf.shape(block)[1], block.dtype)
    # The means of an empty batch are NaN.
    return tf.math.multiply_no_nan(tf.reduce_sum(means, [0, 1]), count)


def _closed_form_second_gradient(ddx, ddgamma, ddbeta, dy, x, gamma, blocks, frames):
    """The gradient of `_closed_form_gradient` for `dy`, `x` and `gamma`."""
    ddys, dxs, dgammas = [], [], []
    cotangents, dblocks = _cut_like(blocks, ddx), _cut_like(blocks, dy)
    for cotangent, dblock, block, (center, inverse, own) in zip(
        cotangents, dblocks, blocks, frames, strict=True
    ):
        deviation, scale = block - center, gamma * inverse
        rest, _, along = _project(cotangent, deviation, inverse, own)
        inner, dblock_along = _mean(rest * dblock), _mean(dblock * deviation)
        dnormal = ddgamma * dblock - (own * scale * inverse) * (
            dblock_along * cotangent + along * dblock
        )
        rest_dnormal, *_ = _project(dnormal, deviation, inverse, own)
        ddys.append(scale * rest + (ddgamma * inverse) * deviation + ddbeta)
        dx = rest_dnormal - deviation * (own * scale * inverse * inner)
        dxs.append(inverse * dx)
        dgammas.append(_total(inverse * inner, block))
    return uncut_ghosts(ddys, x), uncut_ghosts(dxs, x), tf.add_n(dgammas)


def _cut_like(blocks, x):
    """Cuts `x` as the blocks were cut, however little is known of its shape."""
    if len(blocks) == 1:
        return [tf.reshape(x, tf.shape(blocks[0]))]
    shapes = [tf.shape(block) for block in blocks]
    rows = tf.reshape(x, [-1, blocks[0].shape[-1]])
    parts = tf.split(rows, [shape[0] * shape[1] for shape in shapes])
    return [tf.reshape(part, to) for part, to in zip(parts, shapes, strict=True)]
