"""What the meta-estimators of probabilistic regressors share."""

import numpy as np
from scipy.special import ndtri
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, get_tags

from .metrics._predictions import predict_mean_std


def plain(X, estimator):
    """Return X as it is, a table of numbers as Python objects as floats.

    BayesianRidge predicts no std from the latter. Structures, which come as lists or
    in one dimension, are never touched.
    """
    table = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype == object
    inputs = get_tags(estimator).input_tags
    if table and inputs.two_d_array and not (inputs.categorical or inputs.string):
        return check_array(X, ensure_all_finite=False, ensure_min_samples=0)
    return X


def as_columns(prediction):
    """Return mean and std as float64 of shape (n, k)."""
    mean, std = (np.asarray(part, dtype=np.float64) for part in prediction)
    return mean.reshape(len(mean), -1), std.reshape(len(std), -1)


def check_levels(q):
    """Return quantile levels in one dimension.

    Raises
    ------
    ValueError
        When one is not inside (0, 1).
    """
    q = np.atleast_1d(np.asarray(q, dtype=float))
    if q.ndim != 1 or not np.all((q > 0) & (q < 1)):
        raise ValueError(f"Got q={q.tolist()}, expected levels inside (0, 1).")
    return q


def quantiles_of(estimator, X, q):
    """Predict quantiles: the estimator's own, or of the normal it predicts.

    Parameters
    ----------
    estimator : fitted estimator
        As :func:`~sklearn_unlocknn.metrics._predictions.predict_mean_std` takes it.
    X : array-like of shape (n_samples, ...)
        Rows.
    q : ndarray of shape (n_quantiles,)
        Levels.

    Returns
    -------
    quantiles : ndarray of shape (n_samples, n_quantiles) or \
(n_samples, n_quantiles, n_outputs)
    """
    if isinstance(estimator, Pipeline):
        if len(estimator.steps) > 1:
            X = estimator[:-1].transform(X)
        return quantiles_of(estimator.steps[-1][1], X, q)
    if hasattr(estimator, "best_estimator_"):  # a fitted search
        return quantiles_of(estimator.best_estimator_, X, q)
    if hasattr(estimator, "predict_quantiles"):
        return np.asarray(estimator.predict_quantiles(X, q))
    mean, std = as_columns(predict_mean_std(estimator, X))
    return mean[:, None] + ndtri(q)[:, None] * std[:, None]
