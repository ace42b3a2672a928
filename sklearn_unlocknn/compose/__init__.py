"""Regressors of a transformed target, with uncertainty in target units."""

from ._target import ProbTransformedTargetRegressor

__all__ = ["ProbTransformedTargetRegressor"]
