"""Test fine-tuning: gradients, the bound, the choice of the epoch, the noise."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
import reference
from _megnet.megnet_nets import make_megnet, make_structures
from networks import build_net, extract
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process import kernels as gpk

from sklearn_unlocknn import FineTuning
from sklearn_unlocknn._fine_tuning import moving_head
from sklearn_unlocknn._fine_tuning.moving_head import MovingScaling, noise_of_others
from sklearn_unlocknn._fine_tuning.trainable_copy import (
    KerasTrainableCopy,
    MEGNetTrainableCopy,
)
from sklearn_unlocknn._fine_tuning.tune import TargetTransform, _Choice, tune
from sklearn_unlocknn._gp import minibatch
from sklearn_unlocknn._gp.covariance import Covariance
from sklearn_unlocknn._gp.encoded import Encoded, Standardisation
from sklearn_unlocknn._gp.posterior import exact_posterior, optimal_posterior
from sklearn_unlocknn._gp.samples import GroupedSamples
from sklearn_unlocknn._keras.network import NetworkHandle
from sklearn_unlocknn._megnet.network import MEGNetSnapshot

from megnet.utils.preprocessing import StandardScaler  # isort: skip

KERNEL = gpk.ConstantKernel(1.2) * gpk.Matern(1.4, nu=2.5) + gpk.DotProduct(0.5)
KERNEL += gpk.WhiteKernel(0.2)


def make_target(mean, y, weights, y_scale, scale=None):
    """Make the targets of a head with the prior mean ``mean``."""
    k = y.shape[1]
    offset = np.zeros_like(y) if mean == "network" else None
    head = SimpleNamespace(
        scaling=Standardisation(np.zeros(3), np.ones(3), mean),
        y_mean=np.zeros(k), y_scale=y_scale,
    )  # fmt: skip
    return TargetTransform(head, Encoded(y, offset, scale), y, weights)


def random_target(mean, per_atom):
    rng = np.random.default_rng(1)
    y, weights = rng.normal(size=(9, 2)), rng.uniform(0.5, 2, 9)
    scale = rng.uniform(1, 5, (9, 1)) if per_atom else None
    return make_target(mean, y, weights, rng.uniform(0.5, 2, 2), scale)


# --- standardisation ------------------------------------------------------------


def test_scaling_follows_the_features():
    rng = np.random.default_rng(5)
    weights = rng.uniform(0.5, 2.0, 50)
    features = rng.normal(size=(50, 3)) * [1.0, 1e-3, 0.0] + 7.0
    mean = np.average(features, axis=0, weights=weights)
    std = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weights))
    scale = np.array([*std[:2], 1.0])
    scaling = MovingScaling(mean, scale, weights)
    X = scaling.keep(np.arange(50), features)
    assert_allclose(X, (features - mean) / scale)
    # A common shift and scale change nothing, in a batch and on all samples.
    moved, batch = features * [3.0, 40.0, 2.0] + [1.0, -2.0, 5.0], np.arange(0, 50, 6)
    assert_allclose(scaling.follow(batch, moved[batch])[0], X[batch], atol=1e-9)
    assert_allclose(scaling.keep(np.arange(50), moved), X, atol=1e-9)
    assert_allclose(scaling.at(moved[batch]), X[batch], atol=1e-9)


# --- trainable copies -----------------------------------------------------------

INPUTS = np.random.default_rng(3).normal(size=(9, 4)).astype(np.float32)


def precise_net(K):
    """Build a net in double precision, for gradients by finite differences."""
    options = {"dtype": "float64", "activation": "tanh"}
    inputs = K.Input((4,), dtype="float64")
    first = K.layers.Dense(5, name="first", **options)(inputs)
    latent = K.layers.Dense(3, name="latent", **options)(first)
    outputs = K.layers.Dense(2, name="out", dtype="float64")(latent)
    net = K.Model(inputs, outputs)
    rng = np.random.default_rng(0)
    net.set_weights([rng.normal(size=w.shape) / 2 for w in net.get_weights()])
    return net


@pytest.mark.parametrize(
    ("mean", "per_atom"),
    [("constant", False), ("linear", False), ("network", False), ("network", True)],
)
def test_bound_by_the_weights_of_a_keras_network(K, mean, per_atom):
    network = NetworkHandle.of(precise_net(K))
    target, index = random_target(mean, per_atom), np.array([0, 7, 2, 5])
    inputs = [INPUTS.astype(np.float64)]
    with_output = mean == "network"
    trainable = KerasTrainableCopy(network, "latent", inputs, with_output)
    rng, kernel = np.random.default_rng(4), Covariance(KERNEL, 3)
    scaling = MovingScaling(
        rng.normal(size=3), rng.uniform(0.5, 2.0, 3), target.weights
    )
    scaling.keep(np.arange(9), rng.normal(size=(9, 3)))
    Z, q = rng.normal(size=(4, 3)), target.scaling.basis(np.zeros((1, 3))).shape[1]
    beta, shift = rng.normal(size=(q, 2)), rng.normal(size=(4, 2))

    def bound():
        features, output, pull_back = trainable.forward(index)
        X, pull_scaling = scaling.follow(index, features)
        samples = target.samples(index, X, output)
        state = minibatch.Variational(3.0 * np.eye(4), shift.copy())
        value, gradients = minibatch.batch_bound(
            kernel, kernel.theta, Z, beta, samples, state, 2.0, 0.0, wrt_samples=True
        )
        by_X, by_output = target.pull(index, *gradients[3:])
        return value, pull_back(pull_scaling(by_X), by_output)

    _, gradients = bound()
    assert len(trainable.variables) == (6 if with_output else 4)
    for variable, gradient in zip(trainable.variables, gradients, strict=True):
        start = variable.numpy()

        def value_at(x, variable=variable):
            variable.assign(x)
            return bound()[0]

        want = reference.finite_differences(value_at, start)
        variable.assign(start)
        assert_allclose(gradient, want, rtol=1e-5, atol=1e-6)


def test_keras_copy_runs_as_the_network(K):
    net = build_net(K)
    network = NetworkHandle.of(net)
    trainable = KerasTrainableCopy(network, ["hidden", "latent"], [INPUTS], True)
    index = np.array([5, 1, 8])
    features, output, _ = trainable.forward(index)
    want = extract(network, [INPUTS[index]], ["hidden", "latent"], with_output=True)
    assert_allclose(features, want[0], rtol=1e-6)
    assert_allclose(output, want[1], rtol=1e-6)
    weights = net.get_weights()
    trainable.variables[0].assign_add(np.ones_like(trainable.variables[0].numpy()))
    for before, after in zip(weights, net.get_weights(), strict=True):
        assert_array_equal(before, after)
    # The compiled pass is the same, with the new weights.
    tuned = extract(trainable.freeze(), [INPUTS], "latent")
    assert np.abs(tuned - extract(network, [INPUTS], "latent")).max() > 0.1
    assert trainable.freeze().checksum() != network.checksum()


def test_keras_network_of_a_fixed_batch(K):
    inputs = K.Input(batch_shape=(4, 4))
    latent = K.layers.Dense(3, name="latent")(inputs)
    net = K.Model(inputs, K.layers.Dense(1)(latent))
    trainable = KerasTrainableCopy(NetworkHandle.of(net), "latent", [INPUTS], False)
    features, _, pull_back = trainable.forward(np.arange(9))
    assert_allclose(features, INPUTS @ net.get_weights()[0], rtol=1e-4, atol=1e-5)
    by_features = np.arange(27.0).reshape(9, 3)
    by_kernel, by_bias = pull_back(by_features, None)
    assert_allclose(by_kernel, INPUTS.T @ by_features, rtol=1e-4, atol=1e-4)
    assert_allclose(by_bias, by_features.sum(axis=0), rtol=1e-6)


def test_subclassed_network_without_a_graph():
    keras = importlib.import_module("keras")

    class Plain(keras.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.dense = keras.layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    net = Plain()
    net(INPUTS)
    trainable = KerasTrainableCopy(NetworkHandle.of(net), -1, [INPUTS], True)
    one, zero = np.ones((9, 2)), np.zeros((9, 2))
    for both in ((one, zero), (zero, one)):
        features, output, pull_back = trainable.forward(np.arange(9))
        assert_array_equal(features, output)
        assert_allclose(pull_back(*both)[1], 9.0)


def test_frozen_layers_are_not_trained(K):
    net = build_net(K)
    net.get_layer("hidden").trainable = False
    network = NetworkHandle.of(net)
    assert len(KerasTrainableCopy(network, "latent", [INPUTS], False).variables) == 4
    with pytest.raises(ValueError, match=r"no trainable weights up to .*'hidden'"):
        KerasTrainableCopy(network, "hidden", [INPUTS], False)


def test_network_that_cannot_be_copied_is_named():
    K = importlib.import_module("tf_keras")

    class Scale(K.layers.Layer):
        def __init__(self, factor, **options):
            super().__init__(**options)
            self.factor = factor

        def get_config(self):  # lacks the factor
            return {"name": self.name}

        def call(self, x):
            return x * self.factor

    inputs = K.Input((4,))
    net = K.Model(inputs, K.layers.Dense(1)(Scale(2.0)(inputs)))
    with pytest.raises(ValueError, match=r"(?s)copy of the network, .* `get_config`"):
        KerasTrainableCopy(NetworkHandle.of(net), -1, [INPUTS], False)


def test_other_keras_backend_is_named(monkeypatch):
    keras = importlib.import_module("keras")
    network = NetworkHandle.of(build_net(keras))
    # No other backend is installed to be run.
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match=r"Keras backend 'jax'.*KERAS_BACKEND"):
        KerasTrainableCopy(network, "latent", [INPUTS], False)


def test_values_that_are_not_finite_raise(K):
    net = build_net(K)
    trainable = KerasTrainableCopy(NetworkHandle.of(net), "hidden", [INPUTS], False)
    trainable.variables[0].assign(np.full((4, 8), np.nan))
    with pytest.raises(ValueError, match=r"diverged: .* Lower `network_learning_rate`"):
        trainable.forward(np.arange(3))


def test_megnet_copy(monkeypatch):
    scaler = StandardScaler(mean=3.0, std=2.0, is_intensive=False)
    network = MEGNetSnapshot(make_megnet(scaler=scaler))
    structures = make_structures(8)
    trainable = MEGNetTrainableCopy(network, [-4, -2], network.graphs(structures), True)
    index = np.array([6, 0, 3, 5])
    features, output, pull_back = trainable.forward(index)
    chosen = [structures[i] for i in index]
    want = network.run(chosen, [-4, -2], predict=True)
    assert_allclose(features, want.features, rtol=1e-4, atol=1e-5)
    assert_allclose(output, want.prediction, rtol=1e-5)

    rng = np.random.default_rng(0)
    by = rng.normal(size=features.shape), rng.normal(size=output.shape)
    gradients = pull_back(*by)
    # A batch of many bonds takes several passes, whose gradients add up.
    monkeypatch.setattr("sklearn_unlocknn._megnet.batches.MAX_BONDS", 1)
    for one, several in zip(gradients, trainable.forward(index)[2](*by), strict=True):
        assert_allclose(several, one, rtol=1e-3, atol=1e-3 * np.abs(one).max())
    # Along a random direction, as the network computes in float32.
    direction = [
        rng.normal(size=v.shape).astype(np.float32) for v in trainable.variables
    ]

    def value(step):
        for v, d in zip(trainable.variables, direction, strict=True):
            v.assign_add(np.float32(step) * d)
        features, output, _ = trainable.forward(index)
        for v, d in zip(trainable.variables, direction, strict=True):
            v.assign_sub(np.float32(step) * d)
        return np.sum(by[0] * features) + np.sum(by[1] * output)

    slope = sum(np.sum(g * d) for g, d in zip(gradients, direction, strict=True))
    step = 2e-3
    assert_allclose(slope, (value(step) - value(-step)) / (2 * step), rtol=2e-2)

    before = network.fingerprint
    trainable.variables[0].assign_add(direction[0])
    assert trainable.freeze().fingerprint != network.fingerprint == before


# --- training -------------------------------------------------------------------


def silent(stage, iteration, value):
    pass


def tuned(validation_fraction=0.0, epochs=8, batch_size=60, rate=1e-3, kernel=None):
    """Tune a net whose latent layer fits the target badly."""
    keras = importlib.import_module("keras")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)).astype(np.float32)
    y = np.sin(2 * X[:, :1]) + 0.1 * rng.normal(size=(60, 1))
    network = NetworkHandle.of(build_net(keras))
    features = extract(network, [X], "hidden")
    d = features.shape[1]
    target = make_target("constant", y, np.ones(60), np.ones(1))
    scaling = MovingScaling(features.mean(axis=0), features.std(axis=0), target.weights)
    kernel = Covariance(kernel or gpk.RBF(2.0) + gpk.WhiteKernel(0.1), d)
    samples = target.samples(np.arange(60), scaling.at(features), None)
    posterior_at = optimal_posterior(kernel, kernel.theta, samples.X[:20], samples)
    posterior = posterior_at(kernel.theta)
    settings = FineTuning(
        epochs, network_learning_rate=rate, head_learning_rate=rate,
        batch_size=batch_size, validation_fraction=validation_fraction,
    )  # fmt: skip
    trainable = KerasTrainableCopy(network, "hidden", [X], False)
    rng = np.random.RandomState(0)
    tuning = tune(trainable, posterior, target, scaling, settings, rng, silent)
    return tuning, posterior, samples


def test_small_full_steps_never_lower_the_bound():
    tuning, posterior, _ = tuned()
    assert_allclose(tuning.curve[0], posterior.elbo, rtol=1e-9)
    assert np.all(np.diff(tuning.curve) > 0)
    assert tuning.best_epoch == 8
    assert tuning.validation_curve is None


def test_batches_raise_the_bound():
    tuning, _, _ = tuned(batch_size=10, rate=3e-3)
    assert tuning.curve[-1] > tuning.curve[0] + 5.0


def test_number_of_points_is_bounded(monkeypatch):
    monkeypatch.setattr(moving_head, "MAX_POINTS", 7)
    kernel = gpk.RBF(2.0) + gpk.WhiteKernel(0.1, "fixed")
    tuning, posterior, _ = tuned(kernel=kernel)
    assert tuning.curve[0] < posterior.elbo  # fewer points, a lower bound
    assert np.all(np.diff(tuning.curve) > 0)


def test_network_of_the_best_epoch_is_kept():
    tuning, _, _ = tuned(validation_fraction=0.3, epochs=12, batch_size=10, rate=0.01)
    best = tuning.best_epoch
    assert best == np.argmin(tuning.validation_curve) > 0
    shorter, _, _ = tuned(0.3, epochs=best, batch_size=10, rate=0.01)
    assert shorter.network.checksum() == tuning.network.checksum()
    assert len(tuning.held_out) == 18


def test_gain_by_chance_keeps_the_network():
    variable = importlib.import_module("tensorflow").Variable([0.0])
    luck = np.tile([5.0, -4.0], 5)
    for gain, best in ((luck, 0), (0.2 * luck + 0.5, 1), (luck - 2.0, 0)):
        variable.assign([0.0])
        choice = _Choice(SimpleNamespace(variables=[variable]), np.ones(10))
        choice.compare(np.zeros(10))
        variable.assign([1.0])
        choice.compare(gain)
        variable.assign([2.0])
        choice.compare(gain - 1.0)
        assert choice.restore() == best
        if best:
            assert_array_equal(variable.numpy(), best)


@pytest.mark.parametrize("exact", [True, False])
def test_noise_of_others_maximises_their_density(exact):
    _, posterior, samples = tuned(epochs=0)
    kernel, theta = posterior.kernel, posterior.theta
    if exact:
        posterior = exact_posterior(kernel, theta, GroupedSamples.of(samples))
    held_out = np.arange(0, 60, 4)
    samples.T[held_out, 0] += np.where(np.arange(15) % 2, 2.0, -2.0)
    found = noise_of_others(posterior, samples, held_out, silent)
    some = samples.take(np.setdiff1d(np.arange(60), held_out))
    other = samples.take(held_out)

    def density(level):
        theta = kernel.theta.copy()
        theta[kernel.noise_index] = level
        if exact:
            fitted = exact_posterior(kernel, theta, GroupedSamples.of(some))
        else:
            fitted = optimal_posterior(kernel, theta, posterior.Z, some)(theta)
        mean, variance = fitted.mean_and_variance(other.X, other.T[:, 1:])
        return reference.log_density(
            other.T[:, :1], mean, np.diag(variance + fitted.noise)
        )

    levels = np.linspace(np.log(0.05), np.log(10), 80)
    best = levels[np.argmax([density(level) for level in levels])]
    assert_allclose(np.log(found.noise), best, atol=0.25)
    assert found.noise > posterior.noise
    assert_allclose(found.count, 60.0)  # of all samples


def test_noise_of_others_never_falls():
    _, posterior, samples = tuned(epochs=0, kernel=gpk.RBF(2.0) + gpk.WhiteKernel(5.0))
    assert noise_of_others(posterior, samples, np.arange(10), silent) is posterior
