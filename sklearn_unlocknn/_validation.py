"""Check targets, weights and batch sizes, and warn at the caller's line."""

import sys
import warnings
from numbers import Integral

import numpy as np
from sklearn.utils import check_array


def check_weights(sample_weight, n, some=True):
    """Return float64 weights, of which with ``some`` at least one is positive."""
    if sample_weight is None:
        return np.ones(n)
    weights = _column(sample_weight, "sample_weight")
    if weights.shape != (n,):
        raise ValueError(
            f"Got sample_weight of shape {weights.shape}, expected ({n},), one weight "
            "for each sample."
        )
    if np.any(weights < 0):
        raise ValueError(
            f"Got sample_weight with {weights.min()} in it, expected none negative."
        )
    if some and not np.any(weights):
        raise ValueError(
            "Got a sample_weight of zero for all samples, expected a positive one."
        )
    return weights


def _column(values, name):
    """Convert values of any shape to float64; the caller checks the shape."""
    return check_array(
        values, ensure_2d=False, ensure_min_samples=0, dtype=np.float64, input_name=name
    )


def check_y_std(y_std, y):
    """Return the known standard deviation of each target as float64, or None."""
    if y_std is None:
        return None
    y_std = _column(y_std, "y_std")
    if y.ndim > 1 and y.shape[1] > 1:
        raise ValueError(
            f"Got y_std with y of {y.shape[1]} outputs, expected one output: several "
            "share one posterior covariance and its noise. Fit a regressor to each "
            "column of y, with its own y_std."
        )
    if y_std.shape != (len(y),):
        raise ValueError(
            f"Got y_std of shape {y_std.shape}, expected ({len(y)},), one standard "
            "deviation for each sample."
        )
    if np.any(y_std < 0):
        raise ValueError(
            f"Got y_std with {y_std.min()} in it, expected none negative: standard "
            "deviations in target units, 0 for no known noise."
        )
    return y_std


def check_targets(y):
    """Return y as finite float64 of shape (n,) or (n, k)."""
    if y is None:
        raise ValueError(
            "This regressor requires y to be passed, but the target y is None."
        )
    y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    if y.ndim == 0 or not y.size:
        raise ValueError(
            f"Got y of shape {y.shape}, expected (n_samples,) or "
            "(n_samples, n_outputs)."
        )
    return y


def check_batch_size(batch_size):
    """Raise unless it is a positive integer."""
    if (
        not isinstance(batch_size, Integral)
        or isinstance(batch_size, bool)
        or batch_size < 1
    ):
        raise ValueError(f"Got `batch_size`={batch_size!r}, expected an integer >= 1.")


def warn_user(message, category=UserWarning):
    """Warn at the first line outside this package, that of the caller."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


# Decorators of the latter two call our functions.
_INSIDE = __name__.partition(".")[0], "contextlib", "numpy"
