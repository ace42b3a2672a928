"""Data with a known noise, and a model fitted to a part of it."""

import matplotlib
import numpy as np
import pytest

from sklearn_unlocknn import VGPRegressor

matplotlib.use("agg")


def make_data(n, seed=0):
    """Make samples of two features, and a target with noise of std .3."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, size=(n, 2))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] + 0.3 * rng.normal(size=n) + 5.0


@pytest.fixture(scope="session")
def training():
    """Return training data."""
    return make_data(120)


@pytest.fixture(scope="session")
def held_out():
    """Return data that no model was fitted to."""
    return make_data(250, seed=1)


@pytest.fixture(scope="session")
def model(training):
    """Return a fitted model."""
    return VGPRegressor("rbf", max_iter=10, random_state=0).fit(*training)
