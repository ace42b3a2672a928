"""Mean, standard deviation and quantiles of any estimator.

Calibration, composition, metrics and displays share them.
"""

import functools
import inspect
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_array, get_tags
from sklearn.utils.validation import check_is_fitted

from ._validation import check_targets

_EXPECTED = (
    "expected an estimator with predict(X, return_std=True) -> (mean, std), such as "
    "VGPRegressor, GaussianProcessRegressor or BayesianRidge, bare, as the last step "
    "of a Pipeline, or inside a fitted search"
)


# --- levels ---------------------------------------------------------------------


def check_coverage(coverage, name="coverage"):
    """Return a coverage as a float; raise ValueError unless it is inside (0, 1)."""
    if not isinstance(coverage, numbers.Real) or not 0 < coverage < 1:
        raise ValueError(
            f"Got {name}={coverage!r}, expected a number strictly between 0 and 1, "
            "such as 0.95 for 95 % intervals."
        )
    return float(coverage)


def check_levels(q):
    """Return quantile levels as an array; raise ValueError unless inside (0, 1)."""
    q = np.atleast_1d(np.asarray(q, dtype=float))
    if q.ndim != 1 or not np.all((q > 0) & (q < 1)):
        raise ValueError(f"Got q={q.tolist()}, expected levels inside (0, 1).")
    return q


def interval_levels(coverages):
    """Return the levels of the lower ends of central intervals, then of the upper."""
    half = np.atleast_1d(coverages) / 2.0
    return np.concatenate([0.5 - half, 0.5 + half])


# --- predictions ----------------------------------------------------------------


class Prediction(NamedTuple):
    """Mean and std of samples, in target units, and their quantiles.

    ``quantiles(q)`` is of shape (n_samples, n_quantiles), with several outputs
    (n_samples, n_quantiles, n_outputs); None for Gaussian distributions.
    ``log_density(y)`` has the shape of y; None for Gaussians, and where it is unknown.
    """

    mean: Any
    std: Any
    quantiles: Callable | None = None
    log_density: Callable | None = None


def predict_distribution(estimator, X):
    """Predict mean, std and quantiles of a bare or wrapped estimator.

    Quantiles are those of the estimator's ``predict_quantiles``, if it has one;
    estimators of this package compute them from the same prediction as mean and std.
    Raises the errors of `predict_mean_std`.
    """
    estimator, X = unwrap(estimator, X)
    if hasattr(estimator, "_predict_distribution"):
        return Prediction(*estimator._predict_distribution(X))
    mean, std = predict_mean_std(estimator, X)
    own = getattr(estimator, "predict_quantiles", None)
    return Prediction(mean, std, None if own is None else functools.partial(own, X))


def predict_mean_std(estimator, X):
    """Predict mean and standard deviation by any estimator with a std.

    Parameters
    ----------
    estimator : estimator
        Fitted, with ``predict(X, return_std=True)``, bare, in a Pipeline or in a
        search.
    X : array-like of shape (n_samples, n_features), or what `estimator` takes
        Samples to predict.

    Returns
    -------
    y_mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        In target units.
    y_std : ndarray of the same shape
        In target units, observation noise included if `estimator` includes it.

    Raises
    ------
    TypeError
        If the estimator has no ``return_std`` or does not return a pair for it.
    ValueError
        If a search has ``refit=False``.

    See Also
    --------
    unwrap : The estimator inside, with all its methods.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_unlocknn.prediction import predict_mean_std
    >>> X, y = load_diabetes(return_X_y=True)
    >>> search = GridSearchCV(BayesianRidge(), {"fit_intercept": [True, False]})
    >>> mean, std = predict_mean_std(search.fit(X, y), X[:3])
    >>> mean.shape, std.shape
    ((3,), (3,))
    """
    estimator, X = unwrap(estimator, X)
    name = type(estimator).__name__
    predict = getattr(estimator, "predict", None)
    if predict is None:
        raise TypeError(f"Got {name}, which has no predict; {_EXPECTED}.")

    parameters = inspect.signature(predict).parameters
    # StackingRegressor and others pass keywords on.
    has_keywords = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if "return_std" not in parameters and not has_keywords:
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
    """Return the predictor inside a Pipeline or a search, and its input.

    The predictor has the methods that wrappers lack, such as ``predict_components``,
    ``sample_y`` and ``predict_dist`` of this package's regressors.

    Parameters
    ----------
    estimator : estimator
        Fitted: a Pipeline, a search, a FrozenEstimator, nested in any order, or another
        estimator, which is the predictor itself.
    X : array-like of shape (n_samples, n_features), or what `estimator` takes
        Samples to predict.

    Returns
    -------
    predictor : estimator
        The last step or the best estimator, not a copy.
    X : array-like of shape (n_samples, n_features)
        The samples, transformed by the other steps.

    Raises
    ------
    TypeError
        If there is a TransformedTargetRegressor, which has no std.
    ValueError
        If a search has ``refit=False``.

    See Also
    --------
    predict_mean_std, predict_quantiles, predict_interval : For the most frequent ones.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_unlocknn import VGPRegressor
    >>> from sklearn_unlocknn.prediction import unwrap
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), VGPRegressor("rbf")).fit(X, y)
    >>> regressor, X_scaled = unwrap(model, X[:3])
    >>> mean, epistemic, aleatoric = regressor.predict_components(X_scaled)
    >>> regressor.sample_y(X_scaled, n_samples=5).shape
    (3, 5)
    """
    from sklearn.compose import TransformedTargetRegressor  # seldom needed
    from sklearn.pipeline import Pipeline

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


def unwrap_to(estimator, X, method):
    """Return the regressor of this package that has a method, and its input.

    It is also found inside a `WrappingRegressor`. Raises TypeError if there is none.
    """
    estimator, X = unwrap(estimator, X)
    while isinstance(estimator, WrappingRegressor):
        estimator, X = unwrap(estimator._fitted_inner, X)
    if not hasattr(estimator, method):
        raise TypeError(
            f"Got {type(estimator).__name__}, which has no {method}; expected a "
            "regressor of this package, bare, as the last step of a Pipeline, or "
            "inside a fitted search."
        )
    return estimator, X


def as_columns(prediction):
    """Return mean and std as float64 of shape (n_samples, n_outputs)."""
    mean, std = (np.asarray(part, dtype=np.float64) for part in prediction)
    return mean.reshape(len(mean), -1), std.reshape(len(std), -1)


def quantiles_of(prediction, q):
    """Return the quantiles of a `Prediction` at the levels `q`, an array.

    Their shape is (n_samples, n_quantiles, n_outputs).
    """
    mean, std = as_columns(prediction[:2])
    if prediction.quantiles is None:
        return mean[:, None] + ndtri(q)[:, None] * std[:, None]
    return np.reshape(prediction.quantiles(q), (len(mean), len(q), -1))


def log_density_of(prediction, y):
    """Return the log density of a `Prediction` at y, of the shape of its mean.

    Of a Gaussian unless it has its own; a zero std is a point mass. None where only its
    quantiles are known.
    """
    if prediction.log_density is not None:
        return np.asarray(prediction.log_density(y))
    if prediction.quantiles is not None:
        return None
    residual, point = y - prediction.mean, prediction.std == 0
    std = np.where(point, 1.0, prediction.std)
    logs = -0.5 * (np.log(2.0 * np.pi) + (residual / std) ** 2) - np.log(std)
    return np.where(point, np.where(residual == 0, np.inf, -np.inf), logs)


def density_at(log_density, y, shape):
    """Return the log density of observations; raise unless they have a shape."""
    y = check_targets(y)
    if y.shape != shape:
        raise ValueError(
            f"Got y of shape {y.shape}, expected {shape}, one observation for each "
            "prediction."
        )
    return log_density(y)


def with_finite_ends(quantiles):
    """Return quantiles (n, n_quantiles, k), infinite ones as the outermost finite one.

    That of the same sample and output; without any they stay infinite.
    """
    finite = np.isfinite(quantiles)
    if finite.all():
        return quantiles
    low = np.min(quantiles, axis=1, where=finite, initial=np.inf, keepdims=True)
    high = np.max(quantiles, axis=1, where=finite, initial=-np.inf, keepdims=True)
    return np.where(low <= high, np.clip(quantiles, low, high), quantiles)


def own_keywords(function, prediction):
    """Return the parts of a `Prediction` that a metric or a display takes by name.

    These are `quantiles` and `log_density`, which may be None.
    """
    try:
        taken = inspect.signature(function).parameters
    except ValueError:  # some compiled callables have no signature
        return {}
    names = ("quantiles", "log_density")
    return {name: getattr(prediction, name) for name in names if name in taken}


# --- estimators -----------------------------------------------------------------


class RecordedPrediction(RegressorMixin, BaseEstimator):
    """Return one recorded prediction for any input, to score it several times.

    Its parameters are the attributes of a :class:`Prediction`.
    """

    def __init__(self, mean, std, quantiles=None, log_density=None):
        self.mean = mean
        self.std = std
        self.quantiles = quantiles
        self.log_density = log_density

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, X, return_std=False):
        """Return the recorded mean, and std when `return_std`."""
        return (self.mean, self.std) if return_std else self.mean

    def _predict_distribution(self, X):
        return self.mean, self.std, self.quantiles, self.log_density


class DistributionMixin:
    """Quantiles, intervals and log density of a regressor's own distribution.

    Subclasses define ``_quantiles_at(X, q)``, of valid levels, and ``_density_at(X)``,
    the shape of predictions and the function of their log density.
    """

    def predict_quantiles(self, X, q):
        """Predict quantiles of a new observation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as in the class
            Input samples.
        q : float or array-like of shape (n_quantiles,)
            Levels in (0, 1).

        Returns
        -------
        quantiles : ndarray of shape (n_samples, n_quantiles) or \
(n_samples, n_quantiles, n_outputs)
            In target units.

        Raises
        ------
        ValueError
            If a level is not inside (0, 1).
        """
        return self._quantiles_at(X, check_levels(q))

    def predict_interval(self, X, coverage=0.95):
        """Predict the central interval of a new observation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as in the class
            Input samples.
        coverage : float, default=0.95
            Probability that the interval contains the observation, in (0, 1).

        Returns
        -------
        interval : ndarray of shape (n_samples, 2) or (n_samples, 2, n_outputs)
            Lower and upper end, in target units.

        Raises
        ------
        ValueError
            If ``coverage`` is not inside (0, 1).
        """
        return self._quantiles_at(X, interval_levels(check_coverage(coverage)))

    def predict_log_density(self, X, y):
        """Predict the log density of observations.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as in the class
            Input samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Observations, in target units.

        Returns
        -------
        log_density : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In nats, of the density per target unit; minus infinity where that is zero,
            as where a transformation of the target is not defined. NaN for samples
            without a prediction.

        Raises
        ------
        ValueError
            If y has not the shape of the predictions.
        TypeError
            If a regressor inside has quantiles of its own and no log density, which
            this one needs.
        """
        shape, log_density = self._density_at(X)
        return density_at(log_density, y, shape)


class WrappingRegressor(DistributionMixin, RegressorMixin, BaseEstimator):
    """Regressor around another one, with a distribution of its own.

    Subclasses define ``_inner`` and ``_fitted_inner``, the regressor before and after
    `fit`, and what `DistributionMixin` needs.
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self._inner)
        tags.input_tags = inner.input_tags
        tags.target_tags.multi_output = inner.target_tags.multi_output
        tags.regressor_tags.poor_score = inner.regressor_tags.poor_score
        tags.non_deterministic = inner.non_deterministic
        return tags

    @property
    def n_features_in_(self):
        """Number of features seen in `fit`, where the inner regressor has it."""
        return self._fitted_inner.n_features_in_

    @property
    def feature_names_in_(self):
        """Names of the features seen in `fit`, where the inner regressor has them."""
        return self._fitted_inner.feature_names_in_


def plain(X, estimator):
    """Return X, converted to floats if it is a table of numbers as Python objects.

    BayesianRidge returns no std for such a table. Structures, which come as lists or in
    one dimension, are never converted.
    """
    table = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype == object
    inputs = get_tags(estimator).input_tags
    if table and inputs.two_d_array and not (inputs.categorical or inputs.string):
        return check_array(X, ensure_all_finite=False, ensure_min_samples=0)
    return X
