"""Ranking of predictions by their std: correlation and sparsification."""

import numpy as np
from sklearn.metrics import roc_auc_score

from ._validation import check_integer, check_predictions, check_single_output

_METHODS = ("spearman", "pearson")


def error_uncertainty_correlation(
    y_true, y_pred, y_std, *, sample_weight=None, method="spearman"
):
    r"""Correlate absolute errors with predicted standard deviations.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.
    method : {"spearman", "pearson"}, default="spearman"
        Correlation of the ranks, or of the values.

    Returns
    -------
    correlation : float
        Dimensionless, between -1 and 1, averaged over outputs; higher is better.

    Raises
    ------
    ValueError
        When predictions, weights or `method` are not valid.

    See Also
    --------
    sparsification_error : The gain from discarding the least certain samples.

    Notes
    -----
    .. math:: \mathrm{corr}(|y_i - \mu_i|, \sigma_i)

    Even a perfect std correlates only moderately with the error, which is one draw
    from a distribution of that std: compare models on the same samples, do not expect
    1. Where all std or all errors are equal the correlation is not defined and the
    value is 0. Tied values share their mean rank; a weight of 2 equals the sample
    twice. A zero std is a value like any other.

    References
    ----------
    .. [1] K. Tran et al., "Methods for comparing uncertainty quantifications for
       material property predictions", Mach. Learn.: Sci. Technol. 1, 025006 (2020),
       doi:10.1088/2632-2153/ab7e1a.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import error_uncertainty_correlation
    >>> y_true, y_pred, y_std = [1.0, 2.0, 3.0], [1.1, 2.2, 3.9], [0.1, 0.2, 0.3]
    >>> round(error_uncertainty_correlation(y_true, y_pred, y_std), 6)
    1.0
    """
    if method not in _METHODS:
        raise ValueError(f"Got method={method!r}, expected one of {_METHODS}.")
    columns, weights = _errors_and_std(y_true, y_pred, y_std, sample_weight)
    values = [_correlation(error, std, weights, method) for error, std in columns]
    return float(np.mean(values))


def large_error_auc(y_true, y_pred, y_std, *, factor=3.0, sample_weight=None):
    r"""Compute the area under the ROC curve of finding large errors.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, predicted means and std (noise included), in target units. In
        place of the std any number of at least 0 that is larger where errors should be:
        ``1 - domain_score(model, X)``.
    factor : float, default=3.0
        An absolute error above `factor` times the median absolute error is large.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.

    Returns
    -------
    auc : float
        Between 0 and 1, averaged over outputs; 1 when every large error has a larger
        std than every other, .5 when the std is unrelated to the error or no error is
        large.

    Raises
    ------
    ValueError
        When predictions, weights or `factor` are not valid.

    See Also
    --------
    error_uncertainty_correlation : Rank correlation of all errors with the std.
    sklearn_unlocknn.prediction.domain_score : Score that finds large errors.

    Notes
    -----
    It is the probability that a sample with a large error has a larger std than one
    without, ties counted half. A weight of 2 equals the sample twice, also in the
    median. A zero std is a value like any other.

    References
    ----------
    .. [1] T. Fawcett, "An introduction to ROC analysis", Pattern Recognit. Lett. 27,
       861 (2006), doi:10.1016/j.patrec.2005.10.010.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import large_error_auc
    >>> y_true, y_pred = [1.0, 2.0, 3.0, 9.0], [1.1, 2.2, 3.3, 4.0]
    >>> round(large_error_auc(y_true, y_pred, [0.1, 0.4, 0.2, 0.3]), 2)
    0.67
    """
    if not factor > 0:
        raise ValueError(f"Got factor={factor!r}, expected a number above 0.")
    columns, weights = _errors_and_std(y_true, y_pred, y_std, sample_weight)
    values = []
    for error, std in columns:
        large = error > factor * _weighted_median(error, weights)
        none = large.all() or not large.any()
        auc = 0.5 if none else roc_auc_score(large, std, sample_weight=weights)
        values.append(auc)
    return float(np.mean(values))


def sparsification_error(y_true, y_pred, y_std, *, sample_weight=None):
    r"""Compute the area between the sparsification curve and an oracle's (AUSE).

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.

    Returns
    -------
    error : float
        Dimensionless, averaged over outputs; lower is better, 0 when std and errors
        sort the samples in the same order.

    Raises
    ------
    ValueError
        When predictions or weights are not valid.

    See Also
    --------
    error_uncertainty_correlation : Rank correlation of the same two columns.
    sparsification_curve : The two curves.

    Notes
    -----
    :math:`E_\sigma(f)` is the mean absolute error without the share f of samples with
    the largest std. The oracle discards the largest errors.

    .. math:: \frac{1}{E(0)} \int_0^1 E_\sigma(f) - E_\mathrm{oracle}(f) \, df

    Samples are discarded continuously: the integral is exact and in closed form. A
    weight of 2 equals the sample twice. Samples with equal std are discarded together,
    independently of their order. The value is 0 when all errors are equal. A zero std
    is a value like any other.

    References
    ----------
    .. [1] E. Ilg et al., "Uncertainty estimates and multi-hypotheses networks for
       optical flow", ECCV (2018), arXiv:1802.07095.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import sparsification_error
    >>> y_true, y_pred = [1.0, 2.0, 3.0], [1.1, 2.2, 3.9]
    >>> sparsification_error(y_true, y_pred, [0.1, 0.2, 0.3])
    0.0
    >>> round(sparsification_error(y_true, y_pred, [0.3, 0.2, 0.1]), 3)
    1.273
    """
    columns, weights = _errors_and_std(y_true, y_pred, y_std, sample_weight)
    values = [_ause(error, std, weights) for error, std in columns]
    return float(np.mean(values))


def sparsification_curve(y_true, y_pred, y_std, *, sample_weight=None, n_levels=100):
    r"""Compute the mean absolute error without the least certain samples.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.
    n_levels : int, default=100
        Number of discarded shares, 2 or more, equally spaced from 0 to 1.

    Returns
    -------
    discarded : ndarray of shape (n_levels,)
        Shares f of samples that are discarded, dimensionless.
    error : ndarray of shape (n_levels,)
        Mean absolute error of the rest, in target units, when the samples of largest
        std are discarded.
    oracle_error : ndarray of shape (n_levels,)
        The same when the largest errors are discarded: the lower bound for any std.

    Raises
    ------
    ValueError
        When predictions, weights or `n_levels` are not valid, or there are several
        outputs.

    See Also
    --------
    sparsification_error : Area between the curves, relative to the error of all.

    Notes
    -----
    .. math:: E_\sigma(f) = \frac1{1 - f} \int_0^{1 - f} |e|_{(t)} \, dt

    with the errors in order of their std. Samples are discarded continuously and those
    with equal std together, as in :func:`sparsification_error`. At f = 1 the value is
    the limit, the error of the most certain sample. The curve of an uninformative std
    is constant. A zero std is a value like any other.

    References
    ----------
    .. [1] E. Ilg et al., "Uncertainty estimates and multi-hypotheses networks for
       optical flow", ECCV (2018), arXiv:1802.07095.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import sparsification_curve
    >>> discarded, error, oracle_error = sparsification_curve(
    ...     [1.0, 2.0], [1.25, 2.75], [0.3, 0.2], n_levels=3
    ... )
    >>> error.tolist(), oracle_error.tolist()
    ([0.5, 0.75, 0.75], [0.5, 0.25, 0.25])
    """
    y_true, y_pred, y_std, weights = check_predictions(
        y_true, y_pred, y_std, sample_weight
    )
    check_single_output(y_true, "a sparsification curve")
    check_integer("n_levels", n_levels, 2)
    discarded = np.linspace(0.0, 1.0, n_levels)
    error = np.abs(y_true - y_pred)[:, 0]
    kept_errors = [
        _kept_error(1.0 - discarded, *_tie_groups(error, key, weights))
        for key in (y_std[:, 0], error)
    ]
    return discarded, *kept_errors


def _errors_and_std(y_true, y_pred, y_std, sample_weight):
    """Return pairs of absolute errors and std, one an output, and the weights."""
    y_true, y_pred, y_std, weights = check_predictions(
        y_true, y_pred, y_std, sample_weight
    )
    return zip(np.abs(y_true - y_pred).T, y_std.T, strict=True), weights


def _correlation(error, std, weights, method):
    if np.ptp(error) == 0 or np.ptp(std) == 0:
        return 0.0
    # Scaled to 1: the products below neither overflow nor underflow.
    error, std = error / error.max(), std / std.max()
    if method == "spearman":
        error, std = _weighted_ranks(error, weights), _weighted_ranks(std, weights)
    error = error - np.average(error, weights=weights)
    std = std - np.average(std, weights=weights)
    covariance = np.sum(weights * error * std)
    norm = np.sqrt(np.sum(weights * error**2) * np.sum(weights * std**2))
    return float(np.clip(covariance / norm, -1.0, 1.0))


def _weighted_ranks(values, weights):
    """Return the weight below each value plus half of that of equal values."""
    _, group = np.unique(values, return_inverse=True)
    mass = np.bincount(group, weights=weights)
    return (np.cumsum(mass) - 0.5 * mass)[group]


def _weighted_median(values, weights):
    """Return the median, the mean of the two in the middle if it lies between them."""
    order = np.argsort(values)
    below = np.cumsum(weights[order]) / weights.sum()
    middle = [np.searchsorted(below, 0.5 + shift) for shift in (-1e-9, 1e-9)]
    return np.mean(values[order][np.minimum(middle, len(values) - 1)])


def _ause(error, std, weights):
    mean_error = np.average(error, weights=weights)
    if np.ptp(error) == 0:
        return 0.0
    by_std = _sparsification_area(error, std, weights)
    by_error = _sparsification_area(error, error, weights)
    # Equal orders differ by rounding only.
    return max(0.0, float((by_std - by_error) / mean_error))


def _sparsification_area(error, key, weights):
    """Integrate over t in (0, 1] the mean error of the share t of smallest `key`."""
    level, mass = _tie_groups(error, key, weights)

    # Within a group the kept error is S(t) = S0 + level (t - t0), and
    # int S(t) / t dt = (S0 - level t0) log(t1 / t0) + level (t1 - t0).
    t1 = np.cumsum(mass)
    t0, S0 = t1[:-1], np.cumsum(mass * level)[:-1]
    return np.sum(mass * level) + np.sum((S0 - level[1:] * t0) * np.log(t1[1:] / t0))


def _tie_groups(error, key, weights):
    """Return mean error and share of samples of each value of `key`, ascending."""
    _, group = np.unique(key, return_inverse=True)
    mass = np.bincount(group, weights=weights)
    level = np.bincount(group, weights=weights * error) / mass
    return level, mass / mass.sum()


def _kept_error(kept, level, mass):
    """Return the mean error of the shares `kept`; for 0 that of the first group."""
    t1 = np.concatenate([[0.0], np.cumsum(mass)])
    S = np.concatenate([[0.0], np.cumsum(mass * level)])
    nothing = kept <= 0
    share = np.where(nothing, 1.0, kept)
    return np.where(nothing, level[0], np.interp(share, t1, S) / share)
