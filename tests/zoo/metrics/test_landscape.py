"""Planes through weights, and directions in units of filters."""

import keras
import numpy as np
import pytest

from zoo.metrics import plane, random_directions
from zoo.models import alexnet, mlp, rescale

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def data(rows=17, shape=(5,), seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, *shape)).astype("float32")
    return x, generator.integers(0, 3, rows)


def network(normalization="none"):
    model = mlp((5,), 3, units=(6,), normalization=normalization)
    generator = np.random.default_rng(3)
    model.set_weights([generator.normal(1, 0.5, w.shape) for w in model.weights])
    model.compile(loss=CROSS_ENTROPY)
    return model


def score(logits, labels):
    logits = logits - logits.max(axis=1, keepdims=True)
    loss = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return loss.mean(), np.mean(logits.argmax(axis=1) == labels)


@pytest.mark.parametrize("normalization", ["filter", "layer", None])
def test_equals_numpy(normalization):
    model, (x, y) = network(), data()
    center = [w.astype("float64") for w in model.get_weights()]
    generator = np.random.default_rng(8)
    first, second = ([generator.normal(size=w.shape) for w in center] for _ in range(2))

    def units(direction):
        if normalization is None:
            return direction
        result = []
        for d, w in zip(direction, center, strict=True):
            d = np.zeros_like(d) if w.ndim == 1 else d.copy()
            if w.ndim == 2 and normalization == "layer":
                d *= np.linalg.norm(w) / np.linalg.norm(d)
            for column in range(
                w.shape[1] if w.ndim == 2 and normalization == "filter" else 0
            ):
                d[:, column] *= np.linalg.norm(w[:, column]) / np.linalg.norm(
                    d[:, column]
                )
            result.append(d)
        return result

    alphas, betas = [-1.0, 0.0, 0.7], [-0.5, 0.25]
    surface = plane(
        model,
        [first, second],
        {"all": (x, y)},
        alphas,
        betas,
        normalization=normalization,
        batch_size=5,
    )
    assert list(surface) == ["alpha", "beta", "all_loss", "all_accuracy"]
    assert surface["all_loss"].shape == surface["all_accuracy"].shape == (3, 2)
    for row, alpha in enumerate(alphas):
        for column, beta in enumerate(betas):
            w1, b1, w2, b2 = (
                w + alpha * u + beta * v
                for w, u, v in zip(center, units(first), units(second), strict=True)
            )
            loss, accuracy = score(np.maximum(x @ w1 + b1, 0) @ w2 + b2, y)
            np.testing.assert_allclose(
                surface["all_loss"][row, column], loss, rtol=1e-5
            )
            assert surface["all_accuracy"][row, column] == accuracy


@pytest.mark.parametrize("normalization", ["filter", "layer"])
def test_directions_have_the_norms_of_the_weights(normalization):
    model = alexnet((8, 8, 2), 3, filters=(4, 5), units=(7,))
    for direction in random_directions(model, 0, normalization=normalization):
        for d, w in zip(direction, model.trainable_weights, strict=True):
            assert d.shape == tuple(w.shape)
            if len(w.shape) == 1:
                assert not d.any()
                continue
            # A filter a row.
            d, w = (
                np.moveaxis(a, -1, 0).reshape(a.shape[-1], -1) for a in (d, w.numpy())
            )
            axis = 1 if normalization == "filter" else None
            np.testing.assert_allclose(
                np.sqrt(np.sum(d**2, axis)), np.sqrt(np.sum(w**2, axis)), rtol=1e-6
            )


def test_directions_are_those_of_the_seed():
    model = network("batch")
    one, same, other = (random_directions(model, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one[0][0], same[0][0])
    assert not np.allclose(one[0][0], other[0][0])
    assert not np.allclose(one[0][0], one[1][0])
    (longer,) = random_directions(model, 0, count=1)
    np.testing.assert_array_equal(longer[0], one[0][0])


def test_raw_directions_are_normal_for_all_weights():
    model = mlp((50,), 3, units=(60,), normalization="batch")
    (direction,) = random_directions(model, 0, count=1, normalization=None)
    flat = np.concatenate([d.ravel() for d in direction])
    assert all(d.any() for d in direction)
    assert abs(flat.mean()) < 0.06 and abs(flat.std() - 1) < 0.05


def test_filters_of_zeros_do_not_move():
    model = network()
    kernel = model.trainable_weights[0]
    kernel.assign(np.where(np.arange(6) == 2, 0, kernel.numpy()))
    (direction,) = random_directions(model, 0, count=1)
    assert not direction[0][:, 2].any() and np.isfinite(direction[0]).all()
    surface = plane(
        model,
        2 * [[np.zeros(w.shape) for w in model.trainable_weights]],
        {"all": data()},
        [0.0, 5.0],
    )
    assert np.ptp(surface["all_loss"]) == 0


def test_rescaled_networks_look_the_same():
    model = network()
    scaled = rescale(model, 50.0)
    scaled.compile(loss=CROSS_ENTROPY)

    def surface(model, normalization):
        directions = random_directions(model, 0, normalization=normalization)
        parts, steps = {"all": data()}, np.linspace(-1, 1, 5)
        return plane(model, directions, parts, steps, normalization=None)

    ours, theirs = (surface(one, "filter")["all_loss"] for one in (model, scaled))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    ours, theirs = (surface(one, None)["all_loss"] for one in (model, scaled))
    assert np.abs(ours - theirs).max() > 0.1 * ours.max()


def test_statistics_are_measured_at_each_point():
    """Along a batch-normalised kernel nothing changes but by epsilon."""
    model, (x, y) = network("batch"), data(40)
    along = [np.zeros(w.shape) for w in model.trainable_weights]
    along[0] = model.trainable_weights[0].numpy()
    surface = plane(
        model,
        [along, [np.zeros(w.shape) for w in model.trainable_weights]],
        {"all": (x, y)},
        [0.0, 1.0, 9.0],
        [0.0],
        normalization=None,
        statistics=x,
    )
    np.testing.assert_allclose(
        surface["all_loss"], surface["all_loss"][0, 0], rtol=1e-4
    )


def test_weights_are_restored_exactly():
    model, (x, y) = network("batch"), data()
    before = model.get_weights()
    directions = random_directions(model, 0)
    plane(model, directions, {"a": (x, y)}, [-1.0, 1.0], statistics=x)
    with pytest.raises(Exception, match=r"`model` must|incompatible|expected"):
        plane(model, directions, {"a": (x[:, :2], y)}, [-1.0], statistics=x)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_defaults():
    model = network()
    surface = plane(model, random_directions(model, 0), {"a": data(3)})
    assert surface["a_loss"].shape == (25, 25)
    np.testing.assert_array_equal(surface["alpha"], np.linspace(-1, 1, 25))
    np.testing.assert_array_equal(surface["alpha"], surface["beta"])
    # The model's own weights are the middle.
    x, y = data(3)
    loss, _ = score(model(x).numpy().astype("float64"), y)
    np.testing.assert_allclose(surface["a_loss"][12, 12], loss, rtol=1e-5)


def test_bad_arguments():
    model = network()
    directions = random_directions(model, 0)
    parts = {"a": data()}
    for bad in (directions[:1], [*directions, directions[0]]):
        with pytest.raises(ValueError, match=r"`directions` must hold two directions"):
            plane(model, bad, parts)
    with pytest.raises(ValueError, match=r"`directions` must hold arrays of the shap"):
        plane(model, [directions[0], directions[1][:-1]], parts)
    with pytest.raises(ValueError, match=r"`normalization` must be one of .*Received"):
        plane(model, directions, parts, normalization="kernel")
    with pytest.raises(ValueError, match=r"`betas` must be one or more finite numbers"):
        plane(model, directions, parts, [0.0], [np.inf])
    for arguments in ({"seed": -1}, {"seed": 0.5}, {"seed": 0, "count": 0}):
        with pytest.raises(
            ValueError, match=r"must be an integer from . up\. Received"
        ):
            random_directions(model, **arguments)
    with pytest.raises(ValueError, match=r"`normalization` must be one of"):
        random_directions(model, 0, normalization="none")
