"""Test shape and noise of errors, and the leave-one-out residuals they come from."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats
from sklearn.gaussian_process import kernels as gpk

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp import moving, training
from sklearn_unlocknn._gp import posterior as gp_posterior
from sklearn_unlocknn._gp.covariance import Covariance
from sklearn_unlocknn._gp.encoded import Standardisation
from sklearn_unlocknn._gp.errors import Errors, LeftOut, _scaled_start
from sklearn_unlocknn._gp.leave_out import leave_one_out
from sklearn_unlocknn._gp.likelihood import (
    AS_THE_GP,
    Shape,
    StdGrowth,
    expected_precisions,
)
from sklearn_unlocknn._gp.noise_level import exact_at_best_noise
from sklearn_unlocknn._gp.posterior import exact_posterior, optimal_posterior
from sklearn_unlocknn._gp.samples import GroupedSamples, RawSamples, Samples
from sklearn_unlocknn._gp.training import (
    ARD_STD,
    effective_parameters,
    log_marginal_likelihood,
)

KERNEL = 1.3 * gpk.RBF([0.8, 1.5]) + gpk.WhiteKernel(0.2)


def make_samples(known=False, n=30, k=1):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 2))
    X[20:] = X[: n - 20]  # repeated
    T = np.column_stack([rng.normal(size=(n, k)), np.ones(n)])
    weights = rng.uniform(0.5, 2.0, n)
    variances = rng.uniform(0.0, 0.5, n) if known else None
    return Samples(X, T, weights, k, None, variances)


# --- leaving one out -------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_one_sample_left_out_is_predicted_by_the_others(sparse, known):
    samples = make_samples(known)
    kernel = Covariance(KERNEL, 2)
    noise = kernel.noise(kernel.theta)
    Z = samples.X[::3]

    def posterior_of(some):
        if sparse:
            return optimal_posterior(kernel, kernel.theta, Z, some)(kernel.theta)
        return exact_posterior(kernel, kernel.theta, GroupedSamples.of(some))

    posterior = posterior_of(samples)
    index = np.arange(30) if known else None
    residual, variance = leave_one_out(posterior, samples.at(noise), index)
    for i in (0, 7, 19, 20, 29):
        others = posterior_of(samples.take(np.delete(np.arange(30), i)))
        # the coefficient of the prior mean stays that of all samples
        shift = samples.T[:, :1] - samples.T[:, 1:] @ posterior.beta
        centred = Samples(
            samples.X, np.hstack([shift, samples.T[:, 1:]])[:, :1], samples.weights, 1,
            None, samples.known,
        )  # fmt: skip
        others = posterior_of(centred.take(np.delete(np.arange(30), i)))
        mean, want = others.mean_and_variance(samples.X[[i]], np.empty((1, 0)))
        assert_allclose(residual[i], shift[i] - mean[0], rtol=1e-6, atol=1e-9)
        assert_allclose(variance[i], want[0], rtol=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
def test_samples_that_are_equal_are_left_out_together(sparse):
    """Those of another target at the same place stay."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 2)), rng.normal(size=(20, 1))
    again = [3, 3, 7, 9]
    y_again = np.vstack([y[again[:3]], y[9:10] + 1.0])
    raw = RawSamples(
        np.vstack([X, X[again]]), np.vstack([y, y_again]), rng.uniform(0.5, 2.0, 24), 1,
        Standardisation(np.zeros(2), np.ones(2), "zero"),
    )  # fmt: skip
    kernel, samples = Covariance(KERNEL, 2), raw.take(slice(None))

    def posterior_of(some):
        if sparse:
            return optimal_posterior(kernel, kernel.theta, X[::3], some)(kernel.theta)
        return exact_posterior(kernel, kernel.theta, GroupedSamples.of(some))

    index = np.array([7, 3, 20, 9, 0]) if sparse else np.arange(24)
    some = raw.with_copies(index) if sparse else samples
    residual, variance = leave_one_out(posterior_of(samples), some)
    for i, residual_i, variance_i in zip(index, residual, variance, strict=True):
        others = np.any(samples.X[i] != samples.X, axis=1) | (
            samples.T[:, 0] != raw.t[i]
        )
        assert others.sum() == {3: 21, 20: 21, 21: 21, 7: 22, 22: 22}.get(i, 23)
        posterior = posterior_of(samples.take(others))
        mean, want = posterior.mean_and_variance(samples.X[[i]], np.empty((1, 0)))
        assert_allclose(residual_i, raw.t[i] - mean[0], rtol=1e-6, atol=1e-9)
        assert_allclose(variance_i, want[0], rtol=1e-6)


@pytest.mark.parametrize("level", [1e-8, 1e-11, 1e-14])
def test_samples_almost_without_noise_are_left_out(level):
    X = np.linspace(-1.0, 1.0, 12)[:, None]
    T, kernel = np.sin(5 * X), 1.3 * gpk.Matern(0.4, nu=0.5)
    fast = Covariance(kernel + gpk.WhiteKernel(level), 1)
    samples = Samples(X, T, np.ones(12), 1)
    posterior = exact_posterior(fast, fast.theta, GroupedSamples.of(samples))
    residual, variance = leave_one_out(posterior, samples)
    for i in range(12):
        others = np.arange(12) != i
        K = kernel(X[others]) + level * np.eye(11)
        weight = np.linalg.solve(K, kernel(X[others], X[[i]]))[:, 0]
        assert_allclose(residual[i], T[i] - weight @ T[others], rtol=1e-5)
        want = 1.3 - weight @ kernel(X[others], X[[i]])[:, 0]
        assert_allclose(variance[i], want, rtol=1e-5)


@pytest.mark.parametrize("counts", [None, np.arange(30) % 3 + 1.0])
@pytest.mark.parametrize("known", [False, True])
def test_likelihood_of_unequal_noise_is_its_definition(known, counts):
    samples = make_samples(known)
    samples.counts = counts
    samples.T = samples.T[:, :1]
    kernel = Covariance(KERNEL, 2)
    number = samples.weights if counts is None else counts

    def value(theta):
        noise = kernel.noise(theta)
        N = noise / samples.weights + (samples.known if known else 0.0)
        K = KERNEL.k1.clone_with_theta(theta[:3])(samples.X)
        y = samples.T[:, 0]
        density = stats.multivariate_normal(np.zeros(30), K + np.diag(N)).logpdf(y)
        # a count c is c observations of the variance c N
        each = -0.5 * (number * np.log(2 * np.pi * number * N))
        return density + np.sum(each + 0.5 * np.log(2 * np.pi * N))

    groups = GroupedSamples.of(samples)
    got, gradient = log_marginal_likelihood(kernel, kernel.theta, groups)
    assert_allclose(got, value(kernel.theta), rtol=1e-9)
    for i, slope in enumerate(gradient):
        step = 1e-5 * np.eye(4)[i]
        want = (value(kernel.theta + step) - value(kernel.theta - step)) / 2e-5
        assert_allclose(slope, want, rtol=1e-5, atol=1e-6)
    posterior = exact_posterior(kernel, kernel.theta, groups)
    assert_allclose(posterior.elbo, got, rtol=1e-10)
    Z = samples.X
    if len(np.unique(Z, axis=0)) == len(Z):
        bound = optimal_posterior(kernel, kernel.theta, Z, samples)(kernel.theta)
        assert_allclose(bound.elbo, got, rtol=1e-6)


# --- shapes ----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [Shape(0.7, 3.5), Shape(1.3, 30.0), Shape(0.9)])
def test_density_quantiles_and_deviation_agree(shape):
    def density(z):
        return np.exp(shape.log_density(z))

    total, _ = integrate.quad(density, -np.inf, np.inf)
    square, _ = integrate.quad(lambda z: z**2 * density(z), -np.inf, np.inf)
    assert_allclose([total, np.sqrt(square)], [1.0, shape.factor], rtol=1e-6)
    for q in (0.01, 0.3, 0.5, 0.95):
        below, _ = integrate.quad(density, -np.inf, shape.quantiles(q))
        assert_allclose(below, q, rtol=1e-6)
    factors = shape.sample(np.random.RandomState(0), 200_000)
    draws = factors * np.random.RandomState(1).normal(size=200_000)
    for q in (0.1, 0.75):
        assert_allclose(np.mean(draws < shape.quantiles(q)), q, atol=0.005)


def test_fitted_shape_is_that_of_the_residuals():
    z = 0.4 * np.random.default_rng(0).standard_t(4.0, 20_000)
    fitted = Shape.fit(z, np.ones(20_000))
    assert_allclose(fitted, (0.4, 4.0), rtol=0.1)
    twice = Shape.fit(z[:500], np.arange(500) % 2 + 1.0)
    repeated = Shape.fit(np.repeat(z[:500], np.arange(500) % 2 + 1), np.ones(750))
    assert_allclose(twice, repeated, rtol=1e-3)


def test_standard_deviations_grow_by_their_power_up_to_that_of_the_targets():
    std = np.geomspace(0.01, 100.0, 200)
    growth = StdGrowth(0.8, 0.2, 1.5)
    grown = growth.factors(std) * std
    free = grown < 1.49
    assert_allclose(grown[free], std[free] * (std[free] / 0.2) ** 0.8)
    assert np.all(np.diff(grown) >= -1e-12 * grown[1:])
    assert_allclose(grown[std > 1.5], std[std > 1.5])
    assert_array_equal(AS_THE_GP.factors(std), 1.0)
    assert np.isfinite(growth.factors(np.zeros(1))).all()


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("power", [0.0, 0.9])
def test_growth_is_that_of_the_residuals(power, heavy):
    rng = np.random.default_rng(0)
    std = np.exp(rng.normal(-2.0, 0.5, 4000))
    unit = np.exp(np.log(std).mean())
    z = rng.standard_t(5.0, 4000) if heavy else rng.normal(size=4000)
    z *= 0.7 * (std / unit) ** power
    growth, shape, value = StdGrowth.fit(z, std, np.ones(4000), heavy, 10.0)
    # four standard errors: 1 / sqrt(1.25 n Var(log std)) for the t
    assert_allclose(growth, (power, unit, 10.0), atol=0.115)
    assert_allclose(shape.scale, 0.7, rtol=0.06)
    factors = growth.factors(std)
    logs = shape.log_density(z / factors) - np.log(factors)
    assert_allclose(value, logs.sum())
    fixed = Shape.fit if heavy else Shape.gaussian
    plain = fixed(z, np.ones(4000)).log_density(z).sum()
    assert value > plain + (100 if power else -0.1)
    assert np.isfinite(shape.dof) == heavy


def test_errors_far_from_the_samples_exceed_those_of_a_wrong_kernel():
    rng = np.random.default_rng(0)

    def draw(n):
        X = np.concatenate([rng.normal(0, 0.3, n // 2), rng.uniform(-6, 6, n // 2)])
        return X[:, None], np.sin(X) + 0.4 * (np.abs(X) > 1) * np.sign(np.sin(9 * X))

    (X, y), (X_new, y_new) = draw(400), draw(4000)
    kernel = 1.0 * gpk.RBF(0.3, "fixed")
    grown = VGPRegressor(kernel, noise="constant", random_state=0).fit(X, y)
    plain = VGPRegressor(
        kernel, noise="constant", likelihood=grown.likelihood_, random_state=0
    ).fit(X, y)
    assert plain._head.errors.growth == AS_THE_GP
    assert grown._head.errors.growth.power > 0.2
    density = grown.predict_log_density(X_new, y_new).mean()
    assert density > plain.predict_log_density(X_new, y_new).mean() + 0.1


def test_outliers_lose_their_weight_and_others_keep_theirs():
    z = np.random.default_rng(0).normal(size=1000)
    z[:50] += 20.0
    weights = expected_precisions(z, np.ones(1000), Shape.fit(z, np.ones(1000)))
    assert weights[:50].max() < 0.02
    assert np.mean(weights[50:] > 0.9) > 0.97
    heavy = np.random.default_rng(1).standard_t(3.0, 1000)
    shape = Shape.fit(heavy, np.ones(1000))
    want = (shape.dof + 1) / (shape.dof + (heavy / shape.scale) ** 2)
    assert_allclose(expected_precisions(heavy, np.ones(1000), shape), want)


def test_residuals_count_as_far_as_their_noise_is_not_known():
    samples = make_samples(known=True)
    kernel = Covariance(KERNEL, 2)
    posterior = exact_posterior(kernel, kernel.theta, GroupedSamples.of(samples))
    index = np.arange(30)
    left_out = LeftOut.of(posterior, samples, samples, index)
    residual, variance, counts = left_out[4:]
    want, latent = leave_one_out(posterior, samples.at(0.2), index)
    assert_array_equal(residual, want)
    own = samples.known * samples.weights  # of one observation
    assert_allclose(variance, latent + own)
    share = (latent + 0.2) / (latent + 0.2 + own)
    assert_allclose(counts, samples.weights * share)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("known", [False, True])
def test_weights_of_other_samples_are_those_of_their_residuals(
    known, n_jobs, monkeypatch
):
    """Observations of unit weight: each has its own known noise, and the constant."""
    monkeypatch.setattr(gp_posterior, "PART_ROWS", 8)
    samples = make_samples(known, k=2)
    few = GroupedSamples.of(samples.take(slice(2)))
    kernel = Covariance(KERNEL, 2)
    posterior = exact_posterior(kernel, kernel.theta, few)
    mean, variance = posterior.mean_and_variance(samples.X, samples.T[:, 2:])
    own = samples.known * samples.weights if known else 0.0
    z = (samples.T[:, :2] - mean) / np.sqrt(variance + 0.2 + own)[:, None]
    shape = Shape(0.8, 4.0)
    want = expected_precisions(z.ravel(), np.repeat(samples.weights, 2), shape)
    # In parts of 16 of the same samples among others, as they are given
    index = 2 * np.arange(30) + 1
    features, variances = np.full((61, 2), np.nan), samples.known
    features[index] = samples.X
    scaling = Standardisation(np.zeros(2), np.ones(2), "constant")
    raw = RawSamples(
        features, samples.T[:, :2], samples.weights, 2, scaling, index, None, variances
    )
    got = Errors(shape).precisions(posterior, raw, n_jobs)
    assert_allclose(got, want.reshape(30, 2).mean(axis=1))
    assert_array_equal(Errors().precisions(posterior, raw, n_jobs), 1.0)


def made(kind, n, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, 2))
    y = np.sin(2 * X[:, 0]) + X[:, 1]
    if kind == "heavy":
        return X, y + 0.2 * rng.standard_t(2.5, n)
    scale = 0.3 if kind == "plain" else 0.3 * np.exp(0.7 * X[:, 0])
    return X, y + scale * rng.normal(size=n)


@pytest.mark.parametrize(
    ("kind", "want"),
    [
        ("plain", ("gaussian", "constant")),
        ("heavy", ("student_t", "constant")),
        ("varying", ("gaussian", "varying")),
    ],
)
def test_choice_is_that_of_the_data(kind, want):
    model = VGPRegressor("rbf", random_state=0).fit(*made(kind, 400))
    assert (model.likelihood_, model.noise_) == want
    assert np.isinf(model.dof_) == (want[0] == "gaussian")


def test_all_residuals_decide_about_the_noise():
    """With 90 samples, those of the hyperparameters, it is constant."""
    X, y = made("varying", 600)
    model = VGPRegressor("rbf", random_state=0, hyper_subset_size=90)
    assert model.fit(X, y).noise_ == "varying"
    assert model.fit(X[:90], y[:90]).noise_ == "constant"


@pytest.mark.parametrize("growth", [0.0, 0.5])
def test_noise_varies_where_that_of_the_data_does(growth):
    kernel = Covariance(1.0 * gpk.RBF(1.0) + gpk.WhiteKernel(0.1), 1)
    chosen = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X = rng.uniform(-3, 3, (120, 1))
        y = np.sin(X) + 0.3 * np.exp(growth * X) * rng.normal(size=(120, 1))
        samples = Samples(X, y, np.ones(120), 1)
        posterior = exact_posterior(kernel, kernel.theta, GroupedSamples.of(samples))
        left_out = LeftOut.of(posterior, samples, samples, None)
        rng = np.random.RandomState(0)
        errors, _ = Errors.fit(left_out, ("auto", "auto"), rng)
        chosen.append(errors.choice[1])
    assert chosen.count("varying" if growth else "constant") >= 7


@pytest.fixture(scope="module")
def strongly_varying():
    """Return samples of noise that grows a hundredfold, their function, a model."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (300, 2))
    function = 0.5 * np.sin(3 * X[:, 0])
    y = function + 0.3 * np.exp(1.2 * X[:, 1]) * rng.normal(size=300)
    return X, y, function, VGPRegressor("rbf_ard", random_state=0).fit(X, y)


def test_hyperparameters_are_fitted_again_where_noise_varies(strongly_varying):
    X, y, function, model = strongly_varying
    plain = VGPRegressor(
        "rbf_ard", random_state=0, noise="constant", likelihood="gaussian"
    ).fit(X, y)
    posterior = model._head.posterior
    weighted = Samples(posterior.Z, posterior.T, posterior.weights, 1, np.ones(300))
    before = exact_at_best_noise(
        posterior.kernel, plain._head.posterior.theta, GroupedSamples.of(weighted),
        lambda *_: None,
    )  # fmt: skip
    assert posterior.elbo > before.elbo + 5.0
    error, plain_error = (np.std(one.predict(X) - function) for one in (model, plain))
    assert error < 0.5 * plain_error


def test_samples_of_large_noise_are_no_outliers_where_noise_varies(strongly_varying):
    """Beside constant noise they are: half of these determined none."""
    *_, model = strongly_varying
    at = np.column_stack([np.zeros(9), np.linspace(-1.8, 1.8, 9)])
    _, _, aleatoric = model.predict_components(at)
    assert_allclose(aleatoric, 0.3 * np.exp(1.2 * at[:, 1]), rtol=0.3)


def test_varying_noise_is_predicted():
    X, y = made("varying", 600)
    model = VGPRegressor("rbf", random_state=0, noise="varying").fit(X, y)
    at = np.column_stack([np.linspace(-1.7, 1.7, 9), np.zeros(9)])
    _, _, aleatoric = model.predict_components(at)
    assert_allclose(aleatoric, 0.3 * np.exp(0.7 * at[:, 0]), rtol=0.4)
    assert_allclose(model.noise_std_**2, np.mean((0.3 * np.exp(0.7 * X[:, 0])) ** 2),
                    rtol=0.25)  # fmt: skip


@pytest.mark.parametrize(("n", "seeds"), [(300, range(3)), (1000, [0])])
def test_outliers_leave_the_mean(n, seeds):
    """Of 5 % of targets that are wrong by ten standard deviations."""
    at = np.random.default_rng(1).uniform(-2, 2, (2000, 2))
    truth = np.sin(2 * at[:, 0]) + at[:, 1]
    errors = []
    for seed in seeds:
        X, y = made("plain", n, seed)
        spoiled, rng = y.copy(), np.random.default_rng(seed)
        bad = rng.permutation(n)[: n // 20]
        spoiled[bad] += 10 * y.std() * rng.choice([-1, 1], len(bad))
        for likelihood in (None, "gaussian", "auto", "student_t"):
            model = VGPRegressor("rbf", likelihood=likelihood or "auto", random_state=0)
            model.fit(X, spoiled if likelihood else y)
            errors.append(model.predict(at) - truth)
    clean, plain, auto, robust = np.sqrt(
        np.mean(np.reshape(errors, (len(seeds), 4, -1)) ** 2, axis=(0, 2))
    )
    assert plain > 3 * clean
    assert max(auto, robust) < 1.15 * clean


@pytest.mark.parametrize(
    ("kind", "params", "want"),
    [
        ("plain", {"likelihood": "student_t", "noise": "constant"}, [True, True]),
        ("varying", {"likelihood": "gaussian", "noise": "varying"}, [True, False]),
        ("plain", {"likelihood": "gaussian", "noise": "constant",
                   "optimize_inducing_points": True}, [False, False]),
    ],
)  # fmt: skip
def test_fits_from_new_scales_go_on_and_others_do_not(kind, params, want, monkeypatch):
    """After the first: that without outliers, that beside varying noise, the points."""
    X, y = made(kind, 300)
    if params["likelihood"] == "student_t":
        y[::20] += 10 * y.std()
    found, maximise = [], training.maximise

    def spied(objective, start, bounds, max_iter, report, stage, least_gain=np.inf):
        found.append(np.isfinite(least_gain))
        return maximise(objective, start, bounds, max_iter, report, stage, least_gain)

    monkeypatch.setattr(training, "_OPTIMA", {})
    monkeypatch.setattr(training, "maximise", spied)
    monkeypatch.setattr(moving, "maximise", spied)
    VGPRegressor("rbf", 20, random_state=0, **params).fit(X, y)
    assert found == want


def test_variances_start_at_that_of_the_weighted_targets():
    fixed = gpk.ConstantKernel(0.3, "fixed") * gpk.Matern(0.7)
    kernel = Covariance(1.3 * gpk.RBF([0.8, 1.5]) + fixed + gpk.WhiteKernel(0.2), 2)
    samples = make_samples(known=True, k=2)
    Y, weights = samples.T[:, :2], samples.weights
    Y -= np.average(Y, axis=0, weights=weights)
    Y /= np.sqrt(np.average(Y**2, axis=0, weights=weights))
    start = _scaled_start(kernel, GroupedSamples.of(samples))
    assert_allclose(start, kernel.theta, atol=1e-12)
    Y *= 3.0
    Y += [7.0, -20.0]
    start = _scaled_start(kernel, GroupedSamples.of(samples))
    # of the free constant, three lengths, and the noise
    assert_allclose(np.exp(start - kernel.theta), [9.0, 1.0, 1.0, 1.0, 9.0])


# --- fitted parameters -----------------------------------------------------------


def test_parameters_that_the_data_determine_are_counted():
    kernel = Covariance(gpk.RBF([1.0, 1.0, 1.0]) + gpk.WhiteKernel(0.1), 3)
    theta = kernel.theta.copy()
    assert effective_parameters(kernel, theta, 1) == 1.0
    theta[:3] += ARD_STD * np.array([2.0, -2.0, 0.0])
    assert_allclose(effective_parameters(kernel, theta, 0), 8.0)
    errors = Errors().inflated(20, 5.0, tails=False)
    assert_allclose(errors.shape, (np.sqrt(20 / 15), np.inf))
    errors = Errors().inflated(4, 50.0, tails=False)
    assert_allclose(errors.shape, (np.sqrt(2.0), np.inf))


@pytest.mark.parametrize(
    ("dof", "n", "p", "want"),
    [(np.inf, 20, 5.0, 15.0), (10.0, 20, 10.0, 5.0), (np.inf, 4, 1.0, 3.0),
     (np.inf, 205, 5.0, np.inf), (8.0, 1e6, 5.0, 8.0)],
)  # fmt: skip
def test_tails_have_the_degrees_of_freedom_that_parameters_leave(dof, n, p, want):
    errors = Errors(Shape(2.0, dof)).inflated(n, p, tails=True)
    assert_allclose(errors.shape.dof, want, rtol=1e-4)
    assert_allclose(errors.shape.scale, 2.0 * np.sqrt(n / (n - p)))


def test_mean_alone_has_the_predictive_distribution_of_the_textbook():
    """A Student t of n - 1 degrees of freedom and scale s sqrt(1 + 1/n)."""
    y = np.random.default_rng(3).normal(size=12)
    X = np.zeros((12, 1))
    model = VGPRegressor("matern52", mean="constant", random_state=0).fit(X, y)
    assert model.dof_ == 11.0
    fixed = VGPRegressor("matern52", likelihood="gaussian", random_state=0).fit(X, y)
    assert np.isinf(fixed.dof_)
    lower, upper = model.predict_interval([[0.0]], 0.9)[0]
    want = 2 * stats.t(11).ppf(0.95) * np.std(y, ddof=1) * np.sqrt(1 + 1 / 12)
    assert_allclose(upper - lower, want, rtol=0.1)
