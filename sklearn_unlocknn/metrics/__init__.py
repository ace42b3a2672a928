"""Metrics and scorers for predictions with a standard deviation.

Every metric takes ``(y_true, y_pred, y_std, *, sample_weight=None)``. Sharpness,
ranking and squared z assume no distribution. The others are of a Gaussian, or of
another distribution given by `quantiles` (CRPS, calibration and intervals) or
`log_density` (NLL and MSLL). Scorers call ``predict(X, return_std=True)`` of any
estimator, and use its own distribution where it has one.

Predictions are valid when there is a sample, shapes agree, all values are finite and no
std is negative; weights when they are finite, not negative and not all zero.
"""

from ._calibration import (
    calibration_curve,
    miscalibration_area,
    root_mean_squared_calibration_error,
    summed_calibration_error,
)
from ._groups import group_labels, uq_by_group
from ._intervals import (
    interval_coverage,
    interval_coverage_error,
    interval_score,
    mean_interval_width,
)
from ._ranking import (
    error_uncertainty_correlation,
    large_error_auc,
    sparsification_curve,
    sparsification_error,
)
from ._report import uq_report
from ._scorers import PROB_SCORERS, get_prob_scorer, make_prob_scorer, prob_scoring
from ._scores import gaussian_crps, gaussian_nll, mean_standardized_log_loss
from ._sharpness import dispersion, sharpness
from ._squared_z import (
    mean_squared_z,
    mean_squared_z_interval,
    squared_z_skewness,
)

__all__ = [
    "PROB_SCORERS",
    "calibration_curve",
    "dispersion",
    "error_uncertainty_correlation",
    "gaussian_crps",
    "gaussian_nll",
    "get_prob_scorer",
    "group_labels",
    "interval_coverage",
    "interval_coverage_error",
    "interval_score",
    "large_error_auc",
    "make_prob_scorer",
    "mean_interval_width",
    "mean_squared_z",
    "mean_squared_z_interval",
    "mean_standardized_log_loss",
    "miscalibration_area",
    "prob_scoring",
    "root_mean_squared_calibration_error",
    "sharpness",
    "sparsification_curve",
    "sparsification_error",
    "squared_z_skewness",
    "summed_calibration_error",
    "uq_by_group",
    "uq_report",
]
