"""What the meta-estimators of probabilistic regressors share."""

import numpy as np
from scipy.special import ndtri
from sklearn.utils import check_array, get_tags


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


def quantiles_of(prediction, q):
    """Return quantiles of a prediction: its own, or of a normal.

    Parameters
    ----------
    prediction : Prediction
        Of :func:`~sklearn_unlocknn.metrics._predictions.predict_distribution`.
    q : ndarray of shape (n_quantiles,)
        Levels.

    Returns
    -------
    quantiles : ndarray of shape (n_samples, n_quantiles, n_outputs)
    """
    mean, std = as_columns(prediction[:2])
    if prediction.quantiles is None:
        return mean[:, None] + ndtri(q)[:, None] * std[:, None]
    return np.reshape(prediction.quantiles(q), (len(mean), len(q), -1))
