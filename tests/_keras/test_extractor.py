import copy
import importlib
import pickle
import subprocess
import sys
import textwrap

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_unlocknn import KerasFeatureExtractor
from sklearn_unlocknn._keras.extractor import NetworkFeaturesMixin
from sklearn_unlocknn._keras.network import NetworkHandle


@parametrize_with_checks([KerasFeatureExtractor()])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


A = np.random.default_rng(0).normal(size=(6, 3))


@pytest.fixture
def count_rows(monkeypatch):
    """Take down how many rows go through any network."""
    rows = []
    original = NetworkHandle._run

    def run(self, inputs, *args):
        rows.append(len(inputs[0]))
        return original(self, inputs, *args)

    monkeypatch.setattr(NetworkHandle, "_run", run)
    return rows


# --- features -------------------------------------------------------------------


def test_transform(net, small_data):
    X, _ = small_data
    extractor = KerasFeatureExtractor(net, layer="latent").fit(X)
    features = extractor.transform(X)
    assert features.shape == (60, 5)
    assert features.dtype == np.float64
    assert_allclose(features, NetworkHandle.of(net).extract([X.astype("f4")], -2))
    assert extractor.n_features_in_ == 4
    assert extractor.n_features_out_ == 5
    assert extractor.network_ is NetworkHandle.of(net)
    assert extractor.network_.model is net
    assert_allclose(extractor.transform(X[:1]), features[:1], rtol=1e-5, atol=1e-7)


def test_list_of_layers(keras3_net, small_data):
    X, _ = small_data
    both = KerasFeatureExtractor(keras3_net, ["hidden", -2]).fit_transform(X)
    one = KerasFeatureExtractor(keras3_net, "hidden").fit_transform(X)
    assert both.shape == (60, 13)
    assert_allclose(both[:, :8], one)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, object])
def test_dtypes(keras3_net, dtype):
    X = np.arange(8).reshape(2, 4)
    expected = KerasFeatureExtractor(keras3_net).fit_transform(X.astype(float))
    got = KerasFeatureExtractor(keras3_net).fit_transform(X.astype(dtype))
    assert_array_equal(got, expected)
    assert_array_equal(KerasFeatureExtractor(keras3_net).fit_transform(X.tolist()), got)


def test_names_and_set_output(keras3_net, small_data):
    frame = pd.DataFrame(small_data[0], columns=list("pqrs"), index=range(60, 0, -1))
    extractor = KerasFeatureExtractor(keras3_net).set_output(transform="pandas")
    result = extractor.fit_transform(frame)
    names = [f"kerasfeatureextractor{i}" for i in range(5)]
    assert list(result.columns) == list(extractor.get_feature_names_out()) == names
    assert_array_equal(result.index, frame.index)
    assert_array_equal(extractor.feature_names_in_, list("pqrs"))
    with pytest.raises(ValueError, match="feature names"):
        extractor.transform(frame[list("qprs")])


def test_images_flat_or_not(K):
    images = load_digits().images[:10]
    inputs = K.Input((8, 8, 1))
    maps = K.layers.Conv2D(2, 3, name="maps")(inputs)
    net = K.Model(inputs, K.layers.Dense(1)(K.layers.Flatten()(maps)))
    extractor = KerasFeatureExtractor(net, layer="maps")
    flat = extractor.fit_transform(images.reshape(10, 64))
    assert flat.shape == (10, 72)
    assert_array_equal(extractor.fit_transform(images[..., None]), flat)


def test_free_length(K):
    inputs = K.Input((None, 2))
    net = K.Model(inputs, K.layers.Dense(1)(K.layers.LSTM(3, name="end")(inputs)))
    steps = np.zeros((4, 5, 2))
    extractor = KerasFeatureExtractor(net, layer="end").fit(steps)
    assert extractor.transform(np.zeros((3, 9, 2))).shape == (3, 3)
    inputs = K.Input((None, 2))
    same = K.layers.Dense(2, name="each")(inputs)
    net = K.Model(inputs, K.layers.GlobalAveragePooling1D()(same))
    extractor = KerasFeatureExtractor(net, layer="each").fit(steps)
    with pytest.raises(ValueError, match="gives 8 features for X, but gave 10 in fit"):
        extractor.transform(np.zeros((4, 4, 2)))


def test_purely_subclassed_model(K):
    class Pure(K.Model):
        def __init__(self):
            super().__init__()
            self.dense = K.layers.Dense(3)

        def call(self, inputs):
            return self.dense(inputs)

    net = Pure()
    expected = np.asarray(net(A.astype("f4")))
    extractor = KerasFeatureExtractor(net, layer=-1)
    assert_allclose(extractor.fit_transform(A), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="pass a functional model"):
        KerasFeatureExtractor(net, layer=-2).fit(A)


def test_path(keras3_net, small_data, tmp_path):
    X, _ = small_data
    keras3_net.save(tmp_path / "net.keras")
    expected = KerasFeatureExtractor(keras3_net).fit_transform(X)
    path = str(tmp_path / "net.keras")
    extractor = KerasFeatureExtractor(path).fit(X)
    assert extractor.network == path
    assert clone(extractor).network == path
    assert_allclose(extractor.transform(X), expected)
    loaded = pickle.loads(pickle.dumps(extractor))
    (tmp_path / "net.keras").unlink()
    assert_allclose(loaded.transform(X), expected)


# --- errors ---------------------------------------------------------------------


def test_wrong_feature_count(keras3_net):
    with pytest.raises(
        ValueError, match=r"X has 3 features \(shape \(6, 3\)\).*'x', which takes 4"
    ):
        KerasFeatureExtractor(keras3_net).fit(A)
    extractor = KerasFeatureExtractor(keras3_net).fit(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="X has 3 features, but KerasFeature"):
        extractor.transform(A)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_not_finite(keras3_net, value):
    with pytest.raises(
        ValueError, match=r"contains NaN|infinity|too large for float32"
    ):
        KerasFeatureExtractor(keras3_net).fit([[0.0, 1.0, 2.0, value]])


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"layer": "nope"}, ValueError, "Got `layer`='nope', expected an index"),
        ({"layer": 40}, ValueError, "Got `layer`=40"),
        ({"memory": 3}, ValueError, "Got `memory`=3"),
        ({"batch_size": 0}, ValueError, "Got `batch_size`=0, expected an integer"),
        ({"batch_size": None}, ValueError, "Got `batch_size`=None"),
        ({"network": "net.txt"}, ValueError, "expected a file ending in"),
        ({"network": "none.keras"}, FileNotFoundError, "no such file"),
        ({"network": 7}, TypeError, "expected a keras"),
        ({"network": Ridge()}, ValueError, "needs y"),
    ],
)
def test_parameters_are_judged_in_fit(keras3_net, params, error, message):
    extractor = KerasFeatureExtractor(**{"network": keras3_net, **params})
    with pytest.raises(error, match=message):
        extractor.fit(np.zeros((2, 4)))


def test_network_trained_on_after_fit(keras3_net, small_data, make_net):
    X, y = small_data
    extractor = KerasFeatureExtractor(keras3_net).fit(X)
    expected = extractor.transform(X)
    keras3_net.compile("sgd", "mse")
    assert_array_equal(extractor.transform(X), expected)
    keras3_net.fit(X, y, epochs=1, verbose=0)
    for judged in (extractor, pickle.loads(pickle.dumps(extractor))):
        with pytest.raises(ValueError, match="Fit again, or pass a copy"):
            judged.transform(X)
    assert np.abs(extractor.fit(X).transform(X) - expected).max() > 1e-4


def test_the_network_is_left_as_it_was(K, net, small_data):
    X, y = small_data
    net.compile("adam", "mse")
    net.fit(X, y, epochs=1, verbose=0)
    weights = [w.numpy() for w in net.weights]
    optimizer, step = net.optimizer, int(net.optimizer.iterations.numpy())
    layers, attributes = list(net.layers), sorted(vars(net))
    pipe = make_pipeline(KerasFeatureExtractor(net), Ridge())
    GridSearchCV(pipe, {"ridge__alpha": [0.1, 1]}, cv=2).fit(X, y)
    pickle.dumps(pipe.fit(X, y))
    for before, after in zip(weights, net.weights, strict=True):
        assert_array_equal(before, after.numpy())
    assert net.optimizer is optimizer
    assert int(optimizer.iterations.numpy()) == step
    assert net.layers == layers
    assert sorted(vars(net)) == attributes
    assert all(layer.trainable for layer in net.layers)
    net.fit(X, y, epochs=1, verbose=0)


# --- clone, copy, pickle --------------------------------------------------------


def test_clone_and_copies_share_the_network(net, small_data):
    X, _ = small_data
    extractor = KerasFeatureExtractor(net, layer=[-2, 1]).fit(X)
    extractor.set_output(transform="pandas")
    cloned = clone(extractor)
    assert cloned.get_params()["network"] is net
    assert not hasattr(cloned, "network_")
    assert cloned.layer == [-2, 1]
    assert cloned.layer is not extractor.layer
    assert isinstance(cloned.fit_transform(X), pd.DataFrame)
    for copied in (copy.copy(extractor), copy.deepcopy(extractor)):
        assert copied.network is net
        assert copied.network_ is extractor.network_
        assert_array_equal(copied.transform(X), extractor.transform(X))
    pipe = clone(make_pipeline(StandardScaler(), extractor))
    assert pipe[-1].network is net
    assert copy.deepcopy(pipe)[-1].network is net


def test_clones_share_what_is_compiled(keras3_net, small_data):
    X, _ = small_data
    base = KerasFeatureExtractor(keras3_net)
    clone(base).fit_transform(X)
    first = base._network_handle._cuts
    clone(base).fit_transform(X)
    assert clone(base).fit(X).network_._cuts is first
    assert len(first) == 1


def test_pickle_round_trip(K, net, small_data):
    X, _ = small_data
    extractor = KerasFeatureExtractor(net).fit(X)
    content = pickle.dumps(extractor)
    loaded = pickle.loads(content)
    assert_array_equal(loaded.transform(X), extractor.transform(X))
    assert isinstance(loaded.network, K.Model)
    assert loaded.network is loaded.network_.model
    assert isinstance(clone(loaded).network, K.Model)
    # the network is in there once
    assert len(content) < 1.5 * len(pickle.dumps(KerasFeatureExtractor(net)))
    unfitted = pickle.loads(pickle.dumps(KerasFeatureExtractor(net)))
    assert_array_equal(unfitted.fit_transform(X), extractor.transform(X))


def test_import_and_identity_load_no_keras(tmp_path):
    code = """
        import sys
        from sklearn.base import clone
        from sklearn_unlocknn import KerasFeatureExtractor
        clone(KerasFeatureExtractor()).fit_transform([[1.0]])
        assert not {"tensorflow", "keras", "tf_keras"} & set(sys.modules)
        """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


# --- searches -------------------------------------------------------------------


def test_grid_search_over_layer_in_workers(make_net, small_data):
    X, y = small_data
    net = make_net(importlib.import_module("keras"))
    pipe = make_pipeline(StandardScaler(), KerasFeatureExtractor(net), Ridge())
    grid = {"kerasfeatureextractor__layer": [-2, "hidden", ["hidden", "latent"]]}
    scores = []
    for n_jobs in (1, 2):
        search = GridSearchCV(pipe, grid, cv=2, n_jobs=n_jobs, error_score="raise")
        scores.append(search.fit(X, y).cv_results_["mean_test_score"])
        assert search.best_estimator_[1].network is net
    assert_allclose(*scores, rtol=1e-6)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search_over_networks(make_net, small_data, n_jobs):
    X, y = small_data
    networks = [
        make_net(importlib.import_module("keras"), name="first"),
        make_net(importlib.import_module("tf_keras"), name="second", seed=7),
    ]
    pipe = make_pipeline(KerasFeatureExtractor(), Ridge())
    grid = {"kerasfeatureextractor__network": networks}
    search = GridSearchCV(pipe, grid, cv=2, n_jobs=n_jobs, error_score="raise")
    search.fit(X, y)
    assert search.best_params_["kerasfeatureextractor__network"] in networks
    expected = clone(pipe).set_params(**search.best_params_).fit(X, y).predict(X)
    assert_allclose(search.predict(X), expected, rtol=1e-5)


# --- memory ---------------------------------------------------------------------


def test_grid_over_the_head_runs_each_row_once(
    make_net, small_data, tmp_path, count_rows
):
    X, y = small_data
    net = make_net(importlib.import_module("keras"))
    pipe = make_pipeline(KerasFeatureExtractor(net, memory=tmp_path), Ridge())
    grid = {"ridge__alpha": [0.01, 0.1, 1.0]}
    search = GridSearchCV(pipe, grid, cv=5, error_score="raise").fit(X, y)
    assert sum(count_rows) == len(X)
    plain = make_pipeline(
        KerasFeatureExtractor(net), Ridge(alpha=search.best_params_["ridge__alpha"])
    )
    assert_allclose(search.predict(X), plain.fit(X, y).predict(X), rtol=1e-4)


def test_pickle_and_memory_in_a_fresh_process(make_net, small_data, tmp_path):
    X, y = small_data
    fitted, kept = [], []
    for name in ("keras", "tf_keras"):
        net = make_net(importlib.import_module(name))
        pipe = make_pipeline(StandardScaler(), KerasFeatureExtractor(net), Ridge())
        fitted.append(clone(pipe).fit(X, y))
        pipe[1].set_params(memory=joblib.Memory(tmp_path, verbose=0))
        kept.append(pipe.fit(X, y))
    expected = [[pipe.predict(X) for pipe in group] for group in (fitted, kept)]
    joblib.dump((X, y, fitted, kept, expected), tmp_path / "fitted.joblib")
    code = """
        import joblib, numpy as np
        X, y, fitted, kept, expected = joblib.load("fitted.joblib")
        for pipe, value in zip(fitted, expected[0], strict=True):
            np.testing.assert_array_equal(pipe.predict(X), value)

        from sklearn_unlocknn._keras.network import NetworkHandle
        def run(self, *args):
            raise AssertionError("the network ran")
        NetworkHandle._run = run
        for pipe, value in zip(kept, expected[1], strict=True):
            np.testing.assert_array_equal(pipe.predict(X), value)
            np.testing.assert_array_equal(pipe.fit(X, y).predict(X), value)
        """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def test_memory_tells_networks_layers_and_inputs_apart(
    K, make_net, small_data, tmp_path, count_rows
):
    X, _ = small_data
    for seed in (0, 1):
        net = make_net(K, seed=seed)
        for layer in ("latent", "hidden"):
            kept = KerasFeatureExtractor(net, layer, memory=str(tmp_path))
            plain = KerasFeatureExtractor(net, layer)
            expected = plain.fit_transform(X)
            assert_allclose(kept.fit_transform(X), expected, rtol=1e-5, atol=1e-6)
    count_rows.clear()
    # an index and another type of array mean the same rows
    KerasFeatureExtractor(net, -2, memory=tmp_path).fit_transform(X.astype("f4"))
    assert count_rows == []


class Head(NetworkFeaturesMixin, BaseEstimator):
    """Uses the features as the regressors do."""

    def __init__(self, network=None, layer=-2, memory=None):
        self.network = network
        self.layer = layer
        self.memory = memory

    def fit(self, X, y=None, with_output=False):
        self.fitted_ = self._fit_features(X, y, batch_size=7, with_output=with_output)
        return self


@pytest.mark.parametrize("kept", [False, True])
def test_features_with_the_output(net, small_data, tmp_path, count_rows, kept):
    X, _ = small_data
    memory = tmp_path if kept else None
    head = Head(net, memory=memory).fit(X, with_output=True)
    features, output = head.fitted_
    assert count_rows == [60]
    assert_allclose(output, net(X.astype("f4"), training=False).numpy(), rtol=1e-5)
    got, again = head._features(X[:9], batch_size=4, with_output=True)
    assert_allclose(got, features[:9], rtol=1e-5, atol=1e-6)
    assert_allclose(again, output[:9], rtol=1e-5)
    assert head.n_features_out_ == 5
    # features alone come from the same rows
    assert_array_equal(Head(net, memory=memory).fit(X).fitted_, features)
    assert count_rows == [60]


def test_output_without_a_network(small_data):
    with pytest.raises(ValueError, match="`network` is None"):
        Head().fit(small_data[0], with_output=True)
