"""Predicting the generalisation gap from margins."""

from typing import Literal

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.utils.validation import check_is_fitted

from zoo._types import Array

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn before 1.6.

    def validate_data(estimator, X, y="no_validation", **kwargs):
        return estimator._validate_data(X, y, **kwargs)


FLOOR = 1e-8


class GapPredictor(RegressorMixin, BaseEstimator):
    """Predicts the gap between training and test accuracy of a network.

    `g = a . log(theta) + b`, by least squares, where `theta` are the numbers of
    `zoo.metrics.signature`, each at least 1e-8 so that the logarithm exists.

    A scikit-learn regressor: it can be cloned, cross-validated and searched over.

    Args:
        form: `"log"`, as above, or `"linear"`, `g = a . theta + b`. Defaults to
            `"log"`.
        alpha: float >= 0, the weight of `||a||^2` in the sum of squares, where features
            are in units of their standard deviations. Use it where there are fewer than
            about five networks for each feature. Defaults to 0.0: least squares, and
            where these leave `a` open, the smallest.

    Attributes:
        coef_: float64 array, `[features]`, `a`.
        intercept_: float, `b`.

    Raises:
        ValueError: in `fit`, an argument is not as above.

    Example:

    >>> import numpy as np
    >>> theta = np.random.default_rng(0).uniform(0.1, 3.0, (50, 2))
    >>> gap = 0.3 - 0.1 * np.log(theta[:, 0])
    >>> predictor = GapPredictor().fit(theta, gap)
    >>> float(predictor.coef_[0].round(6)), round(predictor.intercept_, 6)
    (-0.1, 0.3)

    Reference:

    - Jiang, Krishnan, Mobahi and Bengio, 2019, "Predicting the generalization gap in
      deep networks with margin distributions",
      [arXiv:1810.00113](https://arxiv.org/abs/1810.00113)
    """

    def __init__(
        self, form: Literal["log", "linear"] = "log", alpha: float = 0.0
    ) -> None:
        self.form = form
        self.alpha = alpha

    def fit(self, X: Array, y: Array) -> "GapPredictor":
        """Fits the predictor.

        Args:
            X: array, `[networks, features]`, signatures.
            y: array, `[networks]`, gaps.

        Returns:
            The predictor itself.
        """
        if self.form not in ("log", "linear"):
            raise ValueError(
                f"form must be 'log' or 'linear'. Received: form={self.form!r}"
            )
        if not self.alpha >= 0:
            raise ValueError(f"alpha must be >= 0. Received: alpha={self.alpha!r}")
        X, y = validate_data(self, X, y, dtype="float64", y_numeric=True)
        features = self._features(X)
        mean, spread = features.mean(axis=0), features.std(axis=0)
        # A constant feature, up to rounding, tells nothing.
        moves = spread > 1e-12 * np.abs(mean)
        spread = np.where(moves, spread, 1.0)
        columns = np.where(moves, (features - mean) / spread, 0.0)
        # The penalty is as good as further samples.
        ridge = np.sqrt(self.alpha) * np.eye(columns.shape[1])
        targets = np.concatenate([y - y.mean(), np.zeros(len(ridge))])
        a, *_ = np.linalg.lstsq(np.concatenate([columns, ridge]), targets, rcond=None)
        self.coef_ = a / spread
        self.intercept_ = float(y.mean() - mean @ self.coef_)
        return self

    def predict(self, X: Array) -> np.ndarray:
        """Returns gaps, `[networks]`, for signatures, `[networks, features]`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype="float64", reset=False)
        return self._features(X) @ self.coef_ + self.intercept_

    def _features(self, X):
        return np.log(np.maximum(X, FLOOR)) if self.form == "log" else X


def k_fold_r2(
    predictor: BaseEstimator, X: Array, y: Array, folds: int = 10, seed: int = 0
) -> float:
    """Returns the `R^2` of predictions for networks that the predictor has not seen.

    Each of `folds` parts is predicted by a copy fitted to the others; one `R^2` is
    taken over all these predictions, so that parts may be small.

    Args:
        predictor: scikit-learn regressor; it is left as it is.
        X: array, `[networks, features]`.
        y: array, `[networks]`.
        folds: int >= 2. Defaults to 10.
        seed: int, of the shuffle before the cut. Defaults to 0.

    Returns:
        A float, at most 1; 0 is as good as the mean.

    Example:

    >>> import numpy as np
    >>> theta = np.random.default_rng(0).uniform(0.1, 3.0, (50, 2))
    >>> round(k_fold_r2(GapPredictor(), theta, np.log(theta[:, 0])), 6)
    1.0
    """
    cut = KFold(folds, shuffle=True, random_state=seed)
    return float(r2_score(y, cross_val_predict(predictor, X, y, cv=cut)))


def adjusted_r2(r2: float, samples: int, features: int) -> float:
    """Returns `R^2` corrected for the number of features that were fitted.

    `1 - (1 - R^2) (n - 1) / (n - p - 1)` for `n` samples and `p` features.

    Raises:
        ValueError: there are too few samples, `n <= p + 1`.

    Example:

    >>> round(adjusted_r2(0.9, samples=31, features=20), 6)
    0.7
    """
    if samples <= features + 1:
        raise ValueError(
            f"samples must be at least {features + 2} for {features} features. "
            f"Received: samples={samples}"
        )
    return 1 - (1 - r2) * (samples - 1) / (samples - features - 1)
