"""Small networks of every kind, for either Keras."""

import numpy as np
import pytest

X = np.random.default_rng(3).normal(size=(7, 4)).astype(np.float32)


def sequential(K):
    return K.Sequential(
        [K.Input((4,)), K.layers.Dense(6, name="a"), K.layers.Dense(2, name="b")]
    )


def subclass(K):
    class Net(K.Model):
        def __init__(self, width):
            inputs = K.Input((4,))
            hidden = K.layers.Dense(width, name="hidden")
            outputs = K.layers.Dense(2, name="head")(hidden(inputs))
            super().__init__(inputs, outputs)
            self.hidden = hidden

    return Net(5)


def nested(K):
    inner = sequential(K)
    inputs = K.Input((4,))
    middle = K.layers.Dense(4, name="middle")(inputs)
    return K.Model(inputs, K.layers.Dense(1, name="head")(inner(middle)))


def two_inputs(K):
    a, b = K.Input((3,), name="a"), K.Input((), dtype="int32", name="b")
    embedded = K.layers.Embedding(5, 2, name="embedding")(b)
    dense = K.layers.Dense(4, name="dense_a")(a)
    joined = K.layers.Concatenate(name="joined")([dense, embedded])
    return K.Model([a, b], K.layers.Dense(1, name="head")(joined))


def image(K):
    inputs = K.Input((4, 4, 1))
    maps = K.layers.Conv2D(2, 3, name="maps")(inputs)
    flat = K.layers.Flatten()(maps)
    return K.Model(inputs, K.layers.Dense(1)(flat))


def shared_layer(K):
    inputs = K.Input((4,))
    twice = K.layers.Dense(4, name="twice")
    return K.Model(inputs, K.layers.Dense(1, name="head")(twice(twice(inputs))))


def normalised(K):
    layer = K.layers.Normalization(name="scale")
    layer.adapt(np.arange(12.0).reshape(3, 4))
    inputs = K.Input((4,))
    return K.Model(inputs, K.layers.Dense(1)(layer(inputs)))


def composite(K):
    inputs = K.Input((4,))
    steps = K.layers.Reshape((2, 2))(inputs)
    both = K.layers.Bidirectional(K.layers.LSTM(3), name="both")(steps)
    noisy = K.layers.GaussianNoise(0.1, name="noisy")(both)
    doubled = K.layers.Lambda(lambda t: 2 * t, name="doubled")(noisy)
    return K.Model(inputs, K.layers.Dense(1)(doubled))


ARRAYS = {
    "two_inputs": [X[:, :3], np.arange(7, dtype=np.int32) % 5],
    "image": [np.random.default_rng(4).normal(size=(7, 4, 4, 1)).astype("float32")],
}
LAYER = {"shared_layer": "head"}
BUILDERS = [
    sequential,
    subclass,
    nested,
    two_inputs,
    image,
    shared_layer,
    normalised,
    composite,
]
builders = pytest.mark.parametrize("build", BUILDERS, ids=lambda b: b.__name__)
