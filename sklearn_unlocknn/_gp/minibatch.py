"""Move hyperparameters and inducing points by batches of samples."""

import dataclasses

import numpy as np
from scipy.linalg import lapack
from scipy.linalg.blas import dgemm, dsymm, dsyrk, dtrsm

from .linalg import cholesky, product
from .samples import LOG_2PI
from .training import TOLERANCE, log_prior

BATCH_SIZE = 1024
RATE = 0.02  # of Adam, on log hyperparameters
INDUCING_RATE = 0.03  # of Adam, on standardised features
# The mean bound of a window of epochs is compared with that of the window before: two
# to five epochs, enough for this number of samples.
LEAST_WINDOW, MOST_WINDOW = 2, 5
WINDOW_SAMPLES = 500_000


def ascend_by_batches(posterior, samples, max_iter, rng, report):
    """Move all parameters by stochastic variational inference (Hensman et al. 2013).

    Natural gradient steps for q(u), Adam for hyperparameters, mean coefficients and
    inducing points on the bound of a batch scaled by N / |batch|. Stops where the mean
    bound of some epochs no longer grows.

    Parameters
    ----------
    posterior : SparsePosterior
        Initial posterior, of all samples.
    samples : Samples or RawSamples
        Training samples.
    max_iter : int
        Largest number of epochs.
    rng : numpy.random.RandomState
        Shuffles the samples.
    report : callable
        ``report(stage, iteration, value)``, called after every epoch.

    Returns
    -------
    theta : ndarray of shape (n_theta,)
        Log hyperparameters.
    Z : ndarray of shape (m, d)
        Inducing points.
    curve : ndarray of shape (n_epochs + 1,)
        The bound at the start, and its mean over the batches of each epoch.
    """
    kernel, n = posterior.kernel, len(samples.weights)
    theta, beta, Z = posterior.theta, posterior.beta, posterior.Z
    q = Variational.of(posterior)
    by_theta, by_beta = Adam(theta.shape, RATE), Adam(beta.shape, RATE)
    by_Z = Adam(Z.shape, INDUCING_RATE)
    total = samples.tally()[0]
    n_batches = -(-n // BATCH_SIZE)
    rate = min(0.1, 1 / n_batches)
    window = int(np.clip(-(-WINDOW_SAMPLES // n), LEAST_WINDOW, MOST_WINDOW))
    curve = []
    while len(curve) < max_iter and _rises(curve, window):
        values = []
        for index in np.array_split(rng.permutation(n), n_batches):
            batch = samples.take(index)
            scale = total / batch.tally()[0]
            value, grads = batch_bound(kernel, theta, Z, beta, batch, q, scale, rate)
            prior, prior_gradient = log_prior(kernel, theta)
            values.append(value + prior)
            step = by_theta.step(grads[0] + prior_gradient)
            theta = np.clip(theta + step, *kernel.bounds.T)
            beta = beta + by_beta.step(grads[1])
            Z = Z + by_Z.step(grads[2])
        curve.append(float(np.mean(values)))
        report("minibatch epoch", len(curve), curve[-1])
    start = posterior.elbo + log_prior(kernel, posterior.theta)[0]
    return theta, Z, np.array([start, *curve])


def _rises(curve, window):
    """Return whether the mean bound of some epochs exceeds that of those before.

    A single epoch is too noisy, as batches and steps differ.
    """
    if len(curve) < 2 * window:
        return True
    before, after = np.mean(np.reshape(curve[-2 * window :], (2, window)), axis=1)
    return after - before > TOLERANCE * max(abs(after), 1.0)


@dataclasses.dataclass
class Variational:
    """q(u) in whitened natural parameters: precision and precision times mean.

    Only the lower triangle of the precision is meaningful.
    """

    precision: np.ndarray
    shift: np.ndarray

    def __post_init__(self):
        """Store the precision in LAPACK's order."""
        self.precision = np.array(self.precision, order="F")

    @classmethod
    def of(cls, posterior):
        """Return q(u) of a sparse posterior."""
        k = posterior.beta.shape[1]
        shift = posterior.b[:, :k] - posterior.b[:, k:] @ posterior.beta
        precision = dsyrk(1.0, posterior.Lb, lower=1)
        return cls(precision, shift / posterior.noise)


def batch_bound(kernel, theta, Z, beta, batch, state, scale, rate, wrt_samples=False):
    """Step q(u) along its natural gradient; return the bound and its gradients.

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    theta, Z, beta : ndarray
        Log hyperparameters, inducing points (m, d), mean coefficients (q, k).
    batch : Samples
        Some of the samples.
    state : Variational
        q(u), updated in place.
    scale : float
        N / |batch|.
    rate : float
        Natural gradient step in (0, 1]: 1 is the batch's own optimum.
    wrt_samples : bool, default=False
        Whether to return the gradients by the samples, too.

    Returns
    -------
    value : float
        The bound at the updated q(u), unbiased over batches.
    gradients : tuple of ndarray
        By ``theta``, ``beta`` and ``Z``; then, if ``wrt_samples``, by ``batch.X``, the
        basis functions held fixed, and by ``batch.T``.
    """
    k, m, noise = batch.n_outputs, len(Z), kernel.noise(theta)
    H = batch.T[:, k:]
    residual = batch.T[:, :k] - H @ beta
    Kuu, pull_uu = kernel.vjp(theta, Z, Z)
    Kfu, pull_fu = kernel.vjp(theta, batch.X, Z)
    Lz, _ = cholesky(Kuu)
    A = dtrsm(1.0, Lz, Kfu.T, lower=1)
    weight = scale * batch.weights

    state.precision = dsyrk(
        rate, A * np.sqrt(weight / noise), beta=1.0 - rate, c=state.precision,
        lower=1, overwrite_c=1,
    )  # fmt: skip
    state.precision[np.diag_indices(m)] += rate
    state.shift *= 1.0 - rate
    state.shift += rate * product(A, weight[:, None] * residual) / noise
    L, _ = cholesky(state.precision, (0.0,))
    S = lapack.dpotri(L, lower=1)[0]
    mean = dsymm(1.0, S, state.shift, lower=1)

    error = residual - product(A.T, mean)
    SA = dsymm(1.0, S, A, lower=1)
    missing = SA - A
    variance = kernel.diagonal(theta, batch.X) + np.einsum("mn,mn->n", A, missing)
    square = np.einsum("nk,nk->n", error, error) + k * variance
    count, log_ratio = batch.tally()
    value = -0.5 * k * scale * (count * (LOG_2PI + np.log(noise)) + log_ratio)
    value -= 0.5 * weight @ square / noise
    # KL(q || N(0, I)), k outputs share the covariance
    kl = 0.5 * k * (np.trace(S) - m + 2.0 * np.log(np.diag(L)).sum())
    kl += 0.5 * np.einsum("mk,mk->", mean, mean)
    value -= kl

    by_error = weight[:, None] * error / noise
    by_variance = -0.5 * k * weight / noise
    missing *= 2.0 * by_variance
    by_A = dgemm(1.0, mean, by_error, beta=1.0, c=missing, trans_b=1, overwrite_c=1)
    by_Kuf = dtrsm(1.0, Lz, by_A, lower=1, trans_a=1, overwrite_b=1)
    # Adjoint of the Cholesky factor (Murray 2016, arXiv:1602.07527)
    inner = -np.tril(product(Lz.T, np.tril(product(by_Kuf, A.T))))
    inner[np.diag_indices(m)] *= 0.5
    by_Kuu = dtrsm(1.0, Lz, np.asfortranarray(inner), lower=1, trans_a=1)
    by_Kuu = dtrsm(1.0, Lz, by_Kuu, lower=1, side=1)
    by_Kuu = 0.5 * (by_Kuu + by_Kuu.T)
    by_noise = -0.5 * k * scale * count / noise + 0.5 * weight @ square / noise**2

    theta_uu, left, right = pull_uu(by_Kuu)
    theta_fu, X_fu, Z_fu = pull_fu(by_Kuf.T, by_variance)
    theta_gradient = theta_uu + theta_fu + by_noise * kernel.noise_gradient(theta)
    gradients = theta_gradient, H.T @ by_error, left + right + Z_fu
    if wrt_samples:
        # The residual is Y - H beta
        gradients += X_fu, np.hstack([-by_error, by_error @ beta.T])
    return float(value), gradients


class Adam:
    """Compute the steps of Adam, upwards (Kingma and Ba 2015, arXiv:1412.6980)."""

    def __init__(self, shape, rate, dtype=np.float64):
        self.rate, self.count = rate, 0
        self.first, self.second = np.zeros(shape, dtype), np.zeros(shape, dtype)

    def step(self, gradient):
        """Return the next increment."""
        self.count += 1
        self.first += 0.1 * (gradient - self.first)
        self.second += 0.001 * (gradient**2 - self.second)
        first = self.first / (1.0 - 0.9**self.count)
        second = self.second / (1.0 - 0.999**self.count)
        return self.rate * first / (np.sqrt(second) + 1e-8)
