"""Test ProbNNRegressor: the battery on networks, mean="network", searches."""

import importlib
import pickle
import subprocess
import sys

import battery
import joblib
import numpy as np
import pytest
from networks import Trainer, build_net
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.gaussian_process import kernels as gpk
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unlocknn import KerasFeatureExtractor, ProbNNRegressor, VGPRegressor
from sklearn_unlocknn.metrics import prob_scoring

X, X_NEW, y, Y = battery.X, battery.X_NEW, battery.y, battery.Y


@pytest.fixture(scope="module")
def nets():
    """Return a net of each library."""
    return {
        library: build_net(importlib.import_module(library))
        for library in ("keras", "tf_keras")
    }


def quick(network=None, **params):
    params = {"kernel": "rbf", "max_iter": 10, "random_state": 0, **params}
    return ProbNNRegressor(network, **params)


# --- the battery ----------------------------------------------------------------

# Need X itself as features: with a dead unit fewer samples are distinct, and a network
# may map distant samples close to each other.
NUMERIC_ONLY = {
    "check_uncertainty_grows_away_from_the_data",
    "check_fitted_attributes",
}
FEW = (
    "check_pickle_predicts_and_fits_the_same",
    "check_clone_is_unfitted_and_fits_the_same",
    "check_same_seed_same_bits",
    "check_dtypes",
    "check_shapes_follow_the_target",
    "check_predictions_agree",
    "check_partial_fit_in_any_split",
    "check_predicting_changes_nothing",
)


@pytest.mark.parametrize("check", sorted(battery.CHECKS.keys() - NUMERIC_ONLY))
def test_battery_with_keras_3(check, nets):
    battery.CHECKS[check](quick(nets["keras"], layer="hidden"))


@pytest.mark.parametrize("check", FEW)
def test_battery_with_keras_2(check, nets):
    battery.CHECKS[check](quick(nets["tf_keras"], layer="hidden"))


@pytest.mark.parametrize("target", [y, Y], ids=["1 output", "2 outputs"])
def test_without_a_network_it_is_vgp(target):
    head = VGPRegressor("rbf", max_iter=10, random_state=0).fit(X, target)
    model = quick().fit(X, target)
    assert_array_equal(battery.predictions(model), battery.predictions(head))
    assert model.kernel_ == head.kernel_
    assert model.elbo_ == head.elbo_


def test_it_is_the_extractor_and_vgp(nets):
    whole = quick(nets["keras"], layer=["hidden", -2]).fit(X, y)
    extractor = KerasFeatureExtractor(nets["keras"], layer=["hidden", -2])
    head = VGPRegressor("rbf", max_iter=10, random_state=0)
    parts = make_pipeline(extractor, head).fit(X, y)
    assert_array_equal(battery.predictions(whole), battery.predictions(parts))
    assert whole.n_features_out_ == 13
    assert whole.inducing_points_.shape[1] == 13
    assert whole.n_features_in_ == 4


# --- the network is left as it was ----------------------------------------------


def test_network_is_left_as_it_was(K):
    net = build_net(K)
    net.get_layer("hidden").trainable = False
    net.compile(optimizer="adam", loss="mse")
    net.fit(X, y, epochs=1, verbose=0)
    output = net.predict(X, verbose=0)
    layers, attributes = list(net.layers), sorted(vars(net))
    weights = [weight.copy() for weight in net.get_weights()]
    trainable = [layer.trainable for layer in net.layers]
    nodes = [len(layer._inbound_nodes) for layer in net.layers]
    optimizer, steps = net.optimizer, int(net.optimizer.iterations)
    predict_function = net.predict_function

    model = quick(net, mean="network").fit(X, y)
    model.partial_fit(X, y).predict(X_NEW, return_std=True)
    pickle.loads(pickle.dumps(model))
    clone(model).fit(X, y)

    for before, after in zip(weights, net.get_weights(), strict=True):
        assert_array_equal(before, after)
    assert [layer.trainable for layer in net.layers] == trainable
    assert [len(layer._inbound_nodes) for layer in net.layers] == nodes
    assert net.optimizer is optimizer
    assert net.predict_function is predict_function
    assert int(net.optimizer.iterations) == steps
    assert net.loss == "mse"
    assert net.layers == layers
    assert sorted(vars(net)) == attributes
    assert_array_equal(net.predict(X, verbose=0), output)
    net.fit(X, y, epochs=1, verbose=0)  # trains on
    assert model.network is net
    assert clone(model).network is net


# --- mean="network" -------------------------------------------------------------


@pytest.fixture(scope="module")
def wide_net():
    """Return a net of identity features whose output is the sum of its inputs."""
    keras = importlib.import_module("keras")
    inputs = keras.Input((4,))
    latent = keras.layers.Dense(4, name="latent", kernel_initializer="identity")(inputs)
    outputs = keras.layers.Dense(1, kernel_initializer="ones")(latent)
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("normalize_y", [True, False])
def test_far_from_the_data_predictions_are_the_networks(wide_net, normalize_y):
    target = X.sum(axis=1) + 3.0 + 0.5 * np.sin(3 * X[:, 0])
    kernel = gpk.RBF(1.0, "fixed") + gpk.WhiteKernel(0.01, "fixed")
    model = quick(wide_net, mean="network", kernel=kernel, normalize_y=normalize_y)
    model.fit(X, target)
    far = np.vstack([np.full(4, 50.0), np.full(4, -80.0)])
    # float32 sums
    assert_allclose(model.predict(far), far.sum(axis=1), rtol=1e-5)
    near = model.predict(X)
    assert np.abs(near - target).mean() < 0.2 < np.abs(X.sum(axis=1) - target).mean()
    constant = quick(wide_net, kernel=kernel, mean="constant").fit(X, target)
    assert np.all(np.abs(constant.predict(far)) < 20)


def test_perfect_network_needs_no_correction(wide_net):
    target = X.sum(axis=1)
    model = quick(wide_net, mean="network").fit(X, target)
    assert_allclose(model.predict(X_NEW), X_NEW.sum(axis=1), atol=1e-4)
    _, std = model.predict(X_NEW, return_std=True)
    assert np.all(std < 1e-3 * target.std())


@pytest.mark.parametrize("target", [y, Y], ids=["1 output", "2 outputs"])
@pytest.mark.parametrize("n_points", [6, 40])
def test_tfp_distribution_predicts_the_same(target, n_points):
    keras = importlib.import_module("keras")
    latent = keras.layers.Dense(6, activation="tanh")
    output = keras.layers.Dense(target.reshape(40, -1).shape[1])
    net = keras.Sequential([keras.Input((4,)), latent, output])
    model = quick(net, mean="network", n_inducing_points=n_points).fit(X, target)
    dist = model.predict_dist(X_NEW)
    mean, std = model.predict(X_NEW, return_std=True)
    # An exact model becomes a sparse one at its samples, with a jitter of 1e-10. The
    # weights of the network are random, and so is the ratio of the outputs' scales.
    close = 1e-5 if n_points == 40 else 1e-8
    assert np.all(np.abs(dist.mean().numpy().T - mean) < close * std)
    assert_allclose(dist.stddev().numpy().T, std, rtol=close)
    samples = model.sample_y(X_NEW, 3)
    assert samples.shape == (*mean.shape, 3)


def test_outputs_of_the_network_must_match_the_target(nets):
    with pytest.raises(ValueError, match="network of 1 outputs for y of 2"):
        quick(nets["keras"], mean="network").fit(X, Y)
    quick(nets["keras"]).fit(X, Y)


def test_network_mean_needs_a_network():
    with pytest.raises(ValueError, match="and network=None, which has no output"):
        quick(mean="network").fit(X, y)
    with pytest.raises(ValueError, match="mean='network', expected one of"):
        VGPRegressor(mean="network").fit(X, y)


def test_weights_and_updates_of_a_network_mean(nets):
    model = quick(nets["keras"], mean="network", layer="hidden")
    battery.CHECKS["check_weights_are_repetitions"](clone(model))
    battery.CHECKS["check_partial_fit_in_any_split"](clone(model))
    battery.CHECKS["check_zero_weight_leaves_samples_out"](clone(model))


# --- networks trained in fit ----------------------------------------------------


def test_an_estimator_is_trained_again_in_each_fold(monkeypatch):
    monkeypatch.setattr(Trainer, "fits", 0)
    trainer = Trainer()
    result = cross_validate(
        quick(trainer), X, y, cv=3, return_estimator=True,
        scoring=prob_scoring(["neg_nll"]),
    )  # fmt: skip
    assert Trainer.fits == 3
    assert not hasattr(trainer, "model_")
    first, second, _ = (fold.network_.model for fold in result["estimator"])
    assert not np.array_equal(first.get_weights()[0], second.get_weights()[0])
    assert np.all(np.isfinite(result["test_neg_nll"]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:scikeras")
def test_scikeras_regressor():
    from scikeras.wrappers import KerasRegressor

    def build():
        return build_net(importlib.import_module("keras"))

    network = KerasRegressor(build, loss="mse", epochs=2, verbose=0, random_state=0)
    model = quick(network, layer="hidden", mean="network").fit(X, y)
    battery.assert_sound(model)
    assert model.network_.model.get_layer("hidden") is not None
    assert not hasattr(network, "model_")


# --- searches and processes -----------------------------------------------------

READ = """
import sys
import joblib
search, X = joblib.load(sys.argv[1])
joblib.dump(search.predict(X, return_std=True), sys.argv[2])
"""


@pytest.mark.parametrize(
    "library", ["keras", pytest.param("tf_keras", marks=pytest.mark.slow)]
)
def test_best_pipeline_of_a_parallel_search_in_a_fresh_process(
    nets, tmp_path, one_thread, library
):
    model = quick(nets[library], layer="hidden")
    search = GridSearchCV(
        make_pipeline(StandardScaler(), model),
        {
            "probnnregressor__kernel": ["rbf", "matern52"],
            "probnnregressor__n_inducing_points": [5, 20],
        },
        scoring=prob_scoring(["neg_nll", "neg_crps"]),
        refit="neg_nll",
        cv=2,
        n_jobs=2,
    ).fit(X, y)
    scores = search.cv_results_["mean_test_neg_nll"]
    assert np.all(np.isfinite(scores))
    assert search.best_index_ == np.argmax(scores)

    best = search.best_estimator_
    joblib.dump((best, X_NEW), tmp_path / "best.joblib")
    subprocess.run(
        [sys.executable, "-c", READ, "best.joblib", "read.joblib"],
        cwd=tmp_path, env=one_thread, check=True,
    )  # fmt: skip
    mean, std = joblib.load(tmp_path / "read.joblib")
    want_mean, want_std = best.predict(X_NEW, return_std=True)
    # The network computes in float32, possibly on another number of threads.
    assert_allclose(mean, want_mean, rtol=1e-4, atol=1e-4)
    assert_allclose(std, want_std, rtol=1e-4)
