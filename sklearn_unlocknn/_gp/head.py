"""The Gaussian process on encoded samples: fit, update and predict in target units."""

import contextlib
import dataclasses

import numpy as np

from .._validation import warn_user
from ..kernels import make_kernel
from ..kernels._on_features import resolve_columns
from .added_samples import add_samples
from .cost import most_exact
from .domain import TrainingRecord
from .encoded import Standardisation, blocks, scales
from .errors import PLAIN, Errors
from .fitting import fit_posterior
from .linalg import JITTERS, cholesky, free_threads
from .neighbours import LocalPosterior
from .posterior import ExactPosterior, SparsePosterior
from .samples import Samples
from .training import warn_of_bounds

# With fewer samples the number of threads makes no difference.
MANY_SAMPLES = 500
# Overflow, which `Head` looks for in its results
_OVERFLOW = {"over": "ignore", "invalid": "ignore"}
# A sample with a known noise variance beyond this number of medians, and beyond the
# median of the targets' squared deviations, is not part of the standardisation.
_MUCH_NOISE = 1e6
# With the default kernel a feature beyond those of the training samples by more than
# this number of standard deviations has an effect that grows with its logarithm.
_MARGIN = 1.0


@dataclasses.dataclass
class Head:
    """A fitted Gaussian process head, made by `Head.fit`.

    Its methods do not change it: `update` returns another.

    Parameters
    ----------
    posterior : ExactPosterior or SparsePosterior
        Posterior of the standardised target.
    scaling : Standardisation
        Standardisation of the features.
    y_mean, y_scale : ndarray of shape (k,)
        Standardisation of the targets.
    one_output : bool
        Whether targets had one dimension.
    log_det : float
        Log determinant of the map from the GP's targets to target units.
    errors : Errors
        Shape and noise of the predictive distribution.
    mean_noise : float
        Mean noise variance of the training samples.
    curve : ndarray of shape (n_iter + 1,)
        Objective of the first fit, or of inducing points that move.
    weights : ndarray of shape (n_valid,) or None
        Weights of the training samples by their noise and their residuals. A pickle
        leaves them out.
    record : TrainingRecord
        Training samples that stand for those near them.
    local : LocalPosterior, default=None
        Posterior of nearest samples, which then predicts. The other then has the
        correlations of joint predictions, bound and inducing points.
    reference : tuple of ndarray, default=None
        Their leave-one-out errors and scores, computed when they are first needed.
    """

    posterior: ExactPosterior | SparsePosterior
    scaling: Standardisation
    y_mean: np.ndarray
    y_scale: np.ndarray
    one_output: bool
    log_det: float
    errors: Errors
    mean_noise: float
    curve: np.ndarray
    record: TrainingRecord
    weights: np.ndarray | None = None
    local: LocalPosterior | None = None
    reference: tuple | None = dataclasses.field(default=None, init=False, repr=False)

    def __getstate__(self):
        return {**vars(self), "weights": None, "reference": None}

    @classmethod
    @np.errstate(**_OVERFLOW)
    def fit(cls, encoded, targets, params, report, choice=PLAIN):
        """Fit standardisation, hyperparameters, inducing points and posterior.

        Parameters
        ----------
        encoded : Encoded
            Training samples.
        targets : Targets
            Their targets, weights and known noise.
        params : object
            The regressor, or another object with its parameters.
        report : callable
            ``report(stage, iteration, value)``.
        choice : tuple of str
            ``likelihood`` and ``noise`` of the regressor.

        Returns
        -------
        head : Head
        """
        kernel, scaling, y_mean, y_scale, target_variance = _standardise(
            encoded, targets, params
        )
        samples = targets.training_samples(encoded, scaling, y_mean, y_scale)
        many = len(samples.weights) >= MANY_SAMPLES
        with free_threads() if many else contextlib.nullcontext():
            posterior, local, errors, weighted, curve = fit_posterior(
                samples, kernel, params, choice, report
            )
        if not _is_finite(posterior):
            raise ValueError(
                "The posterior exceeds the range of float64. Pass normalize_y=True and "
                "check the units of features and targets."
            )
        if params.max_iter:
            warn_of_bounds(local or posterior, params, target_variance)
        noise = (local or posterior).noise * errors.shape.factor**2
        noise *= errors.mean_ratio(samples)
        given_weights = encoded.pick(targets.weights)
        weights = np.zeros(len(given_weights))
        weights[slice(None) if samples.index is None else samples.index] = weighted
        record = TrainingRecord.of(
            encoded, targets.y, dataclasses.replace(samples, weights=weighted),
            posterior, target_variance,
        )  # fmt: skip
        log_det = encoded.target_map(y_mean, y_scale).log_det(given_weights)
        return cls(
            posterior, scaling, y_mean, y_scale, targets.y.ndim == 1, log_det, errors,
            noise, curve, record, weights, local,
        )  # fmt: skip

    @np.errstate(**_OVERFLOW)
    def update(self, encoded, targets, params):
        """Return the head with samples added to its posterior; all else stays."""
        samples = targets.training_samples(
            encoded, self.scaling, self.y_mean, self.y_scale
        )
        local = self.local
        if local is None:
            samples = self.errors.weigh(samples).at(self.posterior.noise)
        elif len(samples.weights):
            local = local.update(samples.at(local.noise).take(slice(None)))
            samples = samples.at(self.posterior.noise)
        most = most_exact(params.n_inducing_points, len(self.posterior.Z))
        finite, cause = False, None
        try:
            posterior = add_samples(self.posterior, samples, params.n_jobs, most)
            finite = _is_finite(posterior)
        except np.linalg.LinAlgError as error:
            cause = error
        if not finite:
            raise ValueError(
                "The posterior with the added samples exceeds the range of float64. "
                "Check the units of their features and targets, which are standardised "
                "as those of the first fit."
            ) from cause
        target = encoded.target_map(self.y_mean, self.y_scale)
        log_det = self.log_det + target.log_det(encoded.pick(targets.weights))
        record = self.record
        if record is not None:  # of a file of an old number
            record = record.extended(
                encoded, targets.y, samples, self.posterior, posterior
            )
        return dataclasses.replace(
            self, posterior=posterior, log_det=log_det, record=record, weights=None,
            local=local,
        )  # fmt: skip

    @property
    def predictor(self):
        """The posterior that predicts."""
        return self.local or self.posterior

    def samples(self, encoded, targets):
        """Standardise all valid training samples in memory, as `Samples`."""
        t = encoded.target_map(self.y_mean, self.y_scale).forward(
            encoded.pick(targets.columns)
        )
        X, H = self._inputs(encoded.features)
        return Samples(X, np.hstack([t, H]), self.weights, t.shape[1])

    @np.errstate(**_OVERFLOW)
    def mean(self, encoded):
        """Predict the mean of a batch, of shape (n,) or (n, k)."""
        parts = [
            self.predictor.mean(*self._inputs(encoded.features[rows]))
            for rows in blocks(*encoded.features.shape)
        ]
        return self._checked(encoded, self._in_units(encoded, np.concatenate(parts)))

    @np.errstate(**_OVERFLOW)
    def components(self, encoded):
        """Predict mean, epistemic and aleatoric standard deviation of a batch."""
        parts = []
        for rows in blocks(*encoded.features.shape):
            X, H = self._inputs(encoded.features[rows])
            moments = self.predictor.mean_and_variance(X, H)
            parts.append((*moments, self.errors.ratio(X)))
        parts = self.in_target_units(
            encoded, *map(np.concatenate, zip(*parts, strict=True))
        )
        return tuple(self._checked(encoded, part) for part in parts)

    def mean_and_std(self, encoded):
        """Predict mean and standard deviation of new observations."""
        mean, epistemic, aleatoric = self.components(encoded)
        return mean, np.hypot(epistemic, aleatoric)

    @np.errstate(**_OVERFLOW)
    def in_target_units(self, encoded, mean, variance, ratio):
        """Map latent moments of a batch.

        Parameters
        ----------
        encoded : Encoded
            The batch.
        mean : ndarray of shape (n_valid, k)
            Latent means.
        variance : ndarray of shape (n_valid,)
            Latent variances.
        ratio : ndarray of shape (n_valid,)
            Noise variance of each sample, in units of the constant one.

        Returns
        -------
        mean, epistemic, aleatoric : ndarray of shape (n,) or (n, k)
            NaN for samples without features.
        """
        target = encoded.target_map(self.y_mean, self.y_scale)
        noise = self.predictor.noise * ratio
        factors = self.errors.factors(variance + noise)
        stds = [np.sqrt(part) * factors for part in (variance, noise)]
        scale = target.scale * self.errors.of_outputs()
        stds = [self._placed(encoded, scale * std[:, None]) for std in stds]
        return self._in_units(encoded, mean), *stds

    @np.errstate(**_OVERFLOW)
    def mean_and_covariance(self, encoded):
        """Predict the joint mean and covariance of new observations of a batch."""
        X, H = self._inputs(encoded.features)
        mean = self.predictor.mean(X, H)
        covariance = self._noisy_covariance(X, H)
        factors = self.errors.factors(np.diag(covariance))[:, None]
        std = encoded.target_map(self.y_mean, self.y_scale).scale * factors
        std = std * self.errors.of_outputs()
        covariance = covariance[:, :, None] * (std[:, None] * std[None])
        covariance = covariance[:, :, 0] if self.one_output else covariance
        covariance = encoded.scatter_rows(covariance, 2)
        self._checked(encoded, np.einsum("ii...->i...", covariance))
        return self._checked(encoded, self._in_units(encoded, mean)), covariance

    @np.errstate(**_OVERFLOW)
    def sample(self, encoded, n_samples, rng):
        """Draw joint samples of new observations, of shape (n, [k,] n_samples)."""
        X, H = self._inputs(encoded.features)
        covariance = self._noisy_covariance(X, H)
        variance = np.diag(covariance).copy()
        self._checked(encoded, encoded.scatter_rows(variance))
        L, _ = cholesky(covariance, jitters=(0.0, *JITTERS))
        k = len(self.y_scale)
        white = rng.standard_normal((len(X), k * n_samples))
        draws = (L @ white).reshape(len(X), k, n_samples)
        draws *= self.errors.growth.factors(np.sqrt(variance))[:, None, None]
        draws *= self.errors.shape.sample(rng, (k, n_samples))
        draws *= np.reshape(self.errors.of_outputs(), (-1, 1))
        draws += self.predictor.mean(X, H)[:, :, None]
        target = encoded.target_map(self.y_mean, self.y_scale)
        draws = target.scale[:, :, None] * draws + target.shift[:, :, None]
        return self._checked(encoded, self._placed(encoded, draws))

    @np.errstate(**_OVERFLOW)
    def leave_out(self, encoded, targets, folds):
        """Predict training samples from the posterior of the other folds.

        Parameters
        ----------
        encoded, targets
            As in `fit`.
        folds : list of ndarray of int
            Samples to leave out together; disjoint.

        Returns
        -------
        mean, epistemic, aleatoric : ndarray of shape (n,) or (n, k)
            As in `components`; not meaningful for a sample that is in no fold.
        """
        from .leave_out import predict_left_out

        samples = self.samples(encoded, targets)
        place = np.full(encoded.n, -1)  # among the valid samples
        place[encoded.index] = np.arange(len(encoded.index))
        folds = [place[fold] for fold in folds]
        folds = [fold[fold >= 0] for fold in folds]
        mean, variance = predict_left_out(self.predictor, samples, folds)
        ratio = self.errors.ratio(samples.X)
        return self.in_target_units(encoded, mean, variance, ratio)

    def tfp(self, encoded):
        """Return the joint predictive distribution of a batch as a TFP object."""
        from . import tfp_distribution

        custom = encoded.scale is not None or self.posterior.kernel.custom
        if custom or self.errors != Errors() or self.local is not None:
            mean, covariance = self.mean_and_covariance(encoded)
            dof = self.errors.shape.dof
            return tfp_distribution.joint_distribution(mean, covariance, dof)
        X, _ = self._inputs(encoded.features)
        return tfp_distribution.variational_gaussian_process(
            self.posterior, X, encoded.offset, self.y_mean, self.y_scale,
            self.one_output,
        )  # fmt: skip

    def _inputs(self, features):
        """Return standardised features and the prior mean's basis."""
        X = self.scaling.features(features)
        return X, self.scaling.basis(X)

    def _checked(self, encoded, values):
        """Return predictions; raise ValueError unless those of all samples are finite.

        Samples without features have none.
        """
        valid = encoded.pick(values)
        finite = np.isfinite(valid).all(axis=tuple(range(1, valid.ndim)))
        if finite.all():
            return values
        bad = int(np.argmin(finite))
        distance = np.abs(self.scaling.features(encoded.features[[bad]])).max()
        raise ValueError(
            f"The prediction of sample {encoded.index[bad]} exceeds the range of "
            f"float64: its features lie up to {distance:.0e} standard deviations from "
            "the mean of the training samples. Check their units, or leave the sample "
            "out."
        )

    def _noisy_covariance(self, X, H):
        covariance = self.posterior.covariance(X)
        if self.local is not None:  # whose variances take these correlations
            variance = np.maximum(np.diag(covariance), np.finfo(float).tiny)
            scale = np.sqrt(self.local.mean_and_variance(X, H)[1] / variance)
            covariance = scale[:, None] * covariance * scale
        noise = self.predictor.noise * self.errors.ratio(X)
        # At least the rounding error of the difference from the prior
        prior = self.posterior.kernel.diagonal(self.predictor.theta, X)
        rounding = 4.0 * np.finfo(float).eps * len(X) * prior
        covariance[np.diag_indices_from(covariance)] += np.maximum(noise, rounding)
        return covariance

    def _in_units(self, encoded, mean):
        target = encoded.target_map(self.y_mean, self.y_scale)
        return self._placed(encoded, target.scale * mean + target.shift)

    def _placed(self, encoded, values):
        return encoded.scatter_rows(values[:, 0] if self.one_output else values)


def _standardise(encoded, targets, params):
    """Choose the units of the Gaussian process, and read the kernel, which is in them.

    Parameters
    ----------
    encoded, targets, params
        As in `Head.fit`.

    Returns
    -------
    kernel : sklearn.gaussian_process.kernels.Kernel
        The initial kernel, its columns as positions.
    scaling : Standardisation
    y_mean, y_scale : ndarray of shape (k,)
    variance : float
        Variance of the standardised targets, averaged over outputs.
    """
    weights, y = encoded.pick(targets.weights), encoded.pick(targets.columns)
    y_mean, y_scale = np.zeros(y.shape[1]), np.ones(y.shape[1])
    t, index = encoded.target_map(y_mean, y_scale).forward(y), None
    kept = weights > 0
    if targets.std is not None and kept.any():
        noise, own = encoded.pick(targets.std) ** 2, y[kept]
        usual = np.median((own - np.median(own, axis=0)) ** 2)
        kept &= noise <= max(_MUCH_NOISE * np.median(noise[kept]), usual)
    if not np.all(kept):
        index = np.flatnonzero(kept)
        t, weights = t[index], weights[index]
    if not len(weights):
        raise ValueError(
            "No sample has both features and a positive weight, so nothing is left to "
            "fit."
        )
    mean, scale, _ = scales(t, weights)
    same = (t == t[0]).all(axis=0)
    if same.any() and not same.all():
        warn_user(
            f"y is constant in the outputs {np.flatnonzero(same).tolist()}: all share "
            "one kernel and noise, which these make too small for the others. Leave "
            "them out."
        )
    if params.normalize_y:
        # A residual of the network has its prior mean at zero, not at its own.
        y_mean = y_mean if params.mean == "network" else mean
        y_scale = scale
    elif np.abs(t).max() > 1e150:
        raise ValueError(
            f"Got targets up to {np.abs(t).max():.0e} with normalize_y=False, and "
            "their squares exceed the range of float64. Pass normalize_y=True."
        )
    given = encoded.kernel if params.kernel is None else params.kernel
    d, together = encoded.features.shape[1], encoded.together
    kernel = make_kernel(given, d, encoded.blocks)
    if not isinstance(given, str | type(None)):  # whose columns are resolved
        kernel, some = resolve_columns(kernel, d, encoded.blocks)
        together = (*together, *some)
    x_mean, x_scale, largest = scales(
        encoded.features, weights, index, encoded.dtype, together, encoded.gaps
    )
    limits = None
    if params.kernel is None and params.mean != "linear":
        limits = largest / x_scale + _MARGIN
        for columns in together:  # an element that no training sample has
            limits[columns] = np.inf
    scaling = Standardisation(x_mean, x_scale, params.mean, encoded.gaps, limits)
    variance = float(np.mean((scale / y_scale) ** 2))
    return kernel, scaling, y_mean, y_scale, variance


def _is_finite(posterior):
    """Return whether no sum over the samples did overflow."""
    return np.isfinite(posterior.elbo) and np.isfinite(posterior.alpha).all()
