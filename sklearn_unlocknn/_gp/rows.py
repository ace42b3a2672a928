"""Training rows: standardised a block at a time, so that they may lie on disk."""

import dataclasses

import numpy as np

# A block of raw rows on its way through the standardisation.
BLOCK_BYTES = 2**25


@dataclasses.dataclass
class Rows:
    """Standardised training rows in memory.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Features.
    T : ndarray of shape (n, k + q)
        Targets, then the basis functions of the prior mean.
    weights : ndarray of shape (n,)
        Positive.
    n_outputs : int
        k.
    """

    X: np.ndarray
    T: np.ndarray
    weights: np.ndarray
    n_outputs: int

    def __len__(self):
        return len(self.X)

    def take(self, index):
        """Return some of the rows, by a slice or by indices."""
        return Rows(self.X[index], self.T[index], self.weights[index], self.n_outputs)

    part = take

    def grouped(self):
        """Return the distinct rows."""
        return GroupedRows.of(self.X, self.T, self.weights, self.n_outputs)


@dataclasses.dataclass
class GroupedRows(Rows):
    """Distinct rows, the weighted mean of their targets and what the mean loses.

    Rows that repeat carry one value of the function and several noisy looks at it;
    grouping them is exact, cheaper, and keeps covariance matrices regular.

    Parameters
    ----------
    X : ndarray of shape (g, d)
        Distinct rows, in lexicographic order.
    T : ndarray of shape (g, p)
        Weighted mean of the targets (and basis functions) of each group.
    weights : ndarray of shape (g,)
        Sum of the weights of each group.
    n_outputs : int
        k: the first k columns of T are targets.
    within : ndarray of shape (p, p)
        Weighted scatter of T about the group means, summed over groups.
    """

    within: np.ndarray

    @classmethod
    def of(cls, X, T, weights, n_outputs):
        """Group the rows of X."""
        distinct, index = np.unique(X, axis=0, return_inverse=True)
        index = index.ravel()
        count = len(distinct)
        total = np.bincount(index, weights, count)
        means = np.stack(
            [np.bincount(index, weights * t, count) / total for t in T.T], axis=1
        )
        spread = T - means[index]
        within = spread.T @ (weights[:, None] * spread)
        return cls(distinct, means, total, n_outputs, within)


@dataclasses.dataclass
class Standardisation:
    """The affine maps of features and targets, and the basis of the prior mean.

    Parameters
    ----------
    x_mean, x_scale : ndarray of shape (d,)
        Standardisation of features.
    y_mean, y_scale : ndarray of shape (k,)
        Standardisation of targets.
    mean : str
        "constant" has the basis 1, "linear" 1 and the features, others none.
    """

    x_mean: np.ndarray
    x_scale: np.ndarray
    y_mean: np.ndarray
    y_scale: np.ndarray
    mean: str

    def features(self, raw):
        """Standardise features, in C order."""
        return np.ascontiguousarray((raw - self.x_mean) / self.x_scale)

    def basis(self, X):
        """Return the basis functions of the prior mean, of shape (n, q)."""
        if self.mean == "constant":
            return np.ones((len(X), 1))
        if self.mean == "linear":
            return np.column_stack([np.ones(len(X)), X])
        return np.empty((len(X), 0))

    def rows(self, raw, y, weights):
        """Standardise rows."""
        X = self.features(raw)
        Y = (y - self.y_mean) / self.y_scale
        return Rows(X, np.hstack([Y, self.basis(X)]), weights, Y.shape[1])


@dataclasses.dataclass
class RawRows:
    """Training rows as they came, standardised when they are taken.

    Parameters
    ----------
    features : ndarray or memmap of shape (n_all, d)
        Rows as they came, float32 or float64; only read.
    y : ndarray of shape (n, k)
        Targets.
    weights : ndarray of shape (n,)
        Positive.
    scaling : Standardisation
        How to standardise.
    index : ndarray of shape (n,), default=None
        The rows of ``features`` meant; None: all of them.
    """

    features: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    scaling: Standardisation
    index: np.ndarray | None = None

    def __len__(self):
        return len(self.weights)

    @property
    def n_outputs(self):
        """Number of targets."""
        return self.y.shape[1]

    def take(self, index):
        """Return some of the rows, by a slice or by indices, as `Rows`."""
        return self.scaling.rows(*self._raw(index))

    def part(self, rows):
        """Return a slice of the rows, as they came: nothing is copied or computed."""
        return RawRows(*self._raw(rows), self.scaling)

    def grouped(self):
        """Return the distinct rows."""
        return self.take(slice(None)).grouped()

    def _raw(self, index):
        where = index if self.index is None else self.index[index]
        return self.features[where], self.y[index], self.weights[index]


def blocks(n_rows, row_floats):
    """Yield slices over rows that keep a float64 block near `BLOCK_BYTES`.

    At least one, which is empty for no rows.
    """
    size = max(1024, BLOCK_BYTES // (8 * max(row_floats, 1)))
    for start in range(0, max(n_rows, 1), size):
        yield slice(start, min(start + size, n_rows))


def known_rows(features):
    """Return the mask of rows without NaN, of shape (n,)."""
    known = np.empty(len(features), dtype=bool)
    for rows in blocks(*features.shape):
        known[rows] = ~np.isnan(features[rows]).any(axis=1)
    return known


def scales(values, weights, index=None):
    """Return weighted means and standard deviations; constant columns get scale 1.

    Parameters
    ----------
    values : ndarray of shape (n_all, d)
        Read in blocks, twice.
    weights : ndarray of shape (n,)
        Positive.
    index : ndarray of shape (n,), default=None
        The rows meant; None: all of them.

    Returns
    -------
    mean, scale : ndarray of shape (d,)
    """

    def weighted(function):
        total = 0.0
        for rows in blocks(len(weights), values.shape[1]):
            block = values[rows if index is None else index[rows]]
            # in C order, so that a frame gives the same bits
            block = np.ascontiguousarray(block, dtype=np.float64)
            total = total + weights[rows] @ function(block)
        return total / weights.sum()

    # Sums about the first row: the mean of a constant column is exactly its value.
    first = np.asarray(values[0 if index is None else index[0]], dtype=np.float64)
    mean = first + weighted(lambda block: block - first)
    scale = np.sqrt(weighted(lambda block: (block - mean) ** 2))
    constant = scale <= 10 * np.finfo(float).eps * np.abs(mean)
    return mean, np.where(constant | (scale == 0), 1.0, scale)
