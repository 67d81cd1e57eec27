"""The large-margin loss: distances to the boundaries between classes."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import keras
from keras import ops

from zoo._types import Array
from zoo.losses.base import ClassificationLoss
from zoo.losses.checks import check_bool, check_choice, check_integer, check_number

NORMS = ("l2", "l1", "linf")
AGGREGATIONS = ("max", "sum", "nearest")


@keras.saving.register_keras_serializable(package="zoo")
class LargeMargin(ClassificationLoss):
    """Penalises samples that lie near, or beyond, a boundary between two classes.

    With scores `f`, label `y` and a competing class `j`, the distance of an activation
    `h` to the boundary `f_y = f_j`, to first order and signed, is

    `d_j = (f_y - f_j) / ||grad_h (f_y - f_j)||`

    in the dual of the norm that distances are measured in. It is exact where `f` is
    linear in `h`. The loss of a sample is a mean over layers,

    `mean_l max_j min(max(0, gamma_l - d_lj), alpha gamma_l)`

    over the competitors `j`, the `top_k` other classes of highest score. The cap keeps
    the loss between 0 and `alpha gamma`: without one, a layer whose gradient has died
    throws samples on the wrong side infinitely far, and training with them.

    Called as any other loss, `loss(labels, logits)`, distances are those of the logits
    themselves: `(z_y - z_j) / sqrt(2)` in `"l2"`. For the input and hidden layers,
    which is what the loss was made for, give it to `zoo.models.LargeMarginModel`.

    The paper's own settings are `gamma=1e4`, which makes the loss linear, and
    `on="probs"`. Logits are better conditioned: where the softmax saturates, its
    differences and their gradients vanish together. The paper has no cap for samples on
    the wrong side; its code has one, at `alpha=4` for MNIST.

    Args:
        gamma: float > 0, the distance wanted, or a list of one for each layer. Defaults
            to 1.0.
        norm: `"l2"`, `"l1"` or `"linf"`, what distances are measured in. Defaults to
            `"l2"`.
        top_k: int >= 1, the number of competing classes. At hidden layers each costs a
            backward pass. Defaults to 1.
        aggregation: `"max"` or `"sum"` over the competitors, or `"nearest"`: the one
            among them that is nearest at the last layer counts at all layers, at the
            cost of one backward pass once compiled. Defaults to `"max"`.
        alpha: float > 0, the cap as a multiple of `gamma`, or `None`. Distances below
            `(1 - alpha) * gamma` count as that. Defaults to 4.0.
        on: `"logits"` or `"probs"`, what `f` is: the scores or their softmax. The
            scores are logits in either case. Defaults to `"logits"`.
        second_order: whether the gradient of the loss sees that norms of gradients
            depend on the weights. On TensorFlow that is exact through
            `zoo.layers.GhostBatchNorm`, also of one ghost, and not through Keras's
            batch normalisation. Defaults to `False`: norms are constants, an
            approximation that the paper's code offers.
        epsilon: float > 0, added to the square of norms. Defaults to 1e-6.
        ignore_class, reduction, name, dtype: as in `ClassificationLoss`.

    Raises:
        ValueError: an argument is not as above, or `gamma` has another length than the
            layers.

    Example:

    >>> loss = LargeMargin(gamma=2.0, norm="l1")
    >>> round(float(loss([0, 1], [[3.0, 1.0, 0.0], [0.0, 0.5, 0.0]])), 4)
    0.75

    Reference:

    - Elsayed, Krishnan, Mobahi, Regan and Bengio, 2018, "Large margin deep networks for
      classification", [arXiv:1803.05598](https://arxiv.org/abs/1803.05598)
    """

    def __init__(
        self,
        gamma: float | Sequence[float] = 1.0,
        norm: Literal["l2", "l1", "linf"] = "l2",
        top_k: int = 1,
        aggregation: Literal["max", "sum", "nearest"] = "max",
        alpha: float | None = 4.0,
        on: Literal["logits", "probs"] = "logits",
        second_order: bool = False,
        epsilon: float = 1e-6,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "large_margin",
        dtype: str | None = None,
    ) -> None:
        super().__init__(ignore_class, reduction, name, dtype)
        self.gamma = (
            [_positive("gamma", value) for value in gamma]
            if isinstance(gamma, (list, tuple))
            else _positive("gamma", gamma)
        )
        self.norm = check_choice("norm", norm, NORMS)
        self.top_k = check_integer("top_k", top_k, low=1)
        self.aggregation = check_choice("aggregation", aggregation, AGGREGATIONS)
        self.alpha = None if alpha is None else _positive("alpha", alpha)
        self.on = check_choice("on", on, ("logits", "probs"))
        self.second_order = check_bool("second_order", second_order)
        self.epsilon = _positive("epsilon", epsilon)
        self._pullback = None

    def at(self, pullback: Callable[[Array], Sequence[Array]]) -> "LargeMargin":
        """Returns this loss with its distances at hidden layers.

        Args:
            pullback: function from a tensor of the shape of the scores, the derivatives
                of a number for the scores, to a list of its derivatives for the
                activations of each layer, `[batch, ...]`.
        """
        loss = type(self).from_config(self.get_config())
        loss._pullback = pullback
        return loss

    def per_sample(self, labels, scores):
        if scores.shape[-1] == 1:
            # One class has no competitor.
            losses = ops.zeros_like(scores[..., 0])
        else:
            losses = self.penalty(self.distances(labels, scores))
        nan = ops.any(ops.isnan(scores), axis=-1)
        return ops.where(nan, math.nan, losses)

    def distances(self, labels: Array, scores: Array) -> Array:
        """Returns signed distances to boundaries, `[..., layers, competitors]`.

        Args:
            labels: int32, `[...]`, in range.
            scores: `[..., classes]`, two classes or more, in the dtype of the loss.
        """
        scores = _finite(scores)
        rivals = competitors(labels, scores, self.top_k)
        if self.aggregation == "nearest" and rivals.shape[-1] > 1:
            # A compiled step leaves out what only the other layers would need.
            last = self._distances_to(rivals, labels, scores, layers=slice(-1, None))
            nearest = ops.argmin(last[..., 0, :], axis=-1, keepdims=True)
            rivals = ops.take_along_axis(rivals, nearest, axis=-1)
        return self._distances_to(rivals, labels, scores)

    def penalty(self, distances: Array) -> Array:
        """Returns the loss of each sample, `[...]`.

        Args:
            distances: `[..., layers, competitors]`, signed.
        """
        gamma, layers = self.gamma, distances.shape[-2]
        if isinstance(gamma, list):
            if len(gamma) != layers:
                raise ValueError(
                    "`gamma` must hold a number for each layer. "
                    f"Received: gamma={gamma}, with {layers} layers"
                )
            gamma = ops.convert_to_tensor(gamma, dtype=distances.dtype)[:, None]
        losses = ops.relu(gamma - distances)
        if self.alpha is not None:
            losses = ops.minimum(losses, self.alpha * gamma)
        fold = ops.sum if self.aggregation == "sum" else ops.max
        return ops.mean(fold(losses, axis=-1), axis=-1)

    def _distances_to(self, rivals, labels, scores, layers=slice(None)):
        classes = scores.shape[-1]
        own = ops.one_hot(labels, classes, dtype=scores.dtype)
        values = ops.softmax(scores) if self.on == "probs" else scores
        columns = []
        for index in range(rivals.shape[-1]):
            rival = ops.one_hot(rivals[..., index], classes, dtype=scores.dtype)
            cotangent = own - rival
            if self.on == "probs":
                mean = ops.sum(values * cotangent, axis=-1, keepdims=True)
                cotangent = values * (cotangent - mean)
            pulled = self._pullback(cotangent) if self._pullback else [cotangent]
            gradients = [ops.cast(gradient, scores.dtype) for gradient in pulled]
            norms = [
                dual_norm(gradient, self.norm, len(labels.shape), self.epsilon)
                for gradient in gradients[layers]
            ]
            columns.append(ops.stack(norms, axis=-1))
        norms = ops.stack(columns, axis=-1)
        if not self.second_order:
            norms = ops.stop_gradient(norms)
        differences = _pick(values, labels[..., None]) - _pick(values, rivals)
        return linearized_margin(differences[..., None, :], norms)

    def get_config(self):
        return {
            **super().get_config(),
            "gamma": self.gamma,
            "norm": self.norm,
            "top_k": self.top_k,
            "aggregation": self.aggregation,
            "alpha": self.alpha,
            "on": self.on,
            "second_order": self.second_order,
            "epsilon": self.epsilon,
        }


def linearized_margin(difference, gradient_norm):
    """Returns how far a difference of scores is from zero, to first order, signed.

    Args:
        difference: `f_i - f_j`.
        gradient_norm: the dual norm of its gradient.
    """
    return difference / gradient_norm


def dual_norm(gradient, norm, axes=1, epsilon=1e-6):
    """Returns the norms of gradients in which a step of length 1 changes `f` the most.

    The largest change of `f` by a step of unit length in `"l2"` is the gradient's l2
    norm; in `"l1"` its largest entry; in `"linf"` the sum of its entries' sizes.

    Args:
        gradient: tensor, `[batch, ...]`.
        norm: `"l2"`, `"l1"` or `"linf"`, what steps are measured in.
        axes: int, the leading axes that are kept. Defaults to 1.
        epsilon: added to the square of the norm, so that its derivative at 0 is finite.
            Defaults to 1e-6.

    Returns:
        The shape of `gradient` up to `axes`.

    Example:

    >>> import numpy as np
    >>> gradient = np.array([[3.0, -4.0]])
    >>> [round(float(dual_norm(gradient, norm)[0])) for norm in NORMS]
    [5, 4, 7]
    """
    flat = ops.reshape(gradient, (*ops.shape(gradient)[:axes], -1))
    if norm == "l2":
        square = ops.sum(ops.square(flat), axis=-1)
    else:
        fold = ops.max if norm == "l1" else ops.sum
        square = ops.square(fold(ops.abs(flat), axis=-1))
    return ops.sqrt(square + epsilon)


def competitors(labels, scores, k):
    """Returns the `k` classes of highest score but for the label, at most all others.

    Args:
        labels: int32, `[...]`.
        scores: `[..., classes]`.
        k: int.

    Returns:
        int32, `[..., min(k, classes - 1)]`.
    """
    classes = scores.shape[-1]
    own = ops.one_hot(labels, classes, dtype="bool")
    others = ops.where(own, -math.inf, scores)
    if k == 1 < classes:
        return ops.argmax(others, axis=-1, keepdims=True)
    return ops.top_k(others, min(k, classes - 1))[1]


def _pick(scores, indices):
    return ops.take_along_axis(scores, indices, axis=-1)


def _finite(scores):
    # Infinities of one sign differ by nothing.
    return ops.clip(scores, -1e30, 1e30)


def _positive(name, value):
    tiny = math.ulp(0.0)
    return check_number(name, value, tiny, allowed="a positive number")
