import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from zoo.metrics import GapPredictor, adjusted_r2, k_fold_r2

SLOPES, LEVEL = np.array([-0.2, 0.1, 0.0, 0.05]), 0.4


def planted(samples=60, noise=0.0):
    generator = np.random.default_rng(0)
    theta = np.exp(generator.normal(0.0, 1.0, (samples, len(SLOPES))))
    gap = np.log(theta) @ SLOPES + LEVEL
    return theta, gap + generator.normal(0.0, noise, samples)


@parametrize_with_checks(
    [GapPredictor(), GapPredictor(form="linear"), GapPredictor(alpha=1.0)]
)
def test_is_a_regressor_to_scikit_learn(estimator, check):
    check(estimator)


def test_recovers_a_planted_law():
    theta, gap = planted()
    predictor = GapPredictor().fit(theta, gap)
    np.testing.assert_allclose(predictor.coef_, SLOPES, atol=1e-12)
    np.testing.assert_allclose(predictor.intercept_, LEVEL)
    np.testing.assert_allclose(predictor.predict(theta), gap)
    assert predictor.score(theta, gap) == pytest.approx(1.0)
    assert k_fold_r2(GapPredictor(), theta, gap) == pytest.approx(1.0)
    assert k_fold_r2(GapPredictor("linear"), theta, gap) < 0.8


@pytest.mark.parametrize("alpha", [0.0, 0.3, 20.0])
@pytest.mark.parametrize("form", ["log", "linear"])
def test_equals_a_pipeline_of_scikit_learn(form, alpha):
    theta, gap = planted(noise=0.1)
    features = np.log(theta) if form == "log" else theta
    last = Ridge(alpha) if alpha else LinearRegression()
    pipeline = make_pipeline(StandardScaler(), last).fit(features, gap)
    predictor = GapPredictor(form, alpha).fit(theta, gap)
    np.testing.assert_allclose(predictor.predict(theta), pipeline.predict(features))


def test_ridge_helps_where_networks_are_few():
    generator = np.random.default_rng(1)
    theta = np.exp(generator.normal(size=(24, 20)))
    gap = 0.1 * np.log(theta[:, 0]) + generator.normal(0.0, 0.05, 24)
    scores = [k_fold_r2(GapPredictor(alpha=alpha), theta, gap) for alpha in (0.0, 5.0)]
    assert scores[0] < 0 < scores[1]


def test_features_that_say_nothing_or_all_the_same():
    theta, gap = planted()
    wide = np.concatenate([theta, theta[:, :1], np.full((60, 1), 0.3)], axis=1)
    predictor = GapPredictor().fit(wide, gap)
    np.testing.assert_allclose(predictor.predict(wide), gap)
    np.testing.assert_allclose(predictor.coef_[[0, 4]], 2 * [SLOPES[0] / 2])
    assert predictor.coef_[5] == 0.0


def test_the_logarithm_is_floored():
    theta, gap = planted()
    floored, negative = theta.copy(), theta.copy()
    floored[:5, 0], negative[:5, 0] = 1e-8, [-3.0, 0.0, 1e-9, -1e9, 1e-20]
    one, other = (GapPredictor().fit(x, gap) for x in (floored, negative))
    np.testing.assert_array_equal(one.coef_, other.coef_)
    np.testing.assert_array_equal(one.predict(floored), other.predict(negative))


def test_k_fold_pools_what_was_not_seen():
    theta, gap = planted(33, noise=0.3)
    order = np.random.RandomState(7).permutation(33)
    predicted = np.empty(33)
    for fold in np.array_split(order, 4):
        rest = np.setdiff1d(order, fold)
        predictor = GapPredictor().fit(theta[rest], gap[rest])
        predicted[fold] = predictor.predict(theta[fold])
    expected = 1 - np.sum((gap - predicted) ** 2) / np.sum((gap - gap.mean()) ** 2)
    ours = k_fold_r2(GapPredictor(), theta, gap, folds=4, seed=7)
    np.testing.assert_allclose(ours, expected)
    assert ours == k_fold_r2(GapPredictor(), theta, gap, folds=4, seed=7)
    assert ours != k_fold_r2(GapPredictor(), theta, gap, folds=4, seed=8)
    assert ours < GapPredictor().fit(theta, gap).score(theta, gap)


def test_adjusted_r2():
    # Of noise alone, R^2 is p / (n - 1) on average: adjusted, that is 0.
    assert adjusted_r2(20 / 99, 100, 20) == pytest.approx(0.0)
    assert adjusted_r2(1.0, 100, 20) == 1.0
    assert adjusted_r2(0.5, 756, 0) == 0.5
    assert adjusted_r2(0.9, 12, 10) == pytest.approx(1 - 0.1 * 11)
    for samples in (0, 10, 11):
        with pytest.raises(ValueError, match="samples must be at least 12 for 10"):
            adjusted_r2(0.9, samples, 10)


@pytest.mark.parametrize(
    "kwargs", [{"form": "exp"}, {"alpha": -1.0}, {"alpha": np.nan}], ids=str
)
def test_bad_arguments(kwargs):
    name = next(iter(kwargs))
    with pytest.raises(ValueError, match=rf"{name} must be .*Received: {name}="):
        GapPredictor(**kwargs).fit(*planted())


def test_can_be_searched_over():
    theta, gap = planted(noise=0.05)
    grid = {"form": ["linear", "log"], "alpha": [0.0, 1.0]}
    search = GridSearchCV(GapPredictor(), grid).fit(theta, gap)
    assert search.best_params_["form"] == "log"
    assert clone(search.best_estimator_).get_params() == search.best_params_
