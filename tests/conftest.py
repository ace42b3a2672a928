"""Fixtures that several test files use: tiny networks of both Keras, small data."""

import importlib
import os

# Two workers on two cores, each with pools of threads, wait for each other.
for _pool in ("OMP_NUM", "OPENBLAS_NUM", "TF_NUM_INTRAOP", "TF_NUM_INTEROP"):
    os.environ.setdefault(f"{_pool}_THREADS", "1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def _no_features_from_other_tests():
    """Start each test with an empty feature cache, as a new process does."""
    from sklearn_unlocknn._features import shards as _shards

    _shards.forget()


@pytest.fixture(autouse=True, scope="module")
def _no_idle_workers():
    """Stop joblib's workers after a file: after minutes idle they may hang."""
    yield
    from joblib.externals.loky import reusable_executor

    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown(wait=True, kill_workers=True)


@pytest.fixture(params=["keras", "tf_keras"])
def K(request):
    """Give each Keras library: keras is version 3, tf_keras is version 2."""
    return importlib.import_module(request.param)


@pytest.fixture
def small_data():
    """Give 60 rows of 4 features and a smooth target with noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = np.sin(X[:, 0]) + 0.5 * X[:, 1] + 0.1 * rng.normal(size=60)
    return X, y


def build_net(K, name="net", seed=0, n_inputs=4):
    """Build a functional net with batch normalisation and dropout, not trivial ones."""
    inputs = K.Input((n_inputs,), name="x")
    hidden = K.layers.Dense(
        8,
        activation="tanh",
        name="hidden",
        kernel_initializer=K.initializers.GlorotUniform(seed=seed),
    )(inputs)
    normed = K.layers.BatchNormalization(name="norm")(hidden)
    dropped = K.layers.Dropout(0.5, name="drop", seed=1)(normed)
    latent = K.layers.Dense(
        5,
        activation="relu",
        name="latent",
        kernel_initializer=K.initializers.GlorotUniform(seed=seed + 1),
    )(dropped)
    outputs = K.layers.Dense(
        1,
        name="out",
        kernel_initializer=K.initializers.GlorotUniform(seed=seed + 2),
    )(latent)
    net = K.Model(inputs, outputs, name=name)
    gamma, beta, _, _ = net.get_layer("norm").get_weights()
    rng = np.random.default_rng(seed)
    moments = [rng.normal(size=8), rng.uniform(0.5, 2, size=8)]
    net.get_layer("norm").set_weights([gamma, beta, *moments])
    return net


@pytest.fixture
def make_net():
    """Give the function ``make_net(K, name=, seed=, n_inputs=)``."""
    return build_net


@pytest.fixture
def net(K):
    """Give a functional net of either library: 4 inputs, layer "latent" of 5, 1 out."""
    return build_net(K)


@pytest.fixture
def keras3_net():
    """Give the same net, Keras 3 only: for what does not depend on the library."""
    return build_net(importlib.import_module("keras"))


@pytest.fixture
def one_thread():
    """Give the environment of a process that computes on one thread."""
    names = ["OMP", "OPENBLAS", "MKL"]
    limits = {f"{name}_NUM_THREADS": "1" for name in names}
    limits |= {f"TF_NUM_{kind}_THREADS": "1" for kind in ("INTRAOP", "INTEROP")}
    return {**os.environ, **limits}


@pytest.fixture(scope="module")
def tiny_net():
    """Give a tiny MEGNet with random weights."""
    from _megnet.megnet_nets import make_megnet

    return make_megnet()


@pytest.fixture(scope="module")
def tiny_frozen(tiny_net):
    """Give it frozen."""
    from sklearn_unlocknn._megnet.network import MEGNetSnapshot

    return MEGNetSnapshot.of(tiny_net)


@pytest.fixture(scope="module")
def crystals():
    """Give 24 crystals of less than ten atoms."""
    from _megnet.megnet_nets import make_structures

    return [crystal for crystal in make_structures(26) if len(crystal) < 10][:24]
