"""Test searches and extraction on real clusters, one of which loses a worker."""

import os

import clusters
import joblib
import numpy as np
import pytest
from _megnet.megnet_nets import make_megnet, make_structures
from clusters import Killer, dask_client
from counted import counted_net, noted
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold

from sklearn_unlocknn import (
    KerasFeatureExtractor,
    MEGNetFeatureExtractor,
    ProbNNRegressor,
    VGPRegressor,
)
from sklearn_unlocknn._features.cache import forget
from sklearn_unlocknn._gp import posterior as gp_posterior
from sklearn_unlocknn._keras import network as keras_nets
from sklearn_unlocknn._megnet import network as megnet_graphs

GRID = {"kernel": ["rbf", "linear"], "n_inducing_points": [5, 10]}


@pytest.fixture
def client():
    with dask_client() as client:
        yield client


def wanted_and_got(run, **options):
    """Run in this process, then on the backend of `joblib.parallel_config`."""
    want = run()
    forget()
    with joblib.parallel_config(**options):
        return want, run()


def test_search_survives_the_loss_of_a_worker(client, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=300)
    model = ProbNNRegressor(
        # float32 features of a sample differ with its batch by more than 1e-8
        counted_net(tmp_path / "log", dtype="float64"), max_iter=3,
        hyper_subset_size=50, random_state=0,
    )  # fmt: skip
    splits = list(KFold(3).split(X))

    def run():
        return GridSearchCV(model, GRID, cv=splits).fit(X, y)

    want = run()
    forget()
    # Data that joblib scatters by itself is lost with its worker, and so is data of
    # which Dask's memory manager has deleted the other copy.
    client.amm.stop()
    data = [X, y, *sum(splits, ())]
    with Killer(client) as killer, joblib.parallel_config("dask", scatter=data):
        got = run()
    assert killer.killed
    scores = "mean_test_score"
    assert_allclose(got.cv_results_[scores], want.cv_results_[scores], rtol=1e-8)
    models = got.best_estimator_, want.best_estimator_
    predictions = [model.predict(X + 0.1, return_std=True) for model in models]
    assert_allclose(*predictions, rtol=1e-8, atol=1e-8)


@pytest.fixture
def shared_search(tmp_path):
    """Return 90 samples, and a search whose processes share features on disk."""
    model = ProbNNRegressor(
        counted_net(tmp_path / "log"), max_iter=2, hyper_subset_size=30,
        random_state=0, memory=tmp_path / "memory",
    )  # fmt: skip
    X = np.random.default_rng(0).normal(size=(90, 4))
    return X, GridSearchCV(model, GRID, cv=3)


def test_search_on_dask_runs_each_sample_once(client, shared_search, tmp_path):
    X, search = shared_search
    with joblib.parallel_config("dask"):
        search.fit(X, X[:, 0])
    rows, processes = noted(tmp_path / "log")
    assert sum(rows) == 90
    assert processes <= set(client.run(os.getpid).values()) | {os.getpid()}


def test_extraction_survives_the_loss_of_a_worker(client, monkeypatch):
    monkeypatch.setattr(megnet_graphs, "BLOCK", 4)
    structures = make_structures(60)
    structures[33] = None
    extractor = MEGNetFeatureExtractor(make_megnet(), batch_size=4, on_error="nan")
    want = extractor.fit(structures).transform(structures)
    forget()
    with Killer(client) as killer, joblib.parallel_config("dask"):
        got = extractor.transform(structures)
    assert killer.killed
    failed = np.isnan(want).any(axis=1)
    assert failed[33]
    assert failed.sum() < 5
    assert_allclose(got, want, rtol=1e-8, atol=1e-8)
    forget()
    with (
        joblib.parallel_config("dask"),
        pytest.raises(ValueError, match="Structure 33 "),
    ):
        extractor.set_params(on_error="raise").transform(structures)


def test_extraction_of_a_keras_network_on_dask(client, tmp_path, monkeypatch):
    monkeypatch.setattr(keras_nets, "BLOCK", 64)
    X = np.random.default_rng(0).normal(size=(500, 4))
    net = counted_net(tmp_path / "log")
    extractor = KerasFeatureExtractor(net, batch_size=32).fit(X)
    want, got = wanted_and_got(lambda: extractor.transform(X), backend="dask")
    assert_allclose(got, want, rtol=1e-8, atol=1e-8)
    rows, processes = noted(tmp_path / "log")
    assert sum(rows) == 1 + 1000  # fit runs one sample for the number of features
    assert processes > {os.getpid()}


@pytest.fixture(scope="module")
def ray():
    import ray
    from ray.util.joblib import register_ray

    # workers import the modules of these tests
    paths = [os.path.dirname(clusters.__file__), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        ray.init(num_cpus=2, include_dashboard=False)
    register_ray()
    yield ray
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_search_on_ray(ray, shared_search, tmp_path):
    X, search = shared_search
    with joblib.parallel_config("ray", n_jobs=2):
        got = clone(search).fit(X, X[:, 0])
    assert sum(noted(tmp_path / "log")[0]) == 90
    want = search.set_params(estimator__memory=None).fit(X, X[:, 0])
    scores = "mean_test_score"
    assert_allclose(got.cv_results_[scores], want.cv_results_[scores], rtol=1e-8)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_extraction_on_ray(ray, monkeypatch):
    monkeypatch.setattr(megnet_graphs, "BLOCK", 4)
    structures = make_structures(30)
    extractor = MEGNetFeatureExtractor(make_megnet(), batch_size=4).fit(structures)
    want, got = wanted_and_got(
        lambda: extractor.transform(structures), backend="ray", n_jobs=2
    )
    assert_allclose(got, want, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_fit_on_ray(ray, monkeypatch):
    monkeypatch.setattr(gp_posterior, "PART_ROWS", 500)
    X = np.random.default_rng(0).normal(size=(3000, 3))
    y = np.sin(X[:, 0]) + 0.1 * X[:, 1]
    model = VGPRegressor("matern52", 50, random_state=0, max_iter=5)
    want, got = wanted_and_got(
        lambda: model.fit(X, y).predict(X, return_std=True), backend="ray", n_jobs=2
    )
    assert_allclose(got, want, rtol=1e-8, atol=1e-8)
