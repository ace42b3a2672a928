"""Sums over rows that hold all a posterior needs of them."""

import dataclasses

import numpy as np
from scipy.linalg.blas import dgemm, dsyrk, dtrsm

from .._parallel import run_tasks
from .linalg import product

# Blocks of K(X, Z) of this size stay in the cache: twice as fast as 2**26.
CHUNK_BYTES = 2**22

# Statistics are summed by parts of at least so many rows, in at most so many parts.
PART_ROWS = 2**14

MAX_PARTS = 256


def chunks(n_rows, row_floats):
    """Yield slices over rows that keep a float64 block near ``CHUNK_BYTES``."""
    size = max(64, int(CHUNK_BYTES / (8 * max(row_floats, 1))))
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


@dataclasses.dataclass
class SufficientStatistics:
    """Sums over rows that hold all a posterior needs of them; they add up.

    Parameters
    ----------
    Phi : ndarray of shape (m, m)
        ``A W A'``; only the lower triangle is meaningful.
    b : ndarray of shape (m, p)
        ``A W T``.
    TT : ndarray of shape (p, p)
        ``T' W T``.
    trace : float
        ``tr(W Kff)``.
    weight : float
        Sum of the weights: the number of rows where all weights are 1.
    """

    Phi: np.ndarray
    b: np.ndarray
    TT: np.ndarray
    trace: float
    weight: float

    def _combine(self, other, sign):
        return SufficientStatistics(
            *(
                getattr(self, field.name) + sign * getattr(other, field.name)
                for field in dataclasses.fields(self)
            )
        )

    def __add__(self, other):
        return self._combine(other, 1.0)

    def __sub__(self, other):
        return self._combine(other, -1.0)


def whiten(kernel, theta, X, Z, Lz):
    """Return ``A = Lz^-1 K(Z, X)``, Fortran-ordered of shape (m, n)."""
    return dtrsm(1.0, Lz, kernel.matrix(theta, X, Z).T, lower=1, overwrite_b=1)


def collect_statistics(kernel, theta, Z, Lz, rows, n_jobs=1):
    """Sum the statistics of rows in chunks, in memory O(m^2).

    The rows are cut into parts by their number alone, and parts are added in order:
    the sum is the same however many processes share the work.

    Parameters
    ----------
    kernel : Covariance
        The kernel.
    theta : ndarray of shape (n_theta,)
        Log hyperparameters.
    Z : ndarray of shape (m, d)
        Inducing points.
    Lz : ndarray of shape (m, m)
        Cholesky factor of K(Z, Z).
    rows : Rows or RawRows
        With positive weights.
    n_jobs : int or None, default=1
        Processes, or whatever joblib's backend takes for one, that share the parts.
        None is what ``joblib.parallel_config`` says.

    Returns
    -------
    statistics : SufficientStatistics
        Their sums.
    """
    model = kernel, theta, Z, Lz
    if len(rows) <= _part_rows(len(rows), len(Z)):
        return _statistics_of_part((*model, rows))
    tasks = ((*model, rows.part(part)) for part in _parts(len(rows), len(Z)))
    sums = run_tasks(_statistics_of_part, tasks, n_jobs)
    total = next(sums)
    for one in sums:
        total += one
    return total


def _part_rows(n_rows, n_points):
    """Return the rows of a part.

    Their work, n m^2, outweighs the 16 m^2 bytes that a part costs on a network; and
    a large number of rows makes larger parts, not more than `MAX_PARTS`.
    """
    return max(8 * n_points, PART_ROWS, -(-n_rows // MAX_PARTS))


def _parts(n_rows, n_points):
    """Yield the slices of rows that are summed one by one."""
    size = _part_rows(n_rows, n_points)
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def _statistics_of_part(task):
    """Sum the statistics of (kernel, theta, Z, Lz, rows)."""
    kernel, theta, Z, Lz, rows = task
    m = len(Z)
    Phi = np.zeros((m, m), order="F")
    b, TT, trace = 0.0, 0.0, 0.0
    for chunk in chunks(len(rows), m):
        some = rows.take(chunk)
        A = whiten(kernel, theta, some.X, Z, Lz)
        root = np.sqrt(some.weights)
        A *= root
        T = root[:, None] * some.T
        Phi = dsyrk(1.0, A, beta=1.0, c=Phi, lower=1, overwrite_c=1)
        b = b + dgemm(1.0, A, T)
        TT = TT + product(T.T, T)
        trace += some.weights @ kernel.diagonal(theta, some.X)
    return SufficientStatistics(Phi, b, TT, float(trace), float(rows.weights.sum()))
