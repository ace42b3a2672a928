"""Predictions with a std and regressors that return them, shared by the tests."""

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import BayesianRidge


def make_prediction(n_samples=80, n_outputs=None, seed=0, decimals=None):
    """Return y_true, y_pred and y_std; with `decimals` stds and errors tie."""
    rng = np.random.default_rng(seed)
    shape = n_samples if n_outputs is None else (n_samples, n_outputs)
    y_std = rng.uniform(0.2, 2.0, shape)
    y_pred = rng.normal(scale=3.0, size=shape)
    if decimals is not None:
        y_std, y_pred = y_std.round(decimals), y_pred.round(decimals)
    y_true = y_pred + 1.3 * y_std * rng.normal(size=shape)
    return y_true if decimals is None else y_true.round(decimals), y_pred, y_std


def share_inside(interval, y):
    """Return the share of targets inside their intervals of shape (n_samples, 2)."""
    lower, upper = interval.T
    return np.mean((lower <= y) & (y <= upper))


class CountingRidge(BayesianRidge):
    """Counts its predictions."""

    n_calls = 0

    def predict(self, X, return_std=False):
        type(self).n_calls += 1
        return super().predict(X, return_std=return_std)


class Given(RegressorMixin, BaseEstimator):
    """Returns the columns of X: half of them as means, half as stds."""

    def fit(self, X, y, sample_weight=None):
        self.fitted_ = True
        return self

    def predict(self, X, return_std=False):
        mean, std = np.split(np.asarray(X, dtype=float), 2, axis=1)
        if mean.shape[1] == 1:
            mean, std = mean[:, 0], std[:, 0]
        return (mean, std) if return_std else mean
