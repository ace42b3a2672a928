"""Calibration: how often the targets are below the predicted quantiles."""

import numpy as np
from scipy.special import ndtri

from .._prediction import interval_levels
from ._validation import (
    check_integer,
    check_predictions,
    check_quantiles,
    check_single_output,
    standardized_residuals,
)

_KINDS = ("quantile", "interval")


def calibration_curve(
    y_true,
    y_pred,
    y_std,
    *,
    sample_weight=None,
    quantiles=None,
    kind="quantile",
    n_levels=100,
):
    r"""Compute the observed and the expected proportions of targets.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.
    quantiles : callable, default=None
        Quantiles at levels q, of shape (n_samples, n_levels), in target units:
        ``lambda q: model.predict_quantiles(X, q)``. None assumes a Gaussian.
    kind : {"quantile", "interval"}, default="quantile"
        "quantile" counts targets at or below the predicted p-quantile, "interval"
        those inside the central interval of probability p.
    n_levels : int, default=100
        Number of levels p, 2 or more, equally spaced from 0 to 1.

    Returns
    -------
    expected : ndarray of shape (n_levels,)
        The levels p, dimensionless.
    observed : ndarray of shape (n_levels,)
        The proportion of targets, dimensionless, never decreasing.

    Raises
    ------
    ValueError
        When predictions, weights, quantiles, `kind` or `n_levels` are not valid, or
        there are several outputs.

    See Also
    --------
    miscalibration_area : The area between this curve and the diagonal.

    Notes
    -----
    .. math:: \hat p(p) = \frac1n \sum_i 1[y_i \le \mu_i + \sigma_i \Phi^{-1}(p)]
              \quad\text{or}\quad
              \frac1n \sum_i 1\left[|y_i - \mu_i|
              \le \sigma_i \Phi^{-1}\left(\tfrac{1 + p}{2}\right)\right]

    The quantile curve is the definition of [1]_ and [2]_ and the default: it lies on
    the diagonal only when the whole distribution is right. The interval curve, the
    default of uncertainty-toolbox, shows more directly whether intervals are too narrow
    (below the diagonal) or too wide, but not errors of mean and width that cancel. For
    symmetric errors its distance from the diagonal at p is twice that of the quantile
    curve at (1 + p) / 2. With `quantiles` the central interval of probability p is
    between the quantiles at (1 - p) / 2 and (1 + p) / 2.

    A zero std is a point mass, with all quantiles and intervals at `y_pred`: an exact
    hit is covered at every level. A miss is in no interval, and below the quantile at
    every level or at none.

    References
    ----------
    .. [1] V. Kuleshov, N. Fenner and S. Ermon, "Accurate uncertainties for deep
       learning using calibrated regression", ICML (2018), arXiv:1807.00263.
    .. [2] K. Tran et al., "Methods for comparing uncertainty quantifications for
       material property predictions", Mach. Learn.: Sci. Technol. 1, 025006 (2020),
       doi:10.1088/2632-2153/ab7e1a.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import calibration_curve
    >>> expected, observed = calibration_curve(
    ...     [-1.0, 0.2, 0.5, 3.0], [0.0] * 4, [1.0] * 4, n_levels=3
    ... )
    >>> expected.tolist(), observed.tolist()
    ([0.0, 0.5, 1.0], [0.0, 0.25, 1.0])
    """
    expected, observed = _curves(
        y_true, y_pred, y_std, sample_weight, quantiles, kind, n_levels
    )
    check_single_output(observed, "a calibration curve")
    return expected, observed[:, 0]


def miscalibration_area(
    y_true,
    y_pred,
    y_std,
    *,
    sample_weight=None,
    quantiles=None,
    kind="quantile",
    n_levels=100,
):
    r"""Compute the area between the calibration curve and the diagonal.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.
    quantiles : callable, default=None
        Quantiles at levels q, of shape (n_samples, n_levels[, n_outputs]), in target
        units: ``lambda q: model.predict_quantiles(X, q)``. None assumes a Gaussian.
    kind : {"quantile", "interval"}, default="quantile"
        What the curve counts, see :func:`calibration_curve`.
    n_levels : int, default=100
        Number of levels p, 2 or more, equally spaced from 0 to 1.

    Returns
    -------
    area : float
        Dimensionless, between 0 (calibrated) and 0.5, averaged over outputs.

    Raises
    ------
    ValueError
        When predictions, weights, quantiles, `kind` or `n_levels` are not valid.

    See Also
    --------
    root_mean_squared_calibration_error : Counts large distances more.

    Notes
    -----
    .. math:: \int_0^1 |\hat p(p) - p| \, dp

    exact for the curve as straight lines between its levels, also where it crosses the
    diagonal, as in uncertainty-toolbox and, with kind="quantile" and the 100 levels
    that are the default here, in [1]_. Areas of the two kinds are not comparable: a
    wrong width has twice the area in the interval kind. A zero std counts as in
    :func:`calibration_curve`. A perfect model has an area of the order of
    ``0.3 / sqrt(n_samples)``.

    References
    ----------
    .. [1] K. Tran et al., "Methods for comparing uncertainty quantifications for
       material property predictions", Mach. Learn.: Sci. Technol. 1, 025006 (2020),
       doi:10.1088/2632-2153/ab7e1a.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unlocknn.metrics import miscalibration_area
    >>> y_true = np.random.default_rng(0).normal(size=2000)
    >>> y_pred, y_std = np.zeros(2000), np.ones(2000)
    >>> round(miscalibration_area(y_true, y_pred, y_std), 2)
    0.01
    >>> round(miscalibration_area(y_true, y_pred, y_std / 3), 2)
    0.15
    """
    expected, observed = _curves(
        y_true, y_pred, y_std, sample_weight, quantiles, kind, n_levels
    )
    gap = observed - expected[:, np.newaxis]
    left, right = gap[:-1], gap[1:]
    # |linear| over a step: a trapezoid, or two triangles where the line crosses zero.
    total = np.abs(left) + np.abs(right)
    crosses = left * right < 0
    height = np.where(
        crosses, (left**2 + right**2) / np.where(crosses, total, 1.0), total
    )
    areas = 0.5 * np.diff(expected) @ height
    return float(areas.mean())


def root_mean_squared_calibration_error(
    y_true,
    y_pred,
    y_std,
    *,
    sample_weight=None,
    quantiles=None,
    kind="quantile",
    n_levels=100,
):
    r"""Compute the root mean square of observed minus expected proportions.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.
    quantiles : callable, default=None
        Quantiles at levels q, of shape (n_samples, n_levels[, n_outputs]), in target
        units: ``lambda q: model.predict_quantiles(X, q)``. None assumes a Gaussian.
    kind : {"quantile", "interval"}, default="quantile"
        What the curve counts, see :func:`calibration_curve`.
    n_levels : int, default=100
        Number of levels p, 2 or more, equally spaced from 0 to 1.

    Returns
    -------
    error : float
        Dimensionless, between 0 (calibrated) and 1, averaged over outputs.

    Raises
    ------
    ValueError
        When predictions, weights, quantiles, `kind` or `n_levels` are not valid.

    See Also
    --------
    miscalibration_area : The mean distance, which counts large ones less.
    summed_calibration_error : The sum of the squares, which grows with the levels.

    Notes
    -----
    .. math:: \sqrt{\frac1m \sum_{j=1}^{m} (p_j - \hat p(p_j))^2}

    over m levels, as in uncertainty-toolbox. It hardly depends on their number. A zero
    std counts as in :func:`calibration_curve`. The sum of squares is the calibration
    error of [1]_.

    References
    ----------
    .. [1] V. Kuleshov, N. Fenner and S. Ermon, "Accurate uncertainties for deep
       learning using calibrated regression", ICML (2018), arXiv:1807.00263.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import root_mean_squared_calibration_error
    >>> y_true, y_pred, y_std = [-1.0, 0.2, 0.5, 3.0], [0.0] * 4, [1.0] * 4
    >>> error = root_mean_squared_calibration_error(y_true, y_pred, y_std, n_levels=3)
    >>> round(error, 3)
    0.144
    """
    squares = _squared_distances(
        y_true, y_pred, y_std, sample_weight, quantiles, kind, n_levels
    )
    return float(np.sqrt(squares.mean(axis=0)).mean())


def summed_calibration_error(
    y_true,
    y_pred,
    y_std,
    *,
    sample_weight=None,
    quantiles=None,
    kind="quantile",
    n_levels=100,
):
    r"""Sum the squared distances of the calibration curve from the diagonal.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.
    quantiles : callable, default=None
        Quantiles at levels q, of shape (n_samples, n_levels[, n_outputs]), in target
        units: ``lambda q: model.predict_quantiles(X, q)``. None assumes a Gaussian.
    kind : {"quantile", "interval"}, default="quantile"
        What the curve counts, see :func:`calibration_curve`.
    n_levels : int, default=100
        Number of levels p, 2 or more, equally spaced from 0 to 1.

    Returns
    -------
    error : float
        Dimensionless, 0 is calibrated, averaged over outputs.

    Raises
    ------
    ValueError
        When predictions, weights, quantiles, `kind` or `n_levels` are not valid.

    See Also
    --------
    root_mean_squared_calibration_error : Hardly depends on the number of levels.

    Notes
    -----
    .. math:: \sum_{j=1}^{m} (p_j - \hat p(p_j))^2

    the calibration error of [1]_ with all weights equal to 1. This sum is proportional
    to the number of levels: report the number. The table of [2]_ has kind="quantile"
    and 100 levels from 0 to 1 with both ends, the defaults here. A zero std counts as
    in :func:`calibration_curve`.

    References
    ----------
    .. [1] V. Kuleshov, N. Fenner and S. Ermon, "Accurate uncertainties for deep
       learning using calibrated regression", ICML (2018), arXiv:1807.00263.
    .. [2] K. Tran et al., "Methods for comparing uncertainty quantifications for
       material property predictions", Mach. Learn.: Sci. Technol. 1, 025006 (2020),
       doi:10.1088/2632-2153/ab7e1a.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import summed_calibration_error
    >>> y_true, y_pred, y_std = [-1.0, 0.2, 0.5, 3.0], [0.0] * 4, [1.0] * 4
    >>> summed_calibration_error(y_true, y_pred, y_std, n_levels=3)
    0.0625
    """
    squares = _squared_distances(
        y_true, y_pred, y_std, sample_weight, quantiles, kind, n_levels
    )
    return float(squares.sum(axis=0).mean())


def _squared_distances(*args):
    """Return squared distances from the diagonal, of shape (n_levels, n_outputs)."""
    expected, observed = _curves(*args)
    return (observed - expected[:, np.newaxis]) ** 2


def _curves(y_true, y_pred, y_std, sample_weight, quantiles, kind, n_levels):
    """Return levels (n_levels,) and observed proportions (n_levels, n_outputs)."""
    y_true, y_pred, y_std, weights = check_predictions(
        y_true, y_pred, y_std, sample_weight
    )
    if kind not in _KINDS:
        raise ValueError(f"Got kind={kind!r}, expected one of {_KINDS}.")
    check_integer("n_levels", n_levels, 2)

    levels = np.linspace(0.0, 1.0, n_levels)
    if quantiles is not None:
        inner = quantile_levels(kind, n_levels)
        values = check_quantiles(quantiles, inner, y_true.shape, sample_weight)
        within = y_true[:, np.newaxis] <= values
        if kind == "interval":
            lower, _ = np.split(values, 2, axis=1)
            within = np.split(within, 2, axis=1)[1] & (lower <= y_true[:, np.newaxis])
        observed = np.average(within, axis=0, weights=weights)
        ends = np.zeros((1, observed.shape[1]))
        return levels, np.concatenate([ends, observed, ends + 1.0])

    z = standardized_residuals(y_true, y_pred, y_std)
    if kind == "quantile":
        # An exact hit of a point mass is at its quantiles of all levels.
        z = np.where((y_std == 0) & (z == 0), -np.inf, z)
        bounds = ndtri(levels)
    else:
        z = np.abs(z)
        bounds = ndtri(0.5 + 0.5 * levels)
    # A point mass that misses (z = inf) is not covered at level 1 either.
    bounds = np.minimum(bounds, np.finfo(np.float64).max)

    observed = [_proportions(column, weights, bounds) for column in z.T]
    return levels, np.column_stack(observed)


def quantile_levels(kind, n_levels=100):
    """Return the levels of the quantiles that a curve needs."""
    inner = np.linspace(0.0, 1.0, n_levels)[1:-1]
    return inner if kind == "quantile" else interval_levels(inner)


def _proportions(z, weights, bounds):
    order = np.argsort(z)
    below = np.concatenate([[0.0], np.cumsum(weights[order])])
    return below[np.searchsorted(z[order], bounds, side="right")] / below[-1]
