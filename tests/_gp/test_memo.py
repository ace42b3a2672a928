"""Test what the candidates of a search share: hyperparameters and cluster centres."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp import inducing, memo, training


@pytest.fixture(autouse=True)
def _nothing_remembered():
    memo._RESULTS.clear()


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 3))
    return X, np.sin(X[:, 0]) + 0.5 * X[:, 1] + 0.1 * rng.normal(size=150)


def count_calls(monkeypatch, module, name):
    """Return a list that grows by one with each call of a function."""
    calls, original = [], getattr(module, name)

    def counted(*args, **kwargs):
        calls.append(name)
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)
    return calls


def test_candidates_share_hyperparameters_to_the_last_bit(data, monkeypatch):
    X, y = data
    calls = count_calls(monkeypatch, training, "exact_bound")
    grid = {"n_inducing_points": [10, 20, 4000], "mean": ["constant", "zero"]}
    model = VGPRegressor("rbf", random_state=0)
    search = GridSearchCV(model, grid, cv=3, refit=False).fit(X, y)
    shared = len(calls)
    calls.clear()
    alone = []
    for params in search.cv_results_["params"]:
        memo._RESULTS.clear()
        one = {name: [value] for name, value in params.items()}
        scores = GridSearchCV(model, one, cv=3, refit=False).fit(X, y).cv_results_
        alone.append([scores[f"split{i}_test_score"][0] for i in range(3)])
    assert shared * 3 == len(calls)
    got = [search.cv_results_[f"split{i}_test_score"] for i in range(3)]
    assert_array_equal(np.transpose(got), alone)


def test_candidates_share_cluster_centres(data, monkeypatch):
    calls = count_calls(monkeypatch, inducing, "MiniBatchKMeans")
    model = VGPRegressor(n_inducing_points=15, random_state=0)
    grid = {"kernel": ["rbf", "matern52", "rbf_ard"]}
    GridSearchCV(model, grid, cv=3, refit=False).fit(*data)
    assert len(calls) == 3


def test_remembered_results_are_bounded(monkeypatch):
    monkeypatch.setattr(memo, "MAX_BYTES", 1000)
    memo.remember("small", np.zeros(10))
    memo.remember("too large", np.zeros(1000))
    assert memo.recall("small") is not None
    assert memo.recall("too large") is None
    for number in range(20):
        memo.remember(number, np.zeros(20))
    kept = [number for number in range(20) if memo.recall(number) is not None]
    assert kept == list(range(14, 20))
    assert memo.recall("small") is None
