"""Encoded samples: features, affine maps of the targets, training data.

An encoder turns X into an `Encoded` batch. With the standardisation of a fit, features
become inputs of the GP and each sample has one affine map between its target and the
GP's.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import validate_data

from .._validation import check_targets

# Bytes of a block of samples that are standardised at a time.
BLOCK_BYTES = 2**25
# Scale of a column without any value.
_NO_EFFECT = 1e300
LOG_2PI = np.log(2.0 * np.pi)


class TargetMap(NamedTuple):
    """The affine map of each sample between its target y and the GP's target t.

    ``y = scale * t + shift``, and of a density ``log p(y) = log p(t) - log scale``.

    Attributes
    ----------
    shift : ndarray of shape (n, k) or (1, k)
        In target units: mean of the training targets, and the network's own output
        where that is the prior mean.
    scale : ndarray of shape (n, k) or (1, k)
        In target units: standard deviation of the training targets, times the number
        of atoms for an extensive target.
    """

    shift: np.ndarray
    scale: np.ndarray

    def forward(self, y):
        """Return the GP's targets, of shape (n, k)."""
        return (y - self.shift) / self.scale

    def mean(self, t):
        """Return means in target units, of shape (n, k)."""
        return self.scale * t + self.shift

    def std(self, t):
        """Return standard deviations of shape (n, 1) or (n, k) in target units."""
        return self.scale * t

    def log_det(self, weights):
        """Return the weighted sum of the log scales, over samples and outputs."""
        logs = np.log(self.scale).sum(axis=1)
        return float(np.sum(weights * logs))


@dataclasses.dataclass
class Encoded:
    """Network features and prior-mean terms of a batch of samples.

    Parameters
    ----------
    features : ndarray or memmap of shape (n_valid, d)
        Features of the valid samples, those that have features.
    offset : ndarray of shape (n_valid, k), default=None
        The network's own output in target units, where it is the prior mean.
    scale : ndarray of shape (n_valid, 1), default=None
        Units of each target, the number of atoms for an extensive property; the GP
        models the target per unit.
    index : ndarray of shape (n_valid,), default=None
        Positions of these samples in the batch; None: all of it.
    n_all : int, default=None
        Number of samples in the batch; None: that of the features.
    errors : mapping of int to StructureError
        Reasons of samples without features, by their position.
    inputs : object
        Inputs of the network, for fine-tuning.
    dtype : type
        Floating-point type in which the features were computed; a column that varies
        less than its resolution is constant.
    gaps : bool
        Whether a feature may be NaN, undefined: it is standardised to 0, the mean of
        the training samples.
    blocks : dict of str to slice or int
        Names of columns, for kernels on some of them.
    together : tuple of slice
        Columns of one unit, which share one scale.
    kernel : str, default=None
        The default kernel on these features; None: that of `make_kernel`.
    notes : mapping of int to str
        Warnings about samples that are valid, by their position.
    formulas : callable, default=None
        Formulas of structures as a function of their features; None: samples have none.
    """

    features: np.ndarray
    offset: np.ndarray | None = None
    scale: np.ndarray | None = None
    index: np.ndarray | None = None
    n_all: int | None = None
    errors: Mapping | None = None
    inputs: object = None
    dtype: type = np.float64
    gaps: bool = False
    blocks: Mapping = dataclasses.field(default_factory=dict)
    together: tuple = ()
    kernel: str | None = None
    notes: Mapping = dataclasses.field(default_factory=dict)
    formulas: Callable | None = None

    @property
    def n(self):
        """Number of samples in the batch."""
        return len(self.features) if self.n_all is None else self.n_all

    def pick(self, values):
        """Return the values of the valid samples, of an array over the batch."""
        return values if self.index is None else values[self.index]

    def formulas_of(self, rows):
        """Return the formulas of some valid samples, or None."""
        return None if self.formulas is None else self.formulas(self.features[rows])

    def target_map(self, y_mean, y_scale):
        """Return the map of these samples, given mean and scale of all targets."""
        unit = 1.0 if self.scale is None else self.scale
        shift = np.atleast_2d(unit * y_mean)
        if self.offset is not None:
            if self.offset.shape[1] != len(y_mean):
                raise ValueError(
                    f'Got mean="network" with a network of {self.offset.shape[1]} '
                    f"outputs for y of {len(y_mean)}, expected the same number. Pass a "
                    'network that predicts y, or mean="constant".'
                )
            shift = shift + self.offset
        return TargetMap(shift, np.atleast_2d(unit * y_scale))

    def scatter_rows(self, values, n_axes=1):
        """Return values of all samples: NaN where a sample is not valid.

        Parameters
        ----------
        values : ndarray of shape (n_valid, ...)
            Values of the valid samples.
        n_axes : int, default=1
            Number of leading axes that are samples: two for a covariance.
        """
        if self.index is None:
            return values
        whole = np.full((self.n,) * n_axes + values.shape[n_axes:], np.nan)
        whole[np.ix_(*[self.index] * n_axes)] = values
        return whole


@dataclasses.dataclass
class Targets:
    """Targets of a batch of samples, checked.

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

    @property
    def columns(self):
        """The targets, of shape (n, k)."""
        return self.y.reshape(len(self.y), -1)

    def training_samples(self, encoded, head):
        """Return the samples of positive weight, in units of a head's GP.

        Parameters
        ----------
        encoded : Encoded
            The batch.
        head : Head or object
            With ``scaling``, ``y_mean`` and ``y_scale``.

        Returns
        -------
        samples : RawSamples
        """
        target = encoded.target_map(head.y_mean, head.y_scale)
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
            encoded.features, t, weights, t.shape[1], head.scaling, index, None, known
        )


class NumericEncoder:
    """Encode a numeric table: the features are X itself.

    An encoder is held by an estimator. Its ``fit`` returns an `Encoded` batch and the
    checked targets, its ``encode`` an `Encoded` batch of other samples; both check X on
    behalf of the estimator. ``check_added`` checks samples that are added to a fit,
    ``chunks`` cuts a stream into batches that ``encode`` takes, and ``public`` are the
    attributes that a fit adds to the estimator.
    """

    public = {}
    # float32 samples, on disk perhaps, become float64 a block at a time.
    dtypes = (np.float64, np.float32)

    def fit(self, estimator, X, y, sample_weight=None):
        """Check training samples and targets; see the class."""
        X, y = validate_data(
            estimator, X, y, dtype=self.dtypes, multi_output=True, y_numeric=True
        )
        names = getattr(estimator, "feature_names_in_", ())
        blocks = dict(zip(names, range(len(names)), strict=True))
        return Encoded(X, dtype=X.dtype, blocks=blocks), np.asarray(y, dtype=float)

    def encode(self, estimator, X, keep=True, start=0):
        """Check other samples; see the class."""
        X = validate_data(estimator, X, reset=False, dtype=self.dtypes)
        return Encoded(X, dtype=X.dtype)

    def check_added(self, X, y, start=0):
        """Return samples and their targets, checked; see the class."""
        return X, check_targets(y)

    def chunks(self, estimator, stream):
        """Return the stream's own batches; see the class."""
        return stream


@dataclasses.dataclass
class Standardisation:
    """Standardisation of the features, and the basis of the prior mean.

    Parameters
    ----------
    x_mean, x_scale : ndarray of shape (d,)
        Mean and standard deviation of the features.
    mean : str
        "constant" has the basis 1, "linear" 1 and the features, others none.
    gaps : bool, default=False
        Whether a feature may be NaN, which becomes 0.
    limits : ndarray of shape (d,), default=None
        Where the size of a standardised feature starts to grow with the logarithm of
        the distance alone; None: nowhere.
    """

    x_mean: np.ndarray
    x_scale: np.ndarray
    mean: str
    gaps: bool = False
    limits: np.ndarray | None = None

    def features(self, raw):
        """Standardise features, in C order."""
        X = np.ascontiguousarray((raw - self.x_mean) / self.x_scale)
        if self.gaps:
            np.nan_to_num(X, copy=False)
        if self.limits is not None:
            beyond = np.abs(X) - self.limits
            far = beyond > 0.0
            if far.any():
                soft = (self.limits + np.log1p(np.maximum(beyond, 0.0)))[far]
                X[far] = np.copysign(soft, X[far])
        return X

    def basis(self, X):
        """Return the basis functions of the prior mean, of shape (n, q)."""
        if self.mean == "constant":
            return np.ones((len(X), 1))
        if self.mean == "linear":
            return np.column_stack([np.ones(len(X)), X])
        return np.empty((len(X), 0))


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
    """

    X: np.ndarray
    T: np.ndarray
    weights: np.ndarray
    n_outputs: int
    counts: np.ndarray | None = None
    known: np.ndarray | None = None

    def take(self, index):
        """Return some of the samples, by a slice or by indices."""
        return Samples(
            self.X[index], self.T[index], self.weights[index], self.n_outputs,
            *_some((self.counts, self.known), index),
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
                samples.X, T, weights, samples.n_outputs, counts, samples.known, within
            )
        distinct, index = np.unique(samples.X, axis=0, return_inverse=True)
        index = index.ravel()
        total = np.bincount(index, weights, len(distinct))
        means = np.empty((len(distinct), T.shape[1]))
        for column in range(T.shape[1]):
            sums = np.bincount(index, weights * T[:, column], len(distinct))
            means[:, column] = sums / total
        scatter = T - means[index]
        within = scatter.T @ (weights[:, None] * scatter)
        counts = np.bincount(index, counts, len(distinct))
        return cls(
            distinct, means, total, samples.n_outputs, counts, None, within,
            samples.tally()[1],
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
        where = index if self.index is None else self.index[index]
        X = self.scaling.features(self.features[where])
        T = np.hstack([self.t[index], self.scaling.basis(X)])
        return Samples(
            X, T, self.weights[index], self.n_outputs,
            *_some((self.counts, self.known), index),
        )  # fmt: skip

    def part(self, index):
        """Return a slice of the samples as given, not standardised."""
        where = index if self.index is None else self.index[index]
        return RawSamples(
            self.features[where], self.t[index], self.weights[index], self.n_outputs,
            self.scaling, None, *_some((self.counts, self.known), index),
        )  # fmt: skip


def _some(arrays, index):
    """Index arrays that may be None."""
    return [None if array is None else array[index] for array in arrays]


def blocks(n_rows, row_floats, n_bytes=None, least=1024):
    """Yield slices over samples that keep a float64 block near a number of bytes.

    Each has ``least`` samples or more, except the last; without samples one is empty.
    """
    n_bytes = BLOCK_BYTES if n_bytes is None else n_bytes
    size = max(least, n_bytes // (8 * max(row_floats, 1)))
    for start in range(0, max(n_rows, 1), size):
        yield slice(start, min(start + size, n_rows))


def scales(values, weights, index=None, dtype=np.float64, together=(), gaps=False):
    """Return weighted means and standard deviations; constant columns get scale 1.

    NaN are left out. A column of NaN alone gets a scale that leaves it no effect.

    Parameters
    ----------
    values : ndarray of shape (n_all, d)
        Read in blocks, twice.
    weights : ndarray of shape (n,)
        Positive.
    index : ndarray of shape (n,), default=None
        Positions of the samples in ``values``; None: all of them.
    dtype : type, default=numpy.float64
        Floating-point type in which the values were computed.
    together : list of slice or list of int, default=()
        Columns whose scale is the root of their mean variance.
    gaps : bool, default=False
        Whether there may be NaN.

    Returns
    -------
    mean, scale : ndarray of shape (d,)
    largest : ndarray of shape (d,)
        Largest distance from the mean.
    """
    # Sums about the first sample: the mean of a constant column is exactly its value.
    first = np.asarray(values[0 if index is None else index[0]], dtype=np.float64)
    first = np.where(np.isnan(first), 0.0, first)
    mean, moments = first, []
    for power in (1, 2):
        total = mass = 0.0
        largest = np.zeros(values.shape[1])
        for rows in blocks(len(weights), values.shape[1]):
            block = values[rows if index is None else index[rows]]
            # in C order, so that a frame has the same result to the last bit
            block = np.ascontiguousarray(block, dtype=np.float64) - mean
            if gaps:
                defined = ~np.isnan(block)
                block[~defined] = 0.0
                mass = mass + weights[rows] @ defined
            largest = np.maximum(largest, np.abs(block).max(axis=0))
            with np.errstate(over="ignore", invalid="ignore"):
                total = total + weights[rows] @ block**power
        mass = mass if gaps else weights.sum()
        moments.append(total / np.where(mass > 0, mass, 1.0))
        mean = first + moments[0]
    if not np.isfinite(moments).all():
        raise ValueError(
            "Got features or targets whose squares exceed the range of float64, "
            "expected none beyond 1e150. Change their units."
        )
    scale = np.sqrt(moments[1])
    scale[scale <= 10 * np.finfo(dtype).eps * np.abs(mean)] = 0.0
    for columns in together:
        scale[columns] = np.sqrt(np.mean(scale[columns] ** 2))
    scale = np.where(mass == 0, _NO_EFFECT, np.where(scale == 0, 1.0, scale))
    return mean, scale, largest
