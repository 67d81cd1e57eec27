"""A stack of blocks of an unrolled iteration, as a model."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo import _backend
from zoo._types import Array
from zoo.layers import LampBlock, ListaBlock, LvampBlock
from zoo.losses.checks import check_integer

BLOCKS = (LampBlock, ListaBlock, LvampBlock)


@keras.saving.register_keras_serializable(package="zoo")
class UnrolledNetwork(keras.Model):
    """A network whose layers are the iterations of a method for sparse signals.

    `zoo.models.lista`, `lamp` and `lvamp` build it. Called on measurements it returns
    the last layer's estimate; `estimates` returns those of all layers, each of which
    is what a network of so many layers returns.

    Args:
        blocks: list of blocks, all `zoo.layers.ListaBlock`, all `LampBlock` or all
            `LvampBlock`, for signals and measurements of one size.
        **kwargs: `name`.

    Call arguments:
        y: `[..., M]`, measurements.

    Returns:
        `[..., N]`, the estimated signals.

    Raises:
        ValueError: `blocks` is not as above, or `y` is of another size.

    Example:

    >>> from zoo.data import bernoulli_gaussian
    >>> from zoo.layers import BernoulliGaussianShrinkage
    >>> from zoo.metrics import nmse
    >>> from zoo.models import lvamp
    >>> problem = bernoulli_gaussian()
    >>> y, x = problem.sample(100)
    >>> shrinkage = BernoulliGaussianShrinkage(problem.sparsity)
    >>> network = lvamp(problem.matrix, 8, shrinkage, problem.noise_variance)
    >>> [round(nmse(estimate, x)) for estimate in network.predict_all(y)]
    [-7, -12, -18, -25, -32, -38, -43, -45]
    >>> network.truncate(3).predict(y, verbose=0).shape
    (100, 500)
    """

    def __init__(self, blocks: Sequence[keras.layers.Layer], **kwargs: Any) -> None:
        blocks = list(blocks) if isinstance(blocks, (list, tuple)) else [blocks]
        kinds = {type(block) for block in blocks}
        if len(kinds) != 1 or not kinds <= set(BLOCKS):
            names = ", ".join(kind.__name__ for kind in BLOCKS)
            raise ValueError(
                f"`blocks` must hold layers of one of the kinds {names}. "
                f"Received: blocks={blocks!r}"
            )
        shapes = {block.linear.shape for block in blocks}
        if len(shapes) > 1:
            raise ValueError(
                "`blocks` must be of one shape (M, N). "
                f"Received: blocks of the shapes {sorted(shapes)}"
            )
        # The blocks cast.
        super().__init__(autocast=False, **kwargs)
        self.blocks = blocks
        # The compiled form of `estimates`.
        self._run: Callable[[Array], Array] | None = None
        (shape,) = shapes
        for block in blocks:
            if not block.built:
                block.build((None, shape[0]))
                block.built = True
        self.built = True

    @property
    def depth(self) -> int:
        """The number of layers."""
        return len(self.blocks)

    def call(self, y):
        return self.estimates(y)[-1]

    def estimates(self, y: Array) -> list[Array]:
        """Returns the list of the estimates of all layers, tensors `[..., N]`."""
        found, state = [], None
        for block in self.blocks:
            estimate, state = _advance(block, y, state)
            found.append(estimate)
        return found

    def predict_all(self, y: Array, batch_size: int = 1000) -> np.ndarray:
        """Returns the estimates of all layers as one array, `[layers, samples, N]`.

        Args:
            y: array `[samples, M]`.
            batch_size: int, samples a step. Defaults to 1000.
        """
        check_integer("batch_size", batch_size, 1)
        if self._run is None:
            self._run = _backend.compiled(lambda y: ops.stack(self.estimates(y)), self)
        parts = [
            ops.convert_to_numpy(self._run(y[start : start + batch_size]))
            for start in range(0, max(len(y), 1), batch_size)
        ]
        return np.concatenate(parts, axis=1)

    def truncate(self, depth: int) -> "UnrolledNetwork":
        """Returns a network of the first `depth` layers, which share their weights."""
        if check_integer("depth", depth, 1) > self.depth:
            raise ValueError(
                f"`depth` must be at most {self.depth}. Received: depth={depth}"
            )
        return UnrolledNetwork(self.blocks[:depth])

    def grow(self, block: keras.layers.Layer) -> "UnrolledNetwork":
        """Returns a network with a further layer; those before share their weights."""
        return UnrolledNetwork([*self.blocks, block])

    def untie(self) -> "UnrolledNetwork":
        """Returns a copy in which no layers share matrices, nor anything else."""
        return UnrolledNetwork([_copy(block) for block in self.blocks])

    def compute_output_shape(self, y_shape):
        return (*y_shape[:-1], self.blocks[0].linear.shape[1])

    def get_config(self):
        linears = [block.linear for block in self.blocks]
        return {
            "name": self.name,
            "blocks": [
                keras.saving.serialize_keras_object(block) for block in self.blocks
            ],
            # Which layer's matrices each has, the first with the same.
            "tied": [
                next(place for place, one in enumerate(linears) if one is linear)
                for linear in linears
            ],
        }

    @classmethod
    def from_config(cls, config):
        blocks = []
        for block, first in zip(config["blocks"], config["tied"], strict=True):
            kind = keras.saving.get_registered_object(block["registered_name"])
            linear = blocks[first].linear if first < len(blocks) else None
            blocks.append(_make(kind, block["config"], linear))
        return cls(blocks, name=config["name"])


def _advance(block, y, state):
    """Returns a block's estimate, and what the next one is to be told."""
    if isinstance(block, LvampBlock):
        return block(y, state)
    if isinstance(block, LampBlock):
        state = block(y, state)
        return state[0], state
    x, previous = state or (None, None)
    estimate = block(y, x, previous)
    return estimate, (estimate, x)


def _make(kind, config, linear=None):
    """Makes a block with the linear step of another, or with one of its own."""
    parts = {"tied_to": linear}
    for name in ("tied_to", "shrinkage"):
        if name in config and parts.get(name) is None:
            parts[name] = keras.saving.deserialize_keras_object(config[name])
    return kind(matrix=None, **{**config, **parts, "name": None})


def _copy(block):
    """Makes a block of its own weights, of the same values."""
    copy = _make(type(block), block.get_config())
    copy.build((None, block.linear.shape[0]))
    copy.built = True
    copy.set_weights(block.get_weights())
    return copy
