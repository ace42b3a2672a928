"""ProbTransformedTargetRegressor: closed forms, domains, scikit-learn's contract."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from compose.transformed import LOG, given
from numpy.testing import assert_allclose, assert_array_equal
from predictions import Given, share_inside
from scipy import integrate, stats
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import BayesianRidge, LinearRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.calibration import CalibratedProbRegressor
from sklearn_unlocknn.compose import ProbTransformedTargetRegressor
from sklearn_unlocknn.metrics import gaussian_nll, prob_scoring, uq_report


@parametrize_with_checks(
    [
        ProbTransformedTargetRegressor(),
        ProbTransformedTargetRegressor(
            BayesianRidge(), func=np.arcsinh, inverse_func=np.sinh
        ),
        ProbTransformedTargetRegressor(transformer=StandardScaler()),
        ProbTransformedTargetRegressor(
            VGPRegressor("linear", max_iter=0), transformer=StandardScaler()
        ),
        CalibratedProbRegressor(ProbTransformedTargetRegressor(), cv=2),
    ]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


# --- affine maps ----------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"transformer": StandardScaler()},
        {"transformer": MinMaxScaler((-1, 3))},
        {"transformer": RobustScaler()},
        {"func": lambda y: 7 - y / 1000, "inverse_func": lambda t: (7 - t) * 1000},
    ],
    ids=["identity", "standard", "minmax", "robust", "falling"],
)
def test_affine_maps_are_exact(params, skewed):
    X, y = skewed
    y = 1e4 + y
    model = ProbTransformedTargetRegressor(BayesianRidge(), **params).fit(X, y)
    assert model.affine_
    t_mean, t_std = model.regressor_.predict(X, return_std=True)
    back = model.transformer_.inverse_transform
    slope = back([[1.0]]) - back([[0.0]])
    mean, std = model.predict(X, return_std=True)
    assert_allclose(mean, back(t_mean[:, None])[:, 0], rtol=1e-12)
    assert_allclose(std, np.abs(slope[0, 0]) * t_std, rtol=1e-8)
    z = stats.norm.ppf(0.9)
    want = np.column_stack([mean - z * std, mean + z * std])
    assert_allclose(model.predict_interval(X, 0.8), want, rtol=1e-12)


def test_affine_std_has_no_rounding_of_the_mean():
    y = 1e8 + np.linspace(-1, 1, 50)
    model = given(y, transformer=StandardScaler())
    _, std = model.predict([[0.0, 1e-3]], return_std=True)
    assert_allclose(std, 1e-3 * y.std(), rtol=1e-9)


# --- monotone maps --------------------------------------------------------------


@pytest.mark.parametrize("s", [1e-3, 0.1, 1.0, 2.0])
def test_log_normal(s):
    m = np.array([-3.0, 0.0, 5.0])
    model = given(np.array([0.1, 1.0, 10.0]), **LOG)
    assert not model.affine_
    X = np.column_stack([m, np.full(3, s)])
    mean, std = model.predict(X, return_std=True)
    want = np.exp(m + s**2 / 2)
    assert_allclose(mean, want, rtol=1e-9)
    assert_allclose(std, want * np.sqrt(np.expm1(s**2)), rtol=1e-9)
    assert_array_equal(model.predict(X), mean)

    q = np.array([0.05, 0.5, 0.95])
    want = stats.lognorm(s, scale=np.exp(m)[:, None]).ppf(q)
    assert_allclose(model.predict_quantiles(X, q), want)
    assert_allclose(model.predict_interval(X, 0.9), want[:, [0, 2]])


def test_box_cox_is_its_integral():
    y = stats.gamma(2).rvs(200, random_state=0)
    model = given(y, transformer=PowerTransformer("box-cox"))
    back = model.transformer_.inverse_transform

    def moment(power, mean=0.0):
        return integrate.quad(
            lambda t: (back([[t]])[0, 0] - mean) ** power * stats.norm.pdf(t, 0.1, 0.4),
            -2, 2.5,
        )[0] / np.diff(stats.norm.cdf([-2, 2.5], 0.1, 0.4))[0]  # fmt: skip

    mean, std = model.predict([[0.1, 0.4]], return_std=True)
    want = moment(1)
    assert_allclose(mean, want, rtol=1e-5)
    assert_allclose(std, np.sqrt(moment(2, want)), rtol=1e-4)


def test_decreasing_maps_reverse_quantiles():
    y = np.linspace(0.5, 2, 30)
    rates = {"func": np.reciprocal, "inverse_func": np.reciprocal}
    model = given(y, **rates)
    lower, upper = model.predict_interval([[1.0, 0.1]], 0.8)[0]
    z = stats.norm.ppf(0.9)
    assert_allclose([lower, upper], [1 / (1 + 0.1 * z), 1 / (1 - 0.1 * z)])
    quantiles = model.predict_quantiles([[1.0, 0.1]], [0.1, 0.5, 0.7])[0]
    assert np.all(np.diff(quantiles) > 0)
    # Below zero a reciprocal is monotone too, but on the other side.
    assert model.predict_interval([[0.1, 0.2]], 0.9)[0, 1] > 1e9


def test_gaussian_is_truncated_where_the_square_is_not_monotone():
    roots = {"func": np.sqrt, "inverse_func": np.square}
    model = given(np.linspace(0.01, 4, 50), **roots)
    X = np.array([[3.0, 0.2], [0.3, 0.2], [1.0, 0.1]])
    with pytest.warns(UserWarning, match=r"1 of 3 predictions .* \(up to 7%\)"):
        mean, std = model.predict(X, return_std=True)
    for row in (0, 2):  # of a normal far from zero: m^2 + s^2, 2 s^2 (s^2 + 2 m^2)
        m2, s2 = X[row] ** 2
        assert_allclose(mean[row], m2 + s2)
        assert_allclose(std[row], np.sqrt(2 * s2 * (s2 + 2 * m2)))
    cut = stats.truncnorm(-1.5, np.inf, 0.3, 0.2)
    assert_allclose(mean[1], cut.moment(2), rtol=1e-5)
    assert_allclose(std[1], np.sqrt(cut.moment(4) - cut.moment(2) ** 2), rtol=1e-5)
    quantiles = model.predict_quantiles(X, [0.01, 0.05, 0.5, 0.95])
    assert_allclose(quantiles[1, 0], 0.0, atol=1e-9)
    assert np.all(np.diff(quantiles, axis=1) >= 0)
    # A prediction outside the domain is integrated from its edge.
    with pytest.warns(UserWarning, match="up to 100%"):
        mean, std = model.predict([[-10.0, 0.5]], return_std=True)
    cut = stats.truncnorm(20, np.inf, -10.0, 0.5)
    want = integrate.quad(lambda t: t**2 * cut.pdf(t), 0, 1, points=[0.01, 0.1])[0]
    assert_allclose(mean, want, rtol=1e-3)
    assert np.isfinite(std).all()


def test_overflow_is_infinite_and_nan_stays():
    model = given(np.array([0.1, 1.0, 10.0]), **LOG)
    X = np.array([[0.0, 100.0], [np.nan, 1.0], [0.0, 0.0], [1.0, np.nan], [0.0, 1.0]])
    mean, std = model.predict(X, return_std=True)
    assert_array_equal(np.isnan(mean), [False, True, False, True, False])
    assert_array_equal(np.isnan(std), np.isnan(mean))
    assert mean[0] == std[0] == np.inf
    assert (mean[2], std[2]) == (1.0, 0.0)
    interval = model.predict_interval(X)
    assert_array_equal(np.isnan(interval).all(axis=1), np.isnan(mean))
    assert np.all(interval[0] >= 0)


# --- several outputs ------------------------------------------------------------


def test_outputs_side_by_side():
    rng = np.random.default_rng(1)
    Y = np.exp(rng.normal(size=(60, 2)) * [0.3, 1.0])
    X = np.column_stack([rng.normal(size=(60, 2)), rng.uniform(0.1, 1, (60, 2))])
    both = given(Y, **LOG)
    for j in range(2):
        one = given(Y[:, j], **LOG)
        X_one = X[:, [j, j + 2]]
        got = [part[:, j] for part in both.predict(X, return_std=True)]
        assert_allclose(got, one.predict(X_one, return_std=True))
        interval = both.predict_interval(X)
        assert interval.shape == (60, 2, 2)
        assert_allclose(interval[:, :, j], one.predict_interval(X_one))
    with pytest.raises(ValueError, match="mixes the columns of y"):
        given(Y, transformer=PCA())


# --- in company -----------------------------------------------------------------


def test_scores_of_a_skewed_target(skewed):
    X, y = skewed
    plain = BayesianRidge()
    model = ProbTransformedTargetRegressor(plain, **LOG)
    assert uq_report(y, *model.fit(X, y).predict(X, return_std=True))
    scoring = prob_scoring(["neg_nll", "neg_interval_score", "r2"])
    by_log = cross_validate(model, X, y, cv=3, scoring=scoring)
    by_itself = cross_validate(plain, X, y, cv=3, scoring=scoring)
    for score in ("test_neg_nll", "test_neg_interval_score", "test_r2"):
        assert by_log[score].mean() > by_itself[score].mean()


@pytest.mark.parametrize("method", ["std", "isotonic", "conformal"])
def test_calibration_inside_and_outside(method, skewed):
    X, y = skewed
    inner = CalibratedProbRegressor(BayesianRidge(), method=method)
    inside = ProbTransformedTargetRegressor(inner, **LOG).fit(X, y)
    want = np.exp(clone(inner).fit(X, np.log(y)).predict_interval(X, 0.8))
    assert_allclose(inside.predict_interval(X, 0.8), want)
    piped = make_pipeline(StandardScaler(with_mean=False, with_std=False), inner)
    piped = ProbTransformedTargetRegressor(piped, **LOG).fit(X, y)
    assert_allclose(piped.predict_interval(X, 0.8), want)

    outside = CalibratedProbRegressor(
        ProbTransformedTargetRegressor(BayesianRidge(), **LOG), method=method
    ).fit(X, y)
    assert 0.7 < share_inside(outside.predict_interval(X, 0.8), y) < 0.9
    assert np.isfinite(gaussian_nll(y, *outside.predict(X, return_std=True)))


def test_infinite_intervals_stay_infinite_or_reach_the_limit():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 2)), rng.uniform(1, 2, size=12)
    inner = CalibratedProbRegressor(BayesianRidge(), method="conformal", cv=3)
    for params, lowest in ((LOG, 0.0), ({}, -np.inf)):
        model = ProbTransformedTargetRegressor(inner, **params).fit(X, y)
        with pytest.warns(UserWarning, match="infinite intervals"):
            interval = model.predict_interval(X, 0.95)
        assert_array_equal(interval, np.tile([lowest, np.inf], (12, 1)))


def test_search_over_transformers(skewed):
    X, y = skewed
    grid = {"transformer": [None, PowerTransformer(), StandardScaler()]}
    grid["regressor__alpha_1"] = [1e-6, 1.0]
    options = {"scoring": prob_scoring(["neg_nll"]), "refit": "neg_nll", "cv": 3}
    model = ProbTransformedTargetRegressor(BayesianRidge())
    search = GridSearchCV(model, grid, **options).fit(X, y)
    assert isinstance(search.best_params_["transformer"], PowerTransformer)
    loaded = pickle.loads(pickle.dumps(search))
    assert_array_equal(loaded.predict(X), search.predict(X))


def test_frames_weights_and_routing(skewed):
    X, y = skewed
    weights = np.linspace(0, 2, len(y))
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = ProbTransformedTargetRegressor(BayesianRidge(), **LOG)
    want = model.fit(frame, pd.Series(y), sample_weight=weights).predict(frame)
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    assert not np.allclose(want, model.fit(X, y).predict(X))
    with sklearn.config_context(
        enable_metadata_routing=True, transform_output="pandas"
    ):
        inner = BayesianRidge().set_fit_request(sample_weight=True)
        routed = ProbTransformedTargetRegressor(inner, **LOG)
        assert_allclose(routed.fit(X, y, sample_weight=weights).predict(X), want)
        scaled = ProbTransformedTargetRegressor(inner, transformer=StandardScaler())
        assert scaled.fit(X, y).affine_
    pairs = [(0.0, 1.0), (1.0, 0.5)] * 5  # not converted
    model = ProbTransformedTargetRegressor(Given(), **LOG)
    assert model.fit(pairs, np.arange(1.0, 11.0)).predict(pairs).shape == (10,)


def test_transformer_is_weighted_where_it_can_be(skewed):
    X, y = skewed
    counts = np.arange(len(y)) % 3
    repeated = np.repeat(y, counts)[:, None]
    for transformer, seen in [
        (StandardScaler(), repeated),
        (QuantileTransformer(n_quantiles=20), y[counts > 0, None]),
    ]:
        model = ProbTransformedTargetRegressor(
            transformer=transformer, check_inverse=False
        ).fit(X, y, sample_weight=counts)
        want = transformer.fit(seen).transform(repeated)
        assert_allclose(model.transformer_.transform(repeated), want)


# --- errors ---------------------------------------------------------------------


def sine(t):
    return np.sin(3 * t)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"func": np.log}, ValueError, "expected both or none"),
        ({"inverse_func": np.exp}, ValueError, "expected both or none"),
        ({"transformer": StandardScaler(), **LOG}, ValueError, "expected one of them"),
        ({"transformer": PCA, "check_inverse": False}, TypeError, "Cannot clone"),
        (
            {"func": np.sqrt, "inverse_func": sine, "check_inverse": False},
            ValueError,
            "not monotone",
        ),
        ({"regressor": LinearRegression()}, TypeError, "has no return_std"),
    ],
)
def test_messages_of_errors(params, error, message, skewed):
    X, y = skewed
    model = ProbTransformedTargetRegressor(BayesianRidge()).set_params(**params)
    with pytest.raises(error, match=message):
        model.fit(X, y).predict(X)


@pytest.mark.parametrize("check_inverse", [True, False])
@pytest.mark.parametrize("value", [-1.0, 0.0])
@pytest.mark.parametrize(
    "params",
    [
        LOG,
        {"transformer": FunctionTransformer(**LOG)},
        {"transformer": FunctionTransformer(**LOG, validate=True)},
    ],
    ids=["functions", "transformer", "validating"],
)
def test_targets_without_a_transformed_value_are_named(
    params, value, check_inverse, skewed
):
    X, y = skewed
    model = ProbTransformedTargetRegressor(**params, check_inverse=check_inverse)
    bad = np.where(np.arange(len(y)) % 30 == 3, value, y)
    message = rf"of {len(y)} targets are not finite.* sample 3: {value} .*defined for"
    with pytest.raises(ValueError, match=message):
        model.fit(X, bad)


def test_unusable_targets_and_transformers(skewed):
    X, y = skewed
    model = ProbTransformedTargetRegressor(BayesianRidge(), **LOG)
    flat = FunctionTransformer(np.ravel, np.ravel)
    twice = FunctionTransformer(lambda y: np.hstack([y, y]), np.ravel)
    assert ProbTransformedTargetRegressor(transformer=flat).fit(X, y).affine_
    with pytest.raises(
        ValueError, match=r"transformed y of shape \(150, 2\), expected"
    ):
        ProbTransformedTargetRegressor(transformer=twice).fit(X, y)
    with pytest.warns(UserWarning, match="does not return the targets"):
        ProbTransformedTargetRegressor(func=np.log, inverse_func=np.exp2).fit(X, y)
    one_way = FunctionTransformer()
    assert ProbTransformedTargetRegressor(transformer=one_way).fit(X, y).affine_
    with pytest.raises(ValueError, match="expected False: a covariance"):
        model.fit(X, y).predict(X, return_cov=True)
