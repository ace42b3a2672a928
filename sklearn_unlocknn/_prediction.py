"""What any fitted estimator predicts, through pipelines and searches."""

import functools
import inspect
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, get_tags
from sklearn.utils.validation import check_is_fitted

_EXPECTED = (
    "expected an estimator with predict(X, return_std=True) -> (mean, std), such as "
    "VGPRegressor, GaussianProcessRegressor or BayesianRidge, bare, as the last step "
    "of a Pipeline, or inside a fitted search"
)


class Prediction(NamedTuple):
    """What an estimator says of some rows.

    Attributes
    ----------
    mean, std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        As ``predict(X, return_std=True)`` gives them, target units.
    quantiles : callable or None
        ``quantiles(q)`` of shape (n_samples, n_quantiles) or (n_samples, n_quantiles,
        n_outputs), target units; None where they are those of a normal.
    """

    mean: Any
    std: Any
    quantiles: Callable | None = None


def reads_quantiles(function):
    """Whether a metric or a display takes `quantiles`."""
    try:
        return "quantiles" in inspect.signature(function).parameters
    except ValueError:  # some compiled callables have no signature
        return False


def predict_distribution(estimator, X):
    """Predict mean, standard deviation and quantiles of whatever is wrapped.

    One prediction: the quantiles of this package's estimators are made from the parts
    that mean and std are made from.

    Parameters
    ----------
    estimator : fitted estimator
        As :func:`predict_mean_std` takes it.
    X : array-like of shape (n_samples, ...)
        What `estimator` predicts from.

    Returns
    -------
    prediction : Prediction
        With the quantiles of the estimator's own ``predict_quantiles``, if it has any.

    Raises
    ------
    TypeError, ValueError
        As :func:`predict_mean_std`.
    """
    estimator, X = unwrap(estimator, X)
    if hasattr(estimator, "_predict_distribution"):
        return Prediction(*estimator._predict_distribution(X))
    mean, std = predict_mean_std(estimator, X)
    own = getattr(estimator, "predict_quantiles", None)
    return Prediction(mean, std, None if own is None else functools.partial(own, X))


def predict_mean_std(estimator, X):
    """Predict mean and standard deviation, whatever the estimator is wrapped in.

    Parameters
    ----------
    estimator : fitted estimator
        One with ``predict(X, return_std=True)``, or a Pipeline, a FrozenEstimator or
        a search with ``refit`` around one, nested in any order.
    X : array-like of shape (n_samples, ...)
        What `estimator` predicts from.

    Returns
    -------
    mean, std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        As the estimator gives them, target units.

    Raises
    ------
    TypeError
        When the estimator has no ``return_std``, or does not return a pair for it.
    ValueError
        When a search was fitted with ``refit=False``.
    """
    estimator, X = unwrap(estimator, X)
    name = type(estimator).__name__
    predict = getattr(estimator, "predict", None)
    if predict is None:
        raise TypeError(f"Got {name}, which has no predict; {_EXPECTED}.")

    parameters = inspect.signature(predict).parameters
    # Some (StackingRegressor) hand keywords down.
    hands_down = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if "return_std" not in parameters and not hands_down:
        raise TypeError(f"Got {name}, whose predict has no return_std; {_EXPECTED}.")

    try:
        prediction = predict(X, return_std=True)
    except TypeError as error:
        if "return_std" not in str(error):
            raise
        raise TypeError(
            f"Got {name}, whose predict refuses return_std; {_EXPECTED}."
        ) from error
    if not isinstance(prediction, tuple) or len(prediction) != 2:
        raise TypeError(
            f"Got {name}, whose predict(X, return_std=True) returned "
            f"{type(prediction).__name__}; {_EXPECTED}."
        )
    return prediction


def unwrap(estimator, X):
    """Return the estimator in pipelines, searches and frozen ones, and its input.

    Parameters
    ----------
    estimator : fitted estimator
        Of any kind.
    X : array-like of shape (n_samples, ...)
        What `estimator` predicts from.

    Returns
    -------
    estimator : fitted estimator
        The one that predicts.
    X : array-like of shape (n_samples, ...)
        What it predicts from.

    Raises
    ------
    TypeError
        Of a TransformedTargetRegressor.
    ValueError
        When a search was fitted with ``refit=False``.
    """
    # Pipeline.predict passes keywords on only while metadata routing is off.
    if isinstance(estimator, Pipeline):
        if len(estimator.steps) > 1:
            X = estimator[:-1].transform(X)
        return unwrap(estimator.steps[-1][1], X)
    if isinstance(estimator, FrozenEstimator):
        return unwrap(estimator.estimator, X)

    name = type(estimator).__name__
    if isinstance(estimator, TransformedTargetRegressor):
        raise TypeError(
            f"Got {name}, whose predict cannot return a std: it would have to "
            "transform the pair (mean, std) back, which scikit-learn does not do. "
            "sklearn_unlocknn.compose.ProbTransformedTargetRegressor does."
        )
    if hasattr(estimator, "refit"):  # a search, whose predict takes no keywords
        if not hasattr(estimator, "best_estimator_"):
            check_is_fitted(estimator)
            raise ValueError(
                f"Got {name} with refit=False, which keeps no estimator to predict "
                "with; expected a search with refit=True or the name of a score."
            )
        return unwrap(estimator.best_estimator_, X)
    return estimator, X


class RecordedPrediction(RegressorMixin, BaseEstimator):
    """A regressor that repeats one prediction, to score it many times.

    Parameters
    ----------
    mean, std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        What `predict` returns, whatever it is given.
    quantiles : callable, default=None
        As in :class:`Prediction`.
    """

    def __init__(self, mean, std, quantiles=None):
        self.mean = mean
        self.std = std
        self.quantiles = quantiles

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, X, return_std=False):
        """Return the recorded mean, and std when `return_std`."""
        return (self.mean, self.std) if return_std else self.mean

    def _predict_distribution(self, X):
        return self.mean, self.std, self.quantiles


def interval_levels(coverages):
    """Return the levels of the lower ends of central intervals, then of the upper."""
    half = np.atleast_1d(coverages) / 2.0
    return np.concatenate([0.5 - half, 0.5 + half])


def check_coverage(coverage):
    """Raise unless `coverage` is a probability strictly between 0 and 1."""
    if not isinstance(coverage, numbers.Real) or not 0 < coverage < 1:
        raise ValueError(
            f"Got coverage={coverage!r}, expected a number strictly between 0 and 1, "
            "such as 0.95 for 95 % intervals."
        )
    return float(coverage)


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
        Of :func:`~sklearn_unlocknn._prediction.predict_distribution`.
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
