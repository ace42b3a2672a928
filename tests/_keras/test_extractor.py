"""Test KerasFeatureExtractor: features, errors, copies, searches, memory."""

import copy
import importlib
import pickle

import numpy as np
import pandas as pd
import pytest
from networks import extract
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import KerasFeatureExtractor, ProbNNRegressor
from sklearn_unlocknn._keras.network import NetworkHandle

A = np.random.default_rng(0).normal(size=(6, 3))


# --- features -------------------------------------------------------------------


def test_transform(net, small_data):
    X, _ = small_data
    extractor = KerasFeatureExtractor(net, layer="latent").fit(X)
    features = extractor.transform(X)
    assert features.shape == (60, 5)
    assert features.dtype == np.float64
    assert_allclose(features, extract(NetworkHandle.of(net), [X.astype("f4")], -2))
    assert extractor.n_features_in_ == 4
    assert extractor.n_features_out_ == 5
    assert extractor.network_ is NetworkHandle.of(net)
    assert extractor.network_.model is net
    assert_allclose(extractor.transform(X[:1]), features[:1], rtol=1e-5, atol=1e-7)


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
    with pytest.raises(ValueError, match="has 8 features for X, but had 10 in fit"):
        extractor.transform(np.zeros((4, 4, 2)))


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
    message = r"X has 3 features \(shape \(6, 3\)\).*'x', which takes 4"
    with pytest.raises(ValueError, match=message):
        KerasFeatureExtractor(keras3_net).fit(A)
    extractor = KerasFeatureExtractor(keras3_net).fit(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="X has 3 features, but KerasFeature"):
        extractor.transform(A)


def test_value_too_large_for_the_network(keras3_net):
    with pytest.raises(ValueError, match=r"infinity|too large for float32"):
        KerasFeatureExtractor(keras3_net).fit([[0.0, 1.0, 2.0, 1e300]])


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
def test_bad_parameters_are_named_in_fit(keras3_net, params, error, message):
    extractor = KerasFeatureExtractor(**{"network": keras3_net, **params})
    with pytest.raises(error, match=message):
        extractor.fit(np.zeros((2, 4)))


def test_network_trained_on_after_fit(keras3_net, small_data):
    X, y = small_data
    extractor = KerasFeatureExtractor(keras3_net).fit(X)
    expected = extractor.transform(X)
    keras3_net.compile("sgd", "mse")
    assert_array_equal(extractor.transform(X), expected)
    keras3_net.fit(X, y, epochs=1, verbose=0)
    for fitted in (extractor, pickle.loads(pickle.dumps(extractor))):
        with pytest.raises(ValueError, match="Fit again, or pass a copy"):
            fitted.transform(X)
    assert np.abs(extractor.fit(X).transform(X) - expected).max() > 1e-4


# --- clone, copy, pickle --------------------------------------------------------


def test_clone_and_copies_share_the_network(net, small_data):
    X, _ = small_data
    extractor = KerasFeatureExtractor(net, layer=[-2, 1]).fit(X)
    extractor.set_output(transform="pandas")
    before = dict(vars(extractor))
    cloned = clone(extractor)
    assert vars(extractor) == before
    assert cloned.get_params()["network"] is net
    assert not hasattr(cloned, "network_")
    assert cloned.layer == [-2, 1]
    assert cloned.layer is not extractor.layer
    assert isinstance(cloned.fit_transform(X), pd.DataFrame)
    assert cloned.network_ is extractor.network_
    assert len(cloned.network_._cuts) == 1  # compiled once
    for copied in (copy.copy(extractor), copy.deepcopy(extractor)):
        assert copied.network is net
        assert copied.network_ is extractor.network_
        assert_array_equal(copied.transform(X), extractor.transform(X))
    pipe = clone(make_pipeline(StandardScaler(), extractor))
    assert pipe[-1].network is net
    assert copy.deepcopy(pipe)[-1].network is net


def test_pickle_round_trip(K, net, small_data):
    X, _ = small_data
    extractor = KerasFeatureExtractor(net).fit(X)
    content = pickle.dumps(extractor)
    loaded = pickle.loads(content)
    assert_array_equal(loaded.transform(X), extractor.transform(X))
    assert isinstance(loaded.network, K.Model)
    assert loaded.network is loaded.network_.model
    assert isinstance(clone(loaded).network, K.Model)
    # the pickle holds the network once
    assert len(content) < 1.5 * len(pickle.dumps(KerasFeatureExtractor(net)))
    unfitted = pickle.loads(pickle.dumps(KerasFeatureExtractor(net)))
    assert_array_equal(unfitted.fit_transform(X), extractor.transform(X))


# --- searches -------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search_over_networks_and_layers(make_net, small_data, n_jobs):
    X, y = small_data
    networks = [
        make_net(importlib.import_module("keras"), name="first"),
        make_net(importlib.import_module("tf_keras"), name="second", seed=7),
    ]
    pipe = make_pipeline(StandardScaler(), KerasFeatureExtractor(), Ridge())
    grid = {"kerasfeatureextractor__layer": ["hidden", ["hidden", "latent"]]}
    options = {"cv": 2, "n_jobs": n_jobs, "error_score": "raise"}
    one = clone(pipe).set_params(kerasfeatureextractor__network=networks[0])
    search = GridSearchCV(one, grid, **options).fit(X, y)
    assert search.best_estimator_[1].network is networks[0]
    grid["kerasfeatureextractor__network"] = networks
    search = GridSearchCV(pipe, grid, **options).fit(X, y)
    assert search.best_params_["kerasfeatureextractor__network"] in networks
    expected = clone(pipe).set_params(**search.best_params_).fit(X, y).predict(X)
    assert_allclose(search.predict(X), expected, rtol=1e-5)


# --- memory ---------------------------------------------------------------------


def test_features_of_each_network_and_layer_are_kept_apart(
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
    # an index and another type of array mean the same samples
    KerasFeatureExtractor(net, -2, memory=tmp_path).fit_transform(X.astype("f4"))
    assert count_rows == []


def test_output_is_kept_with_the_features(net, small_data, tmp_path, count_rows):
    X, y = small_data
    model = ProbNNRegressor(
        net, "latent", "rbf", mean="network", memory=tmp_path, max_iter=0
    ).fit(X, y)
    assert count_rows == [60]
    extractor = KerasFeatureExtractor(net, memory=tmp_path)
    want = KerasFeatureExtractor(net).fit(X).transform(X[:9])
    count_rows.clear()
    mean = model.predict(X[:9])
    assert_allclose(extractor.fit(X).transform(X[:9]), want, rtol=1e-5, atol=1e-6)
    assert count_rows == []
    assert_allclose(model.set_params(memory=None).predict(X[:9]), mean, rtol=1e-5)


def test_constants_of_a_compiled_pass_are_those_of_the_fit():
    import keras

    X = np.random.default_rng(0).normal(size=(50, 3))
    norm = keras.layers.Normalization()
    norm.adapt(X)
    layers = [keras.Input((3,)), norm, keras.layers.Dense(1)]
    extractor = KerasFeatureExtractor(keras.Sequential(layers))
    extractor.fit(X)
    norm.adapt(10 * X)
    want = norm(X.astype("f4")).numpy()
    assert_allclose(extractor.fit(X).transform(X), want, rtol=1e-6)
