"""Matrix products by SciPy's BLAS, never NumPy's.

The wheels of NumPy and SciPy bring a BLAS each, with a pool of threads each. A thread
that has no work waits for it in a busy loop: where large products (NumPy) and
factorisations (SciPy) take turns, the two pools compete for the processors. On two
cores that made the marginal likelihood of 800 rows take 102 ms, where SciPy's pool
alone takes 26 ms and one thread 37 ms. So whatever is large and repeated is
multiplied here, and ``@`` is left for what no pool would share.
"""

import numpy as np
from scipy.linalg.blas import dgemm


def product(A, B):
    """Return ``A B``, C-ordered.

    Parameters
    ----------
    A : ndarray of shape (n, k)
        Of float64; in C or Fortran order, or else it is copied.
    B : ndarray of shape (k, m) or (k,)
        Likewise.

    Returns
    -------
    ndarray of shape (n, m) or (n,)
    """
    if B.ndim == 1:
        # No BLAS: a row's sum is then the same to the last bit, whatever rows are
        # beside it, and memory sets the pace anyway.
        return np.einsum("ij,j->i", A, B)
    if B.shape[1] == 1:  # one target
        return product(A, B[:, 0])[:, None]
    # In Fortran order: (A B)' = B' A'
    left, trans_left = (B, 1) if B.flags.f_contiguous else (B.T, 0)
    right, trans_right = (A, 1) if A.flags.f_contiguous else (A.T, 0)
    return dgemm(1.0, left, right, trans_a=trans_left, trans_b=trans_right).T


def outer_product(X, Z, scale=1.0):
    """Return ``scale X Z'``, C-ordered of shape (n, m).

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Of float64, in C order, or else it is copied.
    Z : ndarray of shape (m, d)
        Likewise.
    scale : float, default=1.0
        A factor.
    """
    return dgemm(scale, Z.T, X.T, trans_a=1).T
