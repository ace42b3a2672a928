"""A search runs the network once for each sample."""

import itertools
import os
import pickle
import warnings
import weakref
from collections import deque
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
import tensorflow as tf
from _megnet.megnet_nets import make_megnet, make_structures
from counted import CountedMEGNet, counted_net, noted
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
)

from sklearn_unlocknn import MEGNetProbRegressor, ProbNNRegressor
from sklearn_unlocknn._features.cache import forget
from sklearn_unlocknn._gp import posterior
from sklearn_unlocknn._keras import network as keras_nets
from sklearn_unlocknn._keras.graph import limit_threads
from sklearn_unlocknn._keras.network import NetworkHandle
from sklearn_unlocknn._megnet import network as megnet_graphs
from sklearn_unlocknn._megnet.network import MEGNetSnapshot
from sklearn_unlocknn._parallel import run_tasks

GRID = {"kernel": ["rbf", "linear"], "n_inducing_points": [4, 8]}
CV = KFold(3)
HEAD = {"max_iter": 2, "hyper_subset_size": 30, "random_state": 0}
#: Backend and number of workers; processes need `memory` to share features.
WAYS = [("loky", 1), ("loky", 2), ("threading", 2)]


def sharing(model, backend, n_jobs, tmp_path):
    """Set `memory` if the search runs in several processes."""
    if backend == "loky" and n_jobs > 1:
        model.set_params(memory=tmp_path / "memory")
    return model


def grid_search(model, X, y, n_jobs):
    GridSearchCV(model, GRID, cv=CV, n_jobs=n_jobs).fit(X, y)


def randomized_search(model, X, y, n_jobs):
    RandomizedSearchCV(model, GRID, n_iter=3, cv=CV, n_jobs=n_jobs, random_state=0).fit(
        X, y
    )


def halving_search(model, X, y, n_jobs):
    HalvingGridSearchCV(
        model, GRID, cv=CV, n_jobs=n_jobs, min_resources=20, random_state=0
    ).fit(X, y)


def cross_validation(model, X, y, n_jobs):
    cross_validate(model, X, y, cv=CV, n_jobs=n_jobs)


def nested_search(model, X, y, n_jobs):
    search = GridSearchCV(model, {"n_inducing_points": [4, 8]}, cv=CV)
    cross_val_score(search, X, y, cv=CV, n_jobs=n_jobs)


SEARCHES = [
    grid_search,
    randomized_search,
    halving_search,
    cross_validation,
    nested_search,
]


@pytest.fixture
def keras_case(tmp_path, small_data):
    return ProbNNRegressor(counted_net(tmp_path / "log"), **HEAD), *small_data


@pytest.fixture(scope="module")
def tiny_megnet():
    return make_megnet(), make_structures(30)


_SEEDS = itertools.count(1)


@pytest.fixture
def megnet_case(tmp_path, tiny_megnet):
    network, _ = tiny_megnet
    X = make_structures(30, next(_SEEDS))  # workers of other tests still live
    y = np.random.default_rng(0).normal(size=len(X))
    return MEGNetProbRegressor(CountedMEGNet(network, tmp_path / "log"), **HEAD), X, y


@pytest.mark.parametrize(("backend", "n_jobs"), WAYS)
@pytest.mark.parametrize("search", SEARCHES)
def test_samples_of_a_keras_network(search, backend, n_jobs, keras_case, tmp_path):
    model, X, y = keras_case
    sharing(model, backend, n_jobs, tmp_path)
    with joblib.parallel_config(backend):
        search(model, X, y, n_jobs)
    assert sum(noted(tmp_path / "log")[0]) == len(X)


@pytest.mark.parametrize(("backend", "n_jobs"), WAYS)
@pytest.mark.parametrize("search", [grid_search, nested_search])
def test_structures_of_a_megnet(search, backend, n_jobs, megnet_case, tmp_path):
    model, X, y = megnet_case
    sharing(model, backend, n_jobs, tmp_path)
    with joblib.parallel_config(backend):
        search(model, X, y, n_jobs)
    assert sum(noted(tmp_path / "log")[0]) == len(X)


def test_features_of_a_search_in_processes_are_kept(keras_case, tmp_path):
    model, X, y = keras_case
    model.set_params(memory=tmp_path / "memory")
    GridSearchCV(model, GRID, cv=CV, n_jobs=2, refit=False).fit(X, y)
    rows, processes = noted(tmp_path / "log")
    assert sum(rows) == len(X)
    assert 1 <= len(processes) <= 2
    forget()
    clone(model).fit(X, y)
    assert sum(noted(tmp_path / "log")[0]) == len(X)


def test_equal_samples_are_run_once(keras_case, tmp_path):
    model, X, y = keras_case
    grid_search(model, np.vstack([X, X]), np.hstack([y, y]), 1)
    assert sum(noted(tmp_path / "log")[0]) == len(X)


# --- handles ----------------------------------------------------------------------


def test_network_of_a_path_is_loaded_once(
    keras3_net, small_data, tmp_path, monkeypatch
):
    keras3_net.save(tmp_path / "net.keras")
    loads, load = [], keras_nets.serialization.load

    def counted(path):
        loads.append(path)
        return load(path)

    monkeypatch.setattr(keras_nets.serialization, "load", counted)
    model = ProbNNRegressor(str(tmp_path / "net.keras"), **HEAD)
    grid_search(model, *small_data, 1)
    assert len(loads) == 1


def test_megnet_of_a_file_is_built_once(tiny_megnet, tmp_path, monkeypatch):
    network, X = tiny_megnet
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf-keras would like another format
        network.save_model(str(tmp_path / "net.hdf5"))
    builds, build = [], megnet_graphs.build_network

    def counted(state):
        builds.append(1)
        return build(state)

    monkeypatch.setattr(megnet_graphs, "build_network", counted)
    # without the handles of equal content that other tests keep
    monkeypatch.setattr(megnet_graphs, "_HANDLES", megnet_graphs.Recent(2))
    model = MEGNetProbRegressor(str(tmp_path / "net.hdf5"), **HEAD)
    grid_search(model, X, np.arange(30.0), 1)
    assert len(builds) == 1


def test_few_handles_are_kept(keras3_net, tmp_path, monkeypatch):
    monkeypatch.setattr(keras_nets, "_RECENT", deque(maxlen=2))
    for i in range(4):
        keras3_net.save(tmp_path / f"{i}.keras")
        NetworkHandle.of(tmp_path / f"{i}.keras")
    assert len(keras_nets._RECENT) == 2


def test_tasks_of_a_worker_share_what_they_unpickle(keras3_net):
    handle = NetworkHandle.of(keras3_net)
    with joblib.parallel_config("loky", n_jobs=2):
        ids = joblib.Parallel()(joblib.delayed(_identity)(handle) for _ in range(6))
    by_process = {}
    for process, model in ids:
        by_process.setdefault(process, set()).add(model)
    assert all(len(models) == 1 for models in by_process.values())


def _identity(handle):
    return os.getpid(), id(handle.model)


def test_what_is_unpickled_here_is_independent(keras3_net):
    content = pickle.dumps(NetworkHandle.of(keras3_net))
    first, second = pickle.loads(content), pickle.loads(content)
    assert first.model is not second.model


def test_equal_megnets_share_a_handle(tiny_megnet):
    network, _ = tiny_megnet
    assert MEGNetSnapshot.of(network) is MEGNetSnapshot.of(network)


# --- tasks ------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "held"), [(1, 2), (4, 8)])
def test_window_bounds_the_tasks_taken_ahead(window, held):
    taken = []

    def tasks():
        for i in range(20):
            taken.append(i)
            yield (i,)

    with joblib.parallel_config("threading"):
        results = run_tasks(sum, tasks(), 2, window)
        assert next(results) == 0
        assert len(taken) == held
        assert list(results) == list(range(1, 20))


def test_few_statistics_are_held_at_a_time(monkeypatch):
    alive, held = weakref.WeakSet(), []

    class Sums:
        def __iadd__(self, other):
            return self

    def sums_of_part(task):
        held.append(len(alive))
        alive.add(sums := Sums())
        return sums

    monkeypatch.setattr(posterior, "_statistics_of_part", sums_of_part)
    weights = np.ones(10 * posterior.PART_ROWS)
    samples = SimpleNamespace(weights=weights, part=lambda where: where)
    with joblib.parallel_config("threading", n_jobs=2):
        posterior.collect_statistics(*[np.ones((1, 1))] * 4, samples, None)
    assert len(held) == 10
    assert max(held) <= 3


# --- threads ----------------------------------------------------------------------


def _pools():
    limit_threads()
    tf.constant(1.0)
    threading = tf.config.threading
    return (
        threading.get_intra_op_parallelism_threads(),
        threading.get_inter_op_parallelism_threads(),
    )


def test_tensorflow_in_a_worker_has_the_threads_it_is_granted(monkeypatch):
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    get_reusable_executor().shutdown(wait=True)
    try:
        with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=3):
            got = joblib.Parallel()(joblib.delayed(_pools)() for _ in range(2))
        assert got == [(3, 3), (3, 3)]
    finally:
        get_reusable_executor().shutdown(wait=True)


def test_nothing_is_limited_outside_workers(monkeypatch):
    before = tf.config.threading.get_intra_op_parallelism_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    limit_threads()
    assert tf.config.threading.get_intra_op_parallelism_threads() == before
