"""Choose inducing points that cover the samples."""

import numpy as np
from scipy.linalg import lapack
from scipy.linalg.blas import dgemm, dtrsm
from scipy.sparse import csr_array

from .linalg import product

POOL_BYTES = 2**29
BLOCK = 128
# Samples for each centre; more do not improve predictions.
KMEANS_SAMPLES = 20
# Clusters are found among the components that hold this share of the variance, and in
# no fewer dimensions: where points are many for the dimensions, narrow ones count.
PCA_VARIANCE = 0.95
PCA_COMPONENTS = 32


def select(kernel, theta, samples, n_points, init, rng):
    """Return inducing points that cover the samples.

    Parameters
    ----------
    kernel : Covariance
        The kernel, used by "greedy".
    theta : ndarray of shape (n_theta,)
        Log hyperparameters.
    samples : Samples or RawSamples
        Candidates, of which some or all are taken into memory.
    n_points : int
        Number of points, at most n.
    init : {"greedy", "kmeans", "random"}
        "greedy": each next point has the largest variance given those before it
        (Burt et al. 2020, arXiv:2008.00323). "kmeans": centres of mini-batch
        k-means. "random": samples drawn without replacement.
    rng : numpy.random.RandomState
        Source of randomness.

    Returns
    -------
    Z : ndarray of shape (m, d)
        m is smaller than ``n_points`` where no variance is left to explain.
    """
    if init == "random":
        drawn = rng.choice(len(samples.weights), n_points, replace=False)
        return samples.take(np.sort(drawn)).X
    # The factor of pool x m that "greedy" needs stays under POOL_BYTES.
    enough = {
        "kmeans": max(KMEANS_SAMPLES * n_points, 10_000),
        "greedy": max(2 * n_points, POOL_BYTES // (8 * n_points)),
    }[init]
    some = slice(None)
    if len(samples.weights) > enough:
        some = np.sort(rng.choice(len(samples.weights), enough, replace=False))
    X = samples.take(some).X
    if init == "greedy":
        return X[greedy_order(kernel, theta, X, n_points)]
    return cluster_centres(X, n_points, rng.randint(2**31 - 1))


def cluster_centres(X, n_points, seed):
    """Return the means of clusters, found among the leading principal components.

    Distances between samples are nearly those of their projections (Cohen et al. 2015,
    arXiv:1410.6801): of 352 features of a network, 79 components hold 95 % of the
    variance. Clusters take a third of the time there, and the means of all features
    in the end lie no farther from the samples. Few features keep all components.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Samples.
    n_points : int
        Number of points, at most n.
    seed : int
        Seed of the random initial centres.

    Returns
    -------
    Z : ndarray of shape (m, d)
        Distinct centres.
    """
    from sklearn.cluster import MiniBatchKMeans  # not needed to predict
    from sklearn.decomposition import PCA

    if not np.ptp(X, axis=0).any():
        return X[:1]  # nothing varies, not along any component
    solver = "covariance_eigh" if X.shape[1] <= len(X) else "full"
    pca = PCA(svd_solver=solver).fit(X)
    share = np.cumsum(pca.explained_variance_ratio_)
    n_leading = max(np.searchsorted(share, PCA_VARIANCE) + 1, PCA_COMPONENTS)
    leading = pca.components_[:n_leading]
    means = MiniBatchKMeans(
        n_points,
        batch_size=max(1024, 3 * n_points),
        max_iter=20,
        n_init=1,
        random_state=seed,
    )
    labels = means.fit_predict(product(X - pca.mean_, leading.T))
    counts = np.bincount(labels, minlength=n_points)
    members = csr_array(
        (1.0 / counts[labels], (labels, np.arange(len(X)))), (n_points, len(X))
    )
    # A centre without samples in the end stays where it is.
    empty = counts == 0
    centres = members @ X
    centres[empty] = product(means.cluster_centers_[empty], leading) + pca.mean_
    return np.unique(centres, axis=0)


def greedy_order(kernel, theta, X, n_points, block=BLOCK, tol=1e-8):
    """Return samples in the order of a blocked pivoted Cholesky factorisation.

    A block's pivots come from an exact pivoted factorisation of the conditional
    covariance among the candidates with the largest conditional variance; the
    update of all samples is then one matrix product a block.

    Parameters
    ----------
    kernel, theta, X, n_points
        As in :func:`select`.
    block : int
        Pivots a block; 1 is the textbook algorithm.
    tol : float
        Stop where the largest conditional variance falls under ``tol`` times the
        largest prior variance.

    Returns
    -------
    pivots : ndarray of shape (m,)
        Indices into ``X``, at least one.
    """
    n = len(X)
    variance = kernel.diagonal(theta, X)
    floor = tol * variance.max()
    # factor @ factor.T approximates K.
    factor = np.zeros((n, n_points), order="C")
    pivots = []
    while len(pivots) < n_points and variance.max() > floor:
        done = len(pivots)
        wanted = min(block, n_points - done)
        n_candidates = min(n, 4 * wanted if wanted > 1 else 1)
        candidates = np.argpartition(-variance, n_candidates - 1)[:n_candidates]
        before = factor[candidates, :done]
        conditional = kernel.matrix(theta, X[candidates], X[candidates])
        conditional -= product(before, before.T)
        _, order, rank, _ = lapack.dpstrf(
            np.asfortranarray(conditional), tol=floor, lower=1
        )
        chosen = order[: min(wanted, rank)] - 1
        if not len(chosen):
            break
        rows = candidates[chosen]
        L = np.linalg.cholesky(conditional[np.ix_(chosen, chosen)])
        columns = kernel.matrix(theta, X, X[rows])
        if done:
            columns = dgemm(
                -1.0, factor[rows, :done].T, factor[:, :done].T, beta=1.0,
                c=columns.T, trans_a=1, overwrite_c=1,
            ).T  # fmt: skip
        columns = dtrsm(1.0, L, columns.T, lower=1, overwrite_b=1).T
        factor[:, done : done + len(rows)] = columns
        variance -= np.einsum("ij,ij->i", columns, columns)
        variance[rows] = 0.0
        pivots.extend(rows.tolist())
    return np.array(pivots or [0], dtype=int)
