"""What every regressor with a variational Gaussian process head shares."""

import numbers

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted

from .._gp.encoded import check_known, in_units, log_units, spread
from .._validation import check_targets, check_weights
from ..kernels import make_kernel
from .parameters import check_parameters
from .predictive import PredictiveMixin
from .streams import StreamMixin

# "auto": moving inducing points takes passes over all rows; beyond, batches do it.
_MOVED_BY_BATCH = 20_000


class BaseVGPRegressor(PredictiveMixin, StreamMixin, RegressorMixin, BaseEstimator):
    """Variational Gaussian process on features that a subclass provides.

    A subclass defines ``_training_features(X, y, sample_weight)``, which returns a
    `Latent` and the targets, and ``_features_of(X, keep=True)``, which returns a
    `Latent`; with ``keep=False`` nothing is kept for later calls. It may define
    ``_checked(X, y, start)``, which checks rows and targets that are added.
    """

    _means = ("zero", "constant", "linear")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X, y, sample_weight=None):
        """Fit hyperparameters, inducing points and posterior.

        From scratch, unless ``warm_start`` is True.

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
        self._fit_latent(latent, y, weights, stacklevel=2)
        return latent, y, weights

    def _checked(self, X, y, start=0):
        """Return rows, and their targets checked; row 0 is the ``start``-th."""
        return X, check_targets(y)

    def _fit_latent(self, latent, y, weights, stacklevel):
        """Fit head and, where asked for, network; leave out what could not be had."""
        known = check_known(latent, 1, stacklevel + 1)
        self._fit_head(latent, y, weights, known)
        self._fine_tune(latent, y, weights)

    def _fine_tune(self, latent, y, weights):
        """Train the network, if there is one and it is asked for, with the head."""

    def _fit_head(self, latent, y, weights, known=None):
        """Fit the head to what the network makes of the rows."""
        from .._gp.rows import RawRows

        y = in_units(y, latent)
        kept = (weights > 0) & (latent.known if known is None else known)
        units = log_units(latent, weights, kept)
        index = None
        if not kept.all():
            index = np.flatnonzero(kept)
            y, weights = y[index], weights[index]
        scaling = self._standardisation(latent.features, y, weights, index)
        self._solve(RawRows(latent.features, y, weights, scaling, index), units)

    def _standardisation(self, features, y, weights, index):
        """Learn the affine maps of features and target."""
        from .._gp.rows import Standardisation, scales

        y_mean, y_scale = np.zeros(y.shape[1]), np.ones(y.shape[1])
        if self.normalize_y:
            y_mean, y_scale = scales(y, weights)
        if self.mean == "network":
            # The residual falls back to the network's output, not to its own mean.
            y_mean = np.zeros(y.shape[1])
        x_mean, x_scale = scales(features, weights, index)
        return Standardisation(x_mean, x_scale, y_mean, y_scale, self.mean)

    def _solve(self, rows, units):
        """Run the solver, then set the fitted attributes: all of them or none."""
        from .._gp import training
        from .._gp.covariance import Covariance

        n, d = len(rows), rows.features.shape[1]
        kernel = Covariance(make_kernel(self.kernel, d), d)
        settings = training.Settings(
            n_inducing_points=self._count_inducing(n),
            inducing_init=self._initial_points(d, rows.scaling),
            optimize_inducing_points=self.optimize_inducing_points,
            solver=self._choose_solver(n),
            max_iter=self.max_iter,
            tol=self.tol,
            batch_size=self.batch_size,
            hyper_subset_size=self._hyper_subset_size(n),
            n_jobs=self.n_jobs,
            warm_start=self.warm_start,
        )
        rng = check_random_state(self.random_state)
        before = getattr(self, "_progress", None) if self.warm_start else None
        result = training.fit(kernel, rows, settings, rng, self._report, before)
        self._progress = result.progress if self.warm_start else None

        self._scaling, self._log_units = rows.scaling, units
        self._template = kernel.template
        self.kernel_ = kernel.fitted_kernel(result.posterior.theta)
        self.elbo_curve_, self.n_iter_ = result.curve, result.n_iter
        self._set_posterior(result.posterior)

    def _set_posterior(self, posterior):
        self._posterior = posterior
        scaling = self._scaling
        self.inducing_points_ = posterior.Z * scaling.x_scale + scaling.x_mean
        self.n_inducing_points_ = len(posterior.Z)
        noise_std = np.sqrt(posterior.noise) * scaling.y_scale
        self.noise_std_ = float(noise_std[0]) if self._one_output else noise_std
        log_scales = posterior.weight * np.log(scaling.y_scale).sum()
        log_scales += self._log_units * len(scaling.y_scale)
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
        from .._gp.posterior import update
        from .._gp.rows import RawRows

        X, y = self._checked(X, y)
        latent = self._features_of(X)
        check_consistent_length(latent.features, y)
        y = y.reshape(len(y), -1)
        n_outputs = len(self._scaling.y_scale)
        if y.shape[1] != n_outputs:
            raise ValueError(
                f"Got y with {y.shape[1]} outputs, expected {n_outputs} as in the "
                "first call."
            )
        weights = check_weights(sample_weight, latent.features)
        y = in_units(y, latent)
        kept = np.flatnonzero((weights > 0) & check_known(latent, 0, 1))
        rows = RawRows(latent.features, y[kept], weights[kept], self._scaling, kept)
        posterior = update(self._posterior, self._translated(), rows, self.n_jobs)
        self._log_units += log_units(latent, weights, kept)
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
        check_is_fitted(self)
        latent = self._features_of(X)
        if return_std:
            return self._mean_and_std(latent)
        known = latent.known
        latent = latent.take(known)
        if return_cov:
            mean, covariance = self._mean_and_covariance(latent)
            return spread(mean, known), spread(covariance, known, 2)
        mean = self._over_blocks(self._posterior.mean, latent)
        return spread(self._to_target(mean, latent), known)

    def _over_blocks(self, of_posterior, latent):
        """Call ``of_posterior(kernel, X, H)`` on blocks of rows; join the results."""
        from .._gp.rows import blocks

        kernel = self._translated()
        parts = [
            of_posterior(kernel, *self._standardised(latent.features[rows]))
            for rows in blocks(*latent.features.shape)
        ]
        if isinstance(parts[0], tuple):
            return tuple(np.concatenate(part) for part in zip(*parts, strict=True))
        return np.concatenate(parts)

    def _standardised(self, features):
        """Return standardised features and the prior mean's basis."""
        X = self._scaling.features(features)
        return X, self._scaling.basis(X)

    def _mean_and_covariance(self, latent):
        X, H = self._standardised(latent.features)
        kernel = self._translated()
        mean = self._posterior.mean(kernel, X, H)
        covariance = self._posterior.covariance(kernel, X)
        covariance[np.diag_indices_from(covariance)] += self._posterior.noise
        if latent.unit is not None:
            covariance *= latent.unit * latent.unit.T
        covariance = covariance[:, :, None] * self._scaling.y_scale**2
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
        check_is_fitted(self)
        return self._components_of(self._features_of(X))

    def _components_of(self, latent):
        """Predict rows, some of which may be unknown: they change no other row."""
        known = latent.known
        latent = latent.take(known)
        mean, variance = self._over_blocks(self._posterior.mean_and_variance, latent)
        return self._components(mean, variance, latent, known)

    def _mean_and_std(self, latent):
        mean, epistemic, aleatoric = self._components_of(latent)
        return mean, np.sqrt(epistemic**2 + aleatoric**2)

    def _components(self, mean, variance, latent, known):
        """Map mean and variance of known rows to target units, shape and place."""
        scale = self._scaling.y_scale
        if latent.unit is not None:
            scale = scale * latent.unit
        epistemic = np.sqrt(variance)[:, None] * scale
        aleatoric = np.sqrt(self._posterior.noise) * np.ones((len(mean), 1)) * scale
        if self._one_output:
            epistemic, aleatoric = epistemic[:, 0], aleatoric[:, 0]
        parts = self._to_target(mean, latent), epistemic, aleatoric
        return tuple(spread(part, known) for part in parts)

    def _to_target(self, mean, latent):
        """Map a standardised mean to target units and shape."""
        mean = mean * self._scaling.y_scale + self._scaling.y_mean
        if latent.unit is not None:
            mean = mean * latent.unit
        if latent.output is not None:
            mean = mean + latent.output
        return mean[:, 0] if self._one_output else mean

    def _translated(self):
        from .._gp.covariance import Covariance

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

    def _hyper_subset_size(self, n):
        if not isinstance(self.hyper_subset_size, str):
            return self.hyper_subset_size
        return int(np.clip(n // 5, 800, 2000))

    def _choose_solver(self, n):
        if self.solver != "auto":
            return self.solver
        many = n > _MOVED_BY_BATCH
        return "minibatch" if self.optimize_inducing_points and many else "collapsed"

    def _initial_points(self, d, scaling):
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
        return np.unique(scaling.features(Z), axis=0)
