"""Test extractors of networks that are trained in fit, loaded again or changed."""

import copy
import pickle

import numpy as np
import pytest
from networks import Trainer
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_unlocknn import KerasFeatureExtractor, ProbNNRegressor
from sklearn_unlocknn._keras.network import NetworkHandle


def test_trainer_is_cloned_and_fitted(K, small_data):
    X, y = small_data
    trainer = Trainer(K.__name__)
    extractor = KerasFeatureExtractor(trainer, layer=-2).fit(X, y)
    assert not hasattr(trainer, "model_")
    assert extractor.network is trainer
    assert extractor.transform(X).shape == (60, 3)
    cloned = clone(extractor)
    assert cloned.network is not trainer
    assert isinstance(cloned.network, Trainer)
    assert copy.deepcopy(extractor).network is not trainer
    loaded = pickle.loads(pickle.dumps(extractor))
    assert_array_equal(loaded.transform(X), extractor.transform(X))


def test_search_over_a_trainers_parameters(small_data):
    X, y = small_data
    pipe = make_pipeline(KerasFeatureExtractor(Trainer()), Ridge())
    grid = {"kerasfeatureextractor__network__units": [2, 4]}
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(X, y)
    units = search.best_params_["kerasfeatureextractor__network__units"]
    assert search.best_estimator_[0].n_features_out_ == units


def test_sample_weight_reaches_the_trainer(small_data):
    X, y = small_data
    models = [
        ProbNNRegressor(Trainer(), kernel="rbf", max_iter=0).fit(X, y, weight).network_
        for weight in (None, np.arange(60.0))
    ]
    assert not np.allclose(*(handle.model.get_weights()[0] for handle in models))


def test_trainer_without_a_model(small_data):
    with pytest.raises(ValueError, match=r"`model_`=None, expected a keras"):
        KerasFeatureExtractor(Trainer(model=False)).fit(*small_data)


def test_frozen_estimator_is_not_trained_again(small_data):
    X, y = small_data
    trainer = Trainer().fit(X, y)
    extractor = KerasFeatureExtractor(FrozenEstimator(trainer)).fit(X, y)
    assert extractor.network_.model is trainer.model_


def test_code_of_an_activation_changes_the_features():
    import keras

    def scale(factor):
        return keras.layers.Activation(lambda x: x * factor, name="s")

    for factor in (2.0, 3.0):
        inputs = keras.Input((2,), name="i")
        outputs = keras.layers.Dense(1, name="o")(scale(factor)(inputs))
        net = keras.Model(inputs, outputs, name="m")
        features = KerasFeatureExtractor(net, "s").fit_transform(np.ones((3, 2)))
        assert_array_equal(features, np.full((3, 2), factor))


def test_file_is_read_again_after_the_loaded_network_was_changed(tmp_path):
    import keras

    path = tmp_path / "net.keras"
    dense = keras.layers.Dense(2, kernel_initializer="ones")
    keras.Sequential([keras.Input((2,)), dense, keras.layers.Dense(1)]).save(path)
    X = np.ones((3, 2))
    first = KerasFeatureExtractor(path).fit(X)
    want = first.transform(X)
    model = first.network_.model
    model.set_weights([10 * w for w in model.get_weights()])
    assert_array_equal(KerasFeatureExtractor(path).fit_transform(X), want)


def test_n_jobs_of_a_regressor_reaches_the_network(keras3_net, monkeypatch):
    counts = []
    real = NetworkHandle.run

    def run(self, inputs, layer, batch_size, with_output, n_jobs):
        counts.append(n_jobs)
        return real(self, inputs, layer, batch_size, with_output, n_jobs)

    monkeypatch.setattr(NetworkHandle, "run", run)
    X = np.random.default_rng(0).normal(size=(30, 4))
    model = ProbNNRegressor(keras3_net, "latent", "rbf", n_jobs=1, random_state=0)
    model.fit(X, X[:, 0])
    assert counts == [1]
