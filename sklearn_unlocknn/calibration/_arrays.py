"""Recalibration of standard deviations that another program made."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .._prediction import check_coverage, check_levels, density_at, interval_levels
from .._validation import check_targets, check_weights
from ._calibrators import calibrate, check_method, recalibrated, standardised


class ErrorBarCalibrator(BaseEstimator):
    """Recalibrate means and standard deviations given as arrays.

    The methods of :class:`CalibratedProbRegressor` for predictions of any program: a
    table of energies with error bars, an ensemble, a network with dropout.

    Parameters
    ----------
    method : {"std", "isotonic", "conformal"}, default="std"
        As in :class:`CalibratedProbRegressor`.
    by : {"domain"} or None, default=None
        As in :class:`CalibratedProbRegressor`.

    Attributes
    ----------
    calibrators_ : list of length n_outputs
        As in :class:`CalibratedProbRegressor`.

    See Also
    --------
    CalibratedProbRegressor : For an estimator, with cross-validation.

    Notes
    -----
    The samples of `fit` must not be those that the predictions were fitted to: errors
    are too small there.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unlocknn.calibration import ErrorBarCalibrator
    >>> rng = np.random.default_rng(0)
    >>> y_pred, y_std = rng.normal(size=500), rng.uniform(0.5, 1.5, size=500)
    >>> y_true = y_pred + 2.0 * y_std * rng.normal(size=500)
    >>> calibrator = ErrorBarCalibrator().fit(y_true, y_pred, y_std)
    >>> mean, std = calibrator.transform(y_pred, y_std)
    >>> round(float(np.mean(std / y_std)), 1)
    2.0
    """

    def __init__(self, method="std", by=None):
        self.method = method
        self.by = by

    def fit(self, y_true, y_pred, y_std, sample_weight=None):
        """Fit to held-out samples.

        Parameters
        ----------
        y_true, y_pred, y_std : array-like of shape (n_samples,) or \
(n_samples, n_outputs)
            Observed targets, predicted means and standard deviations, in target units.
        sample_weight : array-like of shape (n_samples,), default=None
            2 equals the sample twice, 0 leaves it out.

        Returns
        -------
        self : object
            Fitted.

        Raises
        ------
        ValueError
            If `method` or an array is not valid, or a standard deviation is zero where
            the prediction is wrong.
        """
        check_method(self.method, self.by)
        y_true = check_targets(y_true)
        mean, std = self._columns(y_pred, y_std)
        if mean.shape != (len(y_true), y_true.size // len(y_true)):
            raise ValueError(
                f"Got y_pred of shape {np.shape(y_pred)} for y_true of shape "
                f"{y_true.shape}, expected the same."
            )
        weights = check_weights(sample_weight, len(y_true))
        kept = weights > 0
        y = y_true.reshape(mean.shape)[kept]
        z = standardised(y, mean[kept], std[kept])
        self.calibrators_ = calibrate(
            self.method, self.by, y, z, weights[kept], std[kept]
        )
        return self

    def transform(self, y_pred, y_std):
        """Return recalibrated means and standard deviations.

        Parameters
        ----------
        y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Predicted means and standard deviations, in target units.

        Returns
        -------
        y_mean, y_std : ndarray of the same shape
            In target units; "isotonic" moves the mean, too.
        """
        found = self._recalibrated(y_pred, y_std)
        shape = np.shape(y_pred)
        return found.mean.reshape(shape), found.std.reshape(shape)

    def predict_quantiles(self, y_pred, y_std, q):
        """Return quantiles of new observations.

        Parameters
        ----------
        y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Predicted means and standard deviations, in target units.
        q : float or array-like of shape (n_quantiles,)
            Levels in (0, 1).

        Returns
        -------
        quantiles : ndarray of shape (n_samples, n_quantiles) or \
(n_samples, n_quantiles, n_outputs)
            In target units.
        """
        q = check_levels(q)
        quantiles = self._recalibrated(y_pred, y_std).quantiles(q)
        return quantiles[:, :, 0] if np.ndim(y_pred) == 1 else quantiles

    def predict_interval(self, y_pred, y_std, coverage=0.95):
        """Return central intervals of new observations.

        Parameters
        ----------
        y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Predicted means and standard deviations, in target units.
        coverage : float, default=0.95
            Probability that the interval holds, in (0, 1).

        Returns
        -------
        interval : ndarray of shape (n_samples, 2) or (n_samples, 2, n_outputs)
            Lower and upper end, in target units.
        """
        levels = interval_levels(check_coverage(coverage))
        return self.predict_quantiles(y_pred, y_std, levels)

    def predict_log_density(self, y_true, y_pred, y_std):
        """Return the log density of observations.

        Parameters
        ----------
        y_true, y_pred, y_std : array-like of shape (n_samples,) or \
(n_samples, n_outputs)
            Observations, predicted means and standard deviations, in target units.

        Returns
        -------
        log_density : ndarray of the same shape
            In nats, of the density per target unit; that of "std" for "conformal".

        Raises
        ------
        ValueError
            If y_true has not the shape of y_pred.
        """
        found = self._recalibrated(y_pred, y_std)
        return density_at(found.log_density, y_true, np.shape(y_pred))

    def _recalibrated(self, y_pred, y_std):
        """Return the `Prediction` of shape (n, k)."""
        check_is_fitted(self)
        mean, std = self._columns(y_pred, y_std)
        if mean.shape[1] != len(self.calibrators_):
            raise ValueError(
                f"Got y_pred of {mean.shape[1]} outputs, expected "
                f"{len(self.calibrators_)} as in fit."
            )
        return recalibrated(self.calibrators_, mean, std)

    @staticmethod
    def _columns(y_pred, y_std):
        """Return means and standard deviations of shape (n, k), checked."""
        y_pred, y_std = (np.asarray(a, dtype=np.float64) for a in (y_pred, y_std))
        if y_pred.shape != y_std.shape or y_pred.ndim not in (1, 2) or not y_pred.size:
            raise ValueError(
                f"Got y_pred of shape {y_pred.shape} and y_std of {y_std.shape}, "
                "expected the same, (n_samples,) or (n_samples, n_outputs)."
            )
        for name, values in (("y_pred", y_pred), ("y_std", y_std)):
            if not np.isfinite(values).all():
                raise ValueError(
                    f"Got {name} with {np.sum(~np.isfinite(values))} values that are "
                    "not finite, expected numbers. Leave these samples out."
                )
        if np.any(y_std < 0):
            raise ValueError(
                f"Got y_std with {y_std.min()} in it, expected none negative."
            )
        return y_pred.reshape(len(y_pred), -1), y_std.reshape(len(y_std), -1)
