"""A layer chosen by index that is an output of the network is warned of."""

import re
import warnings

import numpy as np
import pytest

from sklearn_unlocknn import KerasFeatureExtractor, ProbNNRegressor

rng = np.random.default_rng(0)
X = rng.normal(size=(20, 4)).astype(np.float32)
y = rng.normal(size=20)


def chain(K, *last):
    """Build a network of two hidden layers and some last ones."""
    x = inputs = K.Input((4,))
    for layer in (
        K.layers.Dense(8, "relu", name="wide"),
        K.layers.Dense(3, "relu", name="hidden"),
        *last,
    ):
        x = layer(x)
    return K.Model(inputs, x, name="net")


def rescaled(K):
    return chain(K, K.layers.Dense(1, name="out"), K.layers.Rescaling(2.0, 1.0))


def normalised(K):
    last = K.layers.Normalization(invert=True, mean=[1.0], variance=[4.0])
    return chain(K, K.layers.Dense(1, name="out"), last)


def activated(K):
    last = [K.layers.Activation("softplus"), K.layers.Rescaling(2.0)]
    return chain(K, K.layers.Dense(1, name="out"), *last)


def two_heads(K):
    inputs = K.Input((4,))
    x = K.layers.Dense(8, "relu", name="wide")(inputs)
    latent = K.layers.Dense(3, "relu", name="hidden")(x)
    heads = [K.layers.Dense(1, name=name)(latent) for name in ("out", "other")]
    return K.Model(inputs, heads, name="net")


def sequential(K):
    layers = [K.layers.Dense(3, "relu", name="hidden"), K.layers.Dense(1, name="out")]
    return K.Sequential([K.Input((4,)), *layers, K.layers.Rescaling(2.0)], name="net")


@pytest.mark.parametrize(
    ("build", "index"),
    [
        (rescaled, -2), (rescaled, 3), (rescaled, [-3, -2]), (normalised, -2),
        (activated, -2), (activated, -3), (two_heads, -2), (sequential, -2),
    ],
)  # fmt: skip
def test_output_by_index_is_named_with_a_hidden_layer(K, build, index):
    network = build(K)
    message = (
        r"Got `layer`=-?\d, which is layer '\w+' of the network 'net', an output .*"
        r"Pass layer='hidden', or layer='\w+' to take"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        KerasFeatureExtractor(network, index).fit(X)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in re.findall(r"layer='(\w+)'", str(caught[0].message)):
            KerasFeatureExtractor(network, name).fit(X)


def test_regressor_warns_with_its_default_layer(K):
    with pytest.warns(UserWarning, match="Pass layer='hidden', or layer='out'"):
        ProbNNRegressor(rescaled(K), kernel="rbf", max_iter=1).fit(X, y)


def test_hidden_layers_and_the_last_one_do_not_warn(K):
    flat = chain(K, K.layers.Dropout(0.5), K.layers.Dense(1))
    pooled = K.Sequential(
        [K.Input((4, 3)), K.layers.Dense(5), K.layers.GlobalAveragePooling1D()]
    )
    inputs = K.Input((4,))
    latent = K.layers.Dense(3, name="hidden")(inputs)
    both = K.Model(inputs, [latent, K.layers.Dense(1)(latent)])
    for network, layer in [
        (flat, -2), (flat, -3), (pooled, -2), (both, -2), (rescaled(K), -1),
        (rescaled(K), 4), (rescaled(K), -3), (two_heads(K), -1),
    ]:  # fmt: skip
        KerasFeatureExtractor(network, layer).fit(
            rng.normal(size=(6, 4, 3)) if network is pooled else X
        )


def test_without_a_hidden_layer_none_is_named(K):
    network = K.Sequential([K.Input((4,)), K.layers.Dense(1), K.layers.Rescaling(2.0)])
    with pytest.warns(UserWarning, match=r"usually better\. Pass layer='dense\w*' to"):
        KerasFeatureExtractor(network, -2).fit(X)


def test_operation_after_the_output_is_passed_over():
    import keras

    inputs = keras.Input((4,))
    latent = keras.layers.Dense(3, name="hidden")(inputs)
    first = keras.layers.Dense(1, name="out")(latent)
    network = keras.Model(inputs, [2.0 * first, keras.layers.Dense(1)(latent)])
    with pytest.warns(UserWarning, match="Pass layer='hidden', or layer='out'"):
        KerasFeatureExtractor(network, -2).fit(X)
