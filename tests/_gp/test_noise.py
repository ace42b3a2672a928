"""Test the noise variance: its scores, its search, the noise that is fitted."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar
from scipy.stats import norm
from sklearn.datasets import load_diabetes
from sklearn.gaussian_process import kernels as gpk
from small_fits import fit, log_likelihood, make_data, standardised

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp import linalg, moving, noise_level, training
from sklearn_unlocknn._gp import posterior as vi
from sklearn_unlocknn._gp.covariance import Covariance
from sklearn_unlocknn._gp.samples import GroupedSamples, Samples
from sklearn_unlocknn.kernels import make_kernel


@pytest.fixture(scope="module")
def data():
    return make_data()


def refit(data, kernel, search):
    """Return the posterior at the noise that is found, and the reported values."""
    X, y = map(standardised, data)
    groups = GroupedSamples.of(Samples(X, y[:, None], np.ones(len(y)), 1))
    kernel = Covariance(kernel, 2)

    def posterior_at(theta):
        return vi.exact_posterior(kernel, theta, groups)

    calls = []
    best = search(posterior_at, posterior_at(kernel.theta), groups, calls)
    return best, calls


def by_values(posterior_at, posterior, groups, calls):
    return noise_level.refit_noise(posterior_at, posterior, lambda *c: calls.append(c))


def by_slopes(posterior_at, posterior, groups, calls):
    return noise_level.refit_noise_by_slopes(
        posterior_at, posterior, lambda *c: calls.append(c),
        lambda posterior: noise_level.likelihood_slopes(posterior, groups),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("start", "search", "close", "most"),
    [
        (1e-3, by_values, 0.4, 12),
        (0.01, by_values, 0.1, 12),
        (0.04, by_values, 0.1, 12),
        (0.1, by_values, 0.4, 12),
        (0.3, by_values, 0.4, 12),
        (1e-3, by_slopes, 0.05, 6),
        (0.01, by_slopes, 0.05, 3),
        (0.04, by_slopes, 0.05, 3),
        (0.1, by_slopes, 0.05, 4),
        (0.3, by_slopes, 0.05, 6),
    ],
)
def test_noise_is_found_from_any_start(data, start, search, close, most):
    """Steps that double leave a wide bracket about a distant optimum, 0.022."""
    latent = gpk.RBF(1.0, "fixed")
    best, calls = refit(data, latent + gpk.WhiteKernel(start, (1e-6, 10.0)), search)

    def loss(log_noise):
        return -log_likelihood(latent + gpk.WhiteKernel(np.exp(log_noise)), data)

    optimum = minimize_scalar(loss, (-5.0, -1.0))
    assert abs(np.log(best.noise) - optimum.x) < close
    assert_allclose(best.elbo, -optimum.fun, atol=close)
    stages, numbers, values = zip(*calls, strict=True)
    assert set(stages) == {"noise on all samples"}
    assert numbers == tuple(range(1, len(calls) + 1))
    assert np.all(np.diff(values) >= 0.0)
    assert values[-1] == best.elbo
    assert len(calls) <= most


def test_parabola_through_the_three_highest_steps_finds_its_vertex(data):
    """Beyond the nearest steps the score falls faster than the parabola."""
    start, vertex = 0.1, 1.2

    def score(posterior):
        distance = np.log(posterior.noise / start) - vertex
        return -(distance**2) if abs(distance) < 1.5 else -(distance**4)

    def search(posterior_at, posterior, groups, calls):
        return noise_level.refit_noise(
            posterior_at, posterior, lambda *c: calls.append(c), score
        )

    best, _ = refit(data, gpk.RBF(1.0) + gpk.WhiteKernel(start, (1e-6, 1e6)), search)
    assert_allclose(np.log(best.noise / start), vertex, atol=1e-9)


@pytest.mark.parametrize("times", [2, 4])
def test_noise_of_exact_repetitions_falls_to_its_bound_in_few_steps(data, times):
    X, function = data[0], np.sin(standardised(data[0])[:, 0])
    several = np.tile(X, (times, 1)), np.tile(function, times)
    kernel = gpk.RBF(1.0, "fixed") + gpk.WhiteKernel(0.1, (1e-9, 10.0))
    best, calls = refit(several, kernel, by_slopes)
    assert_allclose(best.noise, 1e-9)
    assert len(calls) <= 3


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("few", [256, 0])
def test_slopes_are_those_of_the_likelihood(n_outputs, known, few, monkeypatch):
    """Compare with finite differences: with unit vectors, and with random signs."""
    monkeypatch.setattr(noise_level, "_FEW", few)
    monkeypatch.setattr(noise_level, "_PROBES", 2000)
    rng = np.random.default_rng(5)
    X = np.repeat(rng.normal(size=(30, 2)), 2, axis=0)  # two observations of each
    T = np.sin(X[:, :1]) + rng.normal(scale=0.3, size=(60, n_outputs))
    samples = Samples(X, T, rng.uniform(0.5, 2.0, size=60), n_outputs)
    if known:
        samples.known = rng.uniform(0.01, 0.3, size=60)
    groups = GroupedSamples.of(samples)
    white = gpk.WhiteKernel(0.1) + gpk.WhiteKernel(0.02, "fixed")
    kernel = Covariance(gpk.RBF(1.0) + white, 2)

    def value(shift):
        theta = kernel.theta.copy()
        theta[kernel.noise_index] += shift[0]
        return vi.exact_posterior(kernel, theta, groups).elbo

    def slope(shift):
        return reference.finite_differences(value, shift)[0]

    posterior = vi.exact_posterior(kernel, kernel.theta, groups)
    elbo, *got = noise_level.likelihood_slopes(posterior, groups)
    assert elbo == posterior.elbo
    want = slope(np.zeros(1)), reference.finite_differences(slope, np.zeros(1), 1e-3)[0]
    assert_allclose(got[0], want[0], rtol=1e-6 if few else 0.1, atol=0.0 if few else 1)
    # that of the known variances is approximate: it takes the noise of a group for s2
    assert_allclose(got[1], want[1], rtol=0.5 if known else 1e-3 if few else 0.1)


@pytest.mark.parametrize("search", [by_values, by_slopes])
def test_noise_stays_within_its_bounds(data, search):
    latent = gpk.RBF(1.0, "fixed")
    for start, bounds, end in ((0.3, (0.2, 1.0), 0.2), (1e-3, (1e-4, 5e-3), 5e-3)):
        best, _ = refit(data, latent + gpk.WhiteKernel(start, bounds), search)
        assert_allclose(best.noise, end)
    # Two noises keep their ratio: the first bound ends the search.
    two = gpk.WhiteKernel(0.4, (0.2, 1.0)) + gpk.WhiteKernel(0.1, (1e-5, 1.0))
    best, _ = refit(data, latent + two, search)
    assert_allclose(best.noise, 0.25)
    fixed, calls = refit(data, latent + gpk.WhiteKernel(0.3, "fixed"), search)
    assert fixed.noise == 0.3
    assert not calls


def test_first_of_several_noises_is_the_most_likely(data):
    latent = gpk.RBF(1.0)
    likelihoods = [
        log_likelihood(latent + gpk.WhiteKernel(level), data)
        for level in training.NOISE_STARTS
    ]
    model = fit(data, kernel=latent, max_iter=1)
    assert_allclose(model.elbo_curve_[0], max(likelihoods), rtol=1e-9)
    kept = fit(data, kernel=latent, max_iter=0)
    assert_allclose(kept._head.posterior.noise, 0.01)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_left_out_score_is_the_density_of_each_sample_given_the_others(n_outputs):
    rng = np.random.default_rng(4)
    X, T = rng.normal(size=(25, 2)), rng.normal(size=(25, n_outputs))
    rows = Samples(X, T, rng.uniform(0.5, 2.0, size=25), n_outputs)
    kernel = Covariance(gpk.RBF(0.8) + gpk.WhiteKernel(0.2), 2)
    theta, Z = kernel.theta, X[:6] + 0.1
    posterior = vi.optimal_posterior(kernel, theta, Z, rows)(theta)
    judge = noise_level.left_out_slopes(posterior, rows)
    score, slope, curvature = judge(posterior)

    want = 0.0
    for i in range(25):
        others = rows.take(np.delete(np.arange(25), i))
        left = vi.optimal_posterior(kernel, theta, Z, others)(theta)
        mean, variance = left.mean_and_variance(X[i : i + 1], np.empty((1, 0)))
        density = norm.logpdf(T[i], mean[0], np.sqrt(variance[0] + 0.2)).sum()
        want += rows.weights[i] * density
    # jitter 1e-10 under a condition near 1e2
    assert_allclose(score, want, rtol=1e-7)
    posterior_at = vi.optimal_posterior(kernel, theta, Z, rows)

    def shifted(shift):
        moved = theta.copy()
        moved[kernel.noise_index] += shift[0]
        return judge(posterior_at(moved))[0]

    (want,) = reference.finite_differences(shifted, np.zeros(1))
    assert_allclose(slope, want, rtol=1e-6)
    assert curvature < 0.0


@pytest.mark.parametrize("n_points", [12, 80])
def test_noise_maximises_its_score_on_all_samples(data, n_points):
    """Maximise the likelihood of an exact GP, the left-out density of a sparse one."""
    model = fit(data, hyper_subset_size=20, n_inducing_points=n_points)
    posterior = model._head.posterior
    theta, kernel = posterior.theta, posterior.kernel
    X, y = map(standardised, data)
    samples = Samples(X, y[:, None], np.ones(80), 1)
    if n_points == 80:
        groups = GroupedSamples.of(samples)

        def score(theta):
            return vi.exact_posterior(kernel, theta, groups).elbo
    else:
        posterior_at = vi.optimal_posterior(kernel, theta, posterior.Z, samples)
        judge = noise_level.left_out_slopes(posterior_at(theta), samples)

        def score(theta):
            return judge(posterior_at(theta))[0]

    for step in (-0.3, 0.3):
        moved = theta.copy()
        moved[kernel.noise_index] += step
        assert score(moved) < score(theta)
    given = fit(data, max_iter=0, n_inducing_points=n_points)
    assert_allclose(given._head.posterior.noise, 0.1)


@pytest.mark.parametrize("m", [10, 20, 60])
def test_few_points_on_noiseless_data_are_not_overconfident(m):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (1200, 2))
    y = np.sin(3 * X[:, 0]) * np.cos(2 * X[:, 1])
    model = VGPRegressor(n_inducing_points=m, random_state=0).fit(X[:400], y[:400])
    mean, std = model.predict(X[400:], return_std=True)
    assert np.std((y[400:] - mean) / std) < 1.5


@pytest.mark.parametrize("moved", [False, True])
def test_large_jitter_warns_once(data, monkeypatch, moved):
    cholesky = linalg.cholesky

    def of_points(K, jitters=(1e-6,), **diagonal):
        return cholesky(K, jitters, **diagonal)

    for module in (vi, moving):
        monkeypatch.setattr(module, "cholesky", of_points)
    with pytest.warns(RuntimeWarning, match="fewer inducing points") as caught:
        model = fit(
            data, n_inducing_points=5, optimize_inducing_points=moved, max_iter=3
        )
    assert len(caught) == 1
    variance = model.kernel_.k1.k1.constant_value
    assert_allclose(model._head.posterior.jitter, 1e-6 * variance)


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
def test_noise_is_not_explained_by_a_short_length_scale(kernel):
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:200], y[:200]
    model = VGPRegressor(kernel, random_state=0).fit(X, y)
    given = make_kernel(kernel, 10) + gpk.WhiteKernel(0.5)
    by_hand = VGPRegressor(given, random_state=0).fit(X, y)
    assert model.elbo_ > by_hand.elbo_ - 0.01
    assert model.noise_std_ > 0.5 * y.std()


@pytest.mark.parametrize("n_points", [5, 1.0])
def test_a_noise_of_zero_is_refused(n_points):
    kernel = gpk.RBF() + gpk.WhiteKernel(0.0, "fixed")
    with pytest.raises(ValueError, match="with a noise of 0, expected some noise"):
        VGPRegressor(kernel, n_points, max_iter=0).fit(*make_data())
