"""Training samples of the Gaussian process: standardised, weighted, grouped."""

import dataclasses

import numpy as np
from sklearn.utils import check_consistent_length

from .._validation import check_weights, check_y_std
from .encoded import Standardisation, blocks

LOG_2PI = np.log(2.0 * np.pi)


def distinct_rows(X):
    """Return the distinct rows of X and where each row of X is among them.

    As `numpy.unique`, which compares rows number by number and takes five times as long
    or more: here their bytes are compared at once.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Finite numbers in float64.

    Returns
    -------
    distinct : ndarray of shape (g, d)
        In lexicographic order.
    index : ndarray of shape (n,)
    """
    rows = np.ascontiguousarray(X) + 0.0  # no -0.0
    # Flipped bits, all of negative numbers, have the order of the numbers
    bits = rows.view(np.int64)
    bits = (bits ^ (bits >> 63 | np.iinfo(np.int64).min)).astype(">i8")
    keys = bits.view(np.dtype((np.void, 8 * bits.shape[1]))).ravel()
    _, first, index = np.unique(keys, return_index=True, return_inverse=True)
    return rows[first], index


def places_among(Z, X):
    """Return the positions of the rows of X among those of Z, which are distinct."""
    _, index = distinct_rows(np.vstack([Z, X]))
    place = np.empty(len(index), dtype=int)
    place[index[: len(Z)]] = np.arange(len(Z))
    return place[index[len(Z) :]]


@dataclasses.dataclass
class Targets:
    """Targets of a batch of samples, made by `Targets.checked`.

    Parameters
    ----------
    y : ndarray of shape (n,) or (n, k)
        Targets.
    weights : ndarray of shape (n,)
        Weights, not negative.
    std : ndarray of shape (n,), default=None
        Known standard deviation of each target's own noise.
    """

    y: np.ndarray
    weights: np.ndarray
    std: np.ndarray | None = None

    @classmethod
    def checked(cls, encoded, y, sample_weight, y_std, some=False):
        """Return checked targets, weights and known noise of an encoded batch.

        With ``some`` at least one weight is positive.
        """
        check_consistent_length(range(encoded.n), y)
        weights = check_weights(sample_weight, encoded.n, some)
        return cls(y, weights, check_y_std(y_std, y))

    @property
    def columns(self):
        """The targets, of shape (n, k)."""
        return self.y.reshape(len(self.y), -1)

    def training_samples(self, encoded, scaling, y_mean, y_scale):
        """Return the samples of positive weight, in units of the GP.

        Parameters
        ----------
        encoded : Encoded
            The batch.
        scaling, y_mean, y_scale
            As in `Head`.

        Returns
        -------
        samples : RawSamples
        """
        target = encoded.target_map(y_mean, y_scale)
        t = target.forward(encoded.pick(self.columns))
        weights, index = encoded.pick(self.weights), None
        if not np.all(weights > 0):
            index = np.flatnonzero(weights > 0)
            t, weights = t[index], weights[index]
        known = None
        if self.std is not None:
            known = (encoded.pick(self.std)[:, None] / target.scale)[:, 0] ** 2
            known = (known if index is None else known[index]) / weights
        return RawSamples(
            encoded.features, t, weights, t.shape[1], scaling, index, None, known
        )


@dataclasses.dataclass
class Samples:
    """Standardised training samples in memory.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Features.
    T : ndarray of shape (n, k + q)
        Targets, then the basis functions of the prior mean.
    weights : ndarray of shape (n,)
        Precisions, not negative: the noise variance of a sample is s2 / weight.
    n_outputs : int
        k.
    counts : ndarray of shape (n,), default=None
        Numbers of observations that samples stand for, which multiply their log
        likelihood: the user's weights. None: the same as ``weights``.
    known : ndarray of shape (n,), default=None
        Known variances, added to s2 / weight.
    copies : ndarray of shape (n,), default=None
        Weight of all training samples that are equal, in units of the sample's own;
        see `RawSamples.with_copies`.
    """

    X: np.ndarray
    T: np.ndarray
    weights: np.ndarray
    n_outputs: int
    counts: np.ndarray | None = None
    known: np.ndarray | None = None
    copies: np.ndarray | None = None

    def take(self, index):
        """Return some of the samples, by a slice or by indices."""
        return Samples(
            self.X[index], self.T[index], self.weights[index], self.n_outputs,
            *_some(self, index), None if self.copies is None else self.copies[index],
        )  # fmt: skip

    part = take

    def at(self, noise):
        """Return the samples with known variances as part of the weights."""
        if self.known is None:
            return self
        counts = self.weights if self.counts is None else self.counts
        weights = noise / (noise / self.weights + self.known)
        return dataclasses.replace(self, weights=weights, counts=counts, known=None)

    def tally(self):
        """Return the sums of c and of c log(c / w), of counts c and weights w.

        Of all samples the log noise variances, each times its count, sum to the first
        times log s2 plus the second.
        """
        if self.counts is None:
            return float(self.weights.sum()), 0.0
        ratio = np.log(self.counts / self.weights)
        return float(self.counts.sum()), float(self.counts @ ratio)


@dataclasses.dataclass
class GroupedSamples(Samples):
    """Distinct samples, the weighted mean of their targets and the scatter about it.

    Samples that repeat are several noisy observations of one function value; grouping
    them is exact, cheaper, and keeps covariance matrices regular.

    Parameters
    ----------
    X : ndarray of shape (g, d)
        Distinct samples, in lexicographic order.
    T : ndarray of shape (g, p)
        Weighted mean of the targets (and basis functions) of each group.
    weights : ndarray of shape (g,)
        Sum of the weights of each group.
    n_outputs : int
        k: the first k columns of T are targets.
    counts : ndarray of shape (g,)
        Number of observations of each group.
    known : ndarray of shape (g,) or None
        Known variances. Samples that have them are not grouped.
    within : ndarray of shape (p, p)
        Weighted scatter of T about the group means, summed over groups.
    log_ratio : float
        Second part of ``tally`` of the samples.
    """

    within: np.ndarray = None
    log_ratio: float = 0.0

    @classmethod
    def of(cls, samples):
        """Return the groups of equal samples."""
        samples = samples.take(slice(None))
        T, weights = samples.T, samples.weights
        counts = weights if samples.counts is None else samples.counts
        if samples.known is not None:
            within = np.zeros((T.shape[1],) * 2)
            return cls(
                samples.X, T, weights, samples.n_outputs, counts, samples.known,
                within=within,
            )  # fmt: skip
        distinct, index = distinct_rows(samples.X)
        total = np.bincount(index, weights, len(distinct))
        means = np.empty((len(distinct), T.shape[1]))
        for column in range(T.shape[1]):
            sums = np.bincount(index, weights * T[:, column], len(distinct))
            means[:, column] = sums / total
        scatter = T - means[index]
        within = scatter.T @ (weights[:, None] * scatter)
        counts = np.bincount(index, counts, len(distinct))
        return cls(
            distinct, means, total, samples.n_outputs, counts, within=within,
            log_ratio=samples.tally()[1],
        )  # fmt: skip

    def variances(self, noise):
        """Return the noise variances N of the group means, of shape (g,)."""
        variances = noise / self.weights
        return variances if self.known is None else variances + self.known

    def log_noise(self, noise):
        """Return what the noise adds to -2 log p beside the group means' density.

        Returns
        -------
        value : float
            Sum of the log noise variances times 2 pi of all observations, less that of
            log N.
        slope : float
            Its derivative by ``noise``.
        """
        N = self.variances(noise)
        if self.known is None:
            total = self.counts.sum()
            value = total * (LOG_2PI + np.log(noise)) + self.log_ratio
            return value - np.log(N).sum(), (total - len(N)) / noise
        slope = 1.0 / (self.weights * N)
        value = self.counts @ (LOG_2PI + np.log(self.counts * N)) - np.log(N).sum()
        return value, (self.counts - 1.0) @ slope


@dataclasses.dataclass
class RawSamples:
    """Training samples as given, on disk perhaps, standardised when they are taken.

    Parameters
    ----------
    features : ndarray or memmap of shape (n_all, d)
        float32 or float64; only read.
    t : ndarray of shape (n, k)
        Targets of the GP.
    weights : ndarray of shape (n,)
        Positive.
    n_outputs : int
        k.
    scaling : Standardisation
        Standardisation of the features.
    index : ndarray of shape (n,), default=None
        Positions of the samples in ``features``; None: all of them.
    counts, known : ndarray of shape (n,), default=None
        As in `Samples`.
    """

    features: np.ndarray
    t: np.ndarray
    weights: np.ndarray
    n_outputs: int
    scaling: Standardisation
    index: np.ndarray | None = None
    counts: np.ndarray | None = None
    known: np.ndarray | None = None

    at, tally = Samples.at, Samples.tally

    def take(self, index):
        """Return some of the samples, by a slice or by indices, as `Samples`."""
        some = self.part(index)
        X = self.scaling.features(some.features)
        T = np.hstack([some.t, self.scaling.basis(X)])
        return Samples(X, T, some.weights, self.n_outputs, some.counts, some.known)

    def with_copies(self, index):
        """Return some of the samples, with the weight of all that are equal to each.

        With known variances each is one by itself.

        Parameters
        ----------
        index : ndarray of shape (n_some,)
            Their positions.
        """
        if self.known is not None:
            return self.take(index)
        some = self.part(index)
        wanted, place = distinct_rows(_features_and_targets(some))
        n, totals = len(wanted), np.zeros(len(wanted))
        # Most others differ in the target, or in the column of most values.
        alike = np.flatnonzero(np.isin(self.t[:, 0], some.t[:, 0]))
        column = np.argmax([len(np.unique(values)) for values in wanted.T])
        for part in blocks(len(alike), wanted.shape[1]):
            rows = self.part(alike[part])
            values, weights = _features_and_targets(rows), rows.weights
            near = np.isin(values[:, column], wanted[:, column])
            _, group = distinct_rows(np.vstack([wanted, values[near]]))
            found = np.bincount(group[n:], weights[near], group.max() + 1)
            totals += found[group[:n]]
        copies = totals[place] / some.weights
        return dataclasses.replace(self.take(index), copies=copies)

    def part(self, index):
        """Return some of the samples as given, not standardised."""
        return RawSamples(
            self.features[self.rows(index)], self.t[index], self.weights[index],
            self.n_outputs, self.scaling, None, *_some(self, index),
        )  # fmt: skip

    def rows(self, index):
        """Return the rows of ``features`` that hold some of the samples."""
        return index if self.index is None else self.index[index]


def _features_and_targets(samples):
    both = np.hstack([np.asarray(samples.features, float), samples.t])
    both[np.isnan(both)] = -np.inf  # gaps are equal
    return both


def _some(samples, index):
    """Return ``counts`` and ``known``, which may be None, of some samples."""
    both = samples.counts, samples.known
    return [None if array is None else array[index] for array in both]
