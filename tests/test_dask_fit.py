"""The pass over the rows on a real Dask cluster that loses a worker on the way."""

import os
import signal
import threading
import time

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from sklearn_unlocknn import VGPRegressor

distributed = pytest.importorskip("distributed")

MODEL = VGPRegressor("matern52", 300, random_state=0, max_iter=5)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200_000, 8))
    return X, np.sin(X[:, 0]) * X[:, 1] + 0.1 * rng.normal(size=len(X))


@pytest.fixture
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def kill_a_busy_worker(client, killed):
    """Wait until both workers compute, then kill one as no program can catch it."""
    while not killed:
        busy = [address for address, keys in client.processing().items() if keys]
        if len(busy) == 2:
            pid = client.run(os.getpid, workers=busy[:1])[busy[0]]
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        time.sleep(0.005)


@pytest.mark.filterwarnings("ignore:Sending large graph:UserWarning")
def test_fit_survives_the_loss_of_a_worker(data, client):
    X, y = data
    want = clone(MODEL).fit(X, y)
    workers = set(client.run(os.getpid).values())
    killed = []
    thread = threading.Thread(target=kill_a_busy_worker, args=(client, killed))
    thread.start()
    try:
        with joblib.parallel_config("dask"):
            got = clone(MODEL).fit(X, y)
    finally:
        early = not killed
        killed.append(None)
        thread.join()
    assert not early
    assert killed[0] in workers
    for a, b in zip(
        got.predict(X[:1000], return_std=True),
        want.predict(X[:1000], return_std=True),
        strict=True,
    ):
        assert_allclose(a, b, rtol=1e-8, atol=1e-8)
    assert_allclose(got.elbo_, want.elbo_, rtol=1e-10)


def test_one_job_leaves_the_cluster_alone(data, client):
    X, y = data
    model = clone(MODEL).set_params(n_jobs=1, max_iter=1)
    with joblib.parallel_config("dask"):
        model.fit(X, y)
    ran = client.run_on_scheduler(
        lambda dask_scheduler: sum(
            p.nbytes_total for p in dask_scheduler.task_prefixes.values()
        )
    )
    assert ran == 0
