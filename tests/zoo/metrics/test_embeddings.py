"""Embeddings measured against plain loops and known geometry."""

import numpy as np
import pytest

from zoo.metrics import angular_spread, recall_at_1, verification_accuracy


@pytest.fixture
def random():
    generator = np.random.default_rng(0)
    return generator.normal(size=(700, 5)), generator.integers(0, 4, 700)


def test_recall_equals_a_loop(random):
    embeddings, labels = random
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    hits = []
    for index, one in enumerate(unit):
        cosines = unit @ one
        cosines[index] = -2.0
        hits.append(labels[np.argmax(cosines)] == labels[index])
    assert recall_at_1(embeddings, labels) == np.mean(hits)
    assert recall_at_1(7 * embeddings, labels) == np.mean(hits)


def test_verification_is_chance_without_signal_and_right_with_it(random):
    embeddings, labels = random
    chance = verification_accuracy(embeddings, labels)
    # 6000 pairs: four standard deviations are 0.026.
    assert abs(chance - 0.5) < 0.026
    telling = np.eye(4)[labels] + 1e-3 * embeddings[:, :4]
    assert verification_accuracy(telling, labels) == 1.0


def test_verification_with_a_known_error():
    # One class in four has its samples on top of another class.
    labels = np.repeat(np.arange(4), 50)
    embeddings = np.eye(4)[np.where(labels == 3, 2, labels)]
    # Of the 6 pairs of classes one looks the same: 1/12 of all pairs are wrong.
    accuracy = verification_accuracy(embeddings, labels)
    np.testing.assert_allclose(accuracy, 1 - 1 / 12, atol=0.02)


def test_angles_of_known_directions():
    degrees = np.array([-10.0, 10.0, 50.0, 70.0])
    embeddings = np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1)
    within, between = angular_spread(embeddings * [[1], [1], [5], [5]], [0, 0, 1, 1])
    np.testing.assert_allclose([within, between], [10.0, 60.0], rtol=1e-9)


@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (np.ones(3), np.ones(3), r"`embeddings` must have .*\(3,\) and \(3,\)"),
        (np.ones((3, 2)), np.ones(2), r"Received: shapes \(3, 2\) and \(2,\)"),
    ],
)
def test_bad_shapes(embeddings, labels, message):
    for function in (recall_at_1, verification_accuracy, angular_spread):
        with pytest.raises(ValueError, match=message):
            function(embeddings, labels)


def test_verification_needs_both_kinds_of_pairs():
    with pytest.raises(ValueError, match="two samples of one class and two classes"):
        verification_accuracy(np.ones((3, 2)), np.zeros(3, int))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 1}, "`folds` must be an integer from 2 up"),
        ({"pairs": 5}, "`pairs` must be an integer from 10 up"),
    ],
)
def test_there_is_a_pair_of_each_kind_in_each_fold(settings, message):
    embeddings = np.repeat(np.eye(2), 5, axis=0)
    with pytest.raises(ValueError, match=message):
        verification_accuracy(embeddings, np.repeat([0, 1], 5), **settings)


def test_what_has_no_answer_is_refused():
    with pytest.raises(ValueError, match="`labels` must have two classes"):
        angular_spread(np.eye(3), [0, 0, 0])
    with pytest.raises(ValueError, match="`embeddings` must be finite"):
        recall_at_1(np.full((4, 2), np.nan), [0, 0, 1, 1])
