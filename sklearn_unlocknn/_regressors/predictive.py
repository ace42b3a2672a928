"""What is read off the predictive distribution: quantiles, intervals, samples."""

import numpy as np
from scipy.special import ndtri
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._gp.encoded import spread
from .._prediction import check_coverage, check_levels, interval_levels


class PredictiveMixin:
    """Quantiles, intervals, samples and the TFP distribution of a fitted head."""

    def predict_quantiles(self, X, q):
        """Predict quantiles of a new observation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as the class says
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
        q = check_levels(q)
        mean, std = self.predict(X, return_std=True)
        z = ndtri(q).reshape((1, -1) + (1,) * (mean.ndim - 1))
        return mean[:, None] + z * std[:, None]

    def _predict_distribution(self, X):
        """Return mean, std and None, which says that quantiles are a normal's."""
        return *self.predict(X, return_std=True), None

    def predict_interval(self, X, coverage=0.95):
        """Predict the central interval that holds a new observation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as the class says
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

    def predict_dist(self, X):
        """Return the joint predictive distribution as a TFP object.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as the class says
            Rows to predict, at most some thousands: its covariance is dense.

        Returns
        -------
        distribution : tfp.distributions.VariationalGaussianProcess
            Of new observations, in target units, noise included: event shape
            (n_samples,), batch shape () or (n_outputs,). A
            ``tfp.distributions.MultivariateNormalTriL`` for an extensive target,
            whose noise differs from row to row.

        Raises
        ------
        ValueError
            If a row could not be had (``on_error="nan"``).
        """
        from .._gp import tfp_distribution as distributions

        check_is_fitted(self)
        latent = self._features_of(X)
        if not latent.known.all():
            raise ValueError(
                f"Got {np.sum(~latent.known)} rows without features, the first being "
                f"row {np.argmin(latent.known)}: a joint distribution needs them all. "
                "Leave these rows out."
            )
        if latent.unit is not None:
            return distributions.joint_normal(*self._mean_and_covariance(latent))
        X, _ = self._standardised(latent.features)
        return distributions.variational_gaussian_process(
            self._translated(), self._posterior, X, latent.output,
            self._scaling.y_mean, self._scaling.y_scale, self._one_output,
        )  # fmt: skip

    def sample_y(self, X, n_samples=1, random_state=0):
        """Draw joint samples of new observations, noise included.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as the class says
            Rows to sample at.
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState instance or None, default=0
            Source of randomness.

        Returns
        -------
        y_samples : ndarray of shape (n_rows, n_samples) or \
(n_rows, n_outputs, n_samples)
            In target units.
        """
        from .._gp.linalg import JITTERS, cholesky

        rng = check_random_state(random_state)
        check_is_fitted(self)
        latent = self._features_of(X)
        known = latent.known
        latent = latent.take(known)
        X, H = self._standardised(latent.features)
        kernel = self._translated()
        mean = self._to_target(self._posterior.mean(kernel, X, H), latent)
        covariance = self._posterior.covariance(kernel, X)
        covariance[np.diag_indices_from(covariance)] += self._posterior.noise
        L, _ = cholesky(covariance, jitters=(0.0, *JITTERS))
        k = len(self._scaling.y_scale)
        white = rng.standard_normal((len(X), k * n_samples))
        draws = (L @ white).reshape(len(X), k, n_samples)
        draws *= self._scaling.y_scale[:, None]
        if latent.unit is not None:
            draws *= latent.unit[:, :, None]
        draws += mean.reshape(len(X), k, 1)
        return spread(draws[:, 0] if self._one_output else draws, known)
