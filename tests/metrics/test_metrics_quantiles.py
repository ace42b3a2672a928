"""Metrics, scorers and displays use an estimator's own quantiles where it has any."""

import functools
import inspect
from unittest.mock import Mock

import matplotlib
import numpy as np
import pytest
from numpy.testing import assert_allclose
from predictions import CountingRidge, share_inside
from scipy import stats
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import VGPRegressor, metrics
from sklearn_unlocknn._prediction import predict_distribution
from sklearn_unlocknn.calibration import CalibratedProbRegressor
from sklearn_unlocknn.compose import ProbTransformedTargetRegressor
from sklearn_unlocknn.metrics import (
    calibration_curve,
    gaussian_crps,
    get_prob_scorer,
    interval_coverage,
    interval_coverage_error,
    interval_score,
    make_prob_scorer,
    mean_interval_width,
    miscalibration_area,
    prob_scoring,
    uq_by_group,
    uq_report,
)
from sklearn_unlocknn.plotting import (
    IntervalCoverageDisplay,
    ParityDisplay,
    UQCalibrationDisplay,
)

matplotlib.use("agg")

READERS = [
    function
    for name, function in vars(metrics).items()
    if name in metrics.__all__
    and callable(function)
    and "quantiles" in inspect.signature(function).parameters
]
PLAIN = [function for function in READERS if not function.__name__.startswith("uq_")]
# tails that no std makes a Gaussian of
HEAVY = stats.t(2)


def heavy(n=400, n_outputs=None, seed=0):
    rng = np.random.default_rng(seed)
    shape = n if n_outputs is None else (n, n_outputs)
    mean, std = rng.normal(size=shape), rng.uniform(0.5, 2.0, shape)
    y = mean + std * HEAVY.rvs(shape, random_state=rng)
    return (y, mean, std), quantiles_of(mean, std, HEAVY)


def quantiles_of(mean, std, distribution):
    """Return the quantiles of a location-scale family as a function of levels."""

    def quantiles(q):
        z = distribution.ppf(q).reshape((1, -1) + (1,) * (mean.ndim - 1))
        return mean[:, None] + z * std[:, None]

    return quantiles


class Heavy(BayesianRidge):
    """A regressor of another library, with quantiles of its own."""

    def predict_quantiles(self, X, q):
        return quantiles_of(*self.predict(X, return_std=True), HEAVY)(q)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 3))
    return X, X @ [1.0, 2.0, 3.0] + HEAVY.rvs(600, random_state=rng)


def test_names_of_metrics_with_quantiles():
    assert {function.__name__ for function in READERS} == {
        "calibration_curve", "gaussian_crps", "interval_coverage",
        "interval_coverage_error", "interval_score", "mean_interval_width",
        "miscalibration_area", "root_mean_squared_calibration_error",
        "summed_calibration_error", "uq_by_group", "uq_report",
    }  # fmt: skip


@pytest.mark.parametrize("n_outputs", [None, 2])
@pytest.mark.parametrize("kwargs", [{}, {"kind": "interval"}])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("metric", PLAIN)
def test_quantiles_of_a_normal_change_nothing(metric, n_outputs, kwargs, weighted):
    (y, mean, std), _ = heavy(n_outputs=1 if metric is calibration_curve else n_outputs)
    normal = quantiles_of(mean, std, stats.norm)
    names = inspect.signature(metric).parameters
    given = {name: value for name, value in kwargs.items() if name in names}
    given["sample_weight"] = np.arange(len(y)) % 3.0 if weighted else None
    got, want = (metric(y, mean, std, quantiles=q, **given) for q in (normal, None))
    # CRPS is integrated, others are sums over the same levels.
    assert_allclose(got, want, rtol=1e-5 if metric is gaussian_crps else 1e-12)


def test_figures_are_those_of_the_quantiles():
    args, quantiles = heavy(20_000)
    y = args[0]
    for coverage in (0.5, 0.9):
        lower, upper = quantiles(np.array([0.5 - coverage / 2, 0.5 + coverage / 2])).T
        held = np.mean((lower <= y) & (y <= upper))
        given = {"quantiles": quantiles, "coverage": coverage}
        assert interval_coverage(*args, **given) == held
        assert_allclose(interval_coverage_error(*args, **given), abs(held - coverage))
        assert_allclose(mean_interval_width(*args, **given), np.mean(upper - lower))
        fine = np.maximum(lower - y, 0) + np.maximum(y - upper, 0)
        want = np.mean(upper - lower + 2 / (1 - coverage) * fine)
        assert_allclose(interval_score(*args, **given), want)
    for kind in ("quantile", "interval"):
        assert miscalibration_area(*args, quantiles=quantiles, kind=kind) < 0.01
        assert miscalibration_area(*args, kind=kind) > 0.02
        expected, observed = calibration_curve(*args, quantiles=quantiles, kind=kind)
        assert_allclose(observed, expected, atol=0.02)
        assert np.all(np.diff(observed) >= 0)
        assert (observed[0], observed[-1]) == (0.0, 1.0)
    report = uq_report(*args, quantiles=quantiles, output_dict=True)
    got = report["calibration"]["miscalibration_area_interval"]
    assert got == miscalibration_area(*args, quantiles=quantiles, kind="interval")
    got = report["intervals"][0.9]["coverage"]
    assert got == interval_coverage(*args, quantiles=quantiles, coverage=0.9)
    assert report["proper"]["crps"] == gaussian_crps(*args, quantiles=quantiles)


def test_quantiles_are_computed_once_and_are_those_of_the_samples_of_a_group():
    (y, mean, std), quantiles = heavy()
    counted = Mock(side_effect=quantiles)
    uq_report(y, mean, std, quantiles=counted)
    assert counted.call_count == 2  # for CRPS farther out, where others are infinite
    mean[3] = np.nan
    groups = np.arange(len(y)) % 2
    table = uq_by_group(
        y, mean, std, groups, quantiles=counted, metrics=["coverage_95"]
    )
    assert counted.call_count == 3
    for group in (0, 1):
        rows = (groups == group) & ~np.isnan(mean)
        held = share_inside(quantiles(np.array([0.025, 0.975]))[rows], y[rows])
        assert_allclose(table.loc[group, "coverage_95"], held)


def test_infinite_quantiles_hold_everything_and_wrong_ones_are_errors():
    (y, mean, std), _ = heavy(30)

    def endless(q):
        return np.tile(np.where(q < 0.5, -np.inf, np.inf), (len(y), 1))

    assert interval_coverage(y, mean, std, quantiles=endless) == 1.0
    assert mean_interval_width(y, mean, std, quantiles=endless) == np.inf
    args, quantiles = heavy(30)
    for wrong, error, message in [
        (quantiles(np.array([0.1])), TypeError, "expected a function of levels"),
        (lambda q: quantiles(q)[:9], ValueError, r"shape \(9, 2\) at 2 levels for 30"),
        (lambda q: quantiles(q)[:, :1], ValueError, "expected .n_samples, n_levels."),
        (lambda q: quantiles(q) * np.nan, ValueError, "NaN in the quantiles of 30"),
    ]:
        with pytest.raises(error, match=message):
            interval_coverage(*args, quantiles=wrong)


# --- estimators -----------------------------------------------------------------


@pytest.mark.parametrize("wrap", ["bare", "pipeline", "search", "frozen"])
@pytest.mark.parametrize("method", ["std", "isotonic", "conformal"])
def test_scorers_and_displays_use_recalibrated_quantiles(method, wrap, data):
    X, y = data
    model = CalibratedProbRegressor(BayesianRidge(), method=method)
    if wrap == "search":
        model = GridSearchCV(model, {"method": [method]}, cv=2)
    elif wrap == "pipeline":
        model = make_pipeline(StandardScaler(), model)
    model.fit(X[:400], y[:400])
    inner = {"pipeline": lambda: model[-1], "search": lambda: model.best_estimator_}
    own = inner.get(wrap, lambda: model)()
    Z = model[:-1].transform(X) if wrap == "pipeline" else X
    if wrap == "frozen":
        model = FrozenEstimator(model)
    X, Z, y = X[400:], Z[400:], y[400:]

    levels = np.linspace(0, 1, 100)[1:-1]
    observed = np.mean(y[:, None] <= own.predict_quantiles(Z, levels), axis=0)
    display = UQCalibrationDisplay.from_estimator(model, X, y)
    assert_allclose(display.observed[1:-1], observed)
    score = get_prob_scorer("neg_miscalibration_area")(model, X, y)
    assert score == -display.area
    assert display.area < 0.03

    held = share_inside(own.predict_interval(Z, 0.9), y)
    coverage = IntervalCoverageDisplay.from_estimator(model, X, y, coverages=[0.9])
    assert_allclose(coverage.observed, [held])
    scorer = make_prob_scorer(interval_coverage, greater_is_better=True, coverage=0.9)
    assert_allclose(scorer(model, X, y), held)

    few = slice(0, 50)
    parity = ParityDisplay.from_estimator(model, X[few], y[few], coverage=0.9)
    ends = np.array(parity.artist_[2][0].get_segments())[:, :, 1]
    assert_allclose(ends, own.predict_interval(Z[few], 0.9))

    # By the mean of quantile losses at 199 levels; extreme ones count little.
    levels = np.arange(1, 200) / 200
    below = y[:, None] - own.predict_quantiles(Z, levels)
    loss = 2 * np.mean(below * (levels - (below < 0)))
    assert_allclose(-get_prob_scorer("neg_crps")(model, X, y), loss, rtol=0.02)

    logs = own.predict_log_density(Z, y)
    assert_allclose(get_prob_scorer("neg_nll")(model, X, y), logs.mean())

    # Metrics of mean and std do not change.
    mean, std = own.predict(Z, return_std=True)
    gaussian = make_prob_scorer(
        metrics.gaussian_nll, greater_is_better=False, log_density=None
    )
    assert gaussian(model, X, y) == -metrics.gaussian_nll(y, mean, std)
    gaussian = make_prob_scorer(
        miscalibration_area, greater_is_better=False, quantiles=None
    )
    assert gaussian(model, X, y) == -miscalibration_area(y, mean, std)
    display = UQCalibrationDisplay.from_estimator(model, X, y, quantiles=None)
    assert display.area == miscalibration_area(y, mean, std)
    matplotlib.pyplot.close("all")


def test_quantiles_of_another_library_are_used(data):
    X, y = data
    model = Heavy().fit(X, y)
    mean, std = model.predict(X, return_std=True)
    quantiles = functools.partial(model.predict_quantiles, X)
    score = get_prob_scorer("neg_interval_score")(model, X, y)
    assert score == -interval_score(y, mean, std, quantiles=quantiles)
    assert score != -interval_score(y, mean, std)


def test_quantiles_of_a_transformed_target_are_calibrated():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 1))
    y = np.exp(X[:, 0] + 1.5 * rng.normal(size=2000))
    model = ProbTransformedTargetRegressor(
        BayesianRidge(), func=np.log, inverse_func=np.exp
    ).fit(X, y)
    assert get_prob_scorer("neg_miscalibration_area")(model, X, y) > -0.02
    assert miscalibration_area(y, *model.predict(X, return_std=True)) > 0.1
    around = CalibratedProbRegressor(model, method="isotonic").fit(X, y)
    assert get_prob_scorer("neg_miscalibration_area")(around, X, y) > -0.02


def test_one_prediction_is_enough(data):
    X, y = data
    names = ["neg_miscalibration_area", "neg_interval_score", "neg_nll", "r2"]
    scoring = prob_scoring(names)
    inner = CountingRidge()
    for model in (
        CalibratedProbRegressor(inner, cv=2),
        CalibratedProbRegressor(inner, cv=2, method="conformal"),
        ProbTransformedTargetRegressor(inner, func=np.cbrt, inverse_func=_cube),
    ):
        model.fit(X, y)
        CountingRidge.n_calls = 0
        scores = scoring(model, X, y)
        assert CountingRidge.n_calls == 1
        for name in names[:3]:
            assert scores[name] == get_prob_scorer(name)(model, X, y)
    # The package's own heads are normal: no quantiles, and no second prediction.
    head = VGPRegressor("linear", max_iter=0).fit(X[:50], y[:50])
    assert predict_distribution(head, X).quantiles is None
    results = cross_validate(model, X, y, cv=2, scoring=scoring, n_jobs=1)
    assert np.all(np.isfinite(results["test_neg_interval_score"]))


def _cube(t):
    return t**3
