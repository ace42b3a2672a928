"""Move inducing points, with the hyperparameters, by the gradient of the bound.

The O(n m^2) algebra is BLAS with closed-form adjoints; ``Covariance`` evaluates the
kernel and pulls its adjoint back to hyperparameters and inducing points. Notation as in
:mod:`sklearn_unlocknn._gp.posterior`.
"""

import numpy as np
from scipy.linalg import lapack
from scipy.linalg.blas import dgemm, dsymm, dtrsm

from .encoded import blocks
from .linalg import cholesky, product, symmetric
from .minibatch import ascend_by_batches
from .noise_level import refit_noise
from .posterior import CHUNK, collect_statistics, optimal_posterior, sparse_posterior
from .training import log_prior, maximise

# An L-BFGS iteration is a pass over all samples; with more of them batches are faster.
MOVED_BY_BATCH = 20_000


def move_points(kernel, theta, Z, samples, max_iter, rng, report, n_jobs=1):
    """Maximise the bound of all samples by hyperparameters and inducing points.

    By L-BFGS, or with many samples by stochastic variational inference.

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    theta : ndarray of shape (n_theta,)
        Log hyperparameters to start at.
    Z : ndarray of shape (m, d)
        Inducing points to start at.
    samples : Samples or RawSamples
        Training samples.
    max_iter : int
        Largest number of iterations, or epochs.
    rng : numpy.random.RandomState
        Source of randomness.
    report : callable
        ``report(stage, iteration, value)``.
    n_jobs : int or None, default=1
        Processes that share passes over the samples.

    Returns
    -------
    theta : ndarray of shape (n_theta,)
        Log hyperparameters.
    Z : ndarray of shape (m, d)
        Inducing points.
    curve : ndarray of shape (n_iter + 1,)
        The bound plus the log prior, from the start on.
    """
    if max_iter:
        posterior = highest_bound(kernel, theta, Z, samples, report, n_jobs)
        theta = posterior.theta
        if len(samples.weights) > MOVED_BY_BATCH:
            return ascend_by_batches(posterior, samples, max_iter, rng, report)
    n_theta = len(theta)

    def objective(vector):
        value, theta_gradient, Z_gradient = collapsed_bound(
            kernel, vector[:n_theta], vector[n_theta:].reshape(Z.shape), samples
        )
        prior, prior_gradient = log_prior(kernel, vector[:n_theta])
        gradient = [theta_gradient + prior_gradient, Z_gradient.ravel()]
        return value + prior, np.concatenate(gradient)

    start = np.concatenate([theta, Z.ravel()])
    bounds = np.vstack([kernel.bounds, np.full((Z.size, 2), [-np.inf, np.inf])])
    vector, curve = maximise(
        objective, start, bounds, max_iter, report, "inducing points"
    )
    return vector[:n_theta], vector[n_theta:].reshape(Z.shape), curve


def highest_bound(kernel, theta, Z, samples, report, n_jobs=1):
    """Return the posterior at the noise that maximises the bound of all samples.

    From the noise of a subset as an exact GP, which can be a hundredth of this one,
    Adam takes a thousand steps, and L-BFGS all its iterations (perovskites, 200 points
    moved: MAE .57 eV, from here .19).
    """
    posterior_at = optimal_posterior(kernel, theta, Z, samples, n_jobs)
    return refit_noise(posterior_at, posterior_at(theta), report)


def collapsed_bound(kernel, theta, Z, samples):
    """Return Titsias' bound on all samples and its gradient, in memory O(m^2).

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    theta : ndarray of shape (n_theta,)
        Log hyperparameters.
    Z : ndarray of shape (m, d)
        Inducing points.
    samples : Samples or RawSamples
        The data.

    Returns
    -------
    value : float
        In nats, summed over outputs.
    theta_gradient : ndarray of shape (n_theta,)
        By ``theta``.
    Z_gradient : ndarray of shape (m, d)
        By ``Z``.
    """
    k, noise, m = samples.n_outputs, kernel.noise(theta), len(Z)
    Kuu, pull_uu = kernel.vjp(theta, Z, Z)
    Lz, jitter = cholesky(Kuu)
    statistics = collect_statistics(kernel, theta, Z, Lz, samples)
    posterior = sparse_posterior(kernel, theta, Z, Lz, statistics, k, jitter)
    alpha, Lb = posterior.alpha, posterior.Lb
    residual = np.vstack([np.eye(k), -posterior.beta])

    Phi = symmetric(statistics.Phi)
    identity = np.eye(m)
    Binv = symmetric(lapack.dpotri(Lb, lower=1)[0])

    def unwhiten(matrix):
        """Return ``Lz^-T matrix Lz^-1``."""
        left = dtrsm(1.0, Lz, matrix, lower=1, trans_a=1)
        return dtrsm(1.0, Lz, left, lower=1, side=1)

    # F depends on Kuu, Phi_raw = Kuf W Kfu and b_raw = Kuf W R, with
    # Sigma = Kuu + Phi_raw / s2:
    # dF/dKuu = (-k Sigma^-1 + k Kuu^-1 - alpha alpha'
    #            - k Kuu^-1 Phi_raw Kuu^-1 / s2) / 2
    # dF/dPhi_raw = (-k Sigma^-1 - alpha alpha' + k Kuu^-1) / (2 s2) =: M
    # dF/dKuf = 2 M Kuf W + alpha R' W / s2
    outer = product(alpha, alpha.T)
    gap = unwhiten(k * (identity - Binv)) - outer
    Kuu_adjoint = 0.5 * gap - unwhiten(0.5 * k / noise * Phi)
    M2 = np.asfortranarray(gap / noise)

    RR = float(np.einsum("pk,pq,qk->", residual, statistics.TT, residual))
    c = dtrsm(1.0 / noise, Lb, statistics.b @ residual, lower=1)
    Binv_c = dtrsm(1.0, Lb, c, lower=1, trans_a=1)  # B^-1 b / s2
    noise_gradient = -0.5 * k * statistics.count / noise
    noise_gradient += 0.5 * k * np.einsum("ij,ij->", Binv, Phi) / noise**2
    noise_gradient += 0.5 * RR / noise**2 - np.einsum("mk,mk->", c, c) / noise
    noise_gradient += 0.5 * np.einsum("mk,mn,nk->", Binv_c, Phi, Binv_c) / noise**2
    noise_gradient += 0.5 * k * (statistics.trace - np.trace(Phi)) / noise**2

    theta_gradient = noise_gradient * kernel.noise_gradient(theta)
    by_theta, Z_left, Z_right = pull_uu(Kuu_adjoint)
    theta_gradient += by_theta
    Z_gradient = Z_left + Z_right
    for chunk in blocks(len(samples.weights), m, *CHUNK):
        some = samples.take(chunk)
        Kfu, pull_fu = kernel.vjp(theta, some.X, Z)
        adjoint = dsymm(1.0, M2, Kfu.T, lower=1).T
        adjoint += dgemm(1.0 / noise, some.T @ residual, alpha, trans_b=1)
        adjoint *= some.weights[:, None]
        by_diagonal = -0.5 * k / noise * some.weights
        by_theta, _, by_Z = pull_fu(adjoint, by_diagonal)
        theta_gradient += by_theta
        Z_gradient += by_Z
    return posterior.elbo, theta_gradient, Z_gradient
