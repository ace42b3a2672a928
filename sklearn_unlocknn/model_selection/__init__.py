"""Out-of-fold predictions with uncertainty, and splits that hold out what is new."""

from ._cross_val import cross_val_predict_dist
from ._splits import LeaveExtremesOut, LeaveOneLabelOut

__all__ = ["LeaveExtremesOut", "LeaveOneLabelOut", "cross_val_predict_dist"]
