"""Train the head and its standardisation while the network's features change."""

import numpy as np

from .._gp import inducing, minibatch
from .._gp.moving import highest_bound
from .._gp.noise_level import refit_noise
from .._gp.posterior import SparsePosterior, exact_posterior, optimal_posterior
from .._gp.samples import LOG_2PI, GroupedSamples
from .._gp.training import log_prior

# More points are no better for moving features, and a step costs the cube of them.
MAX_POINTS = 300


class MovingScaling:
    """Standardise features that change with the network.

    The head standardises the network's features, so that a shift or scale common to all
    samples has no effect. Without this, features that hardly differ between samples
    diverge: a small step of a weight moves them by hundreds of standard deviations.

    Mean and scale are those of all samples at the last full pass, corrected by the
    change of a batch since: exact for the full batch, little noise for a small one.

    Parameters
    ----------
    mean, scale : ndarray of shape (d,)
        Of the original network's features.
    weights : ndarray of shape (n,)
        Weights of all samples.
    """

    def __init__(self, mean, scale, weights):
        self.mean, self.scale, self.weights, self._then = mean, scale, weights, None

    def at(self, features):
        """Standardise features by the last full pass."""
        return np.ascontiguousarray((features - self.mean) / self.scale)

    def keep(self, index, features):
        """Standardise all samples of a full pass, and keep them as the reference."""
        if self._then is not None:
            self.mean, self.scale, *_ = self._moved(index, features)
        self._then = np.zeros((len(self.weights), features.shape[1]))
        self._then[index] = features
        return self.at(features)

    def follow(self, index, features):
        """Standardise a batch.

        Returns
        -------
        X : ndarray of shape (n, d)
            Standardised features.
        pull : callable
            From gradients by X to gradients by ``features``.
        """
        mean, scale, w, centred, variance = self._moved(index, features)

        def pull(by_X):
            # X = (f - mean_b(f)) / scale(f) + constant: as through batch normalisation
            along = w * centred * np.sum(by_X * centred / scale, axis=0)
            by_scale = np.divide(
                along, variance, out=np.zeros_like(along), where=variance > 0
            )
            return (by_X - w * by_X.sum(axis=0)) / scale - by_scale

        return np.ascontiguousarray((features - mean) / scale), pull

    def _moved(self, index, features):
        """Return mean and scale now, and terms of their derivatives by the batch."""
        w = self.weights[index, None] / self.weights[index].sum()
        then = self._then[index]
        centre, before = (w * features).sum(axis=0), (w * then).sum(axis=0)
        centred = features - centre
        variance = (w * centred**2).sum(axis=0)
        earlier = (w * (then - before) ** 2).sum(axis=0)
        # Below rounding a column is constant and has no scale to follow.
        tiny = (1e-6 * (np.abs(centre) + np.abs(before))) ** 2
        moves = (variance > tiny) & (earlier > tiny)
        variance = np.where(moves, variance, 0.0)
        ratio = np.ones_like(variance)
        ratio[moves] = np.sqrt(variance[moves] / earlier[moves])
        # The mean keeps its place among the samples of the batch.
        mean = centre + ratio * (self.mean - before)
        return mean, self.scale * ratio, w, centred, variance


class MovingHead:
    """Train the head while the features change."""

    def __init__(self, posterior, learning_rate):
        self.kernel, self.theta = posterior.kernel, posterior.theta
        self.rate = learning_rate
        self.Z, self.beta = posterior.Z, posterior.beta

    def place(self, samples, rng):
        """Choose inducing points and initial hyperparameters.

        There are at most half as many points as samples: with one at each sample a
        short length scale and little noise fit any target, until the features change.
        """
        groups = GroupedSamples.of(samples)
        limit = max(1, min(MAX_POINTS, len(groups.X) // 2))
        if len(self.Z) > limit:
            self.Z = inducing.select(
                self.kernel, self.theta, groups, limit, "kmeans", rng
            )
            # A head without signal has no gradient: the kernel's are then better.
            starts = [
                highest_bound(self.kernel, theta, self.Z, samples, _silent)
                for theta in (self.theta, self.kernel.theta)
            ]
            self.theta = max(starts, key=lambda found: found.elbo).theta
        self.Z = self.Z.copy()
        shapes = self.theta.shape, self.beta.shape, self.Z.shape
        self.adam = [minibatch.Adam(shape, self.rate) for shape in shapes]

    def solve(self, samples):
        """Bring q(u) and the prior mean to their optimum; return the bound."""
        self.posterior_at = optimal_posterior(self.kernel, self.theta, self.Z, samples)
        posterior = self.posterior_at(self.theta)
        self.beta = posterior.beta
        self.state = minibatch.Variational.of(posterior)
        prior, _ = log_prior(self.kernel, self.theta)
        return posterior.elbo + prior

    def step(self, samples, scale, rate):
        """Take a step on a batch; return the gradients by its samples before it."""
        kernel = self.kernel
        _, gradients = minibatch.batch_bound(
            kernel, self.theta, self.Z, self.beta, samples, self.state, scale, rate,
            wrt_samples=True,
        )  # fmt: skip
        by_theta, by_beta, by_Z, *by_rows = gradients
        theta, beta, Z = self.adam
        step = theta.step(by_theta + log_prior(kernel, self.theta)[1])
        self.theta = np.clip(self.theta + step, *kernel.bounds.T)
        self.beta = self.beta + beta.step(by_beta)
        self.Z = self.Z + Z.step(by_Z)
        return by_rows

    def densities(self, samples):
        """Return the log density of other samples at the noise that maximises it."""
        found = _refit_noise_on(self.posterior_at, self.theta, samples, _silent)
        return _densities(samples)(found)


def _silent(stage, iteration, value):
    pass


def noise_of_others(posterior, samples, held_out, report):
    """Return the posterior at a noise variance fitted to held-out samples.

    The residuals of a tuned network on its own training samples are small, so that the
    noise variance fitted to them is too small for others.

    Parameters
    ----------
    posterior : ExactPosterior or SparsePosterior
        Posterior of all samples.
    samples : Samples
        All samples.
    held_out : ndarray of int
        Indices of the samples that the network was not tuned on.
    report : callable
        As for `tune`.

    Returns
    -------
    posterior : ExactPosterior or SparsePosterior
        Of all samples, with another noise variance.
    """
    kernel, theta = posterior.kernel, posterior.theta

    def posteriors_of(some):
        if isinstance(posterior, SparsePosterior):
            return optimal_posterior(kernel, theta, posterior.Z, some)
        groups = GroupedSamples.of(some)
        K = kernel.lower(theta, groups.X)
        return lambda theta: exact_posterior(kernel, theta, groups, K)

    tuned_on = np.setdiff1d(np.arange(len(samples.weights)), held_out)
    posterior_at = posteriors_of(samples.take(tuned_on))
    found = _refit_noise_on(posterior_at, theta, samples.take(held_out), report)
    # A smaller noise variance of few samples is chance, not an effect of tuning.
    if found.noise <= posterior.noise:
        return posterior
    return posteriors_of(samples)(found.theta)


def _densities(samples):
    """Return the log density of each sample as a function of the others' posterior."""
    k = samples.n_outputs

    def densities(posterior):
        mean, variance = posterior.mean_and_variance(samples.X, samples.T[:, k:])
        variance = variance + posterior.noise
        square = ((samples.T[:, :k] - mean) ** 2).sum(axis=1) / variance
        return -0.5 * (k * (LOG_2PI + np.log(variance)) + square)

    return densities


def _refit_noise_on(posterior_at, theta, samples, report):
    """Return the posterior at the noise that maximises the density of samples."""
    densities = _densities(samples)
    return refit_noise(
        posterior_at, posterior_at(theta), report,
        lambda posterior: float(samples.weights @ densities(posterior)),
    )  # fmt: skip
