"""Test the posterior of nearest samples, and models that predict by it."""

import pickle

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.gaussian_process import kernels as gpk

from sklearn_unlocknn import VGPRegressor, load_model, save_model
from sklearn_unlocknn._gp import cost, neighbours
from sklearn_unlocknn._gp.covariance import Covariance
from sklearn_unlocknn._gp.leave_out import leave_one_out, predict_left_out
from sklearn_unlocknn._gp.neighbours import LocalPosterior, log_density
from sklearn_unlocknn._gp.samples import Samples
from sklearn_unlocknn.kernels import OnFeatures
from sklearn_unlocknn.model_selection import cross_val_predict_dist

LATENT = gpk.ConstantKernel(1.3) * gpk.Matern([0.7, 1.5], nu=2.5) + gpk.DotProduct(0.4)


def local_posterior(n=30, n_outputs=2, noise=0.2, latent=LATENT):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(n, 2)), rng.normal(size=(n, n_outputs))
    H, beta = np.ones((n, 1)), rng.normal(size=(1, n_outputs))
    kernel = Covariance(latent + gpk.WhiteKernel(noise), 2)
    return LocalPosterior(
        kernel, kernel.theta, noise, beta, X, np.hstack([Y, H]), np.ones(n)
    )


def exact(local, rows, X_new, weights=None, latent=LATENT):
    """Return the reference's mean and variance given some samples."""
    Y = local.T[rows, :-1] - local.beta
    X, empty = local.X[rows], np.empty((len(rows), 0))
    kernel = latent + gpk.WhiteKernel(local.noise)
    if weights is not None:
        X, Y = reference.repeat(weights[rows], X, Y)
        empty = np.empty((len(X), 0))
    _, mean, covariance, _ = reference.exact(
        kernel, X, Y, empty, X_new, np.empty((len(X_new), 0))
    )
    return mean + local.beta, np.diag(covariance)


def test_posterior_of_all_samples_is_the_exact_gp():
    local, X = local_posterior(), np.random.default_rng(1).normal(size=(5, 2))
    local.weights = np.random.default_rng(2).integers(1, 4, size=30).astype(float)
    mean, variance = local.mean_and_variance(X, np.ones((5, 1)))
    want = exact(local, np.arange(30), X, local.weights.astype(int))
    assert_allclose(mean, want[0], rtol=1e-9)
    assert_allclose(variance, want[1], rtol=1e-9)
    assert_array_equal(local.mean(X, np.ones((5, 1))), mean)


def test_posterior_is_that_of_the_nearest_by_the_kernel(monkeypatch):
    monkeypatch.setattr(neighbours, "N_NEAREST", 4)
    local, X = local_posterior(), np.random.default_rng(1).normal(size=(6, 2))
    mean, variance = local.mean_and_variance(X, np.ones((6, 1)))
    scale = np.sqrt(local.kernel.metric(local.theta))
    for i in range(6):
        distance = np.linalg.norm((local.X - X[i]) * scale, axis=1)
        want = exact(local, np.argsort(distance)[:4], X[i : i + 1])
        assert_allclose(mean[i], want[0][0], rtol=1e-9)
        assert_allclose(variance[i], want[1][0], rtol=1e-9)


@pytest.mark.parametrize(
    "latent",
    [
        LATENT, gpk.RBF(0.7) * gpk.Matern([0.8, 1.3], nu=1.5), gpk.Matern(nu=0.5),
        gpk.RationalQuadratic(0.7, 1.3) + OnFeatures(gpk.RBF(0.5), [1]),
    ],
)  # fmt: skip
def test_stacks_predict_as_a_loop_over_samples(latent, monkeypatch):
    monkeypatch.setattr(neighbours, "N_NEAREST", 6)
    monkeypatch.setattr(neighbours, "_STACK_BYTES", 3 * 8 * 7**2)  # three samples each
    local = local_posterior(40, latent=latent)
    local.weights = np.random.default_rng(2).integers(1, 4, size=40).astype(float)
    X = np.vstack([np.random.default_rng(1).normal(size=(10, 2)), local.X[:1]])
    mean, variance = local.mean_and_variance(X, np.ones((11, 1)))
    for i, near in enumerate(local._nearest(X, 6)):
        weights = local.weights.astype(int)
        want = exact(local, near, X[i : i + 1], weights, latent)
        assert_allclose(mean[i], want[0][0], rtol=1e-9)
        assert_allclose(variance[i], want[1][0], rtol=1e-9)


def test_covariance_that_rounding_makes_singular(monkeypatch):
    monkeypatch.setattr(neighbours, "N_NEAREST", 6)
    local = local_posterior(40, noise=1e-18, latent=gpk.RBF(0.7))
    local.X[:6], local.T[:6] = local.X[0], local.T[0]
    X = np.vstack([local.X[:1], [[1.5, -1.0]]])
    mean, _ = local.mean_and_variance(X, np.ones((2, 1)))
    assert_allclose(mean[0], local.T[0, :2], rtol=1e-6)
    alone = local.mean(X[1:], np.ones((1, 1)))
    assert_allclose(mean[1:], alone, rtol=1e-9)


@pytest.mark.parametrize(
    "kernel",
    [
        gpk.RBF([0.5, 2.0]), gpk.Matern(0.8, nu=1.5), gpk.Matern([0.5, 2.0], nu=2.5),
        gpk.RationalQuadratic(0.7, 1.3), gpk.DotProduct(0.3), LATENT,
        gpk.ConstantKernel(0.6) * gpk.RBF(0.5) * gpk.Matern(2.0, nu=2.5),
    ],
)  # fmt: skip
def test_metric_is_the_squared_distance_of_near_samples(kernel):
    covariance = Covariance(kernel, 2)
    weights = covariance.metric(covariance.theta)
    x = np.array([[0.3, -0.5]])
    for step in 1e-3 * np.eye(2):
        z = x + step
        want = kernel(x) + kernel(z) - 2.0 * kernel(x, z)
        assert_allclose(weights @ step**2, want.item(), rtol=0.02)


def test_kernels_without_a_metric():
    for kernel in (gpk.ExpSineSquared(), gpk.DotProduct() ** 2):
        covariance = Covariance(kernel, 1)
        assert covariance.metric(covariance.theta) is None


def test_samples_are_left_out_one_by_one_and_in_folds():
    local = local_posterior()
    local.X[7], local.T[9] = local.X[3], local.T[2]  # one repeats another's X
    samples = Samples(local.X, local.T, local.weights, 2)
    residual, variance = leave_one_out(local, samples)
    for i in range(30):
        want = exact(local, np.delete(np.arange(30), i), local.X[i : i + 1])
        assert_allclose(local.T[i, :2] - residual[i], want[0][0], rtol=1e-8)
        assert_allclose(variance[i], want[1][0], rtol=1e-8)
    folds = [np.arange(10), np.arange(10, 17)]
    mean, variance = predict_left_out(local, samples, folds)
    for fold in folds:
        want = exact(local, np.setdiff1d(np.arange(30), fold), local.X[fold])
        assert_allclose(mean[fold], want[0], rtol=1e-8)
        assert_allclose(variance[fold], want[1], rtol=1e-8)
    assert np.isnan(mean[17:]).all()


def test_samples_without_weight_are_predicted_and_predict_none():
    local = local_posterior()
    samples = Samples(local.X, local.T, np.r_[np.zeros(4), np.ones(26)], 2)
    fold = np.arange(2, 10)
    mean, variance = predict_left_out(local, samples, [fold])
    want = exact(local, np.arange(10, 30), local.X[fold])
    assert_allclose(mean[fold], want[0], rtol=1e-8)
    assert_allclose(variance[fold], want[1], rtol=1e-8)


def test_densities_are_those_of_samples_left_out():
    local = local_posterior()
    samples = Samples(local.X, local.T, local.weights, 2).take(np.arange(12))
    density = local.densities(samples)
    for noise in (0.01, 0.2, 1.0):
        local.noise = noise
        residual, variance = leave_one_out(local, samples)
        std = np.sqrt(variance + noise)[:, None]
        want = -0.5 * np.sum(np.log(2 * np.pi * std**2) + (residual / std) ** 2)
        assert_allclose(density(np.log(noise)), want, rtol=1e-9)


def test_heavy_tails_are_those_of_a_student_t_of_the_variance():
    rng = np.random.default_rng(0)
    residual, variance = rng.standard_t(4, (400, 2)), rng.uniform(1.5, 2.5, 400)
    counts = rng.uniform(0.5, 2.0, 400)
    want = [
        counts @ stats.t(dof, scale=np.sqrt(variance * (1 - 2 / dof))[:, None])
        .logpdf(residual).sum(axis=1)
        for dof in (3.0, 4.0, 6.0)
    ]  # fmt: skip
    got = log_density(residual, variance, counts, heavy=True)
    assert_allclose(got, max(want))
    normal = stats.norm(scale=np.sqrt(variance)[:, None]).logpdf(residual)
    got = log_density(residual, variance, counts, heavy=False)
    assert_allclose(got, counts @ normal.sum(axis=1))


# --- models -------------------------------------------------------------------------


def rough(n, seed):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-3.0, 3.0, size=(n, 2))
    return X, np.sin(6.0 * X[:, 0]) + np.cos(5.0 * X[:, 1]) + 0.1 * rng.normal(size=n)


def fitted(monkeypatch, X, y, **params):
    monkeypatch.setattr(cost, "POINTS", 30)
    monkeypatch.setattr(cost, "exact_pays", lambda n, n_all: False)
    settings = {"kernel": "matern52", "random_state": 0, "hyper_subset_size": 300}
    return VGPRegressor(**settings, **params).fit(X, y)


@pytest.fixture(scope="module")
def model():
    with pytest.MonkeyPatch.context() as patch:
        model = fitted(patch, *rough(1500, 0))
    assert model.n_neighbors_ == 64
    return model


def test_rough_function_is_predicted_from_nearest_samples(model, monkeypatch):
    X, y = rough(300, 1)
    given = fitted(monkeypatch, *rough(1500, 0)).set_params(n_inducing_points=30)
    sparse = given.fit(*rough(1500, 0))
    assert sparse.n_neighbors_ is None
    error, other = model.predict(X) - y, sparse.predict(X) - y
    assert np.std(error) < 0.5 * np.std(other)
    mean, std = model.predict(X, return_std=True)
    assert 0.8 < np.sqrt(np.mean(((mean - y) / std) ** 2)) < 1.25
    assert_allclose(model.noise_std_, 0.1, rtol=0.3)
    inside = np.mean((model.predict_interval(X, 0.9) - y[:, None])[:, 0] < 0)
    assert 0.9 < inside < 1.0
    mean, epistemic, aleatoric = model.predict_components(X)
    assert_allclose(np.hypot(epistemic, aleatoric), std)


def test_smooth_function_keeps_the_inducing_points(monkeypatch):
    X = np.random.default_rng(0).uniform(-3.0, 3.0, size=(1000, 2))
    y = np.sin(X[:, 0]) + 0.1 * np.random.default_rng(1).normal(size=1000)
    assert fitted(monkeypatch, X, y).n_neighbors_ is None


def test_joint_predictions_have_the_same_variances(model):
    X, _ = rough(40, 2)
    mean, std = model.predict(X, return_std=True)
    joint, covariance = model.predict(X, return_cov=True)
    assert_array_equal(joint, mean)
    assert_allclose(np.sqrt(np.diag(covariance)), std, rtol=1e-9)
    assert np.linalg.eigvalsh(covariance).min() > 0.0
    draws = model.sample_y(X, 3000, random_state=0)
    assert_allclose(draws.std(axis=1), std, rtol=0.1)


def test_tfp_distribution_is_that_of_the_predictions(model):
    X, _ = rough(10, 2)
    mean, std = model.predict(X, return_std=True)
    dist = model.predict_dist(X)
    assert_allclose(dist.mean().numpy(), mean, rtol=1e-6)
    assert_allclose(dist.stddev().numpy(), std, rtol=1e-6)


def test_pickle_and_model_file_predict_the_same(model, tmp_path):
    X, _ = rough(10, 2)
    want = model.predict(X, return_std=True)
    save_model(model, tmp_path / "model.unlocknn")
    loaded = load_model(tmp_path / "model.unlocknn")
    for other in (pickle.loads(pickle.dumps(model)), loaded):
        assert_array_equal(other.predict(X, return_std=True), want)
        assert other.n_neighbors_ == 64


def test_added_samples_are_among_the_nearest(model, monkeypatch):
    X, y = rough(1500, 0)
    more, new = rough(300, 3), rough(200, 4)
    before = np.std(model.predict(new[0]) - new[1])
    model = pickle.loads(pickle.dumps(model)).partial_fit(*more)
    assert len(model._head.local.X) == 1800
    assert np.std(model.predict(new[0]) - new[1]) < 1.02 * before
    near = model.predict(more[0][:1], return_std=True)[1]
    alone = fitted(monkeypatch, X, y).predict(more[0][:1], return_std=True)[1]
    assert near < alone


def test_folds_and_domain(model, monkeypatch):
    X, y = rough(1500, 0)
    fitted(monkeypatch, X[:100], y[:100])  # as few points for the folds
    out = cross_val_predict_dist(model, X, y, cv=3, method="shared_hyperparameters")
    assert 0.9 < np.sqrt(np.mean(((out["mean"] - y) / out["std"]) ** 2)) < 1.2
    assert np.std(out["mean"] - y) < 0.2
    score, rank = model.domain_score([[0.0, 0.0], [9.0, 9.0]], return_rank=True)
    assert score[0] > 0.9
    assert score[1] < model.domain_score(X).min()
    # that of a new observation's variance, as the errors of the samples have theirs
    _, std = model.predict([[9.0, 9.0]], return_std=True)
    assert_allclose(score[1], 1.0 / (1.0 + std[0] ** 2 / np.var(y)), atol=0.02)
    assert rank[1] < 0.05
    table = model.nearest_training(X[:2], n_neighbors=3)
    assert np.isnan(table["weight"]).all()
    assert np.isfinite(table["distance"]).all()


def test_known_noise_and_large_data_keep_the_inducing_points(monkeypatch):
    X, y = rough(1500, 0)
    model = fitted(monkeypatch, X, y)
    assert model.fit(X, y, y_std=np.full(1500, 0.05)).n_neighbors_ is None
    monkeypatch.setattr(neighbours, "_MOST_BYTES", 1000)
    assert model.fit(X, y).n_neighbors_ is None


def test_prior_mean_is_that_of_least_squares(model):
    local = model._head.local
    want = np.average(local.T[:, 0], weights=local.weights)
    assert_allclose(local.beta, [[want]], atol=1e-12)
