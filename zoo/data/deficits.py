"""What is wrong with the data while a network is young, to study critical periods."""

import functools
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from zoo import _backend
from zoo._types import Array
from zoo.losses.checks import check_choice, check_integer, check_number


class Deficit(keras.layers.Layer):
    """Base of the deficits: something wrong with what a network gets to see.

    A deficit is used in one of two ways, and must be in one place only:

    - `corrupt` is a `map_fn` of `zoo.data.batches`, for a phase of training that has
      its own dataset. Same seed and epoch, same numbers: a training resumes exactly.
    - As a layer in a model it changes its inputs in training, while its weight `active`
      is true, and is the identity otherwise. `active` is read as the step runs:
      switching it, as `DeficitWindow` does, keeps the compiled step and the optimizer's
      state, and an inactive deficit costs no more than reading it.

    On the TensorFlow backend the layer also maps a dataset, `dataset.map(lambda x, y:
    (deficit(x, training=True), y))`. But there `active` is read when a batch is
    prepared, which is ahead of its epoch: a window of epochs needs a dataset for each
    phase, or the deficit in the model.

    Subclasses implement `alter(x, seed)`, and `next_seed()` if they draw.

    Args:
        **kwargs: `name`, `dtype`, as for any layer. Half precision is computed in
            float32; results have the dtype of the inputs.

    Call arguments:
        x: what the network sees: images `(batch, height, width, channels)` of a
            floating dtype, or integer labels of any shape.
        training: bool, whether to apply the deficit. Defaults to `False`.

    Returns:
        A tensor of the shape and dtype of `x`.

    Example:

    >>> class Negative(Deficit):
    ...     def alter(self, x, seed):
    ...         return 1.0 - x
    >>> deficit = Negative()
    >>> x = np.zeros((1, 2), "float32")
    >>> np.asarray(deficit(x, training=True)), np.asarray(deficit(x))
    (array([[1., 1.]], dtype=float32), array([[0., 0.]], dtype=float32))

    Reference:

    - Achille, Rovere and Soatto, 2019, "Critical learning periods in deep networks",
      [arXiv:1711.08856](https://arxiv.org/abs/1711.08856)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.active = self.add_weight(
            shape=(), initializer="ones", dtype="bool", trainable=False, name="active"
        )

    def call(self, x, training=None):
        if not training:
            return x
        # Drawn here: JAX lets no branch change a state.
        seed = self.next_seed()
        return ops.cond(self.active.value, lambda: self.alter(x, seed), lambda: x)

    def corrupt(self, images: Array, labels: Array, seed: Array) -> tuple[Array, Array]:
        """Applies the deficit to a batch, whatever `active` is.

        Args:
            images: TensorFlow's tensor, on any backend, or an array.
            labels: the same.
            seed: pair of integers, from which all that is drawn follows.

        Returns:
            `(images, labels)`, of the shapes and dtypes given.
        """
        return self.alter(tf.convert_to_tensor(images), seed), labels

    def alter(self, x: Array, seed: Array) -> Array:
        """Returns the altered `x`, a tensor of the backend or of TensorFlow."""
        raise NotImplementedError

    def next_seed(self) -> Array | None:
        """Returns the seed of a call in training, `None` if nothing is drawn."""
        return None

    def compute_output_shape(self, input_shape):
        return input_shape

    def compute_output_spec(self, x, training=None):
        return keras.KerasTensor(x.shape, dtype=x.dtype)


@keras.saving.register_keras_serializable(package="zoo")
class Blur(Deficit):
    """Blurs images: down to `size x size`, and bilinearly up to the old size.

    `y = U_h D_h x (U_w D_w)^T` for each channel, with `D` the `size x side` matrix of
    `method`, and `U` the `side x size` one of bilinear sampling. Pixels are squares and
    are sampled at their centres, edges are repeated, and nothing is smoothed before
    sampling, as in OpenCV's and PyTorch's bilinear resizing.

    Args:
        size: int >= 1, the side of the small image, at most those of the images.
            Defaults to 8.
        method: `"bilinear"`, the down-sampling of the paper, which leaves out pixels
            where `size` is less than half of the side, or `"average"`, the mean over
            each small pixel's area. Defaults to `"bilinear"`.
        **kwargs: as for `Deficit`.

    Raises:
        ValueError: an argument is not as above, or images are smaller than `size`.

    Example:

    >>> blur = Blur(size=2, method="average")
    >>> x = np.arange(4.0).reshape(1, 1, 4, 1).repeat(4, axis=1)
    >>> images, _ = blur.corrupt(x, [0], seed=None)
    >>> images[0, 0, :, 0].numpy().tolist()
    [0.5, 1.0, 2.0, 2.5]

    Reference:

    - Achille, Rovere and Soatto, 2019, "Critical learning periods in deep networks",
      [arXiv:1711.08856](https://arxiv.org/abs/1711.08856)
    """

    def __init__(
        self,
        size: int = 8,
        method: Literal["bilinear", "average"] = "bilinear",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = check_integer("size", size, low=1)
        self.method = check_choice("method", method, ("bilinear", "average"))

    def build(self, input_shape):
        self._matrices(input_shape)

    def alter(self, x: Array, seed: Array) -> Array:
        down, across = self._matrices(x.shape)
        dtype = _computing_dtype(x)
        library = tf if tf.is_tensor(x) else ops
        y = library.cast(x, dtype)
        y = library.einsum("ih,bhwc->biwc", down.astype(dtype), y)
        y = library.einsum("jw,biwc->bijc", across.astype(dtype), y)
        return library.cast(y, x.dtype)

    def _matrices(self, shape):
        if len(shape) != 4 or None in shape[1:3] or min(shape[1:3]) < self.size:
            raise ValueError(
                "`images` must be (batch, height, width, channels), with sides of at "
                f"least size={self.size}. Received: images.shape={tuple(shape)}"
            )
        return [_blur_matrix(side, self.size, self.method) for side in shape[1:3]]

    def get_config(self):
        return {**super().get_config(), "size": self.size, "method": self.method}


@keras.saving.register_keras_serializable(package="zoo")
class VerticalFlip(Deficit):
    """Turns images upside down; a second flip turns them back.

    A deficit of high level: small patches are mirrored, and keep their statistics.

    Args:
        **kwargs: as for `Deficit`.

    Example:

    >>> x = np.arange(3.0).reshape(1, 3, 1, 1)
    >>> images, _ = VerticalFlip().corrupt(x, [0], seed=None)
    >>> images[0, :, 0, 0].numpy().tolist()
    [2.0, 1.0, 0.0]

    Reference:

    - Achille, Rovere and Soatto, 2019, "Critical learning periods in deep networks",
      [arXiv:1711.08856](https://arxiv.org/abs/1711.08856)
    """

    def alter(self, x: Array, seed: Array) -> Array:
        return x[:, ::-1]


@keras.saving.register_keras_serializable(package="zoo")
class WhiteNoise(Deficit):
    """Puts noise in the place of images: nothing of them is left to see.

    Every value is drawn from a normal distribution, independent of the image and of
    all others. It is not clipped.

    Args:
        mean: float, the mean of the noise. Defaults to 0.5.
        stddev: float >= 0, its standard deviation. Defaults to 0.25, for images in
            [0, 1]: 95 % of the noise lies there too. Where images are normalised to
            mean 0 and deviation 1, give these.
        seed: int, from which a layer in a model draws (`corrupt` draws from its
            argument alone). Defaults to `None`: another for each layer.
        **kwargs: as for `Deficit`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> noise = WhiteNoise()
    >>> images, _ = noise.corrupt(np.zeros((64, 8, 8, 1)), [0] * 64, seed=[0, 1])
    >>> round(float(np.mean(images)), 1)
    0.5

    Reference:

    - Achille, Rovere and Soatto, 2019, "Critical learning periods in deep networks",
      [arXiv:1711.08856](https://arxiv.org/abs/1711.08856)
    """

    def __init__(
        self,
        mean: float = 0.5,
        stddev: float = 0.25,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mean = check_number("mean", mean)
        self.stddev = check_number("stddev", stddev, low=0)
        self.seed = seed if seed is None else check_integer("seed", seed, low=0)
        self.seed_generator = keras.random.SeedGenerator(self.seed)

    def alter(self, x: Array, seed: Array) -> Array:
        dtype = _computing_dtype(x)
        if tf.is_tensor(x):
            noise = tf.random.stateless_normal(
                tf.shape(x), seed, self.mean, self.stddev, dtype
            )
            return tf.cast(noise, x.dtype)
        noise = keras.random.normal(
            ops.shape(x), self.mean, self.stddev, dtype, _Drawn(seed)
        )
        return ops.cast(noise, x.dtype)

    def next_seed(self) -> Array:
        return self.seed_generator.next()

    def save_own_variables(self, store):
        super().save_own_variables(store)
        # Keras leaves it out, and a training that goes on would draw other noise.
        store["seed"] = self.seed_generator.state.numpy()

    def load_own_variables(self, store):
        self.active.assign(store["0"])
        self.seed_generator.state.assign(store["seed"])

    def get_config(self):
        config = {"mean": self.mean, "stddev": self.stddev, "seed": self.seed}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="zoo")
class LabelPermutation(Deficit):
    """Gives each class the label of another: all are wrong, and none is lost.

    One bijection without a fixed point, drawn from all of them with the same chance.
    `corrupt` changes the labels, and leaves the images; as a layer it is called on
    labels.

    Args:
        num_classes: int >= 2.
        seed: int >= 0, from which the permutation is drawn. Defaults to 0.
        **kwargs: as for `Deficit`.

    Attributes:
        permutation: int32 array `(num_classes,)`, the label given in place of each.

    Raises:
        ValueError: an argument is not as above, or labels are no integers that
            hold as many classes.

    Example:

    >>> deficit = LabelPermutation(num_classes=3)
    >>> deficit.permutation.tolist()
    [2, 0, 1]
    >>> _, labels = deficit.corrupt(np.zeros((4, 8, 8, 1)), [0, 0, 1, 2], seed=None)
    >>> labels.numpy().tolist()
    [2, 2, 0, 1]

    Reference:

    - Achille, Rovere and Soatto, 2019, "Critical learning periods in deep networks",
      [arXiv:1711.08856](https://arxiv.org/abs/1711.08856)
    """

    def __init__(self, num_classes: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = check_integer("num_classes", num_classes, low=2)
        self.seed = check_integer("seed", seed, low=0)
        self.permutation = _derangement(self.num_classes, self.seed)

    def corrupt(self, images: Array, labels: Array, seed: Array) -> tuple[Array, Array]:
        return images, self.alter(tf.convert_to_tensor(labels), seed)

    def alter(self, x: Array, seed: Array) -> Array:
        dtype = keras.backend.standardize_dtype(x.dtype)
        if (
            not keras.backend.is_int_dtype(dtype)
            or np.iinfo(dtype).max < self.num_classes - 1
        ):
            raise ValueError(
                "`labels` must be of an integer dtype that holds "
                f"num_classes={self.num_classes}. Received: dtype={dtype}"
            )
        if tf.is_tensor(x):
            indices = tf.cast(x, "int32")
            return tf.cast(tf.gather(self.permutation, indices), dtype)
        indices = ops.cast(x, "int32")
        return ops.cast(_backend.take(self.permutation, indices, axis=0), dtype)

    def get_config(self):
        config = {"num_classes": self.num_classes, "seed": self.seed}
        return {**super().get_config(), **config}


class DeficitWindow(keras.callbacks.Callback):
    """Makes a deficit in a model active in a window of epochs, and in no other.

    It is active in the epochs `start <= epoch < stop`, counted from 0 and, where
    training resumes, from `initial_epoch`. The compiled step and the optimizer's state
    stay as they are.

    Args:
        deficit: `Deficit`, a layer of the model that is trained.
        start: int >= 0, the first epoch with the deficit. Defaults to 0.
        stop: int > start, the first epoch without it again, or `None` for the end of
            training. Defaults to `None`.

    Raises:
        ValueError: an argument is not as above; as training begins, if the window
            does not lie in its epochs or the model does not have the deficit.

    Example:

    >>> blur = Blur(size=4)
    >>> layers = [keras.Input((8, 8, 1)), blur, keras.layers.Flatten()]
    >>> model = keras.Sequential([*layers, keras.layers.Dense(2)])
    >>> model.compile("sgd", "mse")
    >>> seen = keras.callbacks.LambdaCallback(
    ...     on_epoch_begin=lambda epoch, logs: print(epoch, bool(blur.active.value))
    ... )
    >>> x, y = np.ones((4, 8, 8, 1)), np.ones((4, 2))
    >>> callbacks = [DeficitWindow(blur, start=1, stop=2), seen]
    >>> history = model.fit(x, y, epochs=3, callbacks=callbacks, verbose=0)
    0 False
    1 True
    2 False
    """

    def __init__(
        self, deficit: Deficit, start: int = 0, stop: int | None = None
    ) -> None:
        super().__init__()
        if not isinstance(deficit, Deficit):
            raise ValueError(
                f"`deficit` must be a Deficit. Received: deficit={deficit!r}"
            )
        self.deficit = deficit
        self.start = check_integer("start", start, low=0)
        self.stop = stop
        if stop is not None:
            self.stop = check_integer("stop", stop, low=self.start + 1)

    def on_train_begin(self, logs=None):
        epochs = self.params["epochs"]
        if self.start >= epochs or (self.stop or 0) > epochs:
            raise ValueError(
                f"`start` and `stop` must lie in the {epochs} epochs of the training. "
                f"Received: start={self.start}, stop={self.stop}"
            )
        if not any(variable is self.deficit.active for variable in self.model.weights):
            raise ValueError(
                "`deficit` must be a layer of the model. "
                f"Received: deficit={self.deficit.name}, model={self.model.name}"
            )

    def on_epoch_begin(self, epoch, logs=None):
        ended = self.stop is not None and epoch >= self.stop
        self.deficit.active.assign(epoch >= self.start and not ended)

    def on_train_end(self, logs=None):
        self.deficit.active.assign(False)


def without_class(
    images: Array, labels: Array, label: int
) -> tuple[np.ndarray, np.ndarray]:
    """Leaves out the samples of one class.

    Args:
        images: array `(n, ...)`.
        labels: array of integers, `(n,)`.
        label: int, the class to leave out.

    Returns:
        `(images, labels)` without them, new arrays in the old order.

    Raises:
        ValueError: no sample is of the class, or all are, or the lengths differ.

    Example:

    >>> without_class(np.zeros((4, 8, 8, 1)), np.array([0, 1, 2, 1]), 1)[1].tolist()
    [0, 2]
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if labels.shape != images.shape[:1]:
        raise ValueError(
            "`labels` must have one label for each image. Received: "
            f"labels.shape={labels.shape} for {len(images)} images"
        )
    kept = labels != label
    if kept.all() or not kept.any():
        raise ValueError(
            "`label` must be one of at least two classes that `labels` has, "
            f"{np.unique(labels).tolist()}. Received: label={label!r}"
        )
    return images[kept], labels[kept]


@functools.cache
def _blur_matrix(side, size, method):
    """What blurs a column of `side` pixels, `(side, side)`."""
    resize = _area_matrix if method == "average" else _bilinear_matrix
    return _bilinear_matrix(size, side) @ resize(side, size)


def _bilinear_matrix(old, new):
    """Samples `new` evenly spaced points between the centres of `old` pixels."""
    points = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(1 - np.abs(points[:, None] - np.arange(old)), 0)


def _area_matrix(old, new):
    """Averages `old` pixels over `new` intervals, by the length that each covers."""
    edges = np.arange(new + 1)[:, None] * old / new
    pixels = np.arange(old)
    starts = np.maximum(edges[:-1], pixels)
    stops = np.minimum(edges[1:], pixels + 1)
    return np.maximum(stops - starts, 0) * new / old


def _derangement(n, seed):
    generator = np.random.default_rng(seed)
    permutation = np.arange(n, dtype="int32")
    # To draw again until none is left in place keeps the chances equal.
    while np.any(permutation == np.arange(n)):
        permutation = generator.permutation(n).astype("int32")
    return permutation


def _computing_dtype(images):
    dtype = keras.backend.standardize_dtype(images.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            f"`images` must be of a floating dtype. Received: dtype={dtype}"
        )
    return keras.backend.result_type(dtype, "float32")


class _Drawn(keras.random.SeedGenerator):
    """A seed drawn before: `keras.random` takes a generator, not what it drew."""

    def __init__(self, seed):
        self.seed = seed

    def next(self, ordered=True):
        return self.seed
