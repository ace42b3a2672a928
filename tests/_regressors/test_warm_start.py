"""Stop and resume: the result is that of one go."""

import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.model_selection import GridSearchCV

from sklearn_unlocknn import VGPRegressor
from sklearn_unlocknn._gp import memo, training


@pytest.fixture(autouse=True)
def _nothing_remembered():
    memo._RESULTS.clear()


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 3))
    return X, np.sin(X[:, 0]) + 0.5 * X[:, 1] + 0.1 * rng.normal(size=150)


@pytest.fixture
def asked(monkeypatch):
    """Count evaluations of the marginal likelihood and of the bound of all rows."""
    calls = []

    def counted(real):
        def call(*args):
            calls.append(1)
            return real(*args)

        return call

    for name in ("exact_bound", "collapsed_bound"):
        monkeypatch.setattr(training, name, counted(getattr(training, name)))
    return calls


MODELS = {
    "exact": VGPRegressor(tol=0.0, random_state=0),
    "sparse": VGPRegressor("matern52_ard", 20, tol=0.0, random_state=0),
    "moved": VGPRegressor(
        "rbf", 10, optimize_inducing_points=True, tol=0.0, random_state=0
    ),
    "minibatch": VGPRegressor(
        "rbf", 10, solver="minibatch", batch_size=50, tol=0.0, random_state=0
    ),
    "minibatch, moved": VGPRegressor(
        "rbf", 10, solver="minibatch", batch_size=50, optimize_inducing_points=True,
        tol=0.0, random_state=0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_two_fits_are_one_with_the_sum_of_iterations(data, model):
    X, y = data
    want = clone(model).set_params(max_iter=9).fit(X, y)
    model = clone(model).set_params(max_iter=4, warm_start=True).fit(X, y)
    early = model.predict(X)
    memo._RESULTS.clear()  # as in another process
    model = pickle.loads(pickle.dumps(model))
    model.set_params(max_iter=5).fit(X, y)
    for got, whole in zip(
        model.predict(X, return_std=True), want.predict(X, return_std=True), strict=True
    ):
        assert_array_equal(got, whole)
    assert_array_equal(model.elbo_curve_, want.elbo_curve_)
    assert model.n_iter_ == want.n_iter_ == 9
    assert np.abs(model.predict(X) - early).max() > 0


@pytest.mark.parametrize("name", ["exact", "moved"])
def test_resuming_asks_for_no_known_value_again(data, asked, name):
    whole = clone(MODELS[name]).set_params(max_iter=9).fit(*data)
    n_whole = len(asked)
    memo._RESULTS.clear()
    model = clone(whole).set_params(max_iter=4, warm_start=True).fit(*data)
    memo._RESULTS.clear()
    model.set_params(max_iter=5).fit(*data)
    assert len(asked) == 2 * n_whole


@pytest.mark.parametrize("moved", [False, True])
def test_batches_go_on_where_they_stopped(moved, monkeypatch):
    """No epoch is repeated: the first stage is the same whatever max_iter is."""
    from sklearn_unlocknn._gp import minibatch, noise

    calls = []
    real = minibatch.batch_bound

    def counted(*args, **kwargs):
        calls.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(minibatch, "batch_bound", counted)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(noise.LEFT_OUT_ROWS + 500, 2))
    y = np.sin(2.0 * X[:, 0]) + 0.3 * rng.normal(size=len(X))
    model = VGPRegressor(
        "rbf", 10, solver="minibatch", batch_size=500, optimize_inducing_points=moved,
        hyper_subset_size=100, tol=0.0, max_iter=3, random_state=0,
    )  # fmt: skip
    want = clone(model).set_params(max_iter=5).fit(X, y)
    assert len(calls) == 5 * want.n_iter_
    calls.clear()
    model.set_params(warm_start=True).fit(X, y)
    early = model.n_iter_
    model = pickle.loads(pickle.dumps(model)).set_params(max_iter=2).fit(X, y)
    assert len(calls) == 5 * model.n_iter_
    assert_array_equal(model.elbo_curve_, want.elbo_curve_)
    for got, whole in zip(
        model.predict(X, return_std=True), want.predict(X, return_std=True), strict=True
    ):
        assert_array_equal(got, whole)
    assert early < model.n_iter_


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("parts", [(0, 5), (5, 0)])
def test_a_fit_of_no_iterations_changes_nothing(data, name, parts):
    want = clone(MODELS[name]).set_params(max_iter=5).fit(*data)
    model = clone(want).set_params(warm_start=True)
    for max_iter in parts:
        memo._RESULTS.clear()
        model.set_params(max_iter=max_iter).fit(*data)
    assert_array_equal(model.predict(data[0]), want.predict(data[0]))
    assert model.elbo_ == want.elbo_


def test_other_rows_start_at_the_fitted_hyperparameters(data):
    X, y = data
    model = VGPRegressor("rbf", warm_start=True, random_state=0).fit(X, y)
    theta = model.kernel_.theta
    model.set_params(max_iter=0).fit(X[:100], y[:100])
    assert_allclose(model.kernel_.theta, theta)
    model.set_params(max_iter=3).fit(X[:100], y[:100])
    direct = VGPRegressor("rbf", warm_start=True, random_state=0).fit(X, y)
    direct.set_params(max_iter=3).fit(X[:100], y[:100])
    assert_array_equal(model.kernel_.theta, direct.kernel_.theta)
    cold = clone(model).set_params(max_iter=0).fit(X[:100], y[:100])
    assert not np.allclose(cold.kernel_.theta, theta)


def test_without_warm_start_a_fit_starts_from_scratch(data):
    X, y = data
    model = VGPRegressor("rbf", max_iter=3, tol=0.0, random_state=0).fit(X, y)
    first = model.predict(X)
    assert_array_equal(model.fit(X, y).predict(X), first)
    assert model._progress is None


@pytest.mark.parametrize("n_points", [30, 4000])
def test_rows_added_after_a_pickle_give_the_model_of_one_go(data, n_points, tmp_path):
    X, y = data
    model = VGPRegressor("rbf", n_points, random_state=0).fit(X[:60], y[:60])
    whole = pickle.loads(pickle.dumps(model))
    for start in (60, 90, 120):
        whole.partial_fit(X[start : start + 30], y[start : start + 30])
    model.partial_fit(X[60:90], y[60:90])
    joblib.dump((model, X, y), tmp_path / "stopped.joblib")
    script = (
        "import joblib, sys\n"
        "model, X, y = joblib.load(sys.argv[1])\n"
        "model.partial_fit(X[90:120], y[90:120]).partial_fit(X[120:], y[120:])\n"
        "joblib.dump(model.predict(X, return_std=True), sys.argv[2])\n"
    )
    paths = [str(tmp_path / name) for name in ("stopped.joblib", "resumed.joblib")]
    subprocess.run([sys.executable, "-c", script, *paths], check=True)
    for got, want in zip(
        joblib.load(paths[1]), whole.predict(X, return_std=True), strict=True
    ):
        assert_allclose(got, want, rtol=1e-9, atol=1e-12)


# --- what the candidates of a search share ----------------------------------------


def test_candidates_share_hyperparameters_to_the_last_bit(data, asked):
    X, y = data
    grid = {"n_inducing_points": [10, 20, 4000], "mean": ["constant", "zero"]}
    model = VGPRegressor("rbf", random_state=0)
    search = GridSearchCV(model, grid, cv=3, refit=False).fit(X, y)
    shared = len(asked)
    asked.clear()
    alone = []
    for params in search.cv_results_["params"]:
        memo._RESULTS.clear()
        one = {name: [value] for name, value in params.items()}
        scores = GridSearchCV(model, one, cv=3, refit=False).fit(X, y).cv_results_
        alone.append([scores[f"split{i}_test_score"][0] for i in range(3)])
    assert shared * 3 == len(asked)
    got = [search.cv_results_[f"split{i}_test_score"] for i in range(3)]
    assert_array_equal(np.transpose(got), alone)


def test_candidates_share_cluster_centres(data, monkeypatch):
    from sklearn_unlocknn._gp import inducing

    calls = []
    real = inducing.MiniBatchKMeans

    def counted(*args, **kwargs):
        calls.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(inducing, "MiniBatchKMeans", counted)
    model = VGPRegressor(n_inducing_points=15, random_state=0)
    grid = {"kernel": ["rbf", "matern52", "rbf_ard"]}
    GridSearchCV(model, grid, cv=3, refit=False).fit(*data)
    assert len(calls) == 3


def test_memory_of_shared_results_is_bounded(data, monkeypatch):
    X, y = data
    monkeypatch.setattr(memo, "MAX_BYTES", 20_000)
    for seed in range(30):
        VGPRegressor("rbf_ard", 20, random_state=seed, max_iter=3).fit(X, y)
    assert 0 < sum(map(memo._size, memo._RESULTS.values())) <= 20_000


def test_another_kernel_takes_none_of_the_numbers(data):
    X, y = data
    model = VGPRegressor(ConstantKernel() * RBF(), warm_start=True, random_state=0).fit(
        X, y
    )
    model.set_params(kernel=RBF() * ConstantKernel(2.0), max_iter=0).fit(X, y)
    assert_allclose(model.kernel_.k1.length_scale, 1.0)
    assert_allclose(model.kernel_.k2.constant_value, 2.0)


def test_a_result_too_large_to_keep_leaves_the_others(monkeypatch):
    monkeypatch.setattr(memo, "MAX_BYTES", 1000)
    memo.remember("small", np.zeros(10))
    memo.remember("large", np.zeros(1000))
    assert memo.recall("small") is not None
    assert memo.recall("large") is None


def test_a_fit_that_fails_leaves_the_model_as_it_was(data):
    X, y = data
    model = VGPRegressor("rbf", 20, random_state=0).fit(X, y)
    before = model.predict(X, return_std=True)
    model.set_params(inducing_init=np.zeros((3, 99)))
    with pytest.raises(ValueError, match="inducing_init"):
        model.fit(100.0 * X, y)
    for got, want in zip(model.predict(X, return_std=True), before, strict=True):
        assert_array_equal(got, want)
