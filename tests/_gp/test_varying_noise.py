"""Test the noise that varies with x: its likelihood, its mode, what it follows."""

import dataclasses

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose
from scipy import integrate, optimize, stats
from sklearn.gaussian_process import kernels as gpk

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp.covariance import Covariance
from sklearn_unlocknn._gp.errors import LeftOut
from sklearn_unlocknn._gp.likelihood import GAUSSIAN
from sklearn_unlocknn._gp.noise import _LogScale, fit_noise
from sklearn_unlocknn._gp.samples import Samples


def test_noise_follows_that_of_the_residuals():
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (1500, 1))
    truth = np.exp(1.5 * np.sin(2 * X[:, 0]))
    residual = np.sqrt(0.2 * truth + 0.05)[:, None] * rng.normal(size=(1500, 1))
    kernel = Covariance(1.0 * gpk.RBF(1.0) + gpk.WhiteKernel(0.2), 1)
    counts = np.ones(1500)
    given = LeftOut(
        None, Samples(X, residual, counts, 1), np.arange(1), 0.0 * residual, residual,
        np.full(1500, 0.05), counts,
    )  # fmt: skip
    noise, left_out = fit_noise(
        kernel, kernel.theta, given, GAUSSIAN, np.random.RandomState(0)
    )
    grid = np.linspace(-1.8, 1.8, 50)[:, None]
    want = 1.5 * np.sin(2 * grid[:, 0])
    assert np.abs(np.log(noise.ratio(grid)) - want).max() < 0.6
    assert stats.spearmanr(left_out, truth)[0] > 0.9
    far = noise.ratio(np.array([[1e6], [-1e6]]))
    assert np.all((far >= noise.ratio(X).min()) & (far <= noise.ratio(X).max()))


def test_noise_follows_the_size_of_what_is_measured():
    """Among 400 samples of ten features no distance shows it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1400, 10))
    mean = X @ np.linspace(-1.0, 1.0, 10)
    truth = np.exp(mean)
    residual = np.sqrt(truth) * rng.normal(size=1400)
    kernel = Covariance(1.0 * gpk.RBF(3.0) + gpk.WhiteKernel(1.0), 10)
    samples = Samples(X, (mean + residual)[:, None], np.ones(len(X)), 1)
    given = LeftOut(
        None, samples, np.arange(1), mean[:, None], residual[:, None],
        np.full(len(X), 1e-6), samples.weights,
    )  # fmt: skip
    noise, left_out = fit_noise(
        kernel, kernel.theta, given.take(slice(400)), GAUSSIAN,
        np.random.RandomState(0),
    )  # fmt: skip
    assert noise.level is not None
    assert_allclose(
        noise.level.at_Z,
        mean[:400].std() ** -1 * (noise.Z @ np.linspace(-1.0, 1.0, 10)),
        atol=0.5,
    )
    assert stats.spearmanr(left_out, truth[:400])[0] > 0.9
    assert stats.spearmanr(noise.ratio(X[400:]), truth[400:])[0] > 0.9


def test_noise_of_a_sparse_model_follows_the_error_of_its_points():
    """An exact GP, whose hyperparameters the model has, does not make that error."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(4500, 4))
    y = np.sin(2.0 * X[:, 0] * X[:, 1]) + X[:, 2] + 0.05 * rng.normal(size=4500)
    losses = []
    for noise in ("constant", "auto"):
        model = VGPRegressor("matern52", 100, noise=noise, random_state=0)
        model.fit(X[:1500], y[:1500])
        losses.append(-model.predict_log_density(X[1500:], y[1500:]).mean())
    assert model.noise_ == "varying"
    assert losses[1] < losses[0] - 0.05
    exact = VGPRegressor("matern52", random_state=0).fit(X[:1500], y[:1500])
    assert exact.noise_ == "constant"


FEATURES = np.random.default_rng(4).normal(size=(3, 40))


def log_scale(dof):
    """Return the likelihood of log scales g, the residuals and some g."""
    rng = np.random.default_rng(3)
    variance, counts = rng.uniform(0.0, 0.2, 40), rng.integers(1, 4, 40).astype(float)
    g = np.array([1.0, -0.8, 0.6]) @ FEATURES + 0.3 * rng.normal(size=40)
    # so small that no step is clipped
    square = rng.uniform(0.3, 1.7, (40, 2)) * (variance + 0.3 * np.exp(g))[:, None]
    return _LogScale(square, variance, 0.3, counts, dof), np.sqrt(square), g


def log_density(residual, total, dof):
    """Return that of residuals with the squared scale ``total``, summed by sample."""
    shape = stats.norm if np.isinf(dof) else stats.t(dof)
    z = residual / np.sqrt(total)[:, None]
    return (shape.logpdf(z) - 0.5 * np.log(total)[:, None]).sum(axis=1)


@pytest.mark.parametrize("dof", [np.inf, 5.0])
def test_likelihood_of_noise_is_that_of_scipy_with_its_slope(dof):
    likelihood, residual, g = log_scale(dof)

    def want(g):
        total = likelihood.variance + 0.3 * np.exp(g)
        return likelihood.counts @ log_density(residual, total, dof)

    change = likelihood.value(g) - likelihood.value(0.0 * g)
    assert_allclose(change, want(g) - want(0.0 * g), rtol=1e-10)
    slope, _ = likelihood.score(g)
    assert_allclose(slope, reference.finite_differences(want, g), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dof", [np.inf, 5.0])
def test_information_about_noise_is_the_variance_of_the_slope(dof):
    g, variance = np.array([-0.7]), np.array([0.2])
    total = (variance + 0.3 * np.exp(g)).item()

    def slope(z):
        one = _LogScale(np.array([[z**2 * total]]), variance, 0.3, np.ones(1), dof)
        return one.score(g)[0].item()

    density = (stats.norm if np.isinf(dof) else stats.t(dof)).pdf
    want, _ = integrate.quad(lambda z: slope(z) ** 2 * density(z), -np.inf, np.inf)
    for k, count in ((1, 1.0), (2, 3.0)):
        square = np.ones((1, k))
        one = _LogScale(square, variance, 0.3, np.array([count]), dof)
        assert_allclose(one.score(g)[1], k * count * want, rtol=1e-6)


@pytest.mark.parametrize("dof", [np.inf, 5.0])
def test_mode_of_the_noise_is_that_of_scipy(dof):
    likelihood, _, g = log_scale(dof)

    def loss(w, likelihood=likelihood):
        return 0.5 * w @ w - likelihood.value(FEATURES.T @ w)

    w = optimize.minimize(loss, np.zeros(3)).x
    found = likelihood.maximise(FEATURES, g)
    assert_allclose(found.weights, w, atol=0.02)
    assert_allclose(found.g, FEATURES.T @ w, atol=0.03)
    _, information = likelihood.score(FEATURES.T @ w)
    H = (FEATURES * information) @ FEATURES.T
    evidence = -loss(w) - 0.5 * np.linalg.slogdet(np.eye(3) + H)[1]
    assert_allclose(found.evidence, evidence, atol=0.02)
    share = np.trace(np.linalg.solve(np.eye(3) + H, H))
    assert_allclose(found.n_parameters, share, rtol=0.01)
    want = []
    for i in range(40):
        counts = likelihood.counts * (np.arange(40) != i)
        others = dataclasses.replace(likelihood, counts=counts)
        want.append(FEATURES[:, i] @ optimize.minimize(loss, w, others).x)
    assert_allclose(found.left_out, want, atol=0.04)
