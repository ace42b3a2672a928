"""Quantiles, intervals and samples of the predictive distribution."""

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._prediction import DistributionMixin, Prediction


class PredictiveMixin(DistributionMixin):
    """Quantiles, intervals, samples and the TFP distribution of a fitted head."""

    def _quantiles_at(self, X, q):
        """Return quantiles at valid levels."""
        return self._functions(*self.predict(X, return_std=True))[0](q)

    def _density_at(self, X):
        """Return the shape of predictions and the function of their log density."""
        mean, std = self.predict(X, return_std=True)
        return mean.shape, self._functions(mean, std)[1]

    def _predict_distribution(self, X):
        """Return the `Prediction` of samples."""
        return self._distribution(*self.predict(X, return_std=True))

    def _distribution(self, mean, std):
        """Return the `Prediction` of means and standard deviations.

        Without functions for a normal distribution.
        """
        if np.isinf(self._head.errors.shape.dof):
            return Prediction(mean, std)
        return Prediction(mean, std, *self._functions(mean, std))

    def _functions(self, mean, std):
        """Return functions of a prediction: quantiles of levels, log density of y."""
        shape = self._head.errors.shape
        unit = std / shape.factor

        def quantiles(q):
            z = shape.quantiles(q).reshape(-1, *[1] * (mean.ndim - 1))
            return mean[:, None] + z * unit[:, None]

        def log_density(y):
            return shape.log_density((y - mean) / unit) - np.log(unit)

        return quantiles, log_density

    def predict_dist(self, X):
        """Return the joint predictive distribution as a TFP object.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as in the class
            Samples to predict, at most some thousands: the covariance is dense.

        Returns
        -------
        distribution : tfp.distributions.VariationalGaussianProcess
            Of new observations, in target units, noise included: event shape
            (n_samples,), batch shape () or (n_outputs,). By its moments a
            ``tfp.distributions.MultivariateStudentTLinearOperator`` or
            ``MultivariateNormalTriL`` unless errors are those of a plain Gaussian
            process (``likelihood="gaussian"``, ``noise="constant"`` and a kernel
            object), for a kernel of your own class, for an extensive target, and for
            predictions from nearest samples.

        Raises
        ------
        ValueError
            If a sample has no features (``on_error="nan"``).
        """
        check_is_fitted(self)
        encoded = self._encoder.encode(self, X)
        missing = np.setdiff1d(np.arange(encoded.n), encoded.index)
        if len(missing):
            raise ValueError(
                f"Got {len(missing)} samples without features, the first being sample "
                f"{missing[0]}: a joint distribution needs the features of all. Leave "
                "these samples out."
            )
        return self._head.tfp(encoded)

    def sample_y(self, X, n_samples=1, random_state=0):
        """Draw joint samples of new observations, noise included.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as in the class
            Samples to draw observations of.
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState instance or None, default=0
            Source of randomness.

        Returns
        -------
        y_samples : ndarray of shape (n_inputs, n_samples) or \
(n_inputs, n_outputs, n_samples)
            In target units.
        """
        check_is_fitted(self)
        rng = check_random_state(random_state)
        return self._head.sample(self._encoder.encode(self, X), n_samples, rng)

    def predict_components(self, X):
        """Predict the mean and the two parts of the standard deviation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as in the class
            Samples to predict.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In target units.
        epistemic_std : ndarray of the same shape
            Of the latent function; it shrinks with more data nearby.
        aleatoric_std : ndarray of the same shape
            Of the observation noise; it does not shrink. The standard deviation of
            ``predict`` is the square root of the sum of the squares of both. Where it
            grows as a power of that of the GP (``likelihood="auto"``), both parts have
            its factor.
        """
        check_is_fitted(self)
        return self._head.components(self._encoder.encode(self, X))
