"""Scorers on bare, wrapped and searched estimators."""

import pickle

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose
from predictions import CountingRidge
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import RandomForestRegressor, StackingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import BayesianRidge, LinearRegression
from sklearn.metrics import get_scorer, mean_absolute_error
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn.metrics import (
    PROB_SCORERS,
    gaussian_nll,
    get_prob_scorer,
    interval_coverage,
    make_prob_scorer,
    prob_scoring,
)

NAMES = ["neg_nll", "neg_crps", "r2", "neg_root_mean_squared_error"]
CV = KFold(3)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(scale=[1.0, 10.0, 0.1], size=(60, 3))
    return X, X @ [1.0, 0.2, 3.0] + rng.normal(scale=0.5, size=60)


class MeanOnly(RegressorMixin, BaseEstimator):
    """Regressor that accepts return_std and returns no std."""

    def fit(self, X, y):
        self.mean_ = np.mean(y)
        return self

    def predict(self, X, return_std=False):
        return np.full(len(X), self.mean_)


def module_level_metric(y_true, y_pred, y_std, *, sample_weight=None, power=1):
    return float(np.average(y_std**power, weights=sample_weight))


@pytest.mark.parametrize("name", PROB_SCORERS)
def test_named_scorers(name, data):
    X, y = data
    estimator = BayesianRidge().fit(X, y)
    scorer = get_prob_scorer(name)
    value = scorer(estimator, X, y)
    assert type(value) is float
    assert np.isfinite(value)
    mean, std = estimator.predict(X, return_std=True)
    loss = scorer._metric(y, mean, std)
    assert value == (-loss if name.startswith("neg_") else loss)
    assert scorer(estimator, X, y, sample_weight=np.arange(60.0)) != value
    assert pickle.loads(pickle.dumps(scorer))(estimator, X, y) == value
    assert name.startswith("neg_") == repr(scorer).endswith("greater_is_better=False)")


def test_make_prob_scorer_takes_any_metric_and_keeps_keywords(data):
    X, y = data
    estimator = BayesianRidge().fit(X, y)
    scorer = make_prob_scorer(module_level_metric, greater_is_better=True, power=2)
    _, std = estimator.predict(X, return_std=True)
    weights = np.arange(60.0)
    for same in (scorer, pickle.loads(pickle.dumps(scorer)), clone(scorer, safe=False)):
        assert_allclose(same(estimator, X, y), np.mean(std**2))
        weighted = same(estimator, X, y, sample_weight=weights)
        assert_allclose(weighted, np.average(std**2, weights=weights))
        assert repr(same) == (
            "make_prob_scorer(module_level_metric, greater_is_better=True, power=2)"
        )


def test_errors_of_scorers_and_copies():
    higher = {"greater_is_better": True}
    for metric, kwargs, match in [
        (gaussian_nll, {}, "greater_is_better"),
        ("neg_nll", higher, r"Got metric='neg_nll'.*get_prob_scorer"),
        (interval_coverage, {**higher, "coverag": 0.9}, r"keywords \['coverag'\]"),
        (lambda y_true, y_pred: 0.0, higher, r"expected metric\(y_true, y_pred, y_std"),
    ]:
        with pytest.raises(TypeError, match=match):
            make_prob_scorer(metric, **kwargs)
    with pytest.raises(ValueError, match=r"Got 'nll', expected one of .*'neg_nll'"):
        get_prob_scorer("nll")
    with pytest.raises(ValueError, match=r"Got None, expected one of"):
        get_prob_scorer(None)
    assert get_prob_scorer("neg_nll") is not PROB_SCORERS["neg_nll"]


def nested(make):
    inner = make_pipeline(StandardScaler(), make())
    return Pipeline([("none", "passthrough"), ("inner", inner)])


WRAPPERS = {
    "bare": lambda make: make(),
    "short": lambda make: Pipeline([("only", make())]),
    "piped": lambda make: make_pipeline(StandardScaler(), make()),
    "nested": nested,
}


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("frozen", [False, True])
def test_wrapped_estimators_score_as_by_hand(wrap, routing, frozen, data):
    X, y = data
    with sklearn.config_context(enable_metadata_routing=routing):
        estimator = WRAPPERS[wrap](BayesianRidge).fit(X, y)
        if frozen:
            estimator = FrozenEstimator(estimator)
        value = get_prob_scorer("neg_nll")(estimator, X, y)
    Z = X if wrap in ("bare", "short") else StandardScaler().fit_transform(X)
    by_hand = BayesianRidge().fit(Z, y)
    expected = -gaussian_nll(y, *by_hand.predict(Z, return_std=True))
    assert_allclose(value, expected)


@pytest.mark.parametrize("routing", [False, True])
def test_fitted_searches_are_unwrapped(routing, data):
    X, y = data
    scorer = get_prob_scorer("neg_nll")
    grid = {"alpha_1": [1e-6, 1.0]}
    with sklearn.config_context(enable_metadata_routing=routing):
        model = GridSearchCV(BayesianRidge(), grid, scoring=scorer, cv=CV).fit(X, y)
        assert model.score(X, y) == scorer(model.best_estimator_, X, y)
        assert scorer(model, X, y) == scorer(model.best_estimator_, X, y)

        # pipeline around a search around a pipeline, frozen
        inner = make_pipeline(SelectKBest(f_regression), BayesianRidge())
        grid = {"selectkbest__k": [1, 3]}
        inner = GridSearchCV(inner, grid, scoring=scorer, cv=CV)
        outer = FrozenEstimator(make_pipeline(StandardScaler(), inner).fit(X, y))
        Z = StandardScaler().fit_transform(X)
        best = outer.estimator[-1].best_estimator_
        assert best[0].k == 3
        assert_allclose(scorer(outer, X, y), scorer(best, Z, y))


def test_keywords_passed_on_by_a_meta_estimator(data):
    X, y = data
    stack = StackingRegressor(
        [("a", LinearRegression())], final_estimator=BayesianRidge(), cv=CV
    ).fit(X, y)
    expected = -gaussian_nll(y, *stack.predict(X, return_std=True))
    assert get_prob_scorer("neg_nll")(stack, X, y) == expected
    stack.set_params(final_estimator=LinearRegression()).fit(X, y)
    with pytest.raises(TypeError, match=r"StackingRegressor.* refuses return_std"):
        get_prob_scorer("neg_nll")(stack, X, y)


def search(**params):
    return GridSearchCV(BayesianRidge(), {"alpha_1": [1e-6]}, cv=CV, **params)


@pytest.mark.parametrize(
    ("estimator", "match"),
    [
        *[
            (wrap(lambda: RandomForestRegressor(n_estimators=2)), "Forest.* no return_")
            for wrap in WRAPPERS.values()
        ],
        (StandardScaler(), "StandardScaler, which has no predict; expected .*VGP"),
        (MeanOnly(), r"MeanOnly, .* returned ndarray; expected .*VGP"),
        (
            TransformedTargetRegressor(BayesianRidge(), transformer=StandardScaler()),
            r"TransformedTargetRegressor.*compose.ProbTransformedTarget",
        ),
        (search(refit=False), "GridSearchCV with refit=False"),
    ],
)
def test_estimators_without_std(estimator, match, data):
    X, y = data
    error = ValueError if isinstance(estimator, GridSearchCV) else TypeError
    with pytest.raises(error, match=match):
        get_prob_scorer("neg_nll")(estimator.fit(X, y), X, y)


@pytest.mark.parametrize(
    "estimator", [*[wrap(BayesianRidge) for wrap in WRAPPERS.values()], search()]
)
def test_estimators_that_are_not_fitted(estimator, data):
    with pytest.raises(NotFittedError):
        get_prob_scorer("neg_nll")(estimator, *data)


class TestProbScoring:
    def test_scores_are_those_of_single_scorers_for_one_prediction(self, data):
        X, y = data
        estimator = CountingRidge().fit(X, y)
        parts = {
            name: get_prob_scorer(name) if name in PROB_SCORERS else get_scorer(name)
            for name in NAMES
        }
        for kwargs in ({}, {"sample_weight": np.arange(60.0)}):
            expected = {n: s(estimator, X, y, **kwargs) for n, s in parts.items()}
            CountingRidge.n_calls = 0
            scorer = pickle.loads(pickle.dumps(prob_scoring(NAMES)))
            assert scorer(estimator, X, y, **kwargs) == expected
            assert CountingRidge.n_calls == 1
            assert repr(scorer) == f"prob_scoring({NAMES})"

    def test_takes_a_mapping_and_a_single_name(self, data):
        X, y = data
        estimator = CountingRidge().fit(X, y)
        scorer = prob_scoring(
            {
                "loss": "neg_nll",
                "cover": make_prob_scorer(interval_coverage, greater_is_better=True),
                "mae": sklearn.metrics.make_scorer(mean_absolute_error),
                "own": lambda est, X, y: float(np.sum(est.predict(X) - y)),
            }
        )
        CountingRidge.n_calls = 0
        scores = scorer(estimator, X, y)
        assert CountingRidge.n_calls == 1
        mean, std = estimator.predict(X, return_std=True)
        assert scores == {
            "loss": -gaussian_nll(y, mean, std),
            "cover": interval_coverage(y, mean, std),
            "mae": mean_absolute_error(y, mean),
            "own": np.sum(mean - y),
        }
        assert list(prob_scoring("neg_crps")(estimator, X, y)) == ["neg_crps"]

    def test_errors(self):
        with pytest.raises(ValueError, match="Got no names"):
            prob_scoring([])
        with pytest.raises(ValueError, match=r"\['neg_nll'\] more than once"):
            prob_scoring(["neg_nll", "r2", "neg_nll"])
        with pytest.raises(ValueError, match=r"Got 'nll', expected.*'neg_nll'"):
            prob_scoring(["nll"])
        with pytest.raises(TypeError, match="Got 3, expected the name of a scorer"):
            prob_scoring({"x": 3})

    def test_gaussian_process_with_two_outputs(self, data):
        X, y = data
        Y = np.column_stack([y, y**2])
        gpr = GaussianProcessRegressor(RBF(5.0) + WhiteKernel(0.3), optimizer=None)
        model = make_pipeline(StandardScaler(), gpr).fit(X, Y)
        scores = prob_scoring(NAMES)(model, X, Y)
        assert_allclose(scores["r2"], model.score(X, Y))
        nll = -gaussian_nll(Y, *model.predict(X, return_std=True))
        assert_allclose(scores["neg_nll"], nll)


def test_grid_search_in_parallel(data):
    X, y = data
    model = make_pipeline(SelectKBest(f_regression), StandardScaler(), BayesianRidge())
    grid, options = {"selectkbest__k": [1, 2, 3]}, {"refit": "neg_nll", "n_jobs": 2}
    scoring = prob_scoring(NAMES)
    model = GridSearchCV(model, grid, scoring=scoring, cv=CV, **options).fit(X, y)
    assert model.best_params_ == {"selectkbest__k": 3}
    results = model.cv_results_
    assert np.argmax(results["mean_test_neg_nll"]) == model.best_index_
    for name in NAMES:
        assert np.isfinite(results[f"mean_test_{name}"]).all()
    again = pickle.loads(pickle.dumps(model))
    assert scoring(again, X, y) == scoring(model, X, y)


@pytest.mark.parametrize(
    "make_scoring", [lambda: get_prob_scorer("neg_nll"), lambda: prob_scoring(NAMES)]
)
def test_weights_by_metadata_routing(make_scoring, data):
    X, y = data
    weights = np.random.default_rng(0).uniform(size=60)
    refit = "neg_nll" if isinstance(make_scoring(), type(prob_scoring(NAMES))) else True
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_scoring().set_score_request(sample_weight=True)
        model = BayesianRidge().set_fit_request(sample_weight=False)
        model = search(scoring=scorer, refit=refit).set_params(estimator=model)
        model.fit(X, y, sample_weight=weights)
    expected = []
    for train, test in CV.split(X):
        prediction = BayesianRidge().fit(X[train], y[train]).predict(X[test], True)
        nll = gaussian_nll(y[test], *prediction, sample_weight=weights[test])
        expected.append(-nll)
    name = "score" if refit is True else refit
    measured = [model.cv_results_[f"split{i}_test_{name}"][0] for i in range(3)]
    assert_allclose(measured, expected)
    options = {"scoring": make_scoring(), "params": {"sample_weight": weights}}
    with sklearn.config_context(enable_metadata_routing=True):
        model = BayesianRidge().set_fit_request(sample_weight=True)
        with pytest.raises(ValueError, match=r"set as requested .*prob_scor"):
            cross_validate(model, X, y, **options)
