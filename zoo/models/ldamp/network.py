"""A stack of iterations of D-AMP, as a model."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo import _backend
from zoo._types import Array
from zoo.layers import LdampBlock
from zoo.layers.ldamp import check_measurements, check_values
from zoo.layers.operators import LinearOperator
from zoo.layers.unrolled_block import serialize
from zoo.losses.checks import check_integer
from zoo.models.normalization import DEEPEST


@keras.saving.register_keras_serializable(package="zoo")
class LdampNetwork(keras.Model):
    """A network whose layers are the iterations of D-AMP, with learned denoisers.

    `zoo.models.ldamp.ldamp` builds it. Called on measurements it returns the last
    layer's estimate; `estimates` returns those of all layers, each of which is what a
    network of so many layers returns.

    Args:
        blocks: list of `zoo.layers.LdampBlock` of one operator.
        **kwargs: `name`.

    Call arguments:
        y: `[batch, *operator.measurement_shape]`.

    Returns:
        `[batch, height, width, channels]`.

    Raises:
        ValueError: `blocks` is not as above, or `y` is of another shape.

    Example:

    >>> from zoo.layers.operators import GaussianMatrix
    >>> from zoo.models.denoisers import unet
    >>> from zoo.models.ldamp import ldamp
    >>> operator = GaussianMatrix((16, 16, 1), 64)
    >>> network = ldamp(operator, unet(noise_level_input=True), depth=3)
    >>> y = operator(np.full((2, 16, 16, 1), 0.5))
    >>> network.predict_all(y).shape, network.truncate(2).predict(y, verbose=0).shape
    ((3, 2, 16, 16, 1), (2, 16, 16, 1))
    """

    def __init__(self, blocks: Sequence[keras.layers.Layer], **kwargs: Any) -> None:
        blocks = list(blocks) if isinstance(blocks, (list, tuple)) else [blocks]
        if not blocks or not all(isinstance(one, LdampBlock) for one in blocks):
            raise ValueError(
                "`blocks` must hold layers of the kind LdampBlock. "
                f"Received: blocks={blocks!r}"
            )
        if any(block.operator is not blocks[0].operator for block in blocks):
            raise ValueError("`blocks` must be of one operator. Received: others")
        # The blocks cast.
        super().__init__(autocast=False, **kwargs)
        self.blocks = blocks
        # The compiled form of `estimates`.
        self._run: Callable[[Array], Array] | None = None
        for block in blocks:
            if not block.built:
                block.build((None, *self.operator.measurement_shape))
                block.built = True
        self.built = True

    @property
    def operator(self) -> LinearOperator:
        """The operator whose measurements are taken."""
        return self.blocks[0].operator

    @property
    def denoisers(self) -> list[keras.layers.Layer]:
        """The denoisers, each once, in the order of the layers."""
        return list(
            {id(block.denoiser): block.denoiser for block in self.blocks}.values()
        )

    @property
    def depth(self) -> int:
        """The number of layers."""
        return len(self.blocks)

    def __call__(self, y, *args, **kwargs):
        # Keras would bury what `call` raises in lines of its own.
        y = check_measurements(self.operator, y)
        return super().__call__(y, *args, **kwargs)

    def call(self, y, training=None):
        return self.estimates(y, training)[-1]

    def estimates(self, y: Array, training: bool | None = None) -> list[Array]:
        """Returns the list of the estimates of all layers, tensors of images."""
        found, state = [], None
        for block in self.blocks:
            state = block(y, state, training=training)
            found.append(state[0])
        return found

    def predict_all(self, y: Array, batch_size: int = 16) -> np.ndarray:
        """Returns the estimates of all layers, `[layers, samples, H, W, C]`.

        Args:
            y: array `[samples, *operator.measurement_shape]`.
            batch_size: int, samples a step. Defaults to 16.

        Raises:
            ValueError: `y` is not as above, not finite, or of images with other
                intensities than about [0, 1].
        """
        check_integer("batch_size", batch_size, 1)
        y = check_values(self.operator, check_measurements(self.operator, y))
        if self._run is None:
            self._run = _backend.compiled(lambda y: ops.stack(self.estimates(y)), self)
        parts = [
            ops.convert_to_numpy(self._run(y[start : start + batch_size]))
            for start in range(0, len(y), batch_size)
        ]
        return np.concatenate(parts, axis=1)

    def truncate(self, depth: int) -> "LdampNetwork":
        """Returns a network of the first `depth` layers, which share their weights."""
        if check_integer("depth", depth, 1) > self.depth:
            raise ValueError(
                f"`depth` must be at most {self.depth}. Received: depth={depth}"
            )
        return LdampNetwork(self.blocks[:depth])

    def compute_output_shape(self, y_shape):
        return (y_shape[0], *self.operator.image_shape)

    def get_config(self):
        denoisers = self.denoisers
        places = {id(denoiser): place for place, denoiser in enumerate(denoisers)}
        return {
            "name": self.name,
            "operator": serialize(self.operator),
            "denoisers": [serialize(denoiser) for denoiser in denoisers],
            # Which denoiser each layer has, and its other arguments.
            "tied": [places[id(block.denoiser)] for block in self.blocks],
            "settings": [
                {
                    **block.settings(),
                    "dtype": keras.saving.serialize_keras_object(block.dtype_policy),
                }
                for block in self.blocks
            ],
        }

    @classmethod
    def from_config(cls, config):
        load = keras.saving.deserialize_keras_object
        operator = load(config["operator"])
        denoisers = [load(denoiser) for denoiser in config["denoisers"]]
        pairs = zip(config["tied"], config["settings"], strict=True)
        blocks = [
            LdampBlock(operator, denoisers[place], **settings)
            for place, settings in pairs
        ]
        return cls(blocks, name=config["name"])


def ldamp(
    operator: LinearOperator,
    denoisers: keras.layers.Layer | Sequence[keras.layers.Layer],
    depth: int | None = None,
    *,
    seed: int = 0,
    **kwargs: Any,
) -> LdampNetwork:
    """Builds LDAMP: D-AMP of so many iterations, with networks for denoisers.

    Args:
        operator: a `zoo.layers.operators.LinearOperator`.
        denoisers: a denoiser that all layers share, or a list of one a layer: Keras
            models such as those of `zoo.models.denoisers`. Those that are given the
            noise level serve all layers.
        depth: int, layers, or `None` for 10, and of a list for its length. Defaults to
            `None`.
        seed: int >= 0, of the probes; each layer has others. Defaults to 0.
        **kwargs: of all blocks: `onsager`, `probes`, `relative_epsilon`,
            `measurements`, `dtype`, see `zoo.layers.LdampBlock`. With `onsager=False`
            it is LDIT.

    Returns:
        A `zoo.models.ldamp.LdampNetwork`.

    Raises:
        ValueError: an argument is not as above.

    Example:

    >>> from zoo.layers.operators import GaussianMatrix
    >>> from zoo.models.denoisers import dncnn
    >>> operator = GaussianMatrix((16, 16, 1), 64)
    >>> ldamp(operator, [dncnn(4, 16) for _ in range(3)]).depth
    3

    Reference:

    - Metzler, Mousavi and Baraniuk, 2017, "Learned D-AMP: Principled Neural Network
      based Compressive Image Recovery",
      [arXiv:1704.06625](https://arxiv.org/abs/1704.06625)
    """
    if isinstance(denoisers, (list, tuple)):
        if depth not in (None, len(denoisers)) or not denoisers:
            raise ValueError(
                f"`denoisers` must be one, or {depth} as `depth`. "
                f"Received: {len(denoisers)} denoisers"
            )
    else:
        if not isinstance(denoisers, keras.layers.Layer):
            raise ValueError(
                "`denoisers` must be a Keras layer or model, or a list of them. "
                f"Received: denoisers={denoisers!r}"
            )
        depth = 10 if depth is None else depth
        denoisers = [denoisers] * check_integer("depth", depth, 1, DEEPEST)
    seed, norm = check_integer("seed", seed, 0), None
    blocks = []
    for place, denoiser in enumerate(denoisers):
        block = LdampBlock(
            operator, denoiser, seed=seed + place, column_norm=norm, **kwargs
        )
        # Measured once.
        norm = block.column_norm
        blocks.append(block)
    return LdampNetwork(blocks)
