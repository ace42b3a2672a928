"""CalibratedProbRegressor: closed forms, guarantees, scikit-learn's contract."""

import itertools

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from predictions import Given, share_inside
from scipy import integrate, stats
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import BayesianRidge, LinearRegression
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    RepeatedKFold,
    check_cv,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.calibration import CalibratedProbRegressor
from sklearn_unlocknn.metrics import gaussian_nll
from sklearn_unlocknn.model_selection import cross_val_predict_dist

METHODS = ["std", "isotonic", "conformal"]
LEVELS = np.linspace(0.01, 0.99, 99)


@parametrize_with_checks(
    [
        CalibratedProbRegressor(BayesianRidge()),
        CalibratedProbRegressor(BayesianRidge(), method="isotonic", cv=2),
        CalibratedProbRegressor(BayesianRidge(), method="conformal", cv=2),
        CalibratedProbRegressor(VGPRegressor("linear", max_iter=0), cv=2),
    ]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


class Words(RegressorMixin, BaseEstimator):
    """Regressor of a list of words, in place of a list of structures."""

    def fit(self, X, y):
        assert isinstance(X, list)
        self.mean_ = np.mean(y)
        return self

    def predict(self, X, return_std=False):
        assert isinstance(X, list)
        mean = self.mean_ + np.array([np.nan if w == "" else len(w) for w in X])
        return (mean, 0 * mean + 1) if return_std else mean

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


FROZEN = FrozenEstimator(Given().fit(None, None))


def drawn(n, errors, seed=0):
    """Return X = (mean, std) and y = mean + std * error."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=n), rng.uniform(0.5, 2, size=n)])
    return X, X[:, 0] + X[:, 1] * errors.rvs(size=n, random_state=rng)


def held_out(model, cv, X, y):
    """Return z, mean and std of samples by clones fitted without them, by fold."""
    parts = []
    for train, test in check_cv(cv).split(X, y):
        mean, std = clone(model).fit(X[train], y[train]).predict(X[test], True)
        parts.append(((y[test] - mean) / std, mean, std))
    return (np.concatenate(part) for part in zip(*parts, strict=True))


def calibrated(method, X, y, **fit_params):
    return CalibratedProbRegressor(FROZEN, method=method).fit(X, y, **fit_params)


def everything(model, X):
    parts = *model.predict(X, return_std=True), model.predict_interval(X, 0.8)
    return np.concatenate([np.reshape(part, (len(X), -1)) for part in parts], axis=1)


@pytest.fixture(scope="module")
def linear():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(120, 3))
    return X, X @ [1.0, 2.0, 3.0] + rng.standard_t(3, size=120)


# --- std ------------------------------------------------------------------------


def test_factor_minimises_the_held_out_nll(linear):
    X, _ = linear
    y = X @ [1.0, 2.0, 3.0] + np.random.default_rng(2).normal(size=120)
    z, mean, std = held_out(BayesianRidge(), 5, X, y)
    model = CalibratedProbRegressor(BayesianRidge()).fit(X, y)
    factor = model.calibrators_[0].factor
    assert_allclose(factor, np.sqrt(np.mean(z**2)))
    least = gaussian_nll(y, mean, factor * std)
    for other in (0.99, 1.01):
        assert gaussian_nll(y, mean, other * factor * std) > least

    want_mean, want_std = BayesianRidge().fit(X, y).predict(X, return_std=True)
    got_mean, got_std = model.predict(X, return_std=True)
    assert_allclose(got_mean, want_mean)
    assert_allclose(got_std, factor * want_std)


def test_normal_errors_have_normal_intervals():
    X, y = drawn(500, stats.norm(scale=0.3))
    model = calibrated("std", X, y)
    assert model.calibrators_[0].dof == np.inf
    mean, std = model.predict(X, return_std=True)
    assert_allclose(std / X[:, 1], 0.3, rtol=3 / np.sqrt(2 * 500))
    z = stats.norm.ppf(0.95)
    interval = np.column_stack([mean - z * std, mean + z * std])
    assert_allclose(model.predict_interval(X, 0.9), interval)


def test_heavy_tails_have_the_intervals_of_a_student_t():
    errors = stats.t(3, scale=0.5)
    model = calibrated("std", *drawn(20_000, errors))
    got = model.predict_quantiles([[0.0, 1.0]], LEVELS)[0]
    assert_allclose(errors.cdf(got), LEVELS, atol=0.01)


def test_few_samples_are_not_fitted_by_heavy_tails():
    dofs = [
        calibrated("std", *drawn(20, stats.norm, seed)).calibrators_[0].dof
        for seed in range(20)
    ]
    assert np.mean(np.isinf(dofs)) >= 0.9


def test_student_t_is_chosen_by_schwarzs_criterion():
    """Compare with SciPy's fit, for scores at the quantiles of several t."""
    n = 200
    q = (np.arange(n) + 0.5) / n
    gains, chosen = [], []
    for dof in (3, 5, 6, 7, 8, 12, 40):
        z = stats.t(dof).ppf(q)
        normal = stats.norm(scale=np.sqrt(np.mean(z**2)))
        nu, _, scale = stats.t.fit(z, floc=0)
        gain = stats.t(nu, scale=scale).logpdf(z).sum() - normal.logpdf(z).sum()
        calibrator = calibrated("std", np.tile([0.0, 1.0], (n, 1)), z).calibrators_[0]
        gains.append(gain)
        chosen.append(calibrator.dof < np.inf)
        if chosen[-1]:
            got = calibrator.dof, calibrator.scale
            assert_allclose(got, (nu, scale), rtol=0.02)
    gains, least = np.array(gains), 0.5 * np.log(n)
    assert_array_equal(chosen, gains > least)
    assert any(chosen)
    assert np.any((gains > 1.0) & (gains < least))


def test_few_samples_keep_the_degrees_of_freedom_of_the_regressor():
    X, y = drawn(30, stats.norm)
    inner = Given().fit(None, None)
    model = CalibratedProbRegressor(FrozenEstimator(inner)).fit(X, y)
    assert model.calibrators_[0].dof == np.inf
    inner.dof_ = 5.0
    calibrator = model.fit(X, y).calibrators_[0]
    z = (y - X[:, 0]) / X[:, 1]
    _, _, scale = stats.t.fit(z, f0=5.0, floc=0)
    assert calibrator.dof == 5.0
    assert_allclose(calibrator.scale, scale, rtol=1e-3)
    assert_allclose(calibrator.factor, scale / np.sqrt(1 - 2 / 5.0), rtol=1e-3)
    X, y = drawn(3000, stats.t(20))
    assert model.fit(X, y).calibrators_[0].dof > 8.0


# --- isotonic -------------------------------------------------------------------


@pytest.mark.parametrize("errors", [stats.expon(-1), stats.t(3), stats.uniform(3, 1)])
def test_isotonic_finds_any_distribution(errors):
    model = calibrated("isotonic", *drawn(20_000, errors))
    got = model.predict_quantiles([[1.0, 2.0]], LEVELS)[0]
    assert_allclose(errors.cdf((got - 1.0) / 2.0), LEVELS, atol=0.015)
    assert np.all(np.diff(got) > 0)


def test_isotonic_curve_meets_quantiles_of_the_scores_at_its_knots():
    z = stats.uniform(-0.3).rvs(300, random_state=0)
    model = calibrated("isotonic", np.tile([0.0, 1.0], (300, 1)), z)
    knots = model.calibrators_[0].levels
    assert len(knots) > 3
    assert model.calibrators_[0].dof == np.inf
    assert_allclose(knots * 256, np.round(knots * 256))  # halves of halves
    got = model.predict_quantiles([[5.0, 2.0]], knots)[0]
    assert_allclose(got, 5.0 + 2.0 * np.quantile(z, knots, method="hazen"))
    # Between them, and beyond the last, it is straight in levels of the normal.
    normal = stats.norm(scale=np.sqrt(np.mean(z**2)))
    at = np.concatenate([[0.0], normal.cdf((got - 5.0) / 2.0), [1.0]])
    levels = np.concatenate([[0.0], knots, [1.0]])
    got = normal.cdf(model.predict_quantiles([[0.0, 1.0]], LEVELS)[0])
    assert_allclose(got, np.interp(LEVELS, levels, at))
    density = model.predict_log_density([[0.0, 1.0]], [0.3])
    part = np.searchsorted(at, normal.cdf(0.3)) - 1
    slope = np.diff(levels)[part] / np.diff(at)[part]
    assert_allclose(density, normal.logpdf(0.3) + np.log(slope))


def test_isotonic_leaves_normal_errors_normal():
    X, y = drawn(2000, stats.norm)
    model, other = calibrated("isotonic", X, y), calibrated("std", X, y)
    assert model.calibrators_[0].levels.size == 0
    got = model.predict_quantiles(X[:5], LEVELS)
    assert_allclose(got, other.predict_quantiles(X[:5], LEVELS))


@pytest.mark.parametrize("errors", [stats.expon(-1), stats.norm(0.7), stats.t(3)])
def test_isotonic_density_is_near_that_of_the_errors(errors):
    n = 3000
    X, y = drawn(n, errors)
    new, targets = drawn(n, errors, seed=1)
    truth = errors.logpdf((targets - new[:, 0]) / new[:, 1]) - np.log(new[:, 1])
    logs = calibrated("isotonic", X, y).predict_log_density(new, targets)
    assert np.mean(truth - logs) < 0.04


@pytest.mark.parametrize("n", [1, 2, 30])
def test_isotonic_mean_and_std_are_integrals_of_its_quantiles(n):
    X, y = drawn(n, stats.expon, seed=3)
    model = calibrated("isotonic", X, y)
    mean, std = (part[0] for part in model.predict([[0.0, 1.0]], return_std=True))

    def quantile(q):
        return model.predict_quantiles([[0.0, 1.0]], q)[0, 0]

    knots = model.calibrators_[0].levels
    assert (len(knots) > 0) == (n == 30)
    ends = [1e-12, *knots, 1 - 1e-12]
    first, second = (
        sum(
            integrate.quad(lambda q, p=power: quantile(q) ** p, a, b)[0]
            for a, b in itertools.pairwise(ends)
        )
        for power in (1, 2)
    )
    want = [first, np.sqrt(second - first**2)]
    assert_allclose([mean, std], want, rtol=1e-5, atol=1e-12)


def test_isotonic_with_a_huge_score_is_finite():
    X, y = drawn(10, stats.norm)
    y[3] = X[3, 0] + 1e6 * X[3, 1]
    values = everything(calibrated("isotonic", X, y), X)
    assert np.all(np.isfinite(values))


# --- conformal ------------------------------------------------------------------


def test_split_conformal_is_the_order_statistic():
    X, y = drawn(39, stats.t(2))
    sizes = np.sort(np.abs((y - X[:, 0]) / X[:, 1]))
    model = calibrated("conformal", X, y)
    for coverage, rank in [(0.5, 20), (0.8, 32), (0.9, 36), (0.95, 38), (0.91, 37)]:
        half = sizes[rank - 1] * X[:, 1]
        want = np.column_stack([X[:, 0] - half, X[:, 0] + half])
        assert_allclose(model.predict_interval(X, coverage), want)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_split_conformal_covers_as_guaranteed(coverage):
    # Wrong model, skewed errors, 25 samples; the guarantee is of the mean over sets.
    n, n_new, repetitions = 25, 200, 150
    held = []
    for seed in range(repetitions):
        X, y = drawn(n + n_new, stats.expon(-0.3, 3), seed)
        model = calibrated("conformal", X[:n], y[:n])
        held.append(share_inside(model.predict_interval(X[n:], coverage), y[n:]))
    error = 4 * np.std(held) / np.sqrt(repetitions)
    assert coverage - error <= np.mean(held) <= coverage + 1 / (n + 1) + error


@pytest.mark.parametrize("coverage", [0.02, 0.5, 0.9])
def test_conformal_by_folds_is_the_order_statistic_of_all_samples(linear, coverage):
    X, y = linear
    cv = KFold(4, shuffle=True, random_state=0)
    model = CalibratedProbRegressor(BayesianRidge(), method="conformal", cv=cv)
    model.fit(X[:60], y[:60])
    z, _, _ = held_out(BayesianRidge(), cv, X[:60], y[:60])
    size = np.sort(np.abs(z))[int(np.ceil(coverage * 61)) - 1]
    mean, std = BayesianRidge().fit(X[:60], y[:60]).predict(X[60:], return_std=True)
    want = np.column_stack([mean - size * std, mean + size * std])
    assert_allclose(model.predict_interval(X[60:], coverage), want)


@pytest.mark.parametrize("method", METHODS)
def test_held_out_predictions_from_one_fit(method, linear):
    X, y = linear
    head = VGPRegressor(
        "rbf", random_state=0, hyper_subset_size=60, likelihood="gaussian"
    )
    weights = np.where(np.arange(120) % 7 == 0, 0.0, 1.0 + np.arange(120) % 2)
    cv = KFold(4, shuffle=True, random_state=0)
    model = CalibratedProbRegressor(head, method=method, cv=cv)
    model.fit(X, y, sample_weight=weights)
    parts = cross_val_predict_dist(
        head,
        X,
        y,
        cv=cv,
        method="shared_hyperparameters",
        params={"sample_weight": weights},
    )
    table = np.column_stack([parts.mean, parts.std])
    want = calibrated(method, table, y, sample_weight=weights)
    for got, expected in zip(model.calibrators_, want.calibrators_, strict=True):
        for part in got._fields:
            assert_allclose(getattr(got, part), getattr(expected, part), rtol=1e-6)
    plain = clone(head).fit(X, y, sample_weight=weights)
    assert_array_equal(model.estimator_.predict(X), plain.predict(X))


@pytest.mark.parametrize(
    ("hyper_subset_size", "cv"),
    [(61, 3), (20, RepeatedKFold(n_splits=3, n_repeats=2, random_state=0))],
)
def test_few_samples_or_repeated_folds_are_fitted_again(hyper_subset_size, cv, linear):
    X, y = linear
    head = VGPRegressor(
        "rbf", likelihood="gaussian", hyper_subset_size=hyper_subset_size,
        random_state=0,
    )  # fmt: skip
    model = CalibratedProbRegressor(head, cv=cv).fit(X, y)
    z, _, _ = held_out(head, cv, X, y)
    want = calibrated("std", np.tile([0.0, 1.0], (len(z), 1)), z).calibrators_[0]
    assert_allclose(model.calibrators_[0][:4], want[:4])


def test_too_few_samples_for_a_coverage():
    X, y = drawn(18, stats.norm)
    model = calibrated("conformal", X, y)
    with pytest.warns(UserWarning, match="it takes 19 samples") as record:
        assert np.all(np.isinf(model.predict_interval(X, 0.95)))
    assert record[0].filename == __file__
    assert np.all(np.isfinite(model.predict_interval(X, 0.94)))
    assert np.all(np.isfinite(model.predict(X, return_std=True)))


def test_samples_held_out_twice_have_no_rank(linear):
    model = CalibratedProbRegressor(
        BayesianRidge(), method="conformal", cv=RepeatedKFold(n_splits=3)
    )
    with pytest.raises(ValueError, match="holds samples out more than once"):
        model.fit(*linear)
    assert model.set_params(method="isotonic").fit(*linear).calibrators_


# --- all methods ----------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_units_of_the_std_do_not_matter_and_weights_are_repetitions(method):
    X, y = drawn(60, stats.t(3))
    scaled = X * [1.0, 1e-3]
    values = everything(calibrated(method, X, y), X)
    other = everything(calibrated(method, scaled, y), scaled)
    assert_allclose(values, other, rtol=1e-9)
    counts = np.arange(60) % 3
    weighted = calibrated(method, X, y, sample_weight=counts)
    repeated = calibrated(method, np.repeat(X, counts, axis=0), np.repeat(y, counts))
    assert_allclose(everything(weighted, X), everything(repeated, X), rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_interval_is_a_pair_of_quantiles_around_the_median(method, linear):
    X, y = linear
    model = CalibratedProbRegressor(BayesianRidge(), method=method).fit(X, y)
    quantiles = model.predict_quantiles(X, [0.05, 0.25, 0.5, 0.75, 0.95])
    assert_allclose(model.predict_interval(X, 0.9), quantiles[:, [0, 4]])
    assert np.all(np.diff(quantiles, axis=1) > 0)
    assert_array_equal(model.predict(X), model.predict(X, return_std=True)[0])


@pytest.mark.parametrize("method", METHODS)
def test_outputs_are_calibrated_side_by_side(method):
    (X1, y1), (X2, y2) = drawn(50, stats.norm, 1), drawn(50, stats.expon, 2)
    X = np.column_stack([X1[:, 0], X2[:, 0], X1[:, 1], X2[:, 1]])
    both = calibrated(method, X, np.column_stack([y1, y2]))
    assert both.predict_quantiles(X, [0.1, 0.5, 0.9]).shape == (50, 3, 2)
    for j, (X_one, y_one) in enumerate([(X1, y1), (X2, y2)]):
        one = calibrated(method, X_one, y_one)
        interval = both.predict_interval(X, 0.8)[:, :, j]
        assert_allclose(interval, one.predict_interval(X_one, 0.8))
        got = [part[:, j] for part in both.predict(X, return_std=True)]
        assert_allclose(got, one.predict(X_one, return_std=True))


@pytest.mark.parametrize("method", METHODS)
def test_lists_and_samples_without_a_prediction(method):
    words = ["a", "bb", "", "ccc"] * 10
    y = np.arange(40.0)
    model = CalibratedProbRegressor(Words(), method=method)
    with pytest.warns(UserWarning, match="for 10 of 40 held-out samples") as told:
        model.fit(words, y)
    assert told[0].filename == __file__
    values = everything(model, words)
    missing = np.array(words) == ""
    assert np.all(np.isnan(values[missing]))
    assert np.all(np.isfinite(values[~missing]))
    with pytest.raises(ValueError, match="no finite prediction for any of 6"):
        model.fit([""] * 6, y[:6])


def test_perfect_predictions_stay_perfect():
    X = np.column_stack([np.arange(30.0), np.ones(30)])
    for method in METHODS:
        model = calibrated(method, X, X[:, 0])
        mean, std = model.predict(X, return_std=True)
        assert_allclose(mean, X[:, 0])
        assert_array_equal(std, 0.0)
        assert_allclose(model.predict_interval(X, 0.9), X[:, [0, 0]])
        logs = model.predict_log_density(X[:2], [0.0, 2.0])
        assert_array_equal(logs, [np.inf, -np.inf])


def test_frames_and_a_pipeline_inside(linear):
    X, y = linear
    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(120)[::-1])
    inner = make_pipeline(StandardScaler(), BayesianRidge())
    model = CalibratedProbRegressor(inner, method="conformal")
    by_frame = everything(model.fit(frame, pd.Series(y, index=frame.index)), frame)
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    assert_allclose(by_frame, everything(model.fit(X, y), X))


def test_weights_reach_estimator_and_groups_reach_splitter(linear):
    X, y = linear
    weights, groups = np.linspace(0.1, 2, 120), np.arange(120) % 7
    splits = list(GroupKFold(3).split(X, y, groups))
    plain = CalibratedProbRegressor(BayesianRidge(), cv=splits)
    want = everything(plain.fit(X, y, sample_weight=weights), X)
    unweighted = everything(clone(plain).fit(X, y), X)
    assert not np.allclose(want[:, 0], unweighted[:, 0])
    with sklearn.config_context(enable_metadata_routing=True):
        inner = BayesianRidge().set_fit_request(sample_weight=True)
        routed = CalibratedProbRegressor(inner, cv=GroupKFold(3))
        routed.fit(X, y, sample_weight=weights, groups=groups)
    assert_allclose(everything(routed, X), want)

    inner = make_pipeline(StandardScaler(), BayesianRidge())
    with pytest.warns(UserWarning, match="only the calibration is weighted") as told:
        CalibratedProbRegressor(inner).fit(X, y, sample_weight=weights)
    assert told[0].filename == __file__


def test_frozen_estimator_is_not_fitted_again(linear):
    X, y = linear
    inner = BayesianRidge().fit(X[:60], y[:60])
    coefficients = inner.coef_.copy()
    model = CalibratedProbRegressor(FrozenEstimator(inner)).fit(X[60:], y[60:])
    assert_array_equal(inner.coef_, coefficients)
    mean, std = inner.predict(X[60:], return_std=True)
    want = calibrated("std", np.column_stack([mean, std]), y[60:]).calibrators_
    assert model.calibrators_ == want


def test_messages_of_errors(linear):
    X, y = linear
    for params, error, message in [
        ({"method": "platt"}, ValueError, "Got method='platt', expected one of"),
        ({"estimator": LinearRegression()}, TypeError, "has no return_std"),
        (
            {"estimator": VGPRegressor(hyper_subset_size="Auto")},
            ValueError,
            "hyper_subset_size='Auto'.*or 'auto'",
        ),
    ]:
        with pytest.raises(error, match=message):
            CalibratedProbRegressor(BayesianRidge()).set_params(**params).fit(X, y)
    with pytest.raises(ValueError, match=r"std of zero or less .* in 2 of 3"):
        calibrated("std", [[0.0, 0.0], [1.0, 0.0], [2.0, 1.0]], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"predictions of shape \(120, 1\)"):
        calibrated("std", X[:, :2], np.column_stack([y, y]))
    with pytest.raises(
        ValueError, match=r"\(120, 2\) and std of \(120, 2\) .* of 1 out"
    ):
        calibrated("std", np.column_stack([X[:, :2], X[:, :2]]), y)
    model = CalibratedProbRegressor(BayesianRidge()).fit(X, y)
    with pytest.raises(ValueError, match="levels inside"):
        model.predict_quantiles(X, [0.0, 0.5])
    with pytest.raises(ValueError, match=r"coverage=1\.0"):
        model.predict_interval(X, 1.0)
