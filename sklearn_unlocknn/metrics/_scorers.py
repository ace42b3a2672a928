"""Scorers: the metrics as callables for searches and cross-validation."""

import copy
import inspect
from collections.abc import Mapping

from sklearn.metrics import get_scorer
from sklearn.utils.metadata_routing import MetadataRequest

from .._prediction import RecordedPrediction, own_keywords, predict_distribution
from ._calibration import (
    miscalibration_area,
    root_mean_squared_calibration_error,
    summed_calibration_error,
)
from ._intervals import interval_coverage_error, interval_score
from ._ranking import error_uncertainty_correlation, sparsification_error
from ._scores import gaussian_crps, gaussian_nll, mean_standardized_log_loss
from ._sharpness import sharpness


class _WeightRequestMixin:
    """Mixin of scorers that take `sample_weight` by metadata routing."""

    # None, scikit-learn's own default: an error if weights are passed unrequested.
    _sample_weight_request = None

    def set_score_request(self, *, sample_weight):
        """Set whether a meta-estimator passes `sample_weight` to this scorer.

        Parameters
        ----------
        sample_weight : bool, str or None
            True to request it, False to ignore it, a str to request it under another
            name, None to raise when it is passed.

        Returns
        -------
        self : scorer
            The same scorer, changed.
        """
        self._sample_weight_request = sample_weight
        return self

    def get_metadata_routing(self):
        """Return the metadata that this scorer requests.

        Returns
        -------
        routing : MetadataRequest
            scikit-learn's record of it.
        """
        request = MetadataRequest(owner=repr(self))
        request.score.add_request(
            param="sample_weight", alias=self._sample_weight_request
        )
        return request


class _ProbScorer(_WeightRequestMixin):
    """Callable that scores mean and std; made by :func:`make_prob_scorer`."""

    def __init__(self, metric, greater_is_better, kwargs):
        self._metric = metric
        self._greater_is_better = greater_is_better
        self._kwargs = kwargs

    def __call__(self, estimator, X, y, sample_weight=None):
        """Score a fitted estimator on data; higher is better."""
        prediction = predict_distribution(estimator, X)
        kwargs = {**own_keywords(self._metric, prediction), **self._kwargs}
        if sample_weight is not None:
            kwargs["sample_weight"] = sample_weight
        value = float(self._metric(y, *prediction[:2], **kwargs))
        return value if self._greater_is_better else -value

    def __repr__(self):
        metric = getattr(self._metric, "__name__", repr(self._metric))
        kwargs = "".join(f", {name}={value!r}" for name, value in self._kwargs.items())
        return (
            f"make_prob_scorer({metric}, "
            f"greater_is_better={self._greater_is_better}{kwargs})"
        )


class _ProbMultiScorer(_WeightRequestMixin):
    """Callable that returns a dict of scores; made by :func:`prob_scoring`."""

    def __init__(self, scorers):
        self._scorers = scorers

    def __call__(self, estimator, X, y, sample_weight=None):
        """Score a fitted estimator on data by every metric, predicting once."""
        recorded = RecordedPrediction(*predict_distribution(estimator, X))
        kwargs = {} if sample_weight is None else {"sample_weight": sample_weight}
        return {
            name: float(scorer(recorded, X, y, **kwargs))
            for name, scorer in self._scorers.items()
        }

    def __repr__(self):
        return f"prob_scoring({list(self._scorers)})"


def make_prob_scorer(metric, *, greater_is_better, **kwargs):
    """Make a scorer from a metric of mean and std.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_pred, y_std, **kwargs) -> float``, with a `sample_weight`
        keyword for weights, and `quantiles`, as that of :func:`interval_score`, or
        `log_density`, as that of :func:`gaussian_nll`, for the estimator's own
        distribution. At module level, so that it pickles.
    greater_is_better : bool
        False for a loss: the scorer returns minus the metric. No default, because a
        search with the wrong one silently selects the worst model.
    **kwargs : object
        Further keywords of `metric`, such as ``coverage=0.8``.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None) -> float``, for `scoring=` in
        scikit-learn. Higher is better. It pickles.

    Raises
    ------
    TypeError
        When `metric` is not callable or does not take the keywords. On scoring: when
        the estimator has no ``predict(X, return_std=True)``.

    See Also
    --------
    get_prob_scorer : Ready-made ones, by name.
    prob_scoring : Several scores from one prediction.

    Notes
    -----
    ``sklearn.metrics.make_scorer`` does not support the std. This scorer works for any
    estimator with ``predict(X, return_std=True)``, also as the last step of a
    Pipeline (metadata routing on or off), inside a fitted search, or frozen. For
    weighted scoring under metadata routing call
    ``scorer.set_score_request(sample_weight=True)``.

    Metrics with a `quantiles` keyword use the estimator's ``predict_quantiles`` where
    it has one, and those with `log_density` that of this package's regressors.
    ``quantiles=None`` and ``log_density=None`` score the Gaussian of mean and std
    instead.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn_unlocknn.metrics import interval_score, make_prob_scorer
    >>> X, y = load_diabetes(return_X_y=True)
    >>> scorer = make_prob_scorer(
    ...     interval_score, greater_is_better=False, coverage=0.8
    ... )
    >>> scorer
    make_prob_scorer(interval_score, greater_is_better=False, coverage=0.8)
    >>> cross_val_score(BayesianRidge(), X, y, cv=3, scoring=scorer).round(-1)
    array([-190., -200., -190.])
    """
    if not callable(metric):
        raise TypeError(
            f"Got metric={metric!r}, expected a callable metric(y_true, y_pred, "
            "y_std). For a name use get_prob_scorer."
        )
    try:
        signature = inspect.signature(metric)
    except ValueError:  # some compiled callables have none
        signature = None
    if signature is not None:
        try:
            signature.bind(None, None, None, **kwargs)
        except TypeError as error:
            raise TypeError(
                f"Got a metric of signature {signature} and keywords "
                f"{sorted(kwargs)}, expected metric(y_true, y_pred, y_std, "
                f"**keywords): {error}."
            ) from error
    return _ProbScorer(metric, greater_is_better, kwargs)


PROB_SCORERS = {
    f"neg_{name}": make_prob_scorer(loss, greater_is_better=False)
    for name, loss in {
        "nll": gaussian_nll,
        "crps": gaussian_crps,
        "msll": mean_standardized_log_loss,
        "interval_score": interval_score,
        "interval_coverage_error": interval_coverage_error,
        "miscalibration_area": miscalibration_area,
        "root_mean_squared_calibration_error": root_mean_squared_calibration_error,
        "summed_calibration_error": summed_calibration_error,
        "sharpness": sharpness,
        "sparsification_error": sparsification_error,
    }.items()
}
PROB_SCORERS["error_uncertainty_correlation"] = make_prob_scorer(
    error_uncertainty_correlation, greater_is_better=True
)


def get_prob_scorer(name):
    """Return the scorer of mean and std of a name.

    Parameters
    ----------
    name : str
        A key of ``PROB_SCORERS``.

    Returns
    -------
    scorer : callable
        A copy: its `set_score_request` changes no other scorer.

    Raises
    ------
    ValueError
        When there is no scorer of that name.

    Notes
    -----
    Scores are of the estimator's own distribution where it has one: "neg_crps" and
    those of intervals and calibration by its ``predict_quantiles``, "neg_nll" and
    "neg_msll" by its log density. Other estimators have a Gaussian of their mean and
    standard deviation.

    Select models by a proper score ("neg_nll", "neg_crps", "neg_interval_score"). The
    others measure one property only: "neg_sharpness", for example, is best for a model
    with a std of zero.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import get_prob_scorer
    >>> get_prob_scorer("neg_nll")
    make_prob_scorer(gaussian_nll, greater_is_better=False)
    """
    if not isinstance(name, str) or name not in PROB_SCORERS:
        raise ValueError(f"Got {name!r}, expected one of {sorted(PROB_SCORERS)}.")
    return copy.deepcopy(PROB_SCORERS[name])


def prob_scoring(names):
    """Make one scorer that returns several scores from one prediction.

    Parameters
    ----------
    names : list of str, str or dict
        Names of ``PROB_SCORERS`` and of scikit-learn's scorers of a point prediction
        ("r2", "neg_mean_absolute_error", ...), which score the mean. Or a dict from
        names of your choice to such names or to scorers.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None) -> dict``, for `scoring=` in
        scikit-learn. Higher is better. It pickles.

    Raises
    ------
    ValueError
        When there are no names, a name twice, or an unknown one.
    TypeError
        When a scorer is neither a name nor callable.

    See Also
    --------
    make_prob_scorer : For a metric of your own, or other keywords.

    Notes
    -----
    A search needs ``refit="neg_nll"`` or another of the names. Scorers are called with
    an estimator that returns the recorded prediction.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn.model_selection import cross_validate
    >>> from sklearn_unlocknn.metrics import prob_scoring
    >>> X, y = load_diabetes(return_X_y=True)
    >>> scores = cross_validate(
    ...     BayesianRidge(), X, y, cv=3, scoring=prob_scoring(["neg_nll", "r2"])
    ... )
    >>> scores["test_neg_nll"].round(1)
    array([-5.4, -5.5, -5.4])
    """
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, Mapping):
        names = list(names)
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise ValueError(
                f"Got {sorted(map(str, repeated))} more than once, expected each once."
            )
        names = {name: name for name in names}
    if not names:
        raise ValueError(
            "Got no names, expected at least one, such as "
            "prob_scoring(['neg_nll', 'neg_crps'])."
        )
    return _ProbMultiScorer({name: _resolve(scorer) for name, scorer in names.items()})


def _resolve(scorer):
    if isinstance(scorer, str):
        if scorer in PROB_SCORERS:
            return get_prob_scorer(scorer)
        try:
            return get_scorer(scorer)
        except ValueError as error:
            raise ValueError(
                f"Got {scorer!r}, expected one of {sorted(PROB_SCORERS)} or a name "
                "from sklearn.metrics.get_scorer_names()."
            ) from error
    if not callable(scorer):
        raise TypeError(f"Got {scorer!r}, expected the name of a scorer or a scorer.")
    return scorer
