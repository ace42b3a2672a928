"""The sparse variational Gaussian process: statistics, bound and posterior.

Notation (Hensman et al. 2013, arXiv:1309.6835; Titsias 2009): Z are m inducing
points, ``Kuu = Lz Lz'``, ``A = Lz^-1 Kuf`` the whitened cross-covariance, s2 the
noise variance, W the sample weights. Targets ``T = [Y, H]`` hold the k outputs and
the q basis functions of the prior mean side by side, so that the mean's coefficients
follow from the same sums.

A weight multiplies the log-likelihood of its row: weight 2 is the row twice.
Everything here is NumPy and BLAS in float64; kernels come in as
:class:`~sklearn_unlocknn._gp.covariance.Covariance`, rows as those of
:mod:`~sklearn_unlocknn._gp.rows`.
"""

import dataclasses

import numpy as np
from scipy.linalg import lapack
from scipy.linalg.blas import dgemm, dtrsm

from .linalg import JITTERS, cholesky, product, warn_about_jitter
from .statistics import SufficientStatistics, chunks, collect_statistics

LOG_2PI = np.log(2.0 * np.pi)


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


@dataclasses.dataclass
class Posterior:
    """Gaussian process posterior in NumPy arrays alone.

    With ``Lb`` None the inducing points are the rows themselves (exact GP): ``Lz``
    then factors ``K + s2 W^-1``. Otherwise ``Lz`` factors ``Kuu`` and ``Lb``
    factors ``B = I + Phi / s2``.

    Parameters
    ----------
    theta : ndarray of shape (n_theta,)
        Log hyperparameters.
    noise : float
        Noise variance s2.
    Z : ndarray of shape (m, d)
        Inducing points.
    alpha : ndarray of shape (m, k)
        The posterior mean is ``K(x, Z) alpha`` plus the prior mean.
    beta : ndarray of shape (q, k)
        Coefficients of the prior mean's basis functions.
    Lz, Lb : ndarray of shape (m, m), or None
        Cholesky factors as above.
    b, TT, trace, weight
        The statistics less Phi, which ``Lb`` holds. For the exact GP, ``b`` are
        the rows' targets T and ``trace`` their weights, an array of shape (m,).
    jitter : float
        Added to the diagonal of Kuu.
    elbo : float
        Evidence lower bound (log marginal likelihood for the exact GP), in nats,
        summed over outputs.
    """

    theta: np.ndarray
    noise: float
    Z: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray
    Lz: np.ndarray
    Lb: np.ndarray | None
    b: np.ndarray
    TT: np.ndarray
    trace: float | np.ndarray
    weight: float
    jitter: float
    elbo: float

    def mean(self, kernel, X, H):
        """Return the latent mean at X, of shape (n, k); H is its (n, q) basis."""
        mean = H @ self.beta
        for rows in chunks(len(X), len(self.Z)):
            mean[rows] += product(
                kernel.matrix(self.theta, X[rows], self.Z), self.alpha
            )
        return mean

    def mean_and_variance(self, kernel, X, H):
        """Return the latent mean (n, k) and variance (n,), noise not included."""
        mean = H @ self.beta
        variance = np.empty(len(X))
        for rows in chunks(len(X), len(self.Z)):
            K = kernel.matrix(self.theta, X[rows], self.Z)
            mean[rows] += product(K, self.alpha)
            A, C = self._reduce(K)
            variance[rows] = kernel.diagonal(self.theta, X[rows])
            variance[rows] -= np.einsum("ij,ij->j", A, A)
            if C is not None:
                variance[rows] += np.einsum("ij,ij->j", C, C)
        # Rounding may leave a tiny negative number where the data pins f down.
        return mean, np.maximum(variance, 0.0)

    def covariance(self, kernel, X):
        """Return the latent covariance at X, of shape (n, n), without noise."""
        A, C = self._reduce(kernel.matrix(self.theta, X, self.Z))
        covariance = kernel.matrix(self.theta, X, X) - product(A.T, A)
        if C is not None:
            covariance += product(C.T, C)
        return 0.5 * (covariance + covariance.T)

    def _reduce(self, K):
        """Return ``A = Lz^-1 K'`` and ``Lb^-1 A`` (None for the exact GP)."""
        A = dtrsm(1.0, self.Lz, K.T, lower=1, overwrite_b=1)
        return A, None if self.Lb is None else dtrsm(1.0, self.Lb, A, lower=1)


def sparse_posterior(theta, noise, Z, Lz, statistics, n_outputs, jitter=0.0):
    """Return the optimal posterior (Titsias 2009) for given statistics.

    Parameters
    ----------
    theta, noise, Z, Lz, jitter
        As in :class:`Posterior`.
    statistics : SufficientStatistics
        Of all rows.
    n_outputs : int
        k.

    Returns
    -------
    posterior : Posterior
        With the bound in ``elbo``.
    """
    k = n_outputs
    B = statistics.Phi / noise
    B[np.diag_indices_from(B)] += 1.0
    Lb, info = lapack.dpotrf(B, lower=1, overwrite_a=1)
    if info:
        raise np.linalg.LinAlgError(
            "I + Phi / noise is not positive definite: the statistics do not come "
            "from rows of these inducing points."
        )
    c = dtrsm(1.0 / noise, Lb, statistics.b, lower=1)
    # Q = T' (A' A + s2 W^-1)^-1 T by the matrix inversion lemma
    Q = statistics.TT / noise - product(c.T, c)
    beta, residual = mean_coefficients(Q, k)
    alpha = dtrsm(1.0, Lz, dtrsm(1.0, Lb, c @ residual, lower=1, trans_a=1), lower=1,
                  trans_a=1)  # fmt: skip
    # -k/2 (N log 2 pi s2 + log|B|) - tr(R'QR)/2 - k/2 (tr W Kff - tr Phi) / s2
    elbo = -0.5 * k * (statistics.weight * (LOG_2PI + np.log(noise)))
    elbo -= k * np.log(np.diag(Lb)).sum()
    elbo -= 0.5 * np.einsum("pk,pq,qk->", residual, Q, residual)
    elbo -= 0.5 * k * (statistics.trace - np.trace(statistics.Phi)) / noise
    return Posterior(
        theta, noise, Z, alpha, beta, Lz, Lb, statistics.b, statistics.TT,
        statistics.trace, statistics.weight, jitter, float(elbo),
    )  # fmt: skip


def exact_posterior(kernel, theta, rows, K=None):
    """Return the exact GP posterior: every distinct row is an inducing point.

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    theta : ndarray of shape (n_theta,)
        Log hyperparameters.
    rows : GroupedRows
        Distinct rows with their mean targets.
    K : ndarray of shape (g, g), default=None
        ``kernel.lower(theta, rows.X)`` where the caller has it; left as it is.

    Returns
    -------
    posterior : Posterior
        With the log marginal likelihood in ``elbo``.
    """
    noise = kernel.noise(theta)

    def covariance():
        return kernel.lower(theta, rows.X) if K is None else K.copy(order="F")

    L, jitter = cholesky(covariance, (0.0, *JITTERS), diagonal=noise / rows.weights)
    warn_about_jitter(jitter, kernel.diagonal(theta, rows.X))
    c = dtrsm(1.0, L, rows.T, lower=1)
    Q = product(c.T, c) + rows.within / noise
    beta, residual = mean_coefficients(Q, rows.n_outputs)
    alpha = dtrsm(1.0, L, c @ residual, lower=1, trans_a=1)
    elbo = log_marginal(L, Q, residual, noise, rows)
    return Posterior(
        theta, noise, rows.X, alpha, beta, L, None, rows.T,
        rows.T.T @ (rows.weights[:, None] * rows.T) + rows.within,
        rows.weights, float(rows.weights.sum()), jitter, elbo,
    )  # fmt: skip


def log_marginal(L, Q, residual, noise, rows):
    """Return the log marginal likelihood of grouped rows, summed over outputs.

    The rows of a group g contribute N(mean_g; f, s2 / w_g), which ``L`` and ``Q``
    hold, times a factor that depends on s2 alone.
    """
    n_groups, k = len(L), rows.n_outputs
    repeats = rows.weights.sum() - n_groups
    value = -k * np.log(np.diag(L)).sum() - 0.5 * k * n_groups * LOG_2PI
    value -= 0.5 * np.einsum("pk,pq,qk->", residual, Q, residual)
    value -= 0.5 * k * (repeats * (LOG_2PI + np.log(noise)))
    return float(value - 0.5 * k * np.log(rows.weights).sum())


def statistics_of(posterior, kernel):
    """Return the statistics a posterior was made of, with its Lz and jitter.

    For the exact GP they are formed here: its rows are the inducing points.
    """
    if posterior.Lb is not None:
        Phi = dgemm(posterior.noise, posterior.Lb, posterior.Lb, trans_b=1)
        Phi[np.diag_indices_from(Phi)] -= posterior.noise
        statistics = SufficientStatistics(
            Phi, posterior.b, posterior.TT, posterior.trace, posterior.weight
        )
        return statistics, posterior.Lz, posterior.jitter
    weights = posterior.trace
    K = kernel.matrix(posterior.theta, posterior.Z, posterior.Z)
    Lz, jitter = cholesky(K)
    warn_about_jitter(jitter, np.diag(K))
    # A = Lz^-1 Kuu = Lz' on the rows themselves
    A = Lz.T * np.sqrt(weights)
    statistics = SufficientStatistics(
        np.asfortranarray(product(A, A.T)),
        product(Lz.T, weights[:, None] * posterior.b),
        posterior.TT,
        float(weights @ np.diag(K)),
        posterior.weight,
    )
    return statistics, Lz, jitter


def update(posterior, kernel, rows, n_jobs=1):
    """Add rows to a posterior; hyperparameters and inducing points stay."""
    statistics, Lz, jitter = statistics_of(posterior, kernel)
    theta, Z = posterior.theta, posterior.Z
    statistics += collect_statistics(kernel, theta, Z, Lz, rows, n_jobs)
    return sparse_posterior(
        theta, posterior.noise, Z, Lz, statistics, rows.n_outputs, jitter
    )
