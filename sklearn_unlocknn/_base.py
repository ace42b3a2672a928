"""What every regressor with a variational Gaussian process head shares."""

import numbers
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted

from ._validation import (
    check_parameters,
    check_targets,
    check_weights,
    matching,
    scales,
)
from .kernels import make_kernel

# "auto": moving inducing points takes passes over all rows; beyond, batches do it.
_MOVED_BY_BATCH = 20_000


class Latent(NamedTuple):
    """What the process sees of n rows.

    Attributes
    ----------
    features : ndarray of shape (n, d)
        Rows of NaN are rows that could not be had: `fit` leaves them out, `predict`
        gives NaN for them.
    output : ndarray of shape (n, k) or None
        The network's own output, in target units, where it is the prior mean.
    unit : ndarray of shape (n, 1) or None
        What a row's target is counted in, where that differs from row to row: the
        number of atoms for an extensive property. Mean and standard deviation of
        the process scale by it.
    inputs : object
        What the network saw of the training rows, where fine-tuning needs it again.
    """

    features: np.ndarray
    output: np.ndarray | None = None
    unit: np.ndarray | None = None
    inputs: object = None

    @property
    def known(self):
        """Boolean mask of the rows that could be had."""
        return ~np.isnan(self.features).any(axis=1)


class BaseVGPRegressor(RegressorMixin, BaseEstimator):
    """Variational Gaussian process on features that a subclass provides.

    A subclass defines ``_training_features(X, y, sample_weight)``, which returns a
    `Latent` and the targets, and ``_features_of(X)``, which returns a `Latent`.
    """

    _means = ("zero", "constant", "linear")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X, y, sample_weight=None):
        """Fit hyperparameters, inducing points and posterior from scratch.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as the class says
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. Several share the kernel and the noise-to-signal ratio.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight 2 is the row twice, weight 0 leaves it out.

        Returns
        -------
        self : object
            Fitted.

        Raises
        ------
        ValueError
            If a parameter or the data cannot be used; the message says what was
            got, what was expected and what to do.
        """
        self._fit_rows(X, y, sample_weight)
        return self

    def _fit_rows(self, X, y, sample_weight=None):
        """Fit; return the rows as the head was first fitted to them, and weights."""
        check_parameters(self, self._means)
        latent, y = self._training_features(X, y, sample_weight)
        weights = check_weights(sample_weight, latent.features)
        self._one_output = y.ndim == 1
        y = y.reshape(len(y), -1)
        self._fit_head(latent, y, weights)
        self._fine_tune(latent, y, weights)
        return latent, y, weights

    def _fine_tune(self, latent, y, weights):
        """Train the network, if there is one and it is asked for, with the head."""

    def _fit_head(self, latent, y, weights):
        """Fit the head to what the network makes of the rows."""
        y = in_units(y, latent)
        kept = (weights > 0) & latent.known
        self._log_units = _log_units(latent, weights, kept)
        features = np.ascontiguousarray(latent.features[kept])
        y, weights = y[kept], weights[kept]

        self._standardise(features, y, weights)
        self._solve(features, y, weights)

    def _standardise(self, features, y, weights):
        """Learn the affine maps of features and target."""
        self._x_mean, self._x_scale = scales(features, weights)
        if self.normalize_y:
            self._y_mean, self._y_scale = scales(y, weights)
        else:
            self._y_mean, self._y_scale = np.zeros(y.shape[1]), np.ones(y.shape[1])
        if self.mean == "network":
            # The residual falls back to the network's output, not to its own mean.
            self._y_mean = np.zeros(y.shape[1])

    def _solve(self, features, y, weights):
        """Run the solver and set the fitted attributes."""
        from ._backend import training
        from ._backend.covariance import Covariance

        n, d = features.shape
        rows = self._rows(features, y, weights)
        kernel = Covariance(make_kernel(self.kernel, d), d)
        settings = training.Settings(
            n_inducing_points=self._count_inducing(n),
            inducing_init=self._initial_points(d),
            optimize_inducing_points=self.optimize_inducing_points,
            solver=self._choose_solver(n),
            max_iter=self.max_iter,
            tol=self.tol,
            batch_size=self.batch_size,
            n_hyper_samples=self.n_hyper_samples,
        )
        rng = check_random_state(self.random_state)
        result = training.fit(kernel, rows, settings, rng, self._report)

        self._template = kernel.template
        self.kernel_ = kernel.fitted_kernel(result.posterior.theta)
        self.elbo_curve_, self.n_iter_ = result.curve, result.n_iter
        self._set_posterior(result.posterior)

    def _set_posterior(self, posterior):
        self._posterior = posterior
        self.inducing_points_ = posterior.Z * self._x_scale + self._x_mean
        self.n_inducing_points_ = len(posterior.Z)
        noise_std = np.sqrt(posterior.noise) * self._y_scale
        self.noise_std_ = float(noise_std[0]) if self._one_output else noise_std
        log_scales = posterior.weight * np.log(self._y_scale).sum()
        log_scales += self._log_units * len(self._y_scale)
        self.elbo_ = posterior.elbo - log_scales

    def partial_fit(self, X, y, sample_weight=None):
        """Add rows to the posterior: no row is seen twice, none is kept.

        Hyperparameters, standardisation and inducing points stay as the first call
        (which is :meth:`fit`) or ``fit`` left them. The order of rows and the way
        they are cut into calls make no difference.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as the class says
            New rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.
        sample_weight : array-like of shape (n_samples,), default=None
            As in :meth:`fit`.

        Returns
        -------
        self : object
            Updated.

        Raises
        ------
        ValueError
            As :meth:`fit`; the model is left as it was.
        """
        if not hasattr(self, "_posterior"):
            return self.fit(X, y, sample_weight)
        from ._backend.variational import update

        latent = self._features_of(X)
        y = check_targets(y)
        check_consistent_length(latent.features, y)
        y = y.reshape(len(y), -1)
        if y.shape[1] != len(self._y_scale):
            raise ValueError(
                f"Got y with {y.shape[1]} outputs, expected {len(self._y_scale)} as "
                "in the first call."
            )
        weights = check_weights(sample_weight, latent.features)
        y = in_units(y, latent)
        kept = (weights > 0) & latent.known
        rows = self._rows(latent.features[kept], y[kept], weights[kept])
        posterior = update(
            self._posterior, self._translated(), rows.X, rows.T, rows.weights,
            rows.n_outputs,
        )  # fmt: skip
        self._log_units += _log_units(latent, weights, kept)
        self._set_posterior(posterior)
        return self

    def predict(self, X, return_std=False, return_cov=False):
        """Predict mean and, if asked, the uncertainty of a new observation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as the class says
            Rows to predict.
        return_std : bool, default=False
            Also return the standard deviation.
        return_cov : bool, default=False
            Also return the covariance between rows; not with ``return_std``.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In target units.
        y_std : ndarray of the same shape
            In target units, observation noise included.
        y_cov : ndarray of shape (n_samples, n_samples) or \
(n_samples, n_samples, n_outputs)
            In squared target units, observation noise on its diagonal.

        Raises
        ------
        ValueError
            If both are asked for, or X does not fit the training data.
        """
        if return_std and return_cov:
            raise ValueError("Got return_std=True and return_cov=True, expected one.")
        if not (return_std or return_cov):
            X, H, latent = self._standardised(X)
            return self._to_target(
                self._posterior.mean(self._translated(), X, H), latent
            )
        if return_std:
            mean, epistemic, aleatoric = self.predict_components(X)
            return mean, np.sqrt(epistemic**2 + aleatoric**2)
        X, _, latent = self._standardised(X)
        return self._mean_and_covariance(X, latent)

    def _mean_and_covariance(self, X, latent):
        kernel = self._translated()
        mean = self._posterior.mean(kernel, X, self._basis(X))
        covariance = self._posterior.covariance(kernel, X)
        covariance[np.diag_indices_from(covariance)] += self._posterior.noise
        if latent.unit is not None:
            covariance *= latent.unit * latent.unit.T
        covariance[~latent.known] = covariance[:, ~latent.known] = np.nan
        covariance = covariance[:, :, None] * self._y_scale**2
        mean = self._to_target(mean, latent)
        return mean, covariance[:, :, 0] if self._one_output else covariance

    def predict_components(self, X):
        """Predict mean and the two parts of the standard deviation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or as the class says
            Rows to predict.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In target units.
        epistemic_std : ndarray of the same shape
            Of the latent function: shrinks with more data nearby.
        aleatoric_std : ndarray of the same shape
            Of the observation noise: stays. ``predict``'s standard deviation is the
            square root of the sum of their squares.
        """
        X, H, latent = self._standardised(X)
        mean, variance = self._posterior.mean_and_variance(self._translated(), X, H)
        return self._components(mean, variance, latent)

    def _components(self, mean, variance, latent):
        """Map a standardised latent mean and variance to target units and shape."""
        scale = self._y_scale if latent.unit is None else self._y_scale * latent.unit
        epistemic = np.sqrt(variance)[:, None] * scale
        aleatoric = np.sqrt(self._posterior.noise) * np.ones((len(mean), 1)) * scale
        epistemic[~latent.known] = aleatoric[~latent.known] = np.nan
        if self._one_output:
            epistemic, aleatoric = epistemic[:, 0], aleatoric[:, 0]
        return self._to_target(mean, latent), epistemic, aleatoric

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
        q = np.atleast_1d(np.asarray(q, dtype=float))
        if q.ndim != 1 or not np.all((q > 0) & (q < 1)):
            raise ValueError(f"Got q={q.tolist()}, expected levels inside (0, 1).")
        mean, std = self.predict(X, return_std=True)
        z = ndtri(q).reshape((1, -1) + (1,) * (mean.ndim - 1))
        return mean[:, None] + z * std[:, None]

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
        if not (isinstance(coverage, numbers.Real) and 0 < coverage < 1):
            raise ValueError(f"Got coverage={coverage!r}, expected a number in (0, 1).")
        return self.predict_quantiles(X, [0.5 - coverage / 2, 0.5 + coverage / 2])

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
        from ._backend import distributions

        X, _, latent = self._standardised(X)
        if not latent.known.all():
            raise ValueError(
                f"Got {np.sum(~latent.known)} rows without features, the first being "
                f"row {np.argmin(latent.known)}: a joint distribution needs them all. "
                "Leave these rows out."
            )
        if latent.unit is not None:
            return distributions.joint_normal(*self._mean_and_covariance(X, latent))
        return distributions.variational_gaussian_process(
            self._translated(), self._posterior, X, latent.output, self._y_mean,
            self._y_scale, self._one_output,
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
        from ._backend.variational import JITTERS, cholesky

        rng = check_random_state(random_state)
        X, H, latent = self._standardised(X)
        kernel = self._translated()
        mean = self._to_target(self._posterior.mean(kernel, X, H), latent)
        covariance = self._posterior.covariance(kernel, X)
        covariance[np.diag_indices_from(covariance)] += self._posterior.noise
        L, _ = cholesky(covariance, jitters=(0.0, *JITTERS))
        k = len(self._y_scale)
        white = rng.standard_normal((len(X), k * n_samples))
        draws = (L @ white).reshape(len(X), k, n_samples) * self._y_scale[:, None]
        if latent.unit is not None:
            draws *= latent.unit[:, :, None]
        draws += mean.reshape(len(X), k, 1)
        return draws[:, 0] if self._one_output else draws

    def _standardised(self, X):
        """Return standardised features, the prior mean's basis, the `Latent`."""
        check_is_fitted(self)
        latent = self._features_of(X)
        X = self._scaled(latent.features)
        X[~latent.known] = 0.0  # NaN would spread; the results get it back
        return X, self._basis(X), latent

    def _scaled(self, features):
        """Standardise features; in C order, so that a frame gives the same bits."""
        return np.ascontiguousarray((features - self._x_mean) / self._x_scale)

    def _basis(self, X):
        """Return the basis functions of the prior mean, of shape (n, q)."""
        if self.mean == "constant":
            return np.ones((len(X), 1))
        if self.mean == "linear":
            return np.column_stack([np.ones(len(X)), X])
        return np.empty((len(X), 0))

    def _rows(self, features, y, weights):
        """Standardise training rows."""
        from ._backend.training import Rows

        X = self._scaled(features)
        Y = (y - self._y_mean) / self._y_scale
        return Rows(X, np.hstack([Y, self._basis(X)]), weights, y.shape[1])

    def _to_target(self, mean, latent):
        """Map a standardised mean to target units and shape."""
        mean = mean * self._y_scale + self._y_mean
        if latent.unit is not None:
            mean = mean * latent.unit
        if latent.output is not None:
            mean = mean + latent.output
        mean[~latent.known] = np.nan
        return mean[:, 0] if self._one_output else mean

    def _translated(self):
        from ._backend.covariance import Covariance

        return Covariance(self._template, self._posterior.Z.shape[1])

    def _report(self, stage, iteration, value):
        every = 10 if self.verbose == 1 else 1
        if self.verbose and iteration % every == 0:
            name = type(self).__name__
            print(f"[{name}] {stage}, iteration {iteration}: {value:.4f} nats")

    def _count_inducing(self, n):
        count = self.n_inducing_points
        if not isinstance(count, numbers.Integral):
            count = int(np.ceil(count * n))
        return min(count, n)

    def _choose_solver(self, n):
        if self.solver != "auto":
            return self.solver
        many = n > _MOVED_BY_BATCH
        return "minibatch" if self.optimize_inducing_points and many else "collapsed"

    def _initial_points(self, d):
        """Return ``inducing_init``, an array standardised and checked."""
        if isinstance(self.inducing_init, str):
            return self.inducing_init
        Z = check_array(
            self.inducing_init, dtype=np.float64, input_name="inducing_init"
        )
        if Z.shape[1] != d:
            raise ValueError(
                f"Got inducing_init of shape {Z.shape}, expected (m, {d}): points in "
                "the space of the features that the Gaussian process sees."
            )
        return np.unique((Z - self._x_mean) / self._x_scale, axis=0)


def in_units(y, latent):
    """Return what the process models: what the network leaves of y, per unit."""
    if latent.output is not None:
        y = y - matching(latent.output, y)
    return y if latent.unit is None else y / latent.unit


def _log_units(latent, weights, kept):
    """Return the weighted sum of log units, by which densities per unit differ."""
    if latent.unit is None:
        return 0.0
    return float(weights[kept] @ np.log(latent.unit[kept, 0]))
