"""Recalibration of predicted standard deviations on held-out samples."""

import warnings

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch, _safe_indexing, indexable
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from .._gp.training import LEAST_SUBSET
from .._prediction import (
    Prediction,
    WrappingRegressor,
    as_columns,
    plain,
    predict_mean_std,
    unwrap,
)
from .._validation import check_targets, check_weights
from ..model_selection._cross_val import Split, fit_and_leave_out, fit_part, obstacle
from ._calibrators import calibrate, check_method, recalibrated, standardised

__all__ = ["CalibratedProbRegressor"]

#: Least ratio of all samples to those of the hyperparameters at which folds are taken
#: out of one fit: the hyperparameters do not depend on most samples.
_LEAST_RATIO = 2


class CalibratedProbRegressor(WrappingRegressor):
    r"""Recalibrate the standard deviations of a regressor on held-out samples.

    For any estimator with ``predict(X, return_std=True)``: the counterpart of
    :class:`sklearn.calibration.CalibratedClassifierCV` for regression. Each sample is
    predicted by a model fitted without it. The size of the errors, in units of the
    predicted standard deviation, corrects the model fitted on all samples.

    Parameters
    ----------
    estimator : estimator
        With ``predict(X, return_std=True)`` -> (mean, std), bare or as the last step
        of a Pipeline or inside a search. A :class:`sklearn.frozen.FrozenEstimator` is
        not fitted again: all samples passed to `fit` calibrate it, and must not be
        those that it was fitted on.
    method : {"std", "isotonic", "conformal"}, default="std"
        "std": one factor for all standard deviations, by the held-out likelihood [1]_
        of a Gaussian, or of a Student t where the held-out errors have heavier tails.
        "isotonic": quantile recalibration [2]_ to the distribution of the held-out
        errors, whatever its shape; it moves the mean too. With less than some hundred
        samples it is mostly that of "std".
        "conformal": intervals at ranks of held-out errors, normalised by the standard
        deviation [3]_ [4]_, with guaranteed coverage for a FrozenEstimator; its
        standard deviation and log density are those of "std".
    cv : int, cross-validation generator or iterable, default=5
        How samples are held out: number of folds of a KFold without shuffling, a
        splitter, or pairs of indices (train, test). Ignored with a FrozenEstimator.
        "conformal" needs each sample held out at most once.
    by : {"domain"} or None, default=None
        "domain": standard deviations are first multiplied by a power of themselves,
        fitted to the held-out samples, so that samples which the training data
        determine little have wider intervals. None: the same factor for all samples.

    Attributes
    ----------
    estimator_ : estimator
        Fitted on all samples, or the FrozenEstimator.
    calibrators_ : list of length n_outputs
        The calibration of each output, in units of the predicted standard deviation:
        ``shift``, which is added to the mean, ``factor``, which multiplies the standard
        deviation, ``growth``, which is that power for "domain", and ``dof``, the
        degrees of freedom of the Student t of "std", infinite for a Gaussian.
    n_features_in_ : int
        Where `estimator_` has it.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Where `estimator_` has it.

    See Also
    --------
    sklearn.calibration.CalibratedClassifierCV : For classes.
    sklearn_unlocknn.metrics.calibration_curve : Shows whether recalibration is needed.

    Notes
    -----
    Clones fitted on the folds predict the held-out samples. A regressor of this package
    with at least twice `hyper_subset_size` samples is fitted once instead, and folds
    are taken out of its posterior, as ``method="shared_hyperparameters"`` of
    :func:`~sklearn_unlocknn.model_selection.cross_val_predict_dist` does. That takes a
    quarter of the time, with the hyperparameters of the final model
    (``benchmarks/RESULTS.md``). With fewer samples the hyperparameters depend on all of
    them, and the errors would be too small.

    "std": with :math:`z_i = (y_i - \mu_i) / \sigma_i` of n held-out samples, the factor
    of a Gaussian is :math:`c = \sqrt{\frac1n \sum_i z_i^2}`, at which the negative
    log-likelihood of :math:`(\mu_i, c \sigma_i)` is least. The distribution has the
    degrees of freedom of the regressor's own (``dof_``; infinite, a Gaussian, where it
    has none), unless a Student t of others, three at least, fits the :math:`z_i` better
    by Schwarz's criterion; the factor is the standard deviation of that distribution.
    ``predict``, ``predict_quantiles``, ``predict_log_density``, scorers and displays
    (``from_estimator``) agree with it. A metric of mean and std alone assumes a
    Gaussian: pass it ``quantiles=lambda q: model.predict_quantiles(X, q)`` or
    ``log_density=lambda y: model.predict_log_density(X, y)``.

    "isotonic": with F the distribution function and f the density of "std", the
    recalibrated ones are :math:`R(F(y))` and :math:`R'(F(y)) f(y)`, with R the isotonic
    regression of observed on predicted frequencies: a monotone curve through
    :math:`(F_i(y_i), (i - 1/2) / n)` in order, (0, 0) and (1, 1). For a density R is
    reduced to straight lines between some of these points, at frequencies that are
    halves of halves, where they raise the likelihood by more than a quarter of
    :math:`\log n` each. ``predict`` returns mean and standard deviation, integrals in
    closed form.

    "conformal": the interval of coverage :math:`1 - \alpha` is
    :math:`\mu \pm \hat q \sigma` with :math:`\hat q` the
    :math:`\lceil (1 - \alpha)(n + 1) \rceil`-th smallest :math:`|z_i|`. For a
    FrozenEstimator and exchangeable samples it holds a new target with a probability in
    :math:`[1 - \alpha, 1 - \alpha + 1 / (n + 1)]` [3]_ [4]_. With `cv` the :math:`z_i`
    are those of models fitted on fewer samples: coverage is about :math:`1 - \alpha`
    where the final model is no worse, which no theorem guarantees. (CV+ [5]_ guarantees
    :math:`1 - 2 \alpha`; on bulk moduli its 90 % intervals held 93 %, these 89 %.)
    Coverage is over all samples, not for each x. The interval is infinite, with a
    warning, unless :math:`(n + 1) \alpha \ge 1`. Quantiles are ends of these symmetric
    intervals: single ones are right where errors are symmetric. Such intervals are not
    those of a distribution, and have no density: ``predict_log_density`` and the NLL of
    scorers are those of "std", fitted to the same :math:`z_i`.

    With ``by="domain"`` the methods are applied to :math:`\sigma (\sigma / u)^b` in
    place of :math:`\sigma`, where u is the geometric mean of the held-out
    :math:`\sigma` and :math:`b \ge 0` maximises the likelihood of a Student t of their
    errors; it grows up to the standard deviation of the targets. The domain score is a
    function of :math:`\sigma`, too: errors of samples that are unlike the training
    samples exceed it most. Regressors of this package have such a power already where
    ``likelihood="auto"``. "conformal" takes b from the samples that rank the errors,
    so that its guarantee is approximate.

    A weight of 2 equals the sample twice, also in the guarantee. A sample whose
    held-out prediction is NaN is left out; a prediction of NaN stays NaN.

    References
    ----------
    .. [1] D. Levi, L. Gispan, N. Giladi and E. Fetaya, "Evaluating and calibrating
       uncertainty prediction in regression tasks", Sensors 22, 5540 (2022),
       doi:10.3390/s22155540.
    .. [2] V. Kuleshov, N. Fenner and S. Ermon, "Accurate uncertainties for deep
       learning using calibrated regression", ICML (2018), arXiv:1807.00263.
    .. [3] V. Vovk, A. Gammerman and G. Shafer, "Algorithmic learning in a random
       world", Springer (2005), doi:10.1007/b106715.
    .. [4] J. Lei, M. G'Sell, A. Rinaldo, R. J. Tibshirani and L. Wasserman,
       "Distribution-free predictive inference for regression", J. Am. Stat. Assoc.
       113, 1094 (2018), doi:10.1080/01621459.2017.1307116.
    .. [5] R. F. Barber, E. J. Candes, A. Ramdas and R. J. Tibshirani, "Predictive
       inference with the jackknife+", Ann. Stat. 49, 486 (2021),
       doi:10.1214/20-AOS1965.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn_unlocknn.calibration import CalibratedProbRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = CalibratedProbRegressor(BayesianRidge(), method="conformal")
    >>> mean, std = model.fit(X[:300], y[:300]).predict(X[300:], return_std=True)
    >>> lower, upper = model.predict_interval(X[300:], coverage=0.8).T
    >>> held = ((lower <= y[300:]) & (y[300:] <= upper)).mean()
    >>> round(float(held), 1)
    0.8
    """

    def __init__(self, estimator, *, method="std", cv=5, by=None):
        self.estimator = estimator
        self.method = method
        self.cv = cv
        self.by = by

    @property
    def _inner(self):
        return self.estimator

    @property
    def _fitted_inner(self):
        return self.estimator_

    def get_metadata_routing(self):
        """Return the metadata routing of `estimator` and `cv`.

        Returns
        -------
        routing : MetadataRouter
            scikit-learn's record of it.
        """
        to_fit = MethodMapping().add(caller="fit", callee="fit")
        to_split = MethodMapping().add(caller="fit", callee="split")
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(estimator=self.estimator, method_mapping=to_fit)
            .add(splitter=self.cv, method_mapping=to_split)
        )

    def fit(self, X, y, sample_weight=None, **fit_params):
        """Calibrate on held-out samples and fit on all samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or what `estimator` takes
            Samples; indexed, never converted.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in calibration and, where `estimator` takes them, in
            its fit. 2 equals the sample twice, 0 leaves it out.
        **fit_params : dict
            For the fit of `estimator`; parameters with an entry for each sample are
            split with the samples. With metadata routing also for ``split`` of `cv`.

        Returns
        -------
        self : object
            Fitted.

        Raises
        ------
        ValueError
            If `method` or the data are not valid, no held-out sample has a prediction,
            a predicted std is zero where the prediction is wrong, or "conformal" has a
            splitter that holds samples out more than once.
        TypeError
            If the estimator predicts no std.
        """
        check_method(self.method, self.by)
        y = check_targets(y)
        X, y = indexable(plain(X, self), y)
        weights = check_weights(sample_weight, len(y))
        routed = self._route(None if sample_weight is None else weights, fit_params)

        fit_params = routed.estimator.fit
        model = clone(self.estimator)
        if isinstance(model, FrozenEstimator):
            check_is_fitted(model)
            held_out = [self._predicted(model, X, np.arange(len(y)))]
        else:
            splits = self._splits(X, y, routed.splitter.split)
            if _one_fit_is_enough(model, splits, len(y)):
                tests = [split.test for split in splits]
                mean, *stds = fit_and_leave_out(model, X, y, tests, fit_params)
                mean, std = as_columns((mean, np.hypot(*stds)))
                held_out = [(test, mean[test], std[test]) for test in tests]
            else:
                held_out = []
                for split in splits:
                    train = split.train_samples(len(y))
                    one = fit_part(clone(model), X, y, train, fit_params)
                    held_out.append(self._predicted(one, X, split.test))
                model.fit(X, y, **fit_params)
        inner, _ = unwrap(model, _safe_indexing(X, [0]))
        dof = getattr(inner, "dof_", np.inf)
        calibrators = self._calibrate(y, weights, held_out, dof)

        self.estimator_ = model
        self.calibrators_ = calibrators
        self._one_output = y.ndim == 1
        return self

    def _route(self, sample_weight, fit_params):
        """Return the parameters of the estimator's fit and of the splitter."""
        if get_config()["enable_metadata_routing"]:
            return process_routing(
                self, "fit", sample_weight=sample_weight, **fit_params
            )
        fit_params = dict(fit_params)
        if sample_weight is not None:
            if has_fit_parameter(self.estimator, "sample_weight"):
                fit_params["sample_weight"] = sample_weight
            elif not isinstance(self.estimator, FrozenEstimator):
                warnings.warn(
                    f"Got sample_weight, which {type(self.estimator).__name__}.fit "
                    "does not take: only the calibration is weighted. For a Pipeline "
                    "turn metadata routing on and set_fit_request its last step.",
                    UserWarning,
                    stacklevel=3,
                )
        return Bunch(estimator=Bunch(fit=fit_params), splitter=Bunch(split={}))

    def _splits(self, X, y, split_params):
        """Return the splits of `cv`."""
        splits = [
            Split.of(train, test, len(y))
            for train, test in check_cv(self.cv).split(X, y, **split_params)
        ]
        if self.method == "conformal" and _held_out_twice(splits):
            raise ValueError(
                f"Got cv={self.cv!r}, which holds samples out more than once, "
                'expected at most once for method="conformal": the rank of an '
                "error among them is not its rank among samples. Pass KFold, "
                "GroupKFold, or a single split."
            )
        return splits

    def _predicted(self, model, X, test):
        """Return the indices `test` of held-out samples, and their mean and std."""
        mean, std = as_columns(predict_mean_std(model, _safe_indexing(X, test)))
        return test, mean, std

    def _calibrate(self, y, weights, held_out, dof):
        """Return one calibrator per output, from held-out (indices, mean, std)."""
        y = y.reshape(len(y), -1)
        folds, n_lost, n_held_out = [], 0, 0
        for test, mean, std in held_out:
            if mean.shape != (len(test), y.shape[1]) or std.shape != mean.shape:
                raise ValueError(
                    f"Got predictions of shape {mean.shape} and std of {std.shape} for "
                    f"{len(test)} samples of {y.shape[1]} outputs, expected one of "
                    "each for every target."
                )
            valid = np.isfinite(mean).all(axis=1) & np.isfinite(std).all(axis=1)
            counted = weights[test] > 0
            n_lost += np.sum(counted & ~valid)
            n_held_out += np.sum(counted)
            kept = valid & counted
            z = standardised(y[test][kept], mean[kept], std[kept])
            folds.append((y[test][kept], z, weights[test][kept], std[kept]))
        if n_lost == n_held_out:
            raise ValueError(
                f"Got no finite prediction for any of {n_held_out} held-out samples "
                "of positive weight, expected some to calibrate on."
            )
        if n_lost:
            warnings.warn(
                f"Got no finite prediction for {n_lost} of {n_held_out} held-out "
                "samples: calibrated on the others.",
                UserWarning,
                stacklevel=3,
            )
        together = (np.concatenate(part) for part in zip(*folds, strict=True))
        return calibrate(self.method, self.by, *together, dof)

    def predict(self, X, return_std=False):
        """Predict the mean and, on request, the recalibrated standard deviation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or what `estimator` takes
            Input samples.
        return_std : bool, default=False
            Also return the standard deviation.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Mean of the recalibrated distribution, in target units: "isotonic" moves it.
        y_std : ndarray of the same shape
            In target units, observation noise included if `estimator` includes it.
        """
        mean, std = self._predict_distribution(X)[:2]
        return (mean, std) if return_std else mean

    def _predict_distribution(self, X):
        """Return the `Prediction` of samples."""
        check_is_fitted(self)
        X = plain(X, self)
        columns = as_columns(predict_mean_std(self.estimator_, X))
        found = recalibrated(self.calibrators_, *columns)
        one = 0 if self._one_output else slice(None)
        return Prediction(
            found.mean[:, one], found.std[:, one],
            lambda q: found.quantiles(q)[:, :, one], found.log_density,
        )  # fmt: skip

    def _quantiles_at(self, X, q):
        """Return quantiles at valid levels."""
        return self._predict_distribution(X).quantiles(q)

    def _density_at(self, X):
        """Return the shape of predictions and the function of their log density."""
        prediction = self._predict_distribution(X)
        return prediction.mean.shape, prediction.log_density


def _held_out_twice(splits):
    """Return whether a sample is held out by two splits."""
    held_out = np.concatenate([split.test for split in splits])
    return len(np.unique(held_out)) < len(held_out)


def _one_fit_is_enough(model, splits, n_samples):
    """Return whether folds may be taken out of the posterior of the final fit."""
    size = getattr(model, "hyper_subset_size", LEAST_SUBSET)
    if isinstance(size, str):  # "auto": twice the least is twice the size, too
        size = LEAST_SUBSET
    return (
        obstacle(model, splits) is None
        and not _held_out_twice(splits)
        and n_samples >= _LEAST_RATIO * size
    )
