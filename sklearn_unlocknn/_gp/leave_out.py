"""Predict each sample from the posterior of the other folds, without another fit.

Samples are removed from a Gaussian posterior in closed form, as they are added. The
latent values f_F of a fold have posterior mean mu and covariance S given all samples.
With V the weights of the fold's samples, t their targets and
``E = (V / s2)^1/2``, the posterior without them is (Rasmussen and Williams 2006,
section 5.4.2, for blocks)

    M = I - E S E,   mu' = mu - S E M^-1 E (t - mu),   S' = S + S E M^-1 E S,

and the quadratic form of the coefficients of the prior mean decreases by
``(t - mu)' E M^-1 E (t - mu)``. That is algebra of the size of the fold. A fold with
more samples than a sparse model has inducing points is subtracted from its statistics.

Targets T hold outputs and basis functions side by side, as in
:mod:`sklearn_unlocknn._gp.posterior`.
"""

import numpy as np
from scipy.linalg import lapack
from scipy.linalg.blas import dtrmm, dtrsm

from .linalg import JITTERS, cholesky, product, symmetric
from .neighbours import LocalPosterior
from .posterior import (
    ExactPosterior,
    SufficientStatistics,
    collect_statistics,
    mean_coefficients,
    sparse_posterior,
)
from .samples import GroupedSamples, Samples, distinct_rows, places_among

# Small folds share passes over the inducing points, of about this number of samples.
_PASS_SAMPLES = 512
# Least value of 1 - h by a sparse posterior, of samples that alone determine their
# function value.
_LEAST_KEPT = 1e-9
# A sum of squares that decreases to this share of itself is rounding.
_ROUNDING = 1e-10


def predict_left_out(posterior, samples, folds):
    """Predict samples from the posterior of the samples of other folds.

    Hyperparameters and inducing points stay those of the posterior.

    Parameters
    ----------
    posterior : ExactPosterior, SparsePosterior or LocalPosterior
        Of the samples of positive weight.
    samples : Samples
        Those, and with weight zero others that are to be predicted.
    folds : list of ndarray of int
        Indices of the samples of each fold; disjoint.

    Returns
    -------
    mean : ndarray of shape (n, k)
        Latent mean; NaN for a sample that is in no fold.
    variance : ndarray of shape (n,)
        Latent variance, noise not included.

    Raises
    ------
    ValueError
        If the other folds hold no sample of positive weight.
    """
    k = samples.n_outputs
    mean, variance = (
        np.full((len(samples.X), k), np.nan),
        np.full(len(samples.X), np.nan),
    )
    total = np.count_nonzero(samples.weights)
    for number, fold in enumerate(folds):
        if len(fold) and np.count_nonzero(samples.weights[fold]) == total:
            raise ValueError(
                f"Fold {number} holds all samples that can be fitted ({total} with a "
                "positive weight and features), which leaves none to predict it from. "
                "Choose other folds."
            )
    folds = [fold for fold in folds if len(fold)]
    if isinstance(posterior, LocalPosterior):
        return posterior.leave_out(samples, folds)
    exact = isinstance(posterior, ExactPosterior)
    predicted = (_exact if exact else _sparse)(posterior, samples, folds)
    for fold, (fold_mean, fold_variance) in predicted:
        mean[fold], variance[fold] = fold_mean, fold_variance
    return mean, variance


def leave_one_out(posterior, samples, index=None):
    """Predict each training sample from the posterior of all others.

    Samples that are equal, target included, are one, whose weights add up, unless they
    have known variances; those of a sparse posterior need `RawSamples.with_copies`. The
    coefficients of the prior mean stay those of all samples. With the leverage
    ``h = w S / s2`` the residual grows by 1 / (1 - h), and so does the variance
    (Rasmussen and Williams 2006, section 5.4.2).

    Parameters
    ----------
    posterior : ExactPosterior, SparsePosterior or LocalPosterior
        Posterior.
    samples : Samples
        Some or all of its samples, with positive weights; without known variances.
        Of an exact posterior all that are equal, or none.
    index : ndarray of shape (n,), default=None
        Their positions among those of an exact posterior; None: by their features,
        which are then distinct there.

    Returns
    -------
    residual : ndarray of shape (n, k)
        Target less latent mean.
    variance : ndarray of shape (n,)
        Latent variance, noise not included.
    """
    k, noise = samples.n_outputs, posterior.noise
    if isinstance(posterior, LocalPosterior):
        return posterior.leave_one_out(samples)
    if isinstance(posterior, ExactPosterior):
        # N = s2 / w, G = (K + N)^-1: 1 - h = N G, without a difference of near equals
        groups = places_among(posterior.Z, samples.X) if index is None else index
        G = _inverse_diagonal(posterior.factor(), groups)
        total = posterior.weights[groups]
        N = noise / total
        error = samples.T[:, :k] - posterior.T[groups, :k]
        basis = samples.T[:, k:] - posterior.T[groups, k:]
        error = error - basis @ posterior.beta + N[:, None] * posterior.alpha[groups]
        S = N * np.maximum(1.0 - N * G, 0.0)
        _, same = distinct_rows(np.hstack([samples.X, samples.T[:, :k]]))
        # more than 1 of samples with known variances, which are not grouped
        share = np.bincount(same, samples.weights)[same] / total
        share = np.minimum(share, 1.0)
        kept = 1.0 - share + share * N * G
        return error / kept[:, None], S / kept
    return sparse_leave_one_out(posterior, samples)(posterior, samples.weights)


def _inverse_diagonal(L, index):
    """Return some elements of the diagonal of ``(L L')^-1``.

    L is lower triangular, with zeros above the diagonal.
    """
    wanted, place = np.unique(index, return_inverse=True)
    if 3 * len(wanted) >= len(L):  # as many operations as the inverse
        inverse, _ = lapack.dtrtri(L, lower=1)
        return np.einsum("ij,ij->j", inverse, inverse)[index]
    columns = np.zeros((len(L), len(wanted)), order="F")
    columns[wanted, np.arange(len(wanted))] = 1.0
    inverse = dtrsm(1.0, L, columns, lower=1, overwrite_b=1)
    return np.einsum("ij,ij->j", inverse, inverse)[place]


def sparse_leave_one_out(posterior, samples):
    """Return what `leave_one_out` returns as a function of a sparse posterior.

    Its kernel and inducing points are those of ``posterior``; only the noise differs.

    Parameters
    ----------
    posterior : SparsePosterior
        The first posterior.
    samples : Samples
        Some of its samples.

    Returns
    -------
    predict : callable
        ``predict(posterior, weights, slopes=False)``, the weights being those of the
        samples in it; with ``slopes`` also the derivatives of residual and variance by
        the noise variance, but for that of the prior mean's coefficients.
    """
    kernel, theta, k = posterior.kernel, posterior.theta, samples.n_outputs
    K = kernel.matrix(theta, samples.X, posterior.Z)
    A = dtrsm(1.0, posterior.factor(), K.T, lower=1)
    missing = kernel.diagonal(theta, samples.X) - np.einsum("ij,ij->j", A, A)
    missing = np.maximum(missing, 0.0)
    copies = 1.0 if samples.copies is None else samples.copies

    def predict(posterior, weights, slopes=False):
        noise, weights = posterior.noise, weights * copies
        C = dtrsm(1.0, posterior.Lb, A, lower=1)
        S = np.einsum("ij,ij->j", C, C)
        kept = np.maximum(1.0 - weights * S / noise, _LEAST_KEPT)
        error = samples.T[:, :k] - samples.T[:, k:] @ posterior.beta
        residual = (error - product(K, posterior.alpha)) / kept[:, None]
        variance = S / kept
        if not slopes:
            return residual, variance + missing
        # S = A' B^-1 A and the mean is A' B^-1 b / s2, with B = I + Phi / s2
        D = dtrsm(1.0, posterior.Lb, C, lower=1, trans_a=1, overwrite_b=1)
        square = np.einsum("ij,ij->j", D, D)
        kept_slope = weights * square / noise**2
        whitened = dtrmm(1.0, posterior.factor(), posterior.alpha, lower=1, trans_a=1)
        by_residual = product(D.T, whitened) / noise - residual * kept_slope[:, None]
        by_variance = (S - square) / noise - variance * kept_slope
        return (
            residual, variance + missing,
            by_residual / kept[:, None], by_variance / kept,
        )  # fmt: skip

    return predict


def _without(Q, mu, variance, M, error, cross):
    """Remove samples by the equations of the module.

    Parameters
    ----------
    Q : ndarray of shape (p, p)
        ``T' C^-1 T`` of all samples, C being the covariance of their targets.
    mu : ndarray of shape (f, p)
        Latent mean of the samples to predict.
    variance : ndarray of shape (f,)
        Their latent variance.
    M : ndarray of shape (g, g)
        As above, for the g samples to remove; only its lower triangle is read.
    error : ndarray of shape (g, p)
        ``E (t - mu)`` of the samples to remove.
    cross : ndarray of shape (g, f)
        ``E S`` of the samples to remove with those to predict.

    Returns
    -------
    T : ndarray of shape (f, p)
        Latent mean of the samples to predict, given the others.
    variance : ndarray of shape (f,)
        Their latent variance.
    Q : ndarray of shape (p, p)
        Of the others.
    """
    if not len(M):
        return mu, variance, Q
    L, info = lapack.dpotrf(M, lower=1)
    if info:
        raise np.linalg.LinAlgError(
            "The noise variance is too small beside the variance of the function to "
            "remove this fold in double precision."
        )
    u = dtrsm(1.0, L, error, lower=1)
    V = dtrsm(1.0, L, cross, lower=1)
    return (
        mu - product(V.T, u),
        variance + np.einsum("ij,ij->j", V, V),
        Q - product(u.T, u),
    )


def _predict(T, variance, Q, before, H, n_outputs):
    """Return the latent mean and variance from the results of `_without`.

    ``before`` is Q of all samples, H the fold's basis of the prior mean.
    """
    gone = _gone(Q, before, n_outputs)
    Q[gone] = Q[:, gone] = 0.0
    beta, residual = mean_coefficients(Q, n_outputs)
    return H @ beta + T @ residual, np.maximum(variance, 0.0)


def _gone(after, before, n_outputs):
    """Return which basis functions are zero on all samples that stay.

    Their sums of squares are then the rounding error of a difference.
    """
    gone = np.diag(after) <= _ROUNDING * np.diag(before)
    gone[:n_outputs] = False
    return gone


# --- exact: the samples are the inducing points -------------------------------------


def _exact(posterior, samples, folds):
    """Yield each fold with its prediction.

    With N = s2 W^-1 and G = (K + N)^-1, the posterior of the distinct samples is
    S = N - N G N and mu = T - N G T. Where all observations of a sample are in the fold
    M = N^1/2 G N^1/2: no difference of near equals is formed.
    """
    k = samples.n_outputs
    kept = np.flatnonzero(samples.weights > 0)
    groups = GroupedSamples.of(samples.take(kept))
    member = np.full(len(samples.X), -1)
    _, member[kept] = distinct_rows(samples.X[kept])
    factor, noise = posterior.factor(), posterior.noise
    if not np.array_equal(groups.X, posterior.Z):  # not grouped there
        K = posterior.kernel.lower(posterior.theta, groups.X)
        factor, _ = cholesky(K, (0.0, *JITTERS), diagonal=noise / groups.weights)
    GT, _ = lapack.dpotrs(factor, groups.T, lower=1)
    # without the scatter within groups, which the basis functions do not have
    Q = product(groups.T.T, GT)
    G, _ = lapack.dpotri(factor, lower=1)
    shrink = posterior.noise / groups.weights  # diagonal of N
    for fold in folds:
        taken = fold[member[fold] >= 0]
        numbers = member[taken, None]  # that of its group stands for the sample
        part = GroupedSamples.of(
            Samples(numbers, samples.T[taken], samples.weights[taken], k)
        )
        index = part.X[:, 0].astype(int)
        G_ff = symmetric(G[np.ix_(index, index)])
        N = shrink[index]
        share = part.weights / groups.weights[index]
        root = np.sqrt(part.weights / posterior.noise)  # diagonal of E
        M = (root * N)[:, None] * G_ff * (root * N)
        M[np.diag_indices_from(M)] += 1.0 - share
        error = part.T - groups.T[index] + N[:, None] * GT[index]
        S = -N[:, None] * G_ff * N
        S[np.diag_indices_from(S)] += N
        # samples of one group have one prediction
        place = np.searchsorted(index, member[taken])
        mu = groups.T[index] - N[:, None] * GT[index]
        mu, variance, cross = mu[place], np.diag(S)[place], S[:, place]
        rest = fold[member[fold] < 0]
        if len(rest):
            # K(., X) G is the covariance of a sample without weight with the others
            K = posterior.kernel.matrix(posterior.theta, samples.X[rest], groups.X)
            GK, _ = lapack.dpotrs(factor, K.T, lower=1)
            left = posterior.kernel.diagonal(posterior.theta, samples.X[rest])
            left -= np.einsum("ij,ji->i", K, GK)
            mu = np.vstack([mu, product(K, GT)])
            variance = np.concatenate([variance, left])
            cross = np.hstack([cross, N[:, None] * GK[index]])
        without = _without(
            Q, mu, variance, M, root[:, None] * error, root[:, None] * cross
        )
        ordered = np.concatenate([taken, rest])
        yield ordered, _predict(*without, Q, samples.T[ordered, k:], k)


# --- sparse ----------------------------------------------------------------------


def _sparse(posterior, samples, folds):
    """Yield each fold with its prediction."""
    m = len(posterior.Z)
    large = [fold for fold in folds if len(fold) >= m]
    small = [fold for fold in folds if len(fold) < m]
    if large:
        yield from _by_statistics(posterior, samples, large)
    if small:
        yield from _by_blocks(posterior, samples, small)


def _by_statistics(posterior, samples, folds):
    """Predict each fold by the statistics of all samples less those of the fold."""
    kernel, theta, Z = posterior.kernel, posterior.theta, posterior.Z
    k = samples.n_outputs
    total, Lz, jitter = posterior.statistics()
    for fold in folds:
        some = samples.take(fold)
        own = collect_statistics(kernel, theta, Z, Lz, some)
        b, TT = total.b - own.b, total.TT - own.TT
        gone = _gone(TT, total.TT, k)
        TT[gone] = TT[:, gone] = b[:, gone] = 0.0
        others = SufficientStatistics(
            total.Phi - own.Phi, b, TT, total.trace - own.trace, total.count,
            total.log_ratio,
        )  # fmt: skip
        without = sparse_posterior(kernel, theta, Z, Lz, others, k, jitter)
        yield fold, without.mean_and_variance(some.X, some.T[:, k:])


def _by_blocks(posterior, samples, folds):
    """Remove small folds one by one.

    With ``C = Lb^-1 A`` the part of f that the inducing points carry has the
    posterior S = C'C and mu = C' Lb^-1 b / s2; the rest has its prior variance.
    """
    k, noise, kernel = samples.n_outputs, posterior.noise, posterior.kernel
    c = dtrsm(1.0 / noise, posterior.Lb, posterior.b, lower=1)
    Q = posterior.TT / noise - product(c.T, c)
    for batch in _batches(folds):
        X = samples.X[np.concatenate(batch)]
        K = kernel.matrix(posterior.theta, X, posterior.Z)
        A = dtrsm(1.0, posterior.factor(), K.T, lower=1, overwrite_b=1)
        missing = kernel.diagonal(posterior.theta, X) - np.einsum("ij,ij->j", A, A)
        missing = np.maximum(missing, 0.0)
        all_C = dtrsm(1.0, posterior.Lb, A, lower=1, overwrite_b=1)
        start = 0
        for fold in batch:
            part = slice(start, start + len(fold))
            start = part.stop
            C = all_C[:, part]
            S, mu = product(C.T, C), product(C.T, c)
            root = np.sqrt(samples.weights[fold] / noise)
            M = -root[:, None] * S * root
            M[np.diag_indices_from(M)] += 1.0
            without = _without(
                Q, mu, np.diag(S) + missing[part], M,
                root[:, None] * (samples.T[fold] - mu), root[:, None] * S,
            )  # fmt: skip
            yield fold, _predict(*without, Q, samples.T[fold, k:], k)


def _batches(folds):
    """Yield lists of folds that together have about `_PASS_SAMPLES` samples."""
    batch, count = [], 0
    for fold in folds:
        batch.append(fold)
        count += len(fold)
        if count >= _PASS_SAMPLES:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch
