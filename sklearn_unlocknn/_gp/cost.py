"""Choose between the exact GP and inducing points by the cost of a fit.

In floating-point operations of the algebra, with n distinct samples of n_all and m
inducing points:

* exact: the covariance is factored three times (for the first posterior and for two
  noise variances), and residuals of samples left out take as much again, 4 n^3 / 3;
* sparse: the pass over the samples takes 2 n_all m^2, the points and four noise
  variances take a factorisation each, 5 m^3 / 3, and samples left out 12,000 m^2.

The exact GP is more accurate, and so may take half as many operations again.
"""

import bisect
import math
import numbers
import os
from pathlib import Path

# Inducing points where the exact GP costs too much.
POINTS = 4000
_WORTH = 1.5
# Bytes of the exact GP for each pair of samples, its covariance and two factors, and
# the most that they take of the machine's memory.
_PAIR_BYTES, _SHARE = 24, 0.25
# More samples than an exact GP pays for on any machine.
_MOST_TRIED = 100_000


def exact_pays(n, n_all):
    """Return whether an exact GP of n distinct samples is worth its cost."""
    m = POINTS
    exact = 4.0 * n**3 / 3.0
    sparse = 2.0 * n_all * m**2 + 5.0 * m**3 / 3.0 + 12_000.0 * m**2
    memory = _memory()
    fits = memory is None or _PAIR_BYTES * n**2 <= _SHARE * memory
    return fits and exact <= _WORTH * sparse


def most_exact(n_points, m):
    """Return the most distinct samples up to which an exact GP is extended.

    Parameters
    ----------
    n_points : int, float or "auto"
        ``n_inducing_points`` of the regressor.
    m : int
        Distinct samples so far.
    """
    if isinstance(n_points, str):
        tried = range(1, _MOST_TRIED)
        return bisect.bisect_left(tried, True, key=lambda n: not exact_pays(n, n))
    if isinstance(n_points, numbers.Integral):
        return int(n_points)
    return math.inf if n_points == 1.0 else m


def _memory():
    """Return the bytes of memory that this process may have; None where unknown."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None  # Windows has no sysconf
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):
        return total  # no container, or one without a limit
    return min(total, limit)
