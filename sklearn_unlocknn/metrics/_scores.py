"""Proper scores: losses with the least expectation for the true distribution."""

import warnings

import numpy as np
from scipy.special import erf, ndtr

from .._prediction import with_finite_ends
from ._validation import (
    check_log_density,
    check_predictions,
    check_quantiles,
    standardized_residuals,
    weighted_mean,
)

_HALF_LOG_2PI = 0.5 * np.log(2.0 * np.pi)
# Nodes of the integral over levels Phi(s); probability beyond them is 1e-12.
_STEP = 0.1
_NODES = _STEP * np.arange(-70, 71)


def gaussian_nll(y_true, y_pred, y_std, *, sample_weight=None, log_density=None):
    r"""Compute the mean negative log likelihood, of a Gaussian unless stated otherwise.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.
    log_density : callable, default=None
        Log density of another predicted distribution at targets of the shape of
        `y_pred`, in nats: ``lambda y: model.predict_log_density(X, y)``. None assumes a
        Gaussian.

    Returns
    -------
    loss : float
        Nats per sample, averaged over outputs; lower is better. It can be negative, and
        it shifts by ``log(c)`` when the target is multiplied by ``c``.

    Raises
    ------
    ValueError
        When predictions or weights are not valid.

    See Also
    --------
    gaussian_crps : In target units, with a smaller penalty for a far outlier.
    mean_standardized_log_loss : The same relative to a trivial prediction.

    Notes
    -----
    .. math:: \frac{1}{n} \sum_i \tfrac12 \log 2\pi\sigma_i^2
              + \frac{(y_i - \mu_i)^2}{2 \sigma_i^2}

    A zero std is a point mass: the loss is ``inf`` when any such prediction misses, and
    ``-inf`` when there are some and all hit exactly. Samples of zero weight are left
    out.

    References
    ----------
    .. [1] T. Gneiting and A. E. Raftery, "Strictly proper scoring rules, prediction,
       and estimation", J. Am. Stat. Assoc. 102, 359 (2007),
       doi:10.1198/016214506000001437.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import gaussian_nll
    >>> round(gaussian_nll([1.0, 2.0], [1.1, 1.8], [0.2, 0.2]), 3)
    -0.378
    """
    logs = None
    if log_density is not None:
        logs = check_log_density(log_density, y_true, y_pred, sample_weight)
    y_true, y_pred, y_std, weights = check_predictions(
        y_true, y_pred, y_std, sample_weight
    )
    if logs is not None:
        return weighted_mean(-logs, weights)
    return weighted_mean(_nll_per_sample(y_true, y_pred, y_std), weights)


def gaussian_crps(y_true, y_pred, y_std, *, sample_weight=None, quantiles=None):
    r"""Compute the mean CRPS, of a Gaussian unless stated otherwise.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.
    quantiles : callable, default=None
        Quantiles at levels q, of shape (n_samples, n_levels[, n_outputs]), in target
        units: ``lambda q: model.predict_quantiles(X, q)``. None assumes a Gaussian.

    Returns
    -------
    loss : float
        In target units, averaged over outputs; 0 is perfect, lower is better.

    Raises
    ------
    ValueError
        When predictions, weights or quantiles are not valid.

    See Also
    --------
    gaussian_nll : Its penalty for a far outlier is larger.

    Notes
    -----
    The continuous ranked probability score, the squared distance between the predicted
    cumulative distribution :math:`F` and the step at the observation [1]_, in closed
    form for a Gaussian with :math:`z = (y - \mu) / \sigma`:

    .. math:: \int (F(t) - 1[t \ge y])^2 dt
              = \sigma \left( z (2 \Phi(z) - 1) + 2 \varphi(z)
              - \frac{1}{\sqrt\pi} \right)

    With `quantiles` :math:`Q` it is twice the quantile loss, integrated over levels
    [2]_:

    .. math:: 2 \int_0^1 (1[y \le Q(p)] - p) (Q(p) - y) \, dp

    by the trapezoidal rule at 141 levels :math:`p = \Phi(s)`, corrected for the kink at
    the observation. It agrees with the closed forms of Student t and log-normal
    distributions [3]_ to .01 %, of a log-normal of :math:`\sigma = 2` to .03 %. An
    infinite quantile counts as the outermost finite one of the sample.

    A zero std is a point mass: its score is the absolute error.

    References
    ----------
    .. [1] T. Gneiting and A. E. Raftery, "Strictly proper scoring rules, prediction,
       and estimation", J. Am. Stat. Assoc. 102, 359 (2007),
       doi:10.1198/016214506000001437.
    .. [2] F. Laio and S. Tamea, "Verification tools for probabilistic forecasts of
       continuous hydrological variables", Hydrol. Earth Syst. Sci. 11, 1267 (2007),
       doi:10.5194/hess-11-1267-2007.
    .. [3] A. Jordan, F. Krueger and S. Lerch, "Evaluating probabilistic forecasts with
       scoringRules", J. Stat. Softw. 90(12) (2019), doi:10.18637/jss.v090.i12.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import gaussian_crps
    >>> round(gaussian_crps([1.0, 2.0], [1.1, 1.8], [0.2, 0.2]), 3)
    0.093
    >>> gaussian_crps([1.0], [1.5], [0.0])
    0.5
    """
    y_true, y_pred, y_std, weights = check_predictions(
        y_true, y_pred, y_std, sample_weight
    )
    if quantiles is not None:
        with warnings.catch_warnings():  # that conformal ones are infinite far out
            warnings.simplefilter("ignore", UserWarning)
            values = check_quantiles(
                quantiles, ndtr(_NODES), y_true.shape, sample_weight
            )
        return weighted_mean(_crps_of_quantiles(y_true, values), weights)
    z = standardized_residuals(y_true, y_pred, y_std)
    # sigma * z is the residual, which avoids 0 * inf for a point mass.
    with np.errstate(over="ignore"):
        density = _normal_density(z)
    losses = (y_true - y_pred) * erf(z / np.sqrt(2.0)) + y_std * (
        2.0 * density - 1.0 / np.sqrt(np.pi)
    )
    return weighted_mean(losses, weights)


@np.errstate(invalid="ignore")  # samples without any finite quantile
def _crps_of_quantiles(y, values):
    """Return scores of shape (n, k) by quantiles of shape (n, n_nodes, k)."""
    above = with_finite_ends(values) - y[:, np.newaxis]
    weights = _STEP * _normal_density(_NODES)
    # (1[y <= Q] - p) (Q - y) = max(Q - y, 0) - p (Q - y)
    losses = np.einsum("nqk,q->nk", np.maximum(above, 0.0), weights)
    losses -= np.einsum("nqk,q->nk", above, weights * ndtr(_NODES))

    # The first term has a kink between two nodes, a share `left` of the step below the
    # upper one. The rule errs there by h^2 B_2(left) / 2 times the slope (Euler and
    # Maclaurin).
    upper = np.sum(above < 0, axis=1, keepdims=True)
    inside = (upper > 0) & (upper < len(_NODES))
    upper = upper.clip(1, len(_NODES) - 1)
    high = np.take_along_axis(above, upper, axis=1)
    rise = high - np.take_along_axis(above, upper - 1, axis=1)
    left = high / np.where(rise > 0, rise, 1.0)
    density = _normal_density(_NODES[upper] - _STEP * left)
    correction = 0.5 * _STEP * (left**2 - left + 1.0 / 6.0) * density * rise
    losses += np.where(inside, correction, 0.0)[:, 0]
    return np.where(np.isnan(losses), np.inf, 2.0 * losses)


def _normal_density(z):
    return np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)


def mean_standardized_log_loss(
    y_true,
    y_pred,
    y_std,
    *,
    sample_weight=None,
    log_density=None,
    y_train_mean=None,
    y_train_std=None,
):
    r"""Compute the log loss relative to that of a trivial prediction.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, predicted means and std (noise included), in target units.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples; uniform when None.
    log_density : callable, default=None
        Log density of another predicted distribution at targets of the shape of
        `y_pred`, in nats: ``lambda y: model.predict_log_density(X, y)``. None assumes a
        Gaussian.
    y_train_mean, y_train_std : float or array-like of shape (n_outputs,), default=None
        Mean and std of the training targets, in target units. None takes those of
        `y_true`.

    Returns
    -------
    loss : float
        Nats per sample, averaged over outputs; 0 is the trivial prediction, negative is
        better. It does not change with the units of the target.

    Raises
    ------
    ValueError
        When predictions or weights are not valid, or the trivial std is not positive
        (a constant `y_true`).

    See Also
    --------
    gaussian_nll : The loss that is compared.

    Notes
    -----
    .. math:: \frac1n \sum_i \log \mathcal N(y_i; \bar y, s^2)
              - \log \mathcal N(y_i; \mu_i, \sigma_i^2)

    with `log_density` in the place of the second term. With mean :math:`\bar y` and
    std :math:`s` of the training targets this is the score of [1]_. The default, those
    of `y_true`, is a slightly better trivial prediction. A zero std counts as in
    :func:`gaussian_nll`.

    References
    ----------
    .. [1] C. E. Rasmussen and C. K. I. Williams, "Gaussian Processes for Machine
       Learning", MIT Press (2006), section 2.5.

    Examples
    --------
    >>> from sklearn_unlocknn.metrics import mean_standardized_log_loss
    >>> y_true, y_pred, y_std = [1.0, 2.0, 4.0], [1.1, 1.8, 4.2], [0.2, 0.2, 0.2]
    >>> round(mean_standardized_log_loss(y_true, y_pred, y_std), 3)
    -1.955
    """
    logs = None
    if log_density is not None:
        logs = check_log_density(log_density, y_true, y_pred, sample_weight)
    y_true, y_pred, y_std, weights = check_predictions(
        y_true, y_pred, y_std, sample_weight
    )
    mean = np.average(y_true, axis=0, weights=weights)
    std = np.sqrt(np.average((y_true - mean) ** 2, axis=0, weights=weights))
    # Exactly zero for constant targets, whatever the rounding of the mean.
    std = np.where(np.ptp(y_true, axis=0) == 0, 0.0, std)
    if y_train_mean is not None:
        mean = _per_output("y_train_mean", y_train_mean, y_true.shape[1])
    if y_train_std is not None:
        std = _per_output("y_train_std", y_train_std, y_true.shape[1])
    if not (std > 0).all():
        raise ValueError(
            f"Got a trivial std of {std.min():g}, expected a positive one: y_true is "
            "constant, or y_train_std not positive. Pass y_train_std of the training "
            "targets, or use gaussian_nll."
        )
    trivial = _nll_per_sample(
        y_true, np.broadcast_to(mean, y_true.shape), np.broadcast_to(std, y_true.shape)
    )
    losses = _nll_per_sample(y_true, y_pred, y_std) if logs is None else -logs
    return weighted_mean(losses - trivial, weights)


def _nll_per_sample(y_true, y_pred, y_std):
    z = standardized_residuals(y_true, y_pred, y_std)
    point_mass = y_std == 0
    with np.errstate(over="ignore"):
        losses = _HALF_LOG_2PI + np.log(np.where(point_mass, 1.0, y_std)) + 0.5 * z**2
    # The density of a point mass is infinite where it sits.
    return np.where(point_mass & (z == 0), -np.inf, losses)


def _per_output(name, value, n_outputs):
    value = np.asarray(value, dtype=np.float64)
    if value.shape not in ((), (1,), (n_outputs,)) or not np.isfinite(value).all():
        raise ValueError(
            f"Got {name}={value.tolist()!r}, expected one finite number, or one for "
            f"each of the {n_outputs} outputs."
        )
    return value
