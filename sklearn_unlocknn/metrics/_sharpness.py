"""Mean and variation of the predicted standard deviations."""

import numpy as np

from ._validation import check_predictions


def sharpness(y_true, y_pred, y_std, *, sample_weight=None):
    r"""Compute the root mean square of the predicted standard deviations.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets and means (checked, not used) and std (with noise), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.

    Returns
    -------
    sharpness : float
        In target units, averaged over outputs; lower is sharper, which is better
        only at equal calibration.

    Raises
    ------
    ValueError
        When predictions or weights are not valid.

    Notes
    -----
    .. math:: \sqrt{\frac1n \sum_i \sigma_i^2}

    as in [1]_: a mean of variances, not of standard deviations. A zero std counts as
    zero.

    References
    ----------
    .. [1] K. Tran et al., "Methods for comparing uncertainty quantifications for
       material property predictions", Mach. Learn.: Sci. Technol. 1, 025006 (2020),
       doi:10.1088/2632-2153/ab7e1a.
    .. [2] T. Gneiting, F. Balabdaoui and A. E. Raftery, "Probabilistic forecasts,
       calibration and sharpness", J. R. Stat. Soc. B 69, 243 (2007),
       doi:10.1111/j.1467-9868.2007.00587.x.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import sharpness
    >>> round(sharpness([1.0, 2.0], [1.1, 1.8], [0.1, 0.7]), 3)
    0.5
    """
    _, _, y_std, weights = check_predictions(y_true, y_pred, y_std, sample_weight)
    return float(np.sqrt(np.average(y_std**2, axis=0, weights=weights)).mean())


def dispersion(y_true, y_pred, y_std, *, sample_weight=None):
    r"""Compute the coefficient of variation of the predicted standard deviations.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets and means (checked, not used) and std (with noise), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.

    Returns
    -------
    dispersion : float
        Dimensionless, averaged over outputs. 0 means one std for all samples; a larger
        value is not better by itself.

    Raises
    ------
    ValueError
        When predictions or weights are not valid.

    Notes
    -----
    .. math:: \frac{1}{\bar\sigma} \sqrt{\frac1n \sum_i (\sigma_i - \bar\sigma)^2}

    Divided by n and not n - 1, so that a weight of 2 equals the sample twice. When all
    std are zero the value is 0.

    References
    ----------
    .. [1] K. Tran et al., "Methods for comparing uncertainty quantifications for
       material property predictions", Mach. Learn.: Sci. Technol. 1, 025006 (2020),
       doi:10.1088/2632-2153/ab7e1a.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import dispersion
    >>> round(dispersion([1.0, 2.0], [1.1, 1.8], [0.1, 0.3]), 3)
    0.5
    """
    _, _, y_std, weights = check_predictions(y_true, y_pred, y_std, sample_weight)
    mean = np.average(y_std, axis=0, weights=weights)
    variation = np.sqrt(np.average((y_std - mean) ** 2, axis=0, weights=weights))
    # Exactly zero for one std for all samples, whatever the rounding of the mean.
    variation = np.where(np.ptp(y_std, axis=0) == 0, 0.0, variation)
    return float((variation / np.where(mean == 0, 1.0, mean)).mean())
