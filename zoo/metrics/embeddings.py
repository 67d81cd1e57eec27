"""How well embeddings tell classes apart, by the cosine of the angle between them."""

import numpy as np

from zoo._types import Array
from zoo.losses.checks import check_integer

CHUNK = 512


def recall_at_1(embeddings: Array, labels: Array) -> float:
    """Returns the share of samples whose nearest other sample is of their class.

    Args:
        embeddings: array, `(n, features)`, `n >= 2`.
        labels: array of integers, `(n,)`.

    Returns:
        Float from 0 to 1.

    Raises:
        ValueError: the arguments do not fit each other.

    Example:

    >>> embeddings = [[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]]
    >>> recall_at_1(embeddings, [0, 0, 1, 1]), recall_at_1(embeddings, [0, 1, 0, 1])
    (1.0, 0.0)
    """
    unit, labels = _checked(embeddings, labels)
    hits = 0
    for start in range(0, len(unit), CHUNK):
        cosines = unit[start : start + CHUNK] @ unit.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        hits += np.sum(labels[cosines.argmax(1)] == labels[start : start + CHUNK])
    return float(hits / len(unit))


def verification_accuracy(
    embeddings: Array,
    labels: Array,
    *,
    pairs: int = 3000,
    folds: int = 10,
    seed: int = 0,
) -> float:
    """Returns how often a threshold on the cosine tells whether two samples match.

    As many pairs of one class as pairs of two are drawn. The threshold for each fold is
    the best one of the other folds, as in the protocol of Labeled Faces in the Wild.

    Args:
        embeddings: array, `(n, features)`.
        labels: array of integers, `(n,)`, with two classes at least, one of which has
            two samples.
        pairs: int >= `folds`, the pairs of each kind. Defaults to 3000.
        folds: int >= 2. Defaults to 10.
        seed: int, of the pairs.

    Returns:
        Float from 0 to 1; 0.5 is chance.

    Raises:
        ValueError: an argument is not as above, or they do not fit each other.

    Example:

    >>> embeddings = np.repeat(np.eye(2), 5, axis=0)
    >>> verification_accuracy(embeddings, np.repeat([0, 1], 5), pairs=50)
    1.0

    Reference:

    - Huang et al., 2007, Labeled Faces in the Wild, UMass Amherst TR 07-49
    """
    unit, labels = _checked(embeddings, labels)
    folds = check_integer("folds", folds, 2)
    pairs = check_integer("pairs", pairs, folds)
    generator = np.random.default_rng(seed)
    same = labels[:, None] == labels
    parts = []
    for wanted, mask in ((True, np.triu(same, 1)), (False, np.triu(~same))):
        first, second = np.nonzero(mask)
        if not len(first):
            raise ValueError(
                "`labels` must have two samples of one class and two classes. "
                f"Received: labels={labels}"
            )
        drawn = generator.integers(len(first), size=pairs)
        cosines = np.sum(unit[first[drawn]] * unit[second[drawn]], axis=1)
        parts.append((cosines, np.full(pairs, wanted)))
    order = generator.permutation(2 * pairs)
    cosines, matches = (
        np.concatenate(part)[order] for part in zip(*parts, strict=True)
    )
    fold = np.arange(2 * pairs) % folds
    correct = 0
    for part in range(folds):
        held = fold == part
        threshold = _best_threshold(cosines[~held], matches[~held])
        correct += np.sum((cosines[held] >= threshold) == matches[held])
    return float(correct / (2 * pairs))


def angular_spread(embeddings: Array, labels: Array) -> tuple[float, float]:
    """Returns the angles within and between classes.

    Args:
        embeddings: array, `(n, features)`.
        labels: array of integers, `(n,)`, of two classes at least.

    Returns:
        The mean angle of a sample to the centre of its class, and the smallest angle
        between two centres, both in degrees.

    Raises:
        ValueError: the arguments do not fit each other.

    Example:

    >>> embeddings = [[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]
    >>> within, between = angular_spread(embeddings, [0, 0, 1])
    >>> round(within), round(between)
    (0, 90)
    """
    unit, labels = _checked(embeddings, labels)
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"`labels` must have two classes. Received: labels={labels}")
    centers = np.stack([unit[numbers == one].sum(0) for one in range(len(classes))])
    centers = _normalized(centers)
    within = _degrees(np.sum(unit * centers[numbers], axis=1))
    between = _degrees(centers @ centers.T)[~np.eye(len(classes), dtype=bool)]
    return float(within.mean()), float(between.min())


def _best_threshold(cosines, matches):
    order = np.argsort(-cosines)
    hits = np.cumsum(np.where(matches[order], 1, -1))
    last = np.argmax(hits)
    # Halfway to the next pair, which is the first to be told apart.
    return cosines[order[last : last + 2]].mean()


def _degrees(cosines):
    return np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))


def _normalized(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _checked(embeddings, labels):
    embeddings, labels = np.asarray(embeddings, "float64"), np.asarray(labels)
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1] or len(labels) < 2:
        raise ValueError(
            "`embeddings` must have the shape (n, features) and `labels` (n,), n >= 2. "
            f"Received: shapes {embeddings.shape} and {labels.shape}"
        )
    if not np.isfinite(embeddings).all():
        raise ValueError("`embeddings` must be finite. Received: NaN or infinite ones.")
    return _normalized(embeddings), labels
