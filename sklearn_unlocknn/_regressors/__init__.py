"""The public estimators with a Gaussian process head."""
