"""Rows that are there twice, target included."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process import kernels as gpk

from sklearn_unlocknn import VGPRegressor

RNG = np.random.default_rng(1)
X, X_NEW = RNG.uniform(-2.0, 2.0, (2, 300, 2))
Y, Y_NEW = (
    np.sin(2 * x[:, 0]) * x[:, 1] + 0.2 * RNG.normal(size=300) for x in (X, X_NEW)
)


def held(model):
    """Return how many of the new targets 90 % intervals hold."""
    low, high = model.predict_interval(X_NEW, 0.9).T
    return np.mean((low <= Y_NEW) & (high >= Y_NEW))


def test_a_sample_twice_is_one_of_weight_two():
    twice = VGPRegressor(random_state=0).fit(np.vstack([X, X]), np.append(Y, Y))
    weighted = VGPRegressor(random_state=0).fit(X, Y, np.full(300, 2.0))
    want = weighted.predict(X_NEW, return_std=True)
    assert_allclose(twice.predict(X_NEW, return_std=True), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_points", ["auto", 60])
def test_bootstrap_keeps_error_bars(n_points):
    rows = np.random.default_rng(0).integers(0, 300, 300)
    model = VGPRegressor(n_inducing_points=n_points, random_state=0)
    assert 0.82 < held(model.fit(X[rows], Y[rows])) < 0.97


def test_joint_distribution_almost_without_noise():
    kernel = gpk.RBF(1.0) + gpk.WhiteKernel(1e-12, "fixed")
    model = VGPRegressor(kernel, likelihood="student_t", random_state=0)
    x = np.linspace(0.0, 5.0, 120)[:, None]
    model.fit(x, np.sin(x[:, 0]))
    again = np.vstack([x[20:50], x[20:50]])
    mean = model.predict(again)
    draws = model.sample_y(again, 5)
    assert_allclose(draws, np.tile(mean[:, None], 5), atol=1e-4)
    assert_allclose(model.predict_dist(again).loc, mean)
