"""Test NetworkHandle: cuts, passes, errors, files, and the identity of a network."""

import copy
import gc
import pickle
import weakref
from collections import deque

import numpy as np
import pytest
from keras_networks import ARRAYS, LAYER, X, builders, nested, shared_layer, two_inputs
from networks import extract
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sklearn_unlocknn import KerasFeatureExtractor
from sklearn_unlocknn._keras import network
from sklearn_unlocknn._keras.fingerprint import checksum, probe
from sklearn_unlocknn._keras.graph import integer_limit
from sklearn_unlocknn._keras.network import NetworkHandle


def reference(K, net, names, *arrays):
    """Run the net by Keras's own machinery."""
    outputs = [net.get_layer(name).output for name in names]
    sub = K.Model(net.inputs, outputs)
    values = sub(list(arrays), training=False)
    values = values if isinstance(values, list | tuple) else [values]
    return np.hstack([np.asarray(v).reshape(len(arrays[0]), -1) for v in values])


# --- cutting and running --------------------------------------------------------


@pytest.mark.parametrize("names", [["latent"], ["hidden"], ["hidden", "latent"]])
def test_extract_equals_keras(K, net, names):
    got = extract(NetworkHandle.of(net), [X], names, 3)
    assert got.dtype == np.float64
    assert_allclose(got, reference(K, net, names, X), rtol=1e-5, atol=1e-6)


def test_index_and_name_are_the_same_layer(net):
    handle = NetworkHandle.of(net)
    by_name = extract(handle, [X], "latent")
    for layer in (-2, np.int64(-2), len(net.layers) - 2, [-2]):
        assert_array_equal(extract(handle, [X], layer), by_name)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_any_number_of_samples_in_batches_with_one_cut(net, n):
    handle = NetworkHandle.of(net)
    every = extract(handle, [X], "latent", 1024)
    assert_allclose(extract(handle, [X[:n]], "latent", 3), every[:n], rtol=1e-6)
    assert len(handle._cuts) == 1


def test_one_trace_for_all_batch_sizes(keras3_net, monkeypatch):
    calls = []
    handle = NetworkHandle.of(keras3_net)
    original = type(keras3_net).call

    class Counted(type(keras3_net)):
        def call(self, *args, **kwargs):
            calls.append(1)
            return original(self, *args, **kwargs)

    monkeypatch.setattr("keras.Model", Counted)
    for n, batch_size in ((7, 3), (1, 3), (5, 2)):
        extract(handle, [X[:n]], "latent", batch_size)
    assert len(calls) == 1


def test_features_and_output_from_one_pass(K, net):
    handle = NetworkHandle.of(net)
    features, output = extract(handle, [X], "latent", 4, with_output=True)
    assert len(handle._cuts) == 1
    assert_allclose(features, extract(handle, [X], "latent"), rtol=1e-6)
    assert_allclose(output, extract(handle, [X], -1), rtol=1e-6)
    assert_allclose(output, np.asarray(net(X, training=False)), rtol=1e-5)
    assert handle.n_outputs == 1


@builders
def test_every_kind_of_network(K, build):
    net = build(K)
    arrays = ARRAYS.get(build.__name__, [X])
    handle = NetworkHandle.of(net)
    expected = net(arrays if len(arrays) > 1 else arrays[0], training=False)
    assert_allclose(extract(handle, arrays, -1, 3), expected, rtol=1e-5, atol=1e-6)
    assert extract(handle, arrays, LAYER.get(build.__name__, -2), 3).shape[0] == 7
    assert len(handle.input_specs) == len(arrays)


def test_features_of_a_nested_model_are_its_output_in_the_outer_graph(K):
    net = nested(K)
    inner = net.layers[-2]
    middle = extract(NetworkHandle.of(net), [X], "middle")
    expected = np.asarray(inner(middle.astype("float32"), training=False))
    assert_allclose(extract(NetworkHandle.of(net), [X], -2), expected, rtol=1e-5)


def test_input_specs(K):
    a, b = NetworkHandle.of(two_inputs(K)).input_specs
    assert (a.name, a.shape, a.dtype, a.size) == ("a", (3,), "float32", 3)
    assert (b.name, b.shape, b.dtype, b.size) == ("b", (), "int32", 1)


def test_network_of_a_fixed_batch_size(K):
    inputs = K.Input((4,), batch_size=4)
    net = K.Model(inputs, K.layers.Dense(1)(K.layers.Dense(3, name="h")(inputs)))
    got = extract(NetworkHandle.of(net), [X], "h", 1024)
    weights, bias = net.get_layer("h").get_weights()
    assert_allclose(got, X @ weights + bias, rtol=1e-5, atol=1e-6)


def test_sequential_built_by_data_takes_any_batch(K):
    net = K.Sequential([K.layers.Dense(3), K.layers.Dense(1)])
    net(X[:2])
    assert extract(NetworkHandle.of(net), [X], 0).shape == (7, 3)
    assert NetworkHandle.of(net).input_specs[0].batch is None


def test_layer_that_depends_on_one_of_the_inputs(K):
    arrays = ARRAYS["two_inputs"]
    handle = NetworkHandle.of(two_inputs(K))
    assert extract(handle, arrays, "dense_a").shape == (7, 4)


def test_purely_subclassed_model_runs_whole(K):
    class Pure(K.Model):
        def __init__(self):
            super().__init__()
            self.dense = K.layers.Dense(3)

        def call(self, inputs):
            return self.dense(inputs)

    net = Pure()
    expected = np.asarray(net(X))
    handle = NetworkHandle.of(net)
    assert handle.input_specs is None
    assert handle.n_outputs is None
    assert_allclose(extract(handle, [X], -1, 3), expected, rtol=1e-5)
    features, output = extract(handle, [X], -1, 3, with_output=True)
    assert_array_equal(features, output)
    with pytest.raises(ValueError, match="cannot be cut"):
        extract(handle, [X], -2)


# --- errors ---------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["nope", 99, -99, 1.5, None, True, [-2, "nope"], []])
def test_error_of_an_unknown_layer_lists_all_layers(net, layer):
    message = r"index from -6 to 5.*'latent', 'out'" if layer != [] else "empty `layer`"
    with pytest.raises(ValueError, match=message):
        extract(NetworkHandle.of(net), [X], layer)


def test_layer_called_twice(K):
    handle = NetworkHandle.of(shared_layer(K))
    with pytest.raises(ValueError, match="'twice' is called 2 times"):
        extract(handle, [X], "twice")
    assert extract(handle, [X], "head").shape == (7, 1)


def test_unbuilt_sequential(K):
    net = K.Sequential([K.layers.Dense(3)])
    with pytest.raises(ValueError, match="has not been built"):
        extract(NetworkHandle.of(net), [X], -1)


def test_stateful_network(K):
    inputs = K.Input((2, 2), batch_size=4)
    net = K.Model(inputs, K.layers.LSTM(2, stateful=True)(inputs))
    with pytest.raises(ValueError, match="is stateful"):
        extract(NetworkHandle.of(net), [np.zeros((4, 2, 2), "f4")], -1)


def test_error_of_features_that_are_not_finite_names_the_sample(net):
    bad = X.copy()
    bad[5] = np.nan
    with pytest.raises(ValueError, match=r"layer 'hidden'.*not finite for sample 5"):
        extract(NetworkHandle.of(net), [bad], "hidden", 3)


def test_not_a_network(K):
    for wrong in (3, object(), [1, 2], K.layers.Dense(2)):
        with pytest.raises(TypeError, match="expected a keras"):
            NetworkHandle.of(wrong)


# --- files ----------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_file_is_loaded_by_the_library_that_wrote_it(K, net, tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    net.save(path)
    handle = NetworkHandle.of(path)
    expected = extract(NetworkHandle.of(net), [X], "latent")
    assert_allclose(extract(handle, [X], "latent"), expected, rtol=1e-6)
    assert NetworkHandle.of(str(path)) is handle
    assert suffix == ".h5" or handle.library == K.__name__


def test_path_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        NetworkHandle.of(tmp_path / "none.keras")
    with pytest.raises(ValueError, match="expected a file ending in"):
        NetworkHandle.of(tmp_path / "net.pt")
    (tmp_path / "broken.keras").write_bytes(b"this is no network")
    with pytest.raises(ValueError, match=r"(?s)Neither.*\nkeras:.*tf_keras:"):
        NetworkHandle.of(tmp_path / "broken.keras")


# --- identity -------------------------------------------------------------------


def test_one_handle_for_a_live_model(net):
    handle = NetworkHandle.of(net)
    assert NetworkHandle.of(net) is handle
    assert NetworkHandle.of(handle) is handle
    for copied in (copy.copy(handle), copy.deepcopy(handle), clone(handle)):
        assert copied is handle
    assert "net" in repr(handle)


def test_only_the_handles_used_last_are_kept(make_net, monkeypatch):
    import keras

    monkeypatch.setattr(network, "_RECENT", deque(maxlen=2))
    handle = NetworkHandle.of(make_net(keras))
    extract(handle, [X], "latent")
    dead = weakref.ref(handle)
    del handle
    gc.collect()
    assert dead() is NetworkHandle.of(dead().model)
    for seed in (1, 2):
        NetworkHandle.of(make_net(keras, seed=seed))
    gc.collect()
    assert dead() is None


def test_identity_follows_weights_and_architecture_only(K, make_net):
    net = make_net(K)
    handle = NetworkHandle.of(net)
    first, weights = handle.identity(("latent",)), handle.checksum()
    net.compile("adam", "mse")
    net.trainable = False
    assert handle.identity(("latent",)) == first
    renamed = NetworkHandle.of(make_net(K, name="other"))
    assert renamed.identity(("latent",)) == first
    assert renamed.checksum() == weights
    assert NetworkHandle.of(make_net(K, seed=5)).identity(("latent",)) != first
    net.get_layer("out").set_weights(
        [w + 1 for w in net.get_layer("out").get_weights()]
    )
    assert handle.checksum() != weights
    assert handle.identity(("latent",)) != first


def lambda_of_an_array(K, factor):
    scale = eval("lambda x: x * F", {"F": np.full(4, factor, np.float32)})
    return K.layers.Lambda(scale, output_shape=(4,), name="middle")


def lambda_that_calls_a_function(K, factor):
    scale = eval("lambda x: f(x)", {"f": lambda x: x * factor})
    return K.layers.Lambda(scale, output_shape=(4,), name="middle")


def custom_layer(K, factor):
    class Scale(K.layers.Layer):
        def call(self, x):
            return x * factor

    return Scale(name="middle")


@pytest.mark.parametrize(
    "build_layer", [lambda_of_an_array, lambda_that_calls_a_function, custom_layer]
)
def test_code_that_is_not_in_the_configuration(K, build_layer, tmp_path):
    identities = set()
    for factor in (2.0, 3.0, 2.0):
        inputs = K.Input((4,), name="x")
        output = K.layers.Dense(1, kernel_initializer="ones", name="out")
        net = K.Model(inputs, output(build_layer(K, factor)(inputs)))
        extractor = KerasFeatureExtractor(net, "middle", memory=tmp_path)
        assert_allclose(extractor.fit_transform(X), factor * X, rtol=1e-6)
        identities.add(NetworkHandle.of(net).identity(("middle",)))
    assert len(identities) == 2


def network_of_words(K):
    inputs = K.Input((2,), dtype="string", name="x")
    lookup = K.layers.StringLookup(vocabulary=["a", "the", "Si"], output_mode="int")
    embedded = K.layers.Embedding(4, 3, embeddings_initializer="ones")(lookup(inputs))
    return K.Model(inputs, K.layers.Flatten(name="flat")(embedded))


def network_of_indices_as_floats(K):
    inputs = K.Input((3,), name="x")
    embedded = K.layers.Embedding(4, 3, embeddings_initializer="ones")(inputs)
    return K.Model(inputs, K.layers.Flatten(name="flat")(embedded))


def network_of_any_length(K):
    inputs = K.Input((None, 2), name="x")
    hidden = K.layers.Conv1D(3, 5, kernel_initializer="ones")(inputs)
    return K.Model(inputs, K.layers.GlobalMaxPooling1D(name="flat")(hidden))


@pytest.mark.parametrize(
    "build",
    [network_of_words, network_of_indices_as_floats, network_of_any_length, two_inputs],
)
def test_probe_inputs_suit_the_network(K, build):
    net = build(K)
    handle = NetworkHandle.of(net)
    forward, _, batch, _ = handle.cut((), False)
    limit = integer_limit(net)
    assert probe(forward, handle.input_specs, limit, batch).split()


def test_identity_without_probes_is_shared_by_copies_alone(K):
    def sizes(x):
        raise RuntimeError("cannot run")

    def build():
        inputs = K.Input((4,), name="x")
        grid = K.layers.Reshape((2, 2), name="grid")(inputs)
        return K.Model(inputs, grid)

    handles = [NetworkHandle.of(build()) for _ in range(2)]
    for handle in handles:
        handle.checksum()  # a new one empties the cuts
        handle._cuts[("grid",), True] = sizes, 1, None, []
    one, other = (handle.identity(("grid",)) for handle in handles)
    assert one != other
    loaded = pickle.loads(pickle.dumps(handles[0]))
    loaded.checksum()
    loaded._cuts[("grid",), True] = sizes, 1, None, []
    assert loaded.identity(("grid",)) == one


def test_identity_of_a_network_without_a_graph(K):
    def build(factor):
        class Pure(K.Model):
            def __init__(self):
                super().__init__(name="pure")
                self.dense = K.layers.Dense(3, kernel_initializer="ones", name="dense")

            def call(self, inputs):
                return factor * self.dense(inputs)

        net = Pure()
        net(X)
        return NetworkHandle.of(net).identity((), [X])

    assert build(1.0) == build(1.0) != build(2.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_checksum_depends_on_every_weight(dtype):
    import tensorflow as tf

    value = np.random.default_rng(0).normal(size=(70, 64)).astype(dtype)
    sums = {checksum([tf.Variable(value)])}
    changes = [
        lambda v: -v,
        lambda v: v[::-1],
        lambda v: v[:, ::-1],
        lambda v: np.where(np.arange(64) == 3, -v, v),
        lambda v: np.vstack(
            [np.where(np.isin(np.arange(64), (1, 3)), -v[0], v[0]), v[1:]]
        ),
        *[
            lambda v, i=i: np.where(np.arange(v.size).reshape(v.shape) == i, 0, v)
            for i in (0, 1, 2041, 2042, 70 * 64 - 1)
        ],
    ]
    for change in changes:
        sums.add(checksum([tf.Variable(change(value))]))
    assert len(sums) == 1 + len(changes)
    assert checksum([tf.Variable(value)]) in sums


def test_caching_pays_for_networks_that_cost_more_than_a_key(K):
    small = NetworkHandle.of(two_inputs(K))
    assert not small.worth_caching(ARRAYS["two_inputs"])
    large = K.Sequential([K.Input((4,)), K.layers.Dense(300), K.layers.Dense(300)])
    assert NetworkHandle.of(large).worth_caching([X])
    wide = K.Sequential([K.Input((20_000,)), K.layers.Dense(4)])
    assert not NetworkHandle.of(wide).worth_caching([np.zeros((2, 20_000))])
    pixels = K.Sequential([K.Input((60, 60, 3)), K.layers.Conv2D(64, 3)])
    assert NetworkHandle.of(pixels).worth_caching([np.zeros((2, 60, 60, 3), "f4")])


def drawing(K):
    import tensorflow as tf

    return K.layers.Lambda(
        lambda x: x + tf.random.normal(tf.shape(x)), output_shape=(4,), name="bad"
    )


UNSTEADY = {
    "lambda": drawing,
    "dropout": lambda K: K.layers.Dropout(0.5, name="bad"),
    "averages": lambda K: K.layers.BatchNormalization(name="bad"),
}


@pytest.mark.parametrize("kind", UNSTEADY)
def test_network_that_is_not_frozen_is_refused_and_left_as_it_was(K, kind):
    inputs = K.Input((4,))
    training = {} if kind == "lambda" else {"training": True}
    latent = UNSTEADY[kind](K)(inputs, **training)
    net = K.Model(inputs, K.layers.Dense(1)(latent))
    weights = net.get_weights()
    X = np.random.default_rng(0).normal(size=(20, 4))
    extractor = KerasFeatureExtractor(net)
    if K.__name__ == "keras" and kind != "lambda":  # Keras 3 overrides training=True
        assert_array_equal(extractor.fit_transform(X), extractor.transform(X))
    else:
        with pytest.raises(ValueError, match=r"Layer 'bad' .* is not frozen"):
            extractor.fit(X)
    for got, want in zip(net.get_weights(), weights, strict=True):
        assert_array_equal(got, want)
