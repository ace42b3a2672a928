"""Test pickles of networks in this process, in a fresh one and in workers."""

import importlib
import pickle
import subprocess
import sys
import threading

import cloudpickle
import joblib
import pytest
from keras_networks import ARRAYS, LAYER, X, builders, sequential, subclass
from networks import extract
from numpy.testing import assert_array_equal

from sklearn_unlocknn._keras import serialization
from sklearn_unlocknn._keras.network import NetworkHandle


@builders
def test_pickle_round_trip(K, build):
    net = build(K)
    arrays = ARRAYS.get(build.__name__, [X])
    handle = NetworkHandle.of(net)
    loaded = pickle.loads(pickle.dumps(handle))
    assert loaded is not handle
    assert loaded.model is not net
    assert loaded.library == K.__name__
    assert_array_equal(extract(loaded, arrays, -1), extract(handle, arrays, -1))
    layer = LAYER.get(build.__name__, -2)
    names = handle.resolve_layer(layer)
    assert loaded.checksum() == handle.checksum()
    assert loaded.identity(names) == handle.identity(names)
    assert_array_equal(extract(loaded, arrays, layer), extract(handle, arrays, layer))
    assert [type(layer) for layer in loaded.model.layers] == [
        type(layer) for layer in net.layers
    ]
    assert NetworkHandle.of(loaded.model) is loaded


def test_pickle_keeps_all_state(K, net):
    net.get_layer("hidden").trainable = False
    net(X, training=True)  # moves the seed of the dropout on
    loaded = pickle.loads(pickle.dumps(NetworkHandle.of(net))).model
    for before, after in zip(net.variables, loaded.variables, strict=True):
        assert_array_equal(before.numpy(), after.numpy())
    assert not loaded.get_layer("hidden").trainable
    if K.__name__ == "keras":
        draws = [m(X, training=True).numpy() for m in (net, loaded)]
        assert_array_equal(*draws)


def test_pickle_model_types(K):
    assert isinstance(
        pickle.loads(pickle.dumps(NetworkHandle.of(sequential(K)))).model, K.Sequential
    )
    loaded = pickle.loads(pickle.dumps(NetworkHandle.of(subclass(K)))).model
    assert type(loaded).__name__ == "Functional"

    class OwnSequential(K.Sequential):
        pass

    net = OwnSequential([K.Input((4,)), K.layers.Dense(2)])
    loaded = pickle.loads(pickle.dumps(NetworkHandle.of(net)))
    assert type(loaded.model) is K.Sequential
    assert_array_equal(
        extract(loaded, [X], -1), extract(NetworkHandle.of(net), [X], -1)
    )


def test_compiled_network_with_custom_loss_pickles(K, net):
    net.compile("adam", lambda a, b: (a - b) ** 2)
    loaded = pickle.loads(pickle.dumps(NetworkHandle.of(net)))
    assert_array_equal(
        extract(loaded, [X], -1), extract(NetworkHandle.of(net), [X], -1)
    )


CUSTOM_MODULE = """
import {K}

@{K}.saving.register_keras_serializable("test_package")
class Scale({K}.layers.Layer):
    def __init__(self, units=3, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.factor = factor
        self.inner = {K}.layers.Dense(units)

    def call(self, inputs):
        return self.factor * self.inner(inputs)

    def get_config(self):
        return {{**super().get_config(), "units": self.units, "factor": self.factor}}

def bent(x):
    return x + 0.1 * x * x

def build():
    inputs = {K}.Input((4,), name="x")
    hidden = Scale(name="scaled")({K}.layers.Dense(4, activation=bent)(inputs))
    return {K}.Model(inputs, {K}.layers.Dense(1)(hidden))
"""


LOAD = """
import pickle, numpy as np
X, handles = pickle.load(open("nets.pkl", "rb"))
for handle, expected in handles:
    np.testing.assert_array_equal(handle.run([X], "scaled")[0], expected)
"""


def test_pickle_with_custom_layers_loads_in_a_fresh_process(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    handles = []
    for name in ("keras", "tf_keras"):
        (tmp_path / f"own_{name}.py").write_text(CUSTOM_MODULE.format(K=name))
        handle = NetworkHandle.of(importlib.import_module(f"own_{name}").build())
        handles.append((handle, extract(handle, [X], "scaled")))
    (tmp_path / "nets.pkl").write_bytes(pickle.dumps((X, handles)))
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for name in ("keras", "tf_keras"):
        monkeypatch.delitem(sys.modules, f"own_{name}")


SCRIPT = """
import pickle, sys
import numpy as np
import {K} as K
from sklearn_unlocknn import ProbNNRegressor

FACTOR = np.float32(2.0)


def doubled(x):
    return FACTOR * x


@K.saving.register_keras_serializable("script")
class Registered(K.layers.Layer):
    def call(self, inputs):
        return doubled(inputs)


class Scaled(Registered):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        return self.factor * super().call(inputs)

    def get_config(self):
        return {{**super().get_config(), "factor": self.factor}}


class Inside(K.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = K.layers.Dense(3)

    def call(self, inputs):
        return doubled(self.dense(inputs))

    def get_config(self):
        return {{"name": self.name}}


inputs = K.Input((4,))
latent = Scaled(3.0)(K.layers.Dense(3, activation=doubled)(inputs))
network = K.Model(inputs, K.layers.Dense(1)(Registered()(Inside()(latent))))
X = np.random.default_rng(0).normal(size=(30, 4))
model = ProbNNRegressor(network, 2, "rbf", max_iter=2, random_state=0).fit(X, X[:, 0])
with open("model.pkl", "wb") as file:
    pickle.dump((model, X, model.predict(X)), file)
"""
LOAD_MODEL = """
import pickle, numpy as np
with open("model.pkl", "rb") as file:
    model, X, expected = pickle.load(file)
np.testing.assert_allclose(model.predict(X), expected, rtol=1e-6)
again = pickle.loads(pickle.dumps(model))
np.testing.assert_allclose(again.predict(X), expected, rtol=1e-6)
"""


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_pickle_with_layers_of_a_script_loads_in_a_fresh_process(library, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT.format(K=library))
    for command in (["script.py"], ["-c", LOAD_MODEL]):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_classes_that_cannot_be_pickled_are_named(K):
    lock = threading.Lock()

    class Locked(K.layers.Layer):
        def call(self, inputs):
            with lock:
                return inputs

    inputs = K.Input((4,))
    handle = NetworkHandle.of(K.Model(inputs, K.layers.Dense(1)(Locked()(inputs))))
    with pytest.raises(pickle.PicklingError, match=r"'Locked'.* in a module of their"):
        pickle.dumps(handle)


def with_local_classes(K):
    """Build a network of classes that no other process can import."""

    @K.saving.register_keras_serializable("notebook")
    class Local(K.layers.Layer):
        def __init__(self, units=3, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self.inner = K.layers.Dense(units)

        def call(self, inputs):
            return 2.0 * self.inner(inputs)

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    def bent(x):
        return x + 0.1 * x * x

    inputs = K.Input((4,))
    hidden = Local(name="scaled")(K.layers.Dense(4, activation=bent)(inputs))
    return K.Model(inputs, K.layers.Dense(1)(hidden))


def extract_and_return(handle):
    return handle, handle.run([X], "scaled")[0]


def test_local_classes_reach_loky_workers_and_come_back():
    handles = [
        NetworkHandle.of(with_local_classes(importlib.import_module(name)))
        for name in ("keras", "tf_keras")
    ]
    run = cloudpickle.loads(cloudpickle.dumps(extract_and_return))  # by value
    run.__module__ = "__main__"
    results = joblib.Parallel(n_jobs=2)(joblib.delayed(run)(h) for h in handles)
    for handle, (returned, value) in zip(handles, results, strict=True):
        assert_array_equal(value, extract(handle, [X], "scaled"))
        assert_array_equal(value, extract(returned, [X], "scaled"))
        assert returned.identity(("scaled",)) == handle.identity(("scaled",))


def test_error_of_a_layer_without_a_whole_configuration(K):
    class Broken(K.layers.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = units

        def call(self, inputs):
            return inputs

        def get_config(self):
            return {"name": self.name}

    inputs = K.Input((4,))
    net = K.Model(inputs, K.layers.Dense(1)(Broken(2)(inputs)))
    payload = serialization.dump(net)
    with pytest.raises(ValueError, match="Give every custom layer a `get_config`"):
        serialization.rebuild(payload)


def test_joblib_dump(net, tmp_path):
    handle = NetworkHandle.of(net)
    joblib.dump(handle, tmp_path / "net.joblib")
    first, second = (joblib.load(tmp_path / "net.joblib") for _ in range(2))
    assert first.model is not second.model
    assert_array_equal(extract(first, [X], -1), extract(handle, [X], -1))
