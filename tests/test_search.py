"""Test that a search runs the network once for each sample."""

import itertools
import os
import weakref
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
import tensorflow as tf
from _megnet.megnet_nets import make_structures, save_megnet
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
from sklearn_unlocknn._parallel import run_tasks

GRID = {"kernel": ["rbf", "linear"], "n_inducing_points": [4, 8]}
CV = KFold(3)
HEAD = {"max_iter": 2, "hyper_subset_size": 30, "random_state": 0}
#: Backend and number of workers; processes need `memory` to share features.
WAYS = [("loky", 1), ("loky", 2), ("threading", 2)]


def grid_search(model, X, y, n_jobs):
    GridSearchCV(model, GRID, cv=CV, n_jobs=n_jobs).fit(X, y)


def randomized_search(model, X, y, n_jobs):
    search = RandomizedSearchCV(model, GRID, n_iter=3, cv=CV, random_state=0)
    search.set_params(n_jobs=n_jobs).fit(X, y)


def halving_search(model, X, y, n_jobs):
    search = HalvingGridSearchCV(model, GRID, cv=CV, min_resources=20, random_state=0)
    search.set_params(n_jobs=n_jobs).fit(X, y)


def cross_validation(model, X, y, n_jobs):
    cross_validate(model, X, y, cv=CV, n_jobs=n_jobs)


def nested_search(model, X, y, n_jobs):
    search = GridSearchCV(model, {"n_inducing_points": [4, 8]}, cv=CV)
    cross_val_score(search, X, y, cv=CV, n_jobs=n_jobs)


@pytest.fixture
def keras_case(tmp_path, small_data):
    return ProbNNRegressor(counted_net(tmp_path / "log"), **HEAD), *small_data


_SEEDS = itertools.count(1)


@pytest.fixture
def megnet_case(tmp_path, tiny_net):
    X = make_structures(30, next(_SEEDS))  # workers of other tests still live
    y = np.random.default_rng(0).normal(size=len(X))
    return MEGNetProbRegressor(CountedMEGNet(tiny_net, tmp_path / "log"), **HEAD), X, y


@pytest.mark.parametrize(("backend", "n_jobs"), WAYS)
@pytest.mark.parametrize(
    ("case", "search"),
    [
        ("keras_case", grid_search),
        ("keras_case", randomized_search),
        ("keras_case", halving_search),
        ("keras_case", cross_validation),
        ("keras_case", nested_search),
        ("megnet_case", grid_search),
        ("megnet_case", nested_search),
    ],
)
def test_each_sample_is_run_once(case, search, backend, n_jobs, request, tmp_path):
    model, X, y = request.getfixturevalue(case)
    if (backend, n_jobs) == ("loky", 2):
        model.set_params(memory=tmp_path / "memory")
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


def test_megnet_of_a_file_is_not_built(tiny_net, tmp_path, monkeypatch):
    builds, build = [], megnet_graphs.build_network

    def counted(state):
        builds.append(1)
        return build(state)

    monkeypatch.setattr(megnet_graphs, "build_network", counted)
    # without the handles of equal content that other tests keep
    monkeypatch.setattr(megnet_graphs, "_HANDLES", {})
    model = MEGNetProbRegressor(str(save_megnet(tiny_net, tmp_path)), **HEAD)
    grid_search(model, make_structures(30), np.arange(30.0), 1)
    assert not builds  # NumPy runs it


def test_tasks_of_a_worker_share_the_unpickled_network(keras3_net):
    handle = NetworkHandle.of(keras3_net)
    with joblib.parallel_config("loky", n_jobs=2):
        ids = joblib.Parallel()(joblib.delayed(_identity)(handle) for _ in range(6))
    by_process = {}
    for process, model in ids:
        by_process.setdefault(process, set()).add(model)
    assert all(len(models) == 1 for models in by_process.values())


def _identity(handle):
    return os.getpid(), id(handle.model)


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


@pytest.mark.slow
def test_tensorflow_in_a_worker_has_the_threads_of_the_worker(monkeypatch):
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
