"""Checks that the metrics share, and the conventions for a zero std."""

import numbers

import numpy as np
from scipy.special import ndtri
from sklearn.utils import check_array

from .._prediction import check_coverage


def check_predictions(y_true, y_pred, y_std, sample_weight=None):
    """Return predictions of shape (n_samples, n_outputs), and the weights of samples.

    Samples of zero weight are dropped; None is a weight of 1. Raises ValueError when
    shapes differ, no sample is left, a value is NaN or infinite, or a std or a weight
    is negative.
    """
    arrays = {"y_true": y_true, "y_pred": y_pred, "y_std": y_std}
    arrays = {name: _as_columns(name, values) for name, values in arrays.items()}
    _check_same_shape(arrays)
    _check_finite(arrays)
    y_true, y_pred, y_std = arrays.values()

    n_negative = int((y_std < 0).any(axis=1).sum())
    if n_negative:
        raise ValueError(
            f"Got a negative y_std in {n_negative} of {len(y_std)} samples, expected "
            "standard deviations >= 0. Did you pass y_std in the place of y_pred, or "
            "a log std?"
        )
    if sample_weight is None:
        return y_true, y_pred, y_std, np.ones(len(y_true))

    weights = _check_weights(sample_weight, len(y_true))
    # A sample of zero weight must not turn an infinite loss into 0 * inf = NaN.
    kept = weights > 0
    return y_true[kept], y_pred[kept], y_std[kept], weights[kept]


def drop_missing(y_true, y_pred, y_std, what):
    """Return the predictions of one output, and whether each sample has one.

    A sample with NaN in `y_pred` or `y_std`, such as a structure that cannot be read,
    is left out. For a `y_true` of None `y_pred` is returned in its place. Raises
    ValueError as `check_predictions`, or when there are several outputs or only NaN;
    `what` is the result, as the subject of the error.
    """
    arrays = [y_pred if y_true is None else y_true, y_pred, y_std]
    arrays = [np.asarray(values) for values in arrays]
    present = np.ones(len(arrays[1]) if arrays[1].ndim else 0, dtype=bool)
    # For different shapes `check_predictions` raises the error.
    if len({values.shape for values in arrays}) == 1 and len(present):
        missing = np.isnan(np.asarray(arrays[1], dtype=np.float64))
        missing |= np.isnan(np.asarray(arrays[2], dtype=np.float64))
        present = ~missing.reshape(len(missing), -1).any(axis=1)
        if not present.any():
            raise ValueError(
                f"Got NaN for all {len(present)} predictions, expected at least one "
                f"that is not for {what}."
            )
        arrays = [values[present] for values in arrays]
    y_true, y_pred, y_std, _ = check_predictions(*arrays)
    check_single_output(y_true, what)
    return y_true[:, 0], y_pred[:, 0], y_std[:, 0], present


def quantiles_of_samples(quantiles, samples):
    """Return the function of levels for some of its samples; None stays None."""
    if not callable(quantiles):
        return quantiles
    return lambda q: np.asarray(quantiles(q))[samples]


def check_quantiles(quantiles, levels, shape, sample_weight=None):
    """Return ``quantiles(levels)`` of shape (n_samples, n_levels, n_outputs).

    `shape` is (n_samples, n_outputs) of the samples of positive weight. Quantiles may
    be infinite. Raises TypeError when `quantiles` is not callable, and ValueError when
    the shape of its values is wrong or one is NaN.
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
            f"{n_samples} samples of {n_outputs} outputs, expected (n_samples, "
            "n_levels) or (n_samples, n_levels, n_outputs), for the samples of y_pred."
        )
    if np.isnan(values).any():
        raise ValueError(
            f"Got NaN in the quantiles of {np.isnan(values).any(axis=1).sum()} "
            "samples, expected numbers. Leave out samples without a prediction."
        )
    return values.reshape(expected)


def check_log_density(log_density, y_true, y_pred, sample_weight=None):
    """Return the log densities of targets, of shape (n_samples, n_outputs).

    Those of samples of positive weight. Raises TypeError when `log_density` is not
    callable, and ValueError when the shape of its values is wrong or one is NaN.
    """
    if not callable(log_density):
        raise TypeError(
            f"Got log_density of type {type(log_density).__name__}, expected a "
            "function of targets, such as lambda y: model.predict_log_density(X, y)."
        )
    shape = np.shape(y_pred)
    y = np.asarray(y_true, dtype=np.float64)
    values = np.asarray(
        log_density(y.reshape(shape) if y.size == np.prod(shape) else y)
    )
    if values.shape != shape:
        raise ValueError(
            f"Got log densities of shape {values.shape}, expected {shape}, that of "
            "y_pred."
        )
    values = values.astype(np.float64).reshape(len(values), -1)
    if sample_weight is not None:
        values = values[np.asarray(sample_weight) > 0]
    if np.isnan(values).any():
        raise ValueError(
            f"Got NaN in the log densities of {np.isnan(values).any(axis=1).sum()} "
            "samples, expected numbers. Leave out samples without a prediction."
        )
    return values


def check_single_output(y_true, what):
    """Raise ValueError unless the validated `y_true` has one column."""
    if y_true.shape[1] != 1:
        raise ValueError(
            f"Got {y_true.shape[1]} outputs, expected one: {what} is drawn per "
            "output. Pass y_true[:, j], y_pred[:, j], y_std[:, j]."
        )


def check_integer(name, value, least):
    """Raise ValueError unless `value` is an integer of `least` or more."""
    if not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"Got {name}={value!r}, expected an integer >= {least}.")


def interval_half_width(coverage):
    """Return the half width of the central Gaussian interval, in std."""
    return float(ndtri(0.5 + 0.5 * check_coverage(coverage)))


def standardized_residuals(y_true, y_pred, y_std):
    """Return (y_true - y_pred) / y_std; for a zero std 0 on a hit, else +-inf."""
    residual = y_true - y_pred
    point_mass = y_std == 0
    # A subnormal std overflows to inf, the limit.
    with np.errstate(over="ignore"):
        z = residual / np.where(point_mass, 1.0, y_std)
    return np.where(point_mass & (residual != 0), np.copysign(np.inf, residual), z)


def weighted_mean(losses, weights):
    """Return the mean over samples, then over outputs; infinite if any loss is."""
    # -inf (a zero std that hits) does not cancel +inf (one that misses).
    if np.isposinf(losses).any():
        return np.inf
    return float(np.average(losses, axis=0, weights=weights).mean())


def _as_columns(name, values):
    if np.ndim(values) == 0:
        raise ValueError(
            f"Got {name}={values!r}, expected an array of shape (n_samples,) or "
            "(n_samples, n_outputs). For one std for all samples pass "
            "np.full_like(y_pred, std)."
        )
    values = check_array(
        values,
        dtype=np.float64,
        ensure_2d=False,
        allow_nd=True,
        ensure_all_finite=False,  # the message of _check_finite is more precise
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
            f"Got {n_samples} samples of {n_outputs} outputs, expected at least one "
            "sample and one output."
        )


def _check_finite(arrays):
    bad = {name: ~np.isfinite(values).all(axis=1) for name, values in arrays.items()}
    any_bad = np.any(list(bad.values()), axis=0)
    if any_bad.any():
        got = ", ".join(f"{b.sum()} in {name}" for name, b in bad.items() if b.any())
        raise ValueError(
            f"Got NaN or infinity in {any_bad.sum()} of {len(any_bad)} samples "
            f"({got}), expected finite numbers. Drop those samples from all three "
            "arrays, with keep = np.isfinite(y_true) & np.isfinite(y_pred) & "
            "np.isfinite(y_std), and report how many there were."
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
            "one weight a sample."
        )
    if (weights < 0).any() or not (weights > 0).any():
        raise ValueError(
            f"Got {(weights < 0).sum()} negative and {(weights > 0).sum()} positive "
            "values in sample_weight, expected none negative and at least one "
            "positive."
        )
    return weights
