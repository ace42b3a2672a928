"""Intervals, quantiles and other methods through pipelines and searches."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import BayesianRidge, LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.calibration import CalibratedProbRegressor
from sklearn_unlocknn.compose import ProbTransformedTargetRegressor
from sklearn_unlocknn.prediction import (
    domain_score,
    nearest_training,
    predict_interval,
    predict_mean_std,
    predict_quantiles,
    unwrap,
)

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3)) * [1.0, 5.0, 0.1]
Y = np.column_stack([X[:, 0], np.sin(X[:, 1])]) + 0.1 * rng.normal(size=(60, 2))
SCALED = StandardScaler().fit_transform(X)
LEVELS = [0.1, 0.5, 0.95]


def search_of(estimator):
    return GridSearchCV(estimator, {}, cv=2)


WRAPPERS = {
    "bare": lambda inner: inner,
    "pipeline": lambda inner: make_pipeline(StandardScaler(), inner),
    "search": search_of,
    "search of a pipeline": lambda inner: search_of(
        make_pipeline(StandardScaler(), inner)
    ),
    "pipeline of a search": lambda inner: make_pipeline(
        StandardScaler(), search_of(inner)
    ),
    "frozen": lambda inner: FrozenEstimator(inner.fit(X, Y)),
}


@pytest.mark.parametrize("y", [Y[:, 0], Y], ids=["one output", "two"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_functions_equal_the_methods_of_the_regressor_inside(wrapper, y):
    inner = VGPRegressor("rbf", max_iter=3, random_state=0)
    at = SCALED if "pipeline" in wrapper else X
    model = WRAPPERS[wrapper](inner).fit(X, y)
    if wrapper == "frozen":
        y = Y
    bare = VGPRegressor("rbf", max_iter=3, random_state=0).fit(at, y)
    for got, want in zip(
        predict_mean_std(model, X), bare.predict(at, return_std=True), strict=True
    ):
        assert_allclose(got, want)
    quantiles = predict_quantiles(model, X, LEVELS)
    assert_allclose(quantiles, bare.predict_quantiles(at, LEVELS))
    assert_allclose(predict_interval(model, X, 0.8), bare.predict_interval(at, 0.8))
    found, features = unwrap(model, X)
    assert type(found) is VGPRegressor
    assert_allclose(found.sample_y(features), bare.sample_y(at))
    assert_allclose(found.predict_components(features), bare.predict_components(at))


def test_an_estimator_without_quantiles_has_those_of_a_gaussian():
    model = search_of(make_pipeline(StandardScaler(), BayesianRidge()))
    mean, std = predict_mean_std(model.fit(X, Y[:, 0]), X)
    got = predict_quantiles(model, X, LEVELS)
    assert_allclose(got, norm.ppf(LEVELS, mean[:, None], std[:, None]))
    ends = predict_quantiles(model, X, [0.025, 0.975])
    assert_allclose(predict_interval(model, X), ends)


def test_an_estimator_with_quantiles_of_another_shape_keeps_them():
    inner = CalibratedProbRegressor(BayesianRidge(), method="conformal")
    model = make_pipeline(StandardScaler(), inner).fit(X, Y[:, 0])
    got = predict_interval(model, X, 0.8)
    assert_array_equal(got, inner.predict_interval(SCALED, 0.8))
    mean, std = predict_mean_std(model, X)
    assert not np.allclose(got[:, 0], mean - norm.ppf(0.9) * std)


def test_errors_name_the_estimator():
    model = make_pipeline(LinearRegression()).fit(X, Y)
    with pytest.raises(TypeError, match="LinearRegression, whose predict has no"):
        predict_interval(model, X)
    search = GridSearchCV(BayesianRidge(), {}, refit=False).fit(X, Y[:, 0])
    with pytest.raises(ValueError, match="GridSearchCV with refit=False"):
        unwrap(search, X)
    for q in (0.0, [0.5, 1.0], [[0.5]]):
        with pytest.raises(ValueError, match="expected levels inside"):
            predict_quantiles(model, X, q)
    with pytest.raises(ValueError, match="Got coverage=95"):
        predict_interval(model, X, 95)


# --- domain -------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_domain_functions_equal_the_methods_of_the_regressor_inside(wrapper):
    inner = VGPRegressor("rbf", max_iter=3, random_state=0)
    at = SCALED if "pipeline" in wrapper else X
    model = WRAPPERS[wrapper](inner).fit(X, Y)
    bare = VGPRegressor("rbf", max_iter=3, random_state=0).fit(at, Y)
    assert_allclose(domain_score(model, X), bare.domain_score(at), rtol=1e-6)
    score, rank = domain_score(model, X, return_rank=True)
    assert score.shape == rank.shape == (60,)
    table = nearest_training(model, X, n_neighbors=2)
    assert_array_equal(table["index"], bare.nearest_training(at, 2)["index"])


def test_domain_functions_reach_into_wrapping_regressors():
    inner = VGPRegressor("rbf", max_iter=3, random_state=0)
    inner = ProbTransformedTargetRegressor(inner, func=np.log, inverse_func=np.exp)
    y = np.exp(Y[:, 0])
    for model in (
        inner,
        make_pipeline(StandardScaler(), CalibratedProbRegressor(inner)),
    ):
        model.fit(X, y)
        assert domain_score(model, X).shape == (60,)
        table = nearest_training(model, X, n_neighbors=1)
        assert set(table["target"].round(9)) <= set(Y[:, 0].round(9))


def test_estimators_without_a_domain_are_named():
    model = make_pipeline(StandardScaler(), BayesianRidge()).fit(X, Y[:, 0])
    with pytest.raises(TypeError, match="BayesianRidge, which has no domain_score"):
        domain_score(model, X)
    with pytest.raises(TypeError, match="BayesianRidge, which has no nearest_train"):
        nearest_training(model, X)
