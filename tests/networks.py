"""Tiny Keras networks, and an estimator that trains one."""

import importlib

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

from sklearn_unlocknn._keras.graph import split


def build_net(K, name="net", seed=0, n_inputs=4):
    """Build a functional net with non-trivial batch normalisation and dropout."""
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


def extract(handle, inputs, layer, batch_size=1024, with_output=False):
    """Return the features of a layer, and on request the network's own output."""
    values, width = handle.run(inputs, layer, batch_size, with_output)
    features, output = split(values, width, with_output)
    return (features, output) if with_output else features


class Trainer(RegressorMixin, BaseEstimator):
    """A regressor with a Keras model in ``model_``, like SciKeras'; counts its fits."""

    fits = 0

    def __init__(self, library="keras", units=3, model=True):
        self.library = library
        self.units = units
        self.model = model

    def fit(self, X, y, sample_weight=None):
        """Train a network for one epoch."""
        type(self).fits += 1
        K = importlib.import_module(self.library)
        K.utils.set_random_seed(0)
        self.model_ = K.Sequential(
            [K.Input((X.shape[1],)), K.layers.Dense(self.units), K.layers.Dense(1)]
        )
        self.model_.compile("adam", "mse")
        self.model_.fit(X, y, sample_weight=sample_weight, verbose=0)
        if not self.model:
            self.model_ = None
        return self
