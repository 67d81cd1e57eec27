"""Contrastive and triplet losses against loops over pairs and triplets in float64."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.losses.pairs import Contrastive, Triplet, squared_distances

INF, NAN = math.inf, math.nan


def distance(a, b):
    return math.sqrt(np.sum(np.square(a - b)))


def contrastive(labels, x, margin=1.0):
    losses = np.zeros(len(x))
    for a in range(len(x)):
        terms = []
        for b in range(len(x)):
            d = distance(x[a], x[b])
            same = labels[a] == labels[b]
            if a != b:
                terms.append(d**2 if same else max(0.0, margin - d) ** 2)
        losses[a] = np.mean(terms) if terms else 0.0
    return losses


def triplet(labels, x, margin=0.2, mining="semi_hard", squared=True):
    losses = np.zeros(len(x))
    for a in range(len(x)):
        d = [distance(x[a], other) ** (2 if squared else 1) for other in x]
        positives = [d[p] for p in range(len(x)) if p != a and labels[p] == labels[a]]
        negatives = [d[n] for n in range(len(x)) if labels[n] != labels[a]]
        if not positives or not negatives:
            continue
        if mining == "hard":
            chosen = [(max(positives), min(negatives))]
        else:
            chosen = []
            for d_ap in positives:
                further = [d_an for d_an in negatives if d_an > d_ap]
                chosen.append((d_ap, min(further) if further else max(negatives)))
        excess = [d_ap - d_an for d_ap, d_an in chosen]
        losses[a] = np.mean(
            np.logaddexp(0, excess)
            if margin is None
            else np.maximum(0, np.add(excess, margin))
        )
    return losses


REFERENCES = {Contrastive: contrastive, Triplet: triplet}
WAYS = [
    (Contrastive, {"margin": 1.2}),
    (Triplet, {"margin": 0.2, "mining": "semi_hard", "squared": True}),
    (Triplet, {"margin": None, "mining": "semi_hard", "squared": False}),
    (Triplet, {"margin": 0.2, "mining": "hard", "squared": False}),
    (Triplet, {"margin": None, "mining": "hard", "squared": True}),
]
TRIPLETS = WAYS[1:]


def name(way):
    loss, kwargs = way
    return "-".join(map(str, (loss.__name__, *kwargs.values())))


every_way = pytest.mark.parametrize("way", WAYS, ids=name)


def build(way, **kwargs):
    loss, arguments = way
    return loss(**arguments, **{"reduction": None, **kwargs})


def reference(way, labels, x):
    loss, arguments = way
    return REFERENCES[loss](labels, x, **arguments)


def unit(samples=16, features=8):
    x = np.random.default_rng(samples).normal(size=(samples, features))
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return x.astype("float32").astype("float64")


LABELS = {
    "four of each": np.arange(16) % 4,
    "some alone": np.array([0, 0, 0, 1, 2, 3, 3, 4, 5, 6, 6, 6, 6, 7, 8, 9]),
    "one class, no negatives": np.zeros(16, int),
    "all differ, no positives": np.arange(16) - 7,
    "two classes": np.arange(16) // 15,
}


@every_way
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_equals_the_loop(way, labels, differentiate):
    x = unit()
    values, gradient = differentiate(build(way), labels, x)
    np.testing.assert_allclose(values, reference(way, labels, x), rtol=1e-6, atol=1e-6)
    assert np.isfinite(gradient).all()


@every_way
def test_gradient_against_finite_differences(way, differentiate, slopes):
    x, labels = unit(8, 3), LABELS["some alone"][:8]
    _, gradient = differentiate(build(way, dtype="float64"), labels, x)
    expected = slopes(lambda x: reference(way, labels, x), x)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


@every_way
@settings(max_examples=25)
@given(data=st.data())
def test_ties_and_batches_of_any_size(way, data):
    # Whole numbers and a batch of a power of two: distances are exact, many are equal.
    samples = data.draw(st.sampled_from([1, 2, 4, 8]))
    row = st.lists(st.integers(-2, 2), min_size=2, max_size=2)
    x = np.array([data.draw(row) for _ in range(samples)], "float64")
    labels = np.array([data.draw(st.integers(0, 2)) for _ in range(samples)])
    values = build(way)(labels, x)
    np.testing.assert_allclose(values, reference(way, labels, x), rtol=1e-6, atol=1e-6)


@every_way
def test_equal_embeddings_have_no_gradient(way, differentiate):
    for x in (np.zeros((16, 8)), np.full((16, 8), 0.7)):
        labels = LABELS["some alone"]
        values, gradient = differentiate(build(way), labels, x)
        expected = reference(way, labels, np.zeros((16, 8)))
        np.testing.assert_allclose(values, expected, rtol=1e-6)
        np.testing.assert_array_equal(gradient, np.zeros((16, 8)))


@every_way
@pytest.mark.parametrize("scale", [1e3, 1e15])
def test_long_distances_stay_finite(way, scale, differentiate):
    x, labels = scale * unit(), LABELS["some alone"]
    values, gradient = differentiate(build(way), labels, x)
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()
    # Rounding is that of the distances, which the loss takes differences of.
    rounding = 1e-6 * (scale**2 if getattr(build(way), "squared", True) else scale)
    expected = reference(way, labels, x)
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=rounding)


@every_way
@pytest.mark.parametrize("bad", [NAN, INF, 1e30])
def test_what_is_not_finite_stays_in_its_sample(way, bad, differentiate):
    x, labels = unit(), np.arange(16) % 4
    others = np.arange(16) != 2
    expected = reference(way, labels[others], x[others])
    clean = differentiate(build(way), labels[others], x[others])[1]
    x[2, 3] = bad
    values, gradient = differentiate(build(way), labels, x)
    assert np.isnan(values[2])
    np.testing.assert_allclose(values[others], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(gradient[others], clean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("way", TRIPLETS, ids=name)
def test_mean_is_over_anchors_with_a_triplet(way):
    x, labels = unit(), LABELS["some alone"]
    counts = np.array([np.sum(labels == label) > 1 for label in labels])
    expected = reference(way, labels, x)[counts].mean()
    ours = build(way, reduction="sum_over_batch_size")(labels, x)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


@every_way
def test_mean_without_any_is_zero(way, differentiate):
    loss = build(way, reduction="sum_over_batch_size")
    cases = [(np.zeros(1, int), unit(1))]
    if isinstance(loss, Triplet):
        cases += [(LABELS["one class, no negatives"], unit())]
        cases += [(LABELS["all differ, no positives"], unit())]
    for labels, x in cases:
        value, gradient = differentiate(loss, labels, x)
        assert value == 0
        np.testing.assert_array_equal(gradient, np.zeros_like(x))


@every_way
def test_labels_in_a_column_and_large_ones(way):
    x, labels = unit(), LABELS["some alone"]
    expected = build(way)(labels, x)
    np.testing.assert_array_equal(build(way)(labels[:, None], x), expected)
    large = 2**24 - 1 - labels
    np.testing.assert_array_equal(build(way)(large, x), expected)


@every_way
def test_labels_are_any_numbers(way):
    x, labels = unit(), LABELS["some alone"]
    expected = build(way)(labels, x)
    np.testing.assert_array_equal(build(way)(labels / 16, x), expected)


@pytest.mark.parametrize("length", [1.0, 1e3])
def test_digits_of_long_embeddings(length):
    x = (length * unit()).astype("float32")
    x[1::2] = x[::2] + np.float32(0.5 / math.sqrt(8))
    labels = np.arange(16) // 2
    exact = contrastive(labels, x.astype("float64"))
    pairs = np.square(x[:, None].astype("float64") - x[None]).sum(-1)
    np.testing.assert_allclose(squared_distances(x), pairs, atol=1e-6 * length**2)
    found = build((Contrastive, {}), dtype="float64")(labels, x)
    np.testing.assert_allclose(found, exact, rtol=1e-7)


@pytest.mark.parametrize("offset", [10.0, 1e3])
def test_distances_of_a_batch_far_from_the_origin(offset):
    x = (unit() + offset).astype("float32")
    exact = np.square(x[:, None].astype("float64") - x[None]).sum(-1)
    np.testing.assert_allclose(squared_distances(x), exact, atol=2e-6)


@every_way
def test_no_tensor_of_batch_cubed(way):
    samples = 64

    @tf.function
    def step(labels, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = build(way, reduction="sum")(labels, x)
        return tape.gradient(value, x)

    graph = step.get_concrete_function(
        tf.TensorSpec([samples], "int32"), tf.TensorSpec([samples, 4])
    ).graph
    graphs = [graph, *(f.graph for f in graph._functions.values())]
    sizes = [
        output.shape.num_elements() or 0
        for part in graphs
        for operation in part.get_operations()
        for output in operation.outputs
        if output.shape.rank is not None
    ]
    assert samples**2 in sizes
    assert max(sizes) <= 4 * samples**2


@pytest.mark.parametrize(
    ("loss", "kwargs", "message"),
    [
        (Contrastive, {"margin": 0.0}, "`margin` must be a number above 0"),
        (Triplet, {"margin": -0.1}, "`margin` must be a number from 0 up"),
        (Triplet, {"mining": "all"}, "`mining` must be one of .*: mining='all'"),
        (Triplet, {"squared": "no"}, "`squared` must be one of .*: squared='no'"),
    ],
)
def test_refused_arguments(loss, kwargs, message):
    with pytest.raises(ValueError, match=message):
        loss(**kwargs)


@every_way
def test_refused_shapes(way):
    with pytest.raises(ValueError, match="y_true must be one number per sample"):
        build(way)(np.eye(4), np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"y_pred must be embeddings.*\(4, 3, 2\)"):
        build(way)(np.arange(4), np.zeros((4, 3, 2)))
