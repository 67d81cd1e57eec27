import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from zoo.metrics.loss_surface import LossSurface
from zoo.metrics.maximization import ASCENTS, maximize_in_ball, maximize_in_box

methods = pytest.mark.parametrize("method", ASCENTS)


def quadratic(hessian, slope):
    def function(z):
        product = hessian @ z
        return slope @ z + z @ product / 2, slope + product

    return function


def separable_maximum(slope, curvature, bounds):
    """The largest of `slope z + curvature z^2 / 2`, coordinate by coordinate."""

    def at(z):
        return slope * z + curvature * z**2 / 2

    top = -slope / np.where(curvature < 0, curvature, -1e-12)
    inside = np.where((curvature < 0) & (abs(top) < bounds), at(top), -np.inf)
    return np.max([at(bounds), at(-bounds), inside], axis=0).sum()


@methods
@pytest.mark.parametrize("seed", range(5))
def test_box_maximum_of_a_separable_quadratic(seed, method):
    generator = np.random.default_rng(seed)
    slope, curvature = generator.normal(size=200), 3 * generator.normal(size=200)
    bounds = generator.uniform(0.01, 2.0, 200)
    found, _ = maximize_in_box(
        quadratic(np.diag(curvature), slope), bounds, iterations=300, method=method
    )
    expected = separable_maximum(slope, curvature, bounds)
    assert found == pytest.approx(expected, rel=1e-6)


@methods
@pytest.mark.parametrize("seed", range(5))
def test_box_maximum_at_a_corner(seed, method):
    generator = np.random.default_rng(seed)
    bounds = generator.uniform(0.1, 1.0, 60)
    signs = generator.choice([-1.0, 1.0], 60)
    # Convex or not: with entries of these signs, the largest is at this corner.
    hessian = generator.uniform(size=(60, 60)) * np.outer(signs, signs)
    function = quadratic(hessian + hessian.T, generator.uniform(size=60) * signs)
    found, _ = maximize_in_box(function, bounds, method=method)
    assert found == pytest.approx(function(bounds * signs)[0], rel=1e-6)


@methods
@pytest.mark.parametrize("seed", range(5))
def test_box_maximum_inside_or_on_the_walls_of_a_concave_quadratic(seed, method):
    generator = np.random.default_rng(seed)
    bounds = generator.uniform(0.1, 1.0, 60)
    root = generator.normal(size=(60, 60))
    hessian = -(root @ root.T) / 60 - 0.1 * np.eye(60)
    top = bounds * generator.uniform(-0.9, 0.9, 60)
    held = generator.uniform(size=60) < 0.3
    top[held] = np.copysign(bounds, top)[held]
    # Slopes press the coordinates that are held against their walls.
    push = held * np.sign(top) * generator.uniform(size=60)
    function = quadratic(hessian, push - hessian @ top)
    found, _ = maximize_in_box(function, bounds, iterations=300, method=method)
    assert found == pytest.approx(function(top)[0], rel=1e-6)


@pytest.fixture(scope="module")
def perceptron():
    keras.utils.set_random_seed(0)
    x, y = load_digits(return_X_y=True)
    x, y = x[:512] / 16, y[:512]
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    model.fit(x, y, batch_size=64, epochs=30, verbose=0)
    return LossSurface(model, x, y)


@pytest.mark.parametrize("epsilon", [5e-4, 1e-3, 1e-2])
def test_projected_ascent_finds_no_less_than_scipy_on_a_network(perceptron, epsilon):
    weights = perceptron.weights
    bounds = epsilon * (abs(weights) + 1)
    best = {method: [] for method in ASCENTS}
    for seed in range(10):
        start = np.random.default_rng(seed).uniform(-0.1, 0.1, len(bounds))
        for method, ascend in ASCENTS.items():
            seen = []

            def evaluate(u, seen=seen):
                value, gradient = perceptron.gradient(weights + bounds * u)
                seen.append(value)
                return value, bounds * gradient

            ascend(evaluate, start, 10, lambda *_: None)
            best[method].append(max(seen))
    # Of the starts the best counts; from one, either may end at a lower corner.
    assert max(best["projected"]) >= max(best["scipy"]) * (1 - 1e-6)
    assert np.all(np.divide(best["projected"], best["scipy"]) >= 1 - 1e-4)


@methods
def test_evaluations_are_counted_and_lie_in_the_box(method):
    calls = []

    def function(z):
        calls.append(z)
        return -np.sum((z - 0.2) ** 2), -2 * (z - 0.2)

    _, evaluations = maximize_in_box(function, np.ones(3), starts=3, method=method)
    assert evaluations == len(calls)
    assert all(np.all(abs(z) <= 1.0) for z in calls)


@methods
@pytest.mark.parametrize("scale", [2.0**-40, 2.0**40])
def test_units_of_the_function_do_not_matter(scale, method):
    generator = np.random.default_rng(0)
    root = generator.normal(size=(30, 30))
    function = quadratic(root + root.T, generator.normal(size=30))

    def scaled(z):
        value, gradient = function(z)
        return scale * value, scale * gradient

    expected, _ = maximize_in_box(function, np.ones(30), method=method)
    found, _ = maximize_in_box(scaled, np.ones(30), method=method)
    assert found == pytest.approx(scale * expected, rel=1e-12)


@methods
def test_flat_functions_and_dead_coordinates_end(method):
    found, _ = maximize_in_box(lambda z: (2.0, 0 * z), np.ones(4), method=method)
    assert found == 2.0

    def dead(z):
        slope = np.array([1.0, 0.0, -1.0])
        return slope @ z, slope

    found, _ = maximize_in_box(dead, np.ones(3), iterations=400, method=method)
    assert found == 2.0


def test_ball_maximum_of_a_convex_quadratic():
    generator = np.random.default_rng(0)
    root = generator.normal(size=(8, 8))
    function = quadratic(root @ root.T, np.zeros(8))
    found, _ = maximize_in_ball(function, np.full(8, 0.3), iterations=300)
    expected = 0.5 * 0.09 * np.linalg.eigvalsh(root @ root.T)[-1]
    assert found == pytest.approx(expected, rel=1e-6)


def test_bad_input_ends_in_one_line():
    def broken(z):
        return np.nan, z

    def steep(z):
        return 0.0, z * np.inf + np.inf

    calls = {
        "`method` must be one of": lambda: maximize_in_box(
            broken, np.ones(2), method="newton"
        ),
        "`starts` must": lambda: maximize_in_box(broken, np.ones(2), 0),
        "`iterations` must": lambda: maximize_in_ball(broken, np.ones(2), 1, 0),
        "must be finite": lambda: maximize_in_box(broken, np.ones(2)),
        "The loss must be finite": lambda: maximize_in_box(
            steep, np.ones(2), method="scipy"
        ),
    }
    for message, call in calls.items():
        with (
            pytest.raises(ValueError, match=message) as error,
            np.errstate(invalid="ignore"),
        ):
            call()
        assert "\n" not in str(error.value) and "Received: " in str(error.value)
