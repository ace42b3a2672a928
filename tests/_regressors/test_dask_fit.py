"""Test the pass over all samples on a Dask cluster that loses a worker."""

import joblib
import numpy as np
import pytest
from clusters import Killer, dask_client
from numpy.testing import assert_allclose
from sklearn.base import clone

from sklearn_unlocknn import VGPRegressor

MODEL = VGPRegressor("matern52", 300, random_state=0, max_iter=5)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200_000, 8))
    return X, np.sin(X[:, 0]) * X[:, 1] + 0.1 * rng.normal(size=len(X))


@pytest.fixture
def client():
    with dask_client() as client:
        yield client


@pytest.mark.filterwarnings("ignore:Sending large graph:UserWarning")
def test_fit_survives_the_loss_of_a_worker(data, client):
    X, y = data
    want = clone(MODEL).fit(X, y)
    with Killer(client) as killer, joblib.parallel_config("dask"):
        got = clone(MODEL).fit(X, y)
    assert killer.killed
    predictions = [model.predict(X[:1000], return_std=True) for model in (got, want)]
    assert_allclose(*predictions, rtol=1e-8, atol=1e-8)
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
