"""Predictions with uncertainty of any estimator, bare, in a Pipeline or in a search.

scikit-learn's ``Pipeline`` and searches have no ``predict_interval``, ``sample_y`` and
other methods of the estimator inside, and ``predict`` of a search takes no
``return_std``. These functions reach the estimator.
"""

import numpy as np

from ._prediction import (
    check_coverage,
    check_levels,
    interval_levels,
    predict_distribution,
    predict_mean_std,
    quantiles_of,
    unwrap,
    unwrap_to,
)

__all__ = [
    "domain_score",
    "nearest_training",
    "predict_interval",
    "predict_mean_std",
    "predict_quantiles",
    "unwrap",
]


def predict_quantiles(estimator, X, q):
    """Predict quantiles of new observations by any estimator with a std.

    Parameters
    ----------
    estimator : estimator
        Fitted, with ``predict(X, return_std=True)``, bare, in a Pipeline or in a
        search.
    X : array-like of shape (n_samples, n_features), or what `estimator` takes
        Samples to predict.
    q : float or array-like of shape (n_quantiles,)
        Levels in (0, 1).

    Returns
    -------
    quantiles : ndarray of shape (n_samples, n_quantiles) or \
(n_samples, n_quantiles, n_outputs)
        In target units: those of the estimator's ``predict_quantiles`` if it has one,
        else of a Gaussian.

    Raises
    ------
    TypeError
        If the estimator predicts no std.
    ValueError
        If a level is not inside (0, 1), or a search has ``refit=False``.

    See Also
    --------
    predict_interval : Central intervals.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_unlocknn.prediction import predict_quantiles
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), BayesianRidge()).fit(X, y)
    >>> predict_quantiles(model, X[:3], [0.1, 0.5, 0.9]).shape
    (3, 3)
    """
    q = check_levels(q)
    prediction = predict_distribution(estimator, X)
    quantiles = quantiles_of(prediction, q)
    return quantiles[:, :, 0] if np.ndim(prediction.mean) == 1 else quantiles


def predict_interval(estimator, X, coverage=0.95):
    """Predict central intervals of new observations by any estimator with a std.

    Parameters
    ----------
    estimator : estimator
        Fitted, with ``predict(X, return_std=True)``, bare, in a Pipeline or in a
        search.
    X : array-like of shape (n_samples, n_features), or what `estimator` takes
        Samples to predict.
    coverage : float, default=0.95
        Probability that the interval contains the observation, in (0, 1).

    Returns
    -------
    interval : ndarray of shape (n_samples, 2) or (n_samples, 2, n_outputs)
        Lower and upper end, in target units.

    Raises
    ------
    TypeError
        If the estimator predicts no std.
    ValueError
        If ``coverage`` is not inside (0, 1), or a search has ``refit=False``.

    See Also
    --------
    predict_quantiles : Quantiles at any levels.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_unlocknn import VGPRegressor
    >>> from sklearn_unlocknn.prediction import predict_interval
    >>> X, y = load_diabetes(return_X_y=True)
    >>> search = GridSearchCV(VGPRegressor(), {"kernel": ["rbf", "linear"]}, cv=2)
    >>> lower, upper = predict_interval(search.fit(X, y), X[:3], coverage=0.9).T
    >>> lower < upper
    array([ True,  True,  True])
    """
    return predict_quantiles(estimator, X, interval_levels(check_coverage(coverage)))


def domain_score(estimator, X, return_rank=False):
    """Score how well the training samples determine the target of new samples.

    Parameters
    ----------
    estimator : estimator
        Fitted regressor of this package, bare, in a Pipeline, in a search, or inside a
        `CalibratedProbRegressor` or `ProbTransformedTargetRegressor`.
    X : array-like of shape (n_samples, n_features), or what `estimator` takes
        Samples to score.
    return_rank : bool, default=False
        Also return the rank among the training samples.

    Returns
    -------
    score : ndarray of shape (n_samples,)
        In [0, 1]: 1 where the target is known without error, .5 where the error is
        expected to be that of predicting the mean of the training targets.
    rank : ndarray of shape (n_samples,)
        Share of the training samples, each left out, whose score is not higher.

    Raises
    ------
    TypeError
        If the estimator has no domain score.
    ValueError
        If a search has ``refit=False``.

    See Also
    --------
    sklearn_unlocknn.VGPRegressor.domain_score : The method, and the definition.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_unlocknn import VGPRegressor
    >>> from sklearn_unlocknn.prediction import domain_score
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), VGPRegressor("rbf")).fit(X, y)
    >>> score, rank = domain_score(model, X[:3], return_rank=True)
    >>> score.shape, rank.shape
    ((3,), (3,))
    """
    estimator, X = unwrap_to(estimator, X, "domain_score")
    return estimator.domain_score(X, return_rank=return_rank)


def nearest_training(estimator, X, n_neighbors=5):
    """List the training samples that are nearest to new ones.

    Parameters
    ----------
    estimator : estimator
        Fitted regressor of this package, bare, in a Pipeline, in a search, or inside a
        `CalibratedProbRegressor` or `ProbTransformedTargetRegressor`.
    X : array-like of shape (n_samples, n_features), or what `estimator` takes
        Samples to look up.
    n_neighbors : int, default=5
        Number of training samples for each.

    Returns
    -------
    table : DataFrame
        A row for each sample and neighbour, with the columns of the method. "index" is
        the position in the training data of the regressor itself, and "target" in its
        units: those of a transformed target inside a `ProbTransformedTargetRegressor`.

    Raises
    ------
    TypeError
        If the estimator keeps no training samples.
    ValueError
        If ``n_neighbors`` is not a positive int, or a search has ``refit=False``.

    See Also
    --------
    sklearn_unlocknn.VGPRegressor.nearest_training : The method, and the columns.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_unlocknn import VGPRegressor
    >>> from sklearn_unlocknn.prediction import nearest_training
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), VGPRegressor("rbf")).fit(X, y)
    >>> nearest_training(model, X[:2], n_neighbors=1)["index"].tolist()
    [0, 1]
    """
    estimator, X = unwrap_to(estimator, X, "nearest_training")
    return estimator.nearest_training(X, n_neighbors=n_neighbors)
