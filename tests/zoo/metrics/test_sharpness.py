import itertools

import keras
import numpy as np
import pytest

from zoo.metrics.hessian import hessian_trace, top_eigenvalues
from zoo.metrics.loss_surface import LossSurface
from zoo.metrics.sharpness import adaptive_sharpness, epsilon_sharpness

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Quadratic:
    """`c + g (w - w_0) + (w - w_0) H (w - w_0) / 2`, with a surface's methods."""

    dtype = "float64"

    def __init__(self, hessian, slope, weights=None, constant=0.7):
        self.hessian, self.slope, self.constant = hessian, slope, constant
        self.weights = np.zeros(len(slope)) if weights is None else weights

    def gradient(self, weights):
        step = weights - self.weights
        product = self.hessian @ step
        value = self.constant + self.slope @ step + step @ product / 2
        return value, self.slope + product

    def value(self):
        return self.constant

    def scales(self, normalization):
        return abs(self.weights)


def separable(size, seed):
    generator = np.random.default_rng(seed)
    return generator.normal(size=size), 3 * generator.normal(size=size)


def separable_maximum(slope, curvature, bounds):
    """The largest of `slope z + curvature z^2 / 2`, coordinate by coordinate."""

    def at(z):
        return slope * z + curvature * z**2 / 2

    top = -slope / np.where(curvature < 0, curvature, -1e-12)
    inside = np.where((curvature < 0) & (abs(top) < bounds), at(top), -np.inf)
    return np.max([at(bounds), at(-bounds), inside], axis=0).sum()


def relu_network(seed=0, dtype="float32"):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(10, "relu", dtype=dtype),
            keras.layers.Dense(4, dtype=dtype),
        ]
    )
    generator = np.random.default_rng(seed)
    model.set_weights([generator.normal(size=w.shape) for w in model.get_weights()])
    x = generator.normal(size=(64, 6)).astype("float32")
    y = generator.integers(0, 4, 64)
    model.compile(keras.optimizers.Adam(0.05), CROSS_ENTROPY)
    model.fit(x, y, epochs=40, verbose=0)
    return model, x, y


def rescaled(model, alpha):
    """Dinh's transformation: the same function, from other weights."""
    kernel, bias, kernel2, bias2 = model.get_weights()
    twin = keras.models.clone_model(model)
    twin.set_weights([alpha * kernel, alpha * bias, kernel2 / alpha, bias2])
    return twin


@pytest.mark.parametrize("method", [None, "scipy"])
@pytest.mark.parametrize("seed", range(3))
def test_full_sharpness_of_a_quadratic_has_its_closed_form(seed, method):
    slope, curvature = separable(50, seed)
    weights = np.random.default_rng(seed + 9).normal(size=50)
    surface = Quadratic(np.diag(curvature), slope, weights)
    found = epsilon_sharpness(surface, 0.3, method=method, iterations=300)
    rise = separable_maximum(slope, curvature, 0.3 * (abs(weights) + 1))
    assert found.value == pytest.approx(100 * rise / 1.7, rel=1e-6)
    assert found.loss == 0.7
    assert found.maximum == pytest.approx(0.7 + rise, rel=1e-6)


@pytest.mark.parametrize("method", [None, "projected"])
@pytest.mark.parametrize(("dimension", "seed"), [(1, 0), (7, 1), (50, 2)])
def test_subspace_sharpness_of_a_quadratic_has_its_closed_form(dimension, seed, method):
    slope, curvature = separable(dimension, seed)
    weights = np.random.default_rng(seed + 9).normal(size=50)
    columns = np.random.default_rng(seed).standard_normal((dimension, 50)).T
    inverse = np.linalg.pinv(columns)
    # Separable in the coordinates of the subspace.
    surface = Quadratic(
        inverse.T @ np.diag(curvature) @ inverse, inverse.T @ slope, weights
    )
    found = epsilon_sharpness(
        surface, 0.3, dimension, method=method, iterations=300, seed=seed
    )
    bounds = 0.3 * (abs(inverse @ weights) + 1)
    rise = separable_maximum(slope, curvature, bounds)
    assert found.value == pytest.approx(100 * rise / 1.7, rel=1e-6)


def test_columns_of_the_subspace_are_not_normalised():
    slope = np.random.default_rng(1).normal(size=400)
    surface = Quadratic(np.zeros((400, 400)), slope)
    # Bounds are epsilon, for the weights are 0; |column @ slope| is |slope| |N(0, 1)|.
    found = epsilon_sharpness(surface, 1e-3, 300)
    expected = 1e-3 * 300 * np.linalg.norm(slope) * np.sqrt(2 / np.pi)
    assert found.value == pytest.approx(100 * expected / 1.7, rel=0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sharpness_of_a_linear_model(dtype):
    generator = np.random.default_rng(0)
    layer = keras.layers.Dense(1, use_bias=False, dtype=dtype)
    model = keras.Sequential([keras.Input((8,)), layer])
    weights = generator.uniform(0.5, 1.5, (8, 1)).astype(dtype)
    model.set_weights([weights])
    x = generator.uniform(0.1, 1.0, (33, 8)).astype("float32")
    surface = LossSurface(model, x, np.zeros((33, 1)), "mse", batch_size=10)
    # All is positive: the far corner is the worst.
    loss, box, scaled = (
        np.mean((x.astype("float64") @ w.astype("float64")) ** 2)
        for w in (weights, weights + 0.01 * (weights + 1), 1.01 * weights)
    )
    rel = 1e-6 if dtype == "float64" else 1e-4
    found = epsilon_sharpness(surface, 0.01)
    assert found.value == pytest.approx(100 * (box - loss) / (1 + loss), rel=rel)
    found = adaptive_sharpness(surface, 0.01, "linf")
    assert found.value == pytest.approx(scaled - loss, rel=rel)


def test_equals_brute_force_on_a_tiny_network():
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(1, "tanh", dtype="float64"),
            keras.layers.Dense(1, use_bias=False, dtype="float64"),
        ]
    )
    model.set_weights([np.array([[0.8]]), np.array([-0.3]), np.array([[1.4]])])
    x = np.linspace(-2, 2, 9)[:, None]
    surface = LossSurface(model, x, np.sin(x), "mse")
    axes = [np.linspace(-1, 1, 11)] * 3
    bounds = 0.5 * (abs(surface.weights) + 1)
    losses = [
        surface.value(surface.weights + bounds * np.array(point))
        for point in itertools.product(*axes)
    ]
    found = epsilon_sharpness(surface, 0.5, starts=4, iterations=50)
    assert found.maximum == pytest.approx(max(losses), rel=1e-3)
    assert found.maximum >= max(losses) * (1 - 1e-9)


def test_a_stationary_point_is_left_by_the_random_starts():
    surface = Quadratic(np.diag([4.0, 2.0]), np.zeros(2))
    assert epsilon_sharpness(surface, 0.1, starts=1).value == 0.0
    expected = 100 * 0.5 * 0.01 * 6 / 1.7
    assert epsilon_sharpness(surface, 0.1).value == pytest.approx(expected)


def test_sharpness_is_never_negative():
    surface = Quadratic(-np.eye(5), np.zeros(5))
    assert epsilon_sharpness(surface, 0.1).value == 0.0
    # The sphere is searched, not what is inside.
    surface = Quadratic(-np.eye(5), np.zeros(5), np.ones(5))
    assert adaptive_sharpness(surface, 0.1).value == 0.0


def test_ten_iterations_find_most_of_the_maximum_at_a_minimum():
    model, x, y = relu_network()
    surface = LossSurface(model, x, y, CROSS_ENTROPY)
    for dimension in (None, 20):
        ten = epsilon_sharpness(surface, 1e-2, dimension)
        many = epsilon_sharpness(surface, 1e-2, dimension, starts=4, iterations=200)
        assert ten.value >= 0.95 * many.value > 0


def test_one_step_is_that_of_asam():
    model, x, y = relu_network(dtype="float64")
    surface = LossSurface(model, x, y, CROSS_ENTROPY)
    loss, gradient = surface.gradient()
    for normalization in ("element", "filter"):
        t = surface.scales(normalization)
        step = 0.2 * t**2 * gradient / np.linalg.norm(t * gradient)
        rise = surface.value(surface.weights + step) - loss
        found = adaptive_sharpness(
            surface, 0.2, "l2", normalization, starts=1, iterations=1
        )
        assert found.value == pytest.approx(max(rise, 0.0), rel=1e-9)
        assert found.evaluations == 2
        more = adaptive_sharpness(surface, 0.2, "l2", normalization)
        assert more.value > found.value


def test_adaptive_sharpness_of_a_quadratic_is_a_scale_invariant_eigenvalue():
    generator = np.random.default_rng(0)
    root, weights = generator.normal(size=(12, 12)), generator.normal(size=12)
    surface = Quadratic(root @ root.T, np.zeros(12), weights)
    t = abs(weights)
    largest = np.linalg.eigvalsh(surface.hessian * t * t[:, None])[-1]
    found = adaptive_sharpness(surface, 0.3, iterations=300)
    assert found.value == pytest.approx(0.5 * 0.09 * largest, rel=1e-6)
    linear = Quadratic(np.zeros((12, 12)), root[0], weights)
    found = adaptive_sharpness(linear, 0.3)
    assert found.value == pytest.approx(0.3 * np.linalg.norm(t * root[0]))


def rescaled_surfaces(alpha):
    model, x, y = relu_network()
    twin = rescaled(model, alpha)
    scores = [net.predict(x, verbose=0) for net in (twin, model)]
    np.testing.assert_allclose(*scores, rtol=1e-5, atol=1e-5)
    return [LossSurface(net, x, y, CROSS_ENTROPY) for net in (twin, model)]


@pytest.mark.parametrize("alpha", [10.0, 0.1])
def test_rescaling_moves_sharpness(alpha):
    surfaces = rescaled_surfaces(alpha)
    for values in (
        [epsilon_sharpness(surface, 1e-3).value for surface in surfaces],
        [top_eigenvalues(surface, 1).values[0] for surface in surfaces],
    ):
        assert max(values) >= 2 * min(values)


@pytest.mark.parametrize("alpha", [5.0, 0.1])
@pytest.mark.parametrize("normalization", ["element", "filter"])
def test_rescaling_leaves_the_invariant_measures(normalization, alpha):
    kwargs = {"normalization": normalization}
    one, other = (
        [
            adaptive_sharpness(surface, 0.1, "l2", **kwargs).value,
            adaptive_sharpness(surface, 0.01, "linf", **kwargs).value,
            hessian_trace(surface, probes=5, **kwargs)[0],
            *top_eigenvalues(surface, 3, **kwargs).values,
        ]
        for surface in rescaled_surfaces(alpha)
    )
    np.testing.assert_allclose(one, other, rtol=1e-3)


def test_seeds_determine_results_and_weights_stay_untouched():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(5),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3),
        ]
    )
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(30, 6)), generator.integers(0, 3, 30)
    before = [w.copy() for w in model.get_weights()]
    surface = LossSurface(model, x, y, CROSS_ENTROPY)
    for measure in (
        lambda seed: epsilon_sharpness(surface, 0.1, iterations=2, seed=seed),
        lambda seed: epsilon_sharpness(surface, 0.1, 3, seed=seed),
        lambda seed: adaptive_sharpness(surface, 0.1, starts=2, seed=seed),
    ):
        assert measure(0) == measure(0)
    subspaces = [epsilon_sharpness(surface, 0.1, 3, seed=seed) for seed in (0, 1)]
    assert subspaces[0].value != subspaces[1].value
    assert subspaces[0].loss == pytest.approx(
        float(CROSS_ENTROPY(y, model.predict(x, verbose=0))), rel=1e-5
    )
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_progress_bar_ends(capsys):
    surface = Quadratic(np.eye(3), np.ones(3), np.ones(3))
    epsilon_sharpness(surface)
    assert capsys.readouterr().out == ""
    epsilon_sharpness(surface, verbose=1)
    assert "20/20" in capsys.readouterr().out
    adaptive_sharpness(surface, 0.1, iterations=3, verbose=1)
    assert "6/6" in capsys.readouterr().out


def test_bad_input_ends_in_one_line():
    surface = Quadratic(np.eye(3), np.ones(3))
    steep = Quadratic(np.eye(3), np.full(3, 1e308), constant=0.0)
    broken = Quadratic(np.eye(3), np.ones(3), constant=np.nan)
    calls = {
        "`epsilon` must be a number > 0": lambda: epsilon_sharpness(surface, 0.0),
        "`epsilon` must": lambda: epsilon_sharpness(surface, np.nan),
        "`dimension` must be at most": lambda: epsilon_sharpness(surface, 0.1, 4),
        "`dimension` must": lambda: epsilon_sharpness(surface, 0.1, 0),
        "`starts` must": lambda: epsilon_sharpness(surface, starts=0),
        "`iterations` must": lambda: epsilon_sharpness(surface, iterations=0),
        "finite at the weights": lambda: epsilon_sharpness(broken),
        "be finite at the weights": lambda: adaptive_sharpness(broken, 0.1),
        "smaller region": lambda: epsilon_sharpness(steep, 100.0),
        "a smaller region": lambda: epsilon_sharpness(steep, 100.0, method="scipy"),
        "`rho` must be a number > 0": lambda: adaptive_sharpness(surface, -1.0),
        "`method` must": lambda: epsilon_sharpness(surface, method="newton"),
        "`norm` must": lambda: adaptive_sharpness(surface, 0.1, "l1"),
    }
    for message, call in calls.items():
        with (
            pytest.raises(ValueError, match=message) as error,
            np.errstate(all="ignore"),
        ):
            call()
        assert "\n" not in str(error.value) and "Received: " in str(error.value)


@pytest.mark.parametrize("name", ["hinge", "binary_crossentropy", "poisson", "mse"])
def test_losses_by_name_fit_targets_to_outputs_as_keras_does(name):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")]
    )
    model.compile("sgd", name)
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(8, 3)).astype("float32"), generator.integers(0, 2, 8)
    value = LossSurface(model, x, y.astype("float32")).value()
    assert value == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-5)


def test_units_of_filters_keep_sharpness_where_a_layer_has_one_factor():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, activation="relu"),
            keras.layers.Dense(2),
        ]
    )
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(8, 3)), generator.integers(0, 2, 8)

    def measure():
        surface = LossSurface(model, x, y, CROSS_ENTROPY)
        return adaptive_sharpness(surface, 0.1, normalization="filter").value

    before = measure()
    kernel, bias, last, offset = model.get_weights()
    model.set_weights([kernel * 4, bias * 4, last / 4, offset])
    assert measure() == pytest.approx(before, rel=1e-3)
