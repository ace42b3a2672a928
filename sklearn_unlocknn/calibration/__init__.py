"""Recalibration of predicted standard deviations on held-out rows."""

from ._regressor import CalibratedProbRegressor

__all__ = ["CalibratedProbRegressor"]
