"""Out-of-fold predictions with uncertainty."""

from typing import NamedTuple

import numpy as np
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch, _safe_indexing, indexable
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.parallel import Parallel, delayed

from .._features.encoder import trained_in_fit
from .._prediction import predict_mean_std, unwrap
from .._regressors.base import BaseVGPRegressor

_METHODS = ("refit", "shared_hyperparameters")


def cross_val_predict_dist(
    estimator,
    X,
    y=None,
    *,
    groups=None,
    cv=None,
    n_jobs=None,
    verbose=0,
    params=None,
    method="refit",
    components=False,
):
    """Predict mean and standard deviation of each sample by a model fitted without it.

    As ``sklearn.model_selection.cross_val_predict``, with the uncertainty.

    Parameters
    ----------
    estimator : estimator
        One with ``predict(X, return_std=True)``, bare, as the last step of a
        Pipeline, or in a search. It is cloned, never fitted itself.
    X : array-like of shape (n_samples, n_features), or what `estimator` takes
        Samples: also a list, Series or object array of structures, or a frame.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Targets.
    groups : array-like of shape (n_samples,), default=None
        Groups for `cv`. With metadata routing on, pass them in `params`.
    cv : int, cross-validation generator or iterable of (train, test), default=None
        Folds, which must hold out every sample once. None is 5 folds without shuffling:
        for sorted samples pass ``KFold(5, shuffle=True)``.
    n_jobs : int, default=None
        Folds fitted at the same time by "refit". "shared_hyperparameters" has one fit,
        which runs on the threads of BLAS.
    verbose : int, default=0
        Verbosity of "refit", as joblib's.
    params : dict, default=None
        Arguments of ``fit``, such as ``{"sample_weight": w}``: those with a value
        for each sample are split with the samples. With metadata routing on, also
        arguments of the splitter.
    method : {"refit", "shared_hyperparameters"}, default="refit"
        "refit" clones and fits `estimator` for every fold. "shared_hyperparameters",
        for this package's regressors, fits once to all samples and then takes each fold
        out of the posterior: faster, but hyperparameters, standardisation and inducing
        points have seen the samples that are left out, so that errors are too small;
        see Notes.
    components : bool, default=False
        Also return the two parts of the standard deviation, for estimators with
        ``predict_components`` (this package's).

    Returns
    -------
    prediction : Bunch
        In the order of the samples, NaN for samples that `estimator` cannot predict
        (``on_error="nan"``):

        mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In target units.
        std : ndarray of the same shape
            In target units, as ``predict(X, return_std=True)`` returns it: with this
            package's regressors observation noise is included.
        epistemic_std, aleatoric_std : ndarray of the same shape
            Of the function and of the noise. Only with ``components=True``.
        fold : ndarray of shape (n_samples,), int
            Number of the fold that held the sample out.

    Raises
    ------
    TypeError
        If `estimator` predicts no std, or no components with ``components=True``.
    ValueError
        If the folds do not hold out every sample once, or
        ``method="shared_hyperparameters"`` is not possible; the message has the reason.

    See Also
    --------
    sklearn_unlocknn.metrics.uq_report : Report of accuracy and calibration.
    sklearn.model_selection.cross_val_predict : Mean alone.

    Notes
    -----
    "shared_hyperparameters" fits hyperparameters, noise, standardisation and inducing
    points to all samples. The posterior and the coefficients of the prior mean are then
    those of the other folds, exactly: they equal a refit with these hyperparameters and
    points, by subtracting the fold's sufficient statistics or, for a fold with fewer
    samples than points and for the exact GP, by the block form of leaving samples out
    [1]_. All folds together cost less than a second fit, for the exact GP also with
    ``LeaveOneOut()``; .7 of one where the pass over the samples is most of a fit
    (60000 samples, 1000 points; two with ``LeaveOneOut()``). The network runs once over
    the samples.

    The hyperparameters depend on the fold: a few numbers for a kernel with one length
    scale, some for each feature with the default kernel. Its scores are therefore
    better than those of "refit", with few samples far too good: with the default kernel
    and 30 samples of UCI energy NLL 2.24 for 2.80 by "refit" and 2.81 on new samples,
    with thousands of samples within .06 (``benchmarks/RESULTS.md``). Report
    the scores of "refit", and compare by it kernels with many hyperparameters.

    "shared_hyperparameters" is an error where more would depend on the fold: a network
    that is trained in ``fit`` (an estimator as ``network``) or fine-tuned, a Pipeline,
    whose steps would be fitted to all samples, training sets that are not all samples
    of the other folds, and subclasses that define ``fit``. With a network that was
    trained on these samples beforehand, scores of both methods are too good.

    References
    ----------
    .. [1] C. Rasmussen, C. Williams, "Gaussian processes for machine learning", MIT
       Press 2006, section 5.4.2.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_unlocknn import VGPRegressor
    >>> from sklearn_unlocknn.metrics import interval_coverage
    >>> from sklearn_unlocknn.model_selection import cross_val_predict_dist
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = VGPRegressor("rbf", random_state=0)
    >>> prediction = cross_val_predict_dist(model, X, y, cv=5)
    >>> prediction.mean.shape, prediction.std.shape
    ((442,), (442,))
    >>> coverage = interval_coverage(y, prediction.mean, prediction.std, coverage=0.9)
    >>> bool(0.85 < coverage < 0.95)
    True
    """
    if method not in _METHODS:
        raise ValueError(f"Got method={method!r}, expected one of {list(_METHODS)}.")
    X, y = indexable(X, y)
    n = _length(X)
    split_params, fit_params = _route(estimator, cv, groups, params)
    cv = check_cv(cv, y, classifier=is_classifier(estimator))
    splits = [
        Split.of(train, test, n) for train, test in cv.split(X, y, **split_params)
    ]
    fold = _fold_of_samples(splits, n)

    if method == "refit":
        parts = _refit(estimator, X, y, splits, fit_params, components, n_jobs, verbose)
    else:
        reason = obstacle(estimator, splits)
        if reason:
            raise ValueError(
                f"Got method={method!r}, which is not possible: {reason}. Use "
                'method="refit".'
            )
        parts = _leave_out(estimator, X, y, splits, fit_params, components)
    return Bunch(**parts, fold=fold)


def _route(estimator, cv, groups, params):
    """Return the arguments of ``cv.split`` and those of ``estimator.fit``."""
    params = {} if params is None else dict(params)
    if not get_config()["enable_metadata_routing"]:
        return {"groups": groups}, params
    if groups is not None:
        raise ValueError(
            "Got `groups` with metadata routing enabled, expected it in `params`: "
            "pass params={'groups': groups}."
        )
    router = MetadataRouter(owner="cross_val_predict_dist")
    to_split = MethodMapping().add(caller="fit", callee="split")
    to_fit = MethodMapping().add(caller="fit", callee="fit")
    router.add(splitter=cv, method_mapping=to_split)
    router.add(estimator=estimator, method_mapping=to_fit)
    routed = process_routing(router, "fit", **params)
    return routed.splitter.split, routed.estimator.fit


def _length(X):
    """Return the number of samples of an array, a frame or a list."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


class Split(NamedTuple):
    """The samples that a fold holds out, and its training set if not all others."""

    test: np.ndarray
    train: np.ndarray | None
    complete: bool

    @classmethod
    def of(cls, train, test, n):
        """Make a split, without a training set that is all other samples."""
        train, test = np.arange(n)[train], np.arange(n)[test]
        others = _others(test, n)
        if np.array_equal(train, others):
            return cls(test, None, True)
        return cls(test, train, np.array_equal(np.sort(train), others))

    def train_samples(self, n):
        """Return the training set."""
        return _others(self.test, n) if self.train is None else self.train


def _others(test, n):
    """Return the samples that are not held out."""
    stays = np.ones(n, dtype=bool)
    stays[test] = False
    return np.flatnonzero(stays)


def _fold_of_samples(splits, n):
    """Return the number of the fold of each sample."""
    times = np.bincount(np.concatenate([split.test for split in splits]), minlength=n)
    if np.any(times != 1):
        sample = int(np.argmax(times != 1))
        raise ValueError(
            f"Got folds that hold out sample {sample} {times[sample]} times "
            f"({np.sum(times != 1)} of {n} samples are not held out once), expected "
            "each sample in one test set. Use KFold, GroupKFold, LeaveOneOut or "
            "PredefinedSplit, not shuffled or repeated splits."
        )
    fold = np.empty(n, dtype=int)
    for number, split in enumerate(splits):
        fold[split.test] = number
    return fold


# --- refit -----------------------------------------------------------------------


def _refit(estimator, X, y, splits, fit_params, components, n_jobs, verbose):
    """Fit a clone for every fold."""
    n = _length(X)
    splits = [split for split in splits if len(split.test)]
    parts = Parallel(n_jobs=n_jobs, verbose=verbose)(
        delayed(_fit_and_predict)(
            clone(estimator), X, y, n, split, fit_params, components
        )
        for split in splits
    )
    order = np.argsort(np.concatenate([split.test for split in splits]))
    return {
        name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]
    }


def _fit_and_predict(estimator, X, y, n, split, fit_params, components):
    """Fit to the samples of other folds and predict those of this one."""
    fit_part(estimator, X, y, split.train_samples(n), fit_params)
    X = _safe_indexing(X, split.test)
    if components:
        return _parts(*_predict_components(estimator, X), components)
    mean, std = predict_mean_std(estimator, X)
    return {"mean": np.asarray(mean), "std": np.asarray(std)}


def fit_part(estimator, X, y, train, fit_params):
    """Fit to the samples `train`, with their part of parameters for each sample."""
    n = _length(X)
    fit_params = {name: _part_of(value, train, n) for name, value in fit_params.items()}
    y = None if y is None else _safe_indexing(y, train)
    return estimator.fit(_safe_indexing(X, train), y, **fit_params)


def _part_of(value, index, n):
    """Index an argument of fit if it has a value for each of n samples."""
    try:
        length = _length(value)
    except (TypeError, IndexError):  # a number, an array of no dimension
        return value
    is_array = not isinstance(value, str | dict)
    return _safe_indexing(value, index) if is_array and length == n else value


def _predict_components(estimator, X):
    """Call ``predict_components`` through pipelines and searches."""
    estimator, X = unwrap(estimator, X)
    if not hasattr(estimator, "predict_components"):
        raise TypeError(
            f"Got components=True with {type(estimator).__name__}, which has no "
            "predict_components. Use components=False, or a regressor of this package."
        )
    return estimator.predict_components(X)


# --- shared hyperparameters ------------------------------------------------------


def obstacle(estimator, splits):
    """Return the reason why folds cannot be taken out of one fit, or None."""
    name = type(estimator).__name__
    if not isinstance(estimator, BaseVGPRegressor):
        return f"{name} is not one of this package's regressors by itself"
    if any(
        getattr(type(estimator), method) is not getattr(BaseVGPRegressor, method)
        for method in ("fit", "predict", "predict_components")
    ):
        return f"{name} defines a fit or a prediction of its own"
    trained = trained_in_fit(getattr(estimator, "network", None))
    if trained is not None:
        name = type(trained).__name__
        return f"the network, {name}, is trained in fit, on all samples"
    if getattr(estimator, "fine_tuning", None) is not None:
        return "fine-tuning would train the network on all samples"
    for number, split in enumerate(splits):
        if not split.complete:
            return (
                f"the training set of fold {number} is not all samples that the fold "
                "does not hold out"
            )
    return None


def _leave_out(estimator, X, y, splits, fit_params, components):
    """Fit once, then take each fold out of the posterior."""
    tests = [split.test for split in splits]
    left_out = fit_and_leave_out(clone(estimator), X, y, tests, fit_params)
    return _parts(*left_out, components)


def fit_and_leave_out(model, X, y, folds, fit_params):
    """Fit a regressor and predict each sample from the posterior without its fold.

    `folds` are disjoint index arrays of samples to leave out together. Returns mean,
    epistemic and aleatoric std in target units, which have no meaning for a sample in
    no fold. `model` is fitted here; `obstacle` must be None for it.
    """
    training = model._fit(X, y, **fit_params)
    return model._head.leave_out(*training, folds)


def _parts(mean, epistemic, aleatoric, components):
    """Return mean, std and, on request, its two parts by name."""
    std = np.sqrt(epistemic**2 + aleatoric**2)
    parts = {"mean": mean, "std": std}
    if components:
        parts |= {"epistemic_std": epistemic, "aleatoric_std": aleatoric}
    return parts
