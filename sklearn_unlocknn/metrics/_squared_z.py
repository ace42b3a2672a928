"""Squared standardised errors: their mean, its confidence interval, and their tail."""

import numpy as np
from scipy.special import ndtri

from .._prediction import check_coverage
from ._validation import check_predictions, standardized_residuals

#: Skewness of squared z above which a standard deviation is a poor summary: that of a
#: Student t with four degrees of freedom is .79, that of a Gaussian .64.
HEAVY_TAILS = 0.8


def mean_squared_z(y_true, y_pred, y_std, *, sample_weight=None):
    r"""Compute the mean squared error in units of the predicted variance.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.

    Returns
    -------
    value : float
        Dimensionless, averaged over outputs. 1 is calibrated, above it the std are too
        small on average, below it too large.

    Raises
    ------
    ValueError
        When predictions or weights are not valid.

    See Also
    --------
    mean_squared_z_interval : How far it can be from 1 by chance.
    squared_z_skewness : Whether the mean summarises these errors.

    Notes
    -----
    .. math:: \frac1n \sum_i \frac{(y_i - \mu_i)^2}{\sigma_i^2}

    the ZMS of [1]_. Any distribution with the right variances has an expectation of 1;
    no shape is assumed. Of average calibration only: errors of some samples may cancel
    those of others. A zero std is infinite on a miss, and 0 on an exact hit.

    References
    ----------
    .. [1] P. Pernot, "Negative impact of heavy-tailed uncertainty and error
       distributions on the reliability of calibration statistics for machine learning
       regression tasks" (2024), arXiv:2402.10043.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import mean_squared_z
    >>> round(mean_squared_z([1.0, 2.0], [1.1, 1.8], [0.1, 0.1]), 6)
    2.5
    """
    squares, weights = _squares(y_true, y_pred, y_std, sample_weight)
    return float(np.average(squares, axis=0, weights=weights).mean())


def mean_squared_z_interval(
    y_true, y_pred, y_std, *, sample_weight=None, confidence=0.95
):
    r"""Compute a confidence interval of the mean squared z.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None. They are no counts: the interval
        does not change with their unit.
    confidence : float, default=0.95
        Probability that such intervals contain the expectation, strictly between 0 and
        1.

    Returns
    -------
    low, high : float
        Dimensionless. No deviation from average calibration is shown if 1 is
        between them. 0 and infinity for a single sample.

    Raises
    ------
    ValueError
        When predictions, weights or `confidence` are not valid.

    See Also
    --------
    mean_squared_z : The mean itself.
    squared_z_skewness : Large where the interval is too narrow.

    Notes
    -----
    The limit of bias-corrected and accelerated bootstrap intervals (BCa, as in [1]_)
    for many draws, in closed form (ABC [2]_): with :math:`\delta_i = (z_i^2 - m) / n`,
    :math:`s^2 = \sum_i \delta_i^2` and :math:`a = \sum_i \delta_i^3 / (6 s^3)` its ends
    are

    .. math:: m + s \frac{w}{(1 - a w)^2}, \quad w = a \pm \Phi^{-1}((1 + c) / 2)

    Samples are independent of each other; outputs need not be. With 1000 samples 95 %
    intervals hold .95 for a Gaussian, .93 for a Student t with five degrees of freedom,
    .90 with four and .80 with three: see :func:`squared_z_skewness`. A zero std that
    misses makes both ends infinite.

    References
    ----------
    .. [1] P. Pernot, "Negative impact of heavy-tailed uncertainty and error
       distributions on the reliability of calibration statistics for machine learning
       regression tasks" (2024), arXiv:2402.10043.
    .. [2] T. DiCiccio and B. Efron, "More accurate confidence intervals in exponential
       families", Biometrika 79, 231 (1992), doi:10.1093/biomet/79.2.231.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unlocknn.metrics import mean_squared_z_interval
    >>> y_true = np.random.default_rng(0).normal(size=500)
    >>> low, high = mean_squared_z_interval(y_true, np.zeros(500), np.ones(500))
    >>> round(low, 2), round(high, 2)
    (0.9, 1.19)
    """
    confidence = check_coverage(confidence, "confidence")
    squares, weights = _squares(y_true, y_pred, y_std, sample_weight)
    if len(squares) == 1:
        return 0.0, np.inf
    squares = squares.mean(axis=1)
    mean = np.average(squares, weights=weights)
    if not np.isfinite(mean):
        return np.inf, np.inf
    if mean == 0:
        return 0.0, 0.0
    # relative to the mean, whose square may exceed the range of float64
    influence = weights * (squares / mean - 1.0) / weights.sum()
    error = np.sqrt(np.sum(influence**2))
    if error == 0:
        return float(mean), float(mean)
    acceleration = np.sum((influence / error) ** 3) / 6.0
    w = acceleration + ndtri(0.5 + confidence / 2.0) * np.array([-1.0, 1.0])
    # The map grows between a w = -1 and 1, which only a confidence of almost 1 leaves.
    with np.errstate(divide="ignore"):
        w = np.where(acceleration * w < -1.0, -1.0 / acceleration, w)
        far = w / (1.0 - np.minimum(acceleration * w, 1.0)) ** 2
    low, high = mean * (1.0 + error * far)
    return max(float(low), 0.0), float(high)


def squared_z_skewness(y_true, y_pred, y_std, *, sample_weight=None):
    r"""Compute the skewness of squared z, a robust measure of heavy tails.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.

    Returns
    -------
    skewness : float
        Dimensionless, between -1 and 1, averaged over outputs: .64 for a Gaussian,
        larger for heavier tails.

    Raises
    ------
    ValueError
        When predictions or weights are not valid.

    See Also
    --------
    mean_squared_z_interval : Too narrow where tails are heavy.

    Notes
    -----
    Mean less median, relative to the mean distance from the median [1]_, as [2]_ has it
    to screen data sets for heavy tails:

    .. math:: \frac{\overline{z^2} - \mathrm{med}(z^2)}
              {\overline{|z^2 - \mathrm{med}(z^2)|}}

    It is .69 for a Student t with ten degrees of freedom, .76 with five, .79 with four,
    .86 with three and .95 with 2.1. With four the variance of :math:`z^2` ceases to
    exist. **Above .8** the std is a poor summary of the errors: the mean squared z and
    its interval, and every recalibration by it, depend on a few samples, and a std does
    not determine how far central errors reach (with three degrees of freedom 67 % are
    within the 50 % interval of a Gaussian). Judge and report such predictions by
    intervals and quantiles. Errors that are Gaussian with wrong std look the same: of
    some samples much too small, of others much too large.

    With 100 samples chance moves it by .08, with 1000 by .025. A zero std that misses
    counts as an infinite :math:`z^2`: the skewness is 1.

    References
    ----------
    .. [1] R. A. Groeneveld and G. Meeden, "Measuring skewness and kurtosis", The
       Statistician 33, 391 (1984), doi:10.2307/2987742.
    .. [2] P. Pernot, "Negative impact of heavy-tailed uncertainty and error
       distributions on the reliability of calibration statistics for machine learning
       regression tasks" (2024), arXiv:2402.10043.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unlocknn.metrics import squared_z_skewness
    >>> rng = np.random.default_rng(0)
    >>> zero, one = np.zeros(5000), np.ones(5000)
    >>> round(squared_z_skewness(rng.normal(size=5000), zero, one), 2)
    0.63
    >>> round(squared_z_skewness(rng.standard_t(3, 5000), zero, one), 2)
    0.85
    """
    squares, weights = _squares(y_true, y_pred, y_std, sample_weight)
    return float(np.mean([_skewness(column, weights) for column in squares.T]))


def _squares(y_true, y_pred, y_std, sample_weight):
    """Return squared z of shape (n_samples, n_outputs), and weights."""
    y_true, y_pred, y_std, weights = check_predictions(
        y_true, y_pred, y_std, sample_weight
    )
    with np.errstate(over="ignore"):
        return standardized_residuals(y_true, y_pred, y_std) ** 2, weights


def _skewness(values, weights):
    """Return Groeneveld and Meeden's skewness of values."""
    if np.isinf(values).any():
        return 1.0
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    # Half of the weight, but for rounding: a weight of 2 equals the value twice.
    middle = np.searchsorted(below, 0.5 * below[-1] * (1.0 - 1e-12))
    distance = values - values[order][middle]
    size = np.average(np.abs(distance), weights=weights)
    return 0.0 if size == 0 else np.average(distance, weights=weights) / size
