"""What fits of one process share: results that depend on their inputs alone.

The candidates of a search meet the same rows, fold by fold, with the same kernel or
the same number of inducing points. What one of them computed is what the next would
compute, to the last bit, so nothing leaks and no order of fits matters.
"""

import threading
from collections import OrderedDict

import joblib
import numpy as np

# Of all remembered results together; the oldest go first.
MAX_BYTES = 2**26

_RESULTS = OrderedDict()
_LOCK = threading.Lock()


def fingerprint(*parts):
    """Return a digest of arrays, numbers, strings and kernels."""
    return joblib.hash(parts)


def recall(key):
    """Return what was remembered under a key, or None."""
    with _LOCK:
        if key in _RESULTS:
            _RESULTS.move_to_end(key)
        return _RESULTS.get(key)


def remember(key, result):
    """Keep a result, an array or a dict of (value, gradient), and return it.

    Others will be given the same array: nobody may write to it.
    """
    if _size(result) > MAX_BYTES:
        return result  # rather than forget all others
    if isinstance(result, np.ndarray):
        result.flags.writeable = False
    with _LOCK:
        _RESULTS[key] = result
        _RESULTS.move_to_end(key)
        size = sum(map(_size, _RESULTS.values()))
        while size > MAX_BYTES:
            size -= _size(_RESULTS.popitem(last=False)[1])
    return result


def _size(result):
    if isinstance(result, np.ndarray):
        return result.nbytes
    return sum(len(key) + 2 * gradient.nbytes for key, (_, gradient) in result.items())
