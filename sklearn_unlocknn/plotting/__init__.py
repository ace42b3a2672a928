"""Pictures of predictions with a standard deviation, as scikit-learn Displays.

Each has ``from_estimator(estimator, X, y)`` for any fitted estimator with
``predict(X, return_std=True)``, ``from_predictions(y_true, y_pred, y_std)`` and
``plot(ax=)``. Pictures of calibration and intervals show the estimator's own quantiles,
and a Gaussian where it has none or only mean and std are given. Several models go into
one picture by ``ax=display.ax_``. Needs matplotlib (``pip install
"sklearn-unlocknn[plot]"``), imported when something is drawn.
"""

from ._calibration import UQCalibrationDisplay
from ._coverage import IntervalCoverageDisplay
from ._error_uncertainty import ErrorUncertaintyDisplay
from ._parity import ParityDisplay
from ._periodic_table import PeriodicTableDisplay
from ._sharpness import SharpnessDisplay
from ._sparsification import SparsificationDisplay

__all__ = [
    "ErrorUncertaintyDisplay",
    "IntervalCoverageDisplay",
    "ParityDisplay",
    "PeriodicTableDisplay",
    "SharpnessDisplay",
    "SparsificationDisplay",
    "UQCalibrationDisplay",
]
