"""Regressors of a transformed target, with uncertainty in its own units."""

from ._target import ProbTransformedTargetRegressor

__all__ = ["ProbTransformedTargetRegressor"]
