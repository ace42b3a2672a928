"""Compute the exact and the sparse posterior of the Gaussian process.

Notation (Hensman et al. 2013, arXiv:1309.6835; Titsias 2009): Z are m inducing
points, ``Kuu = Lz Lz'``, ``A = Lz^-1 Kuf`` the whitened cross-covariance, s2 the
noise variance, W the sample weights. Targets ``T = [Y, H]`` hold the k outputs and
the q basis functions of the prior mean side by side, so that the mean's coefficients
follow from the same sums.

A weight multiplies the log-likelihood of its sample: weight 2 is the sample twice.
Everything here is NumPy and BLAS in float64.
"""

import dataclasses

import numpy as np
from scipy.linalg import lapack
from scipy.linalg.blas import dgemm, dsyrk, dtrsm

from .._parallel import run_tasks
from .._validation import warn_user
from .encoded import blocks
from .linalg import JITTERS, cholesky, product, solve_lower, symmetric
from .samples import LOG_2PI

# Bytes of a block of K(X, Z) and its least number of rows. Such blocks stay in the
# cache: they are twice as fast as those of 2**26 bytes.
CHUNK = 2**22, 64
# Statistics are summed by parts: their least number of samples, their largest number.
PART_ROWS = 2**14
MAX_PARTS = 256


@dataclasses.dataclass
class SufficientStatistics:
    """Sums over samples on which a posterior depends; they add up.

    Parameters
    ----------
    Phi : ndarray of shape (m, m)
        ``A W A'``; only the lower triangle is meaningful.
    b : ndarray of shape (m, p)
        ``A W T``.
    TT : ndarray of shape (p, p)
        ``T' W T``.
    trace : float
        ``tr(W Kff)``.
    count : float
        Number of observations.
    log_ratio : float
        Their log noise variances relative to s2, summed.
    """

    Phi: np.ndarray
    b: np.ndarray
    TT: np.ndarray
    trace: float
    count: float
    log_ratio: float

    def __add__(self, other):
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return SufficientStatistics(*(one + another for one, another in pairs))


def collect_statistics(kernel, theta, Z, Lz, samples, n_jobs=1):
    """Sum the statistics of samples in chunks, in memory O(m^2).

    Samples are cut into parts by their number alone, and parts are added in order: the
    sum is the same for any number of processes.

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    theta : ndarray of shape (n_theta,)
        Log hyperparameters.
    Z : ndarray of shape (m, d)
        Inducing points.
    Lz : ndarray of shape (m, m)
        Cholesky factor of K(Z, Z).
    samples : Samples or RawSamples
        With positive weights.
    n_jobs : int or None, default=1
        Number of processes (of joblib's backend) that share the parts. None takes it
        from ``joblib.parallel_config``.

    Returns
    -------
    statistics : SufficientStatistics
        Sums over all samples.
    """
    model = kernel, theta, Z, Lz
    sums = run_parts(_statistics_of_part, model, len(Z), samples, n_jobs)
    total = next(sums)
    for one in sums:
        total += one
    return total


def run_parts(function, model, m, samples, n_jobs):
    """Yield ``function((*model, part))`` of the parts of samples, in their order.

    Parameters
    ----------
    function : callable
        An importable function.
    model : tuple
        What a worker needs to know beside the samples.
    m : int
        Number of points of the model.
    samples : Samples or RawSamples
        Of `Samples` no more than one part.
    n_jobs : int or None
        As in `collect_statistics`.
    """
    n = len(samples.weights)
    # The work of a part, n m^2, outweighs the 16 m^2 bytes that it costs on a network.
    size = max(8 * m, PART_ROWS, -(-n // MAX_PARTS))
    if n <= size:
        yield function((*model, samples))
        return
    starts = range(0, n, size)
    tasks = ((*model, samples.part(slice(start, start + size))) for start in starts)
    yield from run_tasks(function, tasks, n_jobs, window=1)


def _statistics_of_part(task):
    """Sum the statistics of (kernel, theta, Z, Lz, samples)."""
    kernel, theta, Z, Lz, samples = task
    m = len(Z)
    Phi = np.zeros((m, m), order="F")
    b, TT, trace = 0.0, 0.0, 0.0
    for chunk in blocks(len(samples.weights), m, *CHUNK):
        some = samples.take(chunk)
        K = kernel.matrix(theta, some.X, Z)
        A = dtrsm(1.0, Lz, K.T, lower=1, overwrite_b=1)
        root = np.sqrt(some.weights)
        A *= root
        T = root[:, None] * some.T
        Phi = dsyrk(1.0, A, beta=1.0, c=Phi, lower=1, overwrite_c=1)
        b = b + dgemm(1.0, A, T)
        TT = TT + product(T.T, T)
        trace += some.weights @ kernel.diagonal(theta, some.X)
    return SufficientStatistics(Phi, b, TT, float(trace), *samples.tally())


def mean_coefficients(Q, n_outputs):
    """Return the generalised least-squares coefficients and the residual map.

    Parameters
    ----------
    Q : ndarray of shape (p, p)
        ``T' C^-1 T`` with C the marginal covariance of the targets.
    n_outputs : int
        k: the first k columns of T are targets, the others basis functions.

    Returns
    -------
    beta : ndarray of shape (q, k)
        Coefficients; zero along directions the data does not determine.
    residual : ndarray of shape (p, k)
        ``T @ residual`` are the targets less the prior mean.
    """
    k, q = n_outputs, len(Q) - n_outputs
    beta = np.zeros((q, k))
    if q:
        scale = np.sqrt(np.maximum(np.diag(Q)[k:], np.finfo(float).tiny))
        values, vectors = np.linalg.eigh(Q[k:, k:] / np.outer(scale, scale))
        keep = values > 1e-10 * values[-1]
        vectors = vectors[:, keep] / scale[:, None]
        beta = vectors @ ((vectors.T @ Q[k:, :k]) / values[keep, None])
    return beta, np.vstack([np.eye(k), -beta])


def warn_about_jitter(jitter, diagonal):
    """Warn where the jitter is large enough to affect predictions."""
    relative = jitter / (np.mean(diagonal) or 1.0)
    if relative > 5e-7:
        warn_user(
            f"The covariance of the {len(diagonal)} inducing points is nearly "
            f"singular: {relative:.0e} of its mean diagonal was added to factor it. "
            "Points that (nearly) coincide or a very long length scale do this; fewer "
            "inducing points or inducing_init='greedy' avoid it.",
            RuntimeWarning,
        )


@dataclasses.dataclass
class _Posterior:
    """Gaussian process posterior, of NumPy arrays and a scikit-learn kernel.

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    theta : ndarray of shape (n_theta,)
        Log hyperparameters.
    noise : float
        Noise variance s2.
    Z : ndarray of shape (m, d)
        Inducing points; the distinct training samples of an exact GP.
    alpha : ndarray of shape (m, k)
        The posterior mean is ``K(x, Z) alpha`` plus the prior mean.
    beta : ndarray of shape (q, k)
        Coefficients of the prior mean's basis functions.
    TT : ndarray of shape (p, p)
        ``T' W T`` of all samples.
    count : float
        Number of observations.
    log_ratio : float
        Their log noise variances relative to s2, summed.
    jitter : float
        Added to the diagonal of the factored covariance.
    elbo : float
        Evidence lower bound (log marginal likelihood of an exact GP), in nats,
        summed over outputs.
    """

    kernel: object
    theta: np.ndarray
    noise: float
    Z: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    TT: np.ndarray
    count: float
    log_ratio: float
    jitter: float
    elbo: float

    def mean(self, X, H):
        """Return the latent mean at X, of shape (n, k); H is its (n, q) basis."""
        mean = H @ self.beta
        for rows in blocks(len(X), len(self.Z), *CHUNK):
            K = self.kernel.matrix(self.theta, X[rows], self.Z)
            mean[rows] += product(K, self.alpha)
        return mean

    def mean_and_variance(self, X, H):
        """Return the latent mean (n, k) and variance (n,), noise not included."""
        mean = H @ self.beta
        variance = self.kernel.diagonal(self.theta, X)
        for rows in blocks(len(X), len(self.Z), *CHUNK):
            K = self.kernel.matrix(self.theta, X[rows], self.Z)
            mean[rows] += product(K, self.alpha)
            for sign, factor in self._factors(K):
                variance[rows] += sign * np.einsum("ij,ij->j", factor, factor)
        # Rounding may leave a tiny negative number where the data determines f.
        return mean, np.maximum(variance, 0.0)

    def covariance(self, X):
        """Return the latent covariance at X, of shape (n, n), without noise."""
        covariance = symmetric(self.kernel.lower(self.theta, X))
        for sign, factor in self._factors(self.kernel.matrix(self.theta, X, self.Z)):
            covariance += sign * product(factor.T, factor)
        return 0.5 * (covariance + covariance.T)

    def update(self, samples, n_jobs=1):
        """Return the posterior with samples added, and the same hyperparameters.

        That of an exact GP becomes sparse: its training samples are the inducing
        points.
        """
        statistics, Lz, jitter = self.statistics()
        statistics += collect_statistics(
            self.kernel, self.theta, self.Z, Lz, samples, n_jobs
        )
        return sparse_posterior(
            self.kernel, self.theta, self.Z, Lz, statistics, samples.n_outputs, jitter
        )


@dataclasses.dataclass
class ExactPosterior(_Posterior):
    """Posterior of an exact GP.

    Parameters
    ----------
    T : ndarray of shape (m, p)
        Targets of the distinct samples.
    weights : ndarray of shape (m,)
        Their weights.
    L : ndarray of shape (m, m) or None
        Cholesky factor of ``K + s2 W^-1``. A pickle leaves it out; it is computed
        again when it is first needed.
    """

    T: np.ndarray
    weights: np.ndarray
    L: np.ndarray | None

    def __getstate__(self):
        return {**vars(self), "L": None}

    def factor(self):
        """Return L."""
        if self.L is None:
            variances = self.noise / self.weights
            K = self.kernel.lower(self.theta, self.Z)
            self.L, _ = cholesky(K, (0.0, *JITTERS), diagonal=variances)
        return self.L

    def _factors(self, K):
        yield -1.0, solve_lower(self.factor(), K.T, overwrite=True)

    def statistics(self):
        """Return the statistics of the samples as inducing points, Lz and jitter."""
        Lz, jitter = cholesky(self.kernel.lower(self.theta, self.Z))
        diagonal = self.kernel.diagonal(self.theta, self.Z)
        warn_about_jitter(jitter, diagonal)
        # A = Lz^-1 Kuu = Lz' on the samples themselves
        A = Lz.T * np.sqrt(self.weights)
        Phi = np.asfortranarray(product(A, A.T))
        b = product(Lz.T, self.weights[:, None] * self.T)
        trace = float(self.weights @ diagonal)
        tally = self.count, self.log_ratio
        return SufficientStatistics(Phi, b, self.TT, trace, *tally), Lz, jitter


@dataclasses.dataclass
class SparsePosterior(_Posterior):
    """Optimal posterior at inducing points (Titsias 2009).

    Parameters
    ----------
    b : ndarray of shape (m, p)
        ``A W T``.
    trace : float
        ``tr(W Kff)``.
    Lb : ndarray of shape (m, m)
        Cholesky factor of ``B = I + Phi / s2``. A pickle holds its lower triangle.
    Lz : ndarray of shape (m, m) or None
        Cholesky factor of Kuu. A pickle leaves it out, as that of `ExactPosterior`.
    """

    b: np.ndarray
    trace: float
    Lb: np.ndarray
    Lz: np.ndarray | None

    def __getstate__(self):
        packed, _ = lapack.dtrttp(self.Lb, uplo="L")
        return {**vars(self), "Lb": packed, "Lz": None}

    def __setstate__(self, state):
        lower, _ = lapack.dtpttr(len(state["Z"]), state["Lb"], uplo="L")
        vars(self).update(state, Lb=lower)

    def factor(self):
        """Return Lz."""
        if self.Lz is None:
            K = self.kernel.lower(self.theta, self.Z)
            self.Lz, _ = cholesky(K, (0.0, *JITTERS), diagonal=self.jitter)
        return self.Lz

    def _factors(self, K):
        A = solve_lower(self.factor(), K.T, overwrite=True)
        yield -1.0, A
        yield 1.0, solve_lower(self.Lb, A)

    def statistics(self):
        """Return the statistics of all samples, Lz and jitter."""
        Phi = dgemm(self.noise, self.Lb, self.Lb, trans_b=1)
        Phi[np.diag_indices_from(Phi)] -= self.noise
        statistics = SufficientStatistics(
            Phi, self.b, self.TT, self.trace, self.count, self.log_ratio
        )
        return statistics, self.factor(), self.jitter


def sparse_posterior(kernel, theta, Z, Lz, statistics, n_outputs, jitter=0.0):
    """Return the optimal posterior (Titsias 2009) for given statistics.

    Parameters
    ----------
    kernel, theta, Z, Lz, jitter
        As in `SparsePosterior`.
    statistics : SufficientStatistics
        Of all samples.
    n_outputs : int
        k.

    Returns
    -------
    posterior : SparsePosterior
        With the bound in ``elbo``.
    """
    k, noise = n_outputs, kernel.noise(theta)
    B = statistics.Phi / noise
    B[np.diag_indices_from(B)] += 1.0
    Lb, info = lapack.dpotrf(B, lower=1, overwrite_a=1)
    if info:
        raise np.linalg.LinAlgError(
            f"I + Phi / noise is not positive definite: the noise variance {noise:.1e} "
            "is too small beside that of the function, in double precision, or the "
            "statistics do not come from samples of these inducing points."
        )
    c = dtrsm(1.0 / noise, Lb, statistics.b, lower=1)
    # Q = T' (A' A + s2 W^-1)^-1 T by the matrix inversion lemma
    Q = statistics.TT / noise - product(c.T, c)
    beta, residual = mean_coefficients(Q, k)
    alpha = dtrsm(1.0, Lb, c @ residual, lower=1, trans_a=1)
    alpha = dtrsm(1.0, Lz, alpha, lower=1, trans_a=1)
    # -k/2 (sum log 2 pi s2 / w + log|B|) - tr(R'QR)/2 - k/2 (tr W Kff - tr Phi) / s2
    log_noise = statistics.count * (LOG_2PI + np.log(noise)) + statistics.log_ratio
    elbo = -0.5 * k * log_noise
    elbo -= k * np.log(np.diag(Lb)).sum()
    elbo -= 0.5 * np.einsum("pk,pq,qk->", residual, Q, residual)
    elbo -= 0.5 * k * (statistics.trace - np.trace(statistics.Phi)) / noise
    return SparsePosterior(
        kernel, theta, noise, Z, alpha, beta, statistics.TT, statistics.count,
        statistics.log_ratio, jitter, float(elbo), statistics.b, statistics.trace, Lb,
        Lz,
    )  # fmt: skip


def optimal_posterior(kernel, theta, Z, samples, n_jobs=1):
    """Compute the posteriors at given inducing points, in one pass over the samples.

    Returns
    -------
    posterior_at : callable
        `SparsePosterior` as a function of theta, of which only the noise may differ
        from ``theta``.
    """
    Lz, jitter = cholesky(kernel.lower(theta, Z))
    statistics = None

    def posterior_at(theta):
        nonlocal statistics
        if statistics is None or samples.known is not None:  # weights depend on s2
            some = samples.at(kernel.noise(theta))
            statistics = collect_statistics(kernel, theta, Z, Lz, some, n_jobs)
        return sparse_posterior(
            kernel, theta, Z, Lz, statistics, samples.n_outputs, jitter
        )

    return posterior_at


def exact_posterior(kernel, theta, groups, K=None):
    """Return the exact posterior: every distinct sample is an inducing point.

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    theta : ndarray of shape (n_theta,)
        Log hyperparameters.
    groups : GroupedSamples
        Distinct samples with their mean targets.
    K : ndarray of shape (g, g), default=None
        ``kernel.lower(theta, groups.X)`` where the caller has it; not changed.

    Returns
    -------
    posterior : ExactPosterior
        With the log marginal likelihood in ``elbo``.
    """
    noise = kernel.noise(theta)
    variances = groups.variances(noise)
    K = kernel.lower(theta, groups.X) if K is None else K
    L, jitter = cholesky(K, (0.0, *JITTERS), diagonal=variances)
    warn_about_jitter(jitter, kernel.diagonal(theta, groups.X))
    c = dtrsm(1.0, L, groups.T, lower=1)
    Q = product(c.T, c) + groups.within / noise
    beta, residual = mean_coefficients(Q, groups.n_outputs)
    alpha = dtrsm(1.0, L, c @ residual, lower=1, trans_a=1)
    weights = noise / variances
    log_noise, _ = groups.log_noise(noise)
    value = log_marginal(L, Q, residual, log_noise)
    count = groups.counts.sum()
    return ExactPosterior(
        kernel, theta, noise, groups.X, alpha, beta,
        groups.T.T @ (weights[:, None] * groups.T) + groups.within, float(count),
        log_noise + np.log(variances).sum() - count * (LOG_2PI + np.log(noise)),
        jitter, value, groups.T, weights, L,
    )  # fmt: skip


def log_marginal(L, Q, residual, log_noise):
    """Return the log marginal likelihood of grouped samples, summed over outputs.

    The samples of a group g contribute N(mean_g; f, N_g), which ``L`` and ``Q`` hold,
    times a factor that depends on the noise alone, ``log_noise``.
    """
    k = residual.shape[1]
    value = -k * np.log(np.diag(L)).sum() - 0.5 * k * log_noise
    return float(value - 0.5 * np.einsum("pk,pq,qk->", residual, Q, residual))
