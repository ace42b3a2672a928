"""Drawings of predictions with a standard deviation, as scikit-learn Displays.

Each has ``from_estimator(estimator, X, y)`` for any fitted estimator with
``predict(X, return_std=True)``, ``from_predictions(y_true, y_pred, y_std)`` and
``plot(ax=)``. Displays of calibration and intervals use the estimator's own quantiles,
otherwise those of a Gaussian. ``ax=display.ax_`` draws several models on the same axes.
Needs matplotlib (``pip install "sklearn-unlocknn[plot]"``), imported on drawing.
"""

from ._calibration import UQCalibrationDisplay
from ._coverage import IntervalCoverageDisplay
from ._domain import DomainDisplay
from ._error_uncertainty import ErrorUncertaintyDisplay
from ._parity import ParityDisplay
from ._periodic_table import PeriodicTableDisplay
from ._sharpness import SharpnessDisplay
from ._sparsification import SparsificationDisplay

__all__ = [
    "DomainDisplay",
    "ErrorUncertaintyDisplay",
    "IntervalCoverageDisplay",
    "ParityDisplay",
    "PeriodicTableDisplay",
    "SharpnessDisplay",
    "SparsificationDisplay",
    "UQCalibrationDisplay",
]
