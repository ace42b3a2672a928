"""Encoded samples: features and affine maps of the targets.

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

    def log_det(self, weights):
        """Return the weighted sum of the log scales, over samples and outputs."""
        return float(np.sum(weights[:, None] * np.log(self.scale)))


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
        Positions of these samples in the batch. None: all of it, from 0 on.
    n : int, default=None
        Number of samples in the batch. None: that of the features.
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
    n: int | None = None
    errors: Mapping = dataclasses.field(default_factory=dict)
    inputs: object = None
    dtype: type = np.float64
    gaps: bool = False
    blocks: Mapping = dataclasses.field(default_factory=dict)
    together: tuple = ()
    kernel: str | None = None
    notes: Mapping = dataclasses.field(default_factory=dict)
    formulas: Callable | None = None

    def __post_init__(self):
        if self.index is None:
            self.n = len(self.features)
            self.index = np.arange(self.n)

    def pick(self, values):
        """Return the values of the valid samples, of an array over the batch."""
        return values[self.index]

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
        if len(self.index) == self.n:
            return values
        whole = np.full((self.n,) * n_axes + values.shape[n_axes:], np.nan)
        whole[np.ix_(*[self.index] * n_axes)] = values
        return whole


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
