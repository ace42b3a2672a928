"""Where a fitted Gaussian process may be trusted, and the samples it learned there.

The distance of two samples is that of the kernel, the prior standard deviation of the
difference of the function between them: d(x, z)^2 = k(x, x) + k(z, z) - 2 k(x, z).

A sample i with weight w_i, target t_i, posterior mean mu_i and variance S_i (of the
part that the data determine) has, if it alone is left out, the residual and the
variance (Rasmussen and Williams 2006, section 5.4.2)

    (t_i - mu_i) / M_i,   S_i / M_i,   M_i = 1 - w_i S_i / s2.
"""

import dataclasses

import numpy as np
from scipy.linalg import lapack
from scipy.linalg.blas import dtrsm

from .encoded import blocks
from .leave_out import leave_one_out
from .linalg import product
from .posterior import CHUNK, ExactPosterior, mean_coefficients
from .samples import Samples, distinct_rows, places_among

# Training samples whose leave-one-out errors scale the variance of a prediction near
# them.
N_LOCAL = 30
# Samples that `partial_fit` adds are kept up to this number.
LEAST_KEPT = 1000
# Training samples whose own scores rank those of others. Those nearest to inducing
# points are predicted too well to do so.
N_RANKED = 500
# A sample whose rank is lower is outside the domain.
LEAST_RANK = 0.05
# Samples among which those nearest to inducing points are searched: for each point,
# and in all at least. Four times as many would add a tenth to the time of a fit.
_SEARCHED = 5, 2000
# Bytes of a block of K(X, R) for triangular solves, and its least number of rows: twice
# as much as the processor's cache holds, as they are a tenth faster with many rows.
_SOLVED = 2**25, 64
# A squared distance up to this share of the prior variance is rounding.
_ROUNDING = 1e-12


@dataclasses.dataclass
class TrainingRecord:
    """Training samples that stand for all of them, of r samples.

    Of an exact GP they are all samples, of a sparse one those near the inducing points
    and some others; then the first of those that are added.

    Parameters
    ----------
    index : ndarray of shape (r,), int
        Positions in the training data, weight 0 and samples without features counted.
    y : ndarray of shape (r, k)
        Targets, in target units.
    t : ndarray of shape (r, k)
        Targets of the GP.
    weights : ndarray of shape (r,)
        Weights of the posterior, positive.
    group : ndarray of shape (r,), int, or None
        The inducing point that is the sample; None: ``X`` has the samples.
    X : ndarray of shape (r, d) or None
        Standardised features.
    ranked : ndarray of shape (at most N_RANKED,), int
        Samples of the record that are a fair draw from the training data.
    formulas : ndarray of shape (r,), str, or None
        Formulas of structures.
    n_seen : int
        Number of samples in the training data.
    variance : float
        Variance of the targets of the GP, averaged over outputs.
    low, high : ndarray of shape (k,)
        Smallest and largest training target, in target units.
    """

    index: np.ndarray
    y: np.ndarray
    t: np.ndarray
    weights: np.ndarray
    group: np.ndarray | None
    X: np.ndarray | None
    ranked: np.ndarray
    formulas: np.ndarray | None
    n_seen: int
    variance: float
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, encoded, y, samples, posterior, variance):
        """Record the samples of a fit.

        Parameters
        ----------
        encoded : Encoded
            Training samples.
        y : ndarray of shape (n, k) or (n,)
            Targets of the batch.
        samples : RawSamples
            Those of positive weight.
        posterior : ExactPosterior or SparsePosterior
            The posterior.
        variance : float
            See the class.
        """
        n, group, X = len(samples.weights), None, None
        rows, ranked = np.arange(n), _even(n, N_RANKED)
        if isinstance(posterior, ExactPosterior):
            # as `GroupedSamples.of` made the inducing points
            group = rows
            if samples.known is None:
                _, group = distinct_rows(samples.take(slice(None)).X)
        else:
            rows = np.union1d(_nearest_to_points(posterior, samples), ranked)
            ranked = np.searchsorted(rows, ranked)
            X = samples.take(rows).X
        y = y.reshape(encoded.n, -1)
        every = encoded.index[samples.rows(slice(None))]
        formulas = encoded.formulas_of(samples.rows(rows))
        return cls(
            every[rows], y[every[rows]], samples.t[rows], samples.weights[rows], group,
            X, ranked, formulas, encoded.n, variance, y[every].min(axis=0),
            y[every].max(axis=0),
        )  # fmt: skip

    def extended(self, encoded, y, samples, before, after):
        """Return the record with added samples, some of them if there are many.

        Parameters
        ----------
        encoded, y, samples
            As in `of`.
        before, after : ExactPosterior or SparsePosterior
            The posterior without and with them. At most `LEAST_KEPT` samples are kept,
            or as many as ``after`` has inducing points, and of an exact one besides a
            sample for each point.
        """
        every = encoded.index[samples.rows(slice(None))]
        y = y.reshape(encoded.n, -1)
        n_seen = self.n_seen + encoded.n
        if not len(every):
            return dataclasses.replace(self, n_seen=n_seen)
        low = np.minimum(self.low, y[every].min(axis=0))
        high = np.maximum(self.high, y[every].max(axis=0))
        record = dataclasses.replace(self, n_seen=n_seen, low=low, high=high)
        room = max(LEAST_KEPT, len(after.Z)) - len(self.index)
        rows = np.arange(min(max(room, 0), len(every)))
        X, group = self.samples(before.Z), None
        if isinstance(after, ExactPosterior):
            group = places_among(after.Z, X)
            new = places_among(after.Z, samples.take(slice(None)).X)
            points, first = np.unique(new, return_index=True)
            rows = np.union1d(rows, first[~np.isin(points, group)])
            X, group = None, np.concatenate([group, new[rows]])
        else:
            X = np.vstack([X, samples.take(rows).X])
        record = dataclasses.replace(record, X=X, group=group)
        if not len(rows):
            return record
        formulas = encoded.formulas_of(samples.rows(rows))
        if self.formulas is not None:
            formulas = np.concatenate([self.formulas, formulas])
        ranked = len(self.index) + np.arange(len(rows))
        ranked = np.concatenate([self.ranked, ranked])
        return dataclasses.replace(
            record,
            index=np.concatenate([self.index, self.n_seen + every[rows]]),
            y=np.concatenate([self.y, y[every[rows]]]),
            t=np.concatenate([self.t, samples.t[rows]]),
            weights=np.concatenate([self.weights, samples.weights[rows]]),
            ranked=ranked[_even(len(ranked), N_RANKED)],
            formulas=formulas,
        )

    def samples(self, Z):
        """Return the standardised features, given the inducing points."""
        return self.X if self.group is None else Z[self.group]


def _even(n, most):
    """Return at most a number of positions among n, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))


def _nearest_to_points(posterior, samples):
    """Return the samples that are nearest to the inducing points, in their order."""
    kernel, theta, Z = posterior.kernel, posterior.theta, posterior.Z
    n = len(samples.weights)
    searched = _even(n, max(_SEARCHED[0] * len(Z), _SEARCHED[1]))
    best, found = np.full(len(Z), np.inf), np.zeros(len(Z), dtype=int)
    for part in blocks(len(searched), len(Z), *CHUNK):
        X = samples.take(searched[part]).X
        distance = kernel.diagonal(theta, X)[:, None] - 2.0 * kernel.matrix(theta, X, Z)
        nearest = np.argmin(distance, axis=0)
        distance = distance[nearest, np.arange(len(Z))]
        closer = distance < best
        best[closer] = distance[closer]
        found[closer] = searched[part][nearest[closer]]
    return np.unique(found)


# --- distances -------------------------------------------------------------------


def _squared_distances(posterior, X, R, K=None):
    """Return the squared distances of the kernel, of shape (n, r).

    K is their covariance where the caller has it.
    """
    kernel, theta = posterior.kernel, posterior.theta
    if K is None:
        K = kernel.matrix(theta, X, R)
    total = kernel.diagonal(theta, X)[:, None] + kernel.diagonal(theta, R)
    squared = total - 2.0 * K
    squared[squared <= _ROUNDING * total] = 0.0
    return squared


def _nearest(squared, n):
    """Return the columns of the n smallest numbers of each row, in no order."""
    n = min(n, squared.shape[1])
    return np.argpartition(squared, n - 1, axis=1)[:, :n]


def nearest_samples(head, encoded, n_neighbors, weighted=True):
    """Find the training samples that are nearest to others.

    Parameters
    ----------
    head : Head
        The fitted head.
    encoded : Encoded
        Samples to look up.
    n_neighbors : int
        Number of training samples for each.
    weighted : bool, default=True
        Whether to compute their weights.

    Returns
    -------
    rows : ndarray of shape (n_valid, n_neighbors), int
        Samples of the head's record, the nearest first.
    distance : ndarray of the same shape
        In units of the GP's targets.
    weight : ndarray of the same shape
        Derivative of the mean by their targets; NaN unless ``weighted``, and where the
        head predicts from nearest samples.
    """
    record, posterior = head.record, head.posterior
    kernel, theta, Z = posterior.kernel, posterior.theta, posterior.Z
    R, group = record.samples(Z), record.group
    weigh, weighted = None, weighted and head.local is None
    if weighted:
        weigh = _weights_of(posterior, record, R, head.scaling.basis(R))
    X = head.scaling.features(encoded.features)
    H = head.scaling.basis(X)
    n = min(n_neighbors, len(R))
    rows = np.empty((len(X), n), dtype=int)
    distance, weight = np.empty(rows.shape), np.full(rows.shape, np.nan)
    for part in blocks(len(X), len(R), *_SOLVED):
        kept = []
        for small in blocks(len(X[part]), len(R), *CHUNK):
            at = slice(part.start + small.start, part.start + small.stop)
            K = of_R = None
            if weighted or group is not None:
                K = kernel.matrix(theta, X[at], Z)
            if group is not None:
                of_R = np.take(K, group, axis=1)
            squared = _squared_distances(posterior, X[at], R, of_R)
            near = _nearest(squared, n)
            found = np.take_along_axis(squared, near, axis=1)
            order = np.lexsort((near, found), axis=1)
            rows[at] = np.take_along_axis(near, order, axis=1)
            distance[at] = np.sqrt(np.take_along_axis(found, order, axis=1))
            kept.append(K if weighted else None)
        if weighted:
            weight[part] = weigh(np.concatenate(kept), H[part], rows[part])
    return rows, distance, weight


def _weights_of(posterior, record, R, H_R):
    """Return ``weigh(K, H, rows)``: the derivative of the mean by some targets.

    ``K`` is K(X, Z), which is overwritten.

    The mean is linear in them: with G = (Q + s2 W^-1)^-1, Q being the covariance that
    the inducing points carry (K of an exact GP), it is

        w(x) = G q(X, x) + G H P (h(x) - H' G q(X, x)),   P = (H' G H)^-1.
    """
    q, noise = H_R.shape[1], posterior.noise
    kernel, theta, Z = posterior.kernel, posterior.theta, posterior.Z

    def inverse(Q):
        # by the coefficients of targets T with T' G H = I
        whole = [[np.zeros((q, q)), np.eye(q)], [np.eye(q), Q]]
        return mean_coefficients(np.block(whole), q)[0]

    L = posterior.factor()
    if record.group is not None and isinstance(posterior, ExactPosterior):
        H_Z = posterior.T[:, -q:] if q else np.empty((len(Z), 0))
        GH, _ = lapack.dpotrs(L, H_Z, lower=1)
        P = inverse(product(H_Z.T, GH)) if q else None
        share = record.weights / posterior.weights[record.group]

        def weigh(K, H, rows):
            W, _ = lapack.dpotrs(L, K.T, lower=1, overwrite_b=1)
            chosen = record.group[rows]
            weight = np.take_along_axis(W.T, chosen, axis=1)
            if q:
                left = (H - product(W.T, H_Z)) @ P
                weight = weight + np.einsum("nq,nrq->nr", left, GH[chosen])
            return weight * share[rows]

        return weigh

    # c(x) = Lb^-1 Lz^-1 k(Z, x), so that q(x, x')= k Kuu^-1 k, G by Woodbury
    Lb = posterior.Lb
    c_H = dtrsm(1.0 / noise, Lb, posterior.b, lower=1)[:, -q:] if q else None
    if q:
        P = inverse(posterior.TT[-q:, -q:] / noise - product(c_H.T, c_H))
        alpha_H = dtrsm(1.0, Lb, c_H, lower=1, trans_a=1)
        alpha_H = dtrsm(1.0, L, alpha_H, lower=1, trans_a=1)

    def weigh(K, H, rows):
        A = dtrsm(1.0, L, K.T, lower=1, overwrite_b=1)
        c = dtrsm(1.0, Lb, A, lower=1, overwrite_b=1)
        some, place = np.unique(rows, return_inverse=True)
        place = place.reshape(rows.shape)
        K_R = kernel.matrix(theta, R[some], Z)
        C = dtrsm(1.0, L, K_R.T, lower=1)
        C = dtrsm(1.0, Lb, C, lower=1, overwrite_b=1)
        weight = np.take_along_axis(product(c.T, C), place, axis=1)
        if q:
            left = (H - product(c.T, c_H)) @ P
            rest = H_R[some] - product(K_R, alpha_H)
            weight = weight + np.take_along_axis(left @ rest.T, place, axis=1)
        return weight * record.weights[rows] / noise

    return weigh


# --- scores ----------------------------------------------------------------------


def is_outside(rank):
    """Return whether samples of these ranks are outside the domain."""
    return rank < LEAST_RANK


def domain_scores(head, encoded):
    """Return score and rank of each valid sample; see `DomainMixin.domain_score`."""
    record, posterior = head.record, head.posterior
    if head.reference is None:
        head.reference = _reference(head)
    squares, own = head.reference
    _, epistemic, aleatoric = map(encoded.pick, head.components(encoded))
    X, R = head.scaling.features(encoded.features), record.samples(posterior.Z)
    variance = (epistemic**2 + aleatoric**2).reshape(len(X), -1)
    scale = encoded.target_map(head.y_mean, head.y_scale).scale
    variance = np.mean(variance / scale**2, axis=1)
    scores = []
    for part in blocks(len(X), len(R), *CHUNK):
        near = _nearest(_squared_distances(posterior, X[part], R), N_LOCAL)
        scores.append(_score(variance[part], squares[near], record.variance))
    scores = np.concatenate(scores)
    return scores, np.searchsorted(own, scores, side="right") / len(own)


def _score(variance, squares, target_variance):
    """Return the share of the targets' variance in its sum with that of the error.

    ``squares`` are those of the standardised errors of samples nearby, which average
    to 1 where the variance is right.
    """
    factor = 0.5 * (1.0 + squares.mean(axis=1))
    return target_variance / (target_variance + variance * factor)


def _reference(head):
    """Leave each sample of the record out.

    Returns
    -------
    squares : ndarray of shape (r,)
        Squared residuals over their variance, noise included.
    scores : ndarray of shape (n_ranked,)
        Scores of the ranked ones, ascending.
    """
    record, posterior, errors = head.record, head.posterior, head.errors
    predictor, R = head.predictor, record.samples(posterior.Z)
    T = np.hstack([record.t, head.scaling.basis(R)])
    samples = Samples(R, T, record.weights, record.t.shape[1])
    residual, variance = leave_one_out(predictor, samples, record.group)
    variance = variance + predictor.noise * errors.ratio(R)
    variance = variance * errors.factors(variance) ** 2
    residual = residual / errors.of_outputs()
    squares = np.mean(residual**2, axis=1) / variance
    variance = variance * np.mean(np.square(errors.of_outputs()))
    scores = []
    for part in blocks(len(record.ranked), len(R), *CHUNK):
        rows = record.ranked[part]
        squared = _squared_distances(posterior, R[rows], R)
        if len(R) > 1:  # a sample is not its own neighbour
            squared[np.arange(len(rows)), rows] = np.inf
        near = _nearest(squared, min(N_LOCAL, max(len(R) - 1, 1)))
        scores.append(_score(variance[rows], squares[near], record.variance))
    return squares, np.sort(np.concatenate(scores))
