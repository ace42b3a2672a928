"""Slow, obviously right Gaussian processes: what the fast code is tested against.

Kernels are scikit-learn's own. Every formula is the textbook's, N x N, with explicit
inverses. A weight is a row repeated, so weighted data is repeated before it comes
here. Y has shape (n, k), H (n, q) holds the basis functions of the prior mean.
"""

import mpmath
import numpy as np
from scipy.stats import multivariate_normal

LOG_2PI = np.log(2 * np.pi)


def latent(kernel, X, Z=None):
    """Covariance of f: scikit-learn's white noise is zero between two arrays."""
    return kernel(X, X.copy() if Z is None else Z)


def noise(kernel, X):
    """Observation noise variance: what the kernel adds on the diagonal."""
    return (kernel(X) - latent(kernel, X))[0, 0]


def log_normal(R, C):
    """Sum over the columns of R of log N(r; 0, C)."""
    log_det = np.linalg.slogdet(C)[1]
    quadratic = np.trace(R.T @ np.linalg.inv(C) @ R)
    return -0.5 * (R.shape[1] * (len(C) * LOG_2PI + log_det) + quadratic)


def coefficients(Y, H, C):
    """Generalised least squares: (H' C^-1 H)^-1 H' C^-1 Y."""
    if not H.shape[1]:
        return np.zeros((0, Y.shape[1]))
    inverse = np.linalg.inv(C)
    return np.linalg.solve(H.T @ inverse @ H, H.T @ inverse @ Y)


# --- exact ----------------------------------------------------------------------


def exact(kernel, X, Y, H, X_new=None, H_new=None):
    """Log marginal likelihood, latent mean and covariance at X_new, coefficients."""
    C = latent(kernel, X) + noise(kernel, X) * np.eye(len(X))
    beta = coefficients(Y, H, C)
    R = Y - H @ beta
    lml = log_normal(R, C)
    if X_new is None:
        return lml, None, None, beta
    cross = latent(kernel, X_new, X)
    mean = H_new @ beta + cross @ np.linalg.inv(C) @ R
    covariance = latent(kernel, X_new) - cross @ np.linalg.inv(C) @ cross.T
    return lml, mean, covariance, beta


# --- sparse (Titsias 2009) ------------------------------------------------------


class Sparse:
    """Titsias' bound, q(u) and predictions; u are values at Z less the prior mean."""

    def __init__(self, kernel, X, Y, H, Z, jitter=0.0):
        self.kernel, self.Z = kernel, Z
        s2 = noise(kernel, X)
        Kuu = latent(kernel, Z) + jitter * np.eye(len(Z))
        Kuf = latent(kernel, Z, X)
        self.Kuu_inv = np.linalg.inv(Kuu)
        Qff = Kuf.T @ self.Kuu_inv @ Kuf
        C = Qff + s2 * np.eye(len(X))
        self.beta = coefficients(Y, H, C)
        R = Y - H @ self.beta
        # log N(y; m, Qff + s2 I) - tr(Kff - Qff) / (2 s2), for every output
        lost = np.trace(latent(kernel, X) - Qff) / (2 * s2)
        self.bound = log_normal(R, C) - Y.shape[1] * lost
        # q(u) = N(Kuu Sigma^-1 Kuf y / s2, Kuu Sigma^-1 Kuu)
        Sigma_inv = np.linalg.inv(Kuu + Kuf @ Kuf.T / s2)
        self.q_mean = Kuu @ Sigma_inv @ Kuf @ R / s2
        self.q_cov = Kuu @ Sigma_inv @ Kuu

    def predict(self, X_new, H_new):
        """Latent mean and covariance."""
        P = latent(self.kernel, X_new, self.Z) @ self.Kuu_inv
        mean = H_new @ self.beta + P @ self.q_mean
        covariance = latent(self.kernel, X_new)
        covariance = covariance - P @ np.linalg.inv(self.Kuu_inv) @ P.T
        return mean, covariance + P @ self.q_cov @ P.T


def high_precision(Kuu, Kuf, Kss_diag, Ksu, Kff_diag, Y, noise):
    """Titsias' bound, mean and variance with 60 digits, given float64 matrices."""
    with mpmath.workdps(60):
        matrix = mpmath.matrix
        Kuu, Kuf, Ksu, y = (matrix(a.tolist()) for a in (Kuu, Kuf, Ksu, Y))
        n, s2 = Kuf.cols, mpmath.mpf(noise)
        inverse = Kuu**-1
        Sigma_inverse = (Kuu + Kuf * Kuf.T / s2) ** -1
        C = Kuf.T * inverse * Kuf
        lost = sum(Kff_diag.tolist()) - sum(C[i, i] for i in range(n))
        C = C + s2 * mpmath.eye(n)
        quadratic = (y.T * C**-1 * y)[0, 0]
        bound = -(n * mpmath.log(2 * mpmath.pi) + mpmath.log(mpmath.det(C)) + quadratic)
        bound = (bound - lost / s2) / 2
        mean = Ksu * Sigma_inverse * Kuf * y / s2
        change = Ksu * (inverse - Sigma_inverse) * Ksu.T
        variance = [Kss_diag[i] - change[i, i] for i in range(Ksu.rows)]
        return (
            float(bound),
            np.array([float(v) for v in mean]),
            np.array([float(v) for v in variance]),
        )


# --- stochastic (Hensman et al. 2013) -------------------------------------------


def stochastic_bound(kernel, X, Y, H, Z, beta, q_mean, q_cov, weights, scale):
    """The bound of a batch, row by row, at any q(u) = N(q_mean, q_cov)."""
    s2 = noise(kernel, X)
    Kuu = latent(kernel, Z)
    value = 0.0
    for x, y, h, weight in zip(X, Y, H, weights, strict=True):
        p = np.linalg.inv(Kuu) @ latent(kernel, Z, x[None])[:, 0]
        variance = latent(kernel, x[None])[0, 0] - p @ Kuu @ p + p @ q_cov @ p
        for output in range(len(y)):
            error = y[output] - h @ beta[:, output] - p @ q_mean[:, output]
            expected = -0.5 * (LOG_2PI + np.log(s2) + (error**2 + variance) / s2)
            value += scale * weight * expected
    for mean in q_mean.T:
        value -= kl_divergence(mean, q_cov, Kuu)
    return value


def kl_divergence(mean, S, K):
    """KL(N(mean, S) || N(0, K))."""
    inverse = np.linalg.inv(K)
    log_ratio = np.linalg.slogdet(K)[1] - np.linalg.slogdet(S)[1]
    return 0.5 * (np.trace(inverse @ S) + mean @ inverse @ mean - len(K) + log_ratio)


# --- inducing points ------------------------------------------------------------


def conditional_variance(kernel, X, chosen):
    """diag(Kff - Qff) given the chosen rows."""
    K = latent(kernel, X)
    if not len(chosen):
        return np.diag(K).copy()
    cross = K[:, chosen]
    inverse = np.linalg.inv(K[np.ix_(chosen, chosen)])
    return np.diag(K - cross @ inverse @ cross.T).copy()


def greedy(kernel, X, n_points):
    """Rows in the order of the largest conditional variance."""
    chosen = []
    for _ in range(n_points):
        variance = conditional_variance(kernel, X, chosen)
        variance[chosen] = -np.inf
        chosen.append(int(np.argmax(variance)))
    return chosen


# --- tools ----------------------------------------------------------------------


def repeat(weights, *arrays):
    """Rows as often as their whole weights say."""
    return tuple(np.repeat(array, weights, axis=0) for array in arrays)


def finite_differences(function, x, step=1e-5):
    """Central differences of a scalar function of an array."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        moved = np.zeros_like(x)
        moved[index] = step
        gradient[index] = (function(x + moved) - function(x - moved)) / (2 * step)
    return gradient


def log_density(Y, mean, covariance):
    """Joint log density of the columns of Y: SciPy's, as a check on log_normal."""
    return sum(
        multivariate_normal(mean[:, k], covariance).logpdf(Y[:, k])
        for k in range(Y.shape[1])
    )
