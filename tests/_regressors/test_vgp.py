"""Test VGPRegressor: the battery, references, TFP's distributions, hard data."""

import pickle
import subprocess
import sys

import battery
import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose
from scipy.stats import multivariate_t
from sklearn.gaussian_process import kernels as gpk

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp import fitting, moving
from sklearn_unlocknn.metrics import interval_coverage

FIXED = (
    gpk.ConstantKernel(1.5, "fixed") * gpk.RBF(1.2, "fixed")
    + gpk.ConstantKernel(0.1, "fixed") * gpk.DotProduct(1.0, "fixed")
    + gpk.WhiteKernel(0.05, "fixed")
)


def quick(**params):
    return VGPRegressor(
        **{"kernel": "rbf", "max_iter": 10, "random_state": 0, **params}
    )


@pytest.mark.parametrize("check", battery.CHECKS)
def test_battery(check):
    battery.CHECKS[check](quick())


@pytest.mark.parametrize(
    "check",
    [
        "check_same_seed_same_bits",
        "check_refit_is_a_fresh_fit",
        "check_few_samples",
        "check_constant_target",
        "check_constant_column",
        "check_repeated_samples",
        "check_shapes_follow_the_target",
        "check_zero_weight_leaves_samples_out",
        "check_partial_fit_in_any_split",
        "check_predictions_agree",
    ],
)
@pytest.mark.parametrize(
    "params",
    [
        {"optimize_inducing_points": True, "n_inducing_points": 5, "max_iter": 3},
        {"optimize_inducing_points": True, "n_inducing_points": 5, "max_iter": 2},
        {"inducing_init": "kmeans", "n_inducing_points": 5, "mean": "linear"},
        {"inducing_init": "random", "n_inducing_points": 0.3, "mean": "zero"},
        {"normalize_y": False, "kernel": "matern12_ard + linear"},
    ],
    ids=["moved", "minibatch", "kmeans", "random", "unscaled"],
)
def test_battery_with_other_settings(check, params, request, monkeypatch):
    if "minibatch" in request.node.callspec.id:
        monkeypatch.setattr(moving, "MOVED_BY_BATCH", 0)
    battery.CHECKS[check](quick(**params))


SCRIPT = """
import hashlib
import numpy as np
from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp import moving
moving.MOVED_BY_BATCH = 0
rng = np.random.default_rng(0)
X = rng.normal(size=(150, 3))
y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=150)
for params in ({"inducing_init": "greedy"}, {"optimize_inducing_points": True}):
    model = VGPRegressor("rbf_ard + linear", 30, hyper_subset_size=60, max_iter=5,
                         random_state=7, **params).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    parts = mean, std, model.elbo_curve_, model.sample_y(X[:9], 2, random_state=3)
    print(hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
"""


def test_same_seed_same_bits_in_fresh_processes(one_thread):
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT], env=one_thread, capture_output=True,
            text=True, check=True,
        ).stdout
        for _ in range(2)
    ]  # fmt: skip
    assert len(outputs[0].split()) == 2
    assert outputs[0] == outputs[1]


# --- against the reference ------------------------------------------------------


def standardised(array):
    return (array - array.mean(axis=0)) / array.std(axis=0)


@pytest.mark.parametrize("mean", ["zero", "constant", "linear"])
@pytest.mark.parametrize("n_points", [5, 40])
@pytest.mark.parametrize("target", [battery.y, battery.Y], ids=["1", "2"])
def test_predictions_are_the_references_in_target_units(mean, n_points, target):
    X, X_new = 3.0 * battery.X + 8.0, 3.0 * battery.X_NEW + 8.0
    X[32:] = X[:8]  # repeated samples with other targets
    model = VGPRegressor(FIXED, n_points, mean=mean).fit(X, target)
    two = target.reshape(40, -1)
    columns = {"zero": 0, "constant": 1, "linear": 5}[mean]
    at, new = standardised(X), (X_new - X.mean(axis=0)) / X.std(axis=0)
    H = np.column_stack([np.ones(40), at])[:, :columns]
    H_new = np.column_stack([np.ones(7), new])[:, :columns]
    if n_points == 40:
        bound, mean, covariance, _ = reference.exact(
            FIXED, at, standardised(two), H, new, H_new
        )
    else:
        Z = (model.inducing_points_ - X.mean(axis=0)) / X.std(axis=0)
        posterior = reference.Sparse(FIXED, at, standardised(two), H, Z)
        bound = posterior.bound
        mean, covariance = posterior.predict(new, H_new)
    scale = two.std(axis=0)
    want_std = np.sqrt(np.diag(covariance) + 0.05)[:, None] * scale
    got_mean, got_std = model.predict(X_new, return_std=True)
    close = {"rtol": 1e-6, "atol": 1e-6}
    assert_allclose(got_mean.reshape(7, -1), mean * scale + two.mean(axis=0), **close)
    assert_allclose(got_std.reshape(7, -1), want_std, **close)
    assert_allclose(model.elbo_, bound - 40 * np.log(scale).sum(), **close)
    assert_allclose(model.noise_std_, np.squeeze(np.sqrt(0.05) * scale))


def test_unscaled_targets_keep_their_units():
    model = VGPRegressor(FIXED, normalize_y=False, mean="zero")
    model.fit(battery.X, 100 + battery.y)
    lml, mean, _, _ = reference.exact(
        FIXED, standardised(battery.X), 100 + battery.y[:, None], np.empty((40, 0)),
        (battery.X_NEW - battery.X.mean(axis=0)) / battery.X.std(axis=0),
        np.empty((7, 0)),
    )  # fmt: skip
    assert_allclose(model.predict(battery.X_NEW), mean[:, 0], rtol=1e-6)
    assert_allclose(model.elbo_, lml, rtol=1e-6)
    assert_allclose(model.noise_std_, np.sqrt(0.05))


@pytest.mark.parametrize("n_points", [6, 40])
def test_partial_fit_is_fit_of_all_samples(n_points):
    # Mirrored samples share mean and scale with the others: one standardisation.
    X, y = battery.X, battery.y
    mirrored, mirrored_y = 2 * X.mean(axis=0) - X, 2 * y.mean() - y
    both, both_y = np.vstack([X, mirrored]), np.hstack([y, mirrored_y])
    points = X[:n_points]
    params = {"kernel": FIXED, "inducing_init": points}
    whole = VGPRegressor(**params).fit(both, both_y)
    updated = VGPRegressor(**params).fit(X, y)
    for part in np.array_split(np.arange(40), 3):
        updated.partial_fit(mirrored[part], mirrored_y[part])
    close = {"rtol": 1e-7, "atol": 1e-7}
    predictions = [battery.predictions(model) for model in (updated, whole)]
    assert_allclose(*predictions, **close)
    assert_allclose(updated.elbo_, whole.elbo_, **close)


@pytest.mark.parametrize("n_points", ["auto", 55, 1.0])
def test_exact_gp_stays_exact_as_samples_are_added(n_points):
    """Up to the number of points; of a share of 1 up to all."""
    X, y = np.vstack([battery.X, battery.X[:5]]), np.append(battery.y, battery.y[5:10])
    model = VGPRegressor(FIXED, n_points).fit(X, y)
    n_fit = 15 if n_points == 55 else 45
    X_new, y_new = X[:n_fit] + 0.5, -y[:n_fit]
    for part in np.array_split(np.arange(n_fit), 4):
        model.partial_fit(X_new[part], y_new[part])
    both, both_y = np.vstack([X, X_new]), np.append(y, y_new)
    scaling, t = model._head.scaling, (both_y - y.mean()) / y.std()
    lml, mean, covariance, _ = reference.exact(
        FIXED, scaling.features(both), t[:, None], np.ones((len(t), 1)),
        scaling.features(battery.X_NEW), np.ones((7, 1)),
    )  # fmt: skip
    got, std = model.predict(battery.X_NEW, return_std=True)
    assert_allclose(got, y.mean() + y.std() * mean[:, 0], rtol=1e-6, atol=1e-8)
    noise = model.noise_std_**2
    want = np.sqrt(y.var() * np.diag(covariance) + noise)
    assert_allclose(std, want, rtol=1e-6)
    assert_allclose(model.elbo_, lml - len(t) * np.log(y.std()), rtol=1e-7)
    assert model.n_inducing_points_ == len(np.unique(both, axis=0))
    if n_points == 55:
        model.partial_fit(X + 1.0, y)
        assert model.n_inducing_points_ == 55


# --- against TFP ----------------------------------------------------------------


def test_tfp_distribution_of_outputs_in_unlike_units():
    # A common jitter, relative to the largest output, would exceed the smallest.
    target = np.column_stack([1e-6 * battery.y, 1e6 + 1e3 * battery.Y[:, 1]])
    model = quick(n_inducing_points=6, kernel="rbf").fit(battery.X, target)
    dist = model.predict_dist(battery.X_NEW)
    mean, std = model.predict(battery.X_NEW, return_std=True)
    assert np.all(np.abs(dist.mean().numpy().T - mean) < 1e-8 * std)
    assert_allclose(dist.stddev().numpy().T, std, rtol=1e-8)


@pytest.mark.parametrize("mean", ["zero", "constant", "linear"])
@pytest.mark.parametrize("n_points", [6, 40])
@pytest.mark.parametrize("target", [battery.y, battery.Y], ids=["1", "2"])
def test_tfp_distribution_predicts_the_same(mean, n_points, target):
    model = quick(mean=mean, n_inducing_points=n_points, kernel="rbf + linear")
    model.fit(2.0 * battery.X + 1.0, target)
    new = 2.0 * battery.X_NEW + 1.0
    dist = model.predict_dist(new)
    got_mean, got_std = model.predict(new, return_std=True)
    _, covariance = model.predict(new, return_cov=True)
    assert dist.event_shape == (7,)
    assert dist.batch_shape == target.shape[1:]
    # An exact model becomes a sparse one at its samples, with a jitter of 1e-10.
    close = 1e-5 if n_points == 40 else 1e-9
    close = {"rtol": close, "atol": close}
    assert_allclose(dist.mean().numpy().T, got_mean, **close)
    assert_allclose(dist.stddev().numpy().T, got_std, **close)
    assert_allclose(
        np.moveaxis(dist.covariance().numpy(), 0, -1) if target.ndim == 2
        else dist.covariance().numpy(), covariance, **close,
    )  # fmt: skip
    loc, scale = got_mean.reshape(7, -1)[:, 0], 1.0 - 2.0 / model.dof_
    own = multivariate_t(loc, scale * covariance.reshape(7, 7, -1)[:, :, 0], model.dof_)
    density = np.ravel(dist.log_prob(got_mean.T))[0]
    assert_allclose(density, own.logpdf(loc), rtol=1e-4)


@pytest.mark.parametrize("k", [None, 1, 3])
def test_joint_distribution_has_the_moments_of_each_output(k):
    from sklearn_unlocknn._gp.tfp_distribution import joint_distribution

    rng = np.random.default_rng(0)
    tail = () if k is None else (k,)
    mean, roots = rng.normal(size=(4, *tail)), rng.normal(size=(4, 9, *tail))
    covariance = np.einsum("ij...,kj...->ik...", roots, roots)
    normal = joint_distribution(mean, covariance, np.inf)
    assert normal.batch_shape == tail
    assert_allclose(normal.mean().numpy().T, mean)
    assert_allclose(normal.covariance().numpy().T, np.swapaxes(covariance, 0, 1))


def test_tfp_finds_the_same_posterior():
    import tensorflow_probability as tfp

    X, y = standardised(battery.X), standardised(battery.y)
    kernel = gpk.ConstantKernel(1.5) * gpk.RBF(1.2) + gpk.WhiteKernel(0.05)
    model = VGPRegressor(
        kernel, inducing_init=X[:6], max_iter=0, mean="zero", normalize_y=False
    ).fit(X, y)
    theirs = tfp.math.psd_kernels.ExponentiatedQuadratic(
        amplitude=np.sqrt(1.5), length_scale=np.float64(1.2)
    )
    Z = np.unique(X[:6], axis=0)
    VGP = tfp.distributions.VariationalGaussianProcess
    loc, scale = VGP.optimal_variational_posterior(
        kernel=theirs, inducing_index_points=Z, observation_index_points=X,
        observations=y, observation_noise_variance=np.float64(0.05), jitter=1.5e-10,
    )  # fmt: skip
    posterior = model._head.posterior
    order = np.lexsort(posterior.Z.T[::-1])
    assert_allclose(posterior.Z[order], Z, atol=1e-12)
    Kuu = theirs.matrix(posterior.Z, posterior.Z).numpy()
    # TFP inverts Kuu + Kuf Kfu / s2 without whitening: condition 1e4.
    assert_allclose((Kuu @ posterior.alpha)[order, 0], loc, rtol=1e-6, atol=1e-7)
    factor = np.linalg.solve(np.tril(posterior.Lb), np.tril(posterior.Lz).T)
    covariance = (factor.T @ factor)[np.ix_(order, order)]
    # TFP returns the transpose of the factor, and expects a lower triangular one.
    scale = np.linalg.cholesky(np.transpose(scale) @ scale)
    assert_allclose(covariance, scale @ scale.T, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("mean", ["zero", "constant", "linear"])
def test_tfp_distribution_has_the_same_bound(mean):
    model = VGPRegressor(FIXED, 6, mean=mean).fit(battery.X, battery.y)
    dist = model.predict_dist(battery.X)
    loss = float(dist.variational_loss(observations=battery.y))
    # The loss uses the predictive variance, noise included, in place of the latent one:
    # it is noise / (2 noise) larger for each sample.
    assert_allclose(0.5 * 40 - loss, model.elbo_, rtol=1e-6)


def test_tfp_distribution_has_the_same_divergence_for_several_outputs():
    model = VGPRegressor(FIXED, 6).fit(battery.X, battery.Y)
    divergence = model.predict_dist(battery.X).surrogate_posterior_kl_divergence_prior()
    X, Y = standardised(battery.X), standardised(battery.Y)
    Z = (model.inducing_points_ - battery.X.mean(axis=0)) / battery.X.std(axis=0)
    posterior = reference.Sparse(FIXED, X, Y, np.ones((40, 1)), Z)
    want = [
        reference.kl_divergence(mean, posterior.q_cov, reference.latent(FIXED, Z))
        for mean in posterior.q_mean.T
    ]
    assert_allclose(divergence, want, rtol=1e-6)


# --- hard data ------------------------------------------------------------------


def wine(n=500, seed=0):
    """Make discrete targets, repeated samples with other targets, columns on grids."""
    rng = np.random.default_rng(seed)
    distinct = np.round(rng.normal(size=(180, 5)), 1)
    rows = rng.integers(0, 180, size=n)
    latent = distinct[:, 0] + np.sin(distinct[:, 1])
    y = np.round(5.5 + 0.7 * latent[rows] + 0.5 * rng.normal(size=n))
    return distinct[rows], np.clip(y, 3.0, 8.0)


@pytest.mark.parametrize("n_points", [40, 1.0])
def test_discrete_targets_are_covered(n_points):
    X, y = wine(900)
    model = VGPRegressor(n_inducing_points=n_points, random_state=0)
    model.fit(X[:500], y[:500])
    mean, std = model.predict(X[500:], return_std=True)
    assert np.all(np.isfinite(mean))
    # Noise of .5, and .29 of rounding
    assert 0.4 < model.noise_std_ < 0.8
    for level in (0.68, 0.95):
        # Five standard errors of 400 samples are .1; a grid target adds steps.
        assert abs(interval_coverage(y[500:], mean, std, coverage=level) - level) < 0.1
    assert np.mean((y[500:] - mean) ** 2) < 0.7 * y.var()


def test_noise_free_data_is_interpolated():
    X = np.linspace(0, 1, 30)[:, None]
    y = np.sin(6 * X[:, 0])
    model = VGPRegressor("rbf", random_state=0).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    assert_allclose(mean, y, atol=0.01)
    assert np.all(std < 0.05)


# --- pickles --------------------------------------------------------------------


def test_pickle_of_an_exact_model_leaves_the_factor_out():
    rng = np.random.default_rng(0)
    n, d = 1500, 8
    X = rng.normal(size=(n, d))
    y = np.sin(X[:, 0]) + 0.5 * X[:, 1] + 0.1 * rng.normal(size=n)
    model = VGPRegressor(random_state=0, max_iter=2).fit(X, y)
    assert model.n_inducing_points_ == n
    content = pickle.dumps(model)
    assert len(content) < 3 * n * d * 8 + 2**20
    got = pickle.loads(content).predict(X[:50] + 0.1, return_std=True)
    want = model.predict(X[:50] + 0.1, return_std=True)
    assert_allclose(got, want, rtol=1e-10)


@pytest.mark.parametrize("n_points", [9, 4000])
def test_partial_fit_after_a_pickle_is_partial_fit(n_points):
    X, y = battery.X, battery.y
    model = quick(n_inducing_points=n_points).fit(X[:20], y[:20])
    for part in (slice(20, 25), slice(25, 40)):
        loaded = pickle.loads(pickle.dumps(model)).partial_fit(X[part], y[part])
        model.partial_fit(X[part], y[part])
        want = battery.predictions(model)
        assert_allclose(battery.predictions(loaded), want, rtol=1e-9, atol=1e-12)
        assert loaded.kernel_ == model.kernel_
        model = loaded


# --- hyperparameters ------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "size", "chosen"),
    [(900, "auto", 800), (4100, "auto", 820), (10_100, "auto", 2000), (900, 30, 30)],
)
def test_number_of_samples_for_the_hyperparameters(n, size, chosen, monkeypatch):
    counts = []
    real = fitting.hyperparameter_subset

    def spy(*args):
        counts.append(len(rows := real(*args)))
        return rows

    monkeypatch.setattr(fitting, "hyperparameter_subset", spy)
    X = np.linspace(0.0, 1.0, n)[:, None]
    model = VGPRegressor(0.1 * gpk.RBF(0.3), 3, hyper_subset_size=size, max_iter=0)
    model.set_params(random_state=0).fit(X, np.sin(9.0 * X[:, 0]))
    assert counts == [chosen]
