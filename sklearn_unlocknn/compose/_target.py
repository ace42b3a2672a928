"""Regression on a transformed target, with uncertainty in target units."""

import functools
import warnings

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.linear_model import BayesianRidge
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from .._prediction import (
    Prediction,
    WrappingRegressor,
    as_columns,
    log_density_of,
    plain,
    predict_distribution,
    quantiles_of,
)
from .._validation import check_targets, check_weights, warn_user
from ._target_map import InverseMap

__all__ = ["ProbTransformedTargetRegressor"]

#: Probability outside the domain of the inverse that `predict` warns of.
_MUCH_OUTSIDE = 0.01


class ProbTransformedTargetRegressor(WrappingRegressor):
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
        Transformer of the target, an array of shape (n_samples, n_outputs), with
        ``inverse_transform``; cloned. It has to map each column on its own and
        monotonically, as StandardScaler, PowerTransformer and QuantileTransformer do.
        Not together with `func`. None, without `func`, is the identity.
    func : callable, default=None
        Transformation of the target, an array of shape (n_samples, n_outputs).
    inverse_func : callable, default=None
        Inverse of `func`.
    check_inverse : bool, default=True
        Warn when the inverse does not return some of the targets to their values.

    Attributes
    ----------
    regressor_ : estimator
        Fitted to the transformed target.
    transformer_ : transformer
        Fitted.
    affine_ : bool
        Whether the transformation is affine: then mean and standard deviation are
        exact, otherwise integrals by quadrature.
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
    With a Gaussian prediction :math:`t \sim N(m, s^2)` of the regressor and the inverse
    transformation g,

    .. math::
        E[y] = \int g(m + s z) \varphi(z) \, dz, \quad
        \mathrm{Var}[y] = \int (g(m + s z) - E[y])^2 \varphi(z) \, dz.

    For affine g these are :math:`g(m)` and :math:`|g'| s`. Otherwise they are computed
    by Gauss-Legendre quadrature [1]_ with 128 nodes over :math:`|z| \le 12`: for
    ``inverse_func=np.exp`` and s up to 2 both agree with the closed form of the
    log-normal to nine digits. Gauss-Hermite nodes fail where the domain of g ends.

    Where `regressor` has ``predict_quantiles`` of another shape, such as the Student t
    that :class:`VGPRegressor` may choose, they are integrals over its quantiles
    :math:`Q`,

    .. math::
        E[y] = \frac{1}{1 - 2 \epsilon} \int_\epsilon^{1 - \epsilon} g(Q(p)) \, dp

    and so on, with :math:`\epsilon = .0005`: of the central 99.9 %, as heavy tails need
    not have moments after a transformation (:math:`e^t` of a Student t has none). Of a
    Student t with three degrees of freedom and an almost straight g they are 9 % below
    the standard deviation of all, with five 2 %.

    `predict` returns :math:`E[y]`, with and without ``return_std``, and not the median
    :math:`g(m)`, as TransformedTargetRegressor does. The median is
    ``predict_quantiles(X, 0.5)``.

    Quantiles and intervals are transformed by g itself, which is exact for monotone g:
    those of the ``predict_quantiles`` of `regressor`, where it has one (such as
    CalibratedProbRegressor), otherwise those of the Gaussian. Densities are those of
    the transformed target divided by the slope of g, and scores such as "neg_nll" are
    of them. Targets that g does not reach, such as those beyond the training targets of
    a QuantileTransformer, have a density of zero and an infinite loss; so have those
    where g is flat.

    A Gaussian is defined everywhere, g may not be: ``inverse_func=np.square`` is not
    monotone at 0, the inverse of Box-Cox not defined beyond :math:`-1 / \lambda`.
    `fit` finds the interval about the targets on which g is defined and monotone. Mean
    and standard deviation are those of the Gaussian truncated to this interval, with a
    warning where more than 1 % of a prediction is outside; quantiles, and moments by
    them, are clipped to its ends. Overflow is infinite. A prediction of NaN stays NaN.
    Next to a pole, such as that of ``np.reciprocal`` at 0, the integrals do not exist
    and their values have no meaning: use quantiles, or a transformation without a pole.

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

    # Weights are for the regressor, whose own request decides.
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

    @property
    def _inner(self):
        if self.regressor is not None:
            return self.regressor
        regressor = BayesianRidge()
        if get_config()["enable_metadata_routing"]:
            regressor.set_fit_request(sample_weight=True)
        return regressor

    @property
    def _fitted_inner(self):
        return self.regressor_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # The transformation can lower the score of any target.
        tags.regressor_tags.poor_score = True
        return tags

    def get_metadata_routing(self):
        """Return the metadata routing of `regressor`.

        Returns
        -------
        routing : MetadataRouter
            scikit-learn's record of it.
        """
        to_fit = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=self).add(
            regressor=self._inner, method_mapping=to_fit
        )

    def fit(self, X, y, sample_weight=None, **fit_params):
        """Fit the transformer and the regressor.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or what `regressor` takes
            Input samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets, in target units.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights for the fit of `regressor`, and of the transformer where it takes
            weights, as StandardScaler does. 0 leaves a sample out of both.
        **fit_params : dict
            For the fit of `regressor`, with metadata routing on request.

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
        t = _transformed(transformer, columns)
        if self.check_inverse:
            _check_inverse(transformer, columns, t)

        regressor = clone(self._inner)
        if weights is not None:
            fit_params["sample_weight"] = weights
        if get_config()["enable_metadata_routing"]:
            fit_params = process_routing(self, "fit", **fit_params).regressor.fit
        regressor.fit(plain(X, self), t.reshape(y.shape), **fit_params)

        self._map = InverseMap.of(transformer, t)
        self.transformer_, self.regressor_ = transformer, regressor
        self.affine_ = self._map.slope is not None
        self._one_output = y.ndim == 1
        return self

    def _fitted_transformer(self, y, weights):
        """Fit the transformer to y of shape (n, k)."""
        if (self.func is None) != (self.inverse_func is None):
            raise ValueError(
                f"Got func={self.func!r} and inverse_func={self.inverse_func!r}, "
                "expected both or none: predictions in target units need the inverse."
            )
        if self.transformer is not None and self.func is not None:
            raise ValueError(
                f"Got transformer={self.transformer!r} and func={self.func!r}, "
                "expected one of them."
            )
        if self.transformer is not None:
            transformer = clone(self.transformer)
        else:
            transformer = FunctionTransformer(
                self.func, self.inverse_func, validate=True
            ).set_output(transform="default")
        if isinstance(transformer, FunctionTransformer):
            # Its own check comes before that of the transformed targets.
            transformer.set_params(check_inverse=False)
        if not hasattr(transformer, "inverse_transform"):
            raise ValueError(
                f"Got transformer={transformer!r}, which has no inverse_transform, "
                "expected a transformer with one."
            )
        with np.errstate(all="ignore"):  # `_transformed` raises
            if weights is None:
                transformer.fit(y)
            elif has_fit_parameter(transformer, "sample_weight"):
                transformer.fit(y, sample_weight=weights)
            else:
                transformer.fit(y[weights > 0])
        return transformer

    def predict(self, X, return_std=False, return_cov=False):
        """Predict the mean and, on request, the standard deviation of the target.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or what `regressor` takes
            Input samples.
        return_std : bool, default=False
            Also return the standard deviation.
        return_cov : bool, default=False
            Not supported: True raises an error.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In target units: the mean, not the median.
        y_std : ndarray of the same shape
            In target units, observation noise included if `regressor` includes it.

        Raises
        ------
        ValueError
            If ``return_cov`` is True.

        Warns
        -----
        UserWarning
            If more than 1 % of a prediction is where the transformation has no
            inverse.
        """
        if return_cov:
            raise ValueError(
                "Got return_cov=True, expected False: a covariance is not carried "
                "through the transformation of the target. Use return_std=True, or the "
                "covariance of `regressor_`, in transformed units."
            )
        mean, std = self._predict_distribution(X)[:2]
        return (mean, std) if return_std else mean

    def _density_at(self, X):
        """Return the shape of predictions and the function of their log density."""
        check_is_fitted(self)
        t = predict_distribution(self.regressor_, plain(X, self))
        log_density = self._log_density(t)
        if log_density is None:
            raise TypeError(
                f"Got the regressor {type(self.regressor_).__name__}, whose quantiles "
                "are known but not its density, expected one with predict_log_density."
            )
        shape = np.shape(t.mean)
        return shape[:1] if self._one_output else shape, log_density

    def _predict_distribution(self, X):
        """Return the `Prediction` of samples."""
        check_is_fitted(self)
        t = predict_distribution(self.regressor_, plain(X, self))
        if t.quantiles is None or self.affine_:
            mean, std, outside = self._map.moments(*as_columns(t[:2]))
        else:
            mean, std, outside = self._map.moments_of_shape(
                functools.partial(quantiles_of, t)
            )
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
        log_density = self._log_density(t)
        if self._one_output:
            mean, std = mean[:, 0], std[:, 0]
            return Prediction(mean, std, lambda q: quantiles(q)[:, :, 0], log_density)
        return Prediction(mean, std, quantiles, log_density)

    def _log_density(self, t):
        """Return the log density of targets as a function, or None."""
        if t.quantiles is not None and t.log_density is None:
            return None

        def log_density(y):
            columns = np.reshape(y, (len(y), -1))
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PowerTransformer warns of NaN
                at = np.asarray(self.transformer_.transform(columns), dtype=np.float64)
            at = at.reshape(columns.shape)
            slope = self._map.log_slope(at, columns).reshape(np.shape(y))
            at = np.where(np.isfinite(at), at, 0.0).reshape(np.shape(t.mean))
            logs = log_density_of(t, at).reshape(np.shape(y)) - slope
            return np.where(np.isneginf(-slope), -np.inf, logs)

        return log_density

    def _quantiles(self, t, q):
        """Return target quantiles (n, len(q), k) of a prediction of the regressor."""
        increasing = self._map.increasing
        # A decreasing map swaps the levels q and 1 - q.
        levels = q if increasing.all() else np.concatenate([q, 1 - q])
        t = quantiles_of(t, levels)
        t = np.where(increasing, t[:, : len(q)], t[:, -len(q) :])
        return self._map.points(t)

    def _quantiles_at(self, X, q):
        """Return quantiles at valid levels."""
        check_is_fitted(self)
        # No moments, and no warning about them.
        prediction = predict_distribution(self.regressor_, plain(X, self))
        quantiles = self._quantiles(prediction, q)
        return quantiles[:, :, 0] if self._one_output else quantiles


def _transformed(transformer, y):
    """Return targets of shape (n, k) transformed; raise unless all are finite."""
    with np.errstate(all="ignore"):
        t = np.asarray(transformer.transform(y), dtype=np.float64)
    if t.size != y.size:
        raise ValueError(
            f"Got a transformed y of shape {t.shape}, expected {y.shape}, one value "
            "for each target."
        )
    t = t.reshape(y.shape)
    bad = np.argwhere(~np.isfinite(t))
    if len(bad):
        sample, column = bad[0]
        raise ValueError(
            f"Got a transformation by which {len(bad)} of {y.size} targets are not "
            f"finite, the first being that of sample {sample}: {y[sample, column]} is "
            f"transformed to {t[sample, column]}. Choose a transformation that is "
            "defined for these targets."
        )
    return t


def _check_inverse(transformer, y, t):
    """Warn if the inverse does not return some transformed targets to their values."""
    some = slice(None, None, max(1, len(y) // 10))
    with np.errstate(all="ignore"):
        back = transformer.inverse_transform(t[some])
    if not np.allclose(y[some], np.reshape(back, y[some].shape)):
        warn_user(
            "Got a transformation whose inverse does not return the targets. If that "
            "is intended, set check_inverse=False."
        )
