"""Matrix products by SciPy's BLAS, never NumPy's.

The wheels of NumPy and SciPy bring a BLAS each, with a pool of threads each. A thread
that has no work waits for it in a busy loop: where large products (NumPy) and
factorisations (SciPy) take turns, the two pools compete for the processors. On two
cores that made the marginal likelihood of 800 samples take 102 ms, where SciPy's pool
alone takes 26 ms and one thread 37 ms. So large and repeated
products are computed here, and small ones, which use no pool, by ``@``.
"""

import contextlib
import functools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from joblib import cpu_count
from scipy.linalg import lapack
from scipy.linalg.blas import dgemm, dtrsm, dtrsv
from threadpoolctl import ThreadpoolController


def product(A, B, scale=1.0):
    """Return ``scale A B``, C-ordered.

    Parameters
    ----------
    A : ndarray of shape (n, k), or a stack of them
        float64, in C or Fortran order; another order is copied.
    B : ndarray of shape (k, m) or (k,), or a stack of them
        As A.
    scale : float, default=1.0
        Factor.

    Returns
    -------
    ndarray of shape (n, m) or (n,), or a stack of them
    """
    if B.ndim == 3:
        return np.matmul(A, scale * B)
    if B.ndim == 1:
        # No BLAS: the sum of a row is then the same to the last bit, whatever rows are
        # beside it, and memory limits the speed anyway.
        return scale * np.einsum("ij,j->i", A, B)
    if B.shape[1] == 1:  # one target
        return product(A, B[:, 0], scale)[:, None]
    # In Fortran order: (A B)' = B' A'
    left, trans_left = (B, 1) if B.flags.f_contiguous else (B.T, 0)
    right, trans_right = (A, 1) if A.flags.f_contiguous else (A.T, 0)
    return dgemm(scale, left, right, trans_a=trans_left, trans_b=trans_right).T


def solve_lower(L, B, overwrite=False):
    """Return ``L^-1 B``; of one column by BLAS 2, in down to a tenth of the time.

    Parameters
    ----------
    L : ndarray of shape (n, n)
        Lower triangular, Fortran-ordered.
    B : ndarray of shape (n, k)
        Fortran-ordered.
    overwrite : bool, default=False
        Whether the result may overwrite B.
    """
    if B.shape[1] == 1:
        return dtrsv(L, B[:, 0], lower=1)[:, None]
    return dtrsm(1.0, L, B, lower=1, overwrite_b=overwrite)


def symmetric(lower):
    """Return a symmetric matrix, of which only the lower triangle is read."""
    return np.tril(lower) + np.tril(lower, -1).T


JITTERS = (1e-10, 1e-8, 1e-6, 1e-4)
_LIMIT = threading.Lock()


def cholesky(K, jitters=JITTERS, diagonal=0.0):
    """Factor ``K + diag(diagonal) + jitter I`` by the first relative jitter that works.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Symmetric positive semi-definite; left as it is. Of a Fortran-ordered array
        only the lower triangle is read.
    jitters : tuple of float, default=JITTERS
        Jitters to try in turn, relative to the mean of the diagonal of K.
    diagonal : float or ndarray of shape (n,), default=0.0
        Added to the diagonal first.

    Returns
    -------
    L : ndarray of shape (n, n)
        Lower triangular, Fortran-ordered.
    jitter : float
        Number added to the diagonal.

    Raises
    ------
    numpy.linalg.LinAlgError
        If no jitter makes the matrix positive definite.
    """
    for relative in jitters:
        L = np.array(K if K.flags.f_contiguous else K.T, order="F")
        if not len(L):
            return L, 0.0
        jitter = relative * (np.trace(L) / len(L) or 1.0)
        L[np.diag_indices_from(L)] += diagonal + jitter
        L, info = lapack.dpotrf(L, lower=1, overwrite_a=1)
        if info == 0 and np.isfinite(L[-1, -1]):
            return L, jitter
    raise np.linalg.LinAlgError(
        f"The {L.shape} covariance matrix is not positive definite, even with "
        f"{jitters[-1]:.0e} of its mean diagonal added. Check that the features are "
        "finite and that the kernel's bounds are sensible."
    )


@contextlib.contextmanager
def free_threads(each=None):
    """Limit BLAS to threads that find a free processor.

    A thread of OpenBLAS that shares its processor with another program makes all others
    wait in a busy loop: with one busy process on two processors a fit on two threads
    takes twice as long as on one. Of several fits in threads only one sets the limit,
    since the last to end would restore the limit of another.

    Parameters
    ----------
    each : int, default=None
        Limit to set instead, for a caller that has as many threads of its own.

    Yields
    ------
    int
        Number of threads that find a free processor; 1 if another fit set the limit.
    """
    if not _LIMIT.acquire(blocking=False):
        yield 1
        return
    try:
        busy = max(_busy_elsewhere() for _ in range(3))
        pools = _controller()
        granted = min((pool.num_threads for pool in pools.lib_controllers), default=1)
        n_threads = min(granted, max(1, cpu_count() - busy))  # of the container's quota
        with pools.limit(limits=each or n_threads):
            yield n_threads
    finally:
        _LIMIT.release()


def map_in_threads(function, items):
    """Return the values of a function of items, in as many threads as are free.

    The function spends its time in NumPy, which other threads do not wait for. BLAS has
    one thread in each.
    """
    items = list(items)
    if len(items) < 2:
        return [function(item) for item in items]
    with free_threads(each=1) as n_threads, ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(function, items))


@functools.cache
def _controller():
    return ThreadpoolController().select(user_api="blas")


def _busy_elsewhere():
    """Return the number of running threads of other processes; 0 where unknown."""
    time.sleep(1e-3)
    try:
        running = int(Path("/proc/loadavg").read_text().split()[3].split("/")[0])
        own = 0
        for task in Path("/proc/self/task").iterdir():
            own += (task / "stat").read_text().rpartition(")")[2].split()[0] == "R"
    except (OSError, ValueError, IndexError):
        return 0
    return max(0, running - own)
