"""Fine-tuning of ProbNNRegressor and MEGNetProbRegressor: what users see."""

import copy
import importlib
import pickle

import battery
import numpy as np
import pytest
from _megnet.megnet_nets import make_megnet, make_structures
from conftest import build_net
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.gaussian_process import kernels as gpk
from sklearn.pipeline import make_pipeline

from sklearn_unlocknn import (
    KerasFeatureExtractor,
    MEGNetProbRegressor,
    ProbNNRegressor,
    VGPRegressor,
)
from sklearn_unlocknn._megnet.network import MEGNetSnapshot
from sklearn_unlocknn.metrics import gaussian_nll

_rng = np.random.default_rng(0)
X = _rng.normal(size=(160, 4))
X_NEW = _rng.normal(size=(200, 4))
HISTORY = ("fine_tune_curve_", "fine_tune_validation_curve_", "fine_tune_best_epoch_")


def target(X):
    """Give what the net's latent layer, of random weights, knows little of."""
    return np.sin(2 * X[:, 0]) * np.cos(X[:, 1]) + 0.3 * X[:, 2]


y = target(X) + 0.05 * _rng.normal(size=160)


def quick(network, **params):
    params = {
        "layer": "latent", "kernel": "rbf", "max_iter": 5, "random_state": 0,
        "fine_tune_epochs": 6, "fine_tune_batch_size": 40,
        "network_learning_rate": 0.01, **params,
    }  # fmt: skip
    return ProbNNRegressor(network, **params)


def predictions(model):
    return battery.predictions(model, X_NEW)


@pytest.fixture(scope="module")
def keras_net():
    return build_net(importlib.import_module("keras"))


# --- what it is for -------------------------------------------------------------


def test_it_predicts_better_and_leaves_the_network_alone(K):
    net = build_net(K)
    net.compile(optimizer="adam", loss="mse")
    net.fit(X, y, epochs=1, verbose=0)
    weights = [weight.copy() for weight in net.get_weights()]
    optimizer, steps = net.optimizer, int(net.optimizer.iterations)
    trainable = [layer.trainable for layer in net.layers]

    before = quick(net, fine_tune_epochs=0).fit(X, y)
    model = quick(net, fine_tune_epochs=15).fit(X, y)
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
    assert net.optimizer is optimizer
    assert int(net.optimizer.iterations) == steps
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


def test_without_epochs_nothing_changes(keras_net):
    plain = ProbNNRegressor(keras_net, "latent", "rbf", max_iter=5, random_state=0).fit(
        X, y
    )
    other = quick(keras_net, fine_tune_epochs=0, head_learning_rate=0.5).fit(X, y)
    assert_array_equal(predictions(other), predictions(plain))
    assert other.elbo_ == plain.elbo_
    assert not any(hasattr(other, name) for name in HISTORY)


def test_epochs_that_do_not_help_change_nothing(keras_net):
    """Steps so large that they spoil the features."""
    spoiled = quick(keras_net, network_learning_rate=30.0, fine_tune_epochs=1).fit(X, y)
    assert spoiled.fine_tune_best_epoch_ == 0
    assert spoiled.network_.model is keras_net
    want = predictions(quick(keras_net, fine_tune_epochs=0).fit(X, y))
    assert_array_equal(predictions(spoiled), want)


def test_head_is_that_of_the_tuned_network(keras_net):
    model = quick(keras_net, fine_tune_validation_fraction=0).fit(X, y)
    assert model.fine_tune_best_epoch_ == 6
    assert model.fine_tune_validation_curve_ is None
    extractor = KerasFeatureExtractor(model.network_.model, "latent")
    head = VGPRegressor("rbf", max_iter=5, random_state=0)
    parts = make_pipeline(extractor, head).fit(X, y)
    mean, std = parts.predict(X_NEW, return_std=True)
    assert_array_equal(predictions(model), np.hstack([mean, std]))


def test_noise_is_that_of_rows_it_was_not_tuned_on(keras_net):
    kernel = gpk.RBF(1.0) + gpk.WhiteKernel(0.1)
    params = {"kernel": kernel, "fine_tune_epochs": 20, "mean": "zero"}
    bold = quick(keras_net, fine_tune_validation_fraction=0, **params).fit(X, y)
    model = quick(keras_net, fine_tune_validation_fraction=0.3, **params).fit(X, y)
    assert model.noise_std_ > bold.noise_std_
    # kernel_ tells the noise that predictions have, in standardised units
    level = model.kernel_.k2.noise_level
    assert_allclose(np.sqrt(level) * np.std(y), model.noise_std_)


# --- kinds of data --------------------------------------------------------------


@pytest.mark.parametrize("mean", ["linear", "network"])
def test_prior_means_outputs_and_weights(keras_net, mean):
    weights = (np.arange(160) < 120).astype(float) * 1.5
    spoiled = np.where(weights, y, 1e6)
    model = quick(keras_net, mean=mean, fine_tune_validation_fraction=0)
    weighted = clone(model).fit(X, spoiled, sample_weight=weights)
    few = clone(model).fit(X[:120], y[:120], sample_weight=weights[:120])
    assert_allclose(predictions(weighted), predictions(few), rtol=1e-3, atol=1e-4)
    assert few.fine_tune_curve_[-1] > few.fine_tune_curve_[0]
    if mean == "network":
        output = weighted.network_.predict([X_NEW.astype(np.float32)])
        # the output is trained, too
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
    model = quick(net, layer=["latent_a", "latent_b"])
    model.fit([X[:, :2], X[:, 2:]], y)
    assert model.n_features_out_ == 12
    assert model.fine_tune_best_epoch_ > 0
    mean, std = model.predict([X_NEW[:, :2], X_NEW[:, 2:]], return_std=True)
    assert np.corrcoef(mean, target(X_NEW))[0, 1] > 0.5
    assert np.all(std > 0)


def test_one_and_two_rows(keras_net):
    for n in (1, 2):
        model = quick(keras_net, fine_tune_epochs=2).fit(X[:n], y[:n])
        battery.assert_sound(model, X_NEW, shape=())


# --- scikit-learn's contract ----------------------------------------------------


def test_copies_seeds_and_refits(keras_net, tmp_path):
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    model = quick(keras_net, memory=tmp_path).fit(X, y)
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
    model.set_params(fine_tune_epochs=0).fit(X, y)
    assert not any(hasattr(model, name) for name in HISTORY)
    assert model.network_.model is keras_net


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"fine_tune_epochs": -1}, "fine_tune_epochs=-1, expected an int of at least"),
        ({"fine_tune_epochs": 2.5}, "fine_tune_epochs=2.5"),
        ({"fine_tune_batch_size": 0}, "fine_tune_batch_size=0"),
        ({"network_learning_rate": 0}, "network_learning_rate=0, expected a number"),
        ({"head_learning_rate": np.inf}, "head_learning_rate=inf"),
        ({"fine_tune_validation_fraction": 1}, "fine_tune_validation_fraction=1"),
        ({"network": None}, "network=None, so there is nothing to fine-tune"),
    ],
)
def test_bad_parameters_are_named(keras_net, params, message):
    with pytest.raises(ValueError, match=message):
        quick(keras_net).set_params(**params).fit(X, y)


# --- MEGNet ---------------------------------------------------------------------


@pytest.mark.parametrize("extensive", [False, True])
def test_megnet(extensive):
    from megnet.utils.preprocessing import StandardScaler

    scaler = StandardScaler(1.0, 2.0, is_intensive=not extensive)
    network = MEGNetSnapshot(make_megnet(scaler=scaler))
    structures = [s for s in make_structures(42) if len(s) < 10][:40]
    size = np.array([len(s) for s in structures]) if extensive else 1.0
    targets = np.log([s.density for s in structures]) * size
    model = MEGNetProbRegressor(
        network, kernel=gpk.RBF(5.0, "fixed") + gpk.WhiteKernel(0.1), random_state=0,
        mean="network" if extensive else "constant", on_error="nan",
        fine_tune_epochs=4, network_learning_rate=3e-3, fine_tune_batch_size=20,
    )  # fmt: skip
    before = network.fingerprint()
    broken = [*structures[:30], "no such file"]
    with pytest.warns(UserWarning, match="1 of 31 rows"):
        model.fit(iter(broken), np.append(targets[:30], 0.0))
    assert network.fingerprint() == before
    assert model.fine_tune_curve_[-1] > model.fine_tune_curve_[0]
    validation = model.fine_tune_validation_curve_
    assert np.argmin(validation) == model.fine_tune_best_epoch_ > 0
    assert model.network_.fingerprint() != before
    mean, std = model.predict([*structures[30:], "no such file"], return_std=True)
    assert np.isnan(mean[-1])
    assert np.isfinite(mean[:-1]).all()
    assert (std[:-1] > 0).all()
    loaded = pickle.loads(pickle.dumps(model))
    assert_allclose(loaded.predict(structures[30:]), mean[:-1], rtol=1e-4)
    again = clone(model).set_params(fine_tune_epochs=0)
    assert again.network is network
