"""Score, coverage and width of the central prediction interval."""

import numpy as np

from .._prediction import check_coverage, interval_levels
from ._validation import (
    check_predictions,
    check_quantiles,
    interval_half_width,
    weighted_mean,
)


def interval_score(
    y_true, y_pred, y_std, *, sample_weight=None, quantiles=None, coverage=0.95
):
    r"""Compute the mean interval score of the central prediction interval.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.
    quantiles : callable, default=None
        Quantiles at levels q, of shape (n_samples, n_levels[, n_outputs]), in target
        units: ``lambda q: model.predict_quantiles(X, q)``. None assumes a Gaussian.
    coverage : float, default=0.95
        Nominal coverage of the interval, strictly between 0 and 1.

    Returns
    -------
    loss : float
        In target units, averaged over outputs; 0 is perfect, lower is better.

    Raises
    ------
    ValueError
        When predictions, weights, quantiles or `coverage` are not valid.

    See Also
    --------
    interval_coverage : Share of targets inside the interval.
    mean_interval_width : Width of the interval.

    Notes
    -----
    With the interval :math:`[l, u]` of coverage :math:`1 - \alpha`, the width plus a
    penalty for every target outside:

    .. math:: (u - l) + \frac{2}{\alpha} (l - y)_+ + \frac{2}{\alpha} (y - u)_+

    A zero std is an interval of zero width: the score is the penalty alone.
    uncertainty-toolbox averages this over 99 coverages; this is the score of one.

    References
    ----------
    .. [1] T. Gneiting and A. E. Raftery, "Strictly proper scoring rules, prediction,
       and estimation", J. Am. Stat. Assoc. 102, 359 (2007), section 6.2,
       doi:10.1198/016214506000001437.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import interval_score
    >>> round(interval_score([1.0, 2.0], [1.1, 1.8], [0.2, 0.2], coverage=0.8), 3)
    0.513
    """
    residual, lower, upper, weights = _intervals(
        y_true, y_pred, y_std, sample_weight, quantiles, coverage
    )
    outside = np.maximum(np.maximum(lower - residual, residual - upper), 0.0)
    penalty = 2.0 / (1.0 - check_coverage(coverage)) * outside
    return weighted_mean(upper - lower + penalty, weights)


def interval_coverage(
    y_true, y_pred, y_std, *, sample_weight=None, quantiles=None, coverage=0.95
):
    r"""Compute the share of targets inside the central prediction interval.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.
    quantiles : callable, default=None
        Quantiles at levels q, of shape (n_samples, n_levels[, n_outputs]), in target
        units: ``lambda q: model.predict_quantiles(X, q)``. None assumes a Gaussian.
    coverage : float, default=0.95
        Nominal coverage of the interval, strictly between 0 and 1.

    Returns
    -------
    observed : float
        Dimensionless, between 0 and 1, averaged over outputs; best when equal to
        `coverage`.

    Raises
    ------
    ValueError
        When predictions, weights, quantiles or `coverage` are not valid.

    See Also
    --------
    interval_coverage_error : Distance from the nominal coverage.
    mean_interval_width : Width of the intervals with that coverage.

    Notes
    -----
    .. math:: \frac1n \sum_i 1\left[|y_i - \mu_i|
              \le \sigma_i \Phi^{-1}\left(\tfrac{1 + c}{2}\right)\right]

    A zero std is an interval of zero width, which covers an exact hit only.

    References
    ----------
    .. [1] T. Gneiting, F. Balabdaoui and A. E. Raftery, "Probabilistic forecasts,
       calibration and sharpness", J. R. Stat. Soc. B 69, 243 (2007),
       doi:10.1111/j.1467-9868.2007.00587.x.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import interval_coverage
    >>> interval_coverage([1.0, 2.0], [1.1, 1.8], [0.1, 0.1], coverage=0.9)
    0.5
    """
    residual, lower, upper, weights = _intervals(
        y_true, y_pred, y_std, sample_weight, quantiles, coverage
    )
    return weighted_mean((lower <= residual) & (residual <= upper), weights)


def interval_coverage_error(
    y_true, y_pred, y_std, *, sample_weight=None, quantiles=None, coverage=0.95
):
    r"""Compute the distance of the observed from the nominal coverage.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.
    quantiles : callable, default=None
        Quantiles at levels q, of shape (n_samples, n_levels[, n_outputs]), in target
        units: ``lambda q: model.predict_quantiles(X, q)``. None assumes a Gaussian.
    coverage : float, default=0.95
        Nominal coverage of the interval, strictly between 0 and 1.

    Returns
    -------
    error : float
        Dimensionless, 0 is best, averaged over outputs.

    Raises
    ------
    ValueError
        When predictions, weights, quantiles or `coverage` are not valid.

    See Also
    --------
    interval_coverage : The observed coverage itself.

    Notes
    -----
    ``abs(interval_coverage(...) - coverage)`` for each output, for searches: too large
    a coverage is as wrong as too small a one. A zero std counts as in
    :func:`interval_coverage`.

    References
    ----------
    .. [1] T. Gneiting, F. Balabdaoui and A. E. Raftery, "Probabilistic forecasts,
       calibration and sharpness", J. R. Stat. Soc. B 69, 243 (2007),
       doi:10.1111/j.1467-9868.2007.00587.x.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import interval_coverage_error
    >>> round(interval_coverage_error([1.0, 2.0], [1.1, 1.8], [0.1, 0.1]), 2)
    0.45
    """
    residual, lower, upper, weights = _intervals(
        y_true, y_pred, y_std, sample_weight, quantiles, coverage
    )
    covered = (lower <= residual) & (residual <= upper)
    observed = np.average(covered, axis=0, weights=weights)
    return float(np.abs(observed - check_coverage(coverage)).mean())


def mean_interval_width(
    y_true, y_pred, y_std, *, sample_weight=None, quantiles=None, coverage=0.95
):
    r"""Compute the mean width of the central prediction interval.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets and means (checked, not used) and std (with noise), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.
    quantiles : callable, default=None
        Quantiles at levels q, of shape (n_samples, n_levels[, n_outputs]), in target
        units: ``lambda q: model.predict_quantiles(X, q)``. None assumes a Gaussian.
    coverage : float, default=0.95
        Nominal coverage of the interval, strictly between 0 and 1.

    Returns
    -------
    width : float
        In target units, averaged over outputs; lower is better only at equal
        coverage.

    Raises
    ------
    ValueError
        When predictions, weights, quantiles or `coverage` are not valid.

    See Also
    --------
    interval_coverage : Share of targets inside the interval.
    interval_score : Width and coverage in one proper score.

    Notes
    -----
    .. math:: \frac{2}{n} \sum_i \Phi^{-1}\left(\frac{1 + c}{2}\right) \sigma_i

    A zero std is an interval of zero width.

    References
    ----------
    .. [1] T. Gneiting, F. Balabdaoui and A. E. Raftery, "Probabilistic forecasts,
       calibration and sharpness", J. R. Stat. Soc. B 69, 243 (2007),
       doi:10.1111/j.1467-9868.2007.00587.x.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import mean_interval_width
    >>> round(mean_interval_width([1.0, 2.0], [1.1, 1.8], [0.1, 0.3]), 3)
    0.784
    """
    _, lower, upper, weights = _intervals(
        y_true, y_pred, y_std, sample_weight, quantiles, coverage
    )
    return weighted_mean(upper - lower, weights)


def _intervals(y_true, y_pred, y_std, sample_weight, quantiles, coverage):
    """Return residuals, both ends of the interval less `y_pred`, and weights."""
    y_true, y_pred, y_std, weights = check_predictions(
        y_true, y_pred, y_std, sample_weight
    )
    upper = interval_half_width(coverage) * y_std
    lower = -upper
    if quantiles is not None:
        levels = interval_levels(check_coverage(coverage))
        ends = check_quantiles(quantiles, levels, y_true.shape, sample_weight)
        lower, upper = ends[:, 0] - y_pred, ends[:, 1] - y_pred
    return y_true - y_pred, lower, upper, weights
