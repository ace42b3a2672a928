"""Test fine-tuning through ProbNNRegressor and MEGNetProbRegressor."""

import copy
import importlib
import pickle

import battery
import numpy as np
import pytest
from _megnet.megnet_nets import make_megnet, make_structures
from networks import build_net, extract
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.gaussian_process import kernels as gpk
from sklearn.pipeline import make_pipeline

from sklearn_unlocknn import (
    FineTuning,
    KerasFeatureExtractor,
    MEGNetProbRegressor,
    ProbNNRegressor,
    VGPRegressor,
)
from sklearn_unlocknn._megnet.network import MEGNetSnapshot
from sklearn_unlocknn._structures.read import StructureError
from sklearn_unlocknn.metrics import gaussian_nll

_rng = np.random.default_rng(0)
X = _rng.normal(size=(160, 4))
X_NEW = _rng.normal(size=(200, 4))
HISTORY = ("fine_tune_curve_", "fine_tune_validation_curve_", "fine_tune_best_epoch_")


def target(X):
    """Return targets that the net's latent layer, of random weights, fits badly."""
    return np.sin(2 * X[:, 0]) * np.cos(X[:, 1]) + 0.3 * X[:, 2]


y = target(X) + 0.05 * _rng.normal(size=160)


def tuning(**params):
    return FineTuning(
        **{"epochs": 6, "batch_size": 40, "network_learning_rate": 0.01, **params}
    )


def quick(network, fine_tuning=None, **params):
    params = {
        "layer": "latent", "kernel": "rbf", "max_iter": 5, "random_state": 0,
        "likelihood": "gaussian", "noise": "constant", **params,
    }  # fmt: skip
    return ProbNNRegressor(network, fine_tuning=fine_tuning, **params)


def predictions(model):
    return battery.predictions(model, X_NEW)


@pytest.fixture(scope="module")
def keras_net():
    return build_net(importlib.import_module("keras"))


# --- predictions ----------------------------------------------------------------


def test_predictions_are_better_and_the_network_is_left_as_it_was(K):
    net = build_net(K)
    weights = [weight.copy() for weight in net.get_weights()]
    trainable = [layer.trainable for layer in net.layers]

    before = quick(net).fit(X, y)
    model = quick(net, tuning(epochs=15)).fit(X, y)
    truth, scores = target(X_NEW), []
    for fitted in (before, model):
        mean, std = fitted.predict(X_NEW, return_std=True)
        scores.append([np.abs(mean - truth).mean(), gaussian_nll(truth, mean, std)])
    assert scores[1][0] < 0.9 * scores[0][0]
    assert scores[1][1] < scores[0][1]
    assert model.fine_tune_best_epoch_ > 0
    assert model.fine_tune_curve_.shape == (16,)
    assert model.fine_tune_curve_[-1] > model.fine_tune_curve_[0]
    curve = model.fine_tune_validation_curve_
    assert np.argmin(curve) == model.fine_tune_best_epoch_

    for now, then in zip(net.get_weights(), weights, strict=True):
        assert_array_equal(now, then)
    assert [layer.trainable for layer in net.layers] == trainable
    assert model.network is net
    assert before.network_.model is net
    assert model.network_.model is not net
    # Batch normalisation keeps its averages
    own = net.get_layer("norm").get_weights()
    tuned = model.network_.model.get_layer("norm").get_weights()
    for i in (2, 3):
        assert_array_equal(tuned[i], own[i])
    assert np.abs(tuned[0] - own[0]).max() > 0


def test_network_is_kept_where_no_epoch_helps(keras_net):
    """Fine-tune in steps so large that they destroy the features."""
    too_far = tuning(network_learning_rate=30.0, epochs=1)
    with pytest.warns(UserWarning, match="keeps the original network"):
        spoiled = quick(keras_net, too_far).fit(X, y)
    assert spoiled.fine_tune_best_epoch_ == 0
    assert spoiled.network_.model is keras_net
    want = predictions(quick(keras_net).fit(X, y))
    assert_array_equal(predictions(spoiled), want)


def test_gp_is_that_of_the_tuned_network(keras_net):
    model = quick(keras_net, tuning(validation_fraction=0)).fit(X, y)
    assert model.fine_tune_best_epoch_ == 6
    assert model.fine_tune_validation_curve_ is None
    extractor = KerasFeatureExtractor(model.network_.model, "latent")
    plain = {"likelihood": "gaussian", "noise": "constant"}
    head = VGPRegressor("rbf", max_iter=5, random_state=0, **plain)
    parts = make_pipeline(extractor, head).fit(X, y)
    mean, std = parts.predict(X_NEW, return_std=True)
    assert_array_equal(predictions(model), np.hstack([mean, std]))


def test_noise_is_that_of_samples_held_out_of_fine_tuning(keras_net):
    kernel = gpk.RBF(1.0) + gpk.WhiteKernel(0.1)
    settings = [tuning(epochs=20, validation_fraction=share) for share in (0, 0.3)]
    all_tuned, model = (
        quick(keras_net, one, kernel=kernel, mean="zero").fit(X, y) for one in settings
    )
    assert model.noise_std_ > all_tuned.noise_std_
    # kernel_ holds the noise variance of predictions, in standardised units
    level = model.kernel_.k2.noise_level
    assert_allclose(np.sqrt(level) * np.std(y), model.noise_std_)


# --- kinds of data --------------------------------------------------------------


@pytest.mark.parametrize("mean", ["linear", "network"])
def test_prior_means_outputs_and_weights(keras_net, mean):
    weights = (np.arange(160) < 120).astype(float) * 1.5
    spoiled = np.where(weights, y, 1e6)
    model = quick(keras_net, tuning(validation_fraction=0), mean=mean)
    weighted = clone(model).fit(X, spoiled, sample_weight=weights)
    few = clone(model).fit(X[:120], y[:120], sample_weight=weights[:120])
    assert_allclose(predictions(weighted), predictions(few), rtol=1e-3, atol=1e-4)
    assert few.fine_tune_curve_[-1] > few.fine_tune_curve_[0]
    if mean == "network":
        output = extract(weighted.network_, [X_NEW.astype("f4")], -1)
        # the output layer is trained too
        own = keras_net(X_NEW.astype(np.float32)).numpy()
        assert np.abs(output - own).max() > 0.1
    else:
        both = clone(model).fit(X, np.column_stack([y, 10 * X[:, 3] + 50.0]))
        battery.assert_sound(both, X_NEW, shape=(2,))
        assert both.fine_tune_curve_[-1] > both.fine_tune_curve_[0]


def test_several_inputs_and_layers():
    K = importlib.import_module("keras")
    K.utils.set_random_seed(0)
    inputs = [K.Input((2,), name="a"), K.Input((2,), name="b")]
    parts = [
        K.layers.Dense(6, "tanh", name=f"latent_{tensor.name}")(tensor)
        for tensor in inputs
    ]
    net = K.Model(inputs, K.layers.Dense(1)(K.layers.Concatenate()(parts)))
    model = quick(net, tuning(), layer=["latent_a", "latent_b"])
    model.fit([X[:, :2], X[:, 2:]], y)
    assert model.n_features_out_ == 12
    assert model.fine_tune_best_epoch_ > 0
    mean, std = model.predict([X_NEW[:, :2], X_NEW[:, 2:]], return_std=True)
    assert np.corrcoef(mean, target(X_NEW))[0, 1] > 0.5
    assert np.all(std > 0)


@pytest.mark.filterwarnings("ignore:Fine-tuning keeps the original")
def test_one_and_two_samples(keras_net):
    for n in (1, 2):
        model = quick(keras_net, tuning(epochs=2)).fit(X[:n], y[:n])
        battery.assert_sound(model, X_NEW, shape=())


# --- scikit-learn's contract ----------------------------------------------------


def test_copies_seeds_and_refits(keras_net, tmp_path):
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    model = quick(keras_net, tuning(), memory=tmp_path).fit(X, y)
    assert np.random.rand() == expected  # noqa: NPY002
    want = predictions(model)
    assert model.fine_tune_best_epoch_ > 0
    again = clone(model).set_params(memory=None).fit(X, y)
    assert_allclose(predictions(again), want, rtol=1e-4)
    assert_array_equal(predictions(again), predictions(clone(again).fit(X, y)))
    for copied in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_allclose(predictions(copied), want, rtol=1e-6)
    model.partial_fit(X_NEW[:20], target(X_NEW[:20]))
    assert not np.array_equal(predictions(model), want)
    model.set_params(fine_tuning=None).fit(X, y)
    assert not any(hasattr(model, name) for name in HISTORY)
    assert model.network_.model is keras_net


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epochs": 0}, r"FineTuning\(epochs=0\), expected an int of at least 1"),
        ({"epochs": 2.5}, r"FineTuning\(epochs=2\.5\)"),
        ({"epochs": True}, r"FineTuning\(epochs=True\)"),
        ({"batch_size": 0}, r"FineTuning\(batch_size=0\), expected an int of at least"),
        ({"network_learning_rate": 0}, r"FineTuning\(network_learning_rate=0\)"),
        ({"head_learning_rate": np.inf}, r"FineTuning\(head_learning_rate=inf\)"),
        ({"validation_fraction": 1}, r"FineTuning\(validation_fraction=1\)"),
    ],
)
def test_bad_parameters_are_named(keras_net, params, message):
    bad = FineTuning(**params)  # no error before fit
    for estimator in (quick(keras_net, bad), MEGNetProbRegressor(fine_tuning=bad)):
        with pytest.raises(ValueError, match=f"Got {message}"):
            estimator.fit(X, y)


def test_wrong_kinds_of_fine_tuning_are_named(keras_net):
    with pytest.raises(ValueError, match="network=None, so there is nothing to"):
        quick(None, tuning()).fit(X, y)
    message = r"Got fine_tuning=.* expected .*FineTuning"
    for wrong in (5, {"epochs": 5}, FineTuning):
        with pytest.raises(TypeError, match=message):
            quick(keras_net, wrong).fit(X, y)


@pytest.mark.filterwarnings("ignore:Fine-tuning keeps the original")
def test_parameters_are_those_of_a_scikit_learn_estimator(keras_net):
    settings = FineTuning(epochs=4, batch_size=16)
    assert settings.get_params() == {
        "epochs": 4, "network_learning_rate": 1e-3, "head_learning_rate": 0.01,
        "batch_size": 16, "validation_fraction": 0.1,
    }  # fmt: skip
    assert repr(settings) == "FineTuning(batch_size=16, epochs=4)"
    assert FineTuning().epochs == 5
    copied = clone(settings)
    assert copied is not settings
    assert copied.get_params() == settings.get_params()

    model = quick(keras_net, settings)
    copied = clone(model)
    assert copied.fine_tuning is not settings
    assert copied.get_params()["fine_tuning__batch_size"] == 16
    copied.set_params(fine_tuning__epochs=3)
    assert (copied.fine_tuning.epochs, settings.epochs) == (3, 4)
    assert copied.fit(X, y).fine_tune_curve_.shape == (4,)
    assert "fine_tuning=FineTuning(batch_size=16, epochs=4)" in repr(model)


# --- MEGNet ---------------------------------------------------------------------


@pytest.mark.parametrize("extensive", [False, True])
def test_megnet(extensive):
    from megnet.utils.preprocessing import StandardScaler

    scaler = StandardScaler(1.0, 2.0, is_intensive=not extensive)
    network = MEGNetSnapshot(make_megnet(scaler=scaler))
    structures = [s for s in make_structures(60) if len(s) < 10]
    graphs = zip(structures, network.graphs(structures), strict=True)
    structures = [s for s, g in graphs if not isinstance(g, StructureError)][:40]
    size = np.array([len(s) for s in structures]) if extensive else 1.0
    targets = np.log([s.density for s in structures]) * size
    model = MEGNetProbRegressor(
        network, kernel=gpk.RBF(5.0, "fixed") + gpk.WhiteKernel(0.1, (1e-8, 10)),
        descriptors=None, random_state=0, on_error="nan",
        mean="network" if extensive else "constant",
        fine_tuning=FineTuning(8, network_learning_rate=5e-3, batch_size=20),
    )  # fmt: skip
    before = network.fingerprint
    broken = [*structures[:30], "no such file"]
    with pytest.warns(UserWarning, match="1 of 31 samples"):
        model.fit(iter(broken), np.append(targets[:30], 0.0))
    assert network.fingerprint == before
    assert model.fine_tune_curve_[-1] > model.fine_tune_curve_[0]
    validation = model.fine_tune_validation_curve_
    assert np.argmin(validation) == model.fine_tune_best_epoch_ > 0
    assert model.network_.fingerprint != before
    mean, std = model.predict([*structures[30:], "no such file"], return_std=True)
    assert np.isnan(mean[-1])
    assert np.isfinite(mean[:-1]).all()
    assert (std[:-1] > 0).all()
    loaded = pickle.loads(pickle.dumps(model))
    assert_allclose(loaded.predict(structures[30:]), mean[:-1], rtol=1e-4)
    assert clone(model).network is network
