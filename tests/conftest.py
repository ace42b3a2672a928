"""Share fixtures: tiny networks of both Keras libraries, MEGNets, small data."""

import importlib
import os

# On two processors two workers with pools of threads slow each other down.
for _pool in ("OMP_NUM", "OPENBLAS_NUM", "TF_NUM_INTRAOP", "TF_NUM_INTEROP"):
    os.environ.setdefault(f"{_pool}_THREADS", "1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from networks import build_net  # noqa: E402


@pytest.fixture(autouse=True)
def _no_features_from_other_tests():
    """Start each test with an empty feature cache, as a new process does."""
    from sklearn_unlocknn._features.cache import forget

    forget()


@pytest.fixture(autouse=True, scope="module")
def _no_idle_workers():
    """Stop joblib's workers after each test file: idle for minutes they may hang."""
    yield
    from joblib.externals.loky import reusable_executor

    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown(wait=True, kill_workers=True)


@pytest.fixture(params=["keras", "tf_keras"])
def K(request):
    """Return each Keras library: keras is version 3, tf_keras is version 2."""
    return importlib.import_module(request.param)


@pytest.fixture
def small_data():
    """Return 60 samples of 4 features and a smooth target with noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = np.sin(X[:, 0]) + 0.5 * X[:, 1] + 0.1 * rng.normal(size=60)
    return X, y


@pytest.fixture
def make_net():
    """Return the function ``make_net(K, name=, seed=, n_inputs=)``."""
    return build_net


@pytest.fixture
def net(K):
    """Return a net of either library: 4 inputs, layer "latent" of 5, 1 output."""
    return build_net(K)


@pytest.fixture
def keras3_net():
    """Return the same net of Keras 3, for tests that do not depend on the library."""
    return build_net(importlib.import_module("keras"))


@pytest.fixture
def count_rows(monkeypatch):
    """Return a list of the numbers of samples that pass through Keras networks."""
    from sklearn_unlocknn._keras.network import NetworkHandle

    counts = []
    original = NetworkHandle.run

    def run(self, inputs, *args):
        counts.append(len(inputs[0]))
        return original(self, inputs, *args)

    monkeypatch.setattr(NetworkHandle, "run", run)
    return counts


@pytest.fixture
def one_thread():
    """Return the environment of a process that computes on one thread."""
    names = ["OMP", "OPENBLAS", "MKL"]
    limits = {f"{name}_NUM_THREADS": "1" for name in names}
    limits |= {f"TF_NUM_{kind}_THREADS": "1" for kind in ("INTRAOP", "INTEROP")}
    return {**os.environ, **limits}


@pytest.fixture(scope="module")
def tiny_net():
    """Return a tiny MEGNet with random weights."""
    from _megnet.megnet_nets import make_megnet

    return make_megnet()


@pytest.fixture(scope="module")
def tiny_frozen(tiny_net):
    """Return a snapshot of the tiny MEGNet."""
    from sklearn_unlocknn._megnet.network import MEGNetSnapshot

    return MEGNetSnapshot.of(tiny_net)


@pytest.fixture(scope="module")
def crystals():
    """Return 24 crystals of fewer than ten atoms."""
    from _megnet.megnet_nets import make_structures

    return [crystal for crystal in make_structures(26) if len(crystal) < 10][:24]
