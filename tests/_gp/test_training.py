"""Test training: hyperparameters, moved inducing points, the noise variance."""

import pickle

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.stats import expon, norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as gpk
from small_fits import KERNEL, fit, log_likelihood, make_data, standardised

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp import encoded, moving, training
from sklearn_unlocknn._gp.covariance import Covariance
from sklearn_unlocknn._gp.samples import GroupedSamples, Samples
from sklearn_unlocknn.metrics import gaussian_nll


@pytest.fixture(scope="module")
def data():
    return make_data()


# --- collapsed ------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.* bound :sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "kernel",
    [
        KERNEL,
        gpk.ConstantKernel(1.0) * gpk.Matern(1.0, nu=1.5) + gpk.WhiteKernel(0.1),
        gpk.RBF(1.0, (0.1, 0.9)) + gpk.WhiteKernel(0.05, "fixed"),
    ],
    ids=["rbf", "matern", "bounded and fixed"],
)
def test_optimum_is_scikit_learns(data, kernel):
    X, y = data
    model = fit(data, kernel=kernel)
    theirs = GaussianProcessRegressor(kernel, normalize_y=True, alpha=0)
    theirs.fit(standardised(X), y)
    # Theirs is the density of the standardised target: 1 / scale per sample apart.
    lml = theirs.log_marginal_likelihood_value_ - len(y) * np.log(y.std())
    # Both L-BFGS runs end where the gradient is small: a second-order error in the lml.
    assert_allclose(model.elbo_, lml, atol=1e-4)
    assert_allclose(model.kernel_.theta, theirs.kernel_.theta, atol=5e-3)
    mean, std = model.predict(X[:10] + 0.1, return_std=True)
    at = (X[:10] + 0.1 - X.mean(axis=0)) / X.std(axis=0)
    want_mean, want_std = theirs.predict(at, return_std=True)
    assert_allclose(mean, want_mean, rtol=1e-3, atol=1e-3 * y.std())
    assert_allclose(std, want_std, rtol=5e-3)


def test_no_iterations_keep_the_kernel(data):
    model = fit(data, max_iter=0)
    assert_array_equal(model.kernel_.theta, KERNEL.theta)
    assert model.n_iter_ == 0
    assert len(model.elbo_curve_) == 1
    lml = log_likelihood(KERNEL, data)
    assert_allclose(model.elbo_curve_, [lml], rtol=1e-9)
    assert_allclose(model.elbo_, lml - 80 * np.log(data[1].std()), rtol=1e-9)


def test_bounds_and_fixed_values_are_honoured(data):
    kernel = gpk.ConstantKernel(1.0, "fixed") * gpk.RBF(1.0, (0.99, 1.01))
    kernel = kernel + gpk.WhiteKernel(0.3, (0.25, 0.3))
    with pytest.warns(ConvergenceWarning, match="lower bound 0.25 of k2__noise_level"):
        fitted = fit(data, kernel=kernel).kernel_
    assert fitted.k1.k1.constant_value == 1.0
    assert 0.99 <= fitted.k1.k2.length_scale <= 1.01
    assert_allclose(fitted.k2.noise_level, 0.25)  # the optimum lies below the bound


@pytest.mark.parametrize("moved", [False, True])
def test_curve_rises(data, moved):
    model = fit(data, max_iter=40, optimize_inducing_points=moved, n_inducing_points=6)
    assert len(model.elbo_curve_) == model.n_iter_ + 1
    assert np.all(np.diff(model.elbo_curve_) >= 0)


def test_moving_inducing_points_raises_the_bound(data):
    fixed = fit(data, n_inducing_points=6)
    moved = fit(data, n_inducing_points=6, optimize_inducing_points=True)
    exact = fit(data)
    assert fixed.elbo_ + 1.0 < moved.elbo_ < exact.elbo_
    assert np.abs(moved.inducing_points_ - fixed.inducing_points_).max() > 0.01
    # The curve is the bound of the standardised target. It ends at the bound of the
    # model, or above where the noise variance is re-estimated.
    shift = len(data[1]) * np.log(data[1].std())
    assert moved.elbo_ <= moved.elbo_curve_[-1] - shift
    quiet = gpk.RBF(1.0) + gpk.WhiteKernel(0.1, "fixed")
    moved = fit(data, kernel=quiet, n_inducing_points=6, optimize_inducing_points=True)
    assert_allclose(moved.elbo_curve_[-1] - shift, moved.elbo_, rtol=1e-9)


@pytest.mark.parametrize("batches", [False, True])
def test_moved_points_start_at_the_noise_of_all_samples(batches, monkeypatch):
    """Fit data on which the exact GP of a subset has no noise, and 30 points much.

    L-BFGS that started at this noise ended at a constant prediction.
    """
    if batches:
        monkeypatch.setattr(moving, "MOVED_BY_BATCH", 0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 4))
    y = np.sin(2.0 * X).sum(axis=1) + 0.01 * rng.normal(size=1500)
    model = VGPRegressor(
        "rbf", 30, optimize_inducing_points=True, hyper_subset_size=300, random_state=0,
        likelihood="gaussian", noise="constant",
    ).fit(X[:1000], y[:1000])  # fmt: skip
    # A model that explains nothing has a bound of -1000 log(2 pi e) / 2.
    assert model.elbo_curve_[0] > -500.0 * np.log(2.0 * np.pi * np.e)
    error = model.predict(X[1000:]) - y[1000:]
    assert np.std(error) < 0.5 * np.std(y[1000:])


def test_noise_after_batches_is_that_of_new_samples(monkeypatch):
    """Fit few points, whose bound has too large a noise variance."""
    monkeypatch.setattr(moving, "MOVED_BY_BATCH", 0)
    X = np.random.default_rng(0).normal(size=(3000, 4))
    y = np.sin(2.0 * X).sum(axis=1) + 0.1 * np.random.default_rng(1).normal(size=3000)
    model = VGPRegressor(
        "matern52", 100, optimize_inducing_points=True, max_iter=5, random_state=0
    ).fit(X[:2000], y[:2000])
    mean, std = model.predict(X[2000:], return_std=True)
    nll = gaussian_nll(y[2000:], mean, std)
    assert nll < gaussian_nll(y[2000:], mean, 1.3 * std)
    assert nll < gaussian_nll(y[2000:], mean, std / 1.3)


def test_more_points_raise_the_bound_up_to_the_marginal_likelihood(data):
    fixed = {"kernel": KERNEL, "max_iter": 0}
    bounds = [fit(data, n_inducing_points=m, **fixed).elbo_ for m in (2, 5, 20, 80)]
    assert np.all(np.diff(bounds) > 0)
    assert fit(data, **fixed).elbo_ == bounds[-1]


def test_hyperparameters_come_from_a_subset_and_the_posterior_from_all_samples(
    data, monkeypatch
):
    training._OPTIMA.clear()  # which another test may have filled
    sizes = []
    original = training.log_marginal_likelihood

    def spy(kernel, theta, groups):
        sizes.append(len(groups.X))
        return original(kernel, theta, groups)

    monkeypatch.setattr(training, "log_marginal_likelihood", spy)
    model = fit(data, hyper_subset_size=20)
    assert set(sizes) == {20}
    lml = log_likelihood(model.kernel_, data) - 80 * np.log(data[1].std())
    assert_allclose(model.elbo_, lml, rtol=1e-8)


def test_candidates_of_a_search_share_hyperparameters(data, monkeypatch):
    training._OPTIMA.clear()
    calls, original = [], training.log_marginal_likelihood

    def counted(*args):
        calls.append(args)
        return original(*args)

    monkeypatch.setattr(training, "log_marginal_likelihood", counted)
    candidates = [
        {"n_inducing_points": m, "mean": mean}
        for mean in ("constant", "zero")
        for m in (10, 20, 4000)
    ]
    fit(data, **candidates[0]).elbo_curve_[:] = np.nan  # which is the caller's own
    shared = [fit(data, **params).predict(data[0]) for params in candidates]
    assert np.isfinite(fit(data, **candidates[0]).elbo_curve_).all()
    n_shared = len(calls)
    calls.clear()
    for params, want in zip(candidates, shared, strict=True):
        training._OPTIMA.clear()
        assert_array_equal(fit(data, **params).predict(data[0]), want)
    assert len(calls) == 3 * n_shared


def test_optima_of_a_kernel_of_the_users_own_are_not_remembered(data):
    """Of such a class there is only the name, which another may have later."""

    def named(power):
        class Own(gpk.RBF):
            def __call__(self, X, Y=None, eval_gradient=False):
                Y = None if Y is None else np.abs(Y) ** power
                return super().__call__(np.abs(X) ** power, Y, eval_gradient)

        return Own(1.0)

    training._OPTIMA.clear()
    one, other = (fit(data, kernel=named(power)).kernel_ for power in (1.0, 3.0))
    assert one.length_scale != other.length_scale
    assert not training._OPTIMA


def test_few_optima_are_remembered(data, monkeypatch):
    monkeypatch.setattr(training, "_MAX_OPTIMA", 2)
    training._OPTIMA.clear()
    fit(data, max_iter=1)
    (first,) = training._OPTIMA
    fit(data, max_iter=2)
    assert len(training._OPTIMA) == 2
    fit(data, max_iter=3)
    assert len(training._OPTIMA) == 2
    assert first not in training._OPTIMA


@pytest.mark.filterwarnings("ignore:The fit ended at the lower bound")
def test_one_observation_does_not_determine_hyperparameters():
    X, y = np.zeros((1, 2)), np.ones(1)
    kernel = gpk.ConstantKernel(1.0) * gpk.RBF(1.0) + gpk.WhiteKernel(0.1)
    for weight, moves in ((None, False), ([0.5], False), ([2.0], True)):
        model = VGPRegressor(kernel, normalize_y=False, mean="zero")
        model.fit(X, y, sample_weight=weight)
        assert (model.n_iter_ > 0) == moves


def test_kernel_that_the_user_changes_later_does_not_change_the_model(data):
    kernel = gpk.RBF(1.0, "fixed") + gpk.WhiteKernel(0.1)
    model = fit(data, kernel=kernel)
    want = model.predict(data[0])
    kernel.k1.length_scale = 5.0
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(data[0]), want)


def test_gain_that_lets_a_fit_go_on_is_per_observation_and_hyperparameter(monkeypatch):
    gains = []

    def maximise(objective, start, bounds, max_iter, report, stage, least_gain):
        gains.append(least_gain)
        return start, np.zeros(1)

    monkeypatch.setattr(training, "maximise", maximise)
    rng = np.random.default_rng(0)
    for n, k, d in ((40, 1, 1), (40, 2, 1), (40, 1, 60)):
        X, T = rng.normal(size=(n, d)), rng.normal(size=(n, k))
        weights = rng.uniform(0.5, 2.0, n)
        groups = GroupedSamples.of(Samples(X, T, weights, k))
        kernel = Covariance(gpk.RBF(np.ones(d)) + gpk.WhiteKernel(0.1), d)
        theta = kernel.theta
        for given, goes_on in ((None, True), (theta, True), (theta, False)):
            training.fit_hyperparameters(
                kernel, groups, 20, print, given, goes_on=goes_on
            )
        want = max(0.0015 * weights.sum() * k, 0.02 * (d + 1))
        assert_allclose(gains[-3:], [want, want, np.inf])


ARD = gpk.ConstantKernel(1.2) * gpk.RBF([0.4, 3.0]) + gpk.WhiteKernel(0.1)
ARD += gpk.Matern([0.5, 0.5], nu=1.5)


def log_prior_density(kernel):
    """Return that of vector length scales, less its value at equal lengths."""
    total = 0.0
    for lengths in (kernel.k1.k1.k2.length_scale, kernel.k2.length_scale):
        logs = np.log(lengths)
        around = norm(logs.mean(), training.ARD_STD)
        total += (around.logpdf(logs) - around.logpdf(logs.mean())).sum()
    return total


def test_log_prior_is_normal_in_log_lengths_of_ard():
    kernel = Covariance(ARD, 2)

    def density(theta):
        return log_prior_density(ARD.clone_with_theta(theta))

    for theta in (kernel.theta, kernel.theta + np.linspace(-1.0, 1.0, 6)):
        value, gradient = training.log_prior(kernel, theta)
        assert_allclose(value, density(theta))
        want = reference.finite_differences(density, theta)
        assert_allclose(gradient, want, rtol=1e-7, atol=1e-9)
    isotropic = Covariance(KERNEL, 2)
    value, gradient = training.log_prior(isotropic, isotropic.theta)
    assert value == 0.0
    assert_array_equal(gradient, 0.0)


def test_log_prior_of_scales_is_that_of_their_distributions():
    template = 1.5 * gpk.RBF([1.0, 2.0]) + 0.3 * gpk.Matern(0.7)
    kernel = Covariance(template + 0.2 * gpk.DotProduct(1.0, "fixed"), 2)
    kernel.scale_priors = True
    noise = norm(*training.NOISE_PRIOR)
    length = norm(0.0, training.LENGTH_PRIOR)
    amplitude = expon(scale=training.AMPLITUDE_PRIOR)

    def density(theta):
        stds = np.exp(theta[[0, 3, 5]] / 2)
        stds[2] *= np.sqrt(3.0)  # mean of 1 + x'x over two standardised features
        logs = theta[1:3]
        total = norm(logs.mean(), training.ARD_STD).logpdf(logs).sum()
        for mean in (logs.mean(), theta[4]):
            total += length.logpdf(mean)
        for std in stds:  # that of ln(std)
            total += amplitude.logpdf(std) + np.log(std)
        return total + noise.logpdf(theta[6])

    theta = kernel.theta
    for other in (theta + 0.4, theta + np.linspace(-1.0, 1.0, 7)):
        value, gradient = training.log_prior(kernel, other)
        less, _ = training.log_prior(kernel, theta)
        assert_allclose(value - less, density(other) - density(theta))
        want = reference.finite_differences(density, other)
        assert_allclose(gradient, want, rtol=1e-6, atol=1e-8)


def test_prior_expects_less_noise_than_the_target_varies_but_not_none():
    noise = norm(*training.NOISE_PRIOR)
    assert noise.sf(np.log(1.0)) < 0.05
    assert noise.cdf(np.log(0.01)) > 0.05


def test_objective_is_the_likelihood_with_the_prior(data):
    start = log_likelihood(ARD, data) + log_prior_density(ARD)
    model = fit(data, kernel=ARD, max_iter=0)
    assert_allclose(model.elbo_curve_, [start], rtol=1e-9)


@pytest.mark.parametrize("batches", [False, True])
def test_objective_of_moved_points_is_the_bound_with_the_prior(
    data, batches, monkeypatch
):
    if batches:
        monkeypatch.setattr(moving, "MOVED_BY_BATCH", 0)
    model = fit(
        data, kernel=ARD, max_iter=1, inducing_init=data[0][:6],
        optimize_inducing_points=True,
    )  # fmt: skip
    # It starts where the fit to the subset ended, at the noise with the highest bound.
    kernel = Covariance(ARD, 2)
    X, y = map(standardised, data)
    samples = Samples(X, y[:, None], np.ones(80), 1)
    groups = GroupedSamples.of(samples)

    def mute(*_):
        pass

    theta, _ = training.fit_hyperparameters(kernel, groups, 20, mute, goes_on=False)
    Z = np.unique(X[:6], axis=0)
    posterior = moving.highest_bound(kernel, theta, Z, samples, mute)
    prior = log_prior_density(kernel.fitted_kernel(posterior.theta))
    assert_allclose(model.elbo_curve_[0], posterior.elbo + prior, rtol=1e-6)
    assert prior < -1e-3


@pytest.mark.parametrize("batches", [False, True])
def test_points_move_up_the_gradient_of_the_prior(data, batches, monkeypatch):
    monkeypatch.setattr(training, "ARD_STD", 0.01)  # which outweighs the bound
    monkeypatch.setattr(moving, "MOVED_BY_BATCH", 0 if batches else 80)
    kernel = Covariance(ARD, 2)
    X, y = map(standardised, data)
    samples = Samples(X, y[:, None], np.ones(80), 1)
    rng, mute = np.random.RandomState(0), lambda *_: None
    theta, _, curve = moving.move_points(
        kernel, kernel.theta, X[:6], samples, 150, rng, mute
    )
    assert_allclose(*np.exp(theta[kernel.vectors[0]]), rtol=0.05)
    if batches:  # small steps: the curve has the prior, too
        assert np.max(np.diff(curve)) < 0.5 * np.ptp(curve)
    assert log_prior_density(kernel.fitted_kernel(theta)) > 0.001 * curve[0]


def test_optimum_with_ard_is_that_of_likelihood_and_prior(data):
    kernel = Covariance(ARD, 2)
    X, y = map(standardised, data)
    samples = Samples(X, y[:, None], np.ones(80), 1)
    groups = GroupedSamples.of(samples)
    theta, curve = training.fit_hyperparameters(kernel, groups, 200, lambda *_: None)

    def objective(theta):
        fitted = ARD.clone_with_theta(theta)
        return log_likelihood(fitted, data) + log_prior_density(fitted)

    assert_allclose(curve[-1], objective(theta), rtol=1e-6)
    best = minimize(lambda theta: -objective(theta), theta, bounds=ARD.bounds)
    # It stops where an iteration gains less than 1e-4 of the value.
    assert -best.fun - curve[-1] < 1e-3 * abs(best.fun)
    assert log_prior_density(ARD.clone_with_theta(theta)) < -0.01


@pytest.mark.parametrize("n_bytes", [1, 16 * 1050, 2**25])
def test_neighbour_of_a_repeated_sample_is_another(n_bytes, monkeypatch):
    monkeypatch.setattr(encoded, "BLOCK_BYTES", n_bytes)  # 1024 samples, 1050, all
    rng = np.random.RandomState(0)
    X = rng.normal(size=(1100, 2))
    X[500:600], X[1050:1060] = X[:100], X[:10]  # twice and three times
    samples = Samples(X, X[:, :1], np.ones(1100), 1)
    anchors = rng.permutation(1100)
    found = training._neighbours(samples, anchors)
    assert np.all(found != anchors)
    distances = np.linalg.norm(X[:, None] - X[None], axis=2)
    got = distances[anchors, found]
    distances[np.diag_indices(1100)] = np.inf
    assert_allclose(got, distances[anchors].min(axis=1), atol=1e-7)
    assert np.count_nonzero(got == 0.0) == 210


def test_hyperparameter_subset_holds_nearest_neighbours():
    rng = np.random.RandomState(0)
    X = 100.0 * rng.normal(size=(30, 2))
    X = np.vstack([X, X + 0.01])  # sample i + 30 is the nearest of sample i
    rows = Samples(X, X[:, :1], np.ones(60), 1)
    order = training.hyperparameter_subset(rows, 24, rng)
    assert len(order) == len(set(order.tolist())) == 24
    for stop in (4, 10, 24):
        assert np.all(np.bincount(order[:stop] % 30) != 1)


def test_half_of_the_hyperparameter_subset_is_random():
    """Neighbours that are in the random half leave room for more random samples."""
    X = 100.0 * np.random.default_rng(0).normal(size=(30, 2))
    rows = Samples(np.vstack([X, X + 0.01]), np.zeros((60, 1)), np.ones(60), 1)
    order = training.hyperparameter_subset(rows, 24, np.random.RandomState(0))
    random = np.random.RandomState(0).permutation(60).tolist()
    half = set(random[:12])
    want = half | {(i + 30) % 60 for i in half}
    assert len(want) < 24
    rest = [i for i in random if i not in want]
    want.update(rest[: 24 - len(want)])
    assert set(order.tolist()) == want


def test_hyperparameter_subset_of_few_samples_is_all_of_them(data):
    rng = np.random.RandomState(0)
    for n, size in ((5, 300), (80, 300), (80, 81), (80, 30)):
        X = np.tile(data[0][:1], (n, 1)) if n == 5 else data[0][:n]
        rows = Samples(X, X[:, :1], np.ones(n), 1)
        order = training.hyperparameter_subset(rows, size, rng)
        assert len(order) == len(set(order.tolist()))
        assert len(order) == min(n, size)


@pytest.mark.parametrize("batches", [False, True])
def test_verbose_prints_progress(data, capsys, batches, monkeypatch):
    if batches:
        monkeypatch.setattr(moving, "MOVED_BY_BATCH", 0)
    params = {"max_iter": 12, "optimize_inducing_points": batches}
    params["n_inducing_points"] = 6

    def fit_anew(**other):
        training._OPTIMA.clear()  # a remembered optimum has no progress
        return fit(data, **params, **other)

    fit_anew()
    assert capsys.readouterr().out == ""
    model = fit_anew(verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= model.n_iter_
    assert all(line.startswith("[VGPRegressor] ") for line in lines)
    last = f"iteration {model.n_iter_}: {model.elbo_curve_[-1]:.4f} nats"
    assert any(line.endswith(last) for line in lines)
    fit_anew(verbose=1)
    fewer = capsys.readouterr().out.splitlines()
    assert fewer == [line for line in lines if "0: " in line]


@pytest.mark.parametrize("max_iter", [1, 10])
def test_an_exact_gp_has_no_points_to_move(data, max_iter):
    params = {"kernel": "rbf_ard + linear", "max_iter": max_iter}
    fixed = fit(data, **params)
    moved = fit(data, optimize_inducing_points=True, **params)
    assert moved.n_iter_ == fixed.n_iter_ <= max_iter
    assert moved.elbo_ == fixed.elbo_
