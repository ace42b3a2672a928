"""What every metric asks of its input, and what it makes of a zero std."""

import numpy as np
from scipy.special import ndtri
from sklearn.utils import check_array

from .._prediction import check_coverage


def check_predictions(y_true, y_pred, y_std, sample_weight=None):
    """Validate a probabilistic prediction and bring it to two dimensions.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or \
            (n_samples, n_outputs)
        Observed targets, predicted means and standard deviations, target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights; rows of zero weight are dropped.

    Returns
    -------
    y_true, y_pred, y_std : ndarray of shape (n_samples, n_outputs)
        The same as float64.
    weights : ndarray of shape (n_samples,)
        The weights, ones when none were given.

    Raises
    ------
    ValueError
        When shapes differ, nothing is left to score, a value is NaN or infinite, a
        std or a weight is negative.
    """
    arrays = {"y_true": y_true, "y_pred": y_pred, "y_std": y_std}
    arrays = {name: _as_columns(name, values) for name, values in arrays.items()}
    _check_same_shape(arrays)
    _check_finite(arrays)
    y_true, y_pred, y_std = arrays.values()

    n_negative = int((y_std < 0).any(axis=1).sum())
    if n_negative:
        raise ValueError(
            f"Got a negative y_std in {n_negative} of {len(y_std)} rows, expected "
            "standard deviations >= 0. Did you pass y_std in the place of y_pred, or "
            "a log std?"
        )
    if sample_weight is None:
        return y_true, y_pred, y_std, np.ones(len(y_true))

    weights = _check_weights(sample_weight, len(y_true))
    # A row of zero weight must not turn an infinite loss into 0 * inf = NaN.
    kept = weights > 0
    return y_true[kept], y_pred[kept], y_std[kept], weights[kept]


def check_quantiles(quantiles, levels, shape, sample_weight=None):
    """Return predicted quantiles of the rows that are scored.

    Parameters
    ----------
    quantiles : callable
        ``quantiles(q)``, as the metrics take it.
    levels : ndarray of shape (n_levels,)
        Inside (0, 1).
    shape : tuple
        (n_samples, n_outputs) of the rows of positive weight.
    sample_weight : array-like of shape (n_samples,), default=None
        As given to the metric.

    Returns
    -------
    values : ndarray of shape (n_samples, n_levels, n_outputs)
        Of the rows of positive weight; may be infinite.

    Raises
    ------
    ValueError
        When their shape is another, or a value is NaN.
    TypeError
        When `quantiles` is not callable.
    """
    if not callable(quantiles):
        raise TypeError(
            f"Got quantiles of type {type(quantiles).__name__}, expected a function "
            "of levels, such as lambda q: model.predict_quantiles(X, q)."
        )
    values = np.asarray(quantiles(levels), dtype=np.float64)
    if sample_weight is not None and len(values) == len(sample_weight):
        values = values[np.asarray(sample_weight) > 0]
    n_samples, n_outputs = shape
    expected = (n_samples, len(levels), n_outputs)
    if values.shape not in (expected, expected[:2] if n_outputs == 1 else expected):
        raise ValueError(
            f"Got quantiles of shape {values.shape} at {len(levels)} levels for "
            f"{n_samples} rows of {n_outputs} outputs, expected (n_samples, n_levels) "
            "or (n_samples, n_levels, n_outputs), of the same rows as y_pred."
        )
    if np.isnan(values).any():
        raise ValueError(
            f"Got NaN in the quantiles of {np.isnan(values).any(axis=1).sum()} rows, "
            "expected numbers. Leave those rows out, as those of a NaN mean."
        )
    return values.reshape(expected)


def check_single_output(y_true, what):
    """Raise unless the validated `y_true` has one column."""
    if y_true.shape[1] != 1:
        raise ValueError(
            f"Got {y_true.shape[1]} outputs, expected one: {what} is drawn per "
            "output. Pass y_true[:, j], y_pred[:, j], y_std[:, j]."
        )


def interval_half_width(coverage):
    """Half width of the central normal interval, in standard deviations."""
    return float(ndtri(0.5 + 0.5 * check_coverage(coverage)))


def standardized_residuals(y_true, y_pred, y_std):
    """(y_true - y_pred) / y_std; of a zero std 0 on an exact hit, else +-inf."""
    residual = y_true - y_pred
    point_mass = y_std == 0
    # A subnormal std overflows to inf, which is what the limit asks for.
    with np.errstate(over="ignore"):
        z = residual / np.where(point_mass, 1.0, y_std)
    return np.where(point_mass & (residual != 0), np.copysign(np.inf, residual), z)


def weighted_mean(losses, weights):
    """Mean over rows, then over outputs; one infinite loss makes it infinite."""
    # -inf (a zero std that hits) cannot make up for +inf (one that misses).
    if np.isposinf(losses).any():
        return np.inf
    return float(np.average(losses, axis=0, weights=weights).mean())


def _as_columns(name, values):
    if np.ndim(values) == 0:
        raise ValueError(
            f"Got {name}={values!r}, expected an array of shape (n_samples,) or "
            "(n_samples, n_outputs). For one std for all rows pass "
            "np.full_like(y_pred, std)."
        )
    values = check_array(
        values,
        dtype=np.float64,
        ensure_2d=False,
        allow_nd=True,
        ensure_all_finite=False,  # _check_finite says more
        ensure_min_samples=0,
        input_name=name,
    )
    if values.ndim > 2:
        raise ValueError(
            f"Got {name} of shape {values.shape}, expected (n_samples,) or "
            "(n_samples, n_outputs)."
        )
    return values.reshape(len(values), -1) if len(values) else values.reshape(0, 1)


def _check_same_shape(arrays):
    shapes = {name: values.shape for name, values in arrays.items()}
    if len(set(shapes.values())) > 1:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"Got arrays of different (n_samples, n_outputs): {got}. Expected one "
            "predicted mean and one std for every target."
        )
    n_samples, n_outputs = next(iter(shapes.values()))
    if n_samples == 0 or n_outputs == 0:
        raise ValueError(
            f"Got {n_samples} rows of {n_outputs} outputs, expected at least one row "
            "and one output."
        )


def _check_finite(arrays):
    bad = {name: ~np.isfinite(values).all(axis=1) for name, values in arrays.items()}
    any_bad = np.any(list(bad.values()), axis=0)
    if any_bad.any():
        got = ", ".join(
            f"{rows.sum()} in {name}" for name, rows in bad.items() if rows.any()
        )
        raise ValueError(
            f"Got NaN or infinity in {any_bad.sum()} of {len(any_bad)} rows ({got}), "
            "expected finite numbers. Drop those rows from all three arrays, with "
            "keep = np.isfinite(y_true) & np.isfinite(y_pred) & np.isfinite(y_std), "
            "and report how many there were."
        )


def _check_weights(sample_weight, n_samples):
    weights = check_array(
        sample_weight,
        dtype=np.float64,
        ensure_2d=False,
        allow_nd=True,
        input_name="sample_weight",
    )
    if weights.shape != (n_samples,):
        raise ValueError(
            f"Got sample_weight of shape {weights.shape}, expected ({n_samples},): "
            "one weight a row."
        )
    if (weights < 0).any() or not (weights > 0).any():
        raise ValueError(
            f"Got {(weights < 0).sum()} negative and {(weights > 0).sum()} positive "
            "values in sample_weight, expected none negative and at least one "
            "positive."
        )
    return weights
