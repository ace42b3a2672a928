"""The posterior at given inducing points, and the noise that all rows ask for."""

import numpy as np
from scipy.linalg.blas import dtrsm

from . import linalg
from . import posterior as vi
from . import statistics as sums
from .linalg import product

# Rows whose leave-one-out density decides on the noise of a sparse model.
LEFT_OUT_ROWS = 2000


def closed_form(kernel, theta, Z, rows, n_jobs=1):
    """Pass over all rows at given inducing points, shared by ``n_jobs`` processes.

    Returns
    -------
    posterior_at : callable
        The optimal posterior as a function of theta, of which only the noise may
        differ from ``theta``.
    """
    Lz, jitter = linalg.cholesky(kernel.matrix(theta, Z, Z))
    statistics = sums.collect_statistics(kernel, theta, Z, Lz, rows, n_jobs)

    def posterior_at(theta):
        return vi.sparse_posterior(
            theta, kernel.noise(theta), Z, Lz, statistics, rows.n_outputs, jitter
        )

    return posterior_at


def highest_bound(kernel, theta, Z, rows, report, n_jobs=1):
    """Return the posterior at the noise that maximises the bound of all rows.

    Where points or features are to move from. Some rows as an exact process may ask for
    a hundredth of that noise: from there Adam takes a thousand steps, and L-BFGS all
    that it is granted (perovskites, 200 points moved: MAE .57 eV, from here .19).
    """
    posterior_at = closed_form(kernel, theta, Z, rows, n_jobs)
    return refit_noise(
        posterior_at, kernel, posterior_at(theta), report, lambda found: found.elbo
    )


def left_out_score(kernel, posterior, rows):
    """Return the leave-one-out log density of rows as a function of the posterior.

    Neither the bound nor the likelihood of the sparse model tells the noise that
    predictions need: they blame it for the variance that the points do not explain,
    which predictions have beside the noise (kin8nm with 2000 points: noise 0.36 for
    0.16). Leaving a row out is closed form (Rasmussen and Williams 2006, section
    5.4.2): with h = w a' B^-1 a / s2 the residual grows by 1 / (1 - h), and so does
    the variance.

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    posterior : Posterior
        Gives what does not depend on the noise.
    rows : Rows
        Some of the training rows.

    Returns
    -------
    score : callable
        ``score(posterior)``, in nats.
    """
    k = rows.n_outputs
    K = kernel.matrix(posterior.theta, rows.X, posterior.Z)
    A = dtrsm(1.0, posterior.Lz, K.T, lower=1)
    missing = kernel.diagonal(posterior.theta, rows.X) - np.einsum("ij,ij->j", A, A)
    missing = np.maximum(missing, 0.0)

    def score(posterior):
        C = dtrsm(1.0, posterior.Lb, A, lower=1)
        variance = np.einsum("ij,ij->j", C, C)
        kept = np.maximum(1.0 - rows.weights * variance / posterior.noise, 1e-9)
        residual = rows.T[:, :k] - rows.T[:, k:] @ posterior.beta
        residual -= product(K, posterior.alpha)
        total = variance / kept + posterior.noise + missing
        square = np.einsum("nk,nk->n", residual, residual) / kept**2
        density = -0.5 * (k * (vi.LOG_2PI + np.log(total)) + square / total)
        return float(rows.weights @ density)

    return score


def refit_noise(posterior_at, kernel, posterior, report, score):
    """Return the posterior at the noise level that all rows ask for.

    The hyperparameters saw some rows as an exact process: all rows, and the inducing
    points' own error, can ask for another noise (bulk modulus: NLL -0.69 from
    -0.11). One factorisation a step: the optimum of ``score(posterior)`` is bracketed
    in steps that double, then parabolas are fitted through its logarithmic noise.
    """
    best, theta = posterior, posterior.theta
    index = kernel.noise_index
    if not index:
        return best

    lower, upper = (kernel.bounds[index] - theta[index, None]).T
    values = {0.0: score(best)}

    def look(shift):
        nonlocal best
        shift = float(np.clip(shift, lower.max(), upper.min()))
        if shift not in values:
            moved = theta.copy()
            moved[index] += shift
            posterior = posterior_at(moved)
            values[shift] = score(posterior)
            if values[shift] == max(values.values()):
                best = posterior
            report("noise on all rows", len(values) - 1, max(values.values()))
        return shift

    for step in (0.5, -0.5):
        while True:
            before = max(values, key=values.get)
            look(before + step)
            if max(values, key=values.get) == before:
                break
            step *= 2.0
    for _ in range(2):
        shifts = sorted(values)
        top = shifts.index(max(values, key=values.get))
        if top in (0, len(shifts) - 1):
            break
        around = shifts[top - 1 : top + 2]
        curve, slope, _ = np.polyfit(around, [values[shift] for shift in around], 2)
        vertex = -slope / (2.0 * curve)
        if min(abs(vertex - shift) for shift in shifts) < 0.05:
            break
        look(vertex)
    return best
