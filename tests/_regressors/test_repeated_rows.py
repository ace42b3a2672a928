"""Rows that are there twice, target included."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process import kernels as gpk

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp import cost

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
    """Few iterations: on the way to a flat optimum rounding errors grow."""
    twice, weighted = (VGPRegressor(max_iter=4, random_state=0) for _ in range(2))
    twice.fit(np.vstack([X, X]), np.append(Y, Y))
    weighted.fit(X, Y, np.full(300, 2.0))
    want = weighted.predict(X_NEW, return_std=True)
    assert_allclose(twice.predict(X_NEW, return_std=True), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_points", ["auto", 60])
def test_bootstrap_keeps_error_bars(n_points):
    rows = np.random.default_rng(0).integers(0, 300, 300)
    model = VGPRegressor(n_inducing_points=n_points, random_state=0)
    assert 0.82 < held(model.fit(X[rows], Y[rows])) < 0.97


def test_models_of_nearest_samples_keep_error_bars(monkeypatch):
    """Rows twice have a copy among the nearest."""
    monkeypatch.setattr(cost, "POINTS", 60)
    monkeypatch.setattr(cost, "exact_pays", lambda *_: False)
    rng = np.random.default_rng(0)
    x = rng.uniform(-2.0, 2.0, (600, 2))
    y = np.sin(3 * x[:, 0]) * x[:, 1] + 0.1 * rng.normal(size=600)
    model = VGPRegressor(random_state=0)
    model.fit(np.vstack([x[:300], x[:300]]), np.append(y[:300], y[:300]))
    assert model.n_neighbors_ == 64
    low, high = model.predict_interval(x[300:], 0.9).T
    assert 0.82 < np.mean((low <= y[300:]) & (high >= y[300:])) < 0.97
    assert len(model._head.local.X) == 300
    assert len(model.partial_fit(x[:310], y[:310])._head.local.X) == 310


def test_added_rows_that_repeat_others():
    """At the limit of an exact GP, and beyond one that has become smaller."""
    model = VGPRegressor("rbf", 300, random_state=0).fit(X, Y)
    before = model.predict(X_NEW)
    model.partial_fit(X[:50], Y[:50])
    assert model.n_inducing_points_ == 300
    model.set_params(n_inducing_points=20).partial_fit(X[:50], Y[:50])
    assert model.n_inducing_points_ == 300
    assert_allclose(model.predict(X_NEW), before, atol=0.2)
    rows = np.arange(1200) % 20
    model.set_params(n_inducing_points="auto").fit(X[rows], Y[rows])
    model.partial_fit(X[20:30], Y[20:30])
    nearest = model.nearest_training(X[:30], 1)
    assert_allclose(nearest["distance"], 0.0, atol=1e-4)  # roots of rounding errors
    assert_allclose(nearest["target"], Y[:30])


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
