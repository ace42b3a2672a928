"""Mean and std of any fitted estimator, through pipelines and searches."""

import inspect

from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

_EXPECTED = (
    "expected an estimator with predict(X, return_std=True) -> (mean, std), such as "
    "VGPRegressor, GaussianProcessRegressor or BayesianRidge, bare, as the last step "
    "of a Pipeline, or inside a fitted search"
)


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
    # Pipeline.predict passes keywords on only while metadata routing is off.
    if isinstance(estimator, Pipeline):
        if len(estimator.steps) > 1:
            X = estimator[:-1].transform(X)
        return predict_mean_std(estimator.steps[-1][1], X)
    if isinstance(estimator, FrozenEstimator):
        return predict_mean_std(estimator.estimator, X)

    name = type(estimator).__name__
    if isinstance(estimator, TransformedTargetRegressor):
        raise TypeError(
            f"Got {name}, whose predict cannot return a std: it would have to "
            "transform the pair (mean, std) back, which scikit-learn does not do. "
            "Use the regressor without it (VGPRegressor and GaussianProcessRegressor "
            "have normalize_y=True), or score its `regressor_` against transformed "
            "targets."
        )
    if hasattr(estimator, "refit"):  # a search, whose predict takes no keywords
        if not hasattr(estimator, "best_estimator_"):
            check_is_fitted(estimator)
            raise ValueError(
                f"Got {name} with refit=False, which keeps no estimator to predict "
                "with; expected a search with refit=True or the name of a score."
            )
        return predict_mean_std(estimator.best_estimator_, X)

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


class RecordedPrediction(RegressorMixin, BaseEstimator):
    """A regressor that repeats one prediction, to score it many times.

    Parameters
    ----------
    mean, std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        What `predict` returns, whatever it is given.
    """

    def __init__(self, mean, std):
        self.mean = mean
        self.std = std

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, X, return_std=False):
        """Return the recorded mean, and std when `return_std`."""
        return (self.mean, self.std) if return_std else self.mean
