"""Test the predictive distribution of any shape, and known noise of targets."""

import copy
import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from _megnet.megnet_nets import make_megnet
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as gpk
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import (
    MEGNetProbRegressor,
    ProbNNRegressor,
    VGPRegressor,
    load_model,
    save_model,
)
from sklearn_unlocknn._gp.likelihood import StdGrowth
from sklearn_unlocknn.calibration import CalibratedProbRegressor
from sklearn_unlocknn.metrics import (
    gaussian_nll,
    get_prob_scorer,
    prob_scoring,
    uq_report,
)
from sklearn_unlocknn.model_selection import cross_val_predict_dist
from sklearn_unlocknn.prediction import unwrap

KERNEL = 1.5 * gpk.RBF(1.2) + gpk.WhiteKernel(0.05)
SHAPES = [(a, b) for a in ("gaussian", "student_t") for b in ("constant", "varying")]


def standardised(array):
    return (array - array.mean(axis=0)) / array.std(axis=0)


def make_data(n=120):
    rng = np.random.default_rng(0)
    X = standardised(rng.uniform(-2, 2, (n, 2)))
    noise = 0.3 * np.exp(0.5 * X[:, 0]) * rng.standard_t(8.0, n)
    return X, 5.0 + np.sin(2 * X[:, 0]) + X[:, 1] + noise


X, y = make_data()
X_NEW = np.random.default_rng(1).uniform(-2, 2, (5, 2))


# --- one distribution ------------------------------------------------------------


def with_growth(model):
    """Let the standard deviations of a fitted model grow, in its head."""
    errors = dataclasses.replace(model._head.errors, growth=StdGrowth(0.7, 0.3, 1.0))
    model._head = dataclasses.replace(model._head, errors=errors)
    return model


def check_density(model, X_new, n_points=20_001, jumps=()):
    """Compare mean, std and quantiles with integrals of the density.

    It is continuous except at the quantiles of levels `jumps`.
    """
    mean, std = model.predict(X_new, return_std=True)

    def density(value, i):
        at = np.atleast_1d(value)
        return np.exp(model.predict_log_density([X_new[i]] * len(at), at))

    levels = np.array([0.05, 0.5, 0.8])
    quantiles = model.predict_quantiles(X_new, levels)
    jumps = model.predict_quantiles(X_new, jumps) if len(jumps) else np.zeros((2, 0))
    for i in range(2):
        grid = np.sinh(np.linspace(-12, 12, n_points)) * std[i] / 10 + mean[i]
        sides = [jumps[i] - 1e-9 * std[i], jumps[i] + 1e-9 * std[i]]
        grid = np.sort(np.concatenate([grid, *sides]))
        values = density(grid, i)
        total = integrate.trapezoid(values, grid)
        first = integrate.trapezoid(values * (grid - mean[i]), grid)
        square = integrate.trapezoid(values * (grid - mean[i]) ** 2, grid)
        assert_allclose(total, 1.0, rtol=1e-4)
        assert_allclose(first / std[i], 0.0, atol=1e-3)
        assert_allclose(np.sqrt(square), std[i], rtol=5e-3)
        for level, quantile in zip(levels, quantiles[i], strict=True):
            below = grid <= quantile
            mass = integrate.trapezoid(values[below], grid[below])
            assert_allclose(mass, level, atol=2e-3)
    return mean, std, levels, quantiles


def check_one_distribution(model, X_new, n_points=20_001):
    """Compare std, quantiles, samples and TFP object with integrals of the density."""
    mean, std, levels, quantiles = check_density(model, X_new, n_points)
    lower = model.predict_interval(X_new, 0.9)[:, 0]
    assert_allclose(lower, quantiles[:, 0], rtol=1e-12)
    _, epistemic, aleatoric = model.predict_components(X_new)
    assert_allclose(np.hypot(epistemic, aleatoric), std)
    draws = model.sample_y(X_new, 40_000, random_state=0)
    shares = (draws[:, None] < quantiles[:, :, None]).mean(axis=2)
    assert_allclose(shares, np.tile(levels, (len(X_new), 1)), atol=0.01)
    joint = model.predict_dist(X_new)
    assert_allclose(joint.mean(), mean)
    assert_allclose(joint.stddev(), std, rtol=1e-6)
    return std


@pytest.mark.parametrize("grows", [False, True])
@pytest.mark.parametrize(("likelihood", "noise"), SHAPES)
def test_density_quantiles_samples_and_deviation_agree(likelihood, noise, grows):
    model = VGPRegressor("rbf", likelihood=likelihood, noise=noise, random_state=0)
    model.fit(X, y)
    assert (model.likelihood_, model.noise_) == (likelihood, noise)
    if grows:
        before = model.predict(X_NEW, return_std=True)[1] / model._head.y_scale
        model = with_growth(model)
        grown = model.predict(X_NEW, return_std=True)[1] / model._head.y_scale
        errors = model._head.errors
        ratio = errors.growth.factors(before / errors.shape.factor)
        assert_allclose(grown / before, ratio)
        assert np.ptp(ratio) > 0.01
    std = check_one_distribution(model, X_NEW)
    _, covariance = model.predict(X_NEW, return_cov=True)
    assert_allclose(np.sqrt(np.diag(covariance)), std)


@pytest.mark.parametrize(("likelihood", "noise"), SHAPES)
def test_distribution_on_a_keras_network(likelihood, noise, keras3_net):
    rows = np.hstack([X, X[::-1]])
    model = ProbNNRegressor(
        keras3_net, layer="latent", kernel="rbf", likelihood=likelihood, noise=noise,
        random_state=0,
    ).fit(rows, y)  # fmt: skip
    assert (model.likelihood_, model.noise_) == (likelihood, noise)
    check_one_distribution(model, rows[:3])


@pytest.mark.parametrize(("likelihood", "noise"), SHAPES)
def test_distribution_on_a_megnet(likelihood, noise, crystals):
    """Of an extensive target, whose scale differs between structures."""
    from megnet.utils.preprocessing import StandardScaler as TargetScaler

    per_atom = TargetScaler(mean=0.5, std=2.0, is_intensive=False)
    targets = np.random.default_rng(0).standard_t(3, 24)
    model = MEGNetProbRegressor(
        make_megnet(scaler=per_atom), kernel="rbf", likelihood=likelihood, noise=noise,
        random_state=0, descriptors=None, mean="network",
    ).fit(crystals, targets)  # fmt: skip
    assert (model.likelihood_, model.noise_) == (likelihood, noise)
    check_one_distribution(model, [*crystals[:2], crystals[-1]], n_points=3001)


def recalibrated(method, noise="skew", likelihood="gaussian", by=None):
    """Return a recalibrated model of noise of a shape, and samples of it."""
    rng = np.random.default_rng(1)
    shape = {"skew": rng.exponential(size=300), "t": rng.standard_t(4.0, size=300)}
    rows = rng.uniform(-2, 2, (300, 2))
    targets = rows[:, 0] + 0.1 * shape[noise]
    inner = VGPRegressor("rbf", likelihood=likelihood, random_state=0)
    model = CalibratedProbRegressor(inner, method=method, cv=2, by=by)
    return model.fit(rows[:200], targets[:200]), rows[200:], targets[200:]


@pytest.mark.parametrize("by", [None, "domain"])
@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
@pytest.mark.parametrize("noise", ["t", "skew"])
@pytest.mark.parametrize("method", ["std", "isotonic"])
def test_recalibrated_density_quantiles_and_deviation_agree(
    method, noise, likelihood, by
):
    model, rows, _ = recalibrated(method, noise, likelihood, by)
    knots = getattr(model.calibrators_[0], "levels", [])
    assert (len(knots) > 0) == (method == "isotonic" and noise == "skew")
    check_density(model, rows[:2], jumps=knots)


@pytest.mark.parametrize("noise", ["t", "skew"])
def test_conformal_deviation_and_density_are_those_of_the_factor(noise):
    model, rows, targets = recalibrated("conformal", noise, "student_t")
    other, _, _ = recalibrated("std", noise, "student_t")
    for got, want in zip(
        model.predict(rows, return_std=True),
        other.predict(rows, return_std=True),
        strict=True,
    ):
        assert_allclose(got, want)
    logs = model.predict_log_density(rows, targets)
    assert_allclose(logs, other.predict_log_density(rows, targets))


@pytest.mark.parametrize("method", ["std", "isotonic", "conformal"])
def test_scores_of_recalibrated_models_are_of_their_density(method):
    model, rows, targets = recalibrated(method, "skew", "student_t")
    logs = model.predict_log_density(rows, targets)
    assert_allclose(get_prob_scorer("neg_nll")(model, rows, targets), logs.mean())
    scores = prob_scoring(["neg_nll", "neg_msll"])(model, rows, targets)
    trivial = stats.norm.logpdf(targets, targets.mean(), targets.std()).mean()
    assert_allclose(list(scores.values()), [logs.mean(), logs.mean() - trivial])
    mean, std = model.predict(rows, return_std=True)
    report = uq_report(
        targets, mean, std, output_dict=True,
        log_density=lambda y: model.predict_log_density(rows, y),
    )  # fmt: skip
    assert_allclose(report["proper"]["nll"], -logs.mean())
    assert not np.isclose(gaussian_nll(targets, mean, std), -logs.mean())
    with pytest.raises(ValueError, match=r"y of shape \(3,\), expected \(100,\)"):
        model.predict_log_density(rows, targets[:3])


def integrated_crps(model, X, y):
    """Integrate the squared distance of the distribution from the step at y."""
    mean, std = model.predict(X, return_std=True)
    losses = []
    for i, target in enumerate(y):
        grid = mean[i] + std[i] * np.sinh(np.linspace(-12, 12, 8001)) / 10
        grid = np.insert(grid, np.searchsorted(grid, target), target)
        at = np.repeat(X[[i]], len(grid), axis=0)
        density = np.exp(model.predict_log_density(at, grid))
        below = integrate.cumulative_trapezoid(density, grid, initial=0.0)
        left, right = grid <= target, grid >= target
        loss = integrate.trapezoid(below[left] ** 2, grid[left])
        loss += integrate.trapezoid((below[right] - below[-1]) ** 2, grid[right])
        losses.append(loss)
    return np.mean(losses)


@pytest.mark.parametrize(("likelihood", "noise"), SHAPES)
@pytest.mark.parametrize("wrapped", ["bare", "pipeline", "search"])
def test_scores_and_reports_are_of_the_models_own_density(likelihood, noise, wrapped):
    model = VGPRegressor("rbf", likelihood=likelihood, noise=noise, random_state=0)
    if wrapped == "pipeline":
        model = make_pipeline(StandardScaler(), model)
    if wrapped == "search":
        model = GridSearchCV(model, {"max_iter": [5]}, cv=2)
    model.fit(X[:80], y[:80])
    inner, X_inner = unwrap(model, X[80:])
    logs = inner.predict_log_density(X_inner, y[80:])
    weights = np.arange(40) % 3
    scorer = get_prob_scorer("neg_nll")
    assert_allclose(scorer(model, X[80:], y[80:]), logs.mean())
    assert_allclose(scorer(model, X[80:], pd.Series(y[80:], range(40, 0, -1))),
                    logs.mean())  # fmt: skip
    weighted = scorer(model, X[80:], y[80:], sample_weight=weights)
    assert_allclose(weighted, np.average(logs, weights=weights))
    names = ["neg_nll", "neg_crps", "neg_msll", "neg_interval_score"]
    scores = prob_scoring(names)(model, X[80:], y[80:])
    mean, std = inner.predict(X_inner, return_std=True)
    trivial = stats.norm.logpdf(y[80:], y[80:].mean(), y[80:].std()).mean()
    lower, upper = inner.predict_interval(X_inner).T
    outside = np.maximum(lower - y[80:], 0) + np.maximum(y[80:] - upper, 0)
    width = np.mean(upper - lower + 40 * outside)
    crps = integrated_crps(inner, X_inner, y[80:])
    want = [logs.mean(), -crps, logs.mean() - trivial, -width]
    assert_allclose(list(scores.values()), want, rtol=1e-4)
    own = {
        "log_density": lambda y: inner.predict_log_density(X_inner, y),
        "quantiles": lambda q: inner.predict_quantiles(X_inner, q),
    }
    report = uq_report(y[80:], mean, std, **own, output_dict=True)
    proper = [-logs.mean(), crps, trivial - logs.mean()]
    assert_allclose(list(report["proper"].values()), proper, rtol=1e-4)
    own.pop("quantiles")
    assert_allclose(gaussian_nll(y[80:, None], mean, std, **own), -logs.mean())
    gaussian = gaussian_nll(y[80:], mean, std)
    assert np.isclose(gaussian, -logs.mean()) == (likelihood == "gaussian")


@pytest.mark.parametrize(
    ("log_density", "error", "match"),
    [
        (1.0, TypeError, "log_density of type float, expected a function"),
        (lambda y: y[:2], ValueError, r"shape \(2,\), expected \(5,\)"),
        (lambda y: np.full(5, np.nan), ValueError, "NaN in the log densities of 5"),
    ],
)
def test_wrong_log_densities_are_named(log_density, error, match):
    for metric in (gaussian_nll, uq_report):
        with pytest.raises(error, match=match):
            metric(y[:5], y[:5], np.ones(5), log_density=log_density)


def test_components_vary_only_with_varying_noise():
    for noise in ("constant", "varying"):
        model = VGPRegressor("rbf", noise=noise, random_state=0).fit(X, y)
        _, _, aleatoric = model.predict_components(X_NEW)
        assert (np.ptp(aleatoric) > 0.01) == (noise == "varying")
        again = pickle.loads(pickle.dumps(model))
        assert_array_equal(again.predict_components(X_NEW)[2], aleatoric)


def test_growth_is_kept_in_files_folds_and_updates(tmp_path):
    model = with_growth(VGPRegressor("rbf", random_state=0).fit(X, y))
    save_model(model, tmp_path / "m.unlocknn")
    want = model.predict(X_NEW, return_std=True)
    for again in (
        load_model(tmp_path / "m.unlocknn"),
        pickle.loads(pickle.dumps(model)),
    ):
        assert_array_equal(again.predict(X_NEW, return_std=True), want)
    growth = model._head.errors.growth
    model.partial_fit(X_NEW, np.ones(5))
    assert model._head.errors.growth == growth


def test_several_outputs_share_shape_and_noise():
    Y = np.column_stack([y, 10 * y])
    params = {"likelihood": "student_t", "noise": "varying", "random_state": 0}
    model = VGPRegressor("rbf", **params).fit(X, Y)
    mean, std = model.predict(X_NEW, return_std=True)
    assert mean.shape == std.shape == (5, 2)
    assert_allclose(std[:, 1] / std[:, 0], np.ptp(Y[:, 1]) / np.ptp(Y[:, 0]), rtol=0.01)
    assert model.predict_quantiles(X_NEW, [0.1, 0.9]).shape == (5, 2, 2)
    assert model.predict_log_density(X_NEW, mean).shape == (5, 2)
    with pytest.raises(ValueError, match=r"y of shape \(5,\), expected \(5, 2\)"):
        model.predict_log_density(X_NEW, mean[:, 0])


def test_fixed_hyperparameters_are_a_plain_gp():
    model = VGPRegressor(KERNEL, max_iter=0).fit(X, y)
    assert (model.likelihood_, model.noise_, model.dof_) == (
        "gaussian", "constant", np.inf,
    )  # fmt: skip
    plain = VGPRegressor(KERNEL, max_iter=0, likelihood="gaussian", noise="constant")
    for got, want in zip(
        model.predict(X_NEW, return_std=True),
        plain.fit(X, y).predict(X_NEW, return_std=True),
        strict=True,
    ):
        assert_array_equal(got, want)


@pytest.mark.parametrize("name", ["likelihood", "noise"])
def test_unknown_words_are_named(name):
    with pytest.raises(ValueError, match=rf"Got {name}='t', expected one of"):
        VGPRegressor(**{name: "t"}).fit(X, y)


# --- known noise -----------------------------------------------------------------

STD = np.random.default_rng(3).uniform(0.0, 1.0, 120)


def fixed(**params):
    return VGPRegressor(KERNEL, mean="zero", normalize_y=False, max_iter=0, **params)


def test_known_noise_is_scikit_learns_alpha():
    theirs = GaussianProcessRegressor(KERNEL, alpha=STD**2, optimizer=None).fit(X, y)
    ours = fixed().fit(X, y, y_std=STD)
    mean, std = theirs.predict(X_NEW, return_std=True)
    assert_allclose(ours.predict(X_NEW), mean, rtol=1e-6)
    got = ours.predict(X_NEW, return_std=True)[1]
    # scikit-learn's std of a kernel with a WhiteKernel has its level, too
    assert_allclose(got, std, rtol=1e-6)
    assert_allclose(ours.elbo_, theirs.log_marginal_likelihood_value_, rtol=1e-6)
    scaled = VGPRegressor(KERNEL, mean="zero", max_iter=0).fit(X, y, y_std=STD)
    theirs = GaussianProcessRegressor(
        KERNEL, alpha=(STD / y.std()) ** 2, optimizer=None
    ).fit(X, standardised(y))
    want = theirs.predict(X_NEW) * y.std() + y.mean()
    assert_allclose(scaled.predict(X_NEW), want, rtol=1e-6)


def test_hyperparameters_with_known_noise_are_scikit_learns():
    kernel = 1.0 * gpk.RBF(1.0) + gpk.WhiteKernel(0.1)
    theirs = GaussianProcessRegressor(kernel, alpha=STD**2, random_state=0)
    theirs.fit(X, standardised(y))
    ours = VGPRegressor(
        kernel, mean="zero", max_iter=200, likelihood="gaussian", noise="constant"
    ).fit(X, y, y_std=STD * y.std())
    value, slope = theirs.log_marginal_likelihood(ours.kernel_.theta, True)
    assert value > theirs.log_marginal_likelihood_value_ - 0.05
    assert np.abs(slope).max() < 0.5


@pytest.mark.parametrize("n_points", [30, 4000])
def test_samples_of_much_known_noise_change_nothing(n_points):
    rng = np.random.default_rng(4)
    more_X = np.vstack([X, rng.uniform(-9, 9, (20, 2))])
    more_y = np.concatenate([y, 1e6 * rng.normal(size=20)])
    std = np.concatenate([STD, 1e6 * rng.uniform(1, 2, 20)])
    points = {"inducing_init": X[:30]} if n_points == 30 else {}
    params = {"n_inducing_points": n_points, "random_state": 0, **points}
    plain = {"likelihood": "gaussian", "noise": "constant", **params}
    for model, rtol in (
        (VGPRegressor(KERNEL, max_iter=0, **params), 1e-6),
        (VGPRegressor(KERNEL, **plain), 0.03),  # L-BFGS stops earlier
        (VGPRegressor("rbf", **params), 0.03),  # draws other points for the noise
    ):
        want = model.fit(X, y, y_std=STD).predict(X_NEW, return_std=True)
        got = model.fit(more_X, more_y, y_std=std).predict(X_NEW, return_std=True)
        assert_allclose(got, want, rtol=rtol)


@pytest.mark.parametrize("params", [{}, {"n_inducing_points": 20}])
def test_known_noise_in_parts_is_that_of_all(params):
    whole = fixed(random_state=0, **params).fit(X, y, y_std=STD)
    parts = [slice(0, 50), slice(50, 120)]
    stream = fixed(random_state=0, **params)
    stream.fit_stream((X[part], y[part], None, STD[part]) for part in parts)
    assert_allclose(stream.predict(X_NEW), whole.predict(X_NEW), rtol=1e-8)
    given = {**params, "inducing_init": X[:20]} if params else params
    start = VGPRegressor(KERNEL, max_iter=0, mean="zero", random_state=0, **given)
    first = copy.deepcopy(start).fit(X[:50], y[:50], y_std=STD[:50])
    first.partial_fit(X[50:], y[50:], y_std=STD[50:])
    more = start.fit(X[:50], y[:50], y_std=STD[:50])
    for part in (slice(50, 60), slice(60, 120)):
        more.partial_fit(X[part], y[part], y_std=STD[part])
    assert_allclose(first.predict(X_NEW), more.predict(X_NEW), rtol=1e-6)
    assert_allclose(first.elbo_, more.elbo_, rtol=1e-6)


@pytest.mark.parametrize("params", [{}, {"n_inducing_points": 20}])
def test_known_noise_is_split_with_the_folds(params):
    folds = KFold(4)
    model = VGPRegressor("rbf", random_state=0, **params)
    got = cross_val_predict_dist(model, X, y, cv=folds, params={"y_std": STD})
    train, test = next(folds.split(X))
    model.fit(X[train], y[train], y_std=STD[train])
    assert_allclose(got.mean[test], model.predict(X[test]))
    shared = cross_val_predict_dist(
        fixed(random_state=0, **params), X, y, cv=folds, params={"y_std": STD},
        method="shared_hyperparameters",
    )  # fmt: skip
    if not params:
        want = fixed().fit(X[train], y[train], y_std=STD[train])
        scale = X[train].std(axis=0), X[train].mean(axis=0)
        assert np.abs(scale[0] - 1).max() < 0.1
        assert_allclose(shared.mean[test], want.predict(X[test]), atol=0.3)


def test_known_noise_through_a_pipeline():
    with sklearn.config_context(enable_metadata_routing=True):
        model = make_pipeline(
            StandardScaler(), fixed().set_fit_request(y_std=True)
        ).fit(X, y, y_std=STD)
        assert_allclose(
            model.predict(X_NEW), fixed().fit(X, y, y_std=STD).predict(X_NEW)
        )


@pytest.mark.parametrize(
    ("y_std", "targets", "match"),
    [
        (-STD, y, "none negative"),
        (STD[:5], y, r"of shape \(5,\), expected \(120,\)"),
        (np.full(120, np.nan), y, "NaN"),
        (STD, np.column_stack([y, y]), "2 outputs, expected one"),
    ],
)
def test_wrong_known_noise_is_named(y_std, targets, match):
    with pytest.raises(ValueError, match=match):
        VGPRegressor().fit(X, targets, y_std=y_std)


# --- few samples -----------------------------------------------------------------


def test_few_samples_predict_near_their_targets():
    """Some features hardly vary in training and much among new samples."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(2000, 40))
    features = np.where(np.arange(40) % 2, latent, np.maximum(latent - 2.2, 0.0) + 1e-5)
    target = latent[:, 1] + latent[:, 3] ** 2 / 2 + 0.1 * rng.normal(size=2000)
    held = []
    for seed in range(20):
        few = np.random.RandomState(seed).permutation(2000)[:40]
        others = np.setdiff1d(np.arange(2000), few)
        model = VGPRegressor(random_state=0).fit(features[few], target[few])
        mean = model.predict(features[others])
        reach = np.ptp(target[few])
        assert mean.min() > target[few].min() - reach
        assert mean.max() < target[few].max() + reach
        lower, upper = model.predict_interval(features[others], 0.9).T
        held.append(np.mean((lower <= target[others]) & (target[others] <= upper)))
    assert 0.84 < np.mean(held) < 0.96


def test_a_linear_model_is_not_limited():
    X = np.linspace(-1, 1, 50)[:, None]
    for params in ({"kernel": "linear"}, {"mean": "linear"}):
        model = VGPRegressor(random_state=0, **params).fit(X, 3 * X[:, 0])
        assert_allclose(model.predict([[20.0]]), 60.0, rtol=0.02)
