"""Regression on a transformed target, with the uncertainty transformed back."""

import functools
import warnings

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.linear_model import BayesianRidge
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from .._prediction import (
    as_columns,
    check_coverage,
    check_levels,
    interval_levels,
    plain,
    predict_distribution,
    quantiles_of,
)
from .._validation import check_targets, check_weights
from ._target_map import TargetMap

__all__ = ["ProbTransformedTargetRegressor"]

_MUCH_OUTSIDE = 0.01


class ProbTransformedTargetRegressor(RegressorMixin, BaseEstimator):
    r"""Fit a regressor to a transformed target; transform mean and std back.

    :class:`sklearn.compose.TransformedTargetRegressor` for any regressor with
    ``predict(X, return_std=True)``, so that intervals and scores of skewed targets are
    in target units.

    Parameters
    ----------
    regressor : estimator, default=None
        With ``predict(X, return_std=True)`` -> (mean, std); cloned. None is
        :class:`sklearn.linear_model.BayesianRidge`.
    transformer : transformer, default=None
        Of the target as an array of shape (n_samples, n_outputs), with
        ``inverse_transform``; cloned. It has to map each column on its own and
        monotonically: StandardScaler, PowerTransformer, QuantileTransformer, ...
        Not together with `func`. None, without `func`, is the identity.
    func : callable, default=None
        Maps an array of shape (n_samples, n_outputs) before `regressor` sees it.
    inverse_func : callable, default=None
        Its inverse.
    check_inverse : bool, default=True
        Warn where inverse and transformation do not give back some of the targets.

    Attributes
    ----------
    regressor_ : estimator
        Fitted to the transformed target.
    transformer_ : transformer
        Fitted.
    affine_ : bool
        Whether the transformation was found to be affine: then mean and standard
        deviation are exact, otherwise integrals by quadrature.
    n_features_in_ : int
        Where `regressor_` has it.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Where `regressor_` has it.

    See Also
    --------
    sklearn.compose.TransformedTargetRegressor : Without standard deviations.
    sklearn_unlocknn.calibration.CalibratedProbRegressor : Around it or inside.

    Notes
    -----
    The regressor's prediction is read as a normal variable
    :math:`t \sim N(m, s^2)`, and with g the inverse transformation

    .. math::
        E[y] = \int g(m + s z) \varphi(z) \, dz, \quad
        \mathrm{Var}[y] = \int (g(m + s z) - E[y])^2 \varphi(z) \, dz.

    For affine g these are :math:`g(m)` and :math:`|g'| s`. For others they are taken
    by Gauss-Legendre quadrature [1]_ with 128 nodes over :math:`|z| \le 12`: for
    ``inverse_func=np.exp`` and s up to 2 both agree with the log-normal's closed form
    to nine digits. Gauss-Hermite nodes would do as well there, but not where the
    domain of g ends.

    `predict` gives :math:`E[y]`, with and without ``return_std``: not
    :math:`g(m)`, the median, as TransformedTargetRegressor does. For the median ask
    ``predict_quantiles(X, 0.5)``.

    Quantiles and intervals go through g itself, which is exact for monotone g. Where
    `regressor` has its own ``predict_quantiles`` (CalibratedProbRegressor, for one)
    they are taken from there, otherwise from the normal.

    A normal reaches everywhere, g may not: ``inverse_func=np.square`` folds back
    below 0, that of Box-Cox is not defined beyond :math:`-1 / \lambda`. In `fit`
    the interval about the targets on which g is defined and monotone is found. Mean
    and standard deviation are those of the normal within, with a warning where more
    than 1 % of a prediction is not; quantiles beyond are set to its ends. Overflow
    gives infinity. A prediction of NaN stays NaN. Next to a pole, as that of
    ``np.reciprocal`` at 0, the integrals do not exist and no figure for them means
    anything: use quantiles, or a transformation without one.

    References
    ----------
    .. [1] P. J. Davis and P. Rabinowitz, "Methods of numerical integration", 2nd ed.,
       Academic Press (1984).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn_unlocknn.compose import ProbTransformedTargetRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 1))
    >>> y = np.exp(X[:, 0] + 0.5 * rng.normal(size=200))
    >>> model = ProbTransformedTargetRegressor(
    ...     BayesianRidge(), func=np.log, inverse_func=np.exp
    ... ).fit(X, y)
    >>> mean, std = model.predict([[1.0]], return_std=True)
    >>> mean.round(1), std.round(1)
    (array([2.9]), array([1.6]))
    >>> model.predict_interval([[1.0]], coverage=0.9).round(1)
    array([[1.1, 5.8]])
    """

    # Weights are for the regressor, which says itself whether it wants them.
    __metadata_request__fit = {"sample_weight": UNUSED}

    def __init__(
        self,
        regressor=None,
        *,
        transformer=None,
        func=None,
        inverse_func=None,
        check_inverse=True,
    ):
        self.regressor = regressor
        self.transformer = transformer
        self.func = func
        self.inverse_func = inverse_func
        self.check_inverse = check_inverse

    def _regressor(self):
        if self.regressor is not None:
            return self.regressor
        regressor = BayesianRidge()
        if get_config()["enable_metadata_routing"]:
            regressor.set_fit_request(sample_weight=True)
        return regressor

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self._regressor())
        tags.input_tags = inner.input_tags
        tags.target_tags.multi_output = inner.target_tags.multi_output
        tags.non_deterministic = inner.non_deterministic
        # What a transformation does to a score depends on the target.
        tags.regressor_tags.poor_score = True
        return tags

    @property
    def n_features_in_(self):
        """Number of features seen in `fit`, where `regressor_` has it."""
        return self.regressor_.n_features_in_

    @property
    def feature_names_in_(self):
        """Names of the features seen in `fit`, where `regressor_` has them."""
        return self.regressor_.feature_names_in_

    def get_metadata_routing(self):
        """Return which metadata go where.

        Returns
        -------
        routing : MetadataRouter
            scikit-learn's record of it.
        """
        to_fit = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=self).add(
            regressor=self._regressor(), method_mapping=to_fit
        )

    def fit(self, X, y, sample_weight=None, **fit_params):
        """Fit transformer and regressor.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or what `regressor` takes
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets, in target units.
        sample_weight : array-like of shape (n_samples,), default=None
            For the fit of `regressor`, and of the transformer where it takes weights,
            as StandardScaler does. 0 leaves a row out of both.
        **fit_params : dict
            For the fit of `regressor`, by request with metadata routing.

        Returns
        -------
        self : object
            Fitted.

        Raises
        ------
        ValueError
            If the parameters contradict each other, y cannot be used or transformed,
            or the inverse mixes columns or is not monotone where the targets are.
        """
        y = check_targets(y)
        columns = y.reshape(len(y), -1)
        weights = sample_weight
        if weights is not None:
            weights = check_weights(weights, len(y))
        transformer = self._fitted_transformer(columns, weights)
        with np.errstate(all="ignore"):  # the log of a negative target: see below
            t = np.asarray(transformer.transform(columns), dtype=np.float64)
        if t.shape not in (columns.shape, y.shape) or not np.isfinite(t).all():
            raise ValueError(
                f"Got a transformed y of shape {t.shape} with "
                f"{np.sum(~np.isfinite(t))} values that are not finite, expected "
                f"shape {columns.shape} and all finite. Choose a transformation that "
                "is defined for these targets."
            )
        t = t.reshape(columns.shape)

        regressor = clone(self._regressor())
        if weights is not None:
            fit_params["sample_weight"] = weights
        if get_config()["enable_metadata_routing"]:
            fit_params = process_routing(self, "fit", **fit_params).regressor.fit
        regressor.fit(plain(X, self), t.reshape(y.shape), **fit_params)

        self._map = TargetMap.of(transformer, t)
        self.transformer_, self.regressor_ = transformer, regressor
        self.affine_ = self._map.slope is not None
        self._one_output = y.ndim == 1
        return self

    def _fitted_transformer(self, y, weights):
        """Fit the transformer to y of shape (n, k); check its inverse if asked to."""
        if (self.func is None) != (self.inverse_func is None):
            raise ValueError(
                f"Got func={self.func!r} and inverse_func={self.inverse_func!r}, "
                "expected both or none: without the inverse no prediction comes back "
                "to target units."
            )
        if self.transformer is not None and self.func is not None:
            raise ValueError(
                f"Got transformer={self.transformer!r} and func={self.func!r}, "
                "expected one of them."
            )
        if self.transformer is not None:
            transformer = clone(self.transformer)
        else:
            # Its own check would warn a second time.
            transformer = FunctionTransformer(
                self.func, self.inverse_func, validate=True, check_inverse=False
            ).set_output(transform="default")
        if not hasattr(transformer, "inverse_transform"):
            raise ValueError(
                f"Got transformer={transformer!r}, which has no inverse_transform, "
                "expected one that has."
            )
        with np.errstate(all="ignore"):  # `fit` says what is not finite
            if weights is None:
                transformer.fit(y)
            elif has_fit_parameter(transformer, "sample_weight"):
                transformer.fit(y, sample_weight=weights)
            else:
                transformer.fit(y[weights > 0])
            if self.check_inverse:
                some = y[:: max(1, len(y) // 10)]
                back = transformer.inverse_transform(transformer.transform(some))
                if not np.allclose(some, np.reshape(back, some.shape)):
                    warnings.warn(
                        "Got a transformation whose inverse does not give back the "
                        "targets. If that is meant, set check_inverse=False.",
                        UserWarning,
                        stacklevel=3,
                    )
        return transformer

    def predict(self, X, return_std=False, return_cov=False):
        """Predict mean and, if asked, standard deviation of the target.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or what `regressor` takes
            Rows to predict.
        return_std : bool, default=False
            Also return the standard deviation.
        return_cov : bool, default=False
            Refused: between rows only standard deviations are known.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In target units: the mean, not the median.
        y_std : ndarray of the same shape
            In target units, observation noise included if `regressor` includes it.

        Raises
        ------
        ValueError
            If ``return_cov`` is asked for.

        Warns
        -----
        UserWarning
            If more than 1 % of a prediction is where the transformation has no
            inverse.
        """
        if return_cov:
            raise ValueError(
                "Got return_cov=True, expected False: a covariance is not carried "
                "through the transformation of the target. Ask for return_std, or for "
                "the covariance of `regressor_`, in transformed units."
            )
        mean, std, _ = self._predict_distribution(X)
        return (mean, std) if return_std else mean

    def _predict_distribution(self, X):
        """Return mean, std and quantiles, a function of levels, of one prediction."""
        check_is_fitted(self)
        t = predict_distribution(self.regressor_, plain(X, self))
        mean, std, outside = self._map.moments(*as_columns(t[:2]))
        n_outside = np.sum((outside > _MUCH_OUTSIDE).any(axis=1))
        if n_outside:
            warnings.warn(
                f"Got {n_outside} of {len(mean)} predictions of which more than "
                f"{_MUCH_OUTSIDE:.0%} (up to {np.nanmax(outside):.0%}) is where the "
                "transformation of the target has no inverse: mean and std are of the "
                "rest. Another transformation may suit the target better.",
                UserWarning,
                stacklevel=3,
            )
        quantiles = functools.partial(self._quantiles, t)
        if self._one_output:
            return mean[:, 0], std[:, 0], lambda q: quantiles(q)[:, :, 0]
        return mean, std, quantiles

    def _quantiles(self, t, q):
        """Bring quantiles of a prediction of the regressor back, (n, len(q), k)."""
        increasing = self._map.increasing
        # Where large becomes small, so does the quantile.
        levels = q if increasing.all() else np.concatenate([q, 1 - q])
        t = quantiles_of(t, levels)
        t = np.where(increasing, t[:, : len(q)], t[:, -len(q) :])
        return self._map.points(t)

    def predict_quantiles(self, X, q):
        """Predict quantiles of the target.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or what `regressor` takes
            Rows to predict.
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
        check_is_fitted(self)
        q = check_levels(q)
        # No moments, and no warning about them.
        prediction = predict_distribution(self.regressor_, plain(X, self))
        quantiles = self._quantiles(prediction, q)
        return quantiles[:, :, 0] if self._one_output else quantiles

    def predict_interval(self, X, coverage=0.95):
        """Predict the central interval that holds a new observation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or what `regressor` takes
            Rows to predict.
        coverage : float, default=0.95
            Probability that the interval holds, in (0, 1).

        Returns
        -------
        interval : ndarray of shape (n_samples, 2) or (n_samples, 2, n_outputs)
            Lower and upper end, in target units.

        Raises
        ------
        ValueError
            If ``coverage`` is not inside (0, 1).
        """
        return self.predict_quantiles(X, interval_levels(check_coverage(coverage)))
