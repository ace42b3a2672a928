"""Recalibration of predicted standard deviations on held-out samples."""

from ._arrays import ErrorBarCalibrator
from ._regressor import CalibratedProbRegressor

__all__ = ["CalibratedProbRegressor", "ErrorBarCalibrator"]
