"""Values and gradients of the training objectives.

The O(n m^2) algebra is BLAS with closed-form adjoints; ``Covariance`` evaluates the
kernel and pulls its adjoint back to hyperparameters and inducing points.
Notation as in :mod:`sklearn_unlocknn._gp.posterior`.
"""

import numpy as np
from scipy.linalg import lapack
from scipy.linalg.blas import dgemm, dsymm, dsyrk, dtrsm

from . import linalg
from . import posterior as vi
from . import statistics as sums
from .linalg import product


def exact_bound(kernel, theta, rows):
    """Log marginal likelihood of an exact GP and its gradient.

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    theta : ndarray of shape (n_theta,)
        Log hyperparameters.
    rows : GroupedRows
        The data.

    Returns
    -------
    value : float
        In nats, summed over outputs; the prior mean's coefficients are at their
        optimum.
    gradient : ndarray of shape (n_theta,)
        By ``theta``.
    """
    k, noise = rows.n_outputs, kernel.noise(theta)
    adjoints = []

    def covariance():
        adjoints.clear()
        return kernel.lower(theta, rows.X, adjoints)

    L, _ = linalg.cholesky(
        covariance, (0.0, *linalg.JITTERS), diagonal=noise / rows.weights
    )
    c = dtrsm(1.0, L, rows.T, lower=1)
    Q = product(c.T, c) + rows.within / noise
    _, residual = vi.mean_coefficients(Q, k)
    value = vi.log_marginal(L, Q, residual, noise, rows)

    # dF/dC = (alpha alpha' - k C^-1) / 2 with C = K + s2 W^-1
    alpha = dtrsm(1.0, L, c @ residual, lower=1, trans_a=1)
    inverse, _ = lapack.dpotri(L, lower=1, overwrite_c=1)
    # The adjoint's lower triangle, doubled off the diagonal: K is symmetric.
    adjoint = dsyrk(1.0, alpha, beta=-float(k), c=inverse, lower=1, overwrite_c=1)
    diagonal = 0.5 * np.diag(adjoint)
    adjoint[np.diag_indices_from(adjoint)] = diagonal

    repeats = rows.weights.sum() - len(rows.weights)
    noise_gradient = diagonal @ (1.0 / rows.weights) - 0.5 * k * repeats / noise
    noise_gradient += (
        0.5 * np.einsum("pk,pq,qk->", residual, rows.within, residual) / noise**2
    )
    gradient = kernel.lower_vjp(theta, rows.X, adjoint, adjoints)
    return value, gradient + noise_gradient * kernel.noise_gradient(theta)


def collapsed_bound(kernel, theta, Z, rows, wrt_inducing=True):
    """Titsias' bound on all rows and its gradient, in memory O(m^2).

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    theta : ndarray of shape (n_theta,)
        Log hyperparameters.
    Z : ndarray of shape (m, d)
        Inducing points.
    rows : Rows or RawRows
        The data.
    wrt_inducing : bool, default=True
        Whether to return the gradient by ``Z``.

    Returns
    -------
    value : float
        In nats, summed over outputs.
    theta_gradient : ndarray of shape (n_theta,)
        By ``theta``.
    Z_gradient : ndarray of shape (m, d) or None
        By ``Z``.
    """
    k, noise, m = rows.n_outputs, kernel.noise(theta), len(Z)
    Kuu = kernel.matrix(theta, Z, Z)
    Lz, jitter = linalg.cholesky(Kuu)
    statistics = sums.collect_statistics(kernel, theta, Z, Lz, rows)
    posterior = vi.sparse_posterior(theta, noise, Z, Lz, statistics, k, jitter)
    alpha, Lb = posterior.alpha, posterior.Lb
    residual = np.vstack([np.eye(k), -posterior.beta])

    Phi = np.tril(statistics.Phi) + np.tril(statistics.Phi, -1).T
    identity = np.eye(m)
    Binv = lapack.dpotri(Lb, lower=1)[0]
    Binv = np.tril(Binv) + np.tril(Binv, -1).T

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
    noise_gradient = -0.5 * k * statistics.weight / noise
    noise_gradient += 0.5 * k * np.einsum("ij,ij->", Binv, Phi) / noise**2
    noise_gradient += 0.5 * RR / noise**2 - np.einsum("mk,mk->", c, c) / noise
    noise_gradient += 0.5 * np.einsum("mk,mn,nk->", Binv_c, Phi, Binv_c) / noise**2
    noise_gradient += 0.5 * k * (statistics.trace - np.trace(Phi)) / noise**2

    theta_gradient = noise_gradient * kernel.noise_gradient(theta)
    grad, Z_left, Z_right = kernel.vjp(theta, Z, Z, Kuu_adjoint, wrt_inputs=True)
    theta_gradient += grad
    Z_gradient = Z_left + Z_right
    for chunk in sums.chunks(len(rows), m):
        some = rows.take(chunk)
        Kfu = kernel.matrix(theta, some.X, Z)
        adjoint = dsymm(1.0, M2, Kfu.T, lower=1).T
        adjoint += dgemm(1.0 / noise, some.T @ residual, alpha, trans_b=1)
        adjoint *= some.weights[:, None]
        pulled = kernel.vjp(
            theta, some.X, Z, adjoint, -0.5 * k / noise * some.weights, wrt_inducing
        )
        if wrt_inducing:
            theta_gradient += pulled[0]
            Z_gradient += pulled[2]
        else:
            theta_gradient += pulled
    return posterior.elbo, theta_gradient, Z_gradient if wrt_inducing else None
