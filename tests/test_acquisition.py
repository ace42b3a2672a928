"""Test scores of what to measure next, and batches of them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as gpk
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn.acquisition import (
    expected_improvement,
    probability_of_exceeding,
    select_batch,
    upper_confidence_bound,
)

RNG = np.random.default_rng(0)
X = RNG.uniform(-2, 2, (25, 2))
y = np.sin(2 * X[:, 0]) + X[:, 1] + 0.1 * RNG.normal(size=25)
POOL = RNG.uniform(-2, 2, (60, 2))
KERNEL = gpk.ConstantKernel(1.5, "fixed") * gpk.RBF(0.8, "fixed")
NOISY = KERNEL + gpk.WhiteKernel(0.05, "fixed")


def fitted(X=X, y=y):
    return VGPRegressor(NOISY, mean="zero", max_iter=0, normalize_y=False).fit(X, y)


@pytest.mark.parametrize("maximize", [True, False])
def test_scores_are_means_over_draws(maximize):
    mean, std = np.array([0.3, -0.4, 1.2]), np.array([0.5, 1.0, 0.1])
    draws = mean[:, None] + std[:, None] * RNG.normal(size=(3, 400_000))
    gain = draws - 0.6 if maximize else 0.6 - draws
    got = expected_improvement(mean, std, 0.6, maximize=maximize)
    assert_allclose(got, np.maximum(gain, 0.0).mean(axis=1), atol=5e-3)
    got = probability_of_exceeding(mean, std, 0.6, maximize=maximize)
    assert_allclose(got, (gain > 0).mean(axis=1), atol=5e-3)
    sign = 1.0 if maximize else -1.0
    got = upper_confidence_bound(mean, std, 1.5, maximize=maximize)
    assert_allclose(got, sign * mean + 1.5 * std)


def test_scores_without_uncertainty_are_those_of_the_mean():
    zero = np.zeros(2)
    assert_array_equal(expected_improvement([1.0, 3.0], zero, 2.0), [0.0, 1.0])
    assert_array_equal(probability_of_exceeding([1.0, 3.0], zero, 2.0), [0.0, 1.0])


def test_bad_predictions_are_named():
    for mean, std, match in (
        ([1.0, 2.0], [1.0], r"shapes \(2,\) and \(1,\)"),
        ([[1.0, 2.0]], [[1.0, 1.0]], "Choose one target"),
        ([1.0], [-1.0], "none below 0"),
    ):
        with pytest.raises(ValueError, match=match):
            expected_improvement(mean, std, 0.0)


@pytest.mark.parametrize(
    ("acquisition", "kwargs"),
    [
        ("expected_improvement", {"best": 1.0}),
        ("upper_confidence_bound", {"kappa": 1.0}),
        ("probability_of_exceeding", {"threshold": 1.2}),
        ("variance", {}),
    ],
)
def test_a_batch_is_a_series_of_fits_to_predicted_targets(acquisition, kwargs):
    batch = select_batch(fitted(), POOL, 4, acquisition, **kwargs)
    known_X, known_y, kwargs, expected = X, y, dict(kwargs), []
    functions = {
        "expected_improvement": expected_improvement,
        "upper_confidence_bound": upper_confidence_bound,
        "probability_of_exceeding": probability_of_exceeding,
        "variance": lambda mean, std: std,
    }
    for _ in range(4):
        model = fitted(known_X, known_y)
        mean, std, _ = model.predict_components(POOL)
        score = functions[acquisition](mean, std, **kwargs)
        score[expected] = -np.inf
        chosen = int(np.argmax(score))
        expected.append(chosen)
        known_X = np.vstack([known_X, POOL[[chosen]]])
        known_y = np.append(known_y, mean[chosen])
        if "best" in kwargs:
            kwargs["best"] = max(kwargs["best"], mean[chosen])
    assert_array_equal(batch, expected)


def test_low_targets_are_high_ones_of_the_negative():
    high = select_batch(fitted(y=-y), POOL, 5, best=1.0)
    low = select_batch(fitted(), POOL, 5, best=-1.0, maximize=False)
    assert_array_equal(low, high)


def test_copies_of_a_sample_are_not_chosen_together():
    pool = np.vstack([POOL, POOL, POOL])
    batch = select_batch(fitted(), pool, 5, "variance")
    single = np.argsort(-fitted().predict_components(pool)[1])[:5]
    assert len(set(batch % 60)) == 5
    assert len(set(single % 60)) < 5


def test_costs_divide_the_gain():
    costs = np.ones(60)
    first = select_batch(fitted(), POOL, 1, best=1.0, costs=costs)
    costs[first] = 1e6
    batch = select_batch(fitted(), POOL, 3, best=1.0, costs=costs)
    assert first not in batch
    costs = np.full(60, 1e6)
    costs[[7, 11]] = 1.0
    assert set(select_batch(fitted(), POOL, 2, "variance", costs=costs)) == {7, 11}


def test_gaussian_process_of_scikit_learn_chooses_the_same_in_any_wrapper():
    kernel = KERNEL + gpk.WhiteKernel(1e-10, "fixed")
    scaled = StandardScaler().fit(X)
    other = GaussianProcessRegressor(KERNEL, optimizer=None).fit(scaled.transform(X), y)
    want = select_batch(other, scaled.transform(POOL), 4, best=1.0)
    ours = VGPRegressor(kernel, mean="zero", max_iter=0, normalize_y=False).fit(X, y)
    assert_array_equal(select_batch(ours, POOL, 4, best=1.0), want)
    wrapped = GridSearchCV(
        make_pipeline(
            StandardScaler(), GaussianProcessRegressor(KERNEL, optimizer=None)
        ),
        {},
        cv=2,
    ).fit(X, y)
    assert_array_equal(select_batch(wrapped, POOL, 4, best=1.0), want)


def test_a_large_pool_is_reduced_to_the_best_candidates():
    batch = select_batch(fitted(), POOL, 4, best=1.0, n_candidates=12)
    mean, std = fitted().predict(POOL, return_std=True)
    best = np.argsort(-expected_improvement(mean, std, 1.0))[:12]
    assert set(batch) <= set(best)
    whole = select_batch(fitted(), POOL, 60, best=1.0, n_candidates=1)
    assert_array_equal(np.sort(whole), np.arange(60))


def test_samples_without_a_prediction_are_not_chosen(tiny_frozen, crystals):
    from _megnet.megnet_nets import quick

    model = quick(tiny_frozen, on_error="nan").fit(crystals[:12], np.arange(12.0))
    pool = [*crystals[12:], "no file.cif"]
    batch = select_batch(model, pool, 12, best=11.0)
    assert_array_equal(np.sort(batch), np.arange(12))
    with pytest.raises(ValueError, match="n=13 for a pool of 12"):
        select_batch(model, pool, 13, best=11.0)


def test_bad_arguments_are_named():
    model = fitted()
    for args, kwargs, match in (
        ((0,), {"best": 1.0}, "n=0, expected an int"),
        ((2.5,), {"best": 1.0}, "n=2.5"),
        ((61,), {"best": 1.0}, "n=61 for a pool of 60"),
        ((2, "greedy"), {}, "acquisition='greedy', expected one of"),
        ((2,), {}, "best=None, which 'expected_improvement' needs"),
        ((2, "probability_of_exceeding"), {}, "threshold=None"),
        ((2, "variance"), {"costs": np.zeros(60)}, "60 positive numbers"),
        ((2, "variance"), {"costs": [1.0]}, r"costs of shape \(1,\)"),
        ((2, "upper_confidence_bound"), {"costs": np.ones(60)}, "no gain"),
        ((2, "variance"), {"n_candidates": 0}, "n_candidates=0"),
    ):
        with pytest.raises(ValueError, match=match):
            select_batch(model, POOL, *args, **kwargs)
    with pytest.raises(ValueError, match="2 targets, expected one"):
        select_batch(VGPRegressor("rbf").fit(X, X), POOL, 2, "variance")
    with pytest.raises(TypeError, match="BayesianRidge, whose predict has no return_c"):
        select_batch(BayesianRidge().fit(X, y), POOL, 2, "variance")
