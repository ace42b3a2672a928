"""Predict from the nearest training samples alone, with the fitted kernel.

Inducing points smooth what varies over shorter distances than theirs. There the exact
GP of the nearest samples of each prediction is better (Vecchia 1988; Datta et al. 2016,
arXiv:1406.7343), at a cost of their cube. It has marginal distributions only: joint
ones take the correlations of the sparse posterior.
"""

import dataclasses
import functools

import numpy as np
from scipy.linalg.blas import dtrsm
from scipy.optimize import minimize_scalar

from .encoded import blocks
from .likelihood import GAUSSIAN, Shape
from .linalg import JITTERS, cholesky, product
from .posterior import mean_coefficients
from .samples import distinct_rows

# Nearest samples of a prediction. 128 take twice the time.
N_NEAREST = 64
# Bytes of the covariances of some samples, which fit into a processor's cache.
_STACK_BYTES = 2**21
# Above all squares of residuals in units of their standard deviations.
_HUGE = 1e300
# Most bytes of the training samples, which a model holds.
_MOST_BYTES = 2**28
# Nats a sample by which the density of samples left out must be larger.
_LEAST_GAIN = 0.02
# Degrees of freedom, beside those of a Gaussian, of errors by which noise is chosen.
_DOFS = (3.0, 4.0, 6.0, 10.0, 20.0)
# Logarithmic noise variances among which the search starts.
_N_LEVELS = 33


@dataclasses.dataclass
class LocalPosterior:
    """Posterior of each sample given its nearest training samples.

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    theta : ndarray of shape (n_theta,)
        Log hyperparameters.
    noise : float
        Noise variance s2.
    beta : ndarray of shape (q, k)
        Coefficients of the prior mean's basis functions.
    X : ndarray of shape (n, d)
        Training samples.
    T : ndarray of shape (n, p)
        Their targets, then the basis functions.
    weights : ndarray of shape (n,)
        Their weights.
    """

    kernel: object
    theta: np.ndarray
    noise: float
    beta: np.ndarray
    X: np.ndarray
    T: np.ndarray
    weights: np.ndarray

    def __getstate__(self):
        return {k: v for k, v in vars(self).items() if k != "_search"}

    def mean(self, X, H):
        """Return the latent mean at X, of shape (n, k); H is its (n, q) basis."""
        return self.mean_and_variance(X, H)[0]

    def mean_and_variance(self, X, H):
        """Return the latent mean (n, k) and variance (n,), noise not included."""
        return self._predict(X, H, self._nearest(X, N_NEAREST))

    def update(self, samples):
        """Return the posterior with samples added."""
        X, T, weights = _merged(
            np.vstack([self.X, samples.X]), np.vstack([self.T, samples.T]),
            np.concatenate([self.weights, samples.weights]),
        )  # fmt: skip
        return dataclasses.replace(self, X=X, T=T, weights=weights)

    def leave_one_out(self, samples):
        """Predict training samples without themselves; see `leave_one_out`."""
        k = samples.n_outputs
        near = self._others(samples)
        mean, variance = self._predict(samples.X, samples.T[:, k:], near)
        return samples.T[:, :k] - mean, variance

    def leave_out(self, samples, folds):
        """Predict samples from those of other folds; see `predict_left_out`.

        The coefficients of the prior mean stay those of all samples.
        """
        k = samples.n_outputs
        mean = np.full((len(samples.X), k), np.nan)
        variance = np.full(len(samples.X), np.nan)
        for fold in folds:
            kept = samples.weights > 0
            kept[fold] = False
            others = dataclasses.replace(
                self, X=samples.X[kept], T=samples.T[kept],
                weights=samples.weights[kept],
            )  # fmt: skip
            H = samples.T[fold, k:]
            mean[fold], variance[fold] = others.mean_and_variance(samples.X[fold], H)
        return mean, variance

    def densities(self, samples, heavy=False):
        """Return the log density of training samples left out, by the log noise.

        Parameters
        ----------
        samples : Samples
            Some of the training samples.
        heavy : bool, default=False
            See `log_density`.

        Returns
        -------
        density : callable
            ``density(log_noise)``, in nats: a decomposition of each covariance serves
            all noise variances.
        """
        k, parts = samples.n_outputs, []
        for _, K, R, weights in self._stacks(samples.X, self._others(samples)):
            root = np.sqrt(weights)[:, :, None]
            # K + s2 W^-1 = W^-1/2 U (E + s2) U' W^-1/2
            values, U = np.linalg.eigh(root * K[:, :-1, :-1] * root.swapaxes(1, 2))
            both = np.concatenate([K[:, -1, :-1, None], R], axis=2)
            both = U.swapaxes(1, 2) @ (root * both)
            parts.append((np.maximum(values, 0.0), both[:, :, 0], both[:, :, 1:]))
        values, a, b = map(np.concatenate, zip(*parts, strict=True))
        prior = self.kernel.diagonal(self.theta, samples.X)
        error = samples.T[:, :k] - samples.T[:, k:] @ self.beta

        def density(log_noise):
            noise = np.exp(log_noise)
            gain = a / (values + noise)
            residual = error - np.einsum("nm,nmk->nk", gain, b)
            variance = prior - np.einsum("nm,nm->n", gain, a)
            total = np.maximum(variance, 0.0) + noise
            return log_density(residual, total, samples.weights, heavy)

        return density

    @functools.cached_property
    def _search(self):
        """Scales of the features, and a search among the scaled training samples."""
        from sklearn.neighbors import NearestNeighbors  # no need of other models

        scale = np.sqrt(self.kernel.metric(self.theta))
        return scale, NearestNeighbors(algorithm="brute").fit(self.X * scale)

    def _nearest(self, X, n):
        """Return the n nearest training samples of each, the nearest first."""
        scale, search = self._search
        n = min(n, len(self.X))
        return search.kneighbors(X * scale, n, return_distance=False)

    def _others(self, samples):
        """Return the nearest training samples of each, without itself."""
        near = self._nearest(samples.X, N_NEAREST + 1)
        same = (self.X[near] == samples.X[:, None]).all(axis=2)
        same &= (self.T[near] == samples.T[:, None]).all(axis=2)
        # Of one that is not among them, by ties of distance, the last is left out.
        same[:, -1] |= ~same.any(axis=1)
        own = np.argmax(same, axis=1)
        place = np.arange(near.shape[1] - 1) + np.zeros((len(near), 1), dtype=int)
        place += place >= own[:, None]
        return np.take_along_axis(near, place, axis=1)

    def _stacks(self, X, near):
        """Yield slices over X with the covariances of the nearest samples and itself.

        Those have shape (n, m + 1, m + 1). Then the residuals of the nearest from the
        prior mean, (n, m, k), and their weights, (n, m).
        """
        (n, m), k = near.shape, self.beta.shape[1]
        for part in blocks(n, (m + 1) ** 2, _STACK_BYTES, least=1):
            rows, place = np.unique(near[part], return_inverse=True)
            joined = np.vstack([self.X[rows], X[part]])
            place = place.reshape(-1, m)
            own = len(rows) + np.arange(len(place))[:, None]
            K = self.kernel.stack(self.theta, joined, np.hstack([place, own]))
            R = self.T[rows, :k] - self.T[rows, k:] @ self.beta
            yield part, K, R[place], self.weights[near[part]]

    def _predict(self, X, H, near):
        mean = H @ self.beta
        variance = self.kernel.diagonal(self.theta, X)
        m = near.shape[1]
        for part, K, R, weights in self._stacks(X, near):
            diagonal = np.einsum("nii->ni", K)
            diagonal[:, :m] += self.noise / weights
            solved = _solved(K, R)
            mean[part] += np.einsum("nm,nkm->nk", solved[:, 0], solved[:, 1:])
            variance[part] -= np.einsum("nm,nm->n", solved[:, 0], solved[:, 0])
        return mean, np.maximum(variance, 0.0)


def _merged(X, T, weights):
    """Return samples that are equal, target included, as one of their weight."""
    rows, place = distinct_rows(np.hstack([X, T]))
    X, T = (np.ascontiguousarray(a) for a in np.split(rows, [X.shape[1]], axis=1))
    return X, T, np.bincount(place, weights)


def _solved(K, R):
    """Return [c, R]' L'^-1 of stacks [[C, .], [c', .]] with C = L L', (n, 1 + k, m)."""
    n, m, k = R.shape
    # The Cholesky factor of [[C, .], [B', huge]] is [[L, 0], [B' L'^-1, .]].
    whole = np.zeros((n, m + 1 + k, m + 1 + k))
    whole[:, : m + 1, :m] = K[:, :, :m]
    whole[:, m + 1 :, :m] = R.swapaxes(1, 2)
    np.einsum("nii->ni", whole)[:, m:] = _HUGE
    try:
        return np.linalg.cholesky(whole)[:, m:, :m]
    except np.linalg.LinAlgError:  # one of them, by rounding errors
        found = []
        for one in whole:
            L, _ = cholesky(np.asfortranarray(one[:m, :m]), (0.0, *JITTERS))
            found.append(dtrsm(1.0, L, one[m:, :m].T, lower=1).T)
        return np.stack(found)


def log_density(residual, variance, counts, heavy):
    """Return the log density of residuals (n, k) of variance (n,), in nats.

    With ``heavy`` of the Student t of that variance that fits them best, else of a
    Gaussian, by which the squares of a few outliers determine the noise of all.
    """
    z, k = residual / np.sqrt(variance)[:, None], residual.shape[1]
    shapes = [Shape(np.sqrt(1.0 - 2.0 / dof), dof) for dof in _DOFS if heavy]
    logs = [counts @ one.log_density(z).sum(axis=1) for one in (GAUSSIAN, *shapes)]
    return float(max(logs) - 0.5 * k * (counts @ np.log(variance)))


def fit_local(posterior, theta, samples, judged, residuals, heavy, report):
    """Return the posterior of nearest samples, if it predicts samples better.

    Parameters
    ----------
    posterior : SparsePosterior
        That of inducing points.
    theta : ndarray of shape (n_theta,)
        Log hyperparameters of noise that is constant and Gaussian.
    samples : RawSamples
        Training samples, with the user's weights: those by residuals from few samples
        take for outliers what more samples explain (UCI protein: RMSE 4.18 for 3.33).
    judged : ndarray of int
        Samples that are predicted without themselves.
    residuals : tuple of ndarray
        Residuals (n, k) and variances (n,) of these by ``posterior``, noise included.
    heavy : bool
        Whether errors may have heavy tails; see `log_density`.
    report : callable
        ``report(stage, iteration, value)``.

    Returns
    -------
    local : LocalPosterior or None
        None also where samples fill too much memory, and where nothing near is alike by
        the kernel, as with periodic ones.
    """
    kernel, judged = posterior.kernel, samples.take(judged)
    n, d = len(samples.weights), posterior.Z.shape[1]
    size = 8 * n * (d + len(posterior.TT))
    if size > _MOST_BYTES or kernel.metric(theta) is None or n <= N_NEAREST:
        return None
    parts = [samples.take(part) for part in blocks(n, d)]
    X, T = (np.concatenate([getattr(p, name) for p in parts]) for name in ("X", "T"))
    X, T, weights = _merged(X, T, samples.weights)
    k = samples.n_outputs
    # Least squares: the nearest samples do not cover what is far, as the kernel's own
    # generalised ones suppose (UCI protein: 14 standard deviations for the constant).
    beta, _ = mean_coefficients(product(T.T, weights[:, None] * T), k)
    local = LocalPosterior(kernel, theta, kernel.noise(theta), beta, X, T, weights)
    by_noise = local.densities(judged, heavy)
    index = kernel.noise_index
    if index:
        low, high = (kernel.bounds[index] - theta[index, None]).T
        shifts = np.linspace(low.max(), high.min(), _N_LEVELS)

        def at(shift):
            moved = theta.copy()
            moved[index] += shift
            return moved

        def loss(shift):
            return -by_noise(np.log(kernel.noise(at(shift))))

        top = int(np.argmin([loss(shift) for shift in shifts]))
        around = shifts[max(top - 1, 0)], shifts[min(top + 1, _N_LEVELS - 1)]
        found = minimize_scalar(loss, bounds=around, method="bounded")
        local.theta = at(found.x)
        local.noise = kernel.noise(local.theta)
    value = by_noise(np.log(local.noise))
    report("nearest samples", 0, value)
    gain = value - log_density(*residuals, judged.weights, heavy)
    return local if gain > _LEAST_GAIN * judged.weights.sum() else None
