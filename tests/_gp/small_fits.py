"""Make a small data set, and fit models to it until they converge."""

import numpy as np
import reference
from sklearn.gaussian_process import kernels as gpk

from sklearn_unlocknn import VGPRegressor

KERNEL = gpk.ConstantKernel(1.2) * gpk.RBF(1.0) + gpk.WhiteKernel(0.1)


def make_data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2)) * [1.0, 3.0] + [0.0, 5.0]
    y = 10.0 * np.sin(X[:, 0]) + X[:, 1] + rng.normal(size=80)
    return X, y


def standardised(array):
    return (array - array.mean(axis=0)) / array.std(axis=0)


def log_likelihood(kernel, data):
    """Return the exact log marginal likelihood of standardised data."""
    X, y = map(standardised, data)
    return reference.exact(kernel, X, y[:, None], np.empty((len(y), 0)))[0]


def fit(data, **params):
    settings = {"kernel": KERNEL, "mean": "zero", "random_state": 0, "max_iter": 200}
    return VGPRegressor(**{**settings, **params}).fit(*data)
